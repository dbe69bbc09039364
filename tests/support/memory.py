"""How much memory losses take above their inputs: run as ``python -m support.memory VARIANT``.

Prints one JSON list of [loss, bytes above the inputs, bytes of the result] for each loss of the registry.
The peak is that of the process's resident memory, which counts what any library allocates.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

import omniloss
from omniloss.formulas import ANY, Interval
from support.cases import Case, cases

ELEMENTS = 2**22
WIDTH = 16


def resident(field: str) -> int:
    """``VmRSS``, what is resident, or ``VmHWM``, its peak, in bytes."""
    with open("/proc/self/status") as file:
        found = re.search(rf"{field}:\s+(\d+) kB", file.read())
    assert found is not None
    return 1024 * int(found[1])


def measure(work: Callable[[], Any]) -> tuple[int, int]:
    """The peak of the memory above what was there before, and the size of the result."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    before = resident("VmRSS")
    result = work()
    return resident("VmHWM") - before, getattr(result, "nbytes", 0)


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
    return (np.arange(rows) % 3).astype(dtype)


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
    """Measure every loss with its defaults, from logits too."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    omniloss.set_num_threads(2)
    found = []
    for case in cases():
        if not case.options.keys() <= {"from_logits"}:
            continue
        work_of(variant, case, 20_000)()
        found.append([str(case), *measure(work_of(variant, case, ELEMENTS // WIDTH))])
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
