"""Peak memory of one call above its inputs, each in a process of its own; Linux only.

Run as ``python -m benchmarks.memory JOB SIZE`` it prints the bytes of one job.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import omniloss
from omniloss import losses

__all__ = ["JOBS", "Peak", "peak"]


@dataclass(frozen=True)
class Peak:
    """What one job needed above its inputs, and the size of the gradient that it returned."""

    job: str
    extra: int
    gradient: int


def _reals(n: int) -> tuple[np.ndarray, np.ndarray, None]:
    y, p = np.random.default_rng(0).standard_normal((2, n // 16, 16), np.float32)
    return y, p, None


def _weighted(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y, p, _ = _reals(n)
    return y, p, np.ones(n // 16, np.float32)


def _binary(n: int) -> tuple[np.ndarray, np.ndarray, None]:
    y, p, _ = _reals(n)
    return (y > 0).astype(np.float32), p, None


def _classes(n: int) -> tuple[np.ndarray, np.ndarray, None]:
    _, p, _ = _reals(n)
    return np.zeros(n // 16, np.int64), p, None


JOBS: dict[str, tuple[losses.Loss, Callable[[int], Any]]] = {
    "MSE": (losses.MeanSquaredError(), _reals),
    "MSE, weights": (losses.MeanSquaredError(), _weighted),
    "hinge": (losses.Hinge(), _binary),
    "BCE with logits": (losses.BinaryCrossentropy(from_logits=True), _binary),
    "log-cosh": (losses.LogCosh(), _reals),
    "softmax cross-entropy": (losses.SparseCategoricalCrossentropy(from_logits=True), _classes),
}


def peak(job: str, size: int, *, gradient: bool) -> Peak:
    """Measure one job in a new process."""
    command = [sys.executable, "-m", "benchmarks.memory", job, str(size), str(int(gradient))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Peak(job, int(done.stdout), 4 * size if gradient else 0)


def _measure(job: str, size: int, gradient: bool) -> int:
    """How far the peak of the process's resident memory rises during one call."""
    loss, make = JOBS[job]

    def run(arguments: Any) -> Any:
        return omniloss.value_and_grad(loss, *arguments) if gradient else loss(*arguments)

    # A first call, large enough for every thread to start, pays for code and stacks.
    run(make(1 << 20))
    arguments = make(size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _status("VmRSS")
    result = run(arguments)
    after = _status("VmHWM")
    del result
    return after - before


def _status(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {field}")
    return 1024 * int(found.group(1))


if __name__ == "__main__":
    print(_measure(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"))
