// exp, log, log1p, log_ratio and pow for float and double, within about one unit in the last place
// and without branches, so that a plain loop over them becomes vector code.
//
// Everything is right at 0, infinity, NaN and for subnormal numbers. The polynomials are minimax
// fits by the Remez algorithm on the intervals named beside them. No function relies on fused
// multiply-add; where the compiler uses it, the results only get better.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "level.hpp"

namespace omniloss::OMNILOSS_LEVEL {

// What the bits of a floating-point type mean; constants split for exact products with integers.
template <class T> struct Format;

template <> struct Format<float> {
    using Bits = std::uint32_t;
    static constexpr int mantissa = 23;
    static constexpr Bits bias = 127;
    static constexpr Bits sqrt_half = 0x3f3504f3;        // bits of sqrt(1/2)
    static constexpr float log2_e = 0x1.715476p0f;
    static constexpr float ln2_high = 0x1.62e4p-1f;      // 15 bits
    static constexpr float ln2_low = 0x1.7f7d1cp-20f;
    static constexpr float exp_least = -110.0f;          // exp underflows to 0 here,
    static constexpr float exp_most = 90.0f;             // overflows to infinity here
};

template <> struct Format<double> {
    using Bits = std::uint64_t;
    static constexpr int mantissa = 52;
    static constexpr Bits bias = 1023;
    static constexpr Bits sqrt_half = 0x3fe6a09e667f3bcd;
    static constexpr double log2_e = 0x1.71547652b82fep0;
    static constexpr double ln2_high = 0x1.62e42feep-1;  // 32 bits
    static constexpr double ln2_low = 0x1.a39ef35793c76p-33;
    static constexpr double exp_least = -760.0;
    static constexpr double exp_most = 715.0;
};

template <class T> constexpr T infinity = std::numeric_limits<T>::infinity();
template <class T> constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();

template <class T> OMNILOSS_INLINE typename Format<T>::Bits to_bits(T x) {
    return std::bit_cast<typename Format<T>::Bits>(x);
}

template <class T> OMNILOSS_INLINE T from_bits(typename Format<T>::Bits bits) {
    return std::bit_cast<T>(bits);
}

// A small non-negative integer as a floating-point number: it becomes the mantissa of 2**mantissa.
template <class T> OMNILOSS_INLINE T to_real(typename Format<T>::Bits integer) {
    using F = Format<T>;
    constexpr T base = static_cast<T>(typename F::Bits{1} << F::mantissa);
    return from_bits<T>(integer | to_bits(base)) - base;
}

// 2**k for -bias < k <= bias, given as a wrapped unsigned integer.
template <class T> OMNILOSS_INLINE T power_of_two(typename Format<T>::Bits k) {
    return from_bits<T>((k + Format<T>::bias) << Format<T>::mantissa);
}

// A number in two parts: rounded, and what the rounding lost
struct Parts {
    double high, low;
};

// What the rounding of product = a * b lost, by Dekker's splitting where there is no fused operation
OMNILOSS_INLINE double product_error(double a, double b, double product) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return std::fma(a, b, -product);
#else
    constexpr double splitter = 0x1p27 + 1.0;
    const double a_shifted = splitter * a, b_shifted = splitter * b;
    const double a_high = a_shifted - (a_shifted - a), b_high = b_shifted - (b_shifted - b);
    const double a_low = a - a_high, b_low = b - b_high;
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
#endif
}

// a * b of numbers of which one is in two parts
OMNILOSS_INLINE Parts multiply(double a, Parts b) {
    const double product = a * b.high;
    return {product, product_error(a, b.high, product) + a * b.low};
}

OMNILOSS_INLINE Parts multiply(Parts a, Parts b) {
    const Parts product = multiply(a.high, b);
    return {product.high, product.low + a.low * b.high};
}

OMNILOSS_INLINE Parts add(Parts a, Parts b) {
    const double sum = a.high + b.high, second = sum - a.high;
    const double lost = (a.high - (sum - second)) + (b.high - second);
    return {sum, lost + (a.low + b.low)};
}

