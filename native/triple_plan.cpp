#include "triple_plan.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "buffers.hpp"
#include "given_weights.hpp"
#include "kernels.hpp"
#include "known_ways.hpp"
#include "numpy_scalars.hpp"
#include "tensors.hpp"

namespace nb = nanobind;

namespace omniloss {
namespace {

// Below this many elements a call is over before letting other threads in would pay.
constexpr std::ptrdiff_t elements_worth_releasing = 8192;

int find_triple(const std::string& name, std::size_t parameters) {
    const KernelTable& table = active_kernels();
    for (int i = 0; i < table.triple_count; ++i) {
        const TripleKernel& kernel = table.triples[i];
        if (name == kernel.name && parameters == static_cast<std::size_t>(kernel.parameters)) return i;
    }
    throw nb::value_error(("no kernel of three arrays is called '" + name + "' and takes "
                           + std::to_string(parameters) + " parameters")
                              .c_str());
}

class TriplePlan {
  public:
    TriplePlan(const std::string& kernel, std::vector<double> parameters, bool reduce, bool mean)
        : kernel_(find_triple(kernel, parameters.size())),
          parameters_(std::move(parameters)),
          reduce_(reduce),
          mean_(mean) {}

    // The loss, or None where the arrays are not plain, an element is out of range or the sum is
    // infinite: then the caller takes the long way, which says what is wrong, or adds up in another way.
    // True is for tensors whose derivative is to be recorded.
    nb::object call(nb::handle x, nb::handle y, nb::handle z) const {
        const nb::handle given[3] = {x, y, z};
        Buffer arrays[3];
        if (!is_tensor(x)) {
            const NumPy& types = numpy();
            const auto read = [&](Buffer& buffer, nb::handle array) {
                const auto* type = reinterpret_cast<PyObject*>(Py_TYPE(array.ptr()));
                return type == types.array_type && buffer.try_read(array);
            };
            if (!reduce_ || !read_all(arrays, given, read)) return nb::none();
            const std::optional<double> loss = run(arrays, nullptr, Places(), nullptr, 1.0);
            if (!loss) return nb::none();
            return arrays[0].type() == ElementType::float32 ? types.float32.make(*loss)
                                                            : types.float64.make(*loss);
        }
        const auto read = [](Buffer& buffer, nb::handle tensor) {
            return is_tensor(tensor) && try_read_tensor(buffer, tensor);
        };
        if (is_watched() || !read_all(arrays, given, read)) return nb::none();
        for (const Buffer& array : arrays) {  // Which type is made of several is not for a plan to say.
            if (is_floating(array.type()) && array.type() != arrays[0].type()) return nb::none();
        }
        bool recorded = false;
        for (int i = 0; i < kernel().differentiable; ++i) {
            recorded = recorded || needs_gradient(given[i]);
        }
        return recorded ? nb::bool_(true) : compute(arrays, nullptr);
    }

    // The loss of plain tensors with the gradients that are wanted by those that have one, None in the
    // places of the others and of unreduced losses: (loss, gradients). Or None.
    nb::object on_tensors(nb::handle x, nb::handle y, nb::handle z, nb::tuple wanted) const {
        const nb::handle given[3] = {x, y, z};
        Buffer arrays[3];
        if (!read_all(arrays, given, try_read_tensor)) return nb::none();
        NewTensor gradients[3];
        if (reduce_) make_gradients(arrays, wanted, gradients);
        const nb::object value = compute(arrays, gradients);
        return value.is_none() ? value : nb::make_tuple(value, as_list(gradients));
    }

    // The gradients alone, times what comes from upstream: a number, or where the losses are not reduced a
    // tensor like them
    nb::object gradient(nb::handle x, nb::handle y, nb::handle z, nb::tuple wanted,
                        nb::handle upstream, double factor) const {
        const nb::handle given[3] = {x, y, z};
        Buffer arrays[3], above;
        if (!read_all(arrays, given, try_read_tensor)) return nb::none();
        if (!reduce_) {
            const int ndim = losses_ndim(arrays);
            if (!try_read_tensor(above, upstream) || !above.has_shape(ndim, arrays[0].shape())) {
                return nb::none();
            }
        }
        NewTensor gradients[3];
        make_gradients(arrays, wanted, gradients);
        const auto found =
            run(arrays, nullptr, Places(gradients), reduce_ ? nullptr : &above, factor);
        return found ? as_list(gradients) : nb::none();
    }

