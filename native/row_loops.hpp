// The driver of the row losses: blocks of rows over threads, windows of W rows in each block, rows
// of weight 0 left out, and the others handed to a loss in the layout that suits the number of
// classes.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>

#include "blocks.hpp"
#include "kernels.hpp"
#include "masks.hpp"
#include "parallel.hpp"
#include "rows.hpp"
#include "tiles.hpp"
#include "transpose.hpp"

namespace omniloss::OMNILOSS_LEVEL {

// The first offence that any thread has met. A target comes before the prediction at its place, and
// the class index of a row before all of its predictions.
class FirstOffence {
  public:
    void note(std::ptrdiff_t place, bool in_targets) {
        const std::ptrdiff_t found = 2 * place + (in_targets ? 0 : 1);
        std::ptrdiff_t known = first.load(std::memory_order_relaxed);
        while (found < known && !first.compare_exchange_weak(known, found)) {
        }
    }
    bool any() const { return first.load(std::memory_order_relaxed) != none; }
    std::ptrdiff_t place() const { return first.load() >> 1; }
    bool in_targets() const { return (first.load() & 1) == 0; }

  private:
    static constexpr std::ptrdiff_t none = std::numeric_limits<std::ptrdiff_t>::max();
    std::atomic<std::ptrdiff_t> first{none};
};

template <class T> bool in_place(const Matrix& input, const char* row) {
    return input.all.type == element_type<T> && input.stride == std::ptrdiff_t(sizeof(T))
           && reinterpret_cast<std::uintptr_t>(row) % alignof(T) == 0;
}

// Where rows [start, start + n) begin
OMNILOSS_NOINLINE inline void row_starts(const Matrix& input, std::ptrdiff_t start, int n,
                                         const char** out) {
    Cursor cursor(input.starts, input.starts.ndim, start);
    const std::ptrdiff_t stride = input.starts.strides[input.starts.ndim - 1];
    while (n > 0) {
        const int take = static_cast<int>(std::min<std::ptrdiff_t>(cursor.left_in_run(), n));
        const char* position = cursor.position();
        for (int i = 0; i < take; ++i) out[i] = position + i * stride;
        out += take;
        n -= take;
        if (n > 0) cursor.next_run();
    }
}

// Writes rows[0..n) of `classes` elements into the tile [class][W]. Lanes without a row are 0.
template <class T>
OMNILOSS_NOINLINE void load_tile(const Matrix& input, const char* const* rows, int n,
                                 std::ptrdiff_t classes, T* OMNILOSS_RESTRICT tile) {
    constexpr int width = row_lanes<T, true>;
    const ElementType type = input.all.type;
    const std::ptrdiff_t step = n > 1 ? rows[1] - rows[0] : 0;
    bool even = n > 1;
    bool direct = true;
    for (int l = 0; l < n; ++l) {
        even = even && rows[l] == rows[0] + l * step;
        direct = direct && in_place<T>(input, rows[l]);
    }
    if (n < width) std::fill(tile, tile + classes * width, T(0));
    if (!direct && even && std::abs(step) < std::abs(input.stride)) {
        for (std::ptrdiff_t j = 0; j < classes; ++j) {
            read_run(type, rows[0] + j * input.stride, step, n, tile + j * width);
        }
        return;
    }
    T read[square<T>][tile_classes];
    for (int first = 0; first < n; first += square<T>) {
        const int number = std::min(square<T>, n - first);
        const T* found[square<T>];
        for (int i = 0; i < number; ++i) {
            const char* row = rows[first + i];
            found[i] = direct ? reinterpret_cast<const T*>(row) : read[i];
            if (!direct) read_run(type, row, input.stride, classes, read[i]);
        }
        rows_to_lanes(found, number, classes, width, tile + first);
    }
}

// Long rows that are closer to each other than their elements are, as when the classes are not on
// the last axis, are gathered some rows at a time: as many as a cache line holds, within a limit on
// memory. 1 means that this is not worth while.
template <class T> int rows_to_gather(const Matrix& input, std::ptrdiff_t classes) {
    constexpr std::ptrdiff_t most_bytes = 1 << 17;
    const std::ptrdiff_t step = input.starts.strides[input.starts.ndim - 1];
    if (classes <= tile_classes || std::abs(step) >= std::abs(input.stride)) return 1;
    const std::ptrdiff_t rows = most_bytes / (classes * std::ptrdiff_t(sizeof(T)));
    return rows < 4 ? 1 : static_cast<int>(std::min<std::ptrdiff_t>(rows, 16));
}

// Writes rows[0..n) into `out`, `pitch` elements apart.
template <class T>
OMNILOSS_NOINLINE void gather_rows(const Matrix& input, const char* const* rows, int n,
                                   std::ptrdiff_t classes, std::ptrdiff_t pitch,
                                   T* OMNILOSS_RESTRICT out) {
    const std::ptrdiff_t step = n > 1 ? rows[1] - rows[0] : 0;
    bool even = true;
    for (int i = 0; i < n; ++i) even = even && rows[i] == rows[0] + i * step;
    if (!even) {
        for (int i = 0; i < n; ++i) {
            read_run(input.all.type, rows[i], input.stride, classes, out + i * pitch);
        }
        return;
    }
    for (std::ptrdiff_t j = 0; j < classes; ++j) {
        T elements[16];
        read_run(input.all.type, rows[0] + j * input.stride, step, n, elements);
        for (int i = 0; i < n; ++i) out[i * pitch + j] = elements[i];
    }
}

inline bool is_bounded(const Range& range) {
    return range.low > -infinity<double> || range.high < infinity<double>;
}

// A loss of the element at the label alone
template <class Loss>
concept Picks = requires { Loss::picks; };

// How many rows are gathered together
template <class Loss, class T> int group_of(const RowJob& job) {
    const int group = rows_to_gather<T>(job.predictions, job.columns);
    if constexpr (!Loss::dense) return group;
    if (job.one_hot) return group;
    return std::max(group, rows_to_gather<T>(job.targets, job.columns));
}

// The work on one block of rows
template <class Loss, class T, bool Tile, bool Gradient>
class RowBlock {
  public:
    static constexpr int width = row_lanes<T, Tile>;

