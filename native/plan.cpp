#include "plan.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "buffers.hpp"
#include "find_kernel.hpp"
#include "given_weights.hpp"
#include "kernels.hpp"
#include "known_ways.hpp"
#include "numpy_scalars.hpp"
#include "row_call.hpp"
#include "tensors.hpp"

namespace nb = nanobind;

namespace omniloss {
namespace {

using Pair = std::pair<double, double>;

// Below this many elements a call is over before letting other threads in would pay.
constexpr std::ptrdiff_t elements_worth_releasing = 8192;

// What loss functions are called with: targets and predictions, and weights where `is_given` says so
struct Arrays {
    Buffer targets, predictions, weight, positive;
    bool weighted = false, has_positive = false;
    // In what order the dimensions of the predictions, and of targets like them, were put, if in another
    int order[max_dimensions];
    bool reordered = false;

    const int* order_or_none() const { return reordered ? order : nullptr; }
    int place_of_first() const {
        return reordered ? static_cast<int>(std::find(order, order + predictions.ndim(), 0) - order) : 0;
    }
};

// What a pass is to write, where not null, and what the gradient is multiplied by: a number, and of
// unreduced losses a number for each.
struct Wanted {
    void* values = nullptr;
    void* gradient = nullptr;
    double factor = 1.0;
    const Buffer* upstream = nullptr;
};

// What is made of the given arrays for one pass: weights of rows or elements; factors of classes, and how often
// each is listed in a row, in the type to compute in
struct Prepared {
    std::vector<double> weights;
    std::vector<double> wide_factors;
    std::vector<float> factors;
    std::vector<double> wide_counts;
    std::vector<float> counts;
    double total_weight = 0.0;
    bool viewed = false;  // weights are read where they are
};

class Plan {
  public:
    Plan(const std::string& kernel, const std::string& kind, std::vector<double> parameters,
         Pair target_map, Pair target_range, Pair prediction_range, bool detect_binary,
         bool row_mean, bool batch_mean, bool several_classes, bool exact, bool by_element,
         int axis, bool length_mean, double spread, std::optional<std::int64_t> ignore,
         bool widen, bool reduce, const std::string& weighting, bool weighted_mean, bool one_hot,
         bool label_sets)
        : parameters_(std::move(parameters)),
          target_map_(target_map),
          target_range_{target_range.first, target_range.second},
          prediction_range_{prediction_range.first, prediction_range.second},
          detect_binary_(detect_binary),
          row_mean_(row_mean),
          batch_mean_(batch_mean),
          several_classes_(several_classes),
          exact_(exact),
          by_element_(by_element),
          axis_(axis),
          length_mean_(length_mean),
          spread_(spread),
          ignore_(ignore),
          widen_(widen),
          reduce_(reduce),
          weighting_(parse_weighting(weighting)),
          weighted_mean_(weighted_mean),
          one_hot_(one_hot),
          label_sets_(label_sets) {
        if (kind == "pointwise") {
            kernel_ = find_pointwise(kernel, parameters_.size(), weighting_ == Weighting::positive);
        } else if (kind == "rowwise") {
            kernel_ = find_rowwise(kernel, parameters_.size());
            rowwise_ = true;
            labels_ = active_kernels().rowwise[kernel_].labels;
        } else {
            throw nb::value_error(
                ("kind must be 'pointwise' or 'rowwise', not '" + kind + "'").c_str());
        }
    }

    // The loss, or None where the arrays are not plain, an element is out of range or the sum is
    // infinite: then the caller takes the long way, which says what is wrong, or adds up in another way.
    // True is for tensors whose derivative is to be recorded.
    nb::object call(nb::handle targets, nb::handle predictions, nb::handle weight,
                    nb::handle positive) const {
        const NumPy& types = numpy();
        const auto is_array = [&](nb::handle x) {
            return reinterpret_cast<PyObject*>(Py_TYPE(x.ptr())) == types.array_type;
        };
        if (!is_array(predictions)) return try_tensors(targets, predictions, weight, positive);
        const auto read = [&](Buffer& buffer, nb::handle x) {
            return is_array(x) && buffer.try_read(x);
        };
        Arrays given;
        if (!reduce_ || !read_all(given, targets, predictions, weight, positive, read)) {
            return nb::none();
        }
        if (is_half(given.predictions.type())) return nb::none();
        const std::optional<double> loss = run(given, {});
        if (!loss) return nb::none();
        return given.predictions.type() == ElementType::float32 ? types.float32.make(*loss)
                                                                : types.float64.make(*loss);
    }

