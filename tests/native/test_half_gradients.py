"""Gradients in half precision: the float32 gradient, rounded once to the nearest, as NumPy and ml_dtypes round it."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from omniloss import formulas, native
from omniloss.formulas import Formula
from support import samples
from support.kernel_calls import KERNELS, instruction_set, usual

core: Any = native.core
HALF = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def gradient_of(
    formula: Formula,
    y: np.ndarray,
    p: np.ndarray,
    dtype: np.dtype[Any],
    scale: float,
    weights: np.ndarray | None = None,
    masks: list[Any] | None = None,
) -> np.ndarray:
    gradient = np.full(p.shape, 77, dtype)
    # The core takes bfloat16, which the buffer protocol does not know, as records.
    seen = gradient.view([("bfloat16", np.uint16)]) if dtype.kind == "V" else gradient
    run = core.pointwise if formula.kind == "pointwise" else core.rowwise
    options = {"detect_binary": False} if formula.kind == "pointwise" else {}
    _, offence = run(
        formula.name,
        y,
        p,
        weights,
        None,
        seen,
        list(usual(formula).values()),
        (1.0, 0.0),
        formula.targets,
        formula.predictions,
        scale=scale,
        masks=masks or [],
        **options,
    )
    assert offence is None
    return gradient


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    """The same bits, but for those of NaN."""
    nan = np.isnan(expected.astype(np.float32))
    np.testing.assert_array_equal(np.isnan(found.astype(np.float32)), nan)
    found, expected = (np.where(nan, np.uint16(0), x.view(np.uint16)) for x in (found, expected))
    np.testing.assert_array_equal(found, expected)


def hard_numbers() -> np.ndarray:
    """float32 numbers of every size: those of half precision, the middles between, and their neighbours."""
    all_bits = np.arange(2**16, dtype=np.uint16)
    halves = all_bits.view(np.float16).astype(np.float64)
    with np.errstate(all="ignore"):
        middles = (halves[1:] + halves[:-1]) / 2
        near = np.concatenate([halves, middles]).astype(np.float32)
    brains = (all_bits.astype(np.uint32) << 16)[:, None] + np.array(
        [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32
    )
    edges = np.array([65519.996, 65520.0, 65504.0, 2.0**-24, 2.0**-25, 1e-45], np.float32)
    numbers = [near, brains.ravel().view(np.float32), edges, -edges]
    for step in (-1, 1):
        with np.errstate(all="ignore"):
            numbers.append(np.nextafter(near, np.float32(step * np.inf)))
    return np.concatenate(numbers)


@pytest.mark.parametrize("dtype", HALF.values(), ids=list(HALF))
def test_every_number_is_rounded_to_the_nearest(dtype: np.dtype[Any]) -> None:
    """The gradient of (p - y)**2 at y = 0 is 2p, and half of that is p."""
    numbers = hard_numbers()
    numbers = numbers[~(np.abs(numbers) > 2.0**126)]  # twice which is finite; NaN stays
    numbers = np.concatenate([numbers, np.array([np.inf, -np.inf, np.nan, -np.nan], np.float32)])
    assert np.isnan(numbers).any()
    with np.errstate(all="ignore"):
        expected = numbers.astype(dtype)
    for name in core.instruction_sets():
        with instruction_set(name):
            for p, wanted in ((numbers, expected), (numbers[:7], expected[:7])):
                p, y = p[:, None], np.zeros((len(p), 1), np.float32)
                found = gradient_of(formulas.squared_error, y, p, dtype, 0.5)
                assert_same(found[:, 0], wanted)


@pytest.mark.parametrize("dtype", HALF.values(), ids=list(HALF))
@pytest.mark.parametrize("formula", KERNELS, ids=[formula.name for formula in KERNELS])
def test_every_kernel_rounds_its_gradient(formula: Formula, dtype: np.dtype[Any]) -> None:
    rng = np.random.default_rng(61)
    for rows, columns in ((70, 5), (3, 700), (1, 20000), (300, 128)):
        count = (rows, columns) if formula.kind == "rowwise" else (rows * columns, 1)
        y, p = samples.draw(formula, rng, "moderate", np.float32, *count)
        p = p.reshape(rows, columns)
        y = y if formula.labels else y.reshape(rows, columns)
        w = np.where(rng.random(rows) < 0.3, 0, rng.random(rows)).astype(np.float32)
        masks = [(rng.random(rows) < 0.7, 0)]
        if formula.kind == "pointwise":
            w, masks = w[:, None] + 0 * p, [(masks[0][0][:, None] & (p == p), 0)]
        for weights, left_out in ((None, []), (w, []), (w, masks)):
            wide = gradient_of(formula, y, p, np.dtype(np.float32), 0.75, weights, left_out)
            found = gradient_of(formula, y, p, dtype, 0.75, weights, left_out)
            with np.errstate(over="ignore"):
                assert_same(found, wide.astype(dtype))


@pytest.mark.parametrize("dtype", HALF.values(), ids=list(HALF))
def test_float64_is_not_computed_for_half_a_gradient(dtype: np.dtype[Any]) -> None:
    x = np.zeros((2, 3))
    for formula in (formulas.squared_error, formulas.categorical_crossentropy_with_logits):
        with pytest.raises(TypeError, match="gradient must have the type"):
            gradient_of(formula, x, x, dtype, 1.0)
