"""What a dialect's function says of its loss: the formula with its parameters, and the user's arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from omniloss.formulas.definition import Formula
from omniloss.native import Weighting
from omniloss.reduction import Rule

__all__ = ["Call", "InputError", "InputTypeError", "Labels", "Names", "Plan", "Promotion", "Short"]

Labels = Literal["auto", "binary", "signed"]

# What decides the dtype of a loss of torch's tensors: the input alone; all tensors, also beside an input of integers, or
# beside one of "floats" only; the same where integers become the default dtype, before all else or in the end; the target;
# or there must be "one"
Promotion = Literal[
    "input",
    "all",
    "floats",
    "input to float",
    "each to float",
    "all to float",
    "pairs to float",
    "target",
    "one",
]


class Names(NamedTuple):
    """What a dialect calls its arguments, for messages and for `wrt`."""

    targets: str = "y_true"
    predictions: str = "y_pred"
    weights: str = "sample_weight"
    others: tuple[str, ...] = ()


KERAS_NAMES = Names("y_true", "y_pred", "sample_weight")


@dataclass(frozen=True, slots=True)
class Plan:
    """A loss without its data: the formula, its parameters, and how rows are formed.

    ``row`` says what a row of a pointwise formula becomes: the mean or the sum along ``axis``. With
    ``axes`` a row runs through several axes, or through all of them (None).
    ``smoothing`` mixes targets with the uniform distribution over ``smoothing_classes`` classes (0:
    the size along ``axis``). ``labels`` is set by the hinge losses: whether targets are 0/1, to be made
    -1/1, or already signed, or to be looked at. ``class_factors`` multiply the smoothed targets of each
    class. ``several_classes`` is the name of a loss that means nothing for one class, and then warns.
    ``hint`` ends the message about predictions out of range.

    ``torch`` marks the PyTorch dialect: shapes fit exactly, predictions are floats, and the loss can
    be differentiated by every array whose derivative its formula knows. There a pointwise formula's
    ``row`` may be each "element", and with ``broadcast`` targets are then broadcast to the predictions. With ``of_one``
    predictions of one row are a batch of that row.
    ``no_gradient`` says why a loss cannot be differentiated at all.

    ``arrange`` checks the arrays of a setwise formula, brings them into the shapes that it takes, and makes
    what samples hold that are not used harmless. ``positive_only`` counts only losses above 0 in means, and
    ``no_partial`` says why the sums of a loss do not add up. ``promotion`` says how torch makes one dtype of tensors' several.
    """

    formula: Formula
    parameters: tuple[float, ...] = ()
    axis: int = -1
    axes: tuple[int, ...] | None = ()
    row: Literal["mean", "sum", "element"] = "mean"
    smoothing: float = 0.0
    smoothing_classes: int = 0
    labels: Labels = "signed"
    ignore: int | None = None
    class_factors: tuple[float, ...] = ()
    several_classes: str = ""
    hint: str = ""
    names: Names = KERAS_NAMES
    torch: bool = False
    broadcast: bool = False
    of_one: bool = False
    no_gradient: str = ""
    arrange: Callable[..., tuple[Any, Any, tuple[Any, ...]]] | None = None
    positive_only: bool = False
    no_partial: str = ""
    promotion: Promotion = "input"

    def differentiable(self) -> dict[str, str]:
        """The dialect's names of the arrays to differentiate by, and the formula's names of these."""
        names, formula = self.names, self.formula
        known = {names.predictions: "predictions"}
        if self.torch:
            others = zip(names.others, (other.name for other in formula.others), strict=True)
            known |= {names.targets: "targets", **dict(others)}
        return {name: which for name, which in known.items() if formula.derivative_by(which)}


@dataclass(frozen=True, slots=True)
class Short:
    """How the core comes to a call's arrays from those that the user gave.

    ``weighting`` says what it makes of a weight (see `native.fast_plan`), and of which ``formula``, if not of the
    plan's own. ``one_hot`` targets were made of class indices, of which it leaves out ``ignore``, and
    ``label_sets`` rows of such indices, which end at the first -1.
    """

    weighting: Weighting = ""
    formula: Formula | None = None
    one_hot: bool = False
    ignore: int | None = None
    label_sets: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A plan with the arrays of one call, and what is to become of the losses.

    Without a ``rule`` the losses are returned unreduced. ``dtype`` names the type to compute in and to
    return; ``widen`` returns float32 for half precision when no ``dtype`` is asked for. ``others`` are
    the arrays that the formula takes besides. ``divisor`` is what the rule divides by where that is
    not for the weights to say, and with ``by_length`` that is the first dimension of the predictions.
    ``by_epsilon`` says that the plan follows from `config.epsilon`, and ``warning`` what its function has
    warned of. ``short`` is set where arrays of the call were made of the user's, and the core could do it.
    """

    plan: Plan
    targets: Any
    predictions: Any
    weights: Any = None
    mask: Any = None
    rule: Rule | None = None
    dtype: str | None = None
    widen: bool = False
    others: tuple[Any, ...] = ()
    divisor: Any = None
    by_length: bool = False
    by_epsilon: bool = False
    warning: str = ""
    short: Short | None = None


class InputError(ValueError, IndexError, RuntimeError):
    """An argument that the PyTorch dialect refuses: also of the type that torch raises."""


class InputTypeError(TypeError, RuntimeError):
    """The same for an argument of a wrong type."""
