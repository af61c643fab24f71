# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Moving averages of how long a node takes to answer.

What lives here: LatencyAverage, the arithmetic on a node's `latency`, `latency_at` and `samples`. What this must not
know: how a pick uses them, the clock. The numbers live in the node, so they outlive updates and changes of policy.
"""

from __future__ import annotations

from cython.cimports.libc.math import exp

from mesh.balance.node import Node


class LatencyAverage:
    """An exponentially weighted moving average over time: what is `decay` seconds old counts 1/e.

    What a node was is forgotten in silence, too: without calls its average falls to 0, so that one that was slow is
    tried again some time. Before the first answer a node counts as `initial` seconds; the first one takes its place. A
    failure never makes a node look faster: to fail fast is not to be fast. Times that run backwards count as 0.
    """

    def __init__(self, decay: float, initial: float) -> None:
        self.decay = decay
        self.initial = initial

    def of(self, node: Node, now: float) -> float:
        """Return the average in seconds as of `now`."""
        if node.latency < 0:
            node.latency = self.initial
            node.latency_at = now
        if now <= node.latency_at:
            return node.latency
        left: float = exp((node.latency_at - now) / self.decay)
        return node.latency * left

    def cost(self, node: Node, now: float, mean_weight: float) -> float:
        """Return how long a call to `node` would seem to take: latency * (1 + in_flight / share), where share is the
        node's weight over the mean of all. Idle nodes differ by latency alone: their weights are for the draw."""
        return self.of(node, now) * (1.0 + node.in_flight * mean_weight / node.weight)

    def add(self, node: Node, latency: float, ok: bool, now: float, peak: bool) -> None:
        """Take one more latency into the average; with `peak` one that is above it replaces it."""
        before = self.of(node, now)
        if not ok and latency < before:
            latency = before
        if node.samples == 0 and not ok:  # no measurement, but a lower bound: the first answer takes its place
            if latency > before:
                node.latency = latency
                node.latency_at = now
            return
        node.samples += 1
        share = 1.0 - exp((node.latency_at - now) / self.decay) if now > node.latency_at else 0.0
        if node.samples == 1 or (peak and latency > before):
            node.latency = latency
        elif not peak and share < 1.0 / node.samples:
            # The first ones are averaged evenly: the very first would otherwise rule for `decay`.
            node.latency += (latency - node.latency) / node.samples
        else:
            node.latency = before + latency * share  # `before` has lost to age what the new one gets
        if now > node.latency_at:
            node.latency_at = now
