# cython: language_level=3, wraparound=False, initializedcheck=False, boundscheck=False
"""One epoll loop for load and backends, compiled: system calls straight to libc, no Python object per event.

What lives here: the loop, pacing, and what every client counts. What this must not know: protocols, processes.
"""

from __future__ import annotations

import os
from typing import Any

import cython
from cython.cimports.csock import (
    AF_INET,
    CLOCK_MONOTONIC,
    EINPROGRESS,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLIN,
    EPOLLOUT,
    IPPROTO_IP,
    IPPROTO_TCP,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    TCP_NODELAY,
    TFD_NONBLOCK,
    TFD_TIMER_ABSTIME,
    accept4,
    bind,
    clock_gettime,
    close,
    connect,
    epoll_create1,
    epoll_ctl,
    epoll_event,
    epoll_wait,
    errno,
    htonl,
    htons,
    itimerspec,
    setsockopt,
    sockaddr,
    sockaddr_in,
    socket,
    timerfd_create,
    timerfd_settime,
    timespec,
)
from cython.cimports.libc.string import memset

LOOPBACK = cython.declare(cython.uint, 0x7F000001)
IP_BIND_ADDRESS_NO_PORT = cython.declare(cython.int, 24)
DESCRIPTORS = 1 << 17
OVERDUE = cython.declare(cython.longlong, 100_000_000)  # ns: longer than a request in flight should take


def now_ns() -> cython.longlong:
    """CLOCK_MONOTONIC in nanoseconds, as `time.monotonic_ns()`."""
    at = cython.declare(timespec)
    clock_gettime(CLOCK_MONOTONIC, cython.address(at))
    return cython.cast(cython.longlong, at.tv_sec) * 1_000_000_000 + at.tv_nsec


def trouble(what: object) -> object:
    """An OSError of the call that just failed."""
    return OSError(errno, f"{what}: {os.strerror(errno)}")


def no_delay(fd: cython.int) -> cython.int:
    one: cython.int = 1
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, cython.address(one), cython.sizeof(cython.int))


def connect_to(port: cython.int, turn: cython.int) -> cython.int:
    """A descriptor that connects to 127.0.0.1:`port`, not waiting, from 127.0.0.2 .. 127.0.0.9 in turn.

    Several source addresses, because ports that wait (TIME_WAIT) would run out with a connection per request.
    """
    address = cython.declare(sockaddr_in)
    one: cython.int = 1
    fd: cython.int = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        raise trouble("socket")
    memset(cython.address(address), 0, cython.sizeof(sockaddr_in))
    address.sin_family = AF_INET
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, cython.address(one), cython.sizeof(cython.int))
    address.sin_addr.s_addr = htonl(LOOPBACK + 1 + turn % 8)
    if bind(fd, cython.cast(cython.pointer[sockaddr], cython.address(address)), cython.sizeof(sockaddr_in)):
        close(fd)
        raise trouble("bind")
    address.sin_addr.s_addr = htonl(LOOPBACK)
    address.sin_port = htons(port)
    no_delay(fd)
    failed: cython.bint = connect(fd, cython.cast(cython.pointer[sockaddr], cython.address(address)),
                                  cython.sizeof(sockaddr_in)) != 0
    if failed and errno != EINPROGRESS:
        error = trouble("connect")
        close(fd)
        raise error
    return fd


class Peer:
    """A descriptor in the loop. Subclasses say what to do when it is ready."""

    def on_ready(self, events: cython.uint, now: cython.longlong) -> cython.int:
        return 0


