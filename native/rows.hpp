// How the row losses see their input: a loss of rowwise.hpp is written once as sweeps over the
// elements of W lanes, and runs in two layouts.
//
// Few classes ("tile"): W rows are transposed into a buffer [class][W]; a lane is a row. The
// transposition also takes care of strides, of type conversion and of the target map.
//
// Many classes: one row at a time, W neighbouring elements to a step. All lanes share that row, so
// `combine` folds them, always in the same order, after each sweep that reduces.
//
// In both layouts the inner loop runs over a fixed number of lanes of contiguous memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "operand.hpp"
#include "vector_math.hpp"

// Before a loop over lanes: its iterations are independent, whatever the pointers may look like.
#if defined(__clang__)
#define OMNILOSS_LOOP _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define OMNILOSS_LOOP _Pragma("GCC ivdep") _Pragma("GCC unroll 1")
#elif defined(_MSC_VER)
#define OMNILOSS_LOOP __pragma(loop(ivdep))
#else
#define OMNILOSS_LOOP
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define OMNILOSS_INLINE_LAMBDA [[msvc::forceinline]]
#else
#define OMNILOSS_INLINE_LAMBDA __attribute__((always_inline))
#endif

namespace omniloss::OMNILOSS_LEVEL {

// A tile's lanes hide latency. Those of a long row are few, so that what a sweep accumulates stays
// in registers.
template <class T, bool Tile> constexpr int row_lanes = (Tile ? 256 : 64) / sizeof(T);

// Rows with more classes than this are taken one at a time: a tile is to stay in the L1/L2 caches.
constexpr std::ptrdiff_t tile_classes = 128;

// Strided or converted long rows are read through a buffer of so many elements.
constexpr std::ptrdiff_t chunk_size = tile_size;

// One value per lane: what a sweep accumulates.
template <class U, int width>
struct Lanes {
    alignas(64) U at[width];

    explicit Lanes(U start) {
        for (int l = 0; l < width; ++l) at[l] = start;
    }
    U& operator[](int l) { return at[l]; }
};

// One value per row, asked for by lane.
template <class T, bool Tile, class U>
struct PerRow {
    static constexpr int count = Tile ? row_lanes<T, Tile> : 1;
    alignas(64) U at[count];

    U& operator[](int l) { return at[Tile ? l : 0]; }
    const U& operator[](int l) const { return at[Tile ? l : 0]; }
};

// A sum in float64. Sums of float64 terms also carry the rounding error of every addition.
template <class T, int width> class LaneSum {
  public:
    OMNILOSS_INLINE void add(int l, double term) {
        if constexpr (compensated) {
            const double old = high[l], sum = old + term, part = sum - old;
            low[l] += (old - (sum - part)) + (term - part);
            high[l] = sum;
        } else {
            high[l] += term;
        }
    }

    // Adds a term in two parts.
    OMNILOSS_INLINE void add(int l, Parts term) {
        if constexpr (compensated) low[l] += term.low;
        add(l, term.high);
    }

    // Adds lane `from` to lane l.
    OMNILOSS_INLINE void merge(int l, int from) {
        if constexpr (compensated) low[l] += low[from];
        add(l, high[from]);
    }

    OMNILOSS_INLINE double value(int l) { return high[l] + error(l); }
    // What value(l) lost by rounding
    OMNILOSS_INLINE double lost(int l) { return (high[l] - value(l)) + error(l); }

  private:
    static constexpr bool compensated = sizeof(T) == sizeof(double);

    // An infinite sum has no rounding error worth adding: it was computed as NaN.
    OMNILOSS_INLINE double error(int l) {
        if constexpr (compensated) {
            const double sum = high[l], carried = low[l];
            return sum - sum == 0.0 ? carried : 0.0;
        } else {
            return 0.0;
        }
    }

    struct None {
        explicit None(double) {}
    };
    Lanes<double, width> high{0.0};
    std::conditional_t<compensated, Lanes<double, width>, None> low{0.0};
};

// Calls body(l, m) so as to fold all lanes m > 0 into lane 0, as a tree.
template <int half, class Body> OMNILOSS_INLINE void halve(Body&& body) {
    if constexpr (half > 0) {
        OMNILOSS_LOOP
        for (int l = 0; l < half; ++l) body(l, l + half);
        halve<half / 2>(body);
    }
}

// read_tile, kept out of line: it is long, and called in many places.
template <class T>
OMNILOSS_NOINLINE const T* fetch(const Operand& source, std::ptrdiff_t start, std::ptrdiff_t n,
                                 T* buffer) {
    return read_tile(source, start, n, buffer);
}

// `out` may be x.
template <class T>
OMNILOSS_INLINE void map_row(const T* x, std::ptrdiff_t n, T scale, T offset, T* out) {
    OMNILOSS_LOOP
    for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = scale * x[i] + offset;
}

// The rows that a loss works on. X, Y, G below point at W predictions, targets and gradients of
// one step. The gradient may serve as a scratch row between sweeps.
template <class T, bool TileLayout, bool DenseTargets, bool WithGradient>
class Rows {
  public:
    using Type = T;
    static constexpr bool Tile = TileLayout;
    static constexpr bool Dense = DenseTargets;  // a target per element, not a class index
    static constexpr bool Gradient = WithGradient;
    static constexpr int width = row_lanes<T, Tile>;
    static constexpr int count = Tile ? width : 1;
    template <class U>
    using Row = PerRow<T, Tile, U>;
    template <class U>
    using Lane = Lanes<U, width>;
    using Sum = LaneSum<T, width>;

