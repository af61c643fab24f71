"""The sidecar program: what is built, how it is wired, and in which order it starts and stops.

What lives here: the composition. Everything that is decided or moved lives in the packages below.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import uvloop

from mesh.balance.rng import Rng
from mesh.dataplane.clusters import Clusters
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Recorder
from mesh.dataplane.rpc import Channel
from mesh.dataplane.tasks import spawn
from mesh.discovery.client import DiscoveryClient
from mesh.discovery.state import StateFile
from mesh.errors import InvalidConfig
from mesh.sidecar.config import SidecarConfig, load
from mesh.sidecar.inbound import Inbound
from mesh.sidecar.outbound import Outbounds
from mesh.sidecar.sockets import Sockets, reason
from mesh.sidecar.takeover import Handover, Predecessor, find
from mesh.telemetry.encode import SpanEncoder
from mesh.telemetry.exporter import Exporter
from mesh.telemetry.settings import TelemetrySettings, telemetry_settings
from mesh.telemetry.spans import make_resource

_log = logging.getLogger("mesh.sidecar")
# How long "ready" waits for discovery to tell of the declared outbound services, in seconds; after that requests wait
# themselves.
_FIRST_STATE = 3.0
_FLUSH_SPANS = 2.0
# ... and how long the running sidecar is kept, when this one takes over from it, until this one is registered.
_REGISTERED = 3.0
# Supervisors and terminals signal a process and its group: what comes within this many seconds is the same wish.
_ONE_REQUEST = 1.0


def main(argv: list[str]) -> int:
    """Run a sidecar until SIGTERM; returns the exit code: 0 drained, 2 wrong configuration or address."""
    try:
        config = load(argv, os.environ)
        telemetry = telemetry_settings(os.environ, tuple((a.host, a.port) for a in config.control_plane))
        _check_open(config.ready_fd)
        predecessor = find(config) if config.takeover else None
        sockets = Sockets.bind(config, inherited=predecessor.sockets if predecessor else ())
    except InvalidConfig as error:
        print(f"mesh sidecar: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=config.log_level.upper(), stream=sys.stderr,
                        format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if config.takeover and predecessor is None:
        _log.info("nobody to take over from: starting as usual")
    return uvloop.run(Sidecar(config, telemetry, sockets, predecessor).run())


def _check_open(descriptor: int | None) -> None:
    """Whoever waits for the ready line on a descriptor that is closed would wait for ever."""
    if descriptor is not None:
        try:
            os.fstat(descriptor)
        except OSError as error:
            raise InvalidConfig(f"--ready-fd {descriptor}: {reason(error)}") from None


def describe_outbound(addresses: Mapping[str, str], shared: str | None) -> str:
    """Return the outbound ports for the log: `cart=127.0.0.1:15001, shared 127.0.0.1:15000`, or `none`."""
    ports = [f"{service}={address}" for service, address in addresses.items()]
    return ", ".join([*ports, *([f"shared {shared}"] if shared else [])]) or "none"


class Sidecar:
    """One sidecar process."""

    def __init__(self, config: SidecarConfig, telemetry: TelemetrySettings, sockets: Sockets,
                 predecessor: Predecessor | None) -> None:
        self._config = config
        self._sockets = sockets
        self._predecessor = predecessor
        self._succeeded = False
        self._telemetry = telemetry
        self._stop = asyncio.Event()
        self._told_at = 0.0

    async def run(self) -> int:
        """Start, serve until told to stop, drain."""
        config = self._config
        loop = asyncio.get_running_loop()
        recorder = Recorder(self._telemetry.max_queue_size)
        rng = Rng(int.from_bytes(os.urandom(8), "little"))
        self.hub = Hub(loop, rng, recorder)
        channel = Channel(self.hub, [(a.host, a.port) for a in config.control_plane])
        state = StateFile(config.state_dir, config.service, config.instance)
        self.clusters = Clusters(self.hub, lambda name: self.discovery.subscribe(name), self._forget)
        self.discovery = DiscoveryClient(channel, config.id, self.clusters, rng, state)
        self.exporter = self._make_exporter(recorder, rng) if self._telemetry.enabled else None
        self.outbounds = Outbounds(config, self.hub, self._sockets, self.clusters, self._entry)
        self.inbound: Inbound | None = None
        if config.app is not None:
            self.inbound = Inbound(config, self.hub, self._sockets, channel, self._entry)
        self.handover = Handover(loop, config, lambda: self._sockets, self._contest, self._settle, self._succeed)
        if self._predecessor is None:
            self._accept()
        self._handle_signals(loop)
        # Its own service, whether it calls others or not: so that operators see every sidecar and what it holds.
        self.discovery.subscribe(config.service)
        self.discovery.start()
        if self.exporter is not None:
            self.exporter.start()
        await self._first_state()
        if self._predecessor is not None:
            await self._take_over(self._predecessor)
        elif self.inbound is not None:
            self.inbound.watch_app()
        if not self._stop.is_set():
            self.handover.open()
        gc.collect()
        gc.freeze()
        self._report({"event": "ready", "pid": os.getpid(),
                      "inbound": str(self.inbound.door) if self.inbound else None,
                      "outbound": self.outbounds.addresses(),
                      "outbound_shared": self.outbounds.shared_address()})
        _log.info("%s is ready: inbound %s, outbound %s", config.id, self.inbound.door if self.inbound else "none",
                  describe_outbound(self.outbounds.addresses(), self.outbounds.shared_address()))
        await self._stop.wait()
        return await self._drain()

    def _accept(self) -> None:
        self.outbounds.start()
        if self.inbound is not None:
            self.inbound.start()

    async def _take_over(self, predecessor: Predecessor) -> None:
        """Become the instance in the registry, then accept and send the other one away.

        In that order: should this process die before, no connection dies with it.
        """
        if self.inbound is not None:
            self.inbound.contest(register=True)
            self.inbound.watch_app()
            if not await self.inbound.wait_registered(_REGISTERED):
                _log.warning("not registered yet; taking over from process %d all the same", predecessor.pid)
        if self._stop.is_set():  # told to stop meanwhile: the other one goes on
            predecessor.close()
            self._succeeded = True
            return
        self._accept()
        predecessor.dismiss()
        if self.inbound is not None:
            self.inbound.settle()
        _log.info("took %d listening sockets over from process %d", len(predecessor.sockets), predecessor.pid)

    def _contest(self) -> None:
        if self.inbound is not None:
            self.inbound.contest(register=False)

    def _settle(self) -> None:
        if self.inbound is not None:
            self.inbound.settle()

    def _succeed(self) -> None:
        self._succeeded = True
        self._stop.set()

    def _forget(self, service: str) -> None:
        if service != self._config.service:  # subscribed to as its own
            self.discovery.unsubscribe(service)

    def _make_exporter(self, recorder: Recorder, rng: Rng) -> Exporter:
        collector = Channel(self.hub, self._telemetry.targets)
        encoder = SpanEncoder(make_resource(self._config.service, self._config.instance))
        return Exporter(recorder, collector, encoder, self._telemetry, rng)

    def _entry(self, kind: int, cluster: Any, router: Any) -> Entry:
        sampler = self._telemetry.sampler
        return Entry(self.hub, kind, cluster, router, self._telemetry.enabled, sampler.parent_based,
                     sampler.root_always, sampler.root_bound)

    async def _first_state(self) -> None:
        """Wait until discovery, or the state on disk, has told of every declared outbound service."""
        names = self.outbounds.services()
        known = await asyncio.gather(*(self.discovery.wait_known(name, _FIRST_STATE) for name in names))
        missing = [name for name, is_known in zip(names, known, strict=True) if not is_known]
        if missing:
            _log.warning("nothing is known yet of %s: is the control plane up at %s?", ", ".join(missing),
                         ", ".join(map(str, self._config.control_plane)))

    # -- signals and the end

    def _handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGUSR1, lambda: spawn("drain inbound", self._drain_inbound()))
        loop.add_signal_handler(
            signal.SIGUSR2, lambda: print(json.dumps(self.statistics()), file=sys.stderr, flush=True))

    def _on_stop(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self._told_at:
            self._told_at = now
            self._stop.set()
        elif now - self._told_at > _ONE_REQUEST:
            _log.warning("told twice to stop: not waiting for open requests")
            os._exit(1)

    async def _drain_inbound(self) -> None:
        if self.inbound is not None:
            await self.inbound.drain(self._config.drain_timeout)
        self._report({"event": "drained"})

    async def _drain(self) -> int:
        """Leave the registry, finish what is open, hand the last spans over."""
        _log.info("draining for at most %g s", self._config.drain_timeout)
        started = asyncio.get_running_loop().time()
        self.handover.close()
        if self.inbound is not None:
            await self.inbound.drain(self._config.drain_timeout, self._succeeded)
        left = self._config.drain_timeout - (asyncio.get_running_loop().time() - started)
        await self.outbounds.drain(max(0.1, left))
        await self.discovery.close()
        self.clusters.close()
        if self.exporter is not None:
            await self.exporter.shutdown(_FLUSH_SPANS)
        self._report({"event": "drained"})
        _log.info("drained")
        return 0

    def _report(self, event: dict[str, Any]) -> None:
        """One JSON line to whoever started us; that it has gone is no reason to stop."""
        if self._config.ready_fd is not None:
            with contextlib.suppress(OSError):
                os.write(self._config.ready_fd, (json.dumps(event) + "\n").encode())

    def statistics(self) -> dict[str, Any]:
        """What is open and what has been, for operators (SIGUSR2) and tests."""
        self.hub.touch()  # without traffic the hub's clock stands still: ejections that are over would show
        return {
            "id": self._config.id,
            "transports": self.hub.transports,
            "lingering": self.hub.lingering,
            "descriptors": self.hub.watched,
            "timers": self.hub.timers.armed,
            "spans": self.exporter.statistics()._asdict() if self.exporter else None,
            "inbound": self.inbound.statistics() if self.inbound else None,
            "outbound": self.outbounds.statistics(),
            "clusters": self.clusters.statistics(),
        }


