# cython: language_level=3, wraparound=False, initializedcheck=False, boundscheck=False
"""TCP load and its server: small requests, a connection per request, bytes without end.

What lives here: what the bytes mean. The first byte of a connection says what it is for: `e` requests of 100 B, each
answered by 200 B; `c` the same once, then the server closes; `b` bytes without end from the server. What this must not
know: proxies, processes.

Bulk costs the load next to nothing: the server hands over pages that it never touches (sendfile), the client has the
kernel throw bytes away (MSG_TRUNC). So what is measured is the proxy. The server closes first where a connection serves
one request: the side that closes first holds the port for a minute (TIME_WAIT), and the proxy would run out of them.
"""

from __future__ import annotations

import os
from typing import Any

import cython
from cython.cimports.csock import EAGAIN, EPOLLOUT, MSG_NOSIGNAL, MSG_TRUNC, errno, recv, send, sendfile
from cython.cimports.engine import Client, Engine, Peer, connect_to
from cython.cimports.libc.stdlib import malloc

REQUEST = b"e" + b"q" * 99
CLOSING = b"c" + b"q" * 99
RESPONSE = cython.declare(bytes, b"r" * 200)
CHUNK = cython.declare(cython.Py_ssize_t, 1 << 20)
ROOM = 1 << 20
OVERDUE = cython.declare(cython.longlong, 100_000_000)
room = cython.cast(cython.p_uchar, malloc(1 << 20))  # what every connection of this process reads into


class Asker(Client):
    """A connection with one request in flight. `churn`: a new connection for every request."""

    def __init__(self, engine: Engine, histogram: Any, rate: float, phase: float, port: int, turn: int,
                 requests: list[bytes], churn: bool) -> None:
        Client.__init__(self, engine, histogram, rate, phase)
        self.port = port
        self.turn = turn
        self.requests = requests
        self.churn = churn

    def has_room(self) -> cython.bint:
        return not self.busy

    def fill(self, now: cython.longlong) -> cython.int:
        if self.busy:
            return 0
        self.begun = now
        if self.interval > 0:
            if self.due > now:
                return 0
            self.begun = cython.cast(cython.longlong, self.due)
            self.due += self.interval
        return self.ask()

    def settle(self, now: cython.longlong) -> cython.int:
        if self.busy and self.begun < now - OVERDUE:
            self.histogram.add((now - self.begun) // 1000)
        return Client.settle(self, now)

    def ask(self) -> cython.int:
        if self.fd < 0:
            try:
                self.fd = connect_to(self.port, self.turn)
            except OSError as e:
                self.fail(str(e))
                self.closed = self.interval == 0
                return 0
            self.engine.add(self)
        self.busy = True
        self.got = 0
        self.request = self.requests[self.turn % len(self.requests)]
        self.turn += 1
        self.sent = 0
        return self.push()

    def push(self) -> cython.int:
        at: cython.p_const_uchar = self.request
        n: cython.Py_ssize_t = send(self.fd, at + self.sent, len(self.request) - self.sent, MSG_NOSIGNAL)
        if n > 0:
            self.sent += n
        self.engine.watch(self, self.sent < len(self.request))
        return 0  # an error shows when reading

    def gone(self, why: object, now: cython.longlong) -> cython.int:
        """The connection has ended: as it should, or not."""
        self.engine.drop(self)
        if self.busy:
            self.fail(why)
            self.busy = False
        self.leaving = False
        if self.interval > 0:
            return 0
        if self.failed > 1000 and not self.done:
            self.closed = True  # it never works: no need to go on
            return 0
        return self.fill(now)

    def on_ready(self, events: cython.uint, now: cython.longlong) -> cython.int:
        if self.wants_out and events & EPOLLOUT:
            self.push()
        n: cython.Py_ssize_t = recv(self.fd, room, ROOM, 0)
        if n < 0:
            return 0 if errno == EAGAIN else self.gone(f"recv: {os.strerror(errno)}", now)
        if n == 0:
            return self.gone("closed before the answer", now)
        if not self.busy:
            if not self.leaving:
                self.fail("bytes that nobody asked for")
            return 0
        answered: cython.int = self.received(n)
        if answered == 0:
            return 0
        if answered < 0:
            return self.gone(self.problem or "answer other than expected", now)
        self.busy = False
        self.count(self.begun, now)
        if self.churn:
            self.leaving = True  # until the server closes
            return 0
        return self.fill(now)

    def received(self, n: cython.Py_ssize_t) -> cython.int:
        """`n` bytes are in `room`. 1: that completes the answer, 0: not yet, -1: not what was expected."""
        self.got += n
        if self.got > 200:
            return -1
        return self.got == 200


class Taker(Client):
    """A connection that takes bytes without end; `done` counts them."""

    def __init__(self, engine: Engine, histogram: Any, port: int, turn: int) -> None:
        Client.__init__(self, engine, histogram, 0.0, 0.0)
        self.fd = connect_to(port, turn)
        engine.add(self)
        engine.watch(self, True)

    def on_ready(self, events: cython.uint, now: cython.longlong) -> cython.int:
        if not self.asked and events & EPOLLOUT:
            self.asked = send(self.fd, cython.cast(cython.p_uchar, b"b"), 1, MSG_NOSIGNAL) == 1
            self.engine.watch(self, not self.asked)
        n: cython.Py_ssize_t = recv(self.fd, room, ROOM, MSG_TRUNC)
        if n > 0:
            self.done += n
        elif n == 0 or errno != EAGAIN:
            self.fail("closed by the proxy")
            self.closed = True
            self.engine.drop(self)
        return 0


class Answerer(Peer):
    """A connection of the server."""

    def __init__(self, engine: Engine, fd: int, source: int) -> None:
        self.engine = engine
        self.fd = fd
        self.source = source

    def leave(self) -> cython.int:
        return self.engine.drop(self)

    def on_ready(self, events: cython.uint, now: cython.longlong) -> cython.int:
        n: cython.Py_ssize_t
        at: cython.long = 0
        answer: cython.p_const_uchar = RESPONSE
        if self.kind == ord("b") and events & EPOLLOUT:
            n = sendfile(self.fd, self.source, cython.address(at), CHUNK)
            if n >= 0 or errno == EAGAIN:
                return 0
        n = recv(self.fd, room, ROOM, 0)
        if n <= 0:
            return 0 if n < 0 and errno == EAGAIN else self.leave()
        if self.kind == 0:
            self.kind = room[0]
            if self.kind == ord("b"):
                self.engine.watch(self, True)
                return 0
        self.seen += n
        while self.seen >= 100:
            if send(self.fd, answer, 200, MSG_NOSIGNAL) != 200:
                return self.leave()
            if self.kind == ord("c"):
                return self.leave()
            self.seen -= 100
        return 0


def serve(listener: int) -> None:
    """Answer every connection on `listener` for ever."""
    source = os.memfd_create("bulk")
    os.write(source, b"b" * CHUNK)
    engine = Engine()
    engine.serve(listener, lambda engine, fd: Answerer(engine, fd, source))
