"""Dask arrays: chunked input of every loss of either dialect, computed when it is asked for and not before."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import dask
import dask.array
import numpy as np
import pytest

import omniloss
from omniloss import losses
from support.cases import Case
from support.cases import cases as keras_cases
from support.torch_cases import FUNCTIONS, cases


def refuse(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("computed before it was asked for")


@pytest.fixture(autouse=True)
def lazy() -> Iterator[None]:
    with dask.config.set(scheduler=refuse):
        yield


def chunked(x: Any) -> Any:
    """An array in pieces of at most three along each axis; anything else as it is."""
    return dask.array.from_array(x, chunks=3) if isinstance(x, np.ndarray) else x


def computed(*lazy: Any) -> tuple[np.ndarray, ...]:
    assert all(isinstance(x, dask.array.Array) for x in lazy)
    return dask.compute(*lazy, scheduler="synchronous")


@pytest.mark.filterwarnings(
    "ignore:Increasing number of chunks"
)  # by Circle, which compares all rows
@pytest.mark.parametrize("case", keras_cases()[::3], ids=str)
def test_keras_dialect(case: Case) -> None:
    rng = np.random.default_rng(70)
    y_true, y_pred = case.arrays(rng, (6, 5, 4), "float64")
    rows = case.rows(y_pred.shape)
    weights, mask = np.asarray(rng.random(rows)), np.asarray(rng.random(rows) < 0.7)
    for reduction, masked in itertools.product(("mean", None), (False, True)):
        loss = case.loss(reduction=reduction)
        found = omniloss.value_and_grad(
            loss, *map(chunked, (y_true, y_pred, weights)), mask=chunked(mask) if masked else None
        )
        expected = omniloss.value_and_grad(
            loss, y_true, y_pred, weights, mask=mask if masked else None
        )
        for a, b in zip(computed(*found), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_torch_dialect(name: str) -> None:
    mine = [case for case in cases() if case.name == name]
    if name == "ctc_loss":  # labels in one row are cut up by lengths, which must be known
        mine = [case for case in mine if case.arguments["targets"].ndim == 2]
    for case in mine[:: max(1, len(mine) // (2 if name == "ctc_loss" else 6))]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected, slopes = omniloss.value_and_grad(
                case.function, **case.arguments, **case.options, wrt=case.by
            )
            found, gradients = omniloss.value_and_grad(
                case.function,
                **{key: chunked(x) for key, x in case.arguments.items()},
                **{key: chunked(x) for key, x in case.options.items()},
                wrt=case.by,
            )
            found = computed(found, *gradients)
        for a, b in zip(found, (expected, *slopes), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_partial_sums_stay_lazy_and_add_up() -> None:
    rng = np.random.default_rng(71)
    y_true, y_pred, weights = rng.random((9, 4)), rng.random((9, 4)), rng.random(9)
    loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
    halves = [
        omniloss.partial(loss, *(chunked(x[part]) for x in (y_true, y_pred, weights)))
        for part in (slice(4), slice(4, None))
    ]
    (value,) = computed(sum(halves).result())
    assert value == pytest.approx(float(loss(y_true, y_pred, weights)), rel=1e-12)


def test_labels_out_of_range_are_nan() -> None:
    """Nothing can be refused of what has not been computed."""
    y_true, y_pred = np.array([0, 7, 1]), np.full((3, 2), 0.5)
    loss = losses.SparseCategoricalCrossentropy(reduction="none")
    value, gradient = computed(*omniloss.value_and_grad(loss, *map(chunked, (y_true, y_pred))))
    np.testing.assert_array_equal(np.isnan(value), [False, True, False])
    np.testing.assert_array_equal(np.isnan(gradient).all(axis=1), [False, True, False])


def test_sequences_in_one_row_need_known_lengths() -> None:
    log_probs, lengths = chunked(np.full((4, 2, 3), -1.1)), chunked(np.array([2, 1]))
    with pytest.raises(
        ValueError, match="`targets` of one axis need `target_lengths` whose numbers"
    ):
        omniloss.nn.functional.ctc_loss(log_probs, np.array([1, 2, 1]), [4, 4], lengths)


def test_shapes_must_be_known() -> None:
    x = chunked(np.arange(8.0)[:, None])
    with dask.config.set(scheduler="synchronous"):
        some = x[x[:, 0] > 3]
        with pytest.raises(ValueError, match=r"`y_pred` must be .*got \(nan, 1\): .*compute_chunk"):
            losses.MeanSquaredError()(np.zeros((4, 1)), some)
        some.compute_chunk_sizes()
    (value,) = computed(losses.MeanSquaredError()([[0.0]] * 4, some))
    assert value == (16 + 25 + 36 + 49) / 4
