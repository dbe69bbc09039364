"""NumPy: arrays, lists and whatever converts to an array, through the native core where it is there."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np

from omniloss import native
from omniloss.configuration import config
from omniloss.frameworks.base import Framework
from omniloss.problem import Offence, Problem

__all__ = ["NUMPY", "NumPy", "numpy_dtype"]

# Reading a dtype's name takes longer than a small loss, looking the dtype up does not.
_NUMBERS = frozenset(map(np.dtype, "?bhilqBHILQefd"))
_FLOATS = frozenset(map(np.dtype, "efd"))
_SINGLE, _HALF = np.dtype(np.float32), np.dtype(np.float16)


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


def _is_bfloat16(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "V" and dtype.name == "bfloat16"


class NumPy(Framework):
    """NumPy arrays, and everything that no other framework claims."""

    name = "numpy"
    xp = np

    def asarray(self, x: Any, argument: str) -> np.ndarray:
        masked = sys.modules.get("numpy.ma")  # importing it takes longer than the first loss
        if masked is not None and isinstance(x, masked.MaskedArray):
            raise TypeError(
                f"`{argument}` is a NumPy masked array, whose mask would be lost; pass its data and the "
                "inverted mask as `mask`"
            )
        try:
            array = np.asarray(x)
        except ValueError as error:
            raise ValueError(f"`{argument}` is not a rectangular array: {error}") from None
        dtype = array.dtype
        if dtype in _NUMBERS or _is_bfloat16(dtype):
            return array
        if dtype.newbyteorder("=") in _NUMBERS:
            return array.astype(dtype.newbyteorder("="))
        raise TypeError(
            f"`{argument}` must hold real numbers (bool, integer, float16, bfloat16, float32 or float64); got "
            f"{_describe(x, array)}"
        )

    def predictions(
        self, x: Any, argument: str, dtype: str | None, *, widen: bool
    ) -> tuple[np.ndarray, Any, Any]:
        array = self.asarray(x, argument)
        typed = not isinstance(x, (list, tuple, int, float)) or isinstance(x, np.generic)
        is_float = typed and (array.dtype in _FLOATS or _is_bfloat16(array.dtype))
        own = array.dtype if is_float else numpy_dtype(config.floatx())
        wanted = own if dtype is None else numpy_dtype(dtype)
        half = wanted == _HALF or _is_bfloat16(wanted)
        compute = _SINGLE if half else wanted
        if half and dtype is None and widen:
            wanted = compute
        return array.astype(compute, copy=False), wanted, own

    def is_eager(self, x: Any) -> bool:
        return True

    def result(self, x: Any, dtype: Any) -> Any:
        with np.errstate(over="ignore"):  # beyond the type's range there is infinity
            if isinstance(x, np.ndarray) and x.ndim:
                return x.astype(dtype, copy=False)
            return dtype.type(x)

    def total(self, x: np.ndarray) -> float:
        return float(np.sum(x, dtype=np.float64))

    def sum_rows(self, x: np.ndarray) -> np.ndarray:
        return np.sum(x, axis=-1, dtype=np.float64).astype(x.dtype)

    def count_true(self, mask: np.ndarray) -> int:
        return int(np.count_nonzero(mask))

    def run(
        self, problem: Problem, *, reduce: bool, scale: float | None
    ) -> tuple[Any, Any] | Offence:
        problem = _without_bfloat16(problem)
        if native.core is not None:
            outcome = native.run(problem, reduce=reduce, scale=scale)
            if outcome is not None:
                return outcome
            # The formula's way looks in the user's order and finds what the core met: rounding to the
            # type to compute in brings no number out of its interval.
        with np.errstate(all="ignore"):  # limits are meant, and NaN goes in and out
            return self.find_offence(problem) or super().run(
                _widened(problem), reduce=reduce, scale=scale
            )


def _describe(x: Any, array: np.ndarray) -> str:
    if isinstance(x, np.ndarray):
        return f"an array of dtype {array.dtype}"
    return f"a {type(x).__name__} that converts to dtype {array.dtype}"


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
