"""Torch tensors give what NumPy arrays give, with the core and without it, and keep torch's manners."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

import omniloss
from omniloss import losses, native
from support.cases import Case, cases

torch = pytest.importorskip("torch")

UNITS = {"float32": 1.2e-7, "float64": 2.3e-16}
MSE = losses.MeanSquaredError()
SPARSE = losses.SparseCategoricalCrossentropy(from_logits=True)


def arrays(case: Case, dtype: str, seed: int, shape: tuple[int, ...] = (6, 5, 4)) -> list[Any]:
    """Targets, predictions, and weights and a mask for their rows, as NumPy arrays."""
    rng = np.random.default_rng(seed)
    y, p = case.arrays(rng, shape, dtype)
    rows = case.rows(p.shape)
    weights = np.where(rng.random(rows) < 0.3, 0, rng.random(rows)).astype(dtype)
    return [y, p, weights, np.asarray(rng.random(rows) < 0.7)]


def assert_near(actual: Any, expected: Any, units: float = 64) -> None:
    """Close to within units in the last place, of the largest number where terms may cancel."""
    assert type(actual) is torch.Tensor
    actual, expected = actual.detach().numpy(), np.asarray(expected)
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    size = np.max(np.abs(expected[np.isfinite(expected)]), initial=0)
    tolerance = units * UNITS[str(expected.dtype)]
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * size)


@pytest.fixture(params=["core", "formula"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How tensors are computed; NumPy gives the expected numbers before this is asked for."""
    if request.param == "core" and native.core is None:
        pytest.skip("the native core is not installed")
    return request.param


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", cases(), ids=str)
def test_values_and_gradients_are_numpys(
    case: Case, dtype: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    y, p, weights, mask = arrays(case, dtype, 70)
    tensors = [torch.from_numpy(x) for x in (y, p, weights, mask)]
    choices = list(itertools.product(("sum", "mean_with_sample_weight", None), (0, 1), (0, 1)))
    expected = []
    for reduction, weighted, masked in choices:
        loss = case.loss(reduction=reduction)
        options = {"mask": mask} if masked else {}
        arguments = (y, p, *([weights] if weighted else []))
        expected.append(omniloss.value_and_grad(loss, *arguments, **options))
    rows = case.function(y, p, **case.options)
    if way == "formula":
        monkeypatch.setattr(native, "core", None)

    for (reduction, weighted, masked), (value, gradient) in zip(choices, expected, strict=True):
        loss = case.loss(reduction=reduction)
        options = {"mask": tensors[3]} if masked else {}
        arguments = (tensors[0], tensors[1], *([tensors[2]] if weighted else []))
        assert_near(loss(*arguments, **options), value)
        for found, wanted in zip(
            omniloss.value_and_grad(loss, *arguments, **options), (value, gradient), strict=True
        ):
            assert_near(found, wanted)
        watched = tensors[1].clone().requires_grad_()
        found = loss(tensors[0], watched, *arguments[2:], **options)
        assert_near(found, value)
        found.sum().backward()
        assert_near(watched.grad, gradient)
    assert_near(case.function(*tensors[:2], **case.options), rows)


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_with_sample_weight"])
def test_partial_sums(reduction: str) -> None:
    case = next(case for case in cases() if case.name == "huber")
    y, p, weights, _ = (torch.from_numpy(x) for x in arrays(case, "float32", 71))
    p.requires_grad_()
    loss = case.loss(reduction=reduction)
    parts = [
        omniloss.partial(loss, *(x[piece] for x in (y, p, weights)))
        for piece in (slice(2), slice(2, None))
    ]
    result = sum(parts).result()
    assert result.dtype == torch.float64
    torch.testing.assert_close(result, loss(y, p, weights).double(), rtol=1e-6, atol=0)
    (by_parts,) = torch.autograd.grad(result, p)
    (at_once,) = torch.autograd.grad(loss(y, p, weights), p)
    torch.testing.assert_close(by_parts, at_once, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", cases(), ids=str)
def test_half_precision_is_computed_in_float32(case: Case, dtype: str) -> None:
    """What the float32 upcast gives, rounded once; a loss object returns float32."""
    half = getattr(torch, dtype)
    y, p, weights, _ = (torch.from_numpy(x) for x in arrays(case, "float32", 72))
    p = p.to(half)
    if case.plan.formula.targets.high != 1:  # which rounding could leave
        y = y if case.plan.formula.labels else y.to(half)
    wide = p.float().requires_grad_()
    narrow = p.clone().requires_grad_()
    expected = case.loss()(y, wide, weights)
    found = case.loss()(y, narrow, weights)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    expected.backward()
    found.backward()
    assert narrow.grad.dtype == half
    assert torch.equal(narrow.grad, wide.grad.to(half))
    rows = case.function(y, p, **case.options)
    assert rows.dtype == half
    assert torch.equal(rows, case.function(y, p.float(), **case.options).to(half))
    _, gradient = omniloss.value_and_grad(case.loss(), y, p)
    assert gradient.dtype == half


def test_types() -> None:
    p = torch.ones(2, 2)
    for dtype in (torch.float32, torch.float64):
        for y in (torch.zeros(2, 2, dtype=t) for t in (torch.bool, torch.int64, torch.float64)):
            assert MSE(y, p.to(dtype), np.ones(2)).dtype == dtype
    assert MSE(p, torch.ones(2, 2, dtype=torch.int32)).dtype == torch.float32
    assert losses.MeanSquaredError(dtype="float16")(p, p).dtype == torch.float16
    assert losses.MeanSquaredError(dtype="float64")(p, p).dtype == torch.float64
    with pytest.raises(TypeError, match="`y_pred` must hold real numbers; got a tensor of"):
        MSE(p, p.to(torch.complex64))


def test_lists_and_numpy_arrays_follow() -> None:
    y, p = np.zeros((2, 2), np.float32), torch.ones(2, 2)
    read_only = np.broadcast_to(np.float32(0), (2, 2))
    for targets in (y, y.tolist(), y[::-1], read_only, y.astype(np.uint16), y.astype(bool)):
        value = MSE(targets, p)
        assert type(value) is torch.Tensor
        assert value == 1
    for arguments in (
        (torch.zeros(2, 2), p.numpy()),
        (torch.zeros(2, 2), p.tolist()),
        (y, p.numpy(), torch.ones(2)),
        (y, p, [1.0, 1.0]),
        (y, p, 1.0),
    ):
        value = MSE(*arguments)
        assert type(value) is torch.Tensor
        assert value == 1
    assert MSE(p.tolist(), p.tolist(), mask=torch.tensor([True, False])) == 0


def test_bfloat16_arrays_of_numpy_follow() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    y = np.full((2, 2), 0.5, ml_dtypes.bfloat16)
    assert MSE(y, torch.ones(2, 2)) == 0.25


def test_two_frameworks_are_refused_by_name() -> None:
    xp = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match=r"two frameworks in one call, torch and array_api_strict"):
        MSE(xp.asarray([[1.0]]), torch.ones(1, 1))


@pytest.mark.parametrize("gradient", [False, True])
def test_wrong_elements_are_refused_as_on_numpy(gradient: bool) -> None:
    p = torch.rand(4, 3)
    labels = torch.tensor([0, 1, 7, -1])
    cases_ = [
        (SPARSE, labels, p),
        (SPARSE, torch.tensor([0.0, 0.5, 1.0, 2.0]), p),
        (losses.BinaryCrossentropy(), torch.round(p), 3 + p),
        (losses.BinaryCrossentropy(), 3 + p, p),
        (losses.Poisson(), p, -1 - p),
    ]
    for loss, y, x in cases_:
        with pytest.raises(ValueError) as expected:  # noqa: PT011
            loss(y.numpy(), x.numpy())
        x = x.clone().requires_grad_(gradient)
        for weights in ((), (torch.ones(4),), (torch.ones(4, requires_grad=True),)):
            with pytest.raises(ValueError) as found:  # noqa: PT011
                loss(y, x, *weights)
            assert str(found.value) == str(expected.value)


def test_shapes_and_layouts() -> None:
    rng = np.random.default_rng(73)
    y, p = (torch.from_numpy(rng.random((6, 8))) for _ in range(2))
    whole = torch.complex(p, p)
    for targets, predictions in (
        (y.T, p.T),
        (y[::2, ::3], p[::2, ::3]),
        (y[:, :1].expand(6, 8), p),
        (y, p[:, :1].expand(6, 8)),
        (y, whole.imag),
        (y, whole.conj().imag),  # a negative view
        (y, torch.view_as_real(whole)[..., 1]),
        (y[0], p[0]),
        (y.reshape(2, 3, 8), p.reshape(2, 3, 8)),
    ):
        expected, gradient = omniloss.value_and_grad(
            MSE, targets.resolve_neg().numpy(), predictions.resolve_neg().numpy()
        )
        leaf = predictions.detach().requires_grad_()
        value = MSE(targets, leaf)
        value.backward()
        np.testing.assert_allclose(value.detach().numpy(), expected, rtol=1e-14)
        np.testing.assert_allclose(leaf.grad.numpy(), gradient, rtol=1e-14, atol=1e-17)


def test_sparse_tensors_count_as_dense_ones() -> None:
    y, p = torch.eye(3), torch.eye(3).flip(0)
    assert MSE(y.to_sparse(), p) == MSE(y, p)
    leaf, dense = p.to_sparse().requires_grad_(), p.clone().requires_grad_()
    MSE(y, leaf).backward()
    MSE(y, dense).backward()
    torch.testing.assert_close(leaf.grad.to_dense(), dense.grad * (p != 0))


def test_subclasses_and_parameters() -> None:
    class Marked(torch.Tensor):
        pass

    y, p = torch.rand(3, 2), torch.rand(3, 2)
    value = MSE(y, p.as_subclass(Marked))
    assert type(value) is Marked
    torch.testing.assert_close(value.as_subclass(torch.Tensor), MSE(y, p))
    parameter = torch.nn.Parameter(p)
    MSE(y, parameter).backward()
    torch.testing.assert_close(parameter.grad, (p - y) / 3)


def test_empty_and_uncounted_batches_have_a_gradient() -> None:
    for shape, options in (((0, 3), {}), ((2, 3), {"mask": torch.zeros(2, dtype=torch.bool)})):
        for weights in ((), (torch.ones(shape[0], requires_grad=True),)):
            p = torch.rand(shape, requires_grad=True)
            value = MSE(torch.rand(shape), p, *weights, **options)
            assert value == 0
            value.backward()
            assert torch.equal(p.grad, torch.zeros(shape))


def test_what_does_not_count_changes_nothing() -> None:
    p = torch.tensor([[1.0, 2.0], [float("nan"), 5.0]], requires_grad=True)
    for reduction in ("sum", None):
        for weights in (torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0], requires_grad=True)):
            loss = losses.MeanSquaredError(reduction=reduction)
            (gradient,) = torch.autograd.grad(loss(torch.zeros(2, 2), p, weights).sum(), p)
            assert gradient.tolist() == [[1.0, 2.0], [0.0, 0.0]]


