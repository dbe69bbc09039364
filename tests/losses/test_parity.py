"""Every loss against Keras 3 on its NumPy backend: random shapes, weights, masks, dtypes and options."""

import functools
import itertools
import warnings

import keras
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from omniloss import losses
from support.cases import Case, cases
from support.reference import in_float64

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "none", None, "mean_with_sample_weight")
# Options that Keras does not have; what they mean is tested in test_options.py.
OURS = ("labels",)

examples = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


def shared(case: Case) -> bool:
    """Whether Keras has the case's options."""
    return not any(name in case.options for name in OURS)


CASES = [case for case in cases() if shared(case)]
# float32 and float16 take each loss with its defaults, from probabilities and from logits.
DEFAULTS = [case for case in CASES if not set(case.options) - {"from_logits"}]
# Where the last axis holds classes, one of size 1 has a meaning of its own.
BY_ELEMENT = [
    case for case in DEFAULTS if not case.plan.several_classes and not case.plan.formula.labels
]


def test_the_reference_runs_on_numpy():
    assert keras.backend.backend() == "numpy"
    assert keras.__version__ == "3.15.1"


@st.composite
def shapes_of_weights(draw, rows):
    """What may be broadcast with losses of shape ``rows`` by Keras's rules without enlarging them."""
    kind = draw(st.sampled_from(["scalar", "same", "trailing", "ones", "fewer"]))
    if kind == "scalar":
        return ()
    if kind == "trailing":
        return (*rows, 1)
    if kind == "ones":
        return tuple(draw(st.sampled_from([1, size])) for size in rows)
    if kind == "fewer":
        return rows[draw(st.integers(0, len(rows))) :]
    return rows