    // The loss of dense tensors in memory with its gradient, or None: (loss, gradient). The gradient has
    // the predictions' type, and so has the loss, unless half precision is to give float32, in all calls
    // or under autocast. Unreduced losses come with None for a gradient.
    nb::object on_tensors(nb::handle targets, nb::handle predictions, nb::handle weight,
                          nb::handle positive) const {
        Arrays given;
        if (!read_all(given, targets, predictions, weight, positive, try_read_tensor)) {
            return nb::none();
        }
        NewTensor slope{nb::none(), nullptr};
        const nb::object value = compute(given, reduce_ ? &slope : nullptr);
        if (value.is_none()) return value;
        return nb::make_tuple(value, slope.object);
    }

    // The gradient alone, times what comes from upstream: a number, or where the losses are not reduced a
    // tensor like them
    nb::object gradient(nb::handle targets, nb::handle predictions, nb::handle weight,
                        nb::handle positive, nb::handle upstream, double factor) const {
        Arrays given;
        Buffer above;
        if (!read_all(given, targets, predictions, weight, positive, try_read_tensor)
            || (!reduce_ && !try_read_tensor(above, upstream))) {
            return nb::none();
        }
        const Buffer& p = given.predictions;
        if (given.reordered && !reduce_ && by_element_) {
            if (above.ndim() != p.ndim()) return nb::none();
            above.permute(given.order);
        }
        const NewTensor slope = make_tensor(p.type(), p.ndim(), p.shape(), given.order_or_none());
        Wanted wanted;
        wanted.gradient = slope.data;
        wanted.factor = factor;
        if (!reduce_) wanted.upstream = &above;
        return run(given, wanted) ? slope.object : nb::none();
    }

  private:
    template <class Read>
    bool read_all(Arrays& given, nb::handle targets, nb::handle predictions, nb::handle weight,
                  nb::handle positive, const Read& read) const {
        given.weighted = !weight.is_none();
        given.has_positive = !positive.is_none();
        if (given.has_positive != (weighting_ == Weighting::positive)) return false;
        if (given.weighted != (weighting_ != Weighting::none) && !given.has_positive) return false;
        if (!read(given.predictions, predictions) || !read(given.targets, targets)) return false;
        if (given.weighted && !read(given.weight, weight)) return false;
        if (given.has_positive && !read(given.positive, positive)) return false;
        return reorder(given) && fits(given.targets, given.predictions);
    }

    // Puts the classes last, and elements without further weights in the order in which they follow each other.
    bool reorder(Arrays& given) const {
        Buffer &p = given.predictions, &y = given.targets;
        const int ndim = p.ndim();
        if (ndim > max_dimensions || axis_ >= ndim || (axis_ == 0 && ndim != 1)) return false;
        const bool elements = by_element_ && !rowwise_ && weighting_ == Weighting::none;
        const bool sorted = elements && !p.is_contiguous();
        if (axis_ <= 0 && !sorted) return true;
        const bool like = !labels_ && !one_hot_;
        if (like && y.ndim() != ndim) return false;
        int* order = given.order;
        std::iota(order, order + ndim, 0);
        if (sorted) {
            std::stable_sort(order, order + ndim, [&](int d, int e) { return p.stride(d) > p.stride(e); });
        } else {
            std::rotate(order + axis_, order + axis_ + 1, order + ndim);
        }
        p.permute(order);
        if (like) y.permute(order);
        given.reordered = true;
        return true;
    }

