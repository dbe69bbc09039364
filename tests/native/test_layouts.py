"""Arrays of every layout and type give what the plain contiguous ones give."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pandas as pd
import pytest

import omniloss
from omniloss import losses, native
from omniloss.formulas import Formula
from support import samples
from support.cases import Case, cases, row_cases
from support.kernel_calls import KERNELS, call, usual

core: Any = native.core
IDS = [formula.name for formula in KERNELS]
DEFAULTS = row_cases()


def every_other(x: np.ndarray) -> np.ndarray:
    wide = np.zeros([2 * size for size in x.shape], x.dtype)
    view = wide[(slice(1, None, 2),) * x.ndim]
    view[...] = x
    return view


def backwards(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x[(slice(None, None, -1),) * x.ndim])[
        (slice(None, None, -1),) * x.ndim
    ]


def transposed(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.T).T


def shuffled_axes(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)


def read_only(x: np.ndarray) -> np.ndarray:
    copy = x.copy()
    copy.flags.writeable = False
    return copy


def unaligned(x: np.ndarray) -> np.ndarray:
    memory = bytes(1) + x.tobytes()
    return np.frombuffer(memory, x.dtype, offset=1).reshape(x.shape)


def other_byte_order(x: np.ndarray) -> np.ndarray:
    return x.astype(x.dtype.newbyteorder())


def field(x: np.ndarray) -> np.ndarray:
    """A field of packed records: a stride that is no multiple of the item's size."""
    records = np.zeros(x.shape, [("before", "u1"), ("x", x.dtype), ("after", "u2")])
    records["x"] = x
    return records["x"]


def subclass(x: np.ndarray) -> np.ndarray:
    class Array(np.ndarray):
        pass

    return x.view(Array)


LAYOUTS: list[Callable[[np.ndarray], np.ndarray]] = [
    every_other,
    backwards,
    transposed,
    shuffled_axes,
    np.asfortranarray,
    read_only,
    unaligned,
    other_byte_order,
    field,
    subclass,
]


def results(case: Case, y_true: Any, y_pred: Any, weights: Any) -> list[np.ndarray]:
    """Everything that can be asked of a loss."""
    found = [case.function(y_true, y_pred, **case.options), case.loss()(y_true, y_pred)]
    for reduction in ("sum", None):
        loss = case.loss(reduction=reduction)
        found.append(loss(y_true, y_pred, weights))
        found += omniloss.value_and_grad(loss, y_true, y_pred, weights)
    return [np.asarray(x) for x in found]


