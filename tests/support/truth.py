"""The exact losses, in mpmath, from their definitions: what the implementations are judged by.

    value(name, targets, predictions, parameters) -> list of mpf, one per element or row
    derivative(name, targets, predictions, parameters) -> list of mpf, in the predictions' C order
    scaled_value, scaled_derivative (the same) -> list of pairs (mpf, its scale)

``name`` and ``parameters`` (a dict) are those of `omniloss.formulas.FORMULAS`. The arrays are NumPy
arrays of finite floats, or of class indices, taken as the exact numbers that they hold, and so are
the parameters. The scale is the sum of the *absolute* terms that a result is the sum of: the
result's own size unless terms cancel. It says how much precision the result can have at best.

Nothing here is written for numerical stability: a definition is evaluated with more and more digits
until they agree. A term with the factor 0 is no term, which is the convention ``0 * log 0 = 0``. At
a tie, and where a clip is active, the derivative is 0.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from mpmath import mp, mpf

__all__ = ["DEFINITIONS", "derivative", "scaled_derivative", "scaled_value", "value"]

Terms = list[mpf]
Row = Sequence[mpf]
Parameters = Mapping[str, float]

_ZERO, _ONE = mpf(0), mpf(1)


def value(name: str, targets: Any, predictions: Any, parameters: Parameters) -> list[mpf]:
    return [total for total, _ in scaled_value(name, targets, predictions, parameters)]


def derivative(name: str, targets: Any, predictions: Any, parameters: Parameters) -> list[mpf]:
    return [total for total, _ in scaled_derivative(name, targets, predictions, parameters)]


# Evaluation.

_MOST_DIGITS = 400


def scaled_value(
    name: str, targets: Any, predictions: Any, parameters: Parameters
) -> list[tuple[mpf, mpf]]:
    definition = DEFINITIONS[name]
    exact = _exact(name, predictions, parameters)
    return [
        pair
        for y, p in _items(definition, targets, predictions)
        for pair in _settle(lambda y=y, p=p: [definition.value(y, p, **exact)], y, p)
    ]


def _exact(name: str, predictions: Any, parameters: Parameters) -> dict[str, mpf]:
    """The parameters, and the gap to 1 that the bound 1 - epsilon leaves in the predictions' type."""
    exact = {key: mpf(number) for key, number in parameters.items()}
    if name in ("binary_crossentropy", "binary_focal_crossentropy"):
        number = np.asarray(predictions).dtype.type
        exact["gap"] = 1 - mpf(float(number(1 - parameters["epsilon"])))
    return exact


def scaled_derivative(
    name: str, targets: Any, predictions: Any, parameters: Parameters
) -> list[tuple[mpf, mpf]]:
    definition = DEFINITIONS[name]
    exact = _exact(name, predictions, parameters)

    def terms(y: Any, p: Any) -> list[Terms]:
        result = definition.derivative(y, p, **exact)
        return result if definition.rowwise else [result]

    return [
        pair
        for y, p in _items(definition, targets, predictions)
        for pair in _settle(lambda y=y, p=p: terms(y, p), y, p)
    ]


def _items(definition: "Definition", targets: Any, predictions: Any) -> Iterator[tuple[Any, Any]]:
    """The pairs of numbers, or of rows, that the definition takes."""
    targets, predictions = np.asarray(targets), np.asarray(predictions)
    if not definition.rowwise:
        for y, p in zip(targets.ravel(), predictions.ravel(), strict=True):
            yield mpf(float(y)), mpf(float(p))
        return
    rows = predictions.reshape(-1, predictions.shape[-1])
    dense = targets.ndim == predictions.ndim
    goals = targets.reshape(rows.shape) if dense else targets.reshape(-1)
    for goal, row in zip(goals, rows, strict=True):
        weights = goal if dense else np.arange(len(row)) == goal
        yield [mpf(float(y)) for y in weights], [mpf(float(p)) for p in row]


def _settle(evaluate: Callable[[], list[Terms]], *inputs: Any) -> list[tuple[mpf, mpf]]:
    """The sum, and the sum of the absolute values, of each list of terms."""
    # Enough digits to tell 1 + x from 1, and 1 + exp(-x), for every input.
    numbers = [abs(x) for each in inputs for x in (each if isinstance(each, list) else [each])]
    needed = (max(0.44 * x, -mp.log10(x)) for x in numbers if x)
    start = 40 + int(min(_MOST_DIGITS, max(needed, default=0)))
    previous: list[Terms] = []
    for digits in (start, start + 40, start + _MOST_DIGITS):
        with mp.workdps(digits):
            terms = evaluate()
            result = [(mp.fsum(each), mp.fsum(each, absolute=True)) for each in terms]
            digested = [
                [*each, *total] if each else [] for each, total in zip(terms, result, strict=True)
            ]
        if previous and all(map(_agree, previous, digested)):
            break
        previous = digested
    return result


