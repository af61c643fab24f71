"""Calls to the local app: one port, and one endpoint behind it.

What lives here: the inbound listener. What this must not know: how requests are carried, who knows of the port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mesh.dataplane.acceptor import HttpAcceptor
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.inspector import Inspector
from mesh.dataplane.record import SERVER
from mesh.dataplane.tcp import TcpProxy
from mesh.dataplane.tcp_upstream import ClusterUpstream
from mesh.model import Endpoint, OutlierPolicy, RetryPolicy, Service, TimeoutPolicy
from mesh.sidecar.config import Address, SidecarConfig
from mesh.sidecar.ports import Doors
from mesh.sidecar.sources import trusted_sources


class Inbound:
    """The callee's side."""

    def __init__(self, config: SidecarConfig, app: Address, hub: Hub, doors: Doors,
                 make_entry: Callable[[int, Cluster | None, Any], Entry]) -> None:
        cluster = Cluster(hub, config.service)
        # One endpoint, never repeated and never ejected here: the caller's sidecar knows the others.
        cluster.update_service(Service(config.service, config.protocol, retry=RetryPolicy(max_attempts=1),
                                       timeout=TimeoutPolicy(), outlier=OutlierPolicy(consecutive_failures=0)))
        cluster.update_endpoints([Endpoint(config.service, config.instance, app.host, app.port)])
        self._cluster = cluster
        entry = make_entry(SERVER, cluster, None)
        self.http = HttpAcceptor(hub, entry)
        self.tcp = TcpProxy(hub, ClusterUpstream(cluster), SERVER, config.service, entry.add_connection)
        self.inspector = Inspector(hub, lambda: config.protocol, self.http.accept, self.tcp.adopt, None,
                                   trusted_sources(config.proxy_protocol_from), config.detect_timeout)
        self.door = doors.add("inbound", self.inspector.accept)

    async def drain(self, timeout: float) -> None:
        """Accept no more and finish what is open, at most `timeout` seconds."""
        self.door.close()
        self.inspector.drain()
        await asyncio.gather(self.http.drain(timeout), self.tcp.drain(timeout))
        self._cluster.close()

    def statistics(self) -> dict[str, Any]:
        return {"address": str(self.door), "http": self.http.statistics(), "tcp": self.tcp.connections,
                "inspector": self.inspector.statistics()}