    RowBlock(const RowJob& given, FirstOffence& first)
        : job(given), classes(given.columns), offence(first),
          check_targets(Loss::dense && !job.one_hot && is_bounded(job.target_range)),
          check_predictions(is_bounded(job.prediction_range)),
          mapped(job.map_scale != 1.0 || job.map_offset != 0.0 || job.class_factors != nullptr),
          converted(Gradient && job.gradient_type != element_type<T>),
          gradient_size(converted ? half_size : std::ptrdiff_t(sizeof(T))),
          pitch(given.columns + 16) {
        view.classes = classes;
        view.map_scale = static_cast<T>(job.map_scale);
        view.map_offset = static_cast<T>(job.map_offset);
        view.class_factors = static_cast<const T*>(job.class_factors);
        view.x_tail = x_tail;
        view.y_tail = y_tail;
        view.g_tail = g_tail;
        view.x_buffer = x_buffer;
        view.y_buffer = y_buffer;
        view.x_source = &job.predictions.all;
        view.y_source = job.one_hot ? nullptr : &job.targets.all;
        if constexpr (!Tile && Gradient) {
            if (converted) g_row.reset(new T[classes]);
        }
        if constexpr (!Tile) {
            group = group_of<Loss, T>(job);
            if (group > 1 && rows_to_gather<T>(job.predictions, classes) > 1) {
                x_rows.reset(new (std::nothrow) T[group * pitch]);
            }
            if constexpr (Loss::dense) {
                if (group > 1 && !job.one_hot && rows_to_gather<T>(job.targets, classes) > 1) {
                    y_rows.reset(new (std::nothrow) T[group * pitch]);
                }
            }
        }
    }

    double run(std::ptrdiff_t begin, std::ptrdiff_t end) {
        for (; begin < end; begin += width) {
            window(begin, static_cast<int>(std::min<std::ptrdiff_t>(width, end - begin)));
        }
        halve<width / 2>([&](int l, int m) { sums[l] += sums[m]; });
        return sums[0];
    }

