"""Losses of how a batch's samples lie to each other."""

from typing import Any, NamedTuple

from omniloss.formulas.definition import Other, setwise
from omniloss.formulas.stable import constant, positive_part

__all__ = ["circle"]

Array = Any
Namespace = Any


class _Pairs(NamedTuple):
    """Of each sample and each reference: whether they are alike or unlike, and how far they lie apart."""

    alike: Array
    unlike: Array
    distance: Array


class _Scores(NamedTuple):
    """Scores of the pairs of one kind, the shares of their exponentials, and the logarithm of the sum.

    Without such a pair ``any`` is false, and the logarithm 0.
    """

    any: Array
    shares: Array
    log_sum: Array


def _pairs(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    ref_labels: Array,
    ref_embeddings: Array,
    counted: Array,
    remove_diagonal: float,
) -> _Pairs:
    same = xp.equal(xp.expand_dims(targets, axis=1), xp.expand_dims(ref_labels, axis=0))
    counted = xp.expand_dims(counted > 0, axis=0)
    alike, unlike = same & counted, ~same & counted
    if remove_diagonal:
        rows, columns = (xp.arange(x.shape[0]) for x in (targets, ref_labels))
        alike = alike & xp.not_equal(xp.expand_dims(rows, axis=1), xp.expand_dims(columns, axis=0))
    cosine = xp.matmul(predictions, xp.moveaxis(ref_embeddings, 0, 1))
    return _Pairs(alike, unlike, positive_part(xp, 1 - cosine))


def _scores(xp: Namespace, chosen: Array, scores: Array) -> _Scores:
    some = xp.any(chosen, axis=1)
    # Compilers fuse a difference with the product before it, which is far from 0 then for the largest of
    # huge scores; what `where` gives they do not.
    scores = xp.where(chosen, scores, xp.full_like(scores, -xp.inf))
    top = xp.max(scores, axis=1, keepdims=True)
    top = constant(xp, xp.where(xp.isinf(top), xp.zeros_like(top), top))
    powers = xp.exp(scores - top)
    total = xp.sum(powers, axis=1, keepdims=True)
    total = xp.where(some[:, None], total, xp.ones_like(total))
    return _Scores(some, powers / total, (xp.log(total) + top)[:, 0])


def _both(
    xp: Namespace, pairs: _Pairs, gamma: float, margin: float
) -> tuple[_Scores, _Scores, Array]:
    """The scores of like and of unlike pairs, and the sum of their logarithms."""
    distance = pairs.distance
    near = gamma * positive_part(xp, margin + distance) * (distance - margin)
    far = gamma * positive_part(xp, (1 + margin) - distance) * ((1 - margin) - distance)
    like, unlike = _scores(xp, pairs.alike, near), _scores(xp, pairs.unlike, far)
    return like, unlike, like.log_sum + unlike.log_sum


def _circle_derivative(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    ref_labels: Array,
    ref_embeddings: Array,
    counted: Array,
    factors: Array,
    itself: float,
    remove_diagonal: float,
    gamma: float,
    margin: float,
) -> Array:
    if itself:
        ref_embeddings = predictions
    pairs = _pairs(xp, targets, predictions, ref_labels, ref_embeddings, counted, remove_diagonal)
    like, unlike, total = _both(xp, pairs, gamma, margin)
    # The slope of softplus, the logistic function
    small = xp.exp(xp.where(total > 0, -total, total))
    slope = xp.where(total > 0, xp.ones_like(small), small) / (1 + small)
    slope = xp.where(like.any & unlike.any, slope, xp.zeros_like(slope)) * factors
    # (d + m) (d - m) and (1 + m - d) (1 - m - d) have the slopes 2 d and -2 (1 - d).
    distance, zero = pairs.distance, xp.zeros_like(pairs.distance)
    pull = xp.where(margin + distance <= 0, zero, like.shares * distance)
    push = xp.where((1 + margin) - distance <= 0, zero, unlike.shares * (1 - distance))
    by_cosine = xp.where(distance <= 0, zero, 2 * gamma * slope[:, None] * (push - pull))
    gradient = xp.matmul(by_cosine, ref_embeddings)
    if itself:  # the references move with the predictions
        gradient = gradient + xp.matmul(xp.moveaxis(by_cosine, 0, 1), predictions)
    return gradient


@setwise(
    _circle_derivative,
    others=(Other("ref_labels"), Other("ref_embeddings"), Other("counted")),
)
def circle(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    ref_labels: Array,
    ref_embeddings: Array,
    counted: Array,
    itself: float,
    remove_diagonal: float,
    gamma: float,
    margin: float,
) -> Array:
    """``softplus(log_sum_exp(near) + log_sum_exp(far))`` over the references of each sample.

    With ``d = max(1 - cosine, 0)``, a reference of the same label has ``near = gamma * (d + m)+ * (d - m)``,
    one of another label ``far = gamma * (1 + m - d)+ * (1 - m - d)``. ``counted`` is 0 for references that do
    not count, and with ``itself`` the references are the predictions. 0 for a sample that has no reference
    of either kind. Sun et al., Circle loss: a unified perspective of pair similarity optimization (2020),
    arXiv:2002.10857; with Keras's weights, through which the derivative goes too.
    """
    if itself:
        ref_embeddings = predictions
    pairs = _pairs(xp, targets, predictions, ref_labels, ref_embeddings, counted, remove_diagonal)
    like, unlike, total = _both(xp, pairs, gamma, margin)
    softplus = xp.where(total >= 0, total, xp.zeros_like(total))
    softplus = softplus + xp.log1p(xp.exp(xp.where(total >= 0, -total, total)))
    return xp.where(like.any & unlike.any, softplus, xp.zeros_like(softplus))
