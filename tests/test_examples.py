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


@pytest.mark.slow
def test_torch_training(tmp_path: Path) -> None:
    """Both losses end at the same values, far below where they started."""
    printed = run("torch_training.py", "--epochs", "5", folder=tmp_path)
    rows = re.findall(r"\.CrossEntropyLoss +(\d\.\d+) +(\d\.\d+) +(\d+\.\d)%", printed)
    assert len(rows) == 2
    for first, last, accuracy in rows:
        assert float(last) < float(first) / 4
        assert float(accuracy) > 90
    (difference,) = re.findall(r"Largest difference .*: (\S+)", printed)
    assert float(difference) < 1e-4
    assert len(re.findall(r"\.CrossEntropyLoss +[\d,]+ us +[\d,]+ us", printed)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_keras_training(backend: str, tmp_path: Path) -> None:
    """Losses of both dialects train as Keras's own does, and are saved with the model."""
    pytest.importorskip("keras")
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    printed = run("keras_training.py", "--epochs", "4", folder=tmp_path, KERAS_BACKEND=backend)
    assert f"Keras with {backend}" in printed
    rows = re.findall(r"\.(?:losses|nn) +(\d\.\d+) +(\d\.\d+) +(\d+\.\d)%", printed)
    assert len(rows) == 3
    for first, last, accuracy in rows:
        assert float(last) < float(first) / 3
        assert float(accuracy) > 85
    (difference,) = re.findall(r"Largest difference .*: (\S+)", printed)
    assert float(difference) < 1e-4
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


@pytest.mark.slow
def test_jax_training(tmp_path: Path) -> None:
    """Both losses end at the same values, far below where they started."""
    pytest.importorskip("jax")
    pytest.importorskip("optax")
    printed = run("jax_training.py", "--epochs", "5", folder=tmp_path)
    rows = re.findall(r"(?:optax|omniloss) +(\d\.\d+) +(\d\.\d+) +(\d+\.\d)%", printed)
    assert len(rows) == 2
    for first, last, accuracy in rows:
        assert float(last) < float(first) / 4
        assert float(accuracy) > 90
    (difference,) = re.findall(r"Largest difference .*: (\S+)", printed)
    assert float(difference) < 1e-4
    assert len(re.findall(r"(?:optax|omniloss) +[\d,]+ us +[\d,]+ us", printed)) == 2
