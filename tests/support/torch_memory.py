"""How much memory a loss of tensors takes above its inputs: ``python -m support.torch_memory LOSS:DTYPE[:WEIGHT]``.

Prints a JSON list of the peak of the process's resident memory above the inputs, forward and backward, and the
bytes of the gradient. A WEIGHT is the name of an option, which is given a number for each class.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch

import omniloss
from omniloss.nn import functional
from support.memory import measure


def work(loss: str, rows: int, dtype: torch.dtype, weight: str) -> Any:
    """The call that is measured, its inputs being there already."""
    x = torch.rand(rows, 1000).to(dtype).requires_grad_()
    y = torch.arange(rows) % 1000 if loss == "cross_entropy" else torch.rand(rows, 1000).to(dtype)
    options = {weight: torch.rand(1000)} if weight else {}

    def run() -> Any:
        getattr(functional, loss)(x, y, **options).backward()
        return x.grad

    return run


def main(loss: str, dtype: str, weight: str = "") -> None:
    """Measure one loss, which has been called before."""
    omniloss.set_num_threads(2)
    torch.set_num_threads(1)
    for _ in range(2):
        work(loss, 16, getattr(torch, dtype), weight)()
    print(json.dumps(measure(work(loss, 8000, getattr(torch, dtype), weight))))


if __name__ == "__main__":
    main(*sys.argv[1].split(":"))
