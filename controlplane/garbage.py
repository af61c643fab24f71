"""When the garbage collector runs: in pauses of ours instead of in the middle of a push.

What lives here: the rhythm. What this must not know: what the garbage is. Ten thousand streams are two million objects,
which the automatic collector walks whenever a push to all of them has allocated enough: a third of the CPU of a push,
in stops of up to 350 ms. Young objects are looked at every YOUNG seconds, or as soon as there are MANY; everything
every FULL seconds.
"""

from __future__ import annotations

import asyncio
import gc

YOUNG = 10.0
FULL = 600.0
MANY = 200_000  # objects allocated and not freed since the last look, some 50 MB of them


async def collect_in_pauses() -> None:
    """Take the collector over until cancelled."""
    loop = asyncio.get_running_loop()
    young = full = loop.time()
    gc.freeze()  # what was imported and loaded stays; no collection needs to walk it
    gc.disable()
    try:
        while True:
            await asyncio.sleep(1.0)
            now = loop.time()
            if now - full >= FULL:
                gc.collect()
                young = full = now
            elif now - young >= YOUNG or gc.get_count()[0] > MANY:
                gc.collect(1)
                young = now
    finally:
        gc.enable()
