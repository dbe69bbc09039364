"""Losses of a difference: targets and predictions are real numbers."""

from math import log, nan, pi
from typing import Any

from omniloss.formulas.definition import NON_NEGATIVE, Other, pointwise
from omniloss.formulas.stable import constant, is_zero, product, two_difference, two_sum

__all__ = [
    "absolute_error",
    "absolute_percentage_error",
    "gaussian_nll",
    "huber",
    "log_cosh",
    "smooth_l1",
    "squared_error",
    "squared_logarithmic_error",
]

Array = Any
Namespace = Any


def _squared_error_derivative(xp: Namespace, targets: Array, predictions: Array) -> Array:
    return 2 * (predictions - targets)


def _squared_error_by_target(xp: Namespace, targets: Array, predictions: Array) -> Array:
    return 2 * (targets - predictions)


@pointwise(_squared_error_derivative, target_derivative=_squared_error_by_target)
def squared_error(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """``(p - y)**2``. Gauss, Theoria combinationis (1823)."""
    difference = predictions - targets
    return difference * difference


def _absolute_error_derivative(xp: Namespace, targets: Array, predictions: Array) -> Array:
    return xp.sign(predictions - targets)


def _absolute_error_by_target(xp: Namespace, targets: Array, predictions: Array) -> Array:
    return xp.sign(targets - predictions)


@pointwise(_absolute_error_derivative, target_derivative=_absolute_error_by_target)
def absolute_error(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """``|p - y|``. Laplace, Memoire sur la probabilite des causes (1774)."""
    return _magnitude(xp, predictions - targets)


def _huber_derivative(xp: Namespace, targets: Array, predictions: Array, delta: float) -> Array:
    difference = predictions - targets
    limit = xp.full_like(difference, delta)
    above = xp.where(difference > limit, limit, difference)
    return xp.where(difference < -limit, -limit, above)


def _huber_by_target(xp: Namespace, targets: Array, predictions: Array, delta: float) -> Array:
    return _huber_derivative(xp, predictions, targets, delta)


@pointwise(_huber_derivative, target_derivative=_huber_by_target)
def huber(xp: Namespace, targets: Array, predictions: Array, delta: float) -> Array:
    """``d**2 / 2`` up to ``|d| = delta``, beyond it ``delta * (|d| - delta / 2)``; ``d = p - y``.

    Huber, Robust estimation of a location parameter, Annals of Mathematical Statistics 35 (1964).
    """
    # With c = min(|d|, delta) both pieces are c * (|d| - c / 2). A |d| that overflows, while delta
    # times it may not, is taken at half its size, next to which delta / 2 is nothing.
    size = _magnitude(xp, predictions - targets)
    limit = xp.full_like(size, delta)
    core = xp.where(size > limit, limit, size)
    half = _magnitude(xp, 0.5 * predictions - 0.5 * targets)
    return xp.where(xp.isinf(size), 2 * (limit * half), core * (size - 0.5 * core))


def _smooth_l1_derivative(xp: Namespace, targets: Array, predictions: Array, beta: float) -> Array:
    difference = predictions - targets
    inside = _magnitude(xp, difference) < beta
    return xp.where(inside, difference / beta, xp.sign(difference))


def _smooth_l1_by_target(xp: Namespace, targets: Array, predictions: Array, beta: float) -> Array:
    return _smooth_l1_derivative(xp, predictions, targets, beta)


@pointwise(_smooth_l1_derivative, target_derivative=_smooth_l1_by_target)
def smooth_l1(xp: Namespace, targets: Array, predictions: Array, beta: float) -> Array:
    """``d**2 / (2 * beta)`` up to ``|d| = beta``, beyond it ``|d| - beta / 2``; ``d = p - y``, ``beta > 0``.

    Girshick, Fast R-CNN (2015), arXiv:1504.08083; beta as in torch, smooth_l1_loss.
    """
    # d**2 might underflow where its quotient by beta does not.
    size = _magnitude(xp, predictions - targets)
    inside = size < beta
    core = xp.where(inside, size, xp.zeros_like(size))
    return xp.where(inside, core * (0.5 * core / beta), size - 0.5 * beta)


def _log_cosh_derivative(xp: Namespace, targets: Array, predictions: Array) -> Array:
    return xp.tanh(predictions - targets)


@pointwise(_log_cosh_derivative)
def log_cosh(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """``log(cosh(p - y))``. Green, Journal of the Royal Statistical Society B 46 (1984)."""
    # cosh(d) - 1 = 2 sinh(d/2)**2 keeps the digits of a small d; a large |d| is taken out of the
    # exponential. The rounding error of d counts with the slope tanh(d).
    difference, error = two_difference(xp, predictions, targets)
    size = _magnitude(xp, difference)
    small = size <= 1
    half = xp.sinh(0.5 * xp.where(small, difference, xp.zeros_like(difference)))
    near = xp.log1p(2 * (half * half))
    far = (size - log(2.0)) + xp.log1p(xp.exp(-2 * size))
    return xp.where(small, near, far) + error * xp.tanh(difference)


def _absolute_percentage_error_derivative(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    return 100 * xp.sign(predictions - targets) / _at_least(xp, xp.abs(targets), epsilon)


@pointwise(_absolute_percentage_error_derivative)
def absolute_percentage_error(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    """``100 * |p - y| / max(|y|, epsilon)``. Keras, mean_absolute_percentage_error."""
    # Where the difference overflows, while the quotient may not, both halves are subtracted.
    scale = _at_least(xp, xp.abs(targets), epsilon)
    size = _magnitude(xp, predictions - targets)
    half = _magnitude(xp, 0.5 * predictions - 0.5 * targets)
    return xp.where(xp.isinf(size), 200 * (half / scale), 100 * (size / scale))


def _squared_logarithmic_error_derivative(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    side, distance, error = _log_distance(xp, targets, predictions, epsilon)
    base = 1 + _at_least(xp, predictions, epsilon)
    same = is_zero(xp, distance)
    slope = 2 * (side * (distance + error)) / xp.where(same, xp.ones_like(base), base)
    return _unless_clipped(xp, predictions, epsilon, slope)


@pointwise(_squared_logarithmic_error_derivative)
def squared_logarithmic_error(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    """``(log(1 + p) - log(1 + y))**2``, both clipped below at epsilon.

    Keras, mean_squared_logarithmic_error.
    """
    _, distance, error = _log_distance(xp, targets, predictions, epsilon)
    return distance * distance + 2 * product(xp, error, distance)


def _log_distance(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> tuple[Array, Array, Array]:
    """The sign of ``p - y``, then ``|log(1 + p) - log(1 + y)|`` after clipping, and its error."""
    # log(1 + high) - log(1 + low) = log1p((high - low) / (1 + low)). The rounding errors of both
    # sums are carried through the quotient, because squaring doubles what is lost here.
    targets = _at_least(xp, targets, epsilon)
    predictions = _at_least(xp, predictions, epsilon)
    above = predictions >= targets
    low = xp.where(above, targets, predictions)
    high = xp.where(above, predictions, targets)
    gap, gap_error = two_difference(xp, high, low)
    base, base_error = two_sum(xp, low, xp.ones_like(low))
    same = is_zero(xp, gap)  # at -1 too, where both logarithms are infinite
    quotient = xp.where(same, gap, gap / xp.where(same, xp.ones_like(base), base))
    regular = xp.isfinite(quotient)
    finite = xp.where(regular, quotient, xp.zeros_like(quotient))
    divisor = xp.where(regular & ~is_zero(xp, base), base, xp.ones_like(base))
    error = (gap_error - finite * base_error) / divisor
    defined = xp.where(base < 0, xp.full_like(base, nan), quotient)
    error = xp.where(regular, error, xp.zeros_like(error)) / (1 + finite)
    return xp.sign(predictions - targets), xp.log1p(defined), error


def _gaussian_nll_derivative(
    xp: Namespace, targets: Array, predictions: Array, var: Array, eps: float, full: float
) -> Array:
    return (predictions - targets) / _raised(xp, var, eps)


def _gaussian_nll_by_target(
    xp: Namespace, targets: Array, predictions: Array, var: Array, eps: float, full: float
) -> Array:
    return (targets - predictions) / _raised(xp, var, eps)


def _gaussian_nll_by_var(
    xp: Namespace, targets: Array, predictions: Array, var: Array, eps: float, full: float
) -> Array:
    # A variance that is raised to eps keeps its derivative, so that it can grow again.
    variance = _raised(xp, var, eps)
    difference = predictions - targets
    return 0.5 * (1 - difference * (difference / variance)) / variance


@pointwise(
    _gaussian_nll_derivative,
    target_derivative=_gaussian_nll_by_target,
    others=(Other("var", _gaussian_nll_by_var, NON_NEGATIVE, "leading"),),
)
def gaussian_nll(
    xp: Namespace, targets: Array, predictions: Array, var: Array, eps: float, full: float
) -> Array:
    """``(log(v) + d**2 / v) / 2``, ``v = max(var, eps)``, ``d = p - y``; ``full`` (0 or 1) adds ``log(2 pi) / 2``.

    Nix and Weigend, Estimating the mean and variance of the target probability distribution (1994);
    torch, gaussian_nll_loss.
    """
    # The quotient comes first, as d**2 alone might overflow.
    variance = _raised(xp, var, eps)
    difference = predictions - targets
    value = 0.5 * (xp.log(variance) + difference * (difference / variance))
    return value + 0.5 * log(2 * pi) if full else value


def _raised(xp: Namespace, var: Array, eps: float) -> Array:
    """``max(var, eps)``, whose slope is 1 to autodiff below ``eps`` too, as in `_gaussian_nll_by_var`."""
    small = var < eps
    low = xp.where(small, var, xp.zeros_like(var))
    return xp.where(small, eps + (low - constant(xp, low)), var)


def _magnitude(xp: Namespace, x: Array) -> Array:
    """``|x|``, with derivative 0 at 0 under every framework's autodiff."""
    return xp.sign(x) * x


def _at_least(xp: Namespace, x: Array, epsilon: float) -> Array:
    """``max(x, epsilon)`` for an epsilon above 0, which only then clips."""
    if epsilon <= 0:
        return x
    return xp.where(x <= epsilon, xp.full_like(x, epsilon), x)


def _unless_clipped(xp: Namespace, x: Array, epsilon: float, slope: Array) -> Array:
    """``slope``, but 0 where `_at_least` clips ``x``."""
    if epsilon <= 0:
        return slope
    return xp.where(x <= epsilon, xp.zeros_like(slope), slope)
