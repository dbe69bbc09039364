"""From a loss's arguments to a checked problem, and from there to its value and gradient.

A dialect's function *describes* its loss: it returns a `Call`, the formula with its parameters and the
user's arrays. `prepare` turns a call into a `Problem`: one framework's arrays, aligned and checked,
which the framework runs. `evaluate`, `differentiate` and `accumulate` finish the three things that a
user can ask for.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, ParamSpec, Protocol

import numpy as np

from omniloss import frameworks, native
from omniloss.alignment import align_dense, align_labels, as_mask, match_ranks, weigh
from omniloss.formulas.definition import Formula
from omniloss.frameworks.base import Framework
from omniloss.problem import Offence, Problem, Weighting
from omniloss.reduction import Partial, Rule

__all__ = [
    "Call",
    "Labels",
    "Names",
    "Plan",
    "Samples",
    "accumulate",
    "accumulate_samples",
    "differentiate",
    "evaluate",
    "fast_plan",
    "loss_function",
    "reduce",
]

Labels = Literal["auto", "binary", "signed"]
P = ParamSpec("P")


class Names(NamedTuple):
    """What a dialect calls its arguments, for messages and for `wrt`."""

    targets: str = "y_true"
    predictions: str = "y_pred"
    weights: str = "sample_weight"


KERAS_NAMES = Names()


@dataclass(frozen=True, slots=True)
class Plan:
    """A loss without its data: the formula, its parameters, and how rows are formed.

    ``row`` says what a row of a pointwise formula becomes: the mean or the sum along ``axis``.
    ``smoothing`` mixes targets with the uniform distribution over ``smoothing_classes`` classes (0:
    the size along ``axis``). ``labels`` is set by the hinge losses: whether targets are 0/1, to be made
    -1/1, or already signed, or to be looked at. ``class_factors`` multiply the smoothed targets of each
    class. ``several_classes`` is the name of a loss that means nothing for one class, and then warns.
    ``hint`` ends the message about predictions out of range.
    """

    formula: Formula
    parameters: tuple[float, ...] = ()
    axis: int = -1
    row: Literal["mean", "sum"] = "mean"
    smoothing: float = 0.0
    smoothing_classes: int = 0
    labels: Labels = "signed"
    ignore: int | None = None
    class_factors: tuple[float, ...] = ()
    several_classes: str = ""
    hint: str = ""
    names: Names = KERAS_NAMES


@dataclass(frozen=True, slots=True)
class Call:
    """A plan with the arrays of one call, and what is to become of the losses.

    Without a ``rule`` the losses are returned unreduced. ``dtype`` names the type to compute in and to
    return; ``widen`` returns float32 for half precision when no ``dtype`` is asked for.
    """

    plan: Plan
    targets: Any
    predictions: Any
    weights: Any = None
    mask: Any = None
    rule: Rule | None = None
    dtype: str | None = None
    widen: bool = False


class LossFunction(Protocol[P]):
    """A public loss function: calling it evaluates the `Call` that ``describe`` returns."""

    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...

    def describe(self, *args: P.args, **kwargs: P.kwargs) -> Call: ...


def loss_function(describe: Callable[P, Call]) -> LossFunction[P]:
    """Make a public loss function of one that describes its loss as a `Call`."""

    @functools.wraps(describe)
    def function(*args: P.args, **kwargs: P.kwargs) -> Any:
        return evaluate(describe(*args, **kwargs))

    function.describe = describe  # type: ignore[attr-defined]
    function.__annotations__ = {**describe.__annotations__, "return": "Any"}
    function.__signature__ = inspect.signature(describe).replace(  # type: ignore[attr-defined]
        return_annotation=Any
    )
    return function  # type: ignore[return-value]


def evaluate(call: Call) -> Any:
    """The reduced loss, or the losses of the samples where the call has no rule."""
    problem = prepare(call)
    framework = problem.framework
    value, _ = _run(problem, call.plan, reduce=call.rule is not None)
    return framework.result(_finish(call, problem, value, problem.divisor), problem.dtype)


def differentiate(call: Call, normalizer: float | None = None) -> tuple[Any, Any]:
    """The value as `evaluate` gives it, and the gradient by the predictions.

    The gradient of unreduced losses is that of their sum. ``normalizer`` takes the place of what the
    rule divides by; it needs a rule that divides.
    """
    problem = prepare(call)
    framework = problem.framework
    divisor = problem.divisor if normalizer is None else normalizer
    scale = 1.0 if call.rule is None else call.rule.finish(1.0, divisor)
    value, gradient = _run(problem, call.plan, reduce=call.rule is not None, scale=scale)
    value = _finish(call, problem, value, divisor)
    return (
        framework.result(value, problem.dtype),
        framework.result(gradient, problem.gradient_dtype),
    )


@dataclass(frozen=True, slots=True)
class Samples:
    """The losses of a batch's samples that a user's own code computed, and how they are to be reduced."""

    framework: Framework
    losses: Any
    weights: Any
    mask: Any
    rule: Rule | None
    dtype: Any


def reduce(samples: Samples) -> Any:
    """The reduced loss of samples."""
    framework = samples.framework
    losses, divisor = _weigh_samples(samples)
    if samples.rule is not None:
        losses = samples.rule.finish(framework.total(losses), divisor)
    return framework.result(losses, samples.dtype)


def accumulate_samples(samples: Samples) -> Partial:
    """The partial sums of samples."""
    rule = _rule_of(samples)
    losses, divisor = _weigh_samples(samples)
    return Partial(samples.framework.total(losses), divisor, rule)


def _weigh_samples(samples: Samples) -> tuple[Any, Any]:
    framework = samples.framework
    losses = samples.losses
    shape = tuple(losses.shape)
    weights, mask = samples.weights, samples.mask
    if weights is None and mask is None:
        return losses, float(math.prod(shape))
    weighting, divisor = weigh(
        framework,
        shape,
        None if weights is None else framework.asarray(weights, "sample_weight"),
        None if mask is None else framework.asarray(mask, "mask"),
        samples.rule,
        losses.dtype,
        "sample_weight",
    )
    return _weighted(framework, losses, weighting), divisor


def _rule_of(call: Call | Samples) -> Rule:
    if call.rule is None:
        raise ValueError(
            "a partial needs a reduction to finish it; the loss's `reduction` is None, expected "
            "'sum', 'mean', 'sum_over_batch_size' or 'mean_with_sample_weight'"
        )
    return call.rule


def _finish(call: Call, problem: Problem, value: Any, divisor: Any) -> Any:
    if call.rule is None:
        return _weighted(problem.framework, value, problem.weighting)
    return call.rule.finish(value, divisor)


def accumulate(call: Call) -> Partial:
    """The partial sums of a reduced loss."""
    rule = _rule_of(call)
    if call.plan.labels == "auto":
        raise ValueError(
            "a partial of a hinge loss must be told what the labels are, since one batch alone cannot "
            "show it: make the loss with labels='binary' for 0/1 or labels='signed' for -1/1"
        )
    problem = prepare(call)
    total, _ = _run(problem, call.plan, reduce=True)
    return Partial(total, problem.divisor, rule)


def _run(
    problem: Problem, plan: Plan, *, reduce: bool, scale: float | None = None
) -> tuple[Any, Any]:
    framework, predictions = problem.framework, problem.predictions
    if 0 in predictions.shape:
        axis, shape = problem.axis, tuple(predictions.shape)
        losses = framework.xp.zeros(shape[:axis] + shape[axis + 1 :], dtype=predictions.dtype)
        return (0.0 if reduce else losses), framework.xp.zeros_like(predictions)
    outcome = framework.run(problem, reduce=reduce, scale=scale)
    if isinstance(outcome, Offence):
        raise ValueError(_explain(outcome, plan, problem))
    return outcome


def prepare(call: Call) -> Problem:
    """Convert, align and check a call's arguments."""
    plan = call.plan
    names = plan.names
    framework = frameworks.of(call.predictions, call.targets, call.weights, call.mask)
    predictions, dtype, gradient_dtype = framework.predictions(
        call.predictions, names.predictions, call.dtype, widen=call.widen
    )
    targets = framework.asarray(call.targets, names.targets)
    if plan.formula.labels:
        targets, axis = align_labels(framework, targets, predictions, plan.axis, names[:2])
    else:
        targets, predictions, axis = align_dense(
            framework, targets, predictions, plan.axis, names[:2]
        )
    shape = tuple(predictions.shape)
    classes, rows = shape[axis], shape[:axis] + shape[axis + 1 :]
    count = math.prod(rows) if classes else 0
    if not classes and rows and 0 not in rows:
        raise ValueError(
            f"`{names.predictions}` must have at least one class along axis {plan.axis}; got shape {shape}"
        )

    if classes == 1 and plan.several_classes:
        _warn_of_one_class(plan, shape)
    target_map = _target_map(plan, classes)
    if plan.class_factors:
        targets = _by_class(framework, targets, predictions, axis, plan, target_map)
        target_map = (1.0, 0.0)

    weights = None if call.weights is None else framework.asarray(call.weights, names.weights)
    mask = None if call.mask is None else framework.asarray(call.mask, "mask")
    if plan.ignore is not None:
        mask = _ignoring(framework, targets, plan.ignore, mask)
    weighting, divisor = None, float(count)
    if weights is not None or mask is not None:
        weighting, divisor = weigh(
            framework, rows, weights, mask, call.rule, predictions.dtype, names.weights
        )
    return Problem(
        framework=framework,
        formula=plan.formula,
        parameters=plan.parameters,
        targets=targets,
        predictions=predictions,
        axis=axis,
        row_mean=plan.formula.kind == "pointwise" and plan.row == "mean",
        target_map=target_map,
        detect_binary=plan.labels == "auto",
        weighting=weighting,
        divisor=divisor,
        dtype=dtype,
        gradient_dtype=gradient_dtype,
    )


