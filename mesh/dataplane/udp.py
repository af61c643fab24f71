# cython: language_level=3, wraparound=False, initializedcheck=False
"""The UDP relay: one listening address, a session for each address and port that sends to it, an endpoint per session.

What lives here: which sessions are admitted, how long they are kept, what they leave behind. What this must not know:
how an endpoint is picked, what the datagrams mean, how records are exported. The life of a session is in `udp_session`.

A refusal is passed on. Where the local app does not listen, callers must hear of it, or they would go on sending to
where nobody answers: for a moment our own port then does as if it were closed. A UDP socket that is connected hears its
peer only, and to everybody else the kernel says "port unreachable"; so the socket is connected to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cython

from mesh import errors
from mesh.dataplane.reactor import Reactor, Watch
from mesh.dataplane.record import SERVER, UDP, Record
from mesh.dataplane.syscalls import ADDRESS_BYTES, host_of, port_of
from mesh.dataplane.udp_session import Session, Sessions, Upstream
from mesh.errors import Reason

if not cython.compiled:
    from mesh.dataplane.syscalls import disconnect, receive_from, sender

_log = logging.getLogger(__name__)

# Each has a socket; Envoy's limit for a cluster is 1,024 connections, and so is the usual limit of descriptors.
MAX_SESSIONS = 1024
_EAGAIN = cython.declare(cython.int, errno.EAGAIN)
# Datagrams read in a row before the others get their turn.
_TURN = cython.declare(cython.int, 64)
# With all sessions taken, a new one takes the place of the oldest if that has been quiet for this long, in seconds:
# whoever speaks more often than this is not pushed out by a flood of made-up sources.
_QUIET = cython.declare(cython.double, 1.0)
# Room for what comes while this process is elsewhere, in bytes; the kernel cuts it to net.core.rmem_max.
_RECEIVE_BUFFER = 1_048_576
_COMPLAIN_EVERY = 10.0
# How long a refusal of the app is passed on before the next datagrams may try it again, in seconds.
_REFUSE = 0.5


@dataclass(frozen=True, slots=True)
class UdpStatistics:
    """`sessions` is of this moment, the others are counted since the start.

    `refused`: datagrams of new sources for which there was no place; `evicted`: sessions that made place;
    `unreachable`: times an endpoint failed; `dropped`: datagrams lost here, the refused included.
    """

    sessions: int
    opened: int
    refused: int
    evicted: int
    unreachable: int
    dropped: int
    request_datagrams: int
    response_datagrams: int
    request_bytes: int
    response_bytes: int


class UdpListener(Watch):
    """A bound socket: what it receives goes to the proxy, and replies leave by it, or by another one like it."""

    def __init__(self, proxy: UdpProxy, sock: socket.socket) -> None:
        Watch.__init__(self)
        self.proxy = proxy
        self.sock = sock
        self.address: tuple[Any, ...] = sock.getsockname()
        self.peer = bytearray(ADDRESS_BYTES)

    def on_event(self, mask: cython.uint) -> cython.int:
        proxy: UdpProxy = self.proxy
        n: cython.Py_ssize_t
        _read: cython.int
        for _read in range(_TURN):
            n = receive_from(self.fd, proxy.reactor.inbox, self.peer)
            if n >= 0:
                proxy.datagram(sender(self.peer), n)
            elif -n == _EAGAIN:
                return 0
            else:
                proxy._sessions.dropped += 1
            if self.fd < 0:  # closed by what came of that datagram
                return 0
        return 0

    def on_error(self) -> cython.int:
        return 0  # one more try with the next datagram

    def refuse_all(self) -> None:
        """Do as if the port were closed, but for sending; raises OSError."""
        self.sock.connect(self.address)

    def hear_all(self) -> None:
        """End that; raises OSError. A port that was not asked for by its number goes with the connection: take it anew.
        """
        disconnect(self.sock.fileno())
        if self.sock.getsockname()[1] == 0:
            self.sock.bind(self.address)


class UdpProxy:
    """Relays the datagrams of one address. `kind` is `record.CLIENT` (outbound) or `record.SERVER` (inbound).

    `on_record`, when given, is called with one Record per session at its end; all is filled in but the ids and
    trace_flags, which are its to choose.
    """

    def __init__(self, reactor: Reactor, upstream: Upstream[Any], kind: int, service: str,
                 on_record: Callable[[Record], None] | None = None, max_sessions: int = MAX_SESSIONS) -> None:
        self.reactor = reactor
        self.upstream = upstream
        self.kind = kind
        self.service = service
        self.on_record = on_record
        self.max_sessions = max_sessions
        self._sessions = Sessions(reactor, upstream, self)
        self._listeners: list[UdpListener] = []
        self._own_address: tuple[str, int] | None = None
        self._opened = 0
        self._refused = 0
        self._evicted = 0
        self._draining = False
        self._complained = -_COMPLAIN_EVERY
        self._idle_timer: asyncio.TimerHandle | None = None
        self._refusal: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None

    def listen(self, sock: socket.socket) -> None:
        """Relay what comes to `sock`, a bound UDP socket; it is the proxy's from now on. All have one address."""
        listener: UdpListener = UdpListener(self, sock)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._own_address = sock.getsockname()[:2]
        if not self._listeners:
            self._sessions.replies_by = sock.fileno()
        self._listeners.append(listener)
        self.reactor.add(listener, sock.fileno(), select.EPOLLIN)
        with contextlib.suppress(OSError):
            sock.getpeername()  # then another process has left it while it passed a refusal on
            listener.hear_all()

    def forget(self, sock: socket.socket) -> None:
        """Relay no more what comes to `sock`, and close it; sessions go on by the other sockets."""
        listener: UdpListener
        for listener in self._listeners:
            if listener.sock is sock:
                self._listeners.remove(listener)
                self.reactor.release(listener)
                sock.close()
                break
        if self._listeners:
            listener = self._listeners[0]
            self._sessions.replies_by = listener.sock.fileno()

    def datagram(self, address: bytes, n: cython.Py_ssize_t) -> cython.int:
        """`n` bytes from `address` are in the reactor's buffer."""
        table: Sessions = self._sessions
        session: Session | None = table.by_address.get(address)
        if session is None:
            session = self._admit(address)
            if session is None:
                table.dropped += 1
                return 0
        session.forward(n)
        return 0

    def _admit(self, address: bytes) -> Session | None:
        """A new session for a new source, None if it has to go without."""
        table: Sessions = self._sessions
        oldest: Session | None
        if (host_of(address), port_of(address)) == self._own_address:
            return None  # a forged one: it would send to itself for ever
        if len(table.by_address) >= self.max_sessions:
            oldest = table.oldest()
            if oldest is None or self.reactor.now - oldest.active < _QUIET:
                self._refused += 1
                self.complain(errors.TOO_MANY_SESSIONS, f"{self.max_sessions} sessions are in use")
                return None
            self._evicted += 1
            oldest.end(errors.TOO_MANY_SESSIONS)
        self._opened += 1
        session: Session = table.add(address)
        if self._idle_timer is None:
            self._arm_idle_timer()
        return session

    # -- idle sessions

    def _idle(self) -> cython.double:
        """How long a session may be quiet, in seconds. One that is drained is over when its endpoint has had its say.
        """
        idle: cython.double = self.upstream.udp_idle
        return min(idle, _QUIET) if self._draining else idle

    def _arm_idle_timer(self) -> cython.int:
        """Check again when the oldest session can be over, but not all the time."""
        oldest: Session | None = self._sessions.oldest()
        if oldest is not None:
            when: cython.double = max(oldest.active + self._idle(), self.reactor.now + 0.02)
            self._idle_timer = self.reactor.call_at(when, self._check_idle)
        return 0

    def _check_idle(self) -> None:
        # Loops count milliseconds and may call that much early.
        limit: cython.double = self.reactor.now + 0.001 - self._idle()
        oldest: Session | None = self._sessions.oldest()
        self._idle_timer = None
        while oldest is not None and oldest.active <= limit:
            oldest.end(None)
            oldest = self._sessions.oldest()
        self._arm_idle_timer()

    # -- what sessions tell

    def release(self, target: Any, ok: bool, reason: Reason) -> None:
        try:
            self.upstream.released(target, ok, reason)
        except Exception:
            _log.exception("%s could not be given back", target.endpoint)

    def unreachable(self) -> None:
        """An endpoint failed. If there is none but the local app, pass that on."""
        listener: UdpListener
        if self.kind == SERVER and self._refusal is None and not self._draining:
            for listener in self._listeners:
                with contextlib.suppress(OSError):  # then not
                    listener.refuse_all()
            self._refusal = self.reactor.call_at(self.reactor.now + _REFUSE, self._listen_again)

    def _listen_again(self) -> None:
        listener: UdpListener
        if self._refusal is not None:
            self._refusal.cancel()
            self._refusal = None
            for listener in self._listeners:
                try:
                    listener.hear_all()
                except OSError as error:
                    _log.error("the UDP port %s of %s is lost: %s", self._own_address, self.service, error.strerror)

    def complain(self, reason: Reason, text: str) -> None:
        """Log what a flood would repeat, once in a while."""
        if self.reactor.now - self._complained >= _COMPLAIN_EVERY:
            self._complained = self.reactor.now
            _log.warning("datagrams to %s are dropped (%s): %s", self.service, reason.code, text)

    def ended(self, session: Session, reason: Reason | None) -> None:
        """The session is over and out of the table; leave a record."""
        if self.on_record is not None:
            try:
                self.on_record(self._record(session, reason))
            except Exception:
                _log.exception("a session with %s left no record", self.service)
        if not self._sessions.by_address and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def _record(self, session: Session, reason: Reason | None) -> Record:
        record: Record = Record()
        record.kind = self.kind
        record.protocol = UDP
        record.start_ns = session.started_ns
        record.end_ns = time.time_ns()
        record.service = self.service
        record.source = session.source
        record.attempts = max(session.attempts, 1)
        record.request_bytes = session.request_bytes
        record.response_bytes = session.response_bytes
        record.events = [*(session.events or ()), (record.end_ns, "datagrams", {
            "mesh.request.datagrams": session.request_datagrams, "mesh.response.datagrams": session.response_datagrams,
            "mesh.dropped.datagrams": session.dropped})]
        target = session.last_target
        if target is not None:
            record.endpoint = target.endpoint
            record.peer_host = target.host
            record.peer_port = target.port
            record.why = target.why
        if reason is not None:
            record.reason = reason.code
        return record

    # -- the end

    def stop_reading(self) -> None:
        """Take nothing more from callers; the endpoints' replies still go out. May be called twice."""
        listener: UdpListener
        if not self._draining:
            self._draining = True
            self._listen_again()
            for listener in self._listeners:
                self.reactor.release(listener)

    async def drain(self, timeout: float) -> int:
        """Read no more from callers, and wait until no endpoint has sent anything for a second, at most `timeout`.

        Sessions that are left then are ended; returns how many. UDP has no way to ask a peer to leave, and what is not
        read any more is there for a process that has the same socket.
        """
        self.stop_reading()
        if self._sessions.by_address:
            if self._idle_timer is not None:
                self._idle_timer.cancel()
            self.reactor.touch()
            self._arm_idle_timer()
            empty = self._empty = self.reactor.loop.create_future()
            timer = self.reactor.loop.call_later(timeout, empty.cancel)
            try:
                await asyncio.wait([empty])
            finally:
                timer.cancel()
        return self.abort()

    def abort(self) -> int:
        """End all sessions, close the sockets and stop; returns how many sessions that was."""
        self.stop_reading()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        sessions: list[Session] = list(self._sessions.by_address.values())
        session: Session
        for session in sessions:
            session.end(errors.DRAIN_DEADLINE)
        listener: UdpListener
        for listener in self._listeners:
            listener.sock.close()
        self._listeners = []
        return len(sessions)

    @property
    def sessions(self) -> int:
        """Open now."""
        return len(self._sessions.by_address)

    def statistics(self) -> UdpStatistics:
        table: Sessions = self._sessions
        return UdpStatistics(sessions=len(table.by_address), opened=self._opened, refused=self._refused,
                             evicted=self._evicted, unreachable=table.unreachable, dropped=table.dropped,
                             request_datagrams=table.request_datagrams, response_datagrams=table.response_datagrams,
                             request_bytes=table.request_bytes, response_bytes=table.response_bytes)
