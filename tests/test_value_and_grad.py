"""The verb `value_and_grad`: what it takes, what it gives, what it refuses."""

import numpy as np
import pytest

import omniloss
from omniloss import losses

Y, P = np.array([[0.0, 1.0], [2.0, 0.5]]), np.array([[0.5, 1.0], [0.0, 1.0]])


def test_takes_the_losss_own_arguments():
    loss = losses.MeanSquaredError()
    value, gradient = omniloss.value_and_grad(loss, Y, P, sample_weight=[1.0, 3.0])
    assert value == loss(Y, P, sample_weight=[1.0, 3.0])
    np.testing.assert_allclose(gradient, (P - Y) * np.array([[1.0], [3.0]]) / 2, rtol=1e-15)
    value, gradient = omniloss.value_and_grad(losses.huber, Y, P, delta=0.5)
    np.testing.assert_array_equal(value, losses.huber(Y, P, delta=0.5))
    np.testing.assert_allclose(gradient, np.clip(P - Y, -0.5, 0.5) / 2, rtol=1e-15)


def test_unreduced_losses_are_differentiated_as_their_sum():
    loss = losses.MeanSquaredError(reduction="none")
    value, gradient = omniloss.value_and_grad(loss, Y, P, [1.0, 3.0])
    np.testing.assert_array_equal(value, loss(Y, P, [1.0, 3.0]))
    np.testing.assert_allclose(gradient, (P - Y) * np.array([[1.0], [3.0]]), rtol=1e-15)


def test_wrt():
    loss = losses.MeanSquaredError()
    _, plain = omniloss.value_and_grad(loss, Y, P)
    np.testing.assert_array_equal(omniloss.value_and_grad(loss, Y, P, wrt="y_pred")[1], plain)
    (only,) = omniloss.value_and_grad(loss, Y, P, wrt=("y_pred",))[1]
    np.testing.assert_array_equal(only, plain)
    for wrong in ("y_true", "input", 5, ("y_pred", "y_true")):
        with pytest.raises(
            ValueError, match="`wrt` must name a differentiable argument of the loss"
        ):
            omniloss.value_and_grad(loss, Y, P, wrt=wrong)


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf"), True, "5", [6, 3]])
def test_wrong_normalizer(wrong):
    with pytest.raises(ValueError, match="`normalizer` must be a finite number > 0; got"):
        omniloss.value_and_grad(losses.MeanSquaredError(), Y, P, normalizer=wrong)


def test_a_users_own_call_has_no_known_derivative():
    class Doubled(losses.MeanSquaredError):
        def call(self, y_true, y_pred):
            return 2 * super().call(y_true, y_pred)

    with pytest.raises(TypeError, match="of which no derivative is known"):
        omniloss.value_and_grad(Doubled(), Y, P)
    with pytest.raises(TypeError, match="only this library's loss functions and"):
        omniloss.value_and_grad(np.mean, Y, P)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_gradient_has_the_predictions_type_and_shape(dtype):
    p = P.astype(dtype)
    value, gradient = omniloss.value_and_grad(losses.BinaryCrossentropy(), np.round(Y / 2), p)
    assert gradient.dtype == p.dtype
    assert gradient.shape == p.shape
    assert value.dtype == (np.float32 if dtype == "float16" else p.dtype)


def test_gradient_of_lists_and_integers_is_floatx():
    for predictions in ([[1.0, 2.0]], [[1, 2]], np.array([[1, 2]])):
        _, gradient = omniloss.value_and_grad(losses.MeanSquaredError(), [[0, 1]], predictions)
        assert gradient.dtype == np.float32
        np.testing.assert_array_equal(gradient, [[1.0, 1.0]])


def test_gradient_is_new_memory_at_64_bytes():
    p = P.astype(np.float32)
    _, gradient = omniloss.value_and_grad(losses.MeanSquaredError(), Y, p)
    assert gradient.flags.writeable
    assert not np.shares_memory(gradient, p)
