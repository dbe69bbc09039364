"""Settings of the whole library: the default float type and Keras's fuzz factor."""

from __future__ import annotations

import contextlib
import numbers
import sys
import threading
from contextvars import ContextVar
from typing import Any

__all__ = ["Configuration", "config"]

FLOAT_TYPES = ("float16", "bfloat16", "float32", "float64")


_Settings = tuple[str | None, float | None]  # floatx and epsilon
# The settings of the blocks that the current thread or task is in, the innermost last
_entered: ContextVar[tuple[_Settings, ...]] = ContextVar("omniloss_config", default=())
_changing = threading.Lock()


def _settings_of_block() -> _Settings:
    return (_entered.get() or ((None, None),))[-1]


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

    def __call__(self, *, floatx: str | None = None, epsilon: float | None = None) -> Block:
        """Use other settings inside a ``with`` block, or in a function that this decorates."""
        return Block(
            self,
            None if floatx is None else _checked_floatx(floatx),
            None if epsilon is None else _checked_epsilon(epsilon),
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("floatx", "epsilon"):
            raise AttributeError(
                f"`config.{name}` is a method that gives the setting; set it by config.set_{name}({value!r})"
            )
        super().__setattr__(name, value)

    def _inner(self) -> _Settings:
        """The settings of the block that the current thread or task is in."""
        # torch.compile cannot watch a ContextVar, and of a number it may not care which one it is. So it
        # watches the texts of all blocks of the process, and compiles anew when they have changed.
        return _settings_of_block() if self._blocks else (None, None)

    def __repr__(self) -> str:
        return f"<config floatx={self.floatx()!r}, epsilon={self.epsilon()!r}>"


class Block(contextlib.ContextDecorator):
    """A ``with`` block of other settings, which may be entered any number of times."""

    def __init__(
        self, configuration: Configuration, floatx: str | None, epsilon: float | None
    ) -> None:
        self._configuration, self._floatx, self._epsilon = configuration, floatx, epsilon

    def __enter__(self) -> None:
        floatx, epsilon = _settings_of_block()
        inner = (
            floatx if self._floatx is None else self._floatx,
            epsilon if self._epsilon is None else self._epsilon,
        )
        _entered.set((*_entered.get(), inner))
        with _changing:
            self._configuration._blocks = (*self._configuration._blocks, str(inner))

    def __exit__(self, *error: object) -> None:
        *outer, inner = _entered.get()
        _entered.set(tuple(outer))
        with _changing:
            blocks = self._configuration._blocks
            place = blocks.index(str(inner))
            self._configuration._blocks = blocks[:place] + blocks[place + 1 :]


def _keras_setting(name: str) -> Any:
    keras = sys.modules.get("keras.src.backend.config")
    read = getattr(keras, name, None)  # absent while Keras is still being imported
    return None if read is None else read()


def _checked_floatx(floatx: str) -> str:
    if floatx not in FLOAT_TYPES:
        raise ValueError(f"`floatx` must be one of {', '.join(FLOAT_TYPES)}; got {floatx!r}")
    return floatx


def _checked_epsilon(epsilon: Any) -> float:
    number = isinstance(epsilon, numbers.Real) and not isinstance(epsilon, bool)
    if not number or not 0 <= epsilon < 0.5:
        raise ValueError(f"`epsilon` must be a number in [0, 0.5); got {epsilon!r}")
    return float(epsilon)


config = Configuration()
