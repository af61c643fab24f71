# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""The endpoints of one service as a balancer sees them, each with the state that outlives an update of the registry.

What lives here: Node (one endpoint with its in-flight count, latency and ejection), LoadWatcher (who wants to be told
of its calls) and NodeSet (all of them, and their reconciliation with what discovery says). What this must not know: how
one is picked, connections, the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mesh.model.values import Endpoint, Health

INFINITY = float("inf")


class LoadWatcher:
    """Is told when a call begins and ends at a node that it was added to (`Node.watch`), after the count has
    changed."""

    def on_begin(self, node: Node) -> None:
        """A call began."""

    def on_end(self, node: Node) -> None:
        """A call ended, in whatever way."""

    def on_pending(self, node: Node) -> None:
        """One more, or one less, of its calls waits for a connection."""


class Node:
    """One endpoint. The owner of the calls says when each begins and ends, Outlier keeps the ejection, the pickers that
    go by latency keep that, NodeSet everything else.

    `in_flight`: calls that have begun and not ended; changed by `begin` and `end` only. `pending`: those of them that
    wait for a connection; changed by `queue` only. `retries`: those of them that repeat another. `full_weight`: what
    the registry says, 0..1,000,000; `weight`: what pickers go by, the same but for slow start, where all are a hundred
    times as large and some are growing up to that since `up_since`. `serving`: it is to take traffic, with a weight and
    not draining; `healthy`: and it can, as far as the registry knows. `consecutive_failures`: without a success between
    them; `last_failure`: what the last one was. `ejections`: in a row, see Outlier; `ejected_at`, `ejected_until`:
    instants, the latter 0 where it is not ejected; `ejected_why`; `returned_at`: the end of the last one. `held`: after
    `ejected_until` only a probe's success brings it back, and until `probe_until` one is under way. `asked`, `lapses`,
    `timed`, `spent`: results, failures among them, answers timed and the seconds they took, since Outlier last looked.
    `unproven`: it is checked, and no check has ended yet; `failing`: its checks say that it is down. `latency`: moving
    average in seconds as of the instant `latency_at`, -1 before anybody wanted it; `samples`: answers it is made of.
    `pool`: the owner's slot, for the connections. `resource`: `<service>/<name>`. `position`: index in NodeSet.nodes.
    `removed`: out of the set, finishing its calls.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.in_flight = 0
        self.pending = 0
        self.retries = 0
        self.consecutive_failures = 0
        self.ejections = 0
        self.ejected_until = 0.0
        self.ejected_at = 0.0
        self.returned_at = 0.0
        self.ejected_why = ""
        self.last_failure = ""
        self.held = False
        self.probe_until = 0.0
        self.unproven = False
        self.failing = False
        self.asked = 0
        self.lapses = 0
        self.timed = 0
        self.spent = 0.0
        self.latency = -1.0
        self.latency_at = 0.0
        self.samples = 0
        self.pool: Any = None
        self.watchers: Any = None
        self.position = -1
        self.removed = False
        self.endpoint = endpoint
        self.resource = endpoint.resource
        self.weight = endpoint.weight
        self.full_weight = endpoint.weight
        self.up_since = INFINITY
        self.judge()

    def begin(self) -> int:
        """Count a call that is about to be sent here."""
        self.in_flight += 1
        if self.watchers is not None:
            for watcher in self.watchers:
                watcher.on_begin(self)
        return 0

    def end(self) -> int:
        """Take back one `begin`."""
        self.in_flight -= 1
        if self.watchers is not None:
            for watcher in self.watchers:
                watcher.on_end(self)
        return 0

    def queue(self, more: int) -> int:
        """Count so many calls more (1), or less (-1), that wait for a connection."""
        self.pending += more
        if self.watchers is not None:
            for watcher in self.watchers:
                watcher.on_pending(self)
        return 0

    def watch(self, watcher: LoadWatcher) -> None:
        """Tell `watcher` of calls from now on."""
        if self.watchers is None:
            self.watchers = []
        self.watchers.append(watcher)

    def unwatch(self, watcher: LoadWatcher) -> None:
        """Stop telling `watcher`; one that is not told anyway is left alone."""
        if self.watchers is not None:
            self.watchers = [other for other in self.watchers if other is not watcher] or None

    def eligible(self, now: float) -> bool:
        """Whether it may be picked at `now`: in the set, healthy, not ejected, and its checks, if any, succeed."""
        return (self.healthy and now >= self.ejected_until and not self.held and not self.failing
                and not self.unproven)

    def out(self, now: float) -> bool:
        """Whether it is ejected at `now`, or waits for its probe."""
        return self.held or self.ejected_until > now

    def among(self, nodes: list[Node]) -> bool:
        """Whether it is one of `nodes`, which are few."""
        for node in nodes:  # noqa: SIM110  any() would make a generator for each call
            if node is self:
                return True
        return False

    def update(self, endpoint: Endpoint) -> None:
        """Take over what the registry says of the same endpoint now."""
        self.endpoint = endpoint
        self.resource = endpoint.resource
        if endpoint.weight != self.full_weight:
            self.weight = self.full_weight = endpoint.weight
        self.judge()

    def judge(self) -> None:
        health = self.endpoint.health
        self.priority = self.endpoint.priority
        self.serving = self.full_weight > 0 and health is not Health.DRAINING
        self.healthy = self.serving and health is Health.HEALTHY

    def remove(self) -> None:
        """Leave the set for good: never eligible again, and nobody is told of the calls that still end."""
        self.removed = True
        self.healthy = False
        self.serving = False
        self.position = -1
        self.watchers = None

    def __repr__(self) -> str:
        state = "removed" if self.removed else "healthy" if self.healthy else "not healthy"
        return (f"<Node {self.endpoint.resource} {state} weight={self.weight} in_flight={self.in_flight} "
                f"failures={self.consecutive_failures} ejections={self.ejections} until={self.ejected_until:g}>")


class NodeSet:
    """The nodes of one service, in the order of their names, so that every sidecar has the same order.

    `generation` grows when the weight of a node that stays changes.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.by_name: dict[str, Node] = {}
        self.generation = 0

    def reconcile(self, endpoints: Iterable[Endpoint]) -> tuple[list[Node], list[Node], list[Node]]:
        """Make the set what `endpoints` (all of them, each name once) says; return (added, removed, changed).

        A node that stays is the same object as before, with its calls in flight, its failures and its ejection. An
        endpoint that comes back under another address is another process: it is both added, as a fresh node, and
        removed. Where nothing differs the three lists are empty. O(n); sorts only when a node came or went.
        """
        added: list[Node] = []
        removed: list[Node] = []
        changed: list[Node] = []
        by_name: dict[str, Node] = {}
        for endpoint in endpoints:
            node = self.by_name.get(endpoint.name)
            if node is None or (node.endpoint is not endpoint and (node.endpoint.host != endpoint.host
                                                                   or node.endpoint.port != endpoint.port)):
                node = Node(endpoint)
                added.append(node)
            elif node.endpoint is not endpoint and node.endpoint != endpoint:
                if node.full_weight != endpoint.weight:
                    self.generation += 1
                node.update(endpoint)
                changed.append(node)
            by_name[endpoint.name] = node
        for node in self.nodes:
            if by_name.get(node.endpoint.name) is not node:
                node.remove()
                removed.append(node)
        if added or removed:
            self.by_name = by_name
            self.nodes = [by_name[name] for name in sorted(by_name)]
            for position, node in enumerate(self.nodes):
                node.position = position
        return added, removed, changed
