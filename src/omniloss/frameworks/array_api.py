"""Every other library of the array API standard, through array-api-compat and the formula alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from omniloss.configuration import config
from omniloss.frameworks.base import Framework
from omniloss.frameworks.numpy import NUMPY

__all__ = ["ArrayAPI"]

HALF = ("float16", "bfloat16")


class ArrayAPI(Framework):
    """A library that array-api-compat knows or that follows the standard by itself."""

    def __init__(self, xp: Any, like: Any) -> None:
        self.name = xp.__name__.removeprefix("array_api_compat.")
        self.xp = xp
        self._device = getattr(like, "device", None)

    def asarray(self, x: Any, argument: str) -> Any:
        from array_api_compat import is_array_api_obj

        if is_array_api_obj(x) and not isinstance(x, (np.ndarray, np.generic)):
            array = x
            # Dask says NaN where elements decide
            if any(size != size for size in x.shape):
                raise ValueError(
                    f"`{argument}` must be an array of known shape; got {x.shape}: call its "
                    "compute_chunk_sizes() first"
                )
        else:
            array = self._adopt(NUMPY.asarray(x, argument), argument)
        if self.xp.isdtype(array.dtype, ("bool", "integral", "real floating")) or self._is_half(
            array.dtype
        ):
            return array
        raise TypeError(f"`{argument}` must hold real numbers; got an array of dtype {array.dtype}")

    def _adopt(self, array: np.ndarray, argument: str) -> Any:
        if array.dtype.kind not in "biuf":
            raise TypeError(
                f"`{argument}` must hold real numbers; got an array of dtype {array.dtype}"
            )
        return self.xp.asarray(array, device=self._device)

    def predictions(
        self, x: Any, argument: str, dtype: str | None, *, widen: bool
    ) -> tuple[Any, Any, Any]:
        xp = self.xp
        array = self.asarray(x, argument)
        typed = not isinstance(x, (list, tuple, int, float)) or isinstance(x, np.generic)
        is_float = xp.isdtype(array.dtype, "real floating") or self._is_half(array.dtype)
        own = array.dtype if typed and is_float else self._dtype(config.floatx())
        wanted = own if dtype is None else self._dtype(dtype)
        half = self._is_half(wanted)
        compute = xp.float32 if half else wanted
        if half and dtype is None and widen:
            wanted = compute
        return xp.astype(array, compute, copy=False), wanted, own

    def _dtype(self, name: str) -> Any:
        dtype = getattr(self.xp, name, None)
        if dtype is None:
            raise ValueError(f"{self.name} has no dtype {name!r}")
        return dtype

    def _is_half(self, dtype: Any) -> bool:
        return any(dtype == getattr(self.xp, name, object()) for name in HALF)

    def is_eager(self, x: Any) -> bool:
        from array_api_compat import is_lazy_array

        return not is_lazy_array(x)
