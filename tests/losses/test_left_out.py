"""What is left out leaves no trace: ignored classes, masks, empty batches; and whose shape a gradient has."""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np
import pytest
import torch

import omniloss
from omniloss import losses, nn

REDUCTIONS = ("sum", "mean", "sum_over_batch_size", "mean_with_sample_weight")


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("ignored", [0, 1, 3, -1])
def test_ignoring_any_class_is_deleting_its_rows(ignored: int, reduction: str) -> None:
    rng = np.random.default_rng(3)
    labels, logits = rng.integers(0, 4, 50), rng.standard_normal((50, 4))
    labels[:5] = ignored
    kept = labels != ignored
    loss = losses.SparseCategoricalCrossentropy(True, ignored, reduction)
    plain = losses.SparseCategoricalCrossentropy(True, reduction=reduction)
    value, gradient = omniloss.value_and_grad(loss, labels, logits)
    expected, slope = omniloss.value_and_grad(plain, labels[kept], logits[kept])
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    np.testing.assert_allclose(gradient[kept], slope, rtol=1e-14)
    assert not gradient[~kept].any()
    part = omniloss.partial(loss, labels, logits)
    np.testing.assert_allclose(part.result(), expected, rtol=1e-14)
    for convert in (array_api_strict.asarray, torch.from_numpy):
        np.testing.assert_allclose(
            float(loss(convert(labels), convert(logits))), expected, rtol=1e-14
        )


@pytest.mark.parametrize("ignored", [0, 1])
def test_ignoring_a_boolean_label(ignored: int) -> None:
    labels, logits = np.array([True, False, True]), np.array([[0.0, 1.0], [2.0, 0.0], [0.5, 0.0]])
    function = losses.sparse_categorical_crossentropy
    expected = function(labels.astype(int), logits, True, ignored)
    np.testing.assert_array_equal(function(labels, logits, True, ignored), expected)
    tensors = torch.from_numpy(labels), torch.from_numpy(logits)
    np.testing.assert_allclose(function(*tensors, True, ignored).numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
def test_ignore_index_zero_is_torchs(name: str, reduction: str) -> None:
    rng = np.random.default_rng(4)
    input, target = rng.standard_normal((9, 4)), rng.integers(0, 4, 9)
    theirs = getattr(torch.nn, name)(ignore_index=0, reduction=reduction)
    expected = theirs(torch.from_numpy(input), torch.from_numpy(target)).numpy()
    ours = getattr(nn, name)(ignore_index=0, reduction=reduction)
    np.testing.assert_allclose(ours(input, target), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (3,), (1, 3), (2, 1), (2, 3)])
def test_masks_broadcast_beside_an_ignored_class(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    labels, logits = rng.integers(-1, 4, (2, 3)), rng.standard_normal((2, 3, 4))
    mask = rng.random(shape) < 0.7
    loss = losses.SparseCategoricalCrossentropy(True, -1, "sum")
    both = losses.SparseCategoricalCrossentropy(True, reduction="sum")
    together = np.broadcast_to(mask, (2, 3)) & (labels != -1)
    expected = both(np.maximum(labels, 0), logits, mask=together)
    np.testing.assert_allclose(loss(labels, logits, mask=mask), expected, rtol=1e-14)


def test_a_mask_that_does_not_fit_an_ignored_class_is_refused() -> None:
    loss = losses.SparseCategoricalCrossentropy(True, -1)
    with pytest.raises(
        ValueError, match=r"`mask` of shape \(2, 2, 3\) does not fit losses of shape"
    ):
        loss(np.zeros((2, 3), int), np.zeros((2, 3, 4)), mask=np.ones((2, 2, 3)))


def test_the_first_wrong_number_of_a_mask_is_named() -> None:
    with pytest.raises(ValueError, match=r"got mask\[1\] = 7"):
        losses.MeanSquaredError()([[1.0], [0.0]], [[2.0], [3.0]], mask=[1, 7])


@pytest.mark.parametrize("options", [{}, {"sample_weight": 1.0}, {"mask": np.array(True)}])
def test_an_empty_batch_adds_nothing(options: dict[str, Any]) -> None:
    loss, nothing = losses.MeanSquaredError(), np.zeros(0, np.float32)
    part = omniloss.partial(loss, nothing, nothing, **options)
    assert (part.total, part.weight) == (0, 0)
    some = omniloss.partial(loss, np.zeros((3, 1)), np.ones((3, 1)))
    assert (some + part).result() == 1


@pytest.mark.parametrize(
    ("true_shape", "pred_shape"), [((4, 1), (4,)), ((4,), (4, 1)), ((2, 3), (2, 3, 1))]
)
@pytest.mark.parametrize("convert", [np.asarray, array_api_strict.asarray, torch.from_numpy])
def test_gradients_have_the_predictions_shape(
    convert: Any, true_shape: tuple[int, ...], pred_shape: tuple[int, ...]
) -> None:
    y, p = np.zeros(true_shape), np.ones(pred_shape)
    _, gradient = omniloss.value_and_grad(losses.MeanSquaredError(), convert(y), convert(p))
    assert tuple(gradient.shape) == pred_shape
    np.testing.assert_allclose(np.asarray(gradient), 2 / p.size)


def test_wrt_is_a_name_or_a_tuple() -> None:
    with pytest.raises(TypeError, match=r"a name or a tuple of names; got \['y_pred'\]"):
        omniloss.value_and_grad(losses.MeanSquaredError(), [[0.0]], [[1.0]], wrt=["y_pred"])
