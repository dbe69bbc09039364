"""Losses of sequences in the PyTorch dialect: labels without an alignment."""

from __future__ import annotations

from typing import Any

import numpy as np

from omniloss import formulas, frameworks
from omniloss.description import Call, InputError, Names, Plan
from omniloss.formulas.stable import device
from omniloss.frameworks.base import Framework
from omniloss.nn.base import Loss, check_classes, integers, is_integral, rule_of
from omniloss.nn.calls import loss_function

__all__ = ["CTCLoss", "ctc_loss"]

_NAMES = Names("targets", "log_probs", "weight", ("input_lengths", "target_lengths"))


@loss_function
def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Call:
    """Connectionist temporal classification: ``-log(sum over alignments of prod_t p_t[alignment_t])``.

    An alignment gives each step a label or the blank; with repetitions and then blanks taken away it
    leaves the labels. Good for sequences whose labels are known, but not where they stand (speech,
    handwriting); bad where there are more labels than steps, or the output must not depend on labels alone
    (given the input, the steps are independent).

    Args:
        log_probs: Logarithms of probabilities, of shape ``(steps, samples, classes)``, or ``(steps, classes)`` for
            one sample.
        targets: Class indices, of shape ``(samples, longest)``, of which each sample uses its first ``target_lengths``,
            or those of all samples one after the other, of shape ``(sum(target_lengths),)``.
        input_lengths: How many steps each sample has, integers of shape ``(samples,)`` in [0, steps].
        target_lengths: How many labels each sample has, integers of shape ``(samples,)``, at least 0.
        blank: The class that stands for no label, in [0, classes).
        reduction: ``"mean"``: each loss is divided by its number of labels (by 1 where there is none), and
            their sum by the number of samples; ``"sum"``; ``"none"``: one loss for each sample.
        zero_infinity: Whether an infinite loss, of labels that have no alignment, counts as 0, as its gradient does.

    Returns:
        The loss, in the dtype of ``log_probs``; it is computed in float64 in the native core. `value_and_grad` and autodiff
        give ``exp(log_probs) - posterior``, as torch does: the gradient by the logits of whose ``log_softmax``
        the log-probabilities are, which a backward pass through ``log_softmax`` leaves as it is. Where a
        loss is infinite, it is NaN.

    Raises:
        ValueError, TypeError: A target is no class (torch computes something), a length is out of
            range, or the arrays do not fit; see `omniloss.nn`.

    The Keras dialect has no such loss here; Keras 3's ``CTC`` takes logits, with the batch first.

    Source: A. Graves, S. Fernandez, F. Gomez and J. Schmidhuber, ICML 2006; `torch.nn.functional.ctc_loss`.

    >>> import numpy as np
    >>> from omniloss.nn import functional as F
    >>> log_probs = np.log(np.full((2, 1, 2), 0.5))
    >>> round(float(F.ctc_loss(log_probs, [[1]], [2], [1])), 4)  # three of four alignments: -log(3/4)
    0.2877
    """
    framework = frameworks.of(log_probs, targets, input_lengths, target_lengths)
    xp = framework.xp
    predictions = framework.asarray(log_probs, "log_probs")
    shape = tuple(predictions.shape)
    if len(shape) not in (2, 3) or 0 in shape:
        raise InputError(
            "`log_probs` must have the shape (steps, samples, classes) or (steps, classes), none of them 0; "
            f"got {shape}"
        )
    batched = len(shape) == 3
    samples, classes = (shape[1] if batched else 1), shape[-1]
    if isinstance(blank, bool) or not isinstance(blank, int) or not 0 <= blank < classes:
        raise InputError(f"`blank` must be a class, an integer in [0, {classes}); got {blank!r}")
    labels = _labels(framework, targets)
    steps = _lengths(framework, input_lengths, "input_lengths", samples, shape, shape[0])
    numbers = _lengths(framework, target_lengths, "target_lengths", samples, shape)
    if labels.ndim == 1:
        labels = _padded(framework, labels, numbers, shape)
    longest = int(labels.shape[-1])
    if tuple(labels.shape) != (samples, longest):
        raise InputError(
            f"`targets` must have the shape ({samples}, longest) or (sum(target_lengths),) for "
            f"`log_probs` of shape {shape}; got {tuple(labels.shape)}"
        )
    _check_most(framework, numbers, "target_lengths", longest)
    used = xp.arange(longest, device=device(labels)) < numbers[:, None]
    wrong = used & framework.no_class(labels, classes)
    check_classes(framework, labels, wrong, classes, name="targets")
    labels = xp.where(used & ~wrong, labels, xp.zeros_like(labels))
    plan = Plan(
        formulas.connectionist_temporal_classification,
        (blank, zero_infinity),
        names=_NAMES,
        torch=True,
    )
    weights = None
    if reduction == "mean":
        counted = xp.where(numbers > 0, numbers, xp.ones_like(numbers))
        weights = 1.0 / xp.astype(counted, xp.float64)
    rule = rule_of(reduction)
    if not batched and rule is None:
        rule = rule_of("sum")  # of the one sample
    return Call(plan, labels, log_probs, weights, rule=rule, others=(steps, numbers))


