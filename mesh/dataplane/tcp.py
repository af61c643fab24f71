# cython: language_level=3, wraparound=False, initializedcheck=False
"""The TCP relay: relays each connection to one endpoint, and keeps their timeouts and counts.

What lives here: what all connections of one listener share. What this must not know: how an endpoint is picked, what
the bytes mean, how records are exported. The life of one connection is in `tcp_connection`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cython

from mesh import errors
from mesh.dataplane.introduction import Introduction
from mesh.dataplane.reactor import Reactor
from mesh.dataplane.record import TCP, Record
from mesh.dataplane.tcp_connection import Connection, Side
from mesh.dataplane.tls import Session
from mesh.errors import Reason

if not cython.compiled:
    from mesh.dataplane.syscalls import reset_fd
if TYPE_CHECKING:  # the two modules know each other
    from mesh.dataplane.tcp_connection import Target, Upstream

_log = logging.getLogger(__name__)


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


class TcpProxy:
    """Relays connections. `kind` is `record.CLIENT` (outbound) or `record.SERVER` (inbound).

    `on_record`, when given, is called with one Record per connection at its end; all is filled in but the ids and
    trace_flags, which are its to choose. `introduction`, when given, makes what each endpoint is sent first.
    """

    def __init__(self, reactor: Reactor, upstream: Upstream[Any], kind: int, service: str,
                 on_record: Callable[[Record], None] | None = None, introduction: Introduction = None) -> None:
        self.reactor = reactor
        self.upstream = upstream
        self.kind = kind
        self.service = service
        self.on_record = on_record
        self.introduction = introduction
        self.connecting = 0
        self.accepted = 0
        self.failed = 0
        self.connect_failures = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self._open: dict[Connection, None] = {}
        self._draining = False
        self._empty: asyncio.Future[None] | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    def accept(self, fd: int, host: str, port: int) -> None:
        """As `adopt`, for a `Port`."""
        self.adopt(fd, host)

    def adopt(self, fd: int, source: str, tls: Session | None = None) -> None:
        """Relay the accepted connection `fd` that comes from the address `source`; it is the proxy's from now on.

        `tls` is what has been established on it.
        """
        if self._draining:
            reset_fd(fd)
            return
        self.reactor.touch()
        connection: Connection = Connection(self, source)
        self.accepted += 1
        self._open[connection] = None
        connection.start(fd, tls)
        if self._idle_timer is None and self._open:
            self._arm_idle_timer()
        self.reactor.flush()

    def refusal(self) -> Reason | None:
        """Why the upstream's last pick gave no endpoint, where that was a limit."""
        reason: Reason | None = getattr(self.upstream, "refusal", None)
        return reason

    # -- what connections tell

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

    async def drain(self, timeout: float) -> int:
        """Take no more and wait for the open connections to end, at most `timeout` seconds.

        Those still open then are reset; returns how many. TCP has no way to ask a peer to leave.
        """
        self._draining = True
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
        connections: list[Connection] = list(self._open)
        connection: Connection
        for connection in connections:
            connection.finish(errors.DRAIN_DEADLINE)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        return len(connections)

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._open)

    def statistics(self) -> TcpStatistics:
        return TcpStatistics(connections=len(self._open), connecting=self.connecting, accepted=self.accepted,
                             failed=self.failed, connect_failures=self.connect_failures,
                             request_bytes=self.request_bytes, response_bytes=self.response_bytes)

