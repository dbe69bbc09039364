// The pass of a pointwise loss over its arrays: blocks on threads, and in a block tiles that stay
// in the first-level cache while they are mapped, evaluated, checked, weighted and summed.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "blocks.hpp"
#include "kernels.hpp"
#include "masks.hpp"
#include "operand.hpp"
#include "parallel.hpp"
#include "vector_math.hpp"

namespace omniloss::OMNILOSS_LEVEL {

template <class T> bool any_outside(const T* OMNILOSS_RESTRICT x, std::ptrdiff_t n, T low, T high) {
    unsigned outside = 0;
    for (std::ptrdiff_t i = 0; i < n; ++i) outside |= unsigned(x[i] < low) | unsigned(x[i] > high);
    return outside != 0;
}

// Whether something may lie outside [0, high], quickly: the bits of numbers from 0 on are in the
// order of the numbers. -0 and NaN, which are allowed, raise a false alarm.
template <class T> bool may_be_outside(const T* OMNILOSS_RESTRICT x, std::ptrdiff_t n, T high) {
    using Bits = typename Format<T>::Bits;
    Bits most = 0;
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const Bits bits = to_bits(x[i]);
        most = bits > most ? bits : most;
    }
    return most > to_bits(high);
}

// Whether all elements are 0 or 1, those of weight 0 left out where there are weights (w not null).
// x**2 == x for 0 and 1 alone, in floating point too.
template <class T>
bool all_binary(const T* OMNILOSS_RESTRICT x, const T* OMNILOSS_RESTRICT w, std::ptrdiff_t n) {
    using Bits = typename Format<T>::Bits;
    Bits other = 0;
    if (w == nullptr) {
        for (std::ptrdiff_t i = 0; i < n; ++i) other |= to_bits(x[i] * x[i] - x[i]);
    } else {
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            const Bits found = to_bits(x[i] * x[i] - x[i]);
            other |= w[i] == T(0) ? Bits{0} : found;
        }
    }
    return other == 0;
}

template <class T>
void map_targets(const T* OMNILOSS_RESTRICT x, std::ptrdiff_t n, T scale, T offset,
                 T* OMNILOSS_RESTRICT out) {
    for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = scale * x[i] + offset;
}

// An element of weight 0 has no part in anything, whatever its loss is.
template <class T>
void clear_unweighted(const T* OMNILOSS_RESTRICT w, std::ptrdiff_t n, T* OMNILOSS_RESTRICT v) {
    for (std::ptrdiff_t i = 0; i < n; ++i) v[i] = w[i] == T(0) ? T(0) : v[i];
}

// Of tiny or huge weights the scale, one over their sum perhaps, or its product with a derivative may
// be beyond T's range where the whole product is not: it is rounded to T at the end alone.
template <class W, class T>
void weigh_gradient(const W* OMNILOSS_RESTRICT w, std::ptrdiff_t n, double scale,
                    T* OMNILOSS_RESTRICT g) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const double factor = scale * static_cast<double>(w[i]);
        const T weighed = static_cast<T>(factor * static_cast<double>(g[i]));
        g[i] = w[i] == W(0) ? T(0) : weighed;
    }
}

// 1 for each weight that counts, 0 for others
template <class T>
void mark_used(const double* OMNILOSS_RESTRICT w, std::ptrdiff_t n, T* OMNILOSS_RESTRICT used) {
    for (std::ptrdiff_t i = 0; i < n; ++i) used[i] = w[i] == 0.0 ? T(0) : T(1);
}

template <bool gradient, class T, class Loss>
void evaluate(const Loss& given, const T* OMNILOSS_RESTRICT y, const T* OMNILOSS_RESTRICT p,
              std::ptrdiff_t n, T scale, T* OMNILOSS_RESTRICT v, T* OMNILOSS_RESTRICT g) {
    const Loss loss = given;
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        v[i] = loss.value(y[i], p[i]);
        if constexpr (gradient) g[i] = scale * loss.first(y[i], p[i]);
    }
}

