# cython: language_level=3, wraparound=False, initializedcheck=False
"""UDP sessions: the datagrams between one caller's address and port, and the endpoint that was picked for them.

What lives here: the life of a session and of its upstream socket, and the table of a listener's sessions in the order
of their last datagrams. What this must not know: how an endpoint is picked, which sessions are admitted, how records
are exported.

The upstream socket is connected, so that the kernel tells what ICMP says of the endpoint (RFC 1122, 4.1.3.3): nobody
listens there, or there is no way to it. Such an endpoint has failed, and the next datagram goes to another one. What
the kernel takes no more of is dropped and counted: it is the kernel that queues, bounded, and UDP's users that repeat.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import time
from typing import Any, Protocol, TypeVar

import cython

from mesh import errors
from mesh.dataplane.reactor import Reactor, Watch
from mesh.dataplane.syscalls import host_of, literal, packed
from mesh.dataplane.tasks import spawn
from mesh.errors import Reason

if not cython.compiled:
    from mesh.dataplane.syscalls import close_fd, connect_datagrams, is_to_itself, recv_into, send_from, send_to
    from mesh.wire.octets import octets_of

_IN = cython.declare(cython.uint, select.EPOLLIN)
_EAGAIN = cython.declare(cython.int, errno.EAGAIN)
_ECONNREFUSED = cython.declare(cython.int, errno.ECONNREFUSED)
# What sending or receiving says when ICMP has come, or when there is no route: the endpoint, or the way to it, failed.
_UNREACHABLE = frozenset((errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN,
                          errno.ENOPROTOOPT, errno.EPROTO))
# What opening a socket says when there is none to be had, whichever the endpoint.
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN))
# Endpoints tried for one datagram.
_MAX_ATTEMPTS = cython.declare(cython.int, 3)
# Replies read in a row before the others get their turn.
_TURN = cython.declare(cython.int, 64)
# While an endpoint's host name is looked up: datagrams that wait per session, and bytes per listener.
_MAX_HELD = cython.declare(cython.int, 16)
_MAX_HELD_BYTES = cython.declare(cython.Py_ssize_t, 1_048_576)
_MAX_EVENTS = cython.declare(cython.int, 16)


class Target(Protocol):
    """An endpoint picked: `endpoint` is its resource name, `why` what picked it. `gone`: not to be used any longer."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def gone(self) -> bool: ...


TargetT = TypeVar("TargetT", bound=Target)


class Upstream(Protocol[TargetT]):
    """Where sessions go. `udp_idle`, in seconds, is read anew at each check."""

    @property
    def connect_timeout(self) -> float: ...
    @property
    def udp_idle(self) -> float: ...

    def pick(self, source: str, tried: list[TargetT]) -> TargetT | None:
        """Return an endpoint for a session from the address `source`, None when there is none to be had.

        `tried` are those that failed since the last answer. Each target returned is given back exactly once.
        """

    def released(self, target: TargetT, ok: bool, reason: Reason | None) -> None:
        """The session has done with it. `ok`: it has answered, and nothing failed since.

        Otherwise it failed if `reason` is the upstream's fault; if not, nothing is known, since UDP need not be
        answered.
        """


class Owner(Protocol):
    """Whose sessions they are; called rarely."""

    def release(self, target: Any, ok: bool, reason: Reason) -> None: ...
    def ended(self, session: Session, reason: Reason | None) -> None: ...
    def unreachable(self) -> None: ...
    def complain(self, reason: Reason, text: str) -> None: ...


class UpstreamSocket(Watch):
    """The socket of a session, connected to its endpoint."""

    def __init__(self, session: Session) -> None:
        Watch.__init__(self)
        self.session: Any = session

    def on_event(self, mask: cython.uint) -> cython.int:
        session: Session = self.session
        reactor: Reactor = session.table.reactor
        n: cython.Py_ssize_t
        _read: cython.int
        for _read in range(_TURN):
            n = recv_into(self.fd, reactor.inbox, 0, len(reactor.inbox))
            if n >= 0:
                session.reply(n)
            elif -n == _EAGAIN:
                return 0
            elif -n in _UNREACHABLE:
                return session.failed(errors.UNREACHABLE)
            else:
                session.drop()
        return 0

    def on_error(self) -> cython.int:
        if self.session is not None:
            self.session.end(errors.CONNECTION_LOST)
        return 0


