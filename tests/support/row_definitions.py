"""The losses of rows, and their derivatives, as lists of terms."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mpmath import mp, mpf

from support.terms import ONE, ZERO, Row, Terms, clip, divide, is_inside, log, products, raised

__all__ = ["ROWS"]


class _Distribution(NamedTuple):
    """Probabilities q, their complements ``1 - q``, and how they move.

    Prediction i changes ``log(q_j)`` by ``-others_i`` for every other j, its own by ``own_i``.
    """

    q: Row
    complement: Row
    others: Row
    own: Row


def _normalised(p: Row) -> _Distribution:
    """``q = p / sum(p)``."""
    total = mp.fsum(p)
    complement = [mp.fsum(p[i] for i in range(len(p)) if i != j) / total for j in range(len(p))]
    own = [divide(rest, x) for rest, x in zip(complement, p, strict=True)]
    return _Distribution([x / total for x in p], complement, [1 / total] * len(p), own)


def _softmax(x: Row) -> _Distribution:
    """``q = exp(x) / sum(exp(x))``."""
    q, complement, _, _ = _normalised([mp.exp(number - max(x)) for number in x])
    return _Distribution(q, complement, q, complement)


def _categorical(
    y: Row, distribution: _Distribution, epsilon: mpf, alpha: mpf, gamma: mpf
) -> Terms:
    """``-alpha * sum(y * (1 - q)**gamma * log(q))``, q clipped."""
    terms = []
    for target, q, rest in zip(y, distribution.q, distribution.complement, strict=True):
        q, rest = clip(q, epsilon, 1 - epsilon), clip(rest, epsilon, 1 - epsilon)
        terms += products((alpha * target * raised(rest, gamma), lambda q=q: -log(q)))
    return terms


def _categorical_slope(
    y: Row, distribution: _Distribution, epsilon: mpf, alpha: mpf, gamma: mpf
) -> list[Terms]:
    """By each prediction: what the loss changes with every ``log(q)``, times how those move."""
    pulls = []
    for target, q, rest in zip(y, distribution.q, distribution.complement, strict=True):
        pull = mpf(0)
        if target != 0 and is_inside(q, epsilon, 1 - epsilon):
            # The derivative of (1 - q)**gamma * log(q) by log(q).
            pull = raised(rest, gamma)
            if gamma != 0 and q != 0 and rest != 0:
                pull -= gamma * q * raised(rest, gamma - 1) * log(q)
        pulls.append(alpha * target * pull)
    return [
        products(
            *((pull, lambda i=i: distribution.others[i]) for j, pull in enumerate(pulls) if j != i),
            (-pulls[i], lambda i=i: distribution.own[i]),
        )
        for i in range(len(y))
    ]


def _classes(
    distribute: Callable[[Row], _Distribution], terms: Callable[..., Any]
) -> Callable[..., Any]:
    def result(y: Row, p: Row, epsilon: mpf = ZERO, alpha: mpf = ONE, gamma: mpf = ZERO) -> Any:
        return terms(y, distribute(p), epsilon, alpha, gamma)

    return result


def _rivals(y: Row, p: Row) -> Row:
    return [(1 - target) * score for target, score in zip(y, p, strict=True)]


def _margin_terms(y: Row, p: Row) -> Terms:
    hits = [-target * score for target, score in zip(y, p, strict=True)]
    return [mpf(1), max(_rivals(y, p)), *hits]


def _categorical_hinge(y: Row, p: Row) -> Terms:
    terms = _margin_terms(y, p)
    return terms if mp.fsum(terms) > 0 else []


def _categorical_hinge_slope(y: Row, p: Row) -> list[Terms]:
    """Of equal rivals the first has the derivative."""
    if mp.fsum(_margin_terms(y, p)) <= 0:
        return [[] for _ in y]
    rivals = _rivals(y, p)
    first = rivals.index(max(rivals))
    return [[1 - 2 * target if i == first else -target] for i, target in enumerate(y)]


def _direction(x: Row, epsilon: mpf) -> tuple[Row, mpf, bool]:
    """The vector of length 1, its length, and whether epsilon (or nothing at all) is the length."""
    length = mp.sqrt(mp.fsum(number**2 for number in x))
    clipped = length <= epsilon
    length = max(length, epsilon)
    return [number / length if length else mpf(0) for number in x], length, clipped


def _cosine_similarity(y: Row, p: Row, epsilon: mpf) -> Terms:
    u, _, _ = _direction(y, epsilon)
    v, _, _ = _direction(p, epsilon)
    return [-a * b for a, b in zip(u, v, strict=True) if a * b != 0]


def _cosine_similarity_slope(y: Row, p: Row, epsilon: mpf) -> list[Terms]:
    u, _, _ = _direction(y, epsilon)
    v, length, clipped = _direction(p, epsilon)
    if length == 0:
        return [[] for _ in p]
    if clipped:
        return [products((-a, lambda: 1 / length)) for a in u]
    pairs = list(zip(u, v, strict=True))
    return [
        [-a / length, *(c * d * b / length for c, d in pairs)] if any(u) else [] for a, b in pairs
    ]


def _log_likelihood(y: Row, x: Row) -> Terms:
    return [-target * number for target, number in zip(y, x, strict=True) if target]


def _log_likelihood_slope(y: Row, x: Row) -> list[Terms]:
    return [[-target] for target in y]


def _shortfall_terms(margin: mpf, right: mpf, wrong: mpf, power: mpf) -> Terms:
    """``max(margin - right + wrong, 0)**power``, multiplied out."""
    parts = [margin, -right, wrong]
    if mp.fsum(parts) <= 0:
        return []
    return parts if power == 1 else [a * b for a in parts for b in parts]


def _shortfall_slope(margin: mpf, right: mpf, wrong: mpf, power: mpf) -> Terms:
    """Its derivative by ``wrong``; by ``right`` it is the opposite."""
    parts = [margin, -right, wrong]
    if mp.fsum(parts) <= 0:
        return []
    return [mpf(1)] if power == 1 else [2 * part for part in parts]


def _multi_margin(y: Row, x: Row, p: mpf, margin: mpf) -> Terms:
    k = y.index(1)
    rivals = (x[j] for j in range(len(x)) if j != k)
    return [term / len(x) for rival in rivals for term in _shortfall_terms(margin, x[k], rival, p)]


def _multi_margin_slope(y: Row, x: Row, p: mpf, margin: mpf) -> list[Terms]:
    k = y.index(1)
    slopes = [
        [term / len(x) for term in _shortfall_slope(margin, x[k], x[j], p)] if j != k else []
        for j in range(len(x))
    ]
    slopes[k] = [-term for slope in slopes for term in slope]
    return slopes


def _multilabel_margin(y: Row, x: Row) -> Terms:
    return [
        y[j] * term / len(x)
        for j in range(len(x))
        for i in range(len(x))
        if y[j] and not y[i]
        for term in _shortfall_terms(ONE, x[j], x[i], ONE)
    ]


def _multilabel_margin_slope(y: Row, x: Row) -> list[Terms]:
    slopes: list[Terms] = [[] for _ in x]
    for j in range(len(x)):
        for i in range(len(x)):
            if y[j] and not y[i]:
                for term in _shortfall_slope(ONE, x[j], x[i], ONE):
                    slopes[i].append(y[j] * term / len(x))
                    slopes[j].append(-y[j] * term / len(x))
    return slopes


def _generalized(y: Row, p: Row, q: mpf) -> Terms:
    """The power and the 1 are one term: what is left of them is to keep its digits."""
    return [target * (1 - raised(x, q)) / q for target, x in zip(y, p, strict=True) if target]


def _generalized_slope(y: Row, p: Row, q: mpf) -> list[Terms]:
    return [
        [-mp.inf if x == 0 else -raised(x, q - 1)] if target else []
        for target, x in zip(y, p, strict=True)
    ]


def _tversky_sums(y: Row, p: Row, smooth: mpf, alpha: mpf, beta: mpf) -> tuple[Terms, Terms]:
    """What is shared and what is not, as terms."""
    pairs = list(zip(y, p, strict=True))
    missed = [alpha * x * (1 - t) for t, x in pairs] + [beta * t * (1 - x) for t, x in pairs]
    return [t * x for t, x in pairs], [*missed, smooth]


def _tversky(y: Row, p: Row, **parameters: mpf) -> Terms:
    shared, missed = _tversky_sums(y, p, **parameters)
    whole = mp.fsum(shared + missed)
    return [term / whole for term in missed]


def _tversky_slope(y: Row, p: Row, smooth: mpf, alpha: mpf, beta: mpf) -> list[Terms]:
    shared, missed = map(mp.fsum, _tversky_sums(y, p, smooth, alpha, beta))
    square = (shared + missed) ** 2
    return [[alpha * shared * (1 - t) / square, -t * (missed + beta * shared) / square] for t in y]


# By formula: of a row of targets and one of predictions, the terms of the loss, and for each prediction those of its
# derivative.
ROWS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "categorical_crossentropy": (
        _classes(_normalised, _categorical),
        _classes(_normalised, _categorical_slope),
    ),
    "categorical_crossentropy_with_logits": (
        _classes(_softmax, _categorical),
        _classes(_softmax, _categorical_slope),
    ),
    "sparse_categorical_crossentropy": (
        _classes(_normalised, _categorical),
        _classes(_normalised, _categorical_slope),
    ),
    "sparse_categorical_crossentropy_with_logits": (
        _classes(_softmax, _categorical),
        _classes(_softmax, _categorical_slope),
    ),
    "categorical_focal_crossentropy": (
        _classes(_normalised, _categorical),
        _classes(_normalised, _categorical_slope),
    ),
    "categorical_focal_crossentropy_with_logits": (
        _classes(_softmax, _categorical),
        _classes(_softmax, _categorical_slope),
    ),
    "categorical_hinge": (_categorical_hinge, _categorical_hinge_slope),
    "cosine_similarity": (_cosine_similarity, _cosine_similarity_slope),
    "negative_log_likelihood": (_log_likelihood, _log_likelihood_slope),
    "multi_margin": (_multi_margin, _multi_margin_slope),
    "multilabel_margin": (_multilabel_margin, _multilabel_margin_slope),
    "tversky": (_tversky, _tversky_slope),
    "generalized_crossentropy": (_generalized, _generalized_slope),
}
