# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Random, in proportion to weight or not.

What lives here: WeightedRandom, UniformRandom. What this must not know: see mesh.balance.picker.
"""

from __future__ import annotations

import cython

from mesh.balance.alias import AliasTable
from mesh.balance.node import Node
from mesh.balance.picker import Picker
from mesh.balance.rng import Rng

if not cython.compiled:
    from mesh.balance.picker import REDRAWS


class WeightedRandom(Picker):
    """Each pick independent of the ones before, a node with probability weight / sum(weights). A pick is O(1)."""

    def __init__(self, rng: Rng) -> None:
        super().__init__(rng)
        self.table = AliasTable([])

    def rebuild(self) -> None:
        self.table = AliasTable(self.active)

    def draw(self, key: int) -> Node:
        return self.table.draw(self.rng)


class UniformRandom(Picker):
    """Each pick independent of the ones before, each node as likely as any other: weights are ignored (0 is never
    picked). A pick is O(1)."""

    def draw(self, key: int) -> Node:
        node: Node = self.active[self.rng.below(len(self.active))]
        return node

    def draw_other(self, key: int, tried: list[Node]) -> Node:
        for _ in range(REDRAWS):
            node = self.draw(key)
            if not node.among(tried):
                return node
        rest: list[Node] = []
        for node in self.active:
            if not node.among(tried):
                rest.append(node)
        return rest[self.rng.below(len(rest))] if rest else self.draw(key)
