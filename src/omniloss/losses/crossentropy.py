"""Cross-entropies over classes in the Keras dialect: predictions are probabilities or logits.

A logit is the number before the softmax. Losses from logits are exact; losses from probabilities keep these
``config.epsilon()`` away from 0 and 1, as Keras does, which an epsilon of 0 turns off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniloss import formulas
from omniloss.configuration import config
from omniloss.description import Call, Plan
from omniloss.execution import loss_function
from omniloss.keras_objects import behind
from omniloss.losses.base import LossFunctionWrapper
from omniloss.losses.checks import (
    checked_axis,
    checked_flag,
    checked_integer,
    checked_number,
    checked_numbers,
)

__all__ = [
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "SparseCategoricalCrossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "sparse_categorical_crossentropy",
]

PROBABILITIES = " (probabilities; pass from_logits=True if these are logits)"


@loss_function
def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Call:
    """The negative log-likelihood of one class among several: ``-sum(y_true * log(y_pred))`` along ``axis``.

    Good for exclusive classes and calibrated probabilities; bad with wrong labels, whose loss has no bound.

    Args:
        y_true: One-hot rows or distributions along ``axis``.
        y_pred: Probabilities >= 0, which are divided by their sum along ``axis``, or logits; of the same
            shape.
        from_logits: Whether ``y_pred`` holds logits.
        label_smoothing: A number s in [0, 1]: labels become ``y_true * (1 - s) + s / classes``, where Keras
            3.15.1 divides by the size of the last axis whatever ``axis`` is.
        axis: Along which the classes lie.

    Returns:
        One loss for each row: the predictions' shape without ``axis``, and their dtype.

    Raises:
        ValueError, TypeError: An option is out of range, a probability is negative, there is no class, or
            the arrays do not fit; see `omniloss.losses`.

    Warns:
        SyntaxWarning: There is one class only.

    Source: I. J. Good, J. Royal Statistical Society B 14 (1952); `keras.losses.categorical_crossentropy`.

    >>> from omniloss import losses
    >>> losses.categorical_crossentropy([[0, 1, 0], [0, 0, 1]], [[1.0, 2.0, 1.0], [0.1, 0.1, 0.8]]).round(4)
    array([0.6931, 0.2231], dtype=float32)
    """
    options: dict[str, Any] = {
        "axis": checked_axis(axis),
        "smoothing": checked_number("label_smoothing", label_smoothing, 0.0, 1.0),
        "several_classes": "categorical_crossentropy",
    }
    y_pred, from_logits = behind(y_pred, checked_flag("from_logits", from_logits), "Softmax")
    if from_logits:
        plan = Plan(formulas.categorical_crossentropy_with_logits, **options)
    else:
        parameters = (config.epsilon(),)
        plan = Plan(formulas.categorical_crossentropy, parameters, hint=PROBABILITIES, **options)
    return Call(plan, y_true, y_pred)


class CategoricalCrossentropy(LossFunctionWrapper):
    """``-sum(y_true * log(y_pred))``: `categorical_crossentropy` as a loss object.

    Args:
        from_logits: Whether ``y_pred`` holds logits.
        label_smoothing: A number s in [0, 1]: labels become ``y_true * (1 - s) + s / classes``.
        axis: Along which the classes lie.
        reduction, name, dtype: See `Loss`, as for weights and masks.

    >>> from omniloss import losses
    >>> loss = losses.CategoricalCrossentropy(from_logits=True)
    >>> loss([[0, 1, 0]], [[0.0, 50.0, 0.0]])  # 2 exp(-50)
    np.float32(3.8574998e-22)
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            categorical_crossentropy,
            reduction=reduction,
            name=name,
            dtype=dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


