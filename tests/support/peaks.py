"""Peaks of memory, each measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

__all__ = ["needs_peaks", "peaks"]

# The system must tell the peak of a process's memory, and let it begin anew.
_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
needs_peaks = pytest.mark.skipif(
    not (os.access(_CLEAR, os.W_OK) and _STATUS.exists()),
    reason="the peak of memory is not told here",
)


def peaks(module: str, *arguments: str) -> Any:
    """What a module prints as JSON when it is run."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    # Freed memory goes back at once, so that it cannot serve unseen.
    frugal = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    printed = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **frugal, "PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    ).stdout
    return json.loads(printed)
