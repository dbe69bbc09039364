"""Losses of the PyTorch dialect with the Keras dialect's arguments, for the integrations with Keras."""

from __future__ import annotations

import copy
import functools
import inspect
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from omniloss import execution, frameworks, keras_objects, losses, nn
from omniloss.losses.base import snake_case
from omniloss.reduction import KERAS_RULES, Partial
from omniloss.samples import Samples, accumulate_samples

__all__ = ["TorchDialectLoss", "adapted"]

# The reduction of the Keras dialect that means what each one of the PyTorch dialect means.
_REDUCTIONS = {
    "mean": "sum_over_batch_size",
    "elementwise_mean": "sum_over_batch_size",
    "batchmean": "sum_over_batch_size",
    "sum": "sum",
    "none": "none",
}
# Whose targets are class indices, of one axis less than the input, or of as many; and whose mean is divided by
# the sum of the weights of the samples' classes.
_INDICES = {"CrossEntropyLoss", "NLLLoss", "MultiMarginLoss"}
_INDICES |= {"cross_entropy", "nll_loss", "multi_margin_loss"}
_SETS_OF_INDICES = {"MultiLabelMarginLoss", "multilabel_margin_loss"}
_CLASS_MEANS = {"CrossEntropyLoss", "NLLLoss", "cross_entropy", "nll_loss"}


def adapted(loss: Any) -> losses.Loss:
    """A loss object of the Keras dialect from a loss of either dialect.

    Raises:
        TypeError: ``loss`` is no loss, or takes more arrays than two.
    """
    torch = sys.modules.get("omniloss.integrations.torch")
    if torch is not None and isinstance(loss, torch.LossModule):
        loss = loss.as_plain()
    if isinstance(loss, losses.Loss):
        return loss
    if _is_of_torch_dialect(loss):
        return TorchDialectLoss(loss)
    if callable(loss) and not isinstance(loss, type):
        return losses.LossFunctionWrapper(loss, name=getattr(_function(loss), "__name__", None))
    raise TypeError(f"`loss` must be a loss object or a function of (y_true, y_pred); got {loss!r}")


