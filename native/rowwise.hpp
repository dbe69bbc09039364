// The row losses: a struct each, named as its formula. `run` fills rows.loss with the loss of each
// row and, where a gradient is wanted, rows.g with its derivative times rows.scale.
//
// One that `picks` only sees the prediction at the label: it gives its value and slope.
//
// Sums, and whatever is computed once per row, are in float64. `padding` fills up the last step of
// a long row: a prediction that, with the target 0, changes nothing.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "distributions.hpp"
#include "rows.hpp"

namespace omniloss::OMNILOSS_LEVEL {

// 0 times anything but NaN is 0 here: a class without target mass adds nothing, even at infinity.
template <class T> OMNILOSS_INLINE T masked_product(T mass, T x) {
    return (mass == T(0)) & (x == x) ? T(0) : mass * x;
}

// The largest T that is not above x >= 0: a T exceeds it just where it exceeds x.
template <class T> OMNILOSS_INLINE T round_down(double x) {
    const T near = static_cast<T>(x);
    return from_bits<T>(to_bits(near) - (static_cast<double>(near) > x ? 1 : 0));
}

// log(sum_j exp(x_j)) - x_k = (max - x_k) + log1p(rest)
struct sparse_categorical_crossentropy_with_logits {
    static constexpr bool dense = false;
    static constexpr double padding = -infinity<double>;

    template <class R> static void run(R& rows, const double*) {
        using T = typename R::Type;
        Softmax<R> softmax(rows);
        rows.sweep_twice([&](const T* x, int l) { return softmax.power(x[l], l); },
                         [&](T power, const T* x, const T*, int l) { softmax.add(l, x[l], power); });
        softmax.finish();
        typename R::template Row<T> target, power, slope, at_target;
        for (int r = 0; r < R::count; ++r) {
            target.at[r] = rows.prediction(r, rows.label.at[r]);
            if constexpr (R::Gradient) power.at[r] = rows.gradient(r, rows.label.at[r]);
        }
        R::each([&](int r) {
            const bool is_top = target.at[r] == softmax.top.at[r];
            const double rest = softmax.rest.at[r];
            const double behind =
                static_cast<double>(softmax.top.at[r]) - static_cast<double>(target.at[r]);
            rows.loss.at[r] = (is_top ? 0.0 : behind) + log1p(rest);
            if constexpr (R::Gradient) {
                const double share = rows.scale.at[r] / (1.0 + rest);
                const double missing = (1.0 + rest) - static_cast<double>(power.at[r]);
                slope.at[r] = static_cast<T>(share);
                at_target.at[r] = static_cast<T>(-share * (is_top ? rest : missing));
            }
        });
        if constexpr (R::Gradient) {
            rows.sweep([&](const T*, const T*, T* g, int l, std::ptrdiff_t) { g[l] *= slope[l]; });
            for (int r = 0; r < R::count; ++r) {
                rows.gradient(r, rows.label.at[r]) = at_target.at[r];
            }
        }
    }
};

// sum_j y_j (max - x_j) + S log1p(rest), S = sum_j y_j
struct categorical_crossentropy_with_logits {
    static constexpr bool dense = true;
    static constexpr double padding = -infinity<double>;

