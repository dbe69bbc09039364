"""The Keras dialect's loss objects: reduction, weights, masks and configuration, for every loss."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import numpy as np

from omniloss import execution, frameworks
from omniloss.configuration import config
from omniloss.description import Call
from omniloss.keras_objects import (
    KerasLoss,
    refuse_hidden,
    saved_class,
    why_no_function,
    with_attached_mask,
)
from omniloss.losses.checks import checked_dtype, checked_name, checked_reduction
from omniloss.preparation import prepare_with
from omniloss.reduction import Partial, Rule, keras_rule
from omniloss.samples import Samples, accumulate_samples, reduce

__all__ = ["Loss", "LossFunctionWrapper", "snake_case"]


class Loss(KerasLoss):
    """A loss with a reduction: subclass it and define ``call(y_true, y_pred)``.

    Args:
        name: The loss's name, by default the class's in snake case; not a reduction's, which tf.keras has
            in this place.
        reduction: What becomes of the samples' losses L, with weights w (1 where none are given):
            ``"sum_over_batch_size"``, ``"mean"`` or ``"auto"``: ``sum(w * L) / n``, with n the number of
            losses that are not masked; ``"sum"``: ``sum(w * L)``; ``"mean_with_sample_weight"``:
            ``sum(w * L) / sum(w)``; ``"none"`` or None: ``w * L``. A sum over nothing gives 0. The
            constants of `Reduction` may stand for their strings.
        dtype: The type to compute in and return: a name, a NumPy dtype or an object with a
            ``compute_dtype``. None keeps float32 and float64 predictions as they are, where Keras would
            compute in ``floatx``, and gives float32 for half precision.

    A call takes ``(y_true, y_pred, sample_weight=None)`` and, by keyword, a ``mask`` of the samples to
    count. Weights and mask are aligned with the losses as in Keras 3: the ranks may differ by a last
    axis of length 1, then they broadcast, and enlarge the losses where they have more axes. float64
    weights count with all of their range beside float32 predictions too. A mean is finite wherever it
    fits its type, whether or not the sum does. What a
    sample that is masked or of weight 0 holds, NaN for one, changes nothing. A mask that Keras attached to ``y_pred`` is used as well.

    Where it differs from Keras 3: ``mean_with_sample_weight`` divides by the sum of the weights as
    broadcast to the losses, so that it is a weighted mean (Keras divides by their sum before).

    Source: `keras.losses.Loss`, Keras 3.

    >>> import numpy as np
    >>> class MeanFourthPower(Loss):
    ...     def call(self, y_true, y_pred):
    ...         return np.mean((y_pred - y_true) ** 4, axis=-1)
    >>> float(MeanFourthPower()(np.zeros((2, 2)), np.ones((2, 2)), sample_weight=[1.0, 3.0]))
    2.0
    """

    autograph_info__ = None  # objects are not for TensorFlow's AutoGraph to rewrite: see `as_it_is`

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        self.name = checked_name(name, snake_case(type(self).__name__))
        self.reduction = reduction
        self._dtype = checked_dtype(dtype)

    @property
    def reduction(self) -> str | None:
        """The reduction, as it was given."""
        return self._reduction

    @reduction.setter
    def reduction(self, reduction: str | None) -> None:
        self._reduction = checked_reduction(reduction)

    def _rule(self) -> Rule | None:
        # The losses that Keras's training loops take over are marked so.
        return keras_rule(self._reduction, getattr(self, "_allow_sum_over_batch_size", False))

    @property
    def dtype(self) -> str | None:
        """The name of the type that was asked for, or None."""
        return self._dtype

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The losses of the samples, before weights and reduction."""
        raise NotImplementedError(f"{type(self).__name__} must define call(y_true, y_pred)")

    @execution.as_it_is
    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, *, mask: Any = None
    ) -> Any:
        """The reduced loss of a batch.

        Args:
            y_true, y_pred: Targets and predictions, as ``call`` takes them.
            sample_weight: A number, or weights that broadcast against the samples' losses.
            mask: Booleans, or 0 and 1, aligned like weights: which samples count.
        """
        if ("keras" in sys.modules or "tf_keras" in sys.modules) and not frameworks.is_compiled():
            refuse_hidden(self, sys._getframe(1))
        return reduce(self._sampled(y_true, y_pred, sample_weight, mask))

    def partial_sums(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, *, mask: Any = None
    ) -> Partial:
        """The partial sums of these samples; see `omniloss.partial`."""
        self._refuse_own_calling()
        return accumulate_samples(self._sampled(y_true, y_pred, sample_weight, mask))

    def _refuse_own_calling(self) -> None:
        """A subclass that overrides ``__call__`` does what nobody else can follow."""
        if type(self).__call__ not in (Loss.__call__, LossFunctionWrapper.__call__):
            raise TypeError(f"{self!r} overrides __call__; override call(y_true, y_pred) instead")

    def _sampled(self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any) -> Samples:
        """What ``call`` gives for the arguments, in the type to compute in."""
        mask = with_attached_mask(y_pred, mask)
        framework = frameworks.of(y_pred, y_true, sample_weight, mask)
        predictions, dtype, _ = framework.predictions(y_pred, "y_pred", self._dtype, widen=True)
        compute = framework.compute_type(predictions, dtype)
        predictions = framework.xp.astype(predictions, compute, copy=False)
        targets = framework.xp.astype(framework.asarray(y_true, "y_true"), compute, copy=False)
        losses = self.call(framework.own(targets), framework.own(predictions))
        losses = framework.asarray(losses, "the losses")
        return Samples(
            framework,
            framework.xp.astype(losses, compute, copy=framework.keeps_memory),
            sample_weight,
            mask,
            self._rule(),
            dtype,
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal loss."""
        config = {"name": self.name, "reduction": self.reduction}
        return config if self._dtype is None else {**config, "dtype": self._dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The loss that `get_config` described."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        mine, theirs = self._arguments(), other._arguments()
        return mine.keys() == theirs.keys() and all(_same(mine[key], theirs[key]) for key in mine)

    def __hash__(self) -> int:
        return hash(type(self))  # the configuration may change during an object's life

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._arguments().items())
        return f"{type(self).__name__}({arguments})"

    def _arguments(self) -> dict[str, Any]:
        """What losses are compared and printed by: the configuration, and what a user's class has added."""
        config = self.get_config()
        if type(self).__module__.partition(".")[0] == __name__.partition(".")[0]:
            return config
        own = {"name", "fn", "_reduction", "_dtype", "_fn_kwargs", "_fast"}
        own.add("_allow_sum_over_batch_size")
        added = {key: value for key, value in vars(self).items() if key not in own}
        return {**added, **config}


class LossFunctionWrapper(Loss):
    """A loss object around a function of ``(y_true, y_pred, **kwargs)``.

    Args:
        fn: A loss function of this library, or any callable that returns the samples' losses.
        reduction, name, dtype: As for `Loss`.
        **kwargs: Options for the function. They are attributes of the object too and may be set later.

    Source: `keras.losses.LossFunctionWrapper`, Keras 3.

    >>> from omniloss import losses
    >>> loss = LossFunctionWrapper(losses.huber, delta=2.0, reduction="sum")
    >>> float(loss([[0.0], [0.0]], [[1.0], [4.0]]))
    6.5
    """

    _fast: tuple[float, Any, Any, Any] | None = None

    def __init__(
        self,
        fn: Callable[..., Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"`fn` must be callable with (y_true, y_pred); got {fn!r}")
        if why := why_no_function(fn):
            raise TypeError(
                f"`fn` takes (y_true, y_pred) and gives the samples' losses; got {fn!r}{why}"
            )
        self._fn_kwargs: dict[str, Any] = {}
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.fn: Any = fn
        self._fn_kwargs = kwargs
        self._refuse_wrong_options(kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The losses of the samples, before weights and reduction."""
        return self.fn(y_true, y_pred, **self._fn_kwargs)

    @execution.as_it_is
    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, *, mask: Any = None
    ) -> Any:
        """The reduced loss."""
        compiled = frameworks.is_compiled()
        if ("keras" in sys.modules or "tf_keras" in sys.modules) and not compiled:
            refuse_hidden(self, sys._getframe(1))
        mask = with_attached_mask(y_pred, mask)
        if sample_weight is None and mask is None and not compiled:
            fast = self._fast
            if fast is None or fast[0] != config.epsilon():
                fast = self._remember_plan()
            # The class may have been given another `call` since.
            if fast[1] is not None and type(self).call is LossFunctionWrapper.call:
                _, plan, prepare, rule = fast
                value = plan(y_true, y_pred)
                if value is None or value is True:
                    value = frameworks.run_plan(plan, prepare, rule, y_true, y_pred)
                if value is not None:
                    return value
        if self._own_call():
            return execution.evaluate(self._describe(y_true, y_pred, sample_weight, mask))
        return super().__call__(y_true, y_pred, sample_weight, mask=mask)

    def describe(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, *, mask: Any = None
    ) -> Call:
        """The formula, options and arrays of one call; raises where ``call`` is the user's own."""
        self._refuse_own_calling()
        if not self._own_call():
            raise TypeError(
                f"{self!r} runs a `call` or a function that is not this library's, of which no derivative is "
                "known"
            )
        mask = with_attached_mask(y_pred, mask)
        return self._describe(y_true, y_pred, sample_weight, mask)

    def partial_sums(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, *, mask: Any = None
    ) -> Partial:
        """The partial sums of these samples; see `omniloss.partial`."""
        if self._own_call():
            return execution.accumulate(self.describe(y_true, y_pred, sample_weight, mask=mask))
        return super().partial_sums(y_true, y_pred, sample_weight, mask=mask)

    def _describe(self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any) -> Call:
        return replace(
            self.fn.describe(y_true, y_pred, **self._fn_kwargs),
            weights=sample_weight,
            mask=mask,
            rule=self._rule(),
            dtype=self._dtype,
            widen=True,
        )

    def _refuse_wrong_options(self, options: dict[str, Any]) -> None:
        """Let the function look at its options before any data is there."""
        if self._has_own_function():
            self.fn.describe(None, None, **options)

    def _has_own_function(self) -> bool:
        """Whether the function is one of this library's; a loss object in its place reduces by itself."""
        return hasattr(self.fn, "describe") and not isinstance(self.fn, Loss)

    def _own_call(self) -> bool:
        """Whether a call runs one of this library's functions, not a ``call`` that a user put in its place."""
        return (
            type(self).call is LossFunctionWrapper.call
            and "call" not in self.__dict__
            and self._has_own_function()
        )

    def _remember_plan(self) -> tuple[float, Any, Any, Any]:
        """What runs plain arrays without weights, kept until an attribute or epsilon changes.

        The epsilon, the core's plan, what prepares a problem for the general way, and the rule.
        """
        fast: tuple[float, Any, Any, Any] = (config.epsilon(), None, None, None)
        if self._own_call():
            call = self._describe(None, None, None, None)
            prepare = functools.partial(prepare_with, call)
            fast = (config.epsilon(), execution.fast_plan(call), prepare, call.rule)
        object.__setattr__(self, "_fast", fast)
        return fast

    def __getattr__(self, name: str) -> Any:
        options = self.__dict__.get("_fn_kwargs", {})
        if name in options:
            return options[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        options = self.__dict__.get("_fn_kwargs", {})
        if name in options:
            self._refuse_wrong_options({**options, name: value})
            options[name] = value
        else:
            super().__setattr__(name, value)
        self.__dict__["_fast"] = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fast": None, "_fn_kwargs": dict(self._fn_kwargs)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal loss."""
        config = super().get_config()
        if self._takes_function():
            from omniloss.losses.registry import serialize

            config["fn"] = serialize(self.fn)
        return {**config, **self._options()}

    def _arguments(self) -> dict[str, Any]:
        if self._takes_function():  # which need not have a name to be serialised by
            return {"fn": self.fn, **super().get_config(), **self._options()}
        return super()._arguments()

    def _takes_function(self) -> bool:
        """Whether the function is an argument of the class, rather than its own."""
        return type(self).__init__ is LossFunctionWrapper.__init__

    def _options(self) -> dict[str, Any]:
        """The function's options; scalars and arrays of NumPy and its likes as Python's."""
        return {
            name: value.tolist() if hasattr(value, "tolist") else value
            for name, value in self._fn_kwargs.items()
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The loss that `get_config` described; the function is looked up by its name."""
        if "fn" in config and not callable(config["fn"]):
            from omniloss.losses.registry import NAMES, deserialize

            name = config["fn"]
            users = isinstance(name, str) and name not in NAMES and saved_class(name)
            config = {**config, "fn": users or deserialize(name)}
        return cls(**config)


def snake_case(name: str) -> str:
    """A class's name as a loss's."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return words.lower()


def _same(first: Any, second: Any) -> bool:
    """Whether two attributes are equal, arrays among them."""
    if first is second:
        return True
    if hasattr(first, "shape") or hasattr(second, "shape"):
        return bool(np.array_equal(np.asarray(first), np.asarray(second)))
    return bool(first == second)
