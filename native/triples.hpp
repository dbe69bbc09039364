// The losses of three arrays, in the order in which torch's functions take them: a struct per loss, named as
// its formula. Whatever is wanted comes from one pass over the data: losses, their total, and of each
// array that has a derivative the gradient.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "blocks.hpp"
#include "kernels.hpp"
#include "operand.hpp"
#include "parallel.hpp"
#include "rows.hpp"
#include "tiles.hpp"
#include "vector_math.hpp"

namespace omniloss::OMNILOSS_LEVEL {

// A loss of one element of each array, and its derivatives by the three
template <class T> struct Slopes {
    T loss, by[3];
};

// max(margin - y * (p - q), 0) of (p, q, y); a margin that is just met counts as missed.
template <class T> struct margin_ranking {
    T margin;

    explicit margin_ranking(const double* parameters) : margin(static_cast<T>(parameters[0])) {}
    static bool allows(const T*, std::ptrdiff_t) { return true; }

    OMNILOSS_INLINE Slopes<T> operator()(T p, T q, T y) const {
        const T gap = p - q;
        const bool silent = (y == T(0)) & ((gap == infinity<T>) | (gap == -infinity<T>));
        const T shortfall = margin - y * (silent ? T(0) : gap);
        const bool kept = shortfall < T(0), known = shortfall == shortfall;
        const T pull = kept ? T(0) : (known ? y : shortfall);
        const T by_target = kept ? T(0) : (known ? q - p : shortfall);
        return {kept ? T(0) : shortfall, {-pull, pull, by_target}};
    }
};

// (log(v) + (x - y)**2 / v) / 2 of (x, y, var), with v = max(var, eps), whose slope is 1 everywhere
template <class T> struct gaussian_nll {
    T eps, constant;

    explicit gaussian_nll(const double* parameters)
        : eps(static_cast<T>(parameters[0])),
          constant(parameters[1] != 0.0 ? static_cast<T>(0.91893853320467274178) : T(0)) {}

    static bool allows(const T* var, std::ptrdiff_t n) { return !any_outside(var, n, T(0), infinity<T>); }

    OMNILOSS_INLINE Slopes<T> operator()(T x, T y, T var) const {
        const T v = var < eps ? eps : var;
        const T difference = x - y, ratio = difference / v;
        const T loss = T(0.5) * (log(v) + difference * ratio) + constant;
        return {loss, {ratio, -ratio, T(0.5) * (T(1) - difference * ratio) / v}};
    }
};

// Block by block, what comes from upstream for each loss; all ones where nothing does
class Upstream {
  public:
    explicit Upstream(const TripleJob& job) : job_(job) {}

    // `scale` times it, for the losses [start, start + n), n <= tile_size
    const double* scaled(std::ptrdiff_t start, std::ptrdiff_t n) {
        if (job_.weighted) {
            const double* above = read_tile(job_.upstream, start, n, buffer_);
            for (std::ptrdiff_t i = 0; i < n; ++i) buffer_[i] = job_.scale * above[i];
        } else if (filled_ < n) {
            for (; filled_ < n; ++filled_) buffer_[filled_] = job_.scale;
        }
        return buffer_;
    }

