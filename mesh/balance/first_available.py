# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""First available: few endpoints full rather than all half empty.

What lives here: FirstAvailable. What this must not know: see mesh.balance.picker.
"""

from __future__ import annotations

from mesh.balance.least_connections import LeastLoaded
from mesh.balance.node import Node
from mesh.balance.rng import Rng


class FirstAvailable(LeastLoaded):
    """The first node, in the order of names, that has fewer than `capacity` calls in flight per unit of weight.

    HAProxy's `balance first` with maxconn: what the last endpoints don't get they can be scaled down by. Where all are
    full, the least full. It counts the calls of this sidecar: n callers give the first node up to n times
    its capacity. O(log n).
    """

    def __init__(self, rng: Rng, capacity: int) -> None:
        super().__init__(rng)
        self.capacity = capacity

    def load(self, node: Node) -> float:
        full = self.capacity * node.weight
        return 0.0 if node.in_flight < full else node.in_flight / full

    def best(self) -> Node | None:
        return self.tree.first()
