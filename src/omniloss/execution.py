"""From a loss's call to its value, its gradient and its partial sums.

A dialect's function *describes* its loss: it returns a `Call`, which `prepare` turns into a `Problem` that one
framework runs. `evaluate`, `differentiate` and `accumulate` finish the three things that a user can ask for.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ParamSpec, Protocol

import numpy as np

from omniloss import frameworks, keras_objects, native
from omniloss.alignment import split_axes
from omniloss.description import Call, InputError, Plan, Short
from omniloss.preparation import prepare, target_map_of
from omniloss.problem import Mask, Offence, Problem, StandIn
from omniloss.reduction import Partial, Rule, set_rule
from omniloss.samples import Samples, accumulate_samples, reduce, rule_of, weigh_samples

__all__ = [
    "LossFunction",
    "accumulate",
    "as_it_is",
    "differentiate",
    "evaluate",
    "fast_plan",
    "loss_function",
]

P = ParamSpec("P")


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
    framework = frameworks.of_call(call)
    other = framework.stand_in(call)
    if other is not None:
        value = evaluate(other.call) if other.samples is None else reduce(_rows_of(call, other))
        return other.losses(value) if call.rule is None else value
    problem = prepare(call, framework)
    if call.plan.positive_only:
        return reduce(_samples_of(call, problem))
    problem = _shared(problem, call.rule)
    return _checked(framework.evaluate(problem, call.rule), call, problem)


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
    framework = frameworks.of_call(call)
    other = framework.stand_in(call)
    if other is not None and other.gradient is not None:
        value, found = differentiate(other.call, normalizer, wrt)
        value = other.losses(value) if call.rule is None else value
        return value, tuple(map(other.gradient, found))
    problem, plan = _shared(prepare(call, framework), call.rule), call.plan
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


def accumulate(call: Call) -> Partial:
    """The partial sums of a reduced loss."""
    rule = rule_of(call, torch=call.plan.torch)
    if call.plan.no_partial:
        raise ValueError(call.plan.no_partial)
    if call.plan.labels == "auto":
        raise ValueError(
            "a partial of a hinge loss must be told what the labels are, since one batch alone cannot "
            "show it: make the loss with labels='binary' for 0/1 or labels='signed' for -1/1"
        )
    framework = frameworks.of_call(call)
    other = framework.stand_in(call)
    if other is not None:
        if other.samples is None:
            return accumulate(other.call)
        return accumulate_samples(_rows_of(call, other))
    problem = prepare(call, framework)
    if call.plan.positive_only:
        return accumulate_samples(_samples_of(call, problem))
    if 0 in problem.merged:
        return _accumulate_statistics(problem)
    total = _checked(framework.accumulate(problem), call, problem)
    return Partial(framework.own(total), framework.own(problem.divisor), rule)


def _accumulate_statistics(problem: Problem) -> Partial:
    """The partial sums of one set that goes over batches."""
    if problem.predictions.ndim > 1 or problem.weighting is not None:
        raise ValueError(
            "a partial of a loss whose sets go over the samples, as `axis` says, is of one set without "
            "weights or a mask: its sums add up over batches, and the losses of several sets do not"
        )
    total, weight = problem.framework.statistics(problem)
    smooth = dict(zip(problem.formula.parameters, problem.parameters, strict=True))["smooth"]
    return Partial(total, weight, set_rule(smooth))


def _rows_of(call: Call, other: StandIn) -> Samples:
    """The losses of the samples that what stands in for a call makes of its own."""
    assert other.samples is not None
    losses, weights, mask = other.samples(evaluate(other.call))
    framework = frameworks.of(losses)
    array = framework.asarray(losses, "the losses")
    return Samples(framework, array, weights, mask, call.rule, losses.dtype)


def _checked(outcome: Any, call: Call, problem: Problem) -> Any:
    if isinstance(outcome, Offence):
        kind = InputError if call.plan.torch else ValueError
        raise kind(_explain(outcome, call.plan, problem))
    return outcome


def _samples_of(call: Call, problem: Problem, losses: Any = None) -> Samples:
    """The losses of the samples, of which those above 0 count (and those that are not a number)."""
    framework, xp = problem.framework, problem.framework.xp
    compute = framework.compute_type(problem.predictions, problem.dtype)
    if losses is None:
        losses = framework.evaluate(replace(problem, weighting=None, dtype=compute), None)
    losses = framework.asarray(framework.result(losses, compute), "the losses")
    # Not what is not <= 0: TensorFlow's graphs make > 0 of that.
    counted = (losses > 0) | xp.isnan(losses)
    if problem.weighting is not None:  # a sample of weight 0 is as good as deleted
        per_row = framework.merge(problem.weighting.per_row, problem.weighting.masks)
        used = framework.kept((Mask(per_row),))
        counted = counted & xp.broadcast_to(used, tuple(losses.shape))
    return Samples(
        framework, losses, call.weights, framework.own(counted), call.rule, problem.dtype
    )


def _differentiate_positive(
    call: Call, problem: Problem, normalizer: float | None
) -> tuple[Any, tuple[Any, ...]]:
    """`differentiate` by the predictions where only losses above 0 count, which are known at the end."""
    framework, rule = problem.framework, call.rule
    losses, gradient = framework.run(problem, reduce=False, scale=1.0)
    value, divisor = weigh_samples(_samples_of(call, problem, losses))
    if rule is not None:
        divisor = framework.shared(rule, divisor) if normalizer is None else normalizer
        value = framework.reduce(value, rule, divisor)
        gradient = gradient * rule.finish(1.0, divisor)
    gradient = framework.result(gradient, problem.gradient_dtype)
    return framework.result(value, problem.dtype), (gradient,)


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
    scale, offset = target_map_of(plan, plan.smoothing_classes)
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
        axis=plan.axis,
        length_mean=call.by_length,
        spread=plan.smoothing if by_class else 0.0,
        ignore=ignore,
        widen=call.widen,
        reduce=rule is not None,
        weighting=short.weighting if weighted else "",
        weighted_mean=weighted and by_weight,
        one_hot=short.one_hot,
        label_sets=short.label_sets,
    )


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
