"""Calls to the local app: one port, one endpoint behind it, and its place in the registry.

What lives here: the inbound listener, the watch on the app, when the instance is registered and when it leaves. What
this must not know: how requests are carried, how a lease is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from mesh.dataplane.cluster import Cluster
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.listener import H2Acceptor
from mesh.dataplane.record import SERVER
from mesh.dataplane.rpc import Channel
from mesh.dataplane.tasks import spawn
from mesh.dataplane.tcp import TcpProxy
from mesh.dataplane.tcp_upstream import ClusterUpstream
from mesh.discovery.registration import Registration
from mesh.model import Endpoint, Locality, OutlierPolicy, Protocol, RetryPolicy, Service, TimeoutPolicy
from mesh.sidecar.config import SidecarConfig
from mesh.sidecar.ports import Door
from mesh.sidecar.sockets import Sockets

_log = logging.getLogger("mesh.sidecar")
_PROBE_FIRST = 0.05
_PROBE_SLOWEST = 1.0
# An app that takes longer to listen is worth a word: a wrong --app looks just like it. Seconds.
_PATIENCE = 5.0
# After leaving the registry the other sidecars get this long to hear of it before the port closes: a connection that
# comes all the same is served, one that came after would cost its caller a retry. Seconds.
_PROPAGATION = 0.3
_LEAVE_WITHIN = 2.0


class Inbound:
    """The callee's side.

    The app is asked for once before the instance is registered, so that no call arrives too early.
    """

    def __init__(self, config: SidecarConfig, hub: Hub, sockets: Sockets, channel: Channel,
                 make_entry: Callable[[int, Cluster | None, Any], Entry]) -> None:
        if config.app is None:
            raise ValueError("inbound without an app")
        self._config = config
        self._app = config.app
        self._channel = channel
        self._hub = hub
        self._registration: Registration | None = None
        self._watch: asyncio.Task[None] | None = None
        self._drained: asyncio.Task[None] | None = None
        self._contested: bool | None = None
        cluster = Cluster(hub, config.service)
        # One endpoint, never repeated and never ejected here: the caller's sidecar knows the others.
        cluster.update_service(Service(config.service, config.protocol, retry=RetryPolicy(max_attempts=1),
                                       timeout=TimeoutPolicy(), outlier=OutlierPolicy(consecutive_failures=0)))
        cluster.update_endpoints([Endpoint(config.service, config.instance, self._app.host, self._app.port)])
        self._cluster = cluster
        entry = make_entry(SERVER, cluster, None)
        self.http = H2Acceptor(hub, entry)
        self.tcp = TcpProxy(hub, ClusterUpstream(cluster), SERVER, config.service, entry.add_connection)
        accept = self.tcp.accept if config.protocol is Protocol.TCP else self.http.accept
        self.door = Door(hub, sockets["inbound"], accept)

    def start(self) -> None:
        """Accept from now on."""
        self.door.start()

    def watch_app(self) -> None:
        """Register as soon as the app accepts connections."""
        self._watch = spawn("watch app", self._register_when_up())

    async def _register_when_up(self) -> None:
        loop = asyncio.get_running_loop()
        wait, began, told = _PROBE_FIRST, loop.time(), False
        while not await self._app_is_up():
            if not told and loop.time() - began >= _PATIENCE:
                told = True
                _log.warning("nothing accepts connections at %s: not registered until something does", self._app)
            await asyncio.sleep(wait)
            wait = min(_PROBE_SLOWEST, wait * 1.5)
        self._registration = Registration(self._channel, self._endpoint(), self._config.protocol, self._config.id,
                                          self._hub.rng)
        if self._contested is not None:
            self._registration.contest(self._contested)
        self._registration.start()

    async def _app_is_up(self) -> bool:
        try:
            async with asyncio.timeout(1.0):
                _, writer = await asyncio.open_connection(self._app.host, self._app.port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    def _endpoint(self) -> Endpoint:
        config = self._config
        host, port = self.door.address
        if config.advertise is not None:
            host, port = config.advertise.host, config.advertise.port or port
        return Endpoint(config.service, config.instance, host, port, config.weight,
                        Locality(config.region, config.zone))

    def contest(self, register: bool) -> None:
        """Another process of this instance lives, until `settle`; `register`: as one that takes over, not as the other.
        """
        self._contested = register
        if self._registration is not None:
            self._registration.contest(register)

    def settle(self) -> None:
        """The instance is this process's alone again."""
        self._contested = None
        if self._registration is not None:
            self._registration.settle()

    async def wait_registered(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until the registry has the instance."""
        try:
            async with asyncio.timeout(timeout):
                if self._watch is not None:
                    await asyncio.shield(self._watch)
                if self._registration is not None:
                    await self._registration.registered.wait()
        except TimeoutError:
            return False
        return True

    async def drain(self, timeout: float, succeeded: bool = False) -> None:
        """Leave the registry, then finish what is open, at most `timeout` seconds.

        Not where another process of this instance has `succeeded`: the place in the registry is that one's. A second
        call waits for the first.
        """
        if self._drained is None:
            self._drained = spawn("drain inbound", self._leave(timeout, succeeded))
        await asyncio.shield(self._drained)

    async def _leave(self, timeout: float, succeeded: bool) -> None:
        if self._watch is not None:
            self._watch.cancel()
        if self._registration is not None:
            if succeeded:
                await self._registration.abandon()  # the successor may have another address: callers hear of it first
            else:
                await self._registration.deregister(_LEAVE_WITHIN)
            await asyncio.sleep(min(_PROPAGATION, timeout))
        self.door.close()
        await asyncio.gather(self.http.drain(timeout), self.tcp.drain(timeout))
        self._cluster.close()

    def statistics(self) -> dict[str, Any]:
        return {"address": str(self.door), "http": self.http.statistics(), "tcp": self.tcp.connections}
