"""Losses of the PyTorch dialect between embeddings, and between scores that are to be ranked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omniloss import formulas
from omniloss.description import Call, InputError, InputTypeError, Names, Plan
from omniloss.nn.base import Loss, constant, elements, named_reduction, number, rule_of
from omniloss.nn.calls import loss_function, loss_of_three

__all__ = [
    "CosineEmbeddingLoss",
    "HingeEmbeddingLoss",
    "MarginRankingLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


@loss_function
def hinge_embedding_loss(
    input: Any,
    target: Any,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Call:
    """The loss of distances: ``input`` of similar pairs, ``max(margin - input, 0)`` of dissimilar ones.

    Good for embeddings whose distances are given; bad where dissimilar pairs are plenty, since those
    beyond the margin teach nothing. A distance of just the margin has the gradient of a smaller one.

    Args:
        input: Distances, of any shape.
        target: 1 for similar and -1 for dissimilar pairs, of the same shape; of another label both
            parts are added, as in torch.
        margin: The distance that dissimilar pairs are to have.
        size_average, reduce: Deprecated; see `Loss`.
        reduction: ``"mean"``: the sum divided by the number of elements; ``"sum"``; ``"none"``.

    Returns:
        The loss, in the input's dtype.

    Raises:
        ValueError, TypeError: The arrays do not fit; see `omniloss.nn`.

    The Keras dialect has no such loss.

    Source: R. Hadsell, S. Chopra and Y. LeCun, Dimensionality reduction by learning an invariant mapping
    (2006), for the idea; `torch.nn.functional.hinge_embedding_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.hinge_embedding_loss([0.25, 0.25, 2.0], [1.0, -1.0, -1.0], reduction="none")
    array([0.25, 0.75, 0.  ], dtype=float32)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    parameters = (number("margin", margin),)
    return elements(formulas.hinge_embedding, parameters, input, constant(target), reduction)


class HingeEmbeddingLoss(Loss):
    """The loss of distances: `functional.hinge_embedding_loss` as an object.

    Args:
        margin: The distance that dissimilar pairs are to have.
        size_average, reduce, reduction: See `Loss`.

    >>> from omniloss import nn
    >>> nn.HingeEmbeddingLoss()([0.25, 0.25], [1.0, -1.0])
    np.float32(0.5)
    """

    def __init__(
        self,
        margin: float = 1.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    @loss_function
    def forward(self, input: Any, target: Any) -> Call:
        """The loss of a batch."""
        return hinge_embedding_loss.describe(
            input, target, margin=self.margin, reduction=self.reduction
        )


# torch's 1e-12, which it rounds to float32
_TINY = 9.999999960041972e-13


@loss_of_three
def cosine_embedding_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Call:
    """The loss of directions: ``1 - cos`` of similar pairs, ``max(cos - margin, 0)`` of dissimilar ones.

    ``cos = sum(a * b) / sqrt((sum(a**2) + 1e-12) * (sum(b**2) + 1e-12))`` of the pair's vectors. Good
    where direction counts and length does not; bad for near opposites of what is right, where the
    gradient vanishes.

    Args:
        input1, input2: Vectors, of shape ``(N, D)`` or ``(D)``.
        target: 1 for similar and -1 for dissimilar pairs, of shape ``(N)`` or ``()``; another label
            gives 0.
        margin: The cosine that dissimilar pairs may have, best in [0, 0.5].
        size_average, reduce: Deprecated; see `Loss`.
        reduction: ``"mean"``: the sum divided by the number of pairs; ``"sum"``; ``"none"``: a loss for
            each pair.

    Returns:
        The loss, in the dtype of ``input1``. The cosine of nearly orthogonal vectors, and ``1 - cos`` of
        nearly parallel ones, is right to 3 units in the last place relative to the size of the terms of
        its sum (measured against mpmath), not to its own.

    Raises:
        ValueError, TypeError: The arrays do not fit; see `omniloss.nn`.

    The nearest in the Keras dialect is `omniloss.losses.cosine_similarity`, the negative cosine.

    Source: `torch.nn.functional.cosine_embedding_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.cosine_embedding_loss([[3.0, 4.0], [1.0, 0.0]], [[6.0, 8.0], [0.5, 0.0]], [1, -1])
    np.float32(0.5)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    plan = Plan(
        formulas.cosine_embedding,
        (number("margin", margin), _TINY),
        names=Names("input2", "input1", "weight", ("target",)),
        torch=True,
        promotion="each to float",
    )
    return Call(plan, input2, input1, rule=rule_of(reduction), others=(constant(target),))