def fast_plan(call: Call) -> Any:
    """The core's plan for plain arrays in this call's place (see `native.fast_plan`), or None.

    Only what needs no look at the arrays' shapes and no weights can go this way.
    """
    plan = call.plan
    by_class = plan.smoothing != 0 and plan.smoothing_classes == 0
    if call.rule is None or call.dtype is not None or plan.axis != -1 or by_class:
        return None
    if plan.ignore is not None or plan.class_factors:
        return None
    run = native.fast_plan(
        plan.formula,
        plan.parameters,
        target_map=_target_map(plan, plan.smoothing_classes),
        detect_binary=plan.labels == "auto",
        row_mean=plan.formula.kind == "pointwise" and plan.row == "mean",
        batch_mean=call.rule.divisor is not None,
    )
    if run is None or not plan.several_classes:
        return run

    def run_several_classes(targets: Any, predictions: Any) -> Any:
        # One class goes the general way, which warns.
        shape = getattr(predictions, "shape", None)
        return run(targets, predictions) if shape and shape[-1] != 1 else None

    return run_several_classes


def _warn_of_one_class(plan: Plan, shape: tuple[int, ...]) -> None:
    name = plan.names.predictions
    warnings.warn(
        f"In loss {plan.several_classes}, expected {name}.shape to be (batch_size, num_classes) with "
        f"num_classes > 1. Received: {name}.shape={shape}. Consider using 'binary_crossentropy' if you only "
        "have 2 classes.",
        SyntaxWarning,
        stacklevel=5,  # the user's line, over prepare, evaluate and the loss itself
    )


