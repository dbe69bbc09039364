"""`binary_cross_entropy_with_logits` with ``pos_weight`` on arrays too large for the short way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from omniloss import execution, native
from omniloss.nn import functional
from support.peaks import needs_peaks, peaks

theirs: Any = torch.nn.functional
needs_core = pytest.mark.skipif(native.core is None, reason="without the core")
SHAPES = [
    ((5000, 16), (16,)),
    ((5000, 16), ()),
    ((5000, 16), (5000, 1)),
    ((5000, 16), (5000, 16)),
    ((70_000,), (1,)),
    ((40, 50, 60), (50, 1)),
]


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("another way")


def draw(shape: tuple[int, ...], weight_shape: tuple[int, ...], dtype: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    x = 4 * rng.standard_normal(shape)
    y = np.where(rng.random(shape) < 0.5, rng.integers(0, 2, shape), rng.random(shape))
    return [a.astype(dtype) for a in (x, y, rng.uniform(0.1, 9, weight_shape))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("shape", "weight_shape"), SHAPES)
def test_value_and_gradient_are_torchs(
    shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    weighted: bool,
    reduction: str,
    dtype: str,
) -> None:
    x, y, positive = draw(shape, weight_shape, dtype)
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 3, shape[-1]).astype(dtype) if weighted else None
    above = rng.standard_normal(shape)
    tensors = [torch.from_numpy(a) for a in (x, y, positive)]
    wide = [a.double() for a in tensors]
    rtol = 4e-6 if dtype == "float32" else 1e-13

    def run(loss: Any, given: list[torch.Tensor]) -> list[np.ndarray]:
        leaf = given[0].clone().requires_grad_()
        own = None if weight is None else torch.from_numpy(weight).to(leaf.dtype)
        value = loss(leaf, given[1], own, reduction=reduction, pos_weight=given[2])
        value.backward(torch.from_numpy(above).to(leaf.dtype) if reduction == "none" else None)
        return [a.detach().numpy() for a in (value, leaf.grad)]

    value, gradient = run(theirs.binary_cross_entropy_with_logits, wide)
    size = np.abs(gradient).max()
    for _ in range(2):
        found = run(functional.binary_cross_entropy_with_logits, tensors)
        assert [a.dtype.name for a in found] == [dtype, dtype]
        np.testing.assert_allclose(found[0], value, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(found[1], gradient, rtol=rtol, atol=rtol * size)
        with torch.no_grad():
            np.testing.assert_allclose(
                functional.binary_cross_entropy_with_logits(
                    x, y, weight, reduction=reduction, pos_weight=positive
                ),
                value,
                rtol=rtol,
                atol=rtol,
            )


@needs_core
def test_the_core_computes_it_at_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The formula is not asked."""
    x, y, positive = draw((5000, 16), (16,), "float32")
    tensors = [torch.from_numpy(a) for a in (x, y, positive)]

    monkeypatch.setattr("omniloss.frameworks.base.Framework.run", refuse)
    for weight in (None, torch.rand(16)):
        for reduction in ("mean", "none"):
            leaf = tensors[0].clone().requires_grad_()
            loss = functional.binary_cross_entropy_with_logits(
                leaf, tensors[1], weight, reduction=reduction, pos_weight=tensors[2]
            )
            loss.sum().backward()
    for given in (x, x.astype(np.float16), x.astype(np.float64)):
        functional.binary_cross_entropy_with_logits(given, y, pos_weight=positive)
        functional.binary_cross_entropy_with_logits(given[:9], y[:9], pos_weight=positive)


@needs_core
@pytest.mark.parametrize("rows", [3, 5000])
@pytest.mark.parametrize("weighted", [False, True])
def test_later_calls_are_quick_and_give_the_bits_of_the_first(
    weighted: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, positive = (torch.from_numpy(a) for a in draw((rows, 16), (16,), "float32"))
    weight = torch.rand(16) if weighted else None

    def run(reduction: str) -> list[torch.Tensor]:
        leaf = x.clone().requires_grad_()
        loss = functional.binary_cross_entropy_with_logits(
            leaf, y, weight, reduction=reduction, pos_weight=positive
        )
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        return [loss.detach(), gradient]

    reductions = ("mean", "sum", "none")
    first = [run(reduction) for reduction in reductions]
    if not (weighted and rows == 5000):  # whose weights one thread would prepare
        monkeypatch.setattr(execution, "evaluate", refuse)
    for reduction, expected in zip(reductions, first, strict=True):
        torch.testing.assert_close(run(reduction), expected, rtol=0, atol=0)


@needs_core
@pytest.mark.parametrize("bad", [-0.5, 1.5])
def test_targets_that_are_no_probabilities(bad: float) -> None:
    x, y, positive = draw((5000, 16), (16,), "float32")
    y[4321, 5] = bad
    for given in ((x, y, positive), [torch.from_numpy(a) for a in (x, y, positive)]):
        with pytest.raises(ValueError, match=r"target\[4321, 5\]"):
            functional.binary_cross_entropy_with_logits(*given[:2], pos_weight=given[2])
        with pytest.raises(ValueError, match="pos_weight"):
            functional.binary_cross_entropy_with_logits(*given[:2], pos_weight=given[2][:7])


def test_what_has_no_weight_does_not_count() -> None:
    x, y, positive = draw((5000, 16), (16,), "float32")
    weight = np.ones_like(x)
    weight[::7] = 0
    kept = functional.binary_cross_entropy_with_logits(
        x[weight[:, 0] > 0], y[weight[:, 0] > 0], reduction="sum", pos_weight=positive
    )
    x[::7], y[::14] = np.nan, np.nan
    found = functional.binary_cross_entropy_with_logits(
        x, y, weight, reduction="sum", pos_weight=positive
    )
    assert found == pytest.approx(kept, rel=1e-6)


@needs_core
def test_weights_beyond_the_range_of_the_logits() -> None:
    """Whose products with the losses are not."""
    x = torch.tensor([[80.0, -1e8]], requires_grad=True)
    positive = torch.tensor([1e50, 1e-40], dtype=torch.float64)
    expected = positive * torch.tensor([np.exp(-80.0), 1e8])
    for reduction in ("none", "sum", "none", "sum"):
        found = functional.binary_cross_entropy_with_logits(
            x, torch.ones(1, 2), reduction=reduction, pos_weight=positive
        )
        wanted = expected[None].float() if reduction == "none" else expected.sum().float()
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
        (gradient,) = torch.autograd.grad(found.sum(), x)
        assert gradient[0, 0].item() == pytest.approx(-expected[0].item(), rel=1e-6)


@needs_core
@needs_peaks
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_less_than_a_megabyte_above_the_inputs_and_the_gradient(dtype: str) -> None:
    name = f"binary_cross_entropy_with_logits:{dtype}:pos_weight"
    peak, gradient = peaks("support.torch_memory", name)
    assert peak - gradient < 2**20
