"""Losses of directions: a row counts as a vector, whatever its length."""

from typing import Any

from omniloss.formulas.definition import rowwise
from omniloss.formulas.stable import is_zero

__all__ = ["cosine_similarity"]

Array = Any
Namespace = Any


def _cosine_similarity_derivative(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    # The length takes away the part of u along v, and divides; a clipped length does not vary.
    u, _, _ = _direction(xp, targets, epsilon)
    v, clipped, (norm, root) = _direction(xp, predictions, epsilon)
    across = xp.sum(u * v, axis=-1, keepdims=True) * v - u
    slope = across / norm / root / root
    constant = -u / epsilon if epsilon > 0 else xp.zeros_like(u)
    return xp.where(clipped, constant, slope)


@rowwise(_cosine_similarity_derivative)
def cosine_similarity(xp: Namespace, targets: Array, predictions: Array, epsilon: float) -> Array:
    """``-sum(u * v)`` with ``u = y / max(|y|, epsilon)`` and ``v = p / max(|p|, epsilon)``.

    A vector of length 0 gives 0, with derivative 0 at epsilon 0. Keras, cosine_similarity.
    """
    u, _, _ = _direction(xp, targets, epsilon)
    v, _, _ = _direction(xp, predictions, epsilon)
    return -xp.sum(u * v, axis=-1)


def _direction(xp: Namespace, x: Array, epsilon: float) -> tuple[Array, Array, tuple[Array, Array]]:
    """``x / max(|x|, epsilon)``, where epsilon decides, and the length.

    The length is given as ``norm, root``, and is ``norm * root**2``.
    """
    # Powers of two bring the largest element into [1, 4), so that no square leaves the range. Two
    # equal divisions do it, for one alone could itself overflow.
    largest = xp.max(xp.abs(x), axis=-1, keepdims=True)
    zero = is_zero(xp, largest)
    one = xp.ones_like(largest)
    root = 2.0 ** xp.floor(0.5 * xp.log2(xp.where(zero, one, largest)))
    scaled = x / root / root
    squares = xp.sum(scaled * scaled, axis=-1, keepdims=True)
    norm = xp.sqrt(xp.where(zero, one, squares))
    unit = scaled / norm
    if epsilon <= 0:
        return xp.where(zero, xp.zeros_like(unit), unit), zero, (norm, root)
    clipped = zero | (norm * root <= epsilon / root)
    return xp.where(clipped, x / epsilon, unit), clipped, (norm, root)
