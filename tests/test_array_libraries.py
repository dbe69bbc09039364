"""Other array libraries, and NumPy without the core, give what NumPy gives with it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import omniloss
from omniloss import losses, native
from omniloss.frameworks.base import Framework
from omniloss.preparation import prepare
from omniloss.reduction import MEAN
from support.cases import Case, cases

REDUCTIONS = ["sum", "mean", "sum_over_batch_size", "mean_with_sample_weight", None]
LIBRARIES = ["array_api_strict", "jax.numpy"]  # Dask has tests of its own
EPS = {"float32": 1.2e-7, "float64": 2.3e-16}


@pytest.fixture(params=LIBRARIES)
def xp(request: pytest.FixtureRequest) -> Any:
    return pytest.importorskip(request.param)


def inputs(case: Case, dtype: str, seed: int) -> tuple[Any, ...]:
    """Targets, predictions, and weights and a mask for their rows."""
    rng = np.random.default_rng(seed)
    y_true, y_pred = case.arrays(rng, (6, 5, 4), dtype)
    rows = case.rows(y_pred.shape)
    weights = np.where(rng.random(rows) < 0.3, 0, rng.random(rows)).astype(dtype)
    return y_true, y_pred, weights, np.asarray(rng.random(rows) < 0.7)


def assert_near(actual: Any, expected: Any, dtype: str, units: float = 64) -> None:
    """Close to within some units of the type, of the largest number where terms may cancel."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    size = np.max(np.abs(expected[np.isfinite(expected)]), initial=0)
    tolerance = units * EPS[dtype]
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * size)


def to_numpy(x: Any) -> np.ndarray:
    compute = getattr(x, "compute", None)
    return np.asarray(x if compute is None else compute())


@pytest.mark.parametrize("case", cases(), ids=str)
def test_other_libraries_agree_with_numpy(case: Case, xp: Any) -> None:
    """Values and gradients, in arrays of that library."""
    y_true, y_pred, weights, mask = inputs(case, "float32", 60)
    theirs = [xp.asarray(x) for x in (y_true, y_pred, weights, mask)]
    kind = type(theirs[1])
    for reduction, weighted, masked in itertools.product(
        ("sum", None), (False, True), (False, True)
    ):
        loss = case.loss(reduction=reduction)
        ours = omniloss.value_and_grad(
            loss, y_true, y_pred, weights if weighted else None, mask=mask if masked else None
        )
        arguments = [*theirs[:2], theirs[2] if weighted else None]
        options = {"mask": theirs[3] if masked else None}
        found = omniloss.value_and_grad(loss, *arguments, **options)
        for a, b in zip(found, ours, strict=True):
            assert isinstance(a, kind)
            assert_near(to_numpy(a), b, "float32")
        value = loss(*arguments, **options)
        assert isinstance(value, kind)
        assert_near(to_numpy(value), ours[0], "float32")
    found = case.function(*theirs[:2], **case.options)
    assert isinstance(found, kind)
    assert_near(to_numpy(found), case.function(y_true, y_pred, **case.options), "float32")


@pytest.mark.parametrize("reduction", [name for name in REDUCTIONS if name is not None])
def test_partial_sums_of_other_libraries(reduction: str, xp: Any) -> None:
    case = next(case for case in cases() if case.name == "huber")
    y_true, y_pred, weights, _ = inputs(case, "float32", 61)
    loss = case.loss(reduction=reduction)
    part = omniloss.partial(loss, *(xp.asarray(x) for x in (y_true, y_pred, weights)))
    assert float(part.result()) == pytest.approx(float(loss(y_true, y_pred, weights)), rel=1e-5)


def test_lists_and_numpy_arrays_follow_the_library(xp: Any) -> None:
    y_true, y_pred = np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)
    loss = omniloss.losses.MeanSquaredError()
    kind = type(xp.asarray(y_pred))
    for arguments in (
        (y_true, xp.asarray(y_pred)),
        (y_true.tolist(), xp.asarray(y_pred)),
        (xp.asarray(y_true), y_pred),
        (y_true, y_pred, xp.asarray(np.ones(2, np.float32))),
    ):
        value = loss(*arguments)
        assert isinstance(value, kind)
        assert float(value) == 1


def without_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "core", None)


