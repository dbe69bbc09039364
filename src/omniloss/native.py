"""The native core: whether it is there, and how a problem is handed to it."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import replace
from types import ModuleType
from typing import Any, Literal

import numpy as np

from omniloss import formulas
from omniloss import problem as problems
from omniloss.formulas.definition import Formula
from omniloss.problem import Mask, Problem

__all__ = [
    "KERNELS",
    "TRIPLES",
    "Weighting",
    "core",
    "fast_plan",
    "get_num_threads",
    "run",
    "set_num_threads",
    "show_config",
    "triple_plan",
]


MOST_THREADS = 1024

# How a plan takes weights; see `fast_plan`
Weighting = Literal["", "classes", "elements", "broadcast", "positive", "factors"]


def _load() -> ModuleType | None:
    """The extension module, as far as ``OMNILOSS_NATIVE`` allows and asks for it."""
    wish = os.environ.get("OMNILOSS_NATIVE", "")
    if wish not in ("", "0", "1"):
        raise ImportError(f"OMNILOSS_NATIVE must be 0, 1 or unset; got {wish!r}")
    if wish == "0":
        return None
    try:
        from omniloss import _core
    except ModuleNotFoundError as error:
        if error.name != "omniloss._core":
            raise
    except ImportError as error:
        # `from package import submodule` says so when the submodule does not exist.
        if "cannot import name '_core'" not in str(error):
            raise
    else:
        return _core
    if wish == "1":
        raise ImportError("OMNILOSS_NATIVE=1, but omniloss was installed without its native core")
    return None


core = _load()

# The formulas for which the core has a kernel.
KERNELS = frozenset() if core is None else frozenset(core.kernels())

# Those for which it has one of three arrays.
TRIPLES = frozenset() if core is None else frozenset(core.triples())


def set_num_threads(threads: int) -> None:
    """Set how many threads the native core uses; results do not depend on it.

    >>> import omniloss
    >>> before = omniloss.get_num_threads()
    >>> omniloss.set_num_threads(1)
    >>> omniloss.get_num_threads()
    1
    >>> omniloss.set_num_threads(before)
    """
    number = isinstance(threads, (int, np.integer)) and not isinstance(threads, bool)
    if not number or not 1 <= threads <= MOST_THREADS:
        raise ValueError(
            f"`threads` must be an integer >= 1 (and at most {MOST_THREADS}); got {threads!r}"
        )
    if core is not None:
        core.set_num_threads(int(threads))


def get_num_threads() -> int:
    """The number of threads that the native core uses; 1 without the core."""
    return 1 if core is None else core.get_num_threads()


def _default_threads() -> int:
    """What affinity, the control group and ``OMP_NUM_THREADS`` leave to this process."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _cgroup_quota()
    threads = max(1, min(available or 1, quota or available or 1))
    wish = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return max(1, int(wish)) if wish.isdigit() else threads


