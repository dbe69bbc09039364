"""The table of every loss of the Keras dialect, and the way from a loss to its name or JSON and back.

Names are looked up here and in what the caller hands in; nothing is imported or run.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from omniloss import keras_objects
from omniloss.losses import (
    binary,
    crossentropy,
    divergence,
    generalized,
    margin,
    overlap,
    ranking,
    regression,
    sequence,
    similarity,
)
from omniloss.losses.base import Loss, LossFunctionWrapper
from omniloss.losses.checks import suggestion

__all__ = ["ALIASES", "CLASSES", "FUNCTIONS", "deserialize", "get", "serialize"]

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "binary_crossentropy": binary.binary_crossentropy,
    "binary_focal_crossentropy": binary.binary_focal_crossentropy,
    "categorical_crossentropy": crossentropy.categorical_crossentropy,
    "categorical_focal_crossentropy": crossentropy.categorical_focal_crossentropy,
    "categorical_generalized_cross_entropy": generalized.categorical_generalized_cross_entropy,
    "categorical_hinge": margin.categorical_hinge,
    "circle": ranking.circle,
    "cosine_similarity": similarity.cosine_similarity,
    "ctc": sequence.ctc,
    "dice": overlap.dice,
    "hinge": margin.hinge,
    "huber": regression.huber,
    "kl_divergence": divergence.kl_divergence,
    "log_cosh": regression.log_cosh,
    "mean_absolute_error": regression.mean_absolute_error,
    "mean_absolute_percentage_error": regression.mean_absolute_percentage_error,
    "mean_squared_error": regression.mean_squared_error,
    "mean_squared_logarithmic_error": regression.mean_squared_logarithmic_error,
    "poisson": divergence.poisson,
    "sparse_categorical_crossentropy": crossentropy.sparse_categorical_crossentropy,
    "squared_hinge": margin.squared_hinge,
    "tversky": overlap.tversky,
}

CLASSES: dict[str, type[LossFunctionWrapper]] = {
    "BinaryCrossentropy": binary.BinaryCrossentropy,
    "BinaryFocalCrossentropy": binary.BinaryFocalCrossentropy,
    "CTC": sequence.CTC,
    "CategoricalCrossentropy": crossentropy.CategoricalCrossentropy,
    "CategoricalFocalCrossentropy": crossentropy.CategoricalFocalCrossentropy,
    "CategoricalGeneralizedCrossEntropy": generalized.CategoricalGeneralizedCrossEntropy,
    "CategoricalHinge": margin.CategoricalHinge,
    "Circle": ranking.Circle,
    "CosineSimilarity": similarity.CosineSimilarity,
    "Dice": overlap.Dice,
    "Hinge": margin.Hinge,
    "Huber": regression.Huber,
    "KLDivergence": divergence.KLDivergence,
    "LogCosh": regression.LogCosh,
    "MeanAbsoluteError": regression.MeanAbsoluteError,
    "MeanAbsolutePercentageError": regression.MeanAbsolutePercentageError,
    "MeanSquaredError": regression.MeanSquaredError,
    "MeanSquaredLogarithmicError": regression.MeanSquaredLogarithmicError,
    "Poisson": divergence.Poisson,
    "SparseCategoricalCrossentropy": crossentropy.SparseCategoricalCrossentropy,
    "SquaredHinge": margin.SquaredHinge,
    "Tversky": overlap.Tversky,
}

ALIASES: dict[str, Callable[..., Any]] = {
    "BCE": binary.BCE,
    "KLD": divergence.KLD,
    "MAE": regression.MAE,
    "MAPE": regression.MAPE,
    "MSE": regression.MSE,
    "MSLE": regression.MSLE,
    "bce": binary.bce,
    "cosine": similarity.cosine,
    "cosine_proximity": similarity.cosine_proximity,
    "kld": divergence.kld,
    "kullback_leibler_divergence": divergence.kullback_leibler_divergence,
    "logcosh": regression.logcosh,
    "mae": regression.mae,
    "mape": regression.mape,
    "mse": regression.mse,
    "msle": regression.msle,
}

NAMES: dict[str, Callable[..., Any]] = {**FUNCTIONS, **CLASSES, **ALIASES}

# What a serialised loss may be an instance of besides the classes above.
BASES: dict[str, type[Loss]] = {"Loss": Loss, "LossFunctionWrapper": LossFunctionWrapper}

# Keras saves these by their own names.
keras_objects.offer({**FUNCTIONS, **CLASSES, **BASES})

MODULE = "omniloss.losses"
# Modules whose names mean this library's losses; "builtins" is where Keras puts functions.
MODULES = (None, MODULE, "keras.losses", "tf_keras.losses", "builtins")


def get(identifier: Any) -> Any:
    """The loss that an identifier means.

    Args:
        identifier: The name of a function or an alias gives that function, the name of a class an
            instance with its defaults; a dict as `serialize` makes it (``module`` and ``registered_name``
            may be missing) what it describes; a callable itself; a class an instance; None gives None.

    Raises:
        ValueError: It is none of these; the message names the nearest known names.

    Source: `keras.losses.get`.

    >>> from omniloss import losses
    >>> losses.get("mse") is losses.mean_squared_error
    True
    >>> losses.get({"class_name": "Huber", "config": {"delta": 2.0}}).delta
    2.0
    >>> losses.get("hubber")
    Traceback (most recent call last):
    ...
    ValueError: unknown loss 'hubber'; did you mean 'huber' or 'Huber'?
    """
    if identifier is None:
        return None
    if isinstance(identifier, (str, dict)):
        return deserialize(identifier)
    loss = identifier() if isinstance(identifier, type) else identifier
    if callable(loss):
        return loss
    raise ValueError(
        f"a loss is given by its name, a configuration, a callable or None; got {identifier!r}"
    )


def serialize(loss: Any) -> str | dict[str, Any]:
    """A loss as JSON can hold it: what `deserialize` takes.

    Args:
        loss: A loss object: it becomes a dict of ``module``, ``class_name``, ``config`` (from
            ``get_config()``) and ``registered_name`` (None). A function, of this library or your own: it
            becomes its name.

    Raises:
        ValueError: A callable has no name of its own, such as a lambda.
        TypeError: The loss is not callable, or its configuration holds what JSON cannot.

    Source: `keras.losses.serialize`, which makes a dict of a function.

    >>> from omniloss import losses
    >>> losses.serialize(losses.MeanAbsoluteError(reduction="sum"))
    {'module': 'omniloss.losses', 'class_name': 'MeanAbsoluteError',
     'config': {'name': 'mean_absolute_error', 'reduction': 'sum'}, 'registered_name': None}
    >>> losses.serialize(losses.mae)
    'mean_absolute_error'
    """
    if hasattr(loss, "get_config") and not isinstance(loss, type):
        cls = type(loss)
        known = {**CLASSES, **BASES}.get(cls.__name__) is cls
        return {
            "module": MODULE if known else cls.__module__,
            "class_name": cls.__name__,
            "config": _plain(loss.get_config()),
            "registered_name": None,
        }
    if not callable(loss):
        raise TypeError(f"a loss is a loss object or a function; got {loss!r}")
    name = getattr(loss, "__name__", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(
            f"{loss!r} has no name by which it could be found again: it must be a loss of omniloss.losses, or a "
            "function that is defined with `def`"
        )
    return name


def deserialize(
    name: str | Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> Any:
    """The loss that `serialize` wrote.

    Args:
        name: A name or a dict, of `serialize` or of Keras's own (module ``"keras.losses"``), also as
            JSON gives it back. The name of a class gives an instance with its defaults.
        custom_objects: Your own losses by their names, looked up first. What a dict says to be from another module
            than Keras's or this library's is looked up here alone: nothing is imported or run.

    Raises:
        ValueError: The name is unknown, and the nearest known names are given; or the dict has another form.
        TypeError: The class does not take the configuration's options, or ``custom_objects`` is no dict.

    Source: `keras.losses.deserialize`.

    >>> from omniloss import losses
    >>> loss = losses.Huber(delta=0.5)
    >>> losses.deserialize(losses.serialize(loss)) == loss
    True
    """
    if custom_objects is not None and not isinstance(custom_objects, Mapping):
        raise TypeError(
            "`custom_objects` must be a dict of your own losses by their names, {'name': loss}; got "
            f"{custom_objects!r}"
        )
    custom = dict(custom_objects or {})
    if isinstance(name, str):
        found = _look_up(name, None, custom, NAMES)
        return found() if isinstance(found, type) else found
    class_name = name.get("class_name") if isinstance(name, Mapping) else None
    config = name.get("config", {}) if isinstance(name, Mapping) else None
    if class_name == "function" and isinstance(config, str):  # as Keras writes functions
        own = config.removeprefix(f"{keras_objects.PACKAGE}>")  # as it is registered with Keras
        return _look_up(own, name.get("module"), custom, {**FUNCTIONS, **ALIASES})
    if not isinstance(class_name, str) or not isinstance(config, Mapping):
        raise ValueError(
            "a serialised loss is a name or a dict with a 'class_name' and a 'config', which is a dict; got "
            f"{name!r}"
        )
    registered = name.get("registered_name")
    if isinstance(registered, str) and registered in custom:
        class_name = registered
    cls = _look_up(class_name, name.get("module"), custom, {**CLASSES, **BASES})
    if not isinstance(cls, type):
        raise ValueError(f"'class_name' must name a class of losses; got {class_name!r}, {cls!r}")
    config = dict(config)
    if "fn" in config and not callable(config["fn"]):
        config["fn"] = deserialize(config["fn"], custom)
    return cls.from_config(config) if hasattr(cls, "from_config") else cls(**config)


def _look_up(
    name: str, module: str | None, custom: Mapping[str, Any], known: Mapping[str, Any]
) -> Any:
    if name in custom:
        return custom[name]
    # A class of this library that something else has serialised is said to be from the file that defines it.
    if module not in MODULES and getattr(known.get(name), "__module__", None) != module:
        raise ValueError(
            f"unknown loss {name!r} of the module {module!r}, which is not imported: pass "
            f"custom_objects={{{name!r}: ...}}{suggestion(name, custom)}"
        )
    if name not in known:
        raise ValueError(f"unknown loss {name!r}{suggestion(name, [*custom, *known])}")
    return known[name]


def _plain(value: Any) -> Any:
    """A configuration's value as JSON can hold it."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # scalars and arrays of NumPy and its likes
        return value.tolist()
    if callable(value) or hasattr(value, "get_config"):
        return serialize(value)
    raise TypeError(f"a loss's configuration holds {value!r}, which JSON cannot")