OMNILOSS_INLINE Parts divide(Parts a, Parts b) {
    const double quotient = a.high / b.high, back = quotient * b.high;
    const double rest = (a.high - back) - product_error(quotient, b.high, back);
    return {quotient, (rest + (a.low - quotient * b.low)) / b.high};
}

// The same number, its first part as near to it as can be
OMNILOSS_INLINE Parts normalised(Parts x) {
    const double sum = x.high + x.low;
    return {sum, (x.high - sum) + x.low};
}

// 1 - x for x <= 1
OMNILOSS_INLINE Parts complement(double x) {
    const double high = 1.0 - x;
    return {high, (1.0 - high) - x};
}

template <class T> OMNILOSS_INLINE T polynomial(T, T constant) { return constant; }

// c0 + c1*x + c2*x**2 + ...
template <class T, class... Rest> OMNILOSS_INLINE T polynomial(T x, T constant, Rest... rest) {
    return constant + x * polynomial(x, rest...);
}

// (exp(r) - 1 - r) / r**2 for |r| <= ln(2)/2
OMNILOSS_INLINE float exp_tail(float r) {
    return polynomial(r, 0x1.fffffcp-2f, 0x1.55549p-3f, 0x1.5558f4p-5f, 0x1.123a6cp-7f,
                      0x1.6a2354p-10f);
}

// The same polynomial after its constant
OMNILOSS_INLINE double exp_tail_slope(double r) {
    return polynomial(r, 0x1.5555555555558p-3, 0x1.555555555034dp-5, 0x1.111111110f7d5p-7,
                      0x1.6c16c18625d6ap-10, 0x1.a01a01b02246cp-13, 0x1.a019934df6373p-16,
                      0x1.71ddf6757d7e1p-19, 0x1.28b4706afed1bp-22, 0x1.af63a06ec766ep-26);
}

OMNILOSS_INLINE double exp_tail(double r) {
    return 0x1.0000000000009p-1 + r * exp_tail_slope(r);
}

// e**r for |r| <= ln(2)/2
template <class T> OMNILOSS_INLINE T exp_reduced(T r) { return T(1) + (r + r * r * exp_tail(r)); }

// e**x = 2**n * e**r with n = round(x / ln 2). The power of two is applied in two steps, so that
// results in the subnormal range are rounded and not lost.
template <class T> OMNILOSS_INLINE T exp(T x) {
    using F = Format<T>;
    using Bits = typename F::Bits;
    x = x < F::exp_least ? F::exp_least : x;
    x = x > F::exp_most ? F::exp_most : x;
    constexpr T shifter = static_cast<T>(Bits{3} << (F::mantissa - 1));  // rounds to an integer
    const T shifted = x * F::log2_e + shifter;
    const T n = shifted - shifter;
    const T r = (x - n * F::ln2_high) - n * F::ln2_low;
    const Bits k = to_bits(shifted) - to_bits(shifter);
    const Bits half = ((k + 2048) >> 1) - 1024;
    return exp_reduced(r) * power_of_two<T>(half) * power_of_two<T>(k - half);
}

// exp(x + lost) for x <= 0 and a much smaller `lost`, cheaper: the exponent is lifted out of the
// subnormal range by a constant, which is part of the number that rounds to an integer.
template <class T> OMNILOSS_INLINE T exp_nonpositive(T x, T lost = 0) {
    using F = Format<T>;
    using Bits = typename F::Bits;
    constexpr Bits lift = (F::bias + 1) / 2;
    constexpr T shifter = static_cast<T>((Bits{3} << (F::mantissa - 1)) + F::bias + lift);
    x = x < F::exp_least ? F::exp_least : x;
    const T shifted = x * F::log2_e + shifter;
    const T n = shifted - shifter;
    const T r = (x - n * F::ln2_high) - (n * F::ln2_low - lost);
    const T lifted = from_bits<T>(to_bits(shifted) << F::mantissa);
    return exp_reduced(r) * lifted * power_of_two<T>(Bits{0} - lift);
}