def _agree(few_digits: Terms, more_digits: Terms) -> bool:
    """Whether two evaluations agree. A zero is doubted: its digits may just have cancelled."""
    return all(
        abs(a - b) < abs(b) * mpf(10) ** -22 if mp.isfinite(b) else a == b or mp.isnan(b)
        for a, b in zip(few_digits, more_digits, strict=True)
    )


# Definitions.


class Definition(NamedTuple):
    """The terms of a loss, and those of its derivative.

    Both functions take an element's target and prediction, or a row's. The derivative of a row is a
    list of terms for each prediction.
    """

    rowwise: bool
    value: Callable[..., Any]
    derivative: Callable[..., Any]


def _terms(*factors: tuple[mpf, Callable[[], mpf]]) -> Terms:
    """The products of weights and (lazy) numbers; a weight of 0 silences its number."""
    return [weight * number() for weight, number in factors if weight != 0]


def _log(x: mpf) -> mpf:
    return mp.log(x) if x > 0 else (-mp.inf if x == 0 else mp.nan)


def _divide(a: mpf, b: mpf) -> mpf:
    return a / b if b != 0 else a * mp.inf


def _power(base: mpf, exponent: mpf) -> mpf:
    if base == 0:
        return mpf(0) if exponent > 0 else mpf(1) if exponent == 0 else mp.inf
    return mp.power(base, exponent)


def _clip(x: mpf, low: mpf, high: mpf) -> mpf:
    return min(max(x, low), high) if low > 0 else x


def _inside(x: mpf, low: mpf, high: mpf) -> bool:
    return low <= 0 or low < x < high


def _squared_error(y: mpf, p: mpf) -> Terms:
    return [(p - y) ** 2]


def _squared_error_slope(y: mpf, p: mpf) -> Terms:
    return [2 * (p - y)]


def _absolute_error(y: mpf, p: mpf) -> Terms:
    return [abs(p - y)]


def _absolute_error_slope(y: mpf, p: mpf) -> Terms:
    return [mp.sign(p - y)] if p != y else []


def _log_cosh(y: mpf, p: mpf) -> Terms:
    return [mp.log(mp.cosh(p - y))] if p != y else []


def _log_cosh_slope(y: mpf, p: mpf) -> Terms:
    return [mp.tanh(p - y)] if p != y else []


def _huber(y: mpf, p: mpf, delta: mpf) -> Terms:
    size = abs(p - y)
    return [size**2 / 2 if size <= delta else delta * (size - delta / 2)]


def _huber_slope(y: mpf, p: mpf, delta: mpf) -> Terms:
    return [min(max(p - y, -delta), delta)]


