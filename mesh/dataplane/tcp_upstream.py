# cython: language_level=3, wraparound=False, initializedcheck=False
"""Where TCP connections and UDP sessions go: a cluster's picker, as the relays want to ask it.

What lives here: the adapter from `Cluster` to the relays' `Upstream`. What this must not know: sockets, bytes.
"""

from __future__ import annotations

import functools
from typing import Any

import cython

from mesh import errors
from mesh.balance.hashing import source_key
from mesh.balance.node import Node
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.room import Room
from mesh.dataplane.timers import Probe
from mesh.model import Protocol

# A connection or session that probes an ejected endpoint and has stood this long without an error ends its ejection, in
# seconds: longer than a callee's sidecar takes to find that its app is gone.
_STANDING = 1.0
# Callers come again: a key costs more than the pick.
key_of = functools.lru_cache(1024)(source_key)


class PickedEndpoint:
    """One picked endpoint; what the relay knows of it."""

    def __init__(self, node: Node, why: str) -> None:
        self.node = node
        self.why = why
        self.host: str = node.endpoint.host
        self.port: int = node.endpoint.port
        self.endpoint: str = node.resource
        self.over = False

    @property
    def gone(self) -> bool:
        """The endpoint is not among the service's any longer."""
        return bool(self.node.removed)


class ClusterUpstream:
    """The relays' view of a cluster: one pick per connection attempt or session, one verdict when it is over."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.refusal: Any = None

    @property
    def connect_timeout(self) -> float:
        return self._cluster.connect_timeout

    @property
    def idle_timeout(self) -> float:
        service = self._cluster.service
        return service.timeout.idle if service is not None else 3600.0

    @property
    def udp_idle(self) -> float:
        service = self._cluster.service
        return service.timeout.udp_idle if service is not None else 60.0

    def pick(self, source: str, tried: list[Any]) -> PickedEndpoint | None:
        """The endpoint for one more attempt; counts as in flight until `released`. Where a limit is why there is none,
        `refusal` says which."""
        cluster: Cluster = self._cluster
        room: Room = cluster.room
        target: PickedEndpoint
        avoid: list[Node] | None = None
        self.refusal = None
        if cluster.service is None:
            return None
        if room.max_connections and room.connections() >= room.max_connections:
            return self._refuse()
        if tried:
            avoid = []
            for target in tried:
                avoid.append(target.node)
        node: Node | None = cluster.pick(key_of(source), avoid)
        if node is None:
            return None
        if room.full_of_relays(node):
            node = cluster.pick(key_of(source), [*(avoid or ()), *room.full_nodes()])
            if node is None or room.full_of_relays(node):
                return self._refuse()
        node.begin()
        room.begin_relay(node)
        target = PickedEndpoint(node, cluster.why)
        if node.held:
            hub = cluster.hub
            hub.timers.arm(Probe(functools.partial(self._stands, target)), hub.now + _STANDING, hub.now)
        return target

    def _stands(self, target: PickedEndpoint) -> None:
        if not target.over:
            self._cluster.proved(target.node)

    def _refuse(self) -> PickedEndpoint | None:
        self._cluster.room.refuse(errors.LIMIT_CONNECTIONS)
        self.refusal = errors.LIMIT_CONNECTIONS
        return None

    def released(self, target: PickedEndpoint, ok: cython.bint, reason: errors.Reason | None) -> cython.int:
        """The attempt is over: `ok` False when the endpoint is to blame."""
        cluster: Cluster = self._cluster
        target.over = True
        target.node.end()
        cluster.room.end_relay(target.node)
        if ok:
            cluster.succeeded(target.node)
        elif reason is None or reason.fault is errors.Fault.UPSTREAM:
            cluster.failed(target.node, "" if reason is None else reason.code)
        return 0


class DatagramUpstream(ClusterUpstream):
    """The same for a port where no protocol is declared: datagrams go to a service that speaks UDP, and to no other."""

    def pick(self, source: str, tried: list[Any]) -> PickedEndpoint | None:
        service = self._cluster.service
        if service is None or service.protocol is not Protocol.UDP:
            return None
        return ClusterUpstream.pick(self, source, tried)