  private:
    const TripleJob& job_;
    double buffer_[tile_buffer_size];
    std::ptrdiff_t filled_ = 0;
};

// Elements [start, end) of the arrays; the losses' total, or NaN with an offence
template <class T, class Loss, bool gradient>
double run_elements(const TripleJob& job, std::ptrdiff_t start, std::ptrdiff_t end, bool& offence) {
    const Loss loss(job.parameters);
    Sum sum;
    Upstream upstream(job);
    alignas(64) T buffers[3][tile_buffer_size];
    alignas(64) T losses[tile_size], slopes[3][gradient ? tile_size : 1];
    for (; start < end; start += tile_size) {
        const std::ptrdiff_t n = end - start < tile_size ? end - start : tile_size;
        const T* x = read_tile(job.arrays[0], start, n, buffers[0]);
        const T* y = read_tile(job.arrays[1], start, n, buffers[1]);
        const T* z = read_tile(job.arrays[2], start, n, buffers[2]);
        if (!Loss::allows(z, n)) {
            offence = true;
            return not_a_number<double>;
        }
        OMNILOSS_LOOP
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            const Slopes<T> found = loss(x[i], y[i], z[i]);
            losses[i] = found.loss;
            if constexpr (gradient) {
                slopes[0][i] = found.by[0];
                slopes[1][i] = found.by[1];
                slopes[2][i] = found.by[2];
            }
        }
        sum.add(losses, n);
        if (job.values != nullptr) {
            std::memcpy(static_cast<T*>(job.values) + start, losses, static_cast<std::size_t>(n) * sizeof(T));
        }
        if constexpr (gradient) {
            const double* factors = upstream.scaled(start, n);
            for (int a = 0; a < 3; ++a) {
                if (job.gradients[a] == nullptr) continue;
                T* out = static_cast<T*>(job.gradients[a]) + start;
                const T* slope = slopes[a];
                OMNILOSS_LOOP
                for (std::ptrdiff_t i = 0; i < n; ++i) {
                    const double product = factors[i] * static_cast<double>(slope[i]);
                    out[i] = factors[i] == 0.0 ? T(0) : static_cast<T>(product);
                }
            }
        }
    }
    return sum.total();
}

// The sum of term(i) in float64, in the same order every time
template <class T, class Term> OMNILOSS_INLINE double add_up(std::ptrdiff_t n, const Term& term) {
    constexpr int width = 8;
    LaneSum<T, width> sum;
    std::ptrdiff_t i = 0;
    for (; i + width <= n; i += width) {
        OMNILOSS_LOOP
        for (int l = 0; l < width; ++l) sum.add(l, term(i + l));
    }
    for (int l = 0; i < n; ++i, ++l) sum.add(l, term(i));
    halve<width / 2>([&](int l, int m) { sum.merge(l, m); });
    return sum.value(0);
}

// A power of two that brings numbers whose squares would leave float64's range to about 1
OMNILOSS_INLINE double factor_for(double largest) {
    const bool far = (largest > 0x1p500) | ((largest < 0x1p-450) & (largest > 0.0));
    if (!far || largest == infinity<double>) return 1.0;
    return std::ldexp(1.0, -std::max(-1000, std::min(1000, std::ilogb(largest))));
}

// NaN where there is one
template <class Size> OMNILOSS_INLINE double largest_of(std::ptrdiff_t n, const Size& size) {
    double largest = 0.0;
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const double x = size(i);
        largest = !(x <= largest) & (largest == largest) ? x : largest;
    }
    return largest;
}

// The row of each array, of `columns` elements, and where its gradient goes or null
template <class T> struct TripleRow {
    const T* x[3];
    T* gradient[3];
    std::ptrdiff_t columns;
    double factor;  // of the gradients
};

enum class Norm { one, two, most, other };

// Calls body with the kind of a norm as a constant: asked for at each element, it would keep loops from being
// vectorised.
template <class Body> OMNILOSS_INLINE void with_norm(double p, const Body& body) {
    if (p == 2.0) return body(std::integral_constant<Norm, Norm::two>{});
    if (p == 1.0) return body(std::integral_constant<Norm, Norm::one>{});
    if (p == infinity<double>) return body(std::integral_constant<Norm, Norm::most>{});
    body(std::integral_constant<Norm, Norm::other>{});
}

