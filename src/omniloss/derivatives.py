"""The verbs: value and gradient together, and partial sums, of any loss by its own arguments."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from omniloss import execution
from omniloss.description import Call
from omniloss.keras_objects import are_behind
from omniloss.reduction import MEAN, Partial

__all__ = ["partial", "value_and_grad"]


@execution.as_it_is
def value_and_grad(
    loss: Any,
    *args: Any,
    wrt: str | tuple[str, ...] | None = None,
    normalizer: float | None = None,
    **kwargs: Any,
) -> tuple[Any, Any]:
    """A loss and its gradient by the predictions, computed together.

    Args:
        loss: A loss function or a loss object of this library. Of one that `omniloss.losses.compile` made the gradients come in
            the structure of the predictions.
        *args, **kwargs: The loss's own arguments, in its own order.
        wrt: The argument to differentiate by; the predictions by default, which in the Keras dialect are
            the only one. In the PyTorch dialect also ``"target"``, ``"var"``, ``"positive"``, ..., where torch
            differentiates by them (but not by weights). A tuple of names gives a tuple of gradients.
        normalizer: What to divide the sum of the losses by, in place of what the loss's reduction says:
            the whole batch's size, say, when this is one of its micro-batches. It makes a sum of any
            reduction but none, and of a function.

    Returns:
        The value, as the loss itself gives it (to the last unit or two), and the gradient, of its argument's shape and the
        predictions' dtype (of integer predictions: of `config.floatx()`). Unreduced losses are differentiated as
        their sum; in the Keras dialect that is the sum of the rows' means, so for a derivative of each element's own loss, as
        gradient boosting wants it, hand in columns, ``y_true[:, None], y_pred[:, None]``. Where a loss has a kink, the derivative there is 0, or in the PyTorch dialect what torch gives.

    Raises:
        TypeError: ``loss`` has no closed-form derivative here: it is not one of this library's, its
            `call` or `forward` is overridden, or it takes a function of the user's.
        ValueError: ``wrt`` names no differentiable argument, or the loss refuses its arguments.

    >>> import omniloss
    >>> from omniloss import losses
    >>> value, gradient = omniloss.value_and_grad(losses.MeanSquaredError(), [[0.0, 1.0]], [[1.0, 1.0]])
    >>> float(value), gradient.tolist()
    (0.5, [[1.0, 0.0]])
    """
    if hasattr(loss, "differentiated") and not isinstance(loss, type):
        if wrt is not None or normalizer is not None:
            raise ValueError(
                "losses of several outputs are differentiated by all of `y_pred`, and each has its own divisor: leave out "
                "`wrt` and `normalizer`"
            )
        return loss.differentiated(*args, **kwargs)
    call = _describe(loss, "differentiated", args, kwargs)
    plan = call.plan
    if plan.no_gradient:
        raise TypeError(plan.no_gradient)
    given, used = (*args, *kwargs.values()), call.predictions
    if all(x is not used for x in given) and any(are_behind(used, x) for x in given):
        raise TypeError(
            "`y_pred` comes from an activation, and the loss is computed from the logits behind it: hand in those, "
            "with from_logits=True"
        )
    known = plan.differentiable()
    if isinstance(wrt, list):
        raise TypeError(f"`wrt` must be a name or a tuple of names; got {wrt!r}")
    wanted = wrt if isinstance(wrt, tuple) else (plan.names.predictions if wrt is None else wrt,)
    for name in wanted:
        if name not in known:
            expected = " or ".join(map(repr, known))
            raise ValueError(
                f"`wrt` must name a differentiable argument of the loss, {expected}; got {name!r}"
            )
    if normalizer is not None:
        call = _normalized(loss, call, normalizer)
    value, gradients = execution.differentiate(
        call, normalizer, tuple(known[name] for name in wanted)
    )
    return value, gradients if isinstance(wrt, tuple) else gradients[0]


def _normalized(loss: Any, call: Call, normalizer: Any) -> Call:
    """The call that a checked normalizer is to divide."""
    number = isinstance(normalizer, (int, float, np.number)) and not isinstance(normalizer, bool)
    if not number or not 0 < normalizer < math.inf:
        raise ValueError(f"`normalizer` must be a finite number > 0; got {normalizer!r}")
    if call.rule is None and hasattr(loss, "reduction"):
        raise ValueError(f"`normalizer` divides a sum, and the reduction of {loss!r} is none")
    return replace(call, rule=MEAN)


@execution.as_it_is
def partial(loss: Any, *args: Any, **kwargs: Any) -> Partial:
    """The two sums, total and weight, from which a loss is finished.

    Partials of one loss (of the same options: nothing checks that) add up over batches, files and machines, and ``result()`` gives what the loss
    would have given for all the data at once. See `omniloss.Partial`.

    Args:
        loss: A loss object of this library with a reduction, or a loss function, whose losses are then
            averaged over the samples.
        *args, **kwargs: The loss's own arguments, in its own order.

    Raises:
        TypeError: ``loss`` is not one of this library's.
        ValueError: The loss has no reduction, is a hinge loss that was not told what its labels are
            (``Hinge(labels="binary")`` or ``"signed"``), or refuses its arguments.

    >>> import omniloss
    >>> from omniloss import losses
    >>> loss = losses.MeanAbsoluteError()
    >>> parts = [omniloss.partial(loss, [[0.0]], [[1.0]]), omniloss.partial(loss, [[0.0]] * 3, [[2.0]] * 3)]
    >>> sum(parts).result()
    1.75
    """
    if hasattr(loss, "partial_sums") and not isinstance(loss, type):
        return loss.partial_sums(*args, **kwargs)
    call = _describe(loss, "summed in parts", args, kwargs)
    unreduced = call.rule is None and not call.plan.torch  # functions of the Keras dialect
    return execution.accumulate(replace(call, rule=MEAN) if unreduced else call)


def _describe(loss: Any, purpose: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    describe = getattr(loss, "describe", None)
    if describe is None or isinstance(loss, type):
        hint = ", a class: make an object of it" if isinstance(loss, type) else ""
        raise TypeError(
            f"only this library's loss functions and the objects of its loss classes can be {purpose}; got "
            f"{loss!r}{hint}"
        )
    return describe(*args, **kwargs)
