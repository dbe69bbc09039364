"""Losses of classes that lie between cross-entropy and absolute error."""

from typing import Any

from omniloss.formulas.definition import PROBABILITY, rowwise
from omniloss.formulas.stable import is_zero, one_hot, power

__all__ = ["generalized_crossentropy"]

Array = Any
Namespace = Any


def _chosen(xp: Namespace, targets: Array, predictions: Array) -> tuple[Array, Array]:
    """The rows of 0 and 1 of the class indices, and the prediction of each row's class.

    It is NaN where any of the row's predictions is.
    """
    rows = one_hot(xp, targets, predictions)
    spoilt = xp.where(xp.isnan(predictions), predictions, xp.zeros_like(predictions))
    return rows, xp.sum(xp.where(is_zero(xp, rows), spoilt, rows * predictions), axis=-1)


def _generalized_crossentropy_derivative(
    xp: Namespace, targets: Array, predictions: Array, q: float
) -> Array:
    rows, chosen = _chosen(xp, targets, predictions)
    # p**q / p, since q - 1 is not exact
    steep, one = chosen <= 0, xp.ones_like(chosen)
    base = xp.where(steep, one, chosen)
    slope = xp.where(steep, xp.full_like(one, xp.inf), power(xp, base, q) / base)
    return xp.where(is_zero(xp, rows), xp.zeros_like(rows), -rows * slope[..., None])


@rowwise(_generalized_crossentropy_derivative, labels=True, predictions=PROBABILITY)
def generalized_crossentropy(xp: Namespace, targets: Array, predictions: Array, q: float) -> Array:
    """``(1 - p**q) / q``, p the probability of the target's class; NaN for an index that is no class.

    The predictions are not divided by their sum. Zhang and Sabuncu, Generalized cross entropy loss
    for training deep neural networks with noisy labels (2018), arXiv:1805.07836.
    """
    # 1 - exp(-c) for c = -q * log(p) is 2 * sinh(c / 2) * exp(-c / 2), which does not cancel near 0; and
    # near 1 the difference p - 1 is exact, so its log1p has the digits of log(p).
    _, chosen = _chosen(xp, targets, predictions)
    half, one = xp.full_like(chosen, 0.5), xp.ones_like(chosen)
    above = chosen > 0.5
    large = xp.log1p(xp.where(chosen <= 0.5, half, chosen) - 1)
    small = xp.log(xp.where(above | (chosen <= 0), half, chosen))
    cost = q * (0 - xp.where(above, large, small))
    far = (cost > 1) | (chosen <= 0)
    near = xp.where(far, one, cost) / 2
    # A power, whose slope at 0 autodiff knows
    base = xp.where(far, chosen, half)
    return xp.where(far, 1 - power(xp, base, q), 2 * xp.sinh(near) * xp.exp(-near)) / q
