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
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, ParamSpec, Protocol

import numpy as np

from omniloss import frameworks, keras_objects, native
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
    split_axes,
    weigh,
)
from omniloss.formulas.definition import Formula
from omniloss.frameworks.base import Framework
from omniloss.native import Weighting
from omniloss.problem import Mask, Offence, Problem
from omniloss.reduction import Partial, Rule, set_rule

__all__ = [
    "Call",
    "InputError",
    "InputTypeError",
    "Labels",
    "Names",
    "Plan",
    "Samples",
    "Short",
    "accumulate",
    "accumulate_samples",
    "as_it_is",
    "differentiate",
    "evaluate",
    "fast_plan",
    "loss_function",
    "prepare_with",
    "reduce",
]

Labels = Literal["auto", "binary", "signed"]
P = ParamSpec("P")


class Names(NamedTuple):
    """What a dialect calls its arguments, for messages and for `wrt`."""

    targets: str = "y_true"
    predictions: str = "y_pred"
    weights: str = "sample_weight"
    others: tuple[str, ...] = ()


KERAS_NAMES = Names()


@dataclass(frozen=True, slots=True)
class Plan:
    """A loss without its data: the formula, its parameters, and how rows are formed.

    ``row`` says what a row of a pointwise formula becomes: the mean or the sum along ``axis``. With
    ``axes`` a row runs through several axes, or through all of them (None).
    ``smoothing`` mixes targets with the uniform distribution over ``smoothing_classes`` classes (0:
    the size along ``axis``). ``labels`` is set by the hinge losses: whether targets are 0/1, to be made
    -1/1, or already signed, or to be looked at. ``class_factors`` multiply the smoothed targets of each
    class. ``several_classes`` is the name of a loss that means nothing for one class, and then warns.
    ``hint`` ends the message about predictions out of range.

    ``torch`` marks the PyTorch dialect: shapes fit exactly, predictions are floats, and the loss can
    be differentiated by every array whose derivative its formula knows. There a pointwise formula's
    ``row`` may be each "element", and with ``broadcast`` targets are then broadcast to the predictions.
    ``no_gradient`` says why a loss cannot be differentiated at all.

    ``arrange`` checks the arrays of a setwise formula, brings them into the shapes that it takes, and makes
    what samples hold that are not used harmless. ``positive_only`` counts only losses above 0 in means, and
    ``no_partial`` says why the sums of a loss do not add up.
    """

    formula: Formula
    parameters: tuple[float, ...] = ()
    axis: int = -1
    axes: tuple[int, ...] | None = ()
    row: Literal["mean", "sum", "element"] = "mean"
    smoothing: float = 0.0
    smoothing_classes: int = 0
    labels: Labels = "signed"
    ignore: int | None = None
    class_factors: tuple[float, ...] = ()
    several_classes: str = ""
    hint: str = ""
    names: Names = KERAS_NAMES
    torch: bool = False
    broadcast: bool = False
    no_gradient: str = ""
    arrange: Callable[..., tuple[Any, Any, tuple[Any, ...]]] | None = None
    positive_only: bool = False
    no_partial: str = ""

    def differentiable(self) -> dict[str, str]:
        """The dialect's names of the arrays to differentiate by, and the formula's names of these."""
        names, formula = self.names, self.formula
        known = {names.predictions: "predictions"}
        if self.torch:
            others = zip(names.others, (other.name for other in formula.others), strict=True)
            known |= {names.targets: "targets", **dict(others)}
        return {name: which for name, which in known.items() if formula.derivative_by(which)}


