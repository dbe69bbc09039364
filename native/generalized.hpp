// Between cross-entropy and absolute error: (1 - p**q) / q of the target's probability p.
#pragma once

#include "rows.hpp"

namespace omniloss::OMNILOSS_LEVEL {

// 1 - exp(-c) for c >= 0
OMNILOSS_INLINE double one_minus_exp(double c) {
    const double near = c < 0.5 ? c : 0.5;
    const double series = near
                          * polynomial(near, 1.0, -1.0 / 2, 1.0 / 6, -1.0 / 24, 1.0 / 120,
                                       -1.0 / 720, 1.0 / 5040, -1.0 / 40320, 1.0 / 362880,
                                       -1.0 / 3628800, 1.0 / 39916800, -1.0 / 479001600,
                                       1.0 / 6227020800, -1.0 / 87178291200);
    return c <= 0.5 ? series : 1.0 - exp_nonpositive(-c);
}

struct generalized_crossentropy {
    static constexpr bool dense = false;
    static constexpr double padding = 0.0;

    template <class R> static void run(R& rows, const double* parameters) {
        using T = typename R::Type;
        const double q = parameters[0];
        // A NaN anywhere is the row's.
        typename R::template Lane<T> spoilt_lanes(T(0));
        rows.sweep([&](const T* x, const T*, T* g, int l, std::ptrdiff_t) {
            spoilt_lanes[l] += x[l] == x[l] ? T(0) : x[l];
            if constexpr (R::Gradient) g[l] = T(0);
        });
        const auto spoilt = R::combine(spoilt_lanes, [](T a, T b) { return a + b; });
        typename R::template Row<double> target, slope;
        for (int r = 0; r < R::count; ++r) {
            target.at[r] = static_cast<double>(rows.prediction(r, rows.label.at[r]))
                           + static_cast<double>(spoilt.at[r]);
        }
        R::each([&](int r) {
            const double p = target.at[r], cost = 0.0 - q * log(p);
            const double loss = one_minus_exp(cost) / q;
            rows.loss.at[r] = p == p ? loss : p;
            // p**q / p, since q - 1 is not exact
            slope.at[r] = p <= 0.0 ? infinity<double> : exp_nonpositive(-cost) / p;
        });
        if constexpr (R::Gradient) {
            for (int r = 0; r < R::count; ++r) {
                const double p = target.at[r];
                if constexpr (sizeof(T) == sizeof(double)) {  // the exponent's rounding would show
                    if (p > 0.0) slope.at[r] = pow(p, q) / p;
                }
                rows.gradient(r, rows.label.at[r]) = static_cast<T>(-rows.scale.at[r] * slope.at[r]);
            }
        }
    }
};

}  // namespace omniloss::OMNILOSS_LEVEL
