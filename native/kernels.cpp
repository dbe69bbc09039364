// The kernels, compiled once for each instruction set.
#include "kernels.hpp"

#include <cstdint>
#include <cstring>

#include "blocks.hpp"
#include "circle.hpp"
#include "ctc.hpp"
#include "loops.hpp"
#include "parallel.hpp"
#include "pointwise.hpp"
#include "row_kernels.hpp"
#include "triple_kernels.hpp"

#define OMNILOSS_QUOTE(name) #name
#define OMNILOSS_QUOTE_VALUE(name) OMNILOSS_QUOTE(name)

namespace omniloss::OMNILOSS_LEVEL {
namespace {

template <template <class> class Loss>
constexpr PointwiseKernel pointwise_kernel(const char* name, int parameters) {
    return {name, parameters, TakesOther<Loss<float>, float>, run_pointwise<float, Loss<float>>,
            run_pointwise<double, Loss<double>>};
}

// Asked at each element, the parameter would keep the loop from being vectorised.
template <class T> Outcome run_poisson_of_logs(const PointwiseJob& job) {
    return job.parameters[0] != 0.0 ? run_pointwise<T, poisson_of_logs<T, true>>(job)
                                    : run_pointwise<T, poisson_of_logs<T, false>>(job);
}

constexpr PointwiseKernel pointwise_kernels[] = {
    pointwise_kernel<squared_error>("squared_error", 0),
    pointwise_kernel<absolute_error>("absolute_error", 0),
    pointwise_kernel<huber>("huber", 1),
    pointwise_kernel<log_cosh>("log_cosh", 0),
    pointwise_kernel<absolute_percentage_error>("absolute_percentage_error", 1),
    pointwise_kernel<squared_logarithmic_error>("squared_logarithmic_error", 1),
    pointwise_kernel<kl_divergence>("kl_divergence", 1),
    pointwise_kernel<poisson>("poisson", 1),
    pointwise_kernel<hinge>("hinge", 0),
    pointwise_kernel<squared_hinge>("squared_hinge", 0),
    pointwise_kernel<binary_crossentropy>("binary_crossentropy", 1),
    pointwise_kernel<binary_crossentropy_with_logits>("binary_crossentropy_with_logits", 0),
    pointwise_kernel<binary_focal_crossentropy>("binary_focal_crossentropy", 4),
    pointwise_kernel<binary_focal_crossentropy_with_logits>(
        "binary_focal_crossentropy_with_logits", 4),
    pointwise_kernel<smooth_l1>("smooth_l1", 1),
    pointwise_kernel<kl_divergence_of_logs>("kl_divergence_of_logs", 0),
    pointwise_kernel<kl_divergence_between_logs>("kl_divergence_between_logs", 0),
    {"poisson_of_logs", 1, false, run_poisson_of_logs<float>, run_poisson_of_logs<double>},
    pointwise_kernel<soft_margin>("soft_margin", 0),
    pointwise_kernel<hinge_embedding>("hinge_embedding", 1),
    pointwise_kernel<binary_crossentropy_of_clamped_logs>("binary_crossentropy_of_clamped_logs",
                                                          1),
    pointwise_kernel<weighted_binary_crossentropy_with_logits>(
        "weighted_binary_crossentropy_with_logits", 0),
};

template <class Kernel, std::size_t size> constexpr int count(const Kernel (&)[size]) {
    return static_cast<int>(size);
}

// Reads all bytes as fast as memory gives them; the sum only keeps the compiler honest.
double stream(const char* data, std::ptrdiff_t bytes) {
    constexpr std::ptrdiff_t block = 1 << 18;
    const std::ptrdiff_t blocks = divide_up(bytes, block);
    const Partials partials(blocks);
    for_blocks(blocks, [&](std::ptrdiff_t i) {
        const char* begin = data + i * block;
        const std::ptrdiff_t left = bytes - i * block;
        const std::ptrdiff_t words =
            (left < block ? left : block) / std::ptrdiff_t(sizeof(std::uint64_t));
        std::uint64_t sum = 0;
        for (std::ptrdiff_t j = 0; j < words; ++j) {
            std::uint64_t word;
            std::memcpy(&word, begin + j * std::ptrdiff_t(sizeof word), sizeof word);
            sum += word;
        }
        partials[i] = static_cast<double>(sum);
    });
    double total = 0.0;
    for (std::ptrdiff_t i = 0; i < blocks; ++i) total += partials[i];
    return total;
}

void narrow(ElementType type, float x, void* out) {
    write_run(type, &x, 1, static_cast<char*>(out));
}

constexpr KernelTable table = {
    OMNILOSS_QUOTE_VALUE(OMNILOSS_LEVEL),
    pointwise_kernels,
    count(pointwise_kernels),
    row_kernels,
    row_kernel_count,
    triple_kernels,
    triple_kernel_count,
    run_ctc<float>,
    run_ctc<double>,
    run_circle,
    stream,
    narrow,
};

}  // namespace

const KernelTable& kernel_table() { return table; }

}  // namespace omniloss::OMNILOSS_LEVEL
