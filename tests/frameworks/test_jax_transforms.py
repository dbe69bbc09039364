"""JAX's transformations x losses of both dialects: derivatives of first and second order, vmap, several devices.

The truth is NumPy's gradient for the first order, its finite differences for the second, and a loop for vmap.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import omniloss
from omniloss import losses, nn
from support.cases import Case, cases
from support.jax_losses import ArrayLoss, array_losses

jax = pytest.importorskip("jax")
jnp = jax.numpy

# What kl_div says of its own default, as torch's does
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")

SPARSE = losses.SparseCategoricalCrossentropy(from_logits=True)
every_loss = pytest.mark.parametrize("loss", array_losses(), ids=str)


@pytest.fixture(autouse=True)
def _doubles() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def gradients(loss: ArrayLoss, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    """NumPy's."""
    arrays = loss.with_inputs(*inputs)
    return omniloss.value_and_grad(loss.loss, *arrays, wrt=loss.wrt, **loss.options)[1]


def assert_equal(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@every_loss
def test_derivatives(loss: ArrayLoss) -> None:
    """Forward and reverse, and both of each other, compiled at once."""
    inputs = loss.inputs
    places = tuple(range(len(inputs)))
    rng = np.random.default_rng(91)
    direction = tuple(rng.standard_normal(x.shape) for x in inputs)
    gradient = jax.grad(loss.total, places)

    def slope(*inputs: Any) -> Any:
        return jax.jvp(loss.total, inputs, direction)[1]

    @jax.jit
    def derivatives(*inputs: Any) -> Any:
        return (
            jax.value_and_grad(loss.total, places)(*inputs),
            slope(*inputs),
            jax.jvp(gradient, inputs, direction)[1],  # forward over reverse, as jax.hessian has it
            jax.grad(slope, places)(*inputs),  # reverse over forward
        )

    reverse, along, second, third = derivatives(*inputs)
    expected = gradients(loss, *inputs)
    assert_equal(reverse, (loss.total(*inputs), expected))
    assert_equal(along, sum(np.sum(g * d) for g, d in zip(expected, direction, strict=True)))
    step = 1e-6
    ahead, behind = (
        gradients(loss, *(x + sign * step * d for x, d in zip(inputs, direction, strict=True)))
        for sign in (1, -1)
    )
    differences = [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]
    assert_equal(second, differences, 1e-6)
    assert_equal(third, differences, 1e-6)


@every_loss
def test_vmap(loss: ArrayLoss) -> None:
    """Over the samples of a batch, where each has a loss of its own: values and gradients."""
    if not loss.sampled:
        pytest.skip("a sample has no loss of its own")

    def total(*arrays: Any) -> Any:
        return loss.loss(*arrays, **loss.options).sum()

    values, found = jax.jit(jax.vmap(jax.value_and_grad(total, loss.by)))(*loss.arrays)
    for number, sample in enumerate(zip(*loss.arrays, strict=True)):
        value, expected = omniloss.value_and_grad(loss.loss, *sample, wrt=loss.wrt, **loss.options)
        np.testing.assert_allclose(values[number], np.sum(value), rtol=1e-12, atol=1e-14)
        for i, gradient in enumerate(expected):
            np.testing.assert_allclose(found[i][number], gradient, rtol=1e-12, atol=1e-14)


def test_gradients_outside_of_jit() -> None:
    """There the core is asked; what it cannot do, the formula does."""
    rng = np.random.default_rng(92)
    y, p, w = rng.random((4, 3)), rng.random((4, 3)), rng.random(4)
    y_, p_, w_ = map(jnp.asarray, (y, p, w))
    for loss in (losses.LogCosh(), losses.BinaryCrossentropy(), losses.Huber(reduction="sum")):
        value, gradient = omniloss.value_and_grad(loss, y, p, w)
        assert_equal(jax.value_and_grad(loss, 1)(y_, p_, w_), (value, gradient))
        assert_equal(jax.jvp(lambda p, f=loss: f(y_, p, w_), (p_,), (p_,))[1], np.sum(gradient * p))
        pullback = jax.vjp(lambda p, f=loss: f(y_, p, w_), p_)[1]
        assert_equal(pullback(jnp.asarray(3.0))[0], 3 * gradient)
        hessian = jax.hessian(loss, 1)(y_, p_, w_)
        assert_equal(hessian, jax.jit(jax.hessian(loss, 1))(y_, p_, w_))
        assert np.abs(hessian).max() > 0.01
        assert_equal(jax.jacfwd(loss, 1)(y_, p_, w_), gradient)
        by_weights = jax.grad(loss, 2)(y_, p_, w_)
        rows = losses.get({"class_name": type(loss).__name__, "config": {"reduction": None}})
        assert_equal(by_weights, rows(y, p) / (1 if loss.reduction == "sum" else 4))
    half = p_.astype(jnp.bfloat16)
    found = jax.grad(losses.LogCosh(), 1)(y_, half)
    assert found.dtype == jnp.bfloat16
    assert_equal(found, jax.jit(jax.grad(losses.LogCosh(), 1))(y_, half))


def test_the_gradient_by_targets_and_by_both() -> None:
    y, p = jnp.asarray([[0.25, 0.75]]), jnp.asarray([[0.5, 0.125]])
    loss = losses.MeanSquaredError()
    by_targets, by_predictions = jax.grad(loss, (0, 1))(y, p)
    assert_equal(by_targets, y - p)
    assert_equal(by_predictions, p - y)
    assert_equal(jax.jit(jax.grad(losses.LogCosh()))(y, p), np.tanh(y - p) / 2)


def test_wrong_elements_give_nan_where_they_cannot_be_looked_at() -> None:
    """In the value and in the gradient, for labels and probabilities alike, and nowhere else."""
    p = np.full((4, 3), 0.25)
    wrong = np.array([0, 3, -1, 2])
    rows = losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)
    for y in (wrong, wrong.astype(float), np.array([0, 1, 2, 2**40])):
        bad = [index not in (0, 1, 2) for index in y]
        value = jax.jit(rows)(jnp.asarray(y), p)
        assert np.isnan(value).tolist() == bad
        for transform in (jax.jit, lambda f: f):
            gradient = transform(jax.grad(lambda p, y=y: rows(y, p).sum()))(jnp.asarray(p))
            assert np.isnan(gradient).any(1).tolist() == bad
            weighted = transform(jax.grad(lambda p, y=y, b=bad: SPARSE(y, p, ~np.array(b))))
            assert not np.isnan(weighted(jnp.asarray(p))).any()
    bce = losses.BinaryCrossentropy(reduction=None)
    for y_row, p_row in (([0.5, 2.0], [0.5, 0.5]), ([0.5, 0.5], [0.5, -1.0])):
        y, p = np.array([y_row, [0.5, 0.5]]), np.array([p_row, [0.5, 0.5]])
        value, gradient = jax.jit(lambda y, p: omniloss.value_and_grad(bce, y, p))(y, p)
        assert np.isnan(value).tolist() == [True, False]
        assert np.isnan(gradient).any(1).tolist() == [True, False]
        by_autodiff = jax.jit(jax.grad(lambda p, y=y: bce(y, p).sum()))(p)
        assert np.isnan(by_autodiff).any(1).tolist() == [True, False]


