"""Losses of whole sequences, whose alignment with their labels is not known."""

from typing import Any, NamedTuple

from omniloss.formulas.definition import Other, sequence, setwise
from omniloss.formulas.stable import constant, device, is_zero, scan, two_sum

__all__ = [
    "connectionist_temporal_classification",
    "connectionist_temporal_classification_with_logits",
]

Array = Any
Namespace = Any


class _States(NamedTuple):
    """The states of each sample: blank, first label, blank, ..., last label, blank.

    ``labels`` are their classes, ``after_next`` is true where a state may follow the one before the
    last directly, ``final`` where an alignment may end.
    """

    labels: Array
    after_next: Array
    final: Array


def _derivative(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    input_lengths: Array,
    target_lengths: Array,
    blank: int,
    zero_infinity: bool,
) -> Array:
    # The probability of each state at each step, given the labels: from the logarithms of the sums
    # over what leads to it and over what follows, each known up to a constant for each step.
    states = _states(xp, targets, predictions, target_lengths, blank)
    steps, rows = _forward(xp, states, predictions, input_lengths, keep=True)
    losses = _losses(xp, states, *rows)
    index = xp.arange(int(predictions.shape[2]), device=device(predictions))
    is_class = xp.astype(states.labels[..., None] == index, predictions.dtype)
    zero, nothing = xp.zeros_like(rows[0]), _nothing(xp, rows[0])

    def step(follows: Array, t: Any, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        reached, now = inputs
        shares = _softmax(xp, reached + follows)
        posterior = xp.matmul(xp.expand_dims(shares, axis=1), is_class)[:, 0, :]
        given = xp.exp(now) - posterior
        inside = xp.expand_dims(t < input_lengths, axis=1)
        after = follows + _emission(xp, states, now)
        jumped = _shift(xp, xp.where(states.after_next, after, nothing), -2)
        before = _log_sum_exp(xp, after, _shift(xp, after, -1), jumped)
        follows = _rebase(xp, xp.where(inside, before, follows))[0]
        return follows, xp.where(inside, given, xp.zeros_like(given))

    last = xp.where(states.final, zero, nothing)
    _, result = scan(xp, step, last, (steps, predictions), reverse=True)
    infinite = xp.isinf(losses) & (losses > 0)
    if zero_infinity:
        return xp.where(infinite[None, :, None], xp.zeros_like(result), result)
    return result


@sequence(_derivative, others=(Other("input_lengths"), Other("target_lengths")))
def connectionist_temporal_classification(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    input_lengths: Array,
    target_lengths: Array,
    blank: int,
    zero_infinity: bool,
) -> Array:
    """``-log`` of the probability of the labels under all alignments with the steps.

    ``predictions`` are logarithms of probabilities of shape (steps, samples, classes), ``targets``
    class indices of shape (samples, labels), of which each sample has its first few. An alignment
    gives every step a label or the ``blank``; taking repetitions and then blanks away leaves the
    labels. ``derivative`` is ``exp(predictions) - posterior``: by the logits of whose softmax the
    predictions are the logarithms, as torch has it. A. Graves et al., ICML 2006.
    """
    states = _states(xp, targets, predictions, target_lengths, blank)
    _, rows = _forward(xp, states, predictions, input_lengths, keep=False)
    mass = _mass(xp, predictions, input_lengths)
    return _losses(xp, states, *rows, mass=mass, zero_infinity=zero_infinity)


def _log_softmax(xp: Namespace, predictions: Array) -> Array:
    """Logarithms of probabilities of logits with the samples first; in the result the steps are."""
    logits = xp.moveaxis(predictions, 0, 1)
    top = constant(xp, xp.max(logits, axis=2, keepdims=True))
    difference = logits - xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    return difference - xp.log(xp.sum(xp.exp(difference), axis=2, keepdims=True))


def _of_logits(
    xp: Namespace, predictions: Array, target_lengths: Array
) -> tuple[Array, Array, Array]:
    """What the formula of logarithms takes besides targets: all samples have all of the steps."""
    steps = xp.full_like(target_lengths, int(predictions.shape[1]))
    return _log_softmax(xp, predictions), steps, target_lengths


def _with_logits_derivative(
    xp: Namespace,
    targets: Array,
    predictions: Array,
    target_lengths: Array,
    factors: Array,
    blank: int,
) -> Array:
    arrays = _of_logits(xp, predictions, target_lengths)
    slopes = xp.moveaxis(_derivative(xp, targets, *arrays, blank, False), 0, 1)
    factors = factors[:, None, None]
    return xp.where(is_zero(xp, factors), xp.zeros_like(slopes), slopes * factors)


@setwise(_with_logits_derivative, others=(Other("target_lengths"),))
def connectionist_temporal_classification_with_logits(
    xp: Namespace, targets: Array, predictions: Array, target_lengths: Array, blank: int
) -> Array:
    """`connectionist_temporal_classification` of logits of shape (samples, steps, classes), with all steps."""
    arrays = _of_logits(xp, predictions, target_lengths)
    return connectionist_temporal_classification.value(xp, targets, *arrays, blank, False)


def _states(
    xp: Namespace, targets: Array, predictions: Array, target_lengths: Array, blank: int
) -> _States:
    samples, longest = targets.shape[0], int(targets.shape[1])
    used = xp.arange(longest, device=device(predictions)) < target_lengths[:, None]
    blanks = xp.full_like(targets, blank)
    labels = xp.reshape(
        xp.stack((blanks, xp.where(used, targets, blanks)), axis=-1), (samples, 2 * longest)
    )
    last = xp.full((samples, 1), blank, dtype=targets.dtype, device=device(predictions))
    labels = xp.concat((labels, last), axis=1)
    state = xp.arange(2 * longest + 1, device=device(predictions))
    two_before = xp.concat((labels[:, :2], labels[:, :-2]), axis=1)
    apart = (state % 2 == 1) & (state > 1) & (labels != two_before[:, : 2 * longest + 1])
    end = 2 * target_lengths[:, None]
    return _States(labels, apart, (state == end) | (state == end - 1))


def _forward(
    xp: Namespace, states: _States, predictions: Array, input_lengths: Array, *, keep: bool
) -> tuple[Array | None, tuple[Array, Array, Array]]:
    """The logarithms of the sums over what leads to each state, step by step, if they are to be kept.

    They are relative to the largest of their step. The second result is the last of each sample, and
    the sum of the largest ones in two parts.
    """
    start = xp.where(
        xp.arange(states.labels.shape[1], device=device(predictions)) == 0,
        xp.zeros((), dtype=predictions.dtype, device=device(predictions)),
        xp.asarray(-xp.inf, dtype=predictions.dtype, device=device(predictions)),
    )
    row = xp.broadcast_to(start, tuple(states.labels.shape))

    def step(carry: tuple[Array, ...], t: Any, inputs: tuple[Array]) -> tuple[Any, Any]:
        row, total, lost = carry
        jumped = xp.where(states.after_next, _shift(xp, row, 2), _nothing(xp, row))
        arrived = _log_sum_exp(xp, row, _shift(xp, row, 1), jumped)
        now, top = _rebase(xp, arrived + _emission(xp, states, inputs[0]))
        inside = t < input_lengths
        row = xp.where(inside[:, None], now, row)
        total, error = two_sum(xp, total, xp.where(inside, top, xp.zeros_like(top)))
        return (row, total, lost + error), row if keep else None

    zero = xp.zeros_like(row[:, 0])
    carry, steps = scan(xp, step, (row, zero, zero), (predictions,))
    return steps, carry


def _losses(
    xp: Namespace,
    states: _States,
    row: Array,
    total: Array,
    lost: Array,
    mass: Array = 0.0,
    zero_infinity: bool = False,
) -> Array:
    ends = xp.where(states.final, row, _nothing(xp, row))
    top = xp.max(ends, axis=1, keepdims=True)
    base = xp.where(top > -xp.inf, top, xp.zeros_like(top))
    likelihood = xp.sum(xp.exp(ends - base), axis=1)
    impossible = is_zero(xp, likelihood)
    if zero_infinity:  # the logarithm of 0 is not taken, whose slope would be NaN
        likelihood = xp.where(impossible, xp.ones_like(likelihood), likelihood)
    losses = mass - ((total + (xp.log(likelihood) + base[:, 0])) + lost)
    return xp.where(impossible, xp.zeros_like(losses), losses) if zero_infinity else losses


def _mass(xp: Namespace, predictions: Array, input_lengths: Array) -> Array:
    """0 for each sample, whose slope is ``exp(predictions)`` to autodiff, as the derivative has it."""
    index = xp.arange(int(predictions.shape[0]), device=device(predictions))
    inside = xp.expand_dims(index, axis=1) < input_lengths
    mass = xp.sum(xp.exp(predictions), axis=2)
    mass = xp.sum(xp.where(inside, mass, xp.zeros_like(mass)), axis=0)
    return xp.where(xp.isfinite(mass), mass - constant(xp, mass), xp.zeros_like(mass))


def _emission(xp: Namespace, states: _States, now: Array) -> Array:
    """What each state gives to a step, of the predictions of all classes at it."""
    samples, classes = now.shape[0], int(now.shape[1])
    first = xp.arange(samples, device=device(now)) * classes
    places = xp.reshape(xp.expand_dims(first, axis=1) + states.labels, (-1,))
    flat = xp.take(xp.reshape(now, (-1,)), places, axis=0)
    return xp.reshape(flat, tuple(states.labels.shape))


def _shift(xp: Namespace, row: Array, by: int) -> Array:
    """A row whose every state has what another had, ``by`` places to the left of it."""
    size = int(row.shape[1])
    if abs(by) >= size:
        return _nothing(xp, row)
    filling = _nothing(xp, row[:, : abs(by)])
    if by > 0:
        return xp.concat((filling, row[:, : size - by]), axis=1)
    return xp.concat((row[:, -by:], filling), axis=1)


def _rebase(xp: Namespace, row: Array) -> tuple[Array, Array]:
    """A row relative to its largest element, and that; a row without a finite one as it is, and 0."""
    top = xp.max(row, axis=1, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    return row - top, top[:, 0]


def _log_sum_exp(xp: Namespace, a: Array, b: Array, c: Array) -> Array:
    top = xp.where(a < b, b, a)
    top = xp.where(top < c, c, top)
    possible = top > -xp.inf
    base = xp.where(possible, top, xp.zeros_like(top))
    total = xp.exp(a - base) + xp.exp(b - base) + xp.exp(c - base)
    # The logarithm of 0 is not taken: its derivative would be NaN.
    some = xp.where(total > 0, total, xp.ones_like(total))
    return xp.where(
        total <= 0, _nothing(xp, top), base + xp.log(xp.where(xp.isnan(total), total, some))
    )


def _softmax(xp: Namespace, row: Array) -> Array:
    top = xp.max(row, axis=1, keepdims=True)
    shares = xp.exp(row - top)
    return shares / xp.sum(shares, axis=1, keepdims=True)


def _nothing(xp: Namespace, like: Array) -> Array:
    return xp.full_like(like, -xp.inf)
