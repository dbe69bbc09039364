#include "circle_call.hpp"

#include "buffers.hpp"
#include "kernels.hpp"

namespace nb = nanobind;

namespace omniloss {
namespace {

const void* read_vector(Buffer& buffer, nb::handle array, const char* name, ElementType type,
                        const Py_ssize_t* size) {
    buffer.read(array, name);
    buffer.require_shape(name, 1, size);
    if (buffer.type() != type || !buffer.is_contiguous()) {
        throw nb::value_error("labels must be contiguous int64, everything else float64");
    }
    return buffer.data();
}

void circle(nb::handle cosines, nb::handle labels, nb::handle ref_labels, nb::handle counted,
            Py_ssize_t first, bool remove_diagonal, double gamma, double margin,
            nb::handle losses, nb::handle factors) {
    Buffer c, y, r, k, v, f;
    c.read(cosines, "cosines");
    if (c.ndim() != 2) throw nb::value_error("cosines must have two dimensions");
    c.write(cosines, "cosines", ElementType::float64, 2, c.shape());
    CircleJob job;
    job.cosines = static_cast<double*>(c.data());
    job.samples = c.shape()[0];
    job.references = c.shape()[1];
    job.labels = static_cast<const std::int64_t*>(
        read_vector(y, labels, "labels", ElementType::int64, c.shape()));
    job.ref_labels = static_cast<const std::int64_t*>(
        read_vector(r, ref_labels, "ref_labels", ElementType::int64, c.shape() + 1));
    job.counted = static_cast<const double*>(
        read_vector(k, counted, "counted", ElementType::float64, c.shape() + 1));
    job.first = first;
    job.remove_diagonal = remove_diagonal;
    job.gamma = gamma;
    job.margin = margin;
    v.write(losses, "losses", ElementType::float64, 1, c.shape());
    job.losses = static_cast<double*>(v.data());
    job.factors = nullptr;
    if (!factors.is_none()) {
        job.factors = static_cast<const double*>(
            read_vector(f, factors, "factors", ElementType::float64, c.shape()));
    }
    const nb::gil_scoped_release unlocked;
    active_kernels().circle(job);
}

}  // namespace

void bind_circle(nb::module_& module) {
    module.def("circle", &circle, nb::arg("cosines"), nb::arg("labels"), nb::arg("ref_labels"),
               nb::arg("counted"), nb::arg("first"), nb::arg("remove_diagonal"), nb::arg("gamma"),
               nb::arg("margin"), nb::arg("losses"), nb::arg("factors").none());
}

}  // namespace omniloss
