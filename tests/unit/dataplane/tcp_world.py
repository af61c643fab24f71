"""A proxy on a port, an upstream behind it, and what the proxy reported: what the tests of the relay share."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mesh.dataplane import loop
from mesh.dataplane.listener import Port
from mesh.dataplane.reactor import Reactor
from mesh.dataplane.record import CLIENT, Record
from mesh.dataplane.tcp import TcpProxy
from mesh.errors import Reason

LOCAL = "127.0.0.1"
Serve = Callable[[socket.socket], Awaitable[None]]


@dataclass(frozen=True)
class Place:
    host: str
    port: int
    endpoint: str = "stock/stock-0"
    why: str = "test"


@dataclass
class Fixed:
    """Gives its places in order, and then the first ones again if `again`."""

    places: list[Place]
    again: bool = False
    connect_timeout: float = 1.0
    idle_timeout: float = 60.0
    picks: list[tuple[str, int]] = field(default_factory=list)
    given_back: list[tuple[str, bool, Reason | None]] = field(default_factory=list)

    def pick(self, source: str, tried: list[Any]) -> Place | None:
        self.picks.append((source, len(tried)))
        for place in self.places:
            if place not in tried:
                return place
        return self.places[0] if self.again and self.places else None

    def released(self, target: Any, ok: bool, reason: Reason | None) -> None:
        self.given_back.append((target.endpoint, ok, reason))


class World:
    """A proxy on a port, an upstream that `serve`s, and what the proxy reported."""

    def __init__(self, proxy: TcpProxy, upstream: Fixed, address: tuple[str, int], records: list[Record]) -> None:
        self.proxy, self.upstream, self.address, self.records = proxy, upstream, address, records
        self.loop = asyncio.get_running_loop()
        self.served: list[BaseException | None] = []

    def connect(self) -> socket.socket:
        sock = socket.create_connection(self.address)  # the kernel accepts, so this doesn't wait for the loop
        sock.setblocking(False)
        return sock

    async def until_closed(self) -> Record:
        await until(lambda: bool(self.records))
        assert len(self.records) == 1
        assert self.proxy.connections == 0
        return self.records[0]


async def until(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.001)


def listening(host: str = LOCAL) -> socket.socket:
    sock = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1000)
    sock.setblocking(False)
    return sock


def dead_port() -> int:
    """A port that refuses: bound, so that nobody else gets it, and not listening."""
    sock = socket.socket()
    sock.bind((LOCAL, 0))
    _bound.append(sock)
    return int(sock.getsockname()[1])


_bound: list[socket.socket] = []


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def read_all(sock: socket.socket) -> bytes:
    loop, parts = asyncio.get_running_loop(), []
    while part := await loop.sock_recv(sock, 1 << 20):
        parts.append(part)
    return b"".join(parts)


@asynccontextmanager
async def world(serve: Serve | None = None, *, kind: int = CLIENT, record: bool = True,
                before: tuple[Place, ...] = (), **policy: Any) -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []
    accepted: list[socket.socket] = []
    upstream = Fixed(list(before), **policy)
    backend = listening() if serve is not None else None
    if backend is not None:
        upstream.places.append(Place(LOCAL, backend.getsockname()[1]))

    async def one(sock: socket.socket) -> None:
        with sock:
            assert serve is not None
            await serve(sock)

    def accept() -> None:
        assert backend is not None
        sock, _ = backend.accept()
        sock.setblocking(False)
        accepted.append(sock)
        tasks.append(loop.create_task(one(sock)))

    if backend is not None:
        loop.add_reader(backend, accept)
    reactor = Reactor(loop)
    records: list[Record] = []
    proxy = TcpProxy(reactor, upstream, kind, "stock", records.append if record else None)
    front = listening()
    address = front.getsockname()
    port = Port(reactor, front, proxy.accept)
    port.start()
    here = World(proxy, upstream, address, records)
    try:
        yield here
        await until(lambda: proxy.connections == 0)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, BaseException):
                here.served.append(outcome)
        statistics = proxy.statistics()
        assert (statistics.connections, statistics.connecting, reactor.carried) == (0, 0, 0)
        assert len(upstream.given_back) == len(upstream.picks) - sum(
            1 for _, tried in upstream.picks if tried >= len(upstream.places) and not upstream.again)
    finally:
        if backend is not None:
            loop.remove_reader(backend)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sock in accepted:
            sock.close()
        port.close()
        proxy.abort()
        assert reactor.watched == 0
        await asyncio.sleep(0)
        if backend is not None:
            backend.close()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main`; no descriptor may be left behind."""
    loop.run(asyncio.sleep(0))  # what the first loop of a process opens for good counts as before
    before = len(os.listdir("/proc/self/fd"))
    try:
        loop.run(main)
    finally:
        for sock in _bound:
            sock.close()
        _bound.clear()
    assert len(os.listdir("/proc/self/fd")) == before


async def echo(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while part := await loop.sock_recv(sock, 1 << 20):
        await loop.sock_sendall(sock, part)