  private:
    // Rows [start, start + n)
    void window(std::ptrdiff_t start, int n) {
        // In float64, which holds weights of every type
        double weight_buffer[tile_buffer_size];
        const double* weights = nullptr;
        int chosen[width];
        int number = 0;
        if (job.weighted) weights = fetch(job.weights, start, n, weight_buffer);
        if (job.masks.count > 0) weights = apply_masks(job.masks, start, n, weights, weight_buffer);
        if (weights != nullptr) {
            for (int i = 0; i < n; ++i) {
                if (weights[i] != 0.0) chosen[number++] = i;
            }
            if (number < n) clear(start, n, weights);
        } else {
            for (; number < n; ++number) chosen[number] = number;
        }
        std::int64_t labels[width];
        if (!Loss::dense || job.one_hot) {
            if (!read_labels(start, n, weights, labels)) return;
        }
        const char *xs[width], *ys[width];
        row_starts(job.predictions, start, n, xs);
        if (Loss::dense && !job.one_hot) row_starts(job.targets, start, n, ys);
        const auto weight = [&](int i) {
            return weights == nullptr ? 1.0 : weights[i];
        };
        if constexpr (Picks<Loss>) {
            if constexpr (Gradient) {
                const std::ptrdiff_t bytes = n * classes * gradient_size;
                std::memset(gradient_of(start), 0, static_cast<std::size_t>(bytes));
            }
            for (int k = 0; k < number; ++k) {
                const int i = chosen[k];
                pick(start + i, xs[i], labels[i], weight(i));
                finish_row(start + i, 0, i, weight(i));
            }
        } else if constexpr (Tile) {
            if (number == 0) return;
            for (int l = 0; l < width; ++l) {
                const int i = l < number ? chosen[l] : chosen[0];
                view.scale.at[l] = job.scale * weight(i);
                if constexpr (!Loss::dense) view.label.at[l] = labels[i];
            }
            run_tile(start, chosen, number, xs, ys, labels);
            for (int l = 0; l < number; ++l) {
                finish_row(start + chosen[l], l, l, weight(chosen[l]));
            }
        } else {
            for (int k = 0; k < number; ++k) {
                const int i = chosen[k];
                if (k % group == 0) gather(xs, ys, chosen + k, std::min(group, number - k));
                view.scale.at[0] = job.scale * weight(i);
                if constexpr (!Loss::dense) view.label.at[0] = labels[i];
                if (job.one_hot) view.hot = labels[i];
                run_row(start + i, k % group, xs[i], job.one_hot ? nullptr : ys[i]);
                finish_row(start + i, 0, i, weight(i));
            }
        }
    }

    void gather(const char* const* xs, const char* const* ys, const int* chosen, int n) {
        const char* rows[16];
        if (x_rows != nullptr) {
            for (int i = 0; i < n; ++i) rows[i] = xs[chosen[i]];
            gather_rows(job.predictions, rows, n, classes, pitch, x_rows.get());
        }
        if (y_rows != nullptr) {
            for (int i = 0; i < n; ++i) rows[i] = ys[chosen[i]];
            gather_rows(job.targets, rows, n, classes, pitch, y_rows.get());
        }
    }

    void finish_row(std::ptrdiff_t row, int r, int lane, double weight) {
        const double loss = view.loss.at[r];
        if (job.values != nullptr) static_cast<T*>(job.values)[row] = static_cast<T>(loss);
        sums[lane] += weight * job.shrink * loss;
    }

    // What rows of weight 0 give
    void clear(std::ptrdiff_t start, int n, const double* weights) const {
        for (int i = 0; i < n; ++i) {
            if (weights[i] != 0.0) continue;
            if (job.values != nullptr) static_cast<T*>(job.values)[start + i] = T(0);
            if constexpr (Gradient) {
                const std::ptrdiff_t bytes = classes * gradient_size;
                std::memset(gradient_of(start + i), 0, static_cast<std::size_t>(bytes));
            }
        }
    }

    bool read_labels(std::ptrdiff_t start, int n, const double* weights, std::int64_t* labels) {
        double buffer[tile_buffer_size];
        const double* read = fetch(job.labels, start, n, buffer);
        const double limit = static_cast<double>(classes);
        bool good = true;
        for (int i = 0; i < n; ++i) {
            const bool fits = read[i] >= 0.0 && read[i] < limit;
            labels[i] = fits ? static_cast<std::int64_t>(read[i]) : 0;
            if (fits && static_cast<double>(labels[i]) == read[i]) continue;
            if (weights != nullptr && weights[i] == 0.0) continue;
            offence.note((start + i) * classes, true);
            good = false;
        }
        return good;
    }

    // The gradient is 0 so far.
    void pick(std::ptrdiff_t row, const char* begin, std::int64_t label, double weight) {
        const ElementType type = job.predictions.all.type;
        const char* at = begin + label * job.predictions.stride;
        T target;
        if (type == element_type<T>) {
            std::memcpy(&target, at, sizeof target);
        } else {
            read_run(type, at, job.predictions.stride, 1, &target);
        }
        view.loss.at[0] = Loss::value(target);
        if constexpr (Gradient) {
            const T slope = static_cast<T>(job.scale * weight * Loss::slope(target));
            char* out = gradient_of(row) + label * gradient_size;
            if (converted) {
                write_run(job.gradient_type, &slope, 1, out);
            } else {
                std::memcpy(out, &slope, sizeof slope);
            }
        }
    }

