"""Listening ports: accept, decide what is spoken, and drain without losing a request.

What lives here: the life of a port and of the HTTP/2 connections it accepted. What this must not know: what happens to
a request (exchange), or why it drains.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from mesh import errors
from mesh.dataplane.entry import Entry
from mesh.dataplane.h2downstream import DownstreamHandler
from mesh.dataplane.h2transport import H2Transport, Hub

# A graceful GOAWAY takes one round trip (RFC 9113 6.8); a peer that doesn't answer it is not waited for longer, in
# seconds.
_GOAWAY_ROUND_TRIP = 1.0
_POLL = 0.02


class Port:
    """One listening socket. `accept` makes the protocol of each connection; `address` is valid after `start()`."""

    def __init__(self, host: str, port: int, accept: Callable[[], Any]) -> None:
        self.address = (host, port)
        self._accept = accept
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind and accept. Raises OSError when the address can't be had."""
        host, port = self.address
        self._server = await asyncio.get_running_loop().create_server(self._accept, host, port, backlog=1024)
        self.address = self._server.sockets[0].getsockname()[:2]

    def close(self) -> None:
        """Accept no more; connections go on. May be called twice."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def __str__(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class H2Acceptor:
    """The HTTP/2 connections that came in by one entry."""

    def __init__(self, hub: Hub, entry: Entry) -> None:
        self.entry = entry
        self._hub = hub
        self._connections: set[DownstreamHandler] = set()

    def accept(self) -> Any:
        """The protocol of one more connection."""
        return H2Transport(False, DownstreamHandler(self.entry, self._connections), self._hub)

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
                if conn.active == 0 and (settled or conn.local_goaway):
                    handler.shell.close()
            await asyncio.sleep(_POLL)
        self._hub.touch()
        for handler in list(self._connections):
            handler.fail_all(errors.DRAIN_DEADLINE)

    def statistics(self) -> dict[str, Any]:
        return {"connections": len(self._connections), **self.entry.statistics()}
