"""Losses of several outputs as one: what Keras's `compile` makes of ``loss`` and ``loss_weights``, for one's own loop."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from omniloss import execution, frameworks
from omniloss.keras_objects import NoKerasLoss, refuse_hidden, why_no_function
from omniloss.losses.base import Loss, LossFunctionWrapper
from omniloss.losses.checks import checked_number, suggestion
from omniloss.losses.registry import get
from omniloss.reduction import Partial

__all__ = ["CompiledLoss", "Partials", "compile"]

TOTAL = "loss"  # what Keras calls the sum


class _Part(NamedTuple):
    """One loss of one output, with its factor and that output's arrays."""

    path: tuple[Any, ...]
    loss: Loss
    factor: float
    y_true: Any
    y_pred: Any
    options: dict[str, Any]

    def call(self, method: Any) -> Any:
        return method(self.y_true, self.y_pred, **self.options)


@dataclass(frozen=True)
class Partials:
    """The partial sums of several losses, by their names: they add up, and finish as one.

    ``factors`` are what the losses are multiplied by in the total.
    """

    parts: dict[str, Partial]
    factors: dict[str, float]

    def __add__(self, other: Partials) -> Partials:
        if not isinstance(other, Partials):
            return NotImplemented
        if self.factors != other.factors:
            raise ValueError(
                f"partials of different losses do not add up: {self.factors} and {other.factors}"
            )
        return Partials(
            {name: part + other.parts[name] for name, part in self.parts.items()}, self.factors
        )

    def __radd__(self, other: Any) -> Partials:
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def result(self) -> Any:
        """The total of everything added so far."""
        return self.results()[TOTAL]

    def results(self) -> dict[str, Any]:
        """The total, as ``"loss"``, and each loss by its name."""
        values = {name: part.result() for name, part in self.parts.items()}
        return _with_total(values, self.factors)


class CompiledLoss(NoKerasLoss):
    """The weighted sum of the losses of several outputs; made by `compile`."""

    _keras_advice = "pass its own `loss` and `loss_weights` to compile() instead"

    def __init__(self, loss: Any, loss_weights: Any = None) -> None:
        self.loss = _resolved(loss)
        if not list(_leaves(self.loss)):
            raise ValueError(f"`loss` must name a loss for one output at least; got {loss!r}")
        self.loss_weights = _checked_weights(loss_weights, self.loss)

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, *, mask: Any = None
    ) -> Any:
        """The total: the sum of the losses, times their factors.

        Args:
            y_true, y_pred: The targets and predictions of all outputs, in one structure.
            sample_weight: An array for all outputs, or the structure with an array or None for each.
            mask: The same, of booleans.
        """
        if not frameworks.is_compiled():
            refuse_hidden(self, sys._getframe(1))
        return self.results(y_true, y_pred, sample_weight, mask=mask)[TOTAL]

    def results(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, *, mask: Any = None
    ) -> dict[str, Any]:
        """The total, as ``"loss"``, and each loss by its name, without its factor.

        The names are the output's keys and positions, joined by ``/``, and ``_loss``. Of an output with several losses they
        end in the loss's own name.
        """
        parts = self._named(y_true, y_pred, sample_weight, mask)
        values = {name: part.call(part.loss) for name, part in parts.items()}
        return _with_total(values, _factors(parts))

    def partial_sums(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, *, mask: Any = None
    ) -> Partials:
        """The partial sums of these samples; see `omniloss.partial`."""
        parts = self._named(y_true, y_pred, sample_weight, mask)
        sums = {name: part.call(part.loss.partial_sums) for name, part in parts.items()}
        return Partials(sums, _factors(parts))

    def differentiated(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, *, mask: Any = None
    ) -> tuple[Any, Any]:
        """The total, and its gradient in the structure of ``y_pred``; see `omniloss.value_and_grad`."""
        parts = self._named(y_true, y_pred, sample_weight, mask)
        values: dict[str, Any] = {}
        gradients: dict[tuple[Any, ...], Any] = {}
        for name, part in parts.items():
            describe = getattr(part.loss, "describe", None)
            if describe is None:
                raise TypeError(f"of {part.loss!r} no derivative is known")
            values[name], (gradient,) = execution.differentiate(part.call(describe))
            gradient = part.factor * gradient
            before = gradients.get(part.path)
            gradients[part.path] = gradient if before is None else before + gradient
        total = _with_total(values, _factors(parts))[TOTAL]
        return total, _in_structure(y_pred, gradients, ())

    def _named(self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any) -> dict[str, _Part]:
        """The parts of a call by their names."""
        given = {"sample_weight": sample_weight, "mask": mask}
        parts = list(_parts(self.loss, self.loss_weights, y_true, y_pred, given, ()))
        paths = [part.path for part in parts]
        named: dict[str, _Part] = {}
        for part in parts:
            keys = [str(key) for key in part.path]
            if not keys or paths.count(part.path) > 1:
                keys.append(part.loss.name)
            name, number = "/".join(keys), 0
            while f"{name}_{number}_loss" in named or (not number and f"{name}_loss" in named):
                number += 1
            named[f"{name}_{number}_loss" if number else f"{name}_loss"] = part
        return named

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CompiledLoss):
            return NotImplemented
        return bool(self.loss == other.loss and self.loss_weights == other.loss_weights)

    def __hash__(self) -> int:
        return hash(CompiledLoss)

    def __repr__(self) -> str:
        return f"compile({self.loss!r}, loss_weights={self.loss_weights!r})"