class Client(Peer):
    """A connection of the load. `interval` > 0: nanoseconds between requests that are due at set times (an open loop).

    Latencies count from the time a request was due, not from when it could be sent: a proxy that stalls is charged for
    every request that it kept from being sent (coordinated omission).
    """

    def __init__(self, engine: Engine, histogram: Any, rate: float, phase: float) -> None:
        self.engine = engine
        self.histogram = histogram
        self.interval = 1e9 / rate if rate else 0.0
        self.due = now_ns() + phase * self.interval
        self.errors = {}
        self.fd = -1

    def fill(self, now: cython.longlong) -> cython.int:
        """Send what is due."""
        return 0

    def has_room(self) -> cython.bint:
        """Whether another request could be sent now."""
        return False

    def settle(self, now: cython.longlong) -> cython.int:
        """At the end of an open loop: count what is long overdue with the time it has waited, or a proxy that has
        stalled would be charged for nothing."""
        while self.interval > 0 and self.due < now - OVERDUE:
            self.histogram.add((now - cython.cast(cython.longlong, self.due)) // 1000)
            self.due += self.interval
        return 0

    def fail(self, why: object) -> cython.int:
        self.failed += 1
        self.errors[why] = self.errors.get(why, 0) + 1
        return 0

    def count(self, begun: cython.longlong, now: cython.longlong) -> cython.int:
        self.done += 1
        self.histogram.add((now - begun) // 1000)
        return 0


class Engine:
    """The loop."""

    def __init__(self) -> None:
        self.epfd = epoll_create1(0)
        self.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)
        self.peers = [None] * DESCRIPTORS
        event = cython.declare(epoll_event)
        event.events = EPOLLIN | cython.cast(cython.uint, 1 << 31)  # EPOLLET: never read, each new time wakes once
        event.data.fd = self.timer
        epoll_ctl(self.epfd, EPOLL_CTL_ADD, self.timer, cython.address(event))

    def add(self, peer: Peer) -> cython.int:
        event = cython.declare(epoll_event)
        event.events = EPOLLIN
        event.data.fd = peer.fd
        peer.wants_out = False
        self.peers[peer.fd] = peer
        if epoll_ctl(self.epfd, EPOLL_CTL_ADD, peer.fd, cython.address(event)):
            raise trouble("epoll_ctl")
        return 0

    def watch(self, peer: Peer, out: cython.bint) -> cython.int:
        """Whether to tell when `peer` can be written to."""
        if peer.wants_out == out or peer.fd < 0:
            return 0
        event = cython.declare(epoll_event)
        event.events = EPOLLIN | EPOLLOUT if out else EPOLLIN
        event.data.fd = peer.fd
        peer.wants_out = out
        if epoll_ctl(self.epfd, EPOLL_CTL_MOD, peer.fd, cython.address(event)):
            raise trouble("epoll_ctl")
        return 0

    def drop(self, peer: Peer) -> cython.int:
        """Close `peer`'s descriptor."""
        if peer.fd >= 0:
            self.peers[peer.fd] = None
            epoll_ctl(self.epfd, EPOLL_CTL_DEL, peer.fd, cython.NULL)
            close(peer.fd)
            peer.fd = -1
        return 0

    def turn(self, timeout_ms: cython.int) -> cython.int:
        """Wait for events and handle them."""
        i: cython.int
        fd: cython.int
        n: cython.int = epoll_wait(self.epfd, self.events, 256, timeout_ms)
        now: cython.longlong = now_ns()
        peer: Peer
        found: object
        for i in range(n):
            fd = self.events[i].data.fd
            found = self.peers[fd]
            if found is not None:
                peer = cython.cast(Peer, found)
                peer.on_ready(self.events[i].events, now)
        return n

    def wake_at(self, at: cython.longlong) -> None:
        spec = cython.declare(itimerspec)
        memset(cython.address(spec), 0, cython.sizeof(itimerspec))
        spec.it_value.tv_sec = at // 1_000_000_000
        spec.it_value.tv_nsec = at % 1_000_000_000
        timerfd_settime(self.timer, TFD_TIMER_ABSTIME, cython.address(spec), cython.NULL)

    def run(self, clients: list[Client], until_ns: cython.longlong, start_ns: cython.longlong, at_start: Any,
            limit: cython.longlong = 0) -> None:
        """Drive the clients until `until_ns`, or until `limit` > 0 requests are done since the start.

        At `start_ns` counting begins anew, and `at_start()` is called.
        """
        client: Client
        waiting: cython.bint = True
        paced: cython.bint = False
        now: cython.longlong = now_ns()
        nearest: cython.longlong
        due: cython.longlong
        done: cython.longlong
        alive: cython.int
        for client in clients:
            paced = client.interval > 0
            client.fill(now)
        while now < until_ns:
            if waiting and now >= start_ns:
                waiting = False
                for client in clients:
                    client.done = client.failed = 0
                    client.errors.clear()
                    client.histogram.clear()
                at_start()
            nearest = 0
            alive = 0
            done = 0
            for client in clients:
                done += client.done
                if client.closed:
                    continue
                alive += 1
                if paced and client.has_room():
                    due = cython.cast(cython.longlong, client.due)
                    if nearest == 0 or due < nearest:
                        nearest = due
            if not alive or (limit and not waiting and done >= limit):
                break
            if nearest:
                self.wake_at(nearest)
            self.turn(20)
            now = now_ns()
            if paced:
                for client in clients:
                    if not client.closed:
                        client.fill(now)
        for client in clients:
            if paced:
                client.settle(now)
            self.drop(client)

    def serve(self, listener: cython.int, make: Any) -> None:
        """Accept on `listener` for ever; `make(engine, fd)` gives the peer of each connection."""
        self.add(Acceptor(self, listener, make))
        while True:
            self.turn(-1)

    def close(self) -> None:
        close(self.timer)
        close(self.epfd)


class Acceptor(Peer):
    """A listening socket."""

    def __init__(self, engine: Engine, fd: int, make: object) -> None:
        self.engine = engine
        self.fd = fd
        self.make = make

    def on_ready(self, events: cython.uint, now: cython.longlong) -> cython.int:
        fd: cython.int
        _turn: cython.int
        for _turn in range(64):
            fd = accept4(self.fd, cython.NULL, cython.NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd < 0:
                break
            no_delay(fd)
            self.engine.add(self.make(self.engine, fd))
        return 0
