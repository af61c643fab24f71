# cython: language_level=3, wraparound=False, initializedcheck=False
"""One relayed TCP connection: find an endpoint that accepts, then bytes both ways until both have ended.

What lives here: the sockets of a connection and their life. What this must not know: how an endpoint is picked,
listeners, how records are exported.

A direction is: read what is there, hand it to the other side's kernel buffer, and keep what did not fit (at most one
read) until that side is writable; meanwhile nothing more is read, so the sender's window closes. FIN is passed on when
everything before it was; the connection ends when both directions have. Whatever ends in another way is ended by RST on
both sides, so that nobody takes a part for the whole.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import cython

from mesh import errors
from mesh.dataplane.reactor import EDGES, INCOMING, MAX_READ, Reactor, Watch
from mesh.dataplane.resolve import resolve
from mesh.dataplane.syscalls import literal
from mesh.dataplane.tasks import spawn
from mesh.dataplane.timers import Timer
from mesh.dataplane.tls import Session
from mesh.errors import Reason

if not cython.compiled:
    from mesh.dataplane.syscalls import (
        close_fd,
        connect_to,
        is_to_itself,
        recv_into,
        send_fin,
        send_from,
        set_nodelay,
    )
    from mesh.wire.octets import octets_of

if TYPE_CHECKING:
    from mesh.dataplane.tcp import TcpProxy

_log = logging.getLogger(__name__)

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

# Connection.state
_CONNECTING = cython.declare(cython.int, 0)
_RELAYING = cython.declare(cython.int, 1)
_DEAD = cython.declare(cython.int, 2)

_IN = cython.declare(cython.int, select.EPOLLIN)
_OUT = cython.declare(cython.int, select.EPOLLOUT)
_ERR = cython.declare(cython.int, select.EPOLLERR)
_HUP = cython.declare(cython.int, select.EPOLLHUP)
_RDHUP = cython.declare(cython.int, select.EPOLLRDHUP)
_PRI = cython.declare(cython.int, select.EPOLLPRI)
_EDGES = cython.declare(cython.uint, EDGES)
_INCOMING = cython.declare(cython.uint, INCOMING)
_WOULD_BLOCK = cython.declare(cython.int, errno.EAGAIN)
_LARGEST = cython.declare(cython.int, MAX_READ)

# Nothing was sent before the connection stood, so another endpoint may be tried; Envoy tries once, HAProxy three times.
MAX_CONNECT_ATTEMPTS = cython.declare(cython.int, 3)
# Before the only endpoint there is gets tried again, in seconds, times the number of attempts so far.
_AGAIN_AFTER = 0.05
# A read starts with this many bytes and doubles after two full ones up to MAX_READ: idle and chatty connections
# then never carry much over, bulk ones reach the fastest size after a few reads.
_FIRST_READ = cython.declare(cython.int, 32_768)
# Reads in a row before the others get their turn.
_ROUNDS = cython.declare(cython.int, 8)
# What all connections together may carry over before each read is limited to _FIRST_READ again.
_CARRY_LIMIT = cython.declare(cython.longlong, 33_554_432)


class Target(Protocol):
    """An endpoint picked: `endpoint` is its resource name, `why` what picked it."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def why(self) -> str: ...


TargetT = TypeVar("TargetT", bound=Target)


class Upstream(Protocol[TargetT]):
    """Where connections go. Timeouts in seconds; they are read anew for each connection."""

    @property
    def connect_timeout(self) -> float: ...
    @property
    def idle_timeout(self) -> float: ...

    def pick(self, source: str, tried: list[TargetT]) -> TargetT | None:
        """Return an endpoint for a connection from the address `source`, None when there is none to be had.

        An attribute `refusal` may say why there is none.

        `tried` are those that failed this connection already, in order. Each target returned is given back exactly
        once.
        """

    def released(self, target: TargetT, ok: bool, reason: Reason | None) -> None:
        """The connection is over, or never stood. `ok` is False when that was the endpoint's fault."""


