// The margin loss of rows with several right classes, row by row: a pass over the row for each of these.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "row_loops.hpp"

namespace omniloss::OMNILOSS_LEVEL {

// sum over right classes j and wrong ones i of n_j max(1 - x_j + x_i, 0) / classes, where n is how often a class
// counts: the target, 0 for wrong ones. A prediction of NaN spoils its row.
struct multilabel_margin {
    static constexpr bool dense = true;
    static constexpr double padding = 0.0;

    template <class R> static void run(R& rows, const double*) {
        static_assert(!R::Tile);
        if (rows.classes <= few) {
            run_short(rows);
        } else {
            run_long(rows);
        }
    }

  private:
    // Rows of so many classes are copied first, in float64.
    static constexpr int few = 128;
    static constexpr int step = 8;

    // What the class of x lacks beside one of the given score, if it is a wrong one
    static OMNILOSS_INLINE double missed_of(double x, double score, bool wrong) {
        const double lacking = (x - score) + 1.0;
        return wrong & !(lacking <= 0.0) ? lacking : 0.0;
    }

    template <class R> static void run_short(R& rows) {
        using T = typename R::Type;
        alignas(64) double x[few], y[few], g[few];
        double spoilt[R::width] = {};
        rows.sweep([&](const T* xs, const T* ys, T*, int l, std::ptrdiff_t j) {
            x[j + l] = static_cast<double>(xs[l]);
            y[j + l] = static_cast<double>(ys[l]);
            g[j + l] = 0.0;
            spoilt[l] += xs[l] == xs[l] ? 0.0 : static_cast<double>(xs[l]);
        });
        double unknown = 0.0;
        for (const double one : spoilt) unknown += one;
        const int classes = static_cast<int>(rows.classes), all = (classes + step - 1) / step * step;
        for (int i = classes; i < all; ++i) y[i] = 1.0;  // wrong classes are those of the row alone
        int right[few], found = 0;  // listed without a branch, which no processor would foresee
        for (int i = 0; i < classes; ++i) {
            right[found] = i;
            found += y[i] != 0.0 ? 1 : 0;
        }
        LaneSum<T, step> losses;
        for (int k = 0; k < found; ++k) {
            const int own = right[k];
            const double count = y[own], score = x[own];
            double pulls[step] = {};
            for (int i = 0; i < all; i += step) {
                OMNILOSS_LOOP
                for (int l = 0; l < step; ++l) {
                    const double missed = missed_of(x[i + l], score, y[i + l] == 0.0);
                    losses.add(l, count * missed);
                    if constexpr (R::Gradient) {
                        const double slope = missed > 0.0 ? count : missed;
                        g[i + l] += slope;
                        pulls[l] += slope;
                    }
                }
            }
            if constexpr (R::Gradient) {
                halve<step / 2>([&](int l, int m) { pulls[l] += pulls[m]; });
                g[own] = -pulls[0];
            }
        }
        halve<step / 2>([&](int l, int m) { losses.merge(l, m); });
        finish(rows, losses.value(0), unknown, [&](T*, int l, std::ptrdiff_t j) { return g[j + l]; });
    }

    template <class R> static void run_long(R& rows) {
        using T = typename R::Type;
        const double classes = static_cast<double>(rows.classes);
        const auto sum = [](double a, double b) { return a + b; };
        typename R::template Lane<double> spoilt(0.0);
        rows.sweep([&](const T* x, const T*, T* g, int l, std::ptrdiff_t) {
            spoilt[l] += x[l] == x[l] ? 0.0 : static_cast<double>(x[l]);
            if constexpr (R::Gradient) g[l] = T(0);
        });
        const double unknown = R::combine(spoilt, sum).at[0];
        typename R::Sum losses;
        for (std::ptrdiff_t first = 0; first < rows.classes; first += chunk_size) {
            double counts[chunk_size];
            rows.read_targets(first, std::min(chunk_size, rows.classes - first), counts);
            for (std::ptrdiff_t own = first; own < std::min(first + chunk_size, rows.classes); ++own) {
                const double count = counts[own - first];
                if (count == 0.0) continue;
                const double score = static_cast<double>(rows.prediction(0, own));
                typename R::template Lane<double> pulls(0.0);
                rows.sweep([&](const T* x, const T* y, T* g, int l, std::ptrdiff_t j) {
                    const bool wrong = (y[l] == T(0)) & (static_cast<double>(j) + l < classes);
                    const double missed = missed_of(static_cast<double>(x[l]), score, wrong);
                    const double slope = missed > 0.0 ? count : missed;
                    losses.add(l, count * missed);
                    pulls[l] += slope;
                    if constexpr (R::Gradient) g[l] += static_cast<T>(slope);
                });
                const double pull = R::combine(pulls, sum).at[0];
                if constexpr (R::Gradient) rows.gradient(0, own) = static_cast<T>(-pull);
            }
        }
        finish(rows, R::combine(losses).at[0], unknown,
               [](T* g, int l, std::ptrdiff_t) { return static_cast<double>(g[l]); });
    }

    template <class R, class Slope>
    static OMNILOSS_INLINE void finish(R& rows, double loss, double unknown, const Slope& slope) {
        using T = typename R::Type;
        const double share = 1.0 / static_cast<double>(rows.classes);
        rows.loss.at[0] = share * loss + unknown;
        if constexpr (R::Gradient) {
            const double factor = share * rows.scale.at[0];
            rows.sweep([&](const T*, const T*, T* g, int l, std::ptrdiff_t j) {
                g[l] = static_cast<T>(factor * slope(g, l, j) + unknown);
            });
        }
    }
};

// However few classes there are: each row has right ones of its own.
template <class T> Outcome run_multilabel_margin(const RowJob& job) {
    if (job.gradient != nullptr) return run_blocks<multilabel_margin, T, false, true>(job);
    return run_blocks<multilabel_margin, T, false, false>(job);
}

}  // namespace omniloss::OMNILOSS_LEVEL