    // The total of NumPy's arrays, with losses and the first array's gradient where there are arrays for
    // them; None where an element is out of range
    nb::object on_arrays(nb::handle x, nb::handle y, nb::handle z, nb::handle values,
                         nb::handle gradient, double scale) const {
        const nb::handle given[3] = {x, y, z};
        Buffer arrays[3], losses, slope;
        const auto read = [](Buffer& buffer, nb::handle array) { return buffer.try_read(array); };
        if (!read_all(arrays, given, read)) {
            throw nb::value_error("arrays must be contiguous, of one shape and type");
        }
        const Buffer& first = arrays[0];
        if (!values.is_none()) {
            losses.write(values, "values", first.type(), losses_ndim(arrays), first.shape());
        }
        Places places;
        if (!gradient.is_none()) {
            slope.write(gradient, "gradient", first.type(), first.ndim(), first.shape());
            places.at[0] = slope.data();
        }
        void* out = values.is_none() ? nullptr : losses.data();
        const auto total = run(arrays, out, places, nullptr, scale);
        if (!total) return nb::none();
        return nb::float_(*total);
    }

  private:
    // Where gradients go, or null
    struct Places {
        void* at[3] = {};

        Places() = default;
        explicit Places(const NewTensor* tensors) {
            for (int i = 0; tensors != nullptr && i < 3; ++i) at[i] = tensors[i].data;
        }
    };

    const TripleKernel& kernel() const { return active_kernels().triples[kernel_]; }

    int losses_ndim(const Buffer* arrays) const {
        return kernel().by_element ? arrays[0].ndim() : arrays[0].ndim() - 1;
    }

    // Whether the arrays can be read, and are what the kernel takes, of shapes that go together as they are
    template <class Read>
    bool read_all(Buffer* arrays, const nb::handle* given, const Read& read) const {
        const Buffer& first = arrays[0];
        for (int i = 0; i < 3; ++i) {
            Buffer& array = arrays[i];
            if (!read(array, given[i])) return false;
            const bool is_row = kernel().by_element || i < kernel().differentiable;
            if (!is_computed(first.type()) || first.ndim() < 1 || first.size() == 0) return false;
            if (!array.is_contiguous()) return false;
            const int ndim = is_row ? first.ndim() : first.ndim() - 1;
            if (!array.has_shape(ndim, first.shape())) return false;
            if (!kernel().by_element && is_row && !stands_as_computed(array, first.type())) return false;
        }
        return true;
    }

    static bool is_computed(ElementType type) {
        return type == ElementType::float32 || type == ElementType::float64;
    }

    static bool stands_as_computed(const Buffer& array, ElementType type) {
        const auto address = reinterpret_cast<std::uintptr_t>(array.data());
        return array.type() == type && address % (type == ElementType::float32 ? 4 : 8) == 0;
    }

    void make_gradients(const Buffer* arrays, nb::tuple wanted, NewTensor* gradients) const {
        for (int i = 0; i < kernel().differentiable; ++i) {
            if (PyTuple_GetItem(wanted.ptr(), i) != Py_True) continue;
            gradients[i] = make_tensor(arrays[0].type(), arrays[0].ndim(), arrays[0].shape());
        }
    }

    static nb::object as_list(NewTensor* gradients) {
        nb::list result;
        for (int i = 0; i < 3; ++i) {
            result.append(gradients[i].data == nullptr ? nb::none() : gradients[i].object);
        }
        return result;
    }

