// The pass of a pointwise loss over its arrays: blocks on threads, and in a block tiles that stay
// in the first-level cache while they are mapped, evaluated, checked, weighted and summed.
#pragma once

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "blocks.hpp"
#include "kernels.hpp"
#include "masks.hpp"
#include "operand.hpp"
#include "parallel.hpp"
#include "tiles.hpp"

namespace omniloss::OMNILOSS_LEVEL {

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
          shared_weights_(job.weighted && job.masks.count == 0
                          && job.weights.strides[job.weights.ndim - 1] == 0),
          grouped_weights_(grouped(job)),
          check_targets_(is_bounded(job.target_range)),
          check_predictions_(is_bounded(job.prediction_range)) {
        if constexpr (Plain<Loss>) {
            plain_ = loss_.knows_plain() && job.values == nullptr && job.shrink == 1.0;
        }
    }

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

    // The weights of a tile, of which one is not null or, if all are, `common` holds for every element.
    struct Weights {
        const T* each = nullptr;
        const double* wide = nullptr;  // float64 may be beyond T's range: `each` only marks what counts
        const double* groups = nullptr;  // one for each `lanes` elements
        double common = 1.0;

        bool vary() const { return each != nullptr || groups != nullptr; }
        bool counts(std::ptrdiff_t i) const {
            if (groups != nullptr) return groups[i / lanes] != 0.0;
            return each == nullptr || each[i] != T(0);
        }
    };

    struct WeightBuffers {
        alignas(64) T each[tile_buffer_size];
        alignas(64) double wide[tile_buffer_size];
    };

    // The given weights, 0 where a mask leaves something out
    template <class W>
    const W* read_each(std::ptrdiff_t start, std::ptrdiff_t n, W* buffer) const {
        const W* w = job_.weighted ? read_tile(job_.weights, start, n, buffer) : nullptr;
        return job_.masks.count > 0 ? apply_masks(job_.masks, start, n, w, buffer) : w;
    }

    Weights read_each(std::ptrdiff_t start, std::ptrdiff_t n, WeightBuffers& buffers) const {
        Weights weights;
        if (wide_weights_) {
            weights.wide = read_each(start, n, buffers.wide);
            mark_used(weights.wide, n, buffers.each);
            weights.each = buffers.each;
        } else {
            weights.each = read_each(start, n, buffers.each);
        }
        return weights;
    }

    Weights read_weights(std::ptrdiff_t start, std::ptrdiff_t n, WeightBuffers& buffers) const {
        Weights weights;
        if (!job_.weighted && job_.masks.count == 0) return weights;
        if (shared_weights_ && read_common_weight(start, n, weights.common)) return weights;
        const bool whole_groups = start % lanes == 0 && n % lanes == 0;
        if (grouped_weights_.ndim == 0 || !whole_groups) return read_each(start, n, buffers);
        weights.groups = read_tile(grouped_weights_, start / lanes, n / lanes, buffers.wide);
        return weights;
    }

    // Whether the elements of a tile have one and the same weight, and which. Those that are 0 or
    // whose product with the scale is not to be rounded are left to others.
    bool read_common_weight(std::ptrdiff_t start, std::ptrdiff_t n, double& weight) const {
        const Operand& view = job_.weights;
        const std::ptrdiff_t length = view.shape[view.ndim - 1];
        const std::ptrdiff_t row = start / length;
        if ((start + n - 1) / length != row) return false;
        double found;
        if (view.ndim == 1) {
            read_run(view.type, view.data, 0, 1, &found);
        } else {
            copy_tile(view, view.ndim - 1, row, 1, &found);
        }
        if (!(found != 0.0 && std::abs(found) < infinity<double>)) return false;
        if (gradient && !is_moderate(job_.scale * found)) return false;
        weight = found;
        return true;
    }

