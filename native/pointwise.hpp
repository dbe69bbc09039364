// The pointwise losses: one struct each, with the loss of one element and its derivative by the
// prediction. They carry the names of their formulas.
#pragma once

#include "vector_math.hpp"

namespace omniloss::OMNILOSS_LEVEL {

// (y - p)**2
template <class T> struct squared_error {
    explicit squared_error(const double*) {}
    OMNILOSS_INLINE T value(T y, T p) const {
        const T d = p - y;
        return d * d;
    }
    OMNILOSS_INLINE T first(T y, T p) const { return T(2) * (p - y); }
};

}  // namespace omniloss::OMNILOSS_LEVEL