@pytest.mark.skipif(native.core is None, reason="the formula need not keep what it is given")
def test_a_change_in_place_after_the_call() -> None:
    """A reduced loss has its gradient already; where the arrays are needed again, it is an error as in torch."""
    unreduced = losses.MeanSquaredError(reduction=None)
    for changed in ("predictions", "targets", "weights"):
        leaf = torch.rand(3, 2, requires_grad=True)
        named = {"targets": torch.rand(3, 2), "predictions": leaf * 1, "weights": torch.rand(3)}
        (expected,) = torch.autograd.grad(MSE(*named.values()), leaf, retain_graph=True)
        value, rows = MSE(*named.values()), unreduced(*named.values())
        named[changed].detach().add_(1)
        (gradient,) = torch.autograd.grad(value, leaf, retain_graph=True)
        assert torch.equal(gradient, expected)
        for needed in (value, rows.sum()):
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                torch.autograd.grad(needed, leaf)


def test_backward_again() -> None:
    """With the graph retained the gradient is the same each time; without, torch's own error."""
    y, p = torch.rand(4, 3), torch.rand(4, 3, requires_grad=True)
    for loss in (MSE, losses.mse):
        for weights in ((), (torch.rand(4),)) if loss is MSE else ((),):
            value = loss(y, p, *weights).sum()
            (first,) = torch.autograd.grad(value, p, retain_graph=True)
            kept = first.clone()
            (second,) = torch.autograd.grad(3 * value, p, retain_graph=True)
            (third,) = torch.autograd.grad(value, p)
            torch.testing.assert_close(second, 3 * kept)
            torch.testing.assert_close(third, kept)
            assert torch.equal(first, kept)
            with pytest.raises(RuntimeError, match="second time"):
                torch.autograd.grad(value, p)


