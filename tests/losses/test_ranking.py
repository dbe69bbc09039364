"""Circle: against its definition, its references, what counts in its means, and what is left out."""

import array_api_strict
import keras
import numpy as np
import pytest
import torch
from mpmath import mp, mpf

import omniloss
from omniloss import losses, native
from support.reference import in_float64


def embeddings(samples=9, features=4, labels=3, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, features))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return rng.integers(0, labels, samples), x.astype(dtype)


def definition(labels, x, ref_labels, references, *, remove_diagonal, gamma, margin):
    """The losses of the samples in mpmath, of the embeddings as the numbers that they are."""
    result = []
    for i, (label, row) in enumerate(zip(labels, x, strict=True)):
        near, far = [], []
        for j, (other, reference) in enumerate(zip(ref_labels, references, strict=True)):
            pairs = zip(row, reference, strict=True)
            d = max(1 - mp.fsum(mpf(float(a)) * mpf(float(b)) for a, b in pairs), 0)
            if label != other:
                far.append(gamma * max(1 + margin - d, 0) * (1 - margin - d))
            elif i != j or not remove_diagonal:
                near.append(gamma * max(margin + d, 0) * (d - margin))
        if not near or not far:
            result.append(mpf(0))
            continue
        total = mp.log(mp.fsum(map(mp.exp, near))) + mp.log(mp.fsum(map(mp.exp, far)))
        result.append(mp.log1p(mp.exp(total)))
    return result


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gamma", [80.0, 2.0])
@pytest.mark.parametrize("margin", [0.4, -0.5])
@pytest.mark.parametrize("remove_diagonal", [True, False])
@pytest.mark.parametrize("own", [False, True], ids=["itself", "references"])
def test_losses_are_within_units_of_the_definition(own, remove_diagonal, margin, gamma, dtype):
    labels, x = embeddings(seed=1, dtype=dtype)
    ref_labels, references = embeddings(7, seed=2, dtype=dtype) if own else (labels, x)
    options = {"remove_diagonal": remove_diagonal, "gamma": gamma, "margin": margin}
    with mp.workdps(50):
        exact = definition(labels, x, ref_labels, references, **options)
    given = (ref_labels, references) if own else (None, None)
    found = losses.circle(labels, x, *given, **options)
    assert found.dtype == dtype
    # What a rounding of a cosine makes of a score, which is at most gamma times a few
    room = 4 * np.finfo(dtype).eps if dtype == "float32" else 64 * gamma * np.finfo(dtype).eps
    np.testing.assert_allclose(found, np.array(exact, float), rtol=room, atol=0)


