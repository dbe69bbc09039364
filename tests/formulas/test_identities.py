"""Losses that are others in disguise."""

import numpy as np
import pytest

from omniloss.formulas import FORMULAS

RNG = np.random.default_rng(6)
LABELS = RNG.integers(0, 2, 50).astype(float)
SOFT = RNG.uniform(0, 1, 50)
LOGITS = 3 * RNG.standard_normal(50)
PROBABILITIES = 1 / (1 + np.exp(-LOGITS))
ROWS = 2 * RNG.standard_normal((30, 6))
SHARES = np.exp(ROWS) / np.exp(ROWS).sum(axis=-1, keepdims=True)
CLASSES = RNG.integers(0, 6, 30)
ONE_HOT = np.eye(6)[CLASSES]
SOFT_ROWS = RNG.dirichlet(np.ones(6), 30)


def value(name: str, targets: np.ndarray, predictions: np.ndarray, **parameters: float):
    with np.errstate(all="ignore"):
        return FORMULAS[name].value(np, targets, predictions, **parameters)


def derivative(name: str, targets: np.ndarray, predictions: np.ndarray, **parameters: float):
    with np.errstate(all="ignore"):
        return FORMULAS[name].derivative(np, targets, predictions, **parameters)


def assert_same(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("targets", [LABELS, SOFT], ids=["hard", "soft"])
def test_logits_are_probabilities_before_the_sigmoid(targets: np.ndarray) -> None:
    chain = PROBABILITIES * (1 - PROBABILITIES)
    for suffix, parameters in (
        ("binary_crossentropy", {}),
        ("binary_focal_crossentropy", {"alpha": 0.25, "gamma": 1.5, "balanced": 1.0}),
    ):
        known = {"epsilon": 0.0, **parameters}
        logits = known if parameters else {}
        name = f"{suffix}_with_logits"
        assert_same(
            value(name, targets, LOGITS, **logits), value(suffix, targets, PROBABILITIES, **known)
        )
        assert_same(
            derivative(name, targets, LOGITS, **logits),
            chain * derivative(suffix, targets, PROBABILITIES, **known),
        )


@pytest.mark.parametrize("targets", [ONE_HOT, SOFT_ROWS], ids=["hard", "soft"])
def test_logits_are_probabilities_before_the_softmax(targets: np.ndarray) -> None:
    for suffix, parameters in (
        ("categorical_crossentropy", {}),
        ("categorical_focal_crossentropy", {"alpha": 0.25, "gamma": 1.5}),
    ):
        known = {"epsilon": 0.0, **parameters}
        logits = known if parameters else {}
        name = f"{suffix}_with_logits"
        assert_same(value(name, targets, ROWS, **logits), value(suffix, targets, SHARES, **known))
        slope = derivative(suffix, targets, SHARES, **known)
        chained = SHARES * (slope - (SHARES * slope).sum(axis=-1, keepdims=True))
        assert_same(derivative(name, targets, ROWS, **logits), chained)


def test_two_classes_are_binary() -> None:
    pairs = np.stack([1 - SOFT, SOFT], axis=-1)
    logits = np.stack([np.zeros(50), LOGITS], axis=-1)
    name = "crossentropy_with_logits"
    assert_same(value(f"categorical_{name}", pairs, logits), value(f"binary_{name}", SOFT, LOGITS))
    assert_same(
        derivative(f"categorical_{name}", pairs, logits)[:, 1],
        derivative(f"binary_{name}", SOFT, LOGITS),
    )


@pytest.mark.parametrize("epsilon", [0.0, 1e-7, 0.05])
def test_class_indices_are_one_hot_rows(epsilon: float) -> None:
    for suffix, predictions, parameters in (
        ("categorical_crossentropy", SHARES, {"epsilon": epsilon}),
        ("categorical_crossentropy_with_logits", ROWS, {}),
    ):
        for function in (value, derivative):
            np.testing.assert_array_equal(
                function(f"sparse_{suffix}", CLASSES, predictions, **parameters),
                function(suffix, ONE_HOT, predictions, **parameters),
            )


@pytest.mark.parametrize("epsilon", [0.0, 1e-7])
def test_no_focus_is_alpha_times_the_cross_entropy(epsilon: float) -> None:
    for function in (value, derivative):
        assert_same(
            function(
                "categorical_focal_crossentropy",
                SOFT_ROWS,
                SHARES,
                epsilon=epsilon,
                alpha=0.3,
                gamma=0.0,
            ),
            0.3 * function("categorical_crossentropy", SOFT_ROWS, SHARES, epsilon=epsilon),
        )
        weight = 0.3 * LABELS + 0.7 * (1 - LABELS)
        plain = function("binary_crossentropy", LABELS, PROBABILITIES, epsilon=epsilon)
        for balanced, factor in ((0.0, 1.0), (1.0, weight)):
            focal = function(
                "binary_focal_crossentropy",
                LABELS,
                PROBABILITIES,
                epsilon=epsilon,
                alpha=0.3,
                gamma=0.0,
                balanced=balanced,
            )
            assert_same(focal, factor * plain)


def test_a_focus_too_small_to_see_is_none() -> None:
    for function in (value, derivative):
        one, none = (
            function(
                "categorical_focal_crossentropy_with_logits",
                ONE_HOT,
                ROWS,
                epsilon=0.0,
                alpha=1.0,
                gamma=gamma,
            )
            for gamma in (1e-14, 0.0)
        )
        assert_same(one, none)


def test_divergence_is_cross_entropy_less_entropy() -> None:
    divergence = value("kl_divergence", SOFT_ROWS, SHARES, epsilon=0.0).sum(axis=-1)
    crossed = value("categorical_crossentropy", SOFT_ROWS, SHARES, epsilon=0.0)
    entropy = value("categorical_crossentropy", SOFT_ROWS, SOFT_ROWS, epsilon=0.0)
    assert_same(divergence, crossed - entropy)


def test_huber_is_half_the_squared_error_up_to_delta_and_a_line_beyond() -> None:
    assert_same(value("huber", SOFT, LOGITS, delta=1e6), 0.5 * value("squared_error", SOFT, LOGITS))
    assert_same(
        value("huber", SOFT, LOGITS, delta=1e-9) / 1e-9 + 0.5e-9,
        value("absolute_error", SOFT, LOGITS),
    )


def test_squared_hinge_is_the_hinge_squared() -> None:
    signs = 2 * LABELS - 1
    assert_same(value("squared_hinge", signs, LOGITS), value("hinge", signs, LOGITS) ** 2)


def test_categorical_hinge_of_two_classes_is_the_hinge_of_their_difference() -> None:
    # The target's own class enters the maximum as 0, so the other score must not be below it.
    scores = np.stack([LOGITS, np.abs(LOGITS[::-1])], axis=-1)
    targets = np.tile([1.0, 0.0], (50, 1))
    assert_same(
        value("categorical_hinge", targets, scores),
        value("hinge", np.ones(50), scores[:, 0] - scores[:, 1]),
    )


def test_log_cosh_of_a_large_error_is_linear_and_of_a_small_one_quadratic() -> None:
    zero = np.zeros(3)
    large = np.array([40.0, 1e3, 1e100])
    assert_same(value("log_cosh", zero, large), large - np.log(2))
    assert_same(value("log_cosh", zero, 1e-9 / large), 0.5 * (1e-9 / large) ** 2)


def test_squared_logarithmic_error_is_the_squared_error_of_logarithms() -> None:
    y, p = np.exp(LOGITS), 1 + 10 * SOFT
    assert_same(
        value("squared_logarithmic_error", y, p, epsilon=1e-7),
        value("squared_error", np.log1p(y), np.log1p(p)),
    )


def test_cosine_similarity_does_not_see_lengths() -> None:
    plain = value("cosine_similarity", ROWS, ROWS[::-1], epsilon=0.0)
    assert_same(value("cosine_similarity", 3 * ROWS, 1e-3 * ROWS[::-1], epsilon=0.0), plain)
    assert_same(value("cosine_similarity", ROWS, -5 * ROWS, epsilon=0.0), np.ones(30))
    across = derivative("cosine_similarity", ROWS, ROWS[::-1], epsilon=0.0) * ROWS[::-1]
    np.testing.assert_allclose(across.sum(axis=-1), 0, atol=1e-15)
