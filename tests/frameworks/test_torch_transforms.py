"""One matrix: torch's transforms and tracers x every loss x the order of the derivative.

The truth is finite differences in float64 for derivatives, and for values the plain call, which is
compared with NumPy's elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import omniloss
from omniloss import losses
from support.cases import Case, cases

torch = pytest.importorskip("torch")

from torch.autograd import forward_ad, gradcheck, gradgradcheck  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402

# Torch's own use of what it has deprecated
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning:omniloss"),
]

Loss = Callable[[Any], Any]
SPARSE = losses.SparseCategoricalCrossentropy(from_logits=True)
IDS = [str(case) for case in cases()]


def drawn(case: Case, seed: int = 80) -> tuple[Any, Any, Any]:
    """Targets, predictions and weights, some of them 0, in float64."""
    rng = np.random.default_rng(seed)
    y, p = case.arrays(rng, (4, 3, 3), "float64")
    axis = case.axis % 3
    rows = p.shape[:axis] + p.shape[axis + 1 :]
    weights = np.where(rng.random(rows) < 0.3, 0, rng.random(rows))
    return torch.from_numpy(y), torch.from_numpy(p), torch.from_numpy(weights)


def loss_of_predictions(case: Case, reduction: str | None) -> tuple[Loss, Any]:
    y, p, weights = drawn(case)
    loss = case.loss(reduction=reduction)
    return lambda p: loss(y, p, weights), p


def assert_equal(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.fixture(params=["mean_with_sample_weight", None], ids=["reduced", "rows"])
def reduction(request: pytest.FixtureRequest) -> str | None:
    return request.param


@pytest.mark.parametrize("case", cases(), ids=IDS)
def test_derivatives_against_finite_differences(case: Case, reduction: str | None) -> None:
    """First order, backward and forward, also batched, and second order."""
    loss, p = loss_of_predictions(case, reduction)
    inputs = (p.requires_grad_(),)
    assert gradcheck(loss, inputs, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(loss, inputs)
    y, _, _ = drawn(case)
    unweighted = case.loss(reduction="sum" if reduction else None)
    assert gradcheck(lambda p: unweighted(y, p), inputs)
    assert gradgradcheck(lambda p: unweighted(y, p), inputs)


@pytest.mark.parametrize("case", cases(), ids=IDS)
def test_function_transforms(case: Case, reduction: str | None) -> None:
    loss, p = loss_of_predictions(case, reduction)
    leaf = p.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf).sum(), leaf)

    assert_equal(torch.func.grad(lambda p: loss(p).sum())(p), gradient)
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        assert_equal(jacobian(loss)(p).reshape(-1, *p.shape).sum(0), gradient)
    _, tangent = torch.func.jvp(lambda p: loss(p).sum(), (p,), (torch.ones_like(p),))
    assert_equal(tangent, gradient.sum())
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(p, torch.ones_like(p))
        assert_equal(forward_ad.unpack_dual(loss(dual).sum()).tangent, gradient.sum())
    second = torch.func.hessian(lambda p: loss(p).sum())(p)
    assert_equal(second, torch.autograd.functional.hessian(lambda p: loss(p).sum(), leaf))


@pytest.mark.parametrize("case", cases(), ids=IDS)
def test_vmap(case: Case) -> None:
    if case.axis == 0 or case.plan.labels == "auto":
        pytest.skip("a row of this loss lies across the batch, or its labels are the batch's")
    y, p, _ = drawn(case)
    loss = case.loss(reduction="sum")
    found = torch.func.vmap(lambda y, p: loss(y, p))(y, p)
    assert_equal(found, torch.stack([loss(*one) for one in zip(y, p, strict=True)]))


@pytest.mark.parametrize("case", cases(), ids=IDS)
def test_traces(case: Case, reduction: str | None) -> None:
    """What make_fx and jit.trace record on one batch is right on another one."""
    loss, p = loss_of_predictions(case, reduction)
    other = drawn(case, 81)[1]
    assert_equal(make_fx(loss)(other)(p), loss(p))
    gradient = torch.func.grad(lambda p: loss(p).sum())
    assert_equal(make_fx(gradient)(other)(p), gradient(p))
    assert_equal(torch.jit.trace(loss, (other,))(p), loss(p))


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


@pytest.mark.parametrize("case", cases(), ids=IDS)
def test_fake_tensors(case: Case, reduction: str | None) -> None:
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    loss, p = loss_of_predictions(case, reduction)
    y, _, weights = drawn(case)
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(x) for x in (y, p, weights)]
        found = case.loss(reduction=reduction)(*fakes)
    assert type(found) is FakeTensor
    assert found.shape == loss(p).shape
    assert found.dtype == p.dtype
    # A fake tensor that left its mode is still fake.
    outside = case.loss(reduction=reduction)(*fakes)
    assert type(outside) is FakeTensor


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
