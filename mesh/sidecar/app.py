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
from typing import Any

import uvloop

import mesh
from mesh.balance.rng import Rng
from mesh.dataplane.clusters import Clusters
from mesh.dataplane.entry import Entry
from mesh.dataplane.h2transport import Hub
from mesh.dataplane.record import Recorder
from mesh.dataplane.rpc import Channel
from mesh.dataplane.tasks import spawn
from mesh.dataplane.tcp_reactor import Reactor
from mesh.discovery.client import DiscoveryClient
from mesh.discovery.state import StateFile
from mesh.errors import InvalidConfig
from mesh.sidecar.config import SidecarConfig, load
from mesh.sidecar.inbound import Inbound
from mesh.sidecar.outbound import Outbounds
from mesh.telemetry.exporter import Exporter
from mesh.telemetry.settings import TelemetrySettings, telemetry_settings

_log = logging.getLogger("mesh.sidecar")
# How long "ready" waits for discovery to tell of the declared outbound services, in seconds; after that requests wait themselves.
_FIRST_STATE = 3.0
_FLUSH_SPANS = 2.0


def main(argv: list[str]) -> int:
    """Run a sidecar until SIGTERM; returns the exit code: 0 drained, 2 wrong configuration or address."""
    try:
        config = load(argv, os.environ)
        telemetry = telemetry_settings(os.environ, tuple((a.host, a.port) for a in config.control_plane))
    except InvalidConfig as error:
        print(f"mesh sidecar: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=config.log_level.upper(), stream=sys.stderr,
                        format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return uvloop.run(Sidecar(config, telemetry).run())


class Sidecar:
    """One sidecar process."""

    def __init__(self, config: SidecarConfig, telemetry: TelemetrySettings) -> None:
        self._config = config
        self._telemetry = telemetry
        self._stop = asyncio.Event()
        self._signals = 0

    async def run(self) -> int:
        """Start, serve until told to stop, drain."""
        config = self._config
        loop = asyncio.get_running_loop()
        recorder = Recorder(self._telemetry.max_queue_size)
        self.hub = Hub(loop, Rng(int.from_bytes(os.urandom(8), "little")), recorder)
        self.reactor = Reactor(loop)
        channel = Channel(self.hub, [(a.host, a.port) for a in config.control_plane])
        state = StateFile.at(config.state_dir, config.service, config.instance)
        self.clusters = Clusters(self.hub, lambda name: self.discovery.subscribe(name))
        self.discovery = DiscoveryClient(channel, config.id, mesh.__version__, self.clusters, state)
        self.exporter = Exporter(self._telemetry, recorder, self.hub, config.service, config.instance)
        self.outbounds = Outbounds(config, self.hub, self.reactor, self.clusters, self._entry)
        self.inbound = Inbound(config, self.hub, self.reactor, channel, self._entry) if config.app else None
        try:
            await self.outbounds.start()
            if self.inbound is not None:
                await self.inbound.start()
        except OSError as error:
            print(f"mesh sidecar: {error.strerror or error}; is the port in use?", file=sys.stderr)
            return 2
        self._handle_signals(loop)
        self.discovery.start()
        self.exporter.start()
        await self._first_state()
        if self.inbound is not None:
            self.inbound.watch_app()
        gc.collect()
        gc.freeze()
        self._report({"event": "ready", "pid": os.getpid(),
                      "inbound": str(self.inbound.port) if self.inbound else None,
                      "outbound": self.outbounds.addresses(),
                      "outbound_shared": self.outbounds.shared_address()})
        _log.info("%s is ready: inbound %s, outbound %s", config.id, self.inbound.port if self.inbound else "none",
                  self.outbounds.addresses() or "none")
        await self._stop.wait()
        return await self._drain()

    def _entry(self, kind: int, cluster: Any, router: Any) -> Entry:
        sampler = self._telemetry.sampler
        return Entry(self.hub, kind, cluster, router, self._telemetry.enabled, sampler.parent_based,
                     sampler.root_always, sampler.root_bound)

    async def _first_state(self) -> None:
        """Wait until discovery, or the state on disk, has told of every declared outbound service."""
        names = self.outbounds.services()
        try:
            async with asyncio.timeout(_FIRST_STATE):
                for name in names:
                    await self.discovery.wait_known(name)
        except TimeoutError:
            missing = [name for name in names if not self.clusters.get(name).known()]
            _log.warning("nothing is known yet of %s: is the control plane up at %s?", ", ".join(missing),
                         ", ".join(map(str, self._config.control_plane)))

    # -- signals and the end

    def _handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGUSR1, lambda: spawn("drain inbound", self._drain_inbound()))
        loop.add_signal_handler(signal.SIGUSR2, lambda: print(json.dumps(self.statistics()), file=sys.stderr, flush=True))

    def _on_stop(self) -> None:
        self._signals += 1
        if self._signals > 1:
            _log.warning("told twice to stop: not waiting for open requests")
            os._exit(1)
        self._stop.set()

    async def _drain_inbound(self) -> None:
        if self.inbound is not None:
            await self.inbound.drain(self._config.drain_timeout)
        self._report({"event": "drained"})

    async def _drain(self) -> int:
        """Leave the registry, finish what is open, hand the last spans over."""
        _log.info("draining for at most %g s", self._config.drain_timeout)
        started = asyncio.get_running_loop().time()
        if self.inbound is not None:
            await self.inbound.drain(self._config.drain_timeout)
        left = self._config.drain_timeout - (asyncio.get_running_loop().time() - started)
        await self.outbounds.drain(max(0.1, left))
        await self.discovery.stop()
        self.clusters.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SPANS + 1):
                await self.exporter.stop(_FLUSH_SPANS)
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
        return {
            "id": self._config.id,
            "transports": self.hub.transports,
            "timers": self.hub.timers.armed,
            "records": {"pending": self.hub.recorder.pending, "dropped": self.hub.recorder.dropped},
            "inbound": self.inbound.statistics() if self.inbound else None,
            "outbound": self.outbounds.statistics(),
            "clusters": self.clusters.statistics(),
        }


