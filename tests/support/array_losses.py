"""Every loss of both dialects with the NumPy arrays of a call, for tests of a framework to parametrise over.

`array_losses()` takes each dialect's cases from its registry: `support.cases` and `support.torch_cases`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import omniloss
from support import cases as keras_cases
from support import torch_cases

__all__ = ["ArrayLoss", "array_losses", "two_of_each"]


@dataclass(frozen=True, eq=False)
class ArrayLoss:
    """A loss that takes all of the ``arrays``; ``by`` are the places of those to differentiate by.

    ``function`` and ``options`` are what `omniloss.value_and_grad` takes, ``names`` the arrays' names there. ``name``
    is the same for all cases of one function.
    """

    name: str
    label: str
    function: Callable[..., Any]
    options: dict[str, Any]
    arrays: tuple[Any, ...]
    names: tuple[str, ...]
    by: tuple[int, ...]

    def __str__(self) -> str:
        return self.label

    def __call__(self, *arrays: Any) -> Any:
        return self.function(*arrays, **self.options)

    def value_and_grad(self, *arrays: Any, place: int | None = None) -> Any:
        """The value and the gradient by one of the arrays to differentiate by."""
        name = self.names[self.by[0] if place is None else place]
        return omniloss.value_and_grad(self.function, *arrays, wrt=name, **self.options)


@functools.cache
def array_losses() -> tuple[ArrayLoss, ...]:
    """All of them, on float64 arrays."""
    return (*_keras(), *_torch())


def two_of_each() -> list[ArrayLoss]:
    """The first and the last of each function, which has all options, where two are enough."""
    first = {loss.name: loss for loss in reversed(array_losses())}
    last = {loss.name: loss for loss in array_losses()}
    chosen = {*first.values(), *last.values()}
    return [loss for loss in array_losses() if loss in chosen]


def _keras() -> list[ArrayLoss]:
    found = []
    for number, case in enumerate(keras_cases.cases()):
        rng = np.random.default_rng(90 + number)
        shape = (5, 3)
        y, p = case.arrays(rng, shape)
        rows = case.rows(p.shape)
        weights = np.where(rng.random(rows) < 0.2, 0, rng.uniform(0.5, 2, rows))
        loss = case.loss(reduction=("sum", "mean_with_sample_weight", None)[number % 3])
        names = ("y_true", "y_pred", "sample_weight")
        found.append(ArrayLoss(case.name, str(case), loss, {}, (y, p, weights), names, (1,)))
        if not case.options:
            label = f"{case}, unweighted"
            found.append(ArrayLoss(case.name, label, case.loss(), {}, (y, p), names[:2], (1,)))
    return found


def _torch() -> list[ArrayLoss]:
    found = []
    for case in torch_cases.small_cases():
        if case.options["reduction"] == "sum":  # which is between the other two
            continue
        names = tuple(case.arguments)
        arrays = tuple(case.arguments.values())
        by = tuple(names.index(name) for name in case.by)
        found.append(
            ArrayLoss(case.name, str(case), case.function, case.options, arrays, names, by)
        )
    return found
