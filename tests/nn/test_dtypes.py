"""Tensors of several dtypes: the loss, its dtype and its gradients' are torch's, and where torch refuses there is an error."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import omniloss
from omniloss.nn import functional
from support.tensor_losses import objects, tensors_of
from support.torch_cases import Case, small_cases

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
CASES = [case for case in small_cases() if case.options == {"reduction": "mean"}]
UNREDUCED = [Case(c.name, c.label, c.arguments, {"reduction": "none"}, c.by) for c in CASES]


def of_dtypes(case: Case, dtypes: tuple[torch.dtype, ...], names: tuple[str, ...]) -> Any:
    """The arguments, those of floats in dtypes one after the other, and of these the names as leaves."""
    given, left = tensors_of(case.arguments), itertools.cycle(dtypes)
    if "var" in given:  # the least one is none of half precision
        given["var"] += 1
    given = {k: x.to(next(left)) if x.is_floating_point() else x for k, x in given.items()}
    return {
        k: x.requires_grad_() if k in names and x.is_floating_point() else x
        for k, x in given.items()
    }


def assert_same(found: torch.Tensor, expected: torch.Tensor, coarse: bool) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    rtol = 6e-2 if coarse else 1e-4  # torch rounds each of its steps to half precision
    torch.testing.assert_close(found.double(), expected.double(), rtol=rtol, atol=rtol)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
@pytest.mark.parametrize("case", [*CASES, *UNREDUCED], ids=str)
def test_two_dtypes(case: Case) -> None:
    ours, theirs = objects(case)
    for names in ((), case.by[:1], case.by):
        for dtype in FLOATS:  # after which the core's quick way is known
            if case.name != "ctc_loss" or dtype.itemsize > 2:
                ours(*of_dtypes(case, (dtype,), names).values())
        for dtypes in itertools.permutations(FLOATS, 2):
            first, second = (of_dtypes(case, dtypes, names) for _ in range(2))
            coarse = any(dtype.itemsize == 2 for dtype in dtypes)
            try:
                expected = theirs(*second.values())
            except (RuntimeError, NotImplementedError) as error:
                if "Found dtype" in str(error):
                    with pytest.raises(RuntimeError, match="Found dtype"):
                        ours(*first.values())
                continue
            value = ours(*first.values())
            assert_same(value.detach(), expected.detach(), coarse)
            if not expected.requires_grad:
                continue
            asked = [key for key, x in first.items() if x.requires_grad]
            try:
                slopes = torch.autograd.grad(expected.sum(), [second[key] for key in asked])
            except RuntimeError as error:  # as torch's Huber loss does
                assert "Found dtype" in str(error)  # noqa: PT017
                continue
            found = torch.autograd.grad(value.sum(), [first[key] for key in asked])
            for slope, other in zip(found, slopes, strict=True):
                assert_same(slope, other, coarse)


INTEGERS = {
    "l1_loss",
    "mse_loss",
    "smooth_l1_loss",
    "poisson_nll_loss",
    "gaussian_nll_loss",
    "cosine_embedding_loss",
    "margin_ranking_loss",
    "triplet_margin_loss",
}


@pytest.mark.parametrize("case", [c for c in CASES if c.name in INTEGERS], ids=str)
def test_an_input_of_integers(case: Case) -> None:
    """It becomes what torch makes of it, and so do all together, where torch has a mean of these."""
    ours, theirs = objects(case)
    first = case.by[0]
    for dtype, all_of_them in itertools.product((torch.int64, torch.int16), (False, True)):
        given = tensors_of(case.arguments)
        for key in case.by if all_of_them else (first,):
            given[key] = given[key].abs().to(dtype)
        for other in (torch.float16, torch.float32, torch.float64):
            given = {k: x.to(other) if x.is_floating_point() else x for k, x in given.items()}
            try:
                expected = theirs(*given.values())
            except (RuntimeError, NotImplementedError):
                with pytest.raises(TypeError, match="floating point"):
                    ours(*given.values())
                continue
            for _ in range(2):
                assert_same(ours(*given.values()), expected, other == torch.float16)


def test_only_tensors_count_and_those_without_axes_do_not() -> None:
    x = torch.rand(3)
    wide = np.zeros(3)
    for target in (wide, wide.tolist()):
        assert functional.mse_loss(x, target).dtype == torch.float32
    assert functional.mse_loss(x.numpy(), wide).dtype == np.float32
    var = torch.tensor(2.0, dtype=torch.float64)
    for functions in (functional, torch.nn.functional):
        assert functions.gaussian_nll_loss(x, x, var.expand(3)).dtype == torch.float64
    assert functional.gaussian_nll_loss(x, x, var).dtype == torch.float32
    value, gradient = omniloss.value_and_grad(functional.mse_loss, x, torch.zeros(3).double())
    assert (value.dtype, gradient.dtype) == (torch.float64, torch.float32)


def test_autocast_and_transforms() -> None:
    x, y = torch.rand(2, 3), torch.rand(2, 3, dtype=torch.float64)
    for name in ("mse_loss", "binary_cross_entropy_with_logits"):
        ours, theirs = (getattr(f, name) for f in (functional, torch.nn.functional))
        for transform in (torch.func.grad, lambda f: torch.func.vmap(f, (0, 0))):
            found, expected = (transform(function)(x, y) for function in (ours, theirs))
            torch.testing.assert_close(found, expected)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found, expected = (f(x, y.bfloat16()) for f in (ours, theirs))
        torch.testing.assert_close(found, expected)


def test_probabilities_of_any_floats_under_autocast() -> None:
    probabilities, target = torch.rand(2, 3), torch.rand(2, 3)
    for x, y in ((probabilities.bfloat16(), target), (probabilities, target.bfloat16())):
        for _ in range(2):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found, expected = (
                    f.binary_cross_entropy(x, y) for f in (functional, torch.nn.functional)
                )
            assert found.dtype == expected.dtype
            torch.testing.assert_close(found, expected)
            with pytest.raises(RuntimeError, match="Found dtype"):
                functional.binary_cross_entropy(x, y)


@pytest.mark.slow
def test_compiled() -> None:
    x, y = torch.rand(2, 3, requires_grad=True), torch.rand(2, 3, dtype=torch.float64)
    for name in ("mse_loss", "binary_cross_entropy_with_logits"):
        ours = getattr(functional, name)
        found, expected = torch.compile(ours, fullgraph=True, backend="aot_eager")(x, y), ours(x, y)
        torch.testing.assert_close(found, expected)
        slopes = (torch.autograd.grad(value, x)[0] for value in (found, expected))
        torch.testing.assert_close(*slopes)
