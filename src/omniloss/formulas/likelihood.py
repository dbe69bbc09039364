"""Negative log-likelihoods as torch has them: of given logarithms, with clamped ones, with weights inside."""

from typing import Any

from omniloss.formulas.definition import PROBABILITY, Other, pointwise, rowwise
from omniloss.formulas.stable import (
    constant,
    is_zero,
    logit_shares,
    one_hot,
    positive_part,
    product,
)

__all__ = [
    "binary_crossentropy_of_clamped_logs",
    "multilabel_soft_margin",
    "negative_log_likelihood",
    "weighted_binary_crossentropy_with_logits",
    "weighted_categorical_crossentropy_with_logits",
]

Array = Any
Namespace = Any


def _negative_log_likelihood_derivative(xp: Namespace, targets: Array, predictions: Array) -> Array:
    hot = one_hot(xp, targets, predictions)
    return xp.where(is_zero(xp, hot) | ~xp.isnan(predictions), -hot, predictions)


@rowwise(_negative_log_likelihood_derivative, labels=True)
def negative_log_likelihood(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """``-x_k``, of logarithms x of probabilities and the target k; NaN for an index that is no class.

    Nothing but ``x_k`` is looked at.
    """
    hot = one_hot(xp, targets, predictions)
    kept = xp.where(is_zero(xp, hot), xp.zeros_like(predictions), predictions)
    return -xp.sum(hot * kept, axis=-1)


# torch's 1e-12, which it rounds to float32
_LEAST = 9.999999960041972e-13


def _clamped(xp: Namespace, surprise: Array, limit: float) -> Array:
    """``min(surprise, limit)``."""
    return xp.where(surprise > limit, xp.full_like(surprise, limit), surprise)


def _clamped_surprises(xp: Namespace, predictions: Array, limit: float) -> tuple[Array, Array]:
    """``-log(p)`` and ``-log(1 - p)``, clamped; the logarithm of 0 is not taken."""
    one = xp.ones_like(predictions)
    none, certain = is_zero(xp, predictions), xp.equal(predictions, one)
    limits = limit * one
    of_one = xp.where(none, limits, -xp.log(xp.where(none, one, predictions)))
    of_zero = xp.where(certain, limits, -xp.log1p(-xp.where(certain, 0 * one, predictions)))
    return _clamped(xp, of_one, limit), _clamped(xp, of_zero, limit)


def _clamped_logs_derivative(
    xp: Namespace, targets: Array, predictions: Array, limit: float
) -> Array:
    # Not the slope of the clamped value, but that of the exact one with a bounded divisor, as in torch.
    divisor = (1 - predictions) * predictions
    least = xp.full_like(divisor, _LEAST)
    return (predictions - targets) / xp.where(divisor < least, least, divisor)


def _clamped_logs_by_target(
    xp: Namespace, targets: Array, predictions: Array, limit: float
) -> Array:
    # Not clamped, as in torch.
    return xp.log1p(-predictions) - xp.log(predictions)


@pointwise(
    _clamped_logs_derivative,
    targets=PROBABILITY,
    predictions=PROBABILITY,
    target_derivative=_clamped_logs_by_target,
)
def binary_crossentropy_of_clamped_logs(
    xp: Namespace, targets: Array, predictions: Array, limit: float
) -> Array:
    """``-(y * log(p) + (1 - y) * log(1 - p))``, each logarithm at least ``-limit``.

    The derivative is ``(p - y) / max(p * (1 - p), 1e-12)``. torch, binary_cross_entropy.
    """
    # Where the divisor is bounded, the value bends as its derivative says, for autodiff's sake.
    bounded = (1 - predictions) * predictions < _LEAST
    given = xp.where(bounded, constant(xp, predictions), predictions)
    of_one, of_zero = _clamped_surprises(xp, given, limit)
    bend = (predictions - constant(xp, targets)) ** 2 / (2 * _LEAST)
    bend = xp.where(bounded, bend - constant(xp, bend), xp.zeros_like(bend))
    return targets * of_one + (1 - targets) * of_zero + bend


class _Softplus:
    """``log(1 + exp(x))`` and ``log(1 + exp(-x))`` with their slopes, from one exponential."""

    def __init__(self, xp: Namespace, x: Array) -> None:
        self._positive = x >= 0
        self._relative = xp.exp(xp.where(self._positive, -x, x))
        self._xp, self._x = xp, x

    def up(self) -> Array:
        return positive_part(self._xp, self._x) + self._xp.log1p(self._relative)

    def down(self) -> Array:
        return positive_part(self._xp, -self._x) + self._xp.log1p(self._relative)

    def sigmoid(self) -> Array:
        return self._sigmoid(self._positive)

    def other_sigmoid(self) -> Array:
        return self._sigmoid(self._x < 0)

    def _sigmoid(self, large: Array) -> Array:
        one = self._xp.ones_like(self._relative)
        return self._xp.where(large, one, self._relative) / (1 + self._relative)


def _weighted_binary_derivative(
    xp: Namespace, targets: Array, predictions: Array, pos_weight: Array
) -> Array:
    plus = _Softplus(xp, predictions)
    return (1 - targets) * plus.sigmoid() - pos_weight * targets * plus.other_sigmoid()


def _weighted_binary_by_target(
    xp: Namespace, targets: Array, predictions: Array, pos_weight: Array
) -> Array:
    plus = _Softplus(xp, predictions)
    return product(xp, pos_weight, plus.down()) - plus.up()


@pointwise(
    _weighted_binary_derivative,
    targets=PROBABILITY,
    target_derivative=_weighted_binary_by_target,
    others=(Other("pos_weight", shape="broadcast"),),
)
def weighted_binary_crossentropy_with_logits(
    xp: Namespace, targets: Array, predictions: Array, pos_weight: Array
) -> Array:
    """``-(w * y * log(sigmoid(x)) + (1 - y) * log(sigmoid(-x)))``. torch, binary_cross_entropy_with_logits."""
    plus = _Softplus(xp, predictions)
    wanted = product(xp, pos_weight * targets, plus.down())
    return wanted + product(xp, 1 - targets, plus.up())


def _multilabel_soft_margin_derivative(
    xp: Namespace, targets: Array, predictions: Array, weight: Array
) -> Array:
    plus = _Softplus(xp, predictions)
    slope = (1 - targets) * plus.sigmoid() - targets * plus.other_sigmoid()
    return weight * _unless_unweighted(xp, weight, slope)


def _multilabel_soft_margin_by_target(
    xp: Namespace, targets: Array, predictions: Array, weight: Array
) -> Array:
    return weight * _unless_unweighted(xp, weight, -predictions)


@pointwise(
    _multilabel_soft_margin_derivative,
    targets=PROBABILITY,
    target_derivative=_multilabel_soft_margin_by_target,
    others=(Other("weight", shape="broadcast"),),
)
def multilabel_soft_margin(
    xp: Namespace, targets: Array, predictions: Array, weight: Array
) -> Array:
    """``w * log(1 + exp(x)) - w * y * x`` where ``w`` is not 0. torch, multilabel_soft_margin_loss."""
    plus = _Softplus(xp, predictions)
    value = product(xp, targets, plus.down()) + product(xp, 1 - targets, plus.up())
    return weight * _unless_unweighted(xp, weight, value)


def _unless_unweighted(xp: Namespace, weight: Array, values: Array) -> Array:
    """``values``, but 0 where the weight is 0, whatever they are."""
    return xp.where(is_zero(xp, weight), xp.zeros_like(values), values)


def _weighted_categorical_derivative(
    xp: Namespace, targets: Array, predictions: Array, weight: Array
) -> Array:
    shares, _ = logit_shares(xp, predictions)
    pulls = weight * targets
    others = xp.where(shares.top, xp.zeros_like(pulls), pulls)
    at_top = xp.sum(others, axis=-1, keepdims=True) - pulls * shares.rest
    elsewhere = shares.share * xp.sum(pulls, axis=-1, keepdims=True) - pulls
    return xp.where(shares.top, at_top / (1 + shares.rest), elsewhere)


def _weighted_categorical_by_target(
    xp: Namespace, targets: Array, predictions: Array, weight: Array
) -> Array:
    shares, logs = logit_shares(xp, predictions)
    return product(xp, weight, xp.log1p(shares.rest) - logs)


def _weighted_categorical_by_weight(
    xp: Namespace, targets: Array, predictions: Array, weight: Array
) -> Array:
    shares, logs = logit_shares(xp, predictions)
    return product(xp, targets, xp.log1p(shares.rest) - logs)


@rowwise(
    _weighted_categorical_derivative,
    target_derivative=_weighted_categorical_by_target,
    others=(Other("weight", _weighted_categorical_by_weight, shape="broadcast"),),
)
def weighted_categorical_crossentropy_with_logits(
    xp: Namespace, targets: Array, predictions: Array, weight: Array
) -> Array:
    """``-sum(w * y * log(q))``, ``q = softmax(x)``. torch, cross_entropy of class probabilities."""
    shares, logs = logit_shares(xp, predictions)
    return xp.sum(product(xp, weight * targets, xp.log1p(shares.rest) - logs), axis=-1)
