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
        using T = typename R::Type;
        static_assert(!R::Tile);
        const double share = 1.0 / static_cast<double>(rows.classes);
        const double classes = static_cast<double>(rows.classes);
        typename R::template Lane<double> spoilt(0.0);
        rows.sweep([&](const T* x, const T*, T* g, int l, std::ptrdiff_t) {
            spoilt[l] = x[l] == x[l] ? spoilt[l] : static_cast<double>(x[l]);
            if constexpr (R::Gradient) g[l] = T(0);
        });
        const auto sum = [](double a, double b) { return a + b; };
        const double unknown = R::combine(spoilt, sum).at[0];
        typename R::Sum losses;
        if (unknown == 0.0) {
            for (std::ptrdiff_t own = 0; own < rows.classes; ++own) {
                const double count = static_cast<double>(rows.target(own));
                if (count == 0.0) continue;
                const double score = static_cast<double>(rows.prediction(0, own));
                typename R::template Lane<double> pulls(0.0);
                rows.sweep([&](const T* x, const T* y, T* g, int l, std::ptrdiff_t j) {
                    const bool other = (y[l] == T(0)) & (static_cast<double>(j) + l < classes);
                    const double lacking = (static_cast<double>(x[l]) - score) + 1.0;
                    const double missed = other & !(lacking <= 0.0) ? lacking : 0.0;
                    const double slope = missed > 0.0 ? count : missed;
                    losses.add(l, count * missed);
                    pulls[l] += slope;
                    if constexpr (R::Gradient) g[l] += static_cast<T>(slope);
                });
                const double pull = R::combine(pulls, sum).at[0];
                if constexpr (R::Gradient) rows.gradient(0, own) = static_cast<T>(-pull);
            }
        }
        rows.loss.at[0] = share * R::combine(losses).at[0] + unknown;
        if constexpr (R::Gradient) {
            const double factor = share * rows.scale.at[0];
            rows.sweep([&](const T*, const T*, T* g, int l, std::ptrdiff_t) {
                g[l] = static_cast<T>(factor * static_cast<double>(g[l]) + unknown);
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