def test_gradients_by_targets_and_weights() -> None:
    y, p = torch.rand(4, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)
    weights = torch.rand(4, dtype=torch.float64)
    for reduction in ("sum", "mean_with_sample_weight", None):
        loss = losses.LogCosh(reduction=reduction)
        arguments = [x.clone().requires_grad_() for x in (y, p, weights)]
        assert torch.autograd.gradcheck(loss, arguments)
        assert torch.autograd.gradgradcheck(loss, arguments)


@pytest.mark.parametrize("epsilon", [0.0, 1e-7])
@pytest.mark.parametrize(
    ("loss", "linear"),
    [
        (losses.Poisson(reduction="sum"), True),
        *[
            (
                cls(from_logits=logits, reduction="sum"),
                "Focal" not in cls.__name__ or "Cat" in cls.__name__,
            )
            for cls in (
                losses.BinaryCrossentropy,
                losses.CategoricalCrossentropy,
                losses.BinaryFocalCrossentropy,
                losses.CategoricalFocalCrossentropy,
            )
            for logits in (False, True)
        ],
    ],
    ids=repr,
)
def test_gradients_by_targets_of_0_and_1(loss: losses.Loss, linear: bool, epsilon: float) -> None:
    """What a target does not weigh counts as soon as the target is moved."""
    y = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]], dtype=torch.float64)
    p = torch.tensor([[0.1, 0.7, 0.2], [0.3, 0.6, 0.1], [0.5, 0.25, 0.25]], dtype=torch.float64)
    with omniloss.config(epsilon=epsilon):
        targets, predictions = y.clone().requires_grad_(), p.clone().requires_grad_()
        by_both = torch.autograd.grad(loss(targets, predictions), (targets, predictions))
        (alone,) = torch.autograd.grad(loss(y, predictions), predictions)
        torch.testing.assert_close(by_both[1], alone)
        # Targets stay in [0, 1]; but for the binary focal losses the loss is linear in them.
        step = 1e-3 if linear else 1e-6
        for index in np.ndindex(*y.shape):
            moved = y.clone()
            moved[index] += step if y[index] < 1 else -step
            expected = (loss(moved, p) - loss(y, p)) / (moved[index] - y[index])
            tolerance = 1e-9 if linear else 1e-4
            torch.testing.assert_close(by_both[0][index], expected, rtol=tolerance, atol=tolerance)


