# cython: language_level=3, wraparound=False, initializedcheck=False
"""When a second copy of a request is worth sending: later than a share of all answers took lately.

What lives here: LatencyHistogram, which measures percentiles in constant memory, and Hedging, which makes a delay of
them. What this must not know: endpoints, budgets, which requests may be run twice, the clock.

"The tail at scale" (Dean and Barroso, CACM 56, 2013): a copy sent after the 95th percentile adds 5 % of load and cuts
the tail to that of two draws.
"""

from __future__ import annotations

import cython
from cython.cimports.libc.math import log2

from mesh.model.retry import HedgePolicy

# The first bucket ends here, in seconds; the last one has all that took more than 2^(192 / 8) times as long, 168 s.
SMALLEST = cython.declare(cython.double, 0.00001)
# Buckets to a doubling: the middle of one is off by 4.4 % at most.
PER_DOUBLING = cython.declare(cython.int, 8)
BUCKETS = cython.declare(cython.Py_ssize_t, 193)
# What is older counts half, with each of these once more: seconds. 95 % of what a percentile is made of has been seen
# within half a minute.
HALF_LIFE = cython.declare(cython.double, 7.0)
# There must be as many samples beyond the percentile before it is believed.
NEEDED_BEYOND = cython.declare(cython.double, 5.0)
# A percentile is looked up anew after so many samples: one more or less does not move it.
FRESH = cython.declare(cython.int, 16)


class LatencyHistogram:
    """Counts latencies in buckets whose bounds grow geometrically, and forgets by halving all of them.

    As in DDSketch (Masson, Rim, Lee: DDSketch, VLDB 2019), whose relative error it has: a percentile is at most 4.4 %
    off, whatever the distribution, from 10 us to 168 s. `total`: samples in it, the older ones in part. 6 KiB.
    """

    def __init__(self) -> None:
        self.counts: list[float] = [0.0] * BUCKETS
        self.total = 0.0
        self.halve_at = 0.0

    def add(self, latency: cython.double, now: cython.double) -> cython.int:
        """Count one latency in seconds (what is not above 0 counts as the smallest)."""
        if now >= self.halve_at:
            self.age(now)
        place: cython.Py_ssize_t = 0
        if latency > SMALLEST:
            place = cython.cast(cython.Py_ssize_t, log2(latency / SMALLEST) * PER_DOUBLING) + 1
            if place >= BUCKETS:
                place = BUCKETS - 1
        self.counts[place] += 1.0
        self.total += 1.0
        return 0

    def age(self, now: cython.double) -> cython.int:
        """Halve all counts as often as it is time to."""
        turns: cython.double = 0.0
        if self.total > 0:
            turns = 1.0 + (now - self.halve_at) // HALF_LIFE
        self.halve_at = now + HALF_LIFE
        left: cython.double = 0.5 ** turns
        count: cython.double
        total: cython.double = 0.0
        i: cython.Py_ssize_t
        for i in range(BUCKETS):
            count = self.counts[i] * left
            self.counts[i] = count
            total += count
        self.total = total
        return 0

    def percentile(self, ratio: cython.double, now: cython.double) -> cython.double:
        """Return the latency in seconds that `ratio` (0..1) of all do not exceed; 0.0 where there are none."""
        if now >= self.halve_at:
            self.age(now)
        wanted: cython.double = ratio * self.total
        seen: cython.double = 0.0
        i: cython.Py_ssize_t
        for i in range(BUCKETS):
            seen += cython.cast(cython.double, self.counts[i])
            if seen > 0 and seen >= wanted:
                # The middle of its bounds, in the measure that they grow in.
                return SMALLEST * 2.0 ** ((i - 0.5) / PER_DOUBLING)
        return 0.0


class Hedging:
    """The delay after which a policy wants a second copy of a request sent, for one service."""

    def __init__(self, policy: HedgePolicy) -> None:
        self.ratio = policy.percentile
        self.min_delay = policy.min_delay
        self.needed = NEEDED_BEYOND / (1.0 - policy.percentile)
        self.latencies = LatencyHistogram()
        self.news = 0
        self.last = -1.0

    def observe(self, latency: cython.double, now: cython.double) -> cython.int:
        """An attempt took `latency` seconds to its answer; or at least that long, where it was given up for a
        copy: without those the percentile would sink with every copy that wins."""
        self.news += 1
        return self.latencies.add(latency, now)

    def delay(self, now: cython.double) -> cython.double:
        """Return the seconds after which a copy is to be sent, or -1.0 while too little is known."""
        if self.news >= FRESH or now >= self.latencies.halve_at:
            self.news = 0
            self.last = self.latencies.percentile(self.ratio, now)
            if self.latencies.total < self.needed:
                self.last = -1.0
            elif self.last < self.min_delay:
                self.last = self.min_delay
        return self.last