class CTCLoss(Loss):
    """Connectionist temporal classification: `functional.ctc_loss` as an object.

    Args:
        blank: The class that stands for no label.
        reduction: ``"mean"`` (over samples, of losses divided by their number of labels), ``"sum"`` or ``"none"``.
        zero_infinity: Whether an infinite loss counts as 0.

    >>> import numpy as np
    >>> from omniloss import nn
    >>> loss = nn.CTCLoss(blank=1)
    >>> round(float(loss(np.log(np.full((2, 1, 2), 0.5)), [[0]], [2], [1])), 4)
    0.2877
    """

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction=reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    @loss_function
    def forward(
        self, log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any
    ) -> Call:
        """The loss of a batch."""
        return ctc_loss.describe(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            blank=self.blank,
            reduction=self.reduction,
            zero_infinity=self.zero_infinity,
        )


def _labels(framework: Framework, targets: Any) -> Any:
    """The targets as class indices; floats must be whole numbers."""
    xp = framework.xp
    labels = framework.asarray(targets, "targets")
    if labels.ndim not in (1, 2):
        raise InputError(f"`targets` must have one or two axes; got shape {tuple(labels.shape)}")
    if is_integral(framework, labels.dtype):
        return labels
    broken = labels != xp.floor(labels)
    found = framework.first("targets", labels, broken) if framework.is_eager(labels) else None
    if found is not None:
        place = ", ".join(map(str, found.index))
        raise InputError(
            "`targets` must hold class indices, whole numbers; got "
            f"targets[{place}] = {float(found.value)}"
        )
    return xp.astype(labels, framework.integers)


def _lengths(
    framework: Framework,
    lengths: Any,
    name: str,
    samples: int,
    shape: tuple[int, ...],
    most: int | None = None,
) -> Any:
    """One length for each sample, checked."""
    array = integers(framework, lengths, name)
    array = framework.xp.reshape(array, (1,)) if array.ndim == 0 else array
    if tuple(array.shape) != (samples,):
        raise InputError(
            f"`{name}` must hold one number for each of the {samples} samples of `log_probs` of shape "
            f"{shape}; got shape {tuple(array.shape)}"
        )
    _check_most(framework, array, name, most)
    return array


def _check_most(framework: Framework, lengths: Any, name: str, most: int | None) -> None:
    """Refuse lengths below 0 or, where that is known, above the most there can be."""
    wrong = lengths < 0 if most is None else (lengths < 0) | (lengths > most)
    found = framework.first(name, lengths, wrong) if framework.is_eager(lengths) else None
    if found is None:
        return
    limit = "inf)" if most is None else f"{most}]"
    raise InputError(
        f"`{name}` must hold integers in [0, {limit}; got {name}[{found.index[0]}] = "
        f"{int(found.value)}"
    )


def _padded(framework: Framework, labels: Any, lengths: Any, shape: tuple[int, ...]) -> Any:
    """Labels that stand one after the other, as a row for each sample."""
    xp = framework.xp
    if not framework.is_eager(lengths):
        raise InputError(
            "`targets` of one axis need `target_lengths` whose numbers are known; of lazy or traced arrays "
            "pass a row for each sample"
        )
    known = [int(length) for length in lengths]
    if sum(known) != labels.shape[0]:
        raise InputError(
            f"`targets` of one axis must hold sum(target_lengths) = {sum(known)} labels for `log_probs` "
            f"of shape {shape}; got shape {tuple(labels.shape)}"
        )
    longest = max(known, default=0)
    start, places = 0, []
    for length in known:
        last = max(start + length - 1, 0)
        places.append([min(start + i, last) for i in range(longest)])
        start += length
    if longest == 0:
        return xp.reshape(labels, (len(known), 0))
    index = xp.asarray(np.asarray(places).ravel().tolist(), device=device(labels))
    return xp.reshape(xp.take(labels, index, axis=0), (len(known), longest))
