"""What one call costs on a small batch, and what an import costs."""

from __future__ import annotations

import functools
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from benchmarks.harness import OURS, Case, Limit
from omniloss import losses

__all__ = ["CALLS", "cases", "import_seconds"]

CALLS = "One call of a loss object on a (32, 10) float32 batch"


def cases(calls: int) -> Iterator[Case]:
    """Our loss objects and Keras's, without weights."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((32, 10), np.float32)
    exponentials = np.exp(logits)
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    labels = rng.integers(0, 10, 32)
    one_hot = np.eye(10, dtype=np.float32)[labels]
    reals = rng.standard_normal((32, 10), np.float32)
    inputs: dict[str, tuple[np.ndarray, np.ndarray, dict[str, Any]]] = {
        "MeanSquaredError": (reals, logits, {}),
        "MeanAbsoluteError": (reals, logits, {}),
        "Huber": (reals, logits, {}),
        "LogCosh": (reals, logits, {}),
        "Hinge": (one_hot, logits, {}),
        "BinaryCrossentropy": (one_hot, logits, {"from_logits": True}),
        "KLDivergence": (one_hot, probabilities, {}),
        "Poisson": (one_hot, probabilities, {}),
        "CategoricalCrossentropy": (one_hot, logits, {"from_logits": True}),
        "SparseCategoricalCrossentropy": (labels, logits, {"from_logits": True}),
        "CosineSimilarity": (reals, logits, {}),
    }
    for name, (y, p, options) in inputs.items():
        contenders: dict[str, Callable[[], Any]] = {}
        for peer, module in ((OURS, losses), ("Keras", keras.losses)):
            loss = getattr(module, name)(**options)
            contenders[peer] = functools.partial(loss, y, p)
        yield Case(CALLS, {"loss": name}, contenders, Limit("Keras", 20.0, "at least"), calls=calls)


def import_seconds(repeats: int) -> float:
    """The median time of ``import omniloss`` in new processes that have imported NumPy."""
    code = (
        "import numpy, time; start = time.perf_counter(); import omniloss; "
        "print(time.perf_counter() - start)"
    )
    times = []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        times.append(float(done.stdout))
    return statistics.median(times)
