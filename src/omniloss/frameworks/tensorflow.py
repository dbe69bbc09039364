"""TensorFlow: plain eager tensors through the native core, graphs and everything that is watched through the formula.

An eager tensor is *plain* when it is dense and in CPU memory, and no tape or forward accumulator wants a
derivative that the core does not have. The derivative of a loss by its predictions it has: from the same pass,
in a custom gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python import pywrap_tfe

from omniloss import native
from omniloss.configuration import config
from omniloss.frameworks import tensorflow_ragged, tensorflow_ranks
from omniloss.frameworks.base import Framework
from omniloss.frameworks.numpy import NUMPY
from omniloss.frameworks.tensorflow_namespace import NAMESPACE, Array, Size, bare
from omniloss.problem import Mask, Offence, Problem, StandIn, Weighting
from omniloss.reduction import SUM, Rule

__all__ = ["TensorFlow", "run_plan"]

_HALF = (tf.float16, tf.bfloat16)
_NUMBERS = frozenset(
    {
        tf.float32,
        tf.float64,
        *_HALF,
        tf.bool,
        tf.uint8,
        tf.uint16,
        tf.uint32,
        tf.uint64,
        tf.int8,
        tf.int16,
        tf.int32,
        tf.int64,
    }
)
# For which TensorFlow has few operations
_RARE = frozenset({tf.uint16, tf.uint32, tf.uint64})
# Elements up to which a second look at a batch costs less than to describe its loss
_SMALL = 8192
with tf.init_scope():  # the first call may be one in a graph
    _EAGER = type(tf.constant(0.0))


def _signed(x: tf.Tensor, argument: str) -> tf.Tensor:
    """Unsigned integers as int64, and as float64 where it cannot hold one of them, if that can be looked at."""
    whole = tf.cast(x, tf.int64)
    if x.dtype != tf.uint64:
        return whole
    negative = whole < 0  # what is from 2**63 on
    if tf.executing_eagerly():
        return tf.cast(x, tf.float64) if tf.reduce_any(negative) else whole
    message = f"`{argument}` of dtype uint64 must be below 2**63 in a graph; convert it to float64"
    with tf.control_dependencies([tf.debugging.assert_non_negative(whole, message)]):
        # XLA knows no assertions: there no such number is a class.
        return tf.where(negative, tf.int64.max, whole)


def _is_recording() -> bool:
    """Whether there is any tape or forward accumulator in this thread that is not stopped."""
    return not pywrap_tfe.TFE_Py_TapeSetIsEmpty()


def _are_watched(tensors: list[tf.Tensor]) -> bool:
    """Whether a tape or forward accumulator follows any of some eager tensors."""
    return _is_recording() and pywrap_tfe.TFE_Py_TapeSetPossibleGradientTypes(tensors) != 0


def _are_on_tape(tensors: list[tf.Tensor]) -> bool:
    """Whether a tape follows any of some eager tensors; forward accumulators do not count."""
    return bool(pywrap_tfe.TFE_Py_TapeSetShouldRecordBackprop(tensors))


class TensorFlow(Framework):
    """TensorFlow's tensors, eagerly or in the graph that is being made now."""

    name = "tensorflow"
    xp = NAMESPACE

    def __init__(self) -> None:
        self._eager = tf.executing_eagerly()

    @property
    def integers(self) -> Any:
        return tf.int64

    def asarray(self, x: Any, argument: str) -> Array:
        if isinstance(x, Array):
            return x
        if isinstance(x, (tf.IndexedSlices, tf.RaggedTensor)):
            raise TypeError(f"`{argument}` must be a dense tensor here; got {type(x).__name__}")
        if isinstance(x, tf.SparseTensor):
            x = tf.sparse.to_dense(x)
        if hasattr(type(x), "__tf_tensor__"):  # Keras's variables
            x = tf.convert_to_tensor(x)
        if isinstance(x, (tf.Tensor, tf.Variable)):
            if x.dtype not in _NUMBERS:
                raise TypeError(
                    f"`{argument}` must hold real numbers; got a tensor of {x.dtype.name}"
                )
            x = tf.convert_to_tensor(x)
            return Array(_signed(x, argument) if x.dtype in _RARE else x)
        if isinstance(x, (list, tuple)) and any(map(tf.is_tensor, tf.nest.flatten(x))):
            return self.asarray(tf.convert_to_tensor(x), argument)
        array = NUMPY.asarray(x, argument)
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            fits = array.itemsize < 8 or array.max(initial=0) < 2**63
            array = array.astype(np.int64 if fits else np.float64)
        return Array(tf.convert_to_tensor(array))

    def predictions(
        self, x: Any, argument: str, dtype: str | None, *, widen: bool
    ) -> tuple[Any, Any, Any]:
        array = self.asarray(x, argument)
        typed = not isinstance(x, (list, tuple, int, float)) or isinstance(x, np.generic)
        own = array.dtype
        if not (typed and own.is_floating):
            own = getattr(tf, config.floatx())
        wanted = own if dtype is None else getattr(tf, dtype)
        compute = tf.float32 if wanted in _HALF else wanted
        if dtype is None and widen:
            wanted = compute
        return self.xp.astype(array, compute), wanted, own

    def fitted(self, x: Array, predictions: Array, axis: int, names: tuple[str, str]) -> Array:
        if x.tensor.shape.is_fully_defined() and predictions.tensor.shape.is_fully_defined():
            return x
        shape = tf.shape(predictions.tensor)
        if x.ndim < predictions.ndim:
            shape = tf.concat([shape[:axis], shape[axis + 1 :]], 0)
        message = f"`{names[0]}` must have a shape that goes with `{names[1]}`"
        equal = tf.debugging.assert_equal(tf.shape(x.tensor), shape, message)
        with tf.control_dependencies([equal]):
            # XLA knows no assertions, but that a shape must hold all elements.
            return Array(tf.reshape(x.tensor, shape))

    def stand_in(self, call: Any) -> StandIn | None:
        if any(isinstance(x, tf.RaggedTensor) for x in (call.targets, call.predictions)):
            return tensorflow_ragged.stand_in(call)
        return None if self._eager else tensorflow_ranks.stand_in(call)

    def is_eager(self, x: Any) -> bool:
        return self._eager

    def size(self, count: Any) -> Any:
        return Array(tf.cast(count.tensor, tf.float64)) if isinstance(count, Size) else float(count)

    def own(self, x: Any) -> Any:
        # A number that leaves a graph would become float32.
        return _scalar(x, tf.float64) if isinstance(x, float) and not self._eager else bare(x)

    def number(self, x: Any) -> Any:
        return float(x) if self._eager and not _are_watched([x.tensor]) else x

    def result(self, x: Any, dtype: Any) -> tf.Tensor:
        x = bare(x)
        return tf.cast(x, dtype) if isinstance(x, tf.Tensor) else _scalar(x, dtype)

    def total(self, x: Array) -> Array:
        return Array(tf.reduce_sum(tf.cast(x.tensor, tf.float64)))

    def may_hold(self, dtype: Any, number: Any) -> bool:
        return isinstance(number, Size) or super().may_hold(dtype, number)

    def count_kept(self, masks: tuple[Mask, ...]) -> Any:
        kept = self.kept(masks)
        if self._eager:
            return int(tf.math.count_nonzero(kept.tensor))
        return Size(tf.math.count_nonzero(kept.tensor))

    def first(self, which: str, x: Any, wrong: Any, used: Any = None) -> Offence | None:
        offence = super().first(which, x, wrong, used)
        # which prints as NumPy's does
        return None if offence is None else replace(offence, value=np.asarray(offence.value)[()])

    def run(self, problem: Problem, *, reduce: bool, scale: Any) -> tuple[Any, Any] | Offence:
        if self._is_plain(problem) and not _are_watched(_tensors(problem)):
            return _run_natively(problem, reduce=reduce, scale=scale)
        return super().run(problem, reduce=reduce, scale=scale)

    def evaluate(self, problem: Problem, rule: Rule | None) -> Any:
        if not self._is_plain(problem) or not _is_recording():
            return super().evaluate(problem, rule)
        predictions, *others = _tensors(problem)
        if not _are_on_tape([predictions]) or _are_watched(others):
            return super().evaluate(problem, rule)
        loss = _loss_on_tape(problem, rule)
        if rule is None and not isinstance(loss, Offence):
            loss = self.weighted(Array(loss), problem.weighting)
        return loss if isinstance(loss, Offence) else self.result(loss, problem.dtype)

    def accumulate(self, problem: Problem) -> Any:
        return self.evaluate(replace(problem, dtype=tf.float64), SUM)

    def finish(self, problem: Problem, rule: Rule | None, value: Any, divisor: Any) -> Any:
        if rule is not None and isinstance(value, float) and math.isinf(value):
            # The core has added it up, and can do so with more room.
            return NUMPY.finish(_as_numpy(problem), rule, value, divisor)
        if isinstance(divisor, float) and divisor == 0 and isinstance(value, Array):
            # Nothing counts, yet the result has a gradient, of zeros.
            divisor = self.xp.asarray(0.0, dtype=tf.float64)
        return super().finish(problem, rule, value, divisor)

    def shared(self, rule: Rule, divisor: Any) -> Any:
        if not rule.replicas or not tf.distribute.has_strategy():
            return divisor
        if rule.replicas == "refuse":
            raise ValueError(
                "under a tf.distribute.Strategy, outside of the built-in training loops, a loss must have "
                "Reduction.SUM or Reduction.NONE, and be divided by the size of the whole batch; or take "
                f"reduction={rule.name!r} as a plain string, which divides by the number of replicas"
            )
        if tf.distribute.in_cross_replica_context():
            return divisor
        return divisor * tf.distribute.get_strategy().num_replicas_in_sync

    def _is_plain(self, problem: Problem) -> bool:
        """Whether the core could run a problem, if no derivative is asked for that it does not have."""
        if native.core is None or not self._eager or 0 in problem.predictions.shape:
            return False
        return isinstance(problem.divisor, float) and all(
            "CPU" in tensor.device for tensor in _tensors(problem)
        )


