"""Numerically careful building blocks that the Python array API standard lacks.

Each takes the array namespace first. They keep three promises: nothing is computed in a wider type
(a rounding error that matters is carried as a second number), NaN comes out where NaN went in, and
plain autodiff through them gives no NaN from a branch that was not taken.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = [
    "Shares",
    "constant",
    "device",
    "exp_product",
    "first_largest",
    "is_zero",
    "log_ratio",
    "log_sum",
    "logit_shares",
    "one_hot",
    "positive_part",
    "positive_zero",
    "power",
    "probability_shares",
    "product",
    "scan",
    "two_difference",
    "two_product",
    "two_sum",
    "where_positive",
]

Array = Any
Namespace = Any


def device(x: Array) -> Any:
    """Where an array lives; None of a library whose arrays are in one place, as Dask's are."""
    return getattr(x, "device", None)


def constant(xp: Namespace, x: Array) -> Array:
    """``x``, which autodiff takes for a constant; its namespace has ``stop_gradient`` where it knows autodiff."""
    stop = getattr(xp, "stop_gradient", None)
    return x if stop is None else stop(x)


def scan(
    xp: Namespace,
    step: Callable[[Any, Any, tuple[Array, ...]], tuple[Any, Array | None]],
    carry: Any,
    inputs: tuple[Array, ...],
    *,
    reverse: bool = False,
) -> tuple[Any, Array | None]:
    """``carry, output = step(carry, t, inputs at t)`` for each t of the inputs' first axis, from the last if in reverse.

    Gives the last carry, and the outputs in an array whose first axis is t, or None if they are None. A
    namespace that has a ``scan`` of its own makes one loop of it; in others each step is spelled out.
    """
    own = getattr(xp, "scan", None)
    if own is not None:
        return own(step, carry, inputs, reverse)
    outputs = []
    times = range(int(inputs[0].shape[0]))
    for t in reversed(times) if reverse else times:
        carry, output = step(carry, t, tuple(x[t, ...] for x in inputs))
        outputs.append(output)
    if outputs[0] is None:
        return carry, None
    return carry, xp.stack(outputs[::-1] if reverse else outputs, axis=0)


def is_zero(xp: Namespace, x: Array) -> Array:
    """Where ``x`` is 0, as a mask (``==`` compares identities in a TensorFlow graph)."""
    return xp.equal(x, xp.zeros_like(x))


def two_sum(xp: Namespace, a: Array, b: Array) -> tuple[Array, Array]:
    """``a + b`` rounded, and the rounding error; the error is 0 where the sum is not finite.

    Knuth, The Art of Computer Programming, volume 2, section 4.2.2, theorem B.
    """
    total = a + b
    second = total - a
    error = (a - (total - second)) + (b - second)
    return total, xp.where(xp.isfinite(error), error, xp.zeros_like(error))


def two_difference(xp: Namespace, a: Array, b: Array) -> tuple[Array, Array]:
    """``a - b`` rounded, and the rounding error, as in `two_sum`."""
    return two_sum(xp, a, -b)


def two_product(xp: Namespace, a: Array, b: Array) -> tuple[Array, Array]:
    """``a * b`` rounded, and the rounding error, of numbers far from the ends of their type's range.

    Dekker, Numerische Mathematik 18 (1971).
    """
    # Half of the digits: 2**12 + 1 in float32, 2**27 + 1 in float64.
    splitter = 2.0**27 + 1 if xp.finfo(a.dtype).bits == 64 else 2.0**12 + 1
    a_shifted, b_shifted = splitter * a, splitter * b
    a_high = a_shifted - (a_shifted - a)
    b_high = b_shifted - (b_shifted - b)
    a_low, b_low = a - a_high, b - b_high
    result = a * b
    error = ((a_high * b_high - result) + a_high * b_low + a_low * b_high) + a_low * b_low
    return result, xp.where(xp.isfinite(error), error, xp.zeros_like(error))


