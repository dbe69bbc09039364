"""Which framework serves a call: the first array of one among its arguments decides."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from omniloss.frameworks.base import Framework
from omniloss.frameworks.numpy import NUMPY
from omniloss.problem import Problem
from omniloss.reduction import Rule

__all__ = ["is_compiled", "of", "of_call", "record_plan", "record_triple", "run_plan"]

# Types that NumPy takes without anybody else being asked.
_PLAIN = frozenset({np.ndarray, list, tuple, int, float, bool, type(None)})

# The files whose libraries' arrays a plan of the core can run on.
_WITH_PLANS = tuple(f"omniloss.frameworks.{name}" for name in ("torch", "jax", "tensorflow"))


def of(*arguments: Any) -> Framework:
    """The framework of the first array that is not NumPy's; two such frameworks are refused."""
    chosen: Framework = NUMPY
    for x in arguments:
        if type(x) in _PLAIN:
            continue
        framework = _foreign(x)
        if framework is None:
            continue
        if chosen is not NUMPY and chosen.name != framework.name:
            raise TypeError(
                f"arrays of two frameworks in one call, {chosen.name} and {framework.name}; convert one of them"
            )
        chosen = framework if chosen is NUMPY else chosen.joined(framework)
    return chosen


def of_call(call: Any) -> Framework:
    """The framework of a `Call`."""
    return of(call.predictions, call.targets, call.weights, call.mask, *call.others)


def is_compiled() -> bool:
    """Whether torch.compile is reading this code, which must then neither keep nor look up a plan."""
    compiler = sys.modules.get("torch.compiler")
    return compiler is not None and compiler.is_compiling()


def run_plan(
    plan: Any,
    prepare: Callable[..., Problem],
    rule: Rule | None,
    targets: Any,
    predictions: Any,
    *given: Any,
) -> Any:
    """Run a plan of the core where a call of it does not do; None where the general way must be taken.

    ``given`` are the weights that the plan takes, if it takes some. ``prepare`` makes the problem of targets,
    predictions and these, for derivatives that the core does not have.
    """
    for name in _WITH_PLANS:
        module = sys.modules.get(name)  # the first call takes the general way
        if module is not None:
            value = module.run_plan(plan, prepare, rule, targets, predictions, *given)
            if value is not None:
                return value
    return None


def record_plan(
    plan: Any,
    prepare: Callable[..., Problem],
    rule: Rule | None,
    targets: Any,
    predictions: Any,
    *given: Any,
) -> Any:
    """The same where a call of the plan has given True, as it does for tensors of torch only."""
    module = sys.modules["omniloss.frameworks.torch"]
    return module.record_plan(plan, prepare, rule, targets, predictions, *given)


def record_triple(way: Any, arrays: tuple[Any, ...]) -> Any:
    """The same of three arrays, by a way with a plan and more; see `TripleWay`."""
    module = sys.modules.get("omniloss.frameworks.torch_triples")
    if module is not None:
        return module.record(way, arrays)
    from omniloss.frameworks.torch_triples import record

    return record(way, arrays)


def _foreign(x: Any) -> Framework | None:
    """The framework of an array that is not NumPy's, or None where NumPy may try."""
    # Under torch.compile this is traced: a look into sys.modules is neither a break nor a guard on a cache.
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, getattr(torch, "Tensor", ())):
        from omniloss.frameworks.torch import Torch

        return Torch(x)
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(x, getattr(jax, "Array", ())):
        from omniloss.frameworks.jax import framework_of

        return framework_of(x)
    if not _may_be_foreign(type(x)):
        return None
    if _is_of_tensorflow(x):
        from omniloss.frameworks.tensorflow import TensorFlow

        return TensorFlow()
    import array_api_compat

    from omniloss.frameworks.array_api import ArrayAPI

    if not array_api_compat.is_array_api_obj(x):
        return None
    return ArrayAPI(array_api_compat.array_namespace(x), x)


def _is_of_tensorflow(x: Any) -> bool:
    """Whether an array is one of TensorFlow's, or this library's around one."""
    module = sys.modules.get("tensorflow")
    kinds = ("Tensor", "Variable", "RaggedTensor", "SparseTensor", "IndexedSlices")
    if module is not None and isinstance(x, tuple(getattr(module, kind, ()) for kind in kinds)):
        return True
    if module is not None and hasattr(type(x), "__tf_tensor__"):  # as Keras's variables are
        return True
    return type(x).__module__ == "omniloss.frameworks.tensorflow_namespace"


def _may_be_foreign(cls: type) -> bool:
    """Whether a type belongs to an array library other than NumPy and what converts to it."""
    if issubclass(cls, (np.ndarray, np.generic)):
        return False
    return cls.__module__.partition(".")[0] not in ("builtins", "numpy", "pandas")
