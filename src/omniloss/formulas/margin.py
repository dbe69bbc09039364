"""Hinge losses: targets are -1 and 1, or one-hot rows, and predictions are scores."""

from typing import Any

from omniloss.formulas.definition import pointwise, rowwise
from omniloss.formulas.stable import (
    first_largest,
    positive_part,
    product,
    two_difference,
    two_sum,
    where_positive,
)

__all__ = ["categorical_hinge", "hinge", "squared_hinge"]

Array = Any
Namespace = Any


def _hinge_derivative(xp: Namespace, targets: Array, predictions: Array) -> Array:
    return where_positive(xp, _shortfall(xp, targets, predictions), -targets)


@pointwise(_hinge_derivative)
def hinge(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """``max(1 - y * p, 0)``. Cortes and Vapnik, Machine Learning 20 (1995)."""
    return positive_part(xp, _shortfall(xp, targets, predictions))


def _squared_hinge_derivative(xp: Namespace, targets: Array, predictions: Array) -> Array:
    shortfall = _shortfall(xp, targets, predictions)
    return where_positive(xp, shortfall, product(xp, -2 * targets, shortfall))


@pointwise(_squared_hinge_derivative)
def squared_hinge(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """``max(1 - y * p, 0)**2``. Cortes and Vapnik, Machine Learning 20 (1995)."""
    shortfall = positive_part(xp, _shortfall(xp, targets, predictions))
    return shortfall * shortfall


def _shortfall(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """What the margin ``y * p`` lacks to 1."""
    return 1 - product(xp, targets, predictions)


def _categorical_hinge_derivative(xp: Namespace, targets: Array, predictions: Array) -> Array:
    shortfall, rival = _categorical_shortfall(xp, targets, predictions)
    slope = xp.where(rival, 1 - 2 * targets, -targets)
    return where_positive(xp, xp.expand_dims(shortfall, axis=-1), slope)


@rowwise(_categorical_hinge_derivative)
def categorical_hinge(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """``max(max((1 - y) * p) - sum(y * p) + 1, 0)``; of equal rivals the first has the gradient.

    Keras, categorical_hinge; Crammer and Singer, JMLR 2 (2001), for the idea.
    """
    return positive_part(xp, _categorical_shortfall(xp, targets, predictions)[0])


def _categorical_shortfall(
    xp: Namespace, targets: Array, predictions: Array
) -> tuple[Array, Array]:
    """What the margin over the best other class lacks to 1, and the mask of that class."""
    # The rounding error of the scores' difference is added last, where 1 may have cancelled it.
    others = product(xp, 1 - targets, predictions)
    rival = first_largest(xp, others)
    best = xp.sum(xp.where(rival, others, xp.zeros_like(others)), axis=-1)
    difference, error = two_difference(xp, best, xp.sum(product(xp, targets, predictions), axis=-1))
    total, rest = two_sum(xp, difference, xp.ones_like(difference))
    return total + (error + rest), rival
