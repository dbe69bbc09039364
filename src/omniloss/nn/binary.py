"""Cross-entropies of two classes in the PyTorch dialect, of probabilities and of logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from omniloss import formulas, frameworks
from omniloss.configuration import config
from omniloss.description import Call, Plan, Short
from omniloss.nn.base import (
    NAMES,
    Loss,
    WeightedLoss,
    elements,
    fitted_weight,
    named_reduction,
    refuse_gradient,
    refuse_other_floats,
    rule_of,
    weight_beside,
)
from omniloss.nn.calls import loss_function

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
]


@loss_function
def binary_cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Call:
    """The cross-entropy of two classes with probabilities: ``-(y * log(p) + (1 - y) * log(1 - p))``.

    p is the input and y the target. Good where probabilities are given; bad behind a sigmoid of one's
    own, for which `binary_cross_entropy_with_logits` keeps the digits. As in torch a logarithm is at
    least -100, and the gradient is ``(p - y) / max(p * (1 - p), 1e-12)``, unless
    ``omniloss.config.epsilon()`` is 0, which gives the exact value and gradient.

    Args:
        input: Probabilities, numbers in [0, 1], of any shape.
        target: Probabilities of the same shape, numbers in [0, 1].
        weight: A weight for each element, broadcast to the input's shape.
        size_average, reduce: Deprecated; see `Loss`.
        reduction: ``"mean"``: the sum divided by the number of elements, also with a ``weight``;
            ``"sum"``; ``"none"``: a loss for each element.

    Returns:
        The loss, in the input's dtype.

    Raises:
        ValueError, TypeError: A number lies outside of [0, 1] (a `RuntimeError` too), or the arrays do
            not fit; see `omniloss.nn`.

    The twin in the Keras dialect is `omniloss.losses.binary_crossentropy`, which clips probabilities at
    epsilon and averages the last axis.

    Source: I. J. Good, Journal of the Royal Statistical Society B 14 (1952);
    `torch.nn.functional.binary_cross_entropy`.

    >>> from omniloss.nn import functional as F
    >>> F.binary_cross_entropy([0.5, 0.0], [1.0, 1.0], reduction="none").round(4)
    array([  0.6931, 100.    ], dtype=float32)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    refuse_gradient(weight, "weight")
    refuse_other_floats(input, target)
    if config.epsilon() == 0:
        formula, parameter = formulas.binary_crossentropy, 0.0
    else:
        formula, parameter = formulas.binary_crossentropy_of_clamped_logs, 100.0
    call = elements(
        formula,
        (parameter,),
        input,
        target,
        reduction,
        weight,
        hint=_HINT,
        promotion="one",
    )
    return replace(call, by_epsilon=True)


_HINT = " (BCEWithLogitsLoss takes logits)"


class BCELoss(WeightedLoss):
    """The cross-entropy of two classes with probabilities: `functional.binary_cross_entropy` as an object.

    Args:
        weight: A weight for each element, broadcast to the input's shape.
        size_average, reduce, reduction: See `Loss`.

    The twin in the Keras dialect is `omniloss.losses.BinaryCrossentropy`.

    >>> from omniloss import nn
    >>> nn.BCELoss()([0.5, 0.5], [1.0, 0.0]).round(4)
    np.float32(0.6931)
    """

    @loss_function
    def forward(self, input: Any, target: Any) -> Call:
        """The loss of a batch."""
        return binary_cross_entropy.describe(
            input, target, weight=self.weight, reduction=self.reduction
        )


@loss_function
def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Call:
    """The cross-entropy of two classes with logits.

    ``-(v * y * log(p) + (1 - y) * log(1 - p))`` with ``p = sigmoid(input)``, y the target and v the
    ``pos_weight``. Good for independent yes-or-no labels, exact for any logit; bad where just one of
    several classes is right, which `cross_entropy` knows.

    Args:
        input: Logits, any real numbers, of any shape.
        target: Probabilities of the same shape, numbers in [0, 1].
        weight: A weight for each element, broadcast to the input's shape.
        size_average, reduce: Deprecated; see `Loss`.
        reduction: ``"mean"``: the sum divided by the number of elements, also with weights; ``"sum"``;
            ``"none"``: a loss for each element.
        pos_weight: The weight of class 1, broadcast to the input's shape.

    Returns:
        The loss, in the input's dtype. Its gradient at a soft label, a difference of terms that cancel
        near its zero, is there right to 3 units in the last place relative to the terms' size (measured
        against mpmath), not to its own.

    Raises:
        ValueError, TypeError: A target lies outside of [0, 1] (torch lets it pass), or the arrays do not
            fit; see `omniloss.nn`.

    The twin in the Keras dialect is `omniloss.losses.binary_crossentropy` with ``from_logits=True``,
    which has no ``pos_weight`` and averages the last axis.

    Source: I. J. Good, Journal of the Royal Statistical Society B 14 (1952);
    `torch.nn.functional.binary_cross_entropy_with_logits`.

    >>> from omniloss.nn import functional as F
    >>> F.binary_cross_entropy_with_logits([0.0, 200.0], [1.0, 0.0], reduction="none").round(4)
    array([  0.6931, 200.    ], dtype=float32)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    refuse_gradient(weight, "weight")
    if pos_weight is None:
        formula = formulas.binary_crossentropy_with_logits
        return elements(formula, (), input, target, reduction, weight, promotion="target")
    refuse_gradient(pos_weight, "pos_weight")
    pos_weight = weight_beside(frameworks.of(input, target, pos_weight), pos_weight, "pos_weight")
    plan = Plan(
        formulas.weighted_binary_crossentropy_with_logits,
        row="element",
        names=NAMES._replace(others=("pos_weight",)),
        torch=True,
        promotion="target",
    )
    if weight is not None:
        weight = fitted_weight(input, target, weight)
    return Call(
        plan,
        target,
        input,
        weight,
        rule=rule_of(reduction),
        others=(pos_weight,),
        short=Short("positive"),
    )


class BCEWithLogitsLoss(Loss):
    """The cross-entropy of two classes with logits: `functional.binary_cross_entropy_with_logits` as an object.

    Args:
        weight: A weight for each element, broadcast to the input's shape.
        size_average, reduce, reduction: See `Loss`.
        pos_weight: The weight of class 1, broadcast to the input's shape.

    The twin in the Keras dialect is `omniloss.losses.BinaryCrossentropy` with ``from_logits=True``.

    >>> from omniloss import nn
    >>> nn.BCEWithLogitsLoss(pos_weight=[3.0])([0.0, 0.0], [1.0, 0.0]).round(4)
    np.float32(1.3863)
    """

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Any = None,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.weight = weight
        self.pos_weight = pos_weight

    @loss_function
    def forward(self, input: Any, target: Any) -> Call:
        """The loss of a batch."""
        return binary_cross_entropy_with_logits.describe(
            input,
            target,
            weight=self.weight,
            reduction=self.reduction,
            pos_weight=self.pos_weight,
        )
