"""Helpers around labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from omniloss.frameworks.numpy import NUMPY, refuse_masked
from omniloss.losses.checks import checked_integer

__all__ = ["to_categorical"]


def to_categorical(int_labels: Any, num_classes: int | None = None) -> np.ndarray:
    """One-hot rows of class indices, for the categorical losses.

    Args:
        int_labels: Class indices, integers in [0, num_classes), which floats may hold, of any shape; a
            last axis of size 1 is dropped where there are others.
        num_classes: How many classes there are, an integer >= 1; by default the largest index plus 1.

    Returns:
        A float64 array with the class axis last: 1 at the label, 0 elsewhere.

    Raises:
        ValueError: A label is negative, not an integer, or not below ``num_classes`` (Keras wraps or rounds it),
            there is none to find ``num_classes`` by, or an array cannot hold so many classes.
        TypeError: The labels are not numbers, or a masked array.

    Source: `keras.utils.to_categorical`, Keras 3.

    >>> to_categorical([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    refuse_masked(int_labels, "int_labels", "pass its compressed(), the labels that are not masked")
    labels = NUMPY.asarray(int_labels, "int_labels")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if num_classes is not None:
        num_classes = checked_integer("num_classes", num_classes)
        if num_classes < 1:
            raise ValueError(f"`num_classes` must be at least 1; got {num_classes}")
    elif labels.size == 0:
        raise ValueError("`num_classes` must be given where there are no labels to find it by")
    high = np.inf if num_classes is None else num_classes
    fits = (labels >= 0) & (labels < high) & (labels == np.floor(labels))
    if not fits.all():
        index = tuple(map(int, np.argwhere(~fits)[0]))
        end = "" if num_classes is None else f" in [0, {num_classes})"
        place = f"int_labels[{', '.join(map(str, index))}]" if index else "int_labels"
        expected = f"integers{end}" if end else "integers >= 0"
        raise ValueError(f"`int_labels` must hold {expected}; got {place} = {labels[index]}")
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    try:
        rows = np.zeros((*labels.shape, classes))
    except ValueError:  # beyond what an array can have
        cause = f"`num_classes` is {num_classes}"
        if num_classes is None:
            cause = f"`int_labels` holds {labels.max()}"
        raise ValueError(f"{cause}: more classes than an array can hold") from None
    np.put_along_axis(rows, labels.astype(np.int64)[..., np.newaxis], 1.0, axis=-1)
    return rows
