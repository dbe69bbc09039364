"""The PyTorch dialect on torch tensors beside torch itself: large losses, cross-entropies, small batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional as torch_functional

from benchmarks.harness import OURS, Case, Limit
from omniloss.nn import functional

__all__ = ["TABLES", "cases"]

LARGE = "PyTorch dialect on torch tensors: means of 16M float32 elements"
SOFTMAX = "PyTorch dialect on torch tensors: cross_entropy with class indices, forward and backward"
SMALL = "PyTorch dialect on torch tensors: one call on a (32, 10) float32 batch"
TABLES = (LARGE, SOFTMAX, SMALL)

FORWARD, BOTH = "forward", "forward and backward"
ELEMENTWISE = (
    "mse_loss",
    "l1_loss",
    "huber_loss",
    "smooth_l1_loss",
    "binary_cross_entropy_with_logits",
    "kl_div",
)
# Small calls besides: what the loss is called with, and what its row is called
OTHERS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("cross_entropy", {}, ""),
    ("cross_entropy", {"weight": None}, " with class weights"),
    ("cross_entropy", {"label_smoothing": 0.1}, " with label smoothing"),
    ("nll_loss", {}, ""),
    ("nll_loss", {"weight": None}, " with class weights"),
    ("multi_margin_loss", {}, ""),
    ("mse_loss", {"reduction": "none"}, " unreduced"),
    ("multilabel_margin_loss", {}, ""),
    ("margin_ranking_loss", {}, ""),
    ("gaussian_nll_loss", {}, ""),
    ("cosine_embedding_loss", {}, ""),
    ("triplet_margin_loss", {}, ""),
)
# The places of the arrays that a loss is differentiated by, if not by the first alone
LEAVES = {
    "margin_ranking_loss": (0, 1),
    "gaussian_nll_loss": (0, 2),
    "cosine_embedding_loss": (0, 1),
    "triplet_margin_loss": (0, 1, 2),
}
CROSSENTROPIES = (
    (8192, 1000, torch.float32, 5.0),
    (1024, 32_000, torch.float32, 5.0),
    (1_000_000, 10, torch.float32, 5.0),
    (1024, 32_000, torch.bfloat16, 3.0),
)


def cases(size: int, shrink: int, calls: int) -> Iterator[Case]:
    """The losses at ``size`` elements, cross-entropies with ``shrink`` times fewer rows, small calls."""
    torch.manual_seed(0)
    yield from _large(size)
    for rows, classes, dtype, ratio in CROSSENTROPIES:
        rows = max(1, rows // shrink)
        logits = (3 * torch.randn(rows, classes)).to(dtype)
        target = torch.randint(0, classes, (rows,))
        labels = {"rows x classes": f"{rows:,} x {classes:,}", "dtype": str(dtype)[6:]}
        contenders = _contenders("cross_entropy", (logits, target), BOTH)
        # A unit of bfloat16 is more than the agreement that is asked of values.
        unlike = ("PyTorch",) if dtype is torch.bfloat16 else ()
        limit = Limit("PyTorch", ratio, "at least")
        yield Case(SOFTMAX, labels, contenders, limit, unlike=unlike)
    yield from _small(calls)


def _large(size: int) -> Iterator[Case]:
    weighted = {"pos_weight": torch.tensor(3.0)}
    for name, options, called in (
        *((name, {}, "") for name in ELEMENTWISE),
        ("binary_cross_entropy_with_logits", weighted, " with pos_weight"),
    ):
        arrays = _arrays(name, (size,))
        for what in (FORWARD, BOTH):
            contenders = _contenders(name, arrays, what, options)
            limit = Limit("PyTorch", 5.0, "at least")
            yield Case(LARGE, {"loss": name + called, "what": what}, contenders, limit)


def _small(calls: int) -> Iterator[Case]:
    for name, options, called in (*((name, {}, "") for name in ELEMENTWISE), *OTHERS):
        arrays = _arrays(name, (32, 10))
        if "weight" in options:
            options = {"weight": torch.rand(10) + 0.5}
        for what, most in ((FORWARD, 1.0), (BOTH, 1.4)):
            contenders = _contenders(name, arrays, what, options)
            limit = Limit("PyTorch", most, "at most")
            labels = {"loss": name + called, "what": what}
            yield Case(SMALL, labels, contenders, limit, calls=calls)


def _arrays(name: str, shape: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    input, target = torch.randn(shape), torch.rand(shape)
    if name == "multilabel_margin_loss":
        labels = torch.rand(shape).argsort(dim=1)
        labels[:, 3] = -1
        return input, labels
    if name == "gaussian_nll_loss":
        return input, target, torch.rand(shape) + 0.1
    if name == "triplet_margin_loss":
        return input, target, torch.randn(shape)
    if name in ("margin_ranking_loss", "cosine_embedding_loss"):
        signs = torch.sign(torch.randn(shape if name == "margin_ranking_loss" else shape[:1]))
        return input, torch.randn(shape), signs
    if name == "kl_div":
        return torch.log_softmax(input, -1), target
    if name in ("cross_entropy", "nll_loss", "multi_margin_loss"):
        input = torch.log_softmax(input, -1) if name == "nll_loss" else input
        return input, torch.randint(0, shape[1], shape[:1])
    return input, target


def _contenders(
    name: str,
    arrays: tuple[torch.Tensor, ...],
    what: str,
    options: dict[str, Any] | None = None,
) -> dict[str, Callable[[], Any]]:
    options = options or {}
    if name == "kl_div":  # its mean warns
        options = {"reduction": "sum"}
    leaves = [arrays[place] for place in LEAVES.get(name, (0,))]
    for leaf in leaves:
        leaf.requires_grad_(what == BOTH)
    # Unreduced losses are no number to compare, and adding them up is not what is measured.
    reduced = options.get("reduction") != "none"
    ones = None if reduced else torch.ones(arrays[0].shape)

    def contender(loss: Callable[..., torch.Tensor]) -> Callable[[], Any]:
        def forward() -> Any:
            value = loss(*arrays, **options)
            return value if reduced else None

        def both() -> Any:
            for leaf in leaves:
                leaf.grad = None
            value = loss(*arrays, **options)
            value.backward(ones)  # type: ignore[no-untyped-call]
            return value.detach() if reduced else None

        return both if what == BOTH else forward

    return {
        OURS: contender(getattr(functional, name)),
        "PyTorch": contender(getattr(torch_functional, name)),
    }