    std::ptrdiff_t classes = 0;
    Row<double> scale;           // what the gradient of each row is multiplied by
    Row<double> loss;            // the result
    Row<std::int64_t> label;     // the target class of each row, for losses of class indices
    const T* x = nullptr;        // tile or contiguous row; null: read the row through `x_source`
    const T* y = nullptr;        // the same for targets
    T* g = nullptr;              // tile or row of the gradient
    const Operand* x_source = nullptr;
    const Operand* y_source = nullptr;  // null: they are made of the row's class
    std::ptrdiff_t start = 0;    // flat index of the row's first element in the sources
    T map_scale = 1, map_offset = 0;
    const T* class_factors = nullptr;  // what mapped targets are multiplied by, or null
    std::int64_t hot = 0;        // without `y_source`: the class whose target is 1, the others' being 0
    T *x_tail = nullptr, *y_tail = nullptr, *g_tail = nullptr;  // the last step, filled up to W
    T *x_buffer = nullptr, *y_buffer = nullptr;                 // as read_tile asks for them

    // Calls body(X, Y, G, lane, j) for every element: X, Y and G are indexed by the lane, and j is
    // the class of the step's lane 0. Y is there for dense targets only, and G when there is a
    // gradient.
    template <class Body>
    OMNILOSS_INLINE void sweep(Body&& body) const {
        if constexpr (Tile) {
            steps(x, y, g, classes, 0, body);
        } else {
            const std::ptrdiff_t whole = classes / width * width;
            const bool in_place = x != nullptr && (!Dense || y != nullptr);
            const std::ptrdiff_t chunk = in_place ? whole : chunk_size;
            for (std::ptrdiff_t first = 0; first < classes;) {
                const bool tail = first == whole;
                const std::ptrdiff_t n = tail ? width : std::min(chunk, whole - first);
                const T* ys = nullptr;
                T* gs = nullptr;
                if constexpr (Dense) ys = tail ? y_tail : targets(first, n, y_buffer);
                if constexpr (Gradient) gs = tail ? g_tail : g + first;
                const T* xs = tail ? x_tail : predictions(first, n, x_buffer);
                steps(xs, ys, gs, n / width, first, body);
                first += n;
            }
        }
    }

    // A sweep in two: T e = map(X, lane), which is kept as the gradient where there is one, then
    // use(e, X, Y, lane), which may change it. In long rows they are two loops, stretch by stretch:
    // one that only computes, and one that only adds up, whose sums stay in registers.
    template <class Map, class Use>
    OMNILOSS_INLINE void sweep_twice(Map&& map, Use&& use) const {
        T kept[width];  // where there is no gradient
        if constexpr (Tile) {
            sweep([&](const T* xs, const T* ys, T* gs, int l, std::ptrdiff_t) {
                T& e = Gradient ? gs[l] : kept[l];
                e = map(xs, l);
                use(e, xs, ys, l);
            });
        } else {
            T stretch[chunk_size];
            const std::ptrdiff_t whole = classes / width * width;
            for (std::ptrdiff_t first = 0; first < classes;) {
                const bool tail = first == whole;
                const std::ptrdiff_t n = tail ? width : std::min(chunk_size, whole - first);
                const T* ys = nullptr;
                if constexpr (Dense) ys = tail ? y_tail : targets(first, n, y_buffer);
                const T* xs = tail ? x_tail : predictions(first, n, x_buffer);
                T* es = stretch;
                if constexpr (Gradient) es = tail ? g_tail : g + first;
                for (std::ptrdiff_t i = 0; i < n; i += width) {
                    OMNILOSS_LOOP
                    for (int l = 0; l < width; ++l) es[i + l] = map(xs + i, l);
                }
                for (std::ptrdiff_t i = 0; i < n; i += width) {
                    OMNILOSS_LOOP
                    for (int l = 0; l < width; ++l) use(es[i + l], xs + i, Dense ? ys + i : ys, l);
                }
                first += n;
            }
        }
    }

