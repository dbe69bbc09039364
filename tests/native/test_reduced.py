"""Pointwise kernels that are asked for nothing but the sum, with or without the gradient.

They may then add up losses that they never compute one by one, take a cheaper form of them where all
arguments of a tile are plain, and multiply sums by a weight instead of losses.
"""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from omniloss import native
from omniloss.formulas import Formula
from support import samples, truth, ulp
from support.kernel_calls import KERNELS, call, expect, instruction_set, usual

core: Any = native.core
POINTWISE = [formula for formula in KERNELS if formula.kind == "pointwise"]
IDS = [formula.name for formula in POINTWISE]
TILE = 256


def reduced(
    formula: Formula,
    targets: np.ndarray,
    predictions: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    differentiate: bool = True,
    scale: float = 1.0,
) -> tuple[float, np.ndarray | None, tuple[str, int] | None]:
    gradient = np.full_like(predictions, 77) if differentiate else None
    total, offence = core.pointwise(
        formula.name,
        targets,
        predictions,
        weights,
        None,
        gradient,
        list(usual(formula).values()),
        (1.0, 0.0),
        formula.targets,
        formula.predictions,
        scale=scale,
        detect_binary=False,
    )
    return total, gradient, offence


def assert_sum(total: float, terms: np.ndarray, dtype: Any) -> None:
    exact, absolute = math.fsum(terms), math.fsum(np.abs(terms))
    if dtype == np.float64:
        assert abs(total - exact) <= 1e-14 * absolute
    else:
        assert abs(np.float32(total) - exact) <= 4 * np.spacing(np.float32(absolute))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("regime", samples.REGIMES)
@pytest.mark.parametrize("formula", POINTWISE, ids=IDS)
def test_a_sum_of_one(formula: Formula, regime: str, dtype: type) -> None:
    parameters = usual(formula)
    y, p = samples.draw(formula, np.random.default_rng(60), regime, dtype, 6)
    limit = 4.5 if "gamma" in parameters else 4
    floor = 16 * float(np.finfo(dtype).smallest_normal) if "gamma" in parameters else 0.0
    scaled = truth.scaled_value(formula.name, y, p, parameters)
    exact = [(value, max(size, floor)) for value, size in scaled]
    for name in core.instruction_sets():
        with instruction_set(name):
            totals = [
                reduced(formula, y[i : i + 1], p[i : i + 1], differentiate=False)[0]
                for i in range(p.size)
            ]
        with np.errstate(over="ignore"):
            assert ulp.distances(np.array(totals).astype(dtype), exact).max() <= limit, name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("formula", POINTWISE, ids=IDS)
def test_sums_over_tiles(formula: Formula, dtype: type) -> None:
    """Whole and broken tiles of small, middling and large arguments, and of one that stands out."""
    rng = np.random.default_rng(61)
    y, p = samples.draw(formula, rng, "moderate", dtype, 3 * TILE + 21)
    tame = formula.predictions.low == 0 or formula.name == "squared_logarithmic_error"
    for size in (1.0,) if tame else (1e-6, 0.3, 1.0, 3.0, 30.0):
        scaled = (p * dtype(size)).astype(dtype)
        outlier = scaled.copy()
        outlier[TILE + 7] *= dtype(1 if tame else 1e4)
        for x in (scaled, outlier):
            told = expect(formula, y, x, usual(formula))
            if not np.abs(told.values).sum() < np.finfo(dtype).max:
                continue
            for name, differentiate in itertools.product(core.instruction_sets(), (False, True)):
                with instruction_set(name):
                    total, gradient, _ = reduced(formula, y, x, differentiate=differentiate)
                    whole = call(formula, y, x, usual(formula), elementwise=True)
                assert_sum(total, told.values, dtype)
                if gradient is not None:
                    eps = float(np.finfo(dtype).eps)
                    np.testing.assert_allclose(gradient, whole.gradient, rtol=8 * eps, atol=4 * eps)


@pytest.mark.parametrize(
    "shape", [(3, 700), (1, 1100), (70, 16), (9, 48), (40, 10), (2, 9, 32), (700, 4, 10)]
)
@pytest.mark.parametrize("dtypes", [("f4", "f4"), ("f4", "f8"), ("f8", "f8")], ids=str)
@pytest.mark.parametrize("formula", POINTWISE, ids=IDS)
def test_weights_of_rows(formula: Formula, dtypes: tuple[str, str], shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(62)
    y, p = (
        x.reshape(shape)
        for x in samples.draw(formula, rng, "moderate", dtypes[0], math.prod(shape))
    )
    column = (*shape[:-1], 1) if shape[-1] != 10 else (shape[0], *(1 for _ in shape[1:]))
    moderate = rng.random(column) + 0.5
    some_zero = moderate * (rng.random(column) < 0.7)
    far = 10.0 ** rng.uniform(-30, 30, column)
    terms = expect(formula, y.reshape(-1), p.reshape(-1), usual(formula)).values
    for weights, scale in ((moderate, 1.0), (some_zero, 1e-3), (far, 1e-30), (moderate, 1e-40)):
        narrow = weights.astype(dtypes[1])
        repeated = np.broadcast_to(narrow, shape)
        each = np.ascontiguousarray(repeated)
        total, gradient, _ = reduced(formula, y, p, repeated, scale=scale)
        assert total == reduced(formula, y, p, repeated, scale=scale)[0]
        assert_sum(total, terms * each.reshape(-1), y.dtype)
        assert gradient is not None
        expected = call(formula, y, p, usual(formula), each, scale=scale).gradient
        info = np.finfo(y.dtype)
        np.testing.assert_allclose(
            gradient, expected, rtol=8 * float(info.eps), atol=float(info.smallest_normal)
        )


@pytest.mark.parametrize("place", [0, 17, TILE - 1, TILE, 3 * TILE + 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("formula", POINTWISE, ids=IDS)
def test_one_that_is_not_plain(formula: Formula, dtype: type, place: int) -> None:
    """NaN, infinities and numbers out of range, among elements that are all plain."""
    y, p = samples.draw(formula, np.random.default_rng(63), "moderate", dtype, 3 * TILE + 21)
    weights = np.ones_like(p)
    weights[place] = 0
    kept = weights != 0
    for spoiled, bad in itertools.product("yp", (np.nan, np.inf, -np.inf, -1.5, 1e30)):
        y_bad, p_bad = y.copy(), p.copy()
        (y_bad if spoiled == "y" else p_bad)[place] = bad
        expected = call(formula, y_bad, p_bad, usual(formula), elementwise=True)
        for differentiate in (False, True):
            total, gradient, offence = reduced(formula, y_bad, p_bad, differentiate=differentiate)
            assert offence == expected.offence
            if offence is None:
                assert total == pytest.approx(
                    math.fsum(expected.values), rel=1e-6, nan_ok=True
                ) or (math.isnan(total) and np.isnan(expected.values[place]))
                if gradient is not None:
                    np.testing.assert_allclose(gradient, expected.gradient, rtol=1e-5, atol=1e-6)
            total, gradient, offence = reduced(
                formula, y_bad, p_bad, weights, differentiate=differentiate
            )
            assert offence is None
            assert total == pytest.approx(reduced(formula, y[kept], p[kept])[0], rel=1e-6)
            assert gradient is None or gradient[place] == 0
