# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""The least of many loads, in logarithmic time.

What lives here: LoadTree. What this must not know: what a load is made of, nodes' health, the clock.
"""

from __future__ import annotations

from copy import copy

from mesh.balance.node import Node
from mesh.balance.rng import Rng

INFINITY = float("inf")


class Branch:
    """The least load below, and the sum of the weights of those that have it."""

    def __init__(self) -> None:
        self.least = INFINITY
        self.weight = 0


class LoadTree:
    """A tournament among nodes: the root knows the least load, and who has it is found on the way down.

    Knuth: The Art of Computer Programming 3, 5.4.1. Branch i has the children 2i and 2i+1; the leaves begin at `size`,
    a power of two. About 150 bytes a node. All operations but building take O(log n).
    """

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.places: dict[Node, int] = {}
        self.size = 1
        while self.size < len(nodes):
            self.size *= 2
        self.branches = [Branch() for _ in range(2 * self.size)]
        for place, node in enumerate(nodes):
            self.places[node] = place

    def fork(self) -> LoadTree:
        """Return a copy whose loads are its own. O(n)."""
        other: LoadTree = copy(self)
        other.branches = []
        for branch in self.branches:
            own = Branch()
            own.least = branch.least
            own.weight = branch.weight
            other.branches.append(own)
        return other

    def load(self, node: Node) -> float:
        """Return the load of a node as of the last `set` or `fill`; INFINITY for one that is not here."""
        place = self.places.get(node)
        if place is None:
            return INFINITY
        leaf = self.branches[self.size + place]
        return leaf.least

    def fill(self, loads: list[float]) -> None:
        """Set the loads of all nodes, in their order. O(n)."""
        for place, load in enumerate(loads):
            leaf = self.branches[self.size + place]
            leaf.least = load
            leaf.weight = self.nodes[place].weight
        for i in range(self.size - 1, 0, -1):
            self.settle(i)

    def set(self, node: Node, load: float) -> float:
        """Set the load of a node, INFINITY to leave it out; return what it was. One that is not here is left alone."""
        place = self.places.get(node)
        if place is None:
            return INFINITY
        i = self.size + place
        leaf = self.branches[i]
        before = leaf.least
        if load != before:
            leaf.least = load
            i >>= 1
            while i > 0 and self.settle(i):
                i >>= 1
        return before

    def settle(self, i: int) -> bool:
        """Make branch i what its children say; return whether that changed it."""
        branch = self.branches[i]
        left = self.branches[2 * i]
        right = self.branches[2 * i + 1]
        least = left.least
        weight = left.weight
        if right.least < least:
            least = right.least
            weight = right.weight
        elif right.least == least:
            weight += right.weight
        if branch.least == least and branch.weight == weight:
            return False
        branch.least = least
        branch.weight = weight
        return True

    def draw(self, rng: Rng) -> Node | None:
        """Return one with the least load, among equals at random in proportion to weight; None where all are left
        out."""
        root = self.branches[1]
        if root.least == INFINITY:
            return None
        left = 0
        only = True
        i = 1
        while i < self.size:
            i *= 2
            branch = self.branches[i]
            sibling = self.branches[i + 1]
            if branch.least != root.least:
                i += 1
            elif sibling.least == root.least:
                if only:
                    left = rng.below(root.weight)
                    only = False
                if left >= branch.weight:
                    left -= branch.weight
                    i += 1
        return self.nodes[i - self.size]

    def first(self) -> Node | None:
        """Return the first of those with the least load; None where all are left out."""
        root = self.branches[1]
        if root.least == INFINITY:
            return None
        i = 1
        while i < self.size:
            i *= 2
            branch = self.branches[i]
            if branch.least != root.least:
                i += 1
        return self.nodes[i - self.size]
