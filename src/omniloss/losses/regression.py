"""Regression losses of the Keras dialect: targets and predictions are real numbers."""

from __future__ import annotations

from typing import Any

from omniloss import formulas
from omniloss.configuration import config
from omniloss.description import Call, Plan
from omniloss.execution import loss_function
from omniloss.losses.base import LossFunctionWrapper
from omniloss.losses.checks import checked_number

__all__ = [
    "MAE",
    "MAPE",
    "MSE",
    "MSLE",
    "Huber",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "huber",
    "log_cosh",
    "logcosh",
    "mae",
    "mape",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "mse",
    "msle",
]


@loss_function
def mean_squared_error(y_true: Any, y_pred: Any) -> Call:
    """The mean of the squared errors along the last axis: ``mean((y_true - y_pred)**2)``.

    Good for errors of one size, whose mean it fits; bad with outliers, since the gradient grows with
    the error.

    Args:
        y_true: Targets, any real numbers, of shape ``(batch, ..., n)``.
        y_pred: Predictions of the same shape.

    Returns:
        One loss for each row, of shape ``(batch, ...)`` and the predictions' dtype.

    Raises:
        ValueError, TypeError: The arrays do not fit; see `omniloss.losses`.

    Source: C. F. Gauss, Theoria combinationis observationum (1823); `keras.losses.mean_squared_error`.

    >>> from omniloss import losses
    >>> losses.mean_squared_error([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]])
    array([0.5, 0.5], dtype=float32)
    """
    return Call(Plan(formulas.squared_error), y_true, y_pred)


mse = MSE = mean_squared_error


class MeanSquaredError(LossFunctionWrapper):
    """``mean((y_true - y_pred)**2)``: `mean_squared_error` as a loss object.

    Args:
        reduction, name, dtype: See `Loss`, as for weights and masks.

    >>> from omniloss import losses
    >>> losses.MeanSquaredError()([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [3.0, 0.0]])
    np.float32(2.5)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_squared_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_squared_error, reduction=reduction, name=name, dtype=dtype)


@loss_function
def mean_absolute_error(y_true: Any, y_pred: Any) -> Call:
    """The mean of the absolute errors along the last axis: ``mean(|y_true - y_pred|)``.

    Good with outliers, since the gradient has one size and the fit is the median; bad near the target,
    where the gradient does not shrink. At an error of 0 the gradient is 0.

    Args:
        y_true: Targets, any real numbers, of shape ``(batch, ..., n)``.
        y_pred: Predictions of the same shape.

    Returns:
        One loss for each row, of shape ``(batch, ...)`` and the predictions' dtype.

    Raises:
        ValueError, TypeError: The arrays do not fit; see `omniloss.losses`.

    Source: P.-S. Laplace, Memoire sur la probabilite des causes (1774); `keras.losses.mean_absolute_error`.

    >>> from omniloss import losses
    >>> losses.mean_absolute_error([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [3.0, 0.0]])
    array([0.5, 1.5], dtype=float32)
    """
    return Call(Plan(formulas.absolute_error), y_true, y_pred)


mae = MAE = mean_absolute_error


class MeanAbsoluteError(LossFunctionWrapper):
    """``mean(|y_true - y_pred|)``: `mean_absolute_error` as a loss object.

    Args:
        reduction, name, dtype: See `Loss`, as for weights and masks.

    >>> from omniloss import losses
    >>> losses.MeanAbsoluteError(reduction="sum")([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [3.0, 0.0]])
    np.float32(2.0)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_absolute_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_absolute_error, reduction=reduction, name=name, dtype=dtype)


@loss_function
def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Call:
    """The mean relative error in percent: ``100 * mean(|y_true - y_pred| / max(|y_true|, epsilon))``.

    Good for positive targets of several orders of magnitude; bad near targets of 0, where it explodes
    (with ``config.epsilon()``, the least denominator, at 0 to infinity), and it favours predictions
    that are too low.

    Args:
        y_true: Targets, any real numbers, of shape ``(batch, ..., n)``.
        y_pred: Predictions of the same shape.

    Returns:
        One loss for each row, of shape ``(batch, ...)`` and the predictions' dtype.

    Raises:
        ValueError, TypeError: The arrays do not fit; see `omniloss.losses`.

    Source: `keras.losses.mean_absolute_percentage_error`; on its bias C. Tofallis, J. Oper. Res. Soc. 66 (2015).

    >>> from omniloss import losses
    >>> losses.mean_absolute_percentage_error([[100.0, 50.0]], [[75.0, 50.0]])
    array([12.5], dtype=float32)
    """
    plan = Plan(formulas.absolute_percentage_error, (config.epsilon(),))
    return Call(plan, y_true, y_pred)


mape = MAPE = mean_absolute_percentage_error