// e**x where that is a normal number, cheaper still: its exponent is added to as an integer. NaN is lost.
template <class T> OMNILOSS_INLINE T exp_normal(T x) {
    using F = Format<T>;
    constexpr T shifter = static_cast<T>(typename F::Bits{3} << (F::mantissa - 1));
    const T shifted = x * F::log2_e + shifter;
    const T n = shifted - shifter;
    const T r = (x - n * F::ln2_high) - n * F::ln2_low;
    return from_bits<T>(to_bits(exp_reduced(r)) + (to_bits(shifted) << F::mantissa));
}

// The same in two parts, which are right to a tenth of a unit of the first, and `fine` ones to a
// fiftieth.
template <bool fine = false> OMNILOSS_INLINE Parts exp_nonpositive_parts(double x) {
    using F = Format<double>;
    constexpr std::uint64_t lift = (F::bias + 1) / 2;
    constexpr double shifter =
        static_cast<double>((std::uint64_t{3} << (F::mantissa - 1)) + F::bias + lift);
    x = x < F::exp_least ? F::exp_least : x;
    const double shifted = x * F::log2_e + shifter;
    const double n = shifted - shifter;
    const double coarse = x - n * F::ln2_high, rest = n * F::ln2_low, r = coarse - rest;
    const double r_lost = (coarse - r) - rest;
    double tail, lost;
    if constexpr (fine) {
        // r + r**2 / 2 without rounding errors; what is left is so small that its own hardly show.
        const Parts square = multiply(r, {r, 0.0});
        const double half = 0.5 * square.high, start = r + half;
        const double curve = square.high * (r * exp_tail_slope(r) + 0x9p-53) + 0.5 * square.low;
        tail = start + curve;
        lost = ((r - start) + half) + (((start - tail) + curve) + r_lost * (1.0 + r));
    } else {
        const double curve = r * r * exp_tail(r);
        tail = r + curve;
        lost = ((r - tail) + curve) + r_lost;
    }
    const double high = 1.0 + tail, low = ((1.0 - high) + tail) + lost;
    const double lifted = from_bits<double>(to_bits(shifted) << F::mantissa);
    const double back = power_of_two<double>(std::uint64_t{0} - lift);
    return {high * lifted * back, low * lifted * back};
}

// atanh(s) = s + s * z * atanh_tail(z) with z = s*s <= 0.0435
OMNILOSS_INLINE float atanh_tail(float z) {
    return polynomial(z, 0x1.555554p-2f, 0x1.999c86p-3f, 0x1.23c998p-3f, 0x1.f11cd8p-4f);
}

OMNILOSS_INLINE double atanh_tail(double z) {
    return polynomial(z, 0x1.5555555555555p-2, 0x1.9999999999880p-3, 0x1.24924924a8012p-3,
                      0x1.c71c71acd5de7p-4, 0x1.745d2040a6f30p-4, 0x1.3b11d7c1e61b9p-4,
                      0x1.114ce9ef7ce0bp-4, 0x1.d8d5d98fd9fadp-5, 0x1.07077a5b8b634p-4);
}

// log(1 + f) - f for sqrt(1/2) <= 1 + f <= sqrt(2)
OMNILOSS_INLINE float log1p_tail(float f) {
    const float z = f * f;
    return z * f
               * polynomial(f, 0x1.555546p-2f, -0x1.000006p-2f, 0x1.99a4f6p-3f, -0x1.555cd2p-3f,
                            0x1.233236p-3f, -0x1.fc06eap-4f, 0x1.e72760p-4f, -0x1.df048ep-4f,
                            0x1.14d1cap-4f)
           - 0.5f * z;
}

OMNILOSS_INLINE double log1p_tail(double f) {
    const double half_square = 0.5 * f * f;
    const double s = f / (2.0 + f);
    const double z = s * s;
    return s * (half_square + 2.0 * z * atanh_tail(z)) - half_square;
}

