"""The memory that the core keeps for its next large results."""

from __future__ import annotations

from typing import Any

from omniloss import native

__all__ = ["PATIENCE", "forget"]

LEAST = 2**22  # bytes of what is worth keeping
PATIENCE = 8  # how many others are allocated before what does not serve goes back


def forget() -> list[Any]:
    """Have the core keep nothing, as long as somebody holds the result, which nothing has touched."""
    if native.core is None:
        return []
    return [native.core.new_memory(LEAST) for _ in range(PATIENCE + 4)]