    nb::object try_tensors(nb::handle targets, nb::handle predictions, nb::handle weight,
                           nb::handle positive) const {
        const auto read = [](Buffer& buffer, nb::handle x) {
            return is_tensor(x) && try_read_tensor(buffer, x);
        };
        Arrays given;
        if (!is_tensor(predictions) || is_watched()) return nb::none();
        if (!read_all(given, targets, predictions, weight, positive, read)) return nb::none();
        // Which type is made of two is not for a plan to say.
        const ElementType type = given.targets.type();
        if (exact_ && is_floating(type) && type != given.predictions.type()) return nb::none();
        if ((given.weighted && needs_gradient(weight)) || (given.has_positive && needs_gradient(positive))) {
            return nb::none();
        }
        if (!is_integral(given.targets.type()) && needs_gradient(targets)) return nb::none();
        if (needs_gradient(predictions)) return nb::bool_(true);
        return compute(given, nullptr);
    }

    // The loss as a tensor, or None; and its gradient where there is a place for it
    nb::object compute(const Arrays& given, NewTensor* slope) const {
        const Buffer& p = given.predictions;
        Wanted wanted;
        if (!reduce_) {
            if (is_half(p.type())) return nb::none();  // whose losses are to be rounded
            const NewTensor values = by_element_
                ? make_tensor(p.type(), p.ndim(), p.shape(), given.order_or_none())
                : make_tensor(p.type(), p.ndim() - 1, p.shape());
            wanted.values = values.data;
            return run(given, wanted) ? values.object : nb::none();
        }
        if (slope != nullptr) {
            *slope = make_tensor(p.type(), p.ndim(), p.shape(), given.order_or_none());
            wanted.gradient = slope->data;
        }
        const std::optional<double> loss = run(given, wanted);
        if (!loss) return nb::none();
        const bool widened = is_half(p.type()) && (widen_ || is_autocast());
        const ElementType type = widened ? ElementType::float32 : p.type();
        const NewTensor value = make_tensor(type, 0, nullptr);
        if (type == ElementType::float64) {
            *static_cast<double*>(value.data) = *loss;
        } else if (type == ElementType::float32) {
            *static_cast<float*>(value.data) = static_cast<float>(*loss);
        } else {
            active_kernels().narrow(type, static_cast<float>(*loss), value.data);
        }
        return value.object;
    }

    // Whether the arrays are what a plan takes: contiguous but for dense rows, of shapes that go together
    // without another look, of a type to compute in
    bool fits(const Buffer& y, const Buffer& p) const {
        if (!is_floating(p.type())) return false;
        if (p.ndim() < (exact_ ? 1 : 2) || p.size() == 0) return false;
        if ((!rowwise_ || label_sets_) && !p.is_contiguous()) return false;
        if ((!rowwise_ || labels_ || one_hot_ || label_sets_) && !y.is_contiguous()) return false;
        if (several_classes_ && p.shape()[p.ndim() - 1] == 1) return false;
        const bool labels = labels_ || one_hot_;
        if (exact_ && labels && !is_integral(y.type())) return false;
        if (label_sets_) return is_integral(y.type()) && y.has_shape(p.ndim(), p.shape());
        if (exact_ && rowwise_ && !labels && !is_floating(y.type())) return false;
        return y.has_shape(labels ? p.ndim() - 1 : p.ndim(), p.shape());
    }

    std::optional<double> run(const Arrays& given, const Wanted& wanted) const {
        const Buffer &y = given.targets, &p = given.predictions;
        const std::ptrdiff_t columns = by_element_ ? 1 : p.shape()[p.ndim() - 1];
        const std::ptrdiff_t rows = p.size() / columns;
        const std::ptrdiff_t kept = ignore_ ? count_others(y, *ignore_) : rows;
        if (kept == 0) return std::nullopt;
        Prepared prepared;
        prepared.total_weight = static_cast<double>(kept);
        const bool weighted = given.weighted && weighting_ != Weighting::none;
        prepared.viewed = weighted && !is_by_class() && p.size() > most_prepared;
        if (prepared.viewed) {
            if (!can_be_viewed(given)) return std::nullopt;
        } else if (label_sets_ || weighted) {
            if (!prepare(given, rows, prepared)) return std::nullopt;
        }
        double divisor = 1.0;
        if (batch_mean_) divisor = weighted_mean_ ? prepared.total_weight : static_cast<double>(kept);
        if (length_mean_) divisor = static_cast<double>(p.shape()[given.place_of_first()]);
        if (divisor == 0.0 || !std::isfinite(divisor)) return std::nullopt;
        double scale = wanted.factor / divisor;
        if (row_mean_) scale /= static_cast<double>(columns);
        const std::optional<double> total = rowwise_
            ? run_rowwise(given, wanted, prepared, scale, kept < rows)
            : run_pointwise(given, wanted, prepared, rows, columns, scale);
        if (!total) return std::nullopt;
        if (!reduce_) return total;
        if (std::isinf(*total)) return std::nullopt;
        double result = *total;
        if (row_mean_) result /= static_cast<double>(columns);
        return result / divisor;
    }