    // The loss as a tensor, or None
    nb::object compute(const Buffer* arrays, NewTensor* gradients) const {
        const ElementType type = arrays[0].type();
        const NewTensor value = make_tensor(type, reduce_ ? 0 : losses_ndim(arrays), arrays[0].shape());
        void* losses = reduce_ ? nullptr : value.data;
        const auto loss = run(arrays, losses, Places(gradients), nullptr, 1.0);
        if (!loss) return nb::none();
        if (reduce_ && type == ElementType::float32) {
            *static_cast<float*>(value.data) = static_cast<float>(*loss);
        } else if (reduce_) {
            *static_cast<double*>(value.data) = *loss;
        }
        return value.object;
    }

    std::optional<double> run(const Buffer* arrays, void* values, const Places& gradients,
                              const Buffer* upstream, double factor) const {
        const Buffer& first = arrays[0];
        TripleJob job;
        for (int i = 0; i < 3; ++i) {
            arrays[i].fill(job.arrays[i]);
            job.gradients[i] = gradients.at[i];
        }
        job.weighted = upstream != nullptr;
        if (job.weighted) upstream->fill(job.upstream);
        job.values = values;
        job.columns = kernel().by_element ? 1 : first.shape()[first.ndim() - 1];
        job.rows = first.size() / job.columns;
        job.parameters = parameters_.data();
        const double divisor = mean_ ? static_cast<double>(job.rows) : 1.0;
        job.scale = factor / divisor;
        const auto function =
            first.type() == ElementType::float64 ? kernel().float64 : kernel().float32;
        Outcome outcome;
        if (first.size() < elements_worth_releasing) {
            outcome = function(job);
        } else {
            const nb::gil_scoped_release unlocked;
            outcome = function(job);
        }
        if (outcome.offence >= 0 || (reduce_ && std::isinf(outcome.total))) return std::nullopt;
        return outcome.total / divisor;
    }

    int kernel_;
    std::vector<double> parameters_;
    bool reduce_, mean_;
};

// What the way that is known for the options gives: a tuple of a plan and more. None where there is none, or it
// does not lead to the loss, and the way itself where the derivative is to be recorded.
nb::object run_known_triple(nb::dict known, nb::handle first, nb::dict named, nb::handle x,
                            nb::handle y, nb::handle z) {
    const nb::object way =
        find_ways(known, first, named, [](PyObject*, PyObject* value) { return value; });
    if (!way.is_valid()) return nb::none();
    nb::object found = nb::inst_ptr<TriplePlan>(PyTuple_GetItem(way.ptr(), 0))->call(x, y, z);
    return found.ptr() == Py_True ? way : found;
}

}  // namespace

void bind_triple_plan(nb::module_& module) {
    nb::class_<TriplePlan>(module, "TriplePlan")
        .def(nb::init<const std::string&, std::vector<double>, bool, bool>(), nb::arg("kernel"),
             nb::arg("parameters"), nb::arg("reduce"), nb::arg("mean"))
        .def("__call__", &TriplePlan::call, nb::arg("x").none(), nb::arg("y").none(),
             nb::arg("z").none())
        .def("on_tensors", &TriplePlan::on_tensors, nb::arg("x"), nb::arg("y"), nb::arg("z"),
             nb::arg("wanted"))
        .def("gradient", &TriplePlan::gradient, nb::arg("x"), nb::arg("y"), nb::arg("z"),
             nb::arg("wanted"), nb::arg("upstream").none(), nb::arg("factor") = 1.0)
        .def("on_arrays", &TriplePlan::on_arrays, nb::arg("x"), nb::arg("y"), nb::arg("z"),
             nb::arg("values").none(), nb::arg("gradient").none(), nb::arg("scale"));
    module.def("run_known_triple", &run_known_triple, nb::arg("known"), nb::arg("first"),
               nb::arg("named"), nb::arg("x").none(), nb::arg("y").none(), nb::arg("z").none());
    module.def("triples", [] {
        nb::list names;
        const KernelTable& table = active_kernels();
        for (int i = 0; i < table.triple_count; ++i) names.append(table.triples[i].name);
        return names;
    });
}

}  // namespace omniloss