    template <class R> static void run(R& rows, const double*) {
        using T = typename R::Type;
        Softmax<R> softmax(rows);
        typename R::Sum cost_sum, mass_sum;
        const auto add_up = [&](T& power, const T* x, const T* y, int l) {
            softmax.add(l, x[l], power);
            const bool is_top = softmax.is_top(x[l], l);
            const T behind = is_top ? T(0) : softmax.top[l] - x[l];
            cost_sum.add(l, y[l] == T(0) ? T(0) : y[l] * behind);
            mass_sum.add(l, y[l]);
            if constexpr (R::Gradient) power = is_top ? T(-1) : power;  // -1 marks a maximum
        };
        rows.sweep_twice([&](const T* x, int l) { return softmax.power(x[l], l); }, add_up);
        softmax.finish();
        const auto cost = R::combine(cost_sum);
        const auto mass = R::combine_parts(mass_sum);
        // The derivative is S p_j - y_j; of a maximum ((S - y_j) - y_j rest) / (1 + rest), where S
        // is in two parts, so that S - y_j keeps its digits.
        typename R::template Row<T> mass_high, mass_low, slope, top_slope, top_pull, pull;
        R::each([&](int r) {
            const double rest = softmax.rest.at[r];
            rows.loss.at[r] = cost.at[r] + mass.high.at[r] * log1p(rest);
            if constexpr (R::Gradient) {
                const double scale = rows.scale.at[r], share = scale / (1.0 + rest);
                mass_high.at[r] = static_cast<T>(mass.high.at[r]);
                const double kept = static_cast<double>(mass_high.at[r]);
                mass_low.at[r] = static_cast<T>((mass.high.at[r] - kept) + mass.low.at[r]);
                slope.at[r] = static_cast<T>(share * mass.high.at[r]);
                top_slope.at[r] = static_cast<T>(share);
                top_pull.at[r] = static_cast<T>(share * rest);
                pull.at[r] = static_cast<T>(scale);
            }
        });
        if constexpr (R::Gradient) {
            rows.sweep([&](const T*, const T* y, T* g, int l, std::ptrdiff_t) {
                const T other_mass = (mass_high[l] - y[l]) + mass_low[l];
                const T at_top = other_mass * top_slope[l] - y[l] * top_pull[l];
                const T elsewhere = g[l] * slope[l] - y[l] * pull[l];
                g[l] = g[l] < T(0) ? at_top : elsewhere;
            });
        }
    }
};

// -log q_k
struct sparse_categorical_crossentropy {
    static constexpr bool dense = false;
    static constexpr double padding = 0.0;

    template <class R> static void run(R& rows, const double* parameters) {
        using T = typename R::Type;
        const Probabilities<R> row(rows, parameters[0]);
        typename R::template Row<T> target, slope, at_target;
        for (int r = 0; r < R::count; ++r) {
            target.at[r] = row.scaled(rows.prediction(r, rows.label.at[r]), r);
        }
        R::each([&](int r) {
            const double p = static_cast<double>(target.at[r]), total = row.total.at[r];
            const bool is_top = target.at[r] == row.top.at[r];
            rows.loss.at[r] = row.loss(p, r);
            if constexpr (R::Gradient) {
                const double low_inside = p <= row.bound.at[r] ? 0.0 : 1.0;
                const double inside = is_top ? row.top_inside.at[r] : low_inside;
                const double unit = static_cast<double>(row.unit.at[r]);
                const double push = rows.scale.at[r] / total * unit;
                const double others = is_top ? row.rest.at[r] : total - p;
                slope.at[r] = static_cast<T>(inside == 0.0 ? 0.0 : push);
                const double pull = rows.scale.at[r] * (others / total / p) * unit;
                at_target.at[r] = static_cast<T>(inside == 0.0 ? 0.0 : -pull);
            }
        });
        if constexpr (R::Gradient) {
            rows.sweep([&](const T*, const T*, T* g, int l, std::ptrdiff_t) { g[l] = slope[l]; });
            for (int r = 0; r < R::count; ++r) {
                rows.gradient(r, rows.label.at[r]) = at_target.at[r];
            }
        }
    }
};

// -sum_j y_j log q_j
struct categorical_crossentropy {
    static constexpr bool dense = true;
    static constexpr double padding = 0.0;