    bool is_by_class() const {
        return weighting_ == Weighting::classes || weighting_ == Weighting::factors;
    }

    // Whether weights of many elements can be read where they are, broadcast as they may be
    bool can_be_viewed(const Arrays& given) const {
        const Buffer& weight = given.weight;
        const bool any = weighting_ == Weighting::broadcast || weighting_ == Weighting::positive;
        if (!any || weighted_mean_ || !reduce_ || rowwise_) return false;
        std::vector<double> elements;
        return weight.size() <= most_prepared
               && read_broadcast(weight, weight.ndim(), weight.shape(), elements)
               && (by_element_ || !has_zero(elements));
    }

    // What is made of the weights and of sets of class indices; false where the long way must be taken.
    bool prepare(const Arrays& given, std::ptrdiff_t rows, Prepared& out) const {
        const Buffer &y = given.targets, &p = given.predictions, &weight = given.weight;
        std::vector<std::int64_t> labels;
        if ((is_by_class() && (labels_ || one_hot_)) || label_sets_) {
            if (y.type() == ElementType::uint64) return false;  // beyond the others' range
            labels.resize(static_cast<std::size_t>(label_sets_ ? p.size() : rows));
            read_integers(y, labels.data());
        }
        const Py_ssize_t* classes = p.shape() + (p.ndim() - 1);
        if (label_sets_) {
            return p.type() == ElementType::float64 ? count_labels(labels, *classes, out.wide_counts)
                                                    : count_labels(labels, *classes, out.counts);
        }
        if (weighting_ == Weighting::none) return true;
        if (is_by_class()) {
            std::vector<double> each, by_row;
            if (!weight.has_shape(1, classes) || !read_broadcast(weight, 1, classes, each)) return false;
            by_row = weights_of_classes(each, labels, ignore_);
            out.total_weight = total(by_row);
            if (weighting_ == Weighting::classes) {
                out.weights = std::move(by_row);
            } else {
                out.factors.assign(each.begin(), each.end());
                out.wide_factors = std::move(each);
            }
            return true;
        }
        if (weighting_ == Weighting::elements && !weight.has_shape(p.ndim(), p.shape())) return false;
        if (!read_broadcast(weight, p.ndim(), p.shape(), out.weights)) return false;
        // Here a weight belongs to a loss of several elements, of which it leaves none out.
        if (!by_element_ && (!reduce_ || has_zero(out.weights))) return false;
        out.total_weight = total(out.weights);
        return true;
    }

    std::optional<double> run_pointwise(const Arrays& given, const Wanted& wanted,
                                        Prepared& prepared, std::ptrdiff_t rows,
                                        std::ptrdiff_t columns, double scale) const {
        PointwiseJob job;
        given.targets.fill(job.targets);
        given.predictions.fill(job.predictions);
        Buffer other;
        if (given.has_positive) {
            const Buffer& p = given.predictions;
            const Buffer& positive = given.positive;
            const bool right = is_floating(positive.type()) && keeps_range(positive, p.type());
            if (!right || !other.borrow_broadcast(positive, p.ndim(), p.shape())) {
                return std::nullopt;
            }
            other.fill(job.other);
        }
        job.rows = rows;
        job.columns = columns;
        job.value_scale = row_mean_ ? 1.0 / static_cast<double>(columns) : 1.0;
        job.detect_binary = detect_binary_;
        return run_job(active_kernels().pointwise[kernel_], given, wanted, prepared, job, scale);
    }

