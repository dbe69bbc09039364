"""Ragged tensors of TensorFlow: the losses of their rows, as tf.keras takes them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

__all__ = ["Rows", "fitted", "flat"]


class Rows:
    """Ragged targets and predictions as dense ones, and the way from these one's losses to ragged losses.

    Where the last axis is ragged, each element is a row, and its losses are averaged over that axis.
    """

    def __init__(self, targets: Any, predictions: Any, names: tuple[str, str], *, rowwise: bool):
        for x, name in ((targets, names[0]), (predictions, names[1])):
            if not isinstance(x, tf.RaggedTensor):
                raise TypeError(
                    f"`{names[0]}` and `{names[1]}` must both be ragged tensors where one of them is; got "
                    f"`{name}` of {type(x).__name__}"
                )
        self._like = predictions
        self._by_element = predictions.flat_values.shape.rank == 1
        if rowwise and self._by_element:
            raise ValueError(
                f"the classes of `{names[1]}` must lie along an axis that is not ragged; got shape "
                f"{predictions.shape}"
            )
        message = f"`{names[0]}` and `{names[1]}` must have rows of the same lengths"
        splits = zip(targets.nested_row_splits, predictions.nested_row_splits, strict=False)
        with tf.control_dependencies(
            [
                tf.debugging.assert_equal(tf.cast(a, tf.int64), tf.cast(b, tf.int64), message)
                for a, b in splits
            ]
        ):
            self.targets = self._dense(targets)
            self.predictions = self._dense(predictions)

    def _dense(self, x: tf.RaggedTensor) -> tf.Tensor:
        values = tf.identity(x.flat_values)
        return tf.expand_dims(values, -1) if self._by_element else values

    def losses(self, losses: tf.Tensor) -> Any:
        """The losses of the dense rows as those of the ragged ones, which are dense with one ragged axis less."""
        ragged = self._like.with_flat_values(losses)
        if not self._by_element:
            return ragged
        total = tf.reduce_sum(ragged, axis=-1)
        splits = ragged.nested_row_splits[-1]
        mean = tf.math.divide_no_nan(flat(total), tf.cast(splits[1:] - splits[:-1], losses.dtype))
        return total.with_flat_values(mean) if isinstance(total, tf.RaggedTensor) else mean


def flat(losses: Any) -> tf.Tensor:
    """All losses along one axis, or those of axes that are not ragged as they are."""
    return losses.flat_values if isinstance(losses, tf.RaggedTensor) else losses


def fitted(x: Any, losses: Any) -> Any:
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
