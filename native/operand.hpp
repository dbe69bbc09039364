// Input arrays of any type and strides, read in C order tile by tile.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "level.hpp"

namespace omniloss {

enum class ElementType : std::uint8_t {
    boolean, int8, uint8, int16, uint16, int32, uint32, int64, uint64, float16, float32, float64,
    bfloat16,
    other_byte_order = 0x80  // added to one of the others
};

constexpr ElementType swapped(ElementType type) {
    return static_cast<ElementType>(static_cast<unsigned>(type)
                                    | static_cast<unsigned>(ElementType::other_byte_order));
}

constexpr bool is_float64(ElementType type) {
    return type == ElementType::float64 || type == swapped(ElementType::float64);
}

constexpr bool is_half(ElementType type) {
    return type == ElementType::float16 || type == ElementType::bfloat16;
}

constexpr int max_dimensions = 64;
// Small on purpose: a buffer of a whole page (4 KiB) takes every address modulo 4096 in turn, and loads
// of the input then wait for stores to the buffer that only look as if they went to the same place.
constexpr std::ptrdiff_t tile_size = 256;
// Buffers have room for a whole vector more, so that short runs may be written in one piece.
constexpr std::ptrdiff_t tile_buffer_size = tile_size + 16;

// A view of an array, with neighbouring dimensions merged wherever the strides (in bytes) allow it:
// a contiguous array has one dimension. It has at least one.
struct Operand {
    const char* data;
    ElementType type;
    int ndim;
    std::ptrdiff_t shape[max_dimensions];
    std::ptrdiff_t strides[max_dimensions];
};

namespace OMNILOSS_LEVEL {

template <class T> constexpr ElementType element_type =
    std::is_same_v<T, float> ? ElementType::float32 : ElementType::float64;

struct Boolean {
    std::uint8_t byte;
};

struct Half {
    std::uint16_t bits;
};
constexpr std::ptrdiff_t half_size = sizeof(Half);

struct Brain {
    std::uint16_t bits;
};

template <class Source> struct Swapped {
    unsigned char bytes[sizeof(Source)];
};

template <class T, class Source> OMNILOSS_INLINE T convert(Source x) { return static_cast<T>(x); }

template <class T> OMNILOSS_INLINE T convert(Boolean x) { return x.byte != 0 ? T(1) : T(0); }

// The exponent field is moved into place and rescaled by a multiplication, which is right for
// subnormal numbers too; infinity and NaN get float32's own exponent.
template <class T> OMNILOSS_INLINE T convert(Half x) {
    const std::uint32_t sign = std::uint32_t(x.bits & 0x8000u) << 16;
    const std::uint32_t rest = std::uint32_t(x.bits & 0x7fffu) << 13;
    const float finite = std::bit_cast<float>(rest) * 0x1p112f;
    const std::uint32_t special = rest | 0x7f800000u;
    const std::uint32_t bits =
        (x.bits & 0x7c00u) == 0x7c00u ? special : std::bit_cast<std::uint32_t>(finite);
    return static_cast<T>(std::bit_cast<float>(bits | sign));
}

// bfloat16 is the upper half of a float32.
template <class T> OMNILOSS_INLINE T convert(Brain x) {
    return static_cast<T>(std::bit_cast<float>(std::uint32_t(x.bits) << 16));
}

template <class T, class Source> OMNILOSS_INLINE T convert(Swapped<Source> x) {
    std::reverse(x.bytes, x.bytes + sizeof(Source));
    return convert<T>(std::bit_cast<Source>(x));
}

template <class Source, class T>
void read_run(const char* data, std::ptrdiff_t stride, std::ptrdiff_t n, T* OMNILOSS_RESTRICT out) {
    constexpr std::ptrdiff_t size = sizeof(Source);
    if (stride == size) {
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            Source x;
            std::memcpy(&x, data + i * size, sizeof x);
            out[i] = convert<T>(x);
        }
        return;
    }
    if (stride == 0 && n > 0) {
        Source x;
        std::memcpy(&x, data, sizeof x);
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = convert<T>(x);
        return;
    }
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        Source x;
        std::memcpy(&x, data + i * stride, sizeof x);
        out[i] = convert<T>(x);
    }
}

