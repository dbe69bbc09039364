"""NumPy: arrays, lists and whatever converts to an array, through the native core where it is there."""

from __future__ import annotations

from typing import Any

import numpy as np

from omniloss import native
from omniloss.configuration import config
from omniloss.frameworks.base import Framework
from omniloss.problem import Offence, Problem

__all__ = ["NUMPY", "NumPy", "numpy_dtype"]

HALF = ("float16", "bfloat16")


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


class NumPy(Framework):
    """NumPy arrays, and everything that no other framework claims."""

    name = "numpy"
    xp = np

    def asarray(self, x: Any, argument: str) -> np.ndarray:
        if isinstance(x, np.ma.MaskedArray):
            raise TypeError(
                f"`{argument}` is a NumPy masked array, whose mask would be lost; pass its data and the "
                "inverted mask as `mask`"
            )
        try:
            array = np.asarray(x)
        except ValueError as error:
            raise ValueError(f"`{argument}` is not a rectangular array: {error}") from None
        kind = array.dtype.kind
        if kind in "biu" or array.dtype.name in (*HALF, "float32", "float64"):
            return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
        raise TypeError(
            f"`{argument}` must hold real numbers (bool, integer, float16, bfloat16, float32 or float64); got "
            f"{_describe(x, array)}"
        )

    def predictions(
        self, x: Any, argument: str, dtype: str | None, *, widen: bool
    ) -> tuple[np.ndarray, Any, Any]:
        array = self.asarray(x, argument)
        typed = not isinstance(x, (list, tuple, int, float)) or isinstance(x, np.generic)
        is_float = typed and array.dtype.kind not in "biu"
        own = array.dtype if is_float else numpy_dtype(config.floatx())
        wanted = own if dtype is None else numpy_dtype(dtype)
        half = wanted.name in HALF
        compute = np.dtype(np.float32) if half else wanted
        if half and dtype is None and widen:
            wanted = compute
        return array.astype(compute, copy=False), wanted, own

    def is_eager(self, x: Any) -> bool:
        return True

    def result(self, x: Any, dtype: Any) -> Any:
        return x.astype(dtype, copy=False) if isinstance(x, np.ndarray) else dtype.type(x)

    def total(self, x: np.ndarray) -> float:
        return float(np.sum(x, dtype=np.float64))

    def sum_rows(self, x: np.ndarray) -> np.ndarray:
        return np.sum(x, axis=-1, dtype=np.float64).astype(x.dtype)

    def count_nonzero(self, x: np.ndarray) -> int:
        return int(np.count_nonzero(x))

    def run(
        self, problem: Problem, *, reduce: bool, scale: float | None
    ) -> tuple[Any, Any] | Offence:
        if native.core is not None:
            return native.run(problem, reduce=reduce, scale=scale)
        with np.errstate(all="ignore"):  # limits are meant, and NaN goes in and out
            return super().run(problem, reduce=reduce, scale=scale)


def _describe(x: Any, array: np.ndarray) -> str:
    if isinstance(x, np.ndarray):
        return f"an array of dtype {array.dtype}"
    return f"a {type(x).__name__} that converts to dtype {array.dtype}"


NUMPY = NumPy()
