"""Losses as Keras 3's own, in `compile` and in saved models.

Importing this module tells Keras the names by which a saved model knows the losses of this library.
"""

from __future__ import annotations

from typing import Any

import keras

from omniloss import keras_objects
from omniloss.integrations.torch_dialect import TorchDialectLoss, adapted

__all__ = ["TorchDialectLoss", "as_keras"]

keras_objects.register()


def as_keras(loss: Any) -> Any:
    """A loss of either dialect as an instance of `keras.losses.Loss`.

    Loss objects of `omniloss.losses` are given back as they are: with Keras loaded, they are such instances, whenever they
    were made. Functions of ``(y_true, y_pred)`` become a `omniloss.losses.LossFunctionWrapper`, and losses of
    `omniloss.nn`, objects, modules of `omniloss.integrations.torch.as_module` and functions, a `TorchDialectLoss`.

    Args:
        loss: A loss object of this library or of Keras, or a loss function, also a `functools.partial` of one.

    Raises:
        TypeError: ``loss`` is none of these, or takes more arrays than an input and a target.

    >>> import keras
    >>> from omniloss import losses, nn
    >>> from omniloss.integrations.keras import as_keras
    >>> loss = as_keras(nn.CrossEntropyLoss(label_smoothing=0.1))
    >>> isinstance(loss, keras.losses.Loss)
    True
    >>> float(loss([2, 0], [[0.0, 0.0, 3.0], [1.0, 1.0, 1.0]], sample_weight=[1.0, 0.0])) == float(
    ...     nn.CrossEntropyLoss(label_smoothing=0.1)([[0.0, 0.0, 3.0]], [2])) / 2
    True
    """
    return loss if isinstance(loss, keras.losses.Loss) else adapted(loss)
