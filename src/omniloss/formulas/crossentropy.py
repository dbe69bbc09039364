"""Cross-entropies over classes, of probabilities and of logits, plain and focal.

Every form here works with the small side of a probability, which keeps the digits: 1 minus a
rounded probability has none left where it matters most, at the confident right answer.
"""

from math import log, log1p
from typing import Any

from omniloss.formulas.definition import NON_NEGATIVE, PROBABILITY, rowwise
from omniloss.formulas.stable import (
    Shares,
    behind_zero,
    is_hidden,
    is_zero,
    log_ratio,
    logit_shares,
    one_hot,
    positive_zero,
    power,
    probability_shares,
    product,
)

__all__ = [
    "categorical_crossentropy",
    "categorical_crossentropy_with_logits",
    "categorical_focal_crossentropy",
    "categorical_focal_crossentropy_with_logits",
    "sparse_categorical_crossentropy",
    "sparse_categorical_crossentropy_with_logits",
]

Array = Any
Namespace = Any


# Rows of probabilities: see `Shares`.


def _clips(xp: Namespace, shares: Shares, epsilon: float) -> tuple[Array, Array]:
    """Where a probability is at most epsilon, and where it is at least ``1 - epsilon``."""
    if epsilon <= 0:
        nowhere = xp.zeros_like(shares.top)
        return nowhere, nowhere
    return shares.share <= epsilon, shares.complement <= epsilon


def _probability_logs(
    xp: Namespace,
    shares: Shares,
    largest: Array,
    targets: Array,
    probabilities: Array,
    epsilon: float,
) -> Array:
    """``log(relative)`` of probabilities, 0 where it will not count."""
    low, _ = _clips(xp, shares, epsilon)
    unused = shares.top | low
    hidden = is_hidden(xp, targets, probabilities) & ~unused
    unused = unused | hidden
    one = xp.ones_like(probabilities)
    logs = log_ratio(xp, xp.where(unused, one, probabilities), xp.where(unused, one, largest))
    return behind_zero(xp, hidden, shares.relative, logs)


def _surprisals(
    xp: Namespace, shares: Shares, logs: Array, targets: Array, epsilon: float, gamma: float
) -> Array:
    """``-log(q) * (1 - q)**gamma`` with q clipped to ``[epsilon, 1 - epsilon]``, for each class."""
    # log(relative) of a class without a target may be infinite, and must not count.
    logs = xp.where(is_zero(xp, targets) & xp.isinf(logs), xp.zeros_like(logs), logs)
    surprisals = xp.log1p(shares.rest) - logs
    if gamma != 0:
        zero = is_zero(xp, shares.complement)
        base = xp.where(zero, xp.ones_like(surprisals), shares.complement)
        surprisals = xp.where(zero, xp.zeros_like(surprisals), power(xp, base, gamma) * surprisals)
    if epsilon <= 0:
        return surprisals
    low, high = _clips(xp, shares, epsilon)
    at_low = xp.full_like(surprisals, -log(epsilon) * (1 - epsilon) ** gamma)
    at_high = xp.full_like(surprisals, -log1p(-epsilon) * epsilon**gamma)
    return xp.where(low, at_low, xp.where(high, at_high, surprisals))


def _pulls(
    xp: Namespace, shares: Shares, logs: Array, targets: Array, epsilon: float, gamma: float
) -> Array:
    """``-y * q * d/dq`` of the surprisals; for the plain cross-entropy y. 0 where clipped."""
    pulls = targets
    if gamma != 0:
        # (1 - q)**gamma * (1 - gamma * q * log(q) / (1 - q))
        logs = xp.where(is_zero(xp, targets), xp.zeros_like(logs), logs)
        zero = is_zero(xp, shares.complement)
        base = xp.where(zero, xp.ones_like(shares.complement), shares.complement)
        surprisals = xp.log1p(shares.rest) - logs
        focus = 1 + gamma * product(xp, shares.share, surprisals / base)
        pulls = targets * (power(xp, shares.complement, gamma) * focus)
    low, high = _clips(xp, shares, epsilon)
    return xp.where(low | high, xp.zeros_like(targets), pulls)


def _logit_slope(xp: Namespace, shares: Shares, pulls: Array) -> Array:
    """``q * sum(pulls) - pulls``, where the top's own pull is taken out of the sum first."""
    others = xp.where(shares.top, xp.zeros_like(pulls), pulls)
    at_top = xp.sum(others, axis=-1, keepdims=True) - pulls * shares.rest
    elsewhere = shares.share * xp.sum(pulls, axis=-1, keepdims=True) - pulls
    return xp.where(shares.top, at_top / (1 + shares.rest), elsewhere)


def _probability_slope(
    xp: Namespace, shares: Shares, largest: Array, pulls: Array, probabilities: Array
) -> Array:
    """``sum(pulls) / sum(p) - pulls / p``, where the top's own pull cancels first."""
    others = xp.where(shares.top, xp.zeros_like(pulls), pulls)
    at_top = xp.sum(others, axis=-1, keepdims=True) - pulls * shares.rest
    unpulled = is_zero(xp, pulls) & (probabilities >= 0)
    divisor = xp.where(unpulled, xp.ones_like(probabilities), positive_zero(xp, probabilities))
    sum_pulls = xp.sum(pulls, axis=-1, keepdims=True)
    # As one quotient, where both terms may be beyond the type's range.
    elsewhere = xp.where(
        unpulled,
        sum_pulls / (1 + shares.rest) / largest,
        (sum_pulls * shares.share - pulls) / divisor,
    )
    return xp.where(shares.top, at_top / (1 + shares.rest) / largest, elsewhere)


