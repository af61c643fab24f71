"""Protocol detection on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from h2_world import until

from mesh.balance.rng import Rng
from mesh.dataplane import loop
from mesh.dataplane.hub import Hub
from mesh.dataplane.inspector import Crowd, Inspector, Tls
from mesh.dataplane.record import Recorder
from mesh.dataplane.tls import Session
from mesh.model import Protocol
from mesh.wire.frames import PREFACE
from mesh.wire.proxy_protocol import ProxyAddress, encode_v1, encode_v2

GET = b"GET / HTTP/1.1\r\nHost: cart\r\n\r\n"
PROXY = (ProxyAddress("203.0.113.9", 40_000), ProxyAddress("198.51.100.1", 443))


def client_hello(name: str) -> bytes:
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


class World:
    """An inspector whose verdicts are collected; `connect` makes a connection to it."""

    def __init__(self, protocol: Protocol | None, *, trusted: bool = False, limit: float = 0.05,
                 crowd: Crowd | None = None, population: Callable[[], int] | None = None,
                 tls: Tls | None = None, clock: Callable[[], float] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.hub = Hub(loop, Rng(1), Recorder(), clock=clock)
        self.verdicts: list[tuple[Any, ...]] = []
        self.taken: list[socket.socket] = []
        self.sessions: list[Session | None] = []
        self.news = asyncio.Event()
        self.inspector = Inspector(self.hub, lambda: protocol, self.http, self.relay, self.relay_name,
                                   (lambda host: host == "10.0.0.1") if trusted else None, limit, crowd, population,
                                   tls)
        self.callers: list[socket.socket] = []

    def take(self, fd: int, *verdict: Any) -> None:
        session: Session | None
        *verdict, session = verdict
        self.sessions.append(session)
        self.taken.append(socket.socket(fileno=fd))
        self.verdicts.append(tuple(verdict))
        self.news.set()

    def http(self, fd: int, host: str, port: int, version: int, session: Session | None = None) -> None:
        self.take(fd, "http", version, host, port, session)

    def relay(self, fd: int, host: str, session: Session | None = None) -> None:
        self.take(fd, "relay", host, session)

    def relay_name(self, fd: int, host: str, name: str | None) -> None:
        self.take(fd, "name", name, None)

    def connect(self, octets: bytes = b"", host: str = "10.0.0.1") -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.callers.append(ours)
        if octets:
            ours.sendall(octets)
        self.inspector.accept(theirs.detach(), host, 5000)
        return ours

    async def verdict(self) -> tuple[Any, ...]:
        while not self.verdicts:
            self.news.clear()
            async with asyncio.timeout(5):
                await self.news.wait()
        return self.verdicts.pop(0)

    def close(self) -> None:
        self.inspector.drain()
        for sock in (*self.callers, *self.taken):
            sock.close()


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop.run(main())


@pytest.mark.parametrize(("protocol", "octets", "verdict"), [
    (Protocol.TCP, GET, ("relay", "10.0.0.1")),
    (Protocol.TCP, b"", ("relay", "10.0.0.1")),
    (Protocol.HTTP1, GET, ("http", 1, "10.0.0.1", 5000)),
    (Protocol.HTTP1, PREFACE, ("http", 2, "10.0.0.1", 5000)),
    (Protocol.GRPC, PREFACE + b"more", ("http", 2, "10.0.0.1", 5000)),
    (Protocol.HTTP2, GET, ("http", 1, "10.0.0.1", 5000)),
    (Protocol.GRPC, b"\x00\x01\x02", ("http", 2, "10.0.0.1", 5000)),
    (Protocol.HTTP2, b"INVALID CONNECTION PREFACE\r\n\r\n", ("http", 2, "10.0.0.1", 5000)),
    (Protocol.HTTP1, b"INVALID CONNECTION PREFACE\r\n\r\n", ("http", 1, "10.0.0.1", 5000)),
    (Protocol.HTTP2, b"GET / HTT", ("http", 1, "10.0.0.1", 5000)),
    (Protocol.HTTP1, b"PRI * HTTP/2.0\r\nHost: cart\r\n\r\n", ("http", 2, "10.0.0.1", 5000)),
    (Protocol.AUTO, GET, ("http", 1, "10.0.0.1", 5000)),
    (Protocol.AUTO, PREFACE, ("http", 2, "10.0.0.1", 5000)),
    (Protocol.AUTO, b"*1\r\n$4\r\nPING\r\n", ("relay", "10.0.0.1")),
    (Protocol.AUTO, b"", ("relay", "10.0.0.1")),
    (Protocol.AUTO, b"GET /half", ("relay", "10.0.0.1")),
    (None, GET, ("http", 1, "10.0.0.1", 5000)),
    (None, PREFACE, ("http", 2, "10.0.0.1", 5000)),
])
def test_what_is_spoken(protocol: Protocol | None, octets: bytes, verdict: tuple[Any, ...]) -> None:
    async def main() -> None:
        world = World(protocol)
        caller = world.connect(octets)
        assert await world.verdict() == verdict
        # Nothing was taken: whoever gets the connection reads all of it.
        assert world.taken[0].recv(1000) == octets if octets else True
        world.taken[0].send(b"answer")
        assert caller.recv(100) == b"answer"
        world.close()

    run(main)


@pytest.mark.parametrize(("protocol", "octets", "verdict"), [
    (Protocol.GRPC, PREFACE, ("http", 2, "10.0.0.1", 5000)), (Protocol.AUTO, GET, ("http", 1, "10.0.0.1", 5000))])
def test_one_octet_at_a_time(protocol: Protocol, octets: bytes, verdict: tuple[Any, ...]) -> None:
    async def main() -> None:
        world = World(protocol, limit=60)
        caller = world.connect()
        for k in range(len(octets)):
            caller.sendall(octets[k:k + 1])
            await asyncio.sleep(0)
        assert await world.verdict() == verdict
        world.close()

    run(main)


def test_tls_goes_by_its_server_name() -> None:
    async def main() -> None:
        world = World(None, limit=60)
        hello = client_hello("Cart.mesh")
        caller = world.connect(hello[:100])
        assert not world.verdicts
        caller.sendall(hello[100:])
        assert await world.verdict() == ("name", "cart.mesh")
        assert world.taken[0].recv(10_000) == hello
        world.close()

    run(main)


@pytest.mark.parametrize("header", [encode_v1(*PROXY), encode_v2(*PROXY)], ids=["v1", "v2"])
@pytest.mark.parametrize(("protocol", "octets", "verdict"), [
    (Protocol.TCP, b"hello", ("relay", "203.0.113.9")),
    (Protocol.TCP, b"", ("relay", "203.0.113.9")),
    (Protocol.HTTP1, GET, ("http", 1, "203.0.113.9", 40_000)),
    (Protocol.AUTO, PREFACE, ("http", 2, "203.0.113.9", 40_000)),
])
def test_a_trusted_proxy_header_names_the_source(header: bytes, protocol: Protocol, octets: bytes,
                                                 verdict: tuple[Any, ...]) -> None:
    async def main() -> None:
        for split in (0, 3, len(header) - 1, len(header)):
            world = World(protocol, trusted=True, limit=60)
            caller = world.connect(header[:split])
            caller.sendall(header[split:] + octets)
            assert await world.verdict() == verdict
            if octets:
                assert world.taken[0].recv(1000) == octets
            world.close()

    run(main)


def test_a_trusted_source_need_not_send_a_header() -> None:
    async def main() -> None:
        world = World(Protocol.TCP, trusted=True, limit=60)
        world.connect(b"PRAXIS")
        assert await world.verdict() == ("relay", "10.0.0.1")
        world.connect(PREFACE)
        assert await world.verdict() == ("relay", "10.0.0.1")
        world.close()

    run(main)


def test_others_headers_are_octets_like_any() -> None:
    async def main() -> None:
        world = World(Protocol.AUTO, trusted=True, limit=60)
        world.connect(encode_v1(*PROXY) + GET, host="10.0.0.2")
        assert await world.verdict() == ("relay", "10.0.0.2")
        world.close()

    run(main)


def test_a_caller_that_ends_early_is_relayed_where_tcp_is_possible() -> None:
    async def main() -> None:
        world = World(Protocol.AUTO, limit=60)
        world.connect(b"GE").shutdown(socket.SHUT_WR)
        assert await world.verdict() == ("relay", "10.0.0.1")
        assert world.taken[0].recv(10) == b"GE"
        assert world.taken[0].recv(10) == b""
        world.close()

    run(main)


def test_a_malformed_header_and_a_malformed_hello_end_the_connection() -> None:
    async def main() -> None:
        world = World(Protocol.TCP, trusted=True)
        caller = world.connect(b"PROXY TCP4 1.2.3.4 nonsense\r\n")
        await until(lambda: world.inspector.statistics() == {"inspecting": 0, "refused": 0, "malformed": 1})
        with contextlib.suppress(ConnectionResetError):
            assert caller.recv(10) == b""
        world.close()
        world = World(None)
        caller = world.connect(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00")
        await until(lambda: world.inspector.statistics()["malformed"] == 1)
        with contextlib.suppress(ConnectionResetError):
            assert caller.recv(10) == b""
        assert world.inspector.statistics() == {"inspecting": 0, "refused": 0, "malformed": 1}
        world.close()

    run(main)


def test_a_caller_that_leaves_or_a_drain_leaves_no_descriptor() -> None:
    async def main() -> None:
        world = World(Protocol.GRPC, limit=60)
        before = len(os.listdir("/proc/self/fd"))
        callers = [world.connect(b"PRI") for _ in range(3)]
        assert world.inspector.statistics()["inspecting"] == 3
        callers[0].close()
        await until(lambda: world.inspector.statistics()["inspecting"] == 2)
        world.inspector.drain()
        assert world.inspector.statistics()["inspecting"] == 0
        with contextlib.suppress(ConnectionResetError):
            assert callers[1].recv(10) == b""
        world.close()
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        assert world.hub.timers.armed == 0

    run(main)


def test_first_words_that_are_under_way_are_waited_for_before_a_drain() -> None:
    async def main() -> None:
        world = World(Protocol.GRPC, limit=60)
        caller, silent = world.connect(b""), world.connect(b"")
        settled = asyncio.ensure_future(world.inspector.settle(30))
        await asyncio.sleep(0.05)
        assert not settled.done()
        caller.sendall(PREFACE)
        assert (await world.verdict())[:2] == ("http", 2)
        silent.close()
        await asyncio.wait_for(settled, 0.5)  # nobody is left to wait for
        world.close()

    run(main)


def test_who_says_nothing_is_waited_for_one_round_trip_only() -> None:
    async def main() -> None:
        world = World(Protocol.GRPC, limit=60)
        world.connect(b"")
        await asyncio.wait_for(world.inspector.settle(0.05), 0.5)
        assert world.inspector.statistics()["inspecting"] == 1
        world.close()

    run(main)


def test_a_source_gets_its_share_and_gets_it_back() -> None:
    async def main() -> None:
        world = World(Protocol.HTTP1, crowd=Crowd(most_per_source=2))
        try:
            world.connect()
            second = world.connect()
            third = world.connect()
            assert third.recv(1) == b""
            assert world.inspector.statistics()["refused"] == 1
            world.connect(host="10.0.0.2")
            assert len(world.inspector.waiting) == 3
            second.close()
            while len(world.inspector.waiting) > 2:  # noqa: ASYNC110  the turn that hears of the far end
                await asyncio.sleep(0)
            world.connect()
            assert world.connect().recv(1) == b""
            assert len(world.inspector.waiting) == 3
            assert world.inspector.statistics()["refused"] == 2
        finally:
            world.close()

    run(main)


def test_a_port_takes_so_many_in_all() -> None:
    async def main() -> None:
        taken = 3
        world = World(Protocol.HTTP1, crowd=Crowd(most=5), population=lambda: taken)
        try:
            world.connect(host="10.0.0.1")
            world.connect(host="10.0.0.2")
            assert world.connect(host="10.0.0.3").recv(1) == b""
            taken = 2
            world.connect(host="10.0.0.3")
            assert len(world.inspector.waiting) == 3
            assert world.inspector.statistics()["refused"] == 1
        finally:
            world.close()

    run(main)


def test_who_speaks_for_others_is_counted_by_whom_it_names() -> None:
    async def main() -> None:
        world = World(Protocol.HTTP1, trusted=True, crowd=Crowd(most_per_source=1))
        other = (ProxyAddress("203.0.113.10", 40_000), PROXY[1])
        try:
            callers = [world.connect(encode_v1(*addresses)) for addresses in (PROXY, other, PROXY)]
            await until(lambda: world.inspector.statistics()["refused"] == 1)
            assert len(world.inspector.waiting) == 2
            assert select.select(callers, [], [], 0)[0] in ([callers[0]], [callers[2]])
        finally:
            world.close()

    run(main)
