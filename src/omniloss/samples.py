"""The losses of single samples, weighted, masked and reduced."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from omniloss.alignment import weigh
from omniloss.frameworks.base import Framework
from omniloss.preparation import masks_of
from omniloss.reduction import Partial, Rule

__all__ = ["Samples", "accumulate_samples", "reduce", "rule_of", "weigh_samples"]


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
    losses, divisor = weigh_samples(samples)
    if samples.rule is not None:
        divisor = framework.shared(samples.rule, divisor)
        losses = framework.reduce(losses, samples.rule, divisor)
    return framework.result(losses, samples.dtype)


def accumulate_samples(samples: Samples) -> Partial:
    """The partial sums of samples."""
    rule = rule_of(samples)
    losses, divisor = weigh_samples(samples)
    own = samples.framework.own
    return Partial(own(samples.framework.total(losses)), own(divisor), rule)


def weigh_samples(samples: Samples) -> tuple[Any, Any]:
    framework = samples.framework
    if samples.counts is not None:
        counts = replace(samples, losses=samples.counts, weights=None, counts=None)
        losses, _ = weigh_samples(replace(samples, counts=None))
        return losses, framework.number(framework.total(weigh_samples(counts)[0]))
    losses = samples.losses
    shape = tuple(losses.shape)
    weights, mask = samples.weights, samples.mask
    if weights is None and mask is None:
        return losses, framework.size(math.prod(shape))
    weighting, divisor = weigh(
        framework,
        shape,
        None if weights is None else framework.asarray(weights, "sample_weight"),
        masks_of(framework, mask),
        samples.rule,
        losses.dtype,
        "sample_weight",
    )
    return framework.weighted(losses, weighting), divisor


def rule_of(given: Any, *, torch: bool = False) -> Rule:
    """The rule of a call or of samples, without which there is no partial; in the words of a dialect."""
    if given.rule is None:
        names = ["sum", "mean"]
        if not torch:
            names += ["sum_over_batch_size", "mean_with_sample_weight"]
        raise ValueError(
            "a partial needs a reduction to finish it, and the loss's `reduction` is none; expected one of "
            f"{', '.join(map(repr, names))}"
        )
    return given.rule
