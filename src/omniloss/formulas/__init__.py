"""The mathematics of every loss, written once in the Python array API."""

from omniloss.formulas.binary import (
    binary_crossentropy,
    binary_crossentropy_with_logits,
    binary_focal_crossentropy,
    binary_focal_crossentropy_with_logits,
)
from omniloss.formulas.crossentropy import (
    categorical_crossentropy,
    categorical_crossentropy_with_logits,
    categorical_focal_crossentropy,
    categorical_focal_crossentropy_with_logits,
    sparse_categorical_crossentropy,
    sparse_categorical_crossentropy_with_logits,
)
from omniloss.formulas.definition import (
    ANY,
    NON_NEGATIVE,
    PROBABILITY,
    Formula,
    Interval,
    Other,
    pointwise,
    rowwise,
)
from omniloss.formulas.divergence import (
    kl_divergence,
    kl_divergence_between_logs,
    kl_divergence_of_logs,
    poisson,
    poisson_of_logs,
    poisson_with_stirling,
)
from omniloss.formulas.generalized import generalized_crossentropy
from omniloss.formulas.likelihood import (
    binary_crossentropy_of_clamped_logs,
    multilabel_soft_margin,
    negative_log_likelihood,
    weighted_binary_crossentropy_with_logits,
    weighted_categorical_crossentropy_with_logits,
)
from omniloss.formulas.margin import (
    categorical_hinge,
    distance_margin,
    hinge,
    hinge_embedding,
    margin_ranking,
    multi_margin,
    multilabel_margin,
    soft_margin,
    squared_hinge,
)
from omniloss.formulas.overlap import tversky
from omniloss.formulas.ranking import circle
from omniloss.formulas.regression import (
    absolute_error,
    absolute_percentage_error,
    gaussian_nll,
    huber,
    log_cosh,
    smooth_l1,
    squared_error,
    squared_logarithmic_error,
)
from omniloss.formulas.sequence import (
    connectionist_temporal_classification,
    connectionist_temporal_classification_with_logits,
)
from omniloss.formulas.similarity import cosine_embedding, cosine_similarity, triplet_margin

__all__ = [
    "ANY",
    "FORMULAS",
    "FORMULAS_OF_MORE",
    "NON_NEGATIVE",
    "PROBABILITY",
    "Formula",
    "Interval",
    "Other",
    "absolute_error",
    "absolute_percentage_error",
    "binary_crossentropy",
    "binary_crossentropy_of_clamped_logs",
    "binary_crossentropy_with_logits",
    "binary_focal_crossentropy",
    "binary_focal_crossentropy_with_logits",
    "categorical_crossentropy",
    "categorical_crossentropy_with_logits",
    "categorical_focal_crossentropy",
    "categorical_focal_crossentropy_with_logits",
    "categorical_hinge",
    "circle",
    "connectionist_temporal_classification",
    "connectionist_temporal_classification_with_logits",
    "cosine_embedding",
    "cosine_similarity",
    "distance_margin",
    "gaussian_nll",
    "generalized_crossentropy",
    "hinge",
    "hinge_embedding",
    "huber",
    "kl_divergence",
    "kl_divergence_between_logs",
    "kl_divergence_of_logs",
    "log_cosh",
    "margin_ranking",
    "multi_margin",
    "multilabel_margin",
    "multilabel_soft_margin",
    "negative_log_likelihood",
    "pointwise",
    "poisson",
    "poisson_of_logs",
    "poisson_with_stirling",
    "rowwise",
    "smooth_l1",
    "soft_margin",
    "sparse_categorical_crossentropy",
    "sparse_categorical_crossentropy_with_logits",
    "squared_error",
    "squared_hinge",
    "squared_logarithmic_error",
    "triplet_margin",
    "tversky",
    "weighted_binary_crossentropy_with_logits",
    "weighted_categorical_crossentropy_with_logits",
]

# The formulas of targets and predictions.
FORMULAS: dict[str, Formula] = {
    formula.name: formula
    for formula in (
        squared_error,
        absolute_error,
        log_cosh,
        huber,
        absolute_percentage_error,
        squared_logarithmic_error,
        kl_divergence,
        poisson,
        hinge,
        squared_hinge,
        binary_crossentropy,
        binary_crossentropy_with_logits,
        binary_focal_crossentropy,
        binary_focal_crossentropy_with_logits,
        categorical_crossentropy,
        categorical_crossentropy_with_logits,
        sparse_categorical_crossentropy,
        sparse_categorical_crossentropy_with_logits,
        categorical_focal_crossentropy,
        categorical_focal_crossentropy_with_logits,
        categorical_hinge,
        cosine_similarity,
        smooth_l1,
        kl_divergence_of_logs,
        kl_divergence_between_logs,
        poisson_with_stirling,
        poisson_of_logs,
        binary_crossentropy_of_clamped_logs,
        negative_log_likelihood,
        soft_margin,
        hinge_embedding,
        multi_margin,
        multilabel_margin,
        generalized_crossentropy,
        tversky,
    )
}

# The formulas of more arrays than targets and predictions.
FORMULAS_OF_MORE: dict[str, Formula] = {
    formula.name: formula
    for formula in (
        gaussian_nll,
        margin_ranking,
        weighted_binary_crossentropy_with_logits,
        weighted_categorical_crossentropy_with_logits,
        multilabel_soft_margin,
        cosine_embedding,
        triplet_margin,
        distance_margin,
    )
}
