"""Losses between rates or distributions: targets and predictions are not negative."""

from typing import Any

from omniloss.formulas.definition import NON_NEGATIVE, pointwise
from omniloss.formulas.stable import is_zero, log_ratio, log_sum, two_difference

__all__ = ["kl_divergence", "poisson"]

Array = Any
Namespace = Any


def _kl_divergence_derivative(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    y = _clip(xp, targets, epsilon)
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
    p = _clip(xp, predictions, epsilon)
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


@pointwise(_poisson_derivative, targets=NON_NEGATIVE, predictions=NON_NEGATIVE)
def poisson(xp: Namespace, targets: Array, predictions: Array, epsilon: float) -> Array:
    """``p - y * log(p + epsilon)``: a rate's negative log-likelihood, without ``log(y!)``.

    ``0 * log 0`` is 0. Keras, poisson.
    """
    # A sum p + epsilon near 1 keeps its rounding error, which the logarithm there would show.
    constant = _log_is_negligible(xp, targets, predictions)
    rate = xp.where(constant, xp.ones_like(predictions), predictions)
    logarithm = log_sum(xp, rate, xp.full_like(rate, epsilon))
    return predictions - xp.where(constant, xp.zeros_like(rate), targets * logarithm)


def _log_is_negligible(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """Where ``p - y * log(p)`` is just ``p``: at ``y = 0`` and at an infinite rate."""
    return (is_zero(xp, targets) & (predictions >= 0)) | (
        xp.isinf(predictions) & xp.isfinite(targets)
    )


def _clip(xp: Namespace, x: Array, epsilon: float) -> Array:
    """``x`` in ``[epsilon, 1]`` for an epsilon above 0, which only then clips."""
    if epsilon <= 0:
        return x
    raised = xp.where(x <= epsilon, xp.full_like(x, epsilon), x)
    return xp.where(raised >= 1, xp.ones_like(x), raised)
