"""Cross-entropies of the PyTorch dialect, over classes and binary, of logits, logarithms and probabilities."""

from __future__ import annotations

import operator
import warnings
from dataclasses import replace
from typing import Any

from omniloss import formulas, frameworks
from omniloss.configuration import config
from omniloss.description import Call, InputError, InputTypeError, Plan, Short
from omniloss.formulas import Formula
from omniloss.nn.base import (
    NAMES,
    Loss,
    WeightedLoss,
    check_classes,
    elements,
    fitted_weight,
    integers,
    is_integral,
    named_reduction,
    number,
    refuse_gradient,
    rule_of,
    shape_of,
    weight_beside,
)
from omniloss.nn.calls import loss_function

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "NLLLoss",
    "NLLLoss2d",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "nll_loss",
    "weights_of_classes",
]


@loss_function
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Call:
    """The cross-entropy of classes with logits: ``-sum(y * w * log(softmax(input)))``.

    y is 1 at the target's class, or holds the target's probabilities, and is smoothed to
    ``(1 - s) * y + s / C``; w are the classes' weights. Good for one right class among many; bad with
    wrong labels, on which it spends its largest gradients, unless they are smoothed.

    Args:
        input: Logits, of shape ``(C)``, ``(N, C)`` or ``(N, C, d1, ..., dK)``.
        target: Class indices, integers in [0, C), of the input's shape without the classes; or
            probabilities, floats of the input's shape.
        weight: A weight for each class, of shape ``(C)``.
        size_average, reduce: Deprecated; see `Loss`.
        ignore_index: The index of rows that do not count, in or out of the classes' range. What such a
            row's input holds, NaN for one, changes nothing.
        reduction: ``"mean"``: the sum divided by the sum of the targets' class weights (1 without
            ``weight``) over the rows that count, or, of probabilities, by the number of rows; of no rows
            NaN. ``"sum"``; ``"none"``: a loss for each row, 0 where ignored.
        label_smoothing: s, a number in [0, 1].

    Returns:
        The loss, in the input's dtype.

    Raises:
        ValueError, TypeError: An index is out of range (an `IndexError` too), or the arrays do not fit;
            see `omniloss.nn`.

    The twins in the Keras dialect are `omniloss.losses.sparse_categorical_crossentropy` and
    `omniloss.losses.categorical_crossentropy` with ``from_logits=True``; their classes are on the last axis.

    Source: J. S. Bridle (1990); C. Szegedy et al., Rethinking the Inception architecture for computer vision
    (2015), arXiv:1512.00567, for the smoothing; `torch.nn.functional.cross_entropy`.

    >>> from omniloss.nn import functional as F
    >>> F.cross_entropy([[2.0, 0.0], [0.0, 0.0]], [0, 1]).round(4)
    np.float32(0.41)
    >>> F.cross_entropy([[2.0, 0.0], [0.0, 0.0]], [0, -100]).round(4)
    np.float32(0.1269)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    label_smoothing = number("label_smoothing", label_smoothing)
    if not 0 <= label_smoothing <= 1:
        raise InputError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    ignore_index = _whole(ignore_index)
    if shape_of(input) == shape_of(target):
        if ignore_index >= 0:
            raise InputError("ignore_index is not supported for floating point target")
        return _of_probabilities(input, target, weight, reduction, label_smoothing)
    if label_smoothing > 0:
        return _of_smoothed_indices(input, target, weight, ignore_index, reduction, label_smoothing)
    return _of_indices(
        formulas.sparse_categorical_crossentropy_with_logits,
        input,
        target,
        weight,
        ignore_index,
        reduction,
        _OR_PROBABILITIES,
    )


# What else than class indices the targets of a cross-entropy may be
_OR_PROBABILITIES = " (class indices), or floats (class probabilities) in the shape of `input`"


class CrossEntropyLoss(WeightedLoss):
    """The cross-entropy of classes with logits: `functional.cross_entropy` as an object.

    Args:
        weight: A weight for each class.
        size_average, reduce, reduction: See `Loss`.
        ignore_index: The index of rows that do not count.
        label_smoothing: How much of each target is spread over all classes, in [0, 1].

    The twins in the Keras dialect are `omniloss.losses.SparseCategoricalCrossentropy` and
    `omniloss.losses.CategoricalCrossentropy` with ``from_logits=True``.

    >>> from omniloss import nn
    >>> nn.CrossEntropyLoss(weight=[1.0, 3.0])([[2.0, 0.0], [0.0, 0.0]], [0, 1]).round(4)
    np.float32(0.5516)
    """

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    @loss_function
    def forward(self, input: Any, target: Any) -> Call:
        """The loss of a batch."""
        return cross_entropy.describe(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


@loss_function
def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Call:
    """The negative log-likelihood of classes, of logarithms: ``-w[target] * input[target]``.

    Good behind a log-softmax of one's own; bad as a substitute for `cross_entropy`, which takes the
    logits themselves and keeps more digits.

    Args:
        input: Logarithms of probabilities, of shape ``(C)``, ``(N, C)`` or ``(N, C, d1, ..., dK)``.
        target: Class indices, integers in [0, C), of the input's shape without the classes.
        weight: A weight for each class, of shape ``(C)``.
        size_average, reduce: Deprecated; see `Loss`.
        ignore_index: The index of rows that do not count.
        reduction: ``"mean"``: the sum divided by the sum of the targets' class weights over the rows
            that count, of no rows NaN; ``"sum"``; ``"none"``: a loss for each row, 0 where ignored.

    Returns:
        The loss, in the input's dtype.

    Raises:
        ValueError, TypeError: An index is out of range (an `IndexError` too), or the arrays do not fit;
            see `omniloss.nn`.

    The Keras dialect has no such loss: `omniloss.losses.sparse_categorical_crossentropy` takes the
    probabilities or the logits.

    Source: `torch.nn.functional.nll_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.nll_loss([[-0.25, -1.5], [-0.75, -0.75]], [1, 0])
    np.float32(1.125)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    ignore_index = _whole(ignore_index)
    return _of_indices(
        formulas.negative_log_likelihood, input, target, weight, ignore_index, reduction
    )


class NLLLoss(WeightedLoss):
    """``-w[target] * input[target]``: `functional.nll_loss` as an object.

    Args:
        weight: A weight for each class.
        size_average, reduce, reduction: See `Loss`.
        ignore_index: The index of rows that do not count.

    >>> from omniloss import nn
    >>> nn.NLLLoss(reduction="sum")([[-0.25, -1.5], [-0.75, -0.75]], [1, 0])
    np.float32(2.25)
    """

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    @loss_function
    def forward(self, input: Any, target: Any) -> Call:
        """The loss of a batch."""
        return nll_loss.describe(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )


class NLLLoss2d(NLLLoss):
    """`NLLLoss` under an old name, with a warning."""

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        warnings.warn(
            "`NLLLoss2d` has been deprecated. Please use `NLLLoss` instead as a drop-in replacement.",
            FutureWarning,
            stacklevel=2,
        )
        super().__init__(weight, size_average, ignore_index, reduce, reduction)


def _whole(ignore_index: Any) -> int:
    """The index of ignored rows as a number, from whatever holds one integer."""
    if type(ignore_index) is int:
        return ignore_index
    try:
        return operator.index(ignore_index)
    except TypeError:
        raise InputTypeError(f"`ignore_index` must be an integer; got {ignore_index!r}") from None


def _class_axis(input: Any) -> int:
    """Classes are on axis 1, and on axis 0 where there is no batch."""
    return 1 if len(shape_of(input)) > 1 else 0


def _of_indices(
    formula: Formula,
    input: Any,
    target: Any,
    weight: Any,
    ignore_index: int,
    reduction: str,
    other: str = "",
) -> Call:
    """A loss of rows with class indices, each weighted by its class."""
    axis = _class_axis(input)
    plan = Plan(formula, axis=axis, ignore=ignore_index, names=NAMES, torch=True)
    framework = frameworks.of(input, target, weight)
    target = integers(framework, target, "target", other)
    rule = rule_of(reduction, weighted=weight is not None)
    if weight is not None:
        weight = weights_of_classes(framework, weight, target, _classes(input, axis))
    return Call(plan, target, input, weight, rule=rule, short=Short("classes"))


def _classes(input: Any, axis: int) -> int:
    shape = shape_of(input)
    if not shape:
        raise InputError("`input` must have at least one axis; got a scalar")
    return shape[axis]


def weights_of_classes(framework: Any, weight: Any, target: Any, classes: int) -> Any:
    """The weight of each row's class; 1 for an index that is no class, which is then an error."""
    xp = framework.xp
    refuse_gradient(weight, "weight")
    weight = weight_beside(framework, weight)
    if tuple(weight.shape) != (classes,):
        raise InputError(
            f"`weight` must hold one number for each of the {classes} classes; got the shape "
            f"{tuple(weight.shape)}"
        )
    inside = (target >= 0) & (target < classes)
    indices = xp.where(inside, target, xp.zeros_like(target))
    # torch looks nothing up by 8 or 16 bits
    indices = xp.astype(xp.reshape(indices, (-1,)), framework.integers, copy=False)
    flat = xp.take(weight, indices, axis=0)
    rows = xp.reshape(flat, tuple(target.shape))
    return xp.where(inside, rows, xp.ones_like(rows))


def _of_probabilities(
    input: Any, target: Any, weight: Any, reduction: str, smoothing: float
) -> Call:
    framework = frameworks.of(input, target, weight)
    dtype = framework.asarray(target, "target").dtype
    if is_integral(framework, dtype):
        raise InputTypeError(
            f"`target` must hold class probabilities, floats, where it has the shape of `input`; got dtype "
            f"{dtype}"
        )
    short = Short("factors", formulas.categorical_crossentropy_with_logits)
    return _dense(input, target, weight, smoothing, rule_of(reduction), short)


def _of_smoothed_indices(
    input: Any,
    target: Any,
    weight: Any,
    ignore_index: int,
    reduction: str,
    smoothing: float,
) -> Call:
    """Indices as one-hot rows, which are smoothed; a mean is divided by the targets' own weights."""
    framework = frameworks.of(input, target, weight)
    xp, axis = framework.xp, _class_axis(input)
    target = integers(framework, target, "target", _OR_PROBABILITIES)
    classes = _classes(input, axis)
    rows = shape_of(input)[:axis] + shape_of(input)[axis + 1 :]
    if tuple(target.shape) != rows:
        raise InputError(
            f"`target` must have the shape {rows} for `input` of shape {shape_of(input)}; got "
            f"target.shape={tuple(target.shape)}"
        )
    if framework.may_hold(target.dtype, ignore_index):
        kept = target != ignore_index
    else:
        kept = xp.equal(target, target)
    wrong = kept & ((target < 0) | (target >= classes))
    check_classes(framework, target, wrong, classes)
    one_hot = xp.equal(xp.expand_dims(target, axis=-1), xp.arange(classes))
    if not framework.is_eager(target):
        number = xp.astype(one_hot, xp.float32)
        one_hot = xp.where(wrong[..., None], xp.full_like(number, float("nan")), number)
    divisor = None
    refuse_gradient(weight, "weight")
    if weight is not None and reduction == "mean":
        by_row = weights_of_classes(framework, weight, target, classes)
        divisor = framework.total(xp.where(kept, by_row, xp.zeros_like(by_row)))
    one_hot = xp.moveaxis(one_hot, -1, axis)
    short = Short("factors", formulas.categorical_crossentropy_with_logits, True, ignore_index)
    return _dense(input, one_hot, weight, smoothing, rule_of(reduction), short, kept, divisor)


def _dense(
    input: Any,
    target: Any,
    weight: Any,
    smoothing: float,
    rule: Any,
    short: Short,
    mask: Any = None,
    divisor: Any = None,
) -> Call:
    """The cross-entropy of rows of probabilities, with the weights inside."""
    axis = _class_axis(input)
    if weight is None:
        formula, names = formulas.categorical_crossentropy_with_logits, NAMES
        others: tuple[Any, ...] = ()
    else:
        formula = formulas.weighted_categorical_crossentropy_with_logits
        names = NAMES._replace(others=("weight",))
        others = (_along(weight, input, axis),)
    plan = Plan(formula, axis=axis, smoothing=smoothing, names=names, torch=True)
    return Call(
        plan, target, input, mask=mask, rule=rule, others=others, divisor=divisor, short=short
    )


def _along(weight: Any, input: Any, axis: int) -> Any:
    """The classes' weights along the input's axis of classes."""
    framework = frameworks.of(input, weight)
    weight, shape = weight_beside(framework, weight), shape_of(input)
    if tuple(weight.shape) != shape[axis : axis + 1]:
        raise InputError(
            f"`weight` must hold one number for each of the {shape[axis]} classes; got the shape "
            f"{tuple(weight.shape)}"
        )
    return framework.xp.reshape(weight, (-1,) + (1,) * (len(shape) - axis - 1))


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
    if config.epsilon() == 0:
        formula, parameter = formulas.binary_crossentropy, 0.0
    else:
        formula, parameter = formulas.binary_crossentropy_of_clamped_logs, 100.0
    call = elements(formula, (parameter,), input, target, reduction, weight, hint=_HINT)
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
        return elements(formula, (), input, target, reduction, weight)
    refuse_gradient(pos_weight, "pos_weight")
    pos_weight = weight_beside(frameworks.of(input, target, pos_weight), pos_weight, "pos_weight")
    plan = Plan(
        formulas.weighted_binary_crossentropy_with_logits,
        row="element",
        names=NAMES._replace(others=("pos_weight",)),
        torch=True,
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
        short=Short("positive", formulas.binary_crossentropy_with_logits),
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
