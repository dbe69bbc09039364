// The kernels of the row losses, compiled once for each instruction set.
#include "row_kernels.hpp"

#include "generalized.hpp"
#include "label_sets.hpp"
#include "overlap.hpp"
#include "row_loops.hpp"
#include "rowwise.hpp"

namespace omniloss::OMNILOSS_LEVEL {
namespace {

template <class Loss> constexpr RowKernel row_kernel(const char* name, int parameters) {
    return {name, parameters, !Loss::dense, run_rows<Loss, float>, run_rows<Loss, double>};
}

}  // namespace

constexpr RowKernel row_kernels[row_kernel_count] = {
    row_kernel<categorical_crossentropy>("categorical_crossentropy", 1),
    row_kernel<categorical_crossentropy_with_logits>("categorical_crossentropy_with_logits", 0),
    row_kernel<sparse_categorical_crossentropy>("sparse_categorical_crossentropy", 1),
    row_kernel<sparse_categorical_crossentropy_with_logits>(
        "sparse_categorical_crossentropy_with_logits", 0),
    row_kernel<categorical_focal_crossentropy>("categorical_focal_crossentropy", 3),
    row_kernel<categorical_focal_crossentropy_with_logits>(
        "categorical_focal_crossentropy_with_logits", 3),
    row_kernel<categorical_hinge>("categorical_hinge", 0),
    row_kernel<cosine_similarity>("cosine_similarity", 1),
    row_kernel<negative_log_likelihood>("negative_log_likelihood", 0),
    row_kernel<multi_margin>("multi_margin", 2),
    row_kernel<generalized_crossentropy>("generalized_crossentropy", 1),
    {"tversky", 3, false, run_tversky<float>, run_tversky<double>},
    {"multilabel_margin", 0, false, run_multilabel_margin<float>, run_multilabel_margin<double>},
};

}  // namespace omniloss::OMNILOSS_LEVEL
