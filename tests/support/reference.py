"""Keras as the reference, made to compute in float64.

Keras aligns its type promotion with JAX's defaults: but on TensorFlow every float64 becomes float32
somewhere inside, also with ``dtype="float64"``. `in_float64` lifts that for a block.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE

__all__ = ["in_float64"]


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Let Keras keep float64 inside of the block."""
    floatx, narrowed = keras.config.floatx(), BIT64_TO_BIT32_DTYPE["float64"]
    keras.config.set_floatx("float64")
    BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    try:
        with np.errstate(all="ignore"):  # Keras divides by 0 and drops the result
            yield
    finally:
        keras.config.set_floatx(floatx)
        BIT64_TO_BIT32_DTYPE["float64"] = narrowed