    std::optional<double> run_rowwise(const Arrays& given, const Wanted& wanted, Prepared& prepared,
                                      double scale, bool ignoring) const {
        const Buffer &y = given.targets, &p = given.predictions;
        RowJob job;
        Buffer dense;
        if (label_sets_ && p.type() == ElementType::float64) {
            dense.borrow_contiguous(prepared.wide_counts.data(), ElementType::float64, 8, p.ndim(),
                                    p.shape());
        } else if (label_sets_) {
            dense.borrow_contiguous(prepared.counts.data(), ElementType::float32, 4, p.ndim(),
                                    p.shape());
        }
        fill_rows(job, label_sets_ ? dense : y, p, labels_ || one_hot_);
        job.one_hot = one_hot_;
        if (ignoring) {
            y.fill(job.masks.views[0]);
            job.masks.excluded[0] = static_cast<double>(*ignore_);
            job.masks.count = 1;
        }
        if (weighting_ == Weighting::factors) {
            job.class_factors = p.type() == ElementType::float64
                ? static_cast<const void*>(prepared.wide_factors.data())
                : static_cast<const void*>(prepared.factors.data());
        }
        return run_job(active_kernels().rowwise[kernel_], given, wanted, prepared, job, scale);
    }

    template <class Kernel, class Job>
    std::optional<double> run_job(const Kernel& kernel, const Arrays& given, const Wanted& wanted,
                                  Prepared& prepared, Job& job, double scale) const {
        const Buffer& p = given.predictions;
        Buffer weights;
        if (!weigh(given, wanted, prepared, weights, job.columns)) return std::nullopt;
        job.weighted = weights.data() != nullptr;
        if (job.weighted) weights.fill(job.weights);
        job.values = wanted.values;
        job.gradient = wanted.gradient;
        job.gradient_type = p.type();
        job.parameters = parameters_.data();
        job.map_scale = target_map_.first;
        job.map_offset = target_map_.second + spread_ / static_cast<double>(job.columns);
        job.target_range = target_range_;
        job.prediction_range = prediction_range_;
        job.scale = scale;
        const auto function = p.type() == ElementType::float64 ? kernel.float64 : kernel.float32;
        Outcome outcome;
        if (job.rows * job.columns < elements_worth_releasing) {
            outcome = function(job);
        } else {
            const nb::gil_scoped_release unlocked;
            outcome = function(job);
        }
        if (outcome.offence >= 0) return std::nullopt;
        if (wanted.values != nullptr && !prepared.weights.empty()) {
            multiply(prepared.weights, p.type(), wanted.values);
        }
        return outcome.total;
    }

    // The weights of a job, if there are any: those of the loss times what comes from upstream
    bool weigh(const Arrays& given, const Wanted& wanted, Prepared& prepared, Buffer& out,
               std::ptrdiff_t columns) const {
        const Buffer& p = given.predictions;
        const int ndim = by_element_ ? p.ndim() : p.ndim() - 1;
        const Buffer* upstream = wanted.upstream;
        if (upstream != nullptr && !upstream->has_shape(ndim, p.shape())) return false;
        std::vector<double>& weights = prepared.weights;
        if (!weights.empty()) {
            std::vector<double> above;
            if (upstream != nullptr && !read_broadcast(*upstream, ndim, p.shape(), above)) return false;
            for (std::size_t i = 0; i < above.size(); ++i) weights[i] *= above[i];
            const Py_ssize_t size = static_cast<Py_ssize_t>(weights.size());
            out.borrow_contiguous(weights.data(), ElementType::float64, 8, 1, &size);
        } else if (prepared.viewed) {
            return out.borrow_broadcast(given.weight, p.ndim(), p.shape());
        } else if (upstream != nullptr) {
            out.borrow_repeated(*upstream, rowwise_ || by_element_ ? 1 : columns);
        }
        return true;
    }

