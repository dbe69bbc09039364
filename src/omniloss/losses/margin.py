"""Hinge losses of the Keras dialect: targets are classes, predictions are scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from omniloss import formulas
from omniloss.description import Call, Labels, Plan
from omniloss.execution import loss_function
from omniloss.formulas.definition import PROBABILITY, Formula
from omniloss.losses.base import LossFunctionWrapper
from omniloss.losses.checks import checked_choice

__all__ = [
    "CategoricalHinge",
    "Hinge",
    "SquaredHinge",
    "categorical_hinge",
    "hinge",
    "squared_hinge",
]


@loss_function
def hinge(y_true: Any, y_pred: Any, *, labels: Labels = "auto") -> Call:
    """The mean of what the margins lack to 1: ``mean(max(1 - y_true * y_pred, 0))``.

    Good for classifiers that need the side and a margin, not a probability; bad for calibrated scores.
    Where a margin is exactly 1 the gradient is 0.

    Args:
        y_true: Classes, -1 and 1 or 0 and 1, of shape ``(batch, ..., n)``.
        y_pred: Scores of the same shape, any real numbers.
        labels: ``"auto"``: as in Keras, labels that are all 0 or 1 become -1 and 1, which is decided over
            the whole batch. ``"binary"`` says that they are 0 and 1, ``"signed"`` that they are
            -1 and 1: a batch in parts needs one of these, since a part alone may mislead. Signed labels are
            used as they are, whatever they are: a 0 among them has the loss 1 at every score. Not in Keras.

    Returns:
        One loss for each row, of shape ``(batch, ...)`` and the predictions' dtype.

    Raises:
        ValueError, TypeError: ``labels`` is none of these, a binary label is outside of [0, 1], or the
            arrays do not fit; see `omniloss.losses`.

    Source: C. Cortes and V. Vapnik, Machine Learning 20 (1995); `keras.losses.hinge`.

    >>> from omniloss import losses
    >>> losses.hinge([[-1.0, 1.0]], [[0.5, 2.0]])
    array([0.75], dtype=float32)
    """
    return Call(_plan(formulas.hinge, labels), y_true, y_pred)


class Hinge(LossFunctionWrapper):
    """``mean(max(1 - y_true * y_pred, 0))``: `hinge` as a loss object.

    Args:
        reduction, name, dtype: See `Loss`, as for weights and masks.
        labels: What the labels are, see `hinge`; in the configuration only when it is not ``"auto"``.

    >>> from omniloss import losses
    >>> losses.Hinge()([[0.0, 1.0]], [[0.5, 2.0]])
    np.float32(0.75)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "hinge",
        dtype: Any = None,
        *,
        labels: Labels = "auto",
    ) -> None:
        super().__init__(hinge, reduction=reduction, name=name, dtype=dtype, labels=labels)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal loss."""
        return _without_default_labels(super().get_config())


@loss_function
def squared_hinge(y_true: Any, y_pred: Any, *, labels: Labels = "auto") -> Call:
    """The mean square of what the margins lack to 1: ``mean(max(1 - y_true * y_pred, 0)**2)``.

    Good as a hinge that is smooth at the margin; bad with wrong labels, whose gradient grows with the score.

    Args:
        y_true: Classes, -1 and 1 or 0 and 1, of shape ``(batch, ..., n)``.
        y_pred: Scores of the same shape, any real numbers.
        labels: ``"auto"``, ``"binary"`` or ``"signed"``, as for `hinge`. Not in Keras.

    Returns:
        One loss for each row, of shape ``(batch, ...)`` and the predictions' dtype.

    Raises:
        ValueError, TypeError: As for `hinge`.

    Source: C. Cortes and V. Vapnik, Machine Learning 20 (1995); `keras.losses.squared_hinge`.

    >>> from omniloss import losses
    >>> losses.squared_hinge([[-1.0, 1.0]], [[0.5, 2.0]])
    array([1.125], dtype=float32)
    """
    return Call(_plan(formulas.squared_hinge, labels), y_true, y_pred)


class SquaredHinge(LossFunctionWrapper):
    """``mean(max(1 - y_true * y_pred, 0)**2)``: `squared_hinge` as a loss object.

    Args:
        reduction, name, dtype: See `Loss`, as for weights and masks.
        labels: What the labels are, see `hinge`; in the configuration only when it is not ``"auto"``.

    >>> from omniloss import losses
    >>> losses.SquaredHinge()([[0.0, 1.0]], [[0.5, 2.0]])
    np.float32(1.125)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "squared_hinge",
        dtype: Any = None,
        *,
        labels: Labels = "auto",
    ) -> None:
        super().__init__(squared_hinge, reduction=reduction, name=name, dtype=dtype, labels=labels)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal loss."""
        return _without_default_labels(super().get_config())


def _plan(formula: Formula, labels: Labels) -> Plan:
    labels = checked_choice("labels", labels, ("auto", "binary", "signed"))
    if labels == "binary":  # labels of -1, which would become -3, are refused
        formula = replace(formula, targets=PROBABILITY)
    return Plan(formula, labels=labels)


def _without_default_labels(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration that Keras would give, as long as ``labels`` was left alone."""
    if config.get("labels") == "auto":
        del config["labels"]
    return config


@loss_function
def categorical_hinge(y_true: Any, y_pred: Any) -> Call:
    """What the right class's score lacks to the best other one plus 1, along the last axis.

    ``max(max((1 - y_true) * y_pred) - sum(y_true * y_pred) + 1, 0)``. Good for margins between several
    classes; bad for probabilities, and for negative scores, since the right class takes part in the inner
    maximum with a 0.

    Args:
        y_true: One-hot rows, of shape ``(batch, ..., classes)``.
        y_pred: Scores of the same shape, any real numbers.

    Returns:
        One loss for each row, of shape ``(batch, ...)`` and the predictions' dtype.

    Raises:
        ValueError, TypeError: There is no class, or the arrays do not fit; see `omniloss.losses`.

    Source: `keras.losses.categorical_hinge`; the idea from K. Crammer and Y. Singer, JMLR 2 (2001).

    >>> from omniloss import losses
    >>> losses.categorical_hinge([[0, 1, 0], [0, 0, 1]], [[0.5, 2.0, 1.5], [0.5, 0.25, 3.0]])
    array([0.5, 0. ], dtype=float32)
    """
    return Call(Plan(formulas.categorical_hinge), y_true, y_pred)


class CategoricalHinge(LossFunctionWrapper):
    """The margin between the right class and the best other one: `categorical_hinge` as a loss object.

    Args:
        reduction, name, dtype: See `Loss`, as for weights and masks.

    >>> from omniloss import losses
    >>> losses.CategoricalHinge()([[0, 1, 0], [0, 0, 1]], [[0.5, 2.0, 1.5], [0.5, 0.25, 3.0]])
    np.float32(0.25)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_hinge",
        dtype: Any = None,
    ) -> None:
        super().__init__(categorical_hinge, reduction=reduction, name=name, dtype=dtype)