@dataclass(frozen=True, slots=True)
class Short:
    """How the core comes to a call's arrays from those that the user gave.

    ``weighting`` says what it makes of a weight (see `native.fast_plan`), and of which ``formula``, if not of the
    plan's own. ``one_hot`` targets were made of class indices, of which it leaves out ``ignore``.
    """

    weighting: Weighting = ""
    formula: Formula | None = None
    one_hot: bool = False
    ignore: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A plan with the arrays of one call, and what is to become of the losses.

    Without a ``rule`` the losses are returned unreduced. ``dtype`` names the type to compute in and to
    return; ``widen`` returns float32 for half precision when no ``dtype`` is asked for. ``others`` are
    the arrays that the formula takes besides. ``divisor`` is what the rule divides by where that is
    not for the weights to say, and with ``by_length`` that is the first dimension of the predictions.
    ``by_epsilon`` says that the plan follows from `config.epsilon`, and ``warning`` what its function has
    warned of. ``short`` is set where arrays of the call were made of the user's, and the core could do it.
    """

    plan: Plan
    targets: Any
    predictions: Any
    weights: Any = None
    mask: Any = None
    rule: Rule | None = None
    dtype: str | None = None
    widen: bool = False
    others: tuple[Any, ...] = ()
    divisor: Any = None
    by_length: bool = False
    by_epsilon: bool = False
    warning: str = ""
    short: Short | None = None


class InputError(ValueError, IndexError, RuntimeError):
    """An argument that the PyTorch dialect refuses: also of the type that torch raises."""


class InputTypeError(TypeError, RuntimeError):
    """The same for an argument of a wrong type."""


class LossFunction(Protocol[P]):
    """A public loss function: calling it evaluates the `Call` that ``describe`` returns."""

    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...

    def describe(self, *args: P.args, **kwargs: P.kwargs) -> Call: ...


def loss_function(describe: Callable[P, Call]) -> LossFunction[P]:
    """Make a public loss function of one that describes its loss as a `Call`."""

    @functools.wraps(describe)
    def function(*args: P.args, **kwargs: P.kwargs) -> Any:
        if keras_objects.is_waiting() and not frameworks.is_compiled():
            keras_objects.register()
        return evaluate(describe(*args, **kwargs))

    function.describe = describe  # type: ignore[attr-defined]
    as_it_is(function)
    function.__annotations__ = {**describe.__annotations__, "return": "Any"}
    function.__signature__ = inspect.signature(describe).replace(  # type: ignore[attr-defined]
        return_annotation=Any
    )
    return function  # type: ignore[return-value]


def as_it_is(function: Callable[P, Any]) -> Callable[P, Any]:
    """Keep TensorFlow's AutoGraph from rewriting a function, whose code asks graphs no question."""
    function.autograph_info__ = None  # type: ignore[attr-defined]  # as AutoGraph marks its own
    return function


def evaluate(call: Call) -> Any:
    """The reduced loss, or the losses of the samples where the call has no rule."""
    if _is_ragged(call):
        samples, losses = _ragged_samples(call)
        value = reduce(samples)
        return (
            losses.with_flat_values(value) if value.shape.rank and _is_ragged_one(losses) else value
        )
    if _is_unranked(call):
        from omniloss.frameworks import tensorflow_ranks as ranks

        value = evaluate(ranks.ranked(call))
        return ranks.of_rows(value, call.predictions) if call.rule is None else value
    problem = _shared(prepare(call), call.rule)
    if call.plan.positive_only:
        return reduce(_samples_of(call, problem))
    return _checked(problem.framework.evaluate(problem, call.rule), call, problem)


def _shared(problem: Problem, rule: Rule | None) -> Problem:
    """The problem with what the rule divides by where replicas share a mean."""
    if rule is None or not rule.replicas:
        return problem
    divisor = problem.framework.shared(rule, problem.divisor)
    return problem if divisor is problem.divisor else replace(problem, divisor=divisor)


