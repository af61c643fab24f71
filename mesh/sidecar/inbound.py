"""Calls to the local app: one port, and one endpoint behind it.

What lives here: the inbound listener. What this must not know: how requests are carried, who knows of the port.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from mesh.dataplane.acceptor import HttpAcceptor
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.clusters import Clusters
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.inspector import Inspector, Tls
from mesh.dataplane.introduction import introduction
from mesh.dataplane.record import SERVER
from mesh.dataplane.tcp import TcpProxy
from mesh.dataplane.tcp_upstream import ClusterUpstream
from mesh.dataplane.udp import UdpProxy
from mesh.errors import InvalidResource
from mesh.model import Endpoint, LimitsPolicy, OutlierPolicy, Protocol, RetryPolicy, Service, TimeoutPolicy
from mesh.sidecar.certificates import Certificates
from mesh.sidecar.config import Address, SidecarConfig
from mesh.sidecar.limits import crowd, patience
from mesh.sidecar.ports import DatagramDoor, Door, Doors
from mesh.sidecar.sources import trusted_sources

_log = logging.getLogger("mesh.sidecar")


class _App(ClusterUpstream):
    """The app as the UDP relay asks for it: a session is kept as long as the callers' sidecars keep theirs."""

    def __init__(self, app: Cluster, own: Cluster) -> None:
        ClusterUpstream.__init__(self, app)
        self._policy = ClusterUpstream(own)

    @property
    def udp_idle(self) -> float:
        return self._policy.udp_idle


def _tls(config: SidecarConfig) -> Tls | None:
    if not config.tls_certificate:
        return None
    files = Certificates(config.tls_certificate, config.tls_key, config.protocol)
    return Tls(files.context, config.tls_required)


class Inbound:
    """The callee's side. `clusters` is for the policies of the own service."""

    def __init__(self, config: SidecarConfig, app: Address, hub: Hub, doors: Doors, clusters: Clusters,
                 make_entry: Callable[[int, Cluster | None, Any], Entry]) -> None:
        cluster = Cluster(hub, config.service, guards=True)
        # One endpoint, never repeated and never ejected here: the caller's sidecar knows the others.
        self._service = Service(config.service, config.protocol, retry=RetryPolicy(max_attempts=1),
                                timeout=TimeoutPolicy(), outlier=OutlierPolicy(consecutive_failures=0))
        cluster.update_service(self._service)
        cluster.update_endpoints([Endpoint(config.service, config.instance, app.host, app.port)])
        self._cluster = cluster
        own = clusters.pin(config.service, called=False)
        own.heard.append(self._take_limits)
        if own.service is not None:
            self._take_limits(own.service)
        entry = make_entry(SERVER, cluster, None)
        self.http = HttpAcceptor(hub, entry, patience(config))
        self.tcp = TcpProxy(hub, ClusterUpstream(cluster), SERVER, config.service, entry.connection_recorder(),
                            introduction(config.app_proxy_protocol))
        self.inspector = Inspector(hub, lambda: config.protocol, self.http.accept, self.tcp.adopt, None,
                                   trusted_sources(config.proxy_protocol_from), config.detect_timeout, crowd(config),
                                   lambda: len(self.http.connections) + self.tcp.connections, _tls(config))
        self.udp = UdpProxy(hub, _App(cluster, own), SERVER, config.service,
                            entry.add_connection)
        self.door: Door | DatagramDoor
        if config.protocol is Protocol.UDP:
            self.door = doors.add_datagrams("inbound", self.udp)
        else:
            self.door = doors.add("inbound", self.inspector.accept)

    def _take_limits(self, service: Service | None) -> None:
        """Put the limits of the service that concern its app in force."""
        limits = service.limits if service is not None else LimitsPolicy()
        try:
            mine = replace(self._service, limits=replace(
                limits, max_requests=0, max_connections=0, max_retries=0, endpoint_pending=0, endpoint_retries=0))
        except InvalidResource as error:  # they are for another protocol than the app's
            _log.warning("%s: %s, so nothing is limited here", self._service.name, error)
            mine = self._service
        self._cluster.update_service(mine)

    async def drain(self, timeout: float) -> None:
        """Accept no more and finish what is open, at most `timeout` seconds."""
        self.door.close()
        await self.inspector.settle(timeout)
        self.inspector.drain()
        await asyncio.gather(self.http.drain(timeout), self.tcp.drain(timeout), self.udp.drain(timeout))
        self._cluster.close()

    def statistics(self) -> dict[str, Any]:
        return {"address": str(self.door), "limits": self._cluster.statistics()["limits"],
                "http": self.http.statistics(), "tcp": self.tcp.connections,
                "udp": asdict(self.udp.statistics()), "inspector": self.inspector.statistics()}
