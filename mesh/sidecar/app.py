"""`mesh sidecar`: the program, alone in its process or as the parent of workers.

What lives here: what is checked before anything starts, and a sidecar's life where one process is all of it: signals,
the ready line, hot restart, the end. What this must not know: what a sidecar is made of (sidecar).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from mesh.dataplane.loop import run
from mesh.dataplane.tasks import spawn
from mesh.errors import InvalidConfig
from mesh.sidecar.certificates import make_context
from mesh.sidecar.config import SidecarConfig, load
from mesh.sidecar.group import ONE_REQUEST, Group
from mesh.sidecar.sidecar import Sidecar
from mesh.sidecar.sockets import Sockets, reason
from mesh.sidecar.takeover import Handover, Predecessor, find
from mesh.sidecar.worker import Worker
from mesh.telemetry.appender import check_path
from mesh.telemetry.settings import TelemetrySettings, telemetry_settings

_log = logging.getLogger("mesh.sidecar")
_LOG = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def main(argv: list[str]) -> int:
    """Run a sidecar until SIGTERM; returns the exit code: 0 drained, 2 wrong configuration or address."""
    try:
        config = load(argv, os.environ)
        telemetry = telemetry_settings(os.environ, tuple((a.host, a.port) for a in config.control_plane))
        _check_open(config.ready_fd)
        for option, path in (("--access-log", config.access_log), ("--decisions", config.decisions)):
            if path:
                check_path(option, path)
        if config.tls_certificate:
            make_context(config.tls_certificate, config.tls_key, config.protocol)
        predecessor = find(config) if config.takeover else None
        sockets = Sockets.bind(config, config.workers, predecessor.sockets if predecessor else ())
    except InvalidConfig as error:
        print(f"mesh sidecar: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=config.log_level.upper(), stream=sys.stderr, format=_LOG)
    if config.takeover and predecessor is None:
        _log.info("nobody to take over from: starting as usual")
    if config.workers == 1:
        return run(Alone(config, telemetry, sockets, predecessor).run())

    def work(number: int, sockets: Sockets, sock: socket.socket, held: bool, succeeding: bool) -> int:
        logging.basicConfig(level=config.log_level.upper(), stream=sys.stderr, force=True,
                            format=_LOG.replace("%(name)s", f"%(name)s[{number}]"))
        own = dataclasses.replace(config, ready_fd=None)
        return run(Worker(own, telemetry, sockets, number, sock, held, succeeding).run())

    return Group(config, sockets, predecessor, work).run()


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


class Alone:
    """A sidecar that is one process."""

    def __init__(self, config: SidecarConfig, telemetry: TelemetrySettings, sockets: Sockets,
                 predecessor: Predecessor | None) -> None:
        self._config = config
        self._telemetry = telemetry
        self._sockets = sockets
        self._predecessor = predecessor
        self._succeeded = False
        self._stop = asyncio.Event()
        self._told_at = 0.0

    async def run(self) -> int:
        """Start, serve until told to stop, drain."""
        loop = asyncio.get_running_loop()
        sidecar = self._sidecar = Sidecar(self._config, self._telemetry, self._sockets)
        handover = Handover(loop, self._config, lambda: self._sockets, sidecar.contest, sidecar.settle, self._succeed)
        self._handle_signals(loop)
        if self._predecessor is None:
            sidecar.doors.start()
        await sidecar.start()
        if self._predecessor is not None:
            await self._take_over(self._predecessor)
        elif sidecar.presence is not None:
            sidecar.presence.watch_app()
        if not self._stop.is_set():
            handover.open()
        sidecar.collector.start()
        ready = sidecar.ready_event()
        self._report(ready)
        _log.info("%s is ready: inbound %s, outbound %s", self._config.id, ready["inbound"] or "none",
                  describe_outbound(ready["outbound"], ready["outbound_shared"]))
        await self._stop.wait()
        handover.close()
        await sidecar.leave(deregister=not self._succeeded)
        await sidecar.drain()
        self._report({"event": "drained"})
        return 0

    async def _take_over(self, predecessor: Predecessor) -> None:
        """Become the instance in the registry, then accept and send the other one away.

        In that order: should this process die before, no connection dies with it.
        """
        await self._sidecar.succeed()
        if self._stop.is_set():  # told to stop meanwhile: the other one goes on
            predecessor.close()
            self._succeeded = True
            return
        self._sidecar.doors.start()
        predecessor.dismiss()
        self._sidecar.settle()
        _log.info("took %d listening sockets over from process %d", len(predecessor.sockets), predecessor.pid)

    def _succeed(self) -> None:
        self._succeeded = True
        self._stop.set()

    def _handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGUSR1, lambda: spawn("drain inbound", self._drain_inbound()))
        loop.add_signal_handler(
            signal.SIGUSR2, lambda: print(json.dumps(self._sidecar.statistics()), file=sys.stderr, flush=True))

    def _on_stop(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self._told_at:
            self._told_at = now
            self._stop.set()
        elif now - self._told_at > ONE_REQUEST:
            _log.warning("told twice to stop: not waiting for open requests")
            os._exit(1)

    async def _drain_inbound(self) -> None:
        await self._sidecar.leave(deregister=True)
        await self._sidecar.drain_inbound()
        self._report({"event": "drained"})

    def _report(self, event: dict[str, Any]) -> None:
        """One JSON line to whoever started us; that it has gone is no reason to stop."""
        if self._config.ready_fd is not None:
            with contextlib.suppress(OSError):
                os.write(self._config.ready_fd, (json.dumps(event) + "\n").encode())
