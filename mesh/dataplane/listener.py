# cython: language_level=3, wraparound=False, initializedcheck=False
"""Listening ports: accept, and hand each connection on.

What lives here: the life of a listening socket. What this must not know: what is spoken, what becomes of the
connections.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
from collections.abc import Callable
from typing import Any

import cython

from mesh.dataplane.reactor import Reactor, Watch
from mesh.dataplane.syscalls import ADDRESS_BYTES, host_of, port_of

if not cython.compiled:
    from mesh.dataplane.syscalls import accept_one, close_fd, set_nodelay

_log = logging.getLogger(__name__)

_WOULD_BLOCK = cython.declare(cython.int, errno.EAGAIN)
# Connections taken from the backlog in one turn.
_ACCEPTS = cython.declare(cython.int, 64)
# Out of descriptors or memory: how long new connections wait in the backlog, in seconds.
_ACCEPT_PAUSE = 0.1
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


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
