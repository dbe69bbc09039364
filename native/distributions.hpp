// Rows of logits and of probabilities as distributions, for the crossentropies of rowwise.hpp.
#pragma once

#include <cstdint>
#include <limits>

#include "rows.hpp"

namespace omniloss::OMNILOSS_LEVEL {

template <class T> OMNILOSS_INLINE T larger(T a, T b) { return a > b ? a : b; }

// The maximum of each row of logits, and the sum of exp(x - maximum) over all elements but one
// maximum, which keeps its digits when it is far below 1.
template <class R, class Real = typename R::Type> class Softmax {
  public:
    using T = typename R::Type;
    typename R::template Row<T> top;
    typename R::template Row<double> rest, rest_low;

    OMNILOSS_INLINE explicit Softmax(const R& rows) {
        typename R::template Lane<T> highest(-infinity<T>);
        rows.sweep([&](const T* x, const T*, T*, int l, std::ptrdiff_t) {
            highest[l] = larger(x[l], highest[l]);
        });
        top = R::combine(highest, larger<T>);
    }

    OMNILOSS_INLINE bool is_top(T x, int l) const { return x == top[l]; }

    OMNILOSS_INLINE T distance(T x, int l) const { return top[l] - x; }

    // exp(x - maximum). The rounding error of the difference would show: it is carried along. (Not
    // where the result is 0: the error of -inf is NaN.)
    OMNILOSS_INLINE Real power(T given, int l) const {
        constexpr Real least = sizeof(Real) == sizeof(float) ? Real(-110) : Real(-760);
        const Real x = static_cast<Real>(given), m = static_cast<Real>(top[l]);
        const Real difference = x - m;
        const Real part = difference - x;
        const Real error = (x - (difference - part)) - (m + part);
        const Real e = exp_nonpositive(difference, difference < least ? Real(0) : error);
        return x == m ? Real(1) : e;
    }

    // The same in two parts, which float64 shows when they are raised to a power, and `fine` ones
    // when that is high
    template <bool fine> OMNILOSS_INLINE Parts power_parts(T given, int l) const {
        if constexpr (sizeof(T) == sizeof(float)) {
            return {power(given, l), 0.0};
        } else {
            const double difference = given - top[l], part = difference - given;
            const double error = (given - (difference - part)) - (top[l] + part);
            const Parts e = exp_nonpositive_parts<fine>(difference);
            const bool none = (difference < -760.0) | (given == top[l]);
            return {given == top[l] ? 1.0 : e.high, none ? 0.0 : e.low + e.high * error};
        }
    }

    OMNILOSS_INLINE void add(int l, T x, Parts power) {
        const bool top_one = is_top(x, l);
        others.add(l, Parts{top_one ? 0.0 : power.high, top_one ? 0.0 : power.low});
        ties[l] += top_one ? T(1) : T(0);
    }

    OMNILOSS_INLINE void add(int l, T x, Real power) {
        others.add(l, is_top(x, l) ? Real(0) : power);
        ties[l] += is_top(x, l) ? T(1) : T(0);
    }

    // Two infinite maxima leave the softmax undefined.
    OMNILOSS_INLINE void finish() {
        const auto sum = R::combine_parts(others);
        const auto tied = R::combine(ties, [](T a, T b) { return a + b; });
        R::each([&](int r) {
            const double more = static_cast<double>(tied.at[r]) - 1.0;
            const double undefined = static_cast<double>(top.at[r]) * 0.0;
            const Parts all = OMNILOSS_LEVEL::add({sum.high.at[r], sum.low.at[r]}, {more, 0.0});
            rest.at[r] = all.high + (more > 0.0 ? undefined : 0.0);
            rest_low.at[r] = all.low;
        });
    }

  private:
    typename R::Sum others;
    typename R::template Lane<T> ties{T(0)};
};

// Rows of unnormalised probabilities, q_j = p_j / total clipped to [epsilon, 1 - epsilon], all of
// them times `unit`. The largest has the complement rest / total; only it can reach the upper bound.
template <class R> class Probabilities {
  public:
    using T = typename R::Type;
    typename R::template Row<T> unit;               // a power of two, 1 for ordinary rows
    typename R::template Row<T> top;
    typename R::template Row<double> rest;          // the sum of all but the largest,
    typename R::template Row<double> rest_low;      // and what its rounding lost
    typename R::template Row<double> total;         // NaN where everything is 0,
    typename R::template Row<double> total_low;     // and what its rounding lost
    typename R::template Row<double> top_loss;      // -log of the largest
    typename R::template Row<double> top_complement;  // its 1 - q,
    typename R::template Row<double> top_lost;        // and what the rounding of that lost
    typename R::template Row<double> top_inside;    // 1 where the largest is not clipped
    typename R::template Row<double> bound;         // p_j is clipped from here down
    double epsilon, bound_loss;

    OMNILOSS_INLINE Probabilities(const R& rows, double given)
        : epsilon(given), bound_loss(-log(given)) {
        R::each([&](int r) { unit.at[r] = T(1); });
        add_up(rows);
        // A total beyond the type's range, or so small that its inverse is, is scaled by a power of two.
        constexpr bool single = sizeof(T) == sizeof(float);
        constexpr double least = single ? 0x1p-64 : 0x1p-600, grow = single ? 0x1p64 : 0x1p500;
        const double most = static_cast<double>(std::numeric_limits<T>::max());
        double shrink = 0.5;
        while (shrink * static_cast<double>(rows.classes) > 0.5) shrink *= 0.5;
        bool again = false;
        for (int r = 0; r < R::count; ++r) {
            const double sum = static_cast<double>(top.at[r]) + rest.at[r];
            const bool huge = (sum > most) & (top.at[r] < infinity<T>);
            unit.at[r] = static_cast<T>(huge ? shrink : (sum < least ? grow : 1.0));
            again = again || unit.at[r] != T(1);
        }
        if (again) add_up(rows);
        R::each([&](int r) { bounds(r, static_cast<double>(top.at[r]), rest.at[r]); });
    }

    // The same for a softmax: the largest is 1.
    OMNILOSS_INLINE Probabilities(const Softmax<R, double>& softmax, double given)
        : epsilon(given), bound_loss(-log(given)) {
        R::each([&](int r) {
            unit.at[r] = T(1);
            top.at[r] = T(1);
            rest.at[r] = softmax.rest.at[r];
            rest_low.at[r] = softmax.rest_low.at[r];
            bounds(r, 1.0, rest.at[r]);
        });
    }

    // The losses of the rows, NaN where the row has one
    OMNILOSS_INLINE auto with_nan(const typename R::template Row<double>& losses) const {
        typename R::template Row<double> result;
        R::each([&](int r) {
            const double sum = total.at[r], loss = losses.at[r];
            result.at[r] = sum == sum ? loss : sum;
        });
        return result;
    }

    OMNILOSS_INLINE double loss(double p, int l) const {
        const double free = log_ratio(total[l], p);
        const double low = p <= bound[l] ? bound_loss : free;
        return p == static_cast<double>(top[l]) ? top_loss[l] : low;
    }

    // What stands for an element; a negative zero becomes a positive one.
    OMNILOSS_INLINE T scaled(T x, int l) const { return x * unit[l] + T(0); }

  private:
    // Finds the largest element and the sum of the others of each row.
    OMNILOSS_INLINE void add_up(const R& rows) {
        typename R::template Lane<T> highest(0);
        typename R::Sum others;
        rows.sweep([&](const T* given, const T*, T*, int l, std::ptrdiff_t) {
            const T x = scaled(given[l], l), high = highest[l];
            others.add(l, x > high ? high : x);
            highest[l] = larger(x, high);
        });
        if constexpr (!R::Tile) {
            halve<R::width / 2>([&](int l, int m) {
                const T a = highest[l], b = highest[m];
                others.add(l, a > b ? b : a);
                others.merge(l, m);
                highest[l] = larger(a, b);
            });
            top.at[0] = highest[0];
            rest.at[0] = others.value(0);
            rest_low.at[0] = others.lost(0);
        } else {
            top = R::combine(highest, larger<T>);
            const auto sum = R::combine_parts(others);
            rest = sum.high;
            rest_low = sum.low;
        }
    }

    OMNILOSS_INLINE void bounds(int r, double largest, double others) {
        const double sum = largest + others, part = sum - largest;
        total_low.at[r] = ((largest - (sum - part)) + (others - part)) + rest_low.at[r];
        total.at[r] = sum == 0.0 ? not_a_number<double> : sum;
        const double low = epsilon * total.at[r];
        bound.at[r] = epsilon > 0.0 ? low : -1.0;
        const bool above = (epsilon > 0.0) & (others <= low);
        const bool below = (epsilon > 0.0) & (largest <= low);
        const double free = log1p(others / largest);
        top_loss.at[r] = above ? -log1p(-epsilon) : (below ? bound_loss : free);
        const Parts whole = {total.at[r], total_low.at[r]};
        const Parts free_q = divide({largest, 0.0}, whole);
        const Parts free_small = divide({others, rest_low.at[r]}, whole);
        const double q = below ? epsilon : free_q.high, direct = 1.0 - q;
        const double small = above ? epsilon : free_small.high;
        const double direct_lost = ((1.0 - direct) - q) - (below ? 0.0 : free_q.low);
        top_complement.at[r] = q > 0.5 ? small : direct;
        top_lost.at[r] = q > 0.5 ? (above ? 0.0 : free_small.low) : direct_lost;
        top_inside.at[r] = above | below ? 0.0 : 1.0;
    }
};

}  // namespace omniloss::OMNILOSS_LEVEL
