"""When the garbage collector runs: young objects in small steps, everything only while nothing else is to do.

What lives here: the rhythm. What this must not know: what the garbage is.

CPython's own rhythm walks all that is alive whenever a quarter more has survived: with thousands of connections open
that is a stop of tens of milliseconds in the middle of a burst of new ones. Neither requests nor connections leave
garbage (tests/unit/dataplane holds them to it): there is little to find, and no hurry.

Kept from CPython are the two young generations, which cost in proportion to what is new; one step walks at most
YOUNG x MIDDLE objects. What has survived both is walked when the loop has been quiet for QUIET seconds, if anything new
has survived at all; and, so that a sidecar that is never quiet does not grow for ever, when the middle generation has
had MOST steps: YOUNG x MIDDLE x MOST objects that were made and are not freed by their last reference.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

YOUNG = 10_000
MIDDLE = 10
MOST = 10
_NEVER = 2**31 - 1
LOOK = 1.0  # seconds between two looks at whether it is quiet
QUIET = 0.02


class Collector:
    """One per event loop and process. `hub.active_at` is the time of the last event (monotonic seconds)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, hub: Any) -> None:
        self._loop = loop
        self._hub = hub
        self._timer: asyncio.TimerHandle | None = None
        self.full = 0
        self.freed = 0
        self.longest = 0.0

    def start(self) -> None:
        """Leave what is there alone for ever, and look after what comes."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, MIDDLE, _NEVER)
        gc.enable()
        self._timer = self._loop.call_later(LOOK, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK, self._look)
        _, young, middle = gc.get_count()
        quiet = time.monotonic() - self._hub.active_at >= QUIET
        if middle >= MOST or (quiet and (young or middle)):
            self._collect()

    def _collect(self) -> None:
        started = time.perf_counter()
        self.freed += gc.collect()
        self.full += 1
        self.longest = max(self.longest, time.perf_counter() - started)

    def statistics(self) -> dict[str, Any]:
        """Full collections, what they freed, and the longest, in seconds."""
        return {"full": self.full, "freed": self.freed, "longest": round(self.longest, 6)}
