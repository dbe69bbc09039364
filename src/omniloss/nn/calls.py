"""The public functions of the PyTorch dialect, and their short way to the core.

A small batch is computed in less time than it takes to describe its loss. So what the core is to do is
remembered with the options of a call, and done at once when a call brings the same options again, as long as
its arrays are plain. Everything else goes the general way, which has the last word on what is wrong.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from omniloss import execution, frameworks, native, preparation
from omniloss.configuration import config
from omniloss.description import Call
from omniloss.execution import LossFunction
from omniloss.keras_objects import refuse_function
from omniloss.nn.base import Loss, warn
from omniloss.reduction import Rule

__all__ = ["loss_function", "loss_of_three"]

P = ParamSpec("P")

# How many sets of options a function remembers, and how many ways for one of them: class indices and class
# probabilities go different ways.
_MOST_OPTIONS = 64
_MOST_WAYS = 4
# What an option may be to be remembered. Numbers that are equal mean the same loss.
_SIMPLE = frozenset({str, float, int, bool, type(None)})
_DEPRECATED = ("size_average", "reduce")


# The options that are arrays, in the order in which a plan takes them, and what stands for one
_ARRAYS = ("weight", "pos_weight")
_GIVEN = ...


class _Way(NamedTuple):
    """What the core does for calls of one kind, which are ``described`` so without their arrays.

    ``at_once`` says that nothing is to be done but to call the plan. Else a way stands only while
    `config.epsilon` is ``epsilon``, unless that is None, and with a ``warning``.
    """

    plan: Any
    at_once: bool
    prepare: Callable[..., Any]
    rule: Rule | None
    epsilon: float | None
    warning: str
    described: tuple[Any, ...]


_Ways = dict[Any, tuple[_Way, ...]]
_CALL = Loss.__call__.__code__
_run_known: Any = getattr(native.core, "run_known", None)
_run_known_triple: Any = getattr(native.core, "run_known_triple", None)


def loss_function(describe: Callable[P, Call]) -> LossFunction[P]:
    """Make a public loss function, or a loss object's ``forward``, of one that describes its loss."""
    general = execution.loss_function(describe)
    parameters = list(inspect.signature(describe).parameters)
    known: _Ways = {}
    if parameters[0] == "self":
        function = _method(describe, general, known)
    else:
        function = _function(describe, general, known, parameters[2:])
    functools.update_wrapper(function, general)
    function.__wrapped__ = describe  # type: ignore[attr-defined]
    return function  # type: ignore[return-value]


def _function(
    describe: Callable[..., Call],
    general: Callable[..., Any],
    known: _Ways,
    names: list[str],
) -> Callable[..., Any]:
    def again(predictions: Any, targets: Any, options: dict[str, Any]) -> Call:
        return describe(predictions, targets, **options)

    def function(*args: Any, **kwargs: Any) -> Any:
        if frameworks.is_compiled():
            return general(*args, **kwargs)
        if "keras" in sys.modules or "tf_keras" in sys.modules:
            refuse_function(function, sys._getframe(1))
        if len(args) < 2 or native.core is None:
            return general(*args, **kwargs)
        value = _run_known(known, args[2:], kwargs, args[1], args[0])
        if value is not None:
            if type(value) is tuple:
                value = _record(value, args[1], args[0])
            if value is not None:
                return value
        first, named = args[2:], kwargs
        if not all(type(x) in _SIMPLE for x in first):  # arrays are known by their names
            first, named = (), {**dict(zip(names, first, strict=False)), **kwargs}
            if len(named) + 2 != len(args) + len(kwargs):  # `describe` is to say what is wrong
                return general(*args, **kwargs)
        options, given = _set_apart(named)
        key = (first, *options.items())
        value = _run(known, key, args[1], args[0], given)
        if value is not None:
            return value
        call = describe(*args, **kwargs)
        value = execution.evaluate(call)
        options = {**dict(zip(names, first, strict=False)), **options}
        if all(options.get(name) is None for name in _DEPRECATED):  # else each call is to warn
            _remember(known, key, options, given, call, again, args[1], args[0])
        return value

    return function