def differentiate(
    call: Call, normalizer: float | None = None, wrt: tuple[str, ...] = ("predictions",)
) -> tuple[Any, tuple[Any, ...]]:
    """The value as `evaluate` gives it, and the gradients by the arrays ``wrt``, in the formula's names.

    The gradient of unreduced losses is that of their sum. ``normalizer`` takes the place of what the
    rule divides by; it needs a rule that divides.
    """
    if _is_unranked(call):
        from omniloss.frameworks import tensorflow_ranks as ranks

        value, found = differentiate(ranks.ranked(call), normalizer, wrt)
        if call.rule is None:
            value = ranks.of_rows(value, call.predictions)
        return value, tuple(ranks.of_elements(x, call.predictions) for x in found)
    problem, plan = _shared(prepare(call), call.rule), call.plan
    framework = problem.framework
    if plan.positive_only:
        return _differentiate_positive(call, problem, normalizer)
    divisor = problem.divisor if normalizer is None else normalizer
    scale = 1.0 if call.rule is None else call.rule.finish(1.0, divisor)
    first = scale if "predictions" in wrt else None
    outcome = framework.run(problem, reduce=call.rule is not None, scale=first)
    value, gradient = _checked(outcome, call, problem)
    value = framework.finish(problem, call.rule, value, divisor)
    gradients = []
    for argument in wrt:
        if argument == "predictions":
            found = gradient
        elif 0 in problem.predictions.shape:
            found = framework.xp.zeros_like(_array(problem, argument))
        else:
            found = framework.gradient_by(problem, argument, scale)
        shape = tuple(framework.asarray(_array(call, argument), argument).shape)
        if problem.merged:
            found = split_axes(framework, found, problem.merged, shape)
        elif plan.broadcast and argument == "targets":
            found = framework.added_up(found[..., 0], shape)  # each element was made a row
        elif tuple(found.shape) != shape:
            found = framework.xp.reshape(found, shape)
        gradients.append(framework.result(found, problem.gradient_dtype))
    return framework.result(value, problem.dtype), tuple(gradients)


def _array(source: Call | Problem, argument: str) -> Any:
    """The array that the formula calls so, as the user gave it or as it is run."""
    if argument in ("targets", "predictions"):
        return getattr(source, argument)
    formula = source.formula if isinstance(source, Problem) else source.plan.formula
    return source.others[[other.name for other in formula.others].index(argument)]


@dataclass(frozen=True, slots=True)
class Samples:
    """The losses of a batch's samples that a user's own code computed, and how they are to be reduced.

    ``counts`` are what the samples count in a mean, instead of 1.
    """

    framework: Framework
    losses: Any
    weights: Any
    mask: Any
    rule: Rule | None
    dtype: Any
    counts: Any = None


def reduce(samples: Samples) -> Any:
    """The reduced loss of samples."""
    framework = samples.framework
    losses, divisor = _weigh_samples(samples)
    if samples.rule is not None:
        divisor = framework.shared(samples.rule, divisor)
        losses = framework.reduce(losses, samples.rule, divisor)
    return framework.result(losses, samples.dtype)


def accumulate_samples(samples: Samples) -> Partial:
    """The partial sums of samples."""
    rule = _rule_of(samples)
    losses, divisor = _weigh_samples(samples)
    own = samples.framework.own
    return Partial(own(samples.framework.total(losses)), own(divisor), rule)


def _weigh_samples(samples: Samples) -> tuple[Any, Any]:
    framework = samples.framework
    if samples.counts is not None:
        counts = replace(samples, losses=samples.counts, weights=None, counts=None)
        losses, _ = _weigh_samples(replace(samples, counts=None))
        return losses, framework.number(framework.total(_weigh_samples(counts)[0]))
    losses = samples.losses
    shape = tuple(losses.shape)
    weights, mask = samples.weights, samples.mask
    if weights is None and mask is None:
        return losses, framework.size(math.prod(shape))
    weighting, divisor = weigh(
        framework,
        shape,
        None if weights is None else framework.asarray(weights, "sample_weight"),
        _masks(framework, mask),
        samples.rule,
        losses.dtype,
        "sample_weight",
    )
    return framework.weighted(losses, weighting), divisor


def _rule_of(call: Call | Samples) -> Rule:
    if call.rule is None:
        names = ["sum", "mean"]
        if not (isinstance(call, Call) and call.plan.torch):
            names += ["sum_over_batch_size", "mean_with_sample_weight"]
        raise ValueError(
            "a partial needs a reduction to finish it, and the loss's `reduction` is none; expected one of "
            f"{', '.join(map(repr, names))}"
        )
    return call.rule