class Side(Watch):
    """One socket of a connection. `sent` bytes have been handed to it; `pending[at:]` still has to be.

    `prompt`: it doesn't wait for acknowledgements before it sends a small segment (TCP_NODELAY). `thorough`: a short
    read does not prove that nothing is left. `asked`: epoll tells when it takes bytes again.
    """

    def __init__(self, connection: Connection) -> None:
        self.fd = -1  # as Watch.__init__, without the call: two of these per connection
        self.serial = 0
        self.connection: Any = connection
        self.peer: Any = None
        self.tls: Any = None
        self.pending: Any = None
        self.at = 0
        self.size = _FIRST_READ
        self.full = 0
        self.sent = 0
        self.prompt = False
        self.readable = False
        self.thorough = False
        self.asked = False
        self.ended = False
        self.fin_sent = False

    def on_event(self, mask: cython.uint) -> cython.int:
        connection: Connection = self.connection
        if mask & (_IN | _PRI | _RDHUP | _HUP | _ERR):
            self.readable = True
            if self.tls is not None:
                self.tls.notice((mask & (_PRI | _RDHUP | _HUP | _ERR)) != 0)
            elif mask & (_PRI | _RDHUP | _HUP | _ERR):
                self.thorough = True
        if connection.state == _RELAYING:
            if mask & (_IN | _PRI | _RDHUP | _HUP | _ERR):
                connection.pump(self)
            if mask & _ERR and connection.state == _RELAYING:
                connection.broken(self)  # what was read before the reset has been passed on as far as it went
            elif mask & _OUT and self.pending is not None and connection.state == _RELAYING:
                connection.pump(self.peer)
        elif connection.state == _CONNECTING:
            if self is not connection.down:
                if mask & (_OUT | _ERR | _HUP):
                    connection.on_connect(mask & (_ERR | _HUP))
            elif mask & (_ERR | _HUP):
                connection.broken(self)
        return 0

    def receive(self, buf: bytearray, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Read at most `n` octets; see `syscalls.recv_into`."""
        return recv_into(self.fd, buf, 0, n) if self.tls is None else self.tls.recv_into(self.fd, buf, 0, n)

    def send(self, buf: Any, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """See `syscalls.send_from`."""
        return (send_from(self.fd, buf, start, n) if self.tls is None
                else self.tls.send_from(self.fd, buf, start, n))

    def on_again(self) -> cython.int:
        connection: Connection | None = self.connection
        if connection is not None and connection.state == _RELAYING:
            connection.pump(self)
        return 0

    def on_error(self) -> cython.int:
        connection: Connection | None = self.connection
        if connection is not None:
            connection.finish(errors.CONNECTION_LOST)
        return 0


class Connection(Timer):
    """A connection from a caller (`down`) to an endpoint (`up`, None before there is one).

    As a timer it fires when a connect takes too long, or when a pause between two of them is over.
    """

    def __init__(self, proxy: TcpProxy, source: str) -> None:
        if not cython.compiled:  # all of it is zero or None in C
            Timer.__init__(self)
        self.proxy = proxy
        self.reactor = proxy.reactor
        self.source = source
        self.state = _CONNECTING
        self.counted = False
        self.active = proxy.reactor.now
        self.started_ns = time.time_ns() if proxy.on_record is not None else 0
        self.target: Any = None
        self.last_target: Target | None = None
        self.failure: Any = None
        self.addresses: list[bytes] | None = None
        self.early: bytes | None = None
        self.introduced = False
        self.tried: list[Target] | None = None
        self.events: list[tuple[int, str, dict[str, Any]]] | None = None
        self.attempts = 0
        self.up: Any = None
        self.down = Side(self)
        self.down.prompt = True  # its listener was

    # -- until there is an endpoint

    def start(self, fd: cython.int, tls: Session | None) -> cython.int:
        """Relay what comes from `fd`, which is the connection's from now on; and what is in `tls`, if there is one."""
        try:
            self.reactor.add(self.down, fd, _INCOMING)
        except OSError as error:
            _log.warning("no connection from %s to %s: %s", self.source, self.proxy.service, error.strerror)
            return self.finish(errors.OVERLOADED)
        if tls is not None:
            self.down.tls = tls
            self.down.readable = self.down.thorough = True  # it may have read what epoll tells of no more
        return self.attempt()

    def fire(self) -> cython.int:
        if self.state != _CONNECTING:
            return 0
        if self.up is not None:
            self._drop_up()
            self.failure = errors.CONNECT_TIMEOUT
            if not self._may_pick_again():
                return 0
        return self.attempt()

    def attempt(self) -> cython.int:
        """Pick endpoints until one may connect or none is left."""
        try:
            while self.state == _CONNECTING:
                target = self.proxy.upstream.pick(self.source, self.tried if self.tried is not None else [])
                if target is None:
                    return self.finish(self.failure or self.proxy.refusal() or errors.NO_HEALTHY_UPSTREAM)
                self.target = target
                self.attempts += 1
                address: bytes | None = literal(target.host, target.port)
                if address is None:
                    spawn(f"resolve {target.host}", self._resolve(target))
                    return 0
                if self._connect(address) or not self._may_pick_again():
                    return 0
        except Exception:
            _log.exception("no endpoint for a connection to %s", self.proxy.service)
            self.finish(errors.CONNECT_FAILED)
        return 0

    async def _resolve(self, target: Target) -> None:
        try:
            async with asyncio.timeout(self.proxy.upstream.connect_timeout):
                found = await resolve(self.reactor.loop, target.host, target.port)
        except TimeoutError:
            self.failure, found = errors.CONNECT_TIMEOUT, []
        except (OSError, UnicodeError):
            self.failure, found = errors.CONNECT_FAILED, []
        self.reactor.touch()
        if self.state == _CONNECTING and self.target is target:
            self.addresses = found
            if not self._connect_next() and self._may_pick_again():
                self.attempt()
        self.reactor.flush()

    def _connect_next(self) -> cython.bint:
        """Start connecting to the next of `addresses`; False when none is left, and why is in `failure`."""
        while self.addresses:
            if self._connect(self.addresses.pop(0)):
                return True
        return False

    def _connect(self, address: bytes) -> cython.bint:
        """Start connecting to one address; False if that can't be, and why is in `failure`."""
        fd: cython.int = connect_to(address)
        if fd < 0:
            if -fd in _EXHAUSTED:
                _log.warning("no socket to reach %s with: %s", self.target.endpoint, os.strerror(-fd))
                self.failure = errors.OVERLOADED
            else:
                self.failure = errors.CONNECT_FAILED
            return False
        if is_to_itself(fd, address):
            close_fd(fd)
            self.failure = errors.CONNECT_FAILED
            return False
        up: Side = Side(self)
        stands: cython.int = self._send_early(up, fd)
        if stands < 0:
            close_fd(fd)
            self.failure = errors.CONNECT_FAILED
            return False
        up.asked = not stands or up.pending is not None
        self.reactor.add(up, fd, _EDGES if up.asked else _INCOMING)
        self.up = up
        up.peer = self.down
        self.down.peer = up
        if stands:
            return self._relay()
        self.proxy.connecting += 1
        self.counted = True
        self.reactor.timers.add(self, self.reactor.now + self.proxy.upstream.connect_timeout, self.reactor.now)
        return True

    def _send_early(self, up: Side, fd: cython.int) -> cython.int:
        """Send what the caller has sent already; 1 if the connection stands, as it does at once on this host, -1 if it
        has been refused, 0 if that is not known.

        One event less per connection. What can't be sent yet is kept: it may go to another endpoint.
        """
        down: Side = self.down
        reactor: Reactor = self.reactor
        got: cython.Py_ssize_t
        if self.early is None and not down.ended:
            got = down.receive(reactor.inbox, _FIRST_READ)
            if got > 0:
                self.early = octets_of(reactor.inbox, 0, got)
                reactor.carried += got
                down.readable = got == _FIRST_READ or down.thorough  # a FIN that was told of is told of once
            elif got == 0:
                down.ended = True
            else:
                down.readable = got != -_WOULD_BLOCK  # another error is met again, when the connection stands
        if not self.introduced and self.proxy.introduction is not None:
            self.introduced = True
            header: bytes = self.proxy.introduction(down.fd, self.source)
            reactor.carried += len(header)
            self.early = header if self.early is None else header + self.early
        if self.early is None:
            return 0
        got = send_from(fd, self.early, 0, len(self.early))
        if got <= 0:
            return 0 if got == -_WOULD_BLOCK else -1
        up.sent = got
        reactor.carried -= got
        if got < len(self.early):
            up.pending = self.early
            up.at = got
        self.early = None
        return 1

    def _decided(self) -> cython.int:
        """The kernel, or we, have decided on the connection to the endpoint."""
        if self.counted:
            self.counted = False
            self.proxy.connecting -= 1
            self.reactor.timers.cancel(self)
        return 0

    def on_connect(self, broken: cython.bint) -> cython.int:
        """The kernel has decided on the connection to the endpoint; no, if `broken`."""
        self._decided()
        if broken:
            self._drop_up()
            self.failure = errors.CONNECT_FAILED
            if not self._connect_next() and self._may_pick_again():
                self.attempt()
            return 0
        up: Side = self.up
        up.pending = self.early
        self.early = None
        self._relay()
        return 0

    def _relay(self) -> cython.bint:
        """The connection to the endpoint stands."""
        up: Side = self.up
        down: Side = self.down
        self.state = _RELAYING
        self.active = self.reactor.now
        if down.readable or down.ended or up.pending is not None:
            self.pump(down)
        if up.readable and self.state == _RELAYING:
            self.pump(up)
        return True

    def _drop_up(self) -> cython.int:
        up: Side = self.up
        self._decided()
        self.reactor.remove_by_reset(up)
        up.peer = None
        up.connection = None
        self.down.peer = None
        self.up = None
        return 0

    def _may_pick_again(self) -> cython.bint:
        """Give the target back as failed. True to pick another now; otherwise the rest is arranged."""
        proxy: TcpProxy = self.proxy
        target = self.target
        failure: Reason = self.failure
        proxy.connect_failures += 1
        if self.started_ns:
            if self.events is None:
                self.events = []
            self.events.append((time.time_ns(), "connect_failed",
                                {"mesh.endpoint": target.endpoint, "mesh.reason": failure.code}))
        self.last_target = target
        self.target = None
        proxy.release(target, failure)
        if self.attempts >= MAX_CONNECT_ATTEMPTS:
            self.finish(failure)
            return False
        if self.tried is None:
            self.tried = []
        again: cython.bint = False
        for other in self.tried:
            if other.endpoint == target.endpoint:
                again = True
        self.tried.append(target)
        if again:
            self.reactor.timers.add(self, self.reactor.now + _AGAIN_AFTER * self.attempts, self.reactor.now)
        return not again

    # -- bytes

    def pump(self, source: Side) -> cython.int:
        """Move bytes from `source` to its peer until one of them would block or this turn is over."""
        reactor: Reactor = self.reactor
        sink: Side = source.peer
        inbox: bytearray = reactor.inbox
        rounds: cython.int = 0
        count: cython.Py_ssize_t
        moved: cython.Py_ssize_t
        limit: cython.Py_ssize_t
        while True:
            if sink.pending is not None and self.flush(sink) == 0:
                return 0
            if source.ended:
                self.pass_end(source, sink)
                return 0
            if not source.readable:
                return 0
            if rounds == _ROUNDS:
                reactor.defer(source)
                return 0
            rounds += 1
            limit = source.size if reactor.carried < _CARRY_LIMIT else _FIRST_READ
            count = source.receive(inbox, limit)
            if count <= 0:
                if count == 0:
                    source.ended = True
                    continue
                if count == -_WOULD_BLOCK:
                    source.readable = False
                    return 0
                return self.broken(source)
            self.active = reactor.now
            if count == limit:
                source.full += 1
                if source.full >= 2 and source.size < _LARGEST:
                    source.size *= 2
                    source.full = 0
            else:
                source.full = 0
                source.readable = source.thorough  # a short read empties a stream socket (epoll(7)), but for a FIN
            if not sink.prompt and sink.sent > 0:  # the first octets wait for nobody
                sink.prompt = True
                set_nodelay(sink.fd)
            moved = sink.send(inbox, 0, count)
            if moved < 0:
                if moved != -_WOULD_BLOCK:
                    return self.broken(sink)
                moved = 0
            sink.sent += moved
            if moved < count:
                sink.pending = octets_of(inbox, moved, count - moved)
                sink.at = 0
                reactor.carried += count - moved
                return self.await_room(sink)

    def await_room(self, sink: Side) -> cython.int:
        """Have epoll tell when the socket takes octets again."""
        if not sink.asked:
            sink.asked = True
            self.reactor.change(sink, _EDGES)
        return 0

    def flush(self, sink: Side) -> cython.int:
        """Send what is pending; 1 when all of it is gone, 0 when the socket blocks or broke."""
        moved: cython.Py_ssize_t
        left: cython.Py_ssize_t = len(sink.pending) - sink.at
        moved = sink.send(sink.pending, sink.at, left)
        if moved < 0:
            return 0 if moved == -_WOULD_BLOCK else self.broken(sink)
        self.active = self.reactor.now
        self.reactor.carried -= moved
        sink.sent += moved
        if moved < left:
            sink.at += moved
            return 0
        sink.pending = None
        return 1

    def pass_end(self, source: Side, sink: Side) -> cython.int:
        """`source` has sent FIN and everything before it has been passed on."""
        status: cython.Py_ssize_t = 0
        if not sink.fin_sent:
            if sink.tls is not None:
                status = sink.tls.send_fin(sink.fd)
                if status == -_WOULD_BLOCK:
                    sink.pending = b""
                    sink.at = 0
                    return self.await_room(sink)
            elif not source.fin_sent:  # else closing says it too
                status = send_fin(sink.fd)
            sink.fin_sent = True
            if status < 0:
                return self.broken(sink)
        if source.fin_sent:
            self.finish(None)
        return 0

    # -- the end

    def broken(self, side: Side) -> cython.int:
        """`side` was reset, or failed in another way."""
        down: Side = self.down
        if side is down:
            self.finish(errors.CALLER_GONE)
        elif (self.state == _RELAYING and side.sent == 0 and side.pending is None and not side.fin_sent
                and down.sent == 0 and down.pending is None):
            # The endpoint accepted and reset: nothing went either way, so this is one more way of not connecting.
            self.state = _CONNECTING
            self._drop_up()
            self.failure = errors.CONNECTION_LOST
            if self._may_pick_again():
                self.attempt()
        else:
            self.finish(errors.CONNECTION_LOST)
        return 0

    def finish(self, reason: Reason | None) -> cython.int:
        """Close both sides, by RST unless `reason` is None, and give everything back."""
        if self.state == _DEAD:
            return 0
        self.state = _DEAD
        self._decided()
        self.reactor.timers.cancel(self)
        self._close(self.down, reason is not None)
        if self.up is not None:
            self._close(self.up, reason is not None)
        if self.early is not None:
            self.reactor.carried -= len(self.early)
            self.early = None
        self.proxy.ended(self, reason)
        return 0

    def _close(self, side: Side, by_reset: cython.bint) -> cython.int:
        if side.pending is not None:
            self.reactor.carried -= len(side.pending) - side.at
            side.pending = None
        if by_reset:
            self.reactor.remove_by_reset(side)
        else:
            self.reactor.remove(side)
        side.peer = None
        side.connection = None
        return 0