    int kernel_ = 0;
    bool rowwise_ = false;
    bool labels_ = false;
    std::vector<double> parameters_;
    Pair target_map_;
    Range target_range_;
    Range prediction_range_;
    bool detect_binary_;
    bool row_mean_;
    bool batch_mean_;
    bool several_classes_;
    bool exact_;
    bool by_element_;
    int axis_;
    bool length_mean_;
    double spread_;
    std::optional<std::int64_t> ignore_;
    bool widen_;
    bool reduce_;
    Weighting weighting_;
    bool weighted_mean_;
    bool one_hot_;
    bool label_sets_;
};

// An option that needs no more than its value to be told from others
bool is_simple(PyObject* value) {
    return value == Py_None || PyUnicode_CheckExact(value) || PyFloat_CheckExact(value)
           || PyLong_CheckExact(value) || PyBool_Check(value);
}

// What the first of the ways that are known for the options gives: the key is (first, *named.items()), with
// an ellipsis for weights that are arrays. A way is a tuple of a plan, whether nothing but a call of that
// is to be done, and more. None where no such way leads to the loss, and the way with the two weights
// where the derivative is to be recorded.
nb::object run_known(nb::dict known, nb::handle first, nb::dict named, nb::handle targets,
                     nb::handle predictions) {
    PyObject* given[2] = {Py_None, Py_None};
    const nb::object ways = find_ways(known, first, named, [&](PyObject* name, PyObject* value) {
        if (is_simple(value) || !PyUnicode_Check(name)) return value;
        const bool weight = PyUnicode_CompareWithASCIIString(name, "weight") == 0;
        if (!weight && PyUnicode_CompareWithASCIIString(name, "pos_weight") != 0) return value;
        given[weight ? 0 : 1] = value;
        return Py_Ellipsis;
    });
    if (!ways.is_valid()) return nb::none();
    for (const nb::handle way : nb::borrow<nb::tuple>(ways)) {
        if (PyTuple_GetItem(way.ptr(), 1) != Py_True) return nb::none();
        const Plan& plan = *nb::inst_ptr<Plan>(PyTuple_GetItem(way.ptr(), 0));
        nb::object found = plan.call(targets, predictions, given[0], given[1]);
        if (found.ptr() == Py_True) return nb::make_tuple(way, nb::handle(given[0]), nb::handle(given[1]));
        if (!found.is_none()) return found;
    }
    return nb::none();
}

}  // namespace

void bind_plan(nb::module_& module) {
    nb::class_<Plan>(module, "Plan")
        .def(nb::init<const std::string&, const std::string&, std::vector<double>, Pair, Pair, Pair,
                      bool, bool, bool, bool, bool, bool, int, bool, double,
                      std::optional<std::int64_t>, bool, bool, const std::string&, bool, bool,
                      bool>(),
             nb::arg("kernel"), nb::arg("kind"), nb::arg("parameters"), nb::arg("target_map"),
             nb::arg("target_range"), nb::arg("prediction_range"), nb::arg("detect_binary"),
             nb::arg("row_mean"), nb::arg("batch_mean"),
             nb::arg("several_classes"), nb::arg("exact") = false, nb::arg("by_element") = false,
             nb::arg("axis") = -1, nb::arg("length_mean") = false, nb::arg("spread") = 0.0,
             nb::arg("ignore") = nb::none(), nb::arg("widen") = false, nb::arg("reduce") = true,
             nb::arg("weighting") = "", nb::arg("weighted_mean") = false, nb::arg("one_hot") = false,
             nb::arg("label_sets") = false)
        .def("__call__", &Plan::call, nb::arg("targets").none(), nb::arg("predictions").none(),
             nb::arg("weight").none() = nb::none(), nb::arg("positive").none() = nb::none())
        .def("on_tensors", &Plan::on_tensors, nb::arg("targets"), nb::arg("predictions"),
             nb::arg("weight").none() = nb::none(), nb::arg("positive").none() = nb::none())
        .def("gradient", &Plan::gradient, nb::arg("targets"), nb::arg("predictions"),
             nb::arg("weight").none(), nb::arg("positive").none(), nb::arg("upstream").none(),
             nb::arg("factor") = 1.0);
    module.def("run_known", &run_known, nb::arg("known"), nb::arg("first"), nb::arg("named"),
               nb::arg("targets").none(), nb::arg("predictions").none());
    module.def("look_at", &look_at, nb::arg("upstream"));
    module.def("adopt_tensors", &adopt_tensors, nb::arg("exchange"), nb::arg("types"),
               nb::arg("idle"), nb::arg("names"), nb::arg("level"), nb::arg("is_watched"),
               nb::arg("is_recording"), nb::arg("is_autocast"), nb::arg("is_negative"));
}

}  // namespace omniloss