def assert_same(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("case", cases(), ids=str)
def test_layouts(case: Case, layout: Callable[[np.ndarray], np.ndarray]) -> None:
    rng = np.random.default_rng(40)
    y_true, y_pred = case.arrays(rng, (7, 6, 5), "float32")
    weights = np.asarray(rng.random(case.rows(y_pred.shape)))
    expected = results(case, y_true, y_pred, weights)
    for which in range(1, 4):
        changed = [
            layout(x) if which & (1 << place) else x for place, x in enumerate((y_true, y_pred))
        ]
        moved = layout(weights) if weights.ndim else weights
        assert_same(results(case, *changed, moved), expected)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("formula", KERNELS, ids=IDS)
def test_layouts_of_many_blocks(
    formula: Formula, layout: Callable[[np.ndarray], np.ndarray]
) -> None:
    """The same on the kernels themselves, over tiles and blocks whose ends fall inside of runs."""
    if layout is other_byte_order:
        pytest.skip("which the core refuses, and the package converts")
    rng = np.random.default_rng(41)
    parameters = usual(formula)
    for shape in ((3, 1100, 7), (5000, 2, 1), (1, 3, 20_000)):
        count = shape[0] * shape[1]
        if formula.kind == "pointwise":
            y, p = samples.draw(formula, rng, "moderate", np.float32, count * shape[2])
            y = y.reshape(shape)
        else:
            y, p = samples.draw(formula, rng, "moderate", np.float32, count, shape[2])
            y = y.reshape(shape[:2] if formula.labels else shape)
        p = p.reshape(shape)
        weights = rng.random(shape if formula.kind == "pointwise" else shape[:2]).astype("f4")
        expected = call(formula, y, p, usual(formula), weights)
        changed = call(formula, layout(y), layout(p), parameters, layout(weights))
        changed.assert_same_bits(expected)


@pytest.mark.parametrize("formula", KERNELS, ids=IDS)
def test_repeated_elements(formula: Formula) -> None:
    """Strides of 0 along any axes, for every operand. A weight of many elements multiplies their sum."""
    rng = np.random.default_rng(42)
    parameters = usual(formula)
    for shape in ((9, 7, 5), (2, 3, 700), (400, 16, 1), (3, 2, 2100), (1030, 2, 3)):
        if formula.kind == "pointwise":
            y, p = (x[:1] for x in samples.draw(formula, rng, count=1))
        else:
            y, p = samples.draw(formula, rng, count=1, classes=shape[2])
        for ones in itertools.product((False, True), repeat=3):
            kept = [1 if one else size for one, size in zip(ones, shape, strict=True)]
            if formula.kind == "rowwise":
                kept[2] = shape[2]
            y_kept = kept[:2] if formula.labels else kept
            y_shape = shape[:2] if formula.labels else shape
            some_y = np.resize(y, y_kept)
            some_p = p.reshape(-1)[rng.integers(0, p.size, kept)]
            some_w = rng.random(kept if formula.kind == "pointwise" else kept[:2])
            w_shape = shape if formula.kind == "pointwise" else shape[:2]
            views = (
                np.broadcast_to(some_y, y_shape),
                np.broadcast_to(some_p, shape),
                np.broadcast_to(some_w, w_shape),
            )
            y_full, p_full, w_full = map(np.ascontiguousarray, views)
            expected = call(formula, y_full, p_full, parameters, w_full)
            for chosen in itertools.product((False, True), repeat=3):
                y_any, p_any, w_any = (
                    view if repeat else full
                    for repeat, view, full in zip(
                        chosen, views, (y_full, p_full, w_full), strict=True
                    )
                )
                outcome = call(formula, y_any, p_any, parameters, w_any)
                if w_any is w_full:
                    outcome.assert_same_bits(expected)
                else:
                    outcome.assert_same_but_for_weights(expected)


@pytest.mark.parametrize("shape", [(4,), (4, 3), (2, 4, 3), (2, 1, 4, 3), (2, 1, 2, 4, 3)])
@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_every_axis_of_every_rank(case: Case, shape: tuple[int, ...]) -> None:
    """An axis is the last one of the array in which it is moved there."""
    rng = np.random.default_rng(43)
    y_true, y_pred = case.arrays(rng, shape)
    rank = len(shape)
    by_row = rng.random(shape[:-1])
    per_row = case.function(y_true, y_pred, **case.options)
    assert np.shape(per_row) == shape[:-1]
    if "axis" not in case.function.describe(y_true, y_pred).plan.__slots__ or not takes_axis(case):
        return
    for axis in range(-rank, rank):
        options = {**case.options, "axis": axis}
        moved_pred = np.ascontiguousarray(np.moveaxis(y_pred, -1, axis))
        moved_true = y_true
        if not case.plan.formula.labels:
            moved_true = np.ascontiguousarray(np.moveaxis(y_true, -1, axis))
        found = case.function(moved_true, moved_pred, **options)
        np.testing.assert_array_equal(found, per_row)
        for reduction in ("sum", None):
            straight = case.cls(**case.options, reduction=reduction)
            turned = case.cls(**options, reduction=reduction)
            for weights in (None, by_row):
                value, gradient = omniloss.value_and_grad(straight, y_true, y_pred, weights)
                again, turned_gradient = omniloss.value_and_grad(
                    turned, moved_true, moved_pred, weights
                )
                np.testing.assert_allclose(again, value, rtol=1e-14)
                assert turned_gradient.shape == moved_pred.shape
                np.testing.assert_array_equal(np.moveaxis(turned_gradient, axis, -1), gradient)


def takes_axis(case: Case) -> bool:
    try:
        case.function.describe(None, None, axis=0)
    except TypeError:
        return False
    return True


EMPTY = [(0, 3), (0,), (2, 0, 3), (0, 0)]


@pytest.mark.parametrize("shape", EMPTY)
@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_an_empty_batch_gives_zero(case: Case, shape: tuple[int, ...]) -> None:
    y_pred = np.zeros(shape, np.float32)
    y_true = np.zeros(shape[:-1] if case.plan.formula.labels else shape, np.float32)
    expected = 1 if case.plan.axes and 0 not in case.rows(shape) else 0  # of an empty set
    for weights in (None, np.zeros(shape[:-1])):
        if weights is not None and weights.ndim == 0:
            continue
        for reduction in ("sum", "mean", "mean_with_sample_weight"):
            loss = case.loss(reduction=reduction)
            value, gradient = omniloss.value_and_grad(loss, y_true, y_pred, weights)
            assert value == expected
            assert value.dtype == np.float32
            assert gradient.shape == shape
            assert loss(y_true, y_pred, weights) == expected
    assert np.shape(case.function(y_true, y_pred, **case.options)) == shape[:-1]


INTEGERS = ["bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "longlong", "ulonglong"]
FLOATS = ["f2", "f4", "f8", ml_dtypes.bfloat16]
SWAPPED = [np.dtype(name).newbyteorder() for name in INTEGERS[3:] + FLOATS[:3]]


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS + SWAPPED, ids=str)
@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_targets_of_every_type(case: Case, dtype: Any) -> None:
    rng = np.random.default_rng(44)
    for predictions_type, shape in itertools.product(("float32", "float64"), ((8, 3), (50, 130))):
        y_true, y_pred = case.arrays(rng, shape, predictions_type)
        y_true = rng.integers(0, 2, y_true.shape).astype(dtype)
        weights = rng.random(shape[0])
        plain = y_true.astype("i8" if case.plan.formula.labels else predictions_type)
        expected = results(case, plain, y_pred, weights)
        for layout in (np.asarray, every_other, unaligned, field):
            assert_same(results(case, layout(y_true), y_pred, weights), expected)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_soft_targets_of_every_float_type(dtype: Any) -> None:
    numbers = np.concatenate([np.linspace(0, 1, 999), [6e-8, 1e-7, 3e-6, 6.1e-5]]).astype(dtype)
    y_pred = np.random.default_rng(45).random((17, 59)).astype(np.float32)
    y_true = numbers.reshape(17, 59)
    loss = omniloss.losses.BinaryCrossentropy()
    found = omniloss.value_and_grad(loss, y_true, y_pred)
    for a, b in zip(found, omniloss.value_and_grad(loss, y_true.astype("f4"), y_pred), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_half_precision_number_is_read_right() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[~np.isnan(halves)]
    zero = np.zeros(halves.shape, np.float64)
    formula = next(formula for formula in KERNELS if formula.name == "absolute_error")
    values = call(formula, halves, zero, {}, elementwise=True).values
    np.testing.assert_array_equal(values, np.abs(halves.astype(np.float64)))
    gradient = call(formula, zero, zero + 1, {}, halves, elementwise=True).gradient
    np.testing.assert_array_equal(gradient, halves.astype(np.float64))
    for x in (halves, np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16)):
        with np.errstate(invalid="ignore"):  # of a signalling NaN
            x = x[np.isfinite(x)]
        single = x.astype(np.float32)
        for given in (x, every_other(x), unaligned(x), field(x)):
            found = losses.mean_absolute_error(np.zeros_like(single[:, None]), given[:, None])
            np.testing.assert_array_equal(found, np.abs(x))
            found = losses.mean_absolute_error(given[:, None], single[:, None] * 0)
            np.testing.assert_array_equal(found, np.abs(single))


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS + SWAPPED, ids=str)
@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_weights_and_masks_of_every_type(case: Case, dtype: Any) -> None:
    rng = np.random.default_rng(46)
    y_true, y_pred = case.arrays(rng, (40, 30), "float32")
    numbers = rng.integers(0, 2 if dtype == "bool" else 4, 40)
    weights = numbers.astype(dtype)
    plain = numbers.astype(np.float32)
    expected = results(case, y_true, y_pred, plain)
    for layout in (np.asarray, every_other, unaligned, field):
        assert_same(results(case, y_true, y_pred, layout(weights)), expected)
    for reduction in ("mean", "mean_with_sample_weight"):
        loss = case.loss(reduction=reduction)
        mask = (numbers != 0).astype(dtype)
        kept = loss(y_true, y_pred, mask=plain != 0)
        assert loss(y_true, y_pred, mask=mask) == kept
        both = loss(y_true, y_pred, plain, mask=numbers % 2 == 0)
        assert loss(y_true, y_pred, weights, mask=(numbers % 2 == 0).astype(dtype)) == both


