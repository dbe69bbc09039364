"""Margin losses of the PyTorch dialect: the scores of right classes are to be above those of wrong ones."""

from __future__ import annotations

from typing import Any

from omniloss import formulas, frameworks
from omniloss.description import Call, InputError, Plan, Short
from omniloss.nn.base import (
    NAMES,
    Loss,
    WeightedLoss,
    check_classes,
    elements,
    integers,
    named_reduction,
    number,
    refuse_gradient,
    rule_of,
    shape_of,
    weight_beside,
)
from omniloss.nn.calls import loss_function
from omniloss.nn.crossentropy import weights_of_classes

__all__ = [
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "SoftMarginLoss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "soft_margin_loss",
]


@loss_function
def soft_margin_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Call:
    """The logistic loss of scores: ``log(1 + exp(-target * input))``.

    Good for two classes with labels -1 and 1, where it is the cross-entropy; bad with labels 0 and 1,
    of which the zeros teach nothing. Finite for every finite score, where torch overflows.

    Args:
        input: Scores, any real numbers, of any shape.
        target: Labels -1 and 1, of the same shape.
        size_average, reduce: Deprecated; see `Loss`.
        reduction: ``"mean"``: the sum divided by the number of elements; ``"sum"``; ``"none"``.

    Returns:
        The loss, in the input's dtype.

    Raises:
        ValueError, TypeError: The arrays do not fit; see `omniloss.nn`.

    The Keras dialect has no such loss: `omniloss.losses.binary_crossentropy` with ``from_logits=True`` is
    the same for labels 0 and 1.

    Source: `torch.nn.functional.soft_margin_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.soft_margin_loss([0.0, 2.0], [1.0, -1.0], reduction="none").round(4)
    array([0.6931, 2.1269], dtype=float32)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    refuse_gradient(target, "target")
    return elements(formulas.soft_margin, (), input, target, reduction)


class SoftMarginLoss(Loss):
    """``log(1 + exp(-target * input))``: `functional.soft_margin_loss` as an object.

    Args:
        size_average, reduce, reduction: See `Loss`.

    >>> from omniloss import nn
    >>> nn.SoftMarginLoss()([0.0, 0.0], [1.0, -1.0]).round(4)
    np.float32(0.6931)
    """

    @loss_function
    def forward(self, input: Any, target: Any) -> Call:
        """The loss of a batch."""
        return soft_margin_loss.describe(input, target, reduction=self.reduction)


@loss_function
def multi_margin_loss(
    input: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Call:
    """The hinge loss of several classes: every wrong one is to be a margin below the right one.

    ``w[y] * sum(max(margin - input[y] + input[j], 0)**p over j != y) / C`` with y the target. Good for
    scores that need no probabilities; bad for many classes, since each pushes by itself.

    Args:
        input: Scores, of shape ``(C)`` or ``(N, C)``; a number is a row of one class.
        target: Class indices, integers in [0, C), of shape ``()`` or ``(1)``, or ``(N)``.
        p: The power, 1 or 2.
        margin: How far the right class is to be above, any number.
        weight: A weight for each class, of shape ``(C)``.
        size_average, reduce: Deprecated; see `Loss`.
        reduction: ``"mean"``: the sum divided by the number of rows, also with a ``weight``; ``"sum"``;
            ``"none"``: a loss for each row, in the target's shape.

    Returns:
        The loss, in the input's dtype.

    Raises:
        ValueError, TypeError: An index is out of range (a `RuntimeError` too), or the arrays do not fit;
            see `omniloss.nn`.

    The nearest in the Keras dialect is `omniloss.losses.categorical_hinge`, which takes one-hot rows and
    looks at the best wrong class alone.

    Source: J. Weston and C. Watkins, Support vector machines for multi-class pattern recognition (1999);
    `torch.nn.functional.multi_margin_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.multi_margin_loss([[0.0, 2.0, 0.5]], [1]), F.multi_margin_loss([[0.0, 2.0, 0.5]], [2])
    (np.float32(0.0), np.float32(1.0))
    """
    reduction = named_reduction(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError(f"only p == 1 and p == 2 supported; got {p!r}")
    framework = frameworks.of(input, target, weight)
    target, input = integers(framework, target, "target"), _of_one_class(framework, input)
    rule = rule_of(reduction)
    of_one = len(shape_of(input)) == 1 and tuple(target.shape) == (1,)
    if of_one and rule is not None:
        target = framework.xp.reshape(target, ())
    if weight is not None:
        classes = shape_of(input)[-1]
        weight = weights_of_classes(framework, weight, target, classes)
    plan = Plan(
        formulas.multi_margin,
        (float(p), number("margin", margin)),
        names=NAMES,
        torch=True,
        of_one=of_one and rule is None,
    )
    return Call(plan, target, input, weight, rule=rule, short=Short("classes"))


class MultiMarginLoss(WeightedLoss):
    """The hinge loss of several classes: `functional.multi_margin_loss` as an object.

    Args:
        p: The power, 1 or 2.
        margin: How far the right class is to be above.
        weight: A weight for each class.
        size_average, reduce, reduction: See `Loss`.

    >>> from omniloss import nn
    >>> nn.MultiMarginLoss()([[0.0, 2.0, 0.5]], [2])
    np.float32(1.0)
    """

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Any = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        if p not in (1, 2):
            raise ValueError(f"only p == 1 and p == 2 supported; got {p!r}")
        if weight is not None and len(shape_of(weight)) != 1:
            raise ValueError(
                f"MultiMarginLoss: expected weight to be None or 1D, got {len(shape_of(weight))}D instead"
            )
        self.p = p
        self.margin = margin

    @loss_function
    def forward(self, input: Any, target: Any) -> Call:
        """The loss of a batch."""
        return multi_margin_loss.describe(
            input,
            target,
            p=self.p,
            margin=self.margin,
            weight=self.weight,
            reduction=self.reduction,
        )


@loss_function
def multilabel_margin_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Call:
    """The hinge loss of rows with several right classes: each is to be 1 above every wrong one.

    ``sum(max(1 - input[j] + input[i], 0)) / C`` over the right classes j and the wrong classes i. Good
    for ranking labels; bad for many classes, since it compares all pairs, of which it makes an array
    wherever the native core does not run it.

    Args:
        input: Scores, of shape ``(C)`` or ``(N, C)``.
        target: The right classes' indices, integers of the same shape: a row's indices in [0, C) end
            at its first -1, and what follows it does not count. A class that is listed twice counts
            twice, as in torch.
        size_average, reduce: Deprecated; see `Loss`.
        reduction: ``"mean"``: the sum divided by the number of rows; ``"sum"``; ``"none"``: a loss for
            each row.

    Returns:
        The loss, in the input's dtype.

    Raises:
        ValueError, TypeError: An index is out of range (a `RuntimeError` too), or the arrays do not fit;
            see `omniloss.nn`.

    The Keras dialect has no such loss.

    Source: `torch.nn.functional.multilabel_margin_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.multilabel_margin_loss([[0.5, 1.0, 0.0]], [[1, -1, 0]])
    np.float32(0.16666667)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    framework = frameworks.of(input, target)
    xp, target = framework.xp, integers(framework, target, "target")
    shape = shape_of(input)
    if tuple(target.shape) != shape:
        raise InputError(
            f"`target` must have the shape of `input`, {shape}; got target.shape={tuple(target.shape)}"
        )
    input, target = _of_one_class(framework, input), _of_one_class(framework, target)
    shape = shape_of(input)
    classes = shape[-1]
    places, negative = xp.arange(classes), target < 0
    ends = xp.any(negative, axis=-1, keepdims=True)
    if classes:
        first = xp.argmax(xp.astype(negative, framework.integers), axis=-1, keepdims=True)
        listed = ~ends | (places < first)
    else:
        listed = negative
    wrong = listed & framework.no_class(target, classes)
    if framework.may_hold(target.dtype, -1):  # else none is less, which unsigned ones cannot tell
        wrong = wrong | (target < -1)
    check_classes(framework, target, wrong, classes, low=-1)
    hits = listed[..., None] & xp.equal(target[..., None], places)
    plan = Plan(formulas.multilabel_margin, names=NAMES, torch=True)
    counts = xp.sum(xp.astype(hits, framework.integers), axis=-2)
    return Call(plan, counts, input, rule=rule_of(reduction), short=Short(label_sets=True))