class Session:
    """A caller's address and port (`address`, a sockaddr), and the endpoint behind them.

    `active` is when the last datagram came, in either direction, in the loop's time. `failure` is why the last endpoint
    was given up, or why there was none; None once another one was found. `older` and `newer` are the table's.
    """

    def __init__(self, table: Sessions | None, address: bytes) -> None:
        self.table: Any = table
        self.address = address
        self.source = ""
        self.active = 0.0
        self.started_ns = 0
        self.target: Any = None
        self.last_target: Any = None
        self.failure: Any = None
        self.events: Any = None
        self.tried: Any = None
        self.held: Any = None
        self.resolving = False
        self.answered = False
        self.dead = False
        self.attempts = 0
        self.request_datagrams = 0
        self.response_datagrams = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.dropped = 0
        self.up: Any = None
        self.older: Any = self
        self.newer: Any = self
        if table is not None:
            self.source = host_of(address)
            self.started_ns = time.time_ns()

    # -- caller to endpoint

    def forward(self, n: cython.Py_ssize_t) -> cython.int:
        """Hand the `n` bytes in the reactor's buffer on."""
        table: Sessions = self.table
        up: UpstreamSocket
        error: cython.Py_ssize_t
        attempts: cython.int = 0
        table.touch(self)
        if self.target is not None and self.target.gone:
            self.leave(errors.IDLE_TIMEOUT)
        while True:
            if self.resolving:
                return self.hold(n)
            if self.up is None:
                if attempts == _MAX_ATTEMPTS or not self.find():
                    return self.drop()
                attempts += 1
                continue
            up = self.up
            error = -send_from(up.fd, table.reactor.inbox, 0, n)
            if error <= 0:
                self.request_datagrams += 1
                self.request_bytes += n
                table.request_datagrams += 1
                table.request_bytes += n
                return 0
            if error not in _UNREACHABLE:
                return self.drop()
            self.failed(errors.UNREACHABLE)

    def find(self) -> cython.int:
        """Have an endpoint picked, and its socket connected or its name looked up; 0 if there is none to be had."""
        target = self.table.upstream.pick(self.source, self.tried if self.tried is not None else [])
        if target is None:
            if self.failure is None:
                self.failure = errors.NO_HEALTHY_UPSTREAM
            return 0
        self.target = target
        self.attempts += 1
        address = literal(target.host, target.port)
        if address is not None:
            return self.connect(address)
        self.resolving = True
        spawn(f"resolve {target.host}", self._resolve(target))
        return 1

    def connect(self, address: bytes) -> cython.int:
        """Open the socket to the target. Without it the target is given back; 0 if no other could have one either."""
        table: Sessions = self.table
        up: UpstreamSocket
        fd: cython.int = connect_datagrams(address)
        if fd >= 0 and is_to_itself(fd, address):  # a dead local port may be given to us
            close_fd(fd)
            fd = -_ECONNREFUSED
        if fd >= 0:
            up = UpstreamSocket(self)
            try:
                table.reactor.add(up, fd, _IN)
            except OSError as error:
                fd = -(error.errno or errno.ENOMEM)
        if fd >= 0:
            self.up = up
            self.failure = None
            return 1
        if -fd not in _EXHAUSTED:
            self.failed(errors.UNREACHABLE)
            return 1
        table.owner.complain(errors.OVERLOADED, f"no socket to reach {self.target.endpoint} with: {os.strerror(-fd)}")
        self.failure = errors.OVERLOADED
        self.leave(errors.OVERLOADED)
        return 0

    async def _resolve(self, target: Target) -> None:
        table: Sessions = self.table
        address: bytes | None = None
        try:
            async with asyncio.timeout(table.upstream.connect_timeout):
                found = await table.reactor.loop.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
            address = packed(found[0][0], found[0][4])
        except (OSError, UnicodeError, IndexError):  # a TimeoutError is an OSError
            pass
        table.reactor.touch()
        if self.dead or self.target is not target:
            return
        self.resolving = False
        if address is not None:
            self.connect(address)
        else:
            self.failed(errors.CONNECT_FAILED)
        for datagram in self._take_held():
            table.reactor.inbox[: len(datagram)] = datagram
            self.forward(len(datagram))

    def hold(self, n: cython.Py_ssize_t) -> cython.int:
        """Keep a datagram until the endpoint's name is looked up."""
        table: Sessions = self.table
        if self.held is None:
            self.held = []
        if len(self.held) >= _MAX_HELD or table.held_bytes + n > _MAX_HELD_BYTES:
            return self.drop()
        self.held.append(octets_of(table.reactor.inbox, 0, n))
        table.held_bytes += n
        return 0

    def _take_held(self) -> list[bytes]:
        held: list[bytes] = self.held or []
        self.held = None
        for datagram in held:
            self.table.held_bytes -= len(datagram)
        return held

    # -- endpoint to caller

    def reply(self, n: cython.Py_ssize_t) -> cython.int:
        """Hand the `n` bytes in the reactor's buffer back."""
        table: Sessions = self.table
        self.answered = True
        self.tried = None
        table.touch(self)
        if send_to(table.replies_by, table.reactor.inbox, n, self.address) < 0:
            return self.drop()
        self.response_datagrams += 1
        self.response_bytes += n
        table.response_datagrams += 1
        table.response_bytes += n
        return 0

    # -- ends

    def drop(self) -> cython.int:
        """A datagram is lost: the kernel took it not, or nobody was there to take it."""
        self.dropped += 1
        self.table.dropped += 1
        return 0

    def failed(self, reason: Reason) -> cython.int:
        """The endpoint can't be reached: give it back as failed. The next datagram goes to another one."""
        target = self.target
        if self.events is None:
            self.events = []
        if len(self.events) < _MAX_EVENTS:
            self.events.append((time.time_ns(), "endpoint_failed",
                                {"mesh.endpoint": target.endpoint, "mesh.reason": reason.code}))
        tried: list[Any] = self.tried if self.tried is not None else []
        self.tried = [*tried[-_MAX_ATTEMPTS:], target]
        self.failure = reason
        self.table.unreachable += 1
        self.leave(reason)
        self.table.owner.unreachable()
        return 0

    def leave(self, reason: Reason) -> cython.int:
        """Give the endpoint back, for this reason, and close the socket to it."""
        up: UpstreamSocket | None = self.up
        target = self.target
        ok: cython.bint = self.answered and reason.fault is not errors.Fault.UPSTREAM
        self.target = None
        self.up = None
        self.resolving = False
        self.answered = False
        if up is not None:
            self.table.reactor.remove(up)
        if target is not None:
            self.last_target = target
            self.table.owner.release(target, ok, reason)
        return 0

    def end(self, reason: Reason | None) -> cython.int:
        """The session is over; `reason` None: nothing moved for its idle time."""
        table: Sessions = self.table
        if self.dead:
            return 0
        self.dead = True
        self.leave(errors.IDLE_TIMEOUT if reason is None else reason)
        table.dropped += len(self._take_held())
        table.remove(self)
        table.owner.ended(self, self.failure if reason is None else reason)
        return 0


