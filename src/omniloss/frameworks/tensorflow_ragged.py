"""Ragged tensors of TensorFlow: the losses of their rows, as tf.keras takes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import tensorflow as tf

from omniloss.problem import StandIn

__all__ = ["stand_in"]


def stand_in(call: Any) -> StandIn:
    """A `Call` with the dense values of ragged targets and predictions.

    Where the last axis is ragged, each element is a row, and its losses are averaged over that axis.
    """
    plan, names = call.plan, call.plan.names
    targets, predictions = call.targets, call.predictions
    if plan.torch or plan.axis != -1 or plan.ignore is not None:
        raise ValueError(
            "ragged tensors are taken by losses of the Keras dialect, along the last axis and with no class "
            "ignored"
        )
    for x, name in ((targets, names.targets), (predictions, names.predictions)):
        if not isinstance(x, tf.RaggedTensor):
            raise TypeError(
                f"`{names.targets}` and `{names.predictions}` must both be ragged tensors where one of them is; "
                f"got `{name}` of {type(x).__name__}"
            )
    by_element = predictions.flat_values.shape.rank == 1
    if by_element and plan.formula.kind == "rowwise":
        raise ValueError(
            f"the classes of `{names.predictions}` must lie along an axis that is not ragged; got shape "
            f"{predictions.shape}"
        )
    message = f"`{names.targets}` and `{names.predictions}` must have rows of the same lengths"
    splits = zip(targets.nested_row_splits, predictions.nested_row_splits, strict=False)
    pairs = ([tf.cast(x, tf.int64) for x in pair] for pair in splits)
    with tf.control_dependencies([tf.debugging.assert_equal(*pair, message) for pair in pairs]):
        dense = [tf.identity(x.flat_values) for x in (targets, predictions)]
    like = predictions  # of the shape of the losses
    if by_element:
        dense = [tf.expand_dims(x, -1) for x in dense]
        like = predictions.row_lengths(predictions.ragged_rank)

    def samples(losses: tf.Tensor) -> tuple[Any, Any, Any]:
        if by_element:
            places = predictions.nested_value_rowids()[-1]
            losses = tf.math.unsorted_segment_mean(losses, places, tf.size(like))
        return losses, _fitted(call.weights, like), _fitted(call.mask, like)

    return StandIn(
        replace(call, targets=dense[0], predictions=dense[1], weights=None, mask=None, rule=None),
        losses=lambda x: like.with_flat_values(x) if isinstance(like, tf.RaggedTensor) else x,
        samples=samples,
    )


def _fitted(x: Any, losses: Any) -> Any:
    """Weights or a mask for the flat losses: ragged as they are, or one for each item of the batch."""
    if x is None or not isinstance(losses, tf.RaggedTensor):
        return x
    if isinstance(x, tf.RaggedTensor):
        return x.flat_values
    x = tf.convert_to_tensor(x)
    if x.shape.rank == 0:
        return x
    rows = losses.value_rowids()
    for splits in losses.nested_row_splits[1:]:
        rows = tf.repeat(rows, splits[1:] - splits[:-1])
    return tf.gather(tf.reshape(x, (-1,)), rows)