@pytest.mark.parametrize("shape", [(4000, 3), (300, 140), (2, 40_000)], ids=str)
@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_masked_rows_have_weight_0(case: Case, shape: tuple[int, int]) -> None:
    """Weights and mask together give the same as weights that are 0 where the mask is."""
    rng = np.random.default_rng(53)
    y_true, y_pred = case.arrays(rng, shape)
    rows = shape[0]
    mask = rng.random(rows) < 0.6
    mask[0] = True
    weights = rng.random(rows)
    merged = np.where(mask, weights, 0)
    for reduction in ("sum", "mean_with_sample_weight", None):
        loss = case.loss(reduction=reduction)
        expected = omniloss.value_and_grad(loss, y_true, y_pred, merged)
        for w, m in (
            (weights, mask),
            (weights[:, None], mask),
            (weights, mask[:, None]),
            (weights[:, None], mask.astype(np.int16)[:, None]),
            (every_other(weights), every_other(mask)),
        ):
            found = omniloss.value_and_grad(loss, y_true, y_pred, w, mask=m)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(np.ravel(a), np.ravel(b), rtol=1e-14)
    kept = case.loss()(y_true[mask], y_pred[mask], weights[mask])
    found = case.loss()(y_true, y_pred, weights, mask=mask)
    assert found == pytest.approx(kept, rel=1e-13)
    constant = case.loss()(y_true, y_pred, 2.0, mask=mask)
    assert constant == pytest.approx(2 * case.loss()(y_true[mask], y_pred[mask]), rel=1e-13)


