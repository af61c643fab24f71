# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""How many retries a service can bear: a share of its first attempts plus a few per second.

What lives here: Budget. What this must not know: which failures are worth a retry, delays, the clock.

Why not a maximum per request alone: when a service fails as a whole, three attempts per request are three times the
load at the moment it can bear least. A budget caps what retries add (finagle and Linkerd: 20 %, 10 a second, 10 s).
"""

from __future__ import annotations

import math

INFINITY = float("inf")
# Slices of the window. What is counted is forgotten a slice at a time, between 1 and 1.1 windows after it happened:
# never early, so that no span of one window sees more retries than it should.
SLICES = 10


class Budget:
    """Counts first attempts (`deposit`) and retries (`withdraw`, when one is scheduled) over a sliding window.

    A retry is allowed while retries <= ratio * first attempts + min_per_second * window, both counted in the window.
    `ratio`: 0..1. `min_per_second`: 0 and more; all of a window's may go at once. `window`: seconds, above 0. Raises
    ValueError for other values. `now` never goes back. Both calls take some nanoseconds.
    """

    def __init__(self, ratio: float, min_per_second: float, window: float) -> None:
        if not 0.0 <= ratio <= 1.0:
            raise ValueError(f"ratio {ratio!r} is outside 0..1")
        if not 0.0 <= min_per_second < INFINITY:
            raise ValueError(f"min_per_second {min_per_second!r} is not a finite number of retries")
        if not 0.0 < window < INFINITY:
            raise ValueError(f"window {window!r} is not a time")
        self.ratio = ratio
        self.reserve = min_per_second * window
        self.slice = window / SLICES
        self.slice_ends = -INFINITY
        # In the window, the present slice included; then of the present slice alone, and of those before it.
        self.deposits = 0
        self.withdrawals = 0
        self.new_deposits = 0
        self.new_withdrawals = 0
        self.present = 0
        self.past: list[tuple[int, int, int]] = []

    def deposit(self, now: float) -> None:
        """Count a first attempt."""
        if now >= self.slice_ends:
            self.advance(now)
        self.deposits += 1
        self.new_deposits += 1

    def withdraw(self, now: float) -> bool:
        """Count a retry and return True, or return False where the budget is spent."""
        if now >= self.slice_ends:
            self.advance(now)
        # 0.29 * 100 is a little less than 29.
        if self.withdrawals + 1 > self.ratio * self.deposits + self.reserve + 1e-9:
            return False
        self.withdrawals += 1
        self.new_withdrawals += 1
        return True

    def level(self, now: float) -> float:
        """Return how many retries are left at `now`; a fraction where the next first attempts will make it whole."""
        if now >= self.slice_ends:
            self.advance(now)
        return max(0.0, self.ratio * self.deposits + self.reserve - self.withdrawals)

    def advance(self, now: float) -> None:
        """Begin the slice that `now` is in and forget what is too old."""
        if self.new_deposits or self.new_withdrawals:
            self.past.append((self.present, self.new_deposits, self.new_withdrawals))
            self.new_deposits = 0
            self.new_withdrawals = 0
        self.present = math.floor(now / self.slice)
        self.slice_ends = (self.present + 1) * self.slice
        while self.past and self.past[0][0] < self.present - SLICES:
            _, deposits, withdrawals = self.past.pop(0)
            self.deposits -= deposits
            self.withdrawals -= withdrawals
