"""PyTorch: plain CPU tensors through the native core, everything that is watched through the formula.

A tensor is *plain* when nothing but its numbers counts: exactly a `Tensor` or `Parameter`, dense, in CPU memory,
while nothing records, transforms or replaces operations. Its loss and gradient are computed in one pass in
an autograd function. Whatever is not known to be plain goes through torch's own operations.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch.autograd import forward_ad
from torch.utils._device import DeviceContext

from omniloss import native
from omniloss.configuration import config
from omniloss.frameworks.base import Framework
from omniloss.frameworks.numpy import NUMPY
from omniloss.frameworks.torch_dtypes import promoted
from omniloss.frameworks.torch_namespace import OWN_DISPATCH, Namespace
from omniloss.problem import Mask, Offence, Problem, Weighting
from omniloss.reduction import SUM, Rule

__all__ = ["Torch", "look_at", "record_plan", "recorded", "run_plan"]

_HALF = (torch.float16, torch.bfloat16)
_NUMBERS = frozenset(
    {
        torch.float32,
        torch.float64,
        *_HALF,
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
    }
)
_OWN_TYPES = frozenset({torch.Tensor, torch.nn.Parameter})


# What torch dispatches on for dense CPU tensors made in inference mode and, with the other two, outside
# of it. Sparse, quantized, conjugate, negative, batched, functional and fake tensors all have other keys.
_KEYS = torch._C.DispatchKey
_BARE_KEYS = torch._C.DispatchKeySet(_KEYS.CPU).add(_KEYS.AutocastCPU)
_PLAIN_KEYS = frozenset(
    keys.raw_repr()
    for keys in (_BARE_KEYS, _BARE_KEYS.add(_KEYS.ADInplaceOrView).add(_KEYS.AutogradCPU))
)

# As torch does for its own code: what is not recorded there does not depend on the data.
warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=r"omniloss\.")


_tracing_state = torch._C._get_tracing_state
_dispatch_modes = torch._C._len_torch_dispatch_stack
_functorch_level = torch._C._functorch.maybe_current_level
_function_modes = torch._C._len_torch_function_stack
_dispatch_keys = torch._C._dispatch_keys


def is_watched() -> bool:
    """Whether anything records, transforms or replaces torch's operations in this thread now."""
    return (
        torch.compiler.is_compiling()
        or _tracing_state() is not None
        or _dispatch_modes() > 0
        or _functorch_level() is not None
        or forward_ad._current_level >= 0
        or (_function_modes() > 0 and _functions_are_watched())
    )


def _functions_are_watched() -> bool:
    """Whether a mode sees torch's functions that does more than to say where new tensors go."""
    stack = range(_function_modes())
    return any(type(torch._C._get_function_stack_at(i)) is not DeviceContext for i in stack)


