"""One call made ready to run: the records that pass between execution, frameworks and the core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from omniloss.formulas.definition import Formula

__all__ = ["Mask", "Offence", "Problem", "StandIn", "Weighting"]


@dataclass(frozen=True, slots=True)
class Mask:
    """What is left out: wherever ``array`` holds the number ``excluded``.

    Class indices serve for a mask that leaves out the rows of one label; they are not ``is_binary``, as a
    user's mask of booleans, or 0 and 1, is, which serves as weights.
    """

    array: Any
    excluded: float = 0
    is_binary: bool = True


@dataclass(frozen=True, slots=True)
class Weighting:
    """Weights and masks of one call, made ready.

    ``per_loss`` broadcasts against losses of shape ``losses_shape`` and may enlarge them, as in Keras;
    ``per_row`` is the same summed back, so that it broadcasts against the formula's rows. So do the
    ``masks``, which are kept apart, lest a product as large as the rows be made: where one of them
    leaves a row out, its weight is 0, whatever stands in ``per_loss`` and ``per_row``.
    """

    per_loss: Any
    losses_shape: tuple[int, ...]
    per_row: Any
    masks: tuple[Mask, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """One call, checked and in the arrays of one framework.

    ``predictions`` are of the targets' shape, or for class indices of that shape with the class axis
    ``axis`` added. They have the type to compute in, unless their framework converts them as it runs.
    ``target_map`` (a, b) replaces targets t by a*t + b, which ``class_factors``, where there are some,
    multiply by class. ``divisor`` is what the reduction divides by. ``dtype`` and ``gradient_dtype`` are
    the types to return. ``others`` are the arrays that the formula takes besides, in its order.
    ``shrink`` multiplies losses before they are added up, where the sum is too large for its type.
    ``merged`` are the axes of the user's arrays that were made one, the last.
    """

    framework: Any
    formula: Formula
    parameters: tuple[float, ...]
    targets: Any
    predictions: Any
    axis: int
    row_mean: bool
    target_map: tuple[float, float]
    detect_binary: bool
    weighting: Weighting | None
    divisor: Any
    dtype: Any
    gradient_dtype: Any
    others: tuple[Any, ...] = ()
    class_factors: tuple[float, ...] = ()
    shrink: float = 1.0
    merged: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Offence:
    """The first element outside of its allowed interval: of which array, where, and what it is.

    ``which`` is "targets", "predictions" or the name of one of the formula's other arrays.
    """

    which: str
    index: tuple[int, ...]
    value: Any


@dataclass(frozen=True, slots=True)
class StandIn:
    """A call on arrays of plain shapes in the place of one whose own are of no such shape.

    ``losses`` brings unreduced losses to where the user has their samples, and ``gradient``, where there is one, what
    was computed for each element of the predictions to where these are. Where ``samples`` is given, ``call`` is one
    without weights and a rule, and ``samples`` makes of its losses those to be reduced, with their weights and mask.
    """

    call: Any
    losses: Callable[[Any], Any]
    gradient: Callable[[Any], Any] | None = None
    samples: Callable[[Any], tuple[Any, Any, Any]] | None = None
