"""TensorFlow's eager tensors: plain losses beside the same on NumPy, and small calls beside Keras's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

import omniloss
from benchmarks.harness import OURS, Case, Limit
from omniloss import losses

__all__ = ["SMALL_CALLS", "TABLES", "cases"]

EAGER = "TensorFlow's eager tensors: means of 16M float32 elements"
SMALL_CALLS = "TensorFlow's eager tensors: one call of a loss object on a (32, 10) float32 batch"
TABLES = (EAGER, SMALL_CALLS)

VALUE, BOTH, TAPE = "value", "value and gradient", "gradient by `GradientTape`"
NAMES = ("MeanSquaredError", "BinaryCrossentropy", "LogCosh", "CategoricalCrossentropy")
CLASSES = 1024

Loss = Callable[[Any, Any], Any]


def cases(size: int, calls: int) -> Iterator[Case]:
    """Losses of ``size`` elements, and small calls."""
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError("the section needs KERAS_BACKEND=tensorflow")
    for name in NAMES:
        for what in (VALUE, BOTH, TAPE):
            yield _eager(name, what, size)
    for name in (*NAMES, "Huber"):
        yield from _small(name, calls)


def _loss(module: Any, name: str) -> Any:
    options = {"from_logits": True} if "Crossentropy" in name else {}
    return getattr(module, name)(**options)


def _arrays(name: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y, p = rng.random((2, *shape), np.float32)
    return (y / y.sum(-1, keepdims=True) if "Categorical" in name else y), p


def _by_tape(loss: Loss, y: Any, p: Any) -> Any:
    """The value, when a tape has given the gradient."""
    import tensorflow as tf  # in the process of this section alone

    with tf.GradientTape() as tape:
        tape.watch(p)
        value = loss(y, p)
    tape.gradient(value, p)
    return value


def _eager(name: str, what: str, size: int) -> Case:
    import tensorflow as tf

    loss = _loss(losses, name)
    arrays = _arrays(name, (size // CLASSES, CLASSES))
    tensors = tuple(map(tf.constant, arrays))

    def both(y: Any, p: Any) -> Any:
        return omniloss.value_and_grad(loss, y, p)[0]

    ours = {VALUE: loss, BOTH: both, TAPE: functools.partial(_by_tape, loss)}[what]
    contenders = {
        OURS: functools.partial(ours, *tensors),
        "ours on NumPy": functools.partial(loss if what == VALUE else both, *arrays),
    }
    limit = Limit("ours on NumPy", 1.3, "at most")
    return Case(EAGER, {"loss": name, "what": what}, contenders, limit)


def _small(name: str, calls: int) -> Iterator[Case]:
    import tensorflow as tf

    y, p = map(tf.constant, _arrays(name, (32, 10)))
    ours, theirs = _loss(losses, name), _loss(keras.losses, name)
    for what, least in ((VALUE, 10.0), (TAPE, 3.0)):
        contenders = {}
        for who, loss in ((OURS, ours), ("Keras", theirs)):
            run = loss if what == VALUE else functools.partial(_by_tape, loss)
            contenders[who] = functools.partial(run, y, p)
        limit = Limit("Keras", least, "at least")
        yield Case(SMALL_CALLS, {"loss": name, "what": what}, contenders, limit, calls=calls)
