# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Random, in proportion to weight.

What lives here: WeightedRandom. What this must not know: see mesh.balance.picker.
"""

from __future__ import annotations

from mesh.balance.alias import AliasTable
from mesh.balance.node import Node, NodeSet
from mesh.balance.picker import Picker
from mesh.balance.rng import Rng


class WeightedRandom(Picker):
    """Each pick independent of the ones before, a node with probability weight / sum(weights). A pick is O(1)."""

    def __init__(self, nodes: NodeSet, rng: Rng) -> None:
        super().__init__(nodes, rng)
        self.table = AliasTable([])

    def describe(self) -> str:
        return "random"

    def rebuild(self) -> None:
        self.table = AliasTable(self.active)

    def draw(self, key: int) -> Node:
        return self.table.draw(self.rng)
