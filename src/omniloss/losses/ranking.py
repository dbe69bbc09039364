"""Losses of the Keras dialect of how a batch's samples lie to each other."""

from __future__ import annotations

from typing import Any

from omniloss import formulas
from omniloss.alignment import whole_numbers
from omniloss.description import Call, Names, Plan
from omniloss.execution import loss_function
from omniloss.formulas.stable import constant
from omniloss.frameworks.base import Framework
from omniloss.losses.base import LossFunctionWrapper
from omniloss.losses.checks import checked_flag, checked_number

__all__ = ["Circle", "circle"]

_NAMES = Names(others=("ref_labels", "ref_embeddings"))
_NO_PARTIAL = (
    "a partial of the circle loss needs `ref_labels` and `ref_embeddings`: without them every sample is compared "
    "with all others of its batch, so that the losses of parts do not add up to that of the whole"
)


@loss_function
def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80,
    margin: float = 0.4,
) -> Call:
    """How much nearer a sample is to its own kind than to others: ``softplus(log_sum_exp(near) + log_sum_exp(far))``.

    With the distance ``d = max(1 - cosine, 0)`` of two embeddings, ``near = gamma * max(margin + d, 0) * (d - margin)``
    of each reference with the sample's label, ``far = gamma * max(1 + margin - d, 0) * (1 - margin - d)`` of each
    one with another. Good for embeddings, of faces or products say, that are compared later, since pairs count the
    more the worse they are; bad for small batches, in which a sample may have no one of its kind.

    Args:
        y_true: Class labels, whole numbers, of shape ``(samples,)`` or ``(samples, 1)``.
        y_pred: Embeddings of length 1, of shape ``(samples, features)``; they are not divided by their length.
        ref_labels: The labels of the references; ``y_true`` by default.
        ref_embeddings: What the samples are compared with, of shape ``(references, features)``; by default
            ``y_pred`` itself, which then has the gradient by the references too.
        remove_diagonal: Whether the i-th reference is no one of the i-th sample's own kind, as is right where
            the references are the samples.
        gamma: The scale of the scores, a number > 0.
        margin: How far from 0 and 1 the two kinds of distances may be, a number.

    Returns:
        One loss for each sample, in the predictions' dtype; 0 for one that has no reference of either kind.

    Raises:
        ValueError, TypeError: An option is out of range, a label is no whole number, or the arrays do not fit;
            see `omniloss.losses`.

    An object's means count the samples whose loss is above 0, as in Keras. A sample that is masked or of weight
    0 is no reference of the others either, so that leaving it out is deleting it; in Keras it is one.
    `omniloss.partial` takes it with references of their own only.

    Source: Y. Sun et al., Circle Loss: A Unified Perspective of Pair Similarity Optimization, arXiv:2002.10857;
    `keras.losses.circle`.

    >>> from omniloss import losses
    >>> losses.circle([0, 0, 1], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], gamma=2.0).round(4)
    array([0.5459, 1.2842, 0.    ], dtype=float32)
    """
    flag = checked_flag("remove_diagonal", remove_diagonal)
    itself = ref_embeddings is None
    parameters = (
        float(itself),
        float(flag),
        checked_number("gamma", gamma, 0.0, above=True),
        checked_number("margin", margin),
    )
    plan = Plan(
        formulas.circle,
        parameters,
        names=_NAMES,
        arrange=_compared_with_itself if itself else _compared_with_references,
        positive_only=True,
        no_partial=_NO_PARTIAL if itself else "",
    )
    others = (y_true if ref_labels is None else ref_labels, y_pred if itself else ref_embeddings)
    return Call(plan, y_true, y_pred, others=others)


class Circle(LossFunctionWrapper):
    """How much nearer a sample is to its own kind than to others: `circle` as a loss object.

    Args:
        gamma: The scale of the scores, a number > 0.
        margin: How far from 0 and 1 the two kinds of distances may be, a number.
        remove_diagonal: Whether a sample is no reference of its own.
        reduction, name, dtype: See `Loss`, as for weights and masks. Means count the samples whose loss is
            above 0.

    >>> from omniloss import losses
    >>> loss = losses.Circle(gamma=2.0)
    >>> loss([0, 0, 1], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]).round(4)  # of two samples
    np.float32(0.915)
    """

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "circle",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            circle,
            reduction=reduction,
            name=name,
            dtype=dtype,
            gamma=gamma,
            margin=margin,
            remove_diagonal=remove_diagonal,
        )


def _compared_with_itself(
    framework: Framework, labels: Any, embeddings: Any, others: tuple[Any, ...], used: Any
) -> tuple[Any, Any, tuple[Any, ...]]:
    """The arrays of a batch that is its own references, of which those count that are used."""
    _check_embeddings(embeddings, "y_pred")
    labels, embeddings = _label(framework, labels, embeddings, ("y_true", "y_pred"), used)
    ref_labels = labels
    if others[0] is not None:
        ref_labels, _ = _label(framework, others[0], embeddings, ("ref_labels", "y_pred"), used)
    counted = framework.xp.ones_like(embeddings[:, 0]) if used is None else used
    counted = framework.xp.astype(counted, embeddings.dtype)
    # TensorFlow's tapes follow even ones that were made like the embeddings.
    references, counted = (constant(framework.xp, x) for x in (embeddings, counted))
    return labels, embeddings, (ref_labels, references, counted)


def _compared_with_references(
    framework: Framework, labels: Any, embeddings: Any, others: tuple[Any, ...], used: Any
) -> tuple[Any, Any, tuple[Any, ...]]:
    """The same of a batch with references of their own, which all count."""
    ref_labels, references = others
    _check_embeddings(embeddings, "y_pred")
    _check_embeddings(references, "ref_embeddings")
    if references.shape[1] != embeddings.shape[1]:
        raise ValueError(
            "`ref_embeddings` and `y_pred` must have as many features; got "
            f"ref_embeddings.shape={tuple(references.shape)} and y_pred.shape={tuple(embeddings.shape)}"
        )
    labels, embeddings = _label(framework, labels, embeddings, ("y_true", "y_pred"), used)
    references = framework.xp.astype(references, embeddings.dtype, copy=False)
    names = ("ref_labels", "ref_embeddings")
    ref_labels, references = _label(framework, ref_labels, references, names, None)
    counted = framework.xp.ones_like(references[:, 0])
    return labels, embeddings, (ref_labels, references, counted)


def _check_embeddings(embeddings: Any, name: str) -> None:
    shape = tuple(embeddings.shape)
    if len(shape) != 2 or shape[1] == 0:
        raise ValueError(f"`{name}` must have the shape (samples, features); got {shape}")


def _label(
    framework: Framework, labels: Any, embeddings: Any, names: tuple[str, str], used: Any
) -> tuple[Any, Any]:
    """Labels as integers of one axis, and embeddings of which those that do not count are harmless."""
    xp = framework.xp
    samples, shape = embeddings.shape[0], tuple(labels.shape)
    if shape not in ((samples,), (samples, 1)):
        raise ValueError(
            f"`{names[0]}` must hold one label for each row of `{names[1]}`, and have the shape ({samples},) or "
            f"({samples}, 1); got {shape}"
        )
    labels, broken = whole_numbers(framework, xp.reshape(labels, (samples,)), names[0], used)
    if broken is not None:
        spoilt = xp.full_like(embeddings, float("nan"))
        embeddings = xp.where(broken[:, None], spoilt, embeddings)
    if used is not None:
        embeddings = xp.where(used[:, None], embeddings, xp.zeros_like(embeddings))
    return labels, embeddings
