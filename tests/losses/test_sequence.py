"""CTC of logits: against the PyTorch dialect's of log-probabilities, Keras, and its own slopes."""

import array_api_strict
import keras
import numpy as np
import pytest
import torch

import omniloss
from omniloss import losses, nn
from support.reference import in_float64

LABELS = np.array([[1, 2, 2, 0], [3, 0, 0, 0], [0, 0, 0, 0], [4, 3, 2, 1], [1, 1, 1, 0]])
NUMBERS = np.array([3, 1, 0, 4, 3])


def logits(seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(0, 2, (5, 9, 5)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_the_loss_of_the_log_softmax(dtype):
    x = logits(dtype=dtype)
    wide = torch.log_softmax(torch.from_numpy(x).double(), -1).numpy().swapaxes(0, 1)
    arguments = (LABELS, np.full(5, 9), NUMBERS)
    ctc = nn.CTCLoss(reduction="none")
    expected, slopes = omniloss.value_and_grad(ctc, wide, *arguments)
    found, gradient = omniloss.value_and_grad(losses.ctc, LABELS, x)
    tolerance = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(found, expected, rtol=tolerance)
    np.testing.assert_allclose(gradient, slopes.swapaxes(0, 1), rtol=tolerance, atol=tolerance)


def test_weights_and_means_are_keras_own():
    x, weights = logits(), np.arange(5.0) + 0.5
    for reduction in ("mean", "sum", "mean_with_sample_weight", None):
        with in_float64():
            theirs = keras.losses.CTC(reduction=reduction)(LABELS, x, weights)
        found = losses.CTC(reduction)(LABELS, x, weights)
        np.testing.assert_allclose(found, theirs, rtol=1e-11)


@pytest.mark.parametrize("convert", [np.asarray, array_api_strict.asarray, torch.from_numpy])
def test_gradients_are_the_slopes(convert):
    x, weights = logits()[:, :5], np.array([1.0, 0.5, 2.0, 0.0, 3.0])
    loss = losses.CTC()
    _, gradient = omniloss.value_and_grad(loss, convert(LABELS), convert(x), convert(weights))
    for place in [(0, 0, 0), (0, 4, 2), (1, 2, 3), (2, 1, 0), (3, 0, 4), (4, 3, 1)]:
        step = np.zeros(x.shape)
        step[place] = 1e-5
        slope = (loss(LABELS, x + step, weights) - loss(LABELS, x - step, weights)) / 2e-5
        assert float(gradient[place]) == pytest.approx(float(slope), abs=1e-8)


def test_tensors_get_the_same_gradient_by_autograd():
    x = logits()
    loss, y = losses.CTC("sum"), torch.from_numpy(LABELS)
    _, gradient = omniloss.value_and_grad(loss, LABELS, x)
    tensor = torch.tensor(x, requires_grad=True)
    loss(y, tensor).backward()
    np.testing.assert_allclose(tensor.grad.numpy(), gradient, rtol=1e-12, atol=1e-13)
    traced = torch.func.grad(lambda p: loss(y, p))(torch.from_numpy(x))
    np.testing.assert_allclose(traced.numpy(), gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_what_has_no_weight_is_not_looked_at(convert):
    x, kept = logits(), np.array([True, False, True, True, False])
    spoilt, wrong = x.copy(), LABELS.copy()
    spoilt[~kept], wrong[~kept] = np.nan, 99
    loss = losses.CTC("mean")
    expected, slopes = omniloss.value_and_grad(loss, LABELS[kept], x[kept])
    found, gradient = omniloss.value_and_grad(
        loss, convert(wrong), convert(spoilt), mask=convert(kept)
    )
    assert float(found) == pytest.approx(float(expected), rel=1e-13)
    np.testing.assert_allclose(np.asarray(gradient)[kept], slopes, rtol=1e-12, atol=1e-14)
    assert not np.asarray(gradient)[~kept].any()


def test_batches_add_up():
    x, weights = logits(), np.arange(5.0)
    loss = losses.CTC("mean_with_sample_weight")
    parts = [
        omniloss.partial(loss, LABELS[s], x[s], weights[s])
        for s in (slice(0, 2), slice(2, 2), slice(2, 5))
    ]
    assert sum(parts).result() == pytest.approx(loss(LABELS, x, weights), rel=1e-13)


def test_labels_without_an_alignment():
    value, gradient = omniloss.value_and_grad(losses.ctc, [[1, 1], [1, 2]], np.zeros((2, 2, 3)))
    assert value[0] == np.inf
    assert np.isnan(gradient[0]).all()
    assert value[1] == pytest.approx(2 * np.log(3))
    assert np.isfinite(gradient[1]).all()


def test_logits_of_any_size_and_half_precision():
    x = logits(dtype="float32")
    for shift in (-1e4, 1e4):
        np.testing.assert_allclose(
            losses.ctc(LABELS, x + np.float32(shift)), losses.ctc(LABELS, x), rtol=3e-3
        )
    half = x.astype(np.float16)
    found = losses.ctc(LABELS, half)
    assert found.dtype == np.float16
    expected = losses.ctc(LABELS, half.astype(np.float32)).astype(np.float16)
    np.testing.assert_array_equal(found, expected)
    spoilt = x.copy()
    spoilt[1, 0, 0] = np.nan
    each = losses.ctc(LABELS, spoilt)
    np.testing.assert_array_equal(np.isnan(each), [False, True, False, False, False])


def test_an_empty_batch():
    nothing, no_labels = np.zeros((0, 4, 3), np.float32), np.zeros((0, 2), int)
    value, gradient = omniloss.value_and_grad(losses.CTC(), no_labels, nothing)
    assert value == losses.CTC()(no_labels, nothing) == 0
    assert gradient.shape == (0, 4, 3)


@pytest.mark.parametrize(
    ("labels", "shape", "message"),
    [
        ([[3, 0]], (1, 4, 3), r"class indices, integers in \[0, 3\); got y_true\[0, 0\] = 3"),
        ([[1, -1]], (1, 4, 3), r"class indices, integers in \[0, 3\); got y_true\[0, 1\] = -1"),
        ([[1.5, 0]], (1, 4, 3), r"`y_true` must hold labels, whole numbers; got y_true\[0, 0\]"),
        ([1, 0], (1, 4, 3), r"`y_true` must have the shape \(samples, longest\)"),
        (
            [[1, 0]],
            (2, 4, 3),
            r"a row for each sample of `y_pred` of shape \(2, 4, 3\); got \(1, 2\)",
        ),
        ([[1, 0]], (4, 3), r"`y_pred` must have the shape \(samples, steps, classes\)"),
        ([[1, 0]], (1, 0, 3), r"`y_pred` must have the shape .*; got \(1, 0, 3\)"),
    ],
)
def test_arrays_that_do_not_fit(labels, shape, message):
    with pytest.raises(ValueError, match=message):
        losses.ctc(labels, np.zeros(shape))