def test_labels_that_a_narrower_type_would_wrap() -> None:
    with jax.enable_x64(False):
        p = jnp.zeros((2, 3))
        y = np.array([0, 2**32 + 1])  # 1 in 32 bits
        assert np.isnan(jax.jit(lambda p: SPARSE(y, p))(p))
        kept = jax.jit(lambda p: nn.functional.cross_entropy(p, y, ignore_index=2**32 + 1))
        assert np.isfinite(nn.functional.cross_entropy(p, y, ignore_index=2**32 + 1))
        assert not np.isfinite(kept(p))  # which 32 bits cannot tell from others


def test_concrete_arrays_inside_of_jit_are_still_looked_at() -> None:
    y, p = jnp.asarray([0, 7]), jnp.zeros((2, 3))
    with pytest.raises(ValueError, match=r"y_true\[1\] = 7"):
        jax.jit(lambda x: x + SPARSE(y, p))(1.0)
    value = jax.jit(lambda x: x + SPARSE(jnp.minimum(y, 1), p))(1.0)
    np.testing.assert_allclose(value, 1 + np.log(3), rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "mean_with_sample_weight"])
@pytest.mark.parametrize(
    "case", {case.plan.formula.name: case for case in cases()}.values(), ids=str
)
def test_without_promotion(case: Case, reduction: str) -> None:
    """JAX's strict mode refuses to combine types that nobody has converted."""
    y, p = case.arrays(np.random.default_rng(1), (4, 3), "float32")
    rows = case.rows(p.shape)
    loss = case.loss(reduction=reduction)
    weights, mask = np.ones(rows, "float32"), np.ones(rows, bool)

    def gradient(y: Any, p: Any, weights: Any, mask: Any) -> Any:
        return jax.grad(lambda p: loss(y, p, weights, mask=mask))(p)

    with jax.enable_x64(False), jax.numpy_dtype_promotion("strict"):
        arrays = [jnp.asarray(x) for x in (y, p, weights, mask)]
        assert jax.eval_shape(gradient, *arrays).shape == p.shape
        if y.dtype != bool:
            integers = arrays[0].astype(jnp.int32)
            assert jax.eval_shape(gradient, integers, *arrays[1:]).shape == p.shape


