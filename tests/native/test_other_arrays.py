"""The kernels of losses of another array besides targets and predictions, against mpmath and their formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf

from omniloss import formulas, native
from omniloss.formulas import FORMULAS_OF_MORE, Formula
from support import ulp
from support.kernel_calls import call, instruction_set, threads

core: Any = native.core
KERNELS = [
    FORMULAS_OF_MORE[name]
    for name in ([] if core is None else core.kernels())
    if name in FORMULAS_OF_MORE
]
every_kernel = pytest.mark.parametrize(
    "formula", KERNELS, ids=[formula.name for formula in KERNELS]
)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
inf, nan = np.inf, np.nan


def _softplus(x: mpf) -> mpf:
    return mp.log1p(mp.exp(x))


def _sigmoid(x: mpf) -> mpf:
    return 1 / (1 + mp.exp(-x))


# The terms of the value, and those of the derivative by the prediction
DEFINITIONS = {
    "weighted_binary_crossentropy_with_logits": (
        lambda y, x, w: [w * y * _softplus(-x), (1 - y) * _softplus(x)],
        lambda y, x, w: [(1 - y) * _sigmoid(x), -w * y * _sigmoid(-x)],
    )
}


def draw(rng: np.random.Generator, dtype: Any, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Targets, predictions and others of ordinary size."""
    arrays = rng.uniform(0, 1, shape), 3 * rng.standard_normal(shape), rng.uniform(0, 5, shape)
    return [x.astype(dtype) for x in arrays]


@every_kernel
@every_dtype
def test_within_four_units_of_the_exact_result(formula: Formula, dtype: type) -> None:
    """Of logits of every size, also where a large weight lifts what is below the normal numbers."""
    rng = np.random.default_rng(0)
    far = [
        0.0,
        1e-9,
        1.0,
        17.0,
        40.0,
        79.9,
        80.1,
        88.0,
        95.0,
        103.0,
        120.0,
        400.0,
        720.0,
        745.0,
        760.0,
        1e4,
    ]
    logits = np.array([*far, *(-x for x in far), *(10 * rng.standard_normal(20))])
    weights = np.array([0.0, 1e-30, 0.3, 1.0, 7.0, 1e9, 1e30])
    targets = np.array([0.0, 1.0, 0.5, 1e-20, 0.9999, rng.random()])
    y, x, w = (a.ravel().astype(dtype) for a in np.meshgrid(targets, logits, weights))
    exact: list[list[Any]] = []
    with mp.workdps(60):
        for definition in DEFINITIONS[formula.name]:
            exact.append([])
            for given in zip(y, x, w, strict=True):
                terms = definition(*(mpf(float(number)) for number in given))
                exact[-1].append((mp.fsum(terms), mp.fsum(terms, absolute=True)))
    for name in core.instruction_sets():
        with instruction_set(name):
            outcome = call(formula, y, x, {}, elementwise=True, other=w[:, None])
        for what, actual, wanted in zip(
            ("value", "derivative"), (outcome.values, outcome.gradient), exact, strict=True
        ):
            found = ulp.distances(actual, wanted)
            worst = int(np.argmax(found))
            assert found[worst] <= 4, (
                f"{what} {actual[worst]} of {y[worst]}, {x[worst]}, {w[worst]} on {name}: {found[worst]}"
            )


@every_kernel
@every_dtype
def test_special_numbers(formula: Formula, dtype: type) -> None:
    numbers = [
        x.ravel().astype(dtype)
        for x in np.meshgrid(
            [0.0, 1.0, 0.5, nan], [0.0, -0.0, 1e4, -1e4, inf, -inf, nan], [0.0, 2.0, inf, nan]
        )
    ]
    y, x, w = numbers
    with np.errstate(all="ignore"):
        expected = formula.value(np, y, x, w), formula.derivative(np, y, x, w)
    for name in core.instruction_sets():
        with instruction_set(name):
            outcome = call(formula, y, x, {}, elementwise=True, other=w[:, None])
        np.testing.assert_allclose(outcome.values, expected[0], rtol=1e-6)
        np.testing.assert_allclose(outcome.gradient, expected[1], rtol=1e-6)


@every_kernel
@every_dtype
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (700, 16), (1030, 17), (2, 40000)])
def test_sums_and_weights(formula: Formula, shape: tuple[int, int], dtype: type) -> None:
    rng = np.random.default_rng(1)
    y, x, w = draw(rng, dtype, shape)
    each = np.where(rng.random(shape) < 0.3, 0, rng.random(shape)).astype(dtype)
    spoiled = np.where(each == 0, dtype(nan), x)
    wide = [a.astype(np.float64) for a in (y, x, w)]
    values, slopes = formula.value(np, *wide), formula.derivative(np, *wide)
    sizes = (1 - wide[0]) + wide[2] * wide[0]
    eps = float(np.finfo(dtype).eps)
    for weights, given in ((None, x), (each, spoiled)):
        found = call(formula, y, given, {}, weights, scale=0.37, value_scale=0.5, other=w)
        factors = 1.0 if weights is None else weights.astype(np.float64)
        assert found.offence is None
        assert found.total == pytest.approx(math.fsum((factors * values).ravel()), rel=4 * eps)
        kept = values if weights is None else np.where(weights == 0, 0, values)
        np.testing.assert_allclose(found.values, 0.5 * kept.sum(axis=-1), rtol=4 * eps)
        assert np.all(
            np.abs(found.gradient - 0.37 * factors * slopes) <= 6 * eps * 0.37 * factors * sizes
        )
        with threads(1):
            alone = call(formula, y, given, {}, weights, scale=0.37, value_scale=0.5, other=w)
        alone.assert_same_bits(found)


@every_kernel
@every_dtype
def test_layouts_of_the_other_array(formula: Formula, dtype: type) -> None:
    rng = np.random.default_rng(2)
    for shape in ((700, 16), (90, 7, 40), (40000, 1)):
        y, x, _ = draw(rng, dtype, shape)
        for given in (
            rng.integers(1, 9, shape[-1]),
            rng.integers(1, 9, shape[-1]).astype(np.float16),
            rng.integers(1, 9, shape)[..., ::-1],
            rng.integers(1, 9, (shape[0], *[1] * (len(shape) - 1))).astype(np.float64),
            np.asfortranarray(rng.integers(1, 9, shape).astype(np.float32)),
            np.array(2.5),
        ):
            expected = call(
                formula, y, x, {}, other=np.broadcast_to(given, shape).astype(dtype, order="C")
            )
            found = call(formula, y, x, {}, other=np.broadcast_to(given, shape))
            found.assert_same_bits(expected)


@every_kernel
def test_the_first_offence_is_told(formula: Formula) -> None:
    y, x, w = draw(np.random.default_rng(3), np.float32, (400, 100))
    for bad in (-1e-30, 1.000001, inf):
        y_bad = y.copy()
        y_bad.flat[[777, 39_999]] = bad
        assert call(formula, y_bad, x, {}, other=w).offence == ("targets", 777)


@every_kernel
def test_the_core_refuses_what_does_not_fit(formula: Formula) -> None:
    y, x, w = draw(np.random.default_rng(4), np.float32, (4, 3))
    for other in (w[:, :2], w[0], w.T, w.tolist(), "none"):
        with pytest.raises((TypeError, ValueError)):
            call(formula, y, x, {}, other=other)
    with pytest.raises(ValueError, match=f"{formula.name}' takes another array"):
        call(formula, y, x, {})
    with pytest.raises(ValueError, match="squared_error' takes no other array"):
        call(formulas.squared_error, y, x, {}, other=w)