def accumulate(call: Call) -> Partial:
    """The partial sums of a reduced loss."""
    rule = _rule_of(call)
    if call.plan.no_partial:
        raise ValueError(call.plan.no_partial)
    if call.plan.labels == "auto":
        raise ValueError(
            "a partial of a hinge loss must be told what the labels are, since one batch alone cannot "
            "show it: make the loss with labels='binary' for 0/1 or labels='signed' for -1/1"
        )
    if _is_ragged(call):
        return accumulate_samples(_ragged_samples(call)[0])
    if _is_unranked(call):
        from omniloss.frameworks import tensorflow_ranks as ranks

        return accumulate(ranks.ranked(call))
    problem = prepare(call)
    if call.plan.positive_only:
        return accumulate_samples(_samples_of(call, problem))
    if 0 in problem.merged:
        return _accumulate_statistics(call, problem)
    total = _checked(problem.framework.accumulate(problem), call, problem)
    return Partial(problem.framework.own(total), problem.framework.own(problem.divisor), rule)


def _accumulate_statistics(call: Call, problem: Problem) -> Partial:
    """The partial sums of one set that goes over batches."""
    if problem.predictions.ndim > 1 or problem.weighting is not None:
        raise ValueError(
            "a partial of a loss whose sets go over the samples, as `axis` says, is of one set without "
            "weights or a mask: its sums add up over batches, and the losses of several sets do not"
        )
    total, weight = problem.framework.statistics(problem)
    smooth = dict(zip(problem.formula.parameters, problem.parameters, strict=True))["smooth"]
    return Partial(total, weight, set_rule(smooth))


def _is_unranked(call: Call) -> bool:
    """Whether the number of axes is not known, in a graph of TensorFlow's."""
    arrays = (call.predictions, call.targets, call.weights, call.mask)
    unranked = (x for x in arrays if getattr(getattr(x, "shape", ()), "rank", 0) is None)
    return any(not hasattr(x, "indices") for x in unranked)  # as the slices have that are refused


def _is_ragged(call: Call) -> bool:
    """Whether rows are of different lengths, in a ragged tensor of TensorFlow's."""
    return _is_ragged_one(call.predictions) or _is_ragged_one(call.targets)


def _is_ragged_one(x: Any) -> bool:
    return type(x).__name__ == "RaggedTensor"


def _ragged_samples(call: Call) -> tuple[Samples, Any]:
    """The losses of ragged rows, one after the other, and as a ragged tensor (or a dense one)."""
    from omniloss.frameworks import tensorflow_ragged as ragged

    plan = call.plan
    if plan.torch or plan.axis != -1 or plan.ignore is not None:
        raise ValueError(
            "ragged tensors are taken by losses of the Keras dialect, along the last axis and with no class "
            "ignored"
        )
    rowwise = plan.formula.kind == "rowwise"
    rows = ragged.Rows(call.targets, call.predictions, plan.names[:2], rowwise=rowwise)
    plain = replace(call, weights=None, mask=None, rule=None)
    dense = evaluate(replace(plain, targets=rows.targets, predictions=rows.predictions))
    losses = rows.losses(dense)
    flat = ragged.flat(losses)
    framework = frameworks.of(flat)
    weights, mask = ragged.fitted(call.weights, losses), ragged.fitted(call.mask, losses)
    samples = Samples(
        framework, framework.asarray(flat, "the losses"), weights, mask, call.rule, flat.dtype
    )
    return samples, losses


def _checked(outcome: Any, call: Call, problem: Problem) -> Any:
    if isinstance(outcome, Offence):
        kind = InputError if call.plan.torch else ValueError
        raise kind(_explain(outcome, call.plan, problem))
    return outcome


