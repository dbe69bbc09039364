"""Settings of the whole library: the default float type and Keras's fuzz factor."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

__all__ = ["Configuration", "config"]

FLOAT_TYPES = ("float16", "bfloat16", "float32", "float64")


_Settings = tuple[str | None, float | None]  # floatx and epsilon
_block: ContextVar[_Settings] = ContextVar("omniloss_config", default=(None, None))
_changing = threading.Lock()


def _settings_of_block() -> _Settings:
    return _block.get()


# What torch.compiler.assume_constant_result says of a function, for users who have torch
_settings_of_block._dynamo_marked_constant = True  # type: ignore[attr-defined]


class Configuration:
    """The settings ``floatx`` and ``epsilon``: read, set, or set for a block.

    ``floatx`` is the dtype that lists and integer predictions become (``"float32"``). ``epsilon`` is
    the distance that the Keras dialect keeps probabilities from 0 and 1 (``1e-7``); 0 turns the
    clipping off and gives exact values. Until they are set here both follow Keras's own settings
    when Keras is loaded.

    Calling the object sets them for a ``with`` block, in the current thread or task only:

    >>> import omniloss
    >>> with omniloss.config(epsilon=0.0):
    ...     omniloss.config.epsilon()
    0.0
    >>> omniloss.config.epsilon()
    1e-07
    """

    def __init__(self) -> None:
        self._floatx: str | None = None
        self._epsilon: float | None = None
        self._blocks: tuple[str, ...] = ()  # what the blocks of all threads have set

    def floatx(self) -> str:
        """The name of the default float type."""
        chosen = self._inner()[0] or self._floatx
        return chosen or (_keras_setting("floatx") or "float32")

    def epsilon(self) -> float:
        """The fuzz factor, a float >= 0."""
        chosen = self._inner()[1]
        if chosen is None:
            chosen = self._epsilon
        if chosen is None:
            chosen = _keras_setting("epsilon")
        return 1e-7 if chosen is None else chosen

    def set_floatx(self, floatx: str) -> None:
        """Set the default float type for the process."""
        self._floatx = _checked_floatx(floatx)

    def set_epsilon(self, epsilon: float) -> None:
        """Set the fuzz factor for the process."""
        self._epsilon = _checked_epsilon(epsilon)

    @contextlib.contextmanager
    def __call__(
        self, *, floatx: str | None = None, epsilon: float | None = None
    ) -> Iterator[None]:
        """Use other settings inside a ``with`` block."""
        outer = _block.get()
        inner = (
            outer[0] if floatx is None else _checked_floatx(floatx),
            outer[1] if epsilon is None else _checked_epsilon(epsilon),
        )
        token = _block.set(inner)
        with _changing:
            self._blocks = (*self._blocks, str(inner))
        try:
            yield
        finally:
            _block.reset(token)
            with _changing:
                place = self._blocks.index(str(inner))
                self._blocks = self._blocks[:place] + self._blocks[place + 1 :]

    def _inner(self) -> _Settings:
        """The settings of the block that the current thread or task is in."""
        # torch.compile cannot watch a ContextVar, and of a number it may not care which one it is. So it
        # watches the texts of all blocks of the process, and compiles anew when they have changed.
        return _settings_of_block() if self._blocks else (None, None)

    def __repr__(self) -> str:
        return f"<config floatx={self.floatx()!r}, epsilon={self.epsilon()!r}>"


def _keras_setting(name: str) -> Any:
    keras = sys.modules.get("keras.src.backend.config")
    read = getattr(keras, name, None)  # absent while Keras is still being imported
    return None if read is None else read()


def _checked_floatx(floatx: str) -> str:
    if floatx not in FLOAT_TYPES:
        raise ValueError(f"`floatx` must be one of {', '.join(FLOAT_TYPES)}; got {floatx!r}")
    return floatx


def _checked_epsilon(epsilon: float) -> float:
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not 0 <= epsilon < 0.5:
        raise ValueError(f"`epsilon` must be a number in [0, 0.5); got {epsilon!r}")
    return float(epsilon)


config = Configuration()
