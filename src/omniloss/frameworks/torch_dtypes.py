"""PyTorch: the dtype of a loss of tensors whose dtypes differ, loss by loss as torch has it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch

__all__ = ["promoted"]

_Dtypes = list[torch.dtype]


def promoted(call: Any) -> tuple[Any, torch.dtype | None]:
    """A `Call`'s input in the dtype that torch computes the loss in, and the loss's dtype where it is another.

    Only tensors count: lists, numbers and NumPy arrays follow the input.
    """
    x, how = call.predictions, call.plan.promotion
    rule = _RULES.get(how)
    if rule is None or not isinstance(x, torch.Tensor) or x.dtype.is_complex:
        return x, None
    arrays = (call.targets,) if how in _OF_TARGETS else (call.targets, *call.others)
    # Beside an array with axes one without has no say.
    others = [y.dtype for y in arrays if isinstance(y, torch.Tensor) and (y.ndim or not x.ndim)]
    dtype = rule(x.dtype, others)
    value = others[0] if how == "target" and others and others[0].is_floating_point else None
    return x if dtype == x.dtype else x.to(dtype), value


def _all(x: torch.dtype, others: Iterable[torch.dtype]) -> torch.dtype:
    return functools.reduce(torch.promote_types, others, x)


def _float(x: torch.dtype) -> torch.dtype:
    return x if x.is_floating_point else torch.get_default_dtype()


def _floats(x: torch.dtype, others: _Dtypes) -> torch.dtype:
    return _all(x, others) if x.is_floating_point else x


def _pairs(x: torch.dtype, others: _Dtypes) -> torch.dtype:
    return functools.reduce(torch.promote_types, (_float(_all(x, [y])) for y in others))


# By `Plan.promotion`
_RULES: dict[str, Callable[[torch.dtype, _Dtypes], torch.dtype]] = {
    "all": _all,
    "floats": _floats,
    "target": _floats,
    "input to float": lambda x, others: _all(_float(x), others),
    "each to float": lambda x, others: _all(_float(x), map(_float, others)),
    "all to float": lambda x, others: _float(_all(x, others)),
    "pairs to float": _pairs,
}
_OF_TARGETS = ("floats", "target", "input to float", "each to float")