class MultiLabelMarginLoss(Loss):
    """The hinge loss of rows with several right classes: `functional.multilabel_margin_loss` as an object.

    Args:
        size_average, reduce, reduction: See `Loss`.

    >>> from omniloss import nn
    >>> nn.MultiLabelMarginLoss()([[0.5, 1.0, 0.0]], [[1, -1, 0]])
    np.float32(0.16666667)
    """

    @loss_function
    def forward(self, input: Any, target: Any) -> Call:
        """The loss of a batch."""
        return multilabel_margin_loss.describe(input, target, reduction=self.reduction)


@loss_function
def multilabel_soft_margin_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Call:
    """The binary cross-entropy of rows of logits: its mean over the classes, for each row.

    ``-mean(w * (y * log(sigmoid(x)) + (1 - y) * log(sigmoid(-x))))`` with x the input and y the target.
    Good for independent labels; bad where their number is large and few are right, since all count
    alike.

    Args:
        input: Logits, of shape ``(..., C)``.
        target: Labels of the same shape, numbers in [0, 1].
        weight: A weight for each class, or an array that is broadcast to the input.
        size_average, reduce: Deprecated; see `Loss`.
        reduction: ``"mean"``: the sum divided by the number of rows; ``"sum"``; ``"none"``: a loss for
            each row.

    Returns:
        The loss, in the input's dtype.

    Raises:
        ValueError, TypeError: A target lies outside of [0, 1] (torch lets it pass), or the arrays do not
            fit; see `omniloss.nn`.

    The twin in the Keras dialect is `omniloss.losses.binary_crossentropy` with ``from_logits=True``,
    which has no ``weight``.

    Source: `torch.nn.functional.multilabel_soft_margin_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.multilabel_soft_margin_loss([[0.0, 2.0]], [[1.0, 0.0]]).round(4)
    np.float32(1.41)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    rule = rule_of(reduction)
    if weight is None:
        formula = formulas.binary_crossentropy_with_logits
        plan = Plan(formula, names=NAMES, torch=True, promotion="floats")
        return Call(plan, target, input, rule=rule)
    weight = weight_beside(frameworks.of(input, target, weight), weight)
    names = NAMES._replace(others=("weight",))
    plan = Plan(formulas.multilabel_soft_margin, names=names, torch=True, promotion="floats")
    short = Short("broadcast", formulas.binary_crossentropy_with_logits)
    return Call(plan, target, input, rule=rule, others=(weight,), short=short)


class MultiLabelSoftMarginLoss(WeightedLoss):
    """The binary cross-entropy of rows: `functional.multilabel_soft_margin_loss` as an object.

    Args:
        weight: A weight for each class.
        size_average, reduce, reduction: See `Loss`.

    The twin in the Keras dialect is `omniloss.losses.BinaryCrossentropy` with ``from_logits=True``.

    >>> from omniloss import nn
    >>> nn.MultiLabelSoftMarginLoss(weight=[1.0, 0.0])([[0.0, 2.0]], [[1.0, 0.0]]).round(4)
    np.float32(0.3466)
    """

    @loss_function
    def forward(self, input: Any, target: Any) -> Call:
        """The loss of a batch."""
        return multilabel_soft_margin_loss.describe(
            input, target, weight=self.weight, reduction=self.reduction
        )


def _of_one_class(framework: Any, x: Any) -> Any:
    """A scalar as the row of one class, as which torch takes it."""
    if shape_of(x):
        return x
    return framework.own(framework.xp.reshape(framework.asarray(x, "input"), (1,)))
