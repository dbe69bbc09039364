"""NumPy: arrays, lists and whatever converts to an array, through the native core where it is there."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from omniloss import native
from omniloss.configuration import config
from omniloss.frameworks.base import Framework
from omniloss.problem import Mask, Offence, Problem, Weighting
from omniloss.reduction import Rule

__all__ = ["NUMPY", "NumPy", "numpy_dtype", "refuse_masked"]

# Reading a dtype's name takes longer than a small loss, looking the dtype up does not.
_NUMBERS = frozenset(map(np.dtype, "?bhilqBHILQefd"))
_FLOATS = frozenset(map(np.dtype, "efd"))
_DOUBLE, _SINGLE, _HALF = map(np.dtype, (np.float64, np.float32, np.float16))
# Brings a sum of the largest losses and weights into float64's range, and leaves what counts in it there.
_SHRINK = 2.0**-540


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a float type's name; bfloat16 comes from the ml_dtypes package."""
    if name == "bfloat16":
        try:
            import ml_dtypes
        except ModuleNotFoundError:
            raise ValueError(
                "dtype 'bfloat16' needs the package ml_dtypes, which gives NumPy that type"
            ) from None
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


# By what a library makes one array of several, found by the first part of their type's module
_STACKING = {
    "jax": "jax.numpy.stack",
    "jaxlib": "jax.numpy.stack",
    "tensorflow": "tf.stack",
    "torch": "torch.stack",
}


def _refuse_list_of_arrays(x: Any, argument: str) -> None:
    """Refuse a list of another library's arrays, which NumPy would take out of what differentiates or traces them."""
    first, kind = x, type(x)
    while kind is list or kind is tuple:
        if not first:
            return
        first = first[0]
        kind = type(first)
    if kind is float or kind is int:  # as a rule, and small lists are to stay quick
        return
    stack = _STACKING.get(kind.__module__.partition(".")[0])
    if stack is not None and hasattr(first, "shape"):
        raise TypeError(
            f"`{argument}` must be one array; got a {type(x).__name__} of arrays: make one of them by {stack}(...)"
        )


def refuse_masked(x: Any, argument: str, advice: str) -> None:
    """Raise for a masked array, or a list with one in it, of which `numpy.asarray` drops the mask."""
    masked = sys.modules.get("numpy.ma")  # importing it takes longer than the first loss
    if masked is None:
        return
    if isinstance(x, masked.MaskedArray):
        raise TypeError(f"`{argument}` is a NumPy masked array, whose mask would be lost; {advice}")
    if isinstance(x, (list, tuple)) and _holds(x, masked.MaskedArray):
        raise TypeError(
            f"`{argument}` holds NumPy masked arrays, whose masks would be lost; make one array of them with "
            f"numpy.ma.stack and {advice}"
        )


def _holds(x: Any, kind: type) -> bool:
    """Whether a nested list has an item of a type; looking at the types alone is quick."""
    types = set(map(type, x))
    if any(issubclass(found, kind) for found in types):
        return True
    if not any(issubclass(found, (list, tuple)) for found in types):
        return False
    return any(_holds(item, kind) for item in x if isinstance(item, (list, tuple)))


