// What a plan makes of the weights that come with a small call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "buffers.hpp"

namespace omniloss {

// Up to this many elements weights are prepared here, by one thread.
constexpr std::ptrdiff_t most_prepared = 65536;

// How the weights that are given enter a loss: by the class of each row, for each element of just the
// shape of the predictions or broadcast to it, the same, if at all, beside the kernel's other array, or
// multiplied into dense targets class by class.
enum class Weighting { none, classes, elements, broadcast, positive, factors };

// Throws where the name is not one of the above.
Weighting parse_weighting(const std::string& name);

bool is_integral(ElementType type);
bool is_floating(ElementType type);

// How many of the integers of a contiguous array are not `excluded`
std::ptrdiff_t count_others(const Buffer& labels, std::int64_t excluded);

// Integers of a contiguous array as wide ones
void read_integers(const Buffer& labels, std::int64_t* out);

// Appends the floats of an array, broadcast to a shape, in float64; false where they are no floats of a
// usual type, or their shape does not go with that.
bool read_broadcast(const Buffer& array, int ndim, const Py_ssize_t* shape,
                    std::vector<double>& out);

// The weight of each row's class: 1 for what is no class, 0 for the class that is ignored
std::vector<double> weights_of_classes(const std::vector<double>& by_class,
                                       const std::vector<std::int64_t>& labels,
                                       std::optional<std::int64_t> ignored);

// For each row of `classes` indices, which end at the first -1, how often each class is listed; false where
// one is out of range
template <class T>
bool count_labels(const std::vector<std::int64_t>& labels, std::ptrdiff_t classes, std::vector<T>& out) {
    const auto width = static_cast<std::size_t>(classes);
    out.assign(labels.size(), T(0));
    for (std::size_t row = 0; row < labels.size(); row += width) {
        bool ended = false;
        for (std::size_t i = row; i < row + width; ++i) {
            const std::int64_t label = labels[i];
            ended = ended || label < 0;
            if (label < -1 || (!ended && label >= classes)) return false;
            if (!ended) out[row + static_cast<std::size_t>(label)] += T(1);
        }
    }
    return true;
}

// Whether all elements of an array are in another type what they are in their own: that is not known of large
// ones, nor of what is infinite there or below the normal numbers.
bool keeps_range(const Buffer& array, ElementType type);

double total(const std::vector<double>& weights);

bool has_zero(const std::vector<double>& weights);

// Multiplies losses of a type, float32 or float64, by their weights.
void multiply(const std::vector<double>& weights, ElementType type, void* losses);

}  // namespace omniloss
