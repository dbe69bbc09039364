"""Cross-entropies over classes in the PyTorch dialect, of logits, logarithms and probabilities."""

from __future__ import annotations

import operator
import warnings
from typing import Any

from omniloss import formulas, frameworks
from omniloss.description import Call, InputError, InputTypeError, Plan, Short
from omniloss.formulas import Formula
from omniloss.nn.base import (
    NAMES,
    WeightedLoss,
    check_classes,
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
    "CrossEntropyLoss",
    "NLLLoss",
    "NLLLoss2d",
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
    inside = ~framework.no_class(target, classes)
    # Where all are classes, none of the arrays that others need is made.
    whole = framework.is_eager(target) and bool(xp.all(inside))
    indices = target if whole else xp.where(inside, target, xp.zeros_like(target))
    # torch looks nothing up by 8 or 16 bits
    indices = xp.astype(xp.reshape(indices, (-1,)), framework.integers, copy=False)
    flat = xp.take(weight, indices, axis=0)
    rows = xp.reshape(flat, tuple(target.shape))
    return rows if whole else xp.where(inside, rows, xp.ones_like(rows))


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
    wrong = kept & framework.no_class(target, classes)
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
    plan = Plan(
        formula, axis=axis, smoothing=smoothing, names=names, torch=True, promotion="floats"
    )
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
