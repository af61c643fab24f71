# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Who can be picked at this moment, and the pick.

What lives here: Balancer, which joins a node set with an algorithm. What this must not know: any one algorithm,
connections, the clock.

The order of preference is the same for all algorithms:
1. endpoints that are healthy (weight above 0, HEALTHY in the registry), not ejected and not yet tried for this request;
2. those that are healthy and not ejected, tried or not: a second chance is better than none;
3. where every healthy endpoint is ejected, the ejected ones, as if none were. Passive health has then lost its
   meaning (the callers' side or the whole service is ill), and an ejection must never make a service unreachable;
   Envoy calls this panic;
4. none: None.
"""

from __future__ import annotations

from typing import Any

from mesh.balance.factory import make_picker
from mesh.balance.node import Node, NodeSet
from mesh.balance.picker import Picker
from mesh.balance.rng import Rng
from mesh.balance.sticky import Sticky
from mesh.model.balance import BalancePolicy

INFINITY = float("inf")


class Balancer:
    """Picks one node of a set by a policy.

    `panic`: all healthy nodes are ejected. `why`: how the last pick was made. `feedback`: the algorithm learns from
    `on_result`. Who can be picked is looked at again at the next pick after `changed()` and when an ejection runs out,
    so that a pick itself need not look at every node.
    """

    def __init__(self, policy: BalancePolicy, nodes: NodeSet, rng: Rng) -> None:
        self.policy = policy
        self.nodes = nodes
        self.rng = rng
        self.picker: Picker = make_picker(policy, rng)
        self.feedback = self.picker.feedback
        self.sticky: Any = Sticky(policy.sticky, nodes) if policy.sticky.cookie else None
        self.name: str = policy.algorithm.value
        self.why = self.name
        self.active: list[Node] = []
        self.panic = False
        self.generation = -1
        self.refresh_at = -INFINITY

    def pick(self, key: int, now: float, tried: list[Node] | None) -> Node | None:
        """Return the node for the next request, or None where none is healthy.

        `key`: what hashing algorithms go by, 0..2^64-1. `tried`: where this request has been already.
        Costs what the algorithm's `draw` says; with `tried`, up to 8 times that and seldom O(n).
        """
        if now >= self.refresh_at:
            self.refresh(now)
        if not self.active:
            return None
        picker = self.picker
        picker.now = now
        self.why = self.name
        if not tried:
            return picker.draw(key)
        return picker.draw_other(key, tried)

    def pick_again(self, cookies: bytes | None, key: int, now: float, tried: list[Node] | None) -> Node | None:
        """As `pick`, but the node that the client's cookie names goes before all others while it can be picked.

        `cookies`: the value of the request's Cookie field. Only where the policy has a cookie. `why` says which it was.
        """
        if cookies:
            node: Node | None = self.sticky.node_of(cookies)
            if node is not None and node.eligible(now) and (not tried or not node.among(tried)):
                self.why = "sticky"
                return node
        return self.pick(key, now, tried)

    def on_result(self, node: Node, latency: float, ok: bool, now: float) -> int:
        """Tell the algorithm how an attempt ended; see Picker.on_result."""
        if self.feedback:
            self.picker.on_result(node, latency, ok, now)
        return 0

    def changed(self) -> None:
        """Say that the set was reconciled or a node ejected: the next pick looks at all of them again."""
        self.refresh_at = -INFINITY

    def describe(self) -> str:
        """Return the name of the algorithm, as in the Service."""
        return self.name

    def close(self) -> None:
        """Let go of the nodes, for another balancer over the same set."""
        self.picker.detach()
        self.active = []
        self.refresh_at = INFINITY

    def refresh(self, now: float) -> None:
        """Look at all nodes. Where nothing has changed, neither does the algorithm's own state."""
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
            self.picker.now = now
            self.picker.take(active, [] if self.panic else ejected)