class MeanAbsolutePercentageError(LossFunctionWrapper):
    """``100 * mean(|(y_true - y_pred) / y_true|)``: `mean_absolute_percentage_error` as a loss object.

    Args:
        reduction, name, dtype: See `Loss`, as for weights and masks.

    >>> from omniloss import losses
    >>> losses.MeanAbsolutePercentageError()([[4.0], [8.0]], [[5.0], [8.0]])
    np.float32(12.5)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_absolute_percentage_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            mean_absolute_percentage_error, reduction=reduction, name=name, dtype=dtype
        )


@loss_function
def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Call:
    """The mean squared difference of logarithms: ``mean((log(1 + y_true) - log(1 + y_pred))**2)``.

    Good for counts and prices, where ratios matter; bad for negative numbers, which count as
    ``config.epsilon()`` on both sides (at an epsilon of 0 nothing is clipped, and below -1 it is NaN).

    Args:
        y_true: Targets, meant to be >= 0, of shape ``(batch, ..., n)``.
        y_pred: Predictions of the same shape.

    Returns:
        One loss for each row, of shape ``(batch, ...)`` and the predictions' dtype.

    Raises:
        ValueError, TypeError: The arrays do not fit; see `omniloss.losses`.

    Source: `keras.losses.mean_squared_logarithmic_error`.

    >>> from omniloss import losses
    >>> losses.mean_squared_logarithmic_error([[0.0, 3.0]], [[1.0, 3.0]]).round(4)
    array([0.2402], dtype=float32)
    """
    plan = Plan(formulas.squared_logarithmic_error, (config.epsilon(),))
    return Call(plan, y_true, y_pred)


msle = MSLE = mean_squared_logarithmic_error


class MeanSquaredLogarithmicError(LossFunctionWrapper):
    """``mean((log(1 + y_true) - log(1 + y_pred))**2)``: `mean_squared_logarithmic_error` as a loss object.

    Args:
        reduction, name, dtype: See `Loss`, as for weights and masks.

    >>> from omniloss import losses
    >>> losses.MeanSquaredLogarithmicError()([[3.0, 1.0]], [[1.0, 1.0]]).round(4)
    np.float32(0.2402)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_squared_logarithmic_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            mean_squared_logarithmic_error, reduction=reduction, name=name, dtype=dtype
        )


@loss_function
def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Call:
    """Huber's loss of the errors, quadratic up to ``delta`` and linear beyond, averaged along the last axis.

    With ``e = |y_true - y_pred|`` it is ``mean(e**2 / 2 if e <= delta else delta * e - delta**2 / 2)``.
    Good with outliers and smooth at the target; bad without an idea of the errors' size, which ``delta``
    needs.

    Args:
        y_true: Targets, any real numbers, of shape ``(batch, ..., n)``.
        y_pred: Predictions of the same shape.
        delta: Where the loss turns from quadratic to linear, in the targets' unit, a number > 0.

    Returns:
        One loss for each row, of shape ``(batch, ...)`` and the predictions' dtype.

    Raises:
        ValueError, TypeError: ``delta`` is not a number > 0, or the arrays do not fit; see
            `omniloss.losses`.

    Source: P. J. Huber, Annals of Mathematical Statistics 35 (1964); `keras.losses.huber`.

    >>> from omniloss import losses
    >>> losses.huber([[0.0, 0.0]], [[1.0, 5.0]], delta=2.0)
    array([4.25], dtype=float32)
    """
    delta = checked_number("delta", delta, 0.0, above=True)
    return Call(Plan(formulas.huber, (delta,)), y_true, y_pred)


class Huber(LossFunctionWrapper):
    """Quadratic up to ``delta``, linear beyond: `huber` as a loss object.

    Args:
        delta: Where the loss turns from quadratic to linear, a number > 0.
        reduction, name, dtype: See `Loss`, as for weights and masks.

    Keras 3.15.1 leaves ``delta`` out of its configuration; here it is kept.

    >>> from omniloss import losses
    >>> losses.Huber(delta=2.0)([[0.0, 0.0]], [[1.0, 5.0]])
    np.float32(4.25)
    """

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(huber, reduction=reduction, name=name, dtype=dtype, delta=delta)


@loss_function
def log_cosh(y_true: Any, y_pred: Any) -> Call:
    """The mean logarithm of the errors' hyperbolic cosine: ``mean(log(cosh(y_pred - y_true)))``.

    Good as a Huber loss that is smooth everywhere: about ``e**2 / 2`` for small errors and ``|e| - log 2``
    for large ones; bad where the turning point ought to be elsewhere than at errors of about 1.

    Args:
        y_true: Targets, any real numbers, of shape ``(batch, ..., n)``.
        y_pred: Predictions of the same shape.

    Returns:
        One loss for each row, of shape ``(batch, ...)`` and the predictions' dtype. Small errors keep
        their digits, which Keras loses.

    Raises:
        ValueError, TypeError: The arrays do not fit; see `omniloss.losses`.

    Source: P. J. Green, IEEE Transactions on Medical Imaging 9 (1990); `keras.losses.log_cosh`.

    >>> from omniloss import losses
    >>> losses.log_cosh([[0.0, 0.0]], [[1.0, 0.0]]).round(4)
    array([0.2169], dtype=float32)
    """
    return Call(Plan(formulas.log_cosh), y_true, y_pred)


logcosh = log_cosh


class LogCosh(LossFunctionWrapper):
    """``mean(log(cosh(y_pred - y_true)))``: `log_cosh` as a loss object.

    Args:
        reduction, name, dtype: See `Loss`, as for weights and masks.

    >>> from omniloss import losses
    >>> losses.LogCosh()([[0.0, 0.0]], [[1.0, 0.0]]).round(4)
    np.float32(0.2169)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "log_cosh",
        dtype: Any = None,
    ) -> None:
        super().__init__(log_cosh, reduction=reduction, name=name, dtype=dtype)
