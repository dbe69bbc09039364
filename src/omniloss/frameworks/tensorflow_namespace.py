"""TensorFlow's tensors with the manners of the Python array API, as far as formulas need it.

TensorFlow's operators refuse two types that differ, booleans that are added, and floats beside integers, its
shapes hold None where a graph leaves a size open, and no namespace of its own has ``astype``. So formulas see
an `Array` around each tensor, whose sizes are numbers, or where they are open a `Size` to calculate with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["NAMESPACE", "Array", "Size", "bare"]

_Flag = bool  # which the namespace below has a name of its own for


class Size:
    """A size that is only known when a graph runs.

    It is taken to be equal to every other size but 0 and 1, since nothing else would make sense; where arrays
    meet, TensorFlow's own operations see to it.
    """

    def __init__(self, tensor: tf.Tensor) -> None:
        self.tensor = tensor  # int64, of no axes

    def __eq__(self, other: object) -> bool:
        return not isinstance(other, int) or other > 1

    def __hash__(self) -> int:
        return hash(Size)

    def __mul__(self, other: Any) -> Size:
        return Size(self.tensor * _size_tensor(other))

    __rmul__ = __mul__

    def __add__(self, other: Any) -> Size:
        return Size(self.tensor + _size_tensor(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Size:
        return Size(self.tensor - _size_tensor(other))

    def __rtruediv__(self, other: Any) -> Array:
        """A part of it, 0 of no elements."""
        part = _size_tensor(other) if isinstance(other, (int, Size)) else bare(other)
        divisor = tf.cast(self.tensor, tf.float64)
        return Array(tf.math.divide_no_nan(tf.cast(part, tf.float64), divisor))

    def __truediv__(self, other: Any) -> Array:
        quotient = tf.cast(self.tensor, tf.float64)
        divisor = tf.cast(_size_tensor(other), tf.float64)
        return Array(tf.math.divide_no_nan(quotient, divisor))

    def _must_be_known(self, *others: Any) -> Any:
        raise TypeError(
            "this loss needs a size that is open here to be known when the graph is made; give the tensor its "
            "shape with tf.ensure_shape"
        )

    __int__ = __index__ = __lt__ = __le__ = __gt__ = __ge__ = _must_be_known

    def __repr__(self) -> str:
        return "None"


def _size_tensor(size: Any) -> Any:
    return size.tensor if isinstance(size, Size) else tf.constant(size, tf.int64)


class Array:
    """A tensor that calculates as the standard says.

    Of two floating types the wider one decides, but an array of no axes never does; integers and booleans
    follow floats.
    """

    __slots__ = ("_shape", "tensor")
    __array_ufunc__ = None  # NumPy's scalars leave the operation to this class

    def __init__(self, tensor: tf.Tensor) -> None:
        self.tensor = tensor
        self._shape: tuple[Any, ...] | None = None

    @property
    def shape(self) -> tuple[Any, ...]:
        """The sizes, each a number or a `Size`."""
        if self._shape is None:
            sizes = self.tensor.shape
            if sizes.rank is None:
                raise ValueError(
                    "a tensor of unknown rank; give it its number of axes with tf.ensure_shape"
                )
            self._shape = tuple(
                self._open_size(axis) if size is None else size
                for axis, size in enumerate(sizes.as_list())
            )
        return self._shape

    def _open_size(self, axis: int) -> Size:
        return Size(tf.shape(self.tensor, out_type=tf.int64)[axis])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> tf.DType:
        return self.tensor.dtype

    @property
    def device(self) -> str:
        return self.tensor.device

    def __getitem__(self, key: Any) -> Array:
        return Array(self.tensor[key])

    def __len__(self) -> int:
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.tensor, dtype)

    def __bool__(self) -> bool:
        return bool(self.tensor)

    def __int__(self) -> int:
        return int(self.tensor)

    def __float__(self) -> float:
        return float(self.tensor)

    def __add__(self, other: Any) -> Array:
        return _calculate(tf.add, self, other)

    def __radd__(self, other: Any) -> Array:
        return _calculate(tf.add, other, self)

    def __sub__(self, other: Any) -> Array:
        return _calculate(tf.subtract, self, other)

    def __rsub__(self, other: Any) -> Array:
        return _calculate(tf.subtract, other, self)

    def __mul__(self, other: Any) -> Array:
        return _calculate(tf.multiply, self, other)

    def __rmul__(self, other: Any) -> Array:
        return _calculate(tf.multiply, other, self)

    def __truediv__(self, other: Any) -> Array:
        return _calculate(tf.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Array:
        return _calculate(tf.truediv, other, self)

    def __mod__(self, other: Any) -> Array:
        return _calculate(tf.math.floormod, self, other)

    def __pow__(self, other: Any) -> Array:
        return _calculate(tf.pow, self, other)

    def __rpow__(self, other: Any) -> Array:
        return _calculate(tf.pow, other, self)

    def __neg__(self) -> Array:
        return Array(-self.tensor)

    def __invert__(self) -> Array:
        return Array(~self.tensor)

    def __and__(self, other: Any) -> Array:
        return _calculate(tf.logical_and, self, other)

    def __or__(self, other: Any) -> Array:
        return _calculate(tf.logical_or, self, other)

    def __lt__(self, other: Any) -> Array:
        return _calculate(tf.less, self, other)

    def __le__(self, other: Any) -> Array:
        return _calculate(tf.less_equal, self, other)

    def __gt__(self, other: Any) -> Array:
        return _calculate(tf.greater, self, other)

    def __ge__(self, other: Any) -> Array:
        return _calculate(tf.greater_equal, self, other)

    def __eq__(self, other: object) -> Array:  # type: ignore[override]
        return _calculate(tf.equal, self, other)

    def __ne__(self, other: object) -> Array:  # type: ignore[override]
        return _calculate(tf.not_equal, self, other)

    __hash__ = None  # type: ignore[assignment]


def bare(x: Any) -> Any:
    """The tensor of an array; anything else as it is."""
    return x.tensor if isinstance(x, (Array, Size)) else x


def _calculate(operation: Callable[..., tf.Tensor], first: Any, second: Any) -> Array:
    return Array(operation(*_of_one_type(bare(first), bare(second))))


def _of_one_type(first: Any, second: Any) -> tuple[Any, Any]:
    """Two tensors, or a tensor and a number, of the type in which they meet."""
    if not isinstance(first, tf.Tensor):
        array = _for_number(second, first)
        return tf.constant(first, array.dtype), array
    if not isinstance(second, tf.Tensor):
        array = _for_number(first, second)
        return array, tf.constant(second, array.dtype)
    if first.dtype == second.dtype:
        return first, second
    dtype = _common_type(first, second)
    return tf.cast(first, dtype), tf.cast(second, dtype)


def _for_number(array: tf.Tensor, number: Any) -> tf.Tensor:
    """An array in a type that can hold a number of Python's."""
    dtype = array.dtype
    if dtype.is_floating or (dtype.is_bool and isinstance(number, bool)):
        return array
    if isinstance(number, int):
        return array if dtype.is_integer and dtype.min <= number <= dtype.max else _whole(array)
    return tf.cast(array, tf.float64)