@st.composite
def problems(draw):
    """The shape of predictions and a seed for their values."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    # One class is tested by itself, since categorical losses warn of it.
    classes = draw(st.integers(2, 5))
    return shape, classes, draw(st.integers(0, 2**32 - 1))


def arrays_of(case: Case, problem, dtype="float64"):
    rest, classes, seed = problem
    axis = case.axis % (len(rest) + 1)
    shape = (*rest[:axis], classes, *rest[axis:])
    rng = np.random.default_rng(seed)
    y_true, y_pred = case.arrays(rng, shape, dtype)
    return y_true, y_pred, case.rows(y_pred.shape), rng


def keras_arguments(case: Case, y_true, y_pred):
    """The arrays and options with which Keras gives what the loss promises.

    Keras 3.15.1 smooths labels by the size of the last axis; on NumPy it takes class indices along that one
    alone, and reads the cosine's axis 0 as the last. So rows are moved there.
    """
    options = dict(case.options)
    if case.name == "tversky":  # which Keras 3.15.1 gives each other's meaning
        options |= {"alpha": options.get("beta", 0.5), "beta": options.get("alpha", 0.5)}
    by_label = case.plan.formula.labels
    if "axis" in options and case.plan.axes == ():
        axis = options.pop("axis")
        y_pred = np.moveaxis(y_pred, axis, -1)
        y_true = y_true if by_label else np.moveaxis(y_true, axis, -1)
    return options, y_true, y_pred


def reference_function(name, *arguments, **options):
    with in_float64():
        return getattr(keras.losses, name)(*arguments, **options)


def reference_object(case: Case, *arguments, options=None, reduction="mean", **keywords):
    cls = getattr(keras.losses, case.cls.__name__)
    with in_float64():
        loss = cls(**(case.options if options is None else options), reduction=reduction)
        return loss(*arguments, **keywords)


def agree(ours, reference, *, tolerance=1e-10):
    reference = np.asarray(reference)
    assert np.shape(ours) == reference.shape
    np.testing.assert_allclose(
        np.asarray(ours, np.float64), reference.astype(np.float64), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("case", CASES, ids=str)
@examples
@given(problem=problems())
def test_function(case, problem):
    y_true, y_pred, *_ = arrays_of(case, problem)
    options, *arguments = keras_arguments(case, y_true, y_pred)
    reference = reference_function(case.name, *arguments, **options)
    ours = case.function(y_true, y_pred, **case.options)
    assert ours.dtype == np.float64
    agree(ours, reference)


@pytest.mark.parametrize("case", CASES, ids=str)
@examples
@given(problem=problems(), data=st.data())
def test_object_with_weights_and_mask(case, problem, data):
    y_true, y_pred, rows, rng = arrays_of(case, problem)
    reduction = data.draw(st.sampled_from(REDUCTIONS))
    weights = mask = None
    masked = data.draw(st.booleans(), label="masked")
    if rows == () and reduction == "mean_with_sample_weight":
        pass  # Keras does not divide the weighted loss of one set; it is a weighted mean here
    elif data.draw(st.booleans(), label="weighted"):
        shape = data.draw(shapes_of_weights(rows))
        own_mask = "ignore_class" in case.options or case.name == "circle"
        if masked or own_mask or reduction == "mean_with_sample_weight":
            # On NumPy Keras multiplies weights by the mask in place, which cannot enlarge them; and means
            # with broadcast weights are a documented difference. Both are tested below.
            shape = rows
        weights = rng.random(shape) * (rng.random(shape) > 0.2)
    if case.name == "circle" and weights is not None:
        weights = (
            weights + 0.1
        )  # what is left out is no reference either, tested in test_ranking.py
    if masked and case.name != "circle":
        mask = rng.random(rows) > 0.3

    options, *arguments = keras_arguments(case, y_true, y_pred)
    if mask is not None:
        arguments[1] = np.array(arguments[1])
        keras.src.backend.set_keras_mask(arguments[1], mask)
    loss = case.loss(reduction=reduction)
    try:
        reference = reference_object(
            case, *arguments, options=options, reduction=reduction, sample_weight=weights
        )
    except ValueError:
        with pytest.raises(ValueError, match="does not fit"):
            loss(y_true, y_pred, weights, mask=mask)
        return
    ours = loss(y_true, y_pred, weights, mask=mask)
    agree(ours, reference)
    if mask is not None:
        attached = np.array(y_pred)
        keras.src.backend.set_keras_mask(attached, mask)
        agree(loss(y_true, attached, weights), reference)


@pytest.mark.parametrize("case", BY_ELEMENT, ids=str)
@pytest.mark.parametrize("uprank", ["y_true", "y_pred"])
@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_last_axis_of_size_one_is_aligned(case, uprank, shape):
    y_true, y_pred = case.arrays(np.random.default_rng(3), shape)
    y_true, y_pred = (
        (y_true[..., None], y_pred) if uprank == "y_true" else (y_true, y_pred[..., None])
    )
    reference = reference_object(case, y_true, y_pred, reduction=None)
    agree(case.loss(reduction=None)(y_true, y_pred), reference)


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_lower_precision(case, dtype):
    """Ours, from the rounded inputs, is Keras's float64 result rounded once; Keras's own is less exact."""
    y_true, y_pred = case.arrays(np.random.default_rng(11), (16, 5), dtype)
    exact = reference_object(case, y_true, y_pred)

    ours = case.loss()(y_true, y_pred)
    assert ours.dtype == np.float32
    agree(ours, exact, tolerance=1e-5)
    asked = case.loss(dtype=dtype)(y_true, y_pred)
    assert asked.dtype == dtype
    agree(asked, exact, tolerance=2e-3 if dtype == "float16" else 1e-5)
    rows = case.function(y_true, y_pred, **case.options)
    assert rows.dtype == dtype


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_the_dtype_asked_for_decides(case):
    y_true, y_pred = case.arrays(np.random.default_rng(11), (6, 5), "float32")
    reference = reference_object(case, y_true, y_pred)
    ours = case.loss(dtype="float64")(y_true, y_pred)
    assert ours.dtype == reference.dtype == np.float64
    agree(ours, reference)


def test_focal_alpha_for_each_class():
    rng = np.random.default_rng(5)
    alpha = [0.1, 0.7, 1.0, 0.0]
    y_true, y_pred = np.eye(4)[rng.integers(0, 4, (3, 6))], rng.random((3, 6, 4))
    for from_logits, smoothing in itertools.product([False, True], [0.0, 0.3]):
        options = {"from_logits": from_logits, "label_smoothing": smoothing, "gamma": 1.5}
        reference = reference_function(
            "categorical_focal_crossentropy", y_true, y_pred, alpha=np.array(alpha), **options
        )
        focal = functools.partial(losses.categorical_focal_crossentropy, **options)
        agree(focal(y_true, y_pred, alpha=alpha), reference)
        agree(focal(y_true, y_pred, alpha=np.array(alpha)), reference)
        moved = np.moveaxis(y_true, -1, 0), np.moveaxis(y_pred, -1, 0)
        agree(focal(*moved, alpha=tuple(alpha), axis=0), reference)


@pytest.mark.parametrize("name", ["hinge", "squared_hinge"])
def test_hinge_labels_are_judged_over_the_whole_batch(name):
    y_pred = np.random.default_rng(1).normal(size=(4, 3))
    for labels in ([0, 1, 1], [-1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 1, -1], [0.5, 1, 0]):
        y_true = np.tile(np.array(labels, float), (4, 1))
        reference = reference_function(name, y_true, y_pred)
        agree(getattr(losses, name)(y_true, y_pred), reference)
        y_true[2, 1] = 0.0  # one label elsewhere changes what all mean
        reference = reference_function(name, y_true, y_pred)
        agree(getattr(losses, name)(y_true, y_pred), reference)


# Where Keras 3.15.1 is not the reference: what is promised instead.


def test_label_smoothing_uses_the_size_along_axis():
    y_true, y_pred = np.eye(5)[[0, 3, 4]], np.random.default_rng(0).random((3, 5))
    for name in ("categorical_crossentropy", "categorical_focal_crossentropy"):
        loss = getattr(losses, name)
        along_last = loss(y_true, y_pred, label_smoothing=0.4)
        agree(loss(y_true.T, y_pred.T, label_smoothing=0.4, axis=0), along_last)
        wrong = reference_function(name, y_true.T, y_pred.T, label_smoothing=0.4, axis=0)
        assert not np.allclose(wrong, along_last)


@pytest.mark.parametrize("name", ["categorical_crossentropy", "categorical_focal_crossentropy"])
def test_one_class_is_warned_of_along_axis(name):
    function = getattr(losses, name)
    reference = getattr(keras.losses, name)
    column = np.full((3, 1), 0.7)
    with pytest.warns(SyntaxWarning) as theirs:
        reference(np.ones((3, 1)), column)
    row = [[0.7, 0.7, 0.7]]
    cls = type(losses.get("".join(word.title() for word in name.split("_"))))
    for run in (function, cls(), cls(reduction="sum", dtype="float64"), cls(from_logits=True)):
        with pytest.warns(SyntaxWarning) as ours:
            run(np.ones((3, 1)), column)
        assert str(ours[0].message) == str(theirs[0].message)
        assert ours[0].filename == __file__
        with pytest.warns(SyntaxWarning, match=r"Received: y_pred.shape=\(3, 1\)"):
            run([[1.0], [1.0], [1.0]], column.tolist())
    with pytest.warns(SyntaxWarning, match=r"Received: y_pred.shape=\(1, 3\)"):
        function([[1.0, 1.0, 1.0]], row, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function([[1.0, 0.0, 0.0]], row)
        function(np.ones((3, 1)), column / 7, axis=0)
        losses.sparse_categorical_crossentropy([0, 0, 0], column)


@pytest.mark.parametrize("reduction", ["mean", "sum", None])
@pytest.mark.parametrize("shape", [(), (1, 1), (4, 1), (3,), (1, 3), (4, 3, 1)])
def test_masks_with_broadcast_weights(shape, reduction):
    rng = np.random.default_rng(8)
    y_true, y_pred, weights = rng.random((4, 3, 2)), rng.random((4, 3, 2)), rng.random(shape)
    mask = rng.random((4, 3)) > 0.4
    full = np.broadcast_to(weights[..., 0] if len(shape) == 3 else weights, (4, 3))
    ours = losses.MeanSquaredError(reduction=reduction)(y_true, y_pred, weights, mask=mask)
    by_hand = np.where(mask, full * np.mean((y_true - y_pred) ** 2, axis=-1), 0.0)
    expected = {"mean": by_hand.sum() / mask.sum(), "sum": by_hand.sum(), None: by_hand}
    agree(ours, expected[reduction])


@pytest.mark.parametrize("weights", [2.0, [[2.0], [1.0]], [0.0, 3.0]])
def test_mean_with_sample_weight_is_a_weighted_mean(weights):
    y_true, y_pred = np.zeros((2, 2, 1)), np.sqrt(np.array([[1.0, 9.0], [4.0, 16.0]]))[..., None]
    loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
    full = np.broadcast_to(weights, (2, 2))
    expected = np.average([[1.0, 9.0], [4.0, 16.0]], weights=full)
    assert loss(y_true, y_pred, weights) == pytest.approx(expected, rel=1e-15)
    with in_float64():
        reference = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
        agree(loss(y_true, y_pred, full), reference(y_true, y_pred, full))


def test_float64_predictions_keep_their_precision():
    y_true, y_pred = np.zeros((1, 3)), np.full((1, 3), 1 / 3)
    assert keras.losses.MeanSquaredError()(y_true, y_pred).dtype == np.float32
    value = losses.MeanSquaredError()(y_true, y_pred)
    assert value.dtype == np.float64
    assert value == pytest.approx(1 / 9, rel=1e-15)


def test_masked_and_weightless_samples_are_not_looked_at():
    y_true = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    y_pred = np.array([[0.9, 0.2], [np.nan, 7.0], [0.6, 0.5]])
    kept = np.array([True, False, True])
    for case in (
        losses.BinaryCrossentropy,
        losses.MeanSquaredError,
        losses.CategoricalCrossentropy,
    ):
        loss = case()
        expected = pytest.approx(loss(y_true[kept], y_pred[kept]), rel=1e-14)
        assert loss(y_true, y_pred, mask=kept) == expected
        total = pytest.approx(case(reduction="sum")(y_true[kept], y_pred[kept]), rel=1e-14)
        assert case(reduction="sum")(y_true, y_pred, kept.astype(float)) == total
        rows = case(reduction=None)(y_true, y_pred, kept)
        assert rows[1] == 0.0


def test_class_indices_take_any_axis_and_floats():
    rng = np.random.default_rng(2)
    y_true, y_pred = rng.integers(0, 5, (2, 3)), rng.random((2, 3, 5))
    expected = reference_function("sparse_categorical_crossentropy", y_true, y_pred)
    for axis in (0, 1, 2, -1, -2, -3):
        moved = np.moveaxis(y_pred, -1, axis)
        for labels in (
            y_true,
            y_true.astype(float),
            y_true[..., None],
            np.expand_dims(y_true, axis),
        ):
            agree(losses.sparse_categorical_crossentropy(labels, moved, axis=axis), expected)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nothing_left_gives_zero(reduction):
    loss = losses.SparseCategoricalCrossentropy(ignore_class=0, reduction=reduction)
    np.testing.assert_array_equal(loss([0, 0], [[0.5, 0.5], [0.2, 0.8]]), 0.0)
    np.testing.assert_array_equal(loss([0, 1], [[0.5, 0.5], [0.2, 0.8]], mask=[True, False]), 0.0)
    empty = np.empty((0, 3))
    assert np.sum(losses.MeanSquaredError(reduction=reduction)(empty, empty)) == 0.0
