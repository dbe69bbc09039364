"""Tensors of TensorFlow's graphs whose number of axes is not known: their rows one after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import tensorflow as tf

from omniloss.problem import StandIn

__all__ = ["stand_in"]


def stand_in(call: Any) -> StandIn | None:
    """A `Call` with rows that lie along one axis, for one with arrays of unknown rank."""
    plan, predictions = call.plan, call.predictions
    if not any(map(_is_unranked, (predictions, call.targets, call.weights, call.mask))):
        return None
    if plan.torch or plan.axis != -1:
        raise ValueError(
            "tensors of unknown rank are taken by losses of the Keras dialect, along the last axis; elsewhere "
            "give them their number of axes with tf.ensure_shape"
        )
    predictions = tf.convert_to_tensor(predictions)
    targets, rows = _rows(call.targets, predictions, plan.formula.labels, plan.names[:2])
    weights, mask = (_weights(x, predictions) for x in (call.weights, call.mask))
    return StandIn(
        replace(call, targets=targets, predictions=rows, weights=weights, mask=mask),
        losses=lambda x: tf.reshape(x, tf.shape(predictions)[:-1]),
        gradient=lambda x: tf.reshape(x, tf.shape(predictions)),
    )


def _is_unranked(x: Any) -> bool:
    unranked = getattr(getattr(x, "shape", ()), "rank", 0) is None
    return unranked and not hasattr(x, "indices")  # as the slices have that are refused


def _rows(targets: Any, predictions: tf.Tensor, labels: bool, names: tuple[str, str]) -> Any:
    targets, shape = tf.convert_to_tensor(targets), tf.shape(predictions)
    message = f"`{names[0]}` and `{names[1]}` must have as many items"
    first = tf.debugging.assert_equal(tf.shape(targets)[:1], shape[:1], message)
    with tf.control_dependencies([first]):  # of the rest a reshape sees to the number of elements
        rows = tf.reshape(predictions, tf.stack([-1, shape[-1]]))
        return tf.reshape(targets, [-1] if labels else tf.shape(rows)), rows


def _weights(x: Any, predictions: tf.Tensor) -> Any:
    """Weights or a mask for flat rows, broadcast to those of the predictions."""
    if x is None:
        return None
    x, rows = tf.convert_to_tensor(x), tf.shape(predictions)[:-1]
    shape = tf.shape(x)
    extra = tf.maximum(tf.size(shape) - tf.size(rows), 0)  # a last axis of 1
    x = tf.reshape(x, shape[: tf.size(shape) - extra])
    return tf.reshape(tf.broadcast_to(x, rows), [-1])
