"""What losses are to Keras where it is loaded: its own, found by names, and readers of what it attaches to predictions.

Keras asks by ``isinstance`` whether a loss is its own. It takes anything else for a plain function of a batch's
samples, whose result it weighs and reduces again: with weights the number would be silently wrong. So a loss object
of the Keras dialect answers by its ``__class__`` that it is Keras's too, whenever it was made, while its type stays
what it is. An object that Keras would misunderstand refuses to answer. This file is the one place where a class
says anything but its type.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from omniloss.alignment import match_ranks

__all__ = [
    "KerasLoss",
    "NoKerasLoss",
    "are_behind",
    "behind",
    "offer",
    "refuse_function",
    "refuse_hidden",
    "register",
    "saved_class",
    "saved_name",
    "why_no_function",
    "with_attached_mask",
]

PACKAGE = "omniloss"
# Where each generation of Keras looks at the losses that were given to `compile`, and what makes one of its own.
_ASKING = {"keras": "keras.src.trainers.", "tf_keras": "tf_keras.src.engine."}
# The modules in which each calls what it takes for a function: as a loss, as a metric
_CALLING = {"keras.src.losses.losses": "keras", "tf_keras.src.losses": "tf_keras"}
_MEASURING = {
    "keras.src.metrics.reduction_metrics": "keras",
    "tf_keras.src.metrics.base_metric": "tf_keras",
}
# By which TensorFlow calls what is hidden in a `functools.partial`, on a Keras's behalf
_AUTOGRAPH = "tensorflow.python.autograph.impl.api"
# What is to be saved by its name, and the Keras that has been told so
_offered: dict[str, Any] = {}
_told: dict[str, Any] = {}


class KerasLoss:
    """What the loss objects of the Keras dialect are besides: an instance of `keras.losses.Loss`, once there is one."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The type; where Keras is loaded, a class of the same name that is a subclass of Keras's losses too."""
        if "tf_keras" in sys.modules:
            _refuse(self, "tf_keras", sys._getframe(1))
        if "keras" not in sys.modules:
            return type(self)
        if _is_asked_by("keras", sys._getframe(1)):
            self._allow_sum_over_batch_size = True  # as tf.keras marks what its own loop takes over
        return _as_keras_class(type(self))

    def __reduce__(self) -> Any:
        # By default pickle asks for the class, and refuses what is not the type.
        return _blank, (type(self),), self.__getstate__()

    def _obj_type(self) -> str:
        """What Keras asks of the parts of a model that is saved."""
        return "Loss"


class NoKerasLoss:
    """What the loss objects are besides that Keras cannot take as they are."""

    # What to give to Keras in an object's place, if not what `as_keras` makes of it
    _keras_advice = ""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The type, unless it is a Keras that asks."""
        for keras in _ASKING:
            if keras in sys.modules:
                _refuse(self, keras, sys._getframe(1))
        return type(self)


def offer(objects: Mapping[str, Any]) -> None:
    """Give classes and functions to Keras to be saved and found by a name, now or when it is met."""
    _offered.update(objects)
    _told.clear()
    if is_waiting():
        register()


def is_waiting() -> bool:
    """Whether a Keras is loaded that has not been told of what is offered."""
    return any(name in sys.modules and name not in _told for name in _ASKING)


def register() -> None:
    """Tell every Keras that is loaded by which names it can find the losses of this library."""
    for keras in _ASKING:
        tell = getattr(
            getattr(sys.modules.get(keras), "saving", None), "register_keras_serializable", None
        )
        if keras in _told or tell is None:  # it may still be being imported
            continue
        for name, thing in _offered.items():
            tell(PACKAGE, name)(thing)
        _told[keras] = sys.modules[keras]


def saved_name(cls: type) -> str:
    """The name by which a Keras that is loaded saves a class."""
    for saving in _savings():
        if (name := saving.get_registered_name(cls)) != cls.__name__:
            return name
    return cls.__name__


def saved_class(name: str) -> Any:
    """The class or function that a Keras that is loaded knows by a name, its package left out or not, or None."""
    for saving in _savings():
        found = saving.get_registered_object(name)
        if found is not None:
            return found
        known = saving.get_custom_objects().items()
        matches = [thing for key, thing in known if key.endswith(f">{name}")]
        if len(matches) == 1:
            return matches[0]
    return None


def _savings() -> list[Any]:
    return [sys.modules[keras].saving for keras in _ASKING if keras in sys.modules]


def behind(y_pred: Any, from_logits: bool, activation: str) -> tuple[Any, bool]:
    """The logits that probabilities of TensorFlow were made of by an activation, where there is a trace of them.

    Keras computes its cross-entropies from these, without keeping probabilities away from 0 and 1; with other arrays it has no
    such traces. Half precision has none either, since Keras casts it first. ``activation`` is the operation to look for.
    """
    if from_logits or "tensorflow" not in sys.modules:
        return y_pred, from_logits
    logits = getattr(y_pred, "_keras_logits", None)
    operation = getattr(y_pred, "op", None) if logits is None else None
    if operation is not None and getattr(operation, "type", None) == activation:
        logits = operation.inputs[0]
    if logits is None or getattr(logits.dtype, "size", 0) < 4:
        return y_pred, from_logits
    return logits, True


def are_behind(logits: Any, y_pred: Any) -> bool:
    """Whether some predictions are the logits that `behind` finds of these."""
    found = (behind(y_pred, False, activation) for activation in ("Sigmoid", "Softmax"))
    return any(taken and x is logits for x, taken in found)


def with_attached_mask(y_pred: Any, mask: Any) -> Any:
    """The given mask together with the one that Keras attached to the predictions, if any."""
    backend = sys.modules.get("keras.src.backend")
    read = getattr(backend, "get_keras_mask", None)
    attached = getattr(y_pred, "_keras_mask", None) if read is None else read(y_pred)
    if attached is None:
        return mask
    if mask is None:
        return attached
    mask, attached = (
        np.asarray(x) if isinstance(x, (list, tuple)) else x for x in (mask, attached)
    )
    first, second = match_ranks(tuple(mask.shape), tuple(attached.shape))
    return (mask.reshape(first) != 0) & (attached.reshape(second) != 0)


def _blank(cls: Any) -> Any:
    return cls.__new__(cls)


class _Quiet:
    """What stands before a user's class, so that nothing of it is run by being presented to Keras."""

    def __init_subclass__(cls) -> None:
        pass


