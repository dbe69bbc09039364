"""Every formula against mpmath: random and extreme inputs, in float32 and float64.

The bar is 4 units in the last place of the exact result, or of the terms that it is the sum of
where these cancel (see `truth`). A focal loss may lose gamma / 2 more, over classes 2 * gamma, because a
power multiplies the relative error of its base by its exponent, and may pass through subnormal numbers.
Float32 is judged with exact elementary functions; with NumPy's own, which lose up to 3.8 units
themselves, by half as much again.
"""

from collections.abc import Mapping
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from omniloss.formulas import FORMULAS, Formula
from support import samples, truth, ulp
from support.exact_numpy import ExactNumpy

BOTH = ("value", "derivative")


def evaluate(
    formula: Formula,
    what: str,
    targets: np.ndarray,
    predictions: np.ndarray,
    parameters: Mapping[str, float],
    xp: Any = np,
) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(getattr(formula, what)(xp, targets, predictions, **parameters))


def assert_exact(
    formula: Formula,
    targets: np.ndarray,
    predictions: np.ndarray,
    parameters: Mapping[str, float],
) -> None:
    dtype = predictions.dtype
    gamma = parameters.get("gamma", 0.0)
    budget = 4 + (gamma / 2 if formula.kind == "pointwise" else 2 * gamma)
    floor = 16 * float(np.finfo(dtype).smallest_normal) if gamma else 0.0
    spaces: list[tuple[Any, float]] = [(np, budget)]
    if dtype == np.float32:
        spaces = [(ExactNumpy(), budget), (np, 1.5 * budget)]
    for what in BOTH:
        scaled = getattr(truth, f"scaled_{what}")(formula.name, targets, predictions, parameters)
        exact = [(total, max(size, floor)) for total, size in scaled]
        for xp, limit in spaces:
            actual = evaluate(formula, what, targets, predictions, parameters, xp)
            assert actual.dtype == dtype
            found = ulp.distances(actual, exact)
            worst = np.unravel_index(np.argmax(found), found.shape)
            assert found[worst] <= limit, (
                f"{what} {actual[worst]!r} at {worst} of {targets[worst[:1]]!r}, "
                f"{predictions[worst[:1]]!r} with {parameters}: {found[worst]:.3g} ulp"
            )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("regime", samples.REGIMES)