def compile(loss: Any, loss_weights: Any = None) -> CompiledLoss:
    """One loss of the losses of several outputs, as Keras's ``compile(loss=..., loss_weights=...)`` makes it.

    For a training loop of one's own, in any framework: a call gives the total, ``results`` the total and each loss by
    its name, `omniloss.partial` sums that add up over batches, and `omniloss.value_and_grad` the gradients in the
    structure of the predictions. The object keeps nothing between calls, so that it can be compiled and transformed.

    Args:
        loss: A loss, which each output gets; or a dict, a list or a tuple with one for each output, also nested, None for
            an output without a loss. A loss is an object of this dialect, a function of ``(y_true, y_pred)``, whose losses
            are averaged, or a name. A list of losses for an output that is an array: all of them.
        loss_weights: A number that multiplies each loss in the total, or the same structure of numbers.

    Raises:
        TypeError: What stands for a loss is none, or of the PyTorch dialect, whose arguments are others.
        ValueError: A name is unknown, a loss is unreduced, or structures do not fit; the message names the place.

    Source: `keras.Model.compile`.

    >>> import numpy as np
    >>> from omniloss import losses
    >>> loss = losses.compile({"size": "mse", "kind": losses.SparseCategoricalCrossentropy()}, {"size": 0.5, "kind": 1.0})
    >>> y_true = {"size": np.zeros((2, 1)), "kind": np.array([1, 0])}
    >>> y_pred = {"size": np.full((2, 1), 2.0), "kind": np.full((2, 4), 0.25)}
    >>> float(loss(y_true, y_pred))
    3.386294361119891
    >>> {name: round(float(value), 4) for name, value in loss.results(y_true, y_pred).items()}
    {'loss': 3.3863, 'size_loss': 4.0, 'kind_loss': 1.3863}
    """
    return CompiledLoss(loss, loss_weights)


def _resolved(loss: Any, place: str = "loss") -> Any:
    """A structure of loss objects of a structure of what means losses."""
    if isinstance(loss, Mapping) and not ("class_name" in loss and "config" in loss):
        return {key: _resolved(item, f"{place}[{key!r}]") for key, item in loss.items()}
    if isinstance(loss, (list, tuple)):
        return [_resolved(item, f"{place}[{i}]") for i, item in enumerate(loss)]
    if isinstance(loss, (str, Mapping, type)):
        try:
            loss = get(loss)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
    if isinstance(loss, Loss):
        if loss.reduction in (None, "none"):
            raise ValueError(f"{place} must have a reduction; got {loss!r}")
        return loss
    if loss is None:
        return None
    if why := why_no_function(loss):
        raise TypeError(f"{place} takes (y_true, y_pred, sample_weight); got {loss!r}{why}")
    if not callable(loss) or hasattr(loss, "reduction"):
        raise TypeError(
            f"{place} must be a loss of omniloss.losses, its name, a function of (y_true, y_pred) or None; got {loss!r}"
        )
    return LossFunctionWrapper(loss, name=loss.__name__ if inspect.isfunction(loss) else None)


def _leaves(loss: Any) -> Iterator[Loss]:
    if isinstance(loss, (dict, list)):
        for item in loss.values() if isinstance(loss, dict) else loss:
            yield from _leaves(item)
    elif loss is not None:
        yield loss


def _checked_weights(weights: Any, loss: Any, place: str = "loss_weights") -> Any:
    """Factors in a structure that fits the losses'."""
    if weights is None:
        return None
    if isinstance(weights, Mapping):
        checked = {}
        for key, item in weights.items():
            if isinstance(loss, dict) and key not in loss:
                raise ValueError(
                    f"`{place}` has {key!r}, which `loss` has not{suggestion(key, map(str, loss))}"
                )
            if isinstance(loss, list):
                raise ValueError(f"`{place}` is a dict, but `loss` a list there; got {weights!r}")
            below = loss[key] if isinstance(loss, dict) else loss
            checked[key] = _checked_weights(item, below, f"{place}[{key!r}]")
        missing = [key for key in loss if key not in weights] if isinstance(loss, dict) else []
        if missing:
            raise ValueError(f"`{place}` must have a number for each loss, but lacks {missing}")
        return checked
    if isinstance(weights, (list, tuple)):
        if isinstance(loss, dict) or (isinstance(loss, list) and len(loss) != len(weights)):
            raise ValueError(f"`{place}` must have the structure of `loss`; got {weights!r}")
        below = loss if isinstance(loss, list) else [loss] * len(weights)
        pairs = enumerate(zip(weights, below, strict=True))
        return [_checked_weights(weight, item, f"{place}[{i}]") for i, (weight, item) in pairs]
    return checked_number(place, weights)


