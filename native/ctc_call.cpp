#include "ctc_call.hpp"

#include <new>
#include <string>

#include "buffers.hpp"
#include "kernels.hpp"

namespace nb = nanobind;

namespace omniloss {
namespace {

const std::int64_t* read_indices(Buffer& buffer, nb::handle array, const char* name, int ndim,
                                 Py_ssize_t samples) {
    buffer.read(array, name);
    if (buffer.type() != ElementType::int64 || buffer.ndim() != ndim || !buffer.is_contiguous()
        || buffer.shape()[0] != samples) {
        throw nb::value_error(
            (std::string(name) + " must be contiguous int64, with a row for each sample").c_str());
    }
    return static_cast<const std::int64_t*>(buffer.data());
}

// Indices lead to memory: whatever the caller has checked, none leaves it.
void require_in_range(const CtcJob& job) {
    if (job.blank < 0 || job.blank >= job.classes) throw nb::value_error("blank is no class");
    for (std::ptrdiff_t n = 0; n < job.samples; ++n) {
        const std::int64_t steps = job.input_lengths[n], labels = job.target_lengths[n];
        if (steps < 0 || steps > job.time) throw nb::value_error("an input length is out of range");
        if (labels < 0 || labels > job.longest_target) {
            throw nb::value_error("a target length is out of range");
        }
        const std::int64_t* row = job.targets + n * job.longest_target;
        for (std::int64_t s = 0; s < labels; ++s) {
            if (row[s] < 0 || row[s] >= job.classes) throw nb::value_error("a target is no class");
        }
    }
}

void ctc(nb::handle targets, nb::handle log_probs, nb::handle input_lengths,
         nb::handle target_lengths, std::int64_t blank, bool zero_infinity, nb::handle losses,
         nb::handle gradient, nb::handle scales, bool logits) {
    Buffer p, y, steps, lengths, v, g, w;
    p.read_predictions(log_probs, "");
    if (p.ndim() != 3) throw nb::value_error("log_probs must have three dimensions");
    CtcJob job;
    job.log_probs = static_cast<const char*>(p.data());
    // Logits have the samples on their first axis, logarithms of probabilities the steps.
    const int time = logits ? 1 : 0, sample = 1 - time;
    job.strides[0] = p.stride(time);
    job.strides[1] = p.stride(sample);
    job.strides[2] = p.stride(2);
    job.time = p.shape()[time];
    job.samples = p.shape()[sample];
    job.classes = p.shape()[2];
    job.logits = logits;
    job.gradient_strides[0] = logits ? job.classes : job.samples * job.classes;
    job.gradient_strides[1] = logits ? job.time * job.classes : job.classes;
    job.targets = read_indices(y, targets, "targets", 2, job.samples);
    job.longest_target = y.shape()[1];
    job.input_lengths = read_indices(steps, input_lengths, "input_lengths", 1, job.samples);
    job.target_lengths = read_indices(lengths, target_lengths, "target_lengths", 1, job.samples);
    job.blank = blank;
    job.zero_infinity = zero_infinity;
    v.write(losses, "losses", p.type(), 1, p.shape() + sample);
    job.losses = v.data();
    job.gradient = nullptr;
    job.scales = nullptr;
    if (!gradient.is_none()) {
        g.write(gradient, "gradient", p.type(), 3, p.shape());
        w.write(scales, "scales", ElementType::float64, 1, p.shape() + sample);
        job.gradient = g.data();
        job.scales = static_cast<const double*>(w.data());
    }
    require_in_range(job);
    bool complete = false;
    {
        const nb::gil_scoped_release unlocked;
        const KernelTable& table = active_kernels();
        const bool single = p.type() == ElementType::float32;
        complete = (single ? table.ctc_float32 : table.ctc_float64)(job);
    }
    if (!complete) throw std::bad_alloc();
}

}  // namespace

void bind_ctc(nb::module_& module) {
    module.def("ctc", &ctc, nb::arg("targets"), nb::arg("log_probs"), nb::arg("input_lengths"),
               nb::arg("target_lengths"), nb::arg("blank"), nb::arg("zero_infinity"),
               nb::arg("losses"), nb::arg("gradient").none(), nb::arg("scales").none(),
               nb::arg("logits") = false);
}

}  // namespace omniloss
