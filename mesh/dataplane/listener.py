# cython: language_level=3, wraparound=False, initializedcheck=False
"""Listening ports: accept, decide what is spoken, and drain without losing a request.

What lives here: the life of a port and of the HTTP/2 connections it accepted. What this must not know: what happens to
a request (exchange), or why it drains.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any

import cython

from mesh import errors
from mesh.dataplane.downstream import DownstreamHandler
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.reactor import Reactor, Watch
from mesh.dataplane.record import SERVER
from mesh.dataplane.syscalls import ADDRESS_BYTES, host_of, port_of
from mesh.dataplane.transport import Transport
from mesh.wire.h2 import Connection
from mesh.wire.limits import Settings

if not cython.compiled:
    from mesh.dataplane.syscalls import accept_one, close_fd, set_nodelay

_log = logging.getLogger(__name__)

_WOULD_BLOCK = cython.declare(cython.int, errno.EAGAIN)
# Connections taken from the backlog in one turn.
_ACCEPTS = cython.declare(cython.int, 64)
# Out of descriptors or memory: how long new connections wait in the backlog, in seconds.
_ACCEPT_PAUSE = 0.1
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# A graceful GOAWAY takes one round trip (RFC 9113 6.8); a peer that doesn't answer it is not waited for longer, in
# seconds.
_GOAWAY_ROUND_TRIP = 1.0
_POLL = 0.02

# Inbound takes this much more of a header list than it announces, in octets: to what the caller's sidecar let pass it
# has added traceparent and grpc-timeout, and a request must not become too large by that.
FIELDS_ADDED = 1024


class Port(Watch):
    """One listening socket, bound and listening already; it is the port's from now on.

    `accept(fd, host, port)` is called with each connection: its descriptor, which is the callee's, and who opened it.
    """

    def __init__(self, reactor: Reactor, sock: socket.socket, accept: Callable[[int, str, int], None]) -> None:
        Watch.__init__(self)
        self.address: tuple[str, int] = sock.getsockname()[:2]
        self._reactor = reactor
        self._sock = sock
        self._accept = accept
        self._paused: Any = None
        self._peer = bytearray(ADDRESS_BYTES)

    def start(self) -> None:
        """Accept from now on. What has connected before waits in the backlog and is served too."""
        set_nodelay(self._sock.fileno())
        self._reactor.add(self, self._sock.fileno(), select.EPOLLIN)

    def on_event(self, mask: cython.uint) -> cython.int:
        fd: cython.int
        _taken: cython.int
        for _taken in range(_ACCEPTS):
            fd = accept_one(self.fd, self._peer)
            if fd >= 0:
                self._take(fd)
                if self.fd < 0:  # closed by what came of that connection
                    return 0
            elif fd == -_WOULD_BLOCK:
                return 0
            elif -fd in _EXHAUSTED:
                _log.warning("connections to %s wait: %s", self, os.strerror(-fd))
                self._reactor.release(self)
                self._paused = self._reactor.call_at(self._reactor.now + _ACCEPT_PAUSE, self._resume)
                return 0
            # else a connection that was reset while it waited (accept(2))
        return 0

    def _take(self, fd: cython.int) -> cython.int:
        try:
            self._accept(fd, host_of(self._peer), port_of(self._peer))
        except Exception:
            _log.exception("a connection to %s failed", self)
            if not self._reactor.watches(fd):
                close_fd(fd)
        return 0

    def _resume(self) -> None:
        self._paused = None
        self._reactor.add(self, self._sock.fileno(), select.EPOLLIN)

    def on_error(self) -> cython.int:
        return 0  # one more try with the next connection

    def close(self) -> None:
        """Accept no more; connections go on. May be called twice."""
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        self._reactor.release(self)
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

    def accept(self, fd: int, host: str, port: int) -> None:
        """Serve one more connection; the descriptor is ours from now on."""
        handler = DownstreamHandler(self.entry, self._connections)
        Transport(Connection(False, handler, self._hub.dirty, self._settings), handler, self._hub).adopt(fd, host, port)

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
