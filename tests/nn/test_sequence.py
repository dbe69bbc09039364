"""Connectionist temporal classification beyond torch's own values: by enumeration, extremes and errors."""

from __future__ import annotations

import itertools
import re
from typing import Any

import mpmath
import numpy as np
import pytest

import omniloss
from omniloss import nn
from omniloss.formulas import connectionist_temporal_classification as formula
from omniloss.native import core
from omniloss.nn.functional import ctc_loss

needs_core = pytest.mark.skipif(core is None, reason="the native core is not there")


def log_softmax(x: np.ndarray) -> np.ndarray:
    top = x - np.max(x, axis=-1, keepdims=True)
    return np.asarray(top - np.log(np.sum(np.exp(top), axis=-1, keepdims=True)))


def by_enumeration(log_probs: np.ndarray, labels: list[int], blank: int) -> Any:
    """The loss of one sample: all alignments one by one, in 50 digits."""
    steps, classes = log_probs.shape
    with mpmath.workdps(50):
        total = mpmath.mpf(0)
        for path in itertools.product(range(classes), repeat=steps):
            kept = [c for c, _ in itertools.groupby(path) if c != blank]
            if kept == labels:
                total += mpmath.exp(
                    mpmath.fsum(mpmath.mpf(float(log_probs[t, c])) for t, c in enumerate(path))
                )
        return -mpmath.log(total) if total > 0 else mpmath.inf


def by_formula(*arrays: np.ndarray, blank: int = 0, zero_infinity: bool = False) -> Any:
    with np.errstate(all="ignore"):
        value = formula.value(np, *arrays, blank=blank, zero_infinity=zero_infinity)
        slope = formula.derivative(np, *arrays, blank=blank, zero_infinity=zero_infinity)
    return value, slope


@pytest.mark.parametrize("scale", [1.0, 200.0])
@pytest.mark.parametrize("labels", [[], [1], [1, 1], [2, 1], [1, 2, 1]])
def test_the_sum_over_all_alignments(labels: list[int], scale: float) -> None:
    rng = np.random.default_rng(5)
    log_probs = log_softmax(scale * rng.standard_normal((5, 3)))
    expected = by_enumeration(log_probs, labels, 0)
    actual = ctc_loss(log_probs, np.array(labels, int), [5], [len(labels)], reduction="sum")
    assert abs(float(actual) - expected) <= 1e-14 * max(1, abs(expected))
    targets = np.array([labels], int).reshape(1, -1)
    lengths = np.array([5]), np.array([len(labels)])
    value, _ = by_formula(targets, log_probs[:, None, :], *lengths)
    assert abs(float(value[0]) - expected) <= 1e-14 * max(1, abs(expected))


def test_gradient_is_that_by_the_logits() -> None:
    rng = np.random.default_rng(6)
    logits = rng.standard_normal((6, 2, 4))
    arguments = ([[1, 2], [3, 3]], [6, 5], [2, 2])
    _, gradient = omniloss.value_and_grad(ctc_loss, log_softmax(logits), *arguments)
    step = 1e-5
    for place in np.ndindex(6, 2, 4):
        ends = []
        for sign in (1, -1):
            moved = logits.copy()
            moved[place] += sign * step
            ends.append(ctc_loss(log_softmax(moved), *arguments))
        slope = (ends[0] - ends[1]) / (2 * step)
        assert abs(gradient[place] - slope) < 1e-9


@needs_core
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_core_against_formula(dtype: Any) -> None:
    rng = np.random.default_rng(7)
    log_probs = log_softmax(4 * rng.standard_normal((5, 40, 30, 6))).astype(dtype)
    log_probs = np.moveaxis(log_probs, 0, 3)[..., 2]  # any strides
    targets = rng.integers(1, 6, (30, 12))
    lengths = rng.integers(0, 41, 30), rng.integers(0, 13, 30)
    with np.errstate(all="ignore"):
        value, slope = by_formula(targets, log_probs.astype(np.float64), *lengths)
    losses, gradient = omniloss.value_and_grad(
        ctc_loss, log_probs, targets, *lengths, reduction="none"
    )
    tolerance = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(losses, value, tolerance, tolerance)
    np.testing.assert_allclose(gradient, slope, tolerance, 8 * np.finfo(dtype).eps)


