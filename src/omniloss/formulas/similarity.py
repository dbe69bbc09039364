"""Losses of directions and distances: a row counts as a vector."""

from math import inf
from typing import Any, NamedTuple

from omniloss.formulas.definition import Other, rowwise
from omniloss.formulas.stable import constant, is_zero

__all__ = ["cosine_embedding", "cosine_similarity", "triplet_margin"]

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


class _Cosine(NamedTuple):
    """The cosine of two rows, and its derivatives by both."""

    value: Array
    by_first: Array
    by_second: Array


def _cosine(xp: Namespace, first: Array, second: Array, eps: float) -> _Cosine:
    """``sum(a * b) / sqrt((sum(a**2) + eps) * (sum(b**2) + eps))``."""
    a, a_norm, a_root = _lengthened(xp, first, eps)
    b, b_norm, b_root = _lengthened(xp, second, eps)
    value = xp.sum(a * b, axis=-1, keepdims=True) / (a_norm * b_norm)
    by_first = (b / b_norm - value * a / a_norm) / a_norm / a_root / a_root
    by_second = (a / a_norm - value * b / b_norm) / b_norm / b_root / b_root
    return _Cosine(xp.squeeze(value, axis=-1), by_first, by_second)


def _lengthened(xp: Namespace, x: Array, eps: float) -> tuple[Array, Array, Array]:
    """``x / root**2``, and ``sqrt(sum(x**2) + eps) / root**2``, of which no square leaves the range."""
    scaled, root = _scaled(xp, x)
    rest = eps / root / root / root / root
    return scaled, xp.sqrt(xp.sum(scaled * scaled, axis=-1, keepdims=True) + rest), root


