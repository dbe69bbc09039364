"""JAX: concrete arrays in CPU memory through NumPy's way and its native core, tracers through the formula.

A concrete array of one CPU device shares its memory with NumPy, and elements that can be looked at stay so
inside of `jit`. One tracer among the arrays of a call, or an array of several or other devices, makes all of the
call JAX's operations: each formula's closed-form derivative is its `custom_jvp` rule, which forward, reverse
and further differentiation, `vmap` and `jit` follow.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from omniloss.configuration import config
from omniloss.formulas.definition import Formula, Interval
from omniloss.frameworks.base import Framework
from omniloss.frameworks.jax_sums import BOTH, SLOPES, SUMS
from omniloss.frameworks.numpy import NUMPY, NumPy
from omniloss.problem import Offence, Problem, Weighting
from omniloss.reduction import SUM, Partial, Rule

__all__ = ["framework_of", "run_plan"]

_NUMBERS = frozenset(map(np.dtype, "?bhilqBHILQefd")) | {np.dtype(jnp.bfloat16)}
_HALF = (np.dtype(np.float16), np.dtype(jnp.bfloat16))

with jax.ensure_compile_time_eval():  # the first arrays may be tracers
    _Concrete = type(jnp.zeros(()))


def framework_of(x: Any) -> Framework:
    """The framework of one JAX array."""
    if _is_plain(x):
        return _EagerJax(x)
    looked_at = type(x) is _Concrete and x.is_fully_addressable and not _is_staged()
    return _CONCRETE if looked_at else _TRACED


def _is_plain(x: Any) -> bool:
    """Whether an array is nothing but numbers in the memory of one CPU device."""
    if type(x) is not _Concrete:
        return False
    devices = x.devices()
    return len(devices) == 1 and next(iter(devices)).platform == "cpu"


def _is_staged() -> bool:
    """Whether operations on concrete arrays are recorded now, rather than done."""
    return isinstance(jnp.zeros(()), jax.core.Tracer)


def _canonical(dtype: Any) -> np.dtype[Any]:
    """A type as JAX has it: float64 is float32 unless `jax_enable_x64` is set."""
    return np.dtype(jax.dtypes.canonicalize_dtype(dtype))


class _EagerJax(NumPy):
    """Plain arrays, as the NumPy arrays that share their memory."""

    name = "jax"
    keeps_memory = True

    def __init__(self, like: Any) -> None:
        self._device = _device_of(like)

    def joined(self, other: Framework) -> Framework:
        return other if isinstance(other, _Jax) or self._device is None else self

    def predictions(
        self, x: Any, argument: str, dtype: str | None, *, widen: bool
    ) -> tuple[np.ndarray, Any, Any]:
        array, wanted, own = super().predictions(x, argument, dtype, widen=widen)
        return array, _canonical(wanted), _canonical(own)

    def own(self, x: Any) -> Any:
        if not isinstance(x, np.ndarray):  # a number, of more digits than JAX may have
            return x
        return _adopt(x.copy() if x.flags.writeable else x, self._device)

    def result(self, x: Any, dtype: Any) -> Any:
        return _adopt(super().result(x, dtype), self._device)


def _device_of(x: Any) -> Any:
    """Where a plain array was put, and results belong, or None where JAX may choose."""
    return next(iter(x.devices())) if x.committed else None


@jax.jit
def _scalar(x: Any) -> Any:
    """A NumPy scalar as a JAX array; no other way is as quick."""
    return lax.convert_element_type(x, x.dtype)


def _adopt(x: Any, device: Any) -> Any:
    """A new NumPy array, which nobody else holds, as a JAX array, in its own memory where that is aligned."""
    if device is None and not getattr(x, "ndim", 0):
        return _scalar(x)
    return jax.device_put(x, device)


def run_plan(
    plan: Any,
    prepare: Callable[..., Problem],
    rule: Rule | None,
    targets: Any,
    predictions: Any,
    *given: Any,
) -> Any:
    """Run a plan of the core on plain arrays, or give None where the general way must be taken."""
    if given or not _is_plain(predictions) or predictions.committed:
        return None
    if type(targets) is not np.ndarray:
        if not _is_plain(targets) or targets.committed:
            return None
        targets = np.asarray(targets)
    value = plan(targets, np.asarray(predictions))
    return None if value is None else _adopt(value, None)


class _Namespace:
    """`jax.numpy`, with what formulas need besides."""

    stop_gradient = staticmethod(lax.stop_gradient)

    @staticmethod
    def scan(step: Callable[..., Any], carry: Any, inputs: tuple[Any, ...], reverse: bool) -> Any:
        # Reverse differentiation computes each step anew, which is quicker than to keep all of it.
        again = jax.checkpoint(step, prevent_cse=False)
        times = jnp.arange(inputs[0].shape[0])
        return lax.scan(
            lambda so_far, x: again(so_far, *x), carry, (times, inputs), reverse=reverse
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)


class _Jax(Framework):
    """Tracers, and arrays of other or several devices, in JAX's operations."""

    name = "jax"
    xp = _Namespace()

    def __init__(self, *, eager: bool) -> None:
        self._eager = eager

    def joined(self, other: Framework) -> Framework:
        return _TRACED if other is _TRACED else self

    def asarray(self, x: Any, argument: str) -> Any:
        if isinstance(x, jax.Array):
            if x.dtype not in _NUMBERS:
                raise TypeError(
                    f"`{argument}` must hold real numbers; got an array of dtype {x.dtype}"
                )
            return x
        return _from_numpy(NUMPY.asarray(x, argument), argument)

    def predictions(
        self, x: Any, argument: str, dtype: str | None, *, widen: bool
    ) -> tuple[Any, Any, Any]:
        array = self.asarray(x, argument)
        typed = not isinstance(x, (list, tuple, int, float)) or isinstance(x, np.generic)
        is_float = jnp.issubdtype(array.dtype, jnp.floating)
        own = _canonical(array.dtype if typed and is_float else config.floatx())
        wanted = own if dtype is None else _canonical(dtype)
        compute = np.dtype(np.float32) if wanted in _HALF else wanted
        if dtype is None and widen:
            wanted = compute
        return array.astype(compute), wanted, own

    def is_eager(self, x: Any) -> bool:
        return self._eager

    def run(self, problem: Problem, *, reduce: bool, scale: Any) -> tuple[Any, Any] | Offence:
        if self._eager or not (reduce and _has_sum(problem)):
            return super().run(problem, reduce=reduce, scale=scale)
        if scale is None:
            return _sum(problem), None
        value, slope = _sum_and_slope(problem, scale)
        return value, jnp.moveaxis(slope, -1, problem.axis)

    def arranged(self, problem: Problem) -> tuple[Any, Any]:
        """Targets and predictions of an unweighted problem as its formula takes them."""
        targets, predictions = problem.targets, jnp.moveaxis(problem.predictions, problem.axis, -1)
        if not problem.formula.labels:
            targets = jnp.moveaxis(targets, problem.axis, -1)
        elif jnp.issubdtype(targets.dtype, jnp.floating):  # what is between two classes is none
            targets = jnp.where(targets == jnp.floor(targets), targets, -1)
        return self._usable(problem, targets, predictions, None)

    def result(self, x: Any, dtype: Any) -> Any:
        return jnp.asarray(x).astype(dtype)

    def total(self, x: Any) -> Any:
        return jnp.sum(x, dtype=_canonical(np.float64))

    def _outside(self, x: Any, interval: Interval) -> Any:
        # JAX may be told not to compare integers with other numbers.
        counts = jnp.issubdtype(x.dtype, jnp.integer)
        return super()._outside(x.astype(float) if counts else x, interval)

    def size(self, count: Any) -> Any:
        # What `jax.export` leaves open is known when the loss runs.
        known = isinstance(count, (int, float, np.integer))
        return float(count) if known else jnp.asarray(count).astype(float)

    def sum_rows(self, x: Any) -> Any:
        return jnp.squeeze(x, -1) if x.shape[-1] == 1 else jnp.sum(x, -1)

    def losses(
        self, formula: Formula, arrays: tuple[Any, ...], parameters: dict[str, float]
    ) -> Any:
        return _differentiable(formula, tuple(parameters.values()))(*arrays)

    def evaluate(self, problem: Problem, rule: Rule | None) -> Any:
        return self.find_offence(problem) or _loss(replace(problem, framework=_TRACED), rule)

    def accumulate(self, problem: Problem) -> Any:
        return self.evaluate(replace(problem, dtype=_canonical(np.float64)), SUM)


