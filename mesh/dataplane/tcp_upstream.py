"""Where TCP connections and UDP sessions go: a cluster's picker, as the relays want to ask it.

What lives here: the adapter from `Cluster` to the relays' `Upstream`. What this must not know: sockets, bytes.
"""

from __future__ import annotations

from mesh import errors
from mesh.balance.hashing import source_key
from mesh.balance.node import Node
from mesh.dataplane.cluster import Cluster
from mesh.model import Protocol


class PickedEndpoint:
    """One picked endpoint; what the relay knows of it."""

    __slots__ = ("endpoint", "host", "node", "port", "why")

    def __init__(self, node: Node, why: str) -> None:
        self.node = node
        self.why = why
        self.host: str = node.endpoint.host
        self.port: int = node.endpoint.port
        self.endpoint: str = node.resource

    @property
    def gone(self) -> bool:
        """The endpoint is not among the service's any longer."""
        return bool(self.node.removed)


class ClusterUpstream:
    """The relays' view of a cluster: one pick per connection attempt or session, one verdict when it is over."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

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

    def pick(self, source: str, tried: list[PickedEndpoint]) -> PickedEndpoint | None:
        """The endpoint for one more attempt; counts as in flight until `released`."""
        cluster = self._cluster
        cluster.hub.touch()
        if cluster.service is None:
            return None
        node = cluster.pick(source_key(source), [target.node for target in tried] or None)
        if node is None:
            return None
        node.begin()
        return PickedEndpoint(node, cluster.why)

    def released(self, target: PickedEndpoint, ok: bool, reason: errors.Reason | None) -> None:
        """The attempt is over: `ok` False when the endpoint is to blame."""
        cluster = self._cluster
        cluster.hub.touch()
        target.node.end()
        if ok:
            cluster.succeeded(target.node)
        elif reason is None or reason.fault is errors.Fault.UPSTREAM:
            cluster.failed(target.node)


class DatagramUpstream(ClusterUpstream):
    """The same for a port where no protocol is declared: datagrams go to a service that speaks UDP, and to no other."""

    def pick(self, source: str, tried: list[PickedEndpoint]) -> PickedEndpoint | None:
        service = self._cluster.service
        return super().pick(source, tried) if service is not None and service.protocol is Protocol.UDP else None
