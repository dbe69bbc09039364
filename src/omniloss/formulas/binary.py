"""Cross-entropies of two classes, of a probability and of a logit, plain and focal.

Every form here works with the small side of a probability: why, `crossentropy` says.
"""

from math import log, log1p
from typing import Any, NamedTuple

from omniloss.formulas.definition import PROBABILITY, pointwise
from omniloss.formulas.stable import (
    behind_zero,
    exp_product,
    is_hidden,
    is_zero,
    positive_zero,
    power,
    product,
    two_difference,
    two_product,
    two_sum,
)

__all__ = [
    "binary_crossentropy",
    "binary_crossentropy_with_logits",
    "binary_focal_crossentropy",
    "binary_focal_crossentropy_with_logits",
]

Array = Any
Namespace = Any


# `small` is min(p, 1 - p), `near` the target's share of the class that is so improbable, `far` the share of the
# other one.


class _Sides(NamedTuple):
    low: Array
    small: Array
    near: Array
    far: Array


def _sides(xp: Namespace, targets: Array, predictions: Array) -> _Sides:
    """The sides of a probability; ``1 - p`` is exact where it is the small one."""
    predictions = positive_zero(xp, predictions)
    low = predictions <= 0.5
    rest = 1 - targets
    return _Sides(
        low,
        xp.where(low, predictions, 1 - predictions),
        xp.where(low, targets, rest),
        xp.where(low, rest, targets),
    )


def _floor(xp: Namespace, sides: _Sides, epsilon: float) -> Array:
    """What ``small`` is clipped at: epsilon, or what is left to 1 from ``1 - epsilon`` as rounded."""
    low = xp.full_like(sides.small, epsilon)
    return xp.where(sides.low, low, 1 - xp.full_like(sides.small, 1 - epsilon))


def _surprise(xp: Namespace, sides: _Sides, epsilon: float) -> Array:
    """``-(near * log(small) + far * log(1 - small))``, ``small`` clipped below."""
    small = sides.small
    if epsilon > 0:
        floor = _floor(xp, sides, epsilon)
        small = xp.where(small <= floor, floor, small)
    hidden = is_hidden(xp, sides.near, small)
    logarithm = xp.log(xp.where(hidden, xp.ones_like(small), small))
    logarithm = behind_zero(xp, hidden, small, logarithm)
    return -(sides.near * logarithm + sides.far * xp.log1p(-small))


def _surprise_slope(
    xp: Namespace, targets: Array, predictions: Array, sides: _Sides, epsilon: float
) -> Array:
    """``(p - y) / (p * (1 - p))``, 0 where epsilon clips."""
    # A target of 0 or 1 on the probable side cancels one factor, which may be 0.
    certain = is_zero(xp, sides.near)
    one = xp.ones_like(predictions)
    direction = xp.where(sides.low, one, -one)
    slope = xp.where(certain, direction, predictions - targets)
    slope = slope / (xp.where(certain, one, sides.small) * (1 - sides.small))
    if epsilon > 0:
        clipped = sides.small <= _floor(xp, sides, epsilon)
        slope = xp.where(clipped, xp.zeros_like(slope), slope)
    return slope