def product(xp: Namespace, weight: Array, x: Array) -> Array:
    """``weight * x``, where a weight of 0 silences an infinite ``x`` (but not a NaN)."""
    silent = is_zero(xp, weight) & xp.isinf(x)
    return weight * xp.where(silent, xp.zeros_like(x), x)


def positive_zero(xp: Namespace, x: Array) -> Array:
    """``x`` without the sign of a zero, which would show in ``1 / x``; autodiff takes it for ``x``."""
    zero = is_zero(xp, x)
    signed = xp.where(zero, x, xp.zeros_like(x))
    return xp.where(zero, signed - constant(xp, signed), x)


def positive_part(xp: Namespace, x: Array) -> Array:
    """``max(x, 0)``, with derivative 0 at 0."""
    return xp.where(x <= 0, xp.zeros_like(x), x)


def where_positive(xp: Namespace, x: Array, values: Array) -> Array:
    """``values`` where ``x > 0``, 0 where it is not, NaN where it is NaN."""
    return xp.where(xp.isnan(x), x, xp.where(x <= 0, xp.zeros_like(values), values))


def log_ratio(xp: Namespace, a: Array, b: Array) -> Array:
    """``log(a / b)`` for ``a, b >= 0``, with its digits for a quotient near 1, tiny or huge."""
    # a - b is exact within a factor of 2. Square roots bring any quotient into range.
    ratio = a / b
    near = (ratio > 0.5) & (ratio < 2)
    far = (ratio < 1e-30) | (ratio > 1e30)
    one = xp.ones_like(ratio)
    close = xp.log1p(xp.where(near, (a - b) / xp.where(near, b, one), xp.zeros_like(ratio)))
    apart = xp.log(xp.where(near | far, one, ratio))
    extreme = 2 * xp.log(xp.sqrt(xp.where(far, a, one)) / xp.sqrt(xp.where(far, b, one)))
    return xp.where(near, close, xp.where(far, extreme, apart))


def log_sum(xp: Namespace, a: Array, b: Array) -> Array:
    """``log(a + b)``, exact also where the rounding of the sum near 1 would show."""
    total, error = two_sum(xp, a, b)
    near = (total > 0.5) & (total < 2)
    close = xp.log1p(xp.where(near, (total - 1) + error, xp.zeros_like(total)))
    return xp.where(near, close, xp.log(xp.where(near, xp.ones_like(total), total)))


# Below this a reciprocal, or its square, may be beyond float32.
_TINY = 1e-12


def is_hidden(xp: Namespace, weight: Array, x: Array) -> Array:
    """Where a weight of 0 meets a number of so infinite or steep a logarithm that autodiff must not see it."""
    return is_zero(xp, weight) & (x >= 0) & (x < _TINY)


def behind_zero(xp: Namespace, hidden: Array, x: Array, logarithm: Array) -> Array:
    """``logarithm``, but where it is ``hidden`` that of ``x`` as a constant, and finite.

    Times the weight of 0 that hides it, it is 0, and still the derivative by that weight.
    """
    one, least = xp.ones_like(x), xp.full_like(x, float(xp.finfo(x.dtype).smallest_normal))
    seen = xp.log(xp.where(hidden, xp.where(x < least, least, x), one))
    return xp.where(hidden, constant(xp, seen), logarithm)


def _split(number: float) -> tuple[float, float]:
    """A number as a sum of one with few bits, exact in float32, and a small rest."""
    coarse = round(number * 1024) / 1024
    return coarse, number - coarse


def power(xp: Namespace, base: Array, exponent: float) -> Array:
    """``base ** exponent`` for ``base >= 0``; float32 does not round the exponent."""
    coarse, fine = _split(exponent)
    if coarse == 0 or fine == 0:
        return base**exponent
    positive = xp.where(is_zero(xp, base), xp.ones_like(base), base)
    return base**coarse * xp.exp(fine * xp.log(positive))


