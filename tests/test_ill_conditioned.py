"""Losses and gradients that are small differences of large terms.

Rounding an input, or one of the terms, changes such a number by more than itself. What can be asked
for is an error that is small beside the terms, and where a form exists in which they cancel without
error, one that is small beside the number itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from mpmath import mp, mpf

import omniloss
from omniloss import losses, nn
from support import truth, ulp

DTYPES = [np.float64, np.float32]
COUNT = 60
Pairs = list[tuple[mpf, mpf]]


class Case(NamedTuple):
    """A formula's name and parameters, what of it is meant, and how a user gets it."""

    formula: str
    parameters: dict[str, float]
    what: str
    draw: Callable[[np.random.Generator, Any], tuple[np.ndarray, np.ndarray]]
    evaluate: Callable[[np.ndarray, np.ndarray], np.ndarray]


def nudges(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    """Factors near 1, down to the type's last digit."""
    least = np.log10(np.finfo(dtype).eps)
    return 1 + rng.choice([-1, 1], shape) * 10.0 ** rng.uniform(least, -3.5, shape)


def labels_and_logits(rng: np.random.Generator, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    y = rng.uniform(0.05, 0.95, COUNT).astype(dtype)
    exact = y.astype(np.float64)
    logits = np.log(exact / (1 - exact)) * nudges(rng, dtype, COUNT)
    return y, logits.astype(dtype)


def labels_and_probabilities(rng: np.random.Generator, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    y = rng.uniform(0.05, 0.95, COUNT).astype(dtype)
    return y, (y * nudges(rng, dtype, COUNT)).astype(dtype)


def counts_and_rates(rng: np.random.Generator, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """``p = y * log(p)``."""
    p = rng.uniform(1.5, 30, COUNT).astype(dtype)
    y = p / np.log(p.astype(np.float64)) * nudges(rng, dtype, COUNT)
    return y.astype(dtype), p


def counts_at_their_rates(rng: np.random.Generator, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    y = rng.uniform(0.5, 30, COUNT).astype(dtype)
    return y, (y * nudges(rng, dtype, COUNT)).astype(dtype)


def counts_and_logarithms(rng: np.random.Generator, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """``exp(x) = y * x``."""
    x = rng.uniform(0.2, 3, COUNT).astype(dtype)
    exact = x.astype(np.float64)
    return (np.exp(exact) / exact * nudges(rng, dtype, COUNT)).astype(dtype), x


def counts_at_their_logarithms(
    rng: np.random.Generator, dtype: Any
) -> tuple[np.ndarray, np.ndarray]:
    x = rng.uniform(0.2, 3, COUNT).astype(dtype)
    exact = np.exp(x.astype(np.float64))
    return (exact * nudges(rng, dtype, COUNT)).astype(dtype), x


def orthogonal_rows(rng: np.random.Generator, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    a, b = rng.standard_normal((2, COUNT, 6))
    along = np.sum(a * b, axis=-1) / np.sum(a * a, axis=-1)
    return a.astype(dtype), (b - (along * nudges(rng, dtype, COUNT))[:, None] * a).astype(dtype)


def parallel_rows(rng: np.random.Generator, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    a = rng.standard_normal((COUNT, 6))
    b = a * rng.uniform(0.5, 2, (COUNT, 1)) * nudges(rng, dtype, COUNT, 6)
    return a.astype(dtype), b.astype(dtype)


def slope(loss: Any, **options: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The gradient of a loss of the Keras dialect; every element is a row where rows are averaged."""

    def result(y: np.ndarray, p: np.ndarray) -> np.ndarray:
        shape = p.shape
        if p.ndim == 1:
            y, p = y[:, None], p[:, None]
        return omniloss.value_and_grad(loss, y, p, **options)[1].reshape(shape)

    return result


def torch_slope(loss: Any, **options: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda y, p: omniloss.value_and_grad(loss, p, y, reduction="sum", **options)[1]


EPSILON = {"epsilon": 1e-7}
F = nn.functional
BESIDE_THE_TERMS = {
    "binary_crossentropy_of_logits": Case(
        "binary_crossentropy_with_logits",
        {},
        "derivative",
        labels_and_logits,
        slope(losses.binary_crossentropy, from_logits=True),
    ),
    "binary_cross_entropy_with_logits": Case(
        "binary_crossentropy_with_logits",
        {},
        "derivative",
        labels_and_logits,
        torch_slope(F.binary_cross_entropy_with_logits),
    ),
    "poisson": Case(
        "poisson",
        EPSILON,
        "value",
        counts_and_rates,
        lambda y, p: losses.poisson(y[:, None], p[:, None]),
    ),
    "poisson_nll_loss": Case(
        "poisson_of_logs",
        {"full": 0.0},
        "value",
        counts_and_logarithms,
        lambda y, p: F.poisson_nll_loss(p, y, reduction="none"),
    ),
    "poisson_nll_loss_slope": Case(
        "poisson_of_logs",
        {"full": 0.0},
        "derivative",
        counts_at_their_logarithms,
        torch_slope(F.poisson_nll_loss),
    ),
    "cosine_similarity": Case(
        "cosine_similarity", EPSILON, "value", orthogonal_rows, losses.cosine_similarity
    ),
    "cosine_similarity_slope": Case(
        "cosine_similarity",
        EPSILON,
        "derivative",
        parallel_rows,
        slope(losses.cosine_similarity),
    ),
}
BESIDE_ITSELF = {
    "binary_crossentropy": Case(
        "binary_crossentropy",
        EPSILON,
        "derivative",
        labels_and_probabilities,
        slope(losses.binary_crossentropy),
    ),
    "poisson_slope": Case(
        "poisson", EPSILON, "derivative", counts_at_their_rates, slope(losses.poisson)
    ),
}


def exact_and_size(case: Case, y: np.ndarray, p: np.ndarray) -> Pairs:
    """The exact numbers, each with the sum of the absolute terms; most of them are far apart."""
    scaled = truth.scaled_value if case.what == "value" else truth.scaled_derivative
    pairs = scaled(case.formula, y, p, case.parameters)
    assert sum(size > 1000 * abs(number) for number, size in pairs) > len(pairs) / 2
    return pairs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BESIDE_THE_TERMS)
def test_the_error_is_small_beside_the_terms(name: str, dtype: type) -> None:
    case = BESIDE_THE_TERMS[name]
    y, p = case.draw(np.random.default_rng(60), dtype)
    found = ulp.distances(case.evaluate(y, p), exact_and_size(case, y, p))
    assert np.max(found) <= 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BESIDE_ITSELF)
def test_the_error_is_small_beside_the_number_itself(name: str, dtype: type) -> None:
    case = BESIDE_ITSELF[name]
    y, p = case.draw(np.random.default_rng(61), dtype)
    pairs = exact_and_size(case, y, p)
    found = ulp.distances(case.evaluate(y, p), [number for number, _ in pairs])
    assert np.max(found) <= 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("label", [1, -1])
def test_cosine_embeddings(label: int, dtype: type) -> None:
    """``1 - cos`` of nearly parallel pairs, and ``cos`` of nearly orthogonal ones."""
    draw = parallel_rows if label == 1 else orthogonal_rows
    a, b = draw(np.random.default_rng(62), dtype)
    pairs: Pairs = []
    with mp.workdps(60):
        for x, y in zip(a, b, strict=True):
            u, v = ([mpf(float(number)) for number in row] for row in (x, y))
            products = [c * d for c, d in zip(u, v, strict=True)]
            squares = [mp.fsum(c * c for c in row) + mpf("1e-12") for row in (u, v)]
            terms = [c / mp.sqrt(squares[0] * squares[1]) for c in products]
            if label == 1:
                terms = [mpf(1), *(-term for term in terms)]
            size = mp.fsum(terms, absolute=True)
            assert size > 1000 * abs(mp.fsum(terms))
            pairs.append((max(mp.fsum(terms), mpf(0)), size))
    found = F.cosine_embedding_loss(a, b, np.full(COUNT, label), reduction="none")
    assert np.max(ulp.distances(found, pairs)) <= 3
