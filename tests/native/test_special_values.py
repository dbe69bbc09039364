"""NaN, infinities, subnormal numbers, and weights of 0, which silence whatever stands there."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import omniloss
from omniloss import losses, native
from omniloss.formulas import Formula, Interval
from support import samples
from support.cases import Case, cases
from support.kernel_calls import KERNELS, call, instruction_set, usual

core: Any = native.core
IDS = [formula.name for formula in KERNELS]
ROWWISE = [formula for formula in KERNELS if formula.kind == "rowwise"]
POINTWISE = [formula for formula in KERNELS if formula.kind == "pointwise"]
inf, nan = np.inf, np.nan


def run_formula(formula: Formula, y: Any, p: Any, parameters: Any) -> tuple[Any, Any]:
    with np.errstate(all="ignore"):
        return (
            formula.value(np, y, p, **parameters),
            formula.derivative(np, y, p, **parameters),
        )


def assert_same_value(case: Case, first: Any, second: Any) -> None:
    """The same bits, whether a gradient was computed too or not.

    But for the focal losses over classes: with a gradient the compiler rounds their power elsewhere.
    """
    if case.name == "categorical_focal_crossentropy":
        np.testing.assert_allclose(first, second, rtol=4 * np.finfo(np.asarray(first).dtype).eps)
    else:
        np.testing.assert_array_equal(first, second)


ALONG_ONE = [
    case for case in cases() if case.axes in ((0,), (-1,)) and case.plan.formula.kind != "setwise"
]


@pytest.mark.parametrize("reduction", ["sum", None])
@pytest.mark.parametrize("case", ALONG_ONE, ids=str)
def test_nan_comes_out_where_it_went_in(case: Case, reduction: str | None) -> None:
    rng = np.random.default_rng(30)
    y_true, y_pred = case.arrays(rng, (40, 33))
    axis = case.axis % 2
    loss = case.loss(reduction=reduction)
    if case.plan.labels == "auto":  # which NaN in the targets would decide
        loss = case.loss(reduction=reduction, labels="signed")
    _, clean = omniloss.value_and_grad(loss, y_true, y_pred)
    reference = loss(y_true, y_pred)
    if case.plan.formula.labels:  # not an ignored row
        y_true = np.zeros_like(y_true)
        _, clean = omniloss.value_and_grad(loss, y_true, y_pred)
        reference = loss(y_true, y_pred)
    for which in ("predictions", "targets"):
        if which == "targets" and (case.plan.formula.labels or case.plan.smoothing == 1):
            continue
        spoiled = (y_pred if which == "predictions" else y_true).copy()
        spoiled[17, 5] = nan
        args = (y_true, spoiled) if which == "predictions" else (spoiled, y_pred)
        value, (joint, gradient) = loss(*args), omniloss.value_and_grad(loss, *args)
        assert_same_value(case, joint, value)
        row = (5, slice(None)) if axis == 0 else (17, slice(None))
        moved = np.moveaxis(gradient, axis, -1)
        if reduction == "sum":
            assert np.isnan(value)
        else:
            assert np.isnan(value[row[0]])
            kept = np.arange(len(value)) != row[0]
            np.testing.assert_array_equal(value[kept], np.asarray(reference)[kept])
        kept = np.arange(len(moved)) != row[0]
        np.testing.assert_array_equal(moved[kept], np.moveaxis(clean, axis, -1)[kept])
        if which == "predictions":
            assert np.isnan(moved[row]).any()
            assert np.isnan(gradient[17, 5]) or case.plan.formula.kind == "rowwise"


SPECIAL = [0.0, 1.0, -1.0, 0.5, 0.25, 2.0, inf, -inf, nan, 3e38, -3e38]
# Numbers that a formula can take but that focal targets cannot be: their power underflows in the formula.
TINY = [1e-45, 1e-310, 1e-30]


def allowed(interval: Interval, dtype: type, more: Sequence[float] = ()) -> np.ndarray:
    """The special numbers in an interval, with the negative zero only where it is open."""
    signed = [-0.0] if interval.low < 0 else []
    numbers = np.array([*SPECIAL, *signed, *more], dtype)
    return numbers[~((numbers < interval.low) | (numbers > interval.high))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("formula", POINTWISE, ids=[formula.name for formula in POINTWISE])
def test_pointwise_kernels_do_as_their_formulas_at_special_numbers(
    formula: Formula, dtype: type
) -> None:
    focal = "gamma" in formula.parameters
    targets = allowed(formula.targets, dtype, () if focal else TINY)
    predictions = allowed(formula.predictions, dtype, TINY)
    y, p = (np.array(x) for x in zip(*itertools.product(targets, predictions), strict=True))
    for parameters in samples.parameter_sets(formula):
        values, derivatives = run_formula(formula, y, p, parameters)
        for name in core.instruction_sets():
            with instruction_set(name):
                outcome = call(formula, y, p, parameters, elementwise=True)
            told = f"with {parameters} on {name}"
            assert_same_kind(outcome.values, values, f"value {told}", y, p)
            # Whether a slope that does not depend on the target shows its NaN is left open.
            known = ~np.isnan(y)
            assert_same_kind(
                outcome.gradient[known],
                derivatives[known],
                f"derivative {told}",
                y[known],
                p[known],
            )


def assert_same_kind(
    actual: Any, expected: Any, what: str, y: Any, p: Any, slack: Any = 0.0
) -> None:
    """NaN and infinities in the same places, and the same numbers but for rounding."""
    info = np.finfo(actual.dtype)
    with np.errstate(all="ignore"):
        allowed = 32 * info.eps * (np.abs(expected) + slack) + 8 * info.tiny
        near = np.abs(actual - expected) <= allowed
    agree = near | (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    # A number near the end of the type's range may round to infinity.
    agree |= np.isinf(actual) & (np.abs(expected) > 0.99 * info.max)
    agree |= np.isinf(expected) & (np.abs(actual) > 0.99 * info.max)
    where = np.argwhere(~agree)
    assert agree.all(), f"{what}: " + "; ".join(
        f"y={y[i[0]]} p={p[i[0]]}: {actual[tuple(i)]} for {expected[tuple(i)]}" for i in where[:4]
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("formula", ROWWISE, ids=[formula.name for formula in ROWWISE])
def test_row_kernels_do_as_their_formulas_at_special_numbers(formula: Formula, dtype: type) -> None:
    rng = np.random.default_rng(31)
    for classes in (1, 2, 3, 17, 40):
        y, p = samples.draw(formula, rng, "moderate", dtype, 300, classes)
        numbers = allowed(formula.predictions, dtype, TINY[2:])
        if formula.predictions.low == 0 or formula.name == "tversky":
            # Their total is beyond the type's range, or what is left of it noise.
            numbers = numbers[~(np.abs(numbers) > 1e30)]
        for place in range(2):
            spots = rng.integers(0, classes, 300), rng.random(300) < (0.9, 0.4)[place]
            chosen = rng.choice(numbers, 300)
            rows = np.flatnonzero(spots[1])
            p[rows, spots[0][rows]] = chosen[rows]
        if not formula.labels:
            hard = rng.random(300) < 0.7
            y[hard] = np.eye(classes, dtype=dtype)[rng.integers(0, classes, hard.sum())]
            y[:20] = 0
        p[20:40] = p[20:40, :1]  # ties, of infinities too
        for parameters in samples.parameter_sets(formula):
            values, derivatives = run_formula(formula, y, p, parameters)
            for name in core.instruction_sets():
                with instruction_set(name):
                    outcome = call(formula, y, p, parameters)
                what = f"value with {parameters} on {name}"
                assert_same_kind(outcome.values, values, what, y, p, slack=1.0)
                what = f"derivative with {parameters} on {name}"
                # Of a row that is NaN only that it is NaN is told.
                whole = ~np.isnan(values)
                nans = np.isnan(derivatives).any(axis=-1)
                # The terms of a derivative are as large as those of a length or a share in the inverse.
                size = 1 / np.min(np.abs(p), axis=-1, keepdims=True, where=p != 0, initial=1.0)
                assert_same_kind(
                    outcome.gradient[whole],
                    derivatives[whole],
                    what,
                    y[whole],
                    p[whole],
                    slack=size[whole],
                )
                np.testing.assert_array_equal(np.isnan(outcome.gradient).any(axis=-1), nans)


@pytest.mark.parametrize("junk", [nan, inf, -inf, 1e300, -7.0])
@pytest.mark.parametrize("case", cases(), ids=str)
def test_what_has_no_weight_changes_no_bit(case: Case, junk: float) -> None:
    rng = np.random.default_rng(32)
    shape = (30, 70)
    dtype = "float32" if np.abs(junk) < 1e30 or not np.isfinite(junk) else "float64"
    y_true, y_pred = case.arrays(rng, shape, dtype)
    rows = case.rows(y_pred.shape)
    off = rng.random(rows) < 0.4
    weights = np.where(off, 0, rng.random(rows))
    spoiled_true, spoiled_pred = y_true.copy(), y_pred.copy()
    unused = case.spread(off, y_pred.shape)
    spoiled_pred[unused] = junk
    if not case.plan.formula.labels:
        spoiled_true[unused] = junk
    elif case.plan.ignore is not None:
        pass  # a row that is ignored is not one of weight 0: a mean does not count it
    elif not np.isfinite(junk):
        spoiled_true = spoiled_true.astype(np.float64)
        spoiled_true[off] = junk
    else:
        spoiled_true[off] = -7
    mask = ~off
    for reduction in ("sum", "mean", "mean_with_sample_weight", None):
        loss = case.loss(reduction=reduction)
        for options in ({"sample_weight": weights}, {"mask": mask}):
            clean = omniloss.value_and_grad(loss, y_true, y_pred, **options)
            dirty = omniloss.value_and_grad(loss, spoiled_true, spoiled_pred, **options)
            for a, b in zip(clean, dirty, strict=True):
                assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
            value = loss(spoiled_true, spoiled_pred, **options)
            alone = loss(y_true, y_pred, **options)
            assert np.asarray(value).tobytes() == np.asarray(alone).tobytes()
            assert_same_value(case, value, clean[0])
            assert not dirty[1][unused].any()
            assert not np.isnan(dirty[1]).any()


@pytest.mark.parametrize("case", cases(), ids=str)
def test_weights_of_zero_alone_give_zero(case: Case) -> None:
    y_true, y_pred = case.arrays(np.random.default_rng(33), (6, 5), "float32")
    junk = np.full_like(y_pred, nan)
    rows = case.rows(y_pred.shape)
    for reduction in ("sum", "mean", "mean_with_sample_weight", None):
        loss = case.loss(reduction=reduction)
        for nothing in ({"sample_weight": np.zeros(rows)}, {"mask": np.zeros(rows, bool)}):
            value, gradient = omniloss.value_and_grad(loss, y_true, junk, **nothing)
            assert not np.any(value)
            assert not gradient.any()
            assert not np.any(loss(y_true, junk, **nothing))


def test_subnormal_numbers_survive() -> None:
    tiny = np.array([[1e-310]])
    zero = np.zeros((1, 1))
    smallest = np.float32(1e-42)
    assert losses.mean_squared_error(zero, np.array([[1e-160]]))[0] == 1e-160 * 1e-160 > 0
    assert losses.MeanAbsoluteError()(zero, tiny) == 1e-310
    assert losses.LogCosh()(zero, np.array([[1e-155]])) == pytest.approx(5e-311, rel=1e-10)
    value, gradient = omniloss.value_and_grad(
        losses.MeanSquaredError(), zero.astype("f4"), np.array([[smallest]])
    )
    assert value == 0
    assert gradient[0, 0] == 2 * smallest > 0
    logits = np.array([[100.0]], np.float32)
    value, gradient = omniloss.value_and_grad(
        losses.BinaryCrossentropy(from_logits=True), np.ones((1, 1), np.float32), logits
    )
    assert 0 < value < np.finfo(np.float32).tiny
    assert -np.finfo(np.float32).tiny < gradient[0, 0] < 0
    # A row of many classes, and a sum of subnormal numbers.
    many = np.full((3, 5000), 1e-310)
    assert losses.MeanAbsoluteError("sum")(0 * many, many) == pytest.approx(3e-310, rel=1e-12)


@pytest.mark.parametrize("gamma", [0.25, 0.5, 0.75])
def test_focal_gradients_of_tiny_misses(gamma: float) -> None:
    """With q = 1 - p_t << 1 the loss is q**(1 + gamma), its slope by the logit 1 + gamma times that."""
    logits = np.array([[-300.0, -355.0, -380.0, -400.0]])
    values = np.exp((1 + gamma) * logits)
    with omniloss.config(epsilon=0.0):
        loss = losses.BinaryFocalCrossentropy(gamma=gamma, from_logits=True, reduction="sum")
    for y_true, sign in ((np.zeros((1, 4)), 1), (np.ones((1, 4)), -1)):
        with omniloss.config(epsilon=0.0):
            value, gradient = omniloss.value_and_grad(loss, y_true, sign * logits)
        assert value == pytest.approx(values.sum() / 4, rel=1e-12)
        np.testing.assert_allclose(gradient, sign * (1 + gamma) * values / 4, rtol=1e-12, atol=0)


@pytest.mark.parametrize("formula", KERNELS, ids=IDS)
def test_kernels_leave_subnormal_arithmetic_as_it_was(formula: Formula) -> None:
    y, p = samples.draw(formula, np.random.default_rng(34), count=2000)
    call(formula, y, p, usual(formula))
    assert np.float64(1e-310) * np.float64(0.5) > 0
    assert np.float32(1e-40) * np.float32(0.5) > 0


def test_importing_leaves_subnormal_arithmetic_as_it_was() -> None:
    script = (
        "import numpy as np; import omniloss, omniloss.losses; "
        "x = np.full(1000, 1e-310); y = np.full(1000, 1e-40, np.float32); "
        "assert (x * 0.5 > 0).all() and (y * np.float32(0.5) > 0).all(); "
        "omniloss.losses.MeanSquaredError()(x[None], x[None]); "
        "assert (x * 0.5 > 0).all() and 5e-324 > 0"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, env=environment())


def environment() -> dict[str, str]:
    """This process's environment with its import path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