    template <class R> static void run(R& rows, const double* parameters) {
        using T = typename R::Type;
        const Probabilities<R> row(rows, parameters[0]);
        typename R::template Row<T> total, top_loss, top_inside, bound, rest_part, push;
        typename R::template Row<T> mass_high, mass_low;
        const T bound_loss = static_cast<T>(row.bound_loss);
        R::each([&](int r) {
            total.at[r] = static_cast<T>(row.total.at[r]);
            top_loss.at[r] = static_cast<T>(row.top_loss.at[r]);
            top_inside.at[r] = static_cast<T>(row.top_inside.at[r]);
            bound.at[r] = row.bound.at[r] < 0.0 ? T(-1) : round_down<T>(row.bound.at[r]);
        });
        const auto inside = [&](T x, int l) {
            return x == row.top[l] ? top_inside[l] : (x <= bound[l] ? T(0) : T(1));
        };
        typename R::Sum cost_sum, mass_sum;
        rows.sweep([&](const T* given, const T* y, T*, int l, std::ptrdiff_t) {
            const T x = row.scaled(given[l], l);
            const T free = log_ratio(total[l], x);
            const T low = x <= bound[l] ? bound_loss : free;
            const T cost = x == row.top[l] ? top_loss[l] : low;
            cost_sum.add(l, y[l] == T(0) ? T(0) : y[l] * cost);
            if constexpr (R::Gradient) mass_sum.add(l, inside(x, l) * y[l]);
        });
        rows.loss = row.with_nan(R::combine(cost_sum));
        if constexpr (!R::Gradient) return;
        // With M the mass that is not clipped, of an element that is not either:
        // ((M - y_j) - y_j (total - p_j) / p_j) / total
        const auto mass = R::combine_parts(mass_sum);
        R::each([&](int r) {
            const double share = rows.scale.at[r] / row.total.at[r];
            mass_high.at[r] = static_cast<T>(mass.high.at[r]);
            const double kept = static_cast<double>(mass_high.at[r]);
            mass_low.at[r] = static_cast<T>((mass.high.at[r] - kept) + mass.low.at[r]);
            push.at[r] = static_cast<T>(share);
            rest_part.at[r] = static_cast<T>(row.rest.at[r] * share);
        });
        rows.sweep([&](const T* given, const T* y, T* g, int l, std::ptrdiff_t) {
            const T x = row.scaled(given[l], l);
            const T own = inside(x, l) * y[l];
            const T others = x == row.top[l] ? rest_part[l] : (total[l] - x) * push[l];
            const T pull = own == T(0) ? T(0) : own / x * others;
            g[l] = (((mass_high[l] - own) + mass_low[l]) * push[l] - pull) * row.unit[l];
        });
    }
};

// w**gamma, its derivative, and what a small change of w changes in that, for w = 1 - q. The powers
// 0, 1 and 2 are a polynomial. Others multiply the rounding errors of w by so much that float64 shows
// them: there q and w are in two parts, and so is what is made of them.
struct PolynomialFocus {
    static constexpr bool in_parts = false;
    double constant, linear, square;
    explicit PolynomialFocus(double gamma)
        : constant(gamma == 0.0), linear(gamma == 1.0), square(gamma == 2.0) {}
    OMNILOSS_INLINE double power(double w) const { return constant + w * (linear + w * square); }
    OMNILOSS_INLINE double slope(double w, double) const { return linear + 2.0 * square * w; }
    OMNILOSS_INLINE double bend(double, double, double change) const {
        return 2.0 * square * change;
    }
};

template <class T> struct GeneralFocus {
    static constexpr bool in_parts = sizeof(T) == sizeof(double);
    double gamma;
    explicit GeneralFocus(double given) : gamma(given) {}
    OMNILOSS_INLINE double power(double w) const {
        if constexpr (sizeof(T) == sizeof(float)) return exp(gamma * log(w));
        return pow(w, gamma);
    }
    OMNILOSS_INLINE double slope(double w, double power) const {
        return w == 0.0 ? 0.0 : gamma * (power / w);
    }
    OMNILOSS_INLINE double bend(double w, double slope, double change) const {
        return change == 0.0 ? 0.0 : (gamma - 1.0) * slope * (change / w);
    }
    OMNILOSS_INLINE Parts power(Parts w) const {
        const double rounded = power(w.high);
        return {rounded, slope(w.high, rounded) * w.low};
    }
    // 1 + gamma * q * cost / w, by which a power times the cost grows with log q
    OMNILOSS_INLINE Parts growth(Parts w, Parts q, double cost) const {
        const bool none = (q.high == 0.0) | (w.high == 0.0);
        const Parts rate = multiply(gamma, divide(multiply(cost, q), w));
        return add({1.0, 0.0}, {none ? 0.0 : rate.high, none ? 0.0 : rate.low});
    }
};

// sum_j alpha y_j (1 - q_j)**gamma (-log q_j), in float64 throughout. With
// G_j = q_j d(loss)/d(q_j) the derivative by a logit is G_j (1 - q_j) - q_j sum_{i != j} G_i, and
// by a probability that divided by p_j.
template <bool logits> struct CategoricalFocal {
    static constexpr bool dense = true;
    static constexpr double padding = logits ? -infinity<double> : 0.0;

    template <class R> static void run(R& rows, const double* parameters) {
        const double gamma = parameters[2];
        if (gamma == 0.0 || gamma == 1.0 || gamma == 2.0) {
            prepare(rows, parameters, PolynomialFocus(gamma));
        } else {
            prepare(rows, parameters, GeneralFocus<typename R::Type>(gamma));
        }
    }

  private:
    template <class R, class Focus>
    static void prepare(R& rows, const double* parameters, const Focus& focus) {
        using T = typename R::Type;
        if constexpr (logits) {
            Softmax<R, double> softmax(rows);
            rows.sweep([&](const T* x, const T*, T*, int l, std::ptrdiff_t) {
                softmax.add(l, x[l], softmax.template power_parts<Focus::in_parts>(x[l], l));
            });
            softmax.finish();
            const Probabilities<R> row(softmax, parameters[0]);
            const typename R::template Row<T> top = softmax.top;
            typename R::template Row<double> tail;
            R::each([&](int r) { tail.at[r] = log1p(softmax.rest.at[r]); });
            const auto probability = [&](T x, int l) OMNILOSS_INLINE_LAMBDA {
                if constexpr (Focus::in_parts) {
                    return softmax.template power_parts<true>(x, l);
                } else {
                    return Parts{softmax.power(x, l), 0.0};
                }
            };
            const auto loss = [&](T x, double, int l) {
                return static_cast<double>(top[l]) - static_cast<double>(x) + tail[l];
            };
            finish(rows, row, top, parameters[1], focus, probability, loss);
        } else {
            const Probabilities<R> row(rows, parameters[0]);
            const auto probability = [&](T x, int l) {
                return Parts{static_cast<double>(row.scaled(x, l)), 0.0};
            };
            const auto loss = [&](T, double p, int l) { return log_ratio(row.total[l], p); };
            finish(rows, row, row.top, parameters[1], focus, probability, loss);
        }
    }

    // What stands for an element is its unnormalised probability p and log(total / p); which is the
    // largest shows in the predictions.
    template <class R, class Row, class Focus, class Probability, class Loss>
    static void finish(R& rows, const Probabilities<R>& row, const Row& largest, double alpha,
                       const Focus& focus, const Probability& probability, const Loss& loss) {
        using T = typename R::Type;
        const double epsilon = row.epsilon, bound_cost = row.bound_loss;
        // Calls use(q, 1 - q, -log q, (1 - q)**gamma, G), the latter four clipped.
        const auto element = [&](T x, T y, int l, const auto& use) OMNILOSS_INLINE_LAMBDA {
            const Parts given = probability(x, l);
            const double p = given.high, total = row.total[l];
            const double top_complement = row.top_complement[l], top_cost = row.top_loss[l];
            const double top_inside = row.top_inside[l], top_lost = row.top_lost[l];
            const double free_cost = loss(x, p, l);
            const double place = logits ? static_cast<double>(x) : p;
            const bool is_top = place == static_cast<double>(largest[l]);
            const bool clipped = p <= row.bound[l];
            Parts share = {p / total, 0.0};
            if constexpr (Focus::in_parts) {
                share = normalised(divide(given, {total, row.total_low[l]}));
            }
            const double q = share.high, low = clipped ? epsilon : q;
            const double free = 1.0 - low;
            const double free_lost = ((1.0 - free) - low) - (clipped ? 0.0 : share.low);
            const double low_cost = clipped ? bound_cost : free_cost;
            const Parts complement = {is_top ? top_complement : free, is_top ? top_lost : free_lost};
            const double cost = is_top ? top_cost : low_cost;
            const double inside = is_top ? top_inside : (clipped ? 0.0 : 1.0);
            const double mass = alpha * static_cast<double>(y) * inside;
            double power;
            Parts pull;
            if constexpr (Focus::in_parts) {
                const Parts carried = focus.power(complement);
                power = carried.high + carried.low;
                const Parts turn = multiply(carried, focus.growth(complement, share, cost));
                pull = normalised(multiply(-mass, turn));
            } else {
                const double rounded_power = focus.power(complement.high);
                const double rounded_slope = focus.slope(complement.high, rounded_power);
                const double bend = focus.bend(complement.high, rounded_slope, complement.low);
                power = rounded_power + rounded_slope * complement.low;
                const double fall = q == 0.0 ? 0.0 : (rounded_slope + bend) * (q * cost);
                pull = {-(mass * (fall + power)), 0.0};
            }
            const bool pulls = mass != 0.0;
            use(q, complement, cost, power, Parts{pulls ? pull.high : 0.0, pulls ? pull.low : 0.0});
        };
        typename R::Sum cost_sum, pull_sum;
        typename R::template Lane<double> pulling(0.0);
        rows.sweep([&](const T* x, const T* y, T*, int l, std::ptrdiff_t) {
            element(x[l], y[l], l, [&](double, Parts, double cost, double power, Parts pull) {
                const double mass = alpha * static_cast<double>(y[l]);
                cost_sum.add(l, mass == 0.0 ? 0.0 : mass * (power * cost));
                if constexpr (R::Gradient) {
                    pull_sum.add(l, pull.high);
                    pulling[l] += pull.high == 0.0 ? 0.0 : 1.0;
                }
            });
        });
        rows.loss = row.with_nan(R::combine(cost_sum));
        if constexpr (R::Gradient) {
            const auto pulls = R::combine_parts(pull_sum);
            const auto pullers = R::combine(pulling, [](double a, double b) { return a + b; });
            rows.sweep([&](const T* x, const T* y, T* g, int l, std::ptrdiff_t) {
                element(x[l], y[l], l, [&](double q, Parts complement, double, double, Parts pull) {
                    // The only one that pulls has no others, to the last digit.
                    const double number = pullers[l];
                    const double all = pulls.high[l], sum = (all - pull.high) + pulls.low[l];
                    const double without = number == 1.0 ? 0.0 : sum;
                    const double others = pull.high == 0.0 ? all : without;
                    double own = pull.high * complement.high, slope;
                    if constexpr (Focus::in_parts) {
                        const Parts product = multiply(pull, complement);
                        own = product.high + product.low;
                    }
                    if constexpr (logits) {
                        slope = own - q * others;
                    } else {
                        const double p = probability(x[l], l).high;
                        slope = (own == 0.0 ? 0.0 : own / p) - others / row.total[l];
                        slope *= static_cast<double>(row.unit[l]);
                    }
                    g[l] = static_cast<T>(rows.scale[l] * slope);
                });
            });
        }
    }
};

struct categorical_focal_crossentropy : CategoricalFocal<false> {};

struct categorical_focal_crossentropy_with_logits : CategoricalFocal<true> {};

// -x_k, of which no other class of the row is read
struct negative_log_likelihood {
    static constexpr bool dense = false;
    static constexpr bool picks = true;

