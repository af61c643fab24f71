"""What only the garbage collector frees: nothing of ours may be among it, or it would have to run in the hot path.

What lives here: the net. What this must not know: what runs inside it.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[Counter[str]]:
    """At the end of the block the counter has the types of our objects that were left, each holding the others."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found.update(type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith("mesh."))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
