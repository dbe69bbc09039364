"""Losses between rates or distributions: targets and predictions are not negative."""

from math import inf, pi
from typing import Any

from omniloss.formulas.definition import NON_NEGATIVE, pointwise
from omniloss.formulas.stable import (
    behind_zero,
    is_hidden,
    is_zero,
    log_ratio,
    log_sum,
    positive_zero,
    product,
    two_difference,
)

__all__ = [
    "kl_divergence",
    "kl_divergence_between_logs",
    "kl_divergence_of_logs",
    "poisson",
    "poisson_of_logs",
    "poisson_with_stirling",
]

Array = Any
Namespace = Any


def _kl_divergence_derivative(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    y = _clip(xp, targets, epsilon)
    predictions = positive_zero(xp, predictions)
    absent = is_zero(xp, y) & (predictions >= 0)
    slope = -y / xp.where(absent, xp.ones_like(predictions), predictions)
    if epsilon <= 0:
        return slope
    clipped = (predictions <= epsilon) | (predictions >= 1)
    return xp.where(clipped, xp.zeros_like(slope), slope)


@pointwise(_kl_divergence_derivative, targets=NON_NEGATIVE, predictions=NON_NEGATIVE)
def kl_divergence(xp: Namespace, targets: Array, predictions: Array, epsilon: float) -> Array:
    """``y * log(y / p)``, a summand of the divergence; both clipped to ``[epsilon, 1]``.

    An epsilon of 0 clips nothing, and ``0 * log 0`` is 0.
    Kullback and Leibler, Annals of Mathematical Statistics 22 (1951); clipped as in Keras.
    """
    # Near y = p the logarithm is log1p((y - p) / p), whose difference is exact.
    y = _clip(xp, targets, epsilon)
    p = _clip(xp, positive_zero(xp, predictions), epsilon)
    absent = is_zero(xp, y) & (p >= 0)
    one = xp.ones_like(p)
    return y * log_ratio(xp, xp.where(absent, one, y), xp.where(absent, one, p))


def _poisson_derivative(xp: Namespace, targets: Array, predictions: Array, epsilon: float) -> Array:
    # 1 - y / (p + epsilon) as one quotient, so that its difference is taken before rounding.
    difference, error = two_difference(xp, predictions, targets)
    one = xp.ones_like(difference)
    constant = _log_is_negligible(xp, targets, predictions)
    excess = xp.where(constant, one, (difference + epsilon) + error)
    return excess / xp.where(constant, one, predictions + epsilon)


def _poisson_by_target(xp: Namespace, targets: Array, predictions: Array, epsilon: float) -> Array:
    return -log_sum(xp, predictions, xp.full_like(predictions, epsilon))


@pointwise(
    _poisson_derivative,
    targets=NON_NEGATIVE,
    predictions=NON_NEGATIVE,
    target_derivative=_poisson_by_target,
)
def poisson(xp: Namespace, targets: Array, predictions: Array, epsilon: float) -> Array:
    """``p - y * log(p + epsilon)``: a rate's negative log-likelihood, without ``log(y!)``.

    ``0 * log 0`` is 0. Keras, poisson.
    """
    # A sum p + epsilon near 1 keeps its rounding error, which the logarithm there would show.
    infinite = xp.isinf(predictions) & xp.isfinite(targets)
    total = predictions + epsilon
    hidden = is_hidden(xp, targets, total) & (predictions >= 0)
    rate = xp.where(infinite | hidden, xp.ones_like(predictions), predictions)
    logarithm = log_sum(xp, rate, xp.full_like(rate, epsilon))
    logarithm = behind_zero(xp, hidden, total, logarithm)
    return predictions - xp.where(infinite, xp.zeros_like(rate), targets * logarithm)


def _log_is_negligible(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """Where ``p - y * log(p)`` is just ``p``: at ``y = 0`` and at an infinite rate."""
    return (is_zero(xp, targets) & (predictions >= 0)) | (
        xp.isinf(predictions) & xp.isfinite(targets)
    )


def _stirling(xp: Namespace, targets: Array) -> Array:
    """``log(y!)`` by Stirling's formula for ``y > 1``, else 0."""
    large = targets > 1
    count = xp.where(large, targets, xp.ones_like(targets))
    term = (count * xp.log(count) - count) + 0.5 * xp.log(2 * pi * count)
    return xp.where(large, term, xp.where(xp.isnan(targets), targets, xp.zeros_like(targets)))


def _stirling_slope(xp: Namespace, targets: Array) -> Array:
    large = targets > 1
    count = xp.where(large, targets, xp.ones_like(targets))
    return xp.where(large, xp.log(count) + 0.5 / count, xp.zeros_like(targets))


def _poisson_with_stirling_derivative(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    return _poisson_derivative(xp, targets, predictions, epsilon)


def _poisson_with_stirling_by_target(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    slope = _poisson_by_target(xp, targets, predictions, epsilon)
    return slope + _stirling_slope(xp, targets)


@pointwise(
    _poisson_with_stirling_derivative,
    targets=NON_NEGATIVE,
    predictions=NON_NEGATIVE,
    target_derivative=_poisson_with_stirling_by_target,
)
def poisson_with_stirling(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    """`poisson` and Stirling's approximation of ``log(y!)`` for ``y > 1``. torch, poisson_nll_loss."""
    return poisson.value(xp, targets, predictions, epsilon) + _stirling(xp, targets)


def _poisson_of_logs_derivative(
    xp: Namespace, targets: Array, predictions: Array, full: float
) -> Array:
    return xp.exp(predictions) - targets


def _poisson_of_logs_by_target(
    xp: Namespace, targets: Array, predictions: Array, full: float
) -> Array:
    return _stirling_slope(xp, targets) - predictions if full else -predictions


@pointwise(
    _poisson_of_logs_derivative,
    targets=NON_NEGATIVE,
    target_derivative=_poisson_of_logs_by_target,
)
def poisson_of_logs(xp: Namespace, targets: Array, predictions: Array, full: float) -> Array:
    """``exp(x) - y * x``: `poisson` of the rate ``exp(x)``; ``full`` (0 or 1) adds Stirling's ``log(y!)``.

    torch, poisson_nll_loss.
    """
    # An exponential that overflows outgrows everything.
    infinite = xp.isinf(xp.exp(predictions)) & xp.isfinite(targets)
    finite = xp.where(infinite, xp.zeros_like(predictions), predictions)
    value = xp.exp(finite) - product(xp, targets, finite)
    value = xp.where(infinite, xp.full_like(value, inf), value)
    return value + _stirling(xp, targets) if full else value


def _kl_divergence_of_logs_derivative(xp: Namespace, targets: Array, predictions: Array) -> Array:
    return xp.where(xp.isnan(predictions), predictions, -targets)


def _kl_divergence_of_logs_by_target(xp: Namespace, targets: Array, predictions: Array) -> Array:
    return (xp.log(targets) - predictions) + 1


@pointwise(
    _kl_divergence_of_logs_derivative,
    targets=NON_NEGATIVE,
    target_derivative=_kl_divergence_of_logs_by_target,
)
def kl_divergence_of_logs(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """``y * (log(y) - x)``: `kl_divergence` of ``p = exp(x)``, unclipped; ``0 * log 0`` is 0. torch, kl_div."""
    absent = is_zero(xp, targets) & xp.equal(predictions, predictions)
    logarithm = xp.log(xp.where(absent, xp.ones_like(targets), targets))
    logarithm = behind_zero(xp, absent, targets, logarithm)
    silent = absent & xp.isinf(predictions)
    return targets * (logarithm - xp.where(silent, xp.zeros_like(predictions), predictions))


def _kl_divergence_between_logs_derivative(
    xp: Namespace, targets: Array, predictions: Array
) -> Array:
    return xp.where(xp.isnan(predictions), predictions, -xp.exp(targets))


def _kl_divergence_between_logs_by_target(
    xp: Namespace, targets: Array, predictions: Array
) -> Array:
    return _exp_times(xp, targets, _log_difference(xp, targets, predictions) + 1)


@pointwise(
    _kl_divergence_between_logs_derivative,
    target_derivative=_kl_divergence_between_logs_by_target,
)
def kl_divergence_between_logs(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """``exp(t) * (t - x)``: `kl_divergence` of ``y = exp(t)`` and ``p = exp(x)``, unclipped. torch, kl_div."""
    return _exp_times(xp, targets, _log_difference(xp, targets, predictions))


def _exp_times(xp: Namespace, x: Array, factor: Array) -> Array:
    """``factor * exp(x)``, which loses no digits where the exponential alone is subnormal."""
    tiny = x < -80
    power = xp.exp(xp.where(tiny, 0.5 * x, x))
    return product(xp, factor, power) * xp.where(tiny, power, xp.ones_like(power))


def _log_difference(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """``t - x``; 0 where t is the logarithm of 0, which silences what x is, and of equal infinities."""
    absent = xp.equal(targets, xp.full_like(targets, -inf)) & ~xp.isnan(predictions)
    same = absent | (xp.isinf(targets) & xp.equal(targets, predictions))
    zero = xp.zeros_like(targets)
    return xp.where(same, zero, targets) - xp.where(same, zero, predictions)


def _clip(xp: Namespace, x: Array, epsilon: float) -> Array:
    """``x`` in ``[epsilon, 1]`` for an epsilon above 0, which only then clips."""
    if epsilon <= 0:
        return x
    raised = xp.where(x <= epsilon, xp.full_like(x, epsilon), x)
    return xp.where(raised >= 1, xp.ones_like(x), raised)
