# cython: language_level=3, wraparound=False, initializedcheck=False
"""The TCP relay: accepts connections, relays each to one endpoint, and keeps their timeouts and counts.

What lives here: what all connections of one listener share. What this must not know: how an endpoint is picked, what
the bytes mean, how records are exported. The life of one connection is in `tcp_connection`.
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
from dataclasses import dataclass
from typing import Any

import cython

from mesh import errors
from mesh.dataplane.record import TCP, Record
from mesh.dataplane.tcp_connection import RST_ON_CLOSE, Connection, Side, Target, Upstream
from mesh.dataplane.tcp_reactor import Reactor, Watch
from mesh.errors import Reason

_log = logging.getLogger(__name__)

# Connections taken from the backlog in one turn.
_ACCEPTS = cython.declare(cython.int, 64)
# Out of descriptors or memory: how long new connections wait in the backlog, in seconds.
_ACCEPT_PAUSE = 0.1
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class TcpStatistics:
    """`connections` and `connecting` are of this moment, the others counted since the start."""

    connections: int
    connecting: int
    accepted: int
    failed: int
    connect_failures: int
    request_bytes: int
    response_bytes: int


class Listener(Watch):
    """A listening socket; what it accepts goes to the proxy."""

    def __init__(self, proxy: TcpProxy, sock: socket.socket) -> None:
        Watch.__init__(self, sock)
        self.proxy = proxy
        self.paused: asyncio.TimerHandle | None = None

    def on_event(self, mask: cython.uint) -> cython.int:
        _accepted: cython.int
        for _accepted in range(_ACCEPTS):
            try:
                sock, address = self.sock.accept()
            except BlockingIOError:
                return 0
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # a connection that was reset while it waited (accept(2))
                _log.warning("connections to %s wait: %s", self.proxy.service, error.strerror)
                reactor: Reactor = self.proxy.reactor
                reactor.mute(self, True, select.EPOLLIN)
                self.paused = reactor.call_at(reactor.now + _ACCEPT_PAUSE, self.resume)
                return 0
            self.proxy.adopt(sock, address[0])
        return 0

    def resume(self) -> None:
        self.paused = None
        self.proxy.reactor.mute(self, False, select.EPOLLIN)

    def close(self) -> None:
        if self.paused is not None:
            self.paused.cancel()
            self.paused = None
        self.proxy.reactor.remove(self)


class TcpProxy:
    """Relays the connections of one listener. `kind` is `record.CLIENT` (outbound) or `record.SERVER` (inbound).

    `on_record`, when given, is called with one Record per connection at its end; all is filled in but the ids and
    trace_flags, which are its to choose.
    """

    def __init__(self, reactor: Reactor, upstream: Upstream[Any], kind: int, service: str,
                 on_record: Callable[[Record], None] | None = None) -> None:
        self.reactor = reactor
        self.upstream = upstream
        self.kind = kind
        self.service = service
        self.on_record = on_record
        self.connecting: dict[Connection, float] = {}
        self.accepted = 0
        self.failed = 0
        self.connect_failures = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self._open: dict[Connection, None] = {}
        self._listener: Listener | None = None
        self._draining = False
        self._empty: asyncio.Future[None] | None = None
        self._connect_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    def listen(self, sock: socket.socket) -> None:
        """Accept from `sock`, which is bound and listens; it is the proxy's from now on. One at a time."""
        if self._listener is not None:
            raise RuntimeError("the proxy has a listener already")
        sock.setblocking(False)
        listener: Listener = Listener(self, sock)
        self._listener = listener
        self.reactor.add(listener, select.EPOLLIN)

    def protocol_factory(self) -> asyncio.BaseProtocol:
        """For `loop.create_server`, where a port's listener decides per connection what its protocol is."""
        return Handover(self)

    def adopt(self, sock: socket.socket, source: str) -> None:
        """Relay the accepted connection `sock` that comes from the address `source`; it is the proxy's from now on."""
        if self._draining:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
            sock.close()
            return
        sock.setblocking(False)
        connection: Connection = Connection(self, sock, source)
        self.accepted += 1
        self._open[connection] = None
        connection.start()
        if self._idle_timer is None and self._open:
            self._arm_idle_timer()

    # -- what connections tell

    def watch_connect(self, connection: Connection) -> cython.int:
        deadline: cython.double = self.reactor.now + self.upstream.connect_timeout
        self.connecting[connection] = deadline
        if self._connect_timer is None:
            self._connect_timer = self.reactor.call_at(deadline, self._check_connects)
        return 0

    def _check_connects(self) -> None:
        self._connect_timer = None
        # Loops count milliseconds and may call that much early.
        now = self.reactor.now + 0.001
        for connection, deadline in list(self.connecting.items()):
            if deadline <= now:
                del self.connecting[connection]
                connection.on_connect_timeout()
        if self.connecting and self._connect_timer is None:
            self._connect_timer = self.reactor.call_at(min(self.connecting.values()), self._check_connects)

    def _arm_idle_timer(self) -> None:
        step = min(max(self.upstream.idle_timeout / 8, 0.02), 10.0)
        self._idle_timer = self.reactor.call_at(self.reactor.now + step, self._check_idle)

    def _check_idle(self) -> None:
        self._idle_timer = None
        connection: Connection
        limit: cython.double = self.reactor.now - self.upstream.idle_timeout
        for connection in [connection for connection in self._open if connection.active < limit]:
            connection.finish(errors.IDLE_TIMEOUT)
        if self._open:
            self._arm_idle_timer()

    def release(self, target: Target, reason: Reason | None) -> cython.int:
        try:
            self.upstream.released(target, reason is None or reason.fault is not errors.Fault.UPSTREAM, reason)
        except Exception:
            _log.exception("%s could not be given back", target.endpoint)
        return 0

    def ended(self, connection: Connection, reason: Reason | None) -> cython.int:
        """The connection is closed; count it, give its endpoint back, leave a record."""
        self._open.pop(connection, None)
        self.connecting.pop(connection, None)
        down: Side = connection.down
        up: Side | None = connection.up
        requested: cython.longlong = up.sent if up is not None else 0
        self.request_bytes += requested
        self.response_bytes += down.sent
        if reason is not None:
            self.failed += 1
        target = connection.target
        if target is not None:
            connection.target = None
            self.release(target, reason)
        if connection.started_ns and self.on_record is not None:
            try:
                self.on_record(self._record(connection, target or connection.last_target, reason, requested, down.sent))
            except Exception:
                _log.exception("a connection to %s left no record", self.service)
        if not self._open and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)
        return 0

    def _record(self, connection: Connection, target: Target | None, reason: Reason | None,
                requested: cython.longlong, responded: cython.longlong) -> Record:
        record: Record = Record()
        record.kind = self.kind
        record.protocol = TCP
        record.start_ns = connection.started_ns
        record.end_ns = time.time_ns()
        record.service = self.service
        record.source = connection.source
        record.attempts = max(connection.attempts, 1)
        record.request_bytes = requested
        record.response_bytes = responded
        record.events = connection.events
        if target is not None:
            record.endpoint = target.endpoint
            record.peer_host = target.host
            record.peer_port = target.port
            record.why = target.why
        if reason is not None:
            record.reason = reason.code
        return record

    # -- the end

    def close_listener(self) -> None:
        """Accept no more; what is open goes on. Closing twice does nothing."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def drain(self, timeout: float) -> int:
        """Accept no more and wait for the open connections to end, at most `timeout` seconds.

        Those still open then are reset; returns how many. TCP has no way to ask a peer to leave.
        """
        self._draining = True
        self.close_listener()
        if self._open:
            loop = self.reactor.loop
            empty = self._empty = loop.create_future()
            timer = loop.call_later(timeout, empty.cancel)
            try:
                await asyncio.wait([empty])
            finally:
                timer.cancel()
        return self.abort()

    def abort(self) -> int:
        """Reset what is open and stop; returns how many connections that was."""
        self._draining = True
        self.close_listener()
        connections: list[Connection] = list(self._open)
        connection: Connection
        for connection in connections:
            connection.finish(errors.DRAIN_DEADLINE)
        for timer in (self._connect_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self._connect_timer = self._idle_timer = None
        return len(connections)

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._open)

    def statistics(self) -> TcpStatistics:
        return TcpStatistics(connections=len(self._open), connecting=len(self.connecting), accepted=self.accepted,
                             failed=self.failed, connect_failures=self.connect_failures,
                             request_bytes=self.request_bytes, response_bytes=self.response_bytes)


class Handover(asyncio.Protocol):
    """Takes the socket away from a transport of the loop's before a byte is read, and gives it to the proxy."""

    def __init__(self, proxy: TcpProxy) -> None:
        self._proxy = proxy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        theirs = transport.get_extra_info("socket")
        sock = socket.socket(theirs.family, theirs.type, theirs.proto, os.dup(theirs.fileno()))
        source = transport.get_extra_info("peername")
        transport.abort()  # type: ignore[attr-defined]
        self._proxy.reactor.now = self._proxy.reactor.loop.time()
        self._proxy.adopt(sock, source[0] if source else "")
