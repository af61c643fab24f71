# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Power of two choices: two at random, the less loaded of them.

What lives here: PowerOfTwo. What this must not know: see mesh.balance.picker.
"""

from __future__ import annotations

from mesh.balance.alias import AliasTable
from mesh.balance.node import Node, NodeSet
from mesh.balance.picker import Picker
from mesh.balance.rng import Rng

# To find a second one. Of two equal nodes 16 draws miss the other once in 65,536 times; against an overwhelming weight
# they often do, and then that node is the one to take anyway.
REDRAWS = 16


class PowerOfTwo(Picker):
    """Two different nodes drawn in proportion to weight; the one with fewer calls in flight per weight, else the first.

    Mitzenmacher: The Power of Two Choices in Randomized Load Balancing, 2001: the longest queue grows as log log n
    instead of log n / log log n, without the herd that a full scan with stale loads makes. Idle nodes tie, and the
    first draw decides: shares are then exactly the weights. A pick is O(1).
    """

    def __init__(self, nodes: NodeSet, rng: Rng) -> None:
        super().__init__(nodes, rng)
        self.table = AliasTable([])

    def describe(self) -> str:
        return "power_of_two"

    def rebuild(self) -> None:
        self.table = AliasTable(self.active)

    def draw(self, key: int) -> Node:
        first = self.table.draw(self.rng)
        if len(self.active) == 1:
            return first
        for _ in range(REDRAWS):
            second = self.table.draw(self.rng)
            if second is not first:
                return second if second.in_flight * first.weight < first.in_flight * second.weight else first
        return first
