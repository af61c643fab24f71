"""Where the registry persists: in memory or in SQLite, behind one small interface.

What lives here: the interface. What this must not know: the registry's rules, asyncio. Every method blocks and is
called from one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from controlplane.registry import Change, Stored


class Store(Protocol):
    """A persistent registry state that moves by compare-and-swap."""

    def load(self) -> Stored:
        """Return the whole state. Raises StoreError."""

    def commit(self, expected: int, changes: Sequence[Change]) -> None:
        """Move from revision `expected` over `changes`, all or nothing; on return they survive a kill and a power cut.

        Raises Conflict when the store doesn't stand at `expected`, StoreError when it can't be written.
        """

    def close(self) -> None:
        """Release the store."""
