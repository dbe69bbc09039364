// The pointwise losses: one struct each, with the loss of one element and its derivative by the
// prediction. They carry the names of their formulas and take the formulas' parameters in order.
//
// An epsilon of 0 turns clipping off. With clipping, a prediction at or beyond a bound has
// derivative 0. Adding 0 makes a negative zero a positive one. Selects are written so that NaN goes through: a comparison with NaN is false.
//
// Some have a cheaper form for plain arguments: where the parameters allow it (`knows_plain`) and the
// bits of a size that grows with the arguments, `reach`, are at most those of `farthest`. NaN is never
// plain; nor are negative targets and predictions if `plain_is_positive`. There `plain` and
// `plain_first` are the loss and its derivative. If it is also linear + log1p(excess), with excess >= 0,
// one logarithm serves many elements, whose 1 + excess are multiplied.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "vector_math.hpp"

namespace omniloss::OMNILOSS_LEVEL {

template <class T> using Bits = typename Format<T>::Bits;

// The slope of abs; 0 at 0, NaN for NaN
template <class T> OMNILOSS_INLINE T sign(T x) {
    return x > T(0) ? T(1) : (x < T(0) ? T(-1) : x);
}

// weight * x, but 0 for weight 0 even where x is infinite
template <class T> OMNILOSS_INLINE T weigh(T weight, T x) {
    return (weight == T(0)) & (x == x) ? T(0) : weight * x;
}

// (y - p)**2
template <class T> struct squared_error {
    explicit squared_error(const double*) {}
    OMNILOSS_INLINE T value(T y, T p) const {
        const T d = p - y;
        return d * d;
    }
    OMNILOSS_INLINE T first(T y, T p) const { return T(2) * (p - y); }
};

// |y - p|
template <class T> struct absolute_error {
    explicit absolute_error(const double*) {}
    OMNILOSS_INLINE T value(T y, T p) const { return std::abs(p - y); }
    OMNILOSS_INLINE T first(T y, T p) const { return sign(p - y); }
};

// d**2 / 2 up to |d| = delta, then delta * |d| - delta**2 / 2. The error is halved first, so that
// nothing overflows but the result.
template <class T> struct huber {
    T delta, twice_delta, half_delta, quarter_delta;
    explicit huber(const double* parameters)
        : delta(static_cast<T>(parameters[0])),
          twice_delta(static_cast<T>(2.0 * parameters[0])),
          half_delta(static_cast<T>(0.5 * parameters[0])),
          quarter_delta(static_cast<T>(0.25 * parameters[0])) {}
    OMNILOSS_INLINE T value(T y, T p) const {
        const T half = T(0.5) * p - T(0.5) * y;
        const T size = std::abs(half);
        const T square = (T(2) * half) * half;
        return size > half_delta ? twice_delta * (size - quarter_delta) : square;
    }
    OMNILOSS_INLINE T first(T y, T p) const {
        const T d = p - y;
        const T below = d > delta ? delta : d;
        return below < -delta ? -delta : below;
    }
};

// log(cosh(d)): a polynomial for small errors, else |d| - log(2) + log(1 + exp(-2|d|))
template <class T> struct log_cosh {
    explicit log_cosh(const double*) {}
    OMNILOSS_INLINE T value(T y, T p) const {
        const T d = p - y;
        const T size = std::abs(d);
        const T square = d * d;
        const T small = square * log_cosh_small(square);
        const T large = size + log_mean_small(exp_nonpositive(T(-2) * size));
        return size <= T(1) ? small : large;
    }
    OMNILOSS_INLINE T first(T y, T p) const {
        const T d = p - y;
        const T size = std::abs(d);
        const T small = size * tanh_small(size * size);
        const T e = exp_nonpositive(T(-2) * size);
        const T large = T(1) - (e + e) / (T(1) + e);
        return std::copysign(size <= T(1) ? small : large, d);
    }
    // Of as many as 16 the product of cosh(farthest) is below 2**127.
    static constexpr T farthest = T(6);
    static constexpr bool plain_is_positive = false;
    OMNILOSS_INLINE bool knows_plain() const { return true; }
    OMNILOSS_INLINE Bits<T> reach(T y, T p) const { return to_bits(std::abs(p - y)); }
    static constexpr bool has_linear = false;
    OMNILOSS_INLINE T excess(T y, T p) const {
        const T square = (p - y) * (p - y);
        return square * cosh_tail(square);
    }
    OMNILOSS_INLINE T plain_first(T y, T p) const { return first(y, p); }
};

// 100 * |y - p| / max(|y|, epsilon)
template <class T> struct absolute_percentage_error {
    double epsilon;
    explicit absolute_percentage_error(const double* parameters) : epsilon(parameters[0]) {}
    OMNILOSS_INLINE T value(T y_given, T p_given) const {
        const double y = y_given, p = p_given;
        const double size = std::abs(y) < epsilon ? epsilon : std::abs(y);
        // Both ends are scaled down where the error or its hundredfold would overflow.
        const bool huge = (std::abs(y) > 0x1p1000) | (std::abs(p) > 0x1p1000);
        const double scale = huge ? 0x1p-10 : 1.0;
        return static_cast<T>((100.0 * std::abs(scale * p - scale * y)) / (scale * size));
    }
    OMNILOSS_INLINE T first(T y_given, T p_given) const {
        const double y = y_given, p = p_given;
        const double size = std::abs(y) < epsilon ? epsilon : std::abs(y);
        return static_cast<T>((p > y ? 100.0 : (p < y ? -100.0 : p - y)) / size);
    }
};

// (log(1 + y) - log(1 + p))**2 as log1p of the relative difference, both clipped below at epsilon
template <class T> struct squared_logarithmic_error {
    double least;
    explicit squared_logarithmic_error(const double* parameters)
        : least(parameters[0] > 0.0 ? static_cast<T>(parameters[0]) : -infinity<double>) {}
    OMNILOSS_INLINE double distance(double y, double p) const {
        y = y < least ? least : y;
        p = p < least ? least : p;
        const double high = p > y ? p : y;
        const double low = p > y ? y : p;
        // The rounding errors of the difference and of 1 + low are put back.
        const double top = high - low;
        const double bottom = 1.0 + low;
        const double lost_top = (high - top) - low;
        const double lost_bottom = low - (bottom - 1.0);
        const double ratio = top == 0.0 ? 0.0 : top / bottom;
        const double lost = (lost_top - ratio * lost_bottom) / (bottom * (1.0 + ratio));
        const double result = log1p(ratio) + (std::abs(lost) < infinity<double> ? lost : 0.0);
        return low < -1.0 ? not_a_number<double> : result;
    }
    OMNILOSS_INLINE T value(T y, T p) const {
        const double d = distance(y, p);
        return static_cast<T>(d * d);
    }
    OMNILOSS_INLINE T first(T y, T p) const {
        const double d = distance(y, p);
        const double bottom = 1.0 + static_cast<double>(p);
        const double slope = d == 0.0 ? 0.0 : (p > y ? 2.0 : -2.0) * d / bottom;
        return static_cast<T>((p <= least) & (least > -infinity<double>) ? 0.0 : slope);
    }
};

// y * log(y / p), both clipped to [epsilon, 1]
template <class T> struct kl_divergence {
    T least, most;
    explicit kl_divergence(const double* parameters)
        : least(static_cast<T>(parameters[0])), most(parameters[0] > 0.0 ? T(1) : infinity<T>) {}
    OMNILOSS_INLINE T clip(T x) const {
        const T raised = x < least ? least : x;
        return raised > most ? most : raised;
    }
    OMNILOSS_INLINE T value(T y, T p) const {
        const T clipped = clip(y);
        const T result = clipped * log_ratio(clipped, clip(p));
        return (clipped == T(0)) & (p >= T(0)) ? T(0) : result;
    }
    static constexpr T farthest = std::numeric_limits<T>::max();
    static constexpr bool plain_is_positive = true;
    OMNILOSS_INLINE bool knows_plain() const { return least >= std::numeric_limits<T>::min(); }
    OMNILOSS_INLINE Bits<T> reach(T y, T p) const {
        return to_bits(y) > to_bits(p) ? to_bits(y) : to_bits(p);
    }
    OMNILOSS_INLINE T plain(T y, T p) const {
        const T clipped = clip(y);
        return clipped * log_normal_ratio(clipped, clip(p));
    }
    OMNILOSS_INLINE T plain_first(T y, T p) const { return first(y, p); }
    OMNILOSS_INLINE T first(T y, T p) const {
        const T clipped = clip(y);
        const T slope = -clipped / (p + T(0));
        const bool flat = (((p <= least) | (p >= most)) & (least > T(0)))
                          | ((clipped == T(0)) & (p >= T(0)));
        return flat ? T(0) : slope;
    }
};

// p - y * log(p + epsilon)
template <class T> struct poisson {
    T epsilon;
    explicit poisson(const double* parameters) : epsilon(static_cast<T>(parameters[0])) {}
    // Where the logarithm has no part, or is beaten by an infinite p
    static OMNILOSS_INLINE bool is_linear(T y, T p) {
        return (y == T(0)) | ((p == infinity<T>) & (y < infinity<T>));
    }
    OMNILOSS_INLINE T value(T y, T p) const {
        const T result = p - y * log_sum(p, epsilon);
        return is_linear(y, p) ? p : result;
    }
    static constexpr T farthest = T(0x1p120);
    static constexpr bool plain_is_positive = true;
    OMNILOSS_INLINE bool knows_plain() const {
        return (epsilon >= std::numeric_limits<T>::min()) & (epsilon <= T(1));
    }
    OMNILOSS_INLINE Bits<T> reach(T y, T p) const {
        return to_bits(y) > to_bits(p) ? to_bits(y) : to_bits(p);
    }
    OMNILOSS_INLINE T plain(T y, T p) const { return p - y * log_normal_sum(p, epsilon); }
    OMNILOSS_INLINE T plain_first(T y, T p) const { return first(y, p); }
    OMNILOSS_INLINE T first(T y, T p) const {
        const T slope = ((p - y) + epsilon) / (p + epsilon);
        return is_linear(y, p) & (p == p) ? T(1) : slope;
    }
};

// max(1 - y * p, 0)
template <class T> struct hinge {
    explicit hinge(const double*) {}
    OMNILOSS_INLINE T value(T y, T p) const {
        const T margin = T(1) - weigh(y, p);
        return margin < T(0) ? T(0) : margin;
    }
    OMNILOSS_INLINE T first(T y, T p) const {
        const T margin = T(1) - weigh(y, p);
        return margin > T(0) ? -y : (margin <= T(0) ? T(0) : margin);
    }
};

// max(1 - y * p, 0)**2
template <class T> struct squared_hinge {
    explicit squared_hinge(const double*) {}
    OMNILOSS_INLINE T value(T y, T p) const {
        const T margin = T(1) - weigh(y, p);
        return margin < T(0) ? T(0) : margin * margin;
    }
    OMNILOSS_INLINE T first(T y, T p) const {
        const T margin = T(1) - weigh(y, p);
        return margin <= T(0) ? T(0) : (T(-2) * y) * margin;
    }
};

// d**2 / (2 * beta) up to |d| = beta, then |d| - beta / 2
template <class T> struct smooth_l1 {
    T beta, half_beta, inverse, half_inverse;
    explicit smooth_l1(const double* parameters)
        : beta(static_cast<T>(parameters[0])),
          half_beta(static_cast<T>(0.5 * parameters[0])),
          inverse(static_cast<T>(1.0 / parameters[0])),
          half_inverse(static_cast<T>(0.5 / parameters[0])) {}
    OMNILOSS_INLINE T value(T y, T p) const {
        const T size = std::abs(p - y);
        return size < beta ? size * (size * half_inverse) : size - half_beta;
    }
    OMNILOSS_INLINE T first(T y, T p) const {
        const T d = p - y;
        return std::abs(d) < beta ? d * inverse : sign(d);
    }
};

// y * (log(y) - x)
template <class T> struct kl_divergence_of_logs {
    explicit kl_divergence_of_logs(const double*) {}
    OMNILOSS_INLINE T value(T y, T x) const {
        const T result = y * (log(y) - x);
        return (y == T(0)) & (x == x) ? T(0) : result;
    }
    OMNILOSS_INLINE T first(T y, T x) const { return x == x ? -y : x; }
};

// exp(t) * (t - x), the exponential in two steps where it alone would be subnormal
template <class T> struct kl_divergence_between_logs {
    explicit kl_divergence_between_logs(const double*) {}
    OMNILOSS_INLINE T value(T t, T x) const {
        const bool tiny = t < T(-80);
        const T power = exp(tiny ? T(0.5) * t : t);
        const T result = ((t - x) * power) * (tiny ? power : T(1));
        return ((t == x) | (t == -infinity<T>)) & (x == x) ? T(0) : result;
    }
    OMNILOSS_INLINE T first(T t, T x) const { return x == x ? -exp(t) : x; }
};

// exp(x) - y * x, and, if full, Stirling's log(y!) for y > 1
template <class T, bool full> struct poisson_of_logs {
    explicit poisson_of_logs(const double*) {}
    static OMNILOSS_INLINE T stirling(T y) {
        const T tau = T(6.283185307179586);
        const T result = (y * log(y) - y) + T(0.5) * log(tau * y);
        return y <= T(1) ? T(0) : result;
    }
    // An infinite power takes no part in a sum: a fused operation would not know that it is infinite.
    static OMNILOSS_INLINE T infinite(T y) { return y < infinity<T> ? infinity<T> : not_a_number<T>; }
    OMNILOSS_INLINE T value(T y, T x) const {
        const T power = exp(x);
        const T result = power == infinity<T> ? infinite(y) : power - weigh(y, x);
        if constexpr (full) return result + stirling(y);
        return result;
    }
    OMNILOSS_INLINE T first(T y, T x) const {
        const T power = exp(x);
        return power == infinity<T> ? infinite(y) : power - y;
    }
};

// log(1 + exp(-y * p))
template <class T> struct soft_margin {
    explicit soft_margin(const double*) {}
    OMNILOSS_INLINE T value(T y, T p) const {
        const T margin = weigh(y, p);
        const T tail = log1p_fraction(exp_nonpositive(-std::abs(margin)));
        return (margin < T(0) ? -margin : T(0)) + tail;
    }
    OMNILOSS_INLINE T first(T y, T p) const {
        const T margin = weigh(y, p);
        const T e = exp_nonpositive(-std::abs(margin));
        return -y * ((margin >= T(0) ? e : T(1)) / (T(1) + e));
    }
};

// p where y = 1, max(margin - p, 0) where y = -1, their sum elsewhere; a margin that is just kept
// has the slope of one that is not
template <class T> struct hinge_embedding {
    T margin;
    explicit hinge_embedding(const double* parameters) : margin(static_cast<T>(parameters[0])) {}
    OMNILOSS_INLINE T value(T y, T p) const {
        const T lacking = margin - p;
        const T missed = lacking < T(0) ? T(0) : lacking;
        const T both = p <= margin ? margin : p;  // the sum p + missed, without its rounding
        const T result = y == T(1) ? p : (y == T(-1) ? missed : both);
        return y == y ? result : y;
    }
    OMNILOSS_INLINE T first(T y, T p) const {
        const T missed = margin - p < T(0) ? T(0) : T(-1);
        const T result = (y == T(-1) ? T(0) : T(1)) + (y == T(1) ? T(0) : missed);
        return p == p ? (y == y ? result : y) : p;
    }
};

// -(y * log(p) + (1 - y) * log(1 - p)), each logarithm at least -limit; the slope is the exact
// one's, whose divisor is at least torch's 1e-12
template <class T> struct binary_crossentropy_of_clamped_logs {
    T limit;
    explicit binary_crossentropy_of_clamped_logs(const double* parameters)
        : limit(static_cast<T>(parameters[0])) {}
    OMNILOSS_INLINE T clamp(T surprise) const { return surprise > limit ? limit : surprise; }
    OMNILOSS_INLINE T value(T y, T p) const {
        return y * clamp(-log(p)) + (T(1) - y) * clamp(-log1p(-p));
    }
    OMNILOSS_INLINE T first(T y, T p) const {
        const T least = T(1e-12f);
        const T divisor = p * (T(1) - p);
        return (p - y) / (divisor < least ? least : divisor);
    }
};

// What the upper bound 1 - epsilon, rounded to T as Keras rounds it, leaves to 1
template <class T> OMNILOSS_INLINE T upper_gap(double epsilon) {
    return T(1) - static_cast<T>(1.0 - epsilon);
}

// -(y * log(p) + (1 - y) * log(1 - p)). The smaller of p and 1 - p is exact in floating point and
// tells both logarithms; it is clipped below, p at epsilon and 1 - p at the gap.
template <class T> struct binary_crossentropy {
    T epsilon, gap;
    explicit binary_crossentropy(const double* parameters)
        : epsilon(static_cast<T>(parameters[0])), gap(upper_gap<T>(parameters[0])) {}
    OMNILOSS_INLINE T value(T y, T p) const {
        const bool left = p < T(0.5);
        const T rest = left ? p : T(1) - p;
        const T least = left ? epsilon : gap;
        const T small = rest < least ? least : rest;
        const T of_small = left ? y : T(1) - y;
        const T of_large = left ? T(1) - y : y;
        return -(weigh(of_small, log(small)) + of_large * log1p(-small));
    }
    OMNILOSS_INLINE T first(T y, T p) const {
        const T other = T(1) - p;
        const T rest = p < other ? p : other;
        const T top = y == T(0) ? T(1) : (y == T(1) ? T(-1) : p - y);
        const T bottom = y == T(0) ? other : (y == T(1) ? p : p * other) + T(0);
        const T least = p < T(0.5) ? epsilon : gap;
        return (rest <= least) & (epsilon > T(0)) ? T(0) : top / bottom;
    }
};

// The same of p = 1 / (1 + exp(-x)) as ((x >= 0) - y) * x + log(1 + exp(-|x|)): both terms are
// non-negative, so that nothing cancels.
template <class T> struct binary_crossentropy_with_logits {
    explicit binary_crossentropy_with_logits(const double*) {}
    OMNILOSS_INLINE T value(T y, T x) const {
        const T wrong = x >= T(0) ? T(1) - y : -y;
        return (wrong == T(0) ? T(0) : wrong * x) + log1p_fraction(exp_nonpositive(-std::abs(x)));
    }
    static OMNILOSS_INLINE T slope(T y, T x, T e) {
        const T top = (x >= T(0) ? T(1) - y : e - y) - y * e;
        return top / (T(1) + e);
    }
    OMNILOSS_INLINE T first(T y, T x) const { return slope(y, x, exp_nonpositive(-std::abs(x))); }
    static constexpr T farthest = T(80);
    static constexpr bool plain_is_positive = false;
    OMNILOSS_INLINE bool knows_plain() const { return true; }
    OMNILOSS_INLINE Bits<T> reach(T, T x) const { return to_bits(std::abs(x)); }
    static constexpr bool has_linear = true;
    OMNILOSS_INLINE T linear(T y, T x) const { return (x >= T(0) ? T(1) - y : -y) * x; }
    OMNILOSS_INLINE T excess(T, T x) const { return exp_normal(-std::abs(x)); }
    OMNILOSS_INLINE T plain(T y, T x) const { return linear(y, x) + log1p_fraction(excess(y, x)); }
    OMNILOSS_INLINE T plain_first(T y, T x) const { return slope(y, x, exp_normal(-std::abs(x))); }
};

// The same with the part of label 1 multiplied by a weight of each element's own
template <class T> struct weighted_binary_crossentropy_with_logits {
    explicit weighted_binary_crossentropy_with_logits(const double*) {}
    // Where exp(-|x|) alone may be subnormal, its root is taken, and multiplied in two steps.
    static constexpr T farthest = T(80);
    static OMNILOSS_INLINE T power(T size) {
        return exp_nonpositive(size > farthest ? T(-0.5) * size : -size);
    }
    OMNILOSS_INLINE T value(T y, T x, T weight) const {
        const T of_one = weight * y, of_zero = T(1) - y, size = std::abs(x), e = power(size);
        const T wrong = x >= T(0) ? of_zero : of_one, right = x >= T(0) ? of_one : of_zero;
        const T tail = log1p_fraction(e);
        return weigh(wrong, size + tail) + (size > farthest ? (right * e) * e : right * tail);
    }
    OMNILOSS_INLINE T first(T y, T x, T weight) const {
        const T of_one = weight * y, of_zero = T(1) - y, size = std::abs(x), e = power(size);
        const T wrong = x >= T(0) ? of_zero : -of_one, right = x >= T(0) ? -of_one : of_zero;
        return (wrong + right * (size > farthest ? e : T(1)) * e) / (T(1) + e);
    }
};

// (1 - p_t)**gamma * binary crossentropy with p_t = y * p + (1 - y) * (1 - p), weighted by
// y * alpha + (1 - y) * (1 - alpha) if balanced. float is computed in double.
template <class T> struct binary_focal_crossentropy {
    double epsilon, gap, of_one, of_zero, gamma;
    explicit binary_focal_crossentropy(const double* parameters)
        : epsilon(static_cast<T>(parameters[0])),
          gap(upper_gap<T>(parameters[0])),
          of_one(parameters[3] != 0.0 ? parameters[1] : 1.0),
          of_zero(parameters[3] != 0.0 ? 1.0 - parameters[1] : 1.0),
          gamma(parameters[2]) {}

    OMNILOSS_INLINE double weight(double y) const {
        return y * of_one + (1.0 - y) * of_zero;
    }
    // 1 - p_t, given p and 1 - p. A power multiplies what it lost, which float64 shows.
    OMNILOSS_INLINE Parts miss(double y, Parts p, Parts other) const {
        if constexpr (std::is_same_v<T, float>) {
            return {y * other.high + (1.0 - y) * p.high, 0.0};
        } else {
            const Parts rest = complement(y);
            const Parts far = multiply(rest.high, p);
            return add(multiply(y, other), {far.high, far.low + rest.low * p.high});
        }
    }
    // base**exponent to T's precision
    OMNILOSS_INLINE double power(Parts base, double exponent) const {
        if constexpr (std::is_same_v<T, float>) {
            return wide_pow(base.high, exponent);
        } else {
            const double x = base.high;
            if (exponent == 2.0) return x * x + 2.0 * x * base.low;
            const double lost = base.low == 0.0 ? 0.0 : exponent * (base.low / x);
            const double result = pow(x, exponent);
            return result + (lost == 0.0 ? 0.0 : result * lost);
        }
    }
    OMNILOSS_INLINE bool is_clipped(double p, double other) const {
        return (epsilon > 0.0) & (p < other ? p <= epsilon : other <= gap);
    }
    // -(y * log(p) + (1 - y) * log(1 - p)) of the clipped p
    OMNILOSS_INLINE double entropy(double y, double p, double other) const {
        const bool left = p < other;
        const double rest = left ? p : other;
        const double least = left ? epsilon : gap;
        const double small = rest < least ? least : rest;
        return -(weigh(left ? y : 1.0 - y, log(small)) + (left ? 1.0 - y : y) * log1p(-small));
    }
    // The loss, given 1 - p_t and the entropy
    OMNILOSS_INLINE double loss(double y, Parts miss, double surprise) const {
        return weight(y) * weigh(power(miss, gamma), surprise);
    }
    // The derivative, given `bent`, the size of the derivative of (1 - p_t)**gamma times the entropy,
    // and `step`, the entropy's slope.
    OMNILOSS_INLINE double slope(double y, Parts miss, double bent, double step) const {
        // An infinite step outgrows the logarithm in the other term.
        const bool alone = (gamma == 0.0) | (std::abs(step) == infinity<double>);
        return weight(y) * ((alone ? 0.0 : bent) + weigh(power(miss, gamma), step));
    }

    OMNILOSS_INLINE T value(T y_given, T p_given) const {
        const double y = y_given, p = p_given, other = 1.0 - p;
        return static_cast<T>(loss(y, miss(y, {p, 0.0}, complement(p)), entropy(y, p, other)));
    }
    OMNILOSS_INLINE T first(T y_given, T p_given) const {
        const double y = y_given, p = p_given, other = 1.0 - p;
        const double top = y == 0.0 ? 1.0 : (y == 1.0 ? -1.0 : p - y);
        const double bottom = y == 0.0 ? other : (y == 1.0 ? p : p * other) + 0.0;
        const double step = is_clipped(p, other) ? 0.0 : top / bottom;
        const Parts left = miss(y, {p, 0.0}, complement(p));
        const double surprise = weigh(1.0 - 2.0 * y, entropy(y, p, other));
        const double bent = weigh(surprise, gamma * power(left, gamma - 1.0));
        return static_cast<T>(slope(y, left, bent, step));
    }
};

// The same of p = 1 / (1 + exp(-x)), whose logarithms follow from x itself.
template <class T> struct binary_focal_crossentropy_with_logits : binary_focal_crossentropy<T> {
    using Base = binary_focal_crossentropy<T>;
    using Base::Base;

    struct Sides {
        Parts miss;
        double entropy, unit, step;
    };
    OMNILOSS_INLINE Sides sides(double y, double x) const {
        Parts relative;
        if constexpr (std::is_same_v<T, float>) {
            relative = {exp_nonpositive(-std::abs(x)), 0.0};
        } else {
            relative = exp_nonpositive_parts(-std::abs(x));
        }
        const double e = relative.high;
        const Parts whole = {1.0 + e, (e - ((1.0 + e) - 1.0)) + relative.low};
        const Parts small = quotient(relative, whole), large = quotient({1.0, 0.0}, whole);
        const bool left = x < 0.0;
        const bool clipped = (this->epsilon > 0.0) & (small.high <= this->epsilon);
        const double tail = log1p_fraction(e);
        const double log_small = clipped ? log(this->epsilon) : -(std::abs(x) + tail);
        const double log_large = clipped ? log1p(-this->epsilon) : -tail;
        const double entropy =
            -(weigh(left ? y : 1.0 - y, log_small) + (left ? 1.0 - y : y) * log_large);
        // Chosen number by number: a choice of structs would keep the loop from becoming vector code.
        const Parts p = {left ? small.high : large.high, left ? small.low : large.low};
        const Parts other = {left ? large.high : small.high, left ? large.low : small.low};
        const double soft = ((left ? e - y : 1.0 - y) - y * e) / (1.0 + e);
        const double step = y == 0.0 ? p.high : (y == 1.0 ? -other.high : soft);
        const Parts miss = this->miss(y, p, other);
        return {miss, entropy, small.high * large.high, clipped ? 0.0 : step};
    }
    OMNILOSS_INLINE T value(T y, T x) const {
        const Sides s = sides(y, x);
        return static_cast<T>(this->loss(y, s.miss, s.entropy));
    }
    OMNILOSS_INLINE T first(T y_given, T x) const {
        const double y = y_given;
        const Sides s = sides(y, x);
        // p * (1 - p) is at most 1 - p_t. Its product with the entropy would underflow too soon.
        const double share = s.unit == 0.0 ? 0.0 : s.unit / s.miss.high;
        const double bend = (this->gamma * this->power(s.miss, this->gamma)) * share;
        const double bent = weigh(bend, weigh(1.0 - 2.0 * y, s.entropy));
        return static_cast<T>(this->slope(y, s.miss, bent, s.step));
    }

  private:
    OMNILOSS_INLINE static Parts quotient(Parts a, Parts b) {
        if constexpr (std::is_same_v<T, float>) return {a.high / b.high, 0.0};
        return divide(a, b);
    }
};

}  // namespace omniloss::OMNILOSS_LEVEL
