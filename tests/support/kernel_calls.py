"""Calls of the native kernels, and what their formulas say: no test lists kernels by hand.

`call` runs a kernel on arrays that fit its formula; `expect` runs the formula on the same arrays in
float64 and says how far a rounding of the inputs can move each number, which is the error that a
kernel may have besides that of its last operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from omniloss import native
from omniloss.formulas import FORMULAS, Formula
from support import samples

__all__ = [
    "KERNELS",
    "Expected",
    "Outcome",
    "call",
    "expect",
    "instruction_set",
    "threads",
    "usual",
]

core: Any = native.core

# The formulas that have a kernel.
KERNELS: list[Formula] = (
    [] if core is None else [FORMULAS[name] for name in core.kernels() if name in FORMULAS]
)


def usual(formula: Formula) -> dict[str, float]:
    """Parameters that every ordinary input suits."""
    return list(samples.parameter_sets(formula))[-1]


class Outcome(NamedTuple):
    """What a kernel gave; ``values`` are those of the rows, or of the elements if it was so asked."""

    total: float
    values: np.ndarray
    gradient: np.ndarray
    offence: tuple[str, int] | None

    def assert_same_bits(self, other: Outcome) -> None:
        """Assert that another call gave exactly this."""
        assert np.float64(self.total).tobytes() == np.float64(other.total).tobytes()
        assert self.values.tobytes() == other.values.tobytes()
        assert self.gradient.tobytes() == other.gradient.tobytes()
        assert self.offence == other.offence

    def assert_same_but_for_weights(self, other: Outcome) -> None:
        """Assert that another call gave this, but for when it multiplied by the weights."""
        np.testing.assert_allclose(self.total, other.total, rtol=1e-13)
        assert self.values.tobytes() == other.values.tobytes()
        eps = float(np.finfo(self.gradient.dtype).eps)
        np.testing.assert_allclose(self.gradient, other.gradient, rtol=4 * eps)
        assert self.offence == other.offence


def call(
    formula: Formula,
    targets: np.ndarray,
    predictions: np.ndarray,
    parameters: Mapping[str, float],
    weights: np.ndarray | None = None,
    *,
    target_map: tuple[float, float] = (1.0, 0.0),
    scale: float = 1.0,
    elementwise: bool = False,
    unreduced: bool = True,
    **options: Any,
) -> Outcome:
    """Run a kernel for its total, its gradient and, where ``unreduced``, its values at once.

    ``elementwise`` makes a row of each element, so that a pointwise kernel's values are not summed.
    """
    shape = predictions.shape
    if elementwise and formula.kind == "pointwise":
        targets, predictions = targets[..., None], predictions[..., None]
        weights = None if weights is None else weights[..., None]
    values = np.full(predictions.shape[:-1], 77, predictions.dtype)
    gradient = np.full(predictions.shape, 77, predictions.dtype)
    run = core.pointwise if formula.kind == "pointwise" else core.rowwise
    if formula.kind == "pointwise":
        options.setdefault("detect_binary", False)
    total, offence = run(
        formula.name,
        targets,
        predictions,
        weights,
        values if unreduced else None,
        gradient,
        [parameters[name] for name in formula.parameters],
        target_map,
        formula.targets,
        formula.predictions,
        scale=scale,
        **options,
    )
    return Outcome(total, values, gradient.reshape(shape), offence)


class Expected(NamedTuple):
    """A formula's unweighted values and derivatives in float64, and the slack of each number."""

    values: np.ndarray
    derivatives: np.ndarray
    value_slack: np.ndarray
    derivative_slack: np.ndarray


def expect(
    formula: Formula,
    targets: np.ndarray,
    predictions: np.ndarray,
    parameters: Mapping[str, float],
    target_map: tuple[float, float] = (1.0, 0.0),
) -> Expected:
    """The formula in float64; slack is what changes of the inputs by one unit of their type make."""
    unit = float(np.finfo(predictions.dtype).eps)
    rng = np.random.default_rng(0)
    exact = predictions.astype(np.float64)
    goals = targets
    if not formula.labels:
        goals = targets.astype(np.float64) * target_map[0] + target_map[1]

    def run(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(all="ignore"):
            return (
                np.asarray(formula.value(np, y, p, **parameters)),
                np.asarray(formula.derivative(np, y, p, **parameters)),
            )

    values, derivatives = run(goals, exact)
    slack = [unit * np.abs(values), unit * np.abs(derivatives)]
    # Far enough to tell a change from the formula's own rounding, then scaled back.
    step = max(unit, 2.0**-36)

    def move(x: np.ndarray) -> np.ndarray:
        if formula.kind == "pointwise":
            return x * (1 + step)
        return x * (1 + step * rng.choice([-1.0, 0.0, 1.0], x.shape))

    # One move for elements; for rows several at random, which seldom cancel each other all.
    draws, factor = (1, 1.0) if formula.kind == "pointwise" else (4, 2.0)
    for _ in range(draws):
        changes = [run(goals, move(exact))]
        if not formula.labels:
            changes.append(run(move(goals), exact))
        for moved in changes:
            for i, (was, now) in enumerate(zip((values, derivatives), moved, strict=True)):
                slack[i] = slack[i] + np.abs(now - was) * (factor * unit / step)
    # A sum of n rounded terms: NumPy adds in pairs, the kernels in lanes.
    if formula.kind == "rowwise":
        rows = np.sqrt(predictions.shape[-1])
        slack[0] = slack[0] + 2.0**-53 * rows * (1 + np.abs(values))
    # The derivative of a row may be the difference of nearly equal terms, which a change of the inputs
    # shows the less the fewer classes there are, since it leaves them nearly equal.
    if formula.kind == "rowwise" and predictions.shape[-1] <= 3:
        slack[1] = slack[1] + unit / np.linalg.norm(exact, axis=-1, keepdims=True)
    # So is an overlap's where a target lies between 0 and 1; the terms are as large as those of its ends.
    if formula.name == "tversky":
        slack[1] = slack[1] + unit * np.max(np.abs(derivatives), axis=-1, keepdims=True)
    return Expected(values, derivatives, slack[0], slack[1])


@contextmanager
def instruction_set(name: str) -> Iterator[None]:
    """Kernels of one instruction set."""
    before = core.instruction_set()
    core.set_instruction_set(name)
    try:
        yield
    finally:
        core.set_instruction_set(before)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Kernels on so many threads."""
    before = core.get_num_threads()
    core.set_num_threads(count)
    try:
        yield
    finally:
        core.set_num_threads(before)