@pytest.mark.parametrize("ignored", [1, -1, 200, 10**30])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i8", "f4", ">i4"])
@pytest.mark.parametrize("axis", [-1, 0])
def test_ignored_labels_are_masked_rows(ignored: int, dtype: str, axis: int) -> None:
    """The same bits as a mask of them, with the labels of any type, with and without weights and a mask."""
    rng = np.random.default_rng(54)
    y_pred = rng.standard_normal((3, 5000) if axis == 0 else (5000, 3))
    labels = rng.integers(0, 3, 5000)
    spoiled = labels.copy()
    if ignored < 256 and (dtype, ignored) not in (("i1", 200), ("u1", -1)):  # it has such a label
        spoiled[rng.random(5000) < 0.3] = ignored
    kept = spoiled != ignored
    harmless = np.where(kept, spoiled, 0)
    weights, mask = rng.random(5000), rng.random(5000) < 0.5
    for reduction in ("sum", "mean", "mean_with_sample_weight", None):
        plain = losses.SparseCategoricalCrossentropy(True, None, reduction, axis)
        ignoring = losses.SparseCategoricalCrossentropy(True, ignored, reduction, axis)
        for w, m, both in (
            (None, None, kept),
            (weights, None, kept),
            (None, mask, kept & mask),
            (weights, mask, kept & mask),
            (weights[:, None], mask[:, None], kept & mask),
        ):
            found = omniloss.value_and_grad(ignoring, spoiled.astype(dtype), y_pred, w, mask=m)
            expected = omniloss.value_and_grad(plain, harmless, y_pred, w, mask=both)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(np.ravel(a), np.ravel(b))


