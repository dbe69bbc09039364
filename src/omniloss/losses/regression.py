"""Regression losses of the Keras dialect."""

from __future__ import annotations

from typing import Any

from omniloss import formulas
from omniloss.execution import Call, Plan, loss_function
from omniloss.losses.base import LossFunctionWrapper
from omniloss.losses.checks import checked_number

__all__ = ["Huber", "MeanSquaredError", "huber", "mean_squared_error"]


@loss_function
def mean_squared_error(y_true: Any, y_pred: Any) -> Call:
    """The mean of the squared errors along the last axis: ``mean((y_true - y_pred)**2)``.

    >>> from omniloss import losses
    >>> losses.mean_squared_error([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]])
    array([0.5, 0.5], dtype=float32)
    """
    return Call(Plan(formulas.squared_error), y_true, y_pred)


class MeanSquaredError(LossFunctionWrapper):
    """`mean_squared_error` as a loss object."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_squared_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_squared_error, reduction=reduction, name=name, dtype=dtype)


@loss_function
def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Call:
    """Huber's loss of the errors, averaged along the last axis."""
    delta = checked_number("delta", delta, 0.0, above=True)
    return Call(Plan(formulas.huber, (delta,)), y_true, y_pred)


class Huber(LossFunctionWrapper):
    """`huber` as a loss object."""

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(huber, reduction=reduction, name=name, dtype=dtype, delta=delta)