def _parts(
    loss: Any,
    weights: Any,
    y_true: Any,
    y_pred: Any,
    options: dict[str, Any],
    path: tuple[Any, ...],
) -> Iterator[_Part]:
    """The losses of the outputs, with the arrays of each."""
    if loss is None:
        return
    keys = _keys(y_pred, isinstance(loss, list))
    if isinstance(loss, list) and keys is None:  # several losses of one output
        factors = weights if isinstance(weights, list) else [weights] * len(loss)
        for one, factor in zip(loss, factors, strict=True):
            yield from _parts(one, factor, y_true, y_pred, options, path)
        return
    if keys is None:
        if isinstance(loss, dict):
            raise ValueError(
                f"`loss` has the outputs {list(loss)} at {_place(path)}, `y_pred` an array"
            )
        if isinstance(weights, (dict, list)):
            raise ValueError(
                f"`loss_weights` has {weights!r} at {_place(path)}, where `y_pred` has one output"
            )
        factor = 1.0 if weights is None else weights
        yield _Part(path, loss, factor, y_true, y_pred, options)
        return
    for key in _wanted(loss, keys, path):
        below = loss[key] if isinstance(loss, (dict, list)) else loss
        if below is None:
            continue
        yield from _parts(
            below,
            _below(weights, key, "loss_weights", path),
            _below_exactly(y_true, key, "y_true", path),
            y_pred[key],
            {name: _option_below(value, key, keys) for name, value in options.items()},
            (*path, key),
        )


def _keys(y_pred: Any, listed: bool) -> list[Any] | None:
    """The keys or positions of a structure; None for an output, which may be a list of numbers."""
    if isinstance(y_pred, Mapping):
        return list(y_pred)
    if not isinstance(y_pred, (list, tuple)) or not (listed or any(map(_is_structured, y_pred))):
        return None
    return list(range(len(y_pred)))


def _is_structured(x: Any) -> bool:
    """Whether something in a list shows that the list is one of outputs, not of numbers."""
    if isinstance(x, (list, tuple)):
        return any(map(_is_structured, x))
    return isinstance(x, Mapping) or bool(getattr(x, "shape", ()))


def _wanted(loss: Any, keys: list[Any], path: tuple[Any, ...]) -> list[Any]:
    """The keys of the outputs that have losses."""
    if isinstance(loss, dict):
        for key in loss:
            if key not in keys:
                near = suggestion(key, map(str, keys))
                raise ValueError(f"`loss` has {key!r} at {_place(path)}, `y_pred` has {keys}{near}")
        return list(loss)
    if isinstance(loss, list) and (len(loss) != len(keys) or keys != list(range(len(keys)))):
        raise ValueError(f"`loss` has {len(loss)} losses at {_place(path)}, `y_pred` has {keys}")
    return keys


def _below(x: Any, key: Any, name: str, path: tuple[Any, ...]) -> Any:
    """What a structure has for an output; a number or None is for all of them."""
    return _below_exactly(x, key, name, path) if isinstance(x, (dict, list)) else x


def _below_exactly(x: Any, key: Any, name: str, path: tuple[Any, ...]) -> Any:
    try:
        return x[key]
    except (KeyError, IndexError, TypeError):
        raise ValueError(
            f"`{name}` has nothing for the output {_place((*path, key))}, which has a loss"
        ) from None


def _option_below(x: Any, key: Any, keys: list[Any]) -> Any:
    """The weights or mask of one output, where there is a structure of them; else those of all."""
    if isinstance(x, Mapping):
        return x.get(key)
    one_each = isinstance(x, (list, tuple)) and isinstance(key, int) and len(x) == len(keys)
    if one_each and any(item is None or _is_structured(item) for item in x):
        return x[key]
    return x


def _in_structure(y_pred: Any, gradients: dict[Any, Any], path: tuple[Any, ...]) -> Any:
    """The gradients in the structure of the predictions, zeros where there is no loss."""
    if path in gradients:
        return gradients[path]
    inside = any(len(found) > len(path) and found[: len(path)] == path for found in gradients)
    keys = _keys(y_pred, inside)
    if keys is None:
        framework = frameworks.of(y_pred)
        return framework.xp.zeros_like(
            framework.predictions(y_pred, "y_pred", None, widen=False)[0]
        )
    below = {key: _in_structure(y_pred[key], gradients, (*path, key)) for key in keys}
    if isinstance(y_pred, Mapping):
        return below
    made = tuple(below.values())
    if hasattr(y_pred, "_fields"):  # a named tuple
        return type(y_pred)(*made)
    return made if isinstance(y_pred, tuple) else list(made)


def _factors(parts: dict[str, _Part]) -> dict[str, float]:
    return {name: part.factor for name, part in parts.items()}


def _with_total(values: dict[str, Any], factors: dict[str, float]) -> dict[str, Any]:
    """The values with their sum, each times its factor, before them."""
    terms = [v if factors[name] == 1 else factors[name] * v for name, v in values.items()]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return {TOTAL: total, **values}


def _place(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path)) if path else "the top"