def prepare(call: Call) -> Problem:
    """Convert, align and check a call's arguments."""
    plan = call.plan
    names = plan.names
    framework = frameworks.of(call.predictions, call.targets, call.weights, call.mask, *call.others)
    predictions, dtype, gradient_dtype = framework.predictions(
        call.predictions, names.predictions, call.dtype, widen=call.widen
    )
    targets = framework.asarray(call.targets, names.targets)
    others = tuple(map(framework.asarray, call.others, names.others))
    if plan.formula.kind == "setwise":
        return _prepare_sets(call, framework, targets, predictions, others, dtype, gradient_dtype)
    if plan.formula.kind == "sequence":
        return _prepare_sequences(
            call, framework, targets, predictions, others, dtype, gradient_dtype
        )
    if plan.torch:
        _refuse_integers(framework, call.predictions, gradient_dtype, names.predictions)
        targets, predictions, others, axis = _align_as_torch(
            framework, plan, targets, predictions, others
        )
    elif plan.formula.labels:
        targets, axis = align_labels(framework, targets, predictions, plan.axis, names[:2])
    else:
        targets, predictions, axis = align_dense(
            framework, targets, predictions, plan.axis, names[:2]
        )
    targets = framework.fitted(targets, predictions, axis, names[:2])
    merged: tuple[int, ...] = ()
    if plan.axes != ():
        merged = set_axes(plan.axes, predictions, names.predictions)
        targets, predictions = (merge_axes(framework, x, merged) for x in (targets, predictions))
        axis = predictions.ndim - 1
    shape = tuple(predictions.shape)
    classes, rows = shape[axis], shape[:axis] + shape[axis + 1 :]
    count = math.prod(rows) if classes else 0
    if not classes and rows and 0 not in rows:
        kind = InputError if plan.torch else ValueError
        raise kind(
            f"`{names.predictions}` must have at least one class along axis {plan.axis}; got shape {shape}"
        )

    if classes == 1 and plan.several_classes:
        _warn_of_one_class(plan, shape)
    target_map = _target_map(plan, framework.size(classes))
    if plan.class_factors and len(plan.class_factors) != classes:
        raise ValueError(
            f"`alpha` must be a number or hold one for each of the {classes} classes; got "
            f"{len(plan.class_factors)}"
        )

    weights = None if call.weights is None else framework.asarray(call.weights, names.weights)
    masks = _masks(framework, call.mask)
    if plan.ignore is not None:
        masks = _ignoring(framework, targets, plan.ignore, masks)
    weighting, divisor = None, framework.size(count)
    if weights is not None or masks:
        compute = framework.compute_type(predictions, dtype)
        weighting, divisor = weigh(
            framework, rows, weights, masks, call.rule, compute, names.weights
        )
    if not classes:  # and hence no rows, whatever the weights make of that
        divisor = framework.size(0)
    if call.by_length:
        divisor = framework.size(shape[0])
    if call.divisor is not None:
        divisor = call.divisor
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
        others=others,
        class_factors=plan.class_factors,
        merged=merged,
    )


def _prepare_sequences(
    call: Call,
    framework: Framework,
    targets: Any,
    predictions: Any,
    others: tuple[Any, ...],
    dtype: Any,
    gradient_dtype: Any,
) -> Problem:
    """The problem of a loss of sequences, whose arrays its function has aligned."""
    plan = call.plan
    _refuse_integers(framework, call.predictions, gradient_dtype, plan.names.predictions)
    if predictions.ndim == 2:  # one sample
        predictions = framework.xp.expand_dims(predictions, axis=1)
    samples = (predictions.shape[1],)
    weighting, divisor = None, framework.size(samples[0])
    if call.weights is not None:
        weights = framework.asarray(call.weights, plan.names.weights)
        weighting, divisor = weigh(
            framework,
            samples,
            weights,
            (),
            call.rule,
            framework.compute_type(predictions, dtype),
            plan.names.weights,
        )
    return Problem(
        framework=framework,
        formula=plan.formula,
        parameters=plan.parameters,
        targets=targets,
        predictions=predictions,
        axis=predictions.ndim - 1,
        row_mean=False,
        target_map=(1.0, 0.0),
        detect_binary=False,
        weighting=weighting,
        divisor=divisor,
        dtype=dtype,
        gradient_dtype=gradient_dtype,
        others=others,
    )


