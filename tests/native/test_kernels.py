"""Every kernel against its formula: all sizes, all instruction sets, with weights and target maps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from omniloss import native
from omniloss.formulas import ANY, FORMULAS, FORMULAS_OF_MORE, Formula
from support import samples
from support.kernel_calls import KERNELS, Expected, Outcome, call, expect, instruction_set, usual

core: Any = native.core
POINTWISE = [formula for formula in KERNELS if formula.kind == "pointwise"]
BOUNDED = [f for f in KERNELS if f.labels or (f.targets, f.predictions) != (ANY, ANY)]

SIZES = (1, 2, 3, 15, 16, 17, 63, 64, 65, 1023, 1024, 1025, 4111, 16383, 16384, 16385, 40000)
# Rows and classes.
SHAPES = (
    *((rows, classes) for rows in (1, 3, 17) for classes in (1, 2, 3, 10, 15, 16, 17, 64, 129)),
    (1025, 2),
    (5500, 3),
    (1700, 10),
    (64, 300),
    (5, 1025),
    (4, 5000),
    (1, 16385),
)


def budget(parameters: dict[str, float], dtype: type) -> float:
    """How many units of slack a kernel may use, see `expect`.

    A power multiplies the relative error of its base by its exponent. In float64 the formula itself has as
    much error again.
    """
    units = 4 + 2 * parameters.get("gamma", 0.0)
    return units if dtype == np.float32 else 2 * units


def ids(formulas: list[Formula]) -> list[str]:
    return [formula.name for formula in formulas]


def test_kernels_and_formulas_are_the_same_set() -> None:
    kinds, known = core.kernels(), FORMULAS | FORMULAS_OF_MORE
    assert kinds == {name: known[name].kind for name in kinds}


@pytest.mark.parametrize("formula", KERNELS, ids=ids(KERNELS))
def test_kernels_take_their_formulas_parameters(formula: Formula) -> None:
    inputs = samples.draw(formula, np.random.default_rng(0))
    inputs = tuple(x[None] if x.ndim == 1 and formula.kind == "pointwise" else x for x in inputs)
    names = formula.parameters
    call(formula, *inputs, dict.fromkeys(names, 0.5))
    run = core.pointwise if formula.kind == "pointwise" else core.rowwise
    rest = {"detect_binary": False} if formula.kind == "pointwise" else {}
    for count in (len(names) - 1, len(names) + 1):
        if count >= 0:
            with pytest.raises((ValueError, TypeError), match="parameters"):
                run(
                    formula.name,
                    *inputs,
                    None,
                    None,
                    None,
                    [0.5] * count,
                    (1.0, 0.0),
                    ANY,
                    ANY,
                    scale=1.0,
                    **rest,
                )


def cases(formula: Formula, dtype: type, rng: np.random.Generator) -> Any:
    """Inputs of all sizes; every set of parameters comes up."""
    sets = list(samples.parameter_sets(formula))
    shapes: list[tuple[int, ...]] = (
        [(n,) for n in SIZES] if formula.kind == "pointwise" else list(SHAPES)
    )
    if formula.name == "multilabel_margin":  # which makes arrays of all pairs of classes
        shapes = [shape for shape in shapes if math.prod(shape) * shape[-1] < 200_000]
    for i in range(max(len(shapes), len(sets))):
        shape = shapes[i % len(shapes)]
        chosen = sets[i if i < len(sets) else int(rng.integers(len(sets)))]
        # As the type has them, or a clip at epsilon would not be at the same place.
        parameters = {name: float(dtype(number)) for name, number in chosen.items()}
        yield shape, parameters, samples.draw(formula, rng, "moderate", dtype, *shape)


def assert_near(actual: np.ndarray, expected: np.ndarray, allowed: np.ndarray, what: str) -> None:
    """No farther off than allowed, a few of the smallest number of the type at least."""
    floor = 4 * float(np.finfo(actual.dtype).smallest_subnormal)
    error = np.abs(actual.astype(np.float64) - expected)
    allowed = allowed + floor
    wrong = ~(error <= allowed) & ~(np.isnan(actual) & np.isnan(expected))
    assert not wrong.any(), (
        f"{what}: {actual[wrong][:3]} for {expected[wrong][:3]}, {np.count_nonzero(wrong)} of "
        f"{wrong.size} are up to {np.max(error[wrong] / allowed[wrong]):.3g} times too far off, the first at "
        f"{np.argwhere(wrong)[0]}"
    )


def assert_right(
    formula: Formula,
    outcome: Outcome,
    expected: Expected,
    weights: np.ndarray | None,
    scale: float,
    units: float,
) -> None:
    values, derivatives = expected.values, expected.derivatives
    weights = np.ones(values.shape) if weights is None else weights.astype(np.float64)
    used = weights != 0
    factors = scale * weights if formula.kind == "pointwise" else scale * weights[..., None]
    assert outcome.offence is None
    slack = np.where(used, units * expected.value_slack, 0)
    assert_near(outcome.values, np.where(used, values, 0), slack, "values")
    assert_near(
        outcome.gradient,
        np.where(factors == 0, 0, factors * derivatives),
        np.where(factors == 0, 0, factors * units * expected.derivative_slack),
        "gradient",
    )
    total = math.fsum((weights * values)[used])
    allowed = math.fsum((weights * slack)[used])
    assert np.isnan(total) == np.isnan(outcome.total)
    assert not abs(outcome.total - total) > allowed, f"total {outcome.total} for {total}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("formula", KERNELS, ids=ids(KERNELS))
def test_kernels_agree_with_their_formulas(formula: Formula, dtype: type) -> None:
    rng = np.random.default_rng(1)
    for i, (shape, parameters, inputs) in enumerate(cases(formula, dtype, rng)):
        weights, scale = None, 1.0
        if i % 3:
            weights = rng.random(shape if formula.kind == "pointwise" else shape[:1])
            weights = np.where(weights < 0.3, 0, weights).astype(dtype)
            scale = 0.37
        target_map = (0.9, 0.1 / shape[-1]) if i % 2 and not formula.labels else (1.0, 0.0)
        expected = expect(formula, *inputs, parameters, target_map)
        for name in core.instruction_sets():
            with instruction_set(name):
                outcome = call(
                    formula,
                    *inputs,
                    parameters,
                    weights,
                    target_map=target_map,
                    scale=scale,
                    elementwise=True,
                )
            units = budget(parameters, dtype)
            assert_right(formula, outcome, expected, weights, scale, units)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (700, 16), (1030, 17), (2, 5000), (3, 40000)])
@pytest.mark.parametrize("formula", POINTWISE, ids=ids(POINTWISE))
def test_rows_of_pointwise_kernels_add_up(formula: Formula, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    parameters = usual(formula)
    y, p = (x.reshape(shape) for x in samples.draw(formula, rng, count=shape[0] * shape[1]))
    per_row = np.where(rng.random(shape[0]) < 0.3, 0, rng.random(shape[0]))
    weights = np.broadcast_to(per_row[:, None], shape)
    for weighting in (None, weights):
        single = call(formula, y, p, parameters, weighting, elementwise=True)
        rows = call(formula, y, p, parameters, weighting, value_scale=0.25)
        expected = 0.25 * np.array([math.fsum(row) for row in single.values])
        absolute = np.abs(single.values).sum(axis=-1)
        assert np.all(np.abs(rows.values - expected) <= 1e-14 * absolute)
        assert rows.total == pytest.approx(single.total, rel=1e-13, abs=1e-14 * absolute.sum())
        np.testing.assert_array_equal(rows.gradient, single.gradient)


@pytest.mark.parametrize("formula", KERNELS, ids=ids(KERNELS))
def test_outputs_do_not_depend_on_what_else_is_asked_for(formula: Formula) -> None:
    """A total alone, values alone and a gradient alone are those that all together give."""
    rng = np.random.default_rng(3)
    parameters = usual(formula)
    y, p = samples.draw(formula, rng, "moderate", np.float32, 2100, 33)
    if formula.kind == "pointwise":
        y, p = y.reshape(100, 21), p.reshape(100, 21)
    together = call(formula, y, p, parameters)
    run = core.pointwise if formula.kind == "pointwise" else core.rowwise
    rest = {"detect_binary": False} if formula.kind == "pointwise" else {}
    for wanted in ("", "values", "gradient"):
        values = np.empty_like(together.values) if wanted == "values" else None
        gradient = np.empty_like(together.gradient) if wanted == "gradient" else None
        total, _ = run(
            formula.name,
            y,
            p,
            None,
            values,
            gradient,
            list(parameters.values()),
            (1.0, 0.0),
            formula.targets,
            formula.predictions,
            scale=1.0,
            **rest,
        )
        assert total == pytest.approx(together.total, rel=1e-6)
        if values is not None:
            np.testing.assert_allclose(values, together.values, rtol=1e-6, atol=1e-6)
        if gradient is not None:
            np.testing.assert_allclose(gradient, together.gradient, rtol=1e-6, atol=1e-7)


SIGNED = [formula for formula in POINTWISE if formula.targets == ANY]


@pytest.mark.parametrize("formula", SIGNED, ids=ids(SIGNED))
@pytest.mark.parametrize("size", [1, 7, 1024, 50001])
def test_labels_of_hinges_are_detected(formula: Formula, size: int) -> None:
    rng = np.random.default_rng(4)
    parameters = usual(formula)
    p = samples.draw(formula, rng, count=size)[1]
    binary = rng.integers(0, 2, size).astype(np.float64)
    binary[:1] = 0
    spoiled = binary.copy()
    spoiled[-1] = -1
    for y, target_map in (
        (binary, (2.0, -1.0)),
        (2 * binary - 1, (1.0, 0.0)),
        (spoiled, (1.0, 0.0)),
        (np.full(size, np.nan), (1.0, 0.0)),
    ):
        told = call(formula, y, p, parameters, target_map=target_map)
        seen = call(formula, y, p, parameters, detect_binary=True)
        told.assert_same_bits(seen)
    # Those of weight 0 are not looked at.
    weights = np.ones(size)
    weights[-1] = 0
    told = call(formula, spoiled, p, parameters, weights, target_map=(2.0, -1.0))
    told.assert_same_bits(call(formula, spoiled, p, parameters, weights, detect_binary=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("formula", BOUNDED, ids=ids(BOUNDED))
def test_the_first_offence_is_told(formula: Formula, dtype: type) -> None:
    rng = np.random.default_rng(5)
    parameters = usual(formula)
    y, p = samples.draw(formula, rng, "moderate", dtype, 40003, 3)
    wrong = {"targets": outside(formula, "targets"), "predictions": outside(formula, "predictions")}
    for which, x in (("targets", y), ("predictions", p)):
        for bad in wrong[which]:
            places = sorted(map(int, rng.choice(x.size, 3, replace=False)))
            copy = x.astype(np.float64) if isinstance(bad, float) else x.copy()
            copy = copy if x.dtype.kind == "i" else copy.astype(dtype)
            copy.flat[places] = bad
            inputs = (copy, p) if which == "targets" else (y, copy)
            assert call(formula, *inputs, parameters).offence == (which, places[0])
            # Without a weight it is none.
            by_row = copy.ndim == 1 or formula.kind == "pointwise"
            rows = [place if by_row else place // copy.shape[-1] for place in places]
            weights = np.ones(len(copy), dtype)
            weights[rows[0]] = 0
            first = next((p for p, r in zip(places, rows, strict=True) if r != rows[0]), None)
            expected = None if first is None else (which, first)
            assert call(formula, *inputs, parameters, weights).offence == expected


def outside(formula: Formula, which: str) -> list[Any]:
    """Numbers that the formula refuses, just outside and far out."""
    if which == "targets" and formula.labels:
        return [-1, 3, 2**40, -(2**62)]
    low, high = getattr(formula, which)
    below = [] if low == -np.inf else [-1e-30, -3.0, -np.inf]
    return below + ([] if high == np.inf else [1.000001, 1e30, np.inf])


@pytest.mark.parametrize("formula", BOUNDED, ids=ids(BOUNDED))
def test_nan_and_the_ends_of_intervals_are_no_offence(formula: Formula) -> None:
    parameters = usual(formula)
    y, p = samples.draw(formula, np.random.default_rng(6), count=64, classes=3)
    ends = [end for end in formula.predictions if np.isfinite(end)]
    for bad in (*ends, np.nan):
        assert call(formula, y, np.full_like(p, bad), parameters).offence is None
    for bad in (*(end for end in formula.targets if np.isfinite(end)), np.nan):
        if not formula.labels:
            assert call(formula, np.full_like(y, bad), p, parameters).offence is None


LABELS = [formula for formula in KERNELS if formula.labels]


@pytest.mark.parametrize("formula", LABELS, ids=ids(LABELS))
@pytest.mark.parametrize("bad", [0.5, -0.25, np.nan, np.inf, -np.inf, 1e300, 3.0, -1.0])
def test_class_indices_are_whole_numbers(formula: Formula, bad: float) -> None:
    parameters = usual(formula)
    y, p = samples.draw(formula, np.random.default_rng(7), count=9, classes=3)
    real = y.astype(np.float64)
    call(formula, y, p, parameters).assert_same_bits(call(formula, real, p, parameters))
    real[4] = bad
    assert call(formula, real, p, parameters).offence == ("targets", 4)


def test_instruction_sets_are_named_and_chosen() -> None:
    names = core.instruction_sets()
    assert names
    assert core.instruction_set() in names
    for name in names:
        with instruction_set(name):
            assert core.instruction_set() == name
    with pytest.raises(ValueError, match="x86-64-v9"):
        core.set_instruction_set("x86-64-v9")
