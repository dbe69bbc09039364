"""From a call to a checked problem: one framework's arrays, aligned, in the types to compute in."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from omniloss import frameworks
from omniloss.alignment import (
    align_dense,
    align_exactly,
    align_labels,
    align_others,
    broadcast_to_fit,
    check_mask,
    fits_into,
    match_ranks,
    merge_axes,
    set_axes,
    weigh,
)
from omniloss.description import Call, InputError, InputTypeError, Plan
from omniloss.frameworks.base import Framework
from omniloss.problem import Mask, Problem, Weighting

__all__ = ["masks_of", "prepare", "prepare_with", "target_map_of"]


def prepare(call: Call, framework: Framework | None = None) -> Problem:
    """Convert, align and check a call's arguments, in the framework where it is known already."""
    plan, names, formula = call.plan, call.plan.names, call.plan.formula
    if framework is None:
        framework = frameworks.of_call(call)
    source, promoted_dtype = framework.promoted(call)
    predictions, dtype, gradient_dtype = framework.predictions(
        source, names.predictions, call.dtype, widen=call.widen
    )
    targets = framework.asarray(call.targets, names.targets)
    others = tuple(map(framework.asarray, call.others, names.others))
    if plan.of_one:
        predictions = framework.xp.expand_dims(predictions, axis=0)
    if plan.torch:
        _refuse_integers(framework, source, gradient_dtype, names.predictions)
    if source is not call.predictions:  # whose gradient is of their own type
        own = call.predictions.dtype
        gradient_dtype = own if framework.xp.isdtype(own, "real floating") else gradient_dtype
    dtype = dtype if promoted_dtype is None else promoted_dtype
    merged: tuple[int, ...] = ()
    if formula.by_batch:  # whose arrays its function has aligned, or `arrange` will
        if formula.kind == "sequence" and predictions.ndim == 2:  # one sample
            predictions = framework.xp.expand_dims(predictions, axis=1)
        axis = predictions.ndim - 1
        samples = 1 if formula.kind == "sequence" else 0
        rows, classes = tuple(predictions.shape[samples : samples + 1]), 1
    else:
        targets, predictions, others, axis = _align(framework, plan, targets, predictions, others)
        if plan.axes != ():
            merged = set_axes(plan.axes, predictions, names.predictions)
            targets, predictions = (
                merge_axes(framework, x, merged) for x in (targets, predictions)
            )
            axis = predictions.ndim - 1
        shape = tuple(predictions.shape)
        rows, classes = shape[:axis] + shape[axis + 1 :], shape[axis]
        _check_classes(plan, shape, rows, classes)

    compute = framework.compute_type(predictions, dtype)
    weighting, divisor = _weigh(call, framework, targets, rows, compute)
    if not classes:  # and hence no rows, whatever the weights make of that
        divisor = framework.size(0)
    if call.by_length:
        divisor = framework.size(predictions.shape[0])
    if call.divisor is not None:
        divisor = call.divisor
    if plan.arrange is not None:
        used = None
        if weighting is not None:
            per_row = framework.merge(weighting.per_row, weighting.masks)
            used = framework.xp.broadcast_to(framework.kept((Mask(per_row),)), rows)
        targets, predictions, others = plan.arrange(framework, targets, predictions, others, used)
    return Problem(
        framework=framework,
        formula=formula,
        parameters=plan.parameters,
        targets=targets,
        predictions=predictions,
        axis=axis,
        row_mean=formula.kind == "pointwise" and plan.row == "mean",
        target_map=target_map_of(plan, framework.size(classes)),
        detect_binary=plan.labels == "auto",
        weighting=weighting,
        divisor=divisor,
        dtype=dtype,
        gradient_dtype=gradient_dtype,
        others=others,
        class_factors=plan.class_factors,
        merged=merged,
    )


def prepare_with(call: Call, targets: Any, predictions: Any) -> Problem:
    """The problem of a call with other arrays."""
    return prepare(replace(call, targets=targets, predictions=predictions))


def _refuse_integers(framework: Framework, x: Any, own_dtype: Any, name: str) -> None:
    """Refuse what came as an array of integers; a list has no type, and becomes floats."""
    if not hasattr(x, "dtype"):
        return
    found = framework.asarray(x, name).dtype
    if isinstance(found, np.dtype):
        found = found.newbyteorder("=")
    if found != own_dtype:
        raise InputTypeError(f"`{name}` must be of a floating point dtype; got dtype {x.dtype}")


