"""The memory that the core keeps for its next large results."""

from __future__ import annotations

from omniloss import native

__all__ = ["LEAST", "PATIENCE", "forget"]

LEAST = 2**22  # bytes of what is worth keeping
PATIENCE = 8  # how many others are allocated before what does not serve goes back


def forget() -> None:
    """Have the core give back what it keeps; what it holds then has never been touched."""
    if native.core is not None:
        for size in (LEAST, 4 * LEAST):  # neither fits what the other leaves
            held = [native.core.new_memory(size) for _ in range(PATIENCE + 4)]
            del held