    void run_tile(std::ptrdiff_t start, const int* chosen, int number, const char** xs,
                  const char** ys, const std::int64_t* labels) {
        for (int k = 0; k < number; ++k) {
            xs[k] = xs[chosen[k]];
            if (Loss::dense && !job.one_hot) ys[k] = ys[chosen[k]];
        }
        const std::ptrdiff_t size = classes * width;
        load_tile(job.predictions, xs, number, classes, x_tile);
        if (check_predictions && outside(x_tile, size, false)) {
            for (int k = 0; k < number; ++k) locate(start + chosen[k], false);
        }
        if constexpr (Loss::dense) {
            if (job.one_hot) {
                std::fill(y_tile, y_tile + size, T(0));
                for (int k = 0; k < number; ++k) y_tile[labels[chosen[k]] * width + k] = T(1);
            } else {
                load_tile(job.targets, ys, number, classes, y_tile);
            }
            if (check_targets && outside(y_tile, size, true)) {
                for (int k = 0; k < number; ++k) locate(start + chosen[k], true);
            }
            if (mapped) map_tile();
        }
        view.x = x_tile;
        view.y = y_tile;
        view.g = g_tile;
        Loss::run(view, job.parameters);
        if constexpr (Gradient) {
            T computed[square<T>][tile_classes];
            for (int first = 0; first < number; first += square<T>) {
                const int n = std::min(square<T>, number - first);
                T* rows[square<T>];
                char* outs[square<T>];
                for (int i = 0; i < n; ++i) {
                    outs[i] = gradient_of(start + chosen[first + i]);
                    rows[i] = converted ? computed[i] : reinterpret_cast<T*>(outs[i]);
                }
                lanes_to_rows(g_tile + first, n, classes, width, rows);
                for (int i = 0; converted && i < n; ++i) {
                    write_run(job.gradient_type, rows[i], classes, outs[i]);
                }
            }
        }
    }

    void map_tile() {
        map_row(y_tile, classes * width, view.map_scale, view.map_offset, y_tile);
        if (view.class_factors == nullptr) return;
        for (std::ptrdiff_t j = 0; j < classes; ++j) {
            map_row(y_tile + j * width, width, view.class_factors[j], T(0), y_tile + j * width);
        }
    }

    // `place` is the row's place among those gathered.
    void run_row(std::ptrdiff_t row, int place, const char* xs, const char* ys) {
        const auto as_it_is = [](const Matrix& input, const char* begin) {
            return in_place<T>(input, begin) ? reinterpret_cast<const T*>(begin) : nullptr;
        };
        view.start = row * classes;
        view.x = x_rows != nullptr ? x_rows.get() + place * pitch : as_it_is(job.predictions, xs);
        if (check_predictions && outside_row(view.x, job.predictions)) locate(row, false);
        if constexpr (Loss::dense) {
            T* gathered = y_rows != nullptr ? y_rows.get() + place * pitch : nullptr;
            view.y = gathered != nullptr || job.one_hot ? gathered : as_it_is(job.targets, ys);
            if (check_targets && outside_row(view.y, job.targets)) locate(row, true);
            if (mapped && gathered != nullptr) {
                view.map_targets(gathered, 0, classes, gathered);
            } else if (mapped) {
                view.y = nullptr;
            }
        }
        if constexpr (Gradient) {
            view.g = converted ? g_row.get() : reinterpret_cast<T*>(gradient_of(row));
        }
        view.begin_row(static_cast<T>(Loss::padding));
        Loss::run(view, job.parameters);
        if constexpr (Gradient) {
            view.end_row();
            if (converted) write_run(job.gradient_type, view.g, classes, gradient_of(row));
        }
    }

    char* gradient_of(std::ptrdiff_t row) const {
        return static_cast<char*>(job.gradient) + row * classes * gradient_size;
    }

    bool outside(const T* x, std::ptrdiff_t n, bool of_targets) const {
        const Range& range = of_targets ? job.target_range : job.prediction_range;
        return any_outside(x, n, static_cast<T>(range.low), static_cast<T>(range.high));
    }

