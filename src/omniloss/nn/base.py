"""The PyTorch dialect's loss objects, and what its functions share: reductions, weights, checks."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from omniloss import frameworks
from omniloss.alignment import fits_into
from omniloss.description import (
    Call,
    InputError,
    InputTypeError,
    Names,
    Plan,
    Promotion,
    Short,
)
from omniloss.formulas import Formula, stable
from omniloss.keras_objects import NoKerasLoss
from omniloss.reduction import TORCH_RULES, Rule

__all__ = [
    "NAMES",
    "Loss",
    "WeightedLoss",
    "check_classes",
    "check_equal_weight",
    "constant",
    "elements",
    "fitted_weight",
    "integers",
    "is_integral",
    "named_reduction",
    "number",
    "refuse_gradient",
    "refuse_other_floats",
    "rule_of",
    "shape_of",
    "warn",
    "weight_beside",
]

NAMES = Names("target", "input", "weight")

# What loss modules of torch are asked for besides calls
_OF_MODULES = frozenset(
    "to cpu cuda half float double bfloat16 train eval training apply compile "  # noqa: SIM905
    "parameters named_parameters buffers named_buffers register_buffer children modules "
    "state_dict load_state_dict requires_grad_ zero_grad "
    "register_forward_hook register_forward_pre_hook".split()
)


class Loss(NoKerasLoss):
    """A loss with a reduction and a ``forward`` that computes it.

    Args:
        size_average, reduce: Deprecated: booleans from which ``reduction`` follows, with a warning.
        reduction: What becomes of the losses: ``"mean"``, ``"sum"`` or ``"none"``.

    Attributes may be changed at any time. Objects can be pickled and copied, and subclassed: a
    ``forward`` of one's own is then what a call runs.
    """

    forward: Any
    autograph_info__ = None  # objects are not for TensorFlow's AutoGraph to rewrite: see `as_it_is`

    def __init__(
        self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
    ) -> None:
        self.reduction = named_reduction(size_average, reduce, reduction)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The loss that ``forward`` gives for the same arguments."""
        return self.forward(*args, **kwargs)

    def describe(self, *args: Any, **kwargs: Any) -> Call:
        """The formula, options and arrays of one call; raises where ``forward`` is the user's own."""
        cls = type(self)
        own = "forward" in self.__dict__ or cls.__call__ is not Loss.__call__
        describe = None if own else getattr(cls.forward, "describe", None)
        if describe is None:
            raise TypeError(
                f"{self!r} runs a `forward` or `__call__` that is not this library's, of which no "
                "derivative is known"
            )
        return describe(self, *args, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    if not TYPE_CHECKING:  # to a type checker an attribute that is not there stays an error

        def __getattr__(self, name: str) -> Any:
            if name in _OF_MODULES:
                cls = type(self).__name__
                raise AttributeError(
                    f"{cls!r} object has no attribute {name!r}, since it is no torch.nn.Module: "
                    "omniloss.integrations.torch.as_module(loss) makes one of it (for calls it is not "
                    "needed, weights follow the input to its device)",
                    name=name,
                    obj=self,
                )
            return object.__getattribute__(self, name)  # raises as if this method were not there


class WeightedLoss(Loss):
    """A loss with a ``weight``: an array or a list, or None.

    Args:
        weight: Weights, of classes or of elements; each loss says which.
        size_average, reduce, reduction: See `Loss`.
    """

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.weight = weight


def named_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction by its name, from the deprecated flags where they are given."""
    if size_average is None and reduce is None:
        return reduction
    name = "none" if reduce is False else ("sum" if size_average is False else "mean")
    warn(f"size_average and reduce args will be deprecated, please use reduction='{name}' instead.")
    return name


def rule_of(reduction: Any, *, weighted: bool = False, batchmean: bool = False) -> Rule | None:
    """The rule of a reduction; a ``weighted`` mean is divided by the sum of the weights."""
    if reduction == "elementwise_mean":
        warn("reduction='elementwise_mean' is deprecated. Please use reduction='mean' instead.")
        reduction = "mean"
    known = ("none", "mean", "sum", *(["batchmean"] if batchmean else []))
    if reduction not in known:
        expected = ", ".join(map(repr, known))
        raise ValueError(
            f"{reduction} is not a valid value for reduction, which must be one of {expected}"
        )
    return TORCH_RULES["weighted mean" if weighted and reduction == "mean" else reduction]


def warn(message: str) -> None:
    """Warn at the user's line, however deep in this library the call has come.

    torch.compile leaves out warnings, torch's own too, and cannot read the way to that line.
    """
    if frameworks.is_compiled():
        return
    depth = 1
    while sys._getframe(depth).f_globals.get("__name__", "").partition(".")[0] == "omniloss":
        depth += 1
    warnings.warn(message, UserWarning, stacklevel=depth + 1)


def number(name: str, value: Any) -> float:
    """An option that is a number; what is none is refused."""
    if not isinstance(value, (int, float)) and not hasattr(type(value), "__float__"):
        raise InputTypeError(f"`{name}` must be a number; got {value!r}")
    return float(value)


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of an array, a list or a number."""
    shape = getattr(x, "shape", None)
    if shape is None:
        return np.shape(x)
    if type(shape) is tuple:
        return shape
    # What TensorFlow leaves open is known to its framework alone.
    framework = frameworks.of(x)
    return tuple(framework.asarray(x, "input").shape if framework.name == "tensorflow" else shape)


def elements(
    formula: Formula,
    parameters: tuple[float, ...],
    input: Any,
    target: Any,
    reduction: str,
    weight: Any = None,
    *,
    weighted_mean: bool = False,
    hint: str = "",
    promotion: Promotion = "input",
) -> Call:
    """A loss of each element, by itself.

    ``weight`` has the input's shape or is broadcast to it; with ``weighted_mean`` a mean is divided by
    its sum. ``hint`` ends a message about the input's range; for ``promotion`` see `Plan`.
    """
    plan = Plan(
        formula,
        parameters,
        row="element",
        names=NAMES,
        torch=True,
        hint=hint,
        promotion=promotion,
    )
    rule = rule_of(reduction, weighted=weighted_mean and weight is not None)
    if weight is None:
        return Call(plan, target, input, rule=rule)
    weight = fitted_weight(input, target, weight)
    short = Short("elements" if weighted_mean else "broadcast")
    return Call(plan, target, input, weight, rule=rule, short=short)


def fitted_weight(input: Any, target: Any, weight: Any) -> Any:
    """A weight for each element, broadcast to the input."""
    framework = frameworks.of(input, target, weight)
    weight, shape = weight_beside(framework, weight), shape_of(input)
    if not fits_into(tuple(weight.shape), shape):
        raise InputError(
            f"`weight` of shape {tuple(weight.shape)} cannot be broadcast to `input` of shape {shape}"
        )
    return framework.xp.broadcast_to(weight, shape)


def weight_beside(framework: Any, weight: Any, name: str = "weight") -> Any:
    """A weight as an array, which follows the input to its device."""
    return framework.beside(framework.asarray(weight, name))


def refuse_other_floats(input: Any, target: Any) -> None:
    """Refuse a target of torch's whose floats are of another dtype than the input's, as torch does.

    Under autocast, which on the CPU makes float32 of both, it does not.
    """
    found, expected = (getattr(x, "dtype", None) for x in (target, input))
    if found == expected:
        return
    torch: Any = sys.modules.get("torch")
    is_tensor = torch is not None and isinstance(input, torch.Tensor)
    if is_tensor and input.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        return
    if all(getattr(dtype, "is_floating_point", False) for dtype in (found, expected)):
        raise InputTypeError(
            f"Found dtype {found} but expected {expected}: `target` must have the dtype of `input`"
        )


def refuse_gradient(x: Any, name: str) -> None:
    """Refuse an array that requires a gradient, where torch knows no derivative by it."""
    if getattr(x, "requires_grad", False) and frameworks.of(x).needs_gradient(x):
        raise InputError(
            f"the loss is not differentiable with respect to `{name}`, which cannot require a gradient"
        )


def constant(x: Any) -> Any:
    """An array that only chooses between cases, and so has no derivative and needs no place in a graph."""
    if not getattr(x, "requires_grad", False):
        return x
    return stable.constant(frameworks.of(x).xp, x)


def check_equal_weight(input: Any, weight: Any) -> None:
    """Refuse a weight that has not the input's shape."""
    if weight is not None and shape_of(weight) != shape_of(input):
        raise ValueError(
            f"Weights and input must have the same size: `weight` has the shape {shape_of(weight)}, `input` "
            f"{shape_of(input)}"
        )


def integers(framework: Any, x: Any, name: str, other: str = "") -> Any:
    """An array of integers; others are refused. ``other`` is what it might hold in another shape."""
    array = framework.asarray(x, name)
    if not is_integral(framework, array.dtype):
        shape = f" and shape {tuple(array.shape)}" if other else ""
        raise InputTypeError(f"`{name}` must hold integers{other}; got dtype {array.dtype}{shape}")
    return array


def is_integral(framework: Any, dtype: Any) -> bool:
    """Whether a dtype is one of integers."""
    if isinstance(dtype, np.dtype):  # NumPy's own function does not know bfloat16
        return dtype.kind in "iu"
    return bool(framework.xp.isdtype(dtype, "integral"))


def check_classes(
    framework: Any, target: Any, wrong: Any, classes: int, low: int = 0, name: str = "target"
) -> None:
    """Refuse the first class index that is marked as wrong, where it can be looked at."""
    xp = framework.xp
    if not framework.is_eager(target) or not bool(xp.any(wrong)):
        return
    index = tuple(map(int, np.argwhere(np.asarray(wrong))[0]))
    place = f"{name}[{', '.join(map(str, index))}]" if index else name
    raise InputError(
        f"`{name}` must hold class indices, integers in [{low}, {classes}); got {place} = "
        f"{int(target[index])}"
    )