@pytest.mark.parametrize(
    ("ignored", "dtype"),
    [
        (2**64 - 1, "u8"),
        (2**64 - 1, ">u8"),
        (2**63, "u8"),
        (2**53 + 1, "i8"),
        (-(2**63), "i8"),
        (-(2**63), "f4"),
        (2**64, "f8"),
        (2**64, "f4"),
        (10**30, ">f8"),
    ],
)
def test_ignored_labels_of_any_size(ignored: int, dtype: str) -> None:
    labels = np.array([0, ignored, 1], dtype)
    y_pred = np.array([[0.25, 0.75], [0.5, 0.5], [0.5, 0.5]])
    loss = losses.SparseCategoricalCrossentropy(ignore_class=ignored)
    assert loss(labels, y_pred) == pytest.approx(1.5 * math.log(2), rel=1e-15)
    masked = loss(labels, y_pred, mask=[True, True, False])
    assert masked == pytest.approx(2 * math.log(2), rel=1e-15)
    # The next one is another number, which is no class.
    if np.dtype(dtype).kind in "iu":
        near = losses.SparseCategoricalCrossentropy(ignore_class=ignored - 1)
        with pytest.raises(ValueError, match=rf"got y_true\[1\] = {ignored}"):
            near(labels, y_pred)


@pytest.mark.parametrize("dtype", ["i8", "u8", "f4", "f8", "?"])
def test_an_ignored_label_that_no_type_holds_ignores_nothing(dtype: str) -> None:
    y_pred = np.array([[0.25, 0.75], [0.5, 0.5]])
    for ignored in (10**400, -(10**400)):
        loss = losses.SparseCategoricalCrossentropy(ignore_class=ignored)
        expected = 1.5 * math.log(2)
        assert loss(np.array([0, 1], dtype), y_pred) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("shape", [(40, 3), (40, 128), (30, 150), (5, 3000)], ids=str)
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_factors_of_classes_multiply_the_targets(
    shape: tuple[int, int], from_logits: bool, dtype: str
) -> None:
    rng = np.random.default_rng(55)
    y_pred = rng.random(shape).astype(dtype)
    labels = np.eye(shape[1])[rng.integers(0, shape[1], shape[0])].astype(dtype)
    alphas = rng.random(shape[1]) + 0.1
    smoothed = labels * 0.75 + 0.25 / shape[1]
    options: dict[str, Any] = {"from_logits": from_logits, "reduction": "sum"}
    plain = losses.CategoricalFocalCrossentropy(1.0, 1.5, **options)
    expected = omniloss.value_and_grad(plain, (smoothed * alphas).astype(dtype), y_pred)
    tolerance = {"rtol": 8 * np.finfo(dtype).eps, "atol": 8 * np.finfo(dtype).eps}
    options["label_smoothing"] = 0.25
    loss = losses.CategoricalFocalCrossentropy(alphas.tolist(), 1.5, **options)
    for y, p in (
        (labels, y_pred),
        (labels.astype(bool), y_pred),
        (every_other(labels), every_other(y_pred)),
        (np.asfortranarray(labels), np.asfortranarray(y_pred)),
        (labels[:, ::-1][:, ::-1], y_pred.astype(np.dtype(dtype).newbyteorder())),
    ):
        for a, b in zip(omniloss.value_and_grad(loss, y, p), expected, strict=True):
            np.testing.assert_allclose(a, b, **tolerance)
    across = losses.CategoricalFocalCrossentropy(alphas.tolist(), 1.5, axis=0, **options)
    value, gradient = omniloss.value_and_grad(across, labels.T.copy(), y_pred.T.copy())
    np.testing.assert_allclose(value, expected[0], **tolerance)
    np.testing.assert_allclose(gradient.T, expected[1], **tolerance)


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_its_single_precision_rounded_once(case: Case, dtype: str) -> None:
    rng = np.random.default_rng(47)
    half = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    y_true, y_pred = case.arrays(rng, (40, 30), "float32")
    y_pred = y_pred.astype(half)
    upcast = y_pred.astype(np.float32)
    found = case.function(y_true, y_pred, **case.options)
    assert found.dtype == half
    expected = np.asarray(case.function(y_true, upcast, **case.options))
    np.testing.assert_array_equal(found, expected.astype(half))
    value, gradient = omniloss.value_and_grad(case.loss(), y_true, y_pred)
    exact_value, exact_gradient = omniloss.value_and_grad(case.loss(), y_true, upcast)
    assert value == exact_value
    assert value.dtype == np.float32
    assert gradient.dtype == half
    np.testing.assert_array_equal(gradient, exact_gradient.astype(half))


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_predictions_of_integers_become_floats(case: Case, dtype: str) -> None:
    rng = np.random.default_rng(48)
    y_true, _ = case.arrays(rng, (6, 5), "float32")
    y_pred = rng.integers(0, 2, (6, 5))
    y_pred[:, 0] = 1
    expected = results(case, y_true, y_pred.astype(np.float32), None)
    assert_same(results(case, y_true, y_pred.astype(dtype), None), expected)


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_lists_and_pandas(case: Case) -> None:
    rng = np.random.default_rng(49)
    y_true, y_pred = case.arrays(rng, (6, 5), "float32")
    weights = rng.random(6).astype(np.float32)
    expected = results(case, y_true, y_pred, weights)
    assert_same(results(case, y_true.tolist(), y_pred.tolist(), weights.tolist()), expected)
    frame = pd.DataFrame(y_pred, index=list("fedcba"))
    targets = pd.Series(y_true) if y_true.ndim == 1 else pd.DataFrame(y_true)
    found = results(case, targets, frame, pd.Series(weights, index=range(10, 16)))
    assert_same(found, expected)
    if case.plan.formula.kind == "pointwise":
        column = pd.Series(y_pred[:, 0])
        flat = case.loss()(y_true[:, 0], y_pred[:, 0])
        assert case.loss()(pd.Series(y_true[:, 0]), column) == flat


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_gradients_are_fresh_aligned_memory(case: Case) -> None:
    y_true, y_pred = case.arrays(np.random.default_rng(50), (6, 5), "float32")
    before = y_true.copy(), y_pred.copy()
    _, gradient = omniloss.value_and_grad(case.loss(), y_true, y_pred)
    assert gradient.shape == y_pred.shape
    assert gradient.flags.writeable
    assert gradient.ctypes.data % 64 == 0
    assert not np.shares_memory(gradient, y_pred)
    for x, old in zip((y_true, y_pred), before, strict=True):
        np.testing.assert_array_equal(x, old)


