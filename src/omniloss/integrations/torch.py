"""Losses as real modules of PyTorch."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from omniloss.keras_objects import NoKerasLoss

__all__ = ["LossModule", "as_module"]

# The attributes in which losses keep arrays
_ARRAYS = ("weight", "pos_weight")


class LossModule(NoKerasLoss, torch.nn.Module):  # type: ignore[misc]
    """A loss object as a `torch.nn.Module`; made by `as_module`."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        own = copy.copy(loss)
        for name in _ARRAYS:
            array = getattr(loss, name, None)
            if array is not None:
                tensor = array if isinstance(array, torch.Tensor) else torch.tensor(_floats(array))
                self.register_buffer(name, tensor)
                setattr(own, name, None)  # it lives in the buffer alone
        self.loss = own

        distance = getattr(loss, "distance_function", None)
        if isinstance(distance, torch.nn.Module):  # with parameters that are to be trained
            self.distance_function = distance

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The loss for the loss object's own arguments."""
        if not (self._buffers and torch.compiler.is_compiling()):
            loss = self.as_plain() if self._buffers else self.loss
            return loss(*args, **kwargs)
        # torch.compile cannot read an object that is made meanwhile.
        for name, buffer in self._buffers.items():
            setattr(self.loss, name, buffer)
        value = self.loss(*args, **kwargs)
        for name in self._buffers:
            setattr(self.loss, name, None)
        return value

    def as_plain(self) -> Any:
        """A loss object with what the buffers hold now."""
        loss = copy.copy(self.loss)
        for name, buffer in self._buffers.items():
            setattr(loss, name, buffer)
        return loss

    def __getattr__(self, name: str) -> Any:
        """The options of the loss, which torch's own modules have too: ``reduction``, ``ignore_index``, ..."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            loss = self.__dict__.get("loss")
            if loss is None or name not in vars(loss):
                raise
            return getattr(loss, name)

    def extra_repr(self) -> str:
        """The loss object, between the module's parentheses."""
        return repr(self.loss)


def as_module(loss: Any) -> LossModule:
    """A loss object of either dialect as a real `torch.nn.Module`.

    The plain objects are called just as torch's, which is all that a training loop does with them.
    A module is needed where torch looks into it: as a part of another module, for ``.to()``, ``state_dict()``,
    hooks, or `torch.jit` and tools that list modules. Weights of classes and elements become buffers, and a distance
    function that is a module becomes a part.

    Args:
        loss: A loss object, as `omniloss.nn.CrossEntropyLoss(weight=...)` or `omniloss.losses.Huber()`. The module works
            on a copy, which shares a distance function with it.

    Raises:
        TypeError: ``loss`` is a class, a function or a module already.

    >>> import torch
    >>> from omniloss import nn
    >>> from omniloss.integrations.torch import as_module
    >>> loss = as_module(nn.CrossEntropyLoss(weight=[1.0, 3.0]))
    >>> loss.state_dict()["weight"].tolist()
    [1.0, 3.0]
    >>> loss.to(torch.float64)(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([1])).dtype
    torch.float64
    """
    if isinstance(loss, (type, torch.nn.Module)) or not hasattr(loss, "reduction"):
        kind = "" if isinstance(loss, type) else f", of type {_full_name(type(loss))}"
        raise TypeError(
            f"`loss` must be a loss object of omniloss.losses or omniloss.nn; got {loss!r}{kind}"
        )
    return LossModule(loss)


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _floats(array: Any) -> np.ndarray:
    """Weights as torch would hold them; lists have its default dtype."""
    found = np.asarray(array)
    if isinstance(array, np.ndarray) and found.dtype.kind == "f":
        return found
    default = str(torch.get_default_dtype()).removeprefix("torch.")
    return found.astype(default)
