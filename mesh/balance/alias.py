# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Weighted draws in constant time: the alias method, exact because it counts in whole weights.

What lives here: AliasTable. What this must not know: what the draw is for, health, load.
"""

from __future__ import annotations

from mesh.balance.node import Node
from mesh.balance.rng import Rng


class Slot:
    """One column of the table: `node` for draws under `threshold`, `other` from there on."""

    def __init__(self, node: Node, threshold: int) -> None:
        self.node = node
        self.other = node
        self.threshold = threshold


class AliasTable:
    """Draws nodes in proportion to their weights (1..1,000,000 each, at least one node).

    Vose: A Linear Algorithm for Generating Random Numbers with a Given Distribution, 1991, in integers instead of
    floats: n columns of height sum(weights), in which each node owns n * weight cells. Building is O(n), about 70
    bytes a node; a draw takes two random numbers, or one where all weights are equal and no table is kept.
    """

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.slots: list[Slot] = []
        self.total = 0
        even = True
        for node in nodes:
            self.total += node.weight
            even = even and node.weight == nodes[0].weight
        if not even:
            self.build()

    def build(self) -> None:
        n = len(self.nodes)
        small: list[Slot] = []
        large: list[Slot] = []
        for node in self.nodes:
            slot = Slot(node, node.weight * n)
            self.slots.append(slot)
            if slot.threshold < self.total:
                small.append(slot)
            else:
                large.append(slot)
        # What a small one leaves free in its column, a large one fills and so gets smaller. In integers the books
        # balance: when `small` is empty, every column left is exactly full.
        while small:
            slot = small.pop()
            rich = large[len(large) - 1]
            slot.other = rich.node
            rich.threshold -= self.total - slot.threshold
            if rich.threshold < self.total:
                large.pop()
                small.append(rich)

    def draw(self, rng: Rng) -> Node:
        """Return one node. O(1)."""
        i = rng.below(len(self.nodes))
        if not self.slots:
            return self.nodes[i]
        slot = self.slots[i]
        return slot.node if rng.below(self.total) < slot.threshold else slot.other
