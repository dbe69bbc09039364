"""The memory of a large gradient that was freed serves the next one, and nobody sees it but the clock."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import omniloss
from omniloss import losses, nn
from support.kept_memory import PATIENCE, forget

ROWS, COLUMNS = 2**21, 1  # 8 MiB of float32
LOSS = losses.MeanSquaredError(reduction="sum")
ROLLUP = Path("/proc/self/smaps_rollup")

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is kept on Linux alone")
tells = pytest.mark.skipif(
    not ROLLUP.exists(), reason="the system does not tell what is lazily free"
)


def gradient_by(number: float, rows: int = ROWS) -> np.ndarray:
    """A gradient whose elements are twice the number."""
    predictions = np.full((rows, COLUMNS), number, np.float32)
    gradient = omniloss.value_and_grad(LOSS, np.zeros_like(predictions), predictions)[1]
    assert isinstance(gradient, np.ndarray)
    return gradient


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def lazily_free() -> int:
    """The bytes that the system may take back at any time."""
    found = re.search(r"LazyFree:\s+(\d+) kB", ROLLUP.read_text())
    assert found is not None
    return 1024 * int(found[1])


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    held = forget()
    yield
    del held


@on_linux
def test_the_next_gradients_of_the_size_have_the_memory_of_the_last() -> None:
    gradients = [gradient_by(number) for number in (1.0, 2.0, 3.0)]
    places = {address(gradient) for gradient in gradients}
    assert len(places) == 3
    gradients.clear()
    gradients = [gradient_by(number) for number in (4.0, 5.0, 6.0)]
    assert {address(gradient) for gradient in gradients} == places


def test_gradients_that_are_alive_have_memory_of_their_own() -> None:
    gradients = [gradient_by(number) for number in (1.0, 2.0, 3.0)]
    view = gradients.pop()[::2]  # which alone keeps the third one alive
    later = gradient_by(4.0)
    for array, element in ((gradients[0], 2), (gradients[1], 4), (view, 6), (later, 8)):
        np.testing.assert_array_equal(array, np.float32(element))


@on_linux
def test_a_small_gradient_does_not_hold_the_memory_of_a_large_one() -> None:
    large = gradient_by(1.0, 8 * ROWS)
    begin, end = address(large), address(large) + large.nbytes
    del large
    small = gradient_by(2.0)
    assert not begin <= address(small) < end
    np.testing.assert_array_equal(small, np.float32(4))


@tells
def test_the_system_may_take_back_what_is_kept() -> None:
    large = gradient_by(1.0, 8 * ROWS)
    before = lazily_free()
    size = large.nbytes
    del large
    assert lazily_free() - before > size // 2


@tells
def test_what_no_longer_serves_goes_back() -> None:
    gradient_by(1.0, 8 * ROWS)
    kept = lazily_free()
    held = [gradient_by(2.0) for _ in range(PATIENCE + 4)]
    assert kept - lazily_free() > 4 * held[0].nbytes


@tells
def test_what_does_not_serve_beside_what_does_goes_back() -> None:
    gradients = [gradient_by(1.0, 8 * ROWS) for _ in range(3)]
    gradients.clear()
    kept = lazily_free()
    for _ in range(2 * PATIENCE):
        gradient_by(2.0, 2 * ROWS)
    assert kept - lazily_free() > kept // 2


def test_threads_do_not_share_it() -> None:
    def check(number: float) -> bool:
        return all(bool(np.all(gradient_by(number) == 2 * number)) for _ in range(8))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(check, (1.0, 2.0, 3.0, 4.0)))


def test_tensors_and_arrays_share_it() -> None:
    torch = pytest.importorskip("torch")

    def tensor_gradient(number: float) -> Any:
        x = torch.full((ROWS, COLUMNS), number, requires_grad=True)
        nn.functional.mse_loss(x, torch.zeros_like(x), reduction="sum").backward()
        return x.grad

    held, kept = tensor_gradient(1.0), tensor_gradient(2.0)
    where, size = kept.data_ptr(), kept.nbytes
    del kept
    array = gradient_by(3.0)
    if sys.platform == "linux":
        assert abs(address(array) - where) < size
    assert bool((held == 2).all())
    np.testing.assert_array_equal(array, np.float32(6))
