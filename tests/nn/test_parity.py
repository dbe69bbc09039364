"""Every loss of the PyTorch dialect against the installed torch, in float64: values and gradients."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import omniloss
from support.torch_cases import FUNCTIONS, Case, cases

CASES = cases()


def of_torch(case: Case, by: str | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Torch's value, and its gradient by one argument."""
    arguments = {key: torch.tensor(array) for key, array in case.arguments.items()}
    if by is not None:
        arguments[by].requires_grad_()
    options = {
        key: torch.tensor(value) if isinstance(value, np.ndarray) else value
        for key, value in case.options.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = getattr(torch.nn.functional, case.name)(**arguments, **options)
    if by is None:
        return value.detach().numpy(), None
    value.sum().backward()
    gradient = arguments[by].grad
    return value.detach().numpy(), None if gradient is None else gradient.numpy()


def ours(case: Case, by: str | None = None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if by is None:
            return case.function(**case.arguments, **case.options)
        return omniloss.value_and_grad(case.function, **case.arguments, **case.options, wrt=by)


def assert_close(actual: Any, expected: Any) -> None:
    assert actual.dtype == np.float64
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients(name: str) -> None:
    mine = [case for case in CASES if case.name == name]
    assert mine
    for case in mine:
        try:
            expected, _ = of_torch(case)
            assert_close(ours(case), expected)
            for by in case.by:
                _, slope = of_torch(case, by)
                value, gradient = ours(case, by)
                assert_close(value, expected)
                assert_close(gradient, slope)
        except Exception as error:
            raise AssertionError(str(case)) from error


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_by_several_arguments_together(name: str) -> None:
    case = next(case for case in CASES if case.name == name and case.options["reduction"] == "mean")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, gradients = omniloss.value_and_grad(
            case.function, **case.arguments, **case.options, wrt=case.by
        )
    assert len(gradients) == len(case.by)
    for by, gradient in zip(case.by, gradients, strict=True):
        np.testing.assert_array_equal(gradient, ours(case, by)[1])
