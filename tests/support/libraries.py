"""Every array library that the losses work on, for tests to parametrise over, and README's table of them.

`LIBRARIES` is the registry: how each makes an array, gives it back to NumPy, differentiates by its own means and compiles.
`PYTHONPATH=tests python -m support.libraries` prints the table that README shows, and a test compares the two.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["LIBRARIES", "Library", "table"]

Function = Callable[..., Any]


@dataclass(frozen=True)
class Library:
    """An array library.

    ``gradients`` takes a function of arrays and the arrays and gives the function's value and derivatives, ``compiled``
    makes a function of one; None where the library does no such thing. float64 is there inside of ``wide()``. ``runs`` says in README's table what
    runs a loss.
    """

    name: str
    module: str
    asarray: Function
    as_numpy: Function
    runs: str
    own_gradient: str = ""
    gradients: Function | None = None
    own_compiler: str = ""
    compiled: Function | None = None
    wide: Callable[[], AbstractContextManager[Any]] = nullcontext

    def __str__(self) -> str:
        return self.name

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None


def _torch_array(x: Any) -> Any:
    import torch

    return torch.tensor(x)


def _torch_gradients(function: Function, arrays: Sequence[Any]) -> tuple[Any, list[Any]]:
    leaves = [x.detach().clone().requires_grad_() for x in arrays]
    value = function(*leaves)
    value.sum().backward()
    return value.detach(), [x.grad for x in leaves]


def _torch_compiled(function: Function) -> Function:
    import torch

    torch._dynamo.reset()  # every loss is another function of the same code
    return torch.compile(function, fullgraph=True, backend="aot_eager")


def _jax_array(x: Any) -> Any:
    import jax

    return jax.numpy.asarray(x)


def _jax_gradients(function: Function, arrays: Sequence[Any]) -> tuple[Any, list[Any]]:
    import jax

    def total(*given: Any) -> tuple[Any, Any]:
        value = function(*given)
        return value.sum(), value

    places = tuple(range(len(arrays)))
    (_, value), found = jax.value_and_grad(total, places, has_aux=True)(*arrays)
    return value, list(found)


def _jax_compiled(function: Function) -> Function:
    import jax

    return jax.jit(function)


def _jax_wide() -> AbstractContextManager[Any]:
    import jax

    return jax.enable_x64(True)


def _tensorflow_array(x: Any) -> Any:
    import tensorflow as tf

    return tf.constant(x)


def _tensorflow_gradients(function: Function, arrays: Sequence[Any]) -> tuple[Any, list[Any]]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        for x in arrays:
            tape.watch(x)
        value = function(*arrays)
    return value, tape.gradient(value, list(arrays))


def _tensorflow_compiled(function: Function) -> Function:
    import tensorflow as tf

    return tf.function(function, autograph=False)


def _strict_array(x: Any) -> Any:
    import array_api_strict

    return array_api_strict.asarray(x)


def _dask_array(x: Any) -> Any:
    import dask.array

    return dask.array.from_array(np.asarray(x), chunks=3)


def _computed(x: Any) -> np.ndarray:
    return np.asarray(x.compute(scheduler="synchronous"))


CORE = "the native core, in one pass"
LIBRARIES = (
    Library("NumPy", "numpy", np.asarray, np.asarray, CORE),
    Library(
        "PyTorch",
        "torch",
        _torch_array,
        np.asarray,
        f"plain CPU tensors: {CORE}; others: torch's operations",
        "`backward`",
        _torch_gradients,
        "`torch.compile`",
        _torch_compiled,
    ),
    Library(
        "JAX",
        "jax",
        _jax_array,
        np.asarray,
        f"CPU arrays: {CORE}, or a compiled formula where that is faster; tracers: JAX's operations",
        "`jax.grad`",
        _jax_gradients,
        "`jax.jit`",
        _jax_compiled,
        _jax_wide,
    ),
    Library(
        "TensorFlow",
        "tensorflow",
        _tensorflow_array,
        np.asarray,
        f"eager CPU tensors: {CORE}; others: TensorFlow's operations",
        "`GradientTape`",
        _tensorflow_gradients,
        "`tf.function`",
        _tensorflow_compiled,
    ),
    Library(
        "Dask",
        "dask",
        _dask_array,
        _computed,
        "Dask's operations, lazily",
    ),
    Library(
        "array-api-strict",
        "array_api_strict",
        _strict_array,
        np.asarray,
        "the operations of the standard",
    ),
)


def _count(of_torch: bool) -> int:
    if of_torch:
        from support.torch_cases import FUNCTIONS

        return len(FUNCTIONS)
    from omniloss.losses import registry

    return len(registry.CLASSES)


@functools.cache
def table() -> str:
    """README's table: the libraries that the tests run every loss on, and what they try of each."""
    lines = [
        "| arrays | Keras dialect | PyTorch dialect | `value_and_grad` | own gradients | compiled by | what runs a loss |",
        "|---|---|---|---|---|---|---|",
    ]
    keras, torch = (f"all {_count(of_torch)} losses" for of_torch in (False, True))
    for x in LIBRARIES:
        cells = (x.name, keras, torch, "yes", x.own_gradient or "-", x.own_compiler or "-", x.runs)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