class Sessions:
    """The sessions of one listener by the caller's address, and in the order of their last datagrams.

    What all of them share: the socket by which replies leave, and the counts of what moved.
    """

    def __init__(self, reactor: Reactor, upstream: Upstream[Any], owner: Owner) -> None:
        self.reactor = reactor
        self.upstream = upstream
        self.owner = owner
        self.replies_by = -1
        self.by_address: dict[bytes, Session] = {}
        self.ends = Session(None, b"")  # its `newer` is the oldest, its `older` the newest
        self.held_bytes = 0
        self.unreachable = 0
        self.dropped = 0
        self.request_datagrams = 0
        self.response_datagrams = 0
        self.request_bytes = 0
        self.response_bytes = 0

    def add(self, address: bytes) -> Session:
        session: Session = Session(self, address)
        self.by_address[address] = session
        self.touch(session)
        return session

    def oldest(self) -> Session | None:
        """The session whose last datagram is the longest ago."""
        session: Session = self.ends.newer
        return session if session is not self.ends else None

    def touch(self, session: Session) -> cython.int:
        """A datagram moved: `session` is the newest."""
        ends: Session = self.ends
        newest: Session = ends.older
        session.active = self.reactor.now
        if newest is session:
            return 0
        older: Session = session.older
        newer: Session = session.newer
        older.newer = newer
        newer.older = older
        newest.newer = session
        session.older = newest
        session.newer = ends
        ends.older = session
        return 0

    def remove(self, session: Session) -> cython.int:
        older: Session = session.older
        newer: Session = session.newer
        older.newer = newer
        newer.older = older
        session.older = None
        session.newer = None
        del self.by_address[session.address]
        return 0
