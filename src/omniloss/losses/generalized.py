"""Losses of the Keras dialect that lie between cross-entropy and absolute error."""

from __future__ import annotations

from typing import Any

from omniloss import formulas
from omniloss.description import Call, Plan
from omniloss.execution import loss_function
from omniloss.losses.base import LossFunctionWrapper
from omniloss.losses.checks import checked_number

__all__ = ["CategoricalGeneralizedCrossEntropy", "categorical_generalized_cross_entropy"]


@loss_function
def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> Call:
    """Cross-entropy with a bound: ``(1 - p**q) / q``, where p is the probability of the class ``y_true``.

    Good with wrong labels, since no loss is above ``1 / q``; bad for probabilities near 0 in the right class,
    which it hardly moves when ``q`` is near 1. Towards ``q`` = 0 it becomes the cross-entropy ``-log(p)``,
    towards 1 the absolute error ``1 - p``.

    Args:
        y_true: Class indices, integers in [0, classes), which floats may hold, of the predictions' shape
            without their last axis, or with one of size 1 in its place.
        y_pred: Probabilities in [0, 1] along the last axis, which are not divided by their sum.
        q: How far it is from the cross-entropy, a number in (0, 1).

    Returns:
        One loss for each row: the predictions' shape without the last axis, and their dtype. The gradient
        of a probability of 0 is infinite, as its limit is.

    Raises:
        ValueError, TypeError: ``q`` is out of range, a label is no class, a probability is outside of
            [0, 1], or the arrays do not fit; see `omniloss.losses`. Keras 3.15.1 gives a label out of range the
            loss ``1 / q``, and does not take labels of shape (rows, 1), as it says.

    Source: Z. Zhang and M. R. Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
    Labels, arXiv:1805.07836; `keras.losses.categorical_generalized_cross_entropy`.

    >>> from omniloss import losses
    >>> losses.categorical_generalized_cross_entropy([0, 1], [[0.25, 0.75], [0.0, 1.0]], q=0.5)
    array([1., 0.], dtype=float32)
    """
    plan = Plan(
        formulas.generalized_crossentropy,
        (checked_number("q", q, 0.0, 1.0, above=True, below=True),),
        hint=" (probabilities)",
    )
    return Call(plan, y_true, y_pred)


class CategoricalGeneralizedCrossEntropy(LossFunctionWrapper):
    """``(1 - p**q) / q``: `categorical_generalized_cross_entropy` as a loss object.

    Args:
        q: How far it is from the cross-entropy, a number in (0, 1).
        reduction, name, dtype: See `Loss`, as for weights and masks.

    >>> from omniloss import losses
    >>> losses.CategoricalGeneralizedCrossEntropy()([0, 1], [[0.25, 0.75], [0.0, 1.0]])
    np.float32(0.5)
    """

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_generalized_cross_entropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            categorical_generalized_cross_entropy,
            reduction=reduction,
            name=name,
            dtype=dtype,
            q=q,
        )
