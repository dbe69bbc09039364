// What the pass of a pointwise loss does with a tile: checks, weights, and losses and gradients in plain
// loops, which become vector code.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "blocks.hpp"
#include "operand.hpp"
#include "vector_math.hpp"

namespace omniloss::OMNILOSS_LEVEL {

template <class T> bool any_outside(const T* OMNILOSS_RESTRICT x, std::ptrdiff_t n, T low, T high) {
    unsigned outside = 0;
    for (std::ptrdiff_t i = 0; i < n; ++i) outside |= unsigned(x[i] < low) | unsigned(x[i] > high);
    return outside != 0;
}

// Whether something may lie outside [0, high], quickly: the bits of numbers from 0 on are in the
// order of the numbers. -0 and NaN, which are allowed, raise a false alarm.
template <class T> bool may_be_outside(const T* OMNILOSS_RESTRICT x, std::ptrdiff_t n, T high) {
    using Bits = typename Format<T>::Bits;
    Bits most = 0;
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const Bits bits = to_bits(x[i]);
        most = bits > most ? bits : most;
    }
    return most > to_bits(high);
}

// Whether all elements are 0 or 1, those of weight 0 left out where there are weights (w not null).
// x**2 == x for 0 and 1 alone, in floating point too.
template <class T>
bool all_binary(const T* OMNILOSS_RESTRICT x, const T* OMNILOSS_RESTRICT w, std::ptrdiff_t n) {
    using Bits = typename Format<T>::Bits;
    Bits other = 0;
    if (w == nullptr) {
        for (std::ptrdiff_t i = 0; i < n; ++i) other |= to_bits(x[i] * x[i] - x[i]);
    } else {
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            const Bits found = to_bits(x[i] * x[i] - x[i]);
            other |= w[i] == T(0) ? Bits{0} : found;
        }
    }
    return other == 0;
}

template <class T>
void map_targets(const T* OMNILOSS_RESTRICT x, std::ptrdiff_t n, T scale, T offset,
                 T* OMNILOSS_RESTRICT out) {
    for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = scale * x[i] + offset;
}

// An element of weight 0 has no part in anything, whatever its loss is.
template <class T>
void clear_unweighted(const T* OMNILOSS_RESTRICT w, std::ptrdiff_t n, T* OMNILOSS_RESTRICT v) {
    for (std::ptrdiff_t i = 0; i < n; ++i) v[i] = w[i] == T(0) ? T(0) : v[i];
}

// Whether all weights are 0 or far from the ends of T's range.
template <class T> bool are_moderate(const T* OMNILOSS_RESTRICT w, std::ptrdiff_t n) {
    using Bits = typename Format<T>::Bits;
    Bits most = 0, least = ~Bits{0};
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const Bits size = to_bits(std::abs(w[i]));
        const Bits below = size - 1;  // of 0 the largest of all
        most = size > most ? size : most;
        least = below < least ? below : least;
    }
    return most <= to_bits(T(0x1p30)) && least >= to_bits(T(0x1p-30));
}

OMNILOSS_INLINE bool is_moderate(double scale) {
    return (std::abs(scale) >= 0x1p-60) & (std::abs(scale) <= 0x1p60);
}

// Of tiny or huge weights the scale, one over their sum perhaps, or its product with a derivative may
// be beyond T's range where the whole product is not: it is rounded to T at the end alone.
template <class W, class T>
void weigh_gradient(const W* OMNILOSS_RESTRICT w, std::ptrdiff_t n, double scale,
                    T* OMNILOSS_RESTRICT g) {
    if constexpr (std::is_same_v<T, float>) {
        if (is_moderate(scale) && are_moderate(w, n)) {
            const T factor = static_cast<T>(scale);
            for (std::ptrdiff_t i = 0; i < n; ++i) {
                const T weighed = (factor * static_cast<T>(w[i])) * g[i];
                g[i] = w[i] == W(0) ? T(0) : weighed;
            }
            return;
        }
    }
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const double factor = scale * static_cast<double>(w[i]);
        const T weighed = static_cast<T>(factor * static_cast<double>(g[i]));
        g[i] = w[i] == W(0) ? T(0) : weighed;
    }
}

// The same with a weight for each group of `lanes` elements
template <class T>
void weigh_groups(const double* OMNILOSS_RESTRICT w, std::ptrdiff_t n, double scale,
                  T* OMNILOSS_RESTRICT g) {
    const std::ptrdiff_t groups = n / lanes;
    if (is_moderate(scale) && are_moderate(w, groups)) {
        for (std::ptrdiff_t i = 0; i < groups; ++i) {
            const T factor = static_cast<T>(scale * w[i]);
            T* OMNILOSS_RESTRICT group = g + i * lanes;
            for (int l = 0; l < lanes; ++l) group[l] = w[i] == 0.0 ? T(0) : factor * group[l];
        }
        return;
    }
    for (std::ptrdiff_t i = 0; i < groups; ++i) {
        const double factor = scale * w[i];
        T* OMNILOSS_RESTRICT group = g + i * lanes;
        for (int l = 0; l < lanes; ++l) {
            const T weighed = static_cast<T>(factor * static_cast<double>(group[l]));
            group[l] = w[i] == 0.0 ? T(0) : weighed;
        }
    }
}

