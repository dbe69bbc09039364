// Connectionist temporal classification: the probability of a label sequence under all its
// alignments with a longer sequence of predictions, by the forward-backward algorithm.
//
// Between the labels, before the first and after the last stands a blank: 2 S + 1 states for S
// labels. The logarithms of the forward and backward sums are kept relative to the largest of their
// time step, whatever the type in float64, so that neither long sequences nor tiny probabilities
// cost digits.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "kernels.hpp"
#include "parallel.hpp"
#include "vector_math.hpp"

namespace omniloss::OMNILOSS_LEVEL {

// log(exp(a) + exp(b) + exp(c))
OMNILOSS_INLINE double log_sum_exp(double a, double b, double c) {
    double top = a > b ? a : b;
    top = top > c ? top : c;
    const double base = top > -infinity<double> ? top : 0.0;
    return base + log(exp(a - base) + exp(b - base) + exp(c - base));
}

// The alignments of one sample. Rows of states have two more places at either end, of probability
// 0, so that no step needs to look whether it leaves the row.
template <class T> class Alignment {
  public:
    static constexpr std::ptrdiff_t margin = 2;

    Alignment(const CtcJob& given, std::ptrdiff_t sample)
        : job(given),
          labels(given.targets + sample * given.longest_target),
          steps(given.input_lengths[sample]),
          states(2 * given.target_lengths[sample] + 1),
          pitch(states + 2 * margin),
          rows(given.gradient != nullptr ? steps : 2),
          column(given.log_probs + sample * given.strides[1]) {
        const std::ptrdiff_t norms = given.logits ? steps : 0;
        const std::ptrdiff_t classes =
            given.gradient != nullptr || given.logits ? given.classes : 0;
        memory.reset(new (std::nothrow) double[(rows + 5) * pitch + 2 * classes + norms]);
        if (memory == nullptr) return;
        emission = memory.get() + rows * pitch;
        skip = emission + pitch;
        arriving = skip + pitch;
        leaving = arriving + pitch;
        spare = leaving + pitch;
        posterior = spare + pitch;
        logarithms = posterior + classes;
        std::fill(memory.get(), posterior + 2 * classes, -infinity<double>);
        std::fill(posterior, posterior + classes, 0.0);
        for (std::ptrdiff_t s = 0; s < states; ++s) {
            const bool apart = s % 2 == 1 && s > 1 && label(s) != label(s - 2);
            skip[margin + s] = apart ? 0.0 : -infinity<double>;
        }
        for (std::ptrdiff_t t = 0; t < norms; ++t) logarithms[classes + t] = norm(t);
        norm_of = given.logits ? logarithms + classes : nullptr;
    }

    bool has_memory() const { return memory != nullptr; }

    // The loss; with all rows kept, they are ready for `differentiate`.
    double run() {
        if (steps == 0) return states == 1 ? 0.0 : infinity<double>;
        double total = 0.0, lost = 0.0;
        for (std::ptrdiff_t t = 0; t < steps; ++t) {
            double* now = row(t);
            read_emission(t);
            if (t == 0) {
                now[margin] = emission[margin];
                if (states > 1) now[margin + 1] = emission[margin + 1];
            } else {
                forward(row(t - 1), now);
            }
            const double top = rebase(now);
            if (top == -infinity<double>) return impossible(now);
            const double sum = total + top, part = sum - total;
            lost += (total - (sum - part)) + (top - part);
            total = sum;
        }
        const double* end = row(steps - 1) + margin + states - 1;
        return -((total + log_sum_exp(end[0], end[-1], -infinity<double>)) + lost);
    }

    // Writes scale * (exp(log_probs) - posterior), the derivative by the logits whose logarithmic
    // softmax the log-probabilities are.
    void differentiate(T* gradient, double scale) {
        std::fill(arriving, arriving + pitch, -infinity<double>);
        for (std::ptrdiff_t t = steps - 1; t >= 0; --t) {
            if (t == steps - 1) {
                arriving[margin + states - 1] = 0.0;
                if (states > 1) arriving[margin + states - 2] = 0.0;
            } else {
                read_emission(t + 1);
                backward();
                rebase(arriving);
            }
            collect(t);
            T* OMNILOSS_RESTRICT g = gradient + t * job.gradient_strides[0];
            double* OMNILOSS_RESTRICT x = logarithms;
            const double* OMNILOSS_RESTRICT share = posterior;
            for (std::ptrdiff_t c = 0; c < job.classes; ++c) {
                x[c] = log_prob(t, c);
            }
            for (std::ptrdiff_t c = 0; c < job.classes; ++c) {
                g[c] = static_cast<T>(scale * (exp(x[c]) - share[c]));
            }
            for (std::ptrdiff_t s = 0; s < states; ++s) posterior[label(s)] = 0.0;
        }
    }

  private:
    std::int64_t label(std::ptrdiff_t state) const {
        return state % 2 == 1 ? labels[state / 2] : job.blank;
    }

    double* row(std::ptrdiff_t t) { return memory.get() + t % rows * pitch; }

    double prediction(std::ptrdiff_t t, std::int64_t c) const {
        T x;
        std::memcpy(&x, column + t * job.strides[0] + c * job.strides[2], sizeof x);
        return static_cast<double>(x);
    }

    double log_prob(std::ptrdiff_t t, std::int64_t c) const {
        return norm_of == nullptr ? prediction(t, c) : prediction(t, c) - norm_of[t];
    }

    // log(sum(exp(logits))) of a step
    double norm(std::ptrdiff_t t) const {
        double* OMNILOSS_RESTRICT x = logarithms;
        double top = -infinity<double>;
        for (std::ptrdiff_t c = 0; c < job.classes; ++c) {
            x[c] = prediction(t, c);
            top = x[c] > top ? x[c] : top;
        }
        const double base = (top > -infinity<double>) & (top < infinity<double>) ? top : 0.0;
        for (std::ptrdiff_t c = 0; c < job.classes; ++c) x[c] = exp(x[c] - base);
        double sum = 0.0;
        for (std::ptrdiff_t c = 0; c < job.classes; ++c) sum += x[c];
        return base + log(sum);
    }

    void read_emission(std::ptrdiff_t t) {
        const double blank = log_prob(t, job.blank);
        for (std::ptrdiff_t s = 0; s < states; s += 2) emission[margin + s] = blank;
        for (std::ptrdiff_t s = 1; s < states; s += 2) {
            emission[margin + s] = log_prob(t, labels[s / 2]);
        }
    }

    void forward(const double* OMNILOSS_RESTRICT before, double* OMNILOSS_RESTRICT now) const {
        const double* OMNILOSS_RESTRICT e = emission;
        const double* OMNILOSS_RESTRICT allowed = skip;
        for (std::ptrdiff_t i = margin; i < margin + states; ++i) {
            now[i] = e[i] + log_sum_exp(before[i], before[i - 1], before[i - 2] + allowed[i]);
        }
    }

    // From the sums over what follows step t + 1 to those over what follows step t
    void backward() {
        const double* OMNILOSS_RESTRICT e = emission;
        const double* OMNILOSS_RESTRICT allowed = skip;
        double* OMNILOSS_RESTRICT after = leaving;
        double* OMNILOSS_RESTRICT result = arriving;
        for (std::ptrdiff_t i = margin; i < margin + states; ++i) after[i] = result[i] + e[i];
        for (std::ptrdiff_t i = margin; i < margin + states; ++i) {
            result[i] = log_sum_exp(after[i], after[i + 1], after[i + 2] + allowed[i + 2]);
        }
    }

    // Subtracts the largest number of a row, and returns it.
    double rebase(double* OMNILOSS_RESTRICT values) const {
        double top = -infinity<double>;
        for (std::ptrdiff_t i = margin; i < margin + states; ++i) {
            top = values[i] > top ? values[i] : top;
        }
        const double base = top > -infinity<double> ? top : 0.0;
        for (std::ptrdiff_t i = margin; i < margin + states; ++i) values[i] -= base;
        return top;
    }

    // The loss where no alignment has a probability above 0, unless one of them is NaN
    double impossible(const double* values) const {
        double sum = 0.0;
        for (std::ptrdiff_t i = margin; i < margin + states; ++i) {
            sum += values[i] == values[i] ? 0.0 : values[i];
        }
        return infinity<double> + sum;
    }

    // The probabilities of the classes at step t, given the labels
    void collect(std::ptrdiff_t t) {
        const double* OMNILOSS_RESTRICT before = row(t);
        const double* OMNILOSS_RESTRICT after = arriving;
        double* OMNILOSS_RESTRICT share = spare;
        double top = -infinity<double>;
        for (std::ptrdiff_t i = margin; i < margin + states; ++i) {
            share[i] = before[i] + after[i];
            top = share[i] > top ? share[i] : top;
        }
        for (std::ptrdiff_t i = margin; i < margin + states; ++i) share[i] = exp(share[i] - top);
        double sum = 0.0;
        for (std::ptrdiff_t i = margin; i < margin + states; ++i) sum += share[i];
        for (std::ptrdiff_t s = 0; s < states; ++s) posterior[label(s)] += share[margin + s] / sum;
    }

    const CtcJob& job;
    const std::int64_t* const labels;
    const std::ptrdiff_t steps, states, pitch, rows;
    const char* const column;
    std::unique_ptr<double[]> memory;
    double *emission = nullptr, *skip = nullptr, *arriving = nullptr, *leaving = nullptr;
    double *spare = nullptr, *posterior = nullptr, *logarithms = nullptr;
    const double* norm_of = nullptr;  // of logits
};

// False where memory ran out.
template <class T> bool run_ctc(const CtcJob& job) {
    std::atomic<bool> complete{true};
    constexpr std::ptrdiff_t few = 4096;  // numbers to compute
    std::ptrdiff_t numbers = 0;
    for (std::ptrdiff_t i = 0; i < job.samples; ++i) {
        const std::ptrdiff_t read = job.gradient != nullptr || job.logits ? job.classes : 0;
        numbers += job.input_lengths[i] * (2 * job.target_lengths[i] + 1 + read);
    }
    const auto run = [&](std::ptrdiff_t sample) {
        Alignment<T> alignment(job, sample);
        if (!alignment.has_memory()) {
            complete.store(false, std::memory_order_relaxed);
            return;
        }
        const double loss = alignment.run();
        const bool zeroed = job.zero_infinity && loss == infinity<double>;
        static_cast<T*>(job.losses)[sample] = zeroed ? T(0) : static_cast<T>(loss);
        if (job.gradient == nullptr) return;
        T* gradient = static_cast<T*>(job.gradient) + sample * job.gradient_strides[1];
        const std::ptrdiff_t steps = job.input_lengths[sample];
        const bool defined = loss < infinity<double>;
        if (defined) alignment.differentiate(gradient, job.scales[sample]);
        const T filling = zeroed ? T(0) : not_a_number<T>;
        for (std::ptrdiff_t t = defined ? steps : 0; t < job.time; ++t) {
            T* row = gradient + t * job.gradient_strides[0];
            std::fill(row, row + job.classes, t < steps ? filling : T(0));
        }
    };
    for_blocks(job.samples, run, numbers < few);
    return complete.load();
}

}  // namespace omniloss::OMNILOSS_LEVEL