// The length of first - second + eps in the p-norm, and its derivative by the first
template <class T> class Distance {
  public:
    Distance(const T* first, const T* second, std::ptrdiff_t n, double p, T eps)
        : first_(first), second_(second), n_(n), p_(p), eps_(eps) {
        const auto size = [&](std::ptrdiff_t i) {
            const double d = difference(i);
            return d < 0.0 ? -d : d;
        };
        if (p == 1.0) {
            length = add_up<T>(n, size);
            return;
        }
        if (p != 2.0 || sizeof(T) == sizeof(double)) largest_ = largest_of(n, size);
        if (p == infinity<double>) {
            const double tops = add_up<T>(n, [&](std::ptrdiff_t i) { return size(i) == largest_ ? 1.0 : 0.0; });
            share_ = 1.0 / tops;
            length = largest_;
            return;
        }
        if (p == 2.0) {
            if constexpr (sizeof(T) == sizeof(double)) scale_ = factor_for(largest_);
            const double total = add_up<T>(n, [&](std::ptrdiff_t i) {
                const double d = scale_ * difference(i);
                return d * d;
            });
            norm_ = std::sqrt(total);
        } else {
            // So that no power leaves the range: of numbers below 2, or of high ones of numbers to 1
            const bool regular = (largest_ > 0.0) & (largest_ < infinity<double>);
            if (regular) scale_ = std::ldexp(1.0, -std::max(-1000, std::min(1000, std::ilogb(largest_))));
            if (regular & (p > 64.0) & (1.0 / largest_ < infinity<double>)) scale_ = 1.0 / largest_;
            const double total = add_up<T>(n, [&](std::ptrdiff_t i) {
                const double d = scale_ * size(i);
                return d == 0.0 ? 0.0 : std::pow(d, p);
            });
            norm_ = std::pow(total, 1.0 / p);
        }
        length = norm_ / scale_;
        share_ = scale_ / norm_;
    }

    double length = 0.0;

    template <Norm norm> OMNILOSS_INLINE double slope(std::ptrdiff_t i) const {
        const double d = difference(i), sign = d < 0.0 ? -1.0 : (d > 0.0 ? 1.0 : d);
        if constexpr (norm == Norm::one) return sign;
        if constexpr (norm == Norm::most) return sign * d == largest_ ? sign * share_ : 0.0;
        if constexpr (norm == Norm::other) {
            return d == 0.0 ? 0.0 : sign * std::pow(scale_ * sign * d / norm_, p_ - 1.0);
        }
        const double slope = sizeof(T) < sizeof(double) ? d * share_ : scale_ * d / norm_;
        return d == 0.0 ? 0.0 : slope;
    }

  private:
    // In the arrays' type, which decides what is a tie
    OMNILOSS_INLINE double difference(std::ptrdiff_t i) const {
        return static_cast<double>((first_[i] - second_[i]) + eps_);
    }

    const T *first_, *second_;
    std::ptrdiff_t n_;
    double p_;
    T eps_;
    double largest_ = 0.0, scale_ = 1.0, norm_ = 1.0, share_ = 1.0;
};

// max(margin + |a - y| - |a - n|, 0) of (a, y, n), where |y - n| takes the place of |a - n| if it is smaller
// and `swap` says so; a margin that is just met counts as missed.
struct triplet_margin {
    static constexpr bool labels = false;