    template <class T> static double value(T target) { return -static_cast<double>(target); }
    template <class T> static double slope(T target) {
        return target == target ? -1.0 : static_cast<double>(target);
    }
};

// sum_j max(margin - x_k + x_j, 0)**power / classes without j = k; the power is 1 or 2
struct multi_margin {
    static constexpr bool dense = false;
    static constexpr double padding = -infinity<double>;

    template <class R> static void run(R& rows, const double* parameters) {
        using T = typename R::Type;
        const bool squared = parameters[0] == 2.0;
        const double margin = parameters[1];
        const double share = 1.0 / static_cast<double>(rows.classes);
        typename R::template Row<double> target, own;
        for (int r = 0; r < R::count; ++r) {
            target.at[r] = static_cast<double>(rows.prediction(r, rows.label.at[r]));
            own.at[r] = static_cast<double>(rows.label.at[r]);
        }
        typename R::Sum losses, pulls;
        rows.sweep([&](const T* x, const T*, T* g, int l, std::ptrdiff_t j) {
            const double place = static_cast<double>(j) + (R::Tile ? 0.0 : static_cast<double>(l));
            const double score = static_cast<double>(x[l]);
            const double lacking = (score - target[l]) + margin;
            const double of_other = lacking <= 0.0 ? 0.0 : lacking;
            const double missed = place == own[l] ? (score == score ? 0.0 : score) : of_other;
            const double slope = squared ? 2.0 * missed : (missed > 0.0 ? 1.0 : missed);
            losses.add(l, squared ? missed * missed : missed);
            pulls.add(l, slope);
            if constexpr (R::Gradient) g[l] = static_cast<T>(slope);
        });
        const auto loss = R::combine(losses);
        const auto pull = R::combine(pulls);
        typename R::template Row<double> factor;
        R::each([&](int r) {
            rows.loss.at[r] = share * loss.at[r];
            factor.at[r] = share * rows.scale.at[r];
        });
        if constexpr (R::Gradient) {
            rows.sweep([&](const T*, const T*, T* g, int l, std::ptrdiff_t) {
                g[l] = static_cast<T>(factor[l] * static_cast<double>(g[l]));
            });
            for (int r = 0; r < R::count; ++r) {
                rows.gradient(r, rows.label.at[r]) = static_cast<T>(-factor.at[r] * pull.at[r]);
            }
        }
    }
};

// max(max_j (1 - y_j) p_j - sum_j y_j p_j + 1, 0)
struct categorical_hinge {
    static constexpr bool dense = true;
    static constexpr double padding = -infinity<double>;

