"""TensorFlow's derivatives, graphs and open shapes: what they give is what NumPy arrays give."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import omniloss
from omniloss import losses, nn
from support.array_losses import ArrayLoss, array_losses, two_of_each

tf = pytest.importorskip("tensorflow")

# What kl_div says of its own default, as torch's does
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")

every_loss = pytest.mark.parametrize("loss", array_losses(), ids=str)


def assert_equal(found: Any, expected: Any, tolerance: float = 1e-11) -> None:
    expected = np.asarray(expected)
    size = np.max(np.abs(expected[np.isfinite(expected)]), initial=0)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * size)


def tensors_of(loss: ArrayLoss) -> list[Any]:
    return [tf.constant(array) for array in loss.arrays]


def gradient(loss: ArrayLoss, tensors: list[Any], place: int) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(tensors[place])
        value = loss(*tensors)
    return tape.gradient(value, tensors[place])


@every_loss
def test_tapes(loss: ArrayLoss) -> None:
    """By each array that there is a derivative by, watched alone and together with the others."""
    tensors = tensors_of(loss)
    expected = [loss.value_and_grad(*loss.arrays, place=place)[1] for place in loss.by]
    for place, wanted in zip(loss.by, expected, strict=True):
        assert_equal(gradient(loss, tensors, place), wanted)
    with tf.GradientTape(persistent=True) as tape:
        inputs = [tensors[place] for place in loss.by]
        tape.watch(inputs)
        value = loss(*tensors)
        within = tape.gradient(value, inputs[0])
    assert_equal(value, loss(*loss.arrays))
    for found, wanted in zip(tape.gradient(value, inputs), expected, strict=True):
        assert_equal(found, wanted)
    for found in (tape.gradient(value, inputs[0]), within):
        assert_equal(found, expected[0])


def in_graph(loss: ArrayLoss, shapes: list[Any], **options: Any) -> Any:
    """Value and gradient, by the formula's derivative and by a tape, in a graph of tensors of some shapes."""
    place = loss.by[0]

    def function(*tensors: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(tensors[place])
            value = loss(*tensors)
        return value, tape.gradient(value, tensors[place]), loss.value_and_grad(*tensors)[1]

    signature = [
        tf.TensorSpec(shape, array.dtype) for shape, array in zip(shapes, loss.arrays, strict=True)
    ]
    return tf.function(function, input_signature=signature, **options)


def check_graph(loss: ArrayLoss, shapes: list[Any], **options: Any) -> None:
    value, slope = loss.value_and_grad(*loss.arrays)
    found = in_graph(loss, shapes, **options)(*tensors_of(loss))
    for x, expected in zip(found, (value, slope, slope), strict=True):
        assert x.shape == np.shape(expected)
        assert_equal(x, expected)


@pytest.mark.parametrize(
    "loss",  # with all options
    {loss.name: loss for loss in array_losses()}.values(),
    ids=str,
)
def test_graphs_of_open_shapes(loss: ArrayLoss) -> None:
    """Nothing but the number of axes is known; the loops of ctc and ctc_loss need the steps, classes and labels."""
    shapes = [[None] * array.ndim for array in loss.arrays]
    if loss.name == "ctc":
        shapes = [[None, *array.shape[1:]] for array in loss.arrays]
    if loss.name == "ctc_loss":
        shapes[0], shapes[1] = [len(loss.arrays[0]), None, loss.arrays[0].shape[2]], [None, 3]
    check_graph(loss, shapes)


@pytest.mark.parametrize(
    "name", ["mean_squared_error", "sparse_categorical_crossentropy", "cosine_similarity"]
)
@pytest.mark.parametrize("known", [(), (0,), (1,)])
def test_graphs_of_unknown_ranks(name: str, known: tuple[int, ...]) -> None:
    """Targets and predictions, or one of them, and weights of no known number of axes."""
    loss = next(loss for loss in two_of_each() if loss.name == name)
    shapes = [
        [None] * array.ndim if place in known else None for place, array in enumerate(loss.arrays)
    ]
    check_graph(loss, shapes)
    rows = getattr(losses, name)
    y, p, weights = loss.arrays
    open_rank = tf.function(rows, input_signature=[tf.TensorSpec(None, x.dtype) for x in (y, p)])
    assert_equal(open_rank(y, p), rows(y, p))
    y, p = (np.stack([x, x]) for x in (y, p))
    assert_equal(open_rank(y, p), rows(y, p))
    column = tf.function(
        losses.MeanSquaredError(), input_signature=[tf.TensorSpec(None, tf.float64)] * 3
    )
    targets = np.zeros_like(loss.arrays[1])
    expected = losses.MeanSquaredError()(targets, loss.arrays[1], weights)
    assert_equal(column(targets, loss.arrays[1], weights[:, None]), expected)
    parts = tf.function(
        lambda *x: omniloss.partial(losses.MeanSquaredError(), *x).result(),
        input_signature=[tf.TensorSpec(None, tf.float64)] * 3,
    )
    assert_equal(parts(targets, loss.arrays[1], weights), expected)


@pytest.mark.parametrize(
    ("name", "activate"),
    [("BinaryCrossentropy", tf.sigmoid), ("CategoricalCrossentropy", tf.nn.softmax)],
)
def test_gradients_by_probabilities_whose_logits_are_known(name: str, activate: Any) -> None:
    """From these the loss is computed, and so would be a gradient."""
    y, x = tf.constant([[1.0, 0.0]]), tf.constant([[0.3, -1.0]])
    verb = functools.partial(omniloss.value_and_grad, getattr(losses, name)())
    known = activate(x)
    known._keras_logits = x
    for run in (lambda: verb(y, known), tf.function(lambda: verb(y, activate(x)))):
        with pytest.raises(TypeError, match="comes from an activation"):
            run()

    @tf.function
    def student(x: Any) -> Any:
        loss = getattr(losses, name)(from_logits=True)
        return omniloss.value_and_grad(loss, activate(x), x)

    np.testing.assert_allclose(student(x)[1], 0, atol=1e-6)


def test_ranks_that_decide_must_be_known() -> None:
    signature = [tf.TensorSpec(None)] * 2
    for loss in (losses.CosineSimilarity(axis=0), nn.MSELoss(), nn.CrossEntropyLoss()):
        with pytest.raises(ValueError, match=r"unknown rank.*tf\.ensure_shape"):
            tf.function(loss, input_signature=signature)(tf.ones((2, 2)), tf.ones((2, 2)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["log_cosh", "sparse_categorical_crossentropy", "cosine_similarity", "cross_entropy"]
)
@pytest.mark.parametrize("known", [True, False])
def test_compiled_by_xla(name: str, known: bool) -> None:
    loss = next(loss for loss in two_of_each() if loss.name == name)
    shapes = [array.shape if known else [None] * array.ndim for array in loss.arrays]
    check_graph(loss, shapes, jit_compile=True)


def check_nan(loss: ArrayLoss, **options: Any) -> None:
    """One NaN among the predictions shows in a graph where it does outside of it."""
    place = loss.by[0]
    spoilt = np.array(loss.arrays[place])
    spoilt.flat[1] = np.nan
    loss = replace(loss, arrays=(*loss.arrays[:place], spoilt, *loss.arrays[place + 1 :]))
    shapes = [array.shape for array in loss.arrays]
    value, *_ = in_graph(loss, shapes, **options)(*tensors_of(loss))
    np.testing.assert_array_equal(np.isnan(value), np.isnan(loss(*loss.arrays)))


@pytest.mark.parametrize("loss", two_of_each(), ids=str)
def test_nan_in_graphs(loss: ArrayLoss) -> None:
    check_nan(loss)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sorted({loss.name for loss in array_losses()} - {"ctc", "ctc_loss"})
)
def test_nan_under_xla(name: str) -> None:
    """XLA's largest numbers leave it out."""
    check_nan(next(loss for loss in two_of_each() if loss.name == name), jit_compile=True)


def slope_of_gradient(loss: ArrayLoss, direction: np.ndarray) -> np.ndarray:
    """The derivative of NumPy's gradient along a direction, by central differences."""
    place = loss.by[0]
    step = 1e-5
    sides = []
    for sign in (1, -1):
        arrays = list(loss.arrays)
        arrays[place] = arrays[place] + sign * step * direction
        sides.append(loss.value_and_grad(*arrays)[1])
    return (sides[0] - sides[1]) / (2 * step)


@pytest.mark.parametrize("loss", two_of_each(), ids=str)
def test_second_order(loss: ArrayLoss) -> None:
    """What the core has computed is a constant to autodiff, which nobody must take for the derivative."""
    place = loss.by[0]
    tensors = tensors_of(loss)
    x = tensors[place]
    direction = np.random.default_rng(91).uniform(0.5, 1.5, x.shape)
    expected = slope_of_gradient(loss, direction)
    with tf.GradientTape() as outer:
        outer.watch(x)
        inner = gradient(loss, tensors, place)
    nested = outer.gradient(inner, x, output_gradients=tf.constant(direction))
    assert_equal(np.zeros_like(expected) if nested is None else nested, expected, 1e-6)
    with tf.autodiff.ForwardAccumulator(x, tf.constant(direction)) as accumulator:
        value = loss(*tensors)
        inner = gradient(loss, tensors, place)
    assert_equal(accumulator.jvp(inner, "zero"), expected, 1e-6)
    first = loss.value_and_grad(*loss.arrays)[1]
    assert_equal(tf.reduce_sum(accumulator.jvp(value, "zero")), np.sum(first * direction))