@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_within_four_units_of_the_exact_result(formula: Formula, regime: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    for parameters in samples.parameter_sets(formula):
        if formula.kind == "pointwise":
            count = 6 if "gamma" in parameters else 60
            assert_exact(formula, *samples.draw(formula, rng, regime, dtype, count), parameters)
            continue
        for classes in (2, 5):
            count = 2 if "gamma" in parameters else 8
            inputs = samples.draw(formula, rng, regime, dtype, count, classes)
            assert_exact(formula, *inputs, parameters)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_classes(dtype: type) -> None:
    rng = np.random.default_rng(1)
    for name in (
        "categorical_crossentropy",
        "categorical_crossentropy_with_logits",
        "sparse_categorical_crossentropy_with_logits",
    ):
        parameters = next(samples.parameter_sets(FORMULAS[name]))
        inputs = samples.draw(FORMULAS[name], rng, "confident", dtype, 1, 300)
        assert_exact(FORMULAS[name], *inputs, parameters)


FOCUSED = {"epsilon": 0.0, "alpha": 0.25, "gamma": 3.7, "balanced": 0.0}

# Float32 inputs at which more than 4 units are lost where a rounding error is not carried.
HARDEST = [
    ("squared_logarithmic_error", {"epsilon": 1e-7}, 0.007413439452648163, 0.1936008185148239),
    ("squared_logarithmic_error", {"epsilon": 1e-7}, 0.06508782505989075, 0.002369064837694168),
    ("binary_focal_crossentropy", FOCUSED, 1.0, 0.4212509095668793),
    ("binary_focal_crossentropy", FOCUSED, 1.0, 0.4919537603855133),
]


@pytest.mark.parametrize(("name", "parameters", "target", "prediction"), HARDEST)
def test_within_four_units_where_it_is_hardest(
    name: str, parameters: dict[str, float], target: float, prediction: float
) -> None:
    inputs = np.array([target], dtype=np.float32), np.array([prediction], dtype=np.float32)
    for what in BOTH:
        actual = evaluate(FORMULAS[name], what, *inputs, parameters, ExactNumpy())
        exact = getattr(truth, what)(name, *inputs, parameters)
        assert ulp.distances(actual, exact).max() <= 4


@pytest.mark.parametrize("name", FORMULAS)
def test_the_truth_has_the_slope_of_its_own_value(name: str) -> None:
    formula = FORMULAS[name]
    rng = np.random.default_rng(2)
    for parameters in samples.parameter_sets(formula):
        targets, predictions = samples.draw(formula, rng, count=2, classes=3)
        targets[:1] = np.abs(targets[:1])
        predictions = np.abs(predictions) if name == "squared_logarithmic_error" else predictions
        exact = np.array(truth.derivative(name, targets, predictions, parameters), dtype=float)
        step = 2.0**-20
        for i in range(predictions.size):
            moved = np.zeros(predictions.size)
            moved[i] = step
            moved = moved.reshape(predictions.shape)
            above = truth.value(name, targets, predictions + moved, parameters)
            below = truth.value(name, targets, predictions - moved, parameters)
            row = i if formula.kind == "pointwise" else i // predictions.shape[-1]
            slope = float((above[row] - below[row]) / (2 * step))
            assert slope == pytest.approx(exact[i], rel=1e-8, abs=1e-8)


BALANCED = {"epsilon": 0.0, "alpha": 0.25, "gamma": 2.0, "balanced": 1.0}
FOCAL = {"epsilon": 0.0, "alpha": 1.0, "gamma": 0.5, "balanced": 0.0}

# name, parameters, target, prediction, value, derivative: where the truth is a limit.
LIMITS = [
    ("absolute_error", {}, 0.0, 0.0, 0.0, 0.0),
    ("absolute_error", {}, 0.0, -inf, inf, -1.0),
    ("squared_error", {}, 1.0, inf, inf, inf),
    ("log_cosh", {}, 0.0, inf, inf, 1.0),
    ("log_cosh", {}, 0.0, 1e308, 1e308, 1.0),
    ("huber", {"delta": 1.0}, 0.0, 1.0, 0.5, 1.0),
    ("huber", {"delta": 1.0}, 0.0, -inf, inf, -1.0),
    ("huber", {"delta": 1e-9}, -1.7e308, 1.7e308, 3.4e299, 1e-9),
    ("huber", {"delta": inf}, 0.0, 3.0, 4.5, 3.0),
    ("absolute_percentage_error", {"epsilon": 0.0}, -1.7e308, 1.7e308, 200.0, 100 / 1.7e308),
    ("absolute_percentage_error", {"epsilon": 1e-7}, 0.0, 0.0, 0.0, 0.0),
    ("squared_logarithmic_error", {"epsilon": 1e-7}, -5.0, 1e-7, 0.0, 0.0),
    ("squared_logarithmic_error", {"epsilon": 0.0}, -2.0, -3.0, nan, nan),
    ("squared_logarithmic_error", {"epsilon": 0.0}, 0.0, -1.0, inf, -inf),
    ("squared_logarithmic_error", {"epsilon": 0.0}, 0.3, -1.0, inf, -inf),
    ("squared_logarithmic_error", {"epsilon": 0.0}, -1.0, 0.3, inf, inf),
    ("squared_logarithmic_error", {"epsilon": 0.0}, -1.0, -1.0, 0.0, 0.0),
    ("kl_divergence", {"epsilon": 0.0}, 0.0, 0.0, 0.0, 0.0),
    ("kl_divergence", {"epsilon": 0.0}, 0.5, 0.0, inf, -inf),
    ("kl_divergence", {"epsilon": 1e-7}, 1.0, 1.0, 0.0, 0.0),
    ("kl_divergence", {"epsilon": 1e-7}, 1.0, 1e-7, -np.log(1e-7), 0.0),
    ("poisson", {"epsilon": 0.0}, 0.0, 0.0, 0.0, 1.0),
    ("poisson", {"epsilon": 0.0}, 2.0, 0.0, inf, -inf),
    ("poisson", {"epsilon": 1e-7}, 2.0, inf, inf, 1.0),
    ("hinge", {}, 1.0, 1.0, 0.0, 0.0),
    ("hinge", {}, -1.0, inf, inf, 1.0),
    ("hinge", {}, 1.0, inf, 0.0, 0.0),
    ("squared_hinge", {}, 1.0, -inf, inf, -inf),
    ("binary_crossentropy", {"epsilon": 0.0}, 0.0, 0.0, 0.0, 1.0),
    ("binary_crossentropy", {"epsilon": 0.0}, 1.0, 1.0, 0.0, -1.0),
    ("binary_crossentropy", {"epsilon": 0.0}, 1.0, 0.0, inf, -inf),
    ("binary_crossentropy", {"epsilon": 0.25}, 1.0, 0.25, -np.log(0.25), 0.0),
    ("binary_crossentropy_with_logits", {}, 1.0, inf, 0.0, 0.0),
    ("binary_crossentropy_with_logits", {}, 0.0, -inf, 0.0, 0.0),
    ("binary_crossentropy_with_logits", {}, 1.0, -inf, inf, -1.0),
    ("binary_crossentropy_with_logits", {}, 0.5, inf, inf, 0.5),
    ("binary_focal_crossentropy", BALANCED, 1.0, 1.0, 0.0, 0.0),
    ("binary_focal_crossentropy", FOCAL, 0.0, 0.0, 0.0, 0.0),
    ("binary_focal_crossentropy", FOCAL, 1.0, 0.0, inf, -inf),
    ("binary_focal_crossentropy", FOCAL, 0.9, 1.0, inf, inf),
    ("binary_focal_crossentropy_with_logits", FOCAL, 1.0, inf, 0.0, 0.0),
    ("binary_focal_crossentropy_with_logits", FOCAL, 0.0, inf, inf, 1.0),
    ("binary_focal_crossentropy_with_logits", BALANCED, 1.0, -inf, inf, -0.25),
    ("smooth_l1", {"beta": 1.0}, 0.0, 1.0, 0.5, 1.0),
    ("smooth_l1", {"beta": 1.0}, 0.0, -inf, inf, -1.0),
    ("smooth_l1", {"beta": 1e-200}, 0.0, 1e-201, 5e-203, 0.1),
    ("kl_divergence_of_logs", {}, 0.0, -inf, 0.0, 0.0),
    ("kl_divergence_of_logs", {}, 0.5, -inf, inf, -0.5),
    ("kl_divergence_between_logs", {}, -inf, -inf, 0.0, 0.0),
    ("kl_divergence_between_logs", {}, -inf, 2.0, 0.0, 0.0),
    ("kl_divergence_between_logs", {}, 0.0, -inf, inf, -1.0),
    ("kl_divergence_between_logs", {}, 1e3, 1e3, 0.0, -inf),
    ("poisson_of_logs", {"full": 0.0}, 0.0, -inf, 0.0, 0.0),
    ("poisson_of_logs", {"full": 0.0}, 2.0, -inf, inf, -2.0),
    ("poisson_of_logs", {"full": 0.0}, 2.0, inf, inf, inf),
    ("poisson_with_stirling", {"epsilon": 0.0}, 0.0, 0.0, 0.0, 1.0),
    ("binary_crossentropy_of_clamped_logs", {"limit": 100.0}, 1.0, 0.0, 100.0, -1e12),
    ("binary_crossentropy_of_clamped_logs", {"limit": 100.0}, 0.0, 0.0, 0.0, 0.0),
    ("binary_crossentropy_of_clamped_logs", {"limit": 100.0}, 0.0, 1.0, 100.0, 1e12),
    ("soft_margin", {}, 1.0, inf, 0.0, 0.0),
    ("soft_margin", {}, 1.0, -1e4, 1e4, -1.0),
    ("soft_margin", {}, -1.0, inf, inf, 1.0),
    ("hinge_embedding", {"margin": 1.0}, -1.0, 1.0, 0.0, -1.0),
    ("hinge_embedding", {"margin": 1.0}, -1.0, inf, 0.0, 0.0),
    ("hinge_embedding", {"margin": 1.0}, 0.0, -2.0, 1.0, 0.0),
    ("hinge_embedding", {"margin": 1.0}, 0.0, 2.0, 2.0, 1.0),
]


@pytest.mark.parametrize(("name", "parameters", "target", "prediction", "value", "slope"), LIMITS)
def test_limits_of_pointwise_losses(
    name: str,
    parameters: dict[str, float],
    target: float,
    prediction: float,
    value: float,
    slope: float,
) -> None:
    inputs = np.array([target]), np.array([prediction])
    formula = FORMULAS[name]
    expected = {"value": value, "derivative": slope}
    for what in BOTH:
        actual = evaluate(formula, what, *inputs, parameters)
        rtol = 4e-9 if "clamped" in name else 1e-15  # torch's 1e-12 is a float32
        np.testing.assert_allclose(actual, [expected[what]], rtol=rtol)


EPSILON_0 = {"epsilon": 0.0}
CLASS_FOCAL = {"epsilon": 0.0, "alpha": 1.0, "gamma": 0.5}

# The same for rows; a target that is one number is a class index.
HALVES = {"alpha": 0.5, "beta": 0.5}
ROW_LIMITS = [
    ("categorical_crossentropy_with_logits", {}, [1, 0], [0, -inf], 0.0, [0, 0]),
    ("categorical_crossentropy_with_logits", {}, [0, 1], [0, -inf], inf, [1, -1]),
    ("categorical_crossentropy_with_logits", {}, [1, 0, 0], [inf, 0, 5], 0.0, [0, 0, 0]),
    ("categorical_crossentropy_with_logits", {}, [0, 1], [3, 3], np.log(2), [0.5, -0.5]),
    ("sparse_categorical_crossentropy_with_logits", {}, 0, [4.0], 0.0, [0.0]),
    ("sparse_categorical_crossentropy_with_logits", {}, 1, [-inf, 2], 0.0, [0, 0]),
    ("sparse_categorical_crossentropy_with_logits", {}, 2, [1, 2], nan, [nan, nan]),
    ("sparse_categorical_crossentropy_with_logits", {}, -1, [1, 2], nan, [nan, nan]),
    ("sparse_categorical_crossentropy", EPSILON_0, 1, [0, 1], 0.0, [1, 0]),
    ("sparse_categorical_crossentropy", EPSILON_0, 0, [0, 1], inf, [-inf, 1]),
    ("sparse_categorical_crossentropy", EPSILON_0, 2, [1, 2], nan, [nan, nan]),
    ("categorical_crossentropy", EPSILON_0, [0.5, 0.5, 0], [2, 2, 0], np.log(2), [0, 0, 0.25]),
    ("categorical_crossentropy", {"epsilon": 1e-7}, [1, 0], [0, 2], -np.log(1e-7), [0, 0]),
    ("categorical_focal_crossentropy", CLASS_FOCAL, [0, 1], [0, 1], 0.0, [0, 0]),
    ("categorical_focal_crossentropy_with_logits", CLASS_FOCAL, [0, 1], [-inf, 1], 0.0, [0, 0]),
    ("categorical_focal_crossentropy_with_logits", CLASS_FOCAL, [1, 0], [-inf, 1], inf, [-1, 1]),
    ("categorical_hinge", {}, [1, 0], [2, 1], 0.0, [0, 0]),
    ("categorical_hinge", {}, [1, 0, 0], [1, 1, 1], 1.0, [-1, 1, 0]),
    ("categorical_hinge", {}, [1, 0], [inf, -inf], 0.0, [0, 0]),
    ("categorical_hinge", {}, [1, 0], [2, -inf], 0.0, [0, 0]),
    ("cosine_similarity", EPSILON_0, [0, 0], [1, 2], 0.0, [0, 0]),
    ("cosine_similarity", EPSILON_0, [1, 2], [0, 0], 0.0, [0, 0]),
    ("cosine_similarity", {"epsilon": 0.5}, [0, 2], [0, 0], 0.0, [0, -2]),
    ("cosine_similarity", EPSILON_0, [0.1, 0.7, -3], [0.1, 0.7, -3], -1.0, [0, 0, 0]),
    ("negative_log_likelihood", {}, 1, [nan, -inf], inf, [0, -1]),
    ("negative_log_likelihood", {}, 2, [-1, -2], nan, [nan, nan]),
    ("multi_margin", {"p": 1.0, "margin": 1.0}, 0, [1, 0], 0.0, [0, 0]),
    ("multi_margin", {"p": 2.0, "margin": 1.0}, 0, [1, 1], 0.5, [-1, 1]),
    ("multi_margin", {"p": 1.0, "margin": 1.0}, 0, [inf, 1], 0.0, [0, 0]),
    ("multilabel_margin", {}, [1, 0], [1, 0], 0.0, [0, 0]),
    ("multilabel_margin", {}, [2, 0], [1, 1], 1.0, [-1, 1]),
    ("multilabel_margin", {}, [1, 0], [inf, 1], 0.0, [0, 0]),
    ("cosine_similarity", EPSILON_0, [2.0**900, 0], [2.0**-900, 0], -1.0, [0, 0]),
    ("generalized_crossentropy", {"q": 0.5}, 0, [1, 0], 0.0, [-1, 0]),
    ("generalized_crossentropy", {"q": 0.5}, 1, [1, 0], 2.0, [0, -inf]),
    ("generalized_crossentropy", {"q": 0.5}, 0, [0.25, 0.25], 1.0, [-2, 0]),
    ("generalized_crossentropy", {"q": 0.5}, 2, [1, 0], nan, [nan, nan]),
    ("tversky", {"smooth": 0.0, **HALVES}, [1, 0], [1, 0], 0.0, [-0.5, 0.5]),
    ("tversky", {"smooth": 1.0, **HALVES}, [1, 1], [0, 0], 1.0, [-0.5, -0.5]),
    ("tversky", {"smooth": 0.5, **HALVES}, [0, 0], [0, 0], 1.0, [0, 0]),
    ("tversky", {"smooth": 0.0, "alpha": 3.0, "beta": 1.0}, [1, 0], [1, 1], 0.75, [-0.25, 0.1875]),
]


@pytest.mark.parametrize(("name", "parameters", "target", "row", "value", "slopes"), ROW_LIMITS)
def test_limits_of_row_losses(
    name: str,
    parameters: dict[str, float],
    target: Any,
    row: list[float],
    value: float,
    slopes: list[float],
) -> None:
    formula = FORMULAS[name]
    inputs = (
        np.array([target]) if formula.labels else np.array([target], dtype=float),
        np.array([row], dtype=float),
    )
    actual = evaluate(formula, "value", *inputs, parameters)
    np.testing.assert_allclose(actual, [value], rtol=1e-15, atol=1e-300)
    actual = evaluate(formula, "derivative", *inputs, parameters)
    np.testing.assert_allclose(actual, [slopes], rtol=1e-15, atol=1e-300)


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_nan_in_nan_out(formula: Formula) -> None:
    """At every prediction and target, whatever the other one is; a row's NaN is the row's."""
    rng = np.random.default_rng(3)
    ordinary = rng.uniform(0.05, 0.95, (4, 3))
    if formula.kind == "pointwise":
        partners = np.array([0.0, 1.0, 0.25, -1.0, inf])
        pairs = [(partners, np.full(5, nan)), (np.full(5, nan), partners)]
    else:
        spoiled = ordinary.copy()
        spoiled[np.arange(4), [0, 1, 2, 2]] = nan
        spoiled[3, :] = nan
        if formula.name == "negative_log_likelihood":  # which looks at the target's alone
            spoiled[:] = nan
        targets = np.array([0, 1, 1, 0]) if formula.labels else np.eye(3)[[0, 1, 1, 0]]
        pairs = [(targets, spoiled)]
        if not formula.labels:
            pairs.append((spoiled, ordinary))
        pairs.append((targets[:1] * 0 if formula.labels else np.ones((1, 1)), np.array([[nan]])))
    for parameters in samples.parameter_sets(formula):
        for targets, predictions in pairs:
            value = evaluate(formula, "value", targets, predictions, parameters)
            assert np.isnan(value).all(), (targets, predictions, parameters, value)
            slope = evaluate(formula, "derivative", targets, predictions, parameters)
            if formula.kind == "pointwise":
                due = needs_target(formula, predictions)
                assert np.isnan(slope[due]).all(), (targets, predictions, parameters, slope)
            else:
                assert np.isnan(slope).any(axis=-1).all(), (targets, predictions, parameters)


@pytest.mark.parametrize("name", [f.name for f in FORMULAS.values() if f.predictions.low == 0])
def test_a_negative_zero_is_a_zero(name: str) -> None:
    formula = FORMULAS[name]
    for targets, predictions, negative in samples.zeros(formula):
        for parameters in samples.parameter_sets(formula):
            for what in BOTH:
                found = evaluate(formula, what, targets, negative, parameters)
                expected = evaluate(formula, what, targets, predictions, parameters)
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", samples.UNBOUNDED_ROWS)
def test_rows_near_the_ends_of_the_range(name: str, dtype: type) -> None:
    for inputs in samples.extreme_rows(FORMULAS[name], dtype):
        for epsilon in (0.0, 1e-7):
            assert_exact(FORMULAS[name], *inputs, {"epsilon": epsilon})


def needs_target(formula: Formula, predictions: np.ndarray) -> np.ndarray:
    """Where a derivative depends on the target, which then must spread its NaN."""
    return np.isnan(predictions) | ((predictions > 0.2) & (predictions < 0.3))