// The same of elements whose bytes stand the other way round, which are too rare for more than this
template <class Source, class T>
void read_swapped_run(const char* data, std::ptrdiff_t stride, std::ptrdiff_t n, T* out) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        Swapped<Source> x;
        std::memcpy(&x, data + i * stride, sizeof x);
        out[i] = convert<T>(x);
    }
}

// To the nearest, of two the even one. NaN stays NaN: it must not be carried to infinity.
OMNILOSS_INLINE Brain narrow_to_brain(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const std::uint32_t nan = (bits >> 16) | 0x0040u;
    return {static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded)};
}

// The same. A number below the normal ones is rounded by adding 1/2, whose last place is theirs.
OMNILOSS_INLINE Half narrow_to_half(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
    const std::uint32_t normal = (size - 0x38000000u + 0xfffu + ((size >> 13) & 1u)) >> 13;
    const std::uint32_t small =
        std::bit_cast<std::uint32_t>(std::bit_cast<float>(size) + 0.5f) - 0x3f000000u;
    std::uint32_t half = size < 0x38800000u ? small : normal;
    half = size >= 0x477ff000u ? 0x7c00u : half;
    half = size > 0x7f800000u ? 0x7e00u : half;
    return {static_cast<std::uint16_t>(sign | half)};
}

// Writes n results one after the other, as they are or in half precision.
template <class T>
void write_run(ElementType type, const T* OMNILOSS_RESTRICT x, std::ptrdiff_t n, char* out) {
    if (type == element_type<T>) {
        std::memcpy(out, x, static_cast<std::size_t>(n) * sizeof(T));
    } else if (type == ElementType::bfloat16) {
        auto* to = reinterpret_cast<Brain*>(out);
        for (std::ptrdiff_t i = 0; i < n; ++i) to[i] = narrow_to_brain(static_cast<float>(x[i]));
    } else {
        auto* to = reinterpret_cast<Half*>(out);
        for (std::ptrdiff_t i = 0; i < n; ++i) to[i] = narrow_to_half(static_cast<float>(x[i]));
    }
}

// n elements, `stride` bytes apart, converted to T
template <class T>
void read_run(ElementType type, const char* data, std::ptrdiff_t stride, std::ptrdiff_t n, T* out) {
    using enum ElementType;
    switch (type) {
        case swapped(int16): return read_swapped_run<std::int16_t>(data, stride, n, out);
        case swapped(uint16): return read_swapped_run<std::uint16_t>(data, stride, n, out);
        case swapped(int32): return read_swapped_run<std::int32_t>(data, stride, n, out);
        case swapped(uint32): return read_swapped_run<std::uint32_t>(data, stride, n, out);
        case swapped(int64): return read_swapped_run<std::int64_t>(data, stride, n, out);
        case swapped(uint64): return read_swapped_run<std::uint64_t>(data, stride, n, out);
        case swapped(float16): return read_swapped_run<Half>(data, stride, n, out);
        case swapped(float32): return read_swapped_run<float>(data, stride, n, out);
        case swapped(float64): return read_swapped_run<double>(data, stride, n, out);
        case bfloat16: return read_run<Brain>(data, stride, n, out);
        case other_byte_order: return;  // no type by itself
        case boolean: return read_run<Boolean>(data, stride, n, out);
        case int8: return read_run<std::int8_t>(data, stride, n, out);
        case uint8: return read_run<std::uint8_t>(data, stride, n, out);
        case int16: return read_run<std::int16_t>(data, stride, n, out);
        case uint16: return read_run<std::uint16_t>(data, stride, n, out);
        case int32: return read_run<std::int32_t>(data, stride, n, out);
        case uint32: return read_run<std::uint32_t>(data, stride, n, out);
        case int64: return read_run<std::int64_t>(data, stride, n, out);
        case uint64: return read_run<std::uint64_t>(data, stride, n, out);
        case float16: return read_run<Half>(data, stride, n, out);
        case float32: return read_run<float>(data, stride, n, out);
        case float64: return read_run<double>(data, stride, n, out);
    }
}

