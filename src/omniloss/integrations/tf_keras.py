"""Losses as those of tf_keras, the Keras 2 that goes with TensorFlow.

Importing this module tells tf_keras the names by which a saved model knows the losses of this library.
"""

from __future__ import annotations

from typing import Any, Self

import tensorflow as tf
import tf_keras

from omniloss import frameworks, keras_objects, losses
from omniloss.integrations.torch_dialect import TorchDialectLoss, adapted

__all__ = ["AdaptedLoss", "as_keras"]


def as_keras(loss: Any) -> Any:
    """A loss of either dialect as a `tf_keras.losses.Loss`: an `AdaptedLoss`.

    tf_keras aligns weights, applies masks and reduces by its own rules, which are not Keras 3's. So it is only the losses of
    the samples that are this library's.

    Args:
        loss: A loss object of this library, or a loss function, also a `functools.partial` of one. Losses of tf_keras are given
            back as they are.

    Raises:
        TypeError: ``loss`` is none of these, or takes more arrays than an input and a target.
        ValueError: tf_keras has no such reduction.
    """
    return loss if isinstance(loss, tf_keras.losses.Loss) else AdaptedLoss(adapted(loss))


class AdaptedLoss(tf_keras.losses.Loss):  # type: ignore[misc]
    """A loss of this library as tf_keras's own; made by `as_keras`.

    Args:
        loss: A loss object of the Keras dialect.
        name: The loss's name, by default that of ``loss``.
        reduction: One of tf_keras's, by default that of ``loss``.
    """

    def __init__(self, loss: losses.Loss, name: str | None = None, reduction: Any = None) -> None:
        own = {"mean": "sum_over_batch_size", None: "none"}.get(loss.reduction, loss.reduction)
        if reduction is None and own not in tf_keras.losses.Reduction.all():
            raise ValueError(f"tf_keras has no reduction {own!r}, which {loss!r} has")
        super().__init__(reduction=reduction or own, name=name or loss.name)
        self.loss = loss

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The losses of the samples."""
        y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
        if y_pred.dtype.size < 4:
            y_pred = tf.cast(y_pred, tf.float32)
        if isinstance(self.loss, TorchDialectLoss):
            return self._of_torch_dialect(self.loss, y_true, y_pred)
        found = _tensor(self.loss.call(y_true, y_pred))
        ignored = getattr(self.loss, "ignore_class", None)
        if ignored is not None:
            kept = tf.not_equal(tf.cast(y_true, tf.int64), ignored)
            found._keras_mask = tf.reshape(kept, tf.shape(found))
        return found

    def _of_torch_dialect(self, loss: TorchDialectLoss, y_true: Any, y_pred: Any) -> Any:
        """The losses of the samples, such that their mean is divided by what torch divides by."""
        found, counts = _tensor(loss.call(y_true, y_pred)), loss.counts(y_true, y_pred)
        if counts is None or self.reduction in ("sum", "none"):
            return found
        total = tf.cast(tf.reduce_sum(_tensor(counts)), found.dtype)
        return found * tf.math.divide_no_nan(tf.cast(tf.size(found), found.dtype), total)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal loss."""
        return {**super().get_config(), "loss": losses.serialize(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The loss that `get_config` described."""
        known = {"TorchDialectLoss": TorchDialectLoss, **tf_keras.saving.get_custom_objects()}
        return cls(**{**config, "loss": losses.deserialize(config["loss"], known)})


def _tensor(x: Any) -> Any:
    """A result of the library as a tensor."""
    return frameworks.of(x).result(x, x.dtype)


keras_objects.offer({"AdaptedLoss": AdaptedLoss})