    // `row` is null where the elements are still to be read.
    bool outside_row(const T* row, const Matrix& input) {
        const bool of_targets = &input == &job.targets;
        if (row != nullptr) return outside(row, classes, of_targets);
        bool found = false;
        for (std::ptrdiff_t first = 0; first < classes; first += chunk_size) {
            const std::ptrdiff_t n = std::min(chunk_size, classes - first);
            const T* x = fetch(input.all, view.start + first, n, x_buffer);
            found = found || outside(x, n, of_targets);
        }
        return found;
    }

    // Notes the first offence of a row, if there is one.
    void locate(std::ptrdiff_t row, bool of_targets) {
        const Operand& source = (of_targets ? job.targets : job.predictions).all;
        for (std::ptrdiff_t j = 0; j < classes; ++j) {
            const std::ptrdiff_t index = row * classes + j;
            T buffer[tile_buffer_size];
            if (!outside(fetch(source, index, 1, buffer), 1, of_targets)) continue;
            offence.note(index, of_targets);
            return;
        }
    }

    const RowJob& job;
    const std::ptrdiff_t classes;
    FirstOffence& offence;
    const bool check_targets, check_predictions, mapped;
    const bool converted;  // the gradient, from T to half precision
    const std::ptrdiff_t gradient_size;  // of an element, in bytes
    const std::ptrdiff_t pitch;  // of gathered rows; it keeps them off each other's cache sets
    int group = 1;
    std::unique_ptr<T[]> g_row;           // a gradient before it is converted
    std::unique_ptr<T[]> x_rows, y_rows;  // gathered rows; null: rows are read one by one
    Lanes<double, width> sums{0.0};
    Rows<T, Tile, Loss::dense, Gradient> view;
    static constexpr std::ptrdiff_t size = Tile && !Picks<Loss> ? tile_classes * width : 1;
    alignas(64) T x_tile[size];
    alignas(64) T y_tile[Loss::dense ? size : 1];
    alignas(64) T g_tile[Gradient ? size : 1];
    alignas(64) T x_tail[width], y_tail[width], g_tail[width];
    T x_buffer[tile_buffer_size], y_buffer[tile_buffer_size];
};

// Rows to a block: about 2^14 elements, a multiple of the window for narrow rows, and more where
// that would give more blocks than partial sums are kept for.
template <class Loss, class T, bool Tile> std::ptrdiff_t rows_per_block(const RowJob& job) {
    constexpr std::ptrdiff_t elements = 1 << 14, width = row_lanes<T, Tile>;
    std::ptrdiff_t rows = std::max<std::ptrdiff_t>(elements / job.columns, 1);
    rows = std::max(rows, divide_up(job.rows, max_blocks));
    rows = std::max<std::ptrdiff_t>(rows, Picks<Loss> ? width : group_of<Loss, T>(job));
    return rows < width / 2 ? rows : (rows + width - 1) / width * width;
}

template <class Loss, class T, bool Tile, bool Gradient>
Outcome run_blocks(const RowJob& job) {
    FirstOffence offence;
    const std::ptrdiff_t size = rows_per_block<Loss, T, Tile>(job);
    const std::ptrdiff_t count = divide_up(job.rows, size);
    const Partials partials(count);
    for_blocks(count, [&](std::ptrdiff_t block) {
        if (offence.any() && offence.place() < block * size * job.columns) return;
        RowBlock<Loss, T, Tile, Gradient> work(job, offence);
        partials[block] = work.run(block * size, std::min(job.rows, (block + 1) * size));
    });
    Outcome outcome;
    if (offence.any()) {
        outcome.in_targets = offence.in_targets();
        const bool label = outcome.in_targets && (!Loss::dense || job.one_hot);
        outcome.offence = label ? offence.place() / job.columns : offence.place();
        return outcome;
    }
    for (std::ptrdiff_t block = 0; block < count; ++block) outcome.total += partials[block];
    return outcome;
}

// The total of w * loss over all rows, with values and gradient where they are asked for
template <class Loss, class T> Outcome run_rows(const RowJob& job) {
    if constexpr (Picks<Loss>) {  // in windows as wide as a tile's
        return job.gradient != nullptr ? run_blocks<Loss, T, true, true>(job)
                                       : run_blocks<Loss, T, true, false>(job);
    } else {
        const bool tile = job.columns <= tile_classes;
        if (job.gradient != nullptr) {
            return tile ? run_blocks<Loss, T, true, true>(job)
                        : run_blocks<Loss, T, false, true>(job);
        }
        return tile ? run_blocks<Loss, T, true, false>(job)
                    : run_blocks<Loss, T, false, false>(job);
    }
}

}  // namespace omniloss::OMNILOSS_LEVEL
