"""Modules of torch need torch."""

import pytest

pytest.importorskip("torch")