// 1 for each weight that counts, 0 for others
template <class T>
void mark_used(const double* OMNILOSS_RESTRICT w, std::ptrdiff_t n, T* OMNILOSS_RESTRICT used) {
    for (std::ptrdiff_t i = 0; i < n; ++i) used[i] = w[i] == 0.0 ? T(0) : T(1);
}

template <bool gradient, class T, class Loss>
void evaluate(const Loss& given, const T* OMNILOSS_RESTRICT y, const T* OMNILOSS_RESTRICT p,
              std::ptrdiff_t n, T scale, T* OMNILOSS_RESTRICT v, T* OMNILOSS_RESTRICT g) {
    const Loss loss = given;
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        v[i] = loss.value(y[i], p[i]);
        if constexpr (gradient) g[i] = scale * loss.first(y[i], p[i]);
    }
}

// Losses of an element of another array besides
template <class Loss, class T>
concept TakesOther = requires(const Loss& loss, T x) { loss.value(x, x, x); };

template <bool gradient, class T, class Loss>
void evaluate_with(const Loss& given, const T* OMNILOSS_RESTRICT y, const T* OMNILOSS_RESTRICT p,
                   const T* OMNILOSS_RESTRICT other, std::ptrdiff_t n, T scale,
                   T* OMNILOSS_RESTRICT v, T* OMNILOSS_RESTRICT g) {
    const Loss loss = given;
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        v[i] = loss.value(y[i], p[i], other[i]);
        if constexpr (gradient) g[i] = scale * loss.first(y[i], p[i], other[i]);
    }
}

// What pointwise.hpp says of plain arguments
template <class Loss> concept OnePlain = requires { &Loss::plain; };
template <class Loss> concept Multiplied = requires { &Loss::excess; };
template <class Loss> concept Plain = OnePlain<Loss> || Multiplied<Loss>;

// As `evaluate`, if all elements are plain; else false, and what was written is of no use.
template <bool gradient, class T, class Loss>
bool evaluate_plain(const Loss& given, const T* OMNILOSS_RESTRICT y, const T* OMNILOSS_RESTRICT p,
                    std::ptrdiff_t n, T scale, T* OMNILOSS_RESTRICT v, T* OMNILOSS_RESTRICT g) {
    const Loss loss = given;
    typename Format<T>::Bits reached = 0;
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const auto reach = loss.reach(y[i], p[i]);
        reached = reach > reached ? reach : reached;
        v[i] = loss.plain(y[i], p[i]);
        if constexpr (gradient) g[i] = scale * loss.plain_first(y[i], p[i]);
    }
    return reached <= to_bits(Loss::farthest);
}

// (1 + a) * (1 + b) - 1 for the two halves of a tile, of the result the same, until a vector is left.
// All are positive, so that every step costs no more than its rounding.
template <std::ptrdiff_t half, class T> void multiply_excesses(T* OMNILOSS_RESTRICT e) {
    for (std::ptrdiff_t i = 0; i < half; ++i) e[i] = (e[i] + e[i + half]) + e[i] * e[i + half];
    if constexpr (half > lanes) multiply_excesses<half / 2>(e);
}

// The losses of a whole tile added to a sum, and its gradient, if all elements are plain; else false.
template <bool gradient, class T, class Loss>
bool add_multiplied(const Loss& given, const T* OMNILOSS_RESTRICT y, const T* OMNILOSS_RESTRICT p,
                    T scale, T* OMNILOSS_RESTRICT v, T* OMNILOSS_RESTRICT g, Sum& sum) {
    const Loss loss = given;
    alignas(64) T e[tile_size];
    typename Format<T>::Bits reached = 0;
    for (std::ptrdiff_t i = 0; i < tile_size; ++i) {
        const auto reach = loss.reach(y[i], p[i]);
        reached = reach > reached ? reach : reached;
        e[i] = loss.excess(y[i], p[i]);
        if constexpr (Loss::has_linear) v[i] = loss.linear(y[i], p[i]);
        if constexpr (gradient) g[i] = scale * loss.plain_first(y[i], p[i]);
    }
    if (reached > to_bits(Loss::farthest)) return false;
    multiply_excesses<tile_size / 2>(e);
    for (int l = 0; l < lanes; ++l) e[l] = log1p(e[l]);
    if constexpr (Loss::has_linear) sum.add(v, tile_size);
    sum.add(e, lanes);
    return true;
}

// Sums of rows that are completed one after the other, tile by tile
template <class T> struct RowSums {
    T* values;
    std::ptrdiff_t columns;
    double scale;
    std::ptrdiff_t row;
    std::ptrdiff_t column;
    double unfinished = 0.0;

    void add(const T* v, std::ptrdiff_t n) {
        if (columns == 1 && scale == 1.0) {
            std::memcpy(values + row, v, static_cast<std::size_t>(n) * sizeof(T));
            row += n;
            return;
        }
        if (columns == 1) {
            for (std::ptrdiff_t i = 0; i < n; ++i) {
                values[row + i] = static_cast<T>(scale * static_cast<double>(v[i]));
            }
            row += n;
            return;
        }
        while (n > 0) {
            const std::ptrdiff_t take = n < columns - column ? n : columns - column;
            unfinished += sum(v, take);
            v += take;
            n -= take;
            column += take;
            if (column == columns) {
                values[row++] = static_cast<T>(scale * unfinished);
                unfinished = 0.0;
                column = 0;
            }
        }
    }
};

}  // namespace omniloss::OMNILOSS_LEVEL