def exp_product(xp: Namespace, factor: float, x: Array) -> Array:
    """``exp(factor * x)`` for ``factor > 0 >= x``, without the product's rounding error."""
    # coarse * head is exact; what is left is so small that its own rounding does not show.
    coarse, fine = _split(factor)
    moderate = x > -65536
    zero = xp.zeros_like(x)
    near = xp.where(moderate, x, zero)
    head = xp.trunc(near * 64) / 64
    total, error = two_sum(xp, coarse * head, coarse * (near - head) + fine * near)
    far = xp.exp(factor * xp.where(moderate, zero, x))
    return xp.where(moderate, xp.exp(total) * (1 + error), far)


def _is_class(xp: Namespace, indices: Array, like: Array) -> Array:
    """The mask of ``like``'s shape with true at each row's class index (last axis of length 1)."""
    return xp.equal(indices, xp.arange(like.shape[-1]))


def first_largest(xp: Namespace, x: Array) -> Array:
    """The mask of the first largest element of each row."""
    return _is_class(xp, xp.argmax(x, axis=-1, keepdims=True), x)


def one_hot(xp: Namespace, labels: Array, like: Array) -> Array:
    """Class indices as rows of 0 and 1 of ``like``'s shape; NaN for an index that is no class."""
    labels = xp.expand_dims(labels, axis=-1)
    zero = xp.zeros_like(like)
    rows = xp.where(_is_class(xp, labels, like), xp.ones_like(like), zero)
    invalid = (labels < 0) | (labels >= like.shape[-1])
    return xp.where(invalid, xp.full_like(like, float("nan")), rows)


class Shares(NamedTuple):
    """Rows of probabilities q, measured by each row's largest one (the first, if several are).

    ``top`` is the mask of that one, ``relative`` is ``q / q_top``, ``rest`` the sum of these but
    for the top's own 1, ``share`` is q and ``complement`` is ``1 - q``, with all its digits.
    """

    top: Array
    relative: Array
    rest: Array
    share: Array
    complement: Array


def _of_relative(xp: Namespace, top: Array, relative: Array) -> Shares:
    """The probabilities q and ``1 - q`` from those relative to the largest."""
    # At the top relative is 1 or NaN, and the difference 0 or NaN.
    others = xp.where(top, relative - 1, relative)
    rest = xp.sum(others, axis=-1, keepdims=True)
    complement = xp.where(top, rest, 1 + (rest - relative))
    return Shares(top, relative, rest, relative / (1 + rest), complement / (1 + rest))


def _top(xp: Namespace, predictions: Array) -> tuple[Array, Array]:
    """The mask of each row's first largest element, and the element."""
    top = first_largest(xp, predictions)
    zero = xp.zeros_like(predictions)
    return top, xp.sum(xp.where(top, predictions, zero), axis=-1, keepdims=True)


def logit_shares(xp: Namespace, logits: Array) -> tuple[Shares, Array]:
    """The probabilities ``softmax(x)``, and ``log(relative) = x - max(x)``."""
    # The difference's rounding error, up to 2**-24 of it in float32, goes into the exponential. The
    # top's own difference is a constant, or its parts would leave noise in autodiff's gradient.
    top, largest = _top(xp, logits)
    difference, error = two_difference(xp, logits, largest)
    zero = xp.zeros_like(difference)
    difference = xp.where(top & xp.equal(logits, largest), zero, difference)
    error = xp.where(top, zero, error)
    return _of_relative(xp, top, xp.exp(difference) * (1 + error)), difference


def probability_shares(xp: Namespace, probabilities: Array) -> tuple[Shares, Array]:
    """The probabilities ``p / sum(p)``, and each row's largest ``p``."""
    probabilities = positive_zero(xp, probabilities)
    top, largest = _top(xp, probabilities)
    unit = top & (probabilities > 0)
    relative = xp.where(unit, xp.ones_like(probabilities), probabilities / largest)
    return _of_relative(xp, top, relative), largest
