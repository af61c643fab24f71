"""Calls to the local app: one port, and one endpoint behind it.

What lives here: the inbound listener. What this must not know: how requests are carried, who knows of the port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from mesh.dataplane.acceptor import HttpAcceptor
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.clusters import Clusters
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.inspector import Inspector
from mesh.dataplane.introduction import introduction
from mesh.dataplane.record import SERVER
from mesh.dataplane.tcp import TcpProxy
from mesh.dataplane.tcp_upstream import ClusterUpstream
from mesh.dataplane.udp import UdpProxy
from mesh.model import Endpoint, OutlierPolicy, Protocol, RetryPolicy, Service, TimeoutPolicy
from mesh.sidecar.config import Address, SidecarConfig
from mesh.sidecar.limits import crowd, patience
from mesh.sidecar.ports import DatagramDoor, Door, Doors
from mesh.sidecar.sources import trusted_sources


class _App(ClusterUpstream):
    """The app as the UDP relay asks for it: a session is kept as long as the callers' sidecars keep theirs."""

    def __init__(self, app: Cluster, own: Cluster) -> None:
        ClusterUpstream.__init__(self, app)
        self._policy = ClusterUpstream(own)

    @property
    def udp_idle(self) -> float:
        return self._policy.udp_idle


class Inbound:
    """The callee's side. `clusters` is for the policies of the own service."""

    def __init__(self, config: SidecarConfig, app: Address, hub: Hub, doors: Doors, clusters: Clusters,
                 make_entry: Callable[[int, Cluster | None, Any], Entry]) -> None:
        cluster = Cluster(hub, config.service)
        # One endpoint, never repeated and never ejected here: the caller's sidecar knows the others.
        cluster.update_service(Service(config.service, config.protocol, retry=RetryPolicy(max_attempts=1),
                                       timeout=TimeoutPolicy(), outlier=OutlierPolicy(consecutive_failures=0)))
        cluster.update_endpoints([Endpoint(config.service, config.instance, app.host, app.port)])
        self._cluster = cluster
        entry = make_entry(SERVER, cluster, None)
        self.http = HttpAcceptor(hub, entry, patience(config))
        self.tcp = TcpProxy(hub, ClusterUpstream(cluster), SERVER, config.service, entry.connection_recorder(),
                            introduction(config.app_proxy_protocol))
        self.inspector = Inspector(hub, lambda: config.protocol, self.http.accept, self.tcp.adopt, None,
                                   trusted_sources(config.proxy_protocol_from), config.detect_timeout, crowd(config),
                                   lambda: len(self.http.connections) + self.tcp.connections)
        self.udp = UdpProxy(hub, _App(cluster, clusters.pin(config.service)), SERVER, config.service,
                            entry.add_connection)
        self.door: Door | DatagramDoor
        if config.protocol is Protocol.UDP:
            self.door = doors.add_datagrams("inbound", self.udp)
        else:
            self.door = doors.add("inbound", self.inspector.accept)

    async def drain(self, timeout: float) -> None:
        """Accept no more and finish what is open, at most `timeout` seconds."""
        self.door.close()
        await self.inspector.settle(timeout)
        self.inspector.drain()
        await asyncio.gather(self.http.drain(timeout), self.tcp.drain(timeout), self.udp.drain(timeout))
        self._cluster.close()

    def statistics(self) -> dict[str, Any]:
        return {"address": str(self.door), "http": self.http.statistics(), "tcp": self.tcp.connections,
                "udp": asdict(self.udp.statistics()), "inspector": self.inspector.statistics()}