# What the core itself refuses. Nothing of this reaches it through the package.

POINTWISE = next((formula for formula in KERNELS if formula.name == "huber"), None)
ROWS = next((formula for formula in KERNELS if formula.labels), None)
X = np.full((6, 4), 0.5)
INDICES = np.zeros(6, np.int64)


def arguments(formula: Formula, **changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "kernel": formula.name,
        "targets": INDICES if formula.labels else X,
        "predictions": X,
        "weights": None,
        "values": None,
        "gradient": None,
        "parameters": list(usual(formula).values()),
        "target_map": (1.0, 0.0),
        "target_range": formula.targets,
        "prediction_range": formula.predictions,
        "scale": 1.0,
    }
    if formula.kind == "pointwise":
        known["detect_binary"] = False
    return {**known, **changes}


WRONG: list[dict[str, Any]] = [
    {"kernel": "no_such_loss"},
    {"targets": X[:5]},
    {"targets": X[..., None]},
    {"targets": X.T},
    {"targets": X.astype(object)},
    {"targets": X.astype(complex)},
    {"targets": X.astype("U4")},
    {"targets": X.astype("M8[s]")},
    {"targets": np.zeros((6, 4), "f4,f4")},
    {"targets": None},
    {"targets": X.tolist()},
    {"targets": 0.5},
    {"predictions": X[:5]},
    {"predictions": X[0, 0]},
    {"predictions": np.array(0.5)},
    {"predictions": X.astype(np.float16)},
    {"predictions": X.astype(np.int64)},
    {"predictions": X.astype(np.longdouble)},
    {"predictions": X.astype(">f8")},
    {"predictions": None},
    {"predictions": X.tolist()},
    {"weights": np.ones(3)},
    {"weights": np.ones((6, 5))},
    {"weights": np.ones((1, 1))},
    {"weights": np.ones((6, 4, 1))},
    {"weights": 1.0},
    {"weights": "ones"},
    {"values": np.empty(5)},
    {"values": np.empty(7)},
    {"values": np.empty((6, 1))},
    {"values": np.empty((6, 4))},
    {"values": np.empty(6, np.float32)},
    {"values": np.empty(6, np.int64)},
    {"values": np.empty(12)[::2]},
    {"values": read_only(np.empty(6))},
    {"values": np.frombuffer(bytearray(49), np.float64, offset=1)},
    {"values": [0.0] * 6},
    {"gradient": np.empty((6, 3))},
    {"gradient": np.empty((5, 4))},
    {"gradient": np.empty(24)},
    {"gradient": np.empty((6, 4), np.float32)},
    {"gradient": np.empty((4, 6)).T},
    {"gradient": np.empty((6, 8))[:, ::2]},
    {"gradient": read_only(np.empty((6, 4)))},
    {"gradient": np.frombuffer(bytearray(193), np.float64, offset=1).reshape(6, 4)},
    {"gradient": np.broadcast_to(np.empty(4), (6, 4))},
    {"parameters": []},
    {"parameters": [0.5] * 9},
    {"parameters": ["one"]},
    {"parameters": None},
    {"target_map": (1.0,)},
    {"target_map": None},
    {"target_range": (0.0, 1.0, 2.0)},
    {"prediction_range": "any"},
    {"scale": "one"},
    {"compute": "float16"},
    {"masks": [X]},
    {"masks": [(np.ones((6, 5)), 0)]},
    {"masks": [(np.ones(5), 0)]},
    {"masks": [(None, 0)]},
    {"masks": [(np.ones((6, 4)), "0"), (np.ones(6), "0")]},
    {"masks": [(np.ones((6, 4)), 0)] * 3},
    {"masks": [(np.ones(6), 0)] * 3},
    {"masks": 1},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: next(iter(wrong)))
