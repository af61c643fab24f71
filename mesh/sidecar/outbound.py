"""The app's calls to other services: one port per declared service, and one shared port.

What lives here: which listener leads to which cluster. What this must not know: how requests are carried.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from mesh import errors
from mesh.dataplane.acceptor import HttpAcceptor
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.clusters import Clusters
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.inspector import Inspector
from mesh.dataplane.record import CLIENT
from mesh.dataplane.syscalls import reset_fd
from mesh.dataplane.tcp import TcpProxy
from mesh.dataplane.tcp_upstream import ClusterUpstream, DatagramUpstream
from mesh.dataplane.udp import UdpProxy
from mesh.model import Protocol
from mesh.sidecar.config import Outbound, SidecarConfig
from mesh.sidecar.limits import crowd, patience
from mesh.sidecar.ports import DatagramDoor, Door, Doors
from mesh.sidecar.sources import Trusted, trusted_sources

_log = logging.getLogger("mesh.sidecar")
MakeEntry = Callable[[int, Cluster | None, Any], Entry]


class ServicePort:
    """The port of one service. What is spoken is declared here, or by the service, or else detected.

    Datagrams have a socket of their own at the same port, where UDP is declared or nothing is.
    """

    def __init__(self, outbound: Outbound, doors: Doors, hub: Hub, cluster: Cluster, entry: Entry,
                 trusted: Trusted, config: SidecarConfig) -> None:
        self._declared = outbound.protocol
        self._cluster = cluster
        self.service = outbound.service
        self.http = HttpAcceptor(hub, entry, patience(config))
        self.tcp = TcpProxy(hub, ClusterUpstream(cluster), CLIENT, outbound.service, entry.connection_recorder())
        self.inspector = Inspector(hub, self._protocol, self.http.accept, self.tcp.adopt, None, trusted,
                                   config.detect_timeout, crowd(config), self._population)
        self.udp = UdpProxy(hub, ClusterUpstream(cluster) if self._declared is Protocol.UDP
                            else DatagramUpstream(cluster), CLIENT, outbound.service, entry.add_connection)
        name = f"outbound {outbound.service}"
        self.door: Door | DatagramDoor
        if self._declared is Protocol.UDP:
            self.door = doors.add_datagrams(name, self.udp)
        else:
            self.door = doors.add(name, self._accept)
        self._doors = [self.door]
        if doors.has(f"{name} udp"):
            self._doors.append(doors.add_datagrams(f"{name} udp", self.udp))

    def _accept(self, fd: int, host: str, port: int) -> None:
        if self._protocol() is Protocol.UDP:  # nobody to carry a connection to
            reset_fd(fd)
        else:
            self.inspector.accept(fd, host, port)

    def _population(self) -> int:
        return len(self.http.connections) + self.tcp.connections

    def _protocol(self) -> Protocol:
        service = self._cluster.service
        # Not discovered yet: what the caller says is all there is to go by.
        return self._declared or (service.protocol if service is not None else Protocol.AUTO)

    async def drain(self, timeout: float) -> None:
        for door in self._doors:
            door.close()
        await self.inspector.settle(timeout)
        self.inspector.drain()
        await asyncio.gather(self.http.drain(timeout), self.tcp.drain(timeout), self.udp.drain(timeout))

    def statistics(self) -> dict[str, Any]:
        return {"service": self.service, "address": str(self.door), "http": self.http.statistics(),
                "tcp": vars_of(self.tcp.statistics()), "udp": vars_of(self.udp.statistics()),
                "inspector": self.inspector.statistics()}


class SharedPort:
    """The port for all services: HTTP goes by `:authority` or `Host`, TLS by the server name of its ClientHello."""

    def __init__(self, doors: Doors, hub: Hub, clusters: Clusters, entry: Entry, trusted: Trusted,
                 config: SidecarConfig) -> None:
        self._hub = hub
        self._clusters = clusters
        self._entry = entry
        self._relays: dict[str, TcpProxy] = {}
        self._unrouted = 0
        self.http = HttpAcceptor(hub, entry, patience(config))
        self.inspector = Inspector(hub, lambda: None, self.http.accept, None, self._relay_name, trusted,
                                   config.detect_timeout, crowd(config), self._population)
        self.door = doors.add("outbound-shared", self.inspector.accept)

    def _population(self) -> int:
        return len(self.http.connections) + sum(relay.connections for relay in self._relays.values())

    def _relay_name(self, fd: int, host: str, server_name: str | None) -> None:
        cluster = self._clusters.cluster_for(server_name.encode()) if server_name is not None else None
        if cluster is None:
            self._unrouted += 1
            _log.info("%s: TLS from %s for %s", errors.NO_ROUTE.code, host, server_name or "no name at all")
            reset_fd(fd)
            return
        relay = self._relays.get(cluster.name)
        if relay is None:
            relay = self._relays[cluster.name] = TcpProxy(self._hub, ClusterUpstream(cluster), CLIENT, cluster.name,
                                                          self._entry.add_connection)
        relay.adopt(fd, host)

    async def drain(self, timeout: float) -> None:
        self.door.close()
        await self.inspector.settle(timeout)
        self.inspector.drain()
        await asyncio.gather(self.http.drain(timeout), *(relay.drain(timeout) for relay in self._relays.values()))

    def statistics(self) -> dict[str, Any]:
        return {"service": None, "address": str(self.door), "http": self.http.statistics(),
                "tls": {name: vars_of(relay.statistics()) for name, relay in self._relays.items()},
                "tls_unrouted": self._unrouted, "inspector": self.inspector.statistics()}


def vars_of(statistics: Any) -> dict[str, Any]:
    """A frozen statistics value as JSON."""
    return {name: getattr(statistics, name) for name in statistics.__slots__}


class Outbounds:
    """All outbound ports of the sidecar."""

    def __init__(self, config: SidecarConfig, hub: Hub, doors: Doors, clusters: Clusters,
                 make_entry: MakeEntry) -> None:
        trusted = trusted_sources(config.proxy_protocol_from)
        self._ports: list[ServicePort] = []
        for outbound in config.outbound:
            cluster = clusters.pin(outbound.service)
            entry = make_entry(CLIENT, cluster, None)
            self._ports.append(ServicePort(outbound, doors, hub, cluster, entry, trusted, config))
        self._shared: SharedPort | None = None
        if config.outbound_shared is not None:
            self._shared = SharedPort(doors, hub, clusters, make_entry(CLIENT, None, clusters), trusted,
                                      config)

    def _all(self) -> list[ServicePort | SharedPort]:
        return [*self._ports, *([self._shared] if self._shared is not None else [])]

    def services(self) -> list[str]:
        """The declared services."""
        return [each.service for each in self._ports]

    def addresses(self) -> dict[str, str]:
        return {each.service: str(each.door) for each in self._ports}

    def listener_of(self, service: str) -> tuple[str, str]:
        """Return name and address of the listener that takes calls to `service`, "" and "" where there is none."""
        for port in self._ports:
            if port.service == service:
                return f"outbound {service}", str(port.door)
        return ("outbound-shared", str(self._shared.door)) if self._shared is not None else ("", "")

    def shared_address(self) -> str | None:
        return str(self._shared.door) if self._shared is not None else None

    async def drain(self, timeout: float) -> None:
        """Finish what is open, at most `timeout` seconds."""
        await asyncio.gather(*(each.drain(timeout) for each in self._all()))

    def statistics(self) -> list[dict[str, Any]]:
        return [each.statistics() for each in self._all()]
