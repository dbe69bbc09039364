"""The PyTorch dialect on arrays of a library that knows the array API standard alone."""

from __future__ import annotations

import warnings
from typing import Any

import array_api_strict
import numpy as np
import pytest

import omniloss
from support.torch_cases import FUNCTIONS, cases


@pytest.fixture(autouse=True)
def strict() -> Any:
    with array_api_strict.ArrayAPIStrictFlags(api_version="2023.12"), np.errstate(all="ignore"):
        yield


def as_strict(x: Any) -> Any:
    return array_api_strict.asarray(x) if isinstance(x, np.ndarray) else x


@pytest.mark.parametrize("name", FUNCTIONS)
def test_strict_arrays_give_what_numpy_gives(name: str) -> None:
    mine = [case for case in cases() if case.name == name]
    for case in mine[:: max(1, len(mine) // 40)]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected, slopes = omniloss.value_and_grad(
                case.function, **case.arguments, **case.options, wrt=case.by
            )
            value, gradients = omniloss.value_and_grad(
                case.function,
                **{key: as_strict(x) for key, x in case.arguments.items()},
                **{key: as_strict(x) for key, x in case.options.items()},
                wrt=case.by,
            )
        for mine_, its in zip((value, *gradients), (expected, *slopes), strict=True):
            assert mine_.dtype == array_api_strict.float64
            np.testing.assert_allclose(np.asarray(mine_), its, rtol=1e-12, atol=1e-13)
            assert mine_.shape == its.shape


def test_a_scalar_of_numpy_has_its_dtype_beside_other_arrays() -> None:
    target = array_api_strict.asarray(1.0)
    value = omniloss.nn.functional.mse_loss(np.float64(3.0), target)
    assert value.dtype == array_api_strict.float64
    assert float(value) == 4
