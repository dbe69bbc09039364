"""Sums of many float32 losses, and their slopes, in the operations that XLA's compiler for CPUs fuses.

With a sum it fuses arithmetic, exponentials and logarithms. What is chosen between (`where`, comparisons, `clip`) it
writes into an array first, which takes several times as long as the loss itself. So each function of `SUMS` adds up a
formula's losses of ordinary numbers by arithmetic alone; for others (infinite ones, those out of their interval) its sum
is not finite, and the formula itself is to be asked. XLA's sums are pairwise. Its maximum and minimum drop NaN there, so
every number has to go through another operation besides. Numbers that a derivative has as well, 0 and 1 above all, are
avoided: XLA would write an array of them for both. In `SLOPES` are derivatives by the predictions that take less memory than the
formula's.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from omniloss import formulas

__all__ = ["BOTH", "SLOPES", "SUMS"]

# From this mean on, what a simple form loses of each loss, up to half a unit of 1, does not show in the sum.
_CLEAR = 0.25


def _clear_or(simple: Any, count: Any, exact: Callable[[], Any]) -> Any:
    """A sum by a simple form if it is large enough for that, else the exact one; of what is not finite either.

    ``count`` is how many logarithms it has, each as often as it is taken.
    """
    return lax.cond(simple < _CLEAR * count, exact, lambda: simple)


def _squared_error(y: Any, p: Any) -> Any:
    difference = p - y
    return jnp.sum(difference * difference)


def _absolute_error(y: Any, p: Any) -> Any:
    return jnp.sum(jnp.abs(p - y))


def _huber(y: Any, p: Any, delta: float) -> Any:
    size = jnp.abs(p - y)
    core = jnp.minimum(size, delta)
    return jnp.sum(core * (size - 0.5 * core))


def _log_cosh(y: Any, p: Any) -> Any:
    def exact() -> Any:
        # Up to 1 by the series of cosh(s) - 1; beyond it r + log((1 + exp(-2 - 2 r)) / (1 + exp(-2))) more.
        size = jnp.abs(p - y)
        near = jnp.minimum(size, 1.0)
        beyond = size - near
        square = near * near
        series: Any = 1.0
        for factor in (132.0, 90.0, 56.0, 30.0, 12.0):
            series = 1 + square * (series * (1 / factor))
        share = exp(-2) / (1 + exp(-2))
        far = beyond + jnp.log1p(share * jnp.expm1(-2 * beyond))
        return jnp.sum(jnp.log1p(0.5 * square * series) + far)

    size = jnp.abs(p - y)
    simple = jnp.sum((size - log(2)) + jnp.log1p(jnp.exp(-2 * size)))
    return _clear_or(simple, p.size, exact)


def _hinge(y: Any, p: Any) -> Any:
    beyond = y * p - 1
    return 0.5 * jnp.sum(jnp.abs(beyond) - beyond)


def _binary_crossentropy_with_logits(y: Any, p: Any) -> Any:
    # One of the products is 0. The rest is the formula's.
    size, double = jnp.abs(p), 2 - (y + y)
    wrong = 0.25 * ((size + p) * double) + 0.5 * ((size - p) * y)
    losses = wrong + jnp.log1p(jnp.exp(-size))
    return jnp.sum(losses + _nan_below_0(y * double))


def _kl_divergence_of_logs(y: Any, p: Any) -> Any:
    return jnp.sum(y * (jnp.log(jnp.maximum(y, _LEAST)) - p) + _nan_below_0(y))


# The least normal number of float32
_LEAST = 2.0**-126


def _nan_below_0(x: Any) -> Any:
    """0, or NaN where a number is negative."""
    root = jnp.sqrt(x)
    return root - root


def _categorical_crossentropy_with_logits(y: Any, x: Any) -> Any:
    def exact() -> Any:
        difference = x - jnp.max(x, axis=-1, keepdims=True)
        logarithm = _log_sum(jnp.exp(difference))[..., None]
        return jnp.sum(jnp.sum(y * (logarithm - difference), -1))

    if x.shape[-1] <= _WHOLE:
        # XLA makes one operation of all this, and a choice would cost another pass.
        return exact()
    difference = x - jnp.max(x, axis=-1, keepdims=True)
    logarithm = jnp.log(jnp.sum(jnp.exp(difference), -1, keepdims=True))
    simple = jnp.sum(jnp.sum(y * (logarithm - difference), -1))
    return _clear_or(simple, jnp.sum(jnp.abs(y)), exact)


# Longer rows XLA adds up in parts. What more than one sum is made of is an array then.
_WHOLE = 4096


def _are_known(labels: Any, classes: int) -> Any:
    """Which labels, integers, are classes, whose number 8 bits may not hold."""
    labels = labels.astype(jnp.promote_types(labels.dtype, jnp.int32))
    return (labels >= 0) & (labels < classes)


def _sparse_categorical_crossentropy_with_logits(labels: Any, x: Any) -> Any:
    def exact() -> Any:
        # What the simple sum could share with this would be written into arrays for it.
        known, own, top = _own_and_top(labels, x)
        losses = _log_sum(jnp.exp(x - top)) + (top[..., 0] - own)
        return jnp.sum(jnp.where(known, losses, jnp.nan))

    known, own, top = _own_and_top(labels, x)
    logarithms = jnp.log(jnp.sum(jnp.exp(x - top), -1))
    simple = jnp.sum(logarithms + (top[..., 0] - jnp.where(known, own, jnp.nan)))
    return _clear_or(simple, x.size // x.shape[-1], exact)


def _own_and_top(labels: Any, x: Any) -> tuple[Any, Any, Any]:
    """Which labels are classes, the elements in their places, and the largest of each row."""
    known = _are_known(labels, x.shape[-1])
    places = jnp.where(known, labels, 0)[..., None]
    own = jnp.take_along_axis(x, places, axis=-1)[..., 0]
    return known, own, jnp.max(x, axis=-1, keepdims=True)


def _log_sum(exponentials: Any) -> Any:
    """The logarithm of the sums of rows, of which the largest, 1, is kept apart."""
    whole = jnp.floor(exponentials)
    return jnp.log1p((jnp.sum(whole, -1) - 1) + jnp.sum(exponentials - whole, -1))


class _Shares(NamedTuple):
    """As in `stable.logit_shares`: ``relative`` is ``exp(x - max(x))`` and ``whole`` the sum of its row.

    ``plain`` is the same without the differences' rounding errors. The largest has 1 there; if it has
    no equal, the row is ``topped``. ``rest`` is the sum of those that are not so large.
    """

    plain: Any
    relative: Any
    topped: Any
    rest: Any
    whole: Any


def _shares(x: Any) -> _Shares:
    # Clipping needs no choice, and brings what is infinite to its limit.
    top = jnp.max(x, axis=-1, keepdims=True)
    infinite = top == jnp.inf
    top = jnp.where(infinite, 3e38, top)
    plain = jnp.exp(jnp.minimum(x - top, 0.0))
    rest = jnp.sum(plain - jnp.floor(plain), -1, keepdims=True)
    ones = jnp.round(jnp.sum(plain, -1, keepdims=True) - rest)
    finite = jnp.minimum(jnp.maximum(x, jnp.minimum(top, -1e30)), 3e38)
    difference = finite - top
    second = difference - finite
    error = (finite - (difference - second)) - (top + second)
    whole = jnp.where(infinite & (ones > 1), jnp.nan, ones + rest)  # of which infinity is it?
    return _Shares(plain, plain + plain * error, ones == 1, rest, whole)


def _categorical_slope(y: Any, x: Any, scale: Any) -> Any:
    way = _whole_categorical_slope if x.shape[-1] <= _WHOLE else _long_categorical_slope
    return way(y, x, scale)


def _whole_categorical_slope(y: Any, x: Any, scale: Any) -> Any:
    # Also of 1 / 8 of the largest number the differences are finite, and then arithmetic is enough.
    ordinary = jnp.isfinite(jnp.sum(8 * x))
    return lax.cond(ordinary, _ordinary_categorical_slope, _any_categorical_slope, y, x, scale)


def _long_categorical_slope(y: Any, x: Any, scale: Any) -> Any:
    # As of class indices below: at most one share is above 0.6, and the others lack what it lacks to 1.
    exponentials = jnp.exp(x)
    inverse = 1 / jnp.sum(exponentials, -1, keepdims=True)
    shares = exponentials * (inverse + _nan_below_0((2 - scale * inverse) * (inverse - 1e-37)))
    ruling = jnp.floor(shares + 0.4)
    lacking = jnp.sum(shares * (1 - ruling), -1, keepdims=True)
    total = jnp.sum(y, -1, keepdims=True)
    pull = jnp.where(ruling == 1, (total - y) - total * lacking, shares * total - y)

    def by_differences(state: tuple[Any, Any]) -> tuple[Any, Any]:
        return _whole_categorical_slope(y, x, scale), state[1] | True

    state = (pull * scale, jnp.isfinite(jnp.sum(lacking)))
    return lax.while_loop(lambda state: ~state[1], by_differences, state)[0]


def _ordinary_categorical_slope(y: Any, x: Any, scale: Any) -> Any:
    # XLA makes one operation of this, in a branch of its own: what it had in common with the value would be written.
    # The largest element has `total - y - y * rest`; no choice needs to tell it from the others.
    top = jnp.max(x, axis=-1, keepdims=True)
    difference = x - top
    second = difference - x
    error = (x - (difference - second)) - (top + second)
    relative = jnp.exp(difference) * (1 + error)
    whole = jnp.floor(relative)
    largest = jnp.sum(whole, -1, keepdims=True)
    rest = jnp.sum(relative - whole, -1, keepdims=True)
    total = jnp.sum(y, -1, keepdims=True)
    pull = (relative * total - y * largest) - y * rest
    return pull * (scale / (largest + rest))


def _any_categorical_slope(y: Any, x: Any, scale: Any) -> Any:
    plain, relative, topped, rest, whole = _shares(x)
    total, least = jnp.sum(y, -1, keepdims=True), jnp.where(topped, 1.0, 2.0)
    pull = relative * total - y * whole
    return jnp.where(plain >= least, (total - y) - y * rest, pull) * (scale / whole)


def _sparse_categorical_slope(labels: Any, x: Any, scale: Any) -> Any:
    return _sparse_categorical_both(labels, x, scale)[1]


def _sparse_categorical_both(labels: Any, x: Any, scale: Any) -> tuple[Any, Any]:
    # Without the largest taken off first no difference is rounded. The label's own element is what the others of the row
    # lack to 0. A row whose exponentials are beyond the type, or would lose a share that the result can hold, becomes
    # NaN, and so does the sum of all: then the loop has its one step. (A choice between two arrays would copy one.)
    known = _are_known(labels, x.shape[-1])
    places = jnp.where(known, labels, 0)
    exponentials = jnp.exp(x)
    factors = scale / jnp.sum(exponentials, -1, keepdims=True)
    shares = exponentials * (factors + _nan_below_0((2 - factors) * (factors - 1e-37)))
    if x.shape[-1] < _FEW:
        others = jnp.where(places[..., None] == jnp.arange(x.shape[-1]), 0.0, shares)
    else:
        others = _with_own(shares, places, jnp.zeros(places.shape, x.dtype))
    lacking = jnp.where(known, jnp.sum(others, -1), jnp.nan)

    def by_any_shares(state: tuple[Any, Any]) -> tuple[Any, Any]:
        return _any_sparse_categorical_slope(labels, x, scale), state[1] | True

    slope, _ = lax.while_loop(
        lambda state: ~state[1],
        by_any_shares,
        (_with_own(others, places, -lacking), jnp.isfinite(jnp.sum(lacking))),
    )
    # The loss is the logarithm of the label's share, or of all but the others', where that is more exact. The row's
    # sum can be seen in any other element, which spares adding up again.
    other = jnp.where(places == 0, 1, 0)
    own, near, its_share = (
        jnp.take_along_axis(array, place[..., None], axis=-1)[..., 0]
        for array, place in ((x, places), (x, other), (slope, other))
    )
    share = jnp.exp(own) * (its_share / jnp.exp(near)) / scale
    rest = lacking / scale
    losses = jnp.where(rest < 0.5, -jnp.log1p(-rest), -jnp.log(share))
    return jnp.sum(losses), slope


# Below this number of classes XLA chooses between elements more quickly than it writes one in every row.
_FEW = 64


def _with_own(rows: Any, places: Any, values: Any) -> Any:
    """Rows with another value in one place of each, written where they are if nothing else needs them."""
    flat = rows.reshape(-1, rows.shape[-1])
    at = flat.at[jnp.arange(flat.shape[0]), places.reshape(-1)]
    options = {"indices_are_sorted": True, "unique_indices": True}
    return at.set(values.reshape(-1), mode="promise_in_bounds", **options).reshape(rows.shape)


def _any_sparse_categorical_slope(labels: Any, x: Any, scale: Any) -> Any:
    known = _are_known(labels, x.shape[-1])[..., None]
    places = jnp.where(known, labels[..., None], 0)
    plain, relative, topped, rest, whole = _shares(x)
    inverse = jnp.where(known, scale / whole, jnp.nan)
    own = jnp.take_along_axis(plain, places, axis=-1)
    pull = jnp.where(topped & (own == 1), -rest, own - whole) * inverse
    return jnp.where(places == jnp.arange(x.shape[-1]), pull, relative * inverse)


def _cosine_similarity(y: Any, p: Any, epsilon: float) -> Any:
    # XLA makes one operation of this, which reads both arrays twice; sums of rows to divide afterwards would be three.
    squares = tuple(jnp.sum(x * x, -1, keepdims=True) for x in (y, p))
    bad = sum(_nan_below_0((x - _least_square(epsilon)) * (1 - x * 1e-30)) for x in squares)
    first, second = map(jnp.sqrt, squares)
    if y.shape[-1] >= _LONG:
        return -jnp.sum((y * (1 / (first * second) + bad)) * p)
    return -jnp.sum((y * (1 / (first + bad))) * (p * (1 / second)))


# From this length of rows on, a product with a number for each row is quicker done once than twice, with smaller ones.
_LONG = 32


def _least_square(epsilon: float) -> float:
    """The square of the length of row from which on it is neither clipped nor too short to be squared."""
    return max(epsilon, 1e-12) ** 2


def _cosine_slope(y: Any, p: Any, scale: Any, epsilon: float) -> Any:
    squares = tuple(jnp.sum(x * x, -1) for x in (y, p))
    least = _least_square(epsilon)
    regular = jnp.all(jnp.stack([(x > least) & (x < 1e30) for x in squares]))

    def slope(y: Any, p: Any, *squares: Any) -> Any:
        first, second = (x[..., None] for x in squares)
        part = jnp.sum(y * p, -1, keepdims=True) / second
        return (part * p - y) * (scale / (jnp.sqrt(first) * jnp.sqrt(second)))

    def by_formula(y: Any, p: Any, *_: Any) -> Any:
        return formulas.cosine_similarity.derivative(jnp, y, p, epsilon) * scale

    return lax.cond(regular, slope, by_formula, y, p, *squares)


# By the formulas' names, each called with targets, predictions and the formula's parameters; slopes with a factor
# before these, since XLA fuses it with what is in a branch, and not with the choice between branches
SUMS: dict[str, Callable[..., Any]] = {
    "absolute_error": _absolute_error,
    "binary_crossentropy_with_logits": _binary_crossentropy_with_logits,
    "categorical_crossentropy_with_logits": _categorical_crossentropy_with_logits,
    "cosine_similarity": _cosine_similarity,
    "hinge": _hinge,
    "huber": _huber,
    "kl_divergence_of_logs": _kl_divergence_of_logs,
    "log_cosh": _log_cosh,
    "sparse_categorical_crossentropy_with_logits": _sparse_categorical_crossentropy_with_logits,
    "squared_error": _squared_error,
}
SLOPES: dict[str, Callable[..., Any]] = {
    "categorical_crossentropy_with_logits": _categorical_slope,
    "cosine_similarity": _cosine_slope,
    "sparse_categorical_crossentropy_with_logits": _sparse_categorical_slope,
}
# Sum and slope together, as of `SLOPES`, where this takes less time; a sum that is not finite is to be asked for alone.
BOTH: dict[str, Callable[..., tuple[Any, Any]]] = {
    "sparse_categorical_crossentropy_with_logits": _sparse_categorical_both,
}
