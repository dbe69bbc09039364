"""The losses of one number for each element, at 16M elements in three shapes, with and without weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import torch
from sklearn._loss import loss as sklearn_losses
from torch.nn import functional

import omniloss
from benchmarks.floor import THREADS, Floor
from benchmarks.harness import OURS, Case, Limit
from omniloss import losses

__all__ = ["VALUE", "VALUE_AND_GRADIENT", "cases"]

VALUE = "Value, 16M float32 elements"
VALUE_AND_GRADIENT = "Value and gradient, 16M float32 elements"

Elementwise = Callable[[Any, Any], Any]
Inputs = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Peer:
    """A scikit-learn loss; ``factor`` times its value is the loss, and ``alike`` says whether it then agrees."""

    loss: Any
    factor: float = 1.0
    alike: bool = True


@dataclass(frozen=True)
class Entry:
    """One loss as each library writes it, its inputs, and what its time may be as a multiple of the floor.

    ``numpy`` and ``derivative`` are functions of (y, p); ``torch`` of (y, p, reduction).
    ``row_sum``: a row's loss is the sum of its elements', not their mean.
    """

    name: str
    ours: losses.Loss
    keras: Any
    inputs: Callable[[np.random.Generator, int], Inputs]
    numpy: Elementwise
    derivative: Elementwise
    torch: Callable[[torch.Tensor, torch.Tensor, str], torch.Tensor]
    sklearn: Peer | None
    value_limit: float
    gradient_limit: float
    row_sum: bool = False


def _reals(rng: np.random.Generator, n: int) -> Inputs:
    return rng.standard_normal(n, np.float32), rng.standard_normal(n, np.float32)


def _labelled(rng: np.random.Generator, n: int) -> Inputs:
    labels = rng.integers(0, 2, n, np.uint8).astype(np.float32)
    return labels, 2 * rng.standard_normal(n, np.float32)


def _probabilities(rng: np.random.Generator, n: int) -> Inputs:
    y, p = rng.random((2, n), np.float32) * np.float32(0.98) + np.float32(0.01)
    return y, p


def _rates(rng: np.random.Generator, n: int) -> Inputs:
    counts = rng.integers(0, 6, n, np.uint8).astype(np.float32)
    return counts, rng.random(n, np.float32) * 4 + np.float32(0.1)


def _numpy_huber(y: Any, p: Any) -> Any:
    d = np.abs(y - p)
    return np.where(d <= 1, 0.5 * d * d, d - 0.5)


def _numpy_bce(y: Any, x: Any) -> Any:
    return np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))


def _numpy_log_cosh(y: Any, p: Any) -> Any:
    d = np.abs(y - p)
    return d + np.log1p(np.exp(-2 * d)) - np.float32(np.log(2))


def _numpy_hinge(y: Any, p: Any) -> Any:
    return np.maximum(1 - (2 * y - 1) * p, 0)


def _numpy_hinge_derivative(y: Any, p: Any) -> Any:
    signed = 2 * y - 1
    return np.where(signed * p < 1, -signed, np.float32(0))


def _torch_hinge(y: torch.Tensor, p: torch.Tensor, reduction: str) -> torch.Tensor:
    return _reduced(torch.clamp(1 - (2 * y - 1) * p, min=0), reduction)


def _torch_log_cosh(y: torch.Tensor, p: torch.Tensor, reduction: str) -> torch.Tensor:
    d = p - y
    return _reduced(d + functional.softplus(-2 * d) - float(np.log(2)), reduction)


def _torch_kl(y: torch.Tensor, p: torch.Tensor, reduction: str) -> torch.Tensor:
    return functional.kl_div(p.log(), y, reduction=reduction)


def _torch_poisson(y: torch.Tensor, p: torch.Tensor, reduction: str) -> torch.Tensor:
    return functional.poisson_nll_loss(p, y, log_input=False, eps=1e-7, reduction=reduction)


def _reduced(x: torch.Tensor, reduction: str) -> torch.Tensor:
    return x if reduction == "none" else x.mean() if reduction == "mean" else x.sum()


def _entries() -> list[Entry]:
    k = keras.losses
    return [
        Entry(
            "MSE", losses.MeanSquaredError(), k.MeanSquaredError(), _reals,
            lambda y, p: np.square(y - p), lambda y, p: 2 * (p - y),
            lambda y, p, r: functional.mse_loss(p, y, reduction=r),
            Peer(sklearn_losses.HalfSquaredError(), 2.0), 1.3, 1.5,
        ),
        Entry(
            "MAE", losses.MeanAbsoluteError(), k.MeanAbsoluteError(), _reals,
            lambda y, p: np.abs(y - p), lambda y, p: np.sign(p - y),
            lambda y, p, r: functional.l1_loss(p, y, reduction=r),
            Peer(sklearn_losses.AbsoluteError()), 1.3, 1.5,
        ),
        Entry(
            "Huber", losses.Huber(), k.Huber(), _reals,
            _numpy_huber, lambda y, p: np.clip(p - y, -1, 1),
            lambda y, p, r: functional.huber_loss(p, y, reduction=r),
            Peer(sklearn_losses.HuberLoss(delta=1.0)), 1.3, 1.5,
        ),
        Entry(
            "hinge", losses.Hinge(), k.Hinge(), _labelled,
            _numpy_hinge, _numpy_hinge_derivative, _torch_hinge, None, 1.6, 1.5,
        ),
        Entry(
            "BCE with logits", losses.BinaryCrossentropy(from_logits=True),
            k.BinaryCrossentropy(from_logits=True), _labelled,
            _numpy_bce, lambda y, x: 1 / (1 + np.exp(-x)) - y,
            lambda y, p, r: functional.binary_cross_entropy_with_logits(p, y, reduction=r),
            Peer(sklearn_losses.HalfBinomialLoss()), 2.0, 2.0,
        ),
        Entry(
            "log-cosh", losses.LogCosh(), k.LogCosh(), _reals,
            _numpy_log_cosh, lambda y, p: np.tanh(p - y), _torch_log_cosh, None, 2.0, 2.0,
        ),
        Entry(
            "KL", losses.KLDivergence(), k.KLDivergence(), _probabilities,
            lambda y, p: y * np.log(y / p), lambda y, p: -y / p, _torch_kl, None, 2.0, 2.0,
            row_sum=True,
        ),
        Entry(
            "Poisson", losses.Poisson(), k.Poisson(), _rates,
            lambda y, p: p - y * np.log(p + np.float32(1e-7)), lambda y, p: 1 - y / p,
            _torch_poisson, Peer(sklearn_losses.HalfPoissonLoss(), alike=False), 2.0, 2.0,
        ),
    ]  # fmt: skip


def cases(size: int, floor: Floor) -> Iterator[Case]:
    """Every loss, in every shape, with and without weights, as a value and with its gradient."""
    rng = np.random.default_rng(0)
    for entry in _entries():
        flat = entry.inputs(rng, size)
        for shape in ((1, size), (size, 1), (size // 16, 16)):
            y, p = (x.reshape(shape) for x in flat)
            weights = rng.random(shape[0], np.float32) + np.float32(0.5)
            for w in (None, weights):
                yield from _cases(entry, y, p, w, floor)


def _cases(
    entry: Entry, y: np.ndarray, p: np.ndarray, w: np.ndarray | None, floor: Floor
) -> Iterator[Case]:
    labels = {"loss": entry.name, "shape": _shape(p.shape), "weights": "no" if w is None else "yes"}
    unlike = () if entry.sklearn is None or entry.sklearn.alike else ("scikit-learn",)

    def ours_with_gradient() -> Any:
        return omniloss.value_and_grad(entry.ours, y, p, sample_weight=w)[0]

    for gradient in (False, True):
        contenders: dict[str, Callable[[], Any]] = {}
        if gradient:
            contenders["floor"] = floor.gradient(p, y, w)
            contenders[OURS] = ours_with_gradient
        else:
            contenders["floor"] = floor.value(p, y, w)
            contenders[OURS] = lambda: entry.ours(y, p, sample_weight=w)
            contenders["Keras"] = lambda: entry.keras(y, p, sample_weight=w)
        contenders["NumPy"] = _numpy(entry, y, p, w, gradient)
        contenders["PyTorch"] = _torch(entry, y, p, w, gradient)
        # scikit-learn takes one column, and weights for each of its elements.
        if entry.sklearn is not None and (w is None or p.shape[1] == 1):
            contenders["scikit-learn"] = _sklearn(entry.sklearn, y, p, w, gradient)
        limit = entry.gradient_limit if gradient else entry.value_limit
        yield Case(
            VALUE_AND_GRADIENT if gradient else VALUE,
            labels,
            contenders,
            Limit("floor", limit, "at most"),
            unlike=unlike,
        )


def _count(entry: Entry, p: np.ndarray) -> int:
    """What the mean divides by."""
    return p.shape[0] if entry.row_sum else p.size


def _numpy(
    entry: Entry, y: np.ndarray, p: np.ndarray, w: np.ndarray | None, gradient: bool
) -> Callable[[], Any]:
    count = _count(entry, p)
    column = None if w is None else w[:, None]
    factor = np.float32(1 / count)

    def run() -> Any:
        elements = entry.numpy(y, p)
        value = np.sum(elements if column is None else elements * column) / count
        if gradient:
            entry.derivative(y, p) * (factor if column is None else column * factor)
        return value

    return run


def _torch(
    entry: Entry, y: np.ndarray, p: np.ndarray, w: np.ndarray | None, gradient: bool
) -> Callable[[], Any]:
    count = _count(entry, p)
    targets = torch.from_numpy(y)
    predictions = torch.from_numpy(p).requires_grad_(gradient)
    column = None if w is None else torch.from_numpy(w)[:, None]

    def run() -> Any:
        if column is not None:
            value = (entry.torch(targets, predictions, "none") * column).sum() / count
        elif entry.row_sum:
            value = entry.torch(targets, predictions, "sum") / count
        else:
            value = entry.torch(targets, predictions, "mean")
        if gradient:
            predictions.grad = None
            torch.autograd.backward(value)
        return value.detach()

    return run


def _sklearn(
    peer: Peer, y: np.ndarray, p: np.ndarray, w: np.ndarray | None, gradient: bool
) -> Callable[[], Any]:
    arguments = {
        "y_true": y.reshape(-1),
        "raw_prediction": p.reshape(-1),
        "sample_weight": w,
        "n_threads": THREADS,
    }

    def run() -> Any:
        if gradient:
            elements, _ = peer.loss.loss_gradient(**arguments)
        else:
            elements = peer.loss.loss(**arguments)
        return peer.factor * np.mean(elements)

    return run


def _shape(shape: tuple[int, ...]) -> str:
    def short(n: int) -> str:
        return f"{n >> 20}M" if n >= 1 << 20 else str(n)

    return f"({', '.join(map(short, shape))})"
