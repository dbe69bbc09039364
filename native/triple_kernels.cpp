// The kernels of the losses of three arrays, compiled once for each instruction set.
#include "triple_kernels.hpp"

#include "triples.hpp"

namespace omniloss::OMNILOSS_LEVEL {

// Of the last array's labels there is no derivative.
constexpr TripleKernel triple_kernels[triple_kernel_count] = {
    {"margin_ranking", 1, true, 3, run_triple_elements<float, margin_ranking<float>>,
     run_triple_elements<double, margin_ranking<double>>},
    {"gaussian_nll", 2, true, 3, run_triple_elements<float, gaussian_nll<float>>,
     run_triple_elements<double, gaussian_nll<double>>},
    {"triplet_margin", 4, false, 3, run_triple_rows<float, triplet_margin>,
     run_triple_rows<double, triplet_margin>},
    {"cosine_embedding", 2, false, 2, run_triple_rows<float, cosine_embedding>,
     run_triple_rows<double, cosine_embedding>},
};

}  // namespace omniloss::OMNILOSS_LEVEL