def _categorical_focal_crossentropy_derivative(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float, alpha: float, gamma: float
) -> Array:
    shares, largest = probability_shares(xp, predictions)
    logs = _probability_logs(xp, shares, largest, targets, predictions, epsilon)
    pulls = _pulls(xp, shares, logs, alpha * targets, epsilon, gamma)
    return _probability_slope(xp, shares, largest, pulls, predictions)


@rowwise(_categorical_focal_crossentropy_derivative, predictions=PROBABILITY)
def categorical_focal_crossentropy(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float, alpha: float, gamma: float
) -> Array:
    """``-alpha * sum(y * (1 - q)**gamma * log(q))``, q as in `categorical_crossentropy`.

    Lin et al., Focal loss for dense object detection (2017), arXiv:1708.02002; over classes as in
    Keras.
    """
    shares, largest = probability_shares(xp, predictions)
    logs = _probability_logs(xp, shares, largest, targets, predictions, epsilon)
    surprisals = _surprisals(xp, shares, logs, targets, epsilon, gamma)
    return xp.sum(alpha * targets * surprisals, axis=-1)


def _categorical_focal_crossentropy_with_logits_derivative(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float, alpha: float, gamma: float
) -> Array:
    shares, logs = logit_shares(xp, predictions)
    return _logit_slope(xp, shares, _pulls(xp, shares, logs, alpha * targets, epsilon, gamma))


@rowwise(_categorical_focal_crossentropy_with_logits_derivative)
def categorical_focal_crossentropy_with_logits(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float, alpha: float, gamma: float
) -> Array:
    """`categorical_focal_crossentropy` of ``q = softmax(x)``."""
    shares, logs = logit_shares(xp, predictions)
    surprisals = _surprisals(xp, shares, logs, targets, epsilon, gamma)
    return xp.sum(alpha * targets * surprisals, axis=-1)


# The plain cross-entropies are the focal ones of gamma 0 and alpha 1; those of class indices are
# the dense ones of one-hot targets.


def _categorical_crossentropy_derivative(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    return _categorical_focal_crossentropy_derivative(xp, targets, predictions, epsilon, 1.0, 0.0)


@rowwise(_categorical_crossentropy_derivative, predictions=NON_NEGATIVE)
def categorical_crossentropy(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    """``-sum(y * log(q))``, ``q = p / sum(p)`` clipped to ``[epsilon, 1 - epsilon]``.

    ``0 * log 0`` is 0. Keras, categorical_crossentropy.
    """
    # With the largest probability as the unit, -log(q) is log1p(rest) - log(relative), a sum of two
    # positive terms: the confident right answer keeps its digits.
    return categorical_focal_crossentropy.value(xp, targets, predictions, epsilon, 1.0, 0.0)


def _categorical_crossentropy_with_logits_derivative(
    xp: Namespace, targets: Array, predictions: Array
) -> Array:
    return _categorical_focal_crossentropy_with_logits_derivative(
        xp, targets, predictions, 0.0, 1.0, 0.0
    )


def _categorical_crossentropy_with_logits_by_target(
    xp: Namespace, targets: Array, predictions: Array
) -> Array:
    shares, logs = logit_shares(xp, predictions)
    return xp.log1p(shares.rest) - logs


@rowwise(
    _categorical_crossentropy_with_logits_derivative,
    target_derivative=_categorical_crossentropy_with_logits_by_target,
)
def categorical_crossentropy_with_logits(
    xp: Namespace, targets: Array, predictions: Array
) -> Array:
    """``-sum(y * log(q))``, ``q = softmax(x)``.

    Bridle, Probabilistic interpretation of feedforward classification network outputs (1990).
    """
    # log1p(sum over j but the largest of exp(x_j - m)) + (m - x_k): see `categorical_crossentropy`.
    return categorical_focal_crossentropy_with_logits.value(xp, targets, predictions, 0.0, 1.0, 0.0)


def _sparse_categorical_crossentropy_derivative(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    rows = one_hot(xp, targets, predictions)
    return _categorical_crossentropy_derivative(xp, rows, predictions, epsilon)


@rowwise(_sparse_categorical_crossentropy_derivative, labels=True, predictions=NON_NEGATIVE)
def sparse_categorical_crossentropy(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    """`categorical_crossentropy` of class indices; NaN for one that is no class."""
    rows = one_hot(xp, targets, predictions)
    return categorical_crossentropy.value(xp, rows, predictions, epsilon)


def _sparse_categorical_crossentropy_with_logits_derivative(
    xp: Namespace, targets: Array, predictions: Array
) -> Array:
    rows = one_hot(xp, targets, predictions)
    return _categorical_crossentropy_with_logits_derivative(xp, rows, predictions)


@rowwise(_sparse_categorical_crossentropy_with_logits_derivative, labels=True)
def sparse_categorical_crossentropy_with_logits(
    xp: Namespace, targets: Array, predictions: Array
) -> Array:
    """`categorical_crossentropy_with_logits` of class indices; NaN for one that is no class."""
    rows = one_hot(xp, targets, predictions)
    return categorical_crossentropy_with_logits.value(xp, rows, predictions)