def test_gradients_at_probabilities_of_0() -> None:
    """Where a target of 0 silences an infinite logarithm: by the predictions exact, by the target large."""
    for loss, slope in (
        (losses.BinaryCrossentropy(reduction="sum"), 0.5),
        (losses.CategoricalCrossentropy(reduction="sum"), 1.0),
        (losses.Poisson(reduction="sum"), 0.5),
    ):
        y = torch.tensor([[0.0, 1.0]], requires_grad=True)
        p = torch.tensor([[0.0, 1.0]], requires_grad=True)
        with omniloss.config(epsilon=0.0):
            value = loss(y, p)
            by_target, by_prediction = torch.autograd.grad(value, (y, p), create_graph=True)
            second = torch.autograd.grad(by_target.sum() + by_prediction.sum(), p)
        assert by_prediction[0, 0] == slope
        assert 40 < by_target[0, 0] < torch.inf
        assert bool(second[0].isfinite().all())


def test_nothing_is_recorded_without_need() -> None:
    y, p = torch.rand(4, 3), torch.rand(4, 3, requires_grad=True)
    assert not MSE(y, p.detach()).requires_grad
    with torch.no_grad():
        assert not MSE(y, p).requires_grad
        assert not MSE(y, p, torch.ones(4)).requires_grad
    with torch.inference_mode():
        value = MSE(y, p)
        assert value.is_inference()
        assert MSE(torch.zeros(2, 2), torch.ones(2, 2)) == 1
    torch.testing.assert_close(value.clone(), MSE(y, p.detach()))