class Torch(Framework):
    """Torch's tensors on the device of one of them, in the state that this thread is in now."""

    name = "torch"

    def __init__(self, like: torch.Tensor) -> None:
        self._device = like.device
        self.xp = Namespace(like)
        self._watched = is_watched()

    @property
    def _is_autocast(self) -> bool:
        device = self._device.type
        return device != "meta" and torch.is_autocast_enabled(device)

    @property
    def integers(self) -> Any:
        return torch.int64

    @property
    def _wide(self) -> torch.dtype:
        """The type to add up in."""
        return torch.float32 if self._device.type == "mps" else torch.float64

    def asarray(self, x: Any, argument: str) -> torch.Tensor:
        if isinstance(x, torch.Tensor):
            if x.is_complex() or x.is_quantized:
                raise TypeError(f"`{argument}` must hold real numbers; got a tensor of {x.dtype}")
            x = x if x.layout is torch.strided else x.to_dense()
            return x if self._watched or not torch.is_grad_enabled() else _outside_inference(x)
        if self._watched and not isinstance(x, np.ndarray):
            return torch.tensor(x, dtype=torch.float64, device=self._device)
        return _adopt(NUMPY.asarray(x, argument)).to(self._device)

    def predictions(
        self, x: Any, argument: str, dtype: str | None, *, widen: bool
    ) -> tuple[Any, Any, Any]:
        array = self.asarray(x, argument)
        typed = not isinstance(x, (list, tuple, int, float))
        own = array.dtype
        if not (typed and own.is_floating_point):
            own = getattr(torch, config.floatx())
        wanted = own if dtype is None else getattr(torch, dtype)
        compute = torch.float32 if wanted in _HALF else wanted
        # Under autocast torch's own losses compute in float32 and return it.
        if dtype is None and (widen or self._is_autocast):
            wanted = compute
        return array.to(compute), wanted, own

    def promoted(self, call: Any) -> tuple[Any, torch.dtype | None]:
        x, value = promoted(call)
        if value in _HALF and self._is_autocast:
            value = torch.float32
        return x, value

    def beside(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self._device)

    def needs_gradient(self, x: Any) -> bool:
        return isinstance(x, torch.Tensor) and _needs_gradient(x)

    def is_eager(self, x: Any) -> bool:
        return (
            not self._watched
            and self._device.type != "meta"
            and type(x).__torch_dispatch__ is OWN_DISPATCH
        )

    def size(self, count: Any) -> Any:
        # torch.jit.trace records sizes as tensors of integers, torch.export as symbols, which `float` would fix.
        if isinstance(count, torch.Tensor):
            return count.to(self._wide)
        if isinstance(count, torch.SymInt):
            return torch.scalar_tensor(count, dtype=self._wide, device=self._device)
        return float(count)

    def finish(self, problem: Problem, rule: Rule | None, value: Any, divisor: Any) -> Any:
        if isinstance(divisor, float) and divisor == 0 and isinstance(value, torch.Tensor):
            # Nothing counts, yet the result has a gradient, of zeros.
            divisor = self.xp.asarray(0.0, dtype=self._wide)
        if rule is not None and isinstance(value, float) and math.isinf(value):
            # The core has added it up, and can do so with more room.
            return NUMPY.finish(_as_numpy(problem), rule, value, divisor)
        return super().finish(problem, rule, value, divisor)

    def number(self, x: torch.Tensor) -> Any:
        if x.requires_grad and torch.is_grad_enabled():
            return x
        return super().number(x)

    def result(self, x: Any, dtype: torch.dtype) -> torch.Tensor:
        if isinstance(x, torch.Tensor):
            return x.to(dtype)
        return self.xp.asarray(x, dtype=dtype)

    def total(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sum(x, dtype=self._wide)

    def count_kept(self, masks: tuple[Mask, ...]) -> Any:
        kept = self.kept(masks)
        count = torch.sum(kept, dtype=self._wide)
        return int(count) if self.is_eager(kept) else count

    def find_offence(self, problem: Problem) -> Offence | None:
        offence = super().find_offence(problem)
        if offence is None:
            return None
        return replace(
            offence, value=_view(offence.value.cpu())[()]
        )  # which prints as NumPy's does

    def run(self, problem: Problem, *, reduce: bool, scale: Any) -> tuple[Any, Any] | Offence:
        if not self._is_plain(problem) or _needs_gradient(problem.predictions):
            return super().run(problem, reduce=reduce, scale=scale)
        return _run_natively(problem, reduce=reduce, scale=scale)

    def _run_empty(self, problem: Problem, *, reduce: bool) -> tuple[Any, Any]:
        value, gradient = super()._run_empty(problem, reduce=reduce)
        for x in (problem.targets, *problem.others):
            if self.needs_gradient(x):  # which has zeros for a gradient, as that of the predictions
                value = value + x.reshape(-1)[:0].sum().to(value.dtype)
        return value, gradient

    def evaluate(self, problem: Problem, rule: Rule | None) -> Any:
        if not self._is_plain(problem) or not _needs_gradient(problem.predictions):
            return super().evaluate(problem, rule)
        weights = None
        if problem.weighting is not None:
            weights = problem.weighting.per_row
            # Unreduced losses leave the core without their weights, which only tell what counts there.
            weights = weights if rule is not None else weights != 0
        work = _Prepared(replace(problem, divisor=float(problem.divisor), **_NO_ARRAYS), rule)
        arrays = (problem.predictions, problem.targets, weights, *problem.others)
        loss = _Native.apply(work, *arrays)
        if rule is None and not isinstance(loss, Offence):
            loss = self.weighted(loss, problem.weighting)
        return loss if isinstance(loss, Offence) else loss.to(problem.dtype)

    def accumulate(self, problem: Problem) -> Any:
        return self.evaluate(replace(problem, dtype=self._wide), SUM)

    def _is_plain(self, problem: Problem) -> bool:
        """Whether the core may run a problem, and no derivative but that by the predictions is due."""
        if native.core is None or self._watched or 0 in problem.predictions.shape:
            return False
        others = [problem.targets, *problem.others]
        if problem.weighting is not None:
            others.append(problem.weighting.per_row)
        return (
            _is_plain(problem.predictions)
            and all(map(_is_plain, others))
            and not any(map(_needs_gradient, others))
        )


_NO_ARRAYS: dict[str, Any] = {"targets": None, "predictions": None, "weighting": None, "others": ()}


class _Work(Protocol):
    """What an autograd function knows of its loss besides its arrays.

    These are predictions and targets, and of a problem the weights of rows or None, and the formula's
    others.
    """

    rule: Rule | None

    def start(self, *arrays: Any) -> Any:
        """The loss, and if it is reduced its gradient; something else where the core refuses."""

    def gradient(self, upstream: torch.Tensor, *arrays: Any) -> torch.Tensor:
        """The gradient by the core, in a pass of its own."""

    def problem(self, *arrays: Any) -> Problem:
        """The whole problem again."""


@dataclass(frozen=True, slots=True)
class _Prepared(_Work):
    """A problem without its arrays."""

    stripped: Problem
    rule: Rule | None

    def start(self, *arrays: Any) -> Any:
        rule = self.rule
        outcome = _run_natively(
            self.problem(*arrays),
            reduce=rule is not None,
            scale=None if rule is None else rule.finish(1.0, self.stripped.divisor),
        )
        if isinstance(outcome, Offence):
            return outcome
        value, gradient = outcome
        if rule is None:
            return value, None
        if math.isinf(value):
            value = NUMPY.finish(
                _as_numpy(self.problem(*arrays)), rule, value, self.stripped.divisor
            )
        else:
            value = rule.finish(value, self.stripped.divisor)
        return torch.tensor(value, dtype=self.stripped.dtype, device="cpu"), gradient

    def gradient(self, upstream: torch.Tensor, *arrays: Any) -> torch.Tensor:
        rule = self.rule
        if rule is None:
            predictions, targets, _, *others = arrays  # upstream is 0 where a weight is 0
            problem, scale = self.problem(predictions, targets, upstream, *others), 1.0
        else:
            problem = self.problem(*arrays)
            scale = upstream.item() * rule.finish(1.0, problem.divisor)
        outcome = _run_natively(problem, reduce=rule is not None, scale=scale)
        assert not isinstance(outcome, Offence)
        return outcome[1]

    def problem(self, *arrays: Any) -> Problem:
        predictions, targets, weights, *others = arrays
        return replace(
            self.stripped,
            predictions=predictions,
            targets=targets,
            weighting=None if weights is None else Weighting(weights, (), weights),
            others=tuple(others),
        )


@dataclass(slots=True)  # for a frozen one takes longer to make
class _Planned(_Work):
    """A plan of the core."""

    plan: Any
    prepare: Callable[..., Problem]
    rule: Rule | None

    def start(self, *arrays: Any) -> Any:
        predictions, targets, *given = arrays
        return self.plan.on_tensors(targets, predictions, *given)

    def gradient(self, upstream: torch.Tensor, *arrays: Any) -> torch.Tensor:
        predictions, targets, *given = arrays
        weights = given or (None, None)
        above = (upstream,) if self.rule is None else (None, upstream.item())
        gradient = self.plan.gradient(targets, predictions, *weights, *above)
        assert gradient is not None
        return gradient

    def problem(self, *arrays: Any) -> Problem:
        predictions, targets, *given = arrays
        return self.prepare(targets, predictions, *given)


class _Native(torch.autograd.Function):  # type: ignore[misc]
    """The reduced loss, or the losses of the rows, by the core.

    A reduced loss has its gradient from the same pass over the data. The losses of rows have theirs from a second one,
    which takes what comes from upstream as weights.
    """

    @staticmethod
    def forward(ctx: Any, work: _Work, *arrays: Any) -> Any:
        outcome = work.start(*arrays)
        if not isinstance(outcome, tuple):
            return outcome
        ctx.save_for_backward(*arrays)
        ctx.work = work
        value, ctx.gradient = outcome
        return value

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        # It leaves with the first backward pass, so that torch may keep it without a copy.
        gradient = vars(ctx).pop("gradient", None)
        # Dynamo, which traces this under compiled autograd, cannot step into the core.
        seen = None if torch.compiler.is_compiling() else look_at(upstream)
        # Looking at the saved arrays is an error where they were changed meanwhile.
        if seen is None:
            gradient = _gradient_by_formula(ctx.work, ctx.saved_tensors, upstream)
        elif gradient is None:
            gradient = ctx.work.gradient(upstream, *ctx.saved_tensors)
        elif (upstream.item() if seen is True else seen) != 1:
            if gradient.dtype in _HALF:  # is to be rounded once
                gradient = ctx.work.gradient(upstream, *ctx.saved_tensors)
            else:
                gradient.mul_(upstream)
        return None, gradient, *[None] * (len(ctx.needs_input_grad) - 2)


def _gradient_by_formula(work: _Work, arrays: tuple[Any, ...], upstream: torch.Tensor) -> Any:
    """In torch's operations, which can be differentiated and transformed further."""
    predictions = arrays[0]
    problem = work.problem(*arrays)
    scale = 1.0 if work.rule is None else work.rule.finish(1.0, problem.divisor)
    upstream = upstream.to(problem.predictions.dtype) * scale
    gradient = problem.framework.gradient_by(problem, "predictions", upstream)
    # What a plan takes as it is may have been given an axis. Its type autograd sees to.
    return gradient.reshape(predictions.shape)


# What `apply` comes to where no transform of functorch is active, without asking for that again
_apply_native = super(torch.autograd.Function, _Native).apply


def run_plan(
    plan: Any,
    prepare: Callable[..., Problem],
    rule: Rule | None,
    targets: Any,
    predictions: Any,
    *given: Any,
) -> torch.Tensor | None:
    """Run a plan of the core on plain tensors, or give None where the general way must be taken."""
    value = plan(targets, predictions, *given)
    if value is not True:
        return value
    return record_plan(plan, prepare, rule, targets, predictions, *given)


def record_plan(
    plan: Any,
    prepare: Callable[..., Problem],
    rule: Rule | None,
    targets: Any,
    predictions: Any,
    *given: Any,
) -> torch.Tensor | None:
    """The same where a call of the plan has said that the derivative is to be recorded."""
    return recorded(_apply_native, _Planned(plan, prepare, rule), (predictions, targets, *given))


def recorded(apply: Callable[..., Any], work: Any, arrays: tuple[Any, ...]) -> Any:
    """What an autograd function gives, which can keep no tensor that was made in inference mode."""
    try:
        return apply(work, *arrays)
    except RuntimeError:
        kept = tuple(map(_outside_inference, arrays))
        if all(x is y for x, y in zip(kept, arrays, strict=True)):
            raise
        return apply(work, *kept)


def _outside_inference(x: Any) -> Any:
    """A tensor that autograd can keep: a copy of one that was made in inference mode, outside of it."""
    made_there = isinstance(x, torch.Tensor) and x.is_inference()
    return x.clone() if made_there and not torch.is_inference_mode_enabled() else x


def _look_at_upstream(upstream: torch.Tensor) -> float | bool | None:
    """What comes from upstream: None where no pass of the core will do, otherwise True.

    The core's own function of this kind gives the number instead, where there is just one.
    """
    if torch.is_grad_enabled() or is_watched() or not _is_plain(upstream):
        return None
    return True


def _adopt_tensors() -> Callable[[torch.Tensor], float | bool | None]:
    """Let the core read and make tensors itself, by an interface that older versions of torch lack.

    Gives what looks at tensors from upstream. The core takes for plain what torch's own types hand out as numbers in
    memory: what is sparse, quantized, batched, functional or a stand-in for zeros has none, and lazy negation it is
    told of.
    """
    exchange = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if exchange is None or native.core is None:
        return _look_at_upstream
    idle = (
        (_tracing_state, None),
        (_dispatch_modes, 0),
        (_functorch_level, None),
        (_function_modes, 0),
    )
    native.core.adopt_tensors(
        exchange,
        types=tuple(_OWN_TYPES),
        idle=idle,
        names=vars(forward_ad),
        level="_current_level",
        is_watched=is_watched,
        is_recording=torch.is_grad_enabled,
        # Under autocast torch's own losses return float32.
        is_autocast=functools.partial(torch.is_autocast_enabled, "cpu"),
        is_negative=torch.Tensor.is_neg,
    )
    return native.core.look_at


look_at = _adopt_tensors()


def _run_natively(problem: Problem, *, reduce: bool, scale: Any) -> tuple[Any, Any] | Offence:
    """Run a problem of plain tensors on NumPy's views of them; a total comes as a number."""
    outcome = NUMPY.run(
        _as_numpy(problem), reduce=reduce, scale=None if scale is None else float(scale)
    )
    if isinstance(outcome, Offence):
        return outcome
    value, gradient = outcome
    return (
        float(value) if reduce else torch.from_numpy(np.asarray(value)),
        None if gradient is None else torch.from_numpy(gradient),
    )


def _as_numpy(problem: Problem) -> Problem:
    """A problem of plain tensors as one of NumPy's views of them."""
    weights = None if problem.weighting is None else _view(problem.weighting.per_row)
    predictions = _view(problem.predictions)
    return replace(
        problem,
        dtype=predictions.dtype,
        predictions=predictions,
        targets=_view(problem.targets),
        weighting=None if weights is None else Weighting(weights, (), weights),
        others=tuple(map(_view, problem.others)),
    )


def _view(x: torch.Tensor) -> np.ndarray:
    """A plain tensor's memory; NumPy has no bfloat16."""
    x = x.detach()
    return (x.float() if x.dtype is torch.bfloat16 else x).numpy()


def _needs_gradient(x: torch.Tensor) -> bool:
    return x.requires_grad and torch.is_grad_enabled()


def _is_plain(x: torch.Tensor) -> bool:
    """Whether a tensor is nothing but numbers in CPU memory that NumPy can look at."""
    return (
        type(x) in _OWN_TYPES
        and _dispatch_keys(x).raw_repr() in _PLAIN_KEYS
        and x.dtype in _NUMBERS
    )


def _adopt(array: np.ndarray) -> torch.Tensor:
    """A NumPy array as a tensor, in its own memory where torch can use it."""
    if array.dtype.kind == "V":  # ml_dtypes.bfloat16
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)