@pytest.mark.parametrize(
    "loss",
    [
        losses.MeanSquaredError(),
        losses.MeanSquaredError(reduction="mean_with_sample_weight"),
        losses.CosineSimilarity(axis=0),
        lambda y, p, w: nn.functional.mse_loss(p, y),
        lambda y, p, w: nn.functional.kl_div(p, y, reduction="batchmean"),
    ],
    ids=["mean", "weighted", "batch", "torch", "batchmean"],
)
def test_sizes_that_an_export_leaves_open(loss: Any) -> None:
    rng = np.random.default_rng(2)
    y, p, w = rng.random((5, 3)), rng.random((5, 3)), rng.random(5)
    if isinstance(loss, losses.CosineSimilarity):  # whose losses are those of columns
        w = np.ones(1)
    (batch,) = jax.export.symbolic_shape("batch")
    shapes = [
        jax.ShapeDtypeStruct((batch if x.shape[0] > 1 else 1, *x.shape[1:]), x.dtype)
        for x in (y, p, w)
    ]
    for function in (loss, jax.grad(loss, argnums=1)):
        exported = jax.export.export(jax.jit(function))(*shapes)
        assert_equal(exported.call(y, p, w), function(*map(jnp.asarray, (y, p, w))))


def test_partials_are_carried_by_a_scan() -> None:
    rng = np.random.default_rng(93)
    y, p, w = rng.random((5, 4, 3)), rng.random((5, 4, 3)), rng.random((5, 4))
    loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")

    def step(so_far: Any, batch: Any) -> Any:
        part = omniloss.partial(loss, *batch)
        return so_far + part, part.total

    start = omniloss.partial(loss, jnp.asarray(y[0]), p[0], 0 * w[0])
    found, _ = jax.jit(lambda *x: jax.lax.scan(step, jax.tree.map(jnp.asarray, start), x))(y, p, w)
    np.testing.assert_allclose(
        found.result(), loss(y.reshape(20, 3), p.reshape(20, 3), w.reshape(20)), rtol=1e-12
    )


def test_the_gradient_of_a_partial() -> None:
    y, p = np.random.default_rng(94).random((2, 4, 3))
    loss = losses.LogCosh()
    found = jax.grad(lambda p: omniloss.partial(loss, y, p).result())(jnp.asarray(p))
    assert_equal(found, omniloss.value_and_grad(loss, y, p)[1])


def test_sequences() -> None:
    rng = np.random.default_rng(95)
    scores = rng.standard_normal((6, 2, 4))
    labels, steps, lengths = np.array([[1, 2, 2], [3, 1, 0]]), np.array([6, 5]), np.array([3, 2])

    def loss(scores: Any, of: Any = jax.nn.log_softmax) -> Any:
        return nn.functional.ctc_loss(of(scores), labels, steps, lengths)

    logits = np.asarray(jax.nn.log_softmax(scores))
    value, gradient = omniloss.value_and_grad(
        nn.functional.ctc_loss, logits, labels, steps, lengths
    )
    found = jax.jit(jax.value_and_grad(loss))(scores)
    assert_equal(found, (value, gradient))
    assert_equal(loss(jnp.asarray(scores)), value)


