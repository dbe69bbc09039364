"""Shapes: how targets, predictions, weights and masks of one call are brought together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from omniloss.formulas.definition import Formula
from omniloss.frameworks.base import Framework
from omniloss.problem import Weighting
from omniloss.reduction import Rule

__all__ = ["align_dense", "align_exactly", "align_labels", "align_others", "as_mask", "weigh"]

Shape = tuple[int, ...]


def align_dense(
    framework: Framework, targets: Any, predictions: Any, axis: int, names: tuple[str, str]
) -> tuple[Any, Any, int]:
    """Targets and predictions of one shape, and the axis counted from the front.

    As in Keras a last axis of length 1 is added to an array of rank 1, or taken away from the one that
    has it, where the ranks differ by one. Nothing is broadcast.
    """
    shapes = tuple(targets.shape), tuple(predictions.shape)
    if shapes[0] != shapes[1]:
        first, second = match_ranks(*shapes)
        if first != second:
            raise ValueError(
                f"`{names[0]}` and `{names[1]}` must have the same shape (up to a last axis of length 1); got "
                f"{names[0]}.shape={shapes[0]} and {names[1]}.shape={shapes[1]}"
            )
        targets = framework.xp.reshape(targets, first)
        predictions = framework.xp.reshape(predictions, second)
    return targets, predictions, _axis(axis, predictions, names[1])


def align_labels(
    framework: Framework, targets: Any, predictions: Any, axis: int, names: tuple[str, str]
) -> tuple[Any, int]:
    """Class indices of the predictions' shape without the class axis, and that axis."""
    front = _axis(axis, predictions, names[1])
    shape = tuple(predictions.shape)
    rows = shape[:front] + shape[front + 1 :]
    got = tuple(targets.shape)
    if got == rows:
        return targets, front
    if got == (*shape[:front], 1, *shape[front + 1 :]) or got == (*rows, 1):
        return framework.xp.reshape(targets, rows), front
    raise ValueError(
        f"`{names[0]}` must hold one class index for each row of `{names[1]}`, and have the same shape up to "
        f"the class axis; expected {rows}, got {names[0]}.shape={got} with {names[1]}.shape={shape} and "
        f"axis={axis}"
    )


def align_exactly(
    targets: Any, predictions: Any, axis: int | None, names: tuple[str, str], *, labels: bool
) -> int:
    """The axis counted from the front, for arrays that have just the shapes that torch documents.

    Dense targets have the predictions' shape, class indices that shape without the class axis. Without
    an axis, where each element is a row, it is the one to come.
    """
    shape, got = tuple(predictions.shape), tuple(targets.shape)
    front = len(shape) if axis is None else _axis(axis, predictions, names[1])
    expected = shape[:front] + shape[front + 1 :] if labels else shape
    if got == expected:
        return front
    raise ValueError(
        f"`{names[0]}` must have the shape {expected} for `{names[1]}` of shape {shape}; got "
        f"{names[0]}.shape={got}"
    )


def align_others(
    framework: Framework,
    others: tuple[Any, ...],
    formula: Formula,
    predictions: Any,
    axis: int,
    names: tuple[str, ...],
    expected_by: str,
) -> tuple[Any, ...]:
    """A formula's further arrays, of shapes that fit the predictions as the formula says."""
    shape = tuple(predictions.shape)
    aligned = []
    for other, array, name in zip(formula.others, others, names, strict=True):
        got = tuple(array.shape)
        if other.shape == "leading" and got != shape and got == shape[:-1]:
            array = framework.xp.expand_dims(array, axis=-1)
        elif not _fits(other.shape, got, shape, axis):
            raise ValueError(
                f"`{name}` of shape {got} does not fit `{expected_by}` of shape {shape}"
            )
        aligned.append(array)
    return tuple(aligned)


def _fits(how: str, got: Shape, shape: Shape, axis: int) -> bool:
    """Whether an array of one shape goes with predictions of another; see `Other`."""
    if how == "same":
        return got == shape
    if how == "rows":
        return got == shape[:axis] + shape[axis + 1 :]
    if len(got) > len(shape) or (how == "leading" and 0 < len(got) < len(shape)):
        return False
    return all(
        mine in (1, size) for mine, size in zip(reversed(got), reversed(shape), strict=False)
    )


def _axis(axis: int, predictions: Any, name: str) -> int:
    rank = len(predictions.shape)
    if rank == 0:
        raise ValueError(f"`{name}` must have at least one axis; got a scalar")
    if not -rank <= axis < rank:
        raise ValueError(
            f"`axis` must lie in [{-rank}, {rank - 1}] for `{name}` of shape {tuple(predictions.shape)}; "
            f"got {axis}"
        )
    return axis % rank


