# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Least connections: the smallest number of calls in flight per weight, of all.

What lives here: LeastConnections. What this must not know: see mesh.balance.picker.
"""

from __future__ import annotations

from mesh.balance.node import Node
from mesh.balance.picker import Picker


class LeastConnections(Picker):
    """The smallest in_flight / weight; among equals one at random in proportion to weight.

    So the shares of idle nodes are their weights. A pick looks at every node, O(n), twice where there are equals; for
    large sets power of two choices does nearly as well in O(1). Loads are compared crosswise in integers, so that
    equal is equal. Calls are whole: with fewer of them than the sum of weights, light nodes (mostly idle, so of load
    0) get more than their weight, as with nginx's least_conn.
    """

    def describe(self) -> str:
        return "least_connections"

    def draw(self, key: int) -> Node:
        node = self.least(None)
        assert node is not None
        return node

    def draw_other(self, key: int, tried: list[Node]) -> Node:
        return self.least(tried) or self.draw(key)

    def least(self, tried: list[Node] | None) -> Node | None:
        best: Node | None = None
        equals = 0
        for node in self.active:
            if tried is not None and node.among(tried):
                continue
            if best is None or node.in_flight * best.weight < best.in_flight * node.weight:
                best = node
                equals = node.weight
            elif node.in_flight * best.weight == best.in_flight * node.weight:
                equals += node.weight
        if best is None or equals == best.weight:
            return best
        left = self.rng.below(equals)
        for node in self.active:
            if tried is not None and node.among(tried):
                continue
            if node.in_flight * best.weight == best.in_flight * node.weight:
                if left < node.weight:
                    return node
                left -= node.weight
        return best