    // A view of weights with one element for each `lanes` of theirs, where these are all equal; else
    // one of no dimensions
    static Operand grouped(const PointwiseJob& job) {
        Operand view;
        view.ndim = 0;
        if (!job.weighted || job.masks.count > 0 || job.values != nullptr) return view;
        const int last = job.weights.ndim - 1;
        if (last == 0 || job.weights.strides[last] != 0 || job.weights.shape[last] % lanes != 0) {
            return view;
        }
        view = job.weights;
        view.shape[last] /= lanes;
        if (view.shape[last] == 1) --view.ndim;
        return view;
    }

    // The labels of a tile as the loss takes them; null where they were to be 0 or 1 and are not.
    const T* map(const T* y, std::ptrdiff_t start, std::ptrdiff_t n, Weights& weights,
                 WeightBuffers& buffers, T* mapped) const {
        if (!mapped_) return y;
        if (job_.detect_binary && !all_binary(y, weights.each, n)) {
            if (weights.groups == nullptr) return nullptr;
            weights = read_each(start, n, buffers);
            if (!all_binary(y, weights.each, n)) return nullptr;
        }
        map_targets(y, n, map_scale_, map_offset_, mapped);
        return mapped;
    }

    static void add(const Weights& weights, const T* v, std::ptrdiff_t n, Sum& sum) {
        if (weights.wide != nullptr) {
            sum.add(weights.wide, v, n);
        } else if (weights.each != nullptr) {
            sum.add(weights.each, v, n);
        } else if (weights.groups != nullptr) {
            sum.add_groups(weights.groups, v, n);
        } else {
            sum.set_weight(weights.common);
            sum.add(v, n);
        }
    }

    void weigh(const Weights& weights, std::ptrdiff_t n, T* g) const {
        if (weights.wide != nullptr) {
            weigh_gradient(weights.wide, n, job_.scale, g);
        } else if (weights.each != nullptr) {
            weigh_gradient(weights.each, n, job_.scale, g);
        } else if (weights.groups != nullptr) {
            weigh_groups(weights.groups, n, job_.scale, g);
        }
    }

    // The losses of a tile added to a sum in the loss's cheaper form, if it has one and all its
    // elements are plain; else false.
    bool add_plain(const T* y, const T* p, std::ptrdiff_t n, T scale, const Weights& weights, T* v,
                   T* g, Sum& sum) const {
        if constexpr (Multiplied<Loss>) {
            if (n == tile_size && !weights.vary()) {
                sum.set_weight(weights.common);
                return add_multiplied<gradient>(loss_, y, p, scale, v, g, sum);
            }
        }
        if constexpr (OnePlain<Loss>) {
            if (!evaluate_plain<gradient>(loss_, y, p, n, scale, v, g)) return false;
            add(weights, v, n, sum);
            return true;
        }
        return false;
    }

