# cython: language_level=3, wraparound=False, initializedcheck=False, boundscheck=False
"""Latencies counted in buckets: one microsecond wide up to 2 ms, then 0.1 % of the value (HdrHistogram's layout).

What lives here: the counts and the quantiles. What this must not know: clocks, sockets.
"""

from __future__ import annotations

import cython

FINE = cython.declare(cython.int, 2048)  # microseconds in buckets of their own
BUCKETS = 23 * 1024  # up to 2^31 us, over half an hour


def bucket_of(us: cython.longlong) -> cython.int:
    """The bucket that counts a latency of `us` microseconds."""
    shift: cython.int = 0
    if us < 0:
        return 0
    if us >= 1 << 31:
        us = (1 << 31) - 1
    while us >> shift >= FINE:
        shift += 1
    return shift * 1024 + cython.cast(cython.int, us >> shift)


def value_of(bucket: int) -> int:
    """The least latency in microseconds that `bucket` counts."""
    if bucket < 2048:
        return bucket
    shift = bucket // 1024 - 1
    return int((bucket - 1024 * shift) << shift)


class Histogram:
    """Counts of latencies. `quantile` tells the latency at or below which a share of them lies."""

    def __init__(self) -> None:
        if not cython.compiled:
            self.counts = [0] * BUCKETS
        self.clear()

    def clear(self) -> None:
        for bucket in range(23 * 1024):
            self.counts[bucket] = 0

    def add(self, us: cython.longlong) -> cython.int:
        self.counts[bucket_of(us)] += 1
        return 0

    def total(self) -> int:
        return sum([self.counts[bucket] for bucket in range(23 * 1024)])

    def quantile(self, ratio: float) -> int:
        """Microseconds; 0 where nothing was counted. `ratio` in 0..1."""
        total = self.total()
        left = total * ratio
        for bucket in range(23 * 1024):
            count = self.counts[bucket]
            left -= count
            if count and left <= 1e-9 * total:
                return value_of(bucket)
        return 0