def _method(
    describe: Callable[..., Call], general: Callable[..., Any], known: _Ways
) -> Callable[..., Any]:
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if frameworks.is_compiled():
            return general(self, *args, **kwargs)
        if "keras" in sys.modules or "tf_keras" in sys.modules:
            _refuse_method(forward, sys._getframe(1))
        if len(args) != 2 or kwargs or native.core is None:
            return general(self, *args, **kwargs)
        # Whatever has been done to the object: all that it has is looked at.
        cls, attributes = type(self), self.__dict__
        value = _run_known(known, cls, attributes, args[1], args[0])
        if value is not None:
            if type(value) is tuple:
                value = _record(value, args[1], args[0])
            if value is not None:
                return value
        options, given = _set_apart(attributes)
        key = (cls, *options.items())
        value = _run(known, key, args[1], args[0], given)
        if value is not None:
            return value

        def again(predictions: Any, targets: Any, options: dict[str, Any]) -> Call:
            return describe(_twin(cls, options), predictions, targets)

        call = describe(self, *args)
        value = execution.evaluate(call)
        if cls.__module__.partition(".")[0] == __name__.partition(".")[0]:
            _remember(known, key, options, given, call, again, args[1], args[0])
        return value

    return forward


def _refuse_method(forward: Any, caller: types.FrameType) -> None:
    """`refuse_function` of a method: Keras may have called the object, hidden in a `functools.partial`."""
    outer = caller.f_back if caller.f_code is _CALL else None
    refuse_function(forward, caller if outer is None else outer)


def _twin(cls: type, options: dict[str, Any]) -> Any:
    """An object that is of a class and has these attributes, without what making one does."""
    twin: Any = object.__new__(cls)
    vars(twin).update(options)
    return twin


def _set_apart(named: dict[str, Any]) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Options without their arrays, and what a plan is given of these: nothing, or one for each name."""
    options, given = dict(named), []
    for name in _ARRAYS:
        value = named.get(name)
        given.append(None if type(value) in _SIMPLE else value)
        if given[-1] is not None:
            options[name] = _GIVEN
    return options, () if all(x is None for x in given) else tuple(given)


def _record(found: tuple[_Way, Any, Any], targets: Any, predictions: Any) -> Any:
    """The loss by a way that `_run_known` has found, whose derivative is to be recorded."""
    way, weight, positive = found
    if weight is None and positive is None:
        return frameworks.record_plan(way.plan, way.prepare, way.rule, targets, predictions)
    given = weight, positive
    return frameworks.record_plan(way.plan, way.prepare, way.rule, targets, predictions, *given)


def _put_back(options: dict[str, Any], given: tuple[Any, ...]) -> dict[str, Any]:
    return {
        **options,
        **{name: x for name, x in zip(_ARRAYS, given, strict=False) if x is not None},
    }


def _run(
    known: _Ways, key: tuple[Any, ...], targets: Any, predictions: Any, given: tuple[Any, ...] = ()
) -> Any:
    """The loss by a way that is known for the options, or None."""
    try:
        ways = known.get(key, ())
    except TypeError:  # an array among the options, or something else that cannot be looked up
        return None
    for plan, _, prepare, rule, epsilon, warning, _ in ways:
        if epsilon is not None and epsilon != config.epsilon():
            continue
        value = plan(targets, predictions, *given) if given else plan(targets, predictions)
        if value is True or (value is None and type(predictions) is not np.ndarray):
            value = frameworks.run_plan(plan, prepare, rule, targets, predictions, *given)
        if value is not None:
            if warning:
                warn(warning)
            return value
    return None


def _remember(
    known: _Ways,
    key: tuple[Any, ...],
    options: dict[str, Any],
    given: tuple[Any, ...],
    call: Call,
    again: Callable[[Any, Any, dict[str, Any]], Call],
    targets: Any,
    predictions: Any,
) -> None:
    """Keep the way of a call that has been evaluated, if there is a short one.

    ``again`` describes it with other arrays, of which ``options`` are without.
    """
    made = call.short is not None and (call.short.one_hot or call.short.label_sets)
    if call.predictions is not predictions or not (made or call.targets is targets):
        return
    if (call.mask is not None and not made) or (call.weights is not None and not given):
        return
    for value in options.values():
        if value is not _GIVEN and (type(value) not in _SIMPLE or value == "elementwise_mean"):
            return
    if not getattr(predictions, "shape", ()):  # whose loss may be reduced in another way
        return
    epsilon = config.epsilon() if call.by_epsilon else None
    ways, described = known.get(key, ()), (call.plan, call.short, epsilon)
    if any(way.described == described for way in ways):
        return
    plan = execution.fast_plan(call, weighted=bool(given))
    if plan is None:
        return
    if len(known) >= _MOST_OPTIONS and key not in known:
        known.clear()

    def prepare(targets: Any, predictions: Any, *given: Any) -> Any:
        return preparation.prepare(again(predictions, targets, _put_back(options, given)))

    at_once = epsilon is None and not call.warning
    way = _Way(plan, at_once, prepare, call.rule, epsilon, call.warning, described)
    known[key] = (way, *ways)[:_MOST_WAYS]


class _TripleWay(NamedTuple):
    """What the core does for calls of one kind with three arrays; see `TripleWay` of torch's framework."""

    plan: Any
    prepare: Callable[..., Any]
    rule: Rule | None
    by: tuple[str | None, ...]


_TripleWays = dict[Any, _TripleWay]


def loss_of_three(describe: Callable[P, Call]) -> LossFunction[P]:
    """`loss_function` of one that describes a loss of three arrays, of the same whichever these are."""
    general = execution.loss_function(describe)
    names = list(inspect.signature(describe).parameters)
    known: _TripleWays = {}
    if names[0] == "self":
        function = _triple_method(describe, general, known, names[1:])
    else:
        function = _triple_function(describe, general, known, names)
    functools.update_wrapper(function, general)
    function.__wrapped__ = describe  # type: ignore[attr-defined]
    return function  # type: ignore[return-value]


def _triple_function(
    describe: Callable[..., Call],
    general: Callable[..., Any],
    known: _TripleWays,
    names: list[str],
) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        if frameworks.is_compiled():
            return general(*args, **kwargs)
        if "keras" in sys.modules or "tf_keras" in sys.modules:
            refuse_function(function, sys._getframe(1))
        if len(args) < 3 or native.core is None:
            return general(*args, **kwargs)
        arrays, first = args[:3], args[3:]
        value = _run_triple(known, first, kwargs, arrays)
        if value is not None:
            return value

        def again(*arrays: Any) -> Call:
            return describe(*arrays, *first, **kwargs)

        call = describe(*args, **kwargs)
        value = execution.evaluate(call)
        options = {**dict(zip(names[3:], first, strict=False)), **kwargs}
        if all(options.get(name) is None for name in _DEPRECATED):  # else each call is to warn
            _remember_triple(known, (first, *kwargs.items()), options, call, again, names)
        # The general way looks for what is wrong; its operations may round as no later call does.
        short = _run_triple(known, first, kwargs, arrays)
        return value if short is None else short

    return function


def _triple_method(
    describe: Callable[..., Call],
    general: Callable[..., Any],
    known: _TripleWays,
    names: list[str],
) -> Callable[..., Any]:
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if frameworks.is_compiled():
            return general(self, *args, **kwargs)
        if "keras" in sys.modules or "tf_keras" in sys.modules:
            _refuse_method(forward, sys._getframe(1))
        if len(args) != 3 or kwargs or native.core is None:
            return general(self, *args, **kwargs)
        cls, attributes = type(self), self.__dict__
        value = _run_triple(known, cls, attributes, args)
        if value is not None:
            return value
        options = dict(attributes)

        def again(*arrays: Any) -> Call:
            return describe(_twin(cls, options), *arrays)

        call = describe(self, *args)
        value = execution.evaluate(call)
        if cls.__module__.partition(".")[0] == __name__.partition(".")[0]:
            _remember_triple(known, (cls, *options.items()), options, call, again, names)
        short = _run_triple(known, cls, attributes, args)
        return value if short is None else short

    return forward


def _run_triple(known: _TripleWays, first: Any, named: Any, arrays: tuple[Any, ...]) -> Any:
    """The loss of three arrays by a way that is known for the options, or None."""
    value = _run_known_triple(known, first, named, *arrays)
    return frameworks.record_triple(value, arrays) if type(value) is _TripleWay else value


def _remember_triple(
    known: _TripleWays,
    key: tuple[Any, ...],
    options: dict[str, Any],
    call: Call,
    again: Callable[..., Call],
    names: list[str],
) -> None:
    """Keep the way of a call that has been evaluated, if there is a short one."""
    for value in options.values():
        if type(value) not in _SIMPLE or value == "elementwise_mean":  # which is to warn
            return
    rule = call.rule
    plan = native.triple_plan(
        call.plan.formula,
        call.plan.parameters,
        reduce=rule is not None,
        mean=rule is not None and rule.divisor is not None,
    )
    if plan is None:
        return
    if len(known) >= _MOST_OPTIONS and key not in known:
        known.clear()

    def prepare(*arrays: Any) -> Any:
        return preparation.prepare(again(*arrays))

    differentiable = call.plan.differentiable()
    by = tuple(differentiable.get(name) for name in names[:3])
    known[key] = _TripleWay(plan, prepare, rule, by)
