# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Who waits, and who is next: first come first served within a flow, and flows take turns.

What lives here: FairQueue. What this must not know: what waits, for what, the clock.

Why not one line for all: who opens a thousand requests at once would have everybody else wait behind them. With turns
(fair queueing: Nagle, RFC 970, 1987; one request counts as much as any other) a flow that has one request waits for
one request of each other flow at most; and when the queue is full, it is the flow that has most in it that loses.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


class FairQueue:
    """At most `most` items; a flow is what can be a key, of a caller's connection for one. `count`: how many wait.

    Each item is in it once at most. All calls take some hundred nanoseconds, but `push` into a full queue, which looks
    at all flows.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        self.flows: Any = OrderedDict()  # flow -> its items in order; the flow that is next stands first
        self.entries: Any = OrderedDict()  # item -> (flow, since), in the order of arrival

    def push(self, flow: object, item: object, now: float) -> Any:
        """Add `item`; return what had to go for it (the item itself: it was not taken), or None."""
        displaced: object = None
        if self.count >= self.most:
            displaced = self.displace(flow)
            if displaced is None:
                return item
        items = self.flows.get(flow)
        if items is None:
            items = self.flows[flow] = OrderedDict()
        items[item] = None
        self.entries[item] = (flow, now)
        self.count += 1
        return displaced

    def displace(self, flow: object) -> Any:
        """Take the newest item of the longest flow out, for one of `flow`; None where that is no shorter."""
        own = self.flows.get(flow)
        longest = 1 if own is None else len(own) + 1
        victim: Any = None
        for items in self.flows.values():
            if len(items) > longest:
                longest = len(items)
                victim = items
        if victim is None:
            return None
        item = next(reversed(victim))
        self.remove(item)
        return item

    def head(self) -> Any:
        """Return who is next, who stays in; None where nobody waits."""
        if not self.count:
            return None
        return next(iter(self.flows[next(iter(self.flows))]))

    def pop(self) -> Any:
        """Take the next one out; None where nobody waits."""
        item = self.head()
        self.serve(item)
        return item

    def serve(self, item: object) -> bool:
        """Take `item` out as one that has had its turn: other flows come first now. False where it is not in."""
        entry = self.entries.get(item)
        if entry is None:
            return False
        self.flows.move_to_end(entry[0])
        return self.remove(item)

    def remove(self, item: object) -> bool:
        """Take `item` out; False where it is not in."""
        entry = self.entries.pop(item, None)
        if entry is None:
            return False
        flow = entry[0]
        items = self.flows[flow]
        del items[item]
        if not items:
            del self.flows[flow]
        self.count -= 1
        return True

    def oldest(self) -> float:
        """Return since when the one that came first has been waiting; -1 where nobody waits."""
        if not self.count:
            return -1.0
        since: float = self.entries[next(iter(self.entries))][1]
        return since

    def pop_oldest(self) -> Any:
        """Take out the one that came first, whoever is next; None where nobody waits."""
        if not self.count:
            return None
        item = next(iter(self.entries))
        self.remove(item)
        return item