def _binary_crossentropy_derivative(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    sides = _sides(xp, targets, predictions)
    return _surprise_slope(xp, targets, predictions, sides, epsilon)


def _binary_crossentropy_by_target(
    xp: Namespace, targets: Array, predictions: Array, epsilon: float
) -> Array:
    one = xp.ones_like(predictions)
    of_one = _surprise(xp, _sides(xp, one, predictions), epsilon)
    return of_one - _surprise(xp, _sides(xp, xp.zeros_like(one), predictions), epsilon)


@pointwise(
    _binary_crossentropy_derivative,
    targets=PROBABILITY,
    predictions=PROBABILITY,
    target_derivative=_binary_crossentropy_by_target,
)
def binary_crossentropy(xp: Namespace, targets: Array, predictions: Array, epsilon: float) -> Array:
    """``-(y * log(p) + (1 - y) * log(1 - p))``, ``p`` clipped to ``[epsilon, 1 - epsilon]``.

    Both bounds are rounded to the type of the data, as in Keras: in float32 the upper one is
    1 - 2**-23 for an epsilon of 1e-7. ``0 * log 0`` is 0. Good, Journal of the Royal Statistical
    Society B 14 (1952); clipped as in Keras.
    """
    return _surprise(xp, _sides(xp, targets, predictions), epsilon)


class _LogitSides(NamedTuple):
    positive: Array
    size: Array
    relative: Array
    near: Array
    far: Array

    @property
    def small(self) -> Array:
        """The probability of the improbable side."""
        return self.relative / (1 + self.relative)


def _logit_sides(xp: Namespace, targets: Array, predictions: Array) -> _LogitSides:
    """``|x|``, ``exp(-|x|)`` and the shares of the improbable side and of the other."""
    positive = predictions >= 0
    size = xp.where(positive, predictions, -predictions)
    rest = 1 - targets
    return _LogitSides(
        positive,
        size,
        xp.exp(-size),
        xp.where(positive, rest, targets),
        xp.where(positive, targets, rest),
    )


def _logit_surprise(xp: Namespace, sides: _LogitSides) -> Array:
    """``near * |x| + log1p(exp(-|x|))``, whose terms are both positive: nothing cancels."""
    return product(xp, sides.near, sides.size) + xp.log1p(sides.relative)


def _logit_surprise_slope(xp: Namespace, sides: _LogitSides) -> Array:
    """``sigmoid(x) - y``; for a certain right answer exactly the small side's probability."""
    small = sides.small
    return xp.where(sides.positive, sides.near - small, small - sides.near)


def _binary_crossentropy_with_logits_derivative(
    xp: Namespace, targets: Array, predictions: Array
) -> Array:
    return _logit_surprise_slope(xp, _logit_sides(xp, targets, predictions))


def _binary_crossentropy_with_logits_by_target(
    xp: Namespace, targets: Array, predictions: Array
) -> Array:
    return -predictions


@pointwise(
    _binary_crossentropy_with_logits_derivative,
    targets=PROBABILITY,
    target_derivative=_binary_crossentropy_with_logits_by_target,
)
def binary_crossentropy_with_logits(xp: Namespace, targets: Array, predictions: Array) -> Array:
    """`binary_crossentropy` of ``p = sigmoid(x)``: ``((x >= 0) - y) * x + log1p(exp(-|x|))``."""
    return _logit_surprise(xp, _logit_sides(xp, targets, predictions))


# Focal: the surprise times (1 - p_t)**gamma, where p_t is the probability of the target.


def _balance(targets: Array, alpha: float, balanced: float) -> Array | float:
    """The weight of each class: alpha for class 1, ``1 - alpha`` for class 0."""
    if not balanced:
        return 1.0
    return alpha * targets + (1 - alpha) * (1 - targets)


def _miss(xp: Namespace, targets: Array, predictions: Array) -> tuple[Array, Array]:
    """``u = 1 - p_t = y * (1 - p) + (1 - y) * p``, and its relative rounding error."""
    one = xp.ones_like(predictions)
    other, other_error = two_difference(xp, one, predictions)
    rest, rest_error = two_difference(xp, one, targets)
    near, near_error = two_product(xp, targets, other)
    far, far_error = two_product(xp, rest, predictions)
    base, error = two_sum(xp, near, far)
    error = error + (near_error + targets * other_error) + (far_error + rest_error * predictions)
    return base, error / xp.where(is_zero(xp, error), one, base)


def _miss_power(xp: Namespace, miss: tuple[Array, Array], gamma: float) -> Array:
    """``u**gamma``, in which a relative error of u counts gamma times."""
    base, error = miss
    return power(xp, base, gamma) * (1 + gamma * error)


def _binary_focal_crossentropy_derivative(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    epsilon: float,
    alpha: float,
    gamma: float,
    balanced: float,
) -> Array:
    sides = _sides(xp, targets, predictions)
    slope = _surprise_slope(xp, targets, predictions, sides, epsilon)
    weight = _balance(targets, alpha, balanced)
    if gamma == 0:
        return weight * slope
    # u**gamma * slope + gamma * u' * u**(gamma - 1) * surprise; without a surprise neither is left,
    # and an infinite slope outweighs an infinite surprise.
    surprise = _surprise(xp, sides, epsilon)
    none = is_zero(xp, surprise)
    base, error = _miss(xp, targets, predictions)
    miss = xp.where(none, xp.ones_like(base), base), error
    drift = gamma * (1 - 2 * targets) * (_miss_power(xp, miss, gamma - 1) * surprise)
    total = _miss_power(xp, miss, gamma) * slope
    total = xp.where(xp.isinf(total), total, total + drift)
    return weight * xp.where(none, xp.zeros_like(total), total)


@pointwise(_binary_focal_crossentropy_derivative, targets=PROBABILITY, predictions=PROBABILITY)
def binary_focal_crossentropy(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    epsilon: float,
    alpha: float,
    gamma: float,
    balanced: float,
) -> Array:
    """`binary_crossentropy` times ``(1 - p_t)**gamma``, ``p_t = y * p + (1 - y) * (1 - p)``.

    Epsilon clips the cross-entropy's probability alone. ``balanced`` (0 or 1) weighs class 1 with
    alpha and class 0 with ``1 - alpha``. Lin et al., Focal loss for dense object detection (2017),
    arXiv:1708.02002; soft targets as in Keras.
    """
    surprise = _surprise(xp, _sides(xp, targets, predictions), epsilon)
    weight = _balance(targets, alpha, balanced)
    if gamma == 0:
        return weight * surprise
    # No surprise is no loss, nor slope: autodiff must not meet the power's slope at 0 there.
    none = is_zero(xp, surprise)
    half = xp.full_like(predictions, 0.5)
    miss = _miss(xp, targets, xp.where(none, half, predictions))
    return weight * xp.where(none, xp.zeros_like(surprise), _miss_power(xp, miss, gamma) * surprise)


def _logit_miss_power(xp: Namespace, sides: _LogitSides, gamma: float) -> Array:
    """``u**gamma`` for ``u = 1 - p_t = (near + far * exp(-|x|)) / (1 + exp(-|x|))``."""
    # For the certain right answer the numerator's power is exp(-gamma * |x|), which does not
    # underflow before it must.
    certain = is_zero(xp, sides.near)
    zero = xp.zeros_like(sides.size)
    one = xp.ones_like(zero)
    part, part_error = two_product(xp, sides.far, sides.relative)
    base, error = two_sum(xp, sides.near, part)
    base, error = xp.where(certain, one, base), xp.where(certain, zero, error + part_error)
    decay = exp_product(xp, gamma, xp.where(certain, -sides.size, zero))
    # There (near / exp(-|x|) + far)**gamma is 1, but not its slope by the target.
    growth = xp.exp(xp.where(certain & (sides.size < 80), sides.size, zero))
    decay = decay * power(xp, xp.where(certain, sides.near * growth + sides.far, one), gamma)
    numerator = xp.where(certain, decay, _miss_power(xp, (base, error / base), gamma))
    whole, error = two_sum(xp, one, sides.relative)
    return numerator * _miss_power(xp, (whole, error / whole), -gamma)


def _clipped_logit_surprise(
    xp: Namespace, sides: _LogitSides, epsilon: float
) -> tuple[Array, Array]:
    """The cross-entropy with sigmoid(x) clipped to ``[epsilon, 1 - epsilon]``, and its slope."""
    surprise = _logit_surprise(xp, sides)
    slope = _logit_surprise_slope(xp, sides)
    if epsilon <= 0:
        return surprise, slope
    clipped = sides.small <= epsilon
    constant = -(sides.near * log(epsilon) + sides.far * log1p(-epsilon))
    return xp.where(clipped, constant, surprise), xp.where(clipped, xp.zeros_like(slope), slope)


def _binary_focal_crossentropy_with_logits_derivative(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    epsilon: float,
    alpha: float,
    gamma: float,
    balanced: float,
) -> Array:
    sides = _logit_sides(xp, targets, predictions)
    surprise, slope = _clipped_logit_surprise(xp, sides, epsilon)
    weight = _balance(targets, alpha, balanced)
    if gamma == 0:
        return weight * slope
    # u' / u = (1 - 2 y) * e / ((1 + e) * (near + far * e)) with e = exp(-|x|).
    certain = is_zero(xp, sides.near)
    one = xp.ones_like(sides.size)
    base = xp.where(certain, one, sides.near + sides.far * sides.relative)
    relative = xp.where(certain, one, sides.relative / base) / (1 + sides.relative)
    change = gamma * (1 - 2 * targets) * product(xp, relative, surprise)
    return weight * (_logit_miss_power(xp, sides, gamma) * (slope + change))


@pointwise(_binary_focal_crossentropy_with_logits_derivative, targets=PROBABILITY)
def binary_focal_crossentropy_with_logits(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    epsilon: float,
    alpha: float,
    gamma: float,
    balanced: float,
) -> Array:
    """`binary_focal_crossentropy` of ``p = sigmoid(x)``."""
    sides = _logit_sides(xp, targets, predictions)
    surprise, _ = _clipped_logit_surprise(xp, sides, epsilon)
    weight = _balance(targets, alpha, balanced)
    if gamma == 0:
        return weight * surprise
    return weight * (_logit_miss_power(xp, sides, gamma) * surprise)
