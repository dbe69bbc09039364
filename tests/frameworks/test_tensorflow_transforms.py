"""TensorFlow's derivatives, graphs and open shapes: what they give is what NumPy arrays give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.array_losses import ArrayLoss, array_losses, one_of_each

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


@every_loss
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