    // The same, where numbers of weight 0 are no reason to leave the cheaper form: others would round
    // in another way.
    bool try_plain(const T* y, const T* p, std::ptrdiff_t n, T scale, const Weights& weights, T* v,
                   T* g, Sum& sum) const {
        if (add_plain(y, p, n, scale, weights, v, g, sum)) return true;
        if (!weights.vary()) return false;
        alignas(64) T counted_y[tile_buffer_size];
        alignas(64) T counted_p[tile_buffer_size];
        bool hidden = false;
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            const bool counts = weights.counts(i);
            counted_y[i] = counts ? y[i] : T(1);
            counted_p[i] = counts ? p[i] : T(1);
            hidden |= !counts;
        }
        return hidden && add_plain(counted_y, counted_p, n, scale, weights, v, g, sum);
    }

    // Whether all that is plain is also in range
    static constexpr bool plain_in_range() {
        if constexpr (Plain<Loss>) return Loss::plain_is_positive;
        return false;
    }

    void run_block(std::ptrdiff_t block) {
        alignas(64) T target_buffer[tile_buffer_size];
        alignas(64) T prediction_buffer[tile_buffer_size];
        alignas(64) T mapped_buffer[tile_buffer_size];
        alignas(64) T v[tile_buffer_size];
        alignas(64) T gradient_buffer[gradient ? tile_buffer_size : 1];
        [[maybe_unused]] alignas(64) T other_buffer[TakesOther<Loss, T> ? tile_buffer_size : 1];
        WeightBuffers weight_buffers;
        const bool converted = gradient && job_.gradient_type != element_type<T>;
        const std::ptrdiff_t begin = blocks_.begin(block);
        const std::ptrdiff_t end = blocks_.end(block);
        const bool pieces = blocks_.pieces_per_row > 1;
        RowSums<T> rows{static_cast<T*>(job_.values), pieces ? none : blocks_.columns,
                        job_.value_scale, pieces ? 0 : begin / blocks_.columns, 0};
        Sum sum;
        int tiles_to_wait = 0;  // before the cheaper form is tried again
        for (std::ptrdiff_t start = begin; start < end; start += tile_size) {
            if (offence_.load(std::memory_order_relaxed) < 2 * start) return;
            if (not_binary_.load(std::memory_order_relaxed)) return;
            const std::ptrdiff_t n = end - start < tile_size ? end - start : tile_size;
            const T* y = read_tile(job_.targets, start, n, target_buffer);
            const T* p = read_tile(job_.predictions, start, n, prediction_buffer);
            Weights weights = read_weights(start, n, weight_buffers);
            const T* labels = map(y, start, n, weights, weight_buffers, mapped_buffer);
            if (labels == nullptr) {
                not_binary_.store(true, std::memory_order_relaxed);
                return;
            }
            T* g = converted ? gradient_buffer
                : gradient   ? static_cast<T*>(job_.gradient) + start
                             : nullptr;
            // Weights that vary are applied, with the scale, at the end.
            const T scale = weights.vary() ? T(1) : static_cast<T>(job_.scale * weights.common);
            const bool tried = plain_ && --tiles_to_wait < 0;
            const bool plain = tried && try_plain(labels, p, n, scale, weights, v, g, sum);
            if (tried && !plain) tiles_to_wait = 8;
            if constexpr (TakesOther<Loss, T>) {
                const T* other = read_tile(job_.other, start, n, other_buffer);
                evaluate_with<gradient>(loss_, labels, p, other, n, scale, v, g);
            } else if (!plain) {
                evaluate<gradient>(loss_, labels, p, n, scale, v, g);
            }
            // Checked only now: the long loops above are where waiting for memory costs least.
            if (!(plain && plain_in_range())) {
                if (check_targets_) check(y, weights, start, n, job_.target_range, 0);
                if (check_predictions_) check(p, weights, start, n, job_.prediction_range, 1);
            }
            if (job_.shrink != 1.0) shrink(v, n);
            if (!plain) add(weights, v, n, sum);
            if constexpr (gradient) weigh(weights, n, g);
            if (converted) {
                char* out = static_cast<char*>(job_.gradient) + start * half_size;
                write_run(job_.gradient_type, g, n, out);
            }
            if (job_.values != nullptr) {
                if (weights.each != nullptr) clear_unweighted(weights.each, n, v);
                rows.add(v, n);
            }
        }
        totals_[block] = sum.total();
        if (job_.values != nullptr && pieces) row_parts_[block] = rows.unfinished;
    }

    // Notes the first element of a tile that is out of range and has a part in the result.
    void check(const T* x, const Weights& weights, std::ptrdiff_t start, std::ptrdiff_t n,
               const Range& range, std::ptrdiff_t which) {
        const T low = static_cast<T>(range.low);
        const T high = static_cast<T>(range.high);
        if (low == T(0) && !may_be_outside(x, n, high)) return;
        if (!any_outside(x, n, low, high)) return;
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            if ((x[i] < low || x[i] > high) && weights.counts(i)) {
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
    const bool shared_weights_;
    const Operand grouped_weights_;
    const bool check_targets_;
    const bool check_predictions_;
    bool plain_ = false;
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
