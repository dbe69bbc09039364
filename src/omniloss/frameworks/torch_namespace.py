"""What formulas need of the Python array API, in PyTorch's operations."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["OWN_DISPATCH", "Namespace"]

_Flag = bool  # which the namespace has a name of its own for
# What no subclass has replaced
OWN_DISPATCH = torch.Tensor.__torch_dispatch__


class Namespace:
    """The operations on one device."""

    inf = float("inf")
    bool = torch.bool
    int8 = torch.int8
    int64 = torch.int64
    float16 = torch.float16
    bfloat16 = torch.bfloat16
    float32 = torch.float32
    float64 = torch.float64

    abs = staticmethod(torch.abs)
    all = staticmethod(torch.all)
    any = staticmethod(torch.any)
    broadcast_to = staticmethod(torch.broadcast_to)
    concat = staticmethod(torch.concat)
    equal = staticmethod(torch.eq)
    exp = staticmethod(torch.exp)
    finfo = staticmethod(torch.finfo)
    floor = staticmethod(torch.floor)
    full_like = staticmethod(torch.full_like)
    iinfo = staticmethod(torch.iinfo)
    isfinite = staticmethod(torch.isfinite)
    isinf = staticmethod(torch.isinf)
    isnan = staticmethod(torch.isnan)
    log = staticmethod(torch.log)
    log1p = staticmethod(torch.log1p)
    log2 = staticmethod(torch.log2)
    matmul = staticmethod(torch.matmul)
    moveaxis = staticmethod(torch.movedim)
    not_equal = staticmethod(torch.ne)
    ones_like = staticmethod(torch.ones_like)
    reshape = staticmethod(torch.reshape)
    sign = staticmethod(torch.sign)
    sinh = staticmethod(torch.sinh)
    sqrt = staticmethod(torch.sqrt)
    stack = staticmethod(torch.stack)
    stop_gradient = staticmethod(torch.detach)
    tanh = staticmethod(torch.tanh)
    trunc = staticmethod(torch.trunc)
    where = staticmethod(torch.where)
    zeros_like = staticmethod(torch.zeros_like)

    def __init__(self, like: torch.Tensor) -> None:
        self.device = like.device
        # New tensors must be of the same kind where a subclass replaces operations: fake ones, say.
        self._like = like if type(like).__torch_dispatch__ is not OWN_DISPATCH else None

    def arange(self, stop: int, device: Any = None) -> torch.Tensor:
        if self._like is not None:
            return self._like.new_ones(stop, dtype=torch.int64).cumsum(0) - 1
        return torch.arange(stop, device=self.device)

    def asarray(self, x: Any, dtype: Any = None, device: Any = None) -> torch.Tensor:
        if isinstance(x, torch.Tensor):
            return x if dtype is None else x.to(dtype)
        if self._like is not None:
            return self._like.new_tensor(x, dtype=dtype)
        return torch.tensor(x, dtype=dtype, device=self.device)

    @staticmethod
    def argmax(x: torch.Tensor, axis: int | None = None, keepdims: _Flag = False) -> torch.Tensor:
        return torch.argmax(x, dim=axis, keepdim=keepdims)

    @staticmethod
    def astype(x: torch.Tensor, dtype: Any, copy: _Flag = True) -> torch.Tensor:
        return x.to(dtype)

    @staticmethod
    def expand_dims(x: torch.Tensor, axis: int) -> torch.Tensor:
        return torch.unsqueeze(x, axis)

    @staticmethod
    def isdtype(dtype: Any, kind: str | tuple[str, ...]) -> _Flag:
        name = (
            "bool"
            if dtype == torch.bool
            else "real floating"
            if dtype.is_floating_point
            else "complex floating"
            if dtype.is_complex
            else "integral"
        )
        return name == kind or (isinstance(kind, tuple) and name in kind)

    @staticmethod
    def max(x: torch.Tensor, axis: int, keepdims: _Flag = False) -> torch.Tensor:
        return torch.amax(x, dim=axis, keepdim=keepdims)

    @staticmethod
    def squeeze(x: torch.Tensor, axis: int) -> torch.Tensor:
        return torch.squeeze(x, dim=axis)

    @staticmethod
    def sum(x: torch.Tensor, axis: Any = None, keepdims: _Flag = False) -> torch.Tensor:
        return torch.sum(x, dim=axis, keepdim=keepdims)

    @staticmethod
    def take(x: torch.Tensor, indices: torch.Tensor, axis: int = 0) -> torch.Tensor:
        return torch.index_select(x, axis, indices)

    @staticmethod
    def take_along_axis(x: torch.Tensor, indices: torch.Tensor, axis: int = -1) -> torch.Tensor:
        return torch.take_along_dim(x, indices, dim=axis)

    def full(self, shape: Any, value: Any, dtype: Any = None, device: Any = None) -> torch.Tensor:
        return self.asarray(value, dtype=dtype).expand(shape).clone()

    def zeros(self, shape: Any, dtype: Any = None, device: Any = None) -> torch.Tensor:
        return self.full(shape, 0.0, dtype=dtype)
