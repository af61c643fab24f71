"""The app's calls to other services: one port per declared service, and one shared port.

What lives here: which listener leads to which cluster. What this must not know: how requests are carried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mesh.dataplane.cluster import Cluster
from mesh.dataplane.clusters import Clusters
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.listener import H2Acceptor
from mesh.dataplane.record import CLIENT
from mesh.dataplane.tcp import TcpProxy
from mesh.dataplane.tcp_upstream import ClusterUpstream
from mesh.model import Protocol
from mesh.sidecar.config import Outbound, SidecarConfig
from mesh.sidecar.ports import Door, Doors

MakeEntry = Callable[[int, Cluster | None, Any], Entry]


class ServicePort:
    """The port of one service. What is spoken is declared, or what discovery says when a connection comes."""

    def __init__(self, outbound: Outbound, doors: Doors, hub: Hub, cluster: Cluster, entry: Entry) -> None:
        self._declared = outbound.protocol
        self._cluster = cluster
        self.service = outbound.service
        self.http = H2Acceptor(hub, entry)
        self.tcp = TcpProxy(hub, ClusterUpstream(cluster), CLIENT, outbound.service, entry.add_connection)
        self.door = doors.add(f"outbound {outbound.service}", self._accept)

    def _accept(self, fd: int, host: str, port: int) -> None:
        service = self._cluster.service
        protocol = self._declared or (service.protocol if service is not None else Protocol.GRPC)
        (self.tcp.accept if protocol is Protocol.TCP else self.http.accept)(fd, host, port)

    async def drain(self, timeout: float) -> None:
        self.door.close()
        await asyncio.gather(self.http.drain(timeout), self.tcp.drain(timeout))

    def statistics(self) -> dict[str, Any]:
        return {"service": self.service, "address": str(self.door), "http": self.http.statistics(),
                "tcp": vars_of(self.tcp.statistics())}


def vars_of(statistics: Any) -> dict[str, Any]:
    """A frozen statistics value as JSON."""
    return {name: getattr(statistics, name) for name in statistics.__slots__}


class Outbounds:
    """All outbound ports of the sidecar."""

    def __init__(self, config: SidecarConfig, hub: Hub, doors: Doors, clusters: Clusters,
                 make_entry: MakeEntry) -> None:
        self._ports: list[ServicePort] = []
        for outbound in config.outbound:
            cluster = clusters.pin(outbound.service)
            entry = make_entry(CLIENT, cluster, None)
            self._ports.append(ServicePort(outbound, doors, hub, cluster, entry))
        self._shared: Door | None = None
        self._shared_http: H2Acceptor | None = None
        if config.outbound_shared is not None:
            self._shared_http = H2Acceptor(hub, make_entry(CLIENT, None, clusters))
            self._shared = doors.add("outbound-shared", self._shared_http.accept)

    def services(self) -> list[str]:
        """The declared services."""
        return [each.service for each in self._ports]

    def addresses(self) -> dict[str, str]:
        return {each.service: str(each.door) for each in self._ports}

    def shared_address(self) -> str | None:
        return str(self._shared) if self._shared is not None else None

    async def drain(self, timeout: float) -> None:
        """Finish what is open, at most `timeout` seconds."""
        drains = [each.drain(timeout) for each in self._ports]
        if self._shared is not None and self._shared_http is not None:
            self._shared.close()
            drains.append(self._shared_http.drain(timeout))
        await asyncio.gather(*drains)

    def statistics(self) -> list[dict[str, Any]]:
        listed = [each.statistics() for each in self._ports]
        if self._shared is not None and self._shared_http is not None:
            listed.append({"service": None, "address": str(self._shared), "http": self._shared_http.statistics()})
        return listed
