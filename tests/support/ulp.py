"""Distances between floats and exact numbers, in units in the last place."""

from collections.abc import Sequence

import numpy as np
from mpmath import mp, mpf

__all__ = ["distances", "unit"]


def unit(dtype: np.dtype, exact: mpf) -> mpf:
    """The spacing of the dtype's floats at the size of an exact number."""
    form = np.finfo(dtype)
    exponent = form.minexp if exact == 0 else max(int(mp.floor(mp.log(abs(exact), 2))), form.minexp)
    return mp.ldexp(mpf(1), exponent - form.nmant)


def distances(actual: np.ndarray, exact: Sequence[mpf | tuple[mpf, mpf]]) -> np.ndarray:
    """How far each number is from the exact one, in units of the exact one or of its larger scale.

    ``exact`` has numbers, or pairs of a number and a scale. An exact number beyond the largest
    float stands for infinity. A NaN, or an infinity that should not be, is infinitely far; NaN
    where NaN is due is right.
    """
    numbers = np.asarray(actual).ravel()
    pairs = [pair if isinstance(pair, tuple) else (pair, pair) for pair in exact]
    found = [_distance(x, *pair) for x, pair in zip(numbers, pairs, strict=True)]
    return np.array(found).reshape(np.shape(actual))


def _distance(number: np.floating, truth: mpf, size: mpf) -> float:
    largest = mpf(float(np.finfo(number.dtype).max))
    if mp.isnan(truth):
        return 0.0 if np.isnan(number) else np.inf
    if not np.isfinite(number):
        # One that rounds to infinity, or nearly, may be infinite.
        beyond = abs(truth) >= largest * (1 - 8 * mpf(float(np.finfo(number.dtype).eps)))
        return 0.0 if beyond and not np.isnan(number) and (number > 0) == (truth > 0) else np.inf
    if mp.isinf(truth) or abs(truth) >= 2 * largest:
        return np.inf
    return float(abs(mpf(float(number)) - truth) / unit(number.dtype, max(abs(truth), size)))
