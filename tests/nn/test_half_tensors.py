"""bfloat16 and float16 tensors are read and their gradients written by the core as they are."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from omniloss import execution, losses, native, nn
from omniloss.nn import functional
from support.peaks import needs_peaks, peaks
from support.torch_cases import FUNCTIONS, cases

pytestmark = pytest.mark.skipif(native.core is None, reason="the native core is not installed")

HALF = [torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def assert_rounded_once(found: torch.Tensor, exact: torch.Tensor, slack: float) -> None:
    """Between the roundings of what is a little less and a little more than the exact number."""
    assert exact.dtype == torch.float64
    assert found.shape == exact.shape
    room = slack * (exact.abs() + exact.abs().amax())
    low, high = ((exact + side * room).to(found.dtype) for side in (-1, 1))
    assert bool(((found >= low) & (found <= high)).all())


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_values_and_gradients_are_rounded_once(name: str, dtype: torch.dtype) -> None:
    for case in (case for case in cases() if case.name == name):
        arguments = [
            torch.from_numpy(x).to(dtype) if x.dtype.kind == "f" else torch.from_numpy(x)
            for x in case.arguments.values()
            if isinstance(x, np.ndarray)
        ]
        if len(arguments) < len(case.arguments) or name == "ctc_loss":
            continue
        options = {
            key: torch.from_numpy(x) if isinstance(x, np.ndarray) else x
            for key, x in case.options.items()
        }
        for factor in (1.0, 1 / 3):
            exact = [x.double() if x.is_floating_point() else x for x in arguments]
            exact[0].requires_grad_()
            expected = case.function(*exact, **options)
            (slope,) = torch.autograd.grad(expected.sum() * factor, exact[0])
            leaf = arguments[0].clone().requires_grad_()
            for _ in range(2):
                value = case.function(leaf, *arguments[1:], **options)
                (gradient,) = torch.autograd.grad(value.double().sum() * factor, leaf)
                assert value.dtype == gradient.dtype == dtype
                if not bool(expected.isfinite().all()):
                    continue
                assert_rounded_once(value.detach(), expected.detach(), 1e-5)
                if value.ndim == 0:
                    rounded = float(torch.tensor(factor, dtype=dtype)) / factor
                    assert_rounded_once(gradient, slope * rounded, 1e-5)


@pytest.mark.parametrize("dtype", HALF)
def test_the_formula_is_not_needed(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.linspace(-3, 3, 2 * 700).to(dtype).reshape(2, 700).requires_grad_()
    y = torch.tensor([3, 650])
    expected = torch.autograd.grad(functional.cross_entropy(x, y), x)[0]

    def refuse(call: Any) -> Any:
        raise AssertionError("the general way was taken")

    monkeypatch.setattr(execution, "evaluate", refuse)
    value = functional.cross_entropy(x, y)
    assert value.dtype == dtype
    found = torch.autograd.grad(value, x)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    wide = x.detach().float().requires_grad_()
    torch.nn.functional.cross_entropy(wide, y).backward()
    torch.testing.assert_close(found, wide.grad.to(dtype))


@pytest.mark.parametrize("dtype", HALF)
def test_infinity_and_nan_are_kept(dtype: torch.dtype) -> None:
    for classes in (4, 300):
        x = torch.zeros(3, classes, dtype=dtype)
        x[0, 1], x[1, 2] = -math.inf, math.nan
        x.requires_grad_()
        value = functional.cross_entropy(x, torch.tensor([0, 0, 0]), reduction="sum")
        value.backward()
        assert value.isnan()
        assert x.grad[0, 1] == 0
        assert x.grad[1].isnan().all()
        assert not x.grad[[0, 2]].isnan().any()
    for _ in range(2):
        infinite = functional.mse_loss(
            torch.tensor([3e38], dtype=dtype), torch.tensor([0.0], dtype=dtype)
        )
        assert infinite == math.inf
        assert infinite.dtype == dtype


@pytest.mark.parametrize("dtype", HALF)
def test_what_autocast_and_the_other_dialect_widen(dtype: torch.dtype) -> None:
    x = torch.rand(4, 3).to(dtype).requires_grad_()
    y = torch.rand(4, 3).to(dtype)
    expected = torch.nn.functional.mse_loss(x.detach().double(), y.double())
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = functional.mse_loss(x, y)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
        value = losses.MeanSquaredError()(y, x)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=0)
        (value * 3).backward()
        slope = 6 * (x.detach().double() - y.double()) / 12
        torch.testing.assert_close(x.grad, slope.to(dtype), rtol=1e-9, atol=1e-9)
        x.grad = None


@pytest.mark.parametrize("dtype", HALF)
def test_second_derivatives(dtype: torch.dtype) -> None:
    x = torch.rand(4, 3).to(dtype).requires_grad_()
    for _ in range(2):
        (slope,) = torch.autograd.grad(nn.MSELoss()(x, x.detach() * 0), x, create_graph=True)
        assert slope.dtype == dtype
        assert_rounded_once(slope.detach(), x.detach().double() * (2 / 12), 1e-6)
        (second,) = torch.autograd.grad(slope.sum(), x)
        torch.testing.assert_close(second, torch.full_like(x, 2 / 12))


@needs_peaks
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse_loss"])
def test_no_copy_of_the_predictions_is_made(loss: str, dtype: str) -> None:
    peak, gradient = peaks("support.torch_memory", f"{loss}:{dtype}")
    assert gradient == 8000 * 1000 * 2
    assert peak - gradient < 2 * 2**20
