"""These tests need the native core: without it the package has nothing here to test."""

import pytest

from omniloss import native


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if native.core is None:
        absent = pytest.mark.skip(reason="the native core is not installed")
        for item in items:
            if "native" in item.path.parts:
                item.add_marker(absent)
