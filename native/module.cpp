// The Python module omniloss._core.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "buffers.hpp"
#include "circle_call.hpp"
#include "ctc_call.hpp"
#include "find_kernel.hpp"
#include "kernels.hpp"
#include "memory.hpp"
#include "parallel.hpp"
#include "plan.hpp"
#include "row_call.hpp"
#include "triple_plan.hpp"

namespace nb = nanobind;

namespace omniloss {
namespace {

using Pair = std::pair<double, double>;

// The kernel tables that this processor can run, the best last
std::vector<const KernelTable*> available_tables() {
#ifdef OMNILOSS_X86_64_LEVELS
    __builtin_cpu_init();
    std::vector<const KernelTable*> tables;
    if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("popcnt")) return tables;
    tables.push_back(&x86_64_v2::kernel_table());
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")
        || !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2")) {
        return tables;
    }
    tables.push_back(&x86_64_v3::kernel_table());
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw")
        || !__builtin_cpu_supports("avx512cd") || !__builtin_cpu_supports("avx512dq")
        || !__builtin_cpu_supports("avx512vl")) {
        return tables;
    }
    tables.push_back(&x86_64_v4::kernel_table());
    return tables;
#else
    return {&generic::kernel_table()};
#endif
}

const std::vector<const KernelTable*> tables = available_tables();
std::atomic<const KernelTable*> active{tables.empty() ? nullptr : tables.back()};

// x86_64_v4 in C++ is x86-64-v4 in the world.
std::string public_name(const KernelTable& table) {
    std::string name = table.instruction_set;
    for (char& c : name) {
        if (c == '_') c = '-';
    }
    return name;
}

nb::object offence_of(const Outcome& outcome) {
    if (outcome.offence < 0) return nb::none();
    return nb::make_tuple(outcome.in_targets ? "targets" : "predictions", outcome.offence);
}

nb::tuple pointwise(const std::string& kernel_name, nb::handle targets, nb::handle predictions,
                    nb::handle weights, nb::handle values, nb::handle gradient,
                    const std::vector<double>& parameters, Pair target_map, Pair target_range,
                    Pair prediction_range, double scale, bool detect_binary, double value_scale,
                    nb::handle masks, const std::string& compute, double shrink,
                    nb::handle other) {
    const PointwiseKernel& kernel =
        active_kernels().pointwise[find_pointwise(kernel_name, parameters.size(), !other.is_none())];
    Buffer y, p, o, w, v, g;
    const ElementType type = p.read_predictions(predictions, compute);
    y.read(targets, "targets");
    y.require_shape("targets", p.ndim(), p.shape());
    PointwiseJob job;
    const MaskBuffers mask_buffers(masks, p.ndim(), p.shape(), job.masks);
    if (!other.is_none()) {
        o.read(other, "other");
        o.require_shape("other", p.ndim(), p.shape());
        o.fill(job.other);
    }
    job.weighted = !weights.is_none();
    if (job.weighted) {
        w.read(weights, "weights");
        w.require_shape("weights", p.ndim(), p.shape());
        w.fill(job.weights);
    }
    if (!values.is_none()) v.write(values, "values", type, p.ndim() - 1, p.shape());
    if (!gradient.is_none()) g.write_gradient(gradient, type, p.ndim(), p.shape());
    y.fill(job.targets);
    p.fill(job.predictions);
    job.values = values.is_none() ? nullptr : v.data();
    job.gradient = gradient.is_none() ? nullptr : g.data();
    job.gradient_type = g.type();
    job.columns = p.shape()[p.ndim() - 1];
    job.rows = job.columns > 0 ? p.size() / job.columns : 0;
    job.parameters = parameters.data();
    job.map_scale = target_map.first;
    job.map_offset = target_map.second;
    job.target_range = {target_range.first, target_range.second};
    job.prediction_range = {prediction_range.first, prediction_range.second};
    job.scale = scale;
    job.value_scale = value_scale;
    job.shrink = shrink;
    job.detect_binary = detect_binary;
    if (p.size() == 0) {
        if (job.values != nullptr) std::memset(job.values, 0, static_cast<std::size_t>(v.bytes()));
        return nb::make_tuple(0.0, nb::none());
    }
    Outcome outcome;
    {
        const nb::gil_scoped_release unlocked;
        outcome = (type == ElementType::float32 ? kernel.float32 : kernel.float64)(job);
    }
    return nb::make_tuple(outcome.total, offence_of(outcome));
}