def _cgroup_quota() -> int | None:
    """The whole processors that the control group grants, or None without a limit."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:  # version 2
            limit, period = file.read().split()
    except (OSError, ValueError):
        try:
            with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") as file:  # version 1
                limit = file.read().strip()
            with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us") as file:
                period = file.read().strip()
        except OSError:
            return None
    if limit in ("max", "-1"):
        return None
    return max(1, -(-int(limit) // int(period)))


if core is not None:
    core.set_num_threads(min(_default_threads(), MOST_THREADS))


def run(
    problem: Problem, *, reduce: bool, scale: float | None, compute: Any = None
) -> tuple[Any, Any, bool] | None:
    """Run a NumPy problem in the core, as `Framework.run` does, and say whether the losses add up to infinity.

    None where the core has no kernel for the formula, or an element is out of range. ``compute`` is the
    type to compute in where that is not the predictions' own: float32 or float64. The core converts
    tile by tile.
    """
    assert core is not None
    own = problem.predictions.dtype
    compute = own if compute is None else np.dtype(compute)
    type_name = "" if own == compute else compute.name  # which takes longer than a small loss
    if problem.formula.by_batch:
        run_batch = _run_circle if problem.formula is formulas.circle else _run_sequences
        with np.errstate(all="ignore"):  # beyond a type's range is infinity; NaN goes in and out
            return run_batch(problem, compute, reduce=reduce, scale=scale)
    if problem.formula.name in TRIPLES:
        with np.errstate(all="ignore"):
            return _run_triple(problem, compute, reduce=reduce, scale=scale)
    problem = _with_weights_in_targets(problem, compute)
    if problem.formula.name not in KERNELS:
        return None
    formula, axis = problem.formula, problem.axis
    targets, predictions = problem.targets, problem.predictions
    by_element = formula.kind == "pointwise"
    other = None
    if formula.others:
        other = problem.others[0]
        if not _keeps_range(other, compute):
            return None
        other = np.broadcast_to(_readable(other), predictions.shape)
    # A total of elements may be taken in any order, so the axes stay; rows need theirs last.
    moved = not (by_element and reduce) and axis != predictions.ndim - 1
    if moved:
        predictions = np.moveaxis(predictions, axis, -1)
        if not formula.labels:
            targets = np.moveaxis(targets, axis, -1)
        if other is not None:
            other = np.moveaxis(other, axis, -1)
    rows = problem.predictions.shape[:axis] + problem.predictions.shape[axis + 1 :]

    def per_row(x: np.ndarray) -> np.ndarray:
        x = _readable(x)
        x = np.broadcast_to(x, rows) if x.shape != rows else x
        if not by_element:
            return x
        place = predictions.ndim - 1 if moved else axis
        return np.broadcast_to(x[(slice(None),) * place + (None,)], predictions.shape)

    weights, masks = None, []
    if problem.weighting is not None:
        weights = per_row(problem.weighting.per_row)
        masks = [
            (per_row(array), excluded) for array, excluded in map(_told, problem.weighting.masks)
        ]
    row_size = max(1, problem.predictions.shape[axis]) if problem.row_mean else 1
    gradient = None if scale is None else _aligned_empty(predictions.shape, compute)
    values = None if reduce else np.empty(rows, compute)

    arguments = (
        formula.name,
        _readable(targets),
        _readable(predictions),
        weights,
        values,
        gradient,
        problem.parameters,
        problem.target_map,
        formula.targets,
        formula.predictions,
    )
    if by_element:
        total, offence = core.pointwise(
            *arguments,
            scale=(scale or 0.0) / row_size,
            value_scale=1.0 / row_size,
            detect_binary=problem.detect_binary,
            masks=masks,
            compute=type_name,
            shrink=problem.shrink,
            other=other,
        )
    else:
        factors = np.asarray(problem.class_factors, compute) if problem.class_factors else None
        total, offence = core.rowwise(
            *arguments,
            scale=scale or 0.0,
            class_factors=factors,
            masks=masks,
            compute=type_name,
            shrink=problem.shrink,
        )
    if offence is not None:
        return None
    value = total / row_size if reduce else values
    if gradient is not None and moved:
        gradient = np.moveaxis(gradient, -1, axis)
    return value, gradient, math.isinf(total)


def _told(mask: Mask) -> tuple[np.ndarray, float]:
    """A mask's array and its excluded number, which the core compares in float64.

    From 2**53 on that would take neighbouring integers for the same.
    """
    if abs(mask.excluded) < 2**53:
        return mask.array, mask.excluded
    return mask.array != mask.excluded, 0


def _readable(x: np.ndarray) -> np.ndarray:
    """bfloat16, which the buffer protocol does not know, as records that the core takes for it."""
    foreign = x.dtype.kind == "V" and x.dtype.name == "bfloat16"
    return x.view([("bfloat16", np.uint16)]) if foreign else x


def _keeps_range(x: np.ndarray, dtype: np.dtype[Any]) -> bool:
    """Whether no number of an array becomes infinite or loses digits below the normal ones of a narrower type."""
    if x.dtype != np.float64 or dtype == np.float64:
        return True
    info, size = np.finfo(dtype), np.abs(x)
    beyond = (size > info.max) | (size < info.smallest_normal)
    return not bool(np.any(beyond & (size != 0) & (size != np.inf)))


def _with_weights_in_targets(problem: Problem, compute: np.dtype[Any]) -> Problem:
    """Weights of classes multiplied into the targets, which is the same loss, and has a kernel."""
    if problem.formula is not formulas.weighted_categorical_crossentropy_with_logits:
        return problem
    scale, offset = problem.target_map
    weight = problem.others[0].astype(compute, copy=False)
    targets = problem.targets.astype(weight.dtype, copy=False)
    if (scale, offset) != (1.0, 0.0):
        targets = scale * targets + offset
    return replace(
        problem,
        formula=formulas.categorical_crossentropy_with_logits,
        targets=targets * weight,
        target_map=(1.0, 0.0),
        others=(),
    )


def _run_sequences(
    problem: Problem, compute: np.dtype[Any], *, reduce: bool, scale: float | None
) -> tuple[Any, np.ndarray | None, bool]:
    """The same for connectionist temporal classification."""
    assert core is not None
    predictions = problem.predictions.astype(compute, copy=False)
    logits = problem.formula is formulas.connectionist_temporal_classification_with_logits
    samples = predictions.shape[0 if logits else 1]
    losses = np.empty(samples, predictions.dtype)
    gradient = scales = None
    weights = np.ones(samples)
    if problem.weighting is not None:
        weights = _sample_weights(problem.weighting, samples)
    if scale is not None:
        gradient = _aligned_empty(predictions.shape, predictions.dtype)
        scales = scale * weights
    others, parameters = problem.others, (*problem.parameters, 0.0)[:2]
    if logits:  # of which every step counts
        others = (np.full(samples, predictions.shape[1]), *others)
    integers = [np.ascontiguousarray(x, np.int64) for x in (problem.targets, *others)]
    blank, zero_infinity = parameters
    core.ctc(
        integers[0],
        predictions,
        integers[1],
        integers[2],
        int(blank),
        bool(zero_infinity),
        losses,
        gradient,
        scales,
        logits,
    )
    return (float(np.sum(losses * weights)) if reduce else losses), gradient, False


def _sample_weights(weighting: problems.Weighting, samples: int) -> np.ndarray:
    """The weight of each sample, 0 where a mask leaves it out."""
    weights = np.broadcast_to(weighting.per_row, (samples,)).astype(np.float64)
    for mask in weighting.masks:
        weights[np.broadcast_to(mask.array == mask.excluded, (samples,))] = 0
    return weights


# How many cosines of a batch are kept at a time
_COSINES = 1 << 22


def _run_circle(
    problem: Problem, compute: np.dtype[Any], *, reduce: bool, scale: float | None
) -> tuple[Any, np.ndarray | None, bool] | None:
    """The same for the circle loss: NumPy multiplies the matrices, in float64, and the core does what is between."""
    assert core is not None
    embeddings = np.ascontiguousarray(problem.predictions, np.float64)
    labels, ref_labels = (
        np.ascontiguousarray(x, np.int64) for x in (problem.targets, problem.others[0])
    )
    counted = np.ascontiguousarray(problem.others[2], np.float64)
    itself, remove_diagonal, gamma, margin = problem.parameters
    references = embeddings if itself else np.asarray(problem.others[1], np.float64)
    if 0 in embeddings.shape or 0 in references.shape:
        return None
    samples = len(embeddings)
    losses, weights = np.empty(samples), np.ones(samples)
    if problem.weighting is not None:
        weights = _sample_weights(problem.weighting, samples)
    factors = None if scale is None else scale * weights
    gradient = None if scale is None else np.zeros(embeddings.shape)
    step = max(1, _COSINES // len(references))
    for first in range(0, samples, step):
        rows = slice(first, first + step)
        cosines = embeddings[rows] @ references.T
        core.circle(
            cosines,
            labels[rows],
            ref_labels,
            counted,
            first,
            bool(remove_diagonal),
            gamma,
            margin,
            losses[rows],
            None if factors is None else factors[rows],
        )
        if gradient is not None:  # by the cosines is what is now in their place
            gradient[rows] += cosines @ references
            if itself:
                gradient += cosines.T @ embeddings[rows]
    losses[weights == 0] = 0
    if gradient is not None:
        aligned = _aligned_empty(gradient.shape, compute)
        aligned[...] = gradient
        gradient = aligned
    value = float(np.sum(losses * weights)) if reduce else losses.astype(compute)
    return value, gradient, False


def _run_triple(
    problem: Problem, compute: np.dtype[Any], *, reduce: bool, scale: float | None
) -> tuple[Any, Any, bool] | None:
    """The same for a loss of three arrays, without weights and whose sum needs no more room."""
    shape = problem.predictions.shape
    if problem.weighting is not None or problem.shrink != 1 or problem.axis != len(shape) - 1:
        return None
    plan = triple_plan(problem.formula, problem.parameters, reduce=False, mean=False)
    by_element = problem.formula.kind == "pointwise"
    rows = shape if by_element else shape[:-1]
    others = [np.broadcast_to(x, shape) if by_element else x for x in problem.others]
    arrays = [problem.predictions, problem.targets, *others]
    if problem.formula is formulas.margin_ranking:  # whose targets come last in torch
        arrays = [arrays[0], *others, problem.targets]
    arrays = [np.require(x, compute, ["C", "A"]) for x in arrays]
    values = None if reduce else np.empty(rows, compute)
    gradient = None if scale is None else _aligned_empty(shape, compute)
    total = plan.on_arrays(*arrays, values, gradient, scale or 0.0)
    if total is None:
        return None
    value = total if values is None else values.reshape(shape[:-1])
    return value, gradient, math.isinf(total)


def _aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An uninitialised array at a multiple of 64 bytes, so that other frameworks can take it over."""
    assert core is not None
    memory: np.ndarray = core.new_memory(math.prod(shape) * dtype.itemsize)
    return memory.view(dtype).reshape(shape)