    template <class R> static void run(R& rows, const double*) {
        using T = typename R::Type;
        using Lane = typename R::template Lane<double>;
        typename R::Sum own;
        Lane best(-infinity<double>), best_class(0.0);
        const auto class_of = [](std::ptrdiff_t j, int l) {
            return static_cast<double>(j) + (R::Tile ? 0.0 : static_cast<double>(l));
        };
        rows.sweep([&](const T* x, const T* y, T*, int l, std::ptrdiff_t j) {
            const double mass = static_cast<double>(y[l]), score = static_cast<double>(x[l]);
            const double other = masked_product(1.0 - mass, score);
            own.add(l, masked_product(mass, score));
            const bool better = other > best[l];
            best[l] = better ? other : best[l];
            best_class[l] = better ? class_of(j, l) : best_class[l];
        });
        if constexpr (!R::Tile) {
            halve<R::width / 2>([&](int l, int m) {
                const bool earlier = (best[m] == best[l]) & (best_class[m] < best_class[l]);
                const bool better = (best[m] > best[l]) | earlier;
                best[l] = better ? best[m] : best[l];
                best_class[l] = better ? best_class[m] : best_class[l];
            });
        }
        const auto own_score = R::combine(own);
        typename R::template Row<double> winner, slope;
        R::each([&](int r) {
            const double margin = (best[r] - own_score.at[r]) + 1.0;
            rows.loss.at[r] = margin <= 0.0 ? 0.0 : margin;
            winner.at[r] = best_class[r];
            slope.at[r] = margin <= 0.0 ? 0.0 : rows.scale.at[r] * (margin > 0.0 ? 1.0 : margin);
        });
        if constexpr (R::Gradient) {
            rows.sweep([&](const T*, const T* y, T* g, int l, std::ptrdiff_t j) {
                const double mass = static_cast<double>(y[l]);
                const bool won = class_of(j, l) == winner[l];
                g[l] = static_cast<T>(slope[l] * (won ? 1.0 - 2.0 * mass : 0.0 - mass));
            });
        }
    }
};

// -sum_j u_j v_j with u = y / max(|y|, epsilon), v = p / max(|p|, epsilon), in float64 throughout.
// float64 rows are scaled by a power of two, lest their squares overflow or vanish.
struct cosine_similarity {
    static constexpr bool dense = true;
    static constexpr double padding = 0.0;

