"""Regression losses of the PyTorch dialect: the errors of real numbers."""

from __future__ import annotations

from typing import Any

from omniloss import formulas
from omniloss.description import Call, InputError
from omniloss.nn.base import Loss, check_equal_weight, elements, named_reduction, number
from omniloss.nn.calls import loss_function

__all__ = [
    "HuberLoss",
    "L1Loss",
    "MSELoss",
    "SmoothL1Loss",
    "huber_loss",
    "l1_loss",
    "mse_loss",
    "smooth_l1_loss",
]


@loss_function
def l1_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Call:
    """The absolute error of each element: ``|input - target|``.

    Good with outliers, since the gradient has one size and the fit is the median; bad near the target,
    where the gradient does not shrink. At an error of 0 the gradient is 0.

    Args:
        input: Predictions, any real numbers, of any shape.
        target: Targets of the same shape.
        size_average, reduce: Deprecated; see `Loss`.
        reduction: ``"mean"``: the sum divided by the number of elements, or, with a ``weight``, by the
            weights' sum; ``"sum"``; ``"none"``: a loss for each element.
        weight: A weight for each element, of the input's shape.

    Returns:
        The loss, in the input's dtype.

    Raises:
        ValueError, TypeError: The arrays do not fit; see `omniloss.nn`.

    The twin in the Keras dialect is `omniloss.losses.mean_absolute_error`, which averages the last axis.

    Source: P.-S. Laplace, Memoire sur la probabilite des causes (1774); `torch.nn.functional.l1_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.l1_loss([1.0, 5.0], [0.0, 2.0])
    np.float32(2.0)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    check_equal_weight(input, weight)
    return elements(
        formulas.absolute_error,
        (),
        input,
        target,
        reduction,
        weight,
        weighted_mean=True,
        promotion="all",
    )


class L1Loss(Loss):
    """``|input - target|``: `functional.l1_loss` as an object.

    Args:
        size_average, reduce, reduction: See `Loss`.

    The twin in the Keras dialect is `omniloss.losses.MeanAbsoluteError`.

    >>> from omniloss import nn
    >>> nn.L1Loss(reduction="sum")([1.0, 5.0], [0.0, 2.0])
    np.float32(4.0)
    """

    @loss_function
    def forward(self, input: Any, target: Any) -> Call:
        """The loss of a batch."""
        return l1_loss.describe(input, target, reduction=self.reduction)


@loss_function
def mse_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Call:
    """The squared error of each element: ``(input - target)**2``.

    Good for errors of one size, whose mean it fits; bad with outliers, since the gradient grows with
    the error.

    Args:
        input: Predictions, any real numbers, of any shape.
        target: Targets of the same shape. (N,) against (N, 1) is refused, where torch would broadcast.
        size_average, reduce: Deprecated; see `Loss`.
        reduction: ``"mean"``: the sum divided by the number of elements, or, with a ``weight``, by the
            weights' sum; ``"sum"``; ``"none"``: a loss for each element.
        weight: A weight for each element, of the input's shape.

    Returns:
        The loss, in the input's dtype.

    Raises:
        ValueError, TypeError: The arrays do not fit; see `omniloss.nn`.

    The twin in the Keras dialect is `omniloss.losses.mean_squared_error`, which averages the last axis.

    Source: C. F. Gauss, Theoria combinationis observationum (1823); `torch.nn.functional.mse_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.mse_loss([1.0, 5.0], [0.0, 2.0])
    np.float32(5.0)
    >>> F.mse_loss([1.0, 5.0], [0.0, 2.0], weight=[3.0, 1.0])
    np.float32(3.0)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    check_equal_weight(input, weight)
    return elements(
        formulas.squared_error,
        (),
        input,
        target,
        reduction,
        weight,
        weighted_mean=True,
        promotion="all",
    )


class MSELoss(Loss):
    """``(input - target)**2``: `functional.mse_loss` as an object.

    Args:
        size_average, reduce, reduction: See `Loss`.

    The twin in the Keras dialect is `omniloss.losses.MeanSquaredError`.

    >>> from omniloss import nn
    >>> nn.MSELoss()([1.0, 5.0], [0.0, 2.0])
    np.float32(5.0)
    """

    @loss_function
    def forward(self, input: Any, target: Any) -> Call:
        """The loss of a batch."""
        return mse_loss.describe(input, target, reduction=self.reduction)


@loss_function
def smooth_l1_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Call:
    """A quadratic error up to ``beta``, a linear one beyond, of slope 1.

    ``d**2 / (2 * beta)`` where ``|d| < beta``, else ``|d| - beta / 2``, with ``d = input - target``: the
    `huber_loss` divided by beta. Good for regression with outliers, box coordinates for one; bad where
    the size of ordinary errors is not known, since beta must be chosen in the target's units.

    Args:
        input: Predictions, any real numbers, of any shape.
        target: Targets of the same shape.
        size_average, reduce: Deprecated; see `Loss`.
        reduction: ``"mean"``: the sum divided by the number of elements; ``"sum"``; ``"none"``.
        beta: Where the error becomes linear, a number >= 0; 0 gives `l1_loss`.

    Returns:
        The loss, in the input's dtype.

    Raises:
        ValueError, TypeError: ``beta`` is negative, or the arrays do not fit; see `omniloss.nn`.

    The Keras dialect has no such loss: ``omniloss.losses.huber`` with ``delta=beta``, divided by beta.

    Source: R. Girshick, Fast R-CNN (2015), arXiv:1504.08083; `torch.nn.functional.smooth_l1_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.smooth_l1_loss([0.5, 3.0], [0.0, 0.0], reduction="none")
    array([0.125, 2.5  ], dtype=float32)
    """
    reduction = named_reduction(size_average, reduce, reduction)
    beta = number("beta", beta)
    if not beta >= 0:
        raise InputError(f"smooth_l1_loss does not support negative values for beta; got {beta}")
    if beta == 0:
        return elements(formulas.absolute_error, (), input, target, reduction, promotion="all")
    return elements(formulas.smooth_l1, (beta,), input, target, reduction, promotion="all")


class SmoothL1Loss(Loss):
    """A quadratic error up to ``beta``, a linear one beyond: `functional.smooth_l1_loss` as an object.

    Args:
        size_average, reduce, reduction: See `Loss`.
        beta: Where the error becomes linear, a number >= 0.

    >>> from omniloss import nn
    >>> nn.SmoothL1Loss(beta=2.0)([0.5, 3.0], [0.0, 0.0])
    np.float32(1.03125)
    """

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    @loss_function
    def forward(self, input: Any, target: Any) -> Call:
        """The loss of a batch."""
        return smooth_l1_loss.describe(input, target, reduction=self.reduction, beta=self.beta)


@loss_function
def huber_loss(
    input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Call:
    """A quadratic error up to ``delta``, a linear one beyond, of slope delta.

    ``d**2 / 2`` where ``|d| <= delta``, else ``delta * (|d| - delta / 2)``, with ``d = input - target``.
    Good for regression with outliers; bad where the size of ordinary errors is not known, since delta
    must be chosen in the target's units.

    Args:
        input: Predictions, any real numbers, of any shape.
        target: Targets of the same shape.
        reduction: ``"mean"``: the sum divided by the number of elements, also with a ``weight``;
            ``"sum"``; ``"none"``: a loss for each element.
        delta: Where the error becomes linear, a number > 0.
        weight: A weight for each element, of the input's shape.

    Returns:
        The loss, in the input's dtype.

    Raises:
        ValueError, TypeError: ``delta`` is not above 0, or the arrays do not fit; see `omniloss.nn`.

    The twin in the Keras dialect is `omniloss.losses.huber`, which averages the last axis.

    Source: P. J. Huber, Robust estimation of a location parameter, Annals of Mathematical Statistics 35
    (1964); `torch.nn.functional.huber_loss`.

    >>> from omniloss.nn import functional as F
    >>> F.huber_loss([0.5, 3.0], [0.0, 0.0], reduction="none", delta=2.0)
    array([0.125, 4.   ], dtype=float32)
    """
    delta = number("delta", delta)
    if not delta > 0:
        raise InputError(f"huber_loss does not support non-positive values for delta; got {delta}")
    check_equal_weight(input, weight)
    return elements(formulas.huber, (delta,), input, target, reduction, weight)


class HuberLoss(Loss):
    """A quadratic error up to ``delta``, a linear one beyond: `functional.huber_loss` as an object.

    Args:
        reduction: See `Loss`.
        delta: Where the error becomes linear, a number > 0.

    The twin in the Keras dialect is `omniloss.losses.Huber`.

    >>> from omniloss import nn
    >>> nn.HuberLoss(delta=2.0)([0.5, 3.0], [0.0, 0.0])
    np.float32(2.0625)
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        if not isinstance(delta, (float, int)):
            raise TypeError(f"delta must be a float or int, got: {type(delta)}")
        super().__init__(reduction=reduction)
        self.delta = delta

    @loss_function
    def forward(self, input: Any, target: Any) -> Call:
        """The loss of a batch."""
        return huber_loss.describe(input, target, reduction=self.reduction, delta=self.delta)
