# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""What all pickers share: who can be picked at this moment, and what happens when the one drawn has been tried already.

What lives here: Picker, the base class. What this must not know: any one algorithm, connections, the clock.

The order of preference is the same for all:
1. endpoints that are healthy (weight above 0, HEALTHY in the registry), not ejected and not yet tried for this request;
2. those that are healthy and not ejected, tried or not: a second chance is better than none;
3. where every healthy endpoint is ejected, the ejected ones, as if none were. Passive health has then lost its
   meaning (the callers' side or the whole service is ill), and an ejection must never make a service unreachable;
   Envoy calls this panic;
4. none: None.
"""

from __future__ import annotations

from mesh.balance.node import Node, NodeSet
from mesh.balance.rng import Rng

INFINITY = float("inf")
# Redraws before all are looked at: with half of the endpoints tried, one pick in 256 gets to that.
REDRAWS = 8


class Picker:
    """Picks one node of a set. A subclass gives `draw` and `describe`, and `rebuild` where it prepares anything.

    `active`: the nodes picked from, in the order of the set; `panic`: they are all ejected. Both are renewed at the
    next pick after `changed()` and when an ejection runs out, so that a pick itself need not look at every node.
    """

    def __init__(self, nodes: NodeSet, rng: Rng) -> None:
        self.nodes = nodes
        self.rng = rng
        self.active: list[Node] = []
        self.panic = False
        self.generation = -1
        self.refresh_at = -INFINITY

    def pick(self, key: int, now: float, tried: list[Node] | None) -> Node | None:
        """Return the node for the next request, or None where none is healthy.

        `key`: what hashing algorithms go by (see source_key), 0..2^64-1. `tried`: where this request has been already.
        Costs what the algorithm's `draw` says; with `tried`, up to 8 times that and seldom O(n).
        """
        if now >= self.refresh_at:
            self.refresh(now)
        if not self.active:
            return None
        if not tried:
            return self.draw(key)
        return self.draw_other(key, tried)

    def changed(self) -> None:
        """Say that the set was reconciled or a node ejected: the next pick looks at all of them again."""
        self.refresh_at = -INFINITY

    def describe(self) -> str:
        """Return the name of the algorithm, as in the Service."""
        raise NotImplementedError

    def draw(self, key: int) -> Node:
        """Pick from `active`, which is not empty."""
        raise NotImplementedError

    def rebuild(self) -> None:
        """Prepare for a new `active` or new weights in it."""

    def draw_other(self, key: int, tried: list[Node]) -> Node:
        """Pick one that is not in `tried` while there is one. A draw that is passed over counts as that node's turn."""
        if len(tried) < len(self.active):
            for _ in range(REDRAWS):
                node = self.draw(key)
                if not node.among(tried):
                    return node
        total = 0
        for node in self.active:
            if not node.among(tried):
                total += node.weight
        if total == 0:
            return self.draw(key)
        left = self.rng.below(total)
        for node in self.active:
            if not node.among(tried):
                if left < node.weight:
                    return node
                left -= node.weight
        raise AssertionError("the weights changed during a pick")

    def refresh(self, now: float) -> None:
        """Renew `active` from the set. Where that changes nothing, neither does the algorithm's own state."""
        active: list[Node] = []
        ejected: list[Node] = []
        self.refresh_at = INFINITY
        for node in self.nodes.nodes:
            if node.healthy:
                if now >= node.ejected_until:
                    active.append(node)
                else:
                    ejected.append(node)
                    self.refresh_at = min(self.refresh_at, node.ejected_until)
        self.panic = not active and len(ejected) > 0
        if self.panic:
            active = ejected
        if self.generation != self.nodes.generation or active != self.active:
            self.generation = self.nodes.generation
            self.active = active
            self.rebuild()
