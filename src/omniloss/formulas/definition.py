"""The record of a loss formula, and the decorators that make one."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, NamedTuple

__all__ = [
    "ANY",
    "NON_NEGATIVE",
    "PROBABILITY",
    "Formula",
    "Interval",
    "Other",
    "pointwise",
    "rowwise",
    "sequence",
    "setwise",
]


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


class Other(NamedTuple):
    """A further array that a formula takes behind its predictions.

    ``shape`` says how it fits the predictions: ``"same"``; ``"broadcast"``: it is broadcast to them, and
    its gradient is summed back; ``"leading"``: the same, or it lacks their last axis; ``"rows"``: one
    number for each row. ``derivative`` is the loss's derivative by it, of the predictions' shape, where
    there is one.
    """

    name: str
    derivative: Callable[..., Any] | None = None
    interval: Interval = ANY
    shape: Literal["same", "broadcast", "leading", "rows"] = "same"


@dataclass(frozen=True, slots=True)
class Formula:
    """The mathematics of one loss: its value and its derivative by the predictions.

    Both are called as ``f(xp, targets, predictions, *others, **parameters)``. ``xp`` is a namespace of
    the Python array API; the arrays are float32 or float64, all of one dtype. Most losses have no
    ``others``.

    A *pointwise* formula maps two arrays of one shape to one loss per element. A *rowwise* formula
    maps rows along the last axis to one loss per row; its ``targets`` have the predictions' shape or,
    where ``labels`` is true, are class indices (integers) of that shape without its last axis. A *sequence*
    formula maps predictions of shape (steps, samples, classes) and the labels of each sample to one loss
    per sample. A *setwise* formula maps a whole batch, whose samples are on its first axis, to one loss per
    sample, which may depend on all of them.

    ``derivative`` returns an array of the predictions' shape: the derivative of each element's (of each row's)
    own loss. That of a setwise formula takes ``factors``, one per sample, behind the arrays, and is the
    derivative of the sum of factors times losses. ``target_derivative`` is the same by dense targets, where
    it is known. ``statistics`` gives two numbers for each row of a loss that is their quotient with the
    parameter ``smooth`` added to both: over the parts of a row they add up.

    ``targets`` and ``predictions`` are the intervals outside of which an element is an error; NaN
    passes. The native core knows a formula by its name and takes the parameters in their order here.
    """

    name: str
    kind: Literal["pointwise", "rowwise", "sequence", "setwise"]
    value: Callable[..., Any]
    derivative: Callable[..., Any]
    parameters: tuple[str, ...]
    labels: bool = False
    targets: Interval = ANY
    predictions: Interval = ANY
    target_derivative: Callable[..., Any] | None = None
    others: tuple[Other, ...] = ()
    statistics: Callable[..., Any] | None = None

    @property
    def by_batch(self) -> bool:
        """Whether it takes a whole batch, in shapes of its own."""
        return self.kind in ("sequence", "setwise")

    def derivative_by(self, argument: str) -> Callable[..., Any] | None:
        """The derivative by ``"predictions"``, ``"targets"`` or one of the others, by its name."""
        if argument == "predictions":
            return self.derivative
        if argument == "targets":
            return self.target_derivative
        return next(other.derivative for other in self.others if other.name == argument)


def pointwise(
    derivative: Callable[..., Any],
    *,
    targets: Interval = ANY,
    predictions: Interval = ANY,
    target_derivative: Callable[..., Any] | None = None,
    others: tuple[Other, ...] = (),
) -> Callable[[Callable[..., Any]], Formula]:
    """Make the decorated value function a pointwise `Formula` of the function's name."""

    def define(value: Callable[..., Any]) -> Formula:
        return Formula(
            value.__name__,
            "pointwise",
            value,
            derivative,
            _parameters(value, derivative, others),
            targets=targets,
            predictions=predictions,
            target_derivative=target_derivative,
            others=others,
        )

    return define


def rowwise(
    derivative: Callable[..., Any],
    *,
    labels: bool = False,
    targets: Interval = ANY,
    predictions: Interval = ANY,
    target_derivative: Callable[..., Any] | None = None,
    others: tuple[Other, ...] = (),
    statistics: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Any]], Formula]:
    """Make the decorated value function a rowwise `Formula` of the function's name."""

    def define(value: Callable[..., Any]) -> Formula:
        return Formula(
            value.__name__,
            "rowwise",
            value,
            derivative,
            _parameters(value, derivative, others),
            labels=labels,
            targets=targets,
            predictions=predictions,
            target_derivative=target_derivative,
            others=others,
            statistics=statistics,
        )

    return define


def sequence(
    derivative: Callable[..., Any], *, others: tuple[Other, ...]
) -> Callable[[Callable[..., Any]], Formula]:
    """Make the decorated value function a sequence `Formula` of the function's name."""

    def define(value: Callable[..., Any]) -> Formula:
        return Formula(
            value.__name__,
            "sequence",
            value,
            derivative,
            _parameters(value, derivative, others),
            labels=True,
            others=others,
        )

    return define


def setwise(
    derivative: Callable[..., Any], *, others: tuple[Other, ...] = ()
) -> Callable[[Callable[..., Any]], Formula]:
    """Make the decorated value function a setwise `Formula` of the function's name."""

    def define(value: Callable[..., Any]) -> Formula:
        return Formula(
            value.__name__,
            "setwise",
            value,
            derivative,
            _parameters(value, derivative, others, more=("factors",)),
            labels=True,
            others=others,
        )

    return define


def _parameters(
    value: Callable[..., Any],
    derivative: Callable[..., Any],
    others: tuple[Other, ...],
    more: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """The parameters of both functions behind the namespace and the arrays, which must agree.

    The derivative takes ``more`` arrays.
    """
    names = _arguments(value)
    arrays = ("xp", "targets", "predictions", *(other.name for other in others))
    if names[: len(arrays)] != arrays:
        raise TypeError(f"{value.__name__} must begin with {', '.join(arrays)}; got {names}")
    if _arguments(derivative) != (*arrays, *more, *names[len(arrays) :]):
        raise TypeError(f"{value.__name__} and its derivative must take the same arguments")
    return names[len(arrays) :]


def _arguments(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a plain function's arguments; `inspect.signature` would double the import's time."""
    code = function.__code__
    return code.co_varnames[: code.co_argcount]
