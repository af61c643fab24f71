# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Power of two choices: two at random, the less loaded of them.

What lives here: PowerOfTwo. What this must not know: see mesh.balance.picker.
"""

from __future__ import annotations

from mesh.balance.alias import AliasTable
from mesh.balance.node import Node
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

    The second must have fewer per weight as it is, and no more if each had this call, too. With equal weights that is
    the same. With unequal ones it matters at few calls, for they are whole and a light node is mostly idle: by the
    first condition alone a canary of weight 1 beside 9 gets 45 % of two callers' calls, by both 9 %. What is left of
    the error is below 5 points for 1:3:2 and 1:9, and shrinks with the load.
    """

    def __init__(self, rng: Rng) -> None:
        super().__init__(rng)
        self.table = AliasTable([])

    def rebuild(self) -> None:
        self.table = AliasTable(self.active)

    def score(self, node: Node, key: int) -> float:
        return node.in_flight / node.weight

    def draw(self, key: int) -> Node:
        first = self.table.draw(self.rng)
        if len(self.active) == 1:
            return first
        for _ in range(REDRAWS):
            second = self.table.draw(self.rng)
            if second is not first:
                return self.less_loaded(first, second)
        return first

    def less_loaded(self, first: Node, second: Node) -> Node:
        now = second.in_flight * first.weight - first.in_flight * second.weight
        then = (second.in_flight + 1) * first.weight - (first.in_flight + 1) * second.weight
        return second if now < 0 and then <= 0 else first
