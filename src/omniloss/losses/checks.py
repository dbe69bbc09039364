"""The Keras dialect's checks of options: each gives the value back or raises one clear error."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from omniloss.configuration import FLOAT_TYPES
from omniloss.reduction import KERAS_RULES

__all__ = [
    "checked_axes",
    "checked_axis",
    "checked_choice",
    "checked_dtype",
    "checked_flag",
    "checked_integer",
    "checked_name",
    "checked_number",
    "checked_numbers",
    "checked_reduction",
    "suggestion",
]


def checked_number(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
) -> float:
    """A finite number in [low, high]; with ``above`` it is not low, with ``below`` not high."""
    if isinstance(value, bool) or not _is_number(value):
        raise TypeError(f"`{name}` must be a number; got {value!r}{_misplaced(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    inside = (low < number if above else low <= number) and (
        number < high if below else number <= high
    )
    if not inside or abs(number) == math.inf:
        left = f"({low:g}" if above or math.isinf(low) else f"[{low:g}"
        right = f"{high:g})" if below or math.isinf(high) else f"{high:g}]"
        raise ValueError(f"`{name}` must lie in {left}, {right}; got {value!r}")
    return number


def checked_numbers(
    name: str, value: Any, low: float = -math.inf, high: float = math.inf
) -> float | tuple[float, ...]:
    """A finite number in [low, high], or a list of such numbers, not an empty one."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        return checked_number(name, value, low, high)
    if not value:
        raise ValueError(f"`{name}` must not be empty; got {value!r}")
    return tuple(
        checked_number(f"{name}[{index}]", item, low, high) for index, item in enumerate(value)
    )


def checked_integer(name: str, value: Any) -> int:
    """An integer, of Python or NumPy."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"`{name}` must be an integer; got {value!r}{_misplaced(value)}")
    return int(value) if isinstance(value, int) else int(value.__index__())


def checked_axis(axis: Any) -> int:
    """The axis along which a loss forms its rows."""
    if isinstance(axis, bool) or not hasattr(type(axis), "__index__"):
        raise ValueError(
            f"`axis` must be of type `int`. Received: axis={axis!r} of type {type(axis)}{_misplaced(axis)}"
        )
    return int(axis) if isinstance(axis, int) else int(axis.__index__())


def checked_axes(axis: Any) -> tuple[int, ...] | None:
    """The axes that a set goes over: an integer, a list or tuple of them, or None for all."""
    if axis is None:
        return None
    axes = tuple(axis) if isinstance(axis, (list, tuple)) else (axis,)
    if not axes or any(isinstance(a, bool) or not hasattr(type(a), "__index__") for a in axes):
        raise ValueError(
            f"`axis` must be None, an integer or a tuple of integers, not an empty one; got {axis!r}"
            f"{_misplaced(axis)}"
        )
    return tuple(a.__index__() for a in axes)


def checked_flag(name: str, value: Any) -> bool:
    """A bool, of Python or NumPy, or the integers 0 and 1."""
    if not _is_number(value) or value not in (0, 1):
        raise TypeError(f"`{name}` must be True or False; got {value!r}{_misplaced(value)}")
    return bool(value)


def checked_choice(name: str, value: Any, allowed: Iterable[str]) -> Any:
    """One of the allowed strings."""
    allowed = tuple(allowed)
    if value not in allowed:
        expected = ", ".join(map(repr, allowed))
        raise ValueError(f"`{name}` must be one of {expected}; got {value!r}{_misplaced(value)}")
    return value


def checked_reduction(reduction: Any) -> str | None:
    """A reduction of the Keras dialect."""
    if not (reduction is None or isinstance(reduction, str)) or reduction not in KERAS_RULES:
        names = [name for name in KERAS_RULES if name is not None]
        raise ValueError(
            f"Invalid value for argument `reduction`: {reduction!r}; expected "
            f"{', '.join(map(repr, names))} or None{suggestion(reduction, names)}"
        )
    return reduction


def checked_name(name: Any, default: str) -> str:
    """A loss's name, or the default one; a reduction in its place, where tf.keras has it, is refused.

    A default that is a reduction's name stays allowed as a string, lest a configuration be refused that
    the loss itself has given.
    """
    if name is None:
        return default
    if not isinstance(name, str):
        raise TypeError(f"`name` must be a string or None; got {name!r}")
    if name in KERAS_RULES and (type(name) is not str or name != default):
        raise ValueError(
            f"`name` must be a string that is not a reduction's; got {name!r}{_misplaced(name)}"
        )
    return name or default


def checked_dtype(dtype: Any) -> str | None:
    """The name of a float type: from a name, a NumPy dtype or type, or an object with a `compute_dtype`."""
    if dtype is None:
        return None
    wanted = getattr(dtype, "compute_dtype", dtype)
    name = getattr(wanted, "name", None) or getattr(wanted, "__name__", None) or wanted
    if not isinstance(name, str) or name not in FLOAT_TYPES:
        raise ValueError(
            f"`dtype` must name one of {', '.join(FLOAT_TYPES)} or have such a `compute_dtype`; got "
            f"{dtype!r}{suggestion(name, FLOAT_TYPES)}{_misplaced(dtype)}"
        )
    return name


def suggestion(got: Any, known: Iterable[str]) -> str:
    """What the user may have meant: the nearest known names, as the end of a message."""
    if not isinstance(got, str):
        return ""
    import difflib  # only an error needs it

    near = difflib.get_close_matches(got, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _is_number(value: Any) -> bool:
    """Whether a value is a single real number: of Python, or a scalar of an array library."""
    if isinstance(value, (int, float)):
        return True
    return (
        hasattr(type(value), "__float__")
        and getattr(value, "shape", ()) == ()
        and not isinstance(value, complex)
    )


def _misplaced(value: Any) -> str:
    if isinstance(value, str) and value in KERAS_RULES:
        return f", which is a reduction: pass it by keyword, reduction={str(value)!r}"
    return ""
