"""Losses of both dialects on small float64 arrays, for the tests of JAX's transformations to parametrise over.

Compiling takes longer than anything else there, so `array_losses()` gives each formula once in each dialect, with
all of its options; the cases are those of `support.cases` and `support.torch_cases`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from support import cases as keras_cases
from support import torch_cases

__all__ = ["ArrayLoss", "array_losses"]


@dataclass(frozen=True, eq=False)
class ArrayLoss:
    """A loss with the arrays of a call.

    ``loss`` takes all of the ``arrays`` and is the library's own function or object, and ``wrt`` are its names of those
    to differentiate by, which stand in the places ``by``. ``sampled`` says whether each sample, along the first axis of
    every array, has a loss of its own.
    """

    label: str
    loss: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]
    by: tuple[int, ...]
    wrt: tuple[str, ...]
    options: dict[str, Any]
    sampled: bool

    def __str__(self) -> str:
        return self.label

    @property
    def inputs(self) -> tuple[np.ndarray, ...]:
        """The arrays to differentiate by."""
        return tuple(self.arrays[place] for place in self.by)

    def with_inputs(self, *inputs: Any) -> list[Any]:
        """The arrays with others in these places."""
        arrays: list[Any] = list(self.arrays)
        for place, x in zip(self.by, inputs, strict=True):
            arrays[place] = x
        return arrays

    def total(self, *inputs: Any) -> Any:
        """The sum of the losses of these inputs."""
        return self.loss(*self.with_inputs(*inputs), **self.options).sum()


@functools.cache
def array_losses() -> tuple[ArrayLoss, ...]:
    """The losses of both dialects."""
    return (*_of_keras(), *_of_torch())


def _of_keras() -> Iterator[ArrayLoss]:
    """With weights, some of them 0, of which the mean is that of the weighted ones."""
    for case in {case.plan.formula.name: case for case in keras_cases.cases()}.values():
        rng = np.random.default_rng(90)
        y, p = case.arrays(rng, (4, 3), "float64")
        rows = case.rows(p.shape)
        weights = np.where(rng.random(rows) < 0.3, 0, rng.random(rows))
        yield ArrayLoss(
            f"losses.{case}",
            case.loss(reduction="mean_with_sample_weight"),
            (y, p, weights),
            (1,),
            ("y_pred",),
            {},
            # A row lies across the batch, its labels are the batch's, or the loss takes whole batches
            not (
                case.axes is None
                or 0 in case.axes
                or case.plan.labels == "auto"
                or case.plan.formula.kind == "setwise"
            ),
        )


def _of_torch() -> Iterator[ArrayLoss]:
    for case in {f"{case.name}{case.label}": case for case in torch_cases.small_cases()}.values():
        if case.name == "ctc_loss":  # has no second derivative of its own, and tests
            continue
        arrays = dict(case.arguments)
        if "var" in arrays:  # smaller ones than eps are raised, and keep a derivative not theirs
            arrays["var"] = arrays["var"] + 1
        names = list(arrays)
        yield ArrayLoss(
            f"nn.{case}",
            case.function,
            tuple(arrays.values()),
            tuple(names.index(key) for key in case.by),
            case.by,
            case.options,
            not any(np.ndim(x) > 1 for x in case.options.values()),
        )
