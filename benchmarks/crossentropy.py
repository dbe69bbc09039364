"""Softmax cross-entropy from logits with integer labels, with its gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn._loss.loss import HalfMultinomialLoss
from torch.nn import functional

import omniloss
from benchmarks.floor import THREADS, Floor
from benchmarks.harness import OURS, Case, Limit
from omniloss import losses

__all__ = ["SOFTMAX", "cases"]

SOFTMAX = "Softmax cross-entropy with its gradient, float32 logits, integer labels"
SHAPES = ((8192, 1000), (1024, 32_000), (1_000_000, 10))


def cases(shrink: int, floor: Floor) -> Iterator[Case]:
    """The three shapes, with ``shrink`` times fewer rows."""
    rng = np.random.default_rng(0)
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    for rows, classes in SHAPES:
        rows = max(1, rows // shrink)
        logits = 3 * rng.standard_normal((rows, classes), np.float32)
        labels = rng.integers(0, classes, rows)

        def ours(labels: np.ndarray = labels, logits: np.ndarray = logits) -> Any:
            return omniloss.value_and_grad(loss, labels, logits)[0]

        contenders: dict[str, Callable[[], Any]] = {
            "floor": floor.gradient(logits, labels.view(np.float32)),
            OURS: ours,
            "NumPy": _numpy(labels, logits),
            "PyTorch": _torch(labels, logits),
            "scikit-learn": _sklearn(labels, logits),
        }
        shape = {"rows x classes": f"{rows:,} x {classes:,}"}
        yield Case(SOFTMAX, shape, contenders, Limit("PyTorch", 5.0, "at least"))


def _numpy(labels: np.ndarray, logits: np.ndarray) -> Callable[[], Any]:
    rows = np.arange(len(labels))

    def run() -> Any:
        shifted = logits - logits.max(axis=1, keepdims=True)
        exponentials = np.exp(shifted)
        sums = exponentials.sum(axis=1, keepdims=True)
        value = np.mean(np.log(sums[:, 0]) - shifted[rows, labels])
        gradient = exponentials / sums
        gradient[rows, labels] -= 1
        gradient /= len(labels)
        return value

    return run


def _torch(labels: np.ndarray, logits: np.ndarray) -> Callable[[], Any]:
    targets = torch.from_numpy(labels)
    predictions = torch.from_numpy(logits).requires_grad_()

    def run() -> Any:
        predictions.grad = None
        value = functional.cross_entropy(predictions, targets)
        torch.autograd.backward(value)
        return value.detach()

    return run


def _sklearn(labels: np.ndarray, logits: np.ndarray) -> Callable[[], Any]:
    loss = HalfMultinomialLoss(n_classes=logits.shape[1])
    targets = labels.astype(np.float32)

    def run() -> Any:
        elements, _ = loss.loss_gradient(targets, logits, n_threads=THREADS)
        return np.mean(elements)

    return run
