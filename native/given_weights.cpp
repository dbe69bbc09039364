#include "given_weights.hpp"

#include <nanobind/nanobind.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

namespace nb = nanobind;

namespace omniloss {
namespace {

template <class T> T read_at(const char* data) {
    T x;
    std::memcpy(&x, data, sizeof x);
    return x;
}

// Calls body(T{}) with the type of the integers.
template <class Body> auto with_integers(ElementType type, const Body& body) {
    using enum ElementType;
    switch (type) {
        case int8: return body(std::int8_t{});
        case uint8: return body(std::uint8_t{});
        case int16: return body(std::int16_t{});
        case uint16: return body(std::uint16_t{});
        case int32: return body(std::int32_t{});
        case uint32: return body(std::uint32_t{});
        case int64: return body(std::int64_t{});
        default: return body(std::uint64_t{});
    }
}

// In halves, so that the sum of many keeps its digits
double add_up(const double* x, std::size_t n) {
    if (n <= 64) return std::accumulate(x, x + n, 0.0);
    return add_up(x, n / 2) + add_up(x + n / 2, n - n / 2);
}

}  // namespace

Weighting parse_weighting(const std::string& name) {
    using enum Weighting;
    static constexpr std::pair<const char*, Weighting> known[] = {
        {"", none},           {"classes", classes},   {"elements", elements},
        {"broadcast", broadcast}, {"positive", positive}, {"factors", factors},
    };
    for (const auto& [called, weighting] : known) {
        if (name == called) return weighting;
    }
    throw nb::value_error(("no weighting is called '" + name + "'").c_str());
}

bool is_integral(ElementType type) {
    using enum ElementType;
    return type >= int8 && type <= uint64;
}

bool is_floating(ElementType type) {
    using enum ElementType;
    return type == float16 || type == float32 || type == float64 || type == bfloat16;
}

std::ptrdiff_t count_others(const Buffer& labels, std::int64_t excluded) {
    const auto* data = static_cast<const char*>(labels.data());
    return with_integers(labels.type(), [&](auto zero) {
        using T = decltype(zero);
        if (!std::in_range<T>(excluded)) return std::ptrdiff_t{labels.size()};
        const T number = static_cast<T>(excluded);
        std::ptrdiff_t count = 0;
        for (std::ptrdiff_t i = 0; i < labels.size(); ++i) {
            count += read_at<T>(data + i * std::ptrdiff_t(sizeof(T))) != number;
        }
        return count;
    });
}

void read_integers(const Buffer& labels, std::int64_t* out) {
    const auto* data = static_cast<const char*>(labels.data());
    with_integers(labels.type(), [&](auto zero) {
        using T = decltype(zero);
        for (std::ptrdiff_t i = 0; i < labels.size(); ++i) {
            // Beyond its range an index is no class in any case.
            out[i] = static_cast<std::int64_t>(read_at<T>(data + i * std::ptrdiff_t(sizeof(T))));
        }
    });
}

bool read_broadcast(const Buffer& array, int ndim, const Py_ssize_t* shape,
                    std::vector<double>& out) {
    const bool single = array.type() == ElementType::float32;
    if ((!single && array.type() != ElementType::float64) || array.ndim() > ndim) return false;
    const int added = ndim - array.ndim();
    Py_ssize_t strides[max_dimensions], index[max_dimensions];
    std::ptrdiff_t size = 1;
    for (int d = 0; d < ndim; ++d) {
        const Py_ssize_t length = d < added ? 1 : array.shape()[d - added];
        if (length != shape[d] && length != 1) return false;
        strides[d] = length == 1 ? 0 : array.stride(d - added);
        index[d] = 0;
        size *= shape[d];
    }
    out.reserve(out.size() + static_cast<std::size_t>(size));
    const auto* data = static_cast<const char*>(array.data());
    const Py_ssize_t last = ndim > 0 ? shape[ndim - 1] : 1;
    const Py_ssize_t step = ndim > 0 ? strides[ndim - 1] : 0;
    for (std::ptrdiff_t done = 0; done < size; done += last) {
        const char* at = data;
        for (int d = 0; d < ndim - 1; ++d) at += index[d] * strides[d];
        for (Py_ssize_t i = 0; i < last; ++i, at += step) {
            out.push_back(single ? static_cast<double>(read_at<float>(at)) : read_at<double>(at));
        }
        for (int d = ndim - 2; d >= 0 && ++index[d] == shape[d]; --d) index[d] = 0;
    }
    return true;
}

std::vector<double> weights_of_classes(const std::vector<double>& by_class,
                                       const std::vector<std::int64_t>& labels,
                                       std::optional<std::int64_t> ignored) {
    std::vector<double> weights(labels.size());
    const auto classes = static_cast<std::int64_t>(by_class.size());
    for (std::size_t i = 0; i < labels.size(); ++i) {
        const std::int64_t label = labels[i];
        const bool known = label >= 0 && label < classes;
        weights[i] = known ? by_class[static_cast<std::size_t>(label)] : 1.0;
        if (ignored && label == *ignored) weights[i] = 0.0;
    }
    return weights;
}

bool keeps_range(const Buffer& array, ElementType type) {
    if (array.type() != ElementType::float64 || type == ElementType::float64) return true;
    std::vector<double> elements;
    if (array.size() > most_prepared) return false;
    if (!read_broadcast(array, array.ndim(), array.shape(), elements)) return false;
    return std::all_of(elements.begin(), elements.end(), [](double x) {
        const double size = std::abs(x);
        const bool normal = size >= std::numeric_limits<float>::min();
        return size == 0.0 || !std::isfinite(x)
               || (normal && size <= std::numeric_limits<float>::max());
    });
}

double total(const std::vector<double>& weights) { return add_up(weights.data(), weights.size()); }

bool has_zero(const std::vector<double>& weights) {
    return std::find(weights.begin(), weights.end(), 0.0) != weights.end();
}

void multiply(const std::vector<double>& weights, ElementType type, void* losses) {
    for (std::size_t i = 0; i < weights.size(); ++i) {
        const double weight = weights[i];
        if (type == ElementType::float64) {
            double& loss = static_cast<double*>(losses)[i];
            loss = weight == 0.0 ? 0.0 : loss * weight;
        } else {
            float& loss = static_cast<float*>(losses)[i];
            loss = weight == 0.0 ? 0.0F : static_cast<float>(static_cast<double>(loss) * weight);
        }
    }
}

}  // namespace omniloss