def _prepare_sets(
    call: Call,
    framework: Framework,
    targets: Any,
    predictions: Any,
    others: tuple[Any, ...],
    dtype: Any,
    gradient_dtype: Any,
) -> Problem:
    """The problem of a loss that takes the whole batch."""
    plan = call.plan
    assert plan.arrange is not None
    rows = tuple(predictions.shape[:1])
    weights = None if call.weights is None else framework.asarray(call.weights, plan.names.weights)
    masks = _masks(framework, call.mask)
    weighting, divisor, used = None, framework.size(math.prod(rows)), None
    if rows and (weights is not None or masks):
        compute = framework.compute_type(predictions, dtype)
        weighting, divisor = weigh(
            framework, rows, weights, masks, call.rule, compute, plan.names.weights
        )
        per_row = framework.merge(weighting.per_row, weighting.masks)
        used = framework.xp.broadcast_to(framework.kept((Mask(per_row),)), rows)
    targets, predictions, others = plan.arrange(framework, targets, predictions, others, used)
    return Problem(
        framework=framework,
        formula=plan.formula,
        parameters=plan.parameters,
        targets=targets,
        predictions=predictions,
        axis=predictions.ndim - 1,
        row_mean=False,
        target_map=(1.0, 0.0),
        detect_binary=False,
        weighting=weighting,
        divisor=divisor,
        dtype=dtype,
        gradient_dtype=gradient_dtype,
        others=others,
    )


def _samples_of(call: Call, problem: Problem, losses: Any = None) -> Samples:
    """The losses of the samples, of which those above 0 count (and those that are not a number)."""
    framework, xp = problem.framework, problem.framework.xp
    compute = framework.compute_type(problem.predictions, problem.dtype)
    if losses is None:
        losses = framework.evaluate(replace(problem, weighting=None, dtype=compute), None)
    losses = xp.astype(framework.asarray(losses, "the losses"), compute, copy=False)
    counted = ~(losses <= 0)
    if call.mask is not None:
        mask = framework.kept((Mask(framework.asarray(call.mask, "mask")),))
        counted = counted & xp.reshape(mask, (-1,))
    return Samples(
        framework, losses, call.weights, framework.own(counted), call.rule, problem.dtype
    )


def _differentiate_positive(
    call: Call, problem: Problem, normalizer: float | None
) -> tuple[Any, tuple[Any, ...]]:
    """`differentiate` by the predictions where only losses above 0 count, which are known at the end."""
    framework, rule = problem.framework, call.rule
    losses, gradient = framework.run(problem, reduce=False, scale=1.0)
    value, divisor = _weigh_samples(_samples_of(call, problem, losses))
    if rule is not None:
        divisor = divisor if normalizer is None else normalizer
        value = framework.reduce(value, rule, divisor)
        gradient = gradient * rule.finish(1.0, divisor)
    gradient = framework.result(gradient, problem.gradient_dtype)
    return framework.result(value, problem.dtype), (gradient,)


def _refuse_integers(framework: Framework, x: Any, own_dtype: Any, name: str) -> None:
    """Refuse what came as an array of integers; a list has no type, and becomes floats."""
    if not hasattr(x, "dtype"):
        return
    found = framework.asarray(x, name).dtype
    if isinstance(found, np.dtype):
        found = found.newbyteorder("=")
    if found != own_dtype:
        raise InputTypeError(f"`{name}` must be of a floating point dtype; got dtype {x.dtype}")


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


def prepare_with(call: Call, targets: Any, predictions: Any) -> Problem:
    """The problem of a call with other arrays."""
    return prepare(replace(call, targets=targets, predictions=predictions))


