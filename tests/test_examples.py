"""The examples run, and say what they promise."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path)), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_trained(printed: str, names: str, count: int, drop: float, accuracy: float) -> None:
    """So many losses end far below where they started, and at the same values."""
    rows = re.findall(rf"{names} +(\d\.\d+) +(\d\.\d+) +(\d+\.\d)%", printed)
    assert len(rows) == count
    for first, last, right in rows:
        assert float(last) < float(first) / drop
        assert float(right) > accuracy
    (difference,) = re.findall(r"Largest difference .*: (\S+)", printed)
    assert float(difference) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "needed", "names"),
    [
        ("torch_training.py", ["torch"], r"\.CrossEntropyLoss"),
        ("jax_training.py", ["jax", "optax"], "(?:optax|omniloss)"),
    ],
)
def test_training(name: str, needed: list[str], names: str, tmp_path: Path) -> None:
    for library in needed:
        pytest.importorskip(library)
    printed = run(name, "--epochs", "5", folder=tmp_path)
    assert_trained(printed, names, 2, 4, 90)
    assert len(re.findall(rf"{names} +[\d,]+ us +[\d,]+ us", printed)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_keras_training(backend: str, tmp_path: Path) -> None:
    """Losses of both dialects train as Keras's own does, and are saved with the model."""
    pytest.importorskip("keras")
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    printed = run("keras_training.py", "--epochs", "4", folder=tmp_path, KERAS_BACKEND=backend)
    assert f"Keras with {backend}" in printed
    assert_trained(printed, r"\.(?:losses|nn)", 3, 3, 85)
    ((before, after),) = re.findall(r"the model: (\S+), saved and loaded: (\S+)", printed)
    assert before == after
    assert "Its loss: SparseCategoricalCrossentropy(" in printed


@pytest.mark.slow
def test_quickstart(tmp_path: Path) -> None:
    printed = run("quickstart.py", "--output", "found.png", folder=tmp_path)
    losses = re.findall(r"(?:omniloss|scikit-learn) .*? (\d\.\d{4})", printed)
    assert len(losses) == 2
    assert abs(float(losses[0]) - float(losses[1])) < 1e-3
    assert (tmp_path / "found.png").stat().st_size > 10_000
