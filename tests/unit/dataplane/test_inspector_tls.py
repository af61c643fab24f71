"""TLS that ends at the port, while it is found out what is spoken inside, on real sockets."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from h2_world import until
from test_inspector import GET, PROXY, World, run
from tls_world import Caller, caller_context, server_context
from uncollected import uncollected

from mesh.dataplane.inspector import Crowd, Tls
from mesh.model import Protocol
from mesh.wire.frames import PREFACE
from mesh.wire.proxy_protocol import encode_v2

HTTP = Tls(lambda: server_context("h2", "http/1.1"))
PLAIN = Tls(server_context)


async def greet(world: World, *alpn: str) -> Caller:
    caller = Caller(world.connect(), *alpn)
    await shaken(caller)
    return caller


async def shaken(caller: Caller) -> None:
    while not caller.step():  # noqa: ASYNC110  one turn of the loop for the other side
        await asyncio.sleep(0)


def inside(world: World) -> bytes:
    """What the first connection that was taken over has to say."""
    session, buf = world.sessions[0], bytearray(1 << 20)
    assert session is not None
    session.notice(False)
    got = session.recv_into(world.taken[0].fileno(), buf, 0, 100_000)
    return bytes(buf[:got]) if got > 0 else b""


@pytest.mark.parametrize(("protocol", "alpn", "octets", "verdict"), [
    (Protocol.GRPC, ("h2",), PREFACE, ("http", 2, "10.0.0.1", 5000)),
    (Protocol.HTTP1, ("h2", "http/1.1"), PREFACE, ("http", 2, "10.0.0.1", 5000)),
    (Protocol.HTTP1, ("http/1.1",), GET, ("http", 1, "10.0.0.1", 5000)),
    (Protocol.HTTP1, (), GET, ("http", 1, "10.0.0.1", 5000)),
    (Protocol.GRPC, (), PREFACE, ("http", 2, "10.0.0.1", 5000)),
    (Protocol.AUTO, (), GET, ("http", 1, "10.0.0.1", 5000)),
    (Protocol.AUTO, (), b"*1\r\n$4\r\nPING\r\n", ("relay", "10.0.0.1")),
    (Protocol.AUTO, (), b"", ("relay", "10.0.0.1")),
    (Protocol.AUTO, (), b"GET /half", ("relay", "10.0.0.1")),
    (Protocol.TCP, (), b"anything", ("relay", "10.0.0.1")),
    (Protocol.TCP, (), b"", ("relay", "10.0.0.1")),
])
def test_what_is_spoken_inside(protocol: Protocol, alpn: tuple[str, ...], octets: bytes,
                               verdict: tuple[Any, ...]) -> None:
    async def main() -> None:
        world = World(protocol, tls=PLAIN if protocol is Protocol.TCP else HTTP)
        caller = await greet(world, *alpn)
        if octets:
            caller.send(octets)
        assert await world.verdict() == verdict
        assert inside(world) == octets
        session = world.sessions[0]
        assert session is not None
        session.send_from(world.taken[0].fileno(), b"answer", 0, 6)
        assert caller.read() == b"answer"
        assert world.inspector.statistics() == {"inspecting": 0, "refused": 0, "malformed": 0, "tls_handshakes": 1,
                                                "tls_handshakes_failed": 0, "without_tls": 0}
        world.close()

    run(main)


@pytest.mark.parametrize(("protocol", "octets", "verdict"), [
    (Protocol.HTTP1, GET, ("http", 1, "10.0.0.1", 5000)), (Protocol.GRPC, PREFACE, ("http", 2, "10.0.0.1", 5000)),
    (Protocol.TCP, b"anything", ("relay", "10.0.0.1")), (Protocol.TCP, b"", ("relay", "10.0.0.1")),
    (Protocol.AUTO, b"", ("relay", "10.0.0.1"))])
def test_who_speaks_no_tls_is_served_as_before(protocol: Protocol, octets: bytes, verdict: tuple[Any, ...]) -> None:
    async def main() -> None:
        world = World(protocol, tls=HTTP)
        world.connect(octets)
        assert await world.verdict() == verdict
        assert world.sessions == [None]
        assert not octets or world.taken[0].recv(100) == octets
        world.close()

    run(main)


@pytest.mark.parametrize(("protocol", "octets"), [
    (Protocol.HTTP1, GET), (Protocol.GRPC, PREFACE), (Protocol.TCP, b"anything"), (Protocol.TCP, b""),
    (Protocol.AUTO, b"")])
def test_who_speaks_no_tls_is_refused_where_it_is_required(protocol: Protocol, octets: bytes) -> None:
    async def main() -> None:
        world = World(protocol, tls=Tls(server_context, required=True))
        caller = world.connect(octets)
        await until(lambda: world.inspector.statistics()["without_tls"] == 1)
        assert closed(caller)
        assert not world.verdicts
        await greet(world)
        if protocol is Protocol.TCP:
            assert await world.verdict() == ("relay", "10.0.0.1")
        world.close()

    run(main)


def closed(sock: socket.socket) -> bool:
    """The other end is; not within 5 seconds: TimeoutError."""
    sock.settimeout(5)
    try:
        while sock.recv(1000):
            pass
    except ConnectionResetError:
        pass
    return True


def test_a_hello_a_few_octets_at_a_time() -> None:
    async def main() -> None:
        world = World(Protocol.TCP, tls=PLAIN, limit=60)
        caller = Caller(world.connect())
        hello = caller.hello()
        for at in range(0, len(hello), 5):  # each is a buffer of its own, of which a pair of sockets holds some hundred
            caller.sock.sendall(hello[at : at + 5])
            await asyncio.sleep(0)
        await until(lambda: world.inspector.statistics()["tls_handshakes"] == 1)
        await shaken(caller)
        assert await world.verdict() == ("relay", "10.0.0.1")
        world.close()

    run(main)


def test_a_proxy_header_before_the_hello_names_the_source() -> None:
    async def main() -> None:
        world = World(Protocol.TCP, tls=PLAIN, trusted=True, limit=60)
        caller = Caller(world.connect(encode_v2(*PROXY)))
        await shaken(caller)
        assert await world.verdict() == ("relay", "203.0.113.9")
        world.close()

    run(main)


def test_a_handshake_that_does_not_end_is_given_up() -> None:
    async def main() -> None:
        now = 1000.0
        world = World(Protocol.HTTP1, tls=HTTP, clock=lambda: now)
        caller = Caller(world.connect())
        now += 50
        caller.step()
        await until(lambda: world.inspector.statistics()["tls_handshakes"] == 1)
        now += 9.5  # the ten seconds of a handshake begin with its first octets
        world.inspector.sweep()
        assert world.inspector.statistics()["inspecting"] == 1
        now += 1
        world.inspector.sweep()
        assert closed(caller.sock)
        assert world.inspector.statistics()["tls_handshakes_failed"] == 1
        assert world.inspector.statistics()["inspecting"] == 0
        world.close()

    run(main)


@pytest.mark.parametrize("part", [1, 6, 100, 10_000])
def test_a_caller_who_goes_away_in_the_middle_leaves_nothing(part: int) -> None:
    async def main() -> None:
        world = World(Protocol.HTTP1, tls=HTTP, limit=60)
        caller = Caller(world.connect())
        caller.sock.sendall(caller.hello()[:part])
        await asyncio.sleep(0)
        caller.sock.close()
        await until(lambda: world.inspector.statistics()["inspecting"] == 0)
        assert world.hub.watched == 0
        world.close()

    run(main)


@pytest.mark.parametrize("octets", [b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\x00\x05" + bytes(200)])
def test_a_hello_that_is_none_ends_the_connection(octets: bytes) -> None:
    async def main() -> None:
        world = World(Protocol.TCP, tls=PLAIN, limit=60)
        caller = world.connect(octets)
        await until(lambda: world.inspector.statistics()["tls_handshakes_failed"] == 1)
        assert closed(caller)
        world.close()

    run(main)


def test_octets_that_only_begin_like_a_hello_are_none() -> None:
    async def main() -> None:
        world = World(Protocol.TCP, tls=PLAIN, limit=60)
        caller = world.connect(b"\x16")
        await asyncio.sleep(0)
        assert not world.verdicts
        caller.sendall(b"\x16\x16\x16\x16\x16")
        assert await world.verdict() == ("relay", "10.0.0.1")
        assert world.taken[0].recv(100) == b"\x16" * 6
        world.close()

    run(main)


def test_a_server_name_that_is_an_address_is_taken() -> None:
    async def main() -> None:
        world = World(Protocol.TCP, tls=PLAIN, limit=60)
        context = caller_context()
        context.check_hostname = False
        caller = Caller(world.connect(), context=context, name="127.0.0.1")
        await shaken(caller)
        assert await world.verdict() == ("relay", "10.0.0.1")
        world.close()

    run(main)


def test_handshakes_count_among_the_connections_of_a_port() -> None:
    async def main() -> None:
        world = World(Protocol.HTTP1, tls=HTTP, crowd=Crowd(most=2), limit=60)
        callers = [Caller(world.connect()) for _ in range(2)]
        for caller in callers:
            caller.step()
        assert closed(world.connect(GET))
        world.inspector.drain()
        assert all(closed(caller.sock) for caller in callers)
        world.close()

    run(main)


def test_a_handshake_that_fails_leaves_nothing_to_the_collector() -> None:
    async def main() -> None:
        world = World(Protocol.TCP, tls=PLAIN, limit=60)
        with uncollected() as found:
            for n in range(5):
                world.connect(b"\x16\x03\x01\x00\x05hello" + bytes(n)).close()
                await until(lambda n=n: world.inspector.statistics()["tls_handshakes_failed"] == n + 1)
            await asyncio.sleep(0)
        assert not found
        world.close()

    run(main)
