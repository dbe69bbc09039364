"""JAX arrays: compiled losses beside optax's, plain ones beside the same on NumPy, and small calls beside Keras's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax

import omniloss
from benchmarks.harness import OURS, Case, Limit
from omniloss import losses, nn

__all__ = ["SMALL_CALLS", "TABLES", "cases"]

COMPILED = "JAX, compiled by `jit`: means of 16M float32 elements"
EAGER = "JAX arrays outside of `jit`: means of 16M float32 elements"
SMALL_CALLS = "JAX arrays outside of `jit`: one call of a loss object on a (32, 10) float32 batch"
TABLES = (COMPILED, EAGER, SMALL_CALLS)

VALUE, BOTH = "value", "value and gradient"
CLASSES, FEW = 1024, 10


def cases(size: int, calls: int) -> Iterator[Case]:
    """Losses of ``size`` elements, and small calls."""
    for name in _twins():
        for classes in (CLASSES, FEW) if "integer" in name else (CLASSES,):
            for what in (VALUE, BOTH):
                yield _compiled(name, what, size, classes)
    for name in ("MeanSquaredError", "BinaryCrossentropy", "LogCosh", "CategoricalCrossentropy"):
        for what in (VALUE, BOTH):
            yield _eager(name, what, size)
    yield from _small(calls)


Loss = Callable[[Any, Any], Any]


def _twins() -> dict[str, tuple[Loss, Loss]]:
    """Ours and optax's, both as functions of (targets, predictions) to mean over."""
    logits = {"from_logits": True}
    return {
        "squared_error": (losses.MeanSquaredError(), _mean(optax.squared_error)),
        "huber_loss": (losses.Huber(), _mean(optax.huber_loss)),
        "log_cosh": (losses.LogCosh(), _mean(optax.log_cosh)),
        "hinge_loss": (losses.Hinge(labels="signed"), _mean(optax.hinge_loss)),
        "sigmoid_binary_cross_entropy": (
            losses.BinaryCrossentropy(**logits),
            _mean(optax.sigmoid_binary_cross_entropy),
        ),
        "sigmoid_focal_loss": (
            losses.BinaryFocalCrossentropy(**logits),
            _mean(optax.sigmoid_focal_loss),
        ),
        "kl_divergence": (
            lambda y, p: nn.functional.kl_div(p, y, reduction="batchmean"),
            _mean(optax.kl_divergence),
        ),
        "softmax_cross_entropy": (
            losses.CategoricalCrossentropy(**logits),
            _mean(optax.softmax_cross_entropy),
        ),
        "softmax_cross_entropy_with_integer_labels": (
            losses.SparseCategoricalCrossentropy(**logits),
            _mean(optax.softmax_cross_entropy_with_integer_labels),
        ),
        "cosine_similarity": (
            losses.CosineSimilarity(),
            lambda y, p: -jnp.mean(optax.cosine_similarity(p, y)),
        ),
    }


def _mean(loss: Callable[..., Any]) -> Loss:
    return lambda targets, predictions: jnp.mean(loss(predictions, targets))


def _arrays(name: str, size: int, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Targets and predictions as the loss of this name takes them."""
    rng = np.random.default_rng(0)
    shape = (size // classes, classes)
    predictions = rng.standard_normal(shape, np.float32)
    if "integer" in name:
        return rng.integers(0, classes, shape[0]), predictions
    if "hinge" in name:
        return np.where(rng.random(shape) < 0.5, -1, 1).astype(np.float32), predictions
    if "kl" in name or "softmax" in name or "Categorical" in name:
        targets = rng.random(shape, np.float32)
        targets /= targets.sum(-1, keepdims=True)
        if "kl" in name:
            predictions -= np.log(np.exp(predictions).sum(-1, keepdims=True))
        return targets, predictions
    return rng.random(shape, np.float32), predictions


def _compiled(name: str, what: str, size: int, classes: int) -> Case:
    y, p = map(jnp.asarray, _arrays(name, size, classes))
    contenders = {}
    for who, loss in zip((OURS, "optax"), _twins()[name], strict=True):
        run = jax.jit(loss if what == VALUE else jax.value_and_grad(loss, 1))
        contenders[who] = functools.partial(_first, run, y, p)
    least = 3.0 if what == VALUE and name.startswith(("sigmoid_binary", "log_cosh")) else 1.0
    limit = Limit("optax", least, "at least")
    labels = {"loss": name if classes == CLASSES else f"{name}, {classes} classes", "what": what}
    return Case(COMPILED, labels, contenders, limit)


def _first(run: Loss, y: Any, p: Any) -> Any:
    """The value, when all is computed."""
    return jax.tree.leaves(jax.block_until_ready(run(y, p)))[0]


def _loss(name: str) -> Any:
    options = {"from_logits": True} if "Crossentropy" in name else {}
    return getattr(losses, name)(**options)


def _eager(name: str, what: str, size: int) -> Case:
    loss = _loss(name)
    run = loss if what == VALUE else functools.partial(omniloss.value_and_grad, loss)
    arrays = _arrays(name, size)
    contenders = {
        OURS: functools.partial(_first, run, *map(jnp.asarray, arrays)),
        "ours on NumPy": functools.partial(_first, run, *arrays),
    }
    limit = Limit("ours on NumPy", 1.3, "at most")
    return Case(EAGER, {"loss": name, "what": what}, contenders, limit)


def _small(calls: int) -> Iterator[Case]:
    if keras.backend.backend() != "jax":
        raise RuntimeError("the section needs KERAS_BACKEND=jax")
    rng = np.random.default_rng(0)
    y, p = (jnp.asarray(x) for x in rng.random((2, 32, 10), np.float32))
    for name in ("MeanSquaredError", "Huber", "LogCosh", "BinaryCrossentropy"):
        options = {"from_logits": True} if "Crossentropy" in name else {}
        contenders = {
            OURS: functools.partial(_loss(name), y, p),
            "Keras": functools.partial(getattr(keras.losses, name)(**options), y, p),
        }
        limit = Limit("Keras", 10.0, "at least")
        yield Case(SMALL_CALLS, {"loss": name}, contenders, limit, calls=calls)