    template <class R> static void run(R& rows, const double* parameters) {
        using T = typename R::Type;
        using Row = typename R::template Row<double>;
        constexpr bool scaled = sizeof(T) == sizeof(double);
        const double epsilon = parameters[0];
        Row unit_x, unit_y;
        if constexpr (scaled) {
            typename R::template Lane<T> most_x(0), most_y(0);
            rows.sweep([&](const T* x, const T* y, T*, int l, std::ptrdiff_t) {
                most_x[l] = larger(x[l] < T(0) ? -x[l] : x[l], most_x[l]);
                most_y[l] = larger(y[l] < T(0) ? -y[l] : y[l], most_y[l]);
            });
            const auto x_size = R::combine(most_x, larger<T>);
            const auto y_size = R::combine(most_y, larger<T>);
            R::each([&](int r) {
                unit_x.at[r] = unit(x_size.at[r]);
                unit_y.at[r] = unit(y_size.at[r]);
            });
        }
        const auto scaled_by = [](T x, const Row& unit, int l) {
            if constexpr (scaled) return x * unit[l];
            return static_cast<double>(x);
        };
        typename R::Sum xx_sum, yy_sum, xy_sum;
        rows.sweep([&](const T* x, const T* y, T*, int l, std::ptrdiff_t) {
            const double a = scaled_by(x[l], unit_x, l), b = scaled_by(y[l], unit_y, l);
            xx_sum.add(l, a * a);
            yy_sum.add(l, b * b);
            xy_sum.add(l, a * b);
        });
        const auto xx = R::combine(xx_sum);
        const auto yy = R::combine(yy_sum);
        const auto xy = R::combine(xy_sum);
        // (p (y.p) / |p|**2 - y) / (|p| |y|); where |p| <= epsilon, -y / (epsilon |y|)
        Row factor, along;
        R::each([&](int r) {
            const double x_unit = scaled ? unit_x.at[r] : 1.0, y_unit = scaled ? unit_y.at[r] : 1.0;
            const double x_size = std::sqrt(xx.at[r]), y_size = std::sqrt(yy.at[r]);
            const bool x_clipped = x_size <= epsilon * x_unit;
            const double x_norm = x_clipped ? epsilon * x_unit : x_size;
            const double y_norm = y_size <= epsilon * y_unit ? epsilon * y_unit : y_size;
            const bool empty = (x_norm == 0.0) | (y_norm == 0.0);
            rows.loss.at[r] = empty ? xy.at[r] : -(xy.at[r] / x_norm / y_norm);
            factor.at[r] = empty ? 0.0 : rows.scale.at[r] * x_unit / x_norm / y_norm;
            along.at[r] = x_clipped | empty ? 0.0 : xy.at[r] / xx.at[r];
        });
        if constexpr (R::Gradient) {
            rows.sweep([&](const T* x, const T* y, T* g, int l, std::ptrdiff_t) {
                const double a = scaled_by(x[l], unit_x, l), b = scaled_by(y[l], unit_y, l);
                g[l] = static_cast<T>((a * along[l] - b) * factor[l]);
            });
        }
    }

  private:
    // The power of two that brings a size close to 1, as far as its own exponent goes
    OMNILOSS_INLINE static double unit(double size) {
        const std::int64_t exponent = std::bit_cast<std::int64_t>(size) >> 52;
        const std::int64_t wanted = 2046 - exponent;
        return std::bit_cast<double>((wanted < 1 ? 1 : wanted) << 52);
    }
};

}  // namespace omniloss::OMNILOSS_LEVEL