def fast_plan(
    formula: Formula,
    parameters: tuple[float, ...],
    *,
    target_map: tuple[float, float],
    detect_binary: bool,
    row_mean: bool,
    batch_mean: bool,
    several_classes: bool,
    exact: bool = False,
    by_element: bool = False,
    axis: int = -1,
    length_mean: bool = False,
    spread: float = 0.0,
    ignore: int | None = None,
    widen: bool = False,
    reduce: bool = True,
    weighting: Weighting = "",
    weighted_mean: bool = False,
    one_hot: bool = False,
    label_sets: bool = False,
) -> Any:
    """A callable for plain arrays, or None without a kernel in the core.

    It takes (targets, predictions) and gives the reduced loss, or None where the arrays are not plain
    or hold an offence, so that the general way must be taken, or, for ``several_classes``, only one class.
    Tensors of the library that `adopt_tensors` was told of give a tensor, those of half precision too, which
    are computed in float32 and give their own type, or, to ``widen`` them, float32; or True, if their derivative
    is to be recorded. Then its method ``on_tensors`` gives the loss and the gradient, which ``gradient`` gives
    again, multiplied by what comes from upstream.

    Predictions have at least two dimensions; or where types and ranks are looked at as the PyTorch
    dialect does, ``exact``, one. Their classes are on ``axis``, the last one, or 1, or of predictions of a
    single dimension 0. ``by_element`` each is a row. The
    total is divided by the number of rows, or with ``length_mean`` by the first dimension. ``spread`` is
    divided by the number of classes and added to mapped targets. Rows of the class index ``ignore`` do
    not count. Unless it is to ``reduce`` them, it gives the losses of tensors' rows, and of NumPy arrays None.

    With a ``weighting`` it takes a weight besides: of "classes", for each row that of its label; of "elements", in
    the predictions' shape, or "broadcast" to it; "positive", that or None, and
    the formula's other array; or "factors" of the classes' dense targets. With ``weighted_mean`` the total is
    divided by the weights' sum. Class indices for a formula of dense targets are made ``one_hot``, and of
    rows of them, which end at the first -1, ``label_sets`` counts each class.
    """
    if core is None or formula.name not in KERNELS:
        return None
    return core.Plan(
        formula.name,
        formula.kind,
        parameters,
        target_map,
        formula.targets,
        formula.predictions,
        detect_binary,
        row_mean,
        batch_mean,
        several_classes,
        exact,
        by_element,
        axis,
        length_mean,
        spread,
        ignore,
        widen,
        reduce,
        weighting,
        weighted_mean,
        one_hot,
        label_sets,
    )


