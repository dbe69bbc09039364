"""Similarities of the Keras dialect: targets and predictions are vectors whose directions count."""

from __future__ import annotations

from typing import Any

from omniloss import formulas
from omniloss.configuration import config
from omniloss.description import Call, Plan
from omniloss.execution import loss_function
from omniloss.losses.base import LossFunctionWrapper
from omniloss.losses.checks import checked_axis

__all__ = ["CosineSimilarity", "cosine", "cosine_proximity", "cosine_similarity"]


@loss_function
def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Call:
    """The negative cosine of the angle between vectors: ``-sum(y_true * y_pred) / (|y_true| * |y_pred|)``.

    Good where direction counts and length does not; bad near zero vectors, where the gradient is large.
    It lies between -1, the same direction, and 1; orthogonal vectors give 0, and so does a zero vector on
    either side. A norm below ``config.epsilon()`` counts as epsilon.

    Args:
        y_true: Vectors along ``axis``, any real numbers.
        y_pred: Vectors of the same shape.
        axis: Along which the vectors lie.

    Returns:
        One similarity for each vector: the predictions' shape without ``axis``, and their dtype. That of
        nearly orthogonal vectors, and the gradient of nearly parallel ones, is right to 3 units in the last
        place relative to the size of the terms of its sum (measured against mpmath), not to its own.

    Raises:
        ValueError, TypeError: ``axis`` is not an axis of the arrays, or they do not fit; see
            `omniloss.losses`.

    Source: `keras.losses.cosine_similarity`.

    >>> from omniloss import losses
    >>> losses.cosine_similarity([[3.0, 4.0], [0.0, 2.0]], [[6.0, 8.0], [5.0, 0.0]])
    array([-1., -0.], dtype=float32)
    """
    plan = Plan(formulas.cosine_similarity, (config.epsilon(),), axis=checked_axis(axis))
    return Call(plan, y_true, y_pred)


# The names of Keras 2.2.
cosine = cosine_proximity = cosine_similarity


class CosineSimilarity(LossFunctionWrapper):
    """The negative cosine between vectors: `cosine_similarity` as a loss object.

    Args:
        axis: Along which the vectors lie.
        reduction, name, dtype: See `Loss`, as for weights and masks.

    Keras 3.15.1 leaves ``axis`` out of its configuration; here it is kept.

    >>> from omniloss import losses
    >>> losses.CosineSimilarity(axis=0)([[3.0, 0.0], [4.0, 2.0]], [[6.0, 5.0], [8.0, 0.0]])
    np.float32(-0.5)
    """

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "cosine_similarity",
        dtype: Any = None,
    ) -> None:
        super().__init__(cosine_similarity, reduction=reduction, name=name, dtype=dtype, axis=axis)
