"""When to try again: full jitter.

What lives here: Backoff. What this must not know: whether to try, timers.
"""

from __future__ import annotations

from mesh.balance.rng import Rng


class Backoff:
    """Delays uniform in 0..min(maximum, base * 2^(n-1)) seconds before the n-th retry.

    "Full jitter" of Brooker: Exponential Backoff And Jitter, AWS Architecture Blog, 2015: callers that failed together
    don't come back together. `base` and `maximum` are above 0 and finite, maximum >= base; else ValueError.
    """

    __slots__ = ("base", "maximum")

    def __init__(self, base: float, maximum: float) -> None:
        if not 0 < base <= maximum < float("inf"):
            raise ValueError(f"not 0 < base {base!r} <= maximum {maximum!r} < inf")
        self.base = base
        self.maximum = maximum

    def ceiling(self, attempt: int) -> float:
        """Return the longest delay before retry number `attempt` (1 is the first retry)."""
        if attempt < 1:
            raise ValueError(f"retries are counted from 1, not {attempt}")
        return min(self.maximum, self.base * 2.0 ** min(attempt - 1, 64))

    def delay(self, attempt: int, rng: Rng) -> float:
        """Return the seconds to wait before retry number `attempt` (1 is the first retry)."""
        return self.ceiling(attempt) * rng.uniform()
