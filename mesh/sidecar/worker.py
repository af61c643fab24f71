"""One of several workers of a sidecar: the same as a sidecar alone, but it is the parent that says when what happens.

What lives here: what the parent asks for and is told. What this must not know: the other workers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Coroutine
from typing import Any

from mesh.dataplane.tasks import spawn
from mesh.sidecar.config import SidecarConfig
from mesh.sidecar.link import Link
from mesh.sidecar.sidecar import Sidecar
from mesh.sidecar.sockets import Named, Sockets
from mesh.telemetry.settings import TelemetrySettings

_log = logging.getLogger("mesh.sidecar")
_GATHERED_WITHIN = 4.0  # more than the parent waits for all workers


class Worker:
    """Worker `number`, whose parent is at the other end of `sock`.

    `held`: it accepts only when it is told to. `succeeding`: another process has the instance's place in the registry
    still, and is to go.
    """

    def __init__(self, config: SidecarConfig, telemetry: TelemetrySettings, sockets: Sockets, number: int,
                 sock: socket.socket, held: bool, succeeding: bool) -> None:
        self._config = config
        self._telemetry = telemetry
        self._sockets = sockets
        self._number = number
        self._sock = sock
        self._held = held
        self._succeeding = succeeding
        self._gathering: list[asyncio.Future[list[dict[str, Any]]]] = []

    async def run(self) -> int:
        """Serve until the parent says that it is enough, or is no more."""
        loop = asyncio.get_running_loop()
        sidecar = self._sidecar = Sidecar(self._config, self._telemetry, self._sockets, self._number)
        sidecar.gather = self._gather
        # Supervisors and terminals signal a whole group of processes: what it means is the parent's to say.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            loop.add_signal_handler(number, lambda: None)
        loop.add_signal_handler(
            signal.SIGUSR2, lambda: print(json.dumps(sidecar.statistics()), file=sys.stderr, flush=True))
        self._stop = asyncio.Event()
        self._accept = asyncio.Event()
        self._link = Link(loop, self._sock, self._on_message, self._on_end)
        if not self._held:
            sidecar.doors.start()
            self._accept.set()
        await sidecar.start()
        if self._succeeding:
            await sidecar.succeed()
        elif sidecar.presence is not None:
            sidecar.presence.watch_app()
        self._link.send({"event": "prepared"})
        await self._accept.wait()
        if not self._stop.is_set():
            if self._held:
                sidecar.doors.start()
            sidecar.collector.start()
            self._link.send(sidecar.ready_event())
            await self._stop.wait()
        await sidecar.drain()
        self._link.close()
        return 0

    def _on_message(self, message: dict[str, Any], sockets: list[Named]) -> None:
        sidecar = self._sidecar
        match message["do"]:
            case "accept":
                self._accept.set()
            case "contest":
                sidecar.contest()
            case "settle":
                sidecar.settle()
            case "leave datagrams":
                sidecar.doors.leave_datagrams()
            case "lend":
                sidecar.doors.lend(message["slot"], sockets)
            case "take back":
                sidecar.doors.take_back(message["slot"])
            case "statistics":
                self._link.send({"event": "statistics", "statistics": sidecar.statistics()})
            case "gathered":
                waiting, self._gathering = self._gathering, []
                for future in waiting:
                    if not future.done():
                        future.set_result(message["statistics"])
            case "leave":
                self._answer("left", sidecar.leave(message["deregister"]))
            case "drain inbound":
                self._answer("inbound drained", sidecar.drain_inbound())
            case "drain":
                self._end()

    async def _gather(self) -> list[dict[str, Any]]:
        """The statistics of all workers, or our own where the parent doesn't answer in time."""
        future: asyncio.Future[list[dict[str, Any]]] = asyncio.get_running_loop().create_future()
        self._gathering.append(future)
        self._link.send({"event": "gather"})
        try:
            return await asyncio.wait_for(future, _GATHERED_WITHIN)
        except TimeoutError:
            return [self._sidecar.statistics()]

    def _answer(self, event: str, work: Coroutine[Any, Any, None]) -> None:
        async def answer() -> None:
            await work
            self._link.send({"event": event})

        spawn(event, answer())

    def _on_end(self) -> None:
        _log.error("the parent of the workers is gone: draining")
        self._end()

    def _end(self) -> None:
        self._stop.set()
        self._accept.set()
