# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""How fast: token buckets, one for each key, in bounded memory.

What lives here: TokenBuckets. What this must not know: what a key is, who is refused how, the clock.

Kept as the "virtual scheduling" form of the generic cell rate algorithm (ITU-T I.371): per key one number, the instant
at which its bucket is full again. It decides as a bucket of `burst` tokens, filled at `rate`, does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class TokenBuckets:
    """`rate`: tokens a second, above 0; `burst`: tokens at once, 1 and more; both for each key on its own.

    At most `max_keys` are remembered, about 200 bytes each: beyond that the one that asked last the longest ago is
    forgotten, and begins anew with a full bucket; an attacker who makes keys up gains a burst by that, not memory.
    `forgotten` counts those that were forgotten with less than a full one.
    """

    def __init__(self, rate: float, burst: float, max_keys: int = 1) -> None:
        if not 0.0 < rate < float("inf"):
            raise ValueError(f"rate {rate!r} is not above 0 and finite")
        if not 1.0 <= burst < float("inf"):
            raise ValueError(f"burst {burst!r} is not 1 or more and finite")
        if max_keys < 1:
            raise ValueError(f"max_keys {max_keys!r} is not 1 or more")
        self.interval = 1.0 / rate
        self.slack = (burst - 1.0) / rate
        self.max_keys = max_keys
        self.forgotten = 0
        self.full_at: Any = OrderedDict()  # in the order of the last requests

    def take(self, key: Hashable, now: float) -> float:
        """Take a token and return 0, or return how many seconds from now there will be one."""
        full_at: float
        known = self.full_at.get(key)
        if known is None:
            if len(self.full_at) >= self.max_keys:
                _, full_at = self.full_at.popitem(False)
                if full_at > now:
                    self.forgotten += 1
            full_at = now
        else:
            self.full_at.move_to_end(key)
            full_at = known
            if full_at < now:
                full_at = now
        # A token that comes a rounding error early is a token: else one of a burst would be refused.
        early = full_at - now - self.slack
        if early > 1e-9:
            return early
        self.full_at[key] = full_at + self.interval
        return 0.0

    def wait(self, key: Hashable, now: float) -> float:
        """Return how many seconds from now there will be a token, 0 if there is one; nothing is taken."""
        known = self.full_at.get(key)
        if known is None:
            return 0.0
        full_at: float = known
        early = full_at - now - self.slack
        return early if early > 1e-9 else 0.0

    def __len__(self) -> int:
        return len(self.full_at)
