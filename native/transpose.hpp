// Between rows in memory and a tile [class][lane], whose lanes are rows: small squares are transposed
// in registers, since one element at a time costs more than most losses.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "level.hpp"

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define OMNILOSS_SHUFFLES
#endif
#endif

namespace omniloss::OMNILOSS_LEVEL {

// The side of a square
template <class T> constexpr int square = 32 / static_cast<int>(sizeof(T));

#ifdef OMNILOSS_SHUFFLES

template <class T> struct VectorOf {
    typedef T Type __attribute__((vector_size(32)));
};

// Exchanges the elements of two rows of a square that are `step` apart: those of the first whose place
// has that bit, and those of the second whose place has it not.
template <int step, class V> OMNILOSS_INLINE void exchange(V& first, V& second) {
    const V a = first, b = second;
    if constexpr (sizeof(a[0]) == 8 && step == 1) {
        first = __builtin_shufflevector(a, b, 0, 4, 2, 6);
        second = __builtin_shufflevector(a, b, 1, 5, 3, 7);
    } else if constexpr (sizeof(a[0]) == 8) {
        first = __builtin_shufflevector(a, b, 0, 1, 4, 5);
        second = __builtin_shufflevector(a, b, 2, 3, 6, 7);
    } else if constexpr (step == 1) {
        first = __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14);
        second = __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
    } else if constexpr (step == 2) {
        first = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
        second = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    } else {
        first = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
        second = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

template <int step, class V, int side> OMNILOSS_INLINE void exchange_all(V (&rows)[side]) {
    for (int i = 0; i < side; ++i) {
        if ((i & step) == 0) exchange<step>(rows[i], rows[i + step]);
    }
    if constexpr (2 * step < side) exchange_all<2 * step>(rows);
}

#endif

// out(j)[i] = in(i)[j] for i and j below the side of a square; `in` and `out` give pointers.
template <class T, class In, class Out>
OMNILOSS_INLINE void transpose_square(const In& in, const Out& out) {
#ifdef OMNILOSS_SHUFFLES
    typename VectorOf<T>::Type rows[square<T>];
    for (int i = 0; i < square<T>; ++i) std::memcpy(&rows[i], in(i), sizeof rows[i]);
    exchange_all<1>(rows);
    for (int j = 0; j < square<T>; ++j) std::memcpy(out(j), &rows[j], sizeof rows[j]);
#else
    T kept[square<T>][square<T>];
    for (int i = 0; i < square<T>; ++i) std::memcpy(kept[i], in(i), sizeof kept[i]);
    for (int j = 0; j < square<T>; ++j) {
        for (int i = 0; i < square<T>; ++i) out(j)[i] = kept[i][j];
    }
#endif
}

// Calls body(first) so that [first, first + side of a square) cover [0, n), the last two of them
// overlapping perhaps. n is not less than a side.
template <class T, class Body> OMNILOSS_INLINE void cover(std::ptrdiff_t n, const Body& body) {
    for (std::ptrdiff_t first = 0; first < n; first += square<T>) body(std::min(first, n - square<T>));
}

// From some rows of n elements, at most a square's side, into neighbouring lanes of a tile
template <class T>
OMNILOSS_INLINE void rows_to_lanes(const T* const* rows, int number, std::ptrdiff_t n,
                                   std::ptrdiff_t width, T* OMNILOSS_RESTRICT lanes) {
    if (number == square<T> && n >= square<T>) {
        cover<T>(n, [&](std::ptrdiff_t j) {
            transpose_square<T>([&](int i) { return rows[i] + j; },
                                [&](int i) { return lanes + (j + i) * width; });
        });
        return;
    }
    for (int i = 0; i < number; ++i) {
        for (std::ptrdiff_t j = 0; j < n; ++j) lanes[j * width + i] = rows[i][j];
    }
}

// The way back
template <class T>
OMNILOSS_INLINE void lanes_to_rows(const T* lanes, int number, std::ptrdiff_t n, std::ptrdiff_t width,
                                   T* const* rows) {
    if (number == square<T> && n >= square<T>) {
        cover<T>(n, [&](std::ptrdiff_t j) {
            transpose_square<T>([&](int i) { return lanes + (j + i) * width; },
                                [&](int i) { return rows[i] + j; });
        });
        return;
    }
    for (int i = 0; i < number; ++i) {
        for (std::ptrdiff_t j = 0; j < n; ++j) rows[i][j] = lanes[j * width + i];
    }
}

}  // namespace omniloss::OMNILOSS_LEVEL
