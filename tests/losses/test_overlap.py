"""Dice and Tversky: sets over several axes, their gradients, and their sums over batches."""

import array_api_strict
import keras
import numpy as np
import pytest
import torch

import omniloss
from omniloss import losses
from support.reference import in_float64

AXES = [None, 0, 1, -1, (0, 1), (1, 2), (2, 0), (0, -2), (0, 1, 2)]


def memberships(shape=(3, 4, 5), seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random(shape) < 0.4).astype(np.float64), rng.random(shape)


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_sets_go_over_the_axes_as_in_keras(axis):
    y_true, y_pred = memberships()
    with in_float64():
        expected = keras.losses.dice(y_true, y_pred, axis=axis)
    found = losses.dice(y_true, y_pred, axis=axis)
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    halves = losses.tversky(y_true, y_pred, axis=axis)
    np.testing.assert_allclose(halves, expected, rtol=1e-6)  # but for the epsilon


@pytest.mark.parametrize("convert", [np.asarray, array_api_strict.asarray, torch.from_numpy])
@pytest.mark.parametrize("axis", AXES, ids=str)
def test_gradients_have_the_arrays_own_axes(axis, convert):
    """Against differences of the sum of the losses, whichever axes were moved for them."""
    y_true, y_pred = memberships((2, 3, 2))
    loss = losses.Tversky(0.3, 0.9, "sum", axis=axis)
    _, gradient = omniloss.value_and_grad(loss, convert(y_true), convert(y_pred))
    assert tuple(gradient.shape) == y_pred.shape
    for place in np.ndindex(y_pred.shape):
        step = np.zeros(y_pred.shape)
        step[place] = 1e-6
        slope = (loss(y_true, y_pred + step) - loss(y_true, y_pred - step)) / 2e-6
        assert float(gradient[place]) == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_tensors_get_the_same_gradient_by_autograd(axis):
    y_true, y_pred = memberships()
    loss = losses.Dice(axis=axis)
    _, gradient = omniloss.value_and_grad(loss, y_true, y_pred)
    tensor = torch.tensor(y_pred, requires_grad=True)
    loss(torch.tensor(y_true), tensor).backward()
    np.testing.assert_allclose(tensor.grad.numpy(), gradient, rtol=1e-12)


def test_alpha_weighs_false_positives():
    """As Keras says, and Salehi et al. do; Keras 3.15.1 exchanges the two."""
    y_true, invented, overlooked = [[1.0, 0.0]], [[1.0, 1.0]], [[0.5, 0.0]]
    options = {"alpha": 0.25, "beta": 0.75}
    assert losses.tversky(y_true, invented, **options) == pytest.approx(1 - 1 / 1.25, rel=1e-6)
    assert losses.tversky(y_true, overlooked, **options) == pytest.approx(1 - 0.5 / 0.875, rel=1e-6)
    y_true, y_pred = memberships()
    with in_float64():
        theirs = keras.losses.tversky(y_true, y_pred, alpha=0.75, beta=0.25)
    np.testing.assert_allclose(losses.tversky(y_true, y_pred, **options), theirs, rtol=1e-12)


def test_the_error_of_a_nearly_right_prediction_keeps_its_digits():
    y_true = np.ones((1, 100), np.float32)
    y_pred = np.full((1, 100), 1 - 2**-24, np.float32)
    with omniloss.config(epsilon=0.0):
        found = losses.dice(y_true, y_pred)
    assert found == pytest.approx(2**-24 / (2 - 2**-24), rel=1e-6)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0,)])
def test_an_empty_set_has_the_loss_1(shape):
    nothing = np.zeros(shape, np.float32)
    assert keras.losses.dice(nothing, nothing) == 1
    for cls in (losses.Dice, losses.Tversky):
        value, gradient = omniloss.value_and_grad(cls(), nothing, nothing)
        assert value == cls()(nothing, nothing) == 1
        assert gradient.shape == shape
        tensor = torch.zeros(shape, requires_grad=True)
        cls()(torch.zeros(shape), tensor).backward()
        assert tensor.grad.shape == shape
    np.testing.assert_array_equal(losses.dice(np.zeros((4, 0)), np.zeros((4, 0)), axis=1), 1)
    assert losses.Dice(axis=1)(np.zeros((0, 3)), np.zeros((0, 3))) == 0  # of no set


