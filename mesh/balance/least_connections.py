# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Pickers that go by the least load of all: least connections here, others by another idea of load.

What lives here: LeastLoaded (keeps every node's load in a tree) and LeastConnections. What this must not know: see
mesh.balance.picker.
"""

from __future__ import annotations

import cython

from mesh.balance.load_tree import LoadTree
from mesh.balance.node import Node
from mesh.balance.picker import Picker
from mesh.balance.rng import Rng

if not cython.compiled:
    from mesh.balance.load_tree import INFINITY


class LeastLoaded(Picker):
    """The least `load` of all active nodes. A subclass gives `load`, which may change only when a call begins or ends,
    or where the subclass says so by `look`. A pick, a begin and an end take O(log n)."""

    def __init__(self, rng: Rng) -> None:
        super().__init__(rng)
        self.watching = True
        self.tree = LoadTree([])

    def load(self, node: Node) -> float:
        """How busy a node is, 0 and more."""
        raise NotImplementedError

    def best(self) -> Node | None:
        """Return a node with the least load, None where all are left out."""
        return self.tree.draw(self.rng)

    def separate(self) -> None:
        self.tree = self.tree.fork()

    def score(self, node: Node, key: int) -> float:
        return self.tree.load(node)

    def rebuild(self) -> None:
        self.tree = LoadTree(self.active)
        self.tree.fill([self.load(node) for node in self.active])

    def look(self, node: Node) -> None:
        """Take over a node's load. One that has lost its weight is left out: calls end before the next pick knows."""
        self.tree.set(node, self.load(node) if node.weight > 0 else INFINITY)

    def on_begin(self, node: Node) -> None:
        self.look(node)

    def on_end(self, node: Node) -> None:
        self.look(node)

    def draw(self, key: int) -> Node:
        node = self.best()
        assert node is not None
        return node

    def draw_other(self, key: int, tried: list[Node]) -> Node:
        for node in tried:
            self.tree.set(node, INFINITY)
        best = self.best()
        for node in tried:
            self.look(node)
        return self.draw(key) if best is None else best


class LeastConnections(LeastLoaded):
    """The smallest in_flight / weight; among equals one at random in proportion to weight.

    nginx's least_conn, HAProxy's leastconn. The shares of idle nodes are their weights. Quotients of whole numbers are
    equal as floats where they are equal. Calls are whole: with fewer of them than the sum of weights, light nodes
    (mostly idle, so of load 0) get more than their weight, as with nginx. O(log n) where nginx looks at every node.
    """

    def load(self, node: Node) -> float:
        return node.in_flight / node.weight
