"""Every loss of the registry with option sets and random valid inputs, for tests to parametrise over.

`cases()` gives a list of `Case`, one for each registered function and option set; ``str(case)`` is a
good test id. The losses are found through the registry; the options through each function's signature,
with the values of `OPTIONS`; the inputs through the plan that the function describes. A new loss is
therefore covered as soon as it is registered; one with a new option fails until `OPTIONS` knows the option.

    @pytest.mark.parametrize("case", cases(), ids=str)
    def test_something(case):
        y_true, y_pred = case.arrays(rng, (6, 4), "float32")
        case.function(y_true, y_pred, **case.options)   # the loss function
        case.loss(reduction="sum")(y_true, y_pred)      # the loss object
        case.plan.formula                               # what runs
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from omniloss.description import Plan
from omniloss.formulas.definition import ANY, PROBABILITY, Interval
from omniloss.losses import registry

__all__ = ["OPTIONS", "Case", "cases", "row_cases"]

# For each option the values to try besides its default.
OPTIONS: dict[str, tuple[Any, ...]] = {
    "alpha": (0.6,),
    "apply_class_balancing": (True,),
    "axis": (0,),
    "beta": (0.2,),
    "delta": (0.3, 2.0),
    "from_logits": (True,),
    "gamma": (0.0, 1.3),
    "ignore_class": (1, -1),
    "label_smoothing": (0.2, 1.0),
    "labels": ("binary", "signed"),
    "margin": (0.25,),
    "q": (0.3, 0.9),
    "remove_diagonal": (False,),
}
# The same of one function's option alone.
OF_FUNCTION: dict[tuple[str, str], tuple[Any, ...]] = {
    ("circle", "gamma"): (2.0, 20.0),
    ("dice", "axis"): (0, (0, -1), -1),
    ("tversky", "axis"): (0, (0, -1), -1),
}


@dataclass(frozen=True, eq=False)
class Case:
    """A loss with one set of options.

    ``name`` is the function's name in the registry, ``function`` the function, ``cls`` the class that wraps
    it, and ``options`` the options besides their defaults, which both take by keyword.
    """

    name: str
    function: Callable[..., Any]
    cls: type
    options: dict[str, Any]

    def __str__(self) -> str:
        options = ",".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.name}[{options}]" if options else self.name

    @property
    def plan(self) -> Plan:
        """The plan that the function describes under the settings of the moment."""
        return self.function.describe(None, None, **self.options).plan  # type: ignore[attr-defined]

    @property
    def axis(self) -> int:
        """The axis along which the loss forms its rows, or the first one of several."""
        return self.plan.axes[0] if self.plan.axes else self.plan.axis

    @property
    def axes(self) -> tuple[int, ...] | None:
        """The axes along which the loss forms its rows; None for all."""
        axes = self.plan.axes
        return (self.plan.axis,) if axes == () else axes

    def rows(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the losses of predictions of a shape."""
        if self.plan.formula.kind == "setwise":
            return shape[:1]
        if self.axes is None:
            return ()
        gone = {axis % len(shape) for axis in self.axes}
        return tuple(size for axis, size in enumerate(shape) if axis not in gone)

    def spread(self, by_row: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """What is given for each row, for each element of the predictions."""
        axes = tuple(range(len(shape))) if self.axes is None else self.axes
        if self.plan.formula.kind == "setwise":
            axes = tuple(range(1, len(shape)))
        return np.broadcast_to(np.expand_dims(by_row, axes), shape)

    def loss(self, **arguments: Any) -> Any:
        """The loss object with these options; ``reduction`` and the like as arguments."""
        return self.cls(**self.options, **arguments)

    def arrays(
        self, rng: np.random.Generator, shape: tuple[int, ...], dtype: str = "float64"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Valid targets, and predictions of the given shape and dtype.

        A loss that takes a whole batch has a shape of its own, made of the given sizes (see `shape`).
        Both lie well inside of their intervals, at moderate sizes; dense targets have the predictions'
        dtype, class indices are int64 of that shape without the axis of the classes.
        """
        plan = self.plan
        formula = plan.formula
        if formula.kind == "setwise":
            return self._batch(rng, self.shape(shape), dtype)
        member = formula.name == "tversky"  # of a set, as far as a probability
        predictions = _numbers(rng, PROBABILITY if member else formula.predictions, shape)
        if formula.labels:
            targets = self._class_indices(rng, shape, plan)
        elif "labels" in inspect.signature(self.function).parameters:
            targets = rng.integers(0, 2, shape).astype(dtype)
            if plan.labels == "signed" or (plan.labels == "auto" and rng.random() < 0.5):
                targets = 2 * targets - 1
        elif formula.kind == "rowwise" and plan.several_classes:
            targets = _one_hot_or_soft(rng, shape, plan.axis)
        else:
            targets = _numbers(rng, PROBABILITY if member else formula.targets, shape)
        if not formula.labels:
            targets = targets.astype(dtype)
        return targets, predictions.astype(dtype)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the predictions that `arrays` makes when it is asked for one.

        Circle takes rows, however many axes they are on, and CTC samples of one step or more.
        """
        if self.name == "circle":
            return (math.prod(shape[:-1]), shape[-1])
        if self.name == "ctc":
            samples, *steps, classes = shape
            return (samples, math.prod(steps) + 3, classes + 1)
        return shape

    def _batch(
        self, rng: np.random.Generator, shape: tuple[int, ...], dtype: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Labels and embeddings, or labels of any number and logits.

        The embeddings are a little shorter than 1, so that none is at the kink of its own distance to itself.
        """
        predictions = rng.normal(0.0, 1.0, shape)
        if self.name == "circle":
            predictions *= 0.95 / np.linalg.norm(predictions, axis=-1, keepdims=True)
            return rng.integers(0, 3, shape[0]), predictions.astype(dtype)
        labels = rng.integers(1, shape[2], (shape[0], 2))
        labels[rng.random(shape[0]) < 0.3, 1] = 0
        return labels, predictions.astype(dtype)

    def _class_indices(
        self, rng: np.random.Generator, shape: tuple[int, ...], plan: Plan
    ) -> np.ndarray:
        axis = plan.axis % len(shape)
        rows = shape[:axis] + shape[axis + 1 :]
        indices = rng.integers(0, shape[axis], rows)
        if plan.ignore is not None:
            indices = np.where(rng.random(rows) < 0.3, plan.ignore, indices)
            indices = np.where((indices >= shape[axis]) & (indices != plan.ignore), 0, indices)
        return np.asarray(indices)


def _numbers(rng: np.random.Generator, interval: Interval, shape: tuple[int, ...]) -> np.ndarray:
    if interval == ANY:
        return rng.normal(0.0, 2.0, shape)
    if interval.high == 1:
        return rng.uniform(0.01, 0.99, shape)
    return rng.uniform(0.05, 3.0, shape)


def _one_hot_or_soft(rng: np.random.Generator, shape: tuple[int, ...], axis: int) -> np.ndarray:
    scores = rng.random(shape)
    if rng.random() < 0.5:
        return (scores == scores.max(axis=axis, keepdims=True)).astype(np.float64)
    return scores / scores.sum(axis=axis, keepdims=True)


@functools.cache
def _all() -> tuple[Case, ...]:
    classes = {cls().fn: cls for cls in registry.CLASSES.values()}
    return tuple(
        Case(name, function, classes[function], options)
        for name, function in registry.FUNCTIONS.items()
        for options in _option_sets(function)
    )


def cases() -> list[Case]:
    """Every loss with its defaults, each option alone, and all options together, for each ``from_logits``."""
    return list(_all())


def row_cases() -> list[Case]:
    """Every loss with its defaults, for each ``from_logits``, and sets, where it has them, along the last axis."""
    return [
        case
        for case in cases()
        if case.axes == (-1,)
        and case.plan.formula.kind != "setwise"
        and case.options.keys() <= ({"from_logits"} if case.plan.axes == () else {"axis"})
    ]


def _option_sets(function: Callable[..., Any]) -> list[dict[str, Any]]:
    names = [
        name
        for name in inspect.signature(function).parameters
        if not name.startswith(("y_", "ref_"))  # which are arrays
    ]
    others = [name for name in names if name != "from_logits"]
    given = inspect.signature(function).parameters
    without = [name for name in others if given[name].default is inspect.Parameter.empty]
    values = {name: OF_FUNCTION.get((function.__name__, name), OPTIONS[name]) for name in others}
    if without:  # which the class has a default of, but not the function
        return [{name: value} for name in without for value in values[name]]
    plain: list[dict[str, Any]] = [{}]
    plain += [{name: value} for name in others for value in values[name]]
    if len(others) > 1:
        plain.append({name: values[name][-1] for name in others if name != "label_smoothing"})
        if "label_smoothing" in others:
            plain[-1]["label_smoothing"] = OPTIONS["label_smoothing"][0]
    if "from_logits" not in names:
        return plain
    return [{**options, **logits} for logits in ({}, {"from_logits": True}) for options in plain]