// log(2**k * (1 + f)) in the order that keeps the digits of f where k is 0
template <class T> OMNILOSS_INLINE T log_assemble(T k, T f) {
    return k * Format<T>::ln2_high + (f + (log1p_tail(f) + k * Format<T>::ln2_low));
}

// For a positive normal u = 2**k * m with sqrt(1/2) <= m < sqrt(2): k + offset, and the bits of m.
template <class T> struct Split {
    using F = Format<T>;
    using Bits = typename F::Bits;
    static constexpr Bits offset = F::bias + 1;
    Bits exponent;
    T mantissa;

    OMNILOSS_INLINE explicit Split(T u) {
        exponent = (to_bits(u) - F::sqrt_half + (offset << F::mantissa)) >> F::mantissa;
        mantissa = from_bits<T>(to_bits(u) - ((exponent - offset) << F::mantissa));
    }
    OMNILOSS_INLINE T k() const { return to_real<T>(exponent) - T(offset); }
    // In two factors, because 2**-k is subnormal at the largest k
    OMNILOSS_INLINE T inverse_scale() const {
        return T(0.5) * power_of_two<T>(offset + 1 - exponent);
    }
};

template <class T> OMNILOSS_INLINE T log(T x) {
    constexpr int lift = Format<T>::mantissa + 1;
    constexpr T lift_factor = static_cast<T>(typename Format<T>::Bits{1} << lift);
    const bool tiny = x < std::numeric_limits<T>::min();
    const Split<T> split(tiny ? x * lift_factor : x);
    const T k = split.k() - (tiny ? T(lift) : T(0));
    T result = log_assemble(k, split.mantissa - T(1));
    result = x < infinity<T> ? result : x;
    return x > T(0) ? result : (x == T(0) ? -infinity<T> : not_a_number<T>);
}

// log(a + b) for a, b >= 0. The rounding error of the sum is carried along: it shows near 1.
template <class T> OMNILOSS_INLINE T log_sum(T a, T b) {
    constexpr int lift = Format<T>::mantissa + 1;
    constexpr T lift_factor = static_cast<T>(typename Format<T>::Bits{1} << lift);
    const T u = a + b;
    const T lost = (a < b ? a : b) - (u - (a < b ? b : a));
    const bool tiny = u < std::numeric_limits<T>::min();  // such sums are exact
    const Split<T> split(tiny ? u * lift_factor : u);
    const T k = split.k() - (tiny ? T(lift) : T(0));
    T result = log_assemble(k, (split.mantissa - T(1)) + lost * split.inverse_scale());
    result = u < infinity<T> ? result : u;
    return u > T(0) ? result : (u == T(0) ? -infinity<T> : not_a_number<T>);
}

// The same where the sum is a normal number below 2**126; NaN is lost.
template <class T> OMNILOSS_INLINE T log_normal_sum(T a, T b) {
    const T u = a + b;
    const T second = u - a;
    const T lost = (a - (u - second)) + (b - second);
    const Split<T> split(u);
    const T f = (split.mantissa - T(1)) + lost * power_of_two<T>(split.offset - split.exponent);
    return log_assemble(split.k(), f);
}

// The rounding error of 1 + x is carried along, so that small x keep all their digits.
template <class T> OMNILOSS_INLINE T log1p(T x) {
    const T u = T(1) + x;
    const Split<T> split(u);
    const T lost = x - (u - T(1));
    const T f = (split.mantissa - T(1)) + lost * split.inverse_scale();
    T result = log_assemble(split.k(), f);
    result = x < infinity<T> ? result : x;
    return x > T(-1) ? result : (x == T(-1) ? -infinity<T> : not_a_number<T>);
}

// log1p for 0 <= x <= 1, cheaper
OMNILOSS_INLINE float log1p_fraction(float x) {
    return x
           + x * x
                 * polynomial(x, -0x1.ffffd2p-2f, 0x1.554dfp-2f, -0x1.ff26e2p-3f, 0x1.935cap-3f,
                              -0x1.3a7a82p-3f, 0x1.b579bep-4f, -0x1.d86316p-5f, 0x1.4b0822p-6f,
                              -0x1.b2f55ep-9f);
}