def _as_keras_class(cls: type) -> type:
    """A class of the same name that is both ``cls`` and a loss of Keras's; calling it makes a plain ``cls``."""
    keras: Any = sys.modules["keras"]
    base = getattr(getattr(keras, "losses", None), "Loss", None)
    saving: Any = getattr(keras, "saving", None)
    if base is None or not hasattr(saving, "register_keras_serializable") or issubclass(cls, base):
        return cls  # being imported, or the user's class is one of Keras's already
    register()
    both: Any = cls.__dict__.get("_keras_class")
    if both is None or not issubclass(both, base):
        own = {
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
            "__new__": lambda _, *args, **kwargs: cls(*args, **kwargs),
        }
        both = types.new_class(
            cls.__name__, (_Quiet, cls, base), exec_body=lambda body: body.update(own)
        )
        cls._keras_class = both  # type: ignore[attr-defined]
    name = saving.get_registered_name(cls)
    if name != saving.get_registered_name(both):
        package, _, short = name.rpartition(">")
        saving.register_keras_serializable(package, short)(both)
        saving.register_keras_serializable(package, short)(
            cls
        )  # it is the type that the name gives back
    return both


def why_no_function(loss: Any) -> str:
    """Why something callable, bound or in a `functools.partial`, is no function of ``(y_true, y_pred)``, to end a message.

    Nothing where it may be one.
    """
    while isinstance(loss, functools.partial):
        loss = loss.func
    loss = getattr(loss, "__self__", loss)
    module = getattr(loss, "__module__", None) or ""
    if not (isinstance(loss, NoKerasLoss) or module.startswith(f"{PACKAGE}.nn.")):
        return ""
    if advice := getattr(loss, "_keras_advice", ""):
        return f", which reduces several losses by itself: {advice}"
    return (
        ", of the PyTorch dialect: take its twin in omniloss.losses, or "
        "omniloss.integrations.keras.as_keras(loss)"
    )


def refuse_function(function: Any, frame: types.FrameType) -> None:
    """Raise where Keras calls a function of the PyTorch dialect, which takes the predictions first and gives a mean."""
    caller = _caller(frame)
    keras = _CALLING.get(caller)
    if keras is not None:
        raise TypeError(_misread(f"omniloss.nn's {function.__qualname__}", keras))
    keras = _MEASURING.get(caller)
    if keras is not None:
        raise TypeError(_mismeasured(f"omniloss.nn's {function.__qualname__}", keras))


def refuse_hidden(loss: Any, frame: types.FrameType) -> None:
    """Raise where Keras calls a loss object that is hidden from it, bound or in a `functools.partial`, as a function."""
    keras = _CALLING.get(_caller(frame))
    if keras is not None:
        own = keras == "keras" and isinstance(loss, KerasLoss)
        advice = "pass the object itself to compile() instead" if own else ""
        raise TypeError(_misread(repr(loss), keras, getattr(loss, "_keras_advice", advice)))


def _caller(frame: types.FrameType) -> str:
    """The module that a call comes from, over what TensorFlow puts between."""
    name: str = frame.f_globals.get("__name__", "")
    while name == _AUTOGRAPH and frame.f_back is not None:
        frame = frame.f_back
        name = frame.f_globals.get("__name__", "")
    return name


def _refuse(loss: Any, keras: str, frame: types.FrameType) -> None:
    """Raise where Keras is about to take an object for a plain function."""
    if not _is_asked_by(keras, frame):
        return
    if _is_for_metric(frame):
        raise TypeError(_mismeasured(repr(loss), keras))
    raise TypeError(_misread(repr(loss), keras, getattr(loss, "_keras_advice", "")))


def _is_asked_by(keras: str, frame: types.FrameType) -> bool:
    """Whether it is a Keras's training that looks at a loss."""
    return bool(frame.f_globals.get("__name__", "").startswith(_ASKING[keras]))


def _is_for_metric(frame: types.FrameType | None) -> bool:
    """Whether a Keras's training looks at a loss as at a metric, as its functions' names say."""
    while frame is not None:
        name = frame.f_code.co_qualname.lower()
        if "metric" in name or "loss" in name:
            return "metric" in name and "loss" not in name
        frame = frame.f_back
    return False


def _misread(loss: str, keras: str, advice: str = "") -> str:
    advice = advice or f"pass omniloss.integrations.{keras}.as_keras(loss) to compile() instead"
    return (
        f"{keras} would take {loss} for a plain function of (y_true, y_pred) and its result for the losses of single samples, "
        f"so that weights give wrong numbers; {advice}"
    )


def _mismeasured(loss: str, keras: str) -> str:
    return (
        f"{keras} would take {loss} for a metric's plain function of (y_true, y_pred) and average its result over batches of "
        "whatever size; for a metric pass a function of omniloss.losses to compile() instead, such as "
        "omniloss.losses.mean_absolute_error"
    )
