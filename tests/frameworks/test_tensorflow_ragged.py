"""Ragged tensors give what tf.keras gives for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import omniloss
from omniloss import losses

tf = pytest.importorskip("tensorflow")

NAMES = {
    "mean_squared_error": "MeanSquaredError",
    "mean_absolute_error": "MeanAbsoluteError",
    "mean_absolute_percentage_error": "MeanAbsolutePercentageError",
    "mean_squared_logarithmic_error": "MeanSquaredLogarithmicError",
    "binary_crossentropy": "BinaryCrossentropy",
    "categorical_crossentropy": "CategoricalCrossentropy",
    "sparse_categorical_crossentropy": "SparseCategoricalCrossentropy",
}


@pytest.fixture(scope="module")
def theirs() -> Any:
    return pytest.importorskip("tf_keras").losses


def batch(name: str, kind: str) -> tuple[Any, Any]:
    """Targets and predictions of probabilities, with ragged steps, ragged elements or two ragged axes."""
    rng = np.random.default_rng(60)
    lengths = np.array([3, 1, 0, 2] if kind == "steps" else [3, 1, 1, 2])
    count = lengths.sum()
    p = rng.uniform(0.1, 0.9, (count, 3)).astype("float32")
    p /= p.sum(-1, keepdims=True)
    y = np.eye(3, dtype="float32")[rng.integers(0, 3, count)]
    if kind != "steps":
        y, p = y[:, 0], p[:, 0]
    elif name.startswith("sparse"):
        y = y.argmax(-1)
    y, p = (tf.RaggedTensor.from_row_lengths(x, lengths) for x in (y, p))
    if kind == "twice":
        y, p = (tf.RaggedTensor.from_row_lengths(x, [3, 1]) for x in (y, p))
    return y, p


def assert_equal(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, tf.RaggedTensor):
        for mine, other in zip(found.nested_row_splits, expected.nested_row_splits, strict=True):
            np.testing.assert_array_equal(mine, other)
        found, expected = found.flat_values, expected.flat_values
    # tf.keras adds its epsilon to probabilities.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


CASES = [
    (name, kind)
    for name in NAMES
    for kind in ("steps", "elements", "twice")
    if kind == "steps" or "categorical" not in name
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_functions_and_objects(name: str, kind: str, theirs: Any) -> None:
    y, p = batch(name, kind)
    function = getattr(losses, name)
    by_row = function(y, p)
    assert_equal(tf.function(function)(y, p), by_row)
    if kind == "twice":  # of which tf.keras makes a type that it does not expect itself
        return
    assert_equal(by_row, getattr(theirs, name)(y, p))
    for reduction in ("sum", "none", "sum_over_batch_size"):
        ours = getattr(losses, NAMES[name])(reduction=reduction)
        other = getattr(theirs, NAMES[name])(reduction=reduction)
        assert_equal(ours(y, p), other(y, p))
        weights = tf.constant([1.0, 2.0, 0.0, 3.0])
        weighted = ours(y, p, weights)
        if kind == "elements":
            assert_equal(weighted, other(y, p, weights))
        else:
            own = by_row.with_flat_values(tf.gather(weights, p.value_rowids()))
            assert_equal(weighted, other(y, p, own))
            assert_equal(ours(y, p, own), weighted)


def test_gradients_partials_and_graphs_of_open_lengths() -> None:
    y, p = batch("mean_squared_error", "steps")
    loss = losses.MeanSquaredError()
    dense = losses.MeanSquaredError()(y.flat_values, p.flat_values)

    def run(y: Any, p: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(p.flat_values)
            value = loss(y, p)
        return value, tape.gradient(value, p.flat_values)

    expected = omniloss.value_and_grad(loss, y.flat_values, p.flat_values)
    signature = [tf.RaggedTensorSpec([None, None, 3], ragged_rank=1)] * 2
    for function in (run, tf.function(run, input_signature=signature)):
        for found, wanted in zip(function(y, p), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-6)
    np.testing.assert_allclose(omniloss.partial(loss, y, p).result(), dense, rtol=1e-6)


def test_two_ragged_axes_and_empty_rows() -> None:
    y = tf.ragged.constant([[[1.0, 2.0, 3.0], [3.0]], [[5.0, 6.0], []]])
    by_row = losses.mse(y, y + 1)
    assert by_row.to_list() == [[1.0, 1.0], [1.0, 0.0]]
    assert losses.MeanSquaredError()(y, y + 1) == 0.75
    assert losses.MeanSquaredError(reduction="sum")(y, y + 1, tf.constant([1.0, 3.0])) == 5


def test_what_does_not_fit_is_refused() -> None:
    y = tf.ragged.constant([[1.0, 2.0], [3.0]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="rows of the same lengths"):
        losses.mse(y, tf.ragged.constant([[1.0], [2.0, 3.0]]))
    with pytest.raises(TypeError, match="must both be ragged"):
        losses.mse(tf.ones((2, 2)), y)
    with pytest.raises(ValueError, match="must lie along an axis that is not ragged"):
        losses.categorical_crossentropy(y, y)
    with pytest.raises(TypeError, match="`y_pred` must be a dense tensor here; got RaggedTensor"):
        omniloss.value_and_grad(losses.mse, y, y)