// Sums of rows that are completed one after the other, tile by tile
template <class T> struct RowSums {
    T* values;
    std::ptrdiff_t columns;
    double scale;
    std::ptrdiff_t row;
    std::ptrdiff_t column;
    double unfinished = 0.0;

    void add(const T* v, std::ptrdiff_t n) {
        if (columns == 1) {
            for (std::ptrdiff_t i = 0; i < n; ++i) {
                values[row + i] = static_cast<T>(scale * static_cast<double>(v[i]));
            }
            row += n;
            return;
        }
        while (n > 0) {
            const std::ptrdiff_t take = n < columns - column ? n : columns - column;
            unfinished += sum(v, take);
            v += take;
            n -= take;
            column += take;
            if (column == columns) {
                values[row++] = static_cast<T>(scale * unfinished);
                unfinished = 0.0;
                column = 0;
            }
        }
    }
};

// One pass over the data with one mapping of the targets.
template <class T, class Loss, bool gradient> class PointwisePass {
  public:
    PointwisePass(const PointwiseJob& job, double map_scale, double map_offset)
        : job_(job),
          loss_(job.parameters),
          blocks_(job.rows, job.columns),
          totals_(blocks_.count),
          row_parts_(job.values != nullptr && blocks_.pieces_per_row > 1 ? blocks_.count : 0),
          map_scale_(static_cast<T>(map_scale)),
          map_offset_(static_cast<T>(map_offset)),
          mapped_(map_scale != 1.0 || map_offset != 0.0),
          wide_weights_(sizeof(T) < sizeof(double) && job.weighted && is_float64(job.weights.type)),
          check_targets_(is_bounded(job.target_range)),
          check_predictions_(is_bounded(job.prediction_range)) {}

    // False when the targets were to be 0 or 1 and are not.
    bool run(Outcome& outcome) {
        for_blocks(blocks_.count, [this](std::ptrdiff_t block) { run_block(block); });
        if (not_binary_.load(std::memory_order_relaxed)) return false;
        const std::ptrdiff_t offence = offence_.load(std::memory_order_relaxed);
        if (offence != none) {
            outcome.offence = offence >> 1;
            outcome.in_targets = (offence & 1) == 0;
            return true;
        }
        for (std::ptrdiff_t i = 0; i < blocks_.count; ++i) outcome.total += totals_[i];
        if (job_.values != nullptr && blocks_.pieces_per_row > 1) join_rows();
        return true;
    }

  private:
    static constexpr std::ptrdiff_t none = std::numeric_limits<std::ptrdiff_t>::max();

    static bool is_bounded(const Range& range) {
        return range.low > -infinity<double> || range.high < infinity<double>;
    }

    // The weights of a tile, 0 where a mask leaves something out; null where everything counts alike
    template <class W>
    const W* read_weights(std::ptrdiff_t start, std::ptrdiff_t n, W* buffer) const {
        const W* w = job_.weighted ? read_tile(job_.weights, start, n, buffer) : nullptr;
        return job_.masks.count > 0 ? apply_masks(job_.masks, start, n, w, buffer) : w;
    }

    void run_block(std::ptrdiff_t block) {
        alignas(64) T target_buffer[tile_buffer_size];
        alignas(64) T prediction_buffer[tile_buffer_size];
        alignas(64) T weight_buffer[tile_buffer_size];
        alignas(64) double wide_buffer[tile_buffer_size];
        alignas(64) T mapped_buffer[tile_buffer_size];
        alignas(64) T v[tile_buffer_size];
        alignas(64) T gradient_buffer[gradient ? tile_buffer_size : 1];
        const bool converted = gradient && job_.gradient_type != element_type<T>;
        const std::ptrdiff_t begin = blocks_.begin(block);
        const std::ptrdiff_t end = blocks_.end(block);
        const bool weighted = job_.weighted || job_.masks.count > 0;
        const T scale = weighted ? T(1) : static_cast<T>(job_.scale);  // else applied with the weights
        const bool pieces = blocks_.pieces_per_row > 1;
        RowSums<T> rows{static_cast<T*>(job_.values), pieces ? none : blocks_.columns,
                        job_.value_scale, pieces ? 0 : begin / blocks_.columns, 0};
        double total = 0.0;
        for (std::ptrdiff_t start = begin; start < end; start += tile_size) {
            if (offence_.load(std::memory_order_relaxed) < 2 * start) return;
            if (not_binary_.load(std::memory_order_relaxed)) return;
            const std::ptrdiff_t n = end - start < tile_size ? end - start : tile_size;
            const T* y = read_tile(job_.targets, start, n, target_buffer);
            const T* p = read_tile(job_.predictions, start, n, prediction_buffer);
            // float64 weights may be beyond float32's range: there `w` only says which of them count.
            const double* wide = nullptr;
            const T* w = weight_buffer;
            if (wide_weights_) {
                wide = read_weights(start, n, wide_buffer);
                mark_used(wide, n, weight_buffer);
            } else {
                w = read_weights(start, n, weight_buffer);
            }
            const T* labels = y;
            if (mapped_) {
                if (job_.detect_binary && !all_binary(y, w, n)) {
                    not_binary_.store(true, std::memory_order_relaxed);
                    return;
                }
                map_targets(y, n, map_scale_, map_offset_, mapped_buffer);
                labels = mapped_buffer;
            }
            T* g = converted ? gradient_buffer
                : gradient   ? static_cast<T*>(job_.gradient) + start
                             : nullptr;
            evaluate<gradient>(loss_, labels, p, n, scale, v, g);
            // Checked only now: the long loop above is where waiting for memory costs least.
            if (check_targets_) check(y, w, start, n, job_.target_range, 0);
            if (check_predictions_) check(p, w, start, n, job_.prediction_range, 1);
            if (w != nullptr) clear_unweighted(w, n, v);
            if (job_.shrink != 1.0) shrink(v, n);
            if (wide != nullptr) {
                if constexpr (gradient) weigh_gradient(wide, n, job_.scale, g);
                total += weighted_sum(wide, v, n);
            } else if (w != nullptr) {
                if constexpr (gradient) weigh_gradient(w, n, job_.scale, g);
                total += weighted_sum(w, v, n);
            } else {
                total += sum(v, n);
            }
            if (converted) {
                char* out = static_cast<char*>(job_.gradient) + start * half_size;
                write_run(job_.gradient_type, g, n, out);
            }
            if (job_.values != nullptr) rows.add(v, n);
        }
        totals_[block] = total;
        if (job_.values != nullptr && pieces) row_parts_[block] = rows.unfinished;
    }

    // Notes the first element of a tile that is out of range and has a part in the result.
    void check(const T* x, const T* w, std::ptrdiff_t start, std::ptrdiff_t n, const Range& range,
               std::ptrdiff_t which) {
        const T low = static_cast<T>(range.low);
        const T high = static_cast<T>(range.high);
        if (low == T(0) && !may_be_outside(x, n, high)) return;
        if (!any_outside(x, n, low, high)) return;
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            if ((x[i] < low || x[i] > high) && (w == nullptr || w[i] != T(0))) {
                const std::ptrdiff_t found = 2 * (start + i) + which;
                std::ptrdiff_t first = offence_.load(std::memory_order_relaxed);
                while (found < first && !offence_.compare_exchange_weak(first, found)) {
                }
                return;
            }
        }
    }

    void shrink(T* v, std::ptrdiff_t n) const {
        const T factor = static_cast<T>(job_.shrink);
        for (std::ptrdiff_t i = 0; i < n; ++i) v[i] *= factor;
    }

    void join_rows() {
        T* values = static_cast<T*>(job_.values);
        for (std::ptrdiff_t row = 0; row < blocks_.rows; ++row) {
            double total = 0.0;
            for (std::ptrdiff_t piece = 0; piece < blocks_.pieces_per_row; ++piece) {
                total += row_parts_[row * blocks_.pieces_per_row + piece];
            }
            values[row] = static_cast<T>(job_.value_scale * total);
        }
    }

    const PointwiseJob& job_;
    const Loss loss_;
    const Blocks blocks_;
    const Partials totals_;
    const Partials row_parts_;
    const T map_scale_;
    const T map_offset_;
    const bool mapped_;
    const bool wide_weights_;
    const bool check_targets_;
    const bool check_predictions_;
    std::atomic<std::ptrdiff_t> offence_{none};
    std::atomic<bool> not_binary_{false};
};

template <class T, class Loss, bool gradient> Outcome run_passes(const PointwiseJob& job) {
    Outcome outcome;
    if (job.detect_binary) {
        if (!PointwisePass<T, Loss, gradient>(job, 2.0, -1.0).run(outcome)) {
            PointwisePass<T, Loss, gradient>(job, 1.0, 0.0).run(outcome);
        }
    } else {
        PointwisePass<T, Loss, gradient>(job, job.map_scale, job.map_offset).run(outcome);
    }
    return outcome;
}

template <class T, class Loss> Outcome run_pointwise(const PointwiseJob& job) {
    if (job.gradient != nullptr) return run_passes<T, Loss, true>(job);
    return run_passes<T, Loss, false>(job);
}

}  // namespace omniloss::OMNILOSS_LEVEL
