"""Shapes: how targets, predictions, weights and masks of one call are brought together."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from omniloss.formulas.definition import Formula
from omniloss.frameworks.base import Framework
from omniloss.problem import Mask, Weighting
from omniloss.reduction import Rule

__all__ = [
    "align_dense",
    "align_exactly",
    "align_labels",
    "align_others",
    "broadcast_to_fit",
    "check_mask",
    "fits_into",
    "joint_shape",
    "match_ranks",
    "merge_axes",
    "set_axes",
    "split_axes",
    "weigh",
    "whole_numbers",
]

Shape = tuple[int, ...]

# As far as NumPy iterates over several arrays
_MOST_AXES = 32


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


def broadcast_to_fit(framework: Framework, targets: Any, shape: Shape) -> Any:
    """Targets broadcast to a shape, or as they are where that cannot be done without enlarging it."""
    fits = fits_into(tuple(targets.shape), shape)
    return framework.xp.broadcast_to(targets, shape) if fits else targets


def fits_into(shape: Shape, whole: Shape) -> bool:
    """Whether a shape can be broadcast to another one without enlarging that."""
    if shape == whole:  # under tracing their sizes are more than numbers
        return True
    try:
        return joint_shape(shape, whole) == whole
    except ValueError:
        return False


def joint_shape(first: Shape, second: Shape) -> Shape:
    """The shape to which two can be broadcast, whose sizes may be more than numbers under tracing."""
    longer, shorter = (second, first) if len(first) < len(second) else (first, second)
    joint = list(longer)
    for place in range(-len(shorter), 0):
        if longer[place] == 1:
            joint[place] = shorter[place]
        elif shorter[place] not in (1, longer[place]):
            raise ValueError(f"shapes {first} and {second} cannot be broadcast")
    return tuple(joint)


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


def set_axes(axes: tuple[int, ...] | None, predictions: Any, name: str) -> tuple[int, ...]:
    """The axes of a set counted from the front, in their order; None means all."""
    rank = len(predictions.shape)
    front = sorted(
        range(rank) if axes is None else (_axis(axis, predictions, name) for axis in axes)
    )
    if len(set(front)) < len(front):
        raise ValueError(
            f"`axis` must not name an axis of `{name}` twice, whose shape is {tuple(predictions.shape)}; got "
            f"{axes}"
        )
    return tuple(front)


def merge_axes(framework: Framework, x: Any, axes: tuple[int, ...]) -> Any:
    """An array with some of its axes made one, the last.

    That of nothing becomes one element, 0: there is a set, though nothing is in it.
    """
    xp = framework.xp
    for moved, axis in enumerate(axes):
        x = xp.moveaxis(x, axis - moved, -1)
    shape = tuple(x.shape)
    rows, merged = shape[: len(shape) - len(axes)], shape[len(shape) - len(axes) :]
    x = xp.reshape(x, (*rows, math.prod(merged)))
    return xp.sum(x, axis=-1, keepdims=True) if 0 in merged else x


def split_axes(framework: Framework, x: Any, axes: tuple[int, ...], shape: Shape) -> Any:
    """An array of a given shape again, of one whose axes `merge_axes` made one."""
    xp = framework.xp
    if 0 in shape:
        return xp.zeros(shape, dtype=x.dtype)
    rows = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    x = xp.reshape(x, (*rows, *(shape[axis] for axis in axes)))
    for moved in range(len(axes) - 1, -1, -1):
        x = xp.moveaxis(x, -1, axes[moved] - moved)
    return x


def whole_numbers(framework: Framework, x: Any, name: str, used: Any) -> tuple[Any, Any]:
    """Labels as integers, and which of those that are used are none, or None where all of them are.

    Where they can be looked at, the first one that is no whole number is an error.
    """
    xp = framework.xp
    if isinstance(x.dtype, np.dtype):  # NumPy's own function does not know bfloat16
        is_float = x.dtype.kind not in "biu"
    else:
        is_float = xp.isdtype(x.dtype, "real floating")
    if not is_float:
        return xp.astype(x, framework.integers), None
    wrong = ~xp.equal(x, xp.floor(x)) | xp.isinf(x)
    whole = xp.astype(xp.where(wrong, xp.zeros_like(x), x), framework.integers)
    broken = wrong if used is None else wrong & used
    if not framework.is_eager(x):
        return whole, broken
    offence = framework.first(name, x, broken)
    if offence is None:
        return whole, None
    place = ", ".join(map(str, offence.index))
    raise ValueError(
        f"`{name}` must hold labels, whole numbers; got {name}[{place}] = {float(offence.value)}"
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
    masks: tuple[Mask, ...],
    rule: Rule | None,
    dtype: Any,
    name: str,
) -> tuple[Weighting, Any]:
    """Weights and masks, aligned with losses of shape ``rows`` as Keras 3 does, and the divisor.

    A masked loss has weight 0 and is not counted. Weights keep their type, sums have ``dtype`` or more, or
    float64 where the weights have it. Several masks have one shape.
    """
    xp = framework.xp
    if weights is not None:
        if len(rows) > _MOST_AXES:
            raise ValueError(
                f"`{name}` cannot weight losses of more than {_MOST_AXES} axes; got {len(rows)}"
            )
        dtype = framework.weight_type(weights, dtype)
    kept: Any = 1.0
    if masks:
        kept = _ratio(framework.count_kept(masks), math.prod(masks[0].array.shape))
    weights, masks, combined = _meet(framework, weights, masks, name)

    losses_shape, fitted = match_ranks(rows, combined)
    try:
        # Equal shapes are taken as they are: under tracing their sizes are more than numbers.
        fits = losses_shape == fitted
        shape = losses_shape if fits else joint_shape(losses_shape, fitted)
    except ValueError:
        joint = _joint_name(name, weights, masks)
        raise ValueError(
            f"`{joint}` of shape {combined} does not fit losses of shape {rows}"
        ) from None
    if weights is None and len(masks) == 1 and masks[0].is_binary:
        weights, masks = masks[0].array, ()
    elif weights is None:
        weights = xp.asarray(1.0, dtype=dtype)
    if shape != losses_shape or not framework.masks_apart:
        weights, masks = framework.merge(weights, masks), ()
    per_loss = _fit_rank(xp, weights, combined, fitted)
    masks = tuple(replace(m, array=_fit_rank(xp, m.array, combined, fitted)) for m in masks)

    count = math.prod(shape)
    divisor: Any = framework.size(count) * kept
    if rule is not None and rule.divisor == "weights":
        total = framework.weight_total(per_loss, masks, dtype)
        divisor = total * _ratio(count, math.prod(fitted))
        if isinstance(divisor, float) and math.isinf(divisor) and _all_finite(framework, weights):
            raise ValueError(
                f"`{name}` must add up to a number in float64's range; got weights whose sum is beyond it"
            )
    per_row = per_loss
    if shape != losses_shape:
        enlarged = xp.broadcast_to(xp.astype(per_loss, framework.sum_type(dtype)), shape)
        per_row = framework.added_up(enlarged, losses_shape)
    # Back to the rank of the rows, where Keras's rule changed it.
    per_row = _fit_rank(xp, per_row, losses_shape, rows)
    masks = tuple(replace(m, array=_fit_rank(xp, m.array, losses_shape, rows)) for m in masks)
    return Weighting(per_loss, losses_shape, per_row, masks), divisor


def _all_finite(framework: Framework, weights: Any) -> bool:
    xp = framework.xp
    return xp.isdtype(weights.dtype, "integral") or bool(xp.all(xp.isfinite(weights)))


def check_mask(framework: Framework, mask: Any) -> None:
    """Refuse a mask of numbers other than 0 and 1, where they can be looked at."""
    if mask.dtype == framework.xp.bool or not framework.is_eager(mask):
        return
    if not framework.is_binary(mask):
        offence = framework.first("mask", mask, (mask != 0) & (mask != 1))
        assert offence is not None
        place = ", ".join(map(str, offence.index))
        raise ValueError(
            "`mask` must hold booleans, or 0 and 1; weights go into the weights' own argument; got "
            f"mask[{place}] = {offence.value}"
        )


def _joint_name(name: str, weights: Any, masks: tuple[Mask, ...]) -> str:
    if not masks:
        return name
    return "mask" if weights is None else f"{name} and mask"


def _ratio(part: Any, whole: int) -> Any:
    return part / whole if whole else 0.0


def _meet(
    framework: Framework, weights: Any, masks: tuple[Mask, ...], name: str
) -> tuple[Any, tuple[Mask, ...], Shape]:
    """Weights and masks of ranks that go together, and the shape to which they broadcast."""
    if weights is None:
        return None, masks, tuple(masks[0].array.shape)
    if not masks:
        return weights, (), tuple(weights.shape)
    mask_shape, weight_shape = match_ranks(tuple(masks[0].array.shape), tuple(weights.shape))
    try:
        combined = joint_shape(mask_shape, weight_shape)
    except ValueError:
        raise ValueError(
            f"`mask` of shape {tuple(masks[0].array.shape)} does not fit `{name}` of shape "
            f"{tuple(weights.shape)}"
        ) from None
    xp = framework.xp
    masks = tuple(replace(m, array=xp.reshape(m.array, mask_shape)) for m in masks)
    return xp.reshape(weights, weight_shape), masks, combined


def _fit_rank(xp: Any, x: Any, old: Shape, new: Shape) -> Any:
    """What broadcasts to ``old``, made to broadcast to ``new``, which has a last axis of 1 more or less."""
    shape = tuple(x.shape)
    if len(new) > len(old):
        return xp.reshape(x, (*shape, 1))
    if len(new) < len(old) and shape:
        return xp.reshape(x, shape[:-1])
    return x