def match_ranks(first: Shape, second: Shape) -> tuple[Shape, Shape]:
    """Keras's rule for ranks that differ by one, on shapes."""
    if len(first) == len(second) + 1 and first[-1] == 1:
        return (first, (*second, 1)) if len(second) == 1 else (first[:-1], second)
    if len(second) == len(first) + 1 and second[-1] == 1:
        return ((*first, 1), second) if len(first) == 1 else (first, second[:-1])
    return first, second


def weigh(
    framework: Framework,
    rows: Shape,
    weights: Any,
    mask: Any,
    rule: Rule | None,
    dtype: Any,
    name: str,
) -> tuple[Weighting, Any]:
    """Weights and mask, aligned with losses of shape ``rows`` as Keras 3 does, and the divisor.

    A masked loss has weight 0 and is not counted. Weights keep their type, sums have ``dtype``.
    """
    xp = framework.xp
    kept: Any = 1.0
    if mask is not None:
        mask = as_mask(framework, mask)
        kept = _ratio(framework.count_true(mask), math.prod(mask.shape))
    combined = _merge(framework, weights, mask, name)

    losses_shape, weight_shape = match_ranks(rows, tuple(combined.shape))
    try:
        fits = losses_shape == weight_shape
        shape = losses_shape if fits else np.broadcast_shapes(losses_shape, weight_shape)
    except ValueError:
        raise ValueError(
            f"`{_joint_name(name, weights, mask)}` of shape {tuple(combined.shape)} does not fit "
            f"losses of shape {rows}"
        ) from None
    per_loss = combined
    if weight_shape != tuple(combined.shape):
        per_loss = xp.reshape(combined, weight_shape)
    per_row = _sum_to(framework, per_loss, losses_shape, shape, dtype)
    # Back to the rank of the rows, where Keras's rule changed it.
    if len(losses_shape) > len(rows):
        per_row = per_row[..., 0] if per_row.ndim == len(losses_shape) else per_row
    elif len(losses_shape) < len(rows):
        per_row = per_row[..., None]

    count = math.prod(shape)
    divisor: Any = float(count) * kept
    if rule is not None and rule.divisor == "weights":
        total = framework.total(xp.astype(per_loss, dtype, copy=False))
        if framework.is_eager(per_loss):
            total = float(total)
        divisor = total * _ratio(count, math.prod(weight_shape))
    return Weighting(per_loss, losses_shape, per_row), divisor


def as_mask(framework: Framework, mask: Any) -> Any:
    """A mask as booleans; numbers other than 0 and 1 are refused where they can be looked at."""
    xp = framework.xp
    if mask.dtype == xp.bool:
        return mask
    if framework.is_eager(mask) and bool(xp.any((mask != 0) & (mask != 1))):
        raise ValueError(
            "`mask` must hold booleans, or 0 and 1; weights go into the weights' own argument"
        )
    return mask != 0


def _joint_name(name: str, weights: Any, mask: Any) -> str:
    if mask is None:
        return name
    return "mask" if weights is None else f"{name} and mask"


def _ratio(part: Any, whole: int) -> Any:
    return part / whole if whole else 0.0


def _merge(framework: Framework, weights: Any, mask: Any, name: str) -> Any:
    """One array for weights and mask: the weights, 0 where masked."""
    xp = framework.xp
    if mask is None:
        return weights
    if weights is None:
        return mask
    mask_shape, weight_shape = match_ranks(tuple(mask.shape), tuple(weights.shape))
    try:
        np.broadcast_shapes(mask_shape, weight_shape)
    except ValueError:
        raise ValueError(
            f"`mask` of shape {tuple(mask.shape)} does not fit `{name}` of shape {tuple(weights.shape)}"
        ) from None
    weights = xp.reshape(weights, weight_shape)
    return xp.where(xp.reshape(mask, mask_shape), weights, xp.zeros_like(weights))


def _sum_to(
    framework: Framework, per_loss: Any, losses_shape: Shape, shape: Shape, dtype: Any
) -> Any:
    """``per_loss`` summed over the axes along which it enlarges the losses."""
    if shape == losses_shape:
        return per_loss
    xp = framework.xp
    extra = len(shape) - len(losses_shape)
    padded = (1,) * extra + losses_shape
    axes = tuple(i for i, size in enumerate(padded) if size == 1 and shape[i] != 1)
    enlarged = xp.broadcast_to(xp.astype(per_loss, dtype), shape)
    summed = xp.sum(enlarged, axis=axes, keepdims=True)
    return xp.reshape(summed, tuple(summed.shape)[extra:])
