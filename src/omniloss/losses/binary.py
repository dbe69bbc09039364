"""Cross-entropies of yes-or-no labels in the Keras dialect: predictions are probabilities or logits.

A logit is the number before the sigmoid. Losses from logits are exact; losses from probabilities keep these
``config.epsilon()`` away from 0 and 1, as Keras does, which an epsilon of 0 turns off.
"""

from __future__ import annotations

import math
from typing import Any

from omniloss import formulas
from omniloss.configuration import config
from omniloss.description import Call, Plan
from omniloss.execution import loss_function
from omniloss.keras_objects import behind
from omniloss.losses.base import LossFunctionWrapper
from omniloss.losses.checks import checked_axis, checked_flag, checked_number
from omniloss.losses.crossentropy import PROBABILITIES

__all__ = [
    "BCE",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "bce",
    "binary_crossentropy",
    "binary_focal_crossentropy",
]


@loss_function
def binary_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Call:
    """The mean negative log-likelihood of yes-or-no labels, along ``axis``.

    ``mean(-(y_true * log(y_pred) + (1 - y_true) * log(1 - y_pred)))``; a logit stands for the probability
    ``1 / (1 + exp(-y_pred))``. Good for independent labels and calibrated probabilities; bad with wrong
    labels, whose loss has no bound.

    Args:
        y_true: Labels 0 or 1, or probabilities in [0, 1], of shape ``(batch, ..., n)``.
        y_pred: Probabilities in [0, 1], or logits, of the same shape.
        from_logits: Whether ``y_pred`` holds logits.
        label_smoothing: A number s in [0, 1]: labels become ``y_true * (1 - s) + s / 2``.
        axis: Along which the mean is taken.

    Returns:
        One loss for each row: the predictions' shape without ``axis``, and their dtype. From logits it is
        exact, where Keras's NumPy backend clips the probability; its gradient at a soft label, a difference
        of terms that cancel near its zero, is there right to 3 units in the last place relative to the
        terms' size (measured against mpmath), not to its own. From probabilities a wrong certain
        answer costs 16.12; in float32 the bound of 1 - 1e-7 is rounded, and a wrong 1 costs 15.94, as in Keras.

    Raises:
        ValueError, TypeError: An option is out of range, a label or a probability is outside of [0, 1], or
            the arrays do not fit; see `omniloss.losses`.

    Source: I. J. Good, J. Royal Statistical Society B 14 (1952); `keras.losses.binary_crossentropy`.

    >>> from omniloss import losses
    >>> losses.binary_crossentropy([[1, 0], [1, 0]], [[0.5, 0.5], [0.25, 0.5]]).round(4)
    array([0.6931, 1.0397], dtype=float32)
    >>> print(losses.binary_crossentropy([[1]], [[20.0]], from_logits=True)[0])  # exp(-20)
    2.0611537e-09
    """
    options: dict[str, Any] = {
        "axis": checked_axis(axis),
        "smoothing": checked_number("label_smoothing", label_smoothing, 0.0, 1.0),
        "smoothing_classes": 2,
    }
    y_pred, from_logits = behind(y_pred, checked_flag("from_logits", from_logits), "Sigmoid")
    if from_logits:
        plan = Plan(formulas.binary_crossentropy_with_logits, **options)
    else:
        parameters = (config.epsilon(),)
        plan = Plan(formulas.binary_crossentropy, parameters, hint=PROBABILITIES, **options)
    return Call(plan, y_true, y_pred)


bce = BCE = binary_crossentropy


class BinaryCrossentropy(LossFunctionWrapper):
    """``mean(-(y_true * log(y_pred) + (1 - y_true) * log(1 - y_pred)))``: `binary_crossentropy` as an object.

    Args:
        from_logits: Whether ``y_pred`` holds logits.
        label_smoothing: A number s in [0, 1]: labels become ``y_true * (1 - s) + s / 2``.
        axis: Along which the mean is taken.
        reduction, name, dtype: See `Loss`, as for weights and masks.

    >>> from omniloss import losses
    >>> losses.BinaryCrossentropy(from_logits=True)([[1, 0], [1, 0]], [[0.0, 0.0], [20.0, 0.0]]).round(4)
    np.float32(0.5199)
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            binary_crossentropy,
            reduction=reduction,
            name=name,
            dtype=dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


@loss_function
def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Call:
    """Binary cross-entropy with less weight on easy examples, along ``axis``.

    ``mean((1 - q)**gamma * bce)``, where ``q = y_true * y_pred + (1 - y_true) * (1 - y_pred)`` is the
    probability of what is true; with balancing also times ``y_true * alpha + (1 - y_true) * (1 - alpha)``.
    Good for rare positives among many easy negatives; bad for calibrated probabilities.

    Args:
        y_true, y_pred, from_logits, label_smoothing, axis: As for `binary_crossentropy`.
        apply_class_balancing: Whether to weight the classes by ``alpha``.
        alpha: The weight of class 1, a number in [0, 1]; class 0 has ``1 - alpha``. Without balancing it is not used,
            and any number >= 0.
        gamma: How strongly easy examples are weighted down, a number >= 0; 0 gives `binary_crossentropy`.

    Returns:
        One loss for each row: the predictions' shape without ``axis``, and their dtype.

    Raises:
        ValueError, TypeError: As for `binary_crossentropy`.

    Source: T.-Y. Lin et al., Focal Loss for Dense Object Detection, arXiv:1708.02002;
    `keras.losses.binary_focal_crossentropy`.

    >>> from omniloss import losses
    >>> losses.binary_focal_crossentropy([[1, 0]], [[0.5, 0.5]]).round(4)
    array([0.1733], dtype=float32)
    """
    balanced = checked_flag("apply_class_balancing", apply_class_balancing)
    parameters = (
        config.epsilon(),
        checked_number("alpha", alpha, 0.0, 1.0 if balanced else math.inf),
        checked_number("gamma", gamma, 0.0),
        float(balanced),
    )
    options: dict[str, Any] = {
        "axis": checked_axis(axis),
        "smoothing": checked_number("label_smoothing", label_smoothing, 0.0, 1.0),
        "smoothing_classes": 2,
    }
    y_pred, from_logits = behind(y_pred, checked_flag("from_logits", from_logits), "Sigmoid")
    if from_logits:
        plan = Plan(formulas.binary_focal_crossentropy_with_logits, parameters, **options)
    else:
        plan = Plan(formulas.binary_focal_crossentropy, parameters, hint=PROBABILITIES, **options)
    return Call(plan, y_true, y_pred)


class BinaryFocalCrossentropy(LossFunctionWrapper):
    """``mean((1 - q)**gamma * bce)``: `binary_focal_crossentropy` as a loss object.

    Args:
        apply_class_balancing: Whether to weight the classes by ``alpha``.
        alpha: The weight of class 1, a number in [0, 1]; class 0 has ``1 - alpha``.
        gamma: How strongly easy examples are weighted down, a number >= 0.
        from_logits, label_smoothing, axis: As for `BinaryCrossentropy`.
        reduction, name, dtype: See `Loss`, as for weights and masks.

    >>> from omniloss import losses
    >>> losses.BinaryFocalCrossentropy(gamma=1.0)([[1, 0]], [[0.5, 0.5]]).round(4)
    np.float32(0.3466)
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            binary_focal_crossentropy,
            reduction=reduction,
            name=name,
            dtype=dtype,
            apply_class_balancing=apply_class_balancing,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )
