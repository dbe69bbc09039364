"""The public functions of the PyTorch dialect, and their short way to the core.

A small batch is computed in less time than it takes to describe its loss. So what the core is to do is
remembered with the options of a call, and done at once when a call brings the same options again, as long as
its arrays are plain. Everything else goes the general way, which has the last word on what is wrong.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from omniloss import execution, frameworks, native
from omniloss.configuration import config
from omniloss.execution import Call, LossFunction
from omniloss.nn.base import warn
from omniloss.reduction import Rule

__all__ = ["loss_function"]

P = ParamSpec("P")

# How many sets of options a function remembers, and how many ways for one of them: class indices and class
# probabilities go different ways.
_MOST_OPTIONS = 64
_MOST_WAYS = 4
# What an option may be to be remembered. Numbers that are equal mean the same loss.
_SIMPLE = frozenset({str, float, int, bool, type(None)})
_DEPRECATED = ("size_average", "reduce")


class _Way(NamedTuple):
    """What the core does for calls of one kind; ``call`` is their description without the arrays.

    It stands only while `config.epsilon` is ``epsilon``, unless that is None.
    """

    plan: Any
    prepare: Callable[[Any, Any], Any]
    rule: Rule
    epsilon: float | None
    call: Call


_Ways = dict[Any, tuple[_Way, ...]]


def loss_function(describe: Callable[P, Call]) -> LossFunction[P]:
    """Make a public loss function, or a loss object's ``forward``, of one that describes its loss."""
    general = execution.loss_function(describe)
    parameters = list(inspect.signature(describe).parameters)
    known: _Ways = {}
    if parameters[0] == "self":
        function = _method(describe, general, known)
    else:
        deprecated = [place for place, name in enumerate(parameters) if name in _DEPRECATED]
        function = _function(describe, general, known, deprecated)
    functools.update_wrapper(function, general)
    function.__wrapped__ = describe  # type: ignore[attr-defined]
    return function  # type: ignore[return-value]


def _function(
    describe: Callable[..., Call],
    general: Callable[..., Any],
    known: _Ways,
    deprecated: list[int],
) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 2 or native.core is None or frameworks.is_compiled():
            return general(*args, **kwargs)
        options = (args[2:], *kwargs.items())
        value = _run(known, options, args[1], args[0])
        if value is not None:
            return value
        call = describe(*args, **kwargs)
        value = execution.evaluate(call)
        flags = [kwargs.get(name) for name in _DEPRECATED]
        flags += [args[place] for place in deprecated if place < len(args)]
        if flags.count(None) == len(flags):  # else each call is to warn
            values = (*args[2:], *kwargs.values())
            _remember(known, options, values, call, args[1], args[0])
        return value

    return function


def _method(
    describe: Callable[..., Call], general: Callable[..., Any], known: _Ways
) -> Callable[..., Any]:
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) != 2 or kwargs or native.core is None or frameworks.is_compiled():
            return general(self, *args, **kwargs)
        # Whatever has been done to the object: all that it has is looked at.
        attributes = self.__dict__
        options = (type(self), *attributes.items())
        value = _run(known, options, args[1], args[0])
        if value is not None:
            return value
        call = describe(self, *args)
        value = execution.evaluate(call)
        if type(self).__module__.partition(".")[0] == __name__.partition(".")[0]:
            _remember(known, options, attributes.values(), call, args[1], args[0])
        return value

    return forward


def _run(known: _Ways, options: Any, targets: Any, predictions: Any) -> Any:
    """The loss by a way that is known for the options, or None."""
    try:
        ways = known.get(options, ())
    except TypeError:  # an array among the options, or something else that cannot be looked up
        return None
    for plan, prepare, rule, epsilon, call in ways:
        if epsilon is not None and epsilon != config.epsilon():
            continue
        if type(predictions) is np.ndarray:
            value = plan(targets, predictions)
        else:
            value = frameworks.run_plan(plan, prepare, rule, targets, predictions)
        if value is not None:
            if call.warning:
                warn(call.warning)
            return value
    return None


def _remember(
    known: _Ways, options: Any, values: Iterable[Any], call: Call, targets: Any, predictions: Any
) -> None:
    """Keep the way of a call that has been evaluated, if there is a short one."""
    if call.targets is not targets or call.predictions is not predictions:
        return
    if call.weights is not None or call.mask is not None or call.others:
        return
    if not all(type(value) in _SIMPLE and value != "elementwise_mean" for value in values):
        return
    if not getattr(predictions, "shape", ()):  # whose loss may be reduced in another way
        return
    epsilon = config.epsilon() if call.by_epsilon else None
    ways = known.get(options, ())
    if any(way.call.plan == call.plan and way.epsilon == epsilon for way in ways):
        return
    bare = replace(call, targets=None, predictions=None)
    plan = execution.fast_plan(bare)
    if plan is None:
        return
    if len(known) >= _MOST_OPTIONS and options not in known:
        known.clear()
    assert call.rule is not None
    prepare = functools.partial(execution.prepare_with, bare)
    way = _Way(plan, prepare, call.rule, epsilon, bare)
    known[options] = (way, *ways)[:_MOST_WAYS]
