"""The sidecar: what is built, how it is wired, and in which order it starts and stops.

What lives here: the composition of one process that carries traffic. Everything that is decided or moved lives in the
packages below; whether the process is alone or one of several workers is for `app` and `worker` to know.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from mesh.balance.rng import Rng
from mesh.balance.subset import Caller
from mesh.dataplane.checker import Checker
from mesh.dataplane.clusters import Clusters
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import CLIENT, Recorder
from mesh.dataplane.rpc import Channel
from mesh.dataplane.tally import Tallies
from mesh.dataplane.tasks import spawn
from mesh.discovery.client import DiscoveryClient
from mesh.discovery.introspection import IntrospectionClient
from mesh.discovery.state import StateFile
from mesh.discovery.verdicts import VerdictReporter
from mesh.model import Locality
from mesh.sidecar.admin import Admin
from mesh.sidecar.config import SidecarConfig
from mesh.sidecar.garbage import Collector
from mesh.sidecar.inbound import Inbound
from mesh.sidecar.limits import SHED_RATIO
from mesh.sidecar.outbound import Outbounds
from mesh.sidecar.ports import Door, Doors
from mesh.sidecar.presence import Presence
from mesh.sidecar.sockets import Sockets
from mesh.telemetry.access_log import CAPACITY, LineLog, format_line
from mesh.telemetry.appender import Appender
from mesh.telemetry.decisions import LIMIT, format_decision
from mesh.telemetry.encode import SpanEncoder
from mesh.telemetry.exporter import Exporter
from mesh.telemetry.settings import TelemetrySettings
from mesh.telemetry.spans import make_resource

_log = logging.getLogger("mesh.sidecar")
# How long "ready" waits for discovery to tell of the declared outbound services, in seconds; after that requests wait
# themselves.
_FIRST_STATE = 3.0
_FLUSH_SPANS = 2.0
_TAKE_BACK = 1.0
_FLUSH_LINES = 2.0
# ... and, when another process is to go, until this one is registered.
_REGISTERED = 3.0
# After leaving the registry the other sidecars get this long to hear of it before the port closes: a connection that
# comes all the same is served, one that came after would cost its caller a retry. Seconds.
_PROPAGATION = 0.3


class Sidecar:
    """What one process of a sidecar does; built inside its event loop. Worker 0 alone is the instance in the registry.

    `sockets` are those that this process accepts from.
    """

    def __init__(self, config: SidecarConfig, telemetry: TelemetrySettings, sockets: Sockets, worker: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._config = config
        self._telemetry = telemetry
        self.id = f"{config.id}/{worker}" if worker else config.id
        recorder = Recorder(telemetry.max_queue_size)
        rng = Rng(int.from_bytes(os.urandom(8), "little"))
        self.hub = Hub(loop, rng, recorder)
        self.hub.spin.window = config.spin / 1e6
        self.hub.workers = config.workers
        self.hub.memory.limit = config.max_buffered
        self.hub.shed_above = int(SHED_RATIO * config.max_buffered)
        self.collector = Collector(loop, self.hub)
        self.doors = Doors(self.hub, sockets)
        channel = Channel(self.hub, [(a.host, a.port) for a in config.control_plane])
        state = StateFile(config.state_dir, config.service, config.instance, worker)
        self.clusters = Clusters(self.hub, lambda name: self.discovery.subscribe(name), self._forget,
                                 Caller(config.id, Locality(config.region, config.zone)),
                                 Checker(self.hub, config.allow_check_commands), lambda: self.verdicts.changed(),
                                 _own_policies(config, rng))
        self.verdicts = VerdictReporter(channel, self.id, self.clusters.verdicts, rng)
        self.discovery = DiscoveryClient(channel, self.id, self.clusters, rng, state)
        self.exporter = self._make_exporter(recorder, rng) if telemetry.enabled else None
        self.log_records = Recorder(CAPACITY) if config.access_log else None
        self.access_log = (LineLog(self.log_records, Appender(config.access_log), format_line)
                           if self.log_records is not None else None)
        self.decisions_made = Recorder(CAPACITY) if config.decisions else None
        self.decisions = (LineLog(self.decisions_made, Appender(config.decisions, LIMIT),
                                  lambda record: format_decision(record, config.decisions_ratio))
                          if self.decisions_made is not None else None)
        self.tallies = Tallies() if config.admin is not None else None
        self.phase = "starting"
        self.gather = self._own_statistics  # one of several workers asks its parent for those of all
        self.admin_door: Door | None = None
        if config.admin is not None:
            admin = Admin(lambda: self.gather(), lambda: self.phase)
            self.admin_door = self.doors.add("admin", admin.accept)
        self.outbounds = Outbounds(config, self.hub, self.doors, self.clusters, self._entry)
        self.introspection = IntrospectionClient(channel, self.id, self._explain, self._reports, rng)
        self.inbound: Inbound | None = None
        self.presence: Presence | None = None
        if config.app is not None:
            self.inbound = Inbound(config, config.app, self.hub, self.doors, self.clusters, self._entry)
            if worker == 0:
                self.presence = Presence(config, config.app, self.inbound.door.address, channel, rng)
        self._left: asyncio.Task[None] | None = None
        self._inbound_drained: asyncio.Task[None] | None = None

    def _explain(self, call: Any) -> Any:
        from mesh.sidecar.explain import Explainer  # most sidecars are never asked

        return Explainer(self.outbounds, self.clusters, self.discovery).answer(call)

    def _reports(self) -> list[Any]:
        found = self.clusters.custom_statistics()
        if not found:
            return []
        from mesh.sidecar.explain import policy_reports

        return policy_reports(found)

    def _forget(self, service: str) -> None:
        if service != self._config.service:  # subscribed to as its own
            self.discovery.unsubscribe(service)

    def _make_exporter(self, recorder: Recorder, rng: Rng) -> Exporter:
        collector = Channel(self.hub, self._telemetry.targets)
        encoder = SpanEncoder(make_resource(self._config.service, self._config.instance))
        return Exporter(recorder, collector, encoder, self._telemetry, rng)

    def _entry(self, kind: int, cluster: Any, router: Any) -> Entry:
        sampler = self._telemetry.sampler
        entry = Entry(self.hub, kind, cluster, router, self._telemetry.enabled, sampler.parent_based,
                      sampler.root_always, sampler.root_bound)
        entry.watch(self.tallies, self.log_records)
        if self.decisions_made is not None and kind == CLIENT:
            entry.write_down(self.decisions_made, self._config.decisions_ratio)
        return entry

    # -- the start

    async def start(self) -> None:
        """Return once discovery, or the state on disk, has told of every declared outbound service, or 3 s later."""
        # Its own service, whether it calls others or not: so that operators see every sidecar and what it holds.
        self.discovery.subscribe(self._config.service)
        self.discovery.start()
        self.verdicts.start()
        self.introspection.start()
        if self.exporter is not None:
            self.exporter.start()
        for log in (self.access_log, self.decisions):
            if log is not None:
                log.start()
        names = self.outbounds.services()
        known = await asyncio.gather(*(self.discovery.wait_known(name, _FIRST_STATE) for name in names))
        missing = [name for name, is_known in zip(names, known, strict=True) if not is_known]
        if missing:
            _log.warning("nothing is known yet of %s: is the control plane up at %s?", ", ".join(missing),
                         ", ".join(map(str, self._config.control_plane)))

    async def succeed(self) -> None:
        """Become the instance in the registry in the place of another process, which is there until `settle`."""
        if self.presence is not None:
            self.presence.contest(register=True)
            self.presence.watch_app()
            if not await self.presence.wait_registered(_REGISTERED):
                _log.warning("not registered yet; taking over all the same")

    def contest(self) -> None:
        """Another process is about to become the instance in the registry, until `settle` or the end."""
        if self.presence is not None:
            self.presence.contest(register=False)

    def settle(self) -> None:
        """The other process is gone."""
        if self.presence is not None:
            self.presence.settle()

    def ready_event(self) -> dict[str, Any]:
        """What is told to whoever started us, and to the prober: from now on all is well."""
        self.phase = "ok"
        return {"event": "ready", "pid": os.getpid(), "inbound": str(self.inbound.door) if self.inbound else None,
                "outbound": self.outbounds.addresses(), "outbound_shared": self.outbounds.shared_address(),
                "admin": str(self.admin_door) if self.admin_door is not None else None}

    # -- the end

    async def leave(self, deregister: bool) -> None:
        """Leave the registry, or the place in it to another process; return when callers have heard of it.

        A second call waits for the first.
        """
        if self._left is None:
            self._left = spawn("leave", self._leave(deregister))
        await asyncio.shield(self._left)

    async def _leave(self, deregister: bool) -> None:
        self.phase = "draining"
        if not deregister:
            self.doors.leave_datagrams()
            if self.admin_door is not None:  # the process that takes over is asked from now on
                self.admin_door.close()
        if self.presence is not None and await self.presence.leave(deregister):
            await asyncio.sleep(min(_PROPAGATION, self._config.drain_timeout))

    async def drain_inbound(self) -> None:
        """Accept no more calls for the app and finish those that are open. A second call waits for the first."""
        if self.inbound is not None:
            if self._inbound_drained is None:
                self._inbound_drained = spawn("drain inbound", self.inbound.drain(self._config.drain_timeout))
            await asyncio.shield(self._inbound_drained)

    async def drain(self) -> None:
        """Finish all that is open, hand the last spans over; where we are registered still, the lease runs out."""
        loop = asyncio.get_running_loop()
        self.phase = "draining"
        _log.info("draining for at most %g s", self._config.drain_timeout)
        started = loop.time()
        if self.presence is not None and self._left is None:
            await self.presence.leave(deregister=False)
        await self.drain_inbound()
        left = self._config.drain_timeout - (loop.time() - started)
        await self.outbounds.drain(max(0.1, left))
        self.collector.stop()
        await self.introspection.close()
        await self.verdicts.close(_TAKE_BACK)
        await self.discovery.close()
        self.clusters.close()
        if self.exporter is not None:
            await self.exporter.shutdown(_FLUSH_SPANS)
        for log in (self.access_log, self.decisions):
            if log is not None:
                await log.shutdown(_FLUSH_LINES)
        if self.admin_door is not None:
            self.admin_door.close()
        _log.info("drained")

    async def _own_statistics(self) -> list[dict[str, Any]]:
        return [self.statistics()]

    def statistics(self) -> dict[str, Any]:
        """What is open and what has been, for operators (SIGUSR2) and tests."""
        self.hub.touch()  # without traffic the hub's clock stands still: ejections that are over would show
        return {
            "id": self.id,
            "pid": os.getpid(),
            "transports": self.hub.transports,
            "lingering": self.hub.lingering,
            "descriptors": self.hub.watched,
            "timers": self.hub.timers.armed,
            "garbage": self.collector.statistics(),
            "held_bytes": self.hub.memory.held,
            "shed_requests": self.hub.shed,
            "endpoint_limits": dict(self.hub.counts),
            "spans": self.exporter.statistics()._asdict() if self.exporter else None,
            "access_log": self.access_log.statistics() if self.access_log else None,
            "decisions": self.decisions.statistics() if self.decisions else None,
            "traffic": self.tallies.statistics() if self.tallies else None,
            "inbound": self.inbound.statistics() if self.inbound else None,
            "outbound": self.outbounds.statistics(),
            "clusters": self.clusters.statistics(),
        }


def _own_policies(config: SidecarConfig, rng: Rng) -> Any:
    """What runs Services' own policies; None where none may run."""
    if not config.allow_custom_policies:
        return None
    from mesh.dataplane.custom import OwnPolicies

    return OwnPolicies(True, rng.next64)
