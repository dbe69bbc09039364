"""These tests need the native core: without it the package has nothing here to test."""

from collections.abc import Iterator

import pytest

from omniloss import native
from support.kernel_calls import threads


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if native.core is None:
        absent = pytest.mark.skip(reason="the native core is not installed")
        for item in items:
            if "native" in item.path.parts:
                item.add_marker(absent)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread where a test does not ask for more: many tests run at once."""
    if native.core is None:
        yield
    else:
        with threads(1):
            yield