@pytest.mark.parametrize("cls", [losses.Dice, losses.Tversky])
@pytest.mark.parametrize("epsilon", [1e-7, 0.3, 0.0])
@pytest.mark.parametrize("convert", [np.asarray, array_api_strict.asarray, torch.from_numpy])
def test_the_sums_of_one_set_add_up_over_batches(cls, epsilon, convert):
    y_true, y_pred = map(convert, memberships((7, 3, 2)))
    with omniloss.config(epsilon=epsilon):
        loss = cls()
        parts = [
            omniloss.partial(loss, y_true[rows, ...], y_pred[rows, ...])
            for rows in (slice(0, 1), slice(1, 1), slice(1, 5), slice(5, 7))
        ]
        whole = loss(y_true, y_pred)
    assert float(sum(parts).result()) == pytest.approx(float(whole), rel=1e-13)
    with pytest.raises(ValueError, match="partials of different reductions do not add up"):
        parts[0] + omniloss.partial(losses.MeanSquaredError(), y_true, y_pred)


def test_sets_within_samples_add_up_over_batches():
    y_true, y_pred = memberships((7, 3, 2))
    weights = np.random.default_rng(1).random(7)
    loss = losses.Dice("mean_with_sample_weight", axis=(1, 2))
    parts = [
        omniloss.partial(loss, y_true[rows], y_pred[rows], weights[rows])
        for rows in (slice(0, 2), slice(2, 7))
    ]
    assert sum(parts).result() == pytest.approx(loss(y_true, y_pred, weights), rel=1e-13)


def test_several_sets_across_batches_have_no_partial():
    y_true, y_pred = memberships()
    message = (
        "a partial of a loss whose sets go over the samples, as `axis` says, is of one set without"
    )
    with pytest.raises(ValueError, match=message):
        omniloss.partial(losses.Dice(axis=(0, 1)), y_true, y_pred)
    with pytest.raises(ValueError, match=message):
        omniloss.partial(losses.Dice(), y_true, y_pred, np.ones(3))
    with pytest.raises(ValueError, match=message):
        omniloss.partial(losses.Dice(), y_true, y_pred, mask=np.array(True))


def test_weights_are_those_of_the_sets():
    y_true, y_pred = memberships()
    weights = np.array([2.0, 0.0, 1.0])
    each = losses.dice(y_true, y_pred, axis=(1, 2))
    total = losses.Dice("sum", axis=(1, 2))(y_true, y_pred, weights)
    assert total == pytest.approx(float(weights @ each), rel=1e-14)
    spoilt = y_pred.copy()
    spoilt[1] = np.nan
    assert losses.Dice("sum", axis=(1, 2))(y_true, spoilt, weights) == total
    # A loss of everything is enlarged by weights of more axes, as in Keras.
    whole = losses.dice(y_true, y_pred)
    np.testing.assert_allclose(losses.Dice(None)(y_true, y_pred, weights), whole * weights)
    with in_float64():
        theirs = keras.losses.Dice(reduction="mean")(y_true, y_pred, weights)
    assert losses.Dice("mean")(y_true, y_pred, weights) == pytest.approx(float(theirs), rel=1e-12)


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (2, r"`axis` must lie in \[-2, 1\] for `y_pred` of shape \(2, 3\); got 2"),
        ((0, -3), r"`axis` must lie in \[-2, 1\] for `y_pred` of shape \(2, 3\); got -3"),
        ((1, -1), r"`axis` must not name an axis of `y_pred` twice.*got \(1, -1\)"),
    ],
)
def test_axes_that_are_not_there(axis, message):
    with pytest.raises(ValueError, match=message):
        losses.dice(np.zeros((2, 3)), np.zeros((2, 3)), axis=axis)


def test_axes_come_back_from_json():
    loss = losses.deserialize(
        {"class_name": "Dice", "config": {"axis": [1, 2], "reduction": "sum"}}
    )
    assert loss.axis == (1, 2)
    assert loss == losses.Dice("sum", axis=(1, 2))
