"""Every loss of both dialects on every array library: value, gradients, its own autodiff, compiled.

The comparison is with NumPy in float64, and the documented values with lists of numbers. Each library has tests of its own besides.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import omniloss
from omniloss import losses, nn
from omniloss.losses import Reduction
from support import cases as keras_cases
from support import torch_cases
from support.libraries import LIBRARIES, Library, table


@dataclass(frozen=True, eq=False)
class Call:
    """A loss with its defaults, and the arrays of a call, of which ``by`` are the names to differentiate by."""

    label: str
    loss: Callable[..., Any]
    arrays: dict[str, np.ndarray]
    by: tuple[str, ...]

    def __str__(self) -> str:
        return self.label


@functools.cache
def calls() -> tuple[Call, ...]:
    found = []
    for case in keras_cases.cases():
        if not case.options:
            targets, predictions = case.arrays(np.random.default_rng(90), (6, 4))
            arrays = {"y_true": targets, "y_pred": predictions}
            found.append(Call(f"losses.{case.cls.__name__}", case.loss(), arrays, ("y_pred",)))
    seen = set()
    for case in torch_cases.small_cases():
        if case.name not in seen:
            seen.add(case.name)
            name = torch_cases.class_of(case.name)
            made = torch_cases.CLASSES[name]()
            found.append(Call(f"nn.{name}", made, case.arguments, case.by))
    return tuple(found)


@pytest.fixture(params=LIBRARIES, ids=str)
def library(request: pytest.FixtureRequest) -> Library:
    chosen: Library = request.param
    if not chosen.is_installed:
        pytest.skip(f"{chosen.name} is not installed")
    return chosen


def near(actual: Any, expected: Any, library: Library) -> None:
    found = library.as_numpy(actual)
    assert found.dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("call", calls(), ids=str)
def test_every_loss_on_every_library(call: Call, library: Library) -> None:
    with library.wide(), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a library's own, of its own doing
        expected, slopes = omniloss.value_and_grad(call.loss, *call.arrays.values(), wrt=call.by)
        theirs = {name: library.asarray(x) for name, x in call.arrays.items()}
        kind = type(next(iter(theirs.values())))
        value = call.loss(*theirs.values())
        assert isinstance(value, (kind, np.float64))
        near(value, expected, library)
        value, gradients = omniloss.value_and_grad(call.loss, *theirs.values(), wrt=call.by)
        near(value, expected, library)
        for a, b in zip(gradients, slopes, strict=True):
            near(a, b, library)

        def of_inputs(*inputs: Any) -> Any:
            return call.loss(*{**theirs, **dict(zip(call.by, inputs, strict=True))}.values())

        inputs = [theirs[name] for name in call.by]
        if library.gradients is not None:
            value, gradients = library.gradients(of_inputs, inputs)
            near(value, expected, library)
            for a, b in zip(gradients, slopes, strict=True):
                near(a, b, library)
        if library.compiled is not None:
            near(library.compiled(of_inputs)(*inputs), expected, library)


COSINE = [[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]
SPARSE = [1, 2], [[0.05, 0.95, 0.0], [0.1, 0.8, 0.1]]


@pytest.mark.parametrize("way", ["arrays", "lists beside weights", "lists as predictions"])
@pytest.mark.parametrize(
    ("reduction", "weighted", "cosine", "sparse"),
    [
        ("sum_over_batch_size", False, -0.5, 1.177),
        ("sum_over_batch_size", True, -0.0999, 0.814),
        (Reduction.SUM, False, -0.999, 2.354),
        (Reduction.NONE, False, [-0.0, -0.999], [0.0513, 2.303]),
    ],
)
def test_worked_values_of_tensorflows_documentation(
    way: str, reduction: str, weighted: bool, cosine: Any, sparse: Any, library: Library
) -> None:
    for loss, (y_true, y_pred), weights, expected in (
        (losses.CosineSimilarity(axis=1, reduction=reduction), COSINE, [0.8, 0.2], cosine),
        (losses.SparseCategoricalCrossentropy(reduction=reduction), SPARSE, [0.3, 0.7], sparse),
    ):
        given = [
            np.asarray(y_true),
            np.asarray(y_pred, np.float32),
            np.asarray(weights, np.float32),
        ]
        if way == "arrays":
            arguments = [library.asarray(x) for x in given]
        elif way == "lists beside weights":
            arguments = [y_true, y_pred, library.asarray(given[2])]
        else:
            arguments = [library.asarray(given[0]), y_pred, weights]
        if not weighted:
            del arguments[2]
        value = (
            library.as_numpy(loss(*arguments))
            if weighted or way != "lists beside weights"
            else loss(*arguments)
        )
        np.testing.assert_allclose(value, expected, rtol=2e-3, atol=1e-7)


def test_ci_has_every_library() -> None:
    """What is skipped where a library is not installed is not skipped there."""
    names = ("keras", "optax", "tf_keras", *(library.module for library in LIBRARIES))
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert not missing


def test_the_readme_shows_the_table() -> None:
    assert table() in (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


FOREIGN = [library for library in LIBRARIES if library.name != "NumPy"]


@pytest.mark.parametrize(
    ("first", "second"),
    [pytest.param(a, b, id=f"{a}-{b}") for a in FOREIGN for b in FOREIGN if a is not b],
)
def test_two_libraries_in_one_call_are_refused_by_name(first: Library, second: Library) -> None:
    for library in (first, second):
        if not library.is_installed:
            pytest.skip(f"{library.name} is not installed")
    x = np.ones((2, 3), np.float32)
    names = rf"two frameworks in one call, {first.module}.* and {second.module}"
    for call in (
        lambda: losses.MeanSquaredError()(second.asarray(x), first.asarray(x)),
        lambda: losses.huber(second.asarray(x), first.asarray(x)),
        lambda: losses.Poisson()(x, first.asarray(x), sample_weight=second.asarray(x[:, 0])),
        lambda: nn.MSELoss()(first.asarray(x), second.asarray(x)),
        lambda: omniloss.value_and_grad(nn.L1Loss(), first.asarray(x), second.asarray(x)),
    ):
        with pytest.raises(TypeError, match=names):
            call()


@pytest.mark.parametrize("library", FOREIGN, ids=str)
def test_lists_and_numpy_arrays_follow_the_library(library: Library) -> None:
    if not library.is_installed:
        pytest.skip(f"{library.name} is not installed")
    x, y = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
    kind = type(library.asarray(x))
    for arguments in (
        (y, library.asarray(x)),
        (y.tolist(), library.asarray(x)),
        (library.asarray(y), x),
        (library.asarray(y), x.tolist()),
        (y, x, library.asarray(np.ones(2, np.float32))),
        (y.tolist(), x.tolist(), library.asarray(np.ones(2, np.float32))),
    ):
        value = losses.MeanSquaredError()(*arguments)
        assert isinstance(value, kind)
        assert library.as_numpy(value) == 1
        assert library.as_numpy(value).dtype == np.float32
    value = nn.MSELoss()(library.asarray(x), y)
    assert isinstance(value, kind)
