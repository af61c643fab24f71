# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Slow start: an endpoint that comes, or comes back, gets its weight little by little.

What lives here: SlowStart, which sets the weights that pickers go by. What this must not know: pickers, the clock.
"""

from __future__ import annotations

import cython

from mesh.balance.node import Node, NodeSet
from mesh.model.balance import SlowStartPolicy

if not cython.compiled:
    from mesh.balance.node import INFINITY

# Weights are whole numbers: with this factor a weight of 1 has a hundred steps to grow in.
SCALE = 100
# Steps in a window; each has the pickers build their tables anew.
STEPS = 50
SHORTEST_STEP = 0.1


class SlowStart:
    """Envoy's slow start: weight * max(min_ratio, (age / window) ^ (1 / aggression)), where age is the time since the
    endpoint could last not be picked. HAProxy's slowstart is the linear one.

    A cold process has caches, pools and code to warm, and least loads and low latencies draw everybody to it in the
    same instant. What is there when the sidecar itself starts counts as warm, as with HAProxy: beside endpoints that
    are all "new", the really new one would not stand out.
    """

    def __init__(self, policy: SlowStartPolicy) -> None:
        self.window = policy.window
        self.exponent = 1.0 / policy.aggression
        self.min_ratio = policy.min_ratio
        self.step = max(SHORTEST_STEP, policy.window / STEPS)
        self.begun = False

    def advance(self, nodes: NodeSet, now: float) -> float:
        """Set all weights as of `now`; return when they are due again, INFINITY where none grows. O(n)."""
        due = INFINITY
        changed = False
        some = False
        for node in nodes.nodes:
            if node.eligible(now) or (node.unproven and node.healthy and not self.begun):
                some = True
                if node.up_since == INFINITY:
                    node.up_since = now if self.begun else -INFINITY
                weight = self.weight(node, now - node.up_since)
                if weight < node.full_weight * SCALE:
                    due = now + self.step
            else:
                if not node.unproven:  # else it keeps what it was when this began
                    node.up_since = INFINITY
                weight = node.full_weight * SCALE
            if weight != node.weight:
                node.weight = weight
                changed = True
        self.begun = self.begun or some
        if changed:
            nodes.generation += 1
        return due

    def weight(self, node: Node, age: float) -> int:
        full = node.full_weight * SCALE
        if age >= self.window:
            return full
        ratio = max(age, 0.0) / self.window
        if self.exponent != 1.0:
            ratio = ratio ** self.exponent
        return max(1, int(full * max(ratio, self.min_ratio)))
