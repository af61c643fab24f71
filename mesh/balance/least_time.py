# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Least time: the node of all that is likely to answer first.

What lives here: LeastTime. What this must not know: see mesh.balance.picker.
"""

from __future__ import annotations

from mesh.balance.latency import LatencyAverage
from mesh.balance.least_connections import LeastLoaded
from mesh.balance.node import Node
from mesh.balance.rng import Rng
from mesh.model.balance import LatencyPolicy


class LeastTime(LeastLoaded):
    """The smallest latency * (1 + in_flight / share) of all, where share is the node's weight over the mean; among
    equals one at random in proportion to weight.

    nginx's least_time (open source since 1.31.0), with the latency averaged over time instead of over answers. Against
    peak EWMA: it takes the mean instead of peaks, and looks at all nodes instead of two: better for one caller, but
    many sidecars that find the same node fastest all call it. O(log n): loads stay in a tree, and as averages also age,
    each pick brings one node's up to date, in turn.
    """

    def __init__(self, rng: Rng, latency: LatencyPolicy) -> None:
        super().__init__(rng)
        self.feedback = True
        self.latency = LatencyAverage(latency.decay, latency.initial)
        self.mean_weight = 1.0
        self.next = 0

    def rebuild(self) -> None:
        total = 0
        for node in self.active:
            total += node.weight
        if self.active:
            self.mean_weight = total / len(self.active)
        LeastLoaded.rebuild(self)

    def load(self, node: Node) -> float:
        return self.latency.cost(node, self.now, self.mean_weight)

    def on_result(self, node: Node, latency: float, ok: bool, now: float) -> None:
        self.latency.add(node, latency, ok, now, False)
        self.now = now
        self.look(node)

    def best(self) -> Node | None:
        i = self.next
        if i >= len(self.active):
            i = 0
        self.next = i + 1
        best = self.tree.draw(self.rng)
        if best is None:
            return None
        node = self.active[i]
        self.look(node)
        return best
