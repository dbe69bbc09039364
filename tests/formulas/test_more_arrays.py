"""The derivatives by everything but the predictions, and the formulas of more than two arrays.

Both against central differences, and the values of the latter against mpmath, from their definitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_strict
import numpy as np
import pytest
from mpmath import mp, mpf

from omniloss.formulas import FORMULAS, FORMULAS_OF_MORE, Formula
from support import samples

Arrays = list[np.ndarray]
WITH_TARGETS = {
    name: formula
    for name, formula in {**FORMULAS, **FORMULAS_OF_MORE}.items()
    if formula.target_derivative is not None
}
PARAMETERS: dict[str, list[dict[str, float]]] = {
    "gaussian_nll": [{"eps": 1e-6, "full": 0.0}, {"eps": 0.5, "full": 1.0}],
    "margin_ranking": [{"margin": 0.0}, {"margin": 0.3}],
    "weighted_binary_crossentropy_with_logits": [{}],
    "weighted_categorical_crossentropy_with_logits": [{}],
    "multilabel_soft_margin": [{}],
    "cosine_embedding": [{"margin": 0.0, "eps": 1e-12}, {"margin": 0.3, "eps": 0.5}],
    "triplet_margin": [
        {"margin": 1.0, "p": p, "eps": eps, "swap": swap}
        for p in (0.5, 1.0, 2.0, 3.0, float("inf"))
        for eps in (0.0, 1e-6)
        for swap in (0.0, 1.0)
    ],
    "distance_margin": [{"margin": 1.0}],
}


def parameter_sets(formula: Formula) -> list[dict[str, float]]:
    if formula.name in PARAMETERS:
        return PARAMETERS[formula.name]
    return list(samples.parameter_sets(formula))


def draw(formula: Formula, rng: np.random.Generator, count: int, spread: float = 1.0) -> Arrays:
    """Targets, predictions and others."""
    if formula.name in FORMULAS:
        return list(samples.draw(formula, rng, count=count, classes=4))
    shape = (count, 4) if formula.kind == "rowwise" else (count,)
    arrays = [spread * rng.standard_normal(shape) for _ in range(2)]
    if formula.targets.high == 1 or "categorical" in formula.name:
        arrays[0] = rng.choice([0.0, 0.3, 1.0], shape)
    for other in formula.others:
        if other.shape == "rows":
            arrays.append(rng.choice([-1.0, 0.0, 1.0], count))
        elif other.name in ("var", "weight", "pos_weight"):
            arrays.append(rng.uniform(0.6, 3.0, shape))
        else:
            arrays.append(spread * rng.standard_normal(shape))
    if formula.name == "margin_ranking":
        arrays[0] = rng.choice([-1.0, 1.0], shape)
    if formula.name == "distance_margin":
        arrays = [np.abs(array) for array in arrays]
    return arrays


def slopes(formula: Formula, arrays: Arrays, place: int, parameters: dict[str, float]) -> Any:
    """Central differences by one of the arrays."""

    def differences(step: float) -> np.ndarray:
        result = np.empty_like(arrays[place])
        rowwise = formula.kind == "rowwise"
        for move in np.eye(arrays[place].shape[-1]) if rowwise else [np.ones(())]:
            ends = []
            for sign in (1, -1):
                moved = [*arrays]
                moved[place] = arrays[place] + sign * step * move
                ends.append(formula.value(np, *moved, **parameters))
            slope = (ends[0] - ends[1]) / (2 * step)
            result[..., move > 0] = slope[..., None]
        return result

    return (4 * differences(1e-5) - differences(2e-5)) / 3


@pytest.mark.parametrize("name", WITH_TARGETS)
def test_target_derivatives_are_the_slopes_of_the_value(name: str) -> None:
    formula = WITH_TARGETS[name]
    rng = np.random.default_rng(0)
    for parameters in parameter_sets(formula):
        arrays = draw(formula, rng, 40)
        if formula.targets.low == 0:
            arrays[0] = np.clip(np.abs(arrays[0]), 0.05, 0.95)
        expected = slopes(formula, arrays, 0, parameters)
        actual = formula.target_derivative(np, *arrays, **parameters)  # type: ignore[misc]
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7, err_msg=str(parameters))


def test_target_derivatives_of_counts_above_one() -> None:
    rng = np.random.default_rng(1)
    for name in ("poisson_of_logs", "poisson_with_stirling"):
        formula = FORMULAS[name]
        for parameters in parameter_sets(formula):
            arrays = [rng.uniform(1.1, 30, 40), rng.uniform(0.1, 3, 40)]
            expected = slopes(formula, arrays, 0, parameters)
            actual = formula.target_derivative(np, *arrays, **parameters)  # type: ignore[misc]
            np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", FORMULAS_OF_MORE)
def test_the_other_derivatives_are_the_slopes_of_the_value(name: str) -> None:
    formula = FORMULAS_OF_MORE[name]
    rng = np.random.default_rng(2)
    arguments = ["predictions", *(other.name for other in formula.others)]
    for parameters in parameter_sets(formula):
        arrays = draw(formula, rng, 40)
        for place, argument in enumerate(arguments, start=1):
            derivative = formula.derivative_by(argument)
            if derivative is None:
                continue
            expected = slopes(formula, arrays, place, parameters)
            actual = derivative(np, *arrays, **parameters)
            assert actual.shape == arrays[1].shape
            np.testing.assert_allclose(
                actual, expected, rtol=1e-5, atol=1e-6, err_msg=f"{argument} {parameters}"
            )


# The definitions, of one element or row: they give the terms that the loss is the sum of.


def _norm(x: list[mpf], p: float) -> mpf:
    if p == float("inf"):
        return max(abs(number) for number in x)
    return mp.fsum(abs(number) ** mpf(p) for number in x) ** (1 / mpf(p))


def _gaussian(y: mpf, p: mpf, var: mpf, eps: mpf, full: mpf) -> list[mpf]:
    variance = max(var, eps)
    constant = [mp.log(2 * mp.pi) / 2] if full else []
    return [mp.log(variance) / 2, (p - y) ** 2 / variance / 2, *constant]


def _ranking(y: mpf, p: mpf, q: mpf, margin: mpf) -> list[mpf]:
    terms = [margin, -y * p, y * q]
    return terms if mp.fsum(terms) > 0 else []


def _softplus(x: mpf) -> mpf:
    return mp.log1p(mp.exp(x))


def _weighted_binary(y: mpf, x: mpf, weight: mpf) -> list[mpf]:
    return [weight * y * _softplus(-x), (1 - y) * _softplus(x)]


def _multilabel(y: mpf, x: mpf, weight: mpf) -> list[mpf]:
    return [weight * y * _softplus(-x), weight * (1 - y) * _softplus(x)]


def _weighted_categorical(y: list[mpf], x: list[mpf], weight: list[mpf]) -> list[mpf]:
    total = mp.log(mp.fsum(mp.exp(number) for number in x))
    return [a * w * (total - number) for a, w, number in zip(y, weight, x, strict=True)]


def _cosine(y: list[mpf], p: list[mpf], label: mpf, margin: mpf, eps: mpf) -> list[mpf]:
    lengths = [mp.sqrt(mp.fsum(a**2 for a in x) + eps) for x in (y, p)]
    terms = [a * b / lengths[0] / lengths[1] for a, b in zip(y, p, strict=True)]
    if label == 1:
        return [mpf(1), *(-term for term in terms)]
    terms.append(-margin)
    return terms if label == -1 and mp.fsum(terms) > 0 else []


def _triplet(
    y: list[mpf], a: list[mpf], n: list[mpf], margin: mpf, p: float, eps: mpf, swap: float
) -> list[mpf]:
    def distance(first: list[mpf], second: list[mpf]) -> mpf:
        return _norm([b - c + eps for b, c in zip(first, second, strict=True)], p)

    far = distance(a, n)
    terms = [margin, distance(a, y), -(min(far, distance(y, n)) if swap else far)]
    return terms if mp.fsum(terms) > 0 else []


def _distances(y: mpf, p: mpf, swapped: mpf, margin: mpf) -> list[mpf]:
    terms = [margin, p, -min(y, swapped)]
    return terms if mp.fsum(terms) > 0 else []


DEFINITIONS: dict[str, Callable[..., list[mpf]]] = {
    "gaussian_nll": _gaussian,
    "margin_ranking": _ranking,
    "weighted_binary_crossentropy_with_logits": _weighted_binary,
    "weighted_categorical_crossentropy_with_logits": _weighted_categorical,
    "multilabel_soft_margin": _multilabel,
    "cosine_embedding": _cosine,
    "triplet_margin": _triplet,
    "distance_margin": _distances,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FORMULAS_OF_MORE)
def test_values_of_more_arrays_are_exact(name: str, dtype: type) -> None:
    """Float32 is computed in float64, as on NumPy; 4 units of the sum of the absolute terms."""
    formula = FORMULAS_OF_MORE[name]
    rng = np.random.default_rng(3)
    for spread in (1.0, 30.0, 1e-6 if "crossentropy" in name else 1e15):
        for parameters in parameter_sets(formula):
            arrays = [x.astype(dtype) for x in draw(formula, rng, 12, spread)]
            actual = formula.value(np, *(x.astype(np.float64) for x in arrays), **parameters)
            actual = actual.astype(dtype)
            with mp.workdps(60):
                exact = {
                    key: number if key == "p" else mpf(number) for key, number in parameters.items()
                }
                for row, value in enumerate(actual):
                    given = [
                        [mpf(float(a)) for a in x[row]] if x.ndim > 1 else mpf(float(x[row]))
                        for x in arrays
                    ]
                    terms = DEFINITIONS[name](*given, **exact)
                    total = mp.fsum(terms)
                    size = max(float(mp.fsum(terms, absolute=True)), np.finfo(dtype).tiny)
                    error = abs(mpf(float(value)) - total)
                    assert error <= 4 * float(np.spacing(dtype(size))), (name, parameters, row)


@pytest.mark.parametrize("name", FORMULAS_OF_MORE)
def test_more_arrays_use_the_array_api_alone(name: str) -> None:
    formula = FORMULAS_OF_MORE[name]
    rng = np.random.default_rng(4)
    functions = [formula.value, formula.derivative, formula.target_derivative]
    functions += [other.derivative for other in formula.others]
    with array_api_strict.ArrayAPIStrictFlags(api_version="2023.12"):
        for parameters in parameter_sets(formula):
            for dtype in ("float32", "float64"):
                arrays = [x.astype(dtype) for x in draw(formula, rng, 6)]
                for function in filter(None, functions):
                    expected = function(np, *arrays, **parameters)
                    strict = [array_api_strict.asarray(x) for x in arrays]
                    actual = function(array_api_strict, *strict, **parameters)
                    assert expected.dtype == dtype
                    np.testing.assert_array_equal(np.asarray(actual), expected)


@pytest.mark.parametrize("name", FORMULAS_OF_MORE)
def test_nan_in_any_array_comes_out(name: str) -> None:
    formula = FORMULAS_OF_MORE[name]
    rng = np.random.default_rng(5)
    for parameters in parameter_sets(formula):
        arrays = draw(formula, rng, 6)
        for place in range(len(arrays)):
            spoiled = [x.copy() for x in arrays]
            spoiled[place][2] = np.nan
            if name == "cosine_embedding":
                spoiled[2][2] = np.nan if place == 2 else 1.0
            with np.errstate(all="ignore"):
                value = formula.value(np, *spoiled, **parameters)
            assert np.isnan(value[2]), (place, parameters, value)
            assert np.isfinite(np.delete(value, 2)).all()
