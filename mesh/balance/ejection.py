# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Passive health: endpoints that keep failing are taken out for a while.

What lives here: Outlier, which counts outcomes and ejects. What this must not know: what a failure is (the proxies
classify outcomes), how a pick avoids an ejected node, the clock.
"""

from __future__ import annotations

from mesh.balance.node import Node, NodeSet
from mesh.model.values import OutlierPolicy


class Outlier:
    """Ejects by an OutlierPolicy. All state is in the nodes, so a new policy is a new Outlier over the same set.

    How many may be out: max_ejection_ratio of the healthy nodes, rounded down, but always one (Envoy's rule). That
    one may be the only one there is; pickers then go on with it (see mesh.balance.picker), so that an ejection
    never empties a service.
    """

    def __init__(self, policy: OutlierPolicy, nodes: NodeSet) -> None:
        self.nodes = nodes
        self.threshold = policy.consecutive_failures
        self.base = policy.base_ejection_time
        self.longest = policy.max_ejection_time
        self.ratio = policy.max_ejection_ratio

    def on_result(self, node: Node, ok: bool, now: float) -> bool:
        """Count one outcome; return True where it made the node ejected. O(1), O(n) for a failure at the threshold.

        A success ends the row of failures, and after the node's return that of ejections. The row is not ended by
        the ejection itself: a node that fails its first call after its return is out again at once, and for longer.
        Failures of a node that is out (calls begun before, or picked in panic) are not counted.
        """
        if ok:
            node.consecutive_failures = 0
            if now >= node.ejected_until:
                node.ejected_until = 0.0
                node.ejections = 0
            return False
        if node.ejected_until > now:
            return False
        node.consecutive_failures += 1
        if self.threshold == 0 or node.consecutive_failures < self.threshold or not node.healthy:
            return False
        if not self.may_eject(now):
            return False
        node.ejections += 1
        node.ejected_until = now + min(self.base * node.ejections, self.longest)
        return True

    def may_eject(self, now: float) -> bool:
        healthy = 0
        ejected = 0
        for node in self.nodes.nodes:
            if node.healthy:
                healthy += 1
                if node.ejected_until > now:
                    ejected += 1
        # 0.29 * 100 is a little less than 29.
        return ejected == 0 or ejected + 1 <= self.ratio * healthy + 1e-9
