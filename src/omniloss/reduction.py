"""Reductions: what a batch of weighted losses adds up to, and what the sum is divided by."""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass, field, replace
from math import nan
from typing import Any, Literal

__all__ = [
    "KERAS_RULES",
    "MEAN",
    "TORCH_RULES",
    "Partial",
    "Reduction",
    "Rule",
    "keras_rule",
    "set_rule",
]


class Reduction(enum.StrEnum):
    """The reduction constants of tf.keras 2.x.

    ``AUTO`` means ``SUM_OVER_BATCH_SIZE``. Each equals its string, so it can stand wherever a
    reduction's name can. Under a `tf.distribute` strategy the means raise outside of the built-in training loops, as in
    tf.keras; those of plain strings are divided by the number of replicas within ``strategy.run``.

    Source: `tf.keras.losses.Reduction` (TensorFlow 2.x).

    >>> Reduction.SUM == "sum"
    True
    """

    AUTO = "auto"
    NONE = "none"
    SUM = "sum"
    SUM_OVER_BATCH_SIZE = "sum_over_batch_size"

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"  # as it can be written


@dataclass(frozen=True, slots=True)
class Rule:
    """How a sum of weighted losses is finished.

    ``divisor`` says what a `Partial`'s weight counts and whether the total is divided by it:
    ``"count"``: by the number of losses that are not masked, zero weights included;
    ``"weights"``: by the sum of the weights (of a loss without weights: by their number);
    ``None``: the total is the result, and the weight counts the losses.
    ``empty`` is what 0/0 gives. ``smooth`` is added to total and divisor, where a `Partial` of a set's own
    sums is finished. ``replicas`` is what a mean does in a replica of a `tf.distribute`
    strategy: it is divided by their number too (not outside of ``strategy.run``, where Keras 3 divides), or refused.
    """

    name: str
    divisor: Literal["count", "weights"] | None
    empty: float = 0.0
    smooth: float = 0.0
    replicas: Literal["", "divide", "refuse"] = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        """What tells this rule from others of its name, for messages."""
        counted = {"count": "the number of losses", "weights": "the sum of the weights"}
        if self.smooth:
            return f"{self.name!r} (the sums of a set, with {self.smooth:g} added)"
        how = "undivided" if self.divisor is None else f"divided by {counted[self.divisor]}"
        return f"{self.name!r} ({how}, {self.empty:g} of nothing)"

    def finish(self, total: Any, weight: Any) -> Any:
        """The reduced loss; works on numbers and on arrays of any library."""
        if self.divisor is None:
            return total
        if self.smooth:
            return (total + self.smooth) / (weight + self.smooth)
        if isinstance(weight, (int, float)):
            return total / weight if weight != 0 else self.empty
        weight = _of_jax(weight)
        if self.empty != 0:  # NaN, which the division gives by itself
            return total / weight
        return (total / (weight + _as_number(weight == 0, weight))) * _as_number(
            weight != 0, weight
        )


def _of_jax(weight: Any) -> Any:
    """What is divided by, as a float where it is one of JAX's counts, which it may be told not to promote."""
    if not _is_of("jax", "Array", weight):
        return weight
    jnp: Any = sys.modules["jax"].numpy
    return weight if jnp.issubdtype(weight.dtype, jnp.floating) else weight.astype(float)


def _as_number(flag: Any, like: Any) -> Any:
    """A truth value to calculate with, which TensorFlow's own are not, and JAX's only by a promotion."""
    if _is_of("tensorflow", "Tensor", flag):
        return sys.modules["tensorflow"].cast(flag, sys.modules["tensorflow"].float64)
    return flag.astype(like.dtype) if _is_of("jax", "Array", flag) else flag


def _is_of(library: str, kind: str, x: Any) -> bool:
    """Whether something is of a class of a library, if that is loaded."""
    cls = getattr(sys.modules.get(library), kind, None)
    return cls is not None and isinstance(x, cls)


# What each reduction of the Keras dialect divides by.
SUM = Rule("sum", None)
MEAN = Rule("mean", "count")
WEIGHTED_MEAN = Rule("mean_with_sample_weight", "weights")
_SHARED_MEAN = replace(MEAN, replicas="divide")
KERAS_RULES: dict[str | None, Rule | None] = {
    "sum": SUM,
    "sum_over_batch_size": _SHARED_MEAN,
    "mean": _SHARED_MEAN,
    "auto": _SHARED_MEAN,
    "mean_with_sample_weight": replace(WEIGHTED_MEAN, replicas="divide"),
    "none": None,
    None: None,
}


def keras_rule(reduction: str | None, built_in_loop: bool = False) -> Rule | None:
    """The rule of a reduction of the Keras dialect.

    The members of `Reduction` bring that of tf.keras, whose means only its ``built_in_loop`` takes under a
    distribution strategy.
    """
    rule = KERAS_RULES[reduction]
    if rule is None or rule.divisor is None or built_in_loop:
        return rule
    return replace(rule, replicas="refuse") if isinstance(reduction, Reduction) else rule


# The same of the PyTorch dialect. What "mean" divides by depends on the loss, which chooses between
# the number of losses and the sum of their weights; "batchmean" is the Kullback-Leibler divergence's.
TORCH_RULES: dict[str, Rule | None] = {
    "sum": SUM,
    "mean": Rule("mean", "count", empty=nan),
    "weighted mean": Rule("mean", "weights", empty=nan),
    "batchmean": Rule("batchmean", "count", empty=nan),
    "none": None,
}


def set_rule(smooth: float) -> Rule:
    """The rule of one set's sums, whose quotient is the loss."""
    return Rule("set", "weights", nan, smooth)


@dataclass(frozen=True, slots=True)
class Partial:
    """The two sums from which a loss over any number of batches, files or machines is finished.

    ``total`` is the sum of weights times losses, ``weight`` what the loss's reduction divides it by.
    Partials of one reduction add up, by ``+`` or `sum`, which needs no start; `result` finishes them. They
    are equal where totals, weights and reductions are. On NumPy both are
    Python floats, summed in double precision: a sum beyond its range, 1.8e308, is infinite here, and so
    is the result, though the loss called on the same data may give a finite mean.

    >>> whole = Partial(6.0, 3.0) + Partial(4.0, 1.0)
    >>> whole, whole.result()
    (Partial(total=10.0, weight=4.0), 2.5)
    """

    total: Any
    weight: Any
    rule: Rule = field(default=MEAN, repr=False)

    def __add__(self, other: Partial) -> Partial:
        if not isinstance(other, Partial):
            return NotImplemented
        if other.rule != self.rule:
            names = [self.rule.name, other.rule.name]
            mine, others = map(repr, names) if names[0] != names[1] else (self.rule, other.rule)
            raise ValueError(f"partials of different reductions do not add up: {mine} and {others}")
        return Partial(self.total + other.total, self.weight + other.weight, self.rule)

    def __radd__(self, other: Any) -> Partial:
        return self if isinstance(other, int) and other == 0 else NotImplemented

    # By these TensorFlow takes partials for structures of tensors, which graphs and replicas may return.

    def __tf_flatten__(self) -> tuple[tuple[Rule], tuple[Any, Any]]:
        return (self.rule,), (self.total, self.weight)

    @classmethod
    def __tf_unflatten__(cls, metadata: tuple[Rule], components: tuple[Any, Any]) -> Partial:
        return cls(*components, *metadata)

    def result(self) -> Any:
        """The loss that the reduction gives for everything added so far."""
        return self.rule.finish(self.total, self.weight)