# One for calls with a tracer, in which nothing is looked at, and one for the others.
_TRACED, _CONCRETE = _Jax(eager=False), _Jax(eager=True)


@functools.partial(jax.jit, static_argnums=1, inline=True)
def _evaluate(problem: Problem, rule: Rule | None) -> Any:
    """The loss through the formula; without an outer `jit` one compiled operation in place of some dozens."""
    return Framework.evaluate(_TRACED, problem, rule)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _loss(problem: Problem, rule: Rule | None) -> Any:
    return _evaluate(problem, rule)


@functools.partial(_loss.defjvp, symbolic_zeros=True)
def _loss_rule(rule: Rule | None, primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    """A loss and how it changes: from the core where `grad` is called on plain arrays, outside of `jit`."""
    (problem,), (change,) = primals, tangents
    moving = [tangent for tangent in jax.tree.leaves(change) if not _is_zero(tangent)]
    by_predictions = len(moving) == 1 and not _is_zero(change.predictions)
    if rule is not None and by_predictions and all(map(_is_plain, jax.tree.leaves(problem))):
        found = _run_natively(problem, rule)
        if found is not None:
            value, gradient = found
            return value, jnp.vdot(gradient, change.predictions).astype(value.dtype)
    if rule is not None and by_predictions and _has_sum(problem):
        # The mean's divisor goes into the slope, or XLA would take a pass of its own for it.
        total, slope = _sum_and_slope(problem, rule.finish(1.0, problem.divisor))
        finished = _TRACED.finish(problem, rule, total, problem.divisor)
        value = _TRACED.result(finished, problem.dtype)
        return value, _moved(problem, slope, change.predictions).astype(value.dtype)

    return _along(lambda problem: _evaluate(problem, rule), primals, tangents)


def _has_sum(problem: Problem) -> bool:
    """Whether the losses are so many that their sum is to be shaped for XLA's compiler; see `jax_sums`."""
    return (
        problem.formula.name in SUMS
        and problem.weighting is None
        and isinstance(problem.predictions.size, int)  # no open one
        and problem.predictions.size >= _MANY
        and problem.predictions.dtype == np.float32
        and problem.dtype != np.float64
    )


# Below this the choice between two ways takes longer than the slower one.
_MANY = 2**16


@jax.custom_jvp
def _sum(problem: Problem) -> Any:
    """The sum of the losses; the formula computes it where the quick way finds it not finite."""
    arrays = _TRACED.arranged(problem)
    if problem.formula.kind == "pointwise":
        arrays = tuple(map(_in_rows, arrays))
    total = SUMS[problem.formula.name](*arrays, *problem.parameters) * _row_factor(problem)
    total = _typed(problem, total)
    return lax.cond(
        jnp.isfinite(total), lambda total, _: total, lambda _, p: _by_formula(p), total, problem
    )


def _typed(problem: Problem, total: Any) -> Any:
    """A sum in the type that the formula's has."""
    return total.astype(jax.eval_shape(_by_formula, problem).dtype)


def _in_rows(x: Any) -> Any:
    """Elements in rows, whose sums XLA computes several times as fast as a sum along one axis."""
    if x.shape[-1] == 1:
        x = jnp.squeeze(x, -1)
    return x.reshape(-1, _ROW) if x.ndim == 1 and x.size % _ROW == 0 else x


_ROW = 1024


@functools.partial(_sum.defjvp, symbolic_zeros=True)
def _sum_rule(primals: tuple[Problem], tangents: tuple[Problem]) -> tuple[Any, Any]:
    value, (problem,), (change,) = _sum(*primals), primals, tangents
    moving = [tangent for tangent in jax.tree.leaves(change) if not _is_zero(tangent)]
    if len(moving) > 1 or _is_zero(change.predictions):
        return value, _along(_by_formula, primals, tangents)[1]
    return value, _moved(problem, _slope(problem, 1.0), change.predictions).astype(value.dtype)


def _moved(problem: Problem, slope: Any, steps: Any) -> Any:
    """What a sum of this slope changes by where the predictions change by ``steps``."""
    return jnp.sum(slope * jnp.moveaxis(steps, problem.axis, -1))


def _sum_and_slope(problem: Problem, scale: Any) -> tuple[Any, Any]:
    """What `_sum` and `_slope` give."""
    if problem.formula.name not in BOTH:
        return _sum(problem), _slope(problem, scale)
    factor = jnp.asarray(scale * _row_factor(problem), problem.predictions.dtype)
    return _quick_sum_and_slope(problem, factor)


def _slope(problem: Problem, scale: Any) -> Any:
    """Scale times the derivative of `_sum` by the predictions, whose axis of rows is the last."""
    formula, arrays = problem.formula, _TRACED.arranged(problem)
    parameters = dict(zip(formula.parameters, problem.parameters, strict=True))
    scale = scale * _row_factor(problem)
    if formula.name in SLOPES:
        return _quick_slope(problem, jnp.asarray(scale, problem.predictions.dtype))
    slope = formula.derivative(_TRACED.xp, *arrays, **parameters)
    for interval, x in zip((formula.targets, formula.predictions), arrays, strict=True):
        wrong = _TRACED._outside(x, interval)
        slope = slope if wrong is None else jnp.where(wrong, jnp.nan, slope)
    return slope * scale


@jax.custom_jvp
def _quick_slope(problem: Problem, scale: Any) -> Any:
    return SLOPES[problem.formula.name](*_TRACED.arranged(problem), scale, *problem.parameters)


@functools.partial(_quick_slope.defjvp, symbolic_zeros=True)
def _quick_slope_rule(
    primals: tuple[Problem, Any], tangents: tuple[Problem, Any]
) -> tuple[Any, Any]:
    """Further derivatives are the formula's: what finds the largest of a row has none where there are several."""

    def by_formula(problem: Problem, scale: Any) -> Any:
        gradient = _TRACED.gradient_by(problem, "predictions", scale)
        return jnp.moveaxis(gradient, problem.axis, -1)

    return _quick_slope(*primals), _along(by_formula, primals, tangents)[1]


@jax.custom_jvp
def _quick_sum_and_slope(problem: Problem, scale: Any) -> tuple[Any, Any]:
    both = BOTH[problem.formula.name](*_TRACED.arranged(problem), scale, *problem.parameters)
    total, slope = _typed(problem, both[0] * _row_factor(problem)), both[1]
    total = lax.cond(
        jnp.isfinite(total), lambda total, _: total, lambda _, p: _sum(p), total, problem
    )
    return total, slope


@functools.partial(_quick_sum_and_slope.defjvp, symbolic_zeros=True)
def _quick_sum_and_slope_rule(
    primals: tuple[Problem, Any], tangents: tuple[Problem, Any]
) -> tuple[Any, Any]:
    def apart(problem: Problem, scale: Any) -> tuple[Any, Any]:
        return _sum(problem), _quick_slope(problem, scale)

    return _quick_sum_and_slope(*primals), _along(apart, primals, tangents)[1]


def _row_factor(problem: Problem) -> float:
    return 1 / problem.predictions.shape[problem.axis] if problem.row_mean else 1.0


def _by_formula(problem: Problem) -> Any:
    outcome = Framework.run(_TRACED, problem, reduce=True, scale=None)
    assert not isinstance(outcome, Offence)  # nothing is looked at
    return outcome[0]


def _along(function: Callable[..., Any], primals: Any, tangents: Any) -> tuple[Any, Any]:
    """A function's value, and how it changes along tangents of which some are symbolic zeros."""
    arrays, structure = jax.tree.flatten(primals)
    changes = jax.tree.leaves(tangents)
    moving = [place for place, change in enumerate(changes) if not _is_zero(change)]

    def of_moving(*some: Any) -> Any:
        given = list(arrays)
        for place, array in zip(moving, some, strict=True):
            given[place] = array
        return function(*jax.tree.unflatten(structure, given))

    return jax.jvp(of_moving, tuple(arrays[i] for i in moving), tuple(changes[i] for i in moving))


def _is_zero(tangent: Any) -> bool:
    return type(tangent) is jax.custom_derivatives.SymbolicZero


def _run_natively(problem: Problem, rule: Rule) -> tuple[Any, Any] | None:
    """A loss and its gradient on plain arrays, or None for elements out of their intervals."""
    device = _device_of(problem.predictions)
    problem = replace(jax.tree.map(np.asarray, problem), framework=NUMPY)
    divisor = float(problem.divisor)
    outcome = NUMPY.run(problem, reduce=True, scale=rule.finish(1.0, divisor))
    if isinstance(outcome, Offence):
        return None
    value = NUMPY.finish(problem, rule, outcome[0], divisor)
    return _adopt(NUMPY.result(value, problem.dtype), device), _adopt(outcome[1], device)


@functools.lru_cache(maxsize=256)
def _differentiable(formula: Formula, parameters: tuple[float, ...]) -> Any:
    """A formula's value, whose derivatives to autodiff are the closed ones where they are known."""
    xp = _Jax.xp
    places = {"targets": 0, "predictions": 1}
    places |= {other.name: 2 + i for i, other in enumerate(formula.others)}
    derivatives = {place: formula.derivative_by(name) for name, place in places.items()}

    @jax.custom_jvp
    def losses(*arrays: Any) -> Any:
        return formula.value(xp, *arrays, *parameters)

    def rule(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
        moving = [place for place, tangent in enumerate(tangents) if not _is_zero(tangent)]
        value = losses(*primals)
        change = jnp.zeros_like(value)
        unknown = [place for place in moving if derivatives[place] is None]
        for place in moving:
            derivative = derivatives[place]
            if derivative is None:
                continue
            slope = derivative(xp, *primals, *parameters) * tangents[place]
            change = change + (slope if formula.kind == "pointwise" else jnp.sum(slope, axis=-1))
        if unknown:

            def of_unknown(*some: Any) -> Any:
                arrays = list(primals)
                for place, array in zip(unknown, some, strict=True):
                    arrays[place] = array
                return formula.value(xp, *arrays, *parameters)

            _, further = jax.jvp(
                of_unknown,
                tuple(primals[place] for place in unknown),
                tuple(tangents[place] for place in unknown),
            )
            change = change + further
        return value, change

    losses.defjvp(rule, symbolic_zeros=True)
    return losses


def _from_numpy(array: np.ndarray, argument: str) -> jax.Array:
    """A NumPy array in a type that JAX has; a whole number that the narrower type lacks is none of those it has."""
    dtype = _canonical(array.dtype)
    if dtype.kind in "iu" and dtype.itemsize < array.dtype.itemsize:
        info = np.iinfo(dtype)
        array = np.clip(array, info.min, info.max)
    return jnp.asarray(array, dtype=dtype)


_ARRAYS_OF_PROBLEM = ("targets", "predictions", "weighting", "others")


def _flatten(problem: Problem) -> tuple[tuple[Any, ...], Problem]:
    """The arrays of a problem, and the rest; a divisor that is a number belongs to the rest."""
    known = isinstance(problem.divisor, float)
    arrays = [getattr(problem, name) for name in _ARRAYS_OF_PROBLEM]
    nothing: dict[str, Any] = dict.fromkeys(_ARRAYS_OF_PROBLEM)
    bare = replace(problem, divisor=known and problem.divisor, **nothing)
    return (*arrays, None if known else problem.divisor), bare


def _unflatten(bare: Problem, children: tuple[Any, ...]) -> Problem:
    *arrays, divisor = children
    given = dict(zip(_ARRAYS_OF_PROBLEM, arrays, strict=True))
    return replace(bare, **given, divisor=bare.divisor if divisor is None else divisor)


jax.tree_util.register_pytree_node(Problem, _flatten, _unflatten)
jax.tree_util.register_dataclass(Weighting, ("per_loss", "per_row"), ("losses_shape", "masks"))
jax.tree_util.register_dataclass(Partial, ("total", "weight"), ("rule",))