class CosineEmbeddingLoss(Loss):
    """The loss of directions: `functional.cosine_embedding_loss` as an object.

    Args:
        margin: The cosine that dissimilar pairs may have.
        size_average, reduce, reduction: See `Loss`.

    The nearest in the Keras dialect is `omniloss.losses.CosineSimilarity`.

    >>> from omniloss import nn
    >>> nn.CosineEmbeddingLoss(margin=0.5)([[1.0, 0.0]], [[0.5, 0.0]], [-1])
    np.float32(0.5)
    """

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    @loss_of_three
    def forward(self, input1: Any, input2: Any, target: Any) -> Call:
        """The loss of a batch."""
        return cosine_embedding_loss.describe(
            input1, input2, target, margin=self.margin, reduction=self.reduction
        )


@loss_of_three
def margin_ranking_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Call:
    """The hinge loss of two scores: ``max(margin - target * (input1 - input2), 0)``.

    Good for learning an order from pairs; bad for the places in a long list, of which it knows nothing.
    A pair that just keeps the margin has the gradient of one that does not.

    Args:
        input1, input2: Scores, of any one shape.
        target: 1 where ``input1`` is to rank higher, -1 where ``input2`` is, of the same shape.
        margin: How far the scores are to be apart.
        size_average, reduce: Deprecated; see `Loss`.
        reduction: ``"mean"``: the sum divided by the number of elements; ``"sum"``; ``"none"``.

    Returns:
        The loss, in the dtype of ``input1``.

    Raises:
        ValueError, TypeError: The arrays do not fit; see `omniloss.nn`.

    The Keras dialect has no such loss: `omniloss.losses.hinge` of the scores' difference is the same for
    a margin of 1.

    Source: R. Herbrich, K. Obermayer and T. Graepel, Large margin rank boundaries for ordinal regression
    (2000), for the idea; `torch.nn.functional.margin_ranking_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.margin_ranking_loss([2.0, 2.0], [1.0, 1.0], [1, -1], margin=0.5, reduction="none")
    array([0. , 1.5], dtype=float32)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    plan = Plan(
        formulas.margin_ranking,
        (number("margin", margin),),
        row="element",
        names=Names("target", "input1", "weight", ("input2",)),
        torch=True,
        promotion="all to float",
    )
    return Call(plan, target, input1, rule=rule_of(reduction), others=(input2,))


class MarginRankingLoss(Loss):
    """The hinge loss of two scores: `functional.margin_ranking_loss` as an object.

    Args:
        margin: How far the scores are to be apart.
        size_average, reduce, reduction: See `Loss`.

    >>> from omniloss import nn
    >>> nn.MarginRankingLoss(margin=0.5)([2.0, 2.0], [1.0, 1.0], [1, -1])
    np.float32(0.75)
    """

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    @loss_of_three
    def forward(self, input1: Any, input2: Any, target: Any) -> Call:
        """The loss of a batch."""
        return margin_ranking_loss.describe(
            input1, input2, target, margin=self.margin, reduction=self.reduction
        )


_TRIPLET = Names("positive", "anchor", "weight", ("negative",))


@loss_of_three
def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Call:
    """The hinge loss of two distances: ``max(d(anchor, positive) - d(anchor, negative) + margin, 0)``.

    ``d(a, b)`` is the p-norm of ``a - b + eps``. Good for embeddings where only likeness is known; bad
    with negatives drawn at random, most of which soon keep the margin and teach nothing.

    Args:
        anchor, positive, negative: Vectors, of one shape ``(..., D)``.
        margin: How much farther the negative is to be, a number > 0.
        p: The norm, a number > 0, infinity too.
        eps: What is added to each difference, so that no distance is 0.
        swap: Whether the distance from positive to negative counts where it is smaller than the
            anchor's.
        size_average, reduce: Deprecated; see `Loss`.
        reduction: ``"mean"``: the sum divided by the number of triplets; ``"sum"``; ``"none"``: a loss
            for each triplet.

    Returns:
        The loss, in the anchor's dtype.

    Raises:
        ValueError, TypeError: ``margin`` or ``p`` is not above 0, or the arrays do not fit; see
            `omniloss.nn`.

    The Keras dialect has no such loss.

    Source: V. Balntas, E. Riba, D. Ponsa and K. Mikolajczyk, Learning local feature descriptors with triplets
    and shallow convolutional neural networks (2016); `torch.nn.functional.triplet_margin_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.triplet_margin_loss([[0.0, 0.0]], [[0.0, 1.0]], [[3.0, 4.0]], margin=5.0).round(4)
    np.float32(1.0)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    margin, p = _checked_margin(margin), number("p", p)
    if not p > 0:
        raise InputError(f"p must be greater than 0, got {p}")
    parameters = (margin, p, number("eps", eps), float(bool(swap)))
    plan = Plan(
        formulas.triplet_margin,
        parameters,
        names=_TRIPLET,
        torch=True,
        promotion="pairs to float",
    )
    return Call(plan, positive, anchor, rule=rule_of(reduction), others=(negative,))


class TripletMarginLoss(Loss):
    """The hinge loss of two distances: `functional.triplet_margin_loss` as an object.

    Args:
        margin: How much farther the negative is to be.
        p: The norm.
        eps: What is added to each difference.
        swap: Whether the distance from positive to negative counts where it is smaller.
        size_average, reduce, reduction: See `Loss`.

    >>> from omniloss import nn
    >>> nn.TripletMarginLoss(p=1)([[0.0, 0.0]], [[0.0, 1.0]], [[3.0, 4.0]])
    np.float32(0.0)
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        if number("margin", margin) <= 0:
            raise ValueError(
                f"TripletMarginLoss: expected margin to be greater than 0, got {margin} instead"
            )
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    @loss_of_three
    def forward(self, anchor: Any, positive: Any, negative: Any) -> Call:
        """The loss of a batch."""
        return triplet_margin_loss.describe(
            anchor,
            positive,
            negative,
            margin=self.margin,
            p=self.p,
            eps=self.eps,
            swap=self.swap,
            reduction=self.reduction,
        )


@loss_of_three
def triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Call:
    """`triplet_margin_loss` with any distance: ``max(d(anchor, positive) - d(anchor, negative) + margin, 0)``.

    Good for distances other than a norm's; bad for a distance without bounds, next to which a fixed
    margin means little.

    Args:
        anchor, positive, negative: What the distance takes; of one shape ``(..., D)`` without one.
        distance_function: A function of two batches that gives an array with one distance for each
            pair; None is the Euclidean distance of `triplet_margin_loss`.
        margin: How much farther the negative is to be, a number > 0.
        swap: Whether the distance from positive to negative counts where it is smaller than the
            anchor's.
        reduction: ``"mean"``: the sum divided by the number of triplets; ``"sum"``; ``"none"``.

    Returns:
        The loss, in the dtype of the distances.

    Raises:
        ValueError, TypeError: ``margin`` is not above 0, or the arrays do not fit; see `omniloss.nn`. With
            a distance of the user's own `omniloss.value_and_grad` raises a `TypeError`, since its
            derivative is not known; torch's autograd follows it.

    The Keras dialect has no such loss.

    Source: `torch.nn.functional.triplet_margin_with_distance_loss`.

    >>> import numpy as np
    >>> from omniloss.nn import functional as F
    >>> a, b, c = np.array([[0.0], [0.0]]), np.array([[1.0], [2.0]]), np.array([[3.0], [2.5]])
    >>> F.triplet_margin_with_distance_loss(a, b, c, distance_function=lambda x, y: np.abs(x - y)[:, 0])
    np.float64(0.25)
    """
    rule = rule_of(reduction)
    margin = _checked_margin(margin)
    if distance_function is None:
        return triplet_margin_loss.describe(
            anchor, positive, negative, margin=margin, swap=swap, reduction=reduction
        )
    if not callable(distance_function):
        raise InputTypeError(
            "`distance_function` must be a function of two batches, or None; got "
            f"{distance_function!r}"
        )
    near = distance_function(anchor, positive)
    far = distance_function(anchor, negative)
    swapped = distance_function(positive, negative) if swap else far
    plan = Plan(
        formulas.distance_margin,
        (margin,),
        row="element",
        names=Names("distance to the negative", "distance to the positive", others=("distance",)),
        torch=True,
        no_gradient="the loss has a distance function of its own, of which no derivative is known",
        promotion="all",
    )
    return Call(plan, far, near, rule=rule, others=(swapped,))


class TripletMarginWithDistanceLoss(Loss):
    """The hinge loss of two distances: `functional.triplet_margin_with_distance_loss` as an object.

    Args:
        distance_function: A function of two batches; None is the Euclidean distance.
        margin: How much farther the negative is to be.
        swap: Whether the distance from positive to negative counts where it is smaller.
        reduction: See `Loss`.

    >>> from omniloss import nn
    >>> loss = nn.TripletMarginWithDistanceLoss(margin=5.0)
    >>> loss([[0.0, 0.0]], [[0.0, 1.0]], [[3.0, 4.0]]).round(4)
    np.float32(1.0)
    """

    def __init__(
        self,
        *,
        distance_function: Callable[[Any, Any], Any] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        if number("margin", margin) <= 0:
            raise ValueError(
                f"TripletMarginWithDistanceLoss: expected margin to be greater than 0, got {margin} instead"
            )
        self.distance_function = distance_function
        self.margin = margin
        self.swap = swap

    @loss_of_three
    def forward(self, anchor: Any, positive: Any, negative: Any) -> Call:
        """The loss of a batch."""
        return triplet_margin_with_distance_loss.describe(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )


def _checked_margin(margin: Any) -> float:
    checked = number("margin", margin)
    if checked <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return checked
