"""Every formula uses the Python array API alone, and keeps the precision that it is given."""

from typing import Any

import array_api_strict
import numpy as np
import pytest

from omniloss.formulas import FORMULAS, Formula
from support import samples

BOTH = ("value", "derivative")


@pytest.fixture(autouse=True)
def strict() -> Any:
    with array_api_strict.ArrayAPIStrictFlags(api_version="2023.12"), np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_strict_arrays_agree_with_numpy(formula: Formula, dtype: str) -> None:
    rng = np.random.default_rng(7)
    for parameters in samples.parameter_sets(formula):
        for regime in samples.REGIMES:
            inputs = samples.draw(formula, rng, regime, dtype, 12, 3)
            arrays = [array_api_strict.asarray(array) for array in inputs]
            for what in BOTH:
                function = getattr(formula, what)
                expected = function(np, *inputs, **parameters)
                actual = function(array_api_strict, *arrays, **parameters)
                assert actual.dtype == getattr(array_api_strict, dtype)
                assert expected.dtype == dtype
                np.testing.assert_array_equal(np.asarray(actual), expected)


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_shapes(formula: Formula) -> None:
    rng = np.random.default_rng(8)
    parameters = next(samples.parameter_sets(formula))
    targets, predictions = samples.draw(formula, rng, count=6, classes=4)
    lost = 1 if formula.kind == "rowwise" else 0
    shapes = [predictions.shape[: predictions.ndim - lost], predictions.shape]
    for what, shape in zip(BOTH, shapes, strict=True):
        assert getattr(formula, what)(np, targets, predictions, **parameters).shape == shape
        empty = getattr(formula, what)(np, targets[:0], predictions[:0], **parameters)
        assert empty.shape == (0, *shape[1:])


def test_the_registry_is_by_name() -> None:
    assert all(name == formula.name for name, formula in FORMULAS.items())
    assert len(FORMULAS) == 35