    template <class T>
    static double run(const TripleRow<T>& row, double, const double* parameters) {
        const double margin = parameters[0], p = parameters[1];
        const T eps = static_cast<T>(parameters[2]);
        const bool swap = parameters[3] != 0.0;
        const std::ptrdiff_t n = row.columns;
        const auto [a, y, z] = row.x;
        const Distance<T> near(a, y, n, p, eps), far(a, z, n, p, eps);
        if (!swap) {
            const double shortfall = margin + (near.length - far.length);
            const double used = shortfall < 0.0 ? 0.0 : (shortfall == shortfall ? 1.0 : shortfall);
            with_norm(p, [&](auto norm) {
                const auto nearer = [&](auto i) { return near.template slope<norm>(i); };
                const auto farther = [&](auto i) { return far.template slope<norm>(i); };
                write(row, 0, used, [&](auto i) { return nearer(i) - farther(i); });
                write(row, 1, -used, nearer);
                write(row, 2, used, farther);
            });
            return shortfall < 0.0 ? 0.0 : shortfall;
        }
        const Distance<T> swapped(y, z, n, p, eps);
        const double first = far.length, second = swapped.length;
        const double own = first < second ? 1.0 : (second < first ? 0.0 : 0.5), rest = 1.0 - own;
        const double smaller = (second < first) | (second != second) ? second : first;
        const double shortfall = margin + (near.length - smaller);
        const double used = shortfall < 0.0 ? 0.0 : (shortfall == shortfall ? 1.0 : shortfall);
        with_norm(p, [&](auto norm) {
            const auto nearer = [&](auto i) { return near.template slope<norm>(i); };
            const auto farther = [&](auto i) { return own * far.template slope<norm>(i); };
            const auto between = [&](auto i) { return rest * swapped.template slope<norm>(i); };
            write(row, 0, used, [&](auto i) { return nearer(i) - farther(i); });
            write(row, 1, -used, [&](auto i) { return nearer(i) + between(i); });
            write(row, 2, used, [&](auto i) { return farther(i) + between(i); });
        });
        return shortfall < 0.0 ? 0.0 : shortfall;
    }

    template <class T, class Slope>
    static OMNILOSS_INLINE void write(const TripleRow<T>& row, int array, double used, const Slope& slope) {
        T* out = row.gradient[array];
        if (out == nullptr) return;
        const double factor = row.factor * used;
        OMNILOSS_LOOP
        for (std::ptrdiff_t i = 0; i < row.columns; ++i) out[i] = static_cast<T>(factor * slope(i));
    }
};

// 1 - cos of the rows labelled 1, max(cos - margin, 0) of those labelled -1, else 0
struct cosine_embedding {
    static constexpr bool labels = true;

    template <class T>
    static double run(const TripleRow<T>& row, double label, const double* parameters) {
        const double margin = parameters[0], eps = parameters[1];
        const std::ptrdiff_t n = row.columns;
        const T *a = row.x[0], *b = row.x[1];
        const double a_scale = scale_of(a, n), b_scale = scale_of(b, n);
        const auto length = [&](const T* x, double scale) {
            const double squares = add_up<T>(n, [&](std::ptrdiff_t i) {
                const double at = scale * static_cast<double>(x[i]);
                return at * at;
            });
            return std::sqrt(squares + eps * scale * scale);
        };
        const double a_norm = length(a, a_scale), b_norm = length(b, b_scale);
        const double products = add_up<T>(n, [&](std::ptrdiff_t i) {
            return (a_scale * static_cast<double>(a[i])) * (b_scale * static_cast<double>(b[i]));
        });
        const double cosine = products / (a_norm * b_norm);
        const bool alike = label == 1.0, apart = label == -1.0, missed = apart & !(cosine < margin);
        const double sign = label == label ? (alike ? -1.0 : (missed ? 1.0 : 0.0)) : label;
        const double a_factor = a_scale / a_norm, b_factor = b_scale / b_norm;
        write(row.gradient[0], n, row.factor * sign * a_factor, a, cosine * a_factor, b, b_factor);
        write(row.gradient[1], n, row.factor * sign * b_factor, b, cosine * b_factor, a, a_factor);
        if (label != label) return label;
        return alike ? 1.0 - cosine : (missed ? cosine - margin : 0.0);
    }

    // Only large numbers: small ones are nothing beside eps.
    template <class T> static double scale_of(const T* x, std::ptrdiff_t n) {
        if constexpr (sizeof(T) < sizeof(double)) return 1.0;
        const double largest = largest_of(n, [&](std::ptrdiff_t i) {
            const double at = static_cast<double>(x[i]);
            return at < 0.0 ? -at : at;
        });
        return largest < 1.0 ? 1.0 : factor_for(largest);
    }