def _whole(array: tf.Tensor) -> tf.Tensor:
    return tf.cast(array, tf.int64)


def _common_type(first: tf.Tensor, second: tf.Tensor) -> tf.DType:
    floats = [x for x in (first, second) if x.dtype.is_floating]
    if not floats:
        return tf.int64
    with_axes = [x for x in floats if x.shape.rank != 0] or floats
    return max((x.dtype for x in with_axes), key=lambda dtype: dtype.size)


def _shape(shape: Any) -> Any:
    """A shape as TensorFlow takes it, of numbers and sizes that are open."""
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    if any(isinstance(size, Size) for size in sizes):
        return tf.stack([_size_tensor(size) for size in sizes])
    return sizes


class _Namespace:
    """The functions of the array API that formulas call, on arrays."""

    inf = math.inf
    bool = tf.bool
    int8 = tf.int8
    int64 = tf.int64
    float16 = tf.float16
    bfloat16 = tf.bfloat16
    float32 = tf.float32
    float64 = tf.float64

    @staticmethod
    def abs(x: Any) -> Array:
        return Array(tf.abs(bare(x)))

    @staticmethod
    def all(x: Any, axis: Any = None, keepdims: _Flag = False) -> Array:
        return Array(tf.reduce_all(bare(x), axis=axis, keepdims=keepdims))

    @staticmethod
    def any(x: Any, axis: Any = None, keepdims: _Flag = False) -> Array:
        return Array(tf.reduce_any(bare(x), axis=axis, keepdims=keepdims))

    @staticmethod
    def arange(stop: Any, device: Any = None) -> Array:
        return Array(tf.range(_size_tensor(stop)))

    @staticmethod
    def argmax(x: Any, axis: int | None = None, keepdims: _Flag = False) -> Array:
        x = tf.reshape(bare(x), (-1,)) if axis is None else bare(x)
        axis = 0 if axis is None else axis
        found = tf.argmax(x, axis=axis)
        return Array(tf.expand_dims(found, axis) if keepdims else found)

    @staticmethod
    def asarray(x: Any, dtype: Any = None, device: Any = None) -> Array:
        x = bare(x)
        if isinstance(x, tf.Tensor):
            return Array(x if dtype is None else tf.cast(x, dtype))
        return Array(tf.convert_to_tensor(x, dtype=dtype))

    @staticmethod
    def astype(x: Any, dtype: Any, copy: _Flag = True) -> Array:
        return Array(tf.cast(bare(x), dtype))

    @staticmethod
    def broadcast_to(x: Any, shape: Any) -> Array:
        return Array(tf.broadcast_to(bare(x), _shape(shape)))

    @staticmethod
    def concat(arrays: Any, axis: int = 0) -> Array:
        return Array(tf.concat([bare(x) for x in arrays], axis))

    @staticmethod
    def equal(first: Any, second: Any) -> Array:
        return _calculate(tf.equal, first, second)

    @staticmethod
    def exp(x: Any) -> Array:
        return Array(tf.exp(bare(x)))

    @staticmethod
    def expand_dims(x: Any, axis: int) -> Array:
        return Array(tf.expand_dims(bare(x), axis))

    @staticmethod
    def finfo(dtype: tf.DType) -> np.finfo[Any]:
        return np.finfo(dtype.as_numpy_dtype)

    @staticmethod
    def floor(x: Any) -> Array:
        return Array(tf.floor(bare(x)))

    @staticmethod
    def full(shape: Any, value: Any, dtype: Any = None, device: Any = None) -> Array:
        return Array(tf.fill(_shape(shape), tf.constant(value, dtype)))

    @staticmethod
    def full_like(x: Any, value: Any) -> Array:
        x = bare(x)
        return Array(tf.fill(tf.shape(x), tf.constant(value, x.dtype)))

    @staticmethod
    def iinfo(dtype: tf.DType) -> np.iinfo[Any]:
        return np.iinfo(dtype.as_numpy_dtype)

    @staticmethod
    def isdtype(dtype: tf.DType, kind: str | tuple[str, ...]) -> _Flag:
        name = (
            "bool"
            if dtype.is_bool
            else "real floating"
            if dtype.is_floating
            else "complex floating"
            if dtype.is_complex
            else "integral"
        )
        return name == kind or (isinstance(kind, tuple) and name in kind)

    @staticmethod
    def isfinite(x: Any) -> Array:
        return Array(tf.math.is_finite(bare(x)))

    @staticmethod
    def isinf(x: Any) -> Array:
        return Array(tf.math.is_inf(bare(x)))

    @staticmethod
    def isnan(x: Any) -> Array:
        return Array(tf.math.is_nan(bare(x)))

    @staticmethod
    def log(x: Any) -> Array:
        return Array(tf.math.log(bare(x)))

    @staticmethod
    def log1p(x: Any) -> Array:
        return Array(tf.math.log1p(bare(x)))

    @staticmethod
    def log2(x: Any) -> Array:
        return Array(tf.math.log(bare(x)) * (1 / math.log(2)))

    @staticmethod
    def matmul(first: Any, second: Any) -> Array:
        return Array(tf.matmul(bare(first), bare(second)))

    @staticmethod
    def max(x: Any, axis: Any = None, keepdims: _Flag = False) -> Array:
        x = bare(x)
        largest = tf.reduce_max(x, axis=axis, keepdims=keepdims)
        if not tf.executing_eagerly():  # where XLA leaves NaN out
            unknown = tf.reduce_any(tf.math.is_nan(x), axis=axis, keepdims=keepdims)
            largest = tf.where(unknown, tf.constant(float("nan"), x.dtype), largest)
        return Array(largest)

    @staticmethod
    def moveaxis(x: Array, source: int, destination: int) -> Array:
        rank = x.ndim
        source, destination = source % rank, destination % rank
        if source == destination:
            return x
        order = [axis for axis in range(rank) if axis != source]
        order.insert(destination, source)
        return Array(tf.transpose(bare(x), order))

    @staticmethod
    def not_equal(first: Any, second: Any) -> Array:
        return _calculate(tf.not_equal, first, second)

    @staticmethod
    def ones_like(x: Any) -> Array:
        return Array(tf.ones_like(bare(x)))

    @staticmethod
    def reshape(x: Any, shape: Any) -> Array:
        return Array(tf.reshape(bare(x), _shape(shape)))

    @staticmethod
    def sign(x: Any) -> Array:
        return Array(tf.sign(bare(x)))

    @staticmethod
    def sinh(x: Any) -> Array:
        return Array(tf.sinh(bare(x)))

    @staticmethod
    def sqrt(x: Any) -> Array:
        return Array(tf.sqrt(bare(x)))

    @staticmethod
    def squeeze(x: Any, axis: int) -> Array:
        return Array(tf.squeeze(bare(x), axis=axis))

    @staticmethod
    def stack(arrays: Any, axis: int = 0) -> Array:
        return Array(tf.stack([bare(x) for x in arrays], axis=axis))

    @staticmethod
    def stop_gradient(x: Any) -> Array:
        return Array(tf.stop_gradient(bare(x)))

    @staticmethod
    def sum(x: Any, axis: Any = None, keepdims: _Flag = False) -> Array:
        return Array(tf.reduce_sum(bare(x), axis=axis, keepdims=keepdims))

    @staticmethod
    def take(x: Any, indices: Any, axis: int = 0) -> Array:
        return Array(tf.gather(bare(x), bare(indices), axis=axis))

    @staticmethod
    def tanh(x: Any) -> Array:
        return Array(tf.tanh(bare(x)))

    @staticmethod
    def trunc(x: Any) -> Array:
        x = bare(x)
        return Array(tf.where(x < 0, tf.math.ceil(x), tf.floor(x)))

    @staticmethod
    def where(condition: Any, first: Any, second: Any) -> Array:
        return Array(tf.where(bare(condition), *_of_one_type(bare(first), bare(second))))

    @staticmethod
    def zeros(shape: Any, dtype: Any = None, device: Any = None) -> Array:
        return Array(tf.zeros(_shape(shape), dtype))

    @staticmethod
    def zeros_like(x: Any) -> Array:
        return Array(tf.zeros_like(bare(x)))


NAMESPACE = _Namespace()
