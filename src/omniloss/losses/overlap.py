"""Overlaps of the Keras dialect: how far two sets, of pixels say, are the same."""

from __future__ import annotations

from typing import Any

from omniloss import formulas
from omniloss.configuration import config
from omniloss.description import Call, Plan
from omniloss.execution import loss_function
from omniloss.losses.base import LossFunctionWrapper
from omniloss.losses.checks import checked_axes, checked_number

__all__ = ["Dice", "Tversky", "dice", "tversky"]


@loss_function
def dice(y_true: Any, y_pred: Any, axis: int | tuple[int, ...] | None = None) -> Call:
    """What two sets do not share: ``1 - 2 * sum(y_true * y_pred) / (sum(y_true) + sum(y_pred) + epsilon)``.

    Good where few elements belong to a class, as in the segmentation of images; bad for sets that may be
    empty, whose loss is 0 where the prediction is exactly so too and near 1 otherwise. Epsilon is `config.epsilon()`.

    Args:
        y_true: Memberships, 0 or 1 as a rule; any real numbers.
        y_pred: Predicted memberships of the same shape, probabilities as a rule; any real numbers.
        axis: The axes over which a set goes, an integer or a tuple of them: of images of shape (batch,
            height, width, classes) ``(1, 2, 3)`` makes a set of each sample, ``(1, 2)`` of each sample's
            classes. None makes one set of everything.

    Returns:
        One loss for each set: the predictions' shape without the axes, and their dtype. A set of nothing
        has the loss 1, as in Keras. An object's weights and mask are those of the sets, not of their elements.

    Raises:
        ValueError, TypeError: ``axis`` does not name axes of the arrays, or they do not fit; see
            `omniloss.losses`.

    `omniloss.partial` of sets within the samples adds up their losses. Of one set that goes over the
    samples, ``axis=None``, it adds up the sums of the formula, so that the result is the loss of the
    whole set; of several such sets, or with weights, it raises.

    Source: L. R. Dice, Ecology 26 (1945); `keras.losses.dice`.

    >>> from omniloss import losses
    >>> losses.dice([[0.0, 1.0], [1.0, 1.0]], [[0.0, 1.0], [0.5, 0.0]], axis=1).round(4)
    array([0. , 0.6], dtype=float32)
    """
    parameters = (config.epsilon() / 2, 0.5, 0.5)
    return Call(Plan(formulas.tversky, parameters, axes=checked_axes(axis)), y_true, y_pred)


class Dice(LossFunctionWrapper):
    """What two sets do not share: `dice` as a loss object.

    Args:
        axis: The axes over which a set goes; None makes one set of everything.
        reduction, name, dtype: See `Loss`, as for weights and masks. They are those of the sets: a
            reduction or a weight is of no effect on the elements of one.

    >>> from omniloss import losses
    >>> losses.Dice(axis=1)([[0.0, 1.0], [1.0, 1.0]], [[0.0, 1.0], [0.5, 0.0]]).round(4)
    np.float32(0.3)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "dice",
        axis: int | tuple[int, ...] | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(dice, reduction=reduction, name=name, dtype=dtype, axis=_from_json(axis))


@loss_function
def tversky(
    y_true: Any,
    y_pred: Any,
    alpha: float = 0.5,
    beta: float = 0.5,
    axis: int | tuple[int, ...] | None = None,
) -> Call:
    """`dice` with weights for both kinds of error: ``1 - shared / (shared + alpha * FP + beta * FN + epsilon)``.

    ``shared = sum(y_true * y_pred)``, false positives ``FP = sum((1 - y_true) * y_pred)``, false negatives
    ``FN = sum(y_true * (1 - y_pred))``. Good where one kind of error is worse: a lesion overlooked, say, for
    which ``beta`` is above ``alpha``. Both 1/2 give the Dice loss (with twice its epsilon), both 1 the Jaccard
    (IoU) loss.

    Args:
        y_true, y_pred, axis: As for `dice`.
        alpha: The weight of false positives, a number >= 0.
        beta: The weight of false negatives, a number >= 0.

    Returns, Raises: As `dice`; a weight that is no such number is refused too.

    Keras 3.15.1 documents the weights so, but weighs false negatives with ``alpha`` and false positives with
    ``beta``: for its numbers exchange them.

    Source: A. Tversky, Psychological Review 84 (1977); S. S. M. Salehi et al., arXiv:1706.05721; `keras.losses.tversky`.

    >>> from omniloss import losses
    >>> invented, overlooked = [1.0, 1.0], [0.0, 0.0]
    >>> losses.tversky([[1.0, 0.0]], [invented], alpha=0.25, beta=0.75).round(4)  # 1 - 1 / (1 + 0.25)
    np.float32(0.2)
    >>> losses.tversky([[1.0, 0.0]], [overlooked], alpha=0.25, beta=0.75)
    np.float32(1.0)
    """
    parameters = (
        config.epsilon(),
        checked_number("alpha", alpha, 0.0),
        checked_number("beta", beta, 0.0),
    )
    return Call(Plan(formulas.tversky, parameters, axes=checked_axes(axis)), y_true, y_pred)


class Tversky(LossFunctionWrapper):
    """`dice` with weights for both kinds of error: `tversky` as a loss object.

    Args:
        alpha: The weight of false positives, a number >= 0.
        beta: The weight of false negatives, a number >= 0.
        axis, reduction, name, dtype: As for `Dice`.

    >>> from omniloss import losses
    >>> losses.Tversky(alpha=1.0, beta=1.0)([[1.0, 0.0, 0.0]], [[1.0, 1.0, 0.0]])
    np.float32(0.5)
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "tversky",
        axis: int | tuple[int, ...] | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            tversky,
            reduction=reduction,
            name=name,
            dtype=dtype,
            alpha=alpha,
            beta=beta,
            axis=_from_json(axis),
        )


def _from_json(axis: Any) -> Any:
    """Axes as they were before JSON made a list of them."""
    return tuple(axis) if isinstance(axis, list) else axis