    // Prepares the last step of a long row, filled up with `padding` and targets 0.
    void begin_row(T padding) {
        const std::ptrdiff_t whole = classes / width * width, rest = classes - whole;
        if (rest == 0) return;
        const T* xs = predictions(whole, rest, x_buffer);
        std::fill(std::copy(xs, xs + rest, x_tail), x_tail + width, padding);
        if constexpr (Dense) {
            const T* ys = targets(whole, rest, y_buffer);
            std::fill(std::copy(ys, ys + rest, y_tail), y_tail + width, T(0));
        }
    }

    // Brings the gradient of the last step of a long row home.
    void end_row() const {
        const std::ptrdiff_t whole = classes / width * width;
        std::copy(g_tail, g_tail + (classes - whole), g + whole);
    }

    // Targets of the classes from `first` on, mapped; `out` may be `given`.
    void map_targets(const T* given, std::ptrdiff_t first, std::ptrdiff_t n, T* out) const {
        map_row(given, n, map_scale, map_offset, out);
        if (class_factors == nullptr) return;
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i] *= class_factors[first + i];
    }

    // One element of row r (0 but for tiles).
    T prediction(int r, std::int64_t j) const {
        if constexpr (Tile) return x[j * width + r];
        return *predictions(j, 1, x_buffer);
    }
    // Targets [first, first + n), n <= chunk_size, of a row that is no tile's
    void read_targets(std::ptrdiff_t first, std::ptrdiff_t n, double* out) const {
        const T* found = targets(first, n, y_buffer);
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = static_cast<double>(found[i]);
    }
    T& gradient(int r, std::int64_t j) const {
        if constexpr (Tile) return g[j * width + r];
        const std::ptrdiff_t whole = classes / width * width;
        return j < whole ? g[j] : g_tail[j - whole];
    }

    // Calls body(row) for each of the rows.
    template <class Body>
    OMNILOSS_INLINE static void each(Body&& body) {
        OMNILOSS_LOOP
        for (int r = 0; r < count; ++r) body(r);
    }

    // From a value per lane to a value per row.
    template <class U, class Fold>
    OMNILOSS_INLINE static Row<U> combine(Lane<U>& lanes, Fold&& fold) {
        Row<U> result;
        if constexpr (Tile) {
            for (int l = 0; l < width; ++l) result.at[l] = lanes[l];
        } else {
            halve<width / 2>([&](int l, int m) { lanes[l] = fold(lanes[l], lanes[m]); });
            result.at[0] = lanes[0];
        }
        return result;
    }

    // A sum of each row in two parts: rounded to float64, and what that lost
    struct RowParts {
        Row<double> high, low;
    };
    OMNILOSS_INLINE static RowParts combine_parts(Sum& sum) {
        if constexpr (!Tile) {
            halve<width / 2>([&](int l, int m) { sum.merge(l, m); });
        }
        RowParts result;
        OMNILOSS_LOOP
        for (int r = 0; r < count; ++r) {
            result.high.at[r] = sum.value(r);
            result.low.at[r] = sum.lost(r);
        }
        return result;
    }

    OMNILOSS_INLINE static Row<double> combine(Sum& sum) { return combine_parts(sum).high; }

  private:
    const T* predictions(std::ptrdiff_t first, std::ptrdiff_t n, T* buffer) const {
        return x != nullptr ? x + first : fetch<T>(*x_source, start + first, n, buffer);
    }
    const T* targets(std::ptrdiff_t first, std::ptrdiff_t n, T* buffer) const {
        if (y != nullptr) return y + first;
        const T* raw = y_source == nullptr ? hot_targets(first, n, buffer)
                                           : fetch<T>(*y_source, start + first, n, buffer);
        if (map_scale == T(1) && map_offset == T(0) && class_factors == nullptr) return raw;
        map_targets(raw, first, n, buffer);
        return buffer;
    }

    const T* hot_targets(std::ptrdiff_t first, std::ptrdiff_t n, T* buffer) const {
        std::fill(buffer, buffer + n, T(0));
        if (hot >= first && hot < first + n) buffer[hot - first] = T(1);
        return buffer;
    }

    template <class Body>
    OMNILOSS_INLINE static void steps(const T* xs, const T* ys, T* gs, std::ptrdiff_t number,
                                      std::ptrdiff_t j, Body& body) {
        for (std::ptrdiff_t s = 0; s < number; ++s) {
            OMNILOSS_LOOP
            for (int l = 0; l < width; ++l) body(xs, ys, gs, l, j);
            xs += width;
            if constexpr (Dense) ys += width;
            if constexpr (Gradient) gs += width;
            j += Tile ? 1 : width;
        }
    }
};

}  // namespace omniloss::OMNILOSS_LEVEL
