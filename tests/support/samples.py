"""Inputs for a formula, drawn from its own record: no test lists losses by hand.

`draw` gives targets and predictions in the formula's intervals, of a *regime*:

- "moderate": numbers of ordinary size, soft targets, probabilities and logits of no certainty;
- "confident": targets 0 or 1 (-1 or 1 for hinges, one-hot rows), certain predictions, both right
  and wrong;
- "wide": sizes over the range of the type, predictions close to the targets, exact ties and zeros
  (but no soft focal targets of such sizes, whose power alone is out of range).
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from omniloss.formulas import FORMULAS, NON_NEGATIVE, PROBABILITY, Formula, Interval

__all__ = ["REGIMES", "UNBOUNDED_ROWS", "draw", "extreme_rows", "parameter_sets", "zeros"]

REGIMES = ("moderate", "confident", "wide")

_CHOICES: dict[str, tuple[float, ...]] = {
    "delta": (1.0, 0.3),
    "epsilon": (0.0, 1e-7),
    "alpha": (0.25,),
    "gamma": (0.0, 0.5, 1.0, 2.0, 3.7),
    "balanced": (0.0, 1.0),
    "beta": (1.0, 0.3),
    "full": (0.0, 1.0),
    "limit": (100.0,),
    "margin": (1.0, 0.3),
    "p": (1.0, 2.0),
    "q": (0.5, 0.01, 0.9),
    "smooth": (5e-8, 0.0),
}

# Losses of labels that are -1 or 1 in every regime.
_SIGNED = ("hinge_embedding", "soft_margin")


def parameter_sets(formula: Formula) -> Iterator[dict[str, float]]:
    """Every combination of the values that tests give to the formula's parameters."""
    for values in product(*(_CHOICES[name] for name in formula.parameters)):
        yield dict(zip(formula.parameters, values, strict=True))


