"""The mathematics of every loss, written once in the Python array API."""

from omniloss.formulas.crossentropy import (
    binary_crossentropy,
    binary_crossentropy_with_logits,
    binary_focal_crossentropy,
    binary_focal_crossentropy_with_logits,
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
    pointwise,
    rowwise,
)
from omniloss.formulas.divergence import kl_divergence, poisson
from omniloss.formulas.margin import categorical_hinge, hinge, squared_hinge
from omniloss.formulas.regression import (
    absolute_error,
    absolute_percentage_error,
    huber,
    log_cosh,
    squared_error,
    squared_logarithmic_error,
)
from omniloss.formulas.similarity import cosine_similarity

__all__ = [
    "ANY",
    "FORMULAS",
    "NON_NEGATIVE",
    "PROBABILITY",
    "Formula",
    "Interval",
    "absolute_error",
    "absolute_percentage_error",
    "binary_crossentropy",
    "binary_crossentropy_with_logits",
    "binary_focal_crossentropy",
    "binary_focal_crossentropy_with_logits",
    "categorical_crossentropy",
    "categorical_crossentropy_with_logits",
    "categorical_focal_crossentropy",
    "categorical_focal_crossentropy_with_logits",
    "categorical_hinge",
    "cosine_similarity",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "pointwise",
    "poisson",
    "rowwise",
    "sparse_categorical_crossentropy",
    "sparse_categorical_crossentropy_with_logits",
    "squared_error",
    "squared_hinge",
    "squared_logarithmic_error",
]

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
    )
}