def triple_plan(
    formula: Formula, parameters: tuple[float, ...], *, reduce: bool, mean: bool
) -> Any:
    """A callable for three plain arrays, in the order in which torch's function takes them, or None without a kernel.

    It gives what that of `fast_plan` gives, of arrays of one shape (or labels that lack its last axis) in float32 and
    float64. Its methods ``on_tensors`` and ``gradient`` give several gradients, of the ``wanted`` arrays.
    """
    if core is None or formula.name not in TRIPLES:
        return None
    return core.TriplePlan(formula.name, parameters, reduce, mean)


def show_config() -> dict[str, Any]:
    """What runs here: print it and return it.

    The keys are ``version``, ``native`` (whether the core is there), ``instruction_set``, ``threads``,
    ``openmp``, and ``frameworks``, the versions of the array libraries that this process has imported.
    """
    from omniloss import __version__

    known = ("numpy", "torch", "jax", "tensorflow", "keras")
    # None stands there for a module that must not be imported, and one that is being imported has no version.
    versions = {name: getattr(sys.modules.get(name), "__version__", None) for name in known}
    facts: dict[str, Any] = {
        "version": __version__,
        "native": core is not None,
        "instruction_set": None if core is None else core.instruction_set(),
        "threads": get_num_threads(),
        "openmp": core is not None and core.openmp(),
        "frameworks": {name: found for name, found in versions.items() if found is not None},
    }
    for name, fact in facts.items():
        print(f"{name:>15}: {fact}")
    return facts
