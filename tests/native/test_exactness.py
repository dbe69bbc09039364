"""Every kernel against mpmath, and its sums against `math.fsum`.

The bar is 4 units in the last place of the exact result, or of the terms that it is the sum of where
these cancel. A power multiplies the relative error of its base by its exponent, so that a focal loss
keeps to that only if it knows its base better than the type can tell. The binary one may lose half a
unit more, by the weight of soft labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from omniloss import native
from omniloss.formulas import FORMULAS, Formula
from support import samples, truth, ulp
from support.kernel_calls import KERNELS, call, expect, instruction_set, usual

core: Any = native.core
IDS = [formula.name for formula in KERNELS]


def assert_exact(
    formula: Formula,
    targets: np.ndarray,
    predictions: np.ndarray,
    parameters: Mapping[str, float],
) -> None:
    """Value and derivative, on every instruction set."""
    # The power of a focal loss may pass through subnormal numbers.
    focal = parameters.get("gamma", 0.0) != 0
    floor = 16 * float(np.finfo(predictions.dtype).smallest_normal) if focal else 0.0
    limit = 4.5 if focal and formula.kind == "pointwise" else 4
    exact = {
        what: [
            (total, max(size, floor))
            for total, size in scaled(formula.name, targets, predictions, parameters)
        ]
        for what, scaled in (
            ("value", truth.scaled_value),
            ("derivative", truth.scaled_derivative),
        )
    }
    for name in core.instruction_sets():
        with instruction_set(name):
            outcome = call(formula, targets, predictions, parameters, elementwise=True)
        for what, actual in (("value", outcome.values), ("derivative", outcome.gradient)):
            found = ulp.distances(actual, exact[what])
            worst = np.unravel_index(np.argmax(found), found.shape)
            assert found[worst] <= limit, (
                f"{what} {actual[worst]!r} at {worst} of {targets[worst[:1]]!r}, "
                f"{predictions[worst[:1]]!r} with {parameters} on {name}: {found[worst]:.3g} ulp"
            )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("regime", samples.REGIMES)
@pytest.mark.parametrize("formula", KERNELS, ids=IDS)
def test_within_four_units_of_the_exact_result(formula: Formula, regime: str, dtype: type) -> None:
    rng = np.random.default_rng(10)
    for parameters in samples.parameter_sets(formula):
        if formula.kind == "pointwise":
            count = 6 if "gamma" in parameters else 60
            if regime == "wide":  # which takes mpmath many digits
                count //= 3
            assert_exact(formula, *samples.draw(formula, rng, regime, dtype, count), parameters)
            continue
        for classes in (1, 2, 5, 19):
            count = 2 if "gamma" in parameters else 6
            inputs = samples.draw(formula, rng, regime, dtype, count, classes)
            assert_exact(formula, *inputs, parameters)


FOCAL = [formula for formula in KERNELS if "gamma" in formula.parameters]


@pytest.mark.parametrize("gamma", [5.0, 10.0, 20.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("formula", FOCAL, ids=[formula.name for formula in FOCAL])
def test_focal_losses_of_large_powers(formula: Formula, dtype: type, gamma: float) -> None:
    """The error of a base near 1/2 counts most: even odds, and equal logits among others."""
    rng = np.random.default_rng(14)
    for epsilon, balanced in ((0.0, 0.0), (1e-7, 1.0)):
        parameters = {"epsilon": epsilon, "alpha": 0.25, "gamma": gamma}
        if formula.kind == "pointwise":
            parameters["balanced"] = balanced
            for regime in ("moderate", "confident"):
                assert_exact(formula, *samples.draw(formula, rng, regime, dtype, 40), parameters)
            continue
        for regime, classes, count in (
            ("moderate", 2, 30),
            ("moderate", 5, 6),
            ("confident", 5, 6),
            ("confident", 150, 1),
        ):
            inputs = samples.draw(formula, rng, regime, dtype, count, classes)
            assert_exact(formula, *inputs, parameters)
        one_hot = np.eye(3, dtype=dtype)
        even = np.array([[0.3, 0.3, -0.7], [1.1, 1.1, 1.1], [-2.0, 0.7, 0.7]])
        if formula.predictions.low == 0:
            even = np.exp(even) / 8
        assert_exact(formula, one_hot, even.astype(dtype), parameters)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", samples.UNBOUNDED_ROWS)
def test_rows_near_the_ends_of_the_range(name: str, dtype: type) -> None:
    for targets, predictions in samples.extreme_rows(FORMULAS[name], dtype):
        longer = np.zeros((len(predictions), 150), dtype)
        longer[:, 40:44] = predictions
        goals = targets + 40
        if targets.ndim == 2:
            goals = np.zeros_like(longer)
            goals[:, 40:44] = targets
        for epsilon in (0.0, 1e-7):
            assert_exact(FORMULAS[name], targets, predictions, {"epsilon": epsilon})
            assert_exact(FORMULAS[name], goals, longer, {"epsilon": epsilon})


@pytest.mark.parametrize("formula", KERNELS, ids=IDS)
def test_a_negative_zero_is_a_zero(formula: Formula) -> None:
    if formula.predictions.low != 0:
        pytest.skip("a zero is nothing special to this loss")
    for targets, predictions, negative in samples.zeros(formula):
        for parameters in samples.parameter_sets(formula):
            found = call(formula, targets, negative, parameters, elementwise=True)
            expected = call(formula, targets, predictions, parameters, elementwise=True)
            np.testing.assert_array_equal(found.values, expected.values)
            np.testing.assert_array_equal(found.gradient, expected.gradient)


ROWWISE = [formula for formula in KERNELS if formula.kind == "rowwise"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("formula", ROWWISE, ids=[formula.name for formula in ROWWISE])
def test_many_classes(formula: Formula, dtype: type) -> None:
    inputs = samples.draw(formula, np.random.default_rng(11), "confident", dtype, 1, 150)
    assert_exact(formula, *inputs, next(samples.parameter_sets(formula)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("formula", KERNELS, ids=IDS)
def test_sums_are_exact(formula: Formula, weighted: bool, dtype: type) -> None:
    """In float32 to 4 units of the sum of absolute terms, in float64 to 1e-14 of it."""
    rng = np.random.default_rng(12)
    parameters = usual(formula)
    shape = (30_001,) if formula.kind == "pointwise" else (1_003, 30)
    y, p = samples.draw(formula, rng, "moderate", dtype, *shape)
    weights = (10.0 ** rng.uniform(-9, 9, shape[0])).astype(dtype) if weighted else None
    total = call(formula, y, p, parameters, weights).total
    terms = expect(formula, y, p, parameters).values
    terms = terms if weights is None else terms * weights
    exact, absolute = math.fsum(terms), math.fsum(np.abs(terms))
    if dtype == np.float64:
        assert abs(total - exact) <= 1e-14 * absolute
    else:
        assert abs(np.float32(total) - exact) <= 4 * np.spacing(np.float32(absolute))


def test_sums_lose_nothing_over_many_blocks() -> None:
    """Numbers of all sizes, whose naive sum would be off by far more."""
    formula = next(formula for formula in KERNELS if formula.name == "absolute_error")
    rng = np.random.default_rng(13)
    p = 10.0 ** rng.uniform(-12, 12, 1_000_003)
    for x in (p, np.sort(p), np.sort(p)[::-1]):
        total = call(formula, np.zeros_like(x), x, {}).total
        assert total == pytest.approx(math.fsum(p), rel=1e-14)