OMNILOSS_INLINE double log1p_fraction(double x) {
    const bool upper = x > 0.41421356237309505;
    return log_assemble(upper ? 1.0 : 0.0, upper ? 0.5 * (x - 1.0) : x);
}

// log1p(x) - log(2) for 0 <= x <= exp(-2)
OMNILOSS_INLINE float log_mean_small(float x) {
    return polynomial(x, -0x1.62e43p-1f, 0x1.fffffap-1f, -0x1.fffbbcp-2f, 0x1.54cb88p-2f,
                      -0x1.f00e2cp-3f, 0x1.28da92p-3f);
}

OMNILOSS_INLINE double log_mean_small(double x) {
    return polynomial(x, -0x1.62e42fefa39efp-1, 0x1p0, -0x1p-1, 0x1.5555555555534p-2,
                      -0x1.fffffffffe262p-3, 0x1.99999999195dcp-3, -0x1.5555553ea95a2p-3,
                      0x1.24924663e45a4p-3, -0x1.ffff86d26c669p-4, 0x1.c714f016c1abcp-4,
                      -0x1.99434f055e6edp-4, 0x1.719166c1bcf7dp-4, -0x1.44e2cec9818d4p-4,
                      0x1.f15c253f4c284p-5, -0x1.da94e0f166edbp-6);
}

// log(a / b) + lifted * log(2) from the bits of a and b, normal numbers. It is exact to the last digits
// near a == b, and no quotient overflows: with 2**k near a/b, found by subtracting the bits, and b scaled
// to m in [1, 2), it is k*log(2) + 2*atanh((l - m) / (l + m)), where l is a scaled as b and divided by 2**k.
template <class T>
OMNILOSS_INLINE T log_ratio_of_bits(typename Format<T>::Bits a, typename Format<T>::Bits b,
                                    T lifted) {
    using F = Format<T>;
    using Bits = typename F::Bits;
    constexpr Bits offset = 2 * (F::bias + 1);
    constexpr Bits mask = (Bits{1} << F::mantissa) - 1;
    constexpr Bits half = Bits{1} << (F::mantissa - 1);
    const Bits distance = a - b + (half + (offset << F::mantissa));
    const Bits mantissa_b = b & mask;
    const T m = from_bits<T>(mantissa_b | to_bits(T(1)));
    const T l = from_bits<T>((mantissa_b + (to_bits(T(1)) - half)) + (distance & mask));
    const T k = (to_real<T>(distance >> F::mantissa) - T(offset)) + lifted;
    const T s = (l - m) / (l + m);
    const T twice = s + s;
    const T z = s * s;
    return k * F::ln2_high + (twice + (twice * z * atanh_tail(z) + k * F::ln2_low));
}

// log(a / b) for normal positive a and b
template <class T> OMNILOSS_INLINE T log_normal_ratio(T a, T b) {
    return log_ratio_of_bits(to_bits(a), to_bits(b), T(0));
}

// log(a / b) for a, b >= 0
template <class T> OMNILOSS_INLINE T log_ratio(T a, T b) {
    constexpr int lift = Format<T>::mantissa + 1;
    constexpr T lift_factor = static_cast<T>(typename Format<T>::Bits{1} << lift);
    constexpr T least = std::numeric_limits<T>::min();
    const T lifted = (b < least ? T(lift) : T(0)) - (a < least ? T(lift) : T(0));
    const T result = log_ratio_of_bits(to_bits(a < least ? a * lift_factor : a),
                                       to_bits(b < least ? b * lift_factor : b), lifted);
    const bool regular = (a > T(0)) & (b > T(0)) & (a < infinity<T>) & (b < infinity<T>);
    return regular ? result : (a - b) * infinity<T>;
}