def _scaled(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Rows divided by ``root**2``, a power of 4 next to their largest element (for small ones 1)."""
    largest = xp.max(xp.abs(x), axis=-1, keepdims=True)
    usual = (largest < 1) | ~xp.isfinite(largest)
    root = 2.0 ** xp.floor(0.5 * xp.log2(xp.where(usual, xp.ones_like(largest), largest)))
    return x / root / root, root


def _cosine_embedding_slope(
    xp: Namespace, label: Array, cosine: Array, margin: float, slope: Array
) -> Array:
    one = xp.ones_like(label)
    near = xp.where(xp.equal(label, one), -one, xp.zeros_like(label))
    apart = xp.equal(label, -one) & ((cosine >= margin) | xp.isnan(cosine))
    factor = xp.where(apart, one, near)
    return slope * xp.expand_dims(xp.where(xp.isnan(label), label, factor), axis=-1)


def _cosine_embedding_derivative(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    label: Array,
    margin: float,
    eps: float,
) -> Array:
    cosine = _cosine(xp, predictions, targets, eps)
    return _cosine_embedding_slope(xp, label, cosine.value, margin, cosine.by_first)


def _cosine_embedding_by_target(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    label: Array,
    margin: float,
    eps: float,
) -> Array:
    cosine = _cosine(xp, predictions, targets, eps)
    return _cosine_embedding_slope(xp, label, cosine.value, margin, cosine.by_second)


@rowwise(
    _cosine_embedding_derivative,
    target_derivative=_cosine_embedding_by_target,
    others=(Other("label", shape="rows"),),
)
def cosine_embedding(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    label: Array,
    margin: float,
    eps: float,
) -> Array:
    """``1 - cos`` of rows labelled 1, ``max(cos - margin, 0)`` of rows labelled -1, else 0.

    ``cos = sum(y * p) / sqrt((sum(y**2) + eps) * (sum(p**2) + eps))``. torch, cosine_embedding_loss.
    """
    cosine = _cosine(xp, predictions, targets, eps).value
    one = xp.ones_like(cosine)
    zero = xp.zeros_like(cosine)
    apart = xp.where(cosine < margin, zero, cosine - margin)
    value = xp.where(xp.equal(label, -one), apart, xp.where(xp.isnan(label), label, zero))
    return xp.where(xp.equal(label, one), 1 - cosine, value)


class _Distance(NamedTuple):
    """The length of the rows ``first - second + eps`` in the p-norm, and its derivative by the first."""

    length: Array
    slope: Array


def _distance(xp: Namespace, first: Array, second: Array, p: float, eps: float) -> _Distance:
    difference = first - second + eps
    size = xp.sign(difference) * difference
    zero, one = xp.zeros_like(size), xp.ones_like(size)
    if p == 1:
        return _Distance(xp.sum(size, axis=-1), xp.sign(difference))
    largest = xp.max(size, axis=-1, keepdims=True)
    if p == inf:
        top = xp.equal(size, largest)
        share = xp.where(top, one, zero) / xp.sum(xp.where(top, one, zero), axis=-1, keepdims=True)
        length = xp.sum(xp.where(top, share * size, zero), axis=-1)
        return _Distance(_or_nan(xp, length, largest), xp.sign(difference) * share)
    # A power of two brings the largest element to about 1, where no power leaves the range but high ones: for
    # these it is 1.
    regular = (largest > 0) & xp.isfinite(largest)
    unit = constant(xp, xp.where(regular, largest, xp.ones_like(largest)))
    root = xp.sqrt(unit) if p > 16 else 2.0 ** xp.floor(0.5 * xp.log2(unit))
    scaled = size / root / root
    used = scaled > 0
    base = xp.where(used, scaled, one)
    powers = xp.where(used, base * base if p == 2 else base**p, zero)
    total = xp.sum(powers, axis=-1, keepdims=True)
    total = xp.where(total > 0, total, xp.ones_like(total))
    norm = xp.sqrt(total) if p == 2 else total ** (1 / p)
    slope = base / norm if p == 2 else (base / norm) ** (p - 1)
    slope = xp.where(used, xp.sign(difference) * slope, zero)
    length = xp.where(largest > 0, norm * root * root, xp.zeros_like(norm))
    return _Distance(_or_nan(xp, xp.squeeze(length, axis=-1), largest), slope)


def _or_nan(xp: Namespace, length: Array, largest: Array) -> Array:
    largest = xp.squeeze(largest, axis=-1)
    return xp.where(xp.isnan(largest), largest, length)


class _Triplet(NamedTuple):
    """A shortfall of the margin, the distances' derivatives, and the part that each negative one has."""

    shortfall: Array
    positive: Array
    negative: Array
    swapped: Array


def _triplet(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    negative: Array,
    margin: float,
    p: float,
    eps: float,
    swap: float,
) -> _Triplet:
    near = _distance(xp, predictions, targets, p, eps)
    far = _distance(xp, predictions, negative, p, eps)
    swapped = _distance(xp, targets, negative, p, eps) if swap else far
    own, length = _nearer(xp, far.length, swapped.length)
    own = xp.expand_dims(own, axis=-1)
    shortfall = margin + (near.length - length)
    used = xp.expand_dims(_missed(xp, shortfall), axis=-1)
    return _Triplet(
        shortfall,
        used * near.slope,
        used * own * far.slope,
        used * (1 - own) * swapped.slope,
    )


def _nearer(xp: Namespace, first: Array, second: Array) -> tuple[Array, Array]:
    """The first's share in the smaller of two (equal ones have halves), and the smaller one."""
    one = xp.ones_like(first)
    share = xp.where(first < second, one, xp.where(second < first, 0 * one, 0.5 * one))
    smaller = xp.where(second < first, second, first)
    return share, xp.where(xp.isnan(second), second, smaller)


def _missed(xp: Namespace, shortfall: Array) -> Array:
    """1 where the margin is missed or just met, else 0; NaN for NaN."""
    kept = xp.where(shortfall < 0, xp.zeros_like(shortfall), xp.ones_like(shortfall))
    return xp.where(xp.isnan(shortfall), shortfall, kept)


def _triplet_margin_derivative(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    negative: Array,
    margin: float,
    p: float,
    eps: float,
    swap: float,
) -> Array:
    triplet = _triplet(xp, targets, predictions, negative, margin, p, eps, swap)
    return triplet.positive - triplet.negative - (0 if swap else triplet.swapped)


def _triplet_margin_by_positive(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    negative: Array,
    margin: float,
    p: float,
    eps: float,
    swap: float,
) -> Array:
    triplet = _triplet(xp, targets, predictions, negative, margin, p, eps, swap)
    return -triplet.positive - (triplet.swapped if swap else 0)


def _triplet_margin_by_negative(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    negative: Array,
    margin: float,
    p: float,
    eps: float,
    swap: float,
) -> Array:
    triplet = _triplet(xp, targets, predictions, negative, margin, p, eps, swap)
    return triplet.negative + triplet.swapped


@rowwise(
    _triplet_margin_derivative,
    target_derivative=_triplet_margin_by_positive,
    others=(Other("negative", _triplet_margin_by_negative),),
)
def triplet_margin(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    negative: Array,
    margin: float,
    p: float,
    eps: float,
    swap: float,
) -> Array:
    """``max(margin + |a - y| - |a - n|, 0)``: the predictions a are to be near the targets, far from n.

    The lengths are p-norms of differences to which eps is added. With ``swap`` (0 or 1) ``|y - n|`` takes the place of
    ``|a - n|`` where it is smaller. Balntas, Riba, Ponsa and Mikolajczyk, Learning local feature descriptors
    with triplets and shallow convolutional neural networks (2016); torch, triplet_margin_loss.
    """
    triplet = _triplet(xp, targets, predictions, negative, margin, p, eps, swap)
    return xp.where(triplet.shortfall < 0, xp.zeros_like(triplet.shortfall), triplet.shortfall)