def _absolute_percentage_error(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    return [_divide(100 * abs(p - y), max(abs(y), epsilon))]


def _absolute_percentage_error_slope(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    scale = max(abs(y), epsilon)
    return [_divide(100 * mp.sign(p - y), scale)] if p != y or scale == 0 else []


def _squared_logarithmic_error(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    y, p = _clip(y, epsilon, mp.inf), _clip(p, epsilon, mp.inf)
    return [(_log(1 + p) - _log(1 + y)) ** 2] if p != y or p <= -1 else []


def _squared_logarithmic_error_slope(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    y = _clip(y, epsilon, mp.inf)
    if not _inside(p, epsilon, mp.inf) or (p == y and p > -1):
        return []
    return [_divide(2 * (_log(1 + p) - _log(1 + y)), 1 + p)]


def _kl_divergence(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    y, p = _clip(y, epsilon, mpf(1)), _clip(p, epsilon, mpf(1))
    return _terms((y, lambda: -_log(p / y))) if y != p else []


def _kl_divergence_slope(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    if not _inside(p, epsilon, mpf(1)):
        return []
    return _terms((-_clip(y, epsilon, mpf(1)), lambda: _divide(mpf(1), p)))


def _poisson(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    return [p, *_terms((-y, lambda: _log(p + epsilon)))]


def _poisson_slope(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    return [mpf(1), *_terms((-y, lambda: _divide(mpf(1), p + epsilon)))]


def _hinge(y: mpf, p: mpf) -> Terms:
    return [mpf(1), -y * p] if y * p < 1 else []


def _hinge_slope(y: mpf, p: mpf) -> Terms:
    return [-y] if y * p < 1 else []


def _squared_hinge(y: mpf, p: mpf) -> Terms:
    return [mpf(1), -2 * y * p, (y * p) ** 2] if y * p < 1 else []


def _squared_hinge_slope(y: mpf, p: mpf) -> Terms:
    return [-2 * y, 2 * y * y * p] if y * p < 1 else []


def _binary(y: mpf, p: mpf, q: mpf, epsilon: mpf, gap: mpf | None = None) -> Terms:
    """Cross-entropy of a target y with the probabilities p and ``q = 1 - p``, clipped at the gap."""
    gap = epsilon if gap is None else gap
    p, q = _clip(p, epsilon, 1 - gap), _clip(q, gap, 1 - epsilon)
    return _terms((y, lambda: -_log(p)), (1 - y, lambda: -_log(q)))


def _binary_slope(y: mpf, p: mpf, q: mpf, epsilon: mpf, gap: mpf | None = None) -> Terms:
    """Its derivative by p."""
    gap = epsilon if gap is None else gap
    if not _inside(p, epsilon, 1 - gap):
        return []
    return _terms(
        (-y, lambda: _divide(mpf(1), p)),
        (1 - y, lambda: _divide(mpf(1), q)),
    )


def _binary_focal(
    y: mpf,
    p: mpf,
    q: mpf,
    epsilon: mpf,
    alpha: mpf,
    gamma: mpf,
    balanced: mpf,
    gap: mpf | None = None,
) -> Terms:
    weight = y * alpha + (1 - y) * (1 - alpha) if balanced else mpf(1)
    factor = weight * _power(y * q + (1 - y) * p, gamma)
    return _terms(*((factor, lambda term=term: term) for term in _binary(y, p, q, epsilon, gap)))


def _binary_focal_slope(
    y: mpf,
    p: mpf,
    q: mpf,
    epsilon: mpf,
    alpha: mpf,
    gamma: mpf,
    balanced: mpf,
    gap: mpf | None = None,
) -> Terms:
    weight = y * alpha + (1 - y) * (1 - alpha) if balanced else mpf(1)
    miss = y * q + (1 - y) * p
    surprise = mp.fsum(_binary(y, p, q, epsilon, gap))
    slope = _binary_slope(y, p, q, epsilon, gap)
    if mp.isinf(mp.fsum(slope)):
        return _terms((weight * _power(miss, gamma), lambda: mp.fsum(slope)))
    terms = _terms(
        *((_power(miss, gamma), lambda term=term: term) for term in slope),
        (gamma * surprise * (1 - y), lambda: _power(miss, gamma - 1)),
        (-gamma * surprise * y, lambda: _power(miss, gamma - 1)),
    )
    return _terms(*((weight, lambda term=term: term) for term in terms))


def _sigmoid(x: mpf) -> mpf:
    return 1 / (1 + 1 / _exp(x, mp.prec))


@cache
def _exp(x: mpf, precision: int) -> mpf:
    """``exp(x)``, which takes long for a huge x and is asked for again and again."""
    return mp.exp(x)


def _of_logit(terms: Callable[..., Terms]) -> Callable[..., Terms]:
    def value(y: mpf, x: mpf, epsilon: mpf = _ZERO, **parameters: mpf) -> Terms:
        return terms(y, _sigmoid(x), _sigmoid(-x), epsilon, **parameters)

    return value


def _by_logit(slope: Callable[..., Terms]) -> Callable[..., Terms]:
    def derivative(y: mpf, x: mpf, epsilon: mpf = _ZERO, **parameters: mpf) -> Terms:
        p, q = _sigmoid(x), _sigmoid(-x)
        return [p * q * term for term in slope(y, p, q, epsilon, **parameters)]

    return derivative


def _of_probability(terms: Callable[..., Terms]) -> Callable[..., Terms]:
    def result(y: mpf, p: mpf, epsilon: mpf, **parameters: mpf) -> Terms:
        return terms(y, p, 1 - p, epsilon, **parameters)

    return result


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
    own = [_divide(rest, x) for rest, x in zip(complement, p, strict=True)]
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
        q, rest = _clip(q, epsilon, 1 - epsilon), _clip(rest, epsilon, 1 - epsilon)
        terms += _terms((alpha * target * _power(rest, gamma), lambda q=q: -_log(q)))
    return terms


def _categorical_slope(
    y: Row, distribution: _Distribution, epsilon: mpf, alpha: mpf, gamma: mpf
) -> list[Terms]:
    """By each prediction: what the loss changes with every ``log(q)``, times how those move."""
    pulls = []
    for target, q, rest in zip(y, distribution.q, distribution.complement, strict=True):
        pull = mpf(0)
        if target != 0 and _inside(q, epsilon, 1 - epsilon):
            # The derivative of (1 - q)**gamma * log(q) by log(q).
            pull = _power(rest, gamma)
            if gamma != 0 and q != 0 and rest != 0:
                pull -= gamma * q * _power(rest, gamma - 1) * _log(q)
        pulls.append(alpha * target * pull)
    return [
        _terms(
            *((pull, lambda i=i: distribution.others[i]) for j, pull in enumerate(pulls) if j != i),
            (-pulls[i], lambda i=i: distribution.own[i]),
        )
        for i in range(len(y))
    ]


def _classes(
    distribute: Callable[[Row], _Distribution], terms: Callable[..., Any]
) -> Callable[..., Any]:
    def result(y: Row, p: Row, epsilon: mpf = _ZERO, alpha: mpf = _ONE, gamma: mpf = _ZERO) -> Any:
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
        return [_terms((-a, lambda: 1 / length)) for a in u]
    pairs = list(zip(u, v, strict=True))
    return [
        [-a / length, *(c * d * b / length for c, d in pairs)] if any(u) else [] for a, b in pairs
    ]


def _smooth_l1(y: mpf, p: mpf, beta: mpf) -> Terms:
    size = abs(p - y)
    return [size**2 / (2 * beta)] if size < beta else [size, -beta / 2]


def _smooth_l1_slope(y: mpf, p: mpf, beta: mpf) -> Terms:
    return [min(max((p - y) / beta, mpf(-1)), mpf(1))]


def _kl_of_logs(y: mpf, x: mpf) -> Terms:
    return _terms((y, lambda: _log(y)), (-y, lambda: x))


def _kl_of_logs_slope(y: mpf, x: mpf) -> Terms:
    return [-y]


def _kl_between_logs(t: mpf, x: mpf) -> Terms:
    return [mp.exp(t) * (t - x)]


def _kl_between_logs_slope(t: mpf, x: mpf) -> Terms:
    return [-mp.exp(t)]


def _stirling(y: mpf) -> Terms:
    return [y * mp.log(y), -y, mp.log(2 * mp.pi * y) / 2] if y > 1 else []


def _poisson_with_stirling(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    return _poisson(y, p, epsilon) + _stirling(y)


def _poisson_of_logs(y: mpf, x: mpf, full: mpf) -> Terms:
    return [_exp(x, mp.prec), -y * x, *(_stirling(y) if full else [])]


def _poisson_of_logs_slope(y: mpf, x: mpf, full: mpf) -> Terms:
    return [_exp(x, mp.prec), -y]


def _clamped_binary(y: mpf, p: mpf, limit: mpf) -> Terms:
    return [y * min(-_log(p), limit), (1 - y) * min(-_log(1 - p), limit)]


def _clamped_binary_slope(y: mpf, p: mpf, limit: mpf) -> Terms:
    """torch's: the exact slope, its divisor not below 1e-12 as a float32."""
    least = mpf(float(np.float32(1e-12)))
    return [(p - y) / max(p * (1 - p), least)]


def _log_likelihood(y: Row, x: Row) -> Terms:
    return [-target * number for target, number in zip(y, x, strict=True) if target]


def _log_likelihood_slope(y: Row, x: Row) -> list[Terms]:
    return [[-target] for target in y]


def _soft_margin(y: mpf, p: mpf) -> Terms:
    return [mp.log1p(_exp(-y * p, mp.prec))]


def _soft_margin_slope(y: mpf, p: mpf) -> Terms:
    return [-y * _sigmoid(-y * p)]


def _hinge_embedding(y: mpf, p: mpf, margin: mpf) -> Terms:
    near = [p] if y != -1 else []
    return near + ([margin, -p] if y != 1 and p < margin else [])


def _hinge_embedding_slope(y: mpf, p: mpf, margin: mpf) -> Terms:
    near = [mpf(1)] if y != -1 else []
    return near + ([mpf(-1)] if y != 1 and p <= margin else [])


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
        for term in _shortfall_terms(_ONE, x[j], x[i], _ONE)
    ]


def _multilabel_margin_slope(y: Row, x: Row) -> list[Terms]:
    slopes: list[Terms] = [[] for _ in x]
    for j in range(len(x)):
        for i in range(len(x)):
            if y[j] and not y[i]:
                for term in _shortfall_slope(_ONE, x[j], x[i], _ONE):
                    slopes[i].append(y[j] * term / len(x))
                    slopes[j].append(-y[j] * term / len(x))
    return slopes


def _generalized(y: Row, p: Row, q: mpf) -> Terms:
    """The power and the 1 are one term: what is left of them is to keep its digits."""
    return [target * (1 - _power(x, q)) / q for target, x in zip(y, p, strict=True) if target]


def _generalized_slope(y: Row, p: Row, q: mpf) -> list[Terms]:
    return [
        [-mp.inf if x == 0 else -_power(x, q - 1)] if target else []
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


DEFINITIONS: dict[str, Definition] = {
    "squared_error": Definition(False, _squared_error, _squared_error_slope),
    "absolute_error": Definition(False, _absolute_error, _absolute_error_slope),
    "log_cosh": Definition(False, _log_cosh, _log_cosh_slope),
    "huber": Definition(False, _huber, _huber_slope),
    "absolute_percentage_error": Definition(
        False, _absolute_percentage_error, _absolute_percentage_error_slope
    ),
    "squared_logarithmic_error": Definition(
        False, _squared_logarithmic_error, _squared_logarithmic_error_slope
    ),
    "kl_divergence": Definition(False, _kl_divergence, _kl_divergence_slope),
    "poisson": Definition(False, _poisson, _poisson_slope),
    "hinge": Definition(False, _hinge, _hinge_slope),
    "squared_hinge": Definition(False, _squared_hinge, _squared_hinge_slope),
    "binary_crossentropy": Definition(
        False, _of_probability(_binary), _of_probability(_binary_slope)
    ),
    "binary_crossentropy_with_logits": Definition(
        False, _of_logit(_binary), _by_logit(_binary_slope)
    ),
    "binary_focal_crossentropy": Definition(
        False, _of_probability(_binary_focal), _of_probability(_binary_focal_slope)
    ),
    "binary_focal_crossentropy_with_logits": Definition(
        False, _of_logit(_binary_focal), _by_logit(_binary_focal_slope)
    ),
    "categorical_crossentropy": Definition(
        True, _classes(_normalised, _categorical), _classes(_normalised, _categorical_slope)
    ),
    "categorical_crossentropy_with_logits": Definition(
        True, _classes(_softmax, _categorical), _classes(_softmax, _categorical_slope)
    ),
    "sparse_categorical_crossentropy": Definition(
        True, _classes(_normalised, _categorical), _classes(_normalised, _categorical_slope)
    ),
    "sparse_categorical_crossentropy_with_logits": Definition(
        True, _classes(_softmax, _categorical), _classes(_softmax, _categorical_slope)
    ),
    "categorical_focal_crossentropy": Definition(
        True, _classes(_normalised, _categorical), _classes(_normalised, _categorical_slope)
    ),
    "categorical_focal_crossentropy_with_logits": Definition(
        True, _classes(_softmax, _categorical), _classes(_softmax, _categorical_slope)
    ),
    "categorical_hinge": Definition(True, _categorical_hinge, _categorical_hinge_slope),
    "cosine_similarity": Definition(True, _cosine_similarity, _cosine_similarity_slope),
    "smooth_l1": Definition(False, _smooth_l1, _smooth_l1_slope),
    "kl_divergence_of_logs": Definition(False, _kl_of_logs, _kl_of_logs_slope),
    "kl_divergence_between_logs": Definition(False, _kl_between_logs, _kl_between_logs_slope),
    "poisson_with_stirling": Definition(False, _poisson_with_stirling, _poisson_slope),
    "poisson_of_logs": Definition(False, _poisson_of_logs, _poisson_of_logs_slope),
    "binary_crossentropy_of_clamped_logs": Definition(
        False, _clamped_binary, _clamped_binary_slope
    ),
    "negative_log_likelihood": Definition(True, _log_likelihood, _log_likelihood_slope),
    "soft_margin": Definition(False, _soft_margin, _soft_margin_slope),
    "hinge_embedding": Definition(False, _hinge_embedding, _hinge_embedding_slope),
    "multi_margin": Definition(True, _multi_margin, _multi_margin_slope),
    "multilabel_margin": Definition(True, _multilabel_margin, _multilabel_margin_slope),
    "tversky": Definition(True, _tversky, _tversky_slope),
    "generalized_crossentropy": Definition(True, _generalized, _generalized_slope),
}
