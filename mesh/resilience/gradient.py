# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""How much at a time, found by watching latency: the gradient of the least round trip and that of now.

What lives here: GradientLimit. What this must not know: who waits, what is counted, the clock.

The algorithm is that of Envoy's gradient controller (docs: "Adaptive Concurrency"; source:
extensions/filters/http/adaptive_concurrency/controller/gradient_controller.cc), which goes back to Netflix's
concurrency-limits: limit' = limit * g + sqrt(limit * g), with g = least * (1 + buffer) / now, within 0.5..2. As long as
more at a time costs no time the square root makes the limit grow; when a queue forms at the callee, g falls below 1.
"""

from __future__ import annotations

from math import sqrt

from mesh.balance.rng import Rng
from mesh.model.limits import AdaptivePolicy

# Of one interval; more say no more.
MOST_SAMPLES = 10_000
# In a row with the least limit: then what is believed of the least latency is likely to be outdated.
LEAST_IN_A_ROW = 5
MOST_GROWTH = 2.0
LEAST_GROWTH = 0.5


class GradientLimit:
    """Says in `limit` how many requests may be in flight. `least`: the least latency in seconds, 0 before it is known.

    `measuring`: the limit is the lowest for a while, so that what is measured is the callee and not its queue.
    """

    def __init__(self, policy: AdaptivePolicy, rng: Rng, now: float) -> None:
        self.policy = policy
        self.rng = rng
        self.lowest = policy.min_limit
        self.highest = policy.max_limit
        self.interval = policy.update_interval
        self.wanted = policy.rtt_samples
        self.limit = self.lowest
        self.resumed = self.lowest
        self.least = 0.0
        self.in_a_row = 0
        self.samples: list[float] = []
        self.measure(now)

    def measure(self, now: float) -> None:
        """Begin to measure the least latency."""
        self.measuring = True
        self.resumed = self.limit
        self.limit = self.lowest
        self.since = now
        self.samples = []

    def sample(self, latency: float, now: float) -> None:
        """Take the latency, in seconds, of a request that was answered at `now`. Some 100 ns, and n log n once an
        interval."""
        if self.measuring:
            if now - latency < self.since:
                return  # it was sent when there were more at a time
            self.samples.append(latency)
            if len(self.samples) >= self.wanted:
                self.settle(now)
            return
        if len(self.samples) < MOST_SAMPLES:
            self.samples.append(latency)
        if now >= self.measure_at:
            self.measure(now)
        elif now - self.since >= self.interval:
            self.update(now)

    def settle(self, now: float) -> None:
        """The least latency has been measured: go on where the limit was."""
        self.least = self.summed_up()
        self.measuring = False
        self.limit = self.resumed
        self.in_a_row = 0
        self.since = now
        self.measure_at = now + self.policy.rtt_interval * (1.0 + self.policy.jitter_ratio * self.rng.uniform())

    def update(self, now: float) -> None:
        """Set the limit by the latencies of the interval that ends."""
        present = max(self.summed_up(), 1e-9)
        growth = self.least * (1.0 + self.policy.buffer_ratio) / present
        growth = min(max(growth, LEAST_GROWTH), MOST_GROWTH)
        limit = self.limit * growth
        self.limit = min(max(int(limit + sqrt(limit)), self.lowest), self.highest)
        self.since = now
        if self.limit > self.lowest:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        if self.in_a_row >= LEAST_IN_A_ROW:
            self.measure(now)

    def summed_up(self) -> float:
        """Return the policy's percentile of the samples, which are used up by that."""
        self.samples.sort()
        place = min(int(self.policy.percentile_ratio * len(self.samples)), len(self.samples) - 1)
        found: float = self.samples[place]
        self.samples = []
        return found