def fast_plan(call: Call, *, weighted: bool = False) -> Any:
    """The core's plan for plain arrays in this call's place (see `native.fast_plan`), or None.

    Only what needs no look at the arrays' elements can go this way, and weights only as the call's
    ``short`` says: ``weighted`` tells whether the user gave some. It is for the caller to see that the call has
    no others.
    """
    plan, rule, short = call.plan, call.rule, call.short or Short()
    formula = plan.formula
    if call.dtype is not None or plan.class_factors or (rule is None and not plan.torch):
        return None
    if weighted and not short.weighting:
        return None
    if not weighted and (call.others or call.divisor is not None):
        return None
    by_class = plan.smoothing != 0 and plan.smoothing_classes == 0
    if plan.axes != ():
        return None
    ignore = short.ignore if short.one_hot else plan.ignore
    if not plan.torch and (plan.axis != -1 or by_class or ignore is not None):
        return None
    if ignore is not None and not abs(ignore) < 2**53:  # the core compares in float64
        return None
    scale, offset = _target_map(plan, plan.smoothing_classes)
    by_weight = rule is not None and (rule.divisor == "weights" or call.divisor is not None)
    return native.fast_plan(
        short.formula or formula if weighted else formula,
        plan.parameters,
        target_map=(scale, 0.0 if by_class else offset),
        detect_binary=plan.labels == "auto",
        row_mean=formula.kind == "pointwise" and plan.row == "mean",
        batch_mean=rule is not None and rule.divisor is not None,
        # One class goes the general way, which warns.
        several_classes=bool(plan.several_classes),
        exact=plan.torch,
        by_element=plan.row == "element",
        # Only the last axis can be that of the classes.
        rank=0 if plan.axis == -1 else plan.axis + 1,
        length_mean=call.by_length,
        spread=plan.smoothing if by_class else 0.0,
        ignore=ignore,
        widen=call.widen,
        reduce=rule is not None,
        weighting=short.weighting if weighted else "",
        weighted_mean=weighted and by_weight,
        one_hot=short.one_hot,
    )


def _warn_of_one_class(plan: Plan, shape: tuple[int, ...]) -> None:
    name = plan.names.predictions
    warnings.warn(
        f"In loss {plan.several_classes}, expected {name}.shape to be (batch_size, num_classes) with "
        f"num_classes > 1. Received: {name}.shape={shape}. Consider using 'binary_crossentropy' if you only "
        "have 2 classes.",
        SyntaxWarning,
        stacklevel=5,  # the user's line, over prepare, evaluate and the loss itself
    )


def _target_map(plan: Plan, classes: float) -> tuple[float, float]:
    """The scale and offset by which a plan changes targets."""
    if plan.labels == "binary":
        return 2.0, -1.0
    if plan.smoothing == 0:
        return 1.0, 0.0
    number: Any = plan.smoothing_classes or classes
    if isinstance(number, (int, float)) and number == 0:
        number = 1.0
    return 1.0 - plan.smoothing, plan.smoothing / number


def _masks(framework: Framework, mask: Any) -> tuple[Mask, ...]:
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


def _explain(offence: Offence, plan: Plan, problem: Problem) -> str:
    """The message about an element outside of its interval."""
    names, formula = plan.names, plan.formula
    intervals = {"targets": formula.targets, "predictions": formula.predictions}
    called = {"targets": names.targets, "predictions": names.predictions}
    for other, its_name in zip(formula.others, names.others, strict=True):
        intervals[other.name], called[other.name] = other.interval, its_name
    name = called[offence.which]
    index = offence.index[:-1] if plan.row == "element" else offence.index
    place = f"{name}[{', '.join(map(str, index))}]" if index else name
    place = f"{place} = {_number(offence.value)}"
    if offence.which == "targets" and plan.formula.labels:
        classes = problem.predictions.shape[problem.axis]
        return f"`{name}` must hold class indices, integers in [0, {classes}); got {place}"
    hint = plan.hint if offence.which == "predictions" else ""
    return f"`{name}` must lie in {intervals[offence.which]}{hint}; got {place}"


def _number(value: Any) -> Any:
    """A scalar of any array library as one that prints as a number."""
    if isinstance(value, np.generic):
        return value
    try:
        return operator.index(value)
    except TypeError:
        return float(value)
