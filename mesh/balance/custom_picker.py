# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""A policy of one's own among the pickers: asked for each pick, beside an algorithm that stands in for it.

What lives here: Candidate, an endpoint as such a policy sees it, and CustomPicker, which asks it and checks what it
says. What this must not know: how the policy is loaded, timed and kept from doing harm (the object it is given does),
connections, the clock.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from mesh.balance.node import Node
from mesh.balance.picker import Picker
from mesh.balance.rng import Rng


class Candidate:
    """An endpoint that may be picked, to be read only; what changes is as of the moment it is read.

    `index`: its place in the set, `weight`: the registry's, `priority`: see Endpoint.
    """

    def __init__(self, node: Node, index: int) -> None:
        endpoint = node.endpoint
        self.node = node
        self.index = index
        self.name = endpoint.name
        self.region = endpoint.locality.region
        self.zone = endpoint.locality.zone
        self.metadata = MappingProxyType(dict(endpoint.metadata))
        self.weight = endpoint.weight
        self.priority = endpoint.priority

    @property
    def in_flight(self) -> int:
        """Calls of this sidecar process that it has not answered."""
        return self.node.in_flight

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self.node.consecutive_failures

    def __repr__(self) -> str:
        return f"<Candidate {self.name} weight={self.weight} in_flight={self.node.in_flight}>"

    def __copy__(self) -> Candidate:
        return self

    def __deepcopy__(self, memo: Any) -> Candidate:
        """A policy is copied for explanations; the endpoints that it has kept are the same ones."""
        return self


class CustomPicker(Picker):
    """Asks `policy` and falls back to `inner`, another picker over the same nodes.

    `policy` has `live` (its picks are used, not only compared), `asked(now)` (whether to ask it now),
    `pick(candidates, key, now)` (one of them or None, never raises), `refuse(answer)` (it was none of them),
    `compare(chosen, used)` and `on_result(candidate, latency, ok, now)`; None: only `inner` picks.
    """

    def __init__(self, rng: Rng, inner: Picker, policy: Any) -> None:
        super().__init__(rng)
        self.inner = inner
        self.policy = policy
        self.feedback = True
        self.candidates: tuple[Candidate, ...] = ()
        self.by_node: dict[Node, Candidate] = {}

    def take(self, active: list[Node], away: list[Node]) -> None:
        self.inner.now = self.now
        self.inner.take(active, away)
        self.active = active
        self.candidates = tuple([Candidate(node, i) for i, node in enumerate(active)])
        self.by_node = {}
        for candidate in self.candidates:
            self.by_node[candidate.node] = candidate

    def detach(self) -> None:
        self.inner.detach()
        self.active = []
        self.candidates = ()
        self.by_node = {}

    def fork(self, rng: Rng) -> Picker:
        """As Picker.fork; whoever made it puts another policy in, or None."""
        other: CustomPicker = Picker.fork(self, rng)  # type: ignore[assignment]
        other.inner = self.inner.fork(rng)
        return other

    def score(self, node: Node, key: int) -> float:
        return self.inner.score(node, key)

    def on_result(self, node: Node, latency: float, ok: bool, now: float) -> None:
        if self.inner.feedback:
            self.inner.on_result(node, latency, ok, now)
        candidate = self.by_node.get(node)
        if candidate is not None and self.policy is not None:
            self.policy.on_result(candidate, latency, ok, now)

    def draw(self, key: int) -> Node:
        self.inner.now = self.now
        if self.policy is None or not self.policy.asked(self.now):
            return self.inner.draw(key)
        if self.policy.live:
            chosen = self.ask(self.candidates, key)
            return self.inner.draw(key) if chosen is None else chosen
        node = self.inner.draw(key)
        chosen = self.ask(self.candidates, key)
        if chosen is not None:
            self.policy.compare(chosen, node)
        return node

    def draw_other(self, key: int, tried: list[Node]) -> Node:
        self.inner.now = self.now
        rest: list[Candidate] = []
        for candidate in self.candidates:
            if not candidate.node.among(tried):
                rest.append(candidate)
        if not rest or self.policy is None or not self.policy.asked(self.now):
            return self.inner.draw_other(key, tried)
        if self.policy.live:
            chosen = self.ask(tuple(rest), key)
            return self.inner.draw_other(key, tried) if chosen is None else chosen
        node = self.inner.draw_other(key, tried)
        chosen = self.ask(tuple(rest), key)
        if chosen is not None:
            self.policy.compare(chosen, node)
        return node

    def ask(self, candidates: tuple[Candidate, ...], key: int) -> Node | None:
        """Return the node that the policy picks, None where it has no opinion or a fault."""
        answer = self.policy.pick(candidates, key, self.now)
        if answer is None:
            return None
        for candidate in candidates:
            if candidate is answer:
                node: Node = candidate.node
                return node
        self.policy.refuse(answer)
        return None
