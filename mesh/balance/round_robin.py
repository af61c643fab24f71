# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Round robin: each in turn, weights ignored (0 is never picked).

What lives here: RoundRobin. What this must not know: see mesh.balance.picker.
"""

from __future__ import annotations

from mesh.balance.node import Node
from mesh.balance.picker import Picker
from mesh.balance.rng import Rng


class RoundRobin(Picker):
    """Each of n nodes once in any n picks in a row, as long as the set stays. A pick is O(1).

    When the set changes, the turn goes on behind the node that was picked last. The first turn, and the next one when
    that node is gone, is drawn at random: sidecars that learn of a set in the same instant must not all call its
    first endpoint.
    """

    def __init__(self, rng: Rng) -> None:
        super().__init__(rng)
        self.next = 0
        self.last: Node | None = None

    def rebuild(self) -> None:
        n = len(self.active)
        if n == 0:
            return
        for i, node in enumerate(self.active):
            if node is self.last:
                self.next = i + 1
                return
        self.last = None
        self.next = self.rng.below(n)

    def draw(self, key: int) -> Node:
        i = self.next
        if i >= len(self.active):
            i = 0
        node = self.active[i]
        self.next = i + 1
        self.last = node
        return node

    def draw_other(self, key: int, tried: list[Node]) -> Node:
        for _ in range(len(self.active)):
            node = self.draw(key)
            if not node.among(tried):
                return node
        return self.draw(key)