@pytest.mark.parametrize("formula", [POINTWISE, ROWS], ids=["pointwise", "rowwise"])
def test_the_core_refuses_what_does_not_fit(formula: Formula, wrong: dict[str, Any]) -> None:
    if wrong.get("parameters") == [] and not formula.parameters:
        pytest.skip("this kernel takes none")
    run = core.pointwise if formula.kind == "pointwise" else core.rowwise
    run(**arguments(formula))
    with pytest.raises((TypeError, ValueError)):
        run(**arguments(formula, **wrong))


@pytest.mark.parametrize(
    "factors",
    [np.ones(3), np.ones(5), np.ones(4, np.float32), np.ones(8)[::2], np.ones((4, 1)), [1.0] * 4],
    ids=str,
)
def test_the_core_refuses_factors_of_classes_that_do_not_fit(factors: Any) -> None:
    dense = next(f for f in KERNELS if f.kind == "rowwise" and not f.labels)
    core.rowwise(**arguments(dense, class_factors=np.ones(4)))
    with pytest.raises((TypeError, ValueError)):
        core.rowwise(**arguments(dense, class_factors=factors))
    with pytest.raises(ValueError, match="class_factors"):
        core.rowwise(**arguments(ROWS, class_factors=np.ones(4)))


@pytest.mark.parametrize("formula", KERNELS, ids=IDS)
def test_a_kernel_runs_under_its_own_kind_only(formula: Formula) -> None:
    other = core.rowwise if formula.kind == "pointwise" else core.pointwise
    changed = arguments(formula)
    changed.pop("detect_binary", None)
    if formula.kind == "rowwise":
        changed["detect_binary"] = False
    with pytest.raises(ValueError, match=formula.name):
        other(**changed)


