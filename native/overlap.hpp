// How far two sets overlap. A set of a few thousand elements is a row like any other; a longer one,
// such as all pixels of a batch, is cut into pieces, for several threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>

#include "row_loops.hpp"

namespace omniloss::OMNILOSS_LEVEL {

// What a set comes to: the loss, and its derivative a (1 - y) - b y
struct Overlap {
    double loss, invented, found;

    OMNILOSS_INLINE Overlap(double shared, double invented_sum, double overlooked,
                            const double* parameters, double scale) {
        const double smooth = parameters[0], alpha = parameters[1], beta = parameters[2];
        const double missed = (alpha * invented_sum + beta * overlooked) + smooth;
        const double whole = shared + missed;
        loss = missed / whole;
        invented = scale * (alpha * shared / whole / whole);
        found = scale * ((missed + beta * shared) / whole / whole);
    }
};

// missed / (shared + missed), missed = alpha sum p (1 - y) + beta sum y (1 - p) + smooth
struct tversky {
    static constexpr bool dense = true;
    static constexpr double padding = 0.0;

    template <class R> static void run(R& rows, const double* parameters) {
        using T = typename R::Type;
        typename R::Sum shared_sum, invented_sum, overlooked_sum;
        rows.sweep([&](const T* xs, const T* ys, T*, int l, std::ptrdiff_t) {
            const double p = static_cast<double>(xs[l]), y = static_cast<double>(ys[l]);
            shared_sum.add(l, y * p);
            invented_sum.add(l, p * (1.0 - y));
            overlooked_sum.add(l, y * (1.0 - p));
        });
        const auto shared = R::combine(shared_sum), invented = R::combine(invented_sum);
        const auto overlooked = R::combine(overlooked_sum);
        typename R::template Row<double> a, b;
        R::each([&](int r) {
            const Overlap set(shared.at[r], invented.at[r], overlooked.at[r], parameters,
                              rows.scale.at[r]);
            rows.loss.at[r] = set.loss;
            a.at[r] = set.invented;
            b.at[r] = set.found;
        });
        if constexpr (R::Gradient) {
            rows.sweep([&](const T*, const T* ys, T* g, int l, std::ptrdiff_t) {
                const double y = static_cast<double>(ys[l]);
                g[l] = static_cast<T>(a[l] * (1.0 - y) - b[l] * y);
            });
        }
    }
};

constexpr std::ptrdiff_t piece_size = 1 << 14;

// The sums of a piece of a set
struct PieceSums {
    double shared, invented, overlooked;
};

// Sets in pieces
template <class T> class Pieces {
  public:
    explicit Pieces(const RowJob& given)
        : job(given),
          per_row(divide_up(given.columns, piece_size)),
          scale(static_cast<T>(given.map_scale)),
          offset(static_cast<T>(given.map_offset)),
          mapped(given.map_scale != 1.0 || given.map_offset != 0.0) {}

    double run() {
        const std::ptrdiff_t count = job.rows * per_row;
        const std::unique_ptr<PieceSums[]> sums(new PieceSums[count]);
        const std::unique_ptr<double[]> weights(new double[job.rows]);
        for (std::ptrdiff_t row = 0; row < job.rows; ++row) weights[row] = weight(row);
        for_blocks(count, [&](std::ptrdiff_t piece) {
            if (weights[piece / per_row] != 0.0) sums[piece] = add_up(piece);
        });
        double total = 0.0;
        const std::unique_ptr<double[]> slopes(new double[2 * job.rows]);
        for (std::ptrdiff_t row = 0; row < job.rows; ++row) {
            T value = T(0);
            if (weights[row] != 0.0) {
                LaneSum<double, 1> shared, invented, overlooked;
                for (std::ptrdiff_t i = row * per_row; i < (row + 1) * per_row; ++i) {
                    shared.add(0, sums[i].shared);
                    invented.add(0, sums[i].invented);
                    overlooked.add(0, sums[i].overlooked);
                }
                const Overlap set(shared.value(0), invented.value(0), overlooked.value(0),
                                  job.parameters, job.scale * weights[row]);
                slopes[2 * row] = set.invented;
                slopes[2 * row + 1] = set.found;
                value = static_cast<T>(set.loss);
                total += weights[row] * job.shrink * set.loss;
            }
            if (job.values != nullptr) static_cast<T*>(job.values)[row] = value;
        }
        if (job.gradient == nullptr) return total;
        for_blocks(count, [&](std::ptrdiff_t piece) {
            const std::ptrdiff_t row = piece / per_row;
            write(piece, weights[row] != 0.0, slopes[2 * row], slopes[2 * row + 1]);
        });
        return total;
    }

  private:
    double weight(std::ptrdiff_t row) const {
        double buffer[tile_buffer_size];
        const double* weights = nullptr;
        if (job.weighted) weights = fetch(job.weights, row, 1, buffer);
        if (job.masks.count > 0) weights = apply_masks(job.masks, row, 1, weights, buffer);
        return weights == nullptr ? 1.0 : *weights;
    }

    // Calls body(first, n, y) for each tile of a piece.
    template <class Body> void each_tile(std::ptrdiff_t piece, const Body& body) const {
        const std::ptrdiff_t row = piece / per_row, place = piece % per_row * piece_size;
        const std::ptrdiff_t begin = row * job.columns + place;
        const std::ptrdiff_t end = begin + std::min(piece_size, job.columns - place);
        T buffer[tile_buffer_size];
        for (std::ptrdiff_t first = begin; first < end; first += tile_size) {
            const std::ptrdiff_t n = std::min(tile_size, end - first);
            const T* y = fetch(job.targets.all, first, n, buffer);
            if (mapped) {
                map_row(y, n, scale, offset, buffer);
                y = buffer;
            }
            body(first, n, y);
        }
    }

    PieceSums add_up(std::ptrdiff_t piece) const {
        constexpr int width = row_lanes<T, false>;
        LaneSum<T, width> shared, invented, overlooked;
        T buffer[tile_buffer_size];
        each_tile(piece, [&](std::ptrdiff_t first, std::ptrdiff_t n, const T* ys) {
            const T* xs = fetch(job.predictions.all, first, n, buffer);
            const auto add = [&](std::ptrdiff_t i, int l) OMNILOSS_INLINE_LAMBDA {
                const double p = static_cast<double>(xs[i]), y = static_cast<double>(ys[i]);
                shared.add(l, y * p);
                invented.add(l, p * (1.0 - y));
                overlooked.add(l, y * (1.0 - p));
            };
            std::ptrdiff_t i = 0;
            for (; i + width <= n; i += width) {
                OMNILOSS_LOOP
                for (int l = 0; l < width; ++l) add(i + l, l);
            }
            for (int l = 0; i < n; ++i, ++l) add(i, l);
        });
        return {fold(shared), fold(invented), fold(overlooked)};
    }

    template <int width> static double fold(LaneSum<T, width>& sum) {
        halve<width / 2>([&](int l, int m) { sum.merge(l, m); });
        return sum.value(0);
    }

    void write(std::ptrdiff_t piece, bool used, double a, double b) const {
        const bool converted = job.gradient_type != element_type<T>;
        const std::ptrdiff_t size = converted ? half_size : std::ptrdiff_t(sizeof(T));
        T buffer[tile_buffer_size];
        each_tile(piece, [&](std::ptrdiff_t first, std::ptrdiff_t n, const T* y) {
            char* out = static_cast<char*>(job.gradient) + first * size;
            T* OMNILOSS_RESTRICT g = converted ? buffer : reinterpret_cast<T*>(out);
            if (used) {
                OMNILOSS_LOOP
                for (std::ptrdiff_t i = 0; i < n; ++i) {
                    const double target = static_cast<double>(y[i]);
                    g[i] = static_cast<T>(a * (1.0 - target) - b * target);
                }
            } else {
                std::fill(g, g + n, T(0));
            }
            if (converted) write_run(job.gradient_type, g, n, out);
        });
    }

    const RowJob& job;
    const std::ptrdiff_t per_row;
    const T scale, offset;
    const bool mapped;
};

// Short sets as rows, long ones in pieces; which of them depends on the shape alone.
template <class T> Outcome run_tversky(const RowJob& job) {
    if (job.columns <= 2 * piece_size || job.class_factors != nullptr) {
        return run_rows<tversky, T>(job);
    }
    Outcome outcome;
    outcome.total = Pieces<T>(job).run();
    return outcome;
}

}  // namespace omniloss::OMNILOSS_LEVEL
