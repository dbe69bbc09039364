"""Losses of how far two sets overlap: a row holds the memberships of one set's candidates."""

from typing import Any, NamedTuple

from omniloss.formulas.definition import rowwise

__all__ = ["tversky"]

Array = Any
Namespace = Any


class _Sums(NamedTuple):
    """What both sets have, and what one of them lacks, weighted: together the denominator."""

    shared: Array
    missed: Array


def _sums(xp: Namespace, targets: Array, predictions: Array, alpha: float, beta: float) -> _Sums:
    shared = xp.sum(targets * predictions, axis=-1, keepdims=True)
    invented = xp.sum(predictions * (1 - targets), axis=-1, keepdims=True)
    overlooked = xp.sum(targets * (1 - predictions), axis=-1, keepdims=True)
    return _Sums(shared, alpha * invented + beta * overlooked)


def _tversky_derivative(
    xp: Namespace, targets: Array, predictions: Array, smooth: float, alpha: float, beta: float
) -> Array:
    # (alpha * shared * (1 - y) - y * (missed + beta * shared)) / whole**2: two terms of different signs
    shared, missed = _sums(xp, targets, predictions, alpha, beta)
    missed = missed + smooth
    whole = shared + missed
    invented, found = alpha * shared / whole, (missed + beta * shared) / whole
    return (invented * (1 - targets) - targets * found) / whole


def _tversky_statistics(
    xp: Namespace, targets: Array, predictions: Array, smooth: float, alpha: float, beta: float
) -> tuple[Array, Array]:
    shared, missed = _sums(xp, targets, predictions, alpha, beta)
    return missed[..., 0], (shared + missed)[..., 0]


@rowwise(_tversky_derivative, statistics=_tversky_statistics)
def tversky(
    xp: Namespace, targets: Array, predictions: Array, smooth: float, alpha: float, beta: float
) -> Array:
    """``1 - shared / (shared + alpha * sum(p * (1 - y)) + beta * sum(y * (1 - p)) + smooth)``.

    ``shared`` is ``sum(y * p)``. alpha and beta of 1/2 and half of Keras's epsilon give the Dice loss
    ``1 - 2 * shared / (sum(y) + sum(p) + epsilon)``. Tversky, Psychological Review 84 (1977); Salehi et
    al., Tversky loss function for image segmentation using 3D fully convolutional deep networks (2017),
    arXiv:1706.05721.
    """
    # The numerator of the difference: of memberships in [0, 1] a sum of positive terms.
    shared, missed = _sums(xp, targets, predictions, alpha, beta)
    missed = missed[..., 0] + smooth
    return missed / (shared[..., 0] + missed)
