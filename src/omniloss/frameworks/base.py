"""What an array library must offer, and how a problem runs through its formula."""

from __future__ import annotations

import abc
import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from omniloss.formulas.definition import Formula, Interval
from omniloss.formulas.stable import device
from omniloss.problem import Mask, Offence, Problem, StandIn, Weighting
from omniloss.reduction import Rule

__all__ = ["Framework"]


class _Ready(NamedTuple):
    """What a formula is called with, and what its losses and derivatives are then multiplied by.

    ``row_factor`` makes the sum of a row its mean, if that is wanted. The ``weights`` of the rows, whether they
    are ``used`` and by what they are ``spoilt`` are None where there is nothing of the kind.
    """

    arrays: tuple[Any, ...]
    parameters: dict[str, float]
    weights: Any
    used: Any
    row_factor: Any
    spoilt: Any


class Framework(abc.ABC):
    """One array library: its arrays, its types, and the fastest way that it has to run a problem."""

    name: str
    xp: Any
    # Whether masks are kept apart from weights, lest a product of both be made
    masks_apart = False
    # Whether results keep the memory of the arrays they are made of, which must be nobody else's
    keeps_memory = False

    @abc.abstractmethod
    def asarray(self, x: Any, argument: str) -> Any:
        """The user's argument as an array of this library, its dtype kept; refuses what is no array of numbers."""

    @abc.abstractmethod
    def predictions(
        self, x: Any, argument: str, dtype: str | None, *, widen: bool
    ) -> tuple[Any, Any, Any]:
        """Predictions in the type to compute in, the type of the value, the type of the gradient.

        A framework that converts as it runs may leave the predictions in their own type.
        Lists and integers become `config.floatx()`. Half precision is computed in float32, and with
        ``widen`` returned so unless ``dtype`` asks for it.
        """

    @abc.abstractmethod
    def is_eager(self, x: Any) -> bool:
        """Whether the elements can be looked at now."""

    def promoted(self, call: Any) -> tuple[Any, Any]:
        """A `Call`'s predictions, in another type where that of its other arrays counts, and the value's type or None."""
        return call.predictions, None

    def joined(self, other: Framework) -> Framework:
        """The framework of a call that has arrays of this one and of another one of its name."""
        return self

    def stand_in(self, call: Any) -> StandIn | None:
        """What runs in a `Call`'s place, where its arrays are of shapes that no problem is made of."""
        return None

    def own(self, x: Any) -> Any:
        """An array as the library's users know it, for their own code; it may be run as something else."""
        return x

    def fitted(self, x: Any, predictions: Any, axis: int, names: tuple[str, str]) -> Any:
        """An array that goes with the predictions, or has all of their axes but one; see to open sizes."""
        return x

    def beside(self, x: Any) -> Any:
        """An array of this library on the device of the call's first array."""
        return x

    def needs_gradient(self, x: Any) -> bool:
        """Whether an array asks for its derivative to be recorded."""
        return False

    @property
    def integers(self) -> Any:
        """The type of class indices and counts: this library's own choice, int64 as a rule."""
        return self.xp.arange(0).dtype

    def result(self, x: Any, dtype: Any) -> Any:
        """A computed array or scalar in the type to return."""
        return self.xp.astype(self.xp.asarray(x), dtype, copy=False)

    def total(self, x: Any) -> Any:
        """The sum of all elements, with this library's best accuracy."""
        return self.xp.sum(x)

    def sum_rows(self, x: Any) -> Any:
        """The sums along the last axis, in the type of ``x``."""
        return self.xp.sum(x, axis=-1)

    def compute_type(self, predictions: Any, dtype: Any) -> Any:
        """The type to compute in, of predictions as `predictions` gave them and the value's type."""
        return predictions.dtype

    def weight_type(self, weights: Any, dtype: Any) -> Any:
        """The type in which weights are used with losses of a type: float64 keeps its range."""
        return weights.dtype if weights.dtype == getattr(self.xp, "float64", None) else dtype

    def sum_type(self, dtype: Any) -> Any:
        """The type in which weights of a type are added up over the axes by which they enlarge losses."""
        return dtype

    def is_binary(self, x: Any) -> bool:
        """Whether all elements are 0 or 1."""
        return bool(self.xp.all((x == 0) | (x == 1)))

    def kept(self, masks: tuple[Mask, ...]) -> Any:
        """Where no mask leaves anything out."""
        return functools.reduce(operator.and_, map(self._kept_by, masks))

    def _kept_by(self, mask: Mask) -> Any:
        array, excluded = mask.array, mask.excluded
        if array.dtype != self.xp.bool:
            return array != excluded
        if excluded not in (0, 1):
            return self.xp.ones_like(array)
        return array if excluded == 0 else ~array

    def may_hold(self, dtype: Any, number: int) -> bool:
        """Whether labels of a type can be a whole number; a library may take one beyond it for another."""
        if not self.xp.isdtype(dtype, "integral"):
            return True
        info = self.xp.iinfo(dtype)
        return bool(info.min <= number <= info.max)

    def no_class(self, labels: Any, classes: int) -> Any:
        """Where a class index is none of the classes."""
        wrong = labels < 0
        # Labels of a type that cannot hold the number are all less, which 8 bits cannot tell.
        if self.may_hold(labels.dtype, classes):
            wrong = wrong | (labels >= classes)
        if self.xp.isdtype(labels.dtype, "real floating"):
            wrong = wrong | (labels != self.xp.floor(labels))
        return wrong

    def label(self, number: int, dtype: Any) -> float:
        """A number to compare labels of a type with; one that the type cannot hold is equal to none of them."""
        if abs(number) <= 2**53:
            return number
        if self.xp.isdtype(dtype, "real floating"):
            return _as_float(number)
        return max(-(2**63), min(number, 2**63 - 1))

    def count_kept(self, masks: tuple[Mask, ...]) -> Any:
        """How many elements masks keep, as a number where the elements can be looked at."""
        kept = self.kept(masks)
        count = self.xp.sum(self.xp.astype(kept, self.integers))
        return int(count) if self.is_eager(kept) else count

    def merge(self, weights: Any, masks: tuple[Mask, ...]) -> Any:
        """Weights, 0 where a mask leaves something out."""
        if not masks:
            return weights
        return self.xp.where(self.kept(masks), weights, self.xp.zeros_like(weights))

    def weight_total(self, weights: Any, masks: tuple[Mask, ...], dtype: Any) -> Any:
        """The sum of the weights in a type, as a number where the elements can be looked at."""
        merged = self.xp.astype(self.merge(weights, masks), dtype, copy=False)
        return self.number(self.total(merged))

    def size(self, count: Any) -> Any:
        """A product of sizes out of shapes, as a number to calculate with."""
        return float(count)

    def number(self, x: Any) -> Any:
        """A scalar array as a Python number, where it can be looked at and nothing else depends on it."""
        return float(x) if self.is_eager(x) else x

    def evaluate(self, problem: Problem, rule: Rule | None) -> Any:
        """The reduced loss, or without a rule the losses of the samples, in the type to return."""
        outcome = self.run(problem, reduce=rule is not None, scale=None)
        if isinstance(outcome, Offence):
            return outcome
        return self.result(self.finish(problem, rule, outcome[0], problem.divisor), problem.dtype)

    def accumulate(self, problem: Problem) -> Any:
        """The sum of the weighted losses."""
        outcome = self.run(problem, reduce=True, scale=None)
        return outcome if isinstance(outcome, Offence) else outcome[0]

    def statistics(self, problem: Problem) -> tuple[Any, Any]:
        """The sums of the one row of a formula that has them, in the type to add up in where there is one."""
        assert problem.formula.statistics is not None
        ready = self._ready(problem)
        found = problem.formula.statistics(self.xp, *ready.arrays, **ready.parameters)
        first, second = (self.number(self.total(x)) for x in found)
        return first, second

    def finish(self, problem: Problem, rule: Rule | None, value: Any, divisor: Any) -> Any:
        """What the rule makes of a total, or the weights of the losses of the rows."""
        if rule is None:
            return self.weighted(value, problem.weighting)
        return rule.finish(value, divisor)

    def shared(self, rule: Rule, divisor: Any) -> Any:
        """What the rule divides by in one of several replicas; see `Rule`."""
        return divisor

    def reduce(self, losses: Any, rule: Rule, divisor: Any) -> Any:
        """What the rule makes of weighted losses."""
        if rule.divisor is not None and isinstance(divisor, (int, float)) and divisor == 0:
            # Nothing counts, yet the result has a gradient, of zeros.
            harmless = self.xp.where(self.xp.isfinite(losses), losses, self.xp.zeros_like(losses))
            return self.total(harmless) * 0.0 + rule.finish(0.0, divisor)
        return rule.finish(self.total(losses), divisor)

    def weighted(self, losses: Any, weighting: Weighting | None) -> Any:
        """Unreduced losses times their weights, 0 where a weight is 0."""
        if weighting is None:
            return losses
        xp = self.xp
        dtype = self.weight_type(weighting.per_loss, losses.dtype)
        weights = xp.astype(weighting.per_loss, dtype, copy=False)
        product = xp.reshape(losses, weighting.losses_shape) * weights
        used = weights != 0
        if weighting.masks:
            kept = xp.broadcast_to(self.kept(weighting.masks), tuple(losses.shape))
            used = used & xp.reshape(kept, weighting.losses_shape)
        return xp.where(used, product, xp.zeros_like(product))

    def run(self, problem: Problem, *, reduce: bool, scale: Any) -> tuple[Any, Any] | Offence:
        """Run a problem through its formula.

        Gives the sum of the weighted losses (``reduce``) or the losses of the rows without their
        weights, and, where there is a ``scale``, scale times the gradient of the weighted sum. Rows of
        weight 0 count as 0 whatever they hold.
        """
        xp, formula = self.xp, problem.formula
        if formula.by_batch:
            return self._run_batch(problem, reduce=reduce, scale=scale)
        if 0 in problem.predictions.shape:
            return self._run_empty(problem, reduce=reduce)
        offence = self.find_offence(problem)
        if offence is not None:
            return offence
        ready = self._ready(problem)
        weights, used = ready.weights, ready.used
        losses = self.losses(formula, ready.arrays, ready.parameters)
        if problem.shrink != 1:
            losses = losses * problem.shrink
        if formula.kind == "pointwise":
            losses = self.sum_rows(losses) * ready.row_factor
        if ready.spoilt is not None:
            losses = losses * ready.spoilt
        if used is not None:
            losses = xp.where(used, losses, xp.zeros_like(losses))
        value = losses
        if reduce:
            value = self.total(losses if weights is None else losses * weights)
        if scale is None:
            return value, None
        return value, self._gradient(problem, ready, formula.derivative, scale)

    def losses(
        self, formula: Formula, arrays: tuple[Any, ...], parameters: dict[str, float]
    ) -> Any:
        """The formula's value."""
        return formula.value(self.xp, *arrays, **parameters)

    def _run_empty(self, problem: Problem, *, reduce: bool) -> tuple[Any, Any]:
        predictions = problem.predictions
        value = self.total(predictions) if reduce else self.xp.sum(predictions, axis=problem.axis)
        return value, self.xp.zeros_like(predictions)

    def _run_batch(self, problem: Problem, *, reduce: bool, scale: Any) -> tuple[Any, Any]:
        """The same for a formula that takes the whole batch.

        What samples without a weight hold was made harmless when the problem was.
        """
        xp, formula = self.xp, problem.formula
        predictions = problem.predictions
        if 0 in predictions.shape:
            losses = xp.sum(predictions, axis=tuple(range(1, predictions.ndim)))
            value = self.total(losses) if reduce else losses
            return value, None if scale is None else xp.zeros_like(predictions)
        arrays = tuple(
            xp.astype(x, predictions.dtype, copy=False)
            if xp.isdtype(x.dtype, "real floating")
            else x
            for x in (problem.targets, predictions, *problem.others)
        )
        parameters = dict(zip(formula.parameters, problem.parameters, strict=True))
        losses = formula.value(xp, *arrays, **parameters)
        weights = None
        if problem.weighting is not None:
            weights = xp.astype(problem.weighting.per_row, losses.dtype, copy=False)
            weights = xp.broadcast_to(
                self.merge(weights, problem.weighting.masks), tuple(losses.shape)
            )
            losses = xp.where(weights != 0, losses, xp.zeros_like(losses))
        value = losses
        if reduce:
            value = self.total(losses if weights is None else losses * weights)
        if scale is None:
            return value, None
        factors = scale * (xp.ones_like(losses) if weights is None else weights)
        if formula.kind == "sequence":
            gradient = formula.derivative(xp, *arrays, **parameters)
            return value, gradient * factors[None, :, None]
        return value, formula.derivative(xp, *arrays, factors, **parameters)

    def gradient_by(self, problem: Problem, argument: str, scale: Any) -> Any:
        """``scale`` times the gradient of the weighted sum by one array, without looking for offences.

        A scale with axes has one number for every row.
        ``argument`` is "targets" (where they are dense), "predictions" or the name of one of the others.
        """
        if problem.formula.by_batch:
            return self._run_batch(problem, reduce=False, scale=scale)[1]
        derivative = problem.formula.derivative_by(argument)
        assert derivative is not None
        gradient = self._gradient(problem, self._ready(problem), derivative, scale)
        if argument == "targets":
            return gradient * problem.target_map[0]
        for other, array in zip(problem.formula.others, problem.others, strict=True):
            if other.name == argument:
                return self.added_up(gradient, tuple(array.shape))
        return gradient

    def added_up(self, gradient: Any, shape: tuple[int, ...]) -> Any:
        """A gradient of an array that was broadcast, as one of the array itself, of a given shape."""
        if tuple(gradient.shape) == shape:
            return gradient
        padded = (1,) * (gradient.ndim - len(shape)) + shape
        axes = tuple(i for i, size in enumerate(padded) if size != gradient.shape[i])
        return self.xp.reshape(self.xp.sum(gradient, axis=axes), shape)

    def _ready(self, problem: Problem) -> _Ready:
        """What the formula takes: arrays with the rows last, and harmless numbers in unused rows."""
        xp, formula = self.xp, problem.formula
        predictions = xp.moveaxis(problem.predictions, problem.axis, -1)
        targets = problem.targets
        if not formula.labels:
            targets = xp.moveaxis(targets, problem.axis, -1)
        weights = self._row_weights(problem)
        used = None if weights is None else weights != 0
        spoilt = self._spoilt(problem, targets, predictions, used)
        if spoilt is not None:  # the gradient too, also where the formula clips
            predictions = predictions * spoilt[..., None]
        targets, predictions = self._usable(problem, targets, predictions, used)
        others = self._others(problem, predictions, used)
        return _Ready(
            (targets, predictions, *others),
            dict(zip(formula.parameters, problem.parameters, strict=True)),
            weights,
            used,
            1 / self.size(predictions.shape[-1]) if problem.row_mean else 1.0,
            spoilt,
        )

    def _spoilt(self, problem: Problem, targets: Any, predictions: Any, used: Any) -> Any:
        """1 for each row, but NaN for one with an element outside of its interval; None where nothing can be.

        Where elements can be looked at, `find_offence` has refused them.
        """
        xp, formula = self.xp, problem.formula
        if self.is_eager(predictions):
            return None
        wrong = self._outside(predictions, formula.predictions)
        if not formula.labels:
            other = self._outside(targets, formula.targets)
            wrong = other if wrong is None else wrong if other is None else wrong | other
        for given, array in zip(formula.others, problem.others, strict=True):
            other = self._outside(array, given.interval)
            if other is None or given.shape == "rows":
                continue
            other = xp.moveaxis(
                xp.broadcast_to(other, tuple(problem.predictions.shape)), problem.axis, -1
            )
            wrong = other if wrong is None else wrong | other
        if wrong is not None:
            wrong = xp.any(wrong, axis=-1)
        if formula.labels:
            unknown = self.no_class(targets, predictions.shape[-1])
            wrong = unknown if wrong is None else wrong | unknown
        if wrong is None:
            return None
        if used is not None:
            wrong = wrong & used
        one = xp.ones_like(predictions[..., 0])
        return xp.where(wrong, xp.full_like(one, math.nan), one)

    def _others(self, problem: Problem, predictions: Any, used: Any) -> list[Any]:
        """The formula's other arrays, like the predictions."""
        xp = self.xp
        ready = []
        for other, array in zip(problem.formula.others, problem.others, strict=True):
            like, mask = predictions, used if used is None else used[..., None]
            array = xp.astype(array, predictions.dtype, copy=False)
            if other.shape == "rows":
                like, mask = predictions[..., 0], used
            else:
                array = xp.broadcast_to(array, tuple(problem.predictions.shape))
                array = xp.moveaxis(array, problem.axis, -1)
            if mask is not None:
                array = xp.where(mask, array, xp.full_like(like, 0.5))
            ready.append(array)
        return ready

    def _gradient(
        self, problem: Problem, ready: _Ready, derivative: Callable[..., Any], scale: Any
    ) -> Any:
        xp = self.xp
        gradient = derivative(xp, *ready.arrays, **ready.parameters)
        if ready.spoilt is not None:
            gradient = gradient * ready.spoilt[..., None]
        factors = scale * ready.row_factor
        if ready.used is not None:
            factors = self._scaled(ready.weights, factors)
            product = xp.astype(gradient * factors[..., None], gradient.dtype, copy=False)
            gradient = xp.where(ready.used[..., None], product, xp.zeros_like(gradient))
        elif not isinstance(factors, (int, float)):
            factors = xp.astype(factors, gradient.dtype, copy=False)
            gradient = gradient * (factors[..., None] if factors.ndim else factors)
        elif factors != 1:
            gradient = gradient * factors
        return xp.moveaxis(gradient, -1, problem.axis)

    def _scaled(self, weights: Any, scale: Any) -> Any:
        """Weights times a scale, which may be beyond their type's range where the product is not.

        It is so where it is one over the sum of tiny or huge weights.
        """
        if isinstance(scale, float) and self.is_eager(weights):
            mantissa, exponent = math.frexp(scale)
            half = exponent // 2
            return (weights * math.ldexp(1.0, half)) * math.ldexp(mantissa, exponent - half)
        return weights * self.xp.asarray(scale, dtype=weights.dtype)

    def _row_weights(self, problem: Problem) -> Any:
        """The weight of every row, in the type to compute in, or None."""
        if problem.weighting is None:
            return None
        rows = list(problem.predictions.shape)
        del rows[problem.axis]
        weights = problem.weighting.per_row
        dtype = self.weight_type(weights, problem.predictions.dtype)
        weights = self.xp.astype(weights, dtype, copy=False)
        weights = self.merge(weights, problem.weighting.masks)
        return self.xp.broadcast_to(weights, tuple(rows))

    def find_offence(self, problem: Problem) -> Offence | None:
        """The first element, in the user's order, that is outside of its interval and has a weight."""
        xp, formula = self.xp, problem.formula
        targets, predictions = problem.targets, problem.predictions
        if not self.is_eager(predictions) or formula.by_batch:  # which its function checks
            return None
        weights = self._row_weights(problem)
        by_class = used = None if weights is None else weights != 0
        if used is not None:
            by_class = xp.broadcast_to(
                xp.expand_dims(used, axis=problem.axis), tuple(predictions.shape)
            )
        if formula.labels:
            wrong = self.no_class(targets, predictions.shape[problem.axis])
        else:
            wrong = self._outside(targets, formula.targets)
        found = [
            self.first("targets", targets, wrong, used if formula.labels else by_class),
            self.first(
                "predictions",
                predictions,
                self._outside(predictions, formula.predictions),
                by_class,
            ),
        ]
        for other, array in zip(formula.others, problem.others, strict=True):
            full = array
            if other.shape in ("broadcast", "leading"):
                full = xp.broadcast_to(array, tuple(predictions.shape))
            place = used if other.shape == "rows" else by_class
            found.append(self.first(other.name, full, self._outside(full, other.interval), place))
        return min(
            (offence for offence in found if offence is not None),
            key=lambda offence: offence.index,
            default=None,
        )

    def _outside(self, x: Any, interval: Interval) -> Any:
        low, high = interval
        if self.xp.isdtype(x.dtype, "bool") or interval == Interval():
            return None
        return (x < low) | (x > high)

    def first(self, which: str, x: Any, wrong: Any, used: Any = None) -> Offence | None:
        """The first element that is wrong and used, in the array's order."""
        xp = self.xp
        if wrong is None:
            return None
        if used is not None:
            wrong = wrong & used
        if not bool(xp.any(wrong)):
            return None
        flat = int(xp.argmax(xp.astype(xp.reshape(wrong, (-1,)), xp.int8)))
        index: list[int] = []
        for size in reversed(x.shape):
            flat, position = divmod(flat, size)
            index.insert(0, position)
        return Offence(which, tuple(index), x[tuple(index)])

    def _usable(
        self, problem: Problem, targets: Any, predictions: Any, used: Any
    ) -> tuple[Any, Any]:
        """Targets in the type and scale that the formula takes, and harmless numbers in unused rows."""
        xp, formula = self.xp, problem.formula
        if formula.labels:
            targets = xp.astype(targets, self.integers, copy=False)
        else:
            targets = xp.astype(targets, predictions.dtype, copy=False)
            a, b = problem.target_map
            if problem.detect_binary:
                binary = (targets == 0) | (targets == 1)
                if used is not None:
                    binary = binary | ~used[..., None]
                targets = xp.where(xp.all(binary), 2.0 * targets - 1.0, targets)
            if (a, b) != (1.0, 0.0):
                targets = a * targets + b
            if problem.class_factors:
                factors = xp.asarray(
                    problem.class_factors, dtype=predictions.dtype, device=device(predictions)
                )
                targets = targets * factors
        if used is not None:
            half = xp.full_like(predictions, 0.5)
            predictions = xp.where(used[..., None], predictions, half)
            if formula.labels:
                targets = xp.where(used, targets, xp.zeros_like(targets))
            else:
                targets = xp.where(used[..., None], targets, half)
        return targets, predictions


def _as_float(number: int) -> float:
    """The nearest float, or NaN, which no number is equal to, beyond all of them."""
    try:
        return float(number)
    except OverflowError:
        return math.nan
