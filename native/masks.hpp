// Masks: which elements or rows have no part in a loss.
#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels.hpp"
#include "operand.hpp"

namespace omniloss::OMNILOSS_LEVEL {

// The given weights of n elements, 1 if none are given (null), and 0 where a mask leaves an element
// out. The result is in `buffer`, which has tile_buffer_size elements and may hold the given ones.
template <class T>
OMNILOSS_NOINLINE const T* apply_masks(const Masks& masks, std::ptrdiff_t start, std::ptrdiff_t n,
                                       const T* given, T* buffer) {
    if (given == nullptr) {
        std::fill(buffer, buffer + n, T(1));
    } else if (given != buffer) {
        std::copy(given, given + n, buffer);
    }
    double read[tile_buffer_size];
    for (int i = 0; i < masks.count; ++i) {
        const double* x = read_tile(masks.views[i], start, n, read);
        const double excluded = masks.excluded[i];
        for (std::ptrdiff_t j = 0; j < n; ++j) buffer[j] = x[j] == excluded ? T(0) : buffer[j];
    }
    return buffer;
}

}  // namespace omniloss::OMNILOSS_LEVEL