def test_default_dtype_and_device_do_not_matter() -> None:
    y, p = torch.rand(4, 3), torch.rand(4, 3)
    expected = MSE(y, p)
    balanced = losses.CategoricalFocalCrossentropy(alpha=[0.1, 0.2, 0.3])
    expected_balanced = balanced(y, p)
    labels = torch.tensor([0, 2, 1, 1])
    expected_sparse = SPARSE(labels, p)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found = [MSE(y, p), MSE(y, p.clone().requires_grad_()), MSE(y.tolist(), p)]
            found_balanced = balanced(y, p)
            by_formula = torch.func.vmap(lambda labels, p: SPARSE(labels[None], p[None]))(labels, p)
            assert by_formula.device.type == "cpu"
            empty = MSE(y[:0], p[:0].requires_grad_())
    finally:
        torch.set_default_dtype(torch.float32)
    for value in (*found, found_balanced, empty):
        assert value.device.type == "cpu"
        assert value.dtype == torch.float32
    for value in found:
        torch.testing.assert_close(value, expected)
    torch.testing.assert_close(found_balanced, expected_balanced)
    torch.testing.assert_close(by_formula.mean(), expected_sparse)
    assert MSE(torch.ones(2, 2, device="meta"), torch.ones(2, 2, device="meta")).is_meta


def test_autocast_computes_in_float32() -> None:
    y, p = torch.rand(4, 3), torch.rand(4, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predictions = p @ torch.eye(3)
        assert predictions.dtype == torch.bfloat16
        value = losses.mse(y, predictions)
        assert value.dtype == torch.float32
        assert losses.mse(y, p.double()).dtype == torch.float64
    torch.testing.assert_close(value, losses.mse(y, predictions.float()))
    value.sum().backward()
    assert p.grad.dtype == torch.float32


def test_attached_masks_and_losses_of_ones_own() -> None:
    class FourthPower(losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return ((y_pred - y_true) ** 4).mean(-1)

    y, p = torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [2.0, 2.0]], requires_grad=True)
    value = FourthPower()(y, p, torch.tensor([1.0, 0.5]))
    value.backward()
    assert value == 4.5
    assert p.grad.tolist() == [[1.0, 1.0], [4.0, 4.0]]
    masked = p.detach().clone()
    masked._keras_mask = torch.tensor([True, False])
    assert MSE(y, masked) == 1


def test_calls_from_many_threads() -> None:
    rng = np.random.default_rng(74)
    y, p = (torch.from_numpy(rng.random((64, 300))) for _ in range(2))
    expected = omniloss.value_and_grad(MSE, y.numpy(), p.numpy())
    wrong: list[str] = []

    def work() -> None:
        for _ in range(50):
            leaf = p.clone().requires_grad_()
            value = MSE(y, leaf)
            value.backward()
            near = np.allclose(leaf.grad.numpy(), expected[1], rtol=1e-14, atol=0)
            if not near or abs(value.item() - expected[0]) > 1e-15:
                wrong.append(f"{value.item()} for {expected[0]}")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(native.core is None, reason="the native core is not installed")
def test_a_first_call_that_is_watched_does_not_keep_later_ones_from_the_core() -> None:
    script = """
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from omniloss import losses
loss = losses.MeanSquaredError()
with FakeTensorMode(), torch.device("meta"):
    loss(torch.ones(2, 2), torch.ones(2, 2))
with torch.inference_mode():
    loss(torch.ones(2, 2), torch.ones(2, 2))
for weights in (), (torch.ones(2),):
    value = loss(torch.ones(2, 2), torch.ones(2, 2, requires_grad=True), *weights)
    assert "_NativeBackward" in str(value.grad_fn), value.grad_fn
"""
    run(script)


def run(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_torch_is_imported_by_the_user_alone() -> None:
    """And the array libraries' common layer, which takes its time, not at all."""
    script = """
import sys
import numpy as np
from omniloss import losses
losses.MeanSquaredError()(np.ones((2, 2)), np.ones((2, 2)))
assert "torch" not in sys.modules
import torch
assert losses.MeanSquaredError()(torch.ones(2, 2), torch.zeros(2, 2)) == 1
assert "array_api_compat" not in sys.modules
"""
    run(script)