def _align(
    framework: Framework, plan: Plan, targets: Any, predictions: Any, others: tuple[Any, ...]
) -> tuple[Any, Any, tuple[Any, ...], int]:
    """The arrays of rows, brought together as the dialect does, and the axis of a row."""
    names, labels = plan.names, plan.formula.labels
    if plan.torch:
        targets, predictions, others, axis = _align_as_torch(
            framework, plan, targets, predictions, others
        )
    elif labels:
        targets, axis = align_labels(framework, targets, predictions, plan.axis, names[:2])
    else:
        targets, predictions, axis = align_dense(
            framework, targets, predictions, plan.axis, names[:2]
        )
    return framework.fitted(targets, predictions, axis, names[:2]), predictions, others, axis


def _align_as_torch(
    framework: Framework, plan: Plan, targets: Any, predictions: Any, others: tuple[Any, ...]
) -> tuple[Any, Any, tuple[Any, ...], int]:
    """The arrays, refused where their shapes do not fit, with every element a row if it is to be one."""
    names, formula = plan.names, plan.formula
    by_element = plan.row == "element"
    if plan.broadcast:
        targets = broadcast_to_fit(framework, targets, tuple(predictions.shape))
    try:
        axis = align_exactly(
            targets,
            predictions,
            None if by_element else plan.axis,
            names[:2],
            labels=formula.labels,
        )
        others = align_others(
            framework, others, formula, predictions, axis, names.others, names.predictions
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    if by_element:
        arrays = (targets, predictions, *others)
        targets, predictions, *rest = (framework.xp.expand_dims(x, axis=-1) for x in arrays)
        others = tuple(rest)
    return targets, predictions, others, axis


def _weigh(
    call: Call, framework: Framework, targets: Any, rows: tuple[int, ...], compute: Any
) -> tuple[Weighting | None, Any]:
    """What the call's weights, mask and ignored label make of its rows, and the divisor by them."""
    plan, name = call.plan, call.plan.names.weights
    weights = None if call.weights is None else framework.asarray(call.weights, name)
    masks = masks_of(framework, call.mask)
    if plan.ignore is not None:
        masks = _ignoring(framework, targets, plan.ignore, masks)
    if (weights is None and not masks) or (plan.formula.by_batch and not rows):
        return None, framework.size(math.prod(rows))
    return weigh(framework, rows, weights, masks, call.rule, compute, name)


def _check_classes(plan: Plan, shape: tuple[int, ...], rows: tuple[int, ...], classes: int) -> None:
    """Refuse rows without a class, and warn of one class where that means nothing."""
    name = plan.names.predictions
    if not classes and rows and 0 not in rows:
        kind = InputError if plan.torch else ValueError
        raise kind(
            f"`{name}` must have at least one class along axis {plan.axis}; got shape {shape}"
        )
    if classes == 1 and plan.several_classes:
        warnings.warn(
            f"In loss {plan.several_classes}, expected {name}.shape to be (batch_size, num_classes) with "
            f"num_classes > 1. Received: {name}.shape={shape}. Consider using 'binary_crossentropy' if you only "
            "have 2 classes.",
            SyntaxWarning,
            stacklevel=5,  # the user's line, over prepare, evaluate and the loss itself
        )
    if plan.class_factors and len(plan.class_factors) != classes:
        raise ValueError(
            f"`alpha` must be a number or hold one for each of the {classes} classes; got "
            f"{len(plan.class_factors)}"
        )


def target_map_of(plan: Plan, classes: float) -> tuple[float, float]:
    """The scale and offset by which a plan changes targets."""
    if plan.labels == "binary":
        return 2.0, -1.0
    if plan.smoothing == 0:
        return 1.0, 0.0
    number: Any = plan.smoothing_classes or classes
    if isinstance(number, (int, float)) and number == 0:
        number = 1.0
    return 1.0 - plan.smoothing, plan.smoothing / number


def masks_of(framework: Framework, mask: Any) -> tuple[Mask, ...]:
    """The user's mask, if there is one."""
    if mask is None:
        return ()
    mask = framework.asarray(mask, "mask")
    check_mask(framework, mask)
    return (Mask(mask),)


def _ignoring(
    framework: Framework, targets: Any, ignore: int, masks: tuple[Mask, ...]
) -> tuple[Mask, ...]:
    """The masks with one that leaves out the rows whose label is ``ignore``."""
    if not framework.may_hold(targets.dtype, ignore):
        return masks
    ignoring = Mask(targets, framework.label(ignore, targets.dtype), is_binary=False)
    if not masks:
        return (ignoring,)
    mask = masks[0].array
    mask_shape, kept_shape = match_ranks(tuple(mask.shape), tuple(targets.shape))
    if not fits_into(mask_shape, kept_shape):
        raise ValueError(
            f"`mask` of shape {tuple(mask.shape)} does not fit losses of shape {tuple(targets.shape)}"
        )
    xp = framework.xp
    mask = xp.reshape(mask, mask_shape)
    if mask_shape != kept_shape:
        mask = xp.broadcast_to(mask, kept_shape)
    return Mask(mask), replace(ignoring, array=xp.reshape(targets, kept_shape))