def draw(
    formula: Formula,
    rng: np.random.Generator,
    regime: str = "moderate",
    dtype: Any = np.float64,
    count: int = 32,
    classes: int = 5,
) -> tuple[np.ndarray, np.ndarray]:
    """Targets and predictions: ``count`` elements, or rows of ``classes``."""
    if formula.kind == "rowwise":
        return _rows(formula, rng, regime, dtype, count, classes)
    focal = "gamma" in formula.parameters
    predictions = _numbers(formula.predictions, rng, regime, dtype, count)
    signed = regime == "confident" and "hinge" in formula.name
    if signed or formula.name in _SIGNED:
        targets = rng.choice([-1.0, 1.0], count)
    elif formula.targets == PROBABILITY and (regime == "confident" or (regime == "wide" and focal)):
        targets = rng.choice([0.0, 1.0], count)
    else:
        targets = _numbers(formula.targets, rng, regime, dtype, count)
    targets = targets.astype(dtype)
    if regime == "wide" and formula.targets == formula.predictions and not focal:
        near = rng.choice(count, count // 2, replace=False)
        nudge = 1 + rng.choice([0, 1, -1], len(near)) * 10.0 ** rng.uniform(-16, -1, len(near))
        predictions[near] = targets[near] * nudge
        if formula.predictions.high == 1:
            predictions = np.minimum(predictions, 1)
    return targets, predictions.astype(dtype)


def _numbers(
    interval: Interval, rng: np.random.Generator, regime: str, dtype: Any, count: int
) -> np.ndarray:
    low, high = interval
    decades = 0.95 * np.log10(float(np.finfo(dtype).max))
    size = 10.0 ** (rng.uniform(-decades, decades if high > 1 else 0, count))
    if high == 1:
        if regime == "moderate":
            return rng.uniform(0.02, 0.98, count)
        if regime == "confident":
            size = 10.0 ** rng.uniform(-9, -1, count)
        return np.where(rng.uniform(size=count) < 0.5, size, 1 - size)
    if regime == "moderate":
        numbers = 2 * rng.standard_normal(count)
    elif regime == "confident":
        numbers = rng.choice([1.0, 10.0, 80.0], count) * rng.standard_normal(count)
    else:
        numbers = size * rng.choice([-1.0, 0.0, 1.0], count, p=[0.45, 0.1, 0.45])
    return np.abs(numbers) if low == 0 else numbers


def _rows(
    formula: Formula,
    rng: np.random.Generator,
    regime: str,
    dtype: Any,
    count: int,
    classes: int,
) -> tuple[np.ndarray, np.ndarray]:
    spread = {"moderate": 1.0, "confident": 10.0, "wide": 40.0}[regime]
    scores = spread * rng.standard_normal((count, classes))
    if formula.predictions.low == 0:
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        if regime != "wide" or formula.predictions.high == 1:
            scores /= scores.sum(axis=-1, keepdims=True)
        if regime == "wide":
            scores[rng.uniform(size=scores.shape) < 0.1] = 0
            empty = scores.astype(dtype).sum(axis=-1) == 0
            scores[empty, 0] = 1
    elif regime == "wide":
        tied = rng.uniform(size=count) < 0.3
        scores[tied, -1] = scores[tied, 0]
    predictions = scores.astype(dtype)
    labels = rng.integers(0, classes, count)
    if formula.labels:
        return labels, predictions
    one_hot = (labels[:, None] == np.arange(classes)).astype(np.float64)
    if regime == "moderate":
        soft = rng.dirichlet(np.ones(classes), count)
        smooth = 0.9 * one_hot + 0.1 / classes
        one_hot = np.where(rng.uniform(size=(count, 1)) < 0.5, soft, smooth)
    if formula.name == "tversky":  # memberships, of several classes at once
        size = np.exp(-np.abs(scores))
        small = size / (1 + size)
        predictions = np.where(rng.uniform(size=scores.shape) < 0.5, small, 1 - small).astype(dtype)
        hard = rng.integers(0, 2, scores.shape).astype(np.float64)
        soft = rng.uniform(size=scores.shape)
        one_hot = np.where(rng.uniform(size=(count, 1)) < 0.5, soft, hard)
        one_hot[:, 0] = 1
    if formula.name == "multilabel_margin":
        one_hot = rng.integers(0, 3, (count, classes)).astype(np.float64)
        one_hot[rng.uniform(size=one_hot.shape) > 16 / classes] = 0  # each is compared with all
    if formula.name == "cosine_similarity":
        one_hot = spread * rng.standard_normal((count, classes))
        if regime == "wide":
            decades = 0.9 * np.log10(float(np.finfo(dtype).max))
            length = 10.0 ** rng.uniform(-decades, decades, (2, count, 1))
            one_hot, predictions = one_hot * length[0], (scores * length[1]).astype(dtype)
    return one_hot.astype(dtype), predictions


# The row losses of probabilities that need not be divided by their sum yet.
UNBOUNDED_ROWS = [
    formula.name
    for formula in FORMULAS.values()
    if formula.kind == "rowwise" and formula.predictions == NON_NEGATIVE
]


def zeros(formula: Formula) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Targets, predictions with zeros among them, and the same with negative zeros."""
    if formula.kind == "pointwise":
        yield np.array([0.0, 1.0, 0.25]), np.zeros(3), -np.zeros(3)
        return
    rows = np.array([[0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    for label in range(3):
        labels = np.array([label, label])
        yield labels if formula.labels else np.eye(3)[labels], rows, np.where(rows == 0, -0.0, rows)


def extreme_rows(formula: Formula, dtype: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Targets, and probabilities whose sum is beyond the type's range or subnormal."""
    info = np.finfo(dtype)
    most, least = float(info.max), float(info.smallest_subnormal)
    rows = [
        [0.9 * most, 0.8 * most, 0.5 * most, 1e-3],
        [most, most, most, most],
        [most, 0.0, 1.0, 0.01 * most],
        [1000 * least, 2000 * least, 50 * least, 0.0],
        [least, least, least, least],
        [float(info.smallest_normal), least, 0.0, 9 * least],
    ]
    for label in range(4):
        labels = np.full(len(rows), label)
        targets = labels if formula.labels else np.eye(4, dtype=dtype)[labels]
        yield targets, np.array(rows, dtype)