def _tensors(problem: Problem) -> list[tf.Tensor]:
    """The problem's arrays: predictions, targets, the formula's others, the weights of rows."""
    arrays = [problem.predictions, problem.targets, *problem.others]
    if problem.weighting is not None:
        arrays.append(problem.weighting.per_row)
    return [array.tensor for array in arrays]


def _loss_on_tape(problem: Problem, rule: Rule | None) -> Any:
    """The reduced loss, or the losses of the rows without their weights, by the core and for tapes.

    A reduced loss has its gradient from the same pass over the data. The losses of rows have theirs from a
    second one, which takes what comes from upstream as weights.
    """
    if rule is None and problem.weighting is not None:
        # The losses get their weights outside of this, which only tell what counts here.
        used = problem.weighting.per_row != 0
        problem = replace(problem, weighting=Weighting(used, (), used))
    framework = problem.framework
    scale = 1.0 if rule is None else rule.finish(1.0, problem.divisor)
    outcome = _run_natively(problem, reduce=rule is not None, scale=None if rule is None else scale)
    if isinstance(outcome, Offence):
        return outcome
    value, first = outcome
    if rule is None:
        value = value.tensor
    else:
        value = _scalar(framework.finish(problem, rule, value, problem.divisor), problem.dtype)
    kept = [first]  # until the first backward pass

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        # What the core has computed is a constant to whoever differentiates this once more.
        found = kept.pop() if kept else None
        if _is_recording() or not tf.executing_eagerly():
            return _gradient_by_formula(problem, upstream, scale)
        if rule is None:  # upstream is 0 where a weight is 0
            weights = Array(upstream)
            weighted = replace(problem, weighting=Weighting(weights, (), weights))
            return _gradient_of(weighted, 1.0)
        factor = float(upstream)
        if found is None or factor != 1:
            return _gradient_of(problem, factor * scale)
        return found.tensor

    return _recorded(value, problem.predictions.tensor, gradient)


