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

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from mpmath import mp, mpf

from support.element_definitions import ELEMENTS
from support.row_definitions import ROWS
from support.terms import Terms

__all__ = ["DEFINITIONS", "derivative", "scaled_derivative", "scaled_value", "value"]

Parameters = Mapping[str, float]


class Definition(NamedTuple):
    """The terms of a loss, and those of its derivative.

    Both functions take an element's target and prediction, or a row's. The derivative of a row is a
    list of terms for each prediction.
    """

    rowwise: bool
    value: Callable[..., Any]
    derivative: Callable[..., Any]


DEFINITIONS = {
    **{name: Definition(False, *pair) for name, pair in ELEMENTS.items()},
    **{name: Definition(True, *pair) for name, pair in ROWS.items()},
}


def value(name: str, targets: Any, predictions: Any, parameters: Parameters) -> list[mpf]:
    return [total for total, _ in scaled_value(name, targets, predictions, parameters)]


def derivative(name: str, targets: Any, predictions: Any, parameters: Parameters) -> list[mpf]:
    return [total for total, _ in scaled_derivative(name, targets, predictions, parameters)]


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


def _items(definition: Definition, targets: Any, predictions: Any) -> Iterator[tuple[Any, Any]]:
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
