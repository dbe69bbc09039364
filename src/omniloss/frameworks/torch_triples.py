"""PyTorch: the derivatives of losses of three arrays, each of which may have one, by the native core."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from omniloss.frameworks.torch import look_at, recorded
from omniloss.problem import Problem
from omniloss.reduction import Rule

__all__ = ["TripleWay", "record"]


class TripleWay(Protocol):
    """A plan of the core for three arrays, and what is known of them.

    ``prepare`` makes the problem of the arrays, and ``by`` are the formula's names of those that have a derivative,
    None in the places of the others.
    """

    @property
    def plan(self) -> Any: ...

    @property
    def rule(self) -> Rule | None: ...

    @property
    def by(self) -> tuple[str | None, ...]: ...

    def prepare(self, *arrays: Any) -> Problem: ...


class _Triple(torch.autograd.Function):  # type: ignore[misc]
    """The reduced loss, or the losses of the rows.

    A reduced loss has its gradients from the same pass over the data. The losses of rows have theirs from a second
    one, which takes what comes from upstream as weights.
    """

    @staticmethod
    def forward(ctx: Any, way: TripleWay, *arrays: Any) -> Any:
        outcome = way.plan.on_tensors(*arrays, ctx.needs_input_grad[1:])
        if outcome is None:
            return None
        ctx.save_for_backward(*arrays)
        ctx.way = way
        value, gradients = outcome
        if way.rule is not None:
            ctx.gradients = gradients
        return value

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        # They leave with the first backward pass, so that torch may keep them without a copy.
        gradients = vars(ctx).pop("gradients", None)
        wanted = ctx.needs_input_grad[1:]
        # Dynamo, which traces this under compiled autograd, cannot step into the core.
        seen = None if torch.compiler.is_compiling() else look_at(upstream)
        # Looking at the saved arrays is an error where they were changed meanwhile.
        if seen is None:
            gradients = _gradients_by_formula(ctx.way, ctx.saved_tensors, wanted, upstream)
        elif gradients is None:
            above = (upstream,) if ctx.way.rule is None else (None, upstream.item())
            gradients = ctx.way.plan.gradient(*ctx.saved_tensors, wanted, *above)
            assert gradients is not None
        elif (upstream.item() if seen is True else seen) != 1:
            for gradient in gradients:
                if gradient is not None:
                    gradient.mul_(upstream)
        return None, *gradients


def _gradients_by_formula(
    way: TripleWay, arrays: tuple[Any, ...], wanted: tuple[bool, ...], upstream: torch.Tensor
) -> list[Any]:
    """In torch's operations, which can be differentiated and transformed further."""
    problem = way.prepare(*arrays)
    scale = 1.0 if way.rule is None else way.rule.finish(1.0, problem.divisor)
    upstream = upstream.to(problem.predictions.dtype) * scale
    return [
        problem.framework.gradient_by(problem, argument, upstream).reshape(array.shape)
        if argument is not None and asked
        else None
        for argument, array, asked in zip(way.by, arrays, wanted, strict=True)
    ]


# What `apply` comes to where no transform of functorch is active, without asking for that again
_apply = super(torch.autograd.Function, _Triple).apply


def record(way: TripleWay, arrays: tuple[Any, ...]) -> torch.Tensor | None:
    """The loss where a call of the plan has said that the derivative is to be recorded, or None."""
    return recorded(_apply, way, arrays)