@pytest.mark.parametrize("dialect", ["nn", "losses"])
def test_the_steps_of_long_sequences_are_one_loop(dialect: str) -> None:
    rng = np.random.default_rng(97)
    logits = np.asarray(jax.nn.log_softmax(rng.standard_normal((200, 3, 5))))
    labels, lengths, steps = rng.integers(1, 5, (3, 20)), np.array([20, 0, 7]), [200, 150, 9]
    labels[np.arange(20) >= lengths[:, None]] = 0
    loss = losses.CTC("sum") if dialect == "losses" else nn.CTCLoss(reduction="sum")

    def arguments(logits: Any) -> tuple[Any, ...]:
        if dialect == "losses":
            return labels, logits.swapaxes(0, 1)
        return logits, labels, np.minimum(steps, len(logits)), lengths

    def by_derivative(logits: Any) -> Any:
        return omniloss.value_and_grad(loss, *arguments(logits))

    def by_autodiff(logits: Any) -> Any:
        place = 1 if dialect == "losses" else 0
        return jax.value_and_grad(loss, place)(*arguments(logits))

    expected = by_derivative(logits)
    for function in (by_derivative, by_autodiff):
        few, more = (str(jax.make_jaxpr(function)(logits[:n])).count(" = ") for n in (10, 15))
        assert few == more, "each step has operations of its own"
        assert_equal(jax.jit(function)(logits), expected)


def test_several_devices() -> None:
    """In a process of its own, which begins with four devices."""
    code = """
        import numpy as np, jax, jax.numpy as jnp, omniloss
        from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
        from omniloss import losses

        assert jax.device_count() == 4
        rng = np.random.default_rng(96)
        y, p, w = (rng.random(shape).astype("float32") for shape in ((8, 3), (8, 3), (8,)))
        mesh = Mesh(np.array(jax.devices()), ("data",))
        parts = [jax.device_put(x, NamedSharding(mesh, P("data"))) for x in (y, p, w)]
        near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
        for loss in (losses.LogCosh(), losses.BinaryCrossentropy(reduction="mean_with_sample_weight")):
            value, gradient = omniloss.value_and_grad(loss, y, p, w)
            # Arrays that lie on several devices, outside of jit and inside.
            near(loss(*parts), value)
            found = omniloss.value_and_grad(loss, *parts)
            near(found[0], value); near(found[1], gradient)
            assert found[1].sharding.is_equivalent_to(parts[1].sharding, 2)
            near(jax.grad(loss, 1)(*parts), gradient)
            found = jax.jit(jax.value_and_grad(loss, 1))(*parts)
            near(found[0], value); near(found[1], gradient)
            # A device's own share: totals and weights are added up.
            def share(y, p, w):
                part = omniloss.partial(loss, y, p, w)
                return jax.lax.psum(part, "data").result()
            over = jax.shard_map(share, mesh=mesh, in_specs=P("data"), out_specs=P())
            near(jax.jit(over)(*parts), value)
            near(jax.grad(lambda p: over(parts[0], p, parts[2]))(parts[1]), gradient)
            stacked = [x.reshape(4, 2, *x.shape[1:]) for x in (y, p, w)]
            near(jax.pmap(share, axis_name="data")(*stacked), np.full(4, value))
        # What is wrong is found on several devices too.
        sparse = losses.SparseCategoricalCrossentropy(from_logits=True)
        labels = jax.device_put(np.array([0, 1, 2, 0, 9, 0, 0, 0]), NamedSharding(mesh, P("data")))
        try:
            sparse(labels, parts[1])
        except ValueError as error:
            assert "y_true[4] = 9" in str(error), error
        else:
            raise AssertionError("a wrong label has passed")
        # The result is where committed arrays are.
        second = jax.devices()[1]
        there = [jax.device_put(x, second) for x in (y, p)]
        loss = losses.MeanSquaredError()
        assert loss(*there).devices() == {second} == loss(there[0], jnp.asarray(p)).devices()
        assert loss(y, there[1]).devices() == {second}
        assert omniloss.value_and_grad(loss, *there)[1].devices() == {second}
        assert jax.grad(loss, 1)(*there).devices() == {second}
    """
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", textwrap.dedent(code)],
        env={
            **os.environ,
            "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
            "PYTHONPATH": ":".join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
