"""Every closed-form derivative against central differences of its formula's value, in float64."""

import numpy as np
import pytest

from omniloss.formulas import FORMULAS, Formula
from support import samples


def differences(
    formula: Formula, targets: np.ndarray, predictions: np.ndarray, parameters: dict[str, float]
) -> np.ndarray:
    """Central differences with the step's second-order error taken out (Richardson)."""

    def slopes(step: float) -> np.ndarray:
        result = np.empty_like(predictions)
        moves = [np.ones(())]
        if formula.kind == "rowwise":
            moves = list(np.eye(predictions.shape[-1]))
        for move in moves:
            above = formula.value(np, targets, predictions + step * move, **parameters)
            below = formula.value(np, targets, predictions - step * move, **parameters)
            slope = (above - below) / (2 * step)
            result[..., move > 0] = slope[..., None]
        return result

    return (4 * slopes(1e-5) - slopes(2e-5)) / 3


def random_parameters(formula: Formula, rng: np.random.Generator) -> dict[str, float]:
    """Parameters that nobody chose for being round."""
    drawn = {
        "delta": rng.uniform(0.2, 2),
        "epsilon": rng.choice([0.0, 1e-7, 0.03]),
        "alpha": rng.uniform(0, 1),
        "gamma": rng.uniform(0, 4),
        "balanced": rng.choice([0.0, 1.0]),
        "beta": rng.uniform(0.2, 2),
        "full": rng.choice([0.0, 1.0]),
        "limit": 100.0,
        "margin": rng.uniform(-1, 2),
        "p": rng.choice([1.0, 2.0]),
        "q": rng.uniform(0.01, 0.99),
        "smooth": rng.uniform(0, 0.1),
    }
    return {name: float(drawn[name]) for name in formula.parameters}


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_derivative_is_the_slope_of_the_value(formula: Formula) -> None:
    rng = np.random.default_rng(4)
    every = [*samples.parameter_sets(formula), *(random_parameters(formula, rng) for _ in range(5))]
    for parameters in every:
        targets, predictions = samples.draw(formula, rng, count=40, classes=4)
        if formula.name == "squared_logarithmic_error":
            targets, predictions = np.abs(targets), np.abs(predictions) + 0.1
        with np.errstate(all="ignore"):
            expected = differences(formula, targets, predictions, parameters)
            actual = formula.derivative(np, targets, predictions, **parameters)
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7, err_msg=str(parameters))


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_a_batch_of_any_rank_is_its_elements_or_rows(formula: Formula) -> None:
    rng = np.random.default_rng(5)
    parameters = next(samples.parameter_sets(formula))
    targets, predictions = samples.draw(formula, rng, count=12, classes=4)
    for function in (formula.value, formula.derivative):
        with np.errstate(all="ignore"):
            flat = np.asarray(function(np, targets, predictions, **parameters))
            cube = function(
                np,
                targets.reshape(3, 4, *targets.shape[1:]),
                predictions.reshape(3, 4, *predictions.shape[1:]),
                **parameters,
            )
        np.testing.assert_array_equal(cube, flat.reshape(3, 4, *flat.shape[1:]))
