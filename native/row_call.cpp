#include "row_call.hpp"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "find_kernel.hpp"

namespace nb = nanobind;

namespace omniloss {
namespace {

using Pair = std::pair<double, double>;

void fill_matrix(Matrix& matrix, const Buffer& array) {
    array.fill(matrix.all);
    array.fill(matrix.starts, array.ndim() - 1);
    matrix.stride = array.stride(array.ndim() - 1);
}

nb::tuple rowwise(const std::string& kernel_name, nb::handle targets, nb::handle predictions,
                  nb::handle weights, nb::handle values, nb::handle gradient,
                  const std::vector<double>& parameters, Pair target_map, Pair target_range,
                  Pair prediction_range, double scale, nb::handle class_factors, nb::handle masks,
                  const std::string& compute, double shrink) {
    const RowKernel& kernel =
        active_kernels().rowwise[find_rowwise(kernel_name, parameters.size())];
    Buffer y, p, w, v, g, f;
    const ElementType type = p.read_predictions(predictions, compute);
    y.read(targets, "targets");
    const int outer = p.ndim() - 1;
    y.require_shape("targets", kernel.labels ? outer : p.ndim(), p.shape());
    RowJob job;
    const MaskBuffers mask_buffers(masks, outer, p.shape(), job.masks);
    if (!class_factors.is_none()) {
        if (kernel.labels) throw nb::value_error("class_factors need a target for each class");
        f.read(class_factors, "class_factors");
        f.require_shape("class_factors", 1, p.shape() + outer);
        if (f.type() != type || !f.is_contiguous()) {
            throw nb::value_error("class_factors must be contiguous, of the type in which is computed");
        }
        job.class_factors = f.data();
    }
    job.weighted = !weights.is_none();
    if (job.weighted) {
        w.read(weights, "weights");
        w.require_shape("weights", outer, p.shape());
        w.fill(job.weights);
    }
    if (!values.is_none()) v.write(values, "values", type, outer, p.shape());
    if (!gradient.is_none()) g.write_gradient(gradient, type, p.ndim(), p.shape());
    fill_rows(job, y, p, kernel.labels);
    job.values = values.is_none() ? nullptr : v.data();
    job.gradient = gradient.is_none() ? nullptr : g.data();
    job.gradient_type = g.type();
    job.parameters = parameters.data();
    job.map_scale = target_map.first;
    job.map_offset = target_map.second;
    job.target_range = {target_range.first, target_range.second};
    job.prediction_range = {prediction_range.first, prediction_range.second};
    job.scale = scale;
    job.shrink = shrink;
    if (p.size() == 0) {
        if (job.values != nullptr) std::memset(job.values, 0, static_cast<std::size_t>(v.bytes()));
        return nb::make_tuple(0.0, nb::none());
    }
    Outcome outcome;
    {
        const nb::gil_scoped_release unlocked;
        outcome = (type == ElementType::float32 ? kernel.float32 : kernel.float64)(job);
    }
    if (outcome.offence < 0) return nb::make_tuple(outcome.total, nb::none());
    return nb::make_tuple(
        outcome.total,
        nb::make_tuple(outcome.in_targets ? "targets" : "predictions", outcome.offence));
}

}  // namespace

void fill_rows(RowJob& job, const Buffer& targets, const Buffer& predictions, bool labels) {
    fill_matrix(job.predictions, predictions);
    if (labels) {
        targets.fill(job.labels);
    } else {
        fill_matrix(job.targets, targets);
    }
    job.columns = predictions.shape()[predictions.ndim() - 1];
    job.rows = job.columns > 0 ? predictions.size() / job.columns : 0;
}

int find_rowwise(const std::string& name, std::size_t parameters) {
    const KernelTable& table = active_kernels();
    for (int i = 0; i < table.rowwise_count; ++i) {
        if (name != table.rowwise[i].name) continue;
        if (parameters != static_cast<std::size_t>(table.rowwise[i].parameters)) {
            throw nb::value_error(("kernel '" + name + "' takes "
                                   + std::to_string(table.rowwise[i].parameters)
                                   + " parameters, not " + std::to_string(parameters))
                                      .c_str());
        }
        return i;
    }
    throw nb::value_error(("no rowwise kernel is called '" + name + "'").c_str());
}

void bind_rowwise(nb::module_& module) {
    module.def("rowwise", &rowwise, nb::arg("kernel"), nb::arg("targets"), nb::arg("predictions"),
               nb::arg("weights").none(), nb::arg("values").none(), nb::arg("gradient").none(),
               nb::arg("parameters"), nb::arg("target_map"), nb::arg("target_range"),
               nb::arg("prediction_range"), nb::arg("scale"),
               nb::arg("class_factors").none() = nb::none(), nb::arg("masks") = nb::tuple(),
               nb::arg("compute") = "", nb::arg("shrink") = 1.0);
}

}  // namespace omniloss