@loss_function
def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Call:
    """Categorical cross-entropy with less weight on easy examples, along ``axis``.

    ``-sum(alpha * (1 - q)**gamma * y_true * log(q))``, where ``q`` are the probabilities, divided by their
    sum. Good for classes of very unequal frequency; bad for calibrated probabilities.

    Args:
        y_true, y_pred, from_logits, label_smoothing, axis: As for `categorical_crossentropy`, but
            probabilities lie in [0, 1].
        alpha: The weight of all classes, a number >= 0, or a list of one for each class.
        gamma: How strongly easy examples are weighted down, a number >= 0; 0 gives
            ``alpha * categorical_crossentropy``.

    Returns:
        One loss for each row: the predictions' shape without ``axis``, and their dtype. By the native core it
        and its gradient are right to 4 units in the last place of almost any row, and to 6 of the worst, for
        ``gamma`` up to 20; without the core ``2 * gamma`` more may be lost (measured against mpmath).

    Raises:
        ValueError, TypeError: As for `categorical_crossentropy`, or ``alpha`` has another length than the
            classes.

    Warns:
        SyntaxWarning: There is one class only.

    Source: T.-Y. Lin et al., Focal Loss for Dense Object Detection, arXiv:1708.02002;
    `keras.losses.categorical_focal_crossentropy`.

    >>> from omniloss import losses
    >>> losses.categorical_focal_crossentropy([[0, 1, 0]], [[0.25, 0.5, 0.25]]).round(4)
    array([0.0433], dtype=float32)
    """
    by_class = checked_numbers("alpha", alpha, 0.0)
    parameters = (
        config.epsilon(),
        by_class if isinstance(by_class, float) else 1.0,
        checked_number("gamma", gamma, 0.0),
    )
    options: dict[str, Any] = {
        "axis": checked_axis(axis),
        "smoothing": checked_number("label_smoothing", label_smoothing, 0.0, 1.0),
        "class_factors": () if isinstance(by_class, float) else by_class,
        "several_classes": "categorical_focal_crossentropy",
    }
    if checked_flag("from_logits", from_logits):
        plan = Plan(formulas.categorical_focal_crossentropy_with_logits, parameters, **options)
    else:
        plan = Plan(
            formulas.categorical_focal_crossentropy, parameters, hint=PROBABILITIES, **options
        )
    return Call(plan, y_true, y_pred)


class CategoricalFocalCrossentropy(LossFunctionWrapper):
    """``-sum(alpha * (1 - q)**gamma * y_true * log(q))``: `categorical_focal_crossentropy` as a loss object.

    Args:
        alpha: The weight of all classes, a number >= 0, or a list of one for each class.
        gamma: How strongly easy examples are weighted down, a number >= 0.
        from_logits, label_smoothing, axis: As for `CategoricalCrossentropy`.
        reduction, name, dtype: See `Loss`, as for weights and masks.

    >>> from omniloss import losses
    >>> losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=1.0)([[0, 1, 0]], [[0.25, 0.5, 0.25]]).round(4)
    np.float32(0.3466)
    """

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            categorical_focal_crossentropy,
            reduction=reduction,
            name=name,
            dtype=dtype,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


@loss_function
def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Call:
    """`categorical_crossentropy` with class indices for labels: ``-log(y_pred[y_true])`` along ``axis``.

    Good for many classes, which need no one-hot rows; bad with wrong labels, whose loss has no bound.

    Args:
        y_true: Class indices, integers in [0, classes), which floats may hold, of the predictions' shape
            without ``axis``; an axis of size 1 may stand in its place, or last.
        y_pred: Probabilities >= 0, which are divided by their sum along ``axis``, or logits.
        from_logits: Whether ``y_pred`` holds logits.
        ignore_class: A label, in range or not (-1 or 255, say), whose rows have the loss 0 and are left
            out of a loss object's means.
        axis: Along which the classes lie; any axis on every framework.

    Returns:
        One loss for each row: the predictions' shape without ``axis``, and their dtype.

    Raises:
        ValueError, TypeError: An option is out of range, a label is no class, a probability is negative, or
            the arrays do not fit; see `omniloss.losses`.

    Source: I. J. Good, J. Royal Statistical Society B 14 (1952);
    `keras.losses.sparse_categorical_crossentropy`.

    >>> from omniloss import losses
    >>> losses.sparse_categorical_crossentropy([1, 2], [[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]]).round(4)
    array([0.6931, 1.3863], dtype=float32)
    """
    options: dict[str, Any] = {
        "axis": checked_axis(axis),
        "ignore": None if ignore_class is None else checked_integer("ignore_class", ignore_class),
    }
    y_pred, from_logits = behind(y_pred, checked_flag("from_logits", from_logits), "Softmax")
    if from_logits:
        plan = Plan(formulas.sparse_categorical_crossentropy_with_logits, **options)
    else:
        parameters = (config.epsilon(),)
        plan = Plan(
            formulas.sparse_categorical_crossentropy, parameters, hint=PROBABILITIES, **options
        )
    return Call(plan, y_true, y_pred)


class SparseCategoricalCrossentropy(LossFunctionWrapper):
    """``-log(y_pred[y_true])``: `sparse_categorical_crossentropy` as a loss object.

    Args:
        from_logits: Whether ``y_pred`` holds logits.
        ignore_class: A label whose rows count as masked.
        axis: Along which the classes lie.
        reduction, name, dtype: See `Loss`, as for weights and masks.

    Keras 3.15.1 leaves ``axis`` out of its configuration; here it is kept.

    >>> from omniloss import losses
    >>> loss = losses.SparseCategoricalCrossentropy(ignore_class=-1)
    >>> loss([1, -1], [[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]]).round(4)
    np.float32(0.6931)
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            sparse_categorical_crossentropy,
            reduction=reduction,
            name=name,
            dtype=dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )
