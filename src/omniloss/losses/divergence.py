"""Divergences of the Keras dialect: targets and predictions are rates or distributions."""

from __future__ import annotations

from typing import Any

from omniloss import formulas
from omniloss.configuration import config
from omniloss.description import Call, Plan
from omniloss.execution import loss_function
from omniloss.losses.base import LossFunctionWrapper

__all__ = [
    "KLD",
    "KLDivergence",
    "Poisson",
    "kl_divergence",
    "kld",
    "kullback_leibler_divergence",
    "poisson",
]


@loss_function
def kl_divergence(y_true: Any, y_pred: Any) -> Call:
    """The Kullback-Leibler divergence along the last axis: ``sum(y_true * log(y_true / y_pred))``.

    Good for fitting one distribution to another, in nats, 0 where they agree; bad where predictions are 0
    and targets are not. Both are clipped to ``[config.epsilon(), 1]``; an epsilon of 0 clips nothing.

    Args:
        y_true: Distributions, numbers >= 0, of shape ``(batch, ..., n)``.
        y_pred: Distributions of the same shape, numbers >= 0. Neither is normalised here.

    Returns:
        One divergence for each row, of shape ``(batch, ...)`` and the predictions' dtype.

    Raises:
        ValueError, TypeError: A number is negative (Keras clips it), or the arrays do not fit; see
            `omniloss.losses`.

    Source: S. Kullback and R. A. Leibler, Annals of Mathematical Statistics 22 (1951);
    `keras.losses.kl_divergence`.

    >>> from omniloss import losses
    >>> losses.kl_divergence([[0.5, 0.5]], [[0.25, 0.75]]).round(4)
    array([0.1438], dtype=float32)
    """
    return Call(Plan(formulas.kl_divergence, (config.epsilon(),), row="sum"), y_true, y_pred)


kld = KLD = kullback_leibler_divergence = kl_divergence


class KLDivergence(LossFunctionWrapper):
    """``sum(y_true * log(y_true / y_pred))``: `kl_divergence` as a loss object.

    Args:
        reduction, name, dtype: See `Loss`, as for weights and masks.

    >>> from omniloss import losses
    >>> losses.KLDivergence()([[0.5, 0.5], [0.25, 0.75]], [[0.25, 0.75], [0.25, 0.75]]).round(4)
    np.float32(0.0719)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "kl_divergence",
        dtype: Any = None,
    ) -> None:
        super().__init__(kl_divergence, reduction=reduction, name=name, dtype=dtype)


@loss_function
def poisson(y_true: Any, y_pred: Any) -> Call:
    """The negative log-likelihood of counts: ``mean(y_pred - y_true * log(y_pred + epsilon))``.

    Good for counts with predicted rates; bad for rates near 0, and as a number in itself, since the
    constant ``log(y_true!)`` is left out and it can be negative. The epsilon is ``config.epsilon()``.

    Args:
        y_true: Counts, numbers >= 0, of shape ``(batch, ..., n)``.
        y_pred: Rates of the same shape, numbers >= 0 (not their logarithms).

    Returns:
        One loss for each row, of shape ``(batch, ...)`` and the predictions' dtype. Where ``y_pred`` is
        close to ``y_true * log(y_pred)`` an element is right to 3 units in the last place relative to the
        terms' size (measured against mpmath), not to its own.

    Raises:
        ValueError, TypeError: A number is negative (Keras gives NaN for a rate), or the arrays do not fit;
            see `omniloss.losses`.

    Source: P. McCullagh and J. A. Nelder, Generalized Linear Models (1989), ch. 6; `keras.losses.poisson`.

    >>> from omniloss import losses
    >>> losses.poisson([[1.0, 0.0]], [[2.0, 3.0]]).round(4)
    array([2.1534], dtype=float32)
    """
    plan = Plan(
        formulas.poisson,
        (config.epsilon(),),
        hint=" (rates; if these are their logarithms, pass the exponential)",
    )
    return Call(plan, y_true, y_pred)


class Poisson(LossFunctionWrapper):
    """``mean(y_pred - y_true * log(y_pred))``: `poisson` as a loss object.

    Args:
        reduction, name, dtype: See `Loss`, as for weights and masks.

    >>> from omniloss import losses
    >>> losses.Poisson(reduction="sum")([[1.0], [0.0]], [[2.0], [3.0]]).round(4)
    np.float32(4.3069)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "poisson",
        dtype: Any = None,
    ) -> None:
        super().__init__(poisson, reduction=reduction, name=name, dtype=dtype)