class TorchDialectLoss(losses.Loss):
    """A loss of the PyTorch dialect, called with ``(y_true, y_pred, sample_weight)``; made by `as_keras`.

    Without weights and masks the value is the loss's own for ``(input=y_pred, target=y_true)``. Shapes are torch's, so classes
    of a cross-entropy are along axis 1; only a last axis of length 1 that ``y_true`` has too much or is lacking, as Keras's
    data often has, is taken away or added, and class indices may come as floats. Half precision
    is computed and returned in float32.

    Weights and masks are aligned with the samples' losses, as in `omniloss.losses.Loss`. Losses of single elements are
    averaged along the last axis before (summed under ``"sum"``). A mean is divided by what torch
    divides by, whatever the weights: the number of losses that are not masked or ignored, or the sum of the weights of their classes.
    Over nothing it is 0.

    Args:
        loss: A loss object or function of `omniloss.nn` that takes an input and a target.
        name: The loss's name, by default that of the class or function.
        dtype: See `omniloss.losses.Loss`.

    Raises:
        TypeError: The loss takes more arrays.
    """

    def __init__(self, loss: Any, name: str | None = None, dtype: Any = None) -> None:
        _refuse_more_arrays(loss)
        names = _names(loss)
        super().__init__(name or snake_case(names[0]), _REDUCTIONS[_reduction(loss)], dtype)
        self.loss = loss
        self._names = frozenset(names)

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, *, mask: Any = None
    ) -> Any:
        """The reduced loss of a batch."""
        if not frameworks.is_compiled():
            keras_objects.refuse_hidden(self, sys._getframe(1))
        call = self._at_once(
            y_true, y_pred, sample_weight, keras_objects.with_attached_mask(y_pred, mask)
        )
        if call is not None:
            return execution.evaluate(call)
        return super().__call__(y_true, y_pred, sample_weight, mask=mask)

    def _at_once(self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any) -> Any:
        """The description of a call that the loss can do with its weights in one pass, or None.

        It is what `call` and the reduction say as well, but takes a fraction of the time.
        """
        framework = frameworks.of(y_pred, y_true, sample_weight, mask)
        y_true, y_pred = framework.asarray(y_true, "y_true"), framework.asarray(y_pred, "y_pred")
        describe = getattr(_function(self.loss), "describe", None)
        options = getattr(self.loss, "keywords", {})
        try:
            call = describe(y_pred, self._target(y_true, y_pred), **options)  # type: ignore[misc]
        except TypeError:  # the user's own code, or input that is refused below
            return None
        call = replace(call, dtype=self.dtype, widen=True)
        plan, rule = call.plan, KERAS_RULES[self._reduction]
        if sample_weight is None and mask is None and call.rule is not None and rule is not None:
            if _REDUCTIONS[_reduction(self.loss)] != self._reduction:
                return None
            return replace(call, rule=replace(call.rule, empty=0.0, replicas=rule.replicas))
        if any(x is not None for x in (call.weights, call.mask, call.divisor)) or call.others:
            return None
        if call.by_length or plan.broadcast or (plan.row == "element" and len(y_pred.shape) < 2):
            return None
        if plan.row == "element":
            plan = replace(plan, row="sum" if _reduction(self.loss) == "sum" else "mean")
        return replace(call, plan=plan, weights=sample_weight, mask=mask, rule=rule)

    def partial_sums(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, *, mask: Any = None
    ) -> Partial:
        """The partial sums of these samples; see `omniloss.partial`."""
        return accumulate_samples(self._sampled(y_true, y_pred, sample_weight, mask))

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The losses of the samples."""
        found = _unreduced(self.loss)(y_pred, self._target(y_true, y_pred))
        shape = tuple(found.shape)
        if shape != tuple(y_pred.shape) or len(shape) < 2:
            return found
        framework, reduction = frameworks.of(found), _reduction(self.loss)
        rows = framework.sum_rows(found)
        if reduction == "batchmean":
            while len(rows.shape) > 1:
                rows = framework.sum_rows(rows)
        return rows if reduction in ("sum", "batchmean") else rows / framework.size(shape[-1])

    def _sampled(self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any) -> Samples:
        samples = super()._sampled(y_true, y_pred, sample_weight, mask)
        if not tuple(samples.losses.shape):
            if samples.weights is None and samples.mask is None:
                return samples
            raise TypeError(
                f"{self.loss!r} gives one number under reduction='none', so that samples cannot be weighed or masked"
            )
        if samples.rule is None or samples.rule.divisor is None:
            return samples
        return replace(samples, counts=self.counts(y_true, y_pred))

    def counts(self, y_true: Any, y_pred: Any) -> Any:
        """What each sample counts in a mean: the weight of its class, 0 if ignored; None where all count as one."""
        if not self._names & _CLASS_MEANS:
            return None
        framework = frameworks.of(y_pred, y_true)
        inputs, _, _ = framework.predictions(y_pred, "y_pred", self.dtype, widen=True)
        target = self._target(framework.asarray(y_true, "y_true"), inputs)
        if tuple(target.shape) == tuple(inputs.shape):  # probabilities of classes
            return None
        options = {name: _option(self.loss, name) for name in ("weight", "ignore_index")}
        given = {name: value for name, value in options.items() if value is not None}
        inputs = framework.xp.full_like(inputs, -1.0)
        return nn.functional.nll_loss(inputs, target, **given, reduction="none")

    def _target(self, y_true: Any, y_pred: Any) -> Any:
        """The targets in the shape and type that the loss takes."""
        framework = frameworks.of(y_pred, y_true)
        xp, shape, wanted = framework.xp, tuple(y_true.shape), tuple(y_pred.shape)
        indices = self._names & _INDICES and not (shape == wanted and self._names & _CLASS_MEANS)
        if indices:
            wanted = wanted[:1] + wanted[2:]
        if len(shape) == len(wanted) + 1 and shape[-1] == 1:
            y_true = y_true[..., 0]
        elif len(wanted) == len(shape) + 1 and wanted[-1] == 1:
            y_true = xp.expand_dims(y_true, axis=-1)
        if indices or self._names & _SETS_OF_INDICES:
            y_true = xp.astype(y_true, framework.integers, copy=False)
        return y_true

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal loss."""
        config = super().get_config()
        del config["reduction"]  # the loss's own
        return {**config, "loss": _described(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The loss that `get_config` described."""
        return cls(**{**config, "loss": _made(config["loss"])})


def _names(loss: Any) -> list[str]:
    """The names of a loss's class and its bases, or of a function."""
    if isinstance(loss, nn.Loss):
        return [cls.__name__ for cls in type(loss).__mro__]
    return [_function(loss).__name__]


def _function(loss: Any) -> Any:
    """A loss function itself, of a `functools.partial` too."""
    return loss.func if isinstance(loss, functools.partial) else loss


def _is_of_torch_dialect(loss: Any) -> bool:
    function = _function(loss)
    return isinstance(loss, nn.Loss) or (
        inspect.isfunction(function) and function.__module__.startswith(nn.__name__ + ".")
    )


def _option(loss: Any, name: str) -> Any:
    if isinstance(loss, nn.Loss):
        return getattr(loss, name, None)
    return getattr(loss, "keywords", {}).get(name)


def _reduction(loss: Any) -> str:
    return _option(loss, "reduction") or "mean"


def _unreduced(loss: Any) -> Any:
    """The loss with one number for each element or row."""
    if not isinstance(loss, nn.Loss):
        return functools.partial(loss, reduction="none")
    loss = copy.copy(loss)
    loss.reduction = "none"
    return loss


def _refuse_more_arrays(loss: Any) -> None:
    called = loss.forward if isinstance(loss, nn.Loss) else loss
    needed = [
        name
        for name, parameter in inspect.signature(called).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(needed) != 2:
        raise TypeError(
            f"Keras calls a loss with y_true and y_pred alone, but {loss!r} takes {', '.join(needed)}; define a function of "
            "(y_true, y_pred) that calls it"
        )


def _described(loss: Any) -> dict[str, Any]:
    """A loss of the PyTorch dialect as JSON can hold it."""
    if isinstance(loss, nn.Loss):
        cls = type(loss)
        own = getattr(nn, cls.__name__, None) is cls
        name = cls.__name__ if own else keras_objects.saved_name(cls)
        return {"class_name": name, "config": _plain(_arguments(loss))}
    options = getattr(loss, "keywords", {})
    return {"function": _function(loss).__name__, "config": _plain(options)}


def _arguments(loss: Any) -> dict[str, Any]:
    """The arguments of a loss's class, which are the attributes of the same names."""
    arguments = {}
    for name, parameter in inspect.signature(type(loss)).parameters.items():
        if name in ("size_average", "reduce") or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            continue
        if not hasattr(loss, name):
            raise TypeError(
                f"{loss!r} cannot be saved: it keeps its argument {name!r} in no attribute of that name"
            )
        arguments[name] = getattr(loss, name)
    return arguments


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.tolist() if hasattr(value, "tolist") else value
        for name, value in options.items()
    }


def _made(described: Mapping[str, Any]) -> Any:
    """The loss that `_described` wrote; nothing is imported or run."""
    options = described["config"]
    if "function" in described:
        name = described["function"]
        if name not in nn.functional.__all__:
            raise ValueError(f"unknown function {name!r} of omniloss.nn.functional")
        function = getattr(nn.functional, name)
        return functools.partial(function, **options) if options else function
    name = described["class_name"]
    cls = getattr(nn, name) if name in nn.__all__ else keras_objects.saved_class(name)
    if cls is None:
        raise TypeError(
            f"unknown loss {name!r}; register your own class by Keras's saving.register_keras_serializable() before "
            "loading"
        )
    return cls(**options)


keras_objects.offer({"TorchDialectLoss": TorchDialectLoss})
