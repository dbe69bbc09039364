"""The functions' samples that torch itself ships, with `torch.nn.functional` replaced by `omniloss.nn.functional`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import omniloss
from omniloss import nn
from omniloss.nn import functional
from support.torch_cases import FUNCTIONS

# The one whose samples draw targets from all numbers, of which torch makes some number
REFUSED = "multilabel_soft_margin_loss"


@functools.cache
def sampled() -> dict[str, Any]:
    """Torch's descriptions of its functions, which take seconds to import."""
    from torch.testing._internal.common_methods_invocations import op_db

    prefix = "nn.functional."
    return {op.name.removeprefix(prefix): op for op in op_db if op.name.startswith(prefix)}


def outcome(function: Callable[..., Any], sample: Any) -> list[torch.Tensor | None]:
    """The loss, and its gradients by everything that requires one."""
    given = (sample.input, *sample.args, *sample.kwargs.values())
    leaves = [x for x in given if isinstance(x, torch.Tensor) and x.requires_grad]
    value = function(sample.input, *sample.args, **sample.kwargs)
    gradients = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
    return [value.detach(), *gradients]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_nothing_changes(name: str, dtype: torch.dtype) -> None:
    rtol = 1e-10 if dtype == torch.float64 else 5e-4 if name == "ctc_loss" else 2e-5
    op, compared = sampled()[name], 0
    for sample in op.sample_inputs("cpu", dtype, requires_grad=True):
        expected = outcome(op.op, sample)
        try:
            actual = outcome(getattr(functional, name), sample)
        except ValueError as error:
            assert name == REFUSED
            assert "`target` must lie in [0, 1]" in str(error)  # noqa: PT017
            continue
        torch.testing.assert_close(
            actual, expected, rtol=rtol, atol=rtol, equal_nan=True, msg=str(sample)
        )
        compared += 1
    assert compared >= (0 if name == REFUSED else 2)


def test_a_target_of_gaussian_nll_is_broadcast() -> None:
    """On NumPy the gradient by a target has the target's shape."""
    rng = np.random.default_rng(0)
    x, var = rng.normal(size=(3, 4)), rng.random((3, 4)) + 0.5
    for shape in ((3, 1), (4,), (1, 1), ()):
        y = rng.normal(size=shape)
        tensors = [torch.tensor(a, requires_grad=True) for a in (x, y, var)]
        expected = torch.nn.functional.gaussian_nll_loss(*tensors)
        slopes = torch.autograd.grad(expected, tensors)
        value, gradients = omniloss.value_and_grad(
            functional.gaussian_nll_loss, x, y, var, wrt=("input", "target", "var")
        )
        np.testing.assert_allclose(value, expected.item(), rtol=1e-14)
        for gradient, slope in zip(gradients, slopes, strict=True):
            np.testing.assert_allclose(gradient, slope.numpy(), rtol=1e-12, atol=1e-15)
    for wrong in (rng.normal(size=(3, 4, 4)), rng.normal(size=(3,))):
        with pytest.raises(ValueError, match=r"`target` must have the shape \(3, 4\)"):
            functional.gaussian_nll_loss(x, wrong, var)


@pytest.mark.parametrize("weight", [None, [1.0, 3.0, 2.0]])
@pytest.mark.parametrize("target", [1, [1]])
def test_a_row_or_a_batch_of_one(target: int | list[int], weight: list[float] | None) -> None:
    """One row's loss without a reduction has its class's shape."""
    row, options = np.array([0.5, 2.0, 1.0]), {"reduction": "none"}
    ours = nn.MultiMarginLoss(weight=weight, **options)
    given = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    theirs = torch.nn.MultiMarginLoss(weight=given, **options)
    x, y = torch.tensor(row, requires_grad=True), torch.tensor(target)
    expected = theirs(x, y)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    for _ in range(2):
        value = ours(x, y)
        (found,) = torch.autograd.grad(value.sum(), x)
        torch.testing.assert_close([value, found], [expected, slope])
    value, gradient = omniloss.value_and_grad(ours, row, target)
    torch.testing.assert_close(torch.tensor(value), expected.detach())
    torch.testing.assert_close(torch.tensor(gradient), slope)