// Where an element stands: its run along the last dimension, and its place in that run
struct Cursor {
    const Operand& operand;
    int last;
    std::ptrdiff_t index[max_dimensions];
    const char* run;

    Cursor(const Operand& view, int dimensions, std::ptrdiff_t start)
        : operand(view), last(dimensions - 1), run(view.data) {
        for (int d = last; d > 0; --d) {
            index[d] = start % view.shape[d];
            start /= view.shape[d];
        }
        index[0] = start;
        for (int d = 0; d < last; ++d) run += index[d] * view.strides[d];
    }

    std::ptrdiff_t left_in_run() const { return operand.shape[last] - index[last]; }

    const char* position() const { return run + index[last] * operand.strides[last]; }

    void next_run() {
        index[last] = 0;
        for (int d = last - 1; d >= 0; --d) {
            run += operand.strides[d];
            if (++index[d] < operand.shape[d] || d == 0) return;
            run -= operand.strides[d] * operand.shape[d];
            index[d] = 0;
        }
    }
};

// Elements [start, start + n) of the first `dimensions` dimensions of a view
template <class T>
void copy_tile(const Operand& view, int dimensions, std::ptrdiff_t start, std::ptrdiff_t n,
               T* buffer) {
    Cursor cursor(view, dimensions, start);
    while (n > 0) {
        const std::ptrdiff_t left = cursor.left_in_run();
        const std::ptrdiff_t take = left < n ? left : n;
        read_run(view.type, cursor.position(), view.strides[dimensions - 1], take, buffer);
        buffer += take;
        n -= take;
        if (n > 0) cursor.next_run();
    }
}

// A view whose every element is repeated along the last dimension, as the weights of rows are: each
// element is read once, and written in whole vectors that may run into the next element's place.
template <class T>
void repeat_tile(const Operand& view, std::ptrdiff_t start, std::ptrdiff_t n,
                 T* OMNILOSS_RESTRICT buffer) {
    constexpr std::ptrdiff_t width = 64 / sizeof(T);
    const std::ptrdiff_t length = view.shape[view.ndim - 1];
    const std::ptrdiff_t first = start / length;
    const std::ptrdiff_t rows = (start + n - 1) / length - first + 1;
    T row_values[tile_buffer_size];
    copy_tile(view, view.ndim - 1, first, rows, row_values);
    std::ptrdiff_t at = 0;
    for (std::ptrdiff_t row = 0; row < rows; ++row) {
        std::ptrdiff_t end = (first + row + 1) * length - start;
        if (end > n) end = n;
        const T x = row_values[row];
        for (; at < end; at += width) {
            for (std::ptrdiff_t i = 0; i < width; ++i) buffer[at + i] = x;
        }
        at = end;
    }
}

// Elements [start, start + n), n <= tile_size, in C order: in place where the view holds them so,
// else converted into `buffer`, which has tile_buffer_size elements.
template <class T>
const T* read_tile(const Operand& view, std::ptrdiff_t start, std::ptrdiff_t n, T* buffer) {
    const std::ptrdiff_t stride = view.strides[view.ndim - 1];
    if (view.ndim == 1) {
        const char* data = view.data + start * stride;
        if (view.type == element_type<T> && stride == std::ptrdiff_t(sizeof(T))
            && reinterpret_cast<std::uintptr_t>(data) % alignof(T) == 0) {
            return reinterpret_cast<const T*>(data);
        }
        read_run(view.type, data, stride, n, buffer);
    } else if (stride == 0 && view.shape[view.ndim - 1] > 1) {
        repeat_tile(view, start, n, buffer);
    } else {
        copy_tile(view, view.ndim, start, n, buffer);
    }
    return buffer;
}

}  // namespace OMNILOSS_LEVEL
}  // namespace omniloss