@pytest.mark.parametrize("kind", ["pointwise", "rowwise"])
def test_the_core_takes_arrays_without_elements(kind: str) -> None:
    for formula in KERNELS:
        if formula.kind != kind:
            continue
        for shape in ((0, 3), (0,), (2, 0, 3)):
            rows = shape[:-1]
            y = np.zeros(rows if formula.labels else shape, int if formula.labels else float)
            if formula.kind == "rowwise" and shape == (0,):
                continue  # a row without classes
            outcome = call(formula, y, np.zeros(shape), usual(formula))
            assert outcome.total == 0
            assert outcome.offence is None


def plan(formula: Formula, **changes: Any) -> Any:
    known: dict[str, Any] = {
        "kernel": formula.name,
        "kind": formula.kind,
        "parameters": list(usual(formula).values()),
        "target_map": (1.0, 0.0),
        "target_range": formula.targets,
        "prediction_range": formula.predictions,
        "detect_binary": False,
        "row_mean": formula.kind == "pointwise",
        "batch_mean": True,
        "several_classes": False,
    }
    return core.Plan(**{**known, **changes})


@pytest.mark.parametrize("formula", KERNELS, ids=IDS)
def test_plans_give_what_kernels_give(formula: Formula) -> None:
    rng = np.random.default_rng(51)
    for dtype, shape in itertools.product((np.float32, np.float64), ((32, 10), (3, 9000))):
        count = shape if formula.kind == "rowwise" else (shape[0] * shape[1], 1)
        y, p = samples.draw(formula, rng, "moderate", dtype, *count)
        p = p.reshape(shape)
        y = y if formula.labels else y.reshape(shape)
        total = call(formula, y, p, usual(formula), unreduced=False).total
        size = shape[0] * (shape[1] if formula.kind == "pointwise" else 1)
        mean = plan(formula)(y, p)
        assert type(mean) is dtype
        assert mean == pytest.approx(total / size, rel=float(np.finfo(dtype).eps))
        assert plan(formula, row_mean=False, batch_mean=False)(y, p) == dtype(total)
        for y_other, p_other in (
            (y.tolist(), p),
            (y, p.tolist()),
            (y, p.astype(np.float16)),
            (y, p.astype(dtype().dtype.newbyteorder())),
            (y, p.astype(int)),
            (y[:-1], p),
            (y, p[:-1]),
            (y, p[0]),
            (y, p[:0]),
            (y, p[:, :0]),
            (y.astype(object), p),
            (y.astype(complex), p),
            (y, subclass(p)),
            (None, p),
            (y, None),
            (y, 0.5),
        ):
            assert plan(formula)(y_other, p_other) is None
        for strided in (every_other(p), np.asfortranarray(p)):  # rows are read wherever they are
            assert plan(formula)(y, strided) == (mean if formula.kind == "rowwise" else None)
        assert plan(formula, several_classes=True)(y, p) == mean
        one = y if formula.labels else y[:, :1].copy()
        assert plan(formula, several_classes=True)(one, p[:, :1].copy()) is None


def test_plans_refuse_what_they_do_not_know() -> None:
    for formula in KERNELS:
        with pytest.raises(ValueError, match="parameter"):
            plan(formula, parameters=[0.5] * 7)
        with pytest.raises(ValueError, match="kind"):
            plan(formula, kind="setwise")
        with pytest.raises(ValueError, match="no_such"):
            plan(formula, kernel="no_such")
