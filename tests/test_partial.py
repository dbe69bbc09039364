"""Partial sums: any split of a batch gives the batch's loss and gradient."""

import itertools

import numpy as np
import pytest

import omniloss
from omniloss import losses, nn
from omniloss.reduction import KERAS_RULES, Partial

REDUCED = ["sum", "mean", "sum_over_batch_size", "mean_with_sample_weight"]


def batch(rows=37, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    y_true = rng.random((rows, classes))
    y_pred = rng.random((rows, classes))
    weights = rng.random(rows) * (rng.random(rows) > 0.3)
    mask = rng.random(rows) > 0.4
    return y_true, y_pred, weights, mask


@pytest.mark.parametrize("reduction", REDUCED)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_splits_add_up(reduction, weighted, masked):
    y_true, y_pred, weights, mask = batch()
    loss = losses.BinaryCrossentropy(reduction=reduction)

    def arguments(rows):
        return (
            (y_true[rows], y_pred[rows], weights[rows] if weighted else None),
            {"mask": mask[rows] if masked else None},
        )

    args, kwargs = arguments(slice(None))
    whole = loss(*args, **kwargs)
    edges = [0, 1, 1, 8, 30, 37]  # uneven, one part empty
    parts = []
    for start, stop in itertools.pairwise(edges):
        args, kwargs = arguments(slice(start, stop))
        parts.append(omniloss.partial(loss, *args, **kwargs))
    assert sum(parts).result() == pytest.approx(whole, rel=1e-13)


def test_gradients_of_micro_batches_add_up_with_a_normalizer():
    y_true, y_pred, weights, _ = batch()
    loss = losses.Huber(0.3, reduction="mean_with_sample_weight")
    value, gradient = omniloss.value_and_grad(loss, y_true, y_pred, weights)
    total = omniloss.partial(loss, y_true, y_pred, weights).weight
    parts = [
        omniloss.value_and_grad(loss, y_true[s], y_pred[s], weights[s], normalizer=total)
        for s in (slice(0, 11), slice(11, 12), slice(12, 37))
    ]
    assert sum(part[0] for part in parts) == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(
        np.concatenate([part[1] for part in parts]), gradient, rtol=1e-13, atol=0
    )


def test_partial_of_a_function_averages_its_losses():
    y_true, y_pred, _, _ = batch()
    part = omniloss.partial(losses.mean_squared_error, y_true, y_pred)
    assert part.weight == 37
    assert part.result() == pytest.approx(
        np.mean(losses.mean_squared_error(y_true, y_pred)), rel=1e-14
    )


def test_partial_of_a_users_loss():
    class Doubled(losses.MeanSquaredError):
        def call(self, y_true, y_pred):
            return 2 * super().call(y_true, y_pred)

    y_true, y_pred, weights, _ = batch()
    loss = Doubled()
    parts = [
        omniloss.partial(loss, y_true[s], y_pred[s], weights[s])
        for s in (slice(0, 20), slice(20, 37))
    ]
    assert sum(parts).result() == pytest.approx(loss(y_true, y_pred, weights), rel=1e-13)


def test_an_empty_batch_is_nothing():
    nothing = np.zeros((0, 3))
    for name in KERAS_RULES:
        if KERAS_RULES[name] is None:
            continue
        loss = losses.MeanAbsoluteError(reduction=name)
        assert loss(nothing, nothing) == 0
        assert omniloss.partial(loss, nothing, nothing) == Partial(0, 0, KERAS_RULES[name])
        assert omniloss.partial(loss, nothing, nothing).result() == 0


def test_partials_of_different_reductions_do_not_add_up():
    y_true, y_pred, _, _ = batch()
    parts = [
        omniloss.partial(losses.MeanSquaredError(reduction=name), y_true, y_pred)
        for name in ("sum", "mean")
    ]
    with pytest.raises(ValueError, match=r"different reductions do not add up: 'sum' and 'mean'$"):
        sum(parts)
    weighted = nn.CrossEntropyLoss(weight=[1.0, 2.0])
    with pytest.raises(
        ValueError,
        match=r"'mean' \(divided by the sum of the weights, nan of nothing\) and "
        r"'mean' \(divided by the number of losses, 0 of nothing\)$",
    ):
        omniloss.partial(weighted, [[0.0, 0.0]], [1]) + Partial(0.0, 0.0)


def test_a_partial_needs_a_reduction():
    with pytest.raises(
        ValueError, match=r"a partial needs a reduction.*'mean_with_sample_weight'$"
    ):
        omniloss.partial(losses.MeanSquaredError(reduction=None), [[0.0]], [[1.0]])
    with pytest.raises(ValueError, match=r"is none; expected one of 'sum', 'mean'$"):
        omniloss.partial(nn.MSELoss(reduction="none"), [[0.0]], [[1.0]])


def test_a_hinge_partial_must_be_told_its_labels():
    with pytest.raises(
        ValueError, match="make the loss with labels='binary' for 0/1 or labels='signed'"
    ):
        omniloss.partial(losses.Hinge(), [[1.0]], [[0.5]])
    signed = omniloss.partial(losses.Hinge(labels="signed"), [[1.0], [1.0]], [[0.5], [0.25]])
    binary = omniloss.partial(losses.Hinge(labels="binary"), [[1.0], [0.0]], [[0.5], [0.25]])
    assert signed.total == pytest.approx(0.5 + 0.75)
    assert binary.total == pytest.approx(0.5 + 1.25)


def test_only_this_librarys_losses_have_partials():
    with pytest.raises(TypeError, match="only this library's loss functions and"):
        omniloss.partial(np.mean, [[1.0]], [[0.5]])


def test_partials_of_different_reductions_are_not_equal():
    rules = {rule for rule in KERAS_RULES.values() if rule is not None}
    assert len({Partial(6.0, 3.0, rule) for rule in rules}) == len(rules) == 3
    assert Partial(6.0, 3.0) == Partial(6.0, 3.0, KERAS_RULES["mean"])
    assert Partial(6.0, 3.0) != Partial(6.0, 3.0, KERAS_RULES["sum"])
