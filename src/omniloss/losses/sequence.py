"""Losses of sequences in the Keras dialect: labels without an alignment."""

from __future__ import annotations

import math
from typing import Any

from omniloss import formulas
from omniloss.alignment import whole_numbers
from omniloss.description import Call, Plan
from omniloss.execution import loss_function
from omniloss.frameworks.base import Framework
from omniloss.losses.base import LossFunctionWrapper

__all__ = ["CTC", "ctc"]

BLANK = 0


@loss_function
def ctc(y_true: Any, y_pred: Any) -> Call:
    """Connectionist temporal classification: ``-log(sum over alignments of prod_t softmax(y_pred)_t[alignment_t])``.

    An alignment gives each step a label or the blank, class 0; with repetitions and then blanks taken away it
    leaves the labels. Good for sequences whose labels are known, but not where they stand (speech,
    handwriting); bad where there are more labels than steps, or the output must not depend on labels alone.

    Args:
        y_true: Class indices, whole numbers in [1, classes), of shape ``(samples, longest)``; a sample of fewer
            labels is filled up with 0 behind them. As many of the first are used, as in Keras, as are not 0.
        y_pred: Logits of shape ``(samples, steps, classes)``, of which all steps count.

    Returns:
        One loss for each sample, in the predictions' dtype; infinite, and its gradient NaN, for labels that have
        no alignment with the steps, where Keras gives 1e5 or so on NumPy and JAX, and infinity elsewhere.

    Raises:
        ValueError, TypeError: A label is no class, or the arrays do not fit; see `omniloss.losses`.

    `omniloss.nn.functional.ctc_loss` takes logarithms of probabilities, with the steps first, lengths and another
    blank.

    Source: A. Graves, S. Fernandez, F. Gomez and J. Schmidhuber, ICML 2006; `keras.losses.ctc`.

    >>> import numpy as np
    >>> from omniloss import losses
    >>> losses.ctc([[1]], np.zeros((1, 2, 2), np.float32)).round(4)  # three of four alignments: -log(3/4)
    array([0.2877], dtype=float32)
    """
    plan = Plan(
        formulas.connectionist_temporal_classification_with_logits, (BLANK,), arrange=_arrange
    )
    return Call(plan, y_true, y_pred)


class CTC(LossFunctionWrapper):
    """Connectionist temporal classification of logits: `ctc` as a loss object.

    Args:
        reduction, name, dtype: See `Loss`, as for weights and masks.

    >>> import numpy as np
    >>> from omniloss import losses
    >>> losses.CTC()([[1], [0]], np.zeros((2, 2, 2), np.float32)).round(4)  # -log(3/4) and -log(1/4)
    np.float32(0.837)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "ctc",
        dtype: Any = None,
    ) -> None:
        super().__init__(ctc, reduction=reduction, name=name, dtype=dtype)


def _arrange(
    framework: Framework, labels: Any, logits: Any, others: tuple[Any, ...], used: Any
) -> tuple[Any, Any, tuple[Any, ...]]:
    """The labels, each sample's first few, their numbers, and harmless logits of what is not used."""
    xp = framework.xp
    shape, got = tuple(logits.shape), tuple(labels.shape)
    if len(shape) != 3 or 0 in shape[1:]:
        raise ValueError(
            f"`y_pred` must have the shape (samples, steps, classes), the latter two not 0; got {shape}"
        )
    if len(got) != 2 or got[0] != shape[0]:
        raise ValueError(
            f"`y_true` must have the shape (samples, longest), and a row for each sample of `y_pred` of shape "
            f"{shape}; got {got}"
        )
    by_label = None if used is None else xp.broadcast_to(used[:, None], got)
    labels, broken = whole_numbers(framework, labels, "y_true", by_label)
    is_label = xp.not_equal(labels, xp.zeros_like(labels))
    numbers = xp.sum(xp.astype(is_label, framework.integers), axis=1)
    wrong = (labels < 0) | (labels >= shape[2])
    wrong = wrong if by_label is None else wrong & by_label
    _refuse(framework, labels, wrong, shape[2])
    harmless = wrong if by_label is None else wrong | ~by_label
    labels = xp.where(harmless, xp.zeros_like(labels), labels)
    if used is not None:
        numbers = xp.where(used, numbers, xp.zeros_like(numbers))
        logits = xp.where(used[:, None, None], logits, xp.zeros_like(logits))
    if not framework.is_eager(labels):
        spoilt = wrong if broken is None else wrong | broken
        nan = xp.full_like(logits, math.nan)
        logits = xp.where(xp.any(spoilt, axis=1)[:, None, None], nan, logits)
    return labels, logits, (numbers,)


def _refuse(framework: Framework, labels: Any, wrong: Any, classes: int) -> None:
    """Raise for the first label that is no class, where it can be looked at."""
    offence = framework.first("targets", labels, wrong) if framework.is_eager(labels) else None
    if offence is None:
        return
    value, place = int(offence.value), ", ".join(map(str, offence.index))
    raise ValueError(
        f"`y_true` must hold class indices, integers in [0, {classes}); got y_true[{place}] = {value}"
    )
