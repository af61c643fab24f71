"""A UDP proxy on a port, endpoints behind it, and what the proxy reported: what the tests of the relay share."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tcp_world import LOCAL, until

from mesh.dataplane.reactor import Reactor
from mesh.dataplane.record import CLIENT, Record
from mesh.dataplane.udp import MAX_SESSIONS, UdpProxy
from mesh.errors import Reason


@dataclass(eq=False)
class Place:
    host: str
    port: int
    endpoint: str = "dns/dns-0"
    why: str = "test"
    gone: bool = False


@dataclass
class Fixed:
    """Gives the first of its places that wasn't tried, or is gone; then the first ones again if `again`."""

    places: list[Place]
    again: bool = False
    connect_timeout: float = 1.0
    udp_idle: float = 60.0
    picks: list[tuple[str, int]] = field(default_factory=list)
    given: list[Place] = field(default_factory=list)
    given_back: list[tuple[str, bool, Reason | None]] = field(default_factory=list)

    def pick(self, source: str, tried: list[Any]) -> Place | None:
        self.picks.append((source, len(tried)))
        able = [place for place in self.places if not place.gone]
        found = next((place for place in able if place not in tried), able[0] if self.again and able else None)
        if found is not None:
            self.given.append(found)
        return found

    def released(self, target: Any, ok: bool, reason: Reason | None) -> None:
        self.given_back.append((target.endpoint, ok, reason))


def udp(host: str = LOCAL) -> socket.socket:
    """A bound, non-blocking socket."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock


def dead_port() -> int:
    """A port where nobody listens."""
    with udp() as sock:
        return int(sock.getsockname()[1])


class App:
    """An endpoint: answers each datagram with what `answer` makes of it; None is silence."""

    def __init__(self, answer: Callable[[bytes], bytes | None] = lambda datagram: datagram, host: str = LOCAL) -> None:
        self.sock = udp(host)
        self.answer = answer
        self.heard: list[tuple[bytes, tuple[Any, ...]]] = []
        self.open = True
        asyncio.get_running_loop().add_reader(self.sock, self._on_readable)

    def _on_readable(self) -> None:
        while self.open:
            try:
                datagram, source = self.sock.recvfrom(1 << 17)
            except BlockingIOError:
                return
            self.heard.append((datagram, source))
            answer = self.answer(datagram)
            if answer is not None:
                self.sock.sendto(answer, source)

    def place(self, name: str = "dns-0") -> Place:
        host, port = self.sock.getsockname()[:2]
        return Place(host, port, f"dns/{name}")

    def close(self) -> None:
        if self.open:
            self.open = False
            asyncio.get_running_loop().remove_reader(self.sock)
            self.sock.close()


class Loop:
    """The loop, but names are looked up only when `known` is set; `clock` goes on by hand once `stop` was called."""

    def __init__(self, known: asyncio.Event | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._known = known
        self.now: float | None = None

    def clock(self) -> float:
        return self._loop.time() if self.now is None else self.now

    def stop(self) -> None:
        self.now = self._loop.time()

    def advance(self, seconds: float) -> None:
        assert self.now is not None
        self.now += seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def getaddrinfo(self, *arguments: Any, **options: Any) -> Any:
        if self._known is not None:
            await self._known.wait()
        return await self._loop.getaddrinfo(*arguments, **options)


class World:
    def __init__(self, proxy: UdpProxy, upstream: Fixed, address: tuple[Any, ...], records: list[Record],
                 front: socket.socket, reactor: Reactor, clock: Loop) -> None:
        self.proxy, self.upstream, self.address, self.records = proxy, upstream, address, records
        self.front, self.reactor, self.clock = front, reactor, clock
        self.apps: list[App] = []
        self.loop = asyncio.get_running_loop()
        self.clients: list[socket.socket] = []

    def client(self) -> socket.socket:
        """A caller's socket, connected to the proxy."""
        sock = udp(str(self.address[0]))
        sock.connect(self.address)
        self.clients.append(sock)
        return sock

    async def ask(self, client: socket.socket, datagram: bytes) -> bytes:
        client.send(datagram)
        return await asyncio.wait_for(self.loop.sock_recv(client, 1 << 17), 5)

    def app(self, **options: Any) -> App:
        """One more endpoint."""
        app = App(**options)
        self.upstream.places.append(app.place(f"dns-{len(self.apps)}"))
        self.apps.append(app)
        return app


@asynccontextmanager
async def world(apps: int = 1, *, kind: int = CLIENT, record: bool = True, before: tuple[Place, ...] = (),
                host: str = LOCAL, max_sessions: int = MAX_SESSIONS, known: asyncio.Event | None = None,
                **policy: Any) -> AsyncIterator[World]:
    clock: Any = Loop(known)
    reactor = Reactor(clock, clock.clock)
    upstream = Fixed(list(before), **policy)
    records: list[Record] = []
    proxy = UdpProxy(reactor, upstream, kind, "dns", records.append if record else None, max_sessions)
    front = udp(host)
    here = World(proxy, upstream, front.getsockname(), records, front, reactor, clock)
    proxy.listen(front)
    try:
        for _ in range(apps):
            here.app(host=host)
        yield here
    finally:
        proxy.abort()
        await asyncio.sleep(0)
        for app in here.apps:
            app.close()
        for client in here.clients:
            client.close()
        assert reactor.watched == 0
    statistics = proxy.statistics()
    assert statistics.sessions == 0
    assert len(upstream.given_back) == len(upstream.given)
    if record:
        assert len(records) == statistics.opened
        for total, one in (("request_bytes", "request_bytes"), ("response_bytes", "response_bytes")):
            assert getattr(statistics, total) == sum(getattr(each, one) for each in records)


def datagrams(record: Record) -> tuple[int, int, int]:
    """Sent to the endpoint, sent to the caller, dropped."""
    assert record.events is not None
    _, name, attributes = record.events[-1]
    assert name == "datagrams"
    return (attributes["mesh.request.datagrams"], attributes["mesh.response.datagrams"],
            attributes["mesh.dropped.datagrams"])


__all__ = ["LOCAL", "App", "Fixed", "Place", "World", "datagrams", "dead_port", "udp", "until", "world"]
