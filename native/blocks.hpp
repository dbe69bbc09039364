// How work is cut into blocks, as a function of its size alone, and how sums of them are taken.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

#include "operand.hpp"

namespace omniloss::OMNILOSS_LEVEL {

constexpr std::ptrdiff_t block_size = 16384;
constexpr std::ptrdiff_t max_blocks = 32768;

OMNILOSS_INLINE std::ptrdiff_t divide_up(std::ptrdiff_t a, std::ptrdiff_t b) {
    return (a + b - 1) / b;
}

// A block is a number of whole rows or, where rows are longer than a block, a piece of one row.
struct Blocks {
    std::ptrdiff_t rows;
    std::ptrdiff_t columns;
    std::ptrdiff_t rows_per_block;
    std::ptrdiff_t pieces_per_row;
    std::ptrdiff_t piece;
    std::ptrdiff_t count;

    Blocks(std::ptrdiff_t row_count, std::ptrdiff_t column_count)
        : rows(row_count), columns(column_count), rows_per_block(1), pieces_per_row(1) {
        if (columns > block_size && rows < max_blocks) {
            pieces_per_row = divide_up(columns, block_size);
            if (pieces_per_row > max_blocks / rows) pieces_per_row = max_blocks / rows;
        } else {
            rows_per_block = columns < block_size ? block_size / columns : 1;
            const std::ptrdiff_t least = divide_up(rows, max_blocks);
            if (rows_per_block < least) rows_per_block = least;
        }
        piece = divide_up(divide_up(columns, pieces_per_row), tile_size) * tile_size;
        if (pieces_per_row > 1) pieces_per_row = divide_up(columns, piece);
        count = pieces_per_row > 1 ? rows * pieces_per_row : divide_up(rows, rows_per_block);
    }

    std::ptrdiff_t begin(std::ptrdiff_t block) const {
        if (pieces_per_row == 1) return block * rows_per_block * columns;
        return block / pieces_per_row * columns + block % pieces_per_row * piece;
    }

    std::ptrdiff_t end(std::ptrdiff_t block) const {
        return block + 1 < count ? begin(block + 1) : rows * columns;
    }
};

// One number per block; on the stack as long as they are few
class Partials {
  public:
    explicit Partials(std::ptrdiff_t count) {
        if (count > few) {
            const auto bytes = static_cast<std::size_t>(count) * sizeof(double);
            data_ = static_cast<double*>(std::malloc(bytes));
            if (data_ == nullptr) throw std::bad_alloc();
        }
    }
    ~Partials() {
        if (data_ != few_) std::free(data_);
    }
    Partials(const Partials&) = delete;
    Partials& operator=(const Partials&) = delete;

    double& operator[](std::ptrdiff_t i) const { return data_[i]; }

  private:
    static constexpr std::ptrdiff_t few = 64;
    double few_[few];
    double* data_ = few_;
};

constexpr int lanes = 16;

OMNILOSS_INLINE double sum_lanes(const double* lane) {
    double half[8];
    for (int i = 0; i < 8; ++i) half[i] = lane[i] + lane[i + 8];
    for (int i = 0; i < 4; ++i) half[i] += half[i + 4];
    return (half[0] + half[2]) + (half[1] + half[3]);
}

template <class T> double sum(const T* OMNILOSS_RESTRICT x, std::ptrdiff_t n) {
    if (n < lanes) {
        double total = 0.0;
        for (std::ptrdiff_t i = 0; i < n; ++i) total += static_cast<double>(x[i]);
        return total;
    }
    double lane[lanes] = {};
    std::ptrdiff_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        for (int l = 0; l < lanes; ++l) lane[l] += static_cast<double>(x[i + l]);
    }
    for (int l = 0; i < n; ++i, ++l) lane[l] += static_cast<double>(x[i]);
    return sum_lanes(lane);
}

// A sum with weights, taken lane by lane up to the end
class Sum {
  public:
    // What is added from now on has this weight.
    void set_weight(double weight) {
        if (weight == weight_) return;
        flush();
        weight_ = weight;
    }

    template <class T> void add(const T* OMNILOSS_RESTRICT x, std::ptrdiff_t n) {
        double lane[lanes];
        for (int l = 0; l < lanes; ++l) lane[l] = lane_[l];
        std::ptrdiff_t i = 0;
        for (; i + lanes <= n; i += lanes) {
            for (int l = 0; l < lanes; ++l) lane[l] += static_cast<double>(x[i + l]);
        }
        for (int l = 0; l < lanes && i < n; ++i, ++l) lane[l] += static_cast<double>(x[i]);
        for (int l = 0; l < lanes; ++l) lane_[l] = lane[l];
    }

    // With a weight each. An element of weight 0 has no part in anything, whatever it is.
    template <class W, class T>
    void add(const W* OMNILOSS_RESTRICT w, const T* OMNILOSS_RESTRICT x, std::ptrdiff_t n) {
        set_weight(1.0);
        double lane[lanes];
        for (int l = 0; l < lanes; ++l) lane[l] = lane_[l];
        std::ptrdiff_t i = 0;
        for (; i + lanes <= n; i += lanes) {
            for (int l = 0; l < lanes; ++l) lane[l] += product(w[i + l], x[i + l]);
        }
        for (int l = 0; l < lanes && i < n; ++i, ++l) lane[l] += product(w[i], x[i]);
        for (int l = 0; l < lanes; ++l) lane_[l] = lane[l];
    }

    // With a weight for each group of `lanes` elements
    template <class T>
    void add_groups(const double* OMNILOSS_RESTRICT w, const T* OMNILOSS_RESTRICT x,
                    std::ptrdiff_t n) {
        set_weight(1.0);
        double lane[lanes];
        for (int l = 0; l < lanes; ++l) lane[l] = lane_[l];
        for (std::ptrdiff_t i = 0; i < n; i += lanes) {
            const double weight = w[i / lanes];
            if (weight == 0.0) continue;
            for (int l = 0; l < lanes; ++l) lane[l] += weight * static_cast<double>(x[i + l]);
        }
        for (int l = 0; l < lanes; ++l) lane_[l] = lane[l];
    }

    double total() {
        flush();
        return total_;
    }

  private:
    template <class W, class T> static OMNILOSS_INLINE double product(W w, T x) {
        const T counted = w == W(0) ? T(0) : x;
        return static_cast<double>(w) * static_cast<double>(counted);
    }

    void flush() {
        total_ += weight_ * sum_lanes(lane_);
        for (int l = 0; l < lanes; ++l) lane_[l] = 0.0;
    }

    alignas(64) double lane_[lanes] = {};
    double weight_ = 1.0;
    double total_ = 0.0;
};

}  // namespace omniloss::OMNILOSS_LEVEL