def _is_bfloat16(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "V" and dtype.name == "bfloat16"


class NumPy(Framework):
    """NumPy arrays, and everything that no other framework claims."""

    name = "numpy"
    xp = np
    masks_apart = True

    def asarray(self, x: Any, argument: str) -> np.ndarray:
        refuse_masked(x, argument, "pass its data and the inverted mask as `mask`")
        if type(x) is list or type(x) is tuple:
            _refuse_list_of_arrays(x, argument)
        try:
            array = np.asarray(x)
        except ValueError as error:
            raise ValueError(f"`{argument}` is not a rectangular array: {error}") from None
        dtype = array.dtype
        if dtype in _NUMBERS or _is_bfloat16(dtype) or dtype.newbyteorder("=") in _NUMBERS:
            return array
        raise TypeError(
            f"`{argument}` must hold real numbers (bool, integer, float16, bfloat16, float32 or float64); got "
            f"{_describe(x, array)}"
        )

    def predictions(
        self, x: Any, argument: str, dtype: str | None, *, widen: bool
    ) -> tuple[np.ndarray, Any, Any]:
        array = self.asarray(x, argument)
        typed = not isinstance(x, (list, tuple, int, float)) or isinstance(x, np.generic)
        own = array.dtype
        if not _is_bfloat16(own):
            own = own.newbyteorder("=")
            if not typed or own not in _FLOATS:
                own = numpy_dtype(config.floatx())
        wanted = own if dtype is None else numpy_dtype(dtype)
        half = wanted == _HALF or _is_bfloat16(wanted)
        compute = _SINGLE if half else wanted
        if half and dtype is None and widen:
            wanted = compute
        # The core converts as it reads.
        array = array if native.core is not None else array.astype(compute, copy=False)
        return array, wanted, own

    def compute_type(self, predictions: np.ndarray, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return dtype if dtype == _DOUBLE else _SINGLE

    def weight_type(self, weights: np.ndarray, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return _DOUBLE if weights.dtype.newbyteorder("=") == _DOUBLE else dtype

    def sum_type(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return _DOUBLE

    def is_eager(self, x: Any) -> bool:
        return True

    def result(self, x: Any, dtype: Any) -> Any:
        return _rounded(x, dtype)

    def total(self, x: np.ndarray) -> float:
        with np.errstate(over="ignore"):  # which `finish` and `reduce` look for
            return float(np.sum(x, dtype=np.float64))

    def sum_rows(self, x: np.ndarray) -> np.ndarray:
        return np.sum(x, axis=-1, dtype=np.float64).astype(x.dtype)

    def is_binary(self, x: np.ndarray) -> bool:
        return all(bool(np.all((part == 0) | (part == 1))) for (part,) in _blocks(x))

    def may_hold(self, dtype: np.dtype[Any], number: int) -> bool:
        return True  # which `label` sees to

    def label(self, number: int, dtype: np.dtype[Any]) -> float:
        # NumPy compares integers of every size, as what they are.
        return number if dtype.kind in "iu" else super().label(number, np.dtype(np.float64))

    def count_kept(self, masks: tuple[Mask, ...]) -> int:
        first = masks[0]
        if len(masks) == 1 and first.excluded == 0:
            return int(np.count_nonzero(first.array))
        return sum(
            int(np.count_nonzero(_kept(masks, parts)))
            for parts in _blocks(*(mask.array for mask in masks))
        )

    def weight_total(
        self, weights: np.ndarray, masks: tuple[Mask, ...], dtype: np.dtype[Any]
    ) -> float:
        if not masks and weights.dtype == dtype:
            return self.total(weights)
        totals = []
        for part, *parts in _blocks(weights, *(mask.array for mask in masks)):
            part = part.astype(dtype)
            totals.append(self.total(np.where(_kept(masks, parts), part, 0) if masks else part))
        return math.fsum(totals) if np.isfinite(totals).all() else sum(totals)

    def gradient_by(self, problem: Problem, argument: str, scale: float) -> Any:
        compute = self.compute_type(problem.predictions, problem.dtype)
        return super().gradient_by(_computable(problem, compute), argument, scale)

    def statistics(self, problem: Problem) -> tuple[Any, Any]:
        return super().statistics(_computable(problem, _DOUBLE))

    def weighted(self, losses: np.ndarray, weighting: Weighting | None) -> np.ndarray:
        with np.errstate(over="ignore"):
            return super().weighted(losses, weighting)

    def finish(self, problem: Problem, rule: Rule | None, value: Any, divisor: Any) -> Any:
        plain = super().finish(problem, rule, value, divisor)
        if rule is None or rule.divisor is None or problem.formula.by_batch:
            return plain
        # The mean may be in float64's range where the sum is not: it is infinite, or of tiny weights.
        if math.isinf(value):
            shrink = _SHRINK
        elif 0 < abs(divisor) < _SHRINK:
            shrink = 1 / _SHRINK
        else:
            return plain
        moved = replace(problem, dtype=_DOUBLE, shrink=shrink)
        outcome = self.run(moved, reduce=True, scale=None)
        if isinstance(outcome, Offence):  # of a number that float32 rounds into its interval
            return plain
        result = super().finish(problem, rule, outcome[0], divisor) / shrink
        return plain if shrink > 1 and math.isinf(result) else result

    def reduce(self, losses: np.ndarray, rule: Rule, divisor: Any) -> float:
        total = self.total(losses)
        if rule.divisor is not None and math.isinf(total):
            return rule.finish(self.total(losses.astype(np.float64) * _SHRINK), divisor) / _SHRINK
        return rule.finish(total, divisor)

    def run(self, problem: Problem, *, reduce: bool, scale: Any) -> tuple[Any, Any] | Offence:
        if scale is not None and self._needs_room(problem, scale):
            roomier = self.run(replace(problem, dtype=_DOUBLE), reduce=reduce, scale=scale)
            if not isinstance(roomier, Offence):
                value, gradient = roomier
                gradient = _rounded(gradient, _SINGLE)
                return (value if reduce else _rounded(value, _SINGLE)), gradient
        outcome = self._run(problem, reduce=reduce, scale=scale)
        if isinstance(outcome, Offence):
            return outcome
        value, gradient, infinite = outcome
        if infinite and problem.shrink == 1 and not problem.formula.by_batch:
            value = self._run_again(problem, value, reduce=reduce)
        return value, gradient

    def _needs_room(self, problem: Problem, scale: float) -> bool:
        """Whether float64 weights are beyond what float32 gradients of rows can be multiplied by."""
        weighting = problem.weighting
        if weighting is None or problem.formula.kind != "rowwise" or 0 in weighting.per_row.shape:
            return False
        weights = weighting.per_row
        if self.weight_type(weights, _SINGLE) == _SINGLE:
            return False
        if self.compute_type(problem.predictions, problem.dtype) == _DOUBLE:
            return False
        largest = max(abs(float(np.max(weights))), abs(float(np.min(weights))))
        return largest * abs(scale) > 2.0**100

    def _row_weights(self, problem: Problem) -> Any:
        weights = super()._row_weights(problem)
        return weights if weights is None else weights.astype(np.float64, copy=False)

    def _run_again(self, problem: Problem, value: Any, *, reduce: bool) -> Any:
        """Where losses add up to infinity, the sum, or those of the rows, with more room to compute in."""
        single = self.compute_type(problem.predictions, problem.dtype) == _SINGLE
        if not single and (reduce or not problem.row_mean):
            return value
        roomier = replace(problem, dtype=_DOUBLE, shrink=1.0 if single else _SHRINK)
        outcome = self.run(roomier, reduce=reduce, scale=None)
        if isinstance(outcome, Offence):  # of a number that float32 rounds into its interval
            return value
        if single:
            return outcome[0] if reduce else _rounded(outcome[0], _SINGLE)
        with np.errstate(over="ignore"):
            return np.where(np.isinf(value), outcome[0] / _SHRINK, value)

    def _run(
        self, problem: Problem, *, reduce: bool, scale: Any
    ) -> tuple[Any, Any, bool] | Offence:
        """What `run` gives, and whether the losses add up to infinity."""
        if 0 in problem.predictions.shape and not problem.formula.by_batch:
            return *self._run_empty(problem, reduce=reduce), False
        compute = self.compute_type(problem.predictions, problem.dtype)
        if native.core is not None:
            outcome = native.run(problem, reduce=reduce, scale=scale, compute=compute)
            if outcome is not None:
                return outcome
            # The formula's way looks in the user's order and finds what the core met: rounding to the
            # type to compute in brings no number out of its interval.
        problem = _computable(problem, compute)
        with np.errstate(all="ignore"):  # limits are meant, and NaN goes in and out
            found = self.find_offence(problem) or super().run(
                _widened(problem), reduce=reduce, scale=scale
            )
        if isinstance(found, Offence):
            return found
        return *found, bool(np.isinf(found[0]).any())


def _describe(x: Any, array: np.ndarray) -> str:
    if isinstance(x, np.ndarray):
        return f"an array of dtype {array.dtype}"
    return f"a {type(x).__name__} that converts to dtype {array.dtype}"


def _rounded(x: Any, dtype: Any) -> Any:
    """An array or a scalar in another type."""
    with np.errstate(over="ignore"):  # beyond the type's range there is infinity
        if isinstance(x, np.ndarray) and x.ndim:
            return x.astype(dtype, copy=False)
        return dtype.type(x)


def _blocks(*arrays: np.ndarray) -> Any:
    """Arrays, broadcast against each other, block by block: lists of as many short vectors."""
    iterator = np.nditer(
        arrays, ["external_loop", "buffered", "zerosize_ok"], buffersize=2**14, casting="no"
    )
    if len(arrays) == 1:
        return ((block,) for block in iterator)
    return iterator


def _kept(masks: tuple[Mask, ...], parts: Sequence[np.ndarray]) -> np.ndarray:
    """Where no mask leaves anything out, in a block of their arrays."""
    kept = [part != mask.excluded for mask, part in zip(masks, parts, strict=True)]
    return np.logical_and.reduce(kept)


def _computable(problem: Problem, compute: np.dtype[Any]) -> Problem:
    """The problem with predictions in the type to compute in, as formulas want them."""
    predictions = problem.predictions.astype(compute, copy=False)
    return _without_bfloat16(replace(problem, predictions=predictions))


def _without_bfloat16(problem: Problem) -> Problem:
    """The problem with targets, weights and others of NumPy's own types."""
    if _is_bfloat16(problem.targets.dtype):
        problem = replace(problem, targets=problem.targets.astype(np.float32))
    weighting = problem.weighting
    if weighting is not None and _is_bfloat16(weighting.per_row.dtype):
        weighting = replace(weighting, per_row=weighting.per_row.astype(np.float32))
        problem = replace(problem, weighting=weighting)
    if any(_is_bfloat16(array.dtype) for array in problem.others):
        others = tuple(array.astype(np.float32) for array in problem.others)
        problem = replace(problem, others=others)
    return problem


def _widened(problem: Problem) -> Problem:
    """The problem in float64: NumPy's own float32 exp and log lose up to 4 units in the last place.

    A formula that clips rounds its bounds to the type of the data, and stays in it.
    """
    predictions, targets = problem.predictions, problem.targets
    if predictions.dtype == np.float64 or "epsilon" in problem.formula.parameters:
        return problem
    if not problem.formula.labels:
        targets = targets.astype(predictions.dtype, copy=False)
    return replace(problem, predictions=predictions.astype(np.float64), targets=targets)


NUMPY = NumPy()
