"""One matrix: torch's transforms and tracers x every loss x the order of the derivative.

The truth is finite differences in float64 for derivatives, and for values the plain call, which is
compared with NumPy's elsewhere.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import omniloss
from omniloss import losses
from support.cases import cases
from support.tensor_losses import TensorLoss, batches, tensor_losses

torch = pytest.importorskip("torch")

from torch.autograd import forward_ad, gradcheck, gradgradcheck  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402

# Torch's own use of what it has deprecated
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning:omniloss"),
    # What kl_div says of its own default, as torch's does
    pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning"),
]

SPARSE = losses.SparseCategoricalCrossentropy(from_logits=True)
every_loss = pytest.mark.parametrize("loss", tensor_losses(), ids=str)
# Of torch's losses with one option those with all of them are enough where a trace is slow.
traced_losses = pytest.mark.parametrize(
    "loss",
    [loss for loss in tensor_losses() if not loss.batch or loss in batches()[loss.batch]],
    ids=str,
)


def assert_equal(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def leaves(loss: TensorLoss) -> tuple[Any, ...]:
    return tuple(x.clone().requires_grad_() for x in loss.inputs)


@every_loss
def test_derivatives_against_finite_differences(loss: TensorLoss) -> None:
    """First order, backward and forward, also batched, and second order."""
    inputs = leaves(loss)
    fast = len(inputs) > 1 or inputs[0].numel() > 36  # along one direction, not by every element
    assert gradcheck(
        loss.of_inputs, inputs, check_forward_ad=True, check_batched_grad=True, fast_mode=fast
    )
    assert gradgradcheck(loss.of_inputs, inputs, fast_mode=fast)
    if len(inputs) > 1:  # by the first alone the core differentiates once
        first, *rest = inputs
        fixed = [x.detach() for x in rest]
        assert gradgradcheck(lambda x: loss.of_inputs(x, *fixed), (first,), fast_mode=True)
    if loss.unweighted is not None:
        y = loss.tensors[0]
        assert gradcheck(lambda p: loss.unweighted(y, p), inputs)
        assert gradgradcheck(lambda p: loss.unweighted(y, p), inputs)


@every_loss
def test_function_transforms(loss: TensorLoss) -> None:
    inputs, tracked = loss.inputs, leaves(loss)
    places = tuple(range(len(inputs)))
    gradients = torch.autograd.grad(loss.total(*tracked), tracked)
    assert_equal(torch.func.grad(loss.total, places)(*inputs), gradients)
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        for x, found, gradient in zip(
            inputs, jacobian(loss.of_inputs, places)(*inputs), gradients, strict=True
        ):
            assert_equal(found.reshape(-1, *x.shape).sum(0), gradient)
    ones = tuple(map(torch.ones_like, inputs))
    slope = sum(gradient.sum() for gradient in gradients)
    assert_equal(torch.func.jvp(loss.total, inputs, ones)[1], slope)
    with forward_ad.dual_level():
        duals = map(forward_ad.make_dual, inputs, ones)
        assert_equal(forward_ad.unpack_dual(loss.total(*duals)).tangent, slope)
    second = torch.func.hessian(loss.total, places)(*inputs)
    assert_equal(second, torch.autograd.functional.hessian(loss.total, tracked))


@every_loss
def test_vmap(loss: TensorLoss) -> None:
    """Over batches, and over the samples of one where each has a loss of its own."""
    batches = loss.inputs, loss.other_inputs
    found = torch.func.vmap(loss.of_inputs)(*map(torch.stack, zip(*batches, strict=True)))
    assert_equal(found, torch.stack([loss.of_inputs(*batch) for batch in batches]))
    if loss.sample_axes is not None:
        found = torch.func.vmap(loss.loss, loss.sample_axes)(*loss.tensors)
        samples = zip(*map(torch.unbind, loss.tensors, loss.sample_axes), strict=True)
        expected = torch.stack([loss.loss(*sample) for sample in samples])
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11, equal_nan=True)


@traced_losses
def test_traces(loss: TensorLoss) -> None:
    """What make_fx and jit.trace record on one batch is right on another one."""
    inputs, others = loss.inputs, loss.other_inputs
    expected = loss.of_inputs(*inputs)
    both = torch.func.grad_and_value(loss.total, tuple(range(len(inputs))))
    assert_equal(make_fx(both)(*others)(*inputs), (both(*inputs)[0], expected.sum()))
    assert_equal(torch.jit.trace(loss.of_inputs, others)(*inputs), expected)


@every_loss
def test_fake_tensors(loss: TensorLoss) -> None:
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    expected = loss.loss(*loss.tensors)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:  # weights of classes are real
        fakes = list(map(mode.from_tensor, loss.tensors))
        found = loss.loss(*fakes)
    assert type(found) is FakeTensor
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    # A fake tensor that left its mode is still fake.
    assert type(loss.loss(*fakes)) is FakeTensor


def test_a_trace_serves_other_batch_sizes() -> None:
    for name in ("mean_squared_error", "categorical_crossentropy", "hinge"):
        case = next(case for case in cases() if case.name == name)
        y, p = (torch.from_numpy(x) for x in case.arrays(np.random.default_rng(82), (9, 3)))
        for options in ({}, {"reduction": "mean_with_sample_weight"}):
            loss = case.loss(**options)
            weights = (torch.rand(9, dtype=torch.float64),) if options else ()
            traced = torch.jit.trace(
                lambda *x, loss=loss: loss(*x), (y[:4], p[:4], *(w[:4] for w in weights))
            )
            assert_equal(traced(y, p, *weights), loss(y, p, *weights))


def test_modes_see_the_operations() -> None:
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[Any] = []

    class Dispatch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    class Functions(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    y, p = torch.rand(4, 3), torch.rand(4, 3)
    loss = losses.LogCosh()
    expected = loss(y, p)
    for mode in (Dispatch, Functions):
        seen.clear()
        with mode():
            torch.testing.assert_close(loss(y, p), expected)
        names = {getattr(func, "__name__", "") for func in seen}
        assert any("log1p" in name for name in names), names


def test_a_second_derivative_is_not_lost() -> None:
    """A gradient from the core is a constant to autodiff; with create_graph it must not be."""
    y, p = torch.rand(4, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)
    p.requires_grad_()
    for weights in ((), (torch.rand(4, dtype=torch.float64),)):
        value = losses.MeanSquaredError(reduction="sum")(y, p, *weights)
        (gradient,) = torch.autograd.grad(value, p, create_graph=True)
        (second,) = torch.autograd.grad(gradient.sum(), p)
        factors = weights[0][:, None] if weights else torch.ones(4, 1, dtype=torch.float64)
        assert_equal(second, (2 / 3) * factors.expand(4, 3))


def test_value_and_grad_can_be_differentiated() -> None:
    y, p = torch.rand(4, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)
    loss = losses.LogCosh()

    def both(p: Any) -> Any:
        return omniloss.value_and_grad(loss, y, p)

    assert gradcheck(both, (p.clone().requires_grad_(),))
    value, gradient = torch.func.vmap(lambda y, p: omniloss.value_and_grad(loss, y, p))(y, p)
    assert_equal(value.mean(), loss(y, p))
    assert_equal(gradient, both(p)[1] * 4)


def loss_by_predictions(loss: Any, y: Any, weights: Any, p: Any) -> Any:
    return loss(y, p, weights)


@pytest.mark.parametrize("transform", ["grad", "make_fx"])
def test_wrong_elements_give_nan_where_they_cannot_be_looked_at(transform: str) -> None:
    p = torch.full((3, 4), 0.5)
    p[1, 2] = 1.5
    one = torch.full((3, 4), 0.25)
    for loss, y, x in (
        (SPARSE, torch.tensor([0, 4, 3]), one),
        (SPARSE, torch.tensor([0, -1, 3]), one),
        (SPARSE, torch.tensor([0.0, 0.5, 3.0]), one),
        (losses.BinaryCrossentropy(), one, p),
        (losses.BinaryCrossentropy(), p, one),
        (losses.BinaryCrossentropy(from_logits=True), p, one),
        (losses.Poisson(), one, 1 - p),
        (losses.CategoricalCrossentropy(), one, 1 - p),
    ):
        for weights, spoilt in ((torch.ones(3), True), (torch.tensor([1.0, 0.0, 1.0]), False)):
            total = functools.partial(loss_by_predictions, loss, y, weights)

            gradient_of = torch.func.grad(total)
            if transform == "make_fx":
                value, gradient = make_fx(total)(x)(x), make_fx(gradient_of)(x)(x)
            else:
                gradient, value = torch.func.grad_and_value(total)(x)
            assert value.isnan() == spoilt
            assert gradient.isnan().all(1).tolist() == [False, spoilt, False]
            assert not gradient[::2].isnan().any()


def test_checkpoints_and_batched_upstreams() -> None:
    from torch.utils.checkpoint import checkpoint

    y, p = torch.rand(4, 3), torch.rand(4, 3, requires_grad=True)
    loss = losses.MeanSquaredError()
    (expected,) = torch.autograd.grad(loss(y, p), p)
    value = checkpoint(lambda p: loss(y, p), p, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(value, p)[0], expected)
    upstream = torch.rand(5)
    (batched,) = torch.autograd.grad(loss(y, p), p, upstream, is_grads_batched=True)
    torch.testing.assert_close(batched, upstream[:, None, None] * expected)
