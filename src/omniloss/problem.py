"""One call made ready to run: the records that pass between execution, frameworks and the core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omniloss.formulas.definition import Formula

__all__ = ["Offence", "Problem", "Weighting"]


@dataclass(frozen=True, slots=True)
class Weighting:
    """Weights and mask of one call, made ready.

    ``per_loss`` broadcasts against losses of shape ``losses_shape`` and may enlarge them, as in Keras;
    ``per_row`` is the same summed back, so that it broadcasts against the formula's rows.
    """

    per_loss: Any
    losses_shape: tuple[int, ...]
    per_row: Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One call, checked and in the arrays of one framework.

    ``predictions`` have the type to compute in and are of the targets' shape, or for class indices of that
    shape with the class axis ``axis`` added. ``target_map`` (a, b) replaces targets t by a*t + b. ``divisor``
    is what the reduction divides by. ``dtype`` and ``gradient_dtype`` are the types to return. ``others``
    are the arrays that the formula takes besides, in its order.
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


@dataclass(frozen=True, slots=True)
class Offence:
    """The first element outside of its allowed interval: of which array, where, and what it is.

    ``which`` is "targets", "predictions" or the name of one of the formula's other arrays.
    """

    which: str
    index: tuple[int, ...]
    value: Any
