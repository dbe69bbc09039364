"""Losses of margins: targets are -1 and 1, or tell a row's right classes, and predictions are scores.

A margin that is just met has the derivative 0 in the first losses; in `hinge_embedding` and
`margin_ranking`, which are torch's, that of a margin that is missed.
"""

from typing import Any

from omniloss.formulas.definition import Other, pointwise, rowwise
from omniloss.formulas.stable import (
    first_largest,
    is_zero,
    one_hot,
    positive_part,
    product,
    two_difference,
    two_sum,
    where_positive,
)

__all__ = [
    "categorical_hinge",
    "distance_margin",
    "hinge",
    "hinge_embedding",
    "margin_ranking",
    "multi_margin",
    "multilabel_margin",
    "soft_margin",
    "squared_hinge",
]

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


def _soft_margin_derivative(xp: Namespace, targets: Array, predictions: Array) -> Array:
    margin, relative = _margin(xp, targets, predictions)
    return -targets * xp.where(margin >= 0, relative, xp.ones_like(margin)) / (1 + relative)


@pointwise(_soft_margin_derivative)
def soft_margin(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """``log(1 + exp(-y * p))``. torch, soft_margin_loss; logistic regression with labels -1 and 1."""
    margin, relative = _margin(xp, targets, predictions)
    return positive_part(xp, -margin) + xp.log1p(relative)


def _margin(xp: Namespace, targets: Array, predictions: Array) -> tuple[Array, Array]:
    """``m = y * p``, and ``exp(-|m|)``."""
    margin = product(xp, targets, predictions)
    return margin, xp.exp(xp.where(margin >= 0, -margin, margin))


def _not_negative(xp: Namespace, x: Array) -> Array:
    """``max(x, 0)``, with derivative 1 at 0."""
    return xp.where(x < 0, xp.zeros_like(x), x)


def _where_missed(xp: Namespace, shortfall: Array, values: Array) -> Array:
    """``values`` where the shortfall is not negative, NaN where it is NaN."""
    kept = xp.where(shortfall < 0, xp.zeros_like(values), values)
    return xp.where(xp.isnan(shortfall), shortfall, kept)


def _hinge_embedding_derivative(
    xp: Namespace, targets: Array, predictions: Array, margin: float
) -> Array:
    one, zero = xp.ones_like(predictions), xp.zeros_like(predictions)
    missed = _where_missed(xp, margin - predictions, -one)
    slope = xp.where(xp.equal(targets, -one), zero, one)
    slope = slope + xp.where(xp.equal(targets, one), zero, missed)
    slope = xp.where(xp.isnan(predictions), predictions, slope)
    return xp.where(xp.isnan(targets), targets, slope)


@pointwise(_hinge_embedding_derivative)
def hinge_embedding(xp: Namespace, targets: Array, predictions: Array, margin: float) -> Array:
    """``p`` where ``y = 1``, ``max(margin - p, 0)`` where ``y = -1``, their sum elsewhere.

    Hadsell, Chopra and LeCun, Dimensionality reduction by learning an invariant mapping (2006), for the
    idea; torch, hinge_embedding_loss.
    """
    # The sum p + max(margin - p, 0) is max(margin, p), without the rounding of both.
    one = xp.ones_like(predictions)
    both = xp.where(predictions <= margin, xp.full_like(predictions, margin), predictions)
    apart = _not_negative(xp, margin - predictions)
    value = xp.where(xp.equal(targets, -one), apart, both)
    value = xp.where(xp.equal(targets, one), predictions, value)
    return xp.where(xp.isnan(targets), targets, value)


def _ranking_shortfall(
    xp: Namespace, targets: Array, predictions: Array, input2: Array, margin: float
) -> Array:
    return margin - product(xp, targets, predictions - input2)


def _margin_ranking_derivative(
    xp: Namespace, targets: Array, predictions: Array, input2: Array, margin: float
) -> Array:
    shortfall = _ranking_shortfall(xp, targets, predictions, input2, margin)
    return _where_missed(xp, shortfall, -targets)


def _margin_ranking_by_other(
    xp: Namespace, targets: Array, predictions: Array, input2: Array, margin: float
) -> Array:
    shortfall = _ranking_shortfall(xp, targets, predictions, input2, margin)
    return _where_missed(xp, shortfall, targets)


def _margin_ranking_by_target(
    xp: Namespace, targets: Array, predictions: Array, input2: Array, margin: float
) -> Array:
    shortfall = _ranking_shortfall(xp, targets, predictions, input2, margin)
    return _where_missed(xp, shortfall, input2 - predictions)


@pointwise(
    _margin_ranking_derivative,
    target_derivative=_margin_ranking_by_target,
    others=(Other("input2", _margin_ranking_by_other),),
)
def margin_ranking(
    xp: Namespace, targets: Array, predictions: Array, input2: Array, margin: float
) -> Array:
    """``max(margin - y * (p - q), 0)``: p is to rank above q where ``y = 1``, below where ``y = -1``.

    Herbrich, Graepel and Obermayer, Large margin rank boundaries for ordinal regression (2000), for the
    idea; torch, margin_ranking_loss.
    """
    shortfall = _ranking_shortfall(xp, targets, predictions, input2, margin)
    return _not_negative(xp, shortfall)


def _rival_shortfalls(
    xp: Namespace, targets: Array, predictions: Array, margin: float
) -> tuple[Array, Array]:
    """What every other class leaves to be missed of the margin, 0 at the target, and the target's mask."""
    hot = one_hot(xp, targets, predictions)
    right = xp.equal(hot, xp.ones_like(hot))
    zero = xp.zeros_like(predictions)
    score = xp.sum(xp.where(right, predictions, zero), axis=-1, keepdims=True)
    # The difference's rounding error would show where the margin cancels it.
    difference, error = two_difference(xp, predictions, score)
    total, rest = two_sum(xp, difference, xp.full_like(difference, margin))
    shortfalls = xp.where(right & ~xp.isnan(predictions), zero, total + (error + rest))
    return shortfalls + 0 * hot, right


def _multi_margin_derivative(
    xp: Namespace, targets: Array, predictions: Array, p: float, margin: float
) -> Array:
    shortfalls, right = _rival_shortfalls(xp, targets, predictions, margin)
    missed = shortfalls if p == 2 else xp.full_like(shortfalls, 0.5)
    slopes = where_positive(xp, shortfalls, 2 * missed) / predictions.shape[-1]
    return xp.where(right, -xp.sum(slopes, axis=-1, keepdims=True), slopes)


@rowwise(_multi_margin_derivative, labels=True)
def multi_margin(
    xp: Namespace, targets: Array, predictions: Array, p: float, margin: float
) -> Array:
    """``sum(max(margin - x_k + x_j, 0)**p over j != k) / classes``, k the target; p is 1 or 2.

    Weston and Watkins, Support vector machines for multi-class pattern recognition (1999); divided as in
    torch, multi_margin_loss.
    """
    shortfalls, _ = _rival_shortfalls(xp, targets, predictions, margin)
    missed = positive_part(xp, shortfalls)
    return xp.sum(missed * missed if p == 2 else missed, axis=-1) / predictions.shape[-1]


def _pair_shortfalls(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """``n_j * (1 - x_j + x_i)`` for every class j with a target (last but one axis), i without, else 0."""
    scores = xp.expand_dims(predictions, axis=-2)
    difference, error = two_difference(xp, scores, xp.expand_dims(predictions, axis=-1))
    total, rest = two_sum(xp, difference, xp.ones_like(difference))
    without = xp.where(is_zero(xp, targets), xp.ones_like(targets), xp.zeros_like(targets))
    pairs = xp.expand_dims(targets, axis=-1) * xp.expand_dims(without, axis=-2)
    unknown = xp.isnan(predictions)
    silent = ~(xp.expand_dims(unknown, axis=-1) | xp.expand_dims(unknown, axis=-2))
    silent = silent & is_zero(xp, pairs)
    return pairs * xp.where(silent, xp.zeros_like(total), total + (error + rest))


def _multilabel_margin_derivative(xp: Namespace, targets: Array, predictions: Array) -> Array:
    shortfalls = _pair_shortfalls(xp, targets, predictions)
    counts = xp.broadcast_to(xp.expand_dims(targets, axis=-1), tuple(shortfalls.shape))
    missed = where_positive(xp, shortfalls, counts)
    return (xp.sum(missed, axis=-2) - xp.sum(missed, axis=-1)) / predictions.shape[-1]


@rowwise(_multilabel_margin_derivative)
def multilabel_margin(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """``sum(max(1 - x_j + x_i, 0)) / classes`` over classes j with a target and i without.

    A target is 0 or how often the class counts.

    torch, multilabel_margin_loss.
    """
    missed = positive_part(xp, _pair_shortfalls(xp, targets, predictions))
    return xp.sum(missed, axis=(-2, -1)) / predictions.shape[-1]


def _distance_margin_derivative(
    xp: Namespace, targets: Array, predictions: Array, swapped: Array, margin: float
) -> Array:
    shortfall = _distance_shortfall(xp, targets, predictions, swapped, margin)
    return _where_missed(xp, shortfall, xp.ones_like(shortfall))


def _distance_margin_by_target(
    xp: Namespace, targets: Array, predictions: Array, swapped: Array, margin: float
) -> Array:
    shortfall = _distance_shortfall(xp, targets, predictions, swapped, margin)
    return _where_missed(xp, shortfall, -_share(xp, targets, swapped))


def _distance_margin_by_swapped(
    xp: Namespace, targets: Array, predictions: Array, swapped: Array, margin: float
) -> Array:
    shortfall = _distance_shortfall(xp, targets, predictions, swapped, margin)
    return _where_missed(xp, shortfall, -_share(xp, swapped, targets))


def _share(xp: Namespace, first: Array, second: Array) -> Array:
    """The first's part in the smaller of two, of which equal ones have halves."""
    one = xp.ones_like(first)
    return xp.where(first < second, one, xp.where(first > second, 0 * one, 0.5 * one))


def _distance_shortfall(
    xp: Namespace, targets: Array, predictions: Array, swapped: Array, margin: float
) -> Array:
    share = _share(xp, targets, swapped)
    far = product(xp, share, targets) + product(xp, 1 - share, swapped)
    return margin + (predictions - far)


@pointwise(
    _distance_margin_derivative,
    target_derivative=_distance_margin_by_target,
    others=(Other("swapped", _distance_margin_by_swapped),),
)
def distance_margin(
    xp: Namespace, targets: Array, predictions: Array, swapped: Array, margin: float
) -> Array:
    """``max(margin + p - min(y, s), 0)`` of distances: p to what is alike, y and s to what is not.

    torch, triplet_margin_with_distance_loss.
    """
    return _not_negative(xp, _distance_shortfall(xp, targets, predictions, swapped, margin))
