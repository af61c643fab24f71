"""Listening ports: accept, decide what is spoken, and drain without losing a request.

What lives here: the life of a port and of the HTTP/2 connections it accepted. What this must not know: what happens to
a request (exchange), or why it drains.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

from mesh import errors
from mesh.dataplane.downstream import DownstreamHandler
from mesh.dataplane.entry import Entry
from mesh.dataplane.record import SERVER
from mesh.dataplane.tasks import spawn
from mesh.dataplane.transport import Hub, Transport
from mesh.wire.h2 import Connection
from mesh.wire.limits import Settings

# A graceful GOAWAY takes one round trip (RFC 9113 6.8); a peer that doesn't answer it is not waited for longer, in
# seconds.
_GOAWAY_ROUND_TRIP = 1.0
_POLL = 0.02
_BACKLOG = 4096  # the loop listens anew: no shorter than before


# Inbound takes this much more of a header list than it announces, in octets: to what the caller's sidecar let pass it
# has added traceparent and grpc-timeout, and a request must not become too large by that.
FIELDS_ADDED = 1024


class Port:
    """One listening socket, bound and listening already; it is the port's from now on.

    `accept` makes the protocol of each connection.
    """

    def __init__(self, sock: socket.socket, accept: Callable[[], Any]) -> None:
        self.address: tuple[str, int] = sock.getsockname()[:2]
        self._sock = sock
        self._accept = accept
        self._server: asyncio.Server | None = None
        self._starting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Accept from now on. What has connected before waits in the backlog and is served too."""
        self._starting = spawn(f"accept at {self}", self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=self._sock, backlog=_BACKLOG)

    def close(self) -> None:
        """Accept no more; connections go on. May be called twice."""
        if self._starting is not None:
            self._starting.cancel()
        if self._server is not None:
            self._server.close()
            self._server = None
        self._sock.close()

    def __str__(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class H2Acceptor:
    """The HTTP/2 connections that came in by one entry."""

    def __init__(self, hub: Hub, entry: Entry) -> None:
        self.entry = entry
        self._hub = hub
        self._settings = Settings(list_tolerance=FIELDS_ADDED if entry.kind == SERVER else 0)
        self._connections: set[DownstreamHandler] = set()

    def accept(self) -> Any:
        """The protocol of one more connection."""
        handler = DownstreamHandler(self.entry, self._connections)
        return Transport(Connection(False, handler, self._hub.dirty, self._settings), handler, self._hub)

    async def drain(self, timeout: float) -> None:
        """Tell every peer to go elsewhere (GOAWAY) and wait for open requests, at most `timeout` seconds.

        What is still open then is answered with `drain_deadline`.
        """
        started = time.monotonic()
        self._hub.touch()
        for handler in list(self._connections):
            handler.shell.conn.drain()
        self._hub.flush()
        while self._connections and time.monotonic() - started < timeout:
            settled = time.monotonic() - started > _GOAWAY_ROUND_TRIP
            for handler in list(self._connections):
                conn = handler.shell.conn
                if conn.active == 0 and (settled or conn.settled()):
                    handler.shell.close()
            await asyncio.sleep(_POLL)
        self._hub.touch()
        for handler in list(self._connections):
            handler.fail_all(errors.DRAIN_DEADLINE)

    def statistics(self) -> dict[str, Any]:
        return {"connections": len(self._connections), **self.entry.statistics()}
