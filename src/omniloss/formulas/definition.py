"""The record of a loss formula, and the decorators that make one."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, NamedTuple

__all__ = ["ANY", "NON_NEGATIVE", "PROBABILITY", "Formula", "Interval", "pointwise", "rowwise"]


class Interval(NamedTuple):
    """A closed interval of allowed numbers; an infinite end leaves its side open."""

    low: float = -inf
    high: float = inf

    def __str__(self) -> str:
        left = "(-inf" if self.low == -inf else f"[{self.low:g}"
        right = "inf)" if self.high == inf else f"{self.high:g}]"
        return f"{left}, {right}"


ANY = Interval()
NON_NEGATIVE = Interval(0.0, inf)
PROBABILITY = Interval(0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Formula:
    """The mathematics of one loss: its value and its derivative by the predictions.

    Both are called as ``f(xp, targets, predictions, **parameters)``. ``xp`` is a namespace of the
    Python array API; the arrays are float32 or float64, both of one dtype.

    A *pointwise* formula maps two arrays of one shape to one loss per element. A *rowwise* formula
    maps rows along the last axis to one loss per row; its ``targets`` have the predictions' shape or,
    where ``labels`` is true, are class indices (integers) of that shape without its last axis.
    ``derivative`` returns an array of the predictions' shape: the derivative of each element's (of
    each row's) own loss.

    ``targets`` and ``predictions`` are the intervals outside of which an element is an error; NaN
    passes. The native core knows a formula by its name and takes the parameters in their order here.
    """

    name: str
    kind: Literal["pointwise", "rowwise"]
    value: Callable[..., Any]
    derivative: Callable[..., Any]
    parameters: tuple[str, ...]
    labels: bool = False
    targets: Interval = ANY
    predictions: Interval = ANY


def pointwise(
    derivative: Callable[..., Any], *, targets: Interval = ANY, predictions: Interval = ANY
) -> Callable[[Callable[..., Any]], Formula]:
    """Make the decorated value function a pointwise `Formula` of the function's name."""

    def define(value: Callable[..., Any]) -> Formula:
        return Formula(
            value.__name__,
            "pointwise",
            value,
            derivative,
            _parameters(value, derivative),
            targets=targets,
            predictions=predictions,
        )

    return define


def rowwise(
    derivative: Callable[..., Any],
    *,
    labels: bool = False,
    targets: Interval = ANY,
    predictions: Interval = ANY,
) -> Callable[[Callable[..., Any]], Formula]:
    """Make the decorated value function a rowwise `Formula` of the function's name."""

    def define(value: Callable[..., Any]) -> Formula:
        return Formula(
            value.__name__,
            "rowwise",
            value,
            derivative,
            _parameters(value, derivative),
            labels=labels,
            targets=targets,
            predictions=predictions,
        )

    return define


def _parameters(value: Callable[..., Any], derivative: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters of both functions behind (xp, targets, predictions), which must agree."""
    names = _arguments(value)
    if names[:3] != ("xp", "targets", "predictions"):
        raise TypeError(f"{value.__name__} must begin with xp, targets, predictions; got {names}")
    if _arguments(derivative) != names:
        raise TypeError(f"{value.__name__} and its derivative must take the same arguments")
    return names[3:]


def _arguments(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a plain function's arguments; `inspect.signature` would double the import's time."""
    code = function.__code__
    return code.co_varnames[: code.co_argcount]