nb::dict kernels() {
    nb::dict names;
    const KernelTable& table = active_kernels();
    for (int i = 0; i < table.pointwise_count; ++i) names[table.pointwise[i].name] = "pointwise";
    for (int i = 0; i < table.rowwise_count; ++i) names[table.rowwise[i].name] = "rowwise";
    return names;
}

double stream(nb::handle array) {
    Buffer buffer;
    buffer.read(array, "array");
    if (!buffer.is_contiguous()) throw nb::value_error("array must be C-contiguous");
    const nb::gil_scoped_release unlocked;
    return active_kernels().stream(static_cast<const char*>(buffer.data()), buffer.bytes());
}

void set_instruction_set(const std::string& name) {
    for (const KernelTable* table : tables) {
        if (public_name(*table) == name) {
            active.store(table);
            return;
        }
    }
    throw nb::value_error(("instruction set '" + name + "' is not available").c_str());
}

// Bytes for a new array, at a multiple of 64
nb::ndarray<nb::numpy, std::uint8_t, nb::ndim<1>> new_memory(std::size_t bytes) {
    constexpr std::size_t alignment = 64;
    auto* memory = static_cast<char*>(allocate(bytes + alignment));
    const nb::capsule owner(memory, [](void* given) noexcept { release(given); });
    char* data = memory + -reinterpret_cast<std::uintptr_t>(memory) % alignment;
    return {data, {bytes}, owner};
}

}  // namespace

const KernelTable& active_kernels() { return *active.load(std::memory_order_relaxed); }

int find_pointwise(const std::string& name, std::size_t parameters, bool other) {
    const KernelTable& table = active_kernels();
    for (int i = 0; i < table.pointwise_count; ++i) {
        if (name != table.pointwise[i].name) continue;
        if (parameters != static_cast<std::size_t>(table.pointwise[i].parameters)) {
            const std::string expected = std::to_string(table.pointwise[i].parameters);
            throw nb::value_error(("kernel '" + name + "' takes " + expected + " parameters, not "
                                   + std::to_string(parameters))
                                      .c_str());
        }
        if (other != table.pointwise[i].takes_other) {
            const char* takes = other ? "' takes no other array" : "' takes another array";
            throw nb::value_error(("kernel '" + name + takes).c_str());
        }
        return i;
    }
    throw nb::value_error(("no pointwise kernel is called '" + name + "'").c_str());
}

}  // namespace omniloss

NB_MODULE(_core, module) {
    using namespace omniloss;
    // Loss objects that live until the interpreter ends keep their plans, which is no leak.
    nb::set_leak_warnings(false);
    if (tables.empty()) throw nb::import_error("the native core needs an x86-64-v2 processor");
    module.doc() = "Native kernels of Omniloss.";
    module.def("pointwise", &pointwise, nb::arg("kernel"), nb::arg("targets"),
               nb::arg("predictions"), nb::arg("weights").none(), nb::arg("values").none(),
               nb::arg("gradient").none(),
               nb::arg("parameters"), nb::arg("target_map"), nb::arg("target_range"),
               nb::arg("prediction_range"), nb::arg("scale"), nb::arg("detect_binary"),
               nb::arg("value_scale") = 1.0, nb::arg("masks") = nb::tuple(),
               nb::arg("compute") = "", nb::arg("shrink") = 1.0, nb::arg("other").none() = nb::none());
    bind_rowwise(module);
    bind_plan(module);
    bind_triple_plan(module);
    bind_ctc(module);
    bind_circle(module);
    module.def("new_memory", &new_memory, nb::arg("bytes"));
    module.def("kernels", &kernels);
    module.def(
        "set_num_threads",
        [](int count) {
            if (count < 1) throw nb::value_error("the number of threads must be at least 1");
            set_thread_count(count);
        },
        nb::arg("count"));
    module.def("get_num_threads", &thread_count);
    module.def("team_size", &recorded_team);
    module.def("instruction_set", [] { return public_name(active_kernels()); });
    module.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const KernelTable* table : tables) names.push_back(public_name(*table));
        return names;
    });
    module.def("set_instruction_set", &set_instruction_set, nb::arg("name"));
    module.def("openmp", [] {
#ifdef _OPENMP
        return true;
#else
        return false;
#endif
    });
    module.def("stream", &stream, nb::arg("array"));
}