def _target_map(plan: Plan, classes: int) -> tuple[float, float]:
    """The scale and offset by which a plan changes targets."""
    if plan.labels == "binary":
        return 2.0, -1.0
    return 1.0 - plan.smoothing, plan.smoothing / (plan.smoothing_classes or classes or 1)


def _by_class(
    framework: Framework,
    targets: Any,
    predictions: Any,
    axis: int,
    plan: Plan,
    target_map: tuple[float, float],
) -> Any:
    """Targets changed by the target map and multiplied by the factor of their class."""
    xp = framework.xp
    factors = plan.class_factors
    classes = predictions.shape[axis]
    if len(factors) != classes:
        raise ValueError(
            f"`alpha` must be a number or hold one for each of the {classes} classes; got {len(factors)}"
        )
    shape = [1] * predictions.ndim
    shape[axis] = classes
    by_class = xp.asarray(factors, dtype=predictions.dtype, device=predictions.device)
    by_class = xp.reshape(by_class, tuple(shape))
    scale, offset = target_map
    return (xp.astype(targets, predictions.dtype, copy=False) * scale + offset) * by_class


def _ignoring(framework: Framework, targets: Any, ignore: int, mask: Any) -> Any:
    """The mask that also leaves out the rows whose label is ``ignore``."""
    kept = targets != ignore
    if mask is None:
        return kept
    mask_shape, kept_shape = match_ranks(tuple(mask.shape), tuple(kept.shape))
    if mask_shape != kept_shape:
        raise ValueError(
            f"`mask` of shape {tuple(mask.shape)} does not fit losses of shape {tuple(kept.shape)}"
        )
    return as_mask(framework, framework.xp.reshape(mask, kept_shape)) & kept


def _weighted(framework: Framework, losses: Any, weighting: Weighting | None) -> Any:
    """Unreduced losses times their weights, 0 where a weight is 0."""
    if weighting is None:
        return losses
    xp = framework.xp
    weights = xp.astype(weighting.per_loss, losses.dtype, copy=False)
    product = xp.reshape(losses, weighting.losses_shape) * weights
    return xp.where(weights != 0, product, xp.zeros_like(product))


def _explain(offence: Offence, plan: Plan, problem: Problem) -> str:
    """The message about an element outside of its interval."""
    name = getattr(plan.names, offence.which)
    place = f"{name}[{', '.join(map(str, offence.index))}] = {_number(offence.value)}"
    if offence.which == "targets" and plan.formula.labels:
        classes = problem.predictions.shape[problem.axis]
        return f"`{name}` must hold class indices, integers in [0, {classes}); got {place}"
    hint = plan.hint if offence.which == "predictions" else ""
    return f"`{name}` must lie in {getattr(plan.formula, offence.which)}{hint}; got {place}"


def _number(value: Any) -> Any:
    """A scalar of any array library as one that prints as a number."""
    if isinstance(value, np.generic):
        return value
    try:
        return operator.index(value)
    except TypeError:
        return float(value)
