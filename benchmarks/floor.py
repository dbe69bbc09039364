"""The floor: how fast the bytes that a loss must touch can move on this machine, in this run.

A value must read its inputs. A gradient must also write an array that is fresh from the allocator, whose
pages the system hands out in the same time. Several ways are tried when the benchmark starts, and
the fastest is the floor.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

import omniloss
from omniloss import native

__all__ = ["Floor"]

THREADS = omniloss.get_num_threads()
POOL = ThreadPoolExecutor(THREADS)


def _parts(size: int) -> list[slice]:
    """A slice for each thread."""
    ends = np.linspace(0, size, THREADS + 1).astype(int)
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def _read_with_numpy(x: np.ndarray) -> None:
    list(POOL.map(lambda part: x[part].max(initial=0), _parts(x.size)))


def _read_with_torch(x: np.ndarray) -> None:
    torch.sum(torch.from_numpy(x))


def _add_with_numpy(a: np.ndarray, b: np.ndarray) -> None:
    out = np.empty(a.shape, a.dtype)
    list(POOL.map(lambda part: np.add(a[part], b[part], out=out[part]), _parts(a.size)))


def _add_with_torch(a: np.ndarray, b: np.ndarray) -> None:
    out = torch.from_numpy(np.empty(a.shape, a.dtype))
    torch.add(torch.from_numpy(a), torch.from_numpy(b), out=out)


def _copy_with_numpy(a: np.ndarray) -> None:
    out = np.empty(a.shape, a.dtype)
    list(POOL.map(lambda part: np.copyto(out[part], a[part]), _parts(a.size)))


def _copy_with_torch(a: np.ndarray) -> None:
    torch.from_numpy(np.empty(a.shape, a.dtype)).copy_(torch.from_numpy(a))


READERS = {
    f"NumPy's max on {THREADS} threads": _read_with_numpy,
    "torch.sum": _read_with_torch,
}
if native.core is not None:
    READERS["the core's stream"] = native.core.stream
ADDERS = {f"NumPy's add on {THREADS} threads": _add_with_numpy, "torch.add": _add_with_torch}
COPIERS = {f"NumPy's copy on {THREADS} threads": _copy_with_numpy, "torch's copy": _copy_with_torch}


class Floor:
    """The fastest of the ways to read, to add two arrays into a fresh one, and to copy into a fresh one.

    ``reader``, ``adder`` and ``copier`` name them; ``speeds`` are their bytes per second, reads and writes counted.
    """

    def __init__(self, size: int) -> None:
        a, b = np.ones(size, np.float32), np.ones(size, np.float32)
        self.reader, read = _fastest(READERS, a)
        self.adder, add = _fastest(ADDERS, a, b)
        self.copier, copy = _fastest(COPIERS, a)
        self.speeds = {
            "read": a.nbytes / read,
            "add": 3 * a.nbytes / add,
            "copy": 2 * a.nbytes / copy,
        }

    def value(self, *inputs: np.ndarray | None) -> Callable[[], None]:
        """Read all inputs."""
        flat = [x.reshape(-1) for x in inputs if x is not None]
        reader = READERS[self.reader]

        def read() -> None:
            for x in flat:
                reader(x)

        return read

    def gradient(self, *inputs: np.ndarray | None) -> Callable[[], None]:
        """Read all inputs and write a fresh array of the first one's size, and the second's if it is of that size."""
        flat = [x.reshape(-1) for x in inputs if x is not None]
        paired = len(flat) > 1 and flat[1].size == flat[0].size
        write = ADDERS[self.adder] if paired else COPIERS[self.copier]
        written = 2 if paired else 1
        read = self.value(*flat[written:])

        def move() -> None:
            write(*flat[:written])
            read()

        return move


def _fastest(ways: Mapping[str, Callable[..., object]], *inputs: np.ndarray) -> tuple[str, float]:
    """The name of the fastest way, and its best time of ten, all tried in turn."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(10):
        for name, way in ways.items():
            start = time.perf_counter()
            way(*inputs)
            times[name].append(time.perf_counter() - start)
    best = {name: min(each) for name, each in times.items()}
    name = min(best, key=best.__getitem__)
    return name, best[name]
