// The circle loss of a batch whose cosines are known: for each sample, two sums of exponentials over
// its references, of its own kind and of others.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels.hpp"
#include "parallel.hpp"
#include "rows.hpp"
#include "vector_math.hpp"

namespace omniloss::OMNILOSS_LEVEL {

// One sample and its references, `lanes` at a time
class CircleRow {
  public:
    static constexpr int lanes = 8;

    CircleRow(const CircleJob& given, std::ptrdiff_t sample)
        : job(given), label(given.labels[sample]), diagonal(given.first + sample),
          row(given.cosines + sample * given.references) {}

    // The loss
    double run() {
        const Sums top = fold_all(
            -infinity<double>,
            [&](const Pair& pair, double& near, double& far) OMNILOSS_INLINE_LAMBDA {
                near = pair.alike & (pair.score > near) ? pair.score : near;
                far = pair.unlike & (pair.score > far) ? pair.score : far;
            },
            [](double x, double y) OMNILOSS_INLINE_LAMBDA { return x > y ? x : y; });
        near_base = finite(top.near);
        far_base = finite(top.far);
        const Sums total = fold_all(
            0.0,
            [&](const Pair& pair, double& near, double& far) OMNILOSS_INLINE_LAMBDA {
                const double power = exponential(pair);
                near += pair.alike ? power : 0.0;
                far += pair.unlike ? power : 0.0;
            },
            [](double x, double y) OMNILOSS_INLINE_LAMBDA { return x + y; });
        near_sum = total.near;
        far_sum = total.far;
        compared = is_any(top.near, near_sum) & is_any(top.far, far_sum);
        if (!compared) return 0.0;
        const double both = (log(near_sum) + near_base) + (log(far_sum) + far_base);
        const double small = exp(both > 0.0 ? -both : both);
        slope = (both > 0.0 ? 1.0 : small) / (1.0 + small);
        return (both < 0.0 ? 0.0 : both) + log1p(small);
    }

    // Writes factor * derivative of the loss by the cosines where these were.
    void differentiate(double factor) {
        const double scale = compared ? 2.0 * job.gamma * slope * factor : 0.0;
        const double near_scale = compared ? -scale / near_sum : 0.0;
        const double far_scale = compared ? scale / far_sum : 0.0;
        OMNILOSS_LOOP
        for (std::ptrdiff_t j = 0; j < job.references; ++j) {
            const Pair pair = pair_at(j);
            const double d = pair.distance, power = exponential(pair);
            const double pull = job.margin + d <= 0.0 ? 0.0 : d * near_scale;
            const double push = (1.0 + job.margin) - d <= 0.0 ? 0.0 : (1.0 - d) * far_scale;
            const double moved = (pair.alike ? pull : push) * power;
            row[j] = (pair.alike | pair.unlike) & !(d <= 0.0) ? moved : 0.0;
        }
    }

  private:
    struct Pair {
        bool alike, unlike;
        double distance, score;
    };
    struct Sums {
        double near, far;
    };

    static double finite(double top) {
        return (top > -infinity<double>) & (top < infinity<double>) ? top : 0.0;
    }

    OMNILOSS_INLINE Pair pair_at(std::ptrdiff_t j) const {
        const double distance = 1.0 - row[j], margin = job.margin;
        const double d = distance <= 0.0 ? 0.0 : distance;
        const bool same = job.ref_labels[j] == label, counts = job.counted[j] > 0.0;
        const bool itself = job.remove_diagonal & (j == diagonal);
        const double of_near = margin + d, of_far = (1.0 + margin) - d;
        const double near = (of_near <= 0.0 ? 0.0 : of_near) * (d - margin);
        const double far = (of_far <= 0.0 ? 0.0 : of_far) * ((1.0 - margin) - d);
        const bool alike = (same & counts & !itself) != 0, unlike = (!same & counts) != 0;
        return {alike, unlike, d, job.gamma * (same ? near : far)};
    }

    // The difference of the largest score is 0, and not what a fused multiplication makes of it.
    OMNILOSS_INLINE double exponential(const Pair& pair) const {
        const double base = pair.alike ? near_base : far_base;
        return exp(pair.score == base ? 0.0 : pair.score - base);
    }

    // Whether there was any pair; scores of NaN show in the sum alone.
    static bool is_any(double top, double sum) { return (top > -infinity<double>) | (sum != sum); }

    // Calls body(pair, near, far) for every reference, whose results are kept by lanes and folded in a
    // fixed order.
    template <class Body, class Fold>
    OMNILOSS_INLINE Sums fold_all(double start, const Body& body, const Fold& fold) const {
        double near[lanes], far[lanes];
        for (int l = 0; l < lanes; ++l) near[l] = far[l] = start;
        std::ptrdiff_t j = 0;
        for (; j + lanes <= job.references; j += lanes) {
            OMNILOSS_LOOP
            for (int l = 0; l < lanes; ++l) body(pair_at(j + l), near[l], far[l]);
        }
        for (int l = 0; j < job.references; ++j, ++l) body(pair_at(j), near[l], far[l]);
        for (int half = lanes / 2; half > 0; half /= 2) {
            for (int l = 0; l < half; ++l) {
                near[l] = fold(near[l], near[l + half]);
                far[l] = fold(far[l], far[l + half]);
            }
        }
        return {near[0], far[0]};
    }

    const CircleJob& job;
    const std::int64_t label;
    const std::ptrdiff_t diagonal;
    double* const row;
    double near_base = 0.0, far_base = 0.0, near_sum = 0.0, far_sum = 0.0, slope = 0.0;
    bool compared = false;
};

inline void run_circle(const CircleJob& job) {
    constexpr std::ptrdiff_t work = 1 << 14;
    const std::ptrdiff_t per_block = job.references < work ? work / (job.references + 1) + 1 : 1;
    const std::ptrdiff_t blocks = (job.samples + per_block - 1) / per_block;
    for_blocks(blocks, [&](std::ptrdiff_t block) {
        const std::ptrdiff_t end = (block + 1) * per_block;
        for (std::ptrdiff_t i = block * per_block; i < (end < job.samples ? end : job.samples); ++i) {
            CircleRow row(job, i);
            job.losses[i] = row.run();
            if (job.factors != nullptr) row.differentiate(job.factors[i]);
        }
    });
}

}  // namespace omniloss::OMNILOSS_LEVEL
