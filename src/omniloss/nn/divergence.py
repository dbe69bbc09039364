"""Divergences and likelihoods of the PyTorch dialect: distributions, counts and normal deviations."""

from __future__ import annotations

from typing import Any

from omniloss import formulas
from omniloss.description import Call, InputError, Plan
from omniloss.nn.base import NAMES, Loss, elements, named_reduction, number, rule_of, shape_of, warn
from omniloss.nn.calls import loss_function, loss_of_three

__all__ = [
    "GaussianNLLLoss",
    "KLDivLoss",
    "PoissonNLLLoss",
    "gaussian_nll_loss",
    "kl_div",
    "poisson_nll_loss",
]


@loss_function
def kl_div(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Call:
    """The Kullback-Leibler divergence's summands: ``target * (log(target) - input)``.

    The input holds *logarithms* of probabilities. Good for fitting one distribution to another, in
    nats, 0 where they agree; bad where the input gives no probability to what the target has, and with
    the default reduction, which divides by the number of classes too: ``"batchmean"`` is the divergence.

    Args:
        input: Logarithms of probabilities, of any shape, the batch first.
        target: Probabilities of the same shape, numbers >= 0; with ``log_target`` their logarithms.
        size_average, reduce: Deprecated; see `Loss`.
        reduction: ``"batchmean"``: the sum divided by the input's length; ``"mean"``: the sum divided by
            the number of elements, with torch's warning; ``"sum"``; ``"none"``.
        log_target: Whether the target holds logarithms.

    Returns:
        The loss, in the input's dtype. A target of 0 gives 0.

    Raises:
        ValueError, TypeError: A target is negative (torch gives NaN), or the arrays do not fit; see
            `omniloss.nn`.

    The twin in the Keras dialect is `omniloss.losses.kl_divergence`, which takes both as probabilities,
    clips them and sums the last axis.

    Source: S. Kullback and R. A. Leibler, Annals of Mathematical Statistics 22 (1951);
    `torch.nn.functional.kl_div`.

    >>> import numpy as np
    >>> from omniloss.nn import functional as F
    >>> round(float(F.kl_div(np.log([[0.25, 0.75]]), [[0.5, 0.5]], reduction="batchmean")), 4)
    0.1438
    """
    warning = ""
    if size_average is None and reduce is None and reduction == "mean":
        warning = _WARNING
        warn(warning)
    reduction = named_reduction(size_average, reduce, reduction)
    formula = formulas.kl_divergence_of_logs
    if log_target:
        formula = formulas.kl_divergence_between_logs
    plan = Plan(formula, row="element", names=NAMES, torch=True, promotion="floats")
    if reduction == "batchmean" and not shape_of(input):
        reduction = "sum"
    rule = rule_of(reduction, batchmean=True)
    by_length = reduction == "batchmean"
    return Call(plan, target, input, rule=rule, by_length=by_length, warning=warning)


_WARNING = (
    "reduction: 'mean' divides the total loss by both the batch size and the support size."
    "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
    "'mean' will be changed to behave the same as 'batchmean' in the next major release."
)


class KLDivLoss(Loss):
    """``target * (log(target) - input)``: `functional.kl_div` as an object.

    Args:
        size_average, reduce: See `Loss`.
        reduction: ``"mean"``, ``"batchmean"`` (the divergence), ``"sum"`` or ``"none"``.
        log_target: Whether the target holds logarithms.

    The twin in the Keras dialect is `omniloss.losses.KLDivergence`.

    >>> import numpy as np
    >>> from omniloss import nn
    >>> loss = nn.KLDivLoss(reduction="batchmean", log_target=True)
    >>> round(float(loss(np.log([[0.25, 0.75]]), np.log([[0.5, 0.5]]))), 4)
    0.1438
    """

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    @loss_function
    def forward(self, input: Any, target: Any) -> Call:
        """The loss of a batch."""
        return kl_div.describe(input, target, reduction=self.reduction, log_target=self.log_target)


@loss_function
def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Call:
    """The negative log-likelihood of counts: ``exp(input) - target * input``.

    Without ``log_input`` the input is the rate itself: ``input - target * log(input + eps)``. Good for
    counts; bad for counts that vary more than their mean, and, unless it is ``full``, as a number in
    itself, since ``log(target!)`` is left out.

    Args:
        input: Logarithms of rates, or rates, numbers >= 0; of any shape.
        target: Counts of the same shape, numbers >= 0.
        log_input: Whether the input holds logarithms.
        full: Whether to add Stirling's approximation of ``log(target!)`` for targets above 1.
        size_average, reduce: Deprecated; see `Loss`.
        eps: What is added to a rate before its logarithm is taken, a number >= 0.
        reduction: ``"mean"``: the sum divided by the number of elements; ``"sum"``; ``"none"``.

    Returns:
        The loss, in the input's dtype. Where the two terms are close to each other, it is right to 3 units
        in the last place relative to the terms' size (measured against mpmath), not to its own, and so is
        the gradient where ``exp(input)`` is close to the target.

    Raises:
        ValueError, TypeError: A target or a rate is negative (torch lets it pass), or the arrays do not
            fit; see `omniloss.nn`.

    The twin in the Keras dialect is `omniloss.losses.poisson`, which takes rates and averages the last
    axis.

    Source: `torch.nn.functional.poisson_nll_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.poisson_nll_loss([0.0, 1.0], [1.0, 3.0], reduction="none").round(4)
    array([ 1.    , -0.2817], dtype=float32)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    if log_input:
        formula = formulas.poisson_of_logs
        parameters = (float(bool(full)),)
        return elements(formula, parameters, input, target, reduction, promotion="input to float")
    formula = formulas.poisson_with_stirling if full else formulas.poisson
    hint = " (with log_input=True it is the rate's logarithm)"
    return elements(
        formula,
        (number("eps", eps),),
        input,
        target,
        reduction,
        hint=hint,
        promotion="input to float",
    )


class PoissonNLLLoss(Loss):
    """The negative log-likelihood of counts: `functional.poisson_nll_loss` as an object.

    Args:
        log_input: Whether the input holds logarithms of rates.
        full: Whether to add Stirling's approximation of ``log(target!)``.
        size_average, reduce, reduction: See `Loss`.
        eps: What is added to a rate before its logarithm is taken.

    The twin in the Keras dialect is `omniloss.losses.Poisson`.

    >>> from omniloss import nn
    >>> nn.PoissonNLLLoss(log_input=False)([1.0, 2.0], [1.0, 3.0]).round(4)
    np.float32(0.4603)
    """

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: bool | None = None,
        eps: float = 1e-8,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    @loss_function
    def forward(self, log_input: Any, target: Any) -> Call:
        """The loss of a batch; whether ``log_input`` holds logarithms, the attribute of that name says."""
        return poisson_nll_loss.describe(
            log_input,
            target,
            log_input=self.log_input,
            full=self.full,
            eps=self.eps,
            reduction=self.reduction,
        )


@loss_of_three
def gaussian_nll_loss(
    input: Any,
    target: Any,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Call:
    """The negative log-likelihood of normal deviations with variances that are predicted too.

    ``(log(v) + (input - target)**2 / v) / 2`` with ``v = max(var, eps)``. Good where errors are of
    different sizes, which it learns; bad early in training, when a variance that is too small makes
    large gradients.

    Args:
        input: Expectations, any real numbers, of any shape.
        target: Observations of the same shape, or of one that is broadcast to it.
        var: Variances, numbers >= 0: a number, an array of the input's shape, or one that lacks the
            last axis or is broadcast to the input.
        full: Whether to add the constant ``log(2 * pi) / 2``.
        eps: The least variance, a number > 0. A variance that is raised to it keeps its gradient.
        reduction: ``"mean"``: the sum divided by the number of elements; ``"sum"``; ``"none"``.

    Returns:
        The loss, in the input's dtype.

    Raises:
        ValueError, TypeError: A variance is negative, ``eps`` is not above 0 (torch gives NaN or a number), or the
            arrays do not fit; see `omniloss.nn`. An input that is smaller than the target is refused, which torch
            broadcasts.

    The Keras dialect has no such loss.

    Source: D. A. Nix and A. S. Weigend, Estimating the mean and variance of the target probability
    distribution (1994); `torch.nn.functional.gaussian_nll_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.gaussian_nll_loss([0.0, 2.0], [0.0, 0.0], [1.0, 4.0], reduction="none").round(4)
    array([0.    , 1.1931], dtype=float32)
    """
    eps = number("eps", eps)
    if not eps > 0:
        raise InputError(f"eps must be greater than 0, got {eps}")
    plan = Plan(
        formulas.gaussian_nll,
        (eps, float(bool(full))),
        row="element",
        names=NAMES._replace(others=("var",)),
        torch=True,
        broadcast=True,
        promotion="all",
    )
    return Call(plan, target, input, rule=rule_of(reduction), others=(var,))


class GaussianNLLLoss(Loss):
    """The negative log-likelihood of normal deviations: `functional.gaussian_nll_loss` as an object.

    Args:
        full: Whether to add the constant ``log(2 * pi) / 2``.
        eps: The least variance.
        reduction: See `Loss`.

    >>> from omniloss import nn
    >>> nn.GaussianNLLLoss()([0.0, 2.0], [0.0, 0.0], 1.0)
    np.float32(1.0)
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.full = full
        self.eps = eps

    @loss_of_three
    def forward(self, input: Any, target: Any, var: Any) -> Call:
        """The loss of a batch."""
        return gaussian_nll_loss.describe(
            input, target, var, full=self.full, eps=self.eps, reduction=self.reduction
        )
