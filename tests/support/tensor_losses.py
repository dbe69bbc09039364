"""Every loss of both dialects on small float64 tensors, for the tests of torch's transforms to parametrise over.

`tensor_losses()` takes each dialect's cases from its registry: `support.cases` and `support.torch_cases`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from support import cases as keras_cases
from support import torch_cases

__all__ = ["TensorLoss", "batches", "objects", "tensor_losses", "tensors_of"]


@dataclass(frozen=True, eq=False)
class TensorLoss:
    """A loss with the arrays of a call.

    ``loss`` takes all of the ``tensors``, ``by`` are the places of those to differentiate by, ``others`` are tensors
    of the same shapes with other floats. ``sample_axes`` are the axes along which the samples lie, for vmap, or None
    where a sample has no loss of its own. ``unweighted`` is the loss without its last tensor, the weights, if it can be
    called so. Losses of the same ``batch`` have the same tensors; those of Keras's dialect have none.
    """

    label: str
    loss: Callable[..., Any]
    tensors: tuple[Any, ...]
    others: tuple[Any, ...]
    by: tuple[int, ...]
    sample_axes: tuple[int, ...] | None
    unweighted: Callable[..., Any] | None = None
    batch: str = ""

    def __str__(self) -> str:
        return self.label

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The tensors to differentiate by."""
        return tuple(self.tensors[i] for i in self.by)

    @property
    def other_inputs(self) -> tuple[Any, ...]:
        """Others of the same shapes."""
        return tuple(self.others[i] for i in self.by)

    def of_inputs(self, *inputs: Any) -> Any:
        """The loss of these inputs and the other tensors."""
        tensors = list(self.tensors)
        for place, x in zip(self.by, inputs, strict=True):
            tensors[place] = x
        return self.loss(*tensors)

    def total(self, *inputs: Any) -> Any:
        """The sum of the losses of these inputs."""
        return self.of_inputs(*inputs).sum()


@functools.cache
def tensor_losses() -> tuple[TensorLoss, ...]:
    """All losses of both dialects."""
    return (*_of_keras(), *_of_torch())


@functools.cache
def batches() -> dict[str, tuple[TensorLoss, ...]]:
    """The losses of the PyTorch dialect by what they take: of each one with its defaults and one with all options."""
    found: dict[str, list[TensorLoss]] = {}
    for loss in tensor_losses():
        if loss.batch:
            found.setdefault(loss.batch, []).append(loss)
    return {name: (mine[0], mine[-1]) for name, mine in found.items()}


def _of_keras() -> Iterator[TensorLoss]:
    """With weights, some of them 0, of which the mean is that of the weighted ones."""
    for case in keras_cases.cases():
        drawn = []
        for seed in (80, 81):
            rng = np.random.default_rng(seed)
            y, p = case.arrays(rng, (4, 3, 3), "float64")
            rows = case.rows(p.shape)
            weights = np.where(rng.random(rows) < 0.3, 0, rng.random(rows))
            drawn.append(tuple(map(torch.from_numpy, (y, p, weights))))
        (y, p, weights), (_, other, _) = drawn
        # A row lies across the batch, its labels are the batch's, or the loss takes whole batches
        across = case.axes is None or 0 in case.axes
        of_batch = case.plan.labels == "auto" or case.plan.formula.kind == "setwise"
        together = across or of_batch
        for reduction, name in (("mean_with_sample_weight", "mean"), (None, "none")):
            loss = case.loss(reduction=reduction)
            yield TensorLoss(
                f"losses.{case},{name}",
                loss,
                (y, p, weights),
                (y, other, weights),
                (1,),
                None if together else (0, 0, 0),
                unweighted=case.loss(reduction="sum" if reduction else None),
            )


def _of_torch() -> Iterator[TensorLoss]:
    for case in torch_cases.small_cases():
        if case.options["reduction"] == "sum":  # a mean by another number
            continue
        if case.name == "ctc_loss" and len(case.options) == 2:  # a large graph for a small change
            continue
        loss = objects(case)[0]
        arrays = dict(case.arguments)
        if (
            "var" in arrays
        ):  # smaller ones than eps are raised, and keep a derivative that is not theirs
            arrays["var"] = arrays["var"] + 1
        if case.name == "ctc_loss":
            loss = _of_logits(loss)
        names = list(arrays)
        others = {
            key: np.ascontiguousarray(arrays[key][::-1]) if key in case.by else arrays[key]
            for key in names
        }
        # A sample of sequences has lengths of its own, and weights of elements belong to the batch.
        together = case.name == "ctc_loss" or any(np.ndim(x) > 1 for x in case.options.values())
        yield TensorLoss(
            f"nn.{case}",
            loss,
            tuple(tensors_of(arrays).values()),
            tuple(tensors_of(others).values()),
            tuple(names.index(key) for key in case.by),
            None if together else (0,) * len(names),
            batch=f"nn.{case.name}[{case.label}]",
        )


def _of_logits(loss: Callable[..., Any]) -> Callable[..., Any]:
    """CTC has the gradient by the logits, which it has wherever they come through ``log_softmax``."""

    def of_logits(logits: Any, *rest: Any) -> Any:
        return loss(torch.log_softmax(logits, -1), *rest)

    return of_logits


def objects(case: torch_cases.Case, **changes: Any) -> tuple[Callable[..., Any], ...]:
    """Our loss and torch's of a case and changed options, as objects where the class has the options, else functions."""
    options = {**tensors_of(case.options), **changes}
    name = torch_cases.class_of(case.name)
    made = []
    for module in (torch_cases.nn, torch.nn):
        cls = getattr(module, name)
        known = inspect.signature(getattr(torch_cases.nn, name)).parameters
        if set(options) <= set(known):
            made.append(cls(**options))
        else:
            function = getattr(module.functional, case.name)
            made.append(functools.partial(function, **options))
    return tuple(made)


def tensors_of(values: dict[str, Any]) -> dict[str, Any]:
    """NumPy arrays as tensors, everything else as it is."""
    return {key: torch.tensor(x) if isinstance(x, np.ndarray) else x for key, x in values.items()}