// log(cosh(d)) / d**2 as a function of z = d**2 <= 1
OMNILOSS_INLINE float log_cosh_small(float z) {
    return polynomial(z, 0x1p-1f, -0x1.555554p-4f, 0x1.6c1662p-6f, -0x1.ba0bd6p-8f, 0x1.1dfbdcp-9f,
                      -0x1.7b0f5cp-11f, 0x1.dcd996p-13f, -0x1.dda46ap-15f, 0x1.057f22p-17f);
}

OMNILOSS_INLINE double log_cosh_small(double z) {
    return polynomial(z, 0x1p-1, -0x1.5555555555554p-4, 0x1.6c16c16c16a34p-6, -0x1.ba1ba1ba0974bp-8,
                      0x1.1ea5d398ea28ap-9, -0x1.833d9beeefeabp-11, 0x1.0d0b49a5bc5e8p-12,
                      -0x1.7da2936767c13p-14, 0x1.12f2449a947b3p-15, -0x1.90de78702628cp-17,
                      0x1.2623f7f79c3b7p-18, -0x1.acdef43b2c183p-20, 0x1.2cc1341c198dfp-21,
                      -0x1.7c9886e2979cap-23, 0x1.87fb8019b8145p-25, -0x1.182e25fd15f65p-27,
                      0x1.92ea31a7ea65fp-31);
}

// (cosh(d) - 1) / d**2 as a function of z = d**2 <= 36
OMNILOSS_INLINE float cosh_tail(float z) {
    return polynomial(z, 0x1p-1f, 0x1.555564p-5f, 0x1.6c1576p-10f, 0x1.a02ffap-16f, 0x1.273512p-22f,
                      0x1.24b6e2p-29f, 0x1.5f5f34p-37f, 0x1.4bfa6ep-44f);
}

OMNILOSS_INLINE double cosh_tail(double z) {
    return polynomial(z, 0x1p-1, 0x1.555555555554bp-5, 0x1.6c16c16c16e65p-10, 0x1.a01a01a0138b8p-16,
                      0x1.27e4fb781dde3p-22, 0x1.1eed8ef00d6efp-29, 0x1.93974c9ad1a36p-37,
                      0x1.ae7f102309698p-45, 0x1.682a4801da695p-53, 0x1.e509a54adfc08p-62,
                      0x1.0e6dfff52e0b8p-70, 0x1.d7c0bdb4bbd06p-80, 0x1.07acdcb816dcdp-88);
}

// tanh(d) / d as a function of z = d**2 <= 1
OMNILOSS_INLINE float tanh_small(float z) {
    return polynomial(z, 0x1p0f, -0x1.555552p-2f, 0x1.11103cp-3f, -0x1.b9f85ap-5f, 0x1.64d45ep-6f,
                      -0x1.194c3cp-7f, 0x1.92054cp-9f, -0x1.b592e8p-11f, 0x1.f7095cp-14f);
}

OMNILOSS_INLINE double tanh_small(double z) {
    return polynomial(z, 0x1p0, -0x1.555555555554bp-2, 0x1.1111111110975p-3, -0x1.ba1ba1b9d2a78p-5,
                      0x1.664f487735601p-6, -0x1.226e3441c9d43p-7, 0x1.d6d3ac96823a9p-9,
                      -0x1.7da1c6883e708p-10, 0x1.354acc20b0893p-11, -0x1.f4d9fd72e4f55p-13,
                      0x1.938b73d6bb8f1p-14, -0x1.3f22b22cb7718p-15, 0x1.de8517c3e335ep-17,
                      -0x1.3e76827828461p-18, 0x1.53c6debdb6828p-20, -0x1.f13a0afe58ae6p-23,
                      0x1.6af99a63efddcp-26);
}

// base**exponent for base >= 0; float is computed in double.
OMNILOSS_INLINE double wide_pow(double base, double exponent) {
    const double result = exp(exponent * log(base));
    return exponent == 0.0 ? 1.0 : result;
}

OMNILOSS_INLINE float pow(float base, float exponent) {
    return static_cast<float>(wide_pow(base, exponent));
}

OMNILOSS_INLINE double pow(double base, double exponent) { return std::pow(base, exponent); }

}  // namespace omniloss::OMNILOSS_LEVEL
