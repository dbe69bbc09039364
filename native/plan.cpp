#include "plan.hpp"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "buffers.hpp"
#include "find_kernel.hpp"
#include "kernels.hpp"
#include "row_call.hpp"

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

class Plan {
  public:
    Plan(const std::string& kernel, const std::string& kind, std::vector<double> parameters,
         Pair target_map, Pair target_range, Pair prediction_range, bool detect_binary,
         bool row_mean, bool batch_mean)
        : parameters_(std::move(parameters)),
          target_map_(target_map),
          target_range_{target_range.first, target_range.second},
          prediction_range_{prediction_range.first, prediction_range.second},
          detect_binary_(detect_binary),
          row_mean_(row_mean),
          batch_mean_(batch_mean) {
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

    // The loss, or None where the arrays are not plain or an element is out of range: then the
    // caller takes the long way, which says what is wrong.
    nb::object call(nb::handle targets, nb::handle predictions) const {
        const NumPy& types = numpy();
        const auto* array_type = reinterpret_cast<PyTypeObject*>(types.array_type);
        if (Py_TYPE(targets.ptr()) != array_type || Py_TYPE(predictions.ptr()) != array_type) {
            return nb::none();
        }
        Buffer y;
        Buffer p;
        if (!p.try_read(predictions) || !y.try_read(targets)) return nb::none();
        const bool single = p.type() == ElementType::float32;
        if ((!single && p.type() != ElementType::float64) || p.ndim() < 2 || p.size() == 0
            || !p.is_contiguous() || !y.is_contiguous()) {
            return nb::none();
        }
        const int target_ndim = labels_ ? p.ndim() - 1 : p.ndim();
        if (!y.has_shape(target_ndim, p.shape())) return nb::none();
        const std::ptrdiff_t columns = p.shape()[p.ndim() - 1];
        const std::ptrdiff_t rows = p.size() / columns;
        const std::optional<double> total =
            rowwise_ ? run_rowwise(y, p) : run_pointwise(y, p, rows, columns);
        if (!total) return nb::none();
        double result = *total;
        if (row_mean_) result /= static_cast<double>(columns);
        if (batch_mean_) result /= static_cast<double>(rows);
        return single ? types.float32.make(result) : types.float64.make(result);
    }

  private:
    std::optional<double> run_pointwise(const Buffer& y, const Buffer& p, std::ptrdiff_t rows,
                                        std::ptrdiff_t columns) const {
        PointwiseJob job;
        y.fill(job.targets);
        p.fill(job.predictions);
        job.weighted = false;
        job.values = nullptr;
        job.gradient = nullptr;
        job.rows = rows;
        job.columns = columns;
        job.parameters = parameters_.data();
        job.map_scale = target_map_.first;
        job.map_offset = target_map_.second;
        job.target_range = target_range_;
        job.prediction_range = prediction_range_;
        job.scale = 1.0;
        job.value_scale = 1.0;
        job.detect_binary = detect_binary_;
        return run(active_kernels().pointwise[kernel_], p, job);
    }

    std::optional<double> run_rowwise(const Buffer& y, const Buffer& p) const {
        RowJob job;
        fill_rows(job, y, p, labels_);
        job.weighted = false;
        job.values = nullptr;
        job.gradient = nullptr;
        job.parameters = parameters_.data();
        job.map_scale = target_map_.first;
        job.map_offset = target_map_.second;
        job.target_range = target_range_;
        job.prediction_range = prediction_range_;
        job.scale = 1.0;
        return run(active_kernels().rowwise[kernel_], p, job);
    }

    template <class Kernel, class Job>
    static std::optional<double> run(const Kernel& kernel, const Buffer& p, const Job& job) {
        const auto function = p.type() == ElementType::float32 ? kernel.float32 : kernel.float64;
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
};

}  // namespace

void bind_plan(nb::module_& module) {
    nb::class_<Plan>(module, "Plan")
        .def(nb::init<const std::string&, const std::string&, std::vector<double>, Pair, Pair, Pair,
                      bool, bool, bool>(),
             nb::arg("kernel"), nb::arg("kind"), nb::arg("parameters"), nb::arg("target_map"),
             nb::arg("target_range"), nb::arg("prediction_range"), nb::arg("detect_binary"),
             nb::arg("row_mean"), nb::arg("batch_mean"))
        .def("__call__", &Plan::call, nb::arg("targets").none(),
             nb::arg("predictions").none());
}

}  // namespace omniloss
