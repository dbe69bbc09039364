#include "plan.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "buffers.hpp"
#include "find_kernel.hpp"
#include "kernels.hpp"
#include "row_call.hpp"
#include "tensors.hpp"

namespace nb = nanobind;

namespace omniloss {
namespace {

using Pair = std::pair<double, double>;

// Below this many elements a call is over before letting other threads in would pay.
constexpr std::ptrdiff_t elements_worth_releasing = 8192;

// What is needed of NumPy, looked up once. It lives as long as the process, as NumPy itself does.
struct NumPy {
    // Makes scalars of one type: taking an element out of an array is the quickest way to one. The
    // interpreter's lock keeps others from the element between writing and taking it.
    template <class T> struct Scalars {
        PyObject* array;
        T* element;

        Scalars(nb::handle numpy, const char* type) {
            array = numpy.attr("zeros")(1, numpy.attr(type)).release().ptr();
            Py_buffer view;
            if (PyObject_GetBuffer(array, &view, PyBUF_WRITABLE) != 0) throw nb::python_error();
            element = static_cast<T*>(view.buf);  // and the buffer is never released
        }
        nb::object make(double x) const {
            *element = static_cast<T>(x);
            return nb::steal(PySequence_GetItem(array, 0));
        }
    };

    PyObject* array_type;
    Scalars<float> float32;
    Scalars<double> float64;