def test_long_sequences_keep_their_digits() -> None:
    # Of steps that are all alike, every alignment has the same probability: they can be counted.
    steps, labels, classes = 1000, 200, 4
    log_probs = np.full((steps, 1, classes), -np.log(classes), np.float32)
    targets = np.arange(labels) % 3 + 1  # no neighbours are equal
    number = mpmath.binomial(steps + labels, 2 * labels)
    expected = -mpmath.log(number) - steps * mpmath.mpf(float(log_probs[0, 0, 0]))
    actual = ctc_loss(log_probs, targets[None], [steps], [labels], reduction="sum")
    tolerance = np.finfo(np.float32).eps if core is not None else 2e-6
    assert abs(float(actual) / expected - 1) <= tolerance


@needs_core
def test_threads_change_no_bit() -> None:
    rng = np.random.default_rng(8)
    log_probs = log_softmax(rng.standard_normal((30, 17, 5))).astype(np.float32)
    arguments = (log_probs, rng.integers(1, 5, (17, 6)), np.full(17, 30), np.full(17, 6))
    before, results = omniloss.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            omniloss.set_num_threads(threads)
            results.append(omniloss.value_and_grad(ctc_loss, *arguments))
    finally:
        omniloss.set_num_threads(before)
    for value, gradient in results[1:]:
        assert value == results[0][0]
        np.testing.assert_array_equal(gradient, results[0][1])


def test_nan_goes_in_and_out_where_an_alignment_meets_it() -> None:
    log_probs = np.log(np.full((4, 2, 3), 1 / 3))
    log_probs[2, 0, 1] = np.nan
    losses = ctc_loss(log_probs, [[1], [1]], [4, 4], [1, 1], reduction="none")
    assert np.isnan(losses).tolist() == [True, False]
    losses = ctc_loss(log_probs, [[2], [1]], [4, 4], [1, 1], reduction="none")
    assert not np.isnan(losses).any()


LOG_PROBS = np.log(np.full((4, 2, 3), 1 / 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([[1], [3]], [4, 4], [1, 1]),
            "`targets` must hold class indices, integers in [0, 3); got",
        ),
        (([[1], [-1]], [4, 4], [1, 1]), "targets[1, 0] = -1"),
        (([[1], [1.5]], [4, 4], [1, 1]), "whole numbers; got targets[1, 0] = 1.5"),
        (
            ([[1], [2]], [4, 5], [1, 1]),
            "`input_lengths` must hold integers in [0, 4]; got input_lengths[1] = 5",
        ),
        (
            ([[1], [2]], [4, 4], [1, 2]),
            "`target_lengths` must hold integers in [0, 1]; got target_lengths[1] = 2",
        ),
        (([[1], [2]], [4, 4], [-1, 1]), "target_lengths[0] = -1"),
        (
            ([[1], [2]], [4], [1, 1]),
            "`input_lengths` must hold one number for each of the 2 samples",
        ),
        (([[1]], [4, 4], [1, 1]), "`targets` must have the shape (2, longest)"),
        (
            ([1, 2, 1], [4, 4], [1, 1]),
            "must hold sum(target_lengths) = 2 labels for `log_probs` of shape (4, 2, 3); got shape (3,)",
        ),
        (([[1], [2]], [4, 4], [1, 1], 3), "`blank` must be a class, an integer in [0, 3); got 3"),
        (([[1], [2]], [4.5, 4], [1, 1]), "`input_lengths` must hold integers; got dtype float"),
    ],
)
def test_bad_input(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(message)) as caught:
        ctc_loss(LOG_PROBS, *arguments)
    assert isinstance(caught.value, RuntimeError)  # torch's type


def test_labels_beyond_a_length_are_not_looked_at() -> None:
    loss = nn.CTCLoss(reduction="none")
    some = loss(LOG_PROBS, [[1, 99], [2, -7]], [4, 4], [1, 1])
    np.testing.assert_array_equal(some, loss(LOG_PROBS, [[1], [2]], [4, 4], [1, 1]))
