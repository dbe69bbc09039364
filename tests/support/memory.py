"""How much memory losses take above their inputs: run as ``python -m support.memory VARIANT WIDTH``.

Prints one JSON list of [loss, bytes above the inputs, bytes of the result] for each loss of the registry.
The peak is that of the process's resident memory, which counts what any library allocates.
"""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

import omniloss
from omniloss.formulas import ANY, Interval
from support.cases import Case, cases
from support.kept_memory import forget

ELEMENTS = 2**22
WIDTH = int(sys.argv[2]) if len(sys.argv) > 2 else 16  # the length of rows


def resident(field: str) -> int:
    """``VmRSS``, what is resident, or ``VmHWM``, its peak, in bytes."""
    with open("/proc/self/status") as file:
        found = re.search(rf"{field}:\s+(\d+) kB", file.read())
    assert found is not None
    return 1024 * int(found[1])


def measure(work: Callable[[], Any]) -> tuple[int, int]:
    """The peak of the memory above what was there before, and the size of the result."""
    held = forget()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    before = resident("VmRSS")
    result = work()
    peak = resident("VmHWM") - before
    del held
    return peak, getattr(result, "nbytes", 0)


@cache
def numbers(interval: Interval, dtype: str, seed: int) -> np.ndarray:
    low, high = (0.01, 0.99) if interval != ANY else (-3.0, 3.0)
    few = np.random.default_rng(seed).uniform(low, high, 2**14)
    return np.resize(few.astype(dtype), ELEMENTS)


def inputs(case: Case, rows: int, dtype: str = "f4") -> tuple[np.ndarray, np.ndarray]:
    """Targets and predictions of so many rows."""
    formula = case.plan.formula
    shape = (rows, WIDTH) if WIDTH else (rows,)
    count = rows * WIDTH
    y_pred = numbers(formula.predictions, dtype, 1)[:count].reshape(shape)
    if formula.labels:
        return np.arange(rows) % WIDTH, y_pred
    return numbers(formula.targets, dtype, 2)[:count].reshape(shape), y_pred


def per_row(rows: int, dtype: str) -> np.ndarray:
    return np.resize(np.array([0, 1, 2]).astype(dtype), rows)


def kind_of(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def applies(variant: str, case: Case) -> bool:
    """Whether a variant is measured with a case: most with every loss's defaults, from logits too."""
    if case.plan.formula.kind == "setwise":  # compares all samples, or has rows of another kind
        return False
    if case.axes is None and variant not in ("plain", "gradient"):  # one set has no rows
        return False
    options = case.options.keys() - {"from_logits"}
    if variant.startswith("ignored"):
        return options == {"ignore_class"}
    if variant == "alphas":
        return not options and "categorical_focal" in case.plan.formula.name
    return not options


def work_of(variant: str, case: Case, rows: int) -> Callable[[], Any]:
    """The call that is measured, its inputs being there already."""
    loss = case.loss()
    y_true, y_pred = inputs(case, rows)
    name, _, detail = variant.partition(":")
    if name == "plain":
        return lambda: loss(y_true, y_pred)
    if name == "function":  # a number for each row
        return lambda: case.function(y_true, y_pred, **case.options)
    if name == "gradient":
        return lambda: omniloss.value_and_grad(loss, y_true, y_pred)[1]
    if name == "weighted-gradient":
        weights = per_row(rows, "f4")
        return lambda: omniloss.value_and_grad(loss, y_true, y_pred, weights)[1]
    if name == "weights":
        weights = per_row(rows, detail)
        return lambda: loss(y_true, y_pred, weights)
    if name == "mask":
        mask = per_row(rows, detail)
        return lambda: loss(y_true, y_pred, mask=mask)
    if name == "both":
        weights, mask = per_row(rows, detail), per_row(rows, "?")
        return lambda: loss(y_true, y_pred, weights, mask=mask)
    if name == "numbers":
        mask = per_row(rows, detail) % 2
        return lambda: loss(y_true, y_pred, mask=mask)
    if name == "weighted-mean":
        weighted = case.loss(reduction="mean_with_sample_weight")
        weights = per_row(rows, detail)
        return lambda: weighted(y_true, y_pred, weights)
    if name == "ignored":
        weights, mask = per_row(rows, "f4"), per_row(rows, "?")
        if not detail:
            return lambda: loss(y_true, y_pred)
        weighted = case.loss(reduction="mean_with_sample_weight")
        return lambda: weighted(y_true, y_pred, weights, mask=mask)
    if name == "alphas":
        alphas = np.linspace(0.1, 1, y_pred.shape[-1]).tolist()
        by_class = case.cls(alpha=alphas, label_smoothing=0.1, **case.options)
        return lambda: by_class(y_true, y_pred)
    if name == "predictions":
        other = y_pred.astype(kind_of(detail))
        return lambda: loss(y_true, other)
    if name == "targets":
        given = (y_true > 0.5).astype(detail) if y_true.ndim == 2 else y_true.astype(detail)
        return lambda: loss(given, y_pred)
    if name == "double":
        y_double, p_double = (x[: len(x) // 2] for x in inputs(case, rows, "f8"))
        return lambda: loss(y_double, p_double)
    if name == "strided":
        strided = y_true[::2], y_pred[::2]
        return lambda: loss(*strided)
    if name == "transposed":
        turned = case.loss() if case.plan.axis == -1 else loss
        y_turned = y_true if y_true.ndim == 1 else np.asfortranarray(y_true)
        p_turned = np.asfortranarray(y_pred)
        return lambda: turned(y_turned, p_turned)
    raise ValueError(variant)


def main(variant: str) -> None:
    """Measure every loss to which the variant applies."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    omniloss.set_num_threads(2)
    warnings.simplefilter("ignore", SyntaxWarning)  # of rows with one class
    found = []
    for case in cases():
        if not applies(variant, case):
            continue
        work_of(variant, case, 20_000)()
        found.append([str(case), *measure(work_of(variant, case, ELEMENTS // WIDTH))])
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
