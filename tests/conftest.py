"""Settings of the whole test run."""

import os
import sys

import pytest

# Keras looks for TensorFlow unless it is told; it reads this when it is first imported.
os.environ.setdefault("KERAS_BACKEND", "numpy")
# TensorFlow says on every import what machine it found.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Scripts for processes of their own, which start with their imports.
collect_ignore = [
    f"support/{name}.py" for name in ("keras_checks", "tf_keras_checks", "memory", "torch_memory")
]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random tensors in every run, in whichever order and process the tests come.

    OMNILOSS_TEST_SEED draws others.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(int(os.environ.get("OMNILOSS_TEST_SEED", "0")))