    explicit NumPy(nb::handle numpy)
        : array_type(numpy.attr("ndarray").ptr()),
          float32(numpy, "float32"),
          float64(numpy, "float64") {
        Py_INCREF(array_type);
    }
};

const NumPy& numpy() {
    static const NumPy types(nb::module_::import_("numpy"));
    return types;
}

bool is_integral(ElementType type) {
    using enum ElementType;
    return type >= int8 && type <= uint64;
}

bool is_floating(ElementType type) {
    using enum ElementType;
    return type == float16 || type == float32 || type == float64 || type == bfloat16;
}

template <class T>
std::ptrdiff_t count_others(const char* data, std::ptrdiff_t size, std::int64_t excluded) {
    if (!std::in_range<T>(excluded)) return size;
    const T number = static_cast<T>(excluded);
    std::ptrdiff_t count = 0;
    for (std::ptrdiff_t i = 0; i < size; ++i) {
        T x;
        std::memcpy(&x, data + i * std::ptrdiff_t(sizeof x), sizeof x);
        count += x != number;
    }
    return count;
}

// How many of the integers of a contiguous array are not `excluded`
std::ptrdiff_t count_others(const Buffer& labels, std::int64_t excluded) {
    using enum ElementType;
    const auto* data = static_cast<const char*>(labels.data());
    switch (labels.type()) {
        case int8: return count_others<std::int8_t>(data, labels.size(), excluded);
        case uint8: return count_others<std::uint8_t>(data, labels.size(), excluded);
        case int16: return count_others<std::int16_t>(data, labels.size(), excluded);
        case uint16: return count_others<std::uint16_t>(data, labels.size(), excluded);
        case int32: return count_others<std::int32_t>(data, labels.size(), excluded);
        case uint32: return count_others<std::uint32_t>(data, labels.size(), excluded);
        case int64: return count_others<std::int64_t>(data, labels.size(), excluded);
        default: return count_others<std::uint64_t>(data, labels.size(), excluded);
    }
}

class Plan {
  public:
    Plan(const std::string& kernel, const std::string& kind, std::vector<double> parameters,
         Pair target_map, Pair target_range, Pair prediction_range, bool detect_binary,
         bool row_mean, bool batch_mean, bool several_classes, bool exact, bool by_element,
         int rank, bool length_mean, double spread, std::optional<std::int64_t> ignore,
         bool widen)
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
          rank_(rank),
          length_mean_(length_mean),
          spread_(spread),
          ignore_(ignore),
          widen_(widen) {
        if (kind == "pointwise") {
            kernel_ = find_pointwise(kernel, parameters_.size());
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
    nb::object call(nb::handle targets, nb::handle predictions) const {
        const NumPy& types = numpy();
        const auto* array_type = reinterpret_cast<PyTypeObject*>(types.array_type);
        if (Py_TYPE(targets.ptr()) != array_type || Py_TYPE(predictions.ptr()) != array_type) {
            return nb::none();
        }
        Buffer y;
        Buffer p;
        if (!p.try_read(predictions) || !y.try_read(targets)) return nb::none();
        if (is_half(p.type()) || !fits(y, p)) return nb::none();
        const std::optional<double> loss = run(y, p, nullptr, 1.0);
        if (!loss) return nb::none();
        return p.type() == ElementType::float32 ? types.float32.make(*loss)
                                                : types.float64.make(*loss);
    }

    // The same for dense tensors in memory, with the gradient where it is asked for: (loss, gradient).
    // The gradient is multiplied by `factor` and has the predictions' type, and so has the loss, unless
    // it is to be `wide` here or in all calls: then half precision gives float32.
    nb::object call_on_tensors(nb::handle targets, nb::handle predictions, bool gradient,
                               bool wide, double factor) const {
        Buffer y;
        Buffer p;
        if (!try_read_tensor(p, predictions) || !try_read_tensor(y, targets) || !fits(y, p)) {
            return nb::none();
        }
        NewTensor slope{nb::none(), nullptr};
        if (gradient) slope = make_tensor(p.type(), p.ndim(), p.shape());
        const std::optional<double> loss = run(y, p, slope.data, factor);
        if (!loss) return nb::none();
        const bool widened = (wide || widen_) && is_half(p.type());
        const ElementType type = widened ? ElementType::float32 : p.type();
        const NewTensor value = make_tensor(type, 0, nullptr);
        if (type == ElementType::float64) {
            *static_cast<double*>(value.data) = *loss;
        } else if (type == ElementType::float32) {
            *static_cast<float*>(value.data) = static_cast<float>(*loss);
        } else {
            active_kernels().narrow(type, static_cast<float>(*loss), value.data);
        }
        if (!gradient) return value.object;
        return nb::make_tuple(value.object, slope.object);
    }

  private:
    // Whether the arrays are what a plan takes: contiguous, of shapes that go together without
    // another look, of a type to compute in
    bool fits(const Buffer& y, const Buffer& p) const {
        if (!is_floating(p.type())) return false;
        if (p.ndim() < (exact_ ? 1 : 2) || (rank_ > 0 && p.ndim() != rank_)) return false;
        if (p.size() == 0 || !p.is_contiguous() || !y.is_contiguous()) return false;
        if (several_classes_ && p.shape()[p.ndim() - 1] == 1) return false;
        if (exact_ && labels_ && !is_integral(y.type())) return false;
        if (exact_ && rowwise_ && !labels_ && !is_floating(y.type())) return false;
        return y.has_shape(labels_ ? p.ndim() - 1 : p.ndim(), p.shape());
    }

    std::optional<double> run(const Buffer& y, const Buffer& p, void* gradient,
                              double factor) const {
        const std::ptrdiff_t columns = by_element_ ? 1 : p.shape()[p.ndim() - 1];
        const std::ptrdiff_t rows = p.size() / columns;
        const std::ptrdiff_t kept = ignore_ ? count_others(y, *ignore_) : rows;
        if (kept == 0) return std::nullopt;
        double divisor = 1.0;
        if (batch_mean_) divisor = static_cast<double>(kept);
        if (length_mean_) divisor = static_cast<double>(p.shape()[0]);
        double scale = factor / divisor;
        if (row_mean_) scale /= static_cast<double>(columns);
        const std::optional<double> total = rowwise_
            ? run_rowwise(y, p, gradient, scale, kept < rows)
            : run_pointwise(y, p, rows, columns, gradient, scale);
        if (!total || std::isinf(*total)) return std::nullopt;
        double result = *total;
        if (row_mean_) result /= static_cast<double>(columns);
        return result / divisor;
    }

    std::optional<double> run_pointwise(const Buffer& y, const Buffer& p, std::ptrdiff_t rows,
                                        std::ptrdiff_t columns, void* gradient,
                                        double scale) const {
        PointwiseJob job;
        y.fill(job.targets);
        p.fill(job.predictions);
        job.rows = rows;
        job.columns = columns;
        job.value_scale = 1.0;
        job.detect_binary = detect_binary_;
        return run_job(active_kernels().pointwise[kernel_], p, job, gradient, scale);
    }

    std::optional<double> run_rowwise(const Buffer& y, const Buffer& p, void* gradient,
                                      double scale, bool ignoring) const {
        RowJob job;
        fill_rows(job, y, p, labels_);
        if (ignoring) {
            y.fill(job.masks.views[0]);
            job.masks.excluded[0] = static_cast<double>(*ignore_);
            job.masks.count = 1;
        }
        return run_job(active_kernels().rowwise[kernel_], p, job, gradient, scale);
    }

    template <class Kernel, class Job>
    std::optional<double> run_job(const Kernel& kernel, const Buffer& p, Job& job, void* gradient,
                                  double scale) const {
        job.weighted = false;
        job.values = nullptr;
        job.gradient = gradient;
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
        return outcome.total;
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
    int rank_;
    bool length_mean_;
    double spread_;
    std::optional<std::int64_t> ignore_;
    bool widen_;
};

}  // namespace

void bind_plan(nb::module_& module) {
    nb::class_<Plan>(module, "Plan")
        .def(nb::init<const std::string&, const std::string&, std::vector<double>, Pair, Pair, Pair,
                      bool, bool, bool, bool, bool, bool, int, bool, double,
                      std::optional<std::int64_t>, bool>(),
             nb::arg("kernel"), nb::arg("kind"), nb::arg("parameters"), nb::arg("target_map"),
             nb::arg("target_range"), nb::arg("prediction_range"), nb::arg("detect_binary"),
             nb::arg("row_mean"), nb::arg("batch_mean"),
             nb::arg("several_classes"), nb::arg("exact") = false, nb::arg("by_element") = false,
             nb::arg("rank") = 0, nb::arg("length_mean") = false, nb::arg("spread") = 0.0,
             nb::arg("ignore") = nb::none(), nb::arg("widen") = false)
        .def("__call__", &Plan::call, nb::arg("targets").none(),
             nb::arg("predictions").none())
        .def("on_tensors", &Plan::call_on_tensors, nb::arg("targets"), nb::arg("predictions"),
             nb::arg("gradient"), nb::arg("wide") = false, nb::arg("factor") = 1.0);
    module.def("adopt_tensors", &adopt_tensors, nb::arg("exchange"));
}

}  // namespace omniloss
