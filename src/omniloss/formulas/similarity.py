"""Losses of directions: a row counts as a vector, whatever its length."""

from typing import Any, NamedTuple

from omniloss.formulas.definition import rowwise
from omniloss.formulas.stable import is_zero

__all__ = ["cosine_similarity"]

Array = Any
Namespace = Any


class _Vectors(NamedTuple):
    """Rows of ``scaled / norm = x / max(|x|, epsilon)`` with ``|x| = norm * root**2``.

    Of the rows that are ``clipped`` epsilon is the length, or they are 0, and root means nothing.
    """

    scaled: Array
    norm: Array
    root: Array
    clipped: Array


def _cosine_similarity_derivative(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    # Along p itself the loss does not change: of y that part is taken away. A clipped length does
    # not vary, and nothing is taken away.
    y = _vectors(xp, targets, epsilon)
    p = _vectors(xp, predictions, epsilon)
    squares = xp.sum(p.scaled * p.scaled, axis=-1, keepdims=True)
    some = xp.where(p.clipped, xp.ones_like(squares), squares)
    part = xp.sum(y.scaled * p.scaled, axis=-1, keepdims=True) / some
    slope = (part * p.scaled - y.scaled) / (y.norm * p.norm) / p.root / p.root
    constant = -y.scaled / y.norm / epsilon if epsilon > 0 else xp.zeros_like(slope)
    return xp.where(p.clipped, constant, slope)


@rowwise(_cosine_similarity_derivative)
def cosine_similarity(xp: Namespace, targets: Array, predictions: Array, epsilon: float) -> Array:
    """``-sum(u * v)`` with ``u = y / max(|y|, epsilon)`` and ``v = p / max(|p|, epsilon)``.

    A vector of length 0 gives 0, with derivative 0 at epsilon 0. Keras, cosine_similarity.
    """
    y = _vectors(xp, targets, epsilon)
    p = _vectors(xp, predictions, epsilon)
    similarity = xp.sum(y.scaled * p.scaled, axis=-1, keepdims=True) / (y.norm * p.norm)
    return -xp.squeeze(similarity, axis=-1)


def _vectors(xp: Namespace, x: Array, epsilon: float) -> _Vectors:
    # Powers of two bring the largest element into [1, 4), so that no square leaves the range. Two
    # equal divisions do it, for one alone could itself overflow.
    largest = xp.max(xp.abs(x), axis=-1, keepdims=True)
    zero = is_zero(xp, largest)
    one = xp.ones_like(largest)
    root = 2.0 ** xp.floor(0.5 * xp.log2(xp.where(zero, one, largest)))
    scaled = x / root / root
    norm = xp.sqrt(xp.where(zero, one, xp.sum(scaled * scaled, axis=-1, keepdims=True)))
    if epsilon > 0:
        clipped = zero | (norm * root <= epsilon / root)
        short = x / epsilon
    else:
        clipped = zero
        short = xp.zeros_like(x)
    return _Vectors(xp.where(clipped, short, scaled), xp.where(clipped, one, norm), root, clipped)