@pytest.mark.parametrize("convert", [np.asarray, array_api_strict.asarray, torch.from_numpy])
@pytest.mark.parametrize("remove_diagonal", [True, False])
@pytest.mark.parametrize("own", [False, True], ids=["itself", "references"])
def test_gradients_are_the_slopes(own, remove_diagonal, convert):
    """By both parts that the samples have, where they are their own references."""
    labels, x = embeddings(8, 3, seed=3)
    given = embeddings(6, 3, seed=4) if own else (None, None)
    options = {"gamma": 3.0, "remove_diagonal": remove_diagonal}

    def total(x):
        return float(np.sum(losses.circle(labels, x, *given, **options)))

    converted = [None if y is None else convert(y) for y in given]
    _, gradient = omniloss.value_and_grad(
        losses.circle, convert(labels), convert(x), *converted, **options
    )
    for place in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[place] = 1e-6
        slope = (total(x + step) - total(x - step)) / 2e-6
        assert float(gradient[place]) == pytest.approx(slope, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_with_sample_weight", None])
def test_tensors_get_the_same_gradient_by_autograd(reduction):
    labels, x = embeddings()
    weights = np.random.default_rng(5).random(9)
    loss = losses.Circle(reduction=reduction)
    _, gradient = omniloss.value_and_grad(loss, labels, x, weights)
    y, w = torch.from_numpy(labels), torch.from_numpy(weights)
    tensor = torch.tensor(x, requires_grad=True)
    loss(y, tensor, w).sum().backward()
    np.testing.assert_allclose(tensor.grad.numpy(), gradient, rtol=1e-10, atol=1e-12)
    traced = torch.func.grad(lambda p: loss(y, p, w).sum())(torch.from_numpy(x))
    np.testing.assert_allclose(traced.numpy(), gradient, rtol=1e-10, atol=1e-12)


def test_second_derivatives():
    labels, x = embeddings(5, 3)
    loss, y = losses.Circle(2.0), torch.from_numpy(labels)
    tensor = torch.tensor(x, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: loss(y, p), tensor)
    assert torch.autograd.gradgradcheck(lambda p: loss(y, p), tensor)


def test_means_count_the_losses_above_0():
    labels, x = embeddings()
    labels[4] = 77  # alone of its kind
    each = losses.circle(labels, x)
    assert each[4] == 0
    with in_float64():
        theirs = keras.losses.Circle()(labels, x)
    ours, gradient = omniloss.value_and_grad(losses.Circle(), labels, x)
    assert ours == losses.Circle()(labels, x) == pytest.approx(float(theirs), rel=1e-10)
    assert ours == pytest.approx(each.sum() / 8, rel=1e-14)
    _, of_sum = omniloss.value_and_grad(losses.Circle(reduction="sum"), labels, x)
    np.testing.assert_allclose(gradient, of_sum / 8, rtol=1e-14)
    alone = np.arange(9)
    for reduction in ("mean", "sum", "mean_with_sample_weight"):
        loss = losses.Circle(reduction=reduction)
        value, gradient = omniloss.value_and_grad(loss, alone, x)
        assert value == loss(alone, x) == 0
        assert not gradient.any()


@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_with_sample_weight", None])
@pytest.mark.parametrize("convert", [np.asarray, array_api_strict.asarray, torch.from_numpy])
def test_leaving_out_is_deleting(reduction, convert):
    labels, x = embeddings()
    kept = np.array([1, 1, 0, 1, 1, 1, 0, 1, 1], bool)
    weights = np.where(kept, np.random.default_rng(6).random(9), 0)
    loss = losses.Circle(reduction=reduction)
    spoilt = np.where(kept[:, None], x, np.nan)
    for options in ({"mask": kept}, {"sample_weight": weights}):
        few = {} if "mask" in options else {"sample_weight": weights[kept]}
        value, slope = omniloss.value_and_grad(loss, labels[kept], x[kept], **few)
        for rows in (x, spoilt):
            given = {name: convert(y) for name, y in options.items()}
            found, gradient = omniloss.value_and_grad(loss, convert(labels), convert(rows), **given)
            found, gradient = np.asarray(found), np.asarray(gradient)
            np.testing.assert_allclose(found[kept] if found.ndim else found, value, rtol=1e-12)
            np.testing.assert_allclose(gradient[kept], slope, rtol=1e-11, atol=1e-12)
            assert not gradient[~kept].any()


def test_columns_and_floats_are_labels_too():
    labels, x = embeddings()
    expected = losses.circle(labels, x)
    for other in (labels[:, None], labels.astype(np.float32), labels.tolist(), labels - 10**12):
        np.testing.assert_array_equal(losses.circle(other, x), expected)


def test_partials_need_references_of_their_own():
    labels, x = embeddings()
    ref_labels, references = embeddings(7, seed=2)
    with pytest.raises(ValueError, match="a partial of the circle loss needs `ref_labels`"):
        omniloss.partial(losses.Circle(), labels, x)
    options = {"remove_diagonal": False}
    parts = [
        omniloss.partial(losses.circle, labels[s], x[s], ref_labels, references, **options)
        for s in (slice(0, 4), slice(4, 9))
    ]
    each = losses.circle(labels, x, ref_labels, references, **options)
    assert sum(parts).result() == pytest.approx(each[each > 0].mean(), rel=1e-13)


def test_an_empty_batch():
    nothing = np.zeros((0, 3), np.float32)
    value, gradient = omniloss.value_and_grad(losses.Circle(), [], nothing)
    assert value == losses.Circle()([], nothing) == 0
    assert gradient.shape == (0, 3)
    assert losses.circle([], nothing).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [1.0, 0.0]), r"`y_pred` must have the shape \(samples, features\); got \(2,\)"),
        (([0], np.eye(2)), r"`y_true` must hold one label for each row of `y_pred`.*got \(1,\)"),
        (([0, 0.5], np.eye(2)), r"`y_true` must hold labels, whole numbers; got y_true\[1\] = 0.5"),
        (([0, 1], np.eye(2), [0], np.eye(2)), r"`ref_labels` must hold one label for each row of"),
        (([0, 1], np.eye(2), [0], [[1.0]]), r"`ref_embeddings` and `y_pred` must have as many"),
        (([0, 1], np.eye(2), [0], [1.0]), r"`ref_embeddings` must have the shape"),
    ],
)
def test_arrays_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        losses.circle(*arguments)


def test_nan_comes_out_where_it_went_in():
    labels, x = embeddings()
    x[3, 1] = np.nan
    each = losses.circle(labels, x)
    compared = np.array([np.sum(labels == label) > 1 for label in labels])
    np.testing.assert_array_equal(np.isnan(each), compared)  # with it among others
    assert np.isnan(losses.Circle()(labels, x))


@pytest.mark.parametrize("size", [1e5, 1e10, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_embeddings_that_nobody_has_normalised(dtype, size):
    """Scores beyond all exponentials, and beyond float32."""
    labels, x = embeddings(seed=3)
    x = (size * x).astype(dtype)
    with mp.workdps(50):
        exact = definition(labels, x, labels, x, remove_diagonal=True, gamma=80.0, margin=0.4)
    with np.errstate(over="ignore"):
        exact = np.array(exact, float).astype(dtype)
    np.testing.assert_allclose(losses.circle(labels, x), exact, rtol=1e-6)
    if native.core is not None:  # whose cosines are in float64
        found = losses.circle(labels, torch.from_numpy(x))
        np.testing.assert_allclose(found, exact, rtol=1e-6)
    value, _ = omniloss.value_and_grad(losses.Circle(), labels, x)
    assert value == (np.inf if np.isinf(exact).any() else pytest.approx(np.mean(exact)))


@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_with_sample_weight"])
def test_a_batch_without_pairs_has_gradients_of_zeros(reduction):
    labels, x = embeddings(4)
    x = torch.from_numpy(x).requires_grad_()
    loss = losses.Circle(reduction=reduction)
    for value in (loss(range(4), x), loss(labels, x, torch.zeros(4)), loss([7] * 4, x)):
        assert value == 0
        (gradient,) = torch.autograd.grad(value, x)
        assert not gradient.any()


def test_compilers_do_not_fuse_what_huge_scores_are_compared_by():
    jax = pytest.importorskip("jax")
    labels, x = embeddings(seed=3)
    x = (1e5 * x).astype(np.float32)
    found = jax.jit(losses.circle)(labels, x)
    np.testing.assert_allclose(found, losses.circle(labels, x), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_half_precision_is_computed_from_its_own_numbers(dtype):
    labels, x = embeddings(40, 8, dtype=dtype)
    exact = losses.circle(labels, x.astype(np.float64))
    found = losses.circle(labels, x)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, exact.astype(dtype))
    assert losses.Circle()(labels, x).dtype == np.float32