@pytest.mark.skipif(native.core is None, reason="the native core is not installed")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", cases(), ids=str)
def test_numpy_without_the_core_agrees(
    case: Case, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every loss, with and without weights and masks, and for every reduction."""
    y_true, y_pred, weights, mask = inputs(case, dtype, 62)

    def everything() -> list[Any]:
        found = [case.function(y_true, y_pred, **case.options)]
        for reduction, w, m in itertools.product(REDUCTIONS, (None, weights), (None, mask)):
            loss = case.loss(reduction=reduction)
            found.append(loss(y_true, y_pred, w, mask=m))
            found += omniloss.value_and_grad(loss, y_true, y_pred, w, mask=m)
            spans_samples = case.axes is None or (0 in case.axes and case.plan.axes != ())
            has_partial = case.plan.labels != "auto" and not case.plan.no_partial
            if reduction is not None and has_partial and not spans_samples:
                part = omniloss.partial(loss, y_true, y_pred, w, mask=m)
                found += [y_pred.dtype.type(part.total), np.float64(part.weight)]
        return found

    with_core = everything()
    without_core(monkeypatch)
    for a, b in zip(everything(), with_core, strict=True):
        assert_near(a, b, dtype)


@pytest.mark.skipif(native.core is None, reason="the native core is not installed")
@pytest.mark.parametrize(
    "case", [case for case in cases() if not case.plan.formula.by_batch], ids=str
)
def test_the_same_elements_are_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the core and without it, in the same words."""
    y_true, y_pred, weights, _ = inputs(case, "float64", 63)
    formula = case.plan.formula
    bad: list[tuple[Any, Any]] = []
    for which, interval in (("y_true", formula.targets), ("y_pred", formula.predictions)):
        if which == "y_true" and formula.labels:
            continue
        for number in (*(end - 0.5 for end in interval[:1]), *(end + 0.5 for end in interval[1:])):
            if np.isfinite(number):
                changed = {"y_true": y_true.copy(), "y_pred": y_pred.copy()}
                changed[which][4, 3, 2] = changed[which][2, 4, 1] = number
                bad.append((changed["y_true"], changed["y_pred"]))
    if formula.labels:
        for number in (-3, 77, 0.5):
            changed_labels = y_true.astype(np.float64)
            changed_labels[3, 3] = changed_labels[2, 1] = number
            bad.append((changed_labels, y_pred))
        if formula.predictions.low == 0:
            spoiled = y_pred.copy()
            spoiled[2, 1, 1] = -1
            bad.append(
                (np.where(np.arange(y_true.size) == 9, 99, 0).reshape(y_true.shape), spoiled)
            )

    def messages() -> list[str]:
        found = []
        for arguments in bad:
            for extra in ((), (weights,)):
                try:
                    case.loss()(*arguments, *extra)
                except ValueError as error:
                    found.append(str(error))
                else:
                    found.append("")
        return found

    with_core = messages()
    without_core(monkeypatch)
    assert messages() == with_core
    assert all(with_core[::2]) or case.plan.ignore is not None  # which may cover the row


def test_the_environment_turns_the_core_off() -> None:
    script = (
        "import numpy as np, omniloss; from omniloss import native; assert native.core is None; "
        "assert not omniloss.show_config()['native']; assert omniloss.get_num_threads() == 1; "
        "x = np.ones((3, 2)); v, g = omniloss.value_and_grad(omniloss.losses.Huber(), 0 * x, x); "
        "assert v == 0.5 and (g == 1 / 6).all()"
    )
    for wish, code in (("0", script), ("yes", "import omniloss")):
        environment = {"OMNILOSS_NATIVE": wish, "PYTHONPATH": ":".join(filter(None, sys.path))}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        if wish == "0":
            assert done.returncode == 0, done.stderr
        else:
            assert "OMNILOSS_NATIVE must be 0, 1 or unset; got 'yes'" in done.stderr


@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("case", cases(), ids=str)
def test_formulas_never_see_what_has_no_weight(case: Case, junk: float) -> None:
    """Choosing 0 afterwards would not do under autodiff, which multiplies the other branch's NaN by 0."""
    y_true, y_pred, _, _ = inputs(case, "float64", 65)
    used = np.ones(case.rows(y_pred.shape), dtype=bool)
    used[1 if used.ndim else ()] = False
    unused = ~case.spread(used, y_pred.shape)
    y_pred[unused] = junk
    if case.plan.formula.labels:
        by_label = used if y_true.ndim == used.ndim else used[:, None]
        y_true = np.where(by_label, np.where(y_true == case.plan.ignore, 0, y_true), -9)
    else:
        y_true[unused] = junk
    call = case.function.describe(y_true, y_pred, **case.options)
    problem = prepare(replace(call, weights=used.astype(float), rule=MEAN))
    classes = y_pred.shape[case.axis]
    seen = []

    def spy(xp: Any, targets: Any, predictions: Any, *others: Any, **parameters: float) -> Any:
        seen.append((targets, predictions))
        return problem.formula.value(xp, targets, predictions, *others, **parameters)

    spied = replace(problem, formula=replace(problem.formula, value=spy))
    with np.errstate(invalid="ignore"):  # of what is filled in later
        Framework.run(problem.framework, spied, reduce=True, scale=None)
    ((targets, predictions),) = seen
    assert np.isfinite(predictions).all()
    assert np.isfinite(targets).all()
    if problem.formula.labels and case.name != "circle":  # whose labels are any integers
        assert ((targets >= 0) & (targets < classes)).all()


def arrays_of(way: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What makes the arrays of a way to compute: NumPy with its core or without it, or another library."""
    if way == "formula":
        without_core(monkeypatch)
    return np.asarray if way in ("core", "formula") else pytest.importorskip(way).asarray


@pytest.mark.parametrize("cls", [losses.Hinge, losses.SquaredHinge])
@pytest.mark.parametrize("way", ["core", "formula", "array_api_strict"])
@pytest.mark.parametrize("junk", [np.nan, np.inf, -1.0, 0.5])
def test_labels_are_detected_where_there_is_weight(
    cls: Any, way: str, junk: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a hinge loss takes its labels for does not depend on rows that are left out."""
    convert = arrays_of(way, monkeypatch)
    y_true = np.array([[0, 1], [1, 1], [0, 0]], np.float32)
    y_pred = np.array([[0.3, 0.4], [0.4, 1.5], [-0.2, 0.1]], np.float32)
    spoiled = y_true.copy()
    spoiled[2, 1] = junk
    loss = cls()
    told = omniloss.value_and_grad(cls(labels="binary"), y_true[:2], y_pred[:2])
    for options in (
        {"mask": np.array([True, True, False])},
        {"sample_weight": np.array([1, 1, 0], np.float32)},
    ):
        options = {name: convert(x) for name, x in options.items()}
        clean = omniloss.value_and_grad(loss, convert(y_true), convert(y_pred), **options)
        arguments = convert(spoiled), convert(y_pred)
        dirty = omniloss.value_and_grad(loss, *arguments, **options)
        for a, b in zip(clean, dirty, strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
        assert float(loss(*arguments, **options)) == float(clean[0])
        # The mean of three rows for weights, of the two that count for a mask
        count = 2 if "mask" in options else 3
        np.testing.assert_allclose(np.asarray(clean[1])[:2], told[1] * 2 / count, rtol=1e-6)


@pytest.mark.parametrize("size", [1e-42, 1e38])
@pytest.mark.parametrize("way", ["core", "formula", "array_api_strict"])
def test_gradients_under_weights_whose_scale_float32_cannot_hold(
    way: str, size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = arrays_of(way, monkeypatch)
    y_true = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    y_pred = np.array([[0.5, 0.125], [0.25, 0.5], [0.75, 0.9]], np.float32)
    weights = np.full(3, size, np.float32)
    for cls in (losses.MeanSquaredError, losses.BinaryCrossentropy, losses.CategoricalCrossentropy):
        mean = cls(reduction="mean_with_sample_weight")
        arrays = convert(y_true), convert(y_pred)
        _, gradient = omniloss.value_and_grad(mean, *arrays, convert(weights))
        _, expected = omniloss.value_and_grad(cls(reduction="mean"), y_true, y_pred)
        np.testing.assert_allclose(np.asarray(gradient), expected, rtol=4e-7)


@pytest.mark.parametrize("ignored", [2**53, -(2**53), 2**62, 2**63 - 1])
def test_labels_are_told_apart_beyond_float64s_integers(ignored: int) -> None:
    loss = losses.SparseCategoricalCrossentropy(ignore_class=ignored)
    y_pred = np.array([[0.25, 0.75], [0.5, 0.5]])
    assert loss(np.array([1, ignored]), y_pred) == pytest.approx(-np.log(0.75))
    near = ignored - 1 if ignored == 2**63 - 1 else ignored + (1 if ignored > 0 else -1)
    with pytest.raises(ValueError, match=rf"class indices.* got y_true\[1\] = {near}"):
        loss(np.array([1, near]), y_pred)