    // factor * (other_factor * other - own_factor * own)
    template <class T>
    static OMNILOSS_INLINE void write(T* out, std::ptrdiff_t n, double factor, const T* own, double own_factor,
                                      const T* other, double other_factor) {
        if (out == nullptr) return;
        OMNILOSS_LOOP
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            const double pull = other_factor * static_cast<double>(other[i]);
            out[i] = static_cast<T>(factor * (pull - own_factor * static_cast<double>(own[i])));
        }
    }
};

// Rows [start, end) of arrays that are contiguous and of the type to compute in; labels may be of any
template <class T, class Loss>
double run_rows_of_three(const TripleJob& job, std::ptrdiff_t start, std::ptrdiff_t end) {
    Sum sum;
    Upstream upstream(job);
    double losses[tile_size], label_buffer[tile_buffer_size];
    for (; start < end; start += tile_size) {
        const std::ptrdiff_t n = end - start < tile_size ? end - start : tile_size;
        const double* labels = Loss::labels ? read_tile(job.arrays[2], start, n, label_buffer) : nullptr;
        const double* factors = upstream.scaled(start, n);
        for (std::ptrdiff_t r = 0; r < n; ++r) {
            const std::ptrdiff_t first = (start + r) * job.columns;
            TripleRow<T> row{{}, {}, job.columns, factors[r]};
            for (int a = 0; a < (Loss::labels ? 2 : 3); ++a) {
                row.x[a] = reinterpret_cast<const T*>(job.arrays[a].data) + first;
                if (job.gradients[a] != nullptr) row.gradient[a] = static_cast<T*>(job.gradients[a]) + first;
            }
            if (factors[r] == 0.0) {
                for (T*& gradient : row.gradient) {
                    if (gradient != nullptr) std::fill(gradient, gradient + job.columns, T(0));
                    gradient = nullptr;
                }
            }
            losses[r] = Loss::template run<T>(row, Loss::labels ? labels[r] : 0.0, job.parameters);
        }
        sum.add(losses, n);
        if (job.values != nullptr) {
            T* values = static_cast<T*>(job.values) + start;
            for (std::ptrdiff_t r = 0; r < n; ++r) values[r] = static_cast<T>(losses[r]);
        }
    }
    return sum.total();
}

// The blocks of a job on threads, and their totals in a fixed order
template <class Run> Outcome run_triple_blocks(const TripleJob& job, const Run& run) {
    std::ptrdiff_t size = std::max<std::ptrdiff_t>(1, block_size / job.columns);
    size = std::max(size, divide_up(job.rows, max_blocks));
    const std::ptrdiff_t count = divide_up(job.rows, size);
    const Partials totals(count);
    for_blocks(count, [&](std::ptrdiff_t block) {
        totals[block] = run(block * size, std::min(job.rows, (block + 1) * size));
    });
    Outcome outcome;
    for (std::ptrdiff_t block = 0; block < count; ++block) outcome.total += totals[block];
    return outcome;
}

template <class T, class Loss> Outcome run_triple_elements(const TripleJob& job) {
    std::atomic<bool> refused{false};
    const bool gradient = job.gradients[0] != nullptr || job.gradients[1] != nullptr || job.gradients[2] != nullptr;
    Outcome outcome = run_triple_blocks(job, [&](std::ptrdiff_t start, std::ptrdiff_t end) {
        bool offence = false;
        const double total = gradient ? run_elements<T, Loss, true>(job, start, end, offence)
                                      : run_elements<T, Loss, false>(job, start, end, offence);
        if (offence) refused.store(true, std::memory_order_relaxed);
        return total;
    });
    if (refused.load(std::memory_order_relaxed)) outcome.offence = 0;
    return outcome;
}

template <class T, class Loss> Outcome run_triple_rows(const TripleJob& job) {
    return run_triple_blocks(job, [&](std::ptrdiff_t start, std::ptrdiff_t end) {
        return run_rows_of_three<T, Loss>(job, start, end);
    });
}

}  // namespace omniloss::OMNILOSS_LEVEL