def _recorded(
    value: tf.Tensor, predictions: tf.Tensor, gradient: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """A loss whose gradient by the predictions tapes and accumulators ask a function for.

    As tf.custom_gradient has it, in a third of its time.
    """
    pywrap_tfe.TFE_Py_TapeSetRecordOperation(
        "Omniloss", [value], [predictions], lambda upstream: [gradient(upstream)], None
    )
    return value


def _gradient_of(problem: Problem, scale: float) -> tf.Tensor:
    outcome = _run_natively(problem, reduce=True, scale=scale)
    assert not isinstance(outcome, Offence)
    return outcome[1].tensor


def _gradient_by_formula(problem: Problem, upstream: tf.Tensor, scale: float) -> tf.Tensor:
    """In TensorFlow's operations, which can be differentiated further."""
    framework = TensorFlow()
    factor = tf.cast(upstream, problem.predictions.dtype) * scale
    problem = replace(problem, framework=framework)
    return framework.gradient_by(problem, "predictions", Array(factor)).tensor


def run_plan(
    plan: Any,
    prepare: Callable[..., Problem],
    rule: Rule | None,
    targets: Any,
    predictions: Any,
    *given: Any,
) -> tf.Tensor | None:
    """Run a plan of the core on plain tensors, or give None where the general way must be taken."""
    if (
        given
        or rule is None
        or type(predictions) is not _EAGER
        or type(targets) is not _EAGER
        or not tf.executing_eagerly()
        or (rule is not None and rule.replicas and tf.distribute.has_strategy())
        or "CPU" not in predictions.device
        or "CPU" not in targets.device
        or hasattr(predictions, "_keras_logits")  # which some losses are computed from
    ):
        return None
    array = np.asarray(predictions)
    if not _is_recording():
        value = plan(np.asarray(targets), array)
        return None if value is None else _adopt(np.asarray(value)).tensor
    # A large batch has its gradient from the same pass, in the general way.
    if rule is None or array.size > _SMALL:
        return None
    if not _are_on_tape([predictions]) or _are_watched([targets]):
        return None
    value = plan(np.asarray(targets), array)
    if value is None:
        return None

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        problem = prepare(targets, predictions)
        scale = rule.finish(1.0, problem.divisor)
        if _is_recording() or not tf.executing_eagerly():
            found = _gradient_by_formula(problem, upstream, scale)
        else:
            found = _gradient_of(problem, float(upstream) * scale)
        # What a plan takes as it is may have been given an axis.
        return found if found.shape == predictions.shape else tf.reshape(found, predictions.shape)

    return _recorded(tf.constant(np.asarray(value)), predictions, gradient)


def _run_natively(problem: Problem, *, reduce: bool, scale: Any) -> tuple[Any, Any] | Offence:
    """Run a problem of plain tensors on NumPy's views of them; a total comes as a number."""
    arrays = _as_numpy(problem)
    outcome = NUMPY.run(arrays, reduce=reduce, scale=None if scale is None else float(scale))
    if isinstance(outcome, Offence):
        return outcome
    value, gradient = outcome
    dtype = arrays.predictions.dtype  # but what has no kernel may have been computed in float64
    return (
        float(value) if reduce else _adopt(np.asarray(NUMPY.result(value, dtype))),
        None if gradient is None else _adopt(gradient.astype(dtype, copy=False)),
    )


def _as_numpy(problem: Problem) -> Problem:
    """A problem of plain tensors as one of NumPy's views of them."""
    weights = None if problem.weighting is None else np.asarray(problem.weighting.per_row.tensor)
    predictions = np.asarray(problem.predictions.tensor)
    return replace(
        problem,
        dtype=predictions.dtype,
        predictions=predictions,
        targets=np.asarray(problem.targets.tensor),
        weighting=None if weights is None else Weighting(weights, (), weights),
        others=tuple(np.asarray(other.tensor) for other in problem.others),
    )


def _scalar(x: float, dtype: tf.DType) -> tf.Tensor:
    """A number as a tensor; TensorFlow would keep every number of Python's that it is given."""
    with np.errstate(over="ignore"):  # beyond the type's range there is infinity
        return tf.constant(np.asarray(x, dtype.as_numpy_dtype))


def _adopt(array: np.ndarray) -> Array:
    """An array of floats as a tensor, in its own memory where TensorFlow can use it."""
    # TensorFlow ends the process over memory that begins elsewhere.
    if array.size and array.ctypes.data % 64 == 0 and array.flags.c_contiguous:
        return Array(tf.experimental.dlpack.from_dlpack(array.__dlpack__()))
    return Array(tf.convert_to_tensor(array))
