"""Bad data: one clear error that names the argument, its value and what was expected."""

import array_api_strict
import numpy as np
import pytest

import omniloss
from omniloss import losses, nn

BINARY = losses.BinaryCrossentropy()
SPARSE = losses.SparseCategoricalCrossentropy(from_logits=True)
ROWS = np.full((3, 4), 0.25)

REFUSED = [
    # labels
    (SPARSE, ([0, 4, 1], ROWS), ValueError, r"integers in \[0, 4\); got y_true\[1\] = 4"),
    (SPARSE, ([0, 1, -1], ROWS), ValueError, r"integers in \[0, 4\); got y_true\[2\] = -1"),
    (SPARSE, ([0.5, 1, 1], ROWS), ValueError, r"integers in \[0, 4\); got y_true\[0\] = 0.5"),
    (SPARSE, ([np.nan, 1, 1], ROWS), ValueError, r"integers in \[0, 4\); got y_true\[0\] = nan"),
    # probabilities and rates
    (BINARY, ([[0.0, 1.0]], [[0.5, 1.5]]), ValueError, r"`y_pred` must lie in \[0, 1\].*from_logits=True.*y_pred\[0, 1\] = 1.5"),
    (BINARY, ([[0.0, 2.0]], [[0.5, 0.5]]), ValueError, r"`y_true` must lie in \[0, 1\]; got y_true\[0, 1\] = 2"),
    (losses.BinaryFocalCrossentropy(), ([[0.0]], [[-0.1]]), ValueError, r"`y_pred` must lie in \[0, 1\]"),
    (losses.CategoricalFocalCrossentropy(), ([[0.0, 1.0]], [[3.0, 1.0]]), ValueError, r"`y_pred` must lie in \[0, 1\]"),
    (losses.CategoricalCrossentropy(), ([[0.0, 1.0]], [[-3.0, 1.0]]), ValueError, r"`y_pred` must lie in \[0, inf\)"),
    (losses.Poisson(), ([[1.0]], [[-1.0]]), ValueError, r"`y_pred` must lie in \[0, inf\) \(rates; .*; got y_pred\[0, 0\] = -1.0"),
    (losses.Poisson(), ([[-1.0]], [[1.0]]), ValueError, r"`y_true` must lie in \[0, inf\); got y_true\[0, 0\] = -1.0"),
    (losses.KLDivergence(), ([[0.5, -0.5]], [[0.5, 0.5]]), ValueError, r"`y_true` must lie in \[0, inf\); got y_true\[0, 1\] = -0.5"),
    # shapes
    (losses.MeanSquaredError(), (np.zeros(3), np.zeros(4)), ValueError, r"must have the same shape.*y_true.shape=\(3,\) and y_pred.shape=\(4,\)"),
    (losses.MeanSquaredError(), (np.zeros((3, 1)), np.zeros((3, 4))), ValueError, r"must have the same shape.*\(3, 1\) and y_pred.shape=\(3, 4\)"),
    (losses.MeanSquaredError(), (np.zeros((2, 3, 4)), np.zeros(4)), ValueError, "must have the same shape"),
    (losses.MeanSquaredError(), (1.0, 2.0), ValueError, "`y_pred` must have at least one axis; got a scalar"),
    (losses.MeanSquaredError(), (np.zeros((3, 0)), np.zeros((3, 0))), ValueError, r"`y_pred` must have at least one class along axis -1; got shape \(3, 0\)"),
    (SPARSE, (np.zeros((3, 2), int), ROWS), ValueError, r"one class index for each row of `y_pred`.*expected \(3,\), got y_true.shape=\(3, 2\)"),
    (SPARSE, (np.zeros(2, int), np.zeros((2, 0))), ValueError, "at least one class along axis -1"),
    (losses.CosineSimilarity(axis=2), (ROWS, ROWS), ValueError, r"`axis` must lie in \[-2, 1\] for `y_pred` of shape \(3, 4\); got 2"),
    # weights and masks
    (losses.MeanSquaredError(), (ROWS, ROWS, [1.0, 2.0]), ValueError, r"`sample_weight` of shape \(2,\) does not fit losses of shape \(3,\)"),
    (losses.MeanSquaredError(), (ROWS, ROWS, np.ones((3, 4))), ValueError, r"`sample_weight` of shape \(3, 4\) does not fit losses of shape \(3,\)"),
    (losses.MeanSquaredError(), (ROWS, ROWS, ["a", "b", "c"]), TypeError, "`sample_weight` must hold real numbers"),
    # types
    (losses.MeanSquaredError(), ([[None]], [[1.0]]), TypeError, "`y_true` must hold real numbers.* object"),
    (losses.MeanSquaredError(), ([[1.0]], np.array([[1j]])), TypeError, "`y_pred` must hold real numbers.* complex128"),
    (losses.MeanSquaredError(), ([[1.0]], np.array([[1.0]], np.longdouble)), TypeError, "`y_pred` must hold real numbers"),
    (losses.MeanSquaredError(), (np.array([["x"]]), [[1.0]]), TypeError, "`y_true` must hold real numbers"),
    (losses.MeanSquaredError(), ([[1.0], [1.0, 2.0]], [[1.0], [1.0]]), ValueError, "`y_true` is not a rectangular array"),
    (losses.MeanSquaredError(), (np.ma.masked_array([[1.0]], [[True]]), [[1.0]]), TypeError, "`y_true` is a NumPy masked array"),
    (losses.MeanSquaredError(), (np.array(["2024-01-01"], "M8[D]"), [1.0]), TypeError, "`y_true` must hold real numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "arguments", "error", "message"), REFUSED)
def test_one_clear_error(loss, arguments, error, message):
    for call in (
        lambda: loss(*arguments),
        lambda: omniloss.value_and_grad(loss, *arguments),
        lambda: omniloss.partial(loss, *arguments),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(("loss", "arguments", "error", "message"), REFUSED[:12])
def test_the_same_error_on_another_array_library(loss, arguments, error, message):
    arguments = [array_api_strict.asarray(np.asarray(argument)) for argument in arguments]
    with pytest.raises(error, match=message):
        loss(*arguments)


def test_the_first_offence_is_named_whatever_the_number_of_threads():
    rng = np.random.default_rng(0)
    y_true = np.round(rng.random((4000, 50)))
    y_pred = rng.random((4000, 50))
    y_pred[3500, 7] = 3.0
    y_pred[123, 45] = 2.0
    before = omniloss.get_num_threads()
    try:
        for threads in (1, 2, 8):
            omniloss.set_num_threads(threads)
            with pytest.raises(ValueError, match=r"got y_pred\[123, 45\] = 2.0"):
                BINARY(y_true, y_pred)
    finally:
        omniloss.set_num_threads(before)


def test_the_index_is_the_users_own_with_another_axis():
    y_pred = np.full((2, 3, 5), 0.2)
    y_pred[1, 2, 4] = -1.0
    loss = losses.CategoricalCrossentropy(axis=1)
    with pytest.raises(ValueError, match=r"y_pred\[1, 2, 4\] = -1.0"):
        loss(np.full((2, 3, 5), 1 / 3), y_pred)
    labels = np.zeros((2, 5), int)
    labels[1, 3] = 3
    loss = losses.SparseCategoricalCrossentropy(axis=1)
    with pytest.raises(ValueError, match=r"y_true\[1, 3\] = 3"):
        loss(labels, np.full((2, 3, 5), 1 / 3))


def test_what_has_no_weight_is_not_judged():
    value = SPARSE([0, 99, 1], ROWS, sample_weight=[1.0, 0.0, 1.0])
    assert value == pytest.approx(2 / 3 * np.log(4), rel=1e-12)
    value = BINARY([[1.0], [1.0]], [[0.5], [7.0]], mask=[True, False])
    assert value == pytest.approx(np.log(2), rel=1e-6)


def test_two_frameworks_in_one_call_are_refused():
    torch_like = pytest.importorskip("jax.numpy")
    with pytest.raises(TypeError, match="arrays of two frameworks in one call"):
        losses.MeanSquaredError()(array_api_strict.ones((2, 2)), torch_like.ones((2, 2)))


def test_weights_of_too_many_axes_are_refused():
    y_pred = np.ones((1,) * 40 + (2,))
    loss = losses.MeanSquaredError()
    assert loss(np.zeros_like(y_pred), y_pred) == 1  # without weights
    for weights in (2.0, np.ones(y_pred.shape[:-1])):
        with pytest.raises(
            ValueError, match="`sample_weight` cannot weight losses of more than 32 axes; got 40"
        ):
            loss(np.zeros_like(y_pred), y_pred, weights)
    y_pred = y_pred.reshape((1,) * 32 + (2,))
    weights = np.ones(y_pred.shape[:-1], np.float32)
    assert loss(np.zeros_like(y_pred), y_pred, 2.0) == 2
    assert loss(np.zeros_like(y_pred), y_pred, weights, mask=weights > 0) == 1


MASKED = np.ma.array([1.0, 2.0], mask=[False, True])


@pytest.mark.parametrize(
    "rows",
    [
        [MASKED, MASKED],
        ([0.0, 1.0], MASKED),
        [[0.0, 1.0], [0.0, np.ma.masked]],
        [[[0.0, 1.0]], [MASKED]],
    ],
)
def test_lists_of_masked_arrays_are_refused(rows):
    plain = [[0.0, 0.0], [0.0, 0.0]]
    for arguments, name in (((rows, plain), "y_true"), ((plain, rows), "y_pred")):
        with pytest.raises(
            TypeError, match=f"`{name}` holds NumPy masked arrays, whose masks would be lost"
        ):
            losses.mse(*arguments)
    with pytest.raises(TypeError, match="`sample_weight` holds NumPy masked arrays"):
        losses.MeanSquaredError()(plain, plain, sample_weight=rows)


@pytest.mark.parametrize("weights", [MASKED, [np.ma.masked, 1.0]])
def test_masked_arrays_are_refused_beside_other_libraries(weights):
    ones = array_api_strict.ones((2, 1))
    with pytest.raises(TypeError, match=r"`sample_weight` .* would be lost"):
        losses.MeanSquaredError()(ones, ones, weights)


@pytest.mark.parametrize(
    ("library", "stack"), [("torch", "torch"), ("jax.numpy", "jax.numpy"), ("tensorflow", "tf")]
)
def test_lists_of_arrays_are_to_be_stacked(library: str, stack: str) -> None:
    """NumPy would take them out of what differentiates them."""
    array = pytest.importorskip(library).ones((2,))
    loss, whole = losses.MeanSquaredError(), np.ones((2, 2))
    for arrays, name in (
        ((whole, [array, array]), "y_pred"),
        (([array, array], whole), "y_true"),
        ((whole, whole, (array[0], array[1])), "sample_weight"),
    ):
        with pytest.raises(TypeError, match=rf"`{name}` must be one array; .* by {stack}.stack"):
            loss(*arrays)
    with pytest.raises(TypeError, match=r"`input` must be one array; got a tuple"):
        nn.MSELoss()((array, array), whole)
    if library == "jax.numpy":
        compiled = pytest.importorskip("jax").jit(lambda x: loss(whole, [x, x]))
        with pytest.raises(TypeError, match=r"jax.numpy.stack"):
            compiled(array)
