"""torch is the reference of these tests, and warns of what is its own."""

import pytest

pytest.importorskip("torch")
