from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mesh import errors
from mesh.dataplane.reactor import Reactor
from mesh.dataplane.record import CLIENT, TCP, Record
from mesh.dataplane.tcp import TcpProxy

sys.path.insert(0, str(Path(__file__).parent))

from tcp_world import LOCAL, Fixed, Place, dead_port, echo, listening, read_all, reset, run, until, world


def test_bytes_both_ways_and_the_record() -> None:
    async def main() -> None:
        async with world(echo) as here:
            started = time.time_ns()
            with here.connect() as client:
                await here.loop.sock_sendall(client, b"ping")
                assert await here.loop.sock_recv(client, 100) == b"ping"
                assert here.proxy.connections == 1
                client.shutdown(socket.SHUT_WR)
                assert await read_all(client) == b""
            record = await here.until_closed()
        assert (record.kind, record.protocol, record.service) == (CLIENT, TCP, "stock")
        assert record.endpoint == "stock/stock-0"
        assert (record.peer_host, record.peer_port) == (LOCAL, here.upstream.places[0].port)
        assert (record.source, record.why, record.reason, record.attempts) == (LOCAL, "test", "", 1)
        assert (record.request_bytes, record.response_bytes, record.events) == (4, 4, None)
        assert started <= record.start_ns < record.end_ns <= time.time_ns()
        assert here.upstream.given_back == [("stock/stock-0", True, None)]
        assert here.proxy.statistics().request_bytes == 4
        assert here.proxy.statistics().accepted == 1
        assert here.proxy.statistics().failed == 0
    run(main())


@pytest.mark.slow
def test_64_mib_both_ways_at_once() -> None:
    block = os.urandom(1 << 20)
    expected = hashlib.sha256()
    for _ in range(64):
        expected.update(block)

    async def stream(sock: socket.socket) -> str:
        loop, found = asyncio.get_running_loop(), hashlib.sha256()

        async def write() -> None:
            for _ in range(64):
                await loop.sock_sendall(sock, block)
            sock.shutdown(socket.SHUT_WR)

        writer = loop.create_task(write())
        buffer = bytearray(1 << 20)
        while count := await loop.sock_recv_into(sock, buffer):
            found.update(memoryview(buffer)[:count])
        await writer
        return found.hexdigest()

    async def main() -> None:
        digests = []

        async def serve(sock: socket.socket) -> None:
            digests.append(await stream(sock))

        async with world(serve) as here:
            with here.connect() as client:
                digests.append(await stream(client))
            record = await here.until_closed()
        assert record.request_bytes == record.response_bytes == 64 << 20
        assert record.reason == ""
        assert digests == [expected.hexdigest()] * 2
    run(main())


def test_the_caller_closes_its_half_and_still_hears() -> None:
    async def serve(sock: socket.socket) -> None:
        asked = await read_all(sock)
        await asyncio.sleep(0.01)
        await asyncio.get_running_loop().sock_sendall(sock, b"you said " + asked)

    async def main() -> None:
        async with world(serve) as here:
            with here.connect() as client:
                await here.loop.sock_sendall(client, b"hello")
                client.shutdown(socket.SHUT_WR)
                assert await read_all(client) == b"you said hello"
            assert (await here.until_closed()).reason == ""
    run(main())


def test_the_endpoint_closes_its_half_and_still_hears() -> None:
    heard = []

    async def serve(sock: socket.socket) -> None:
        await asyncio.get_running_loop().sock_sendall(sock, b"banner")
        sock.shutdown(socket.SHUT_WR)
        heard.append(await read_all(sock))

    async def main() -> None:
        async with world(serve) as here:
            with here.connect() as client:
                assert await read_all(client) == b"banner"  # the server speaks first
                await here.loop.sock_sendall(client, b"late")
                client.shutdown(socket.SHUT_WR)
                assert (await here.until_closed()).reason == ""
        assert heard == [b"late"]
    run(main())


def test_both_close_without_a_byte() -> None:
    async def serve(sock: socket.socket) -> None:
        sock.shutdown(socket.SHUT_WR)
        assert await read_all(sock) == b""

    async def main() -> None:
        async with world(serve) as here:
            with here.connect() as client:
                client.shutdown(socket.SHUT_WR)
                assert await read_all(client) == b""
            record = await here.until_closed()
        assert (record.request_bytes, record.response_bytes, record.reason) == (0, 0, "")
    run(main())


def test_a_slow_reader_stops_the_sender() -> None:
    sent = 0

    async def serve(sock: socket.socket) -> None:
        nonlocal sent
        block = bytes(1 << 16)
        while True:
            sock.setblocking(False)
            try:
                sent += sock.send(block)
            except BlockingIOError:
                await asyncio.sleep(0.001)
            except OSError:
                return

    async def main() -> None:
        async with world(serve) as here:
            client = here.connect()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            last = -1
            while last != sent:  # until nothing has moved for a while
                last = sent
                await asyncio.sleep(0.05)
            assert 0 < sent < 20 << 20  # socket buffers of both hops, and one read
            assert 0 < here.proxy.reactor.carried <= 1 << 20
            carried = here.proxy.reactor.carried
            assert len(await here.loop.sock_recv(client, 1 << 20)) > 0
            await asyncio.sleep(0.01)
            assert here.proxy.reactor.carried <= max(carried, 1 << 20)
            reset(client)
            assert (await here.until_closed()).reason == "caller_gone"
    run(main())


@pytest.mark.slow
def test_many_slow_readers_share_what_may_be_carried() -> None:
    async def serve(sock: socket.socket) -> None:
        try:
            while True:
                await asyncio.get_running_loop().sock_sendall(sock, bytes(1 << 20))
        except OSError:
            return

    async def main() -> None:
        async with world(serve) as here:
            clients = [here.connect() for _ in range(60)]
            await until(lambda: here.proxy.reactor.carried > 16 << 20)
            await asyncio.sleep(0.2)
            assert here.proxy.reactor.carried < 35 << 20  # 32 MiB, and one small read each
            for client in clients:
                reset(client)
    run(main())


def test_the_caller_resets() -> None:
    seen = []

    async def serve(sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, b"hi")
        await loop.sock_recv(sock, 100)
        try:
            await loop.sock_recv(sock, 100)
        except OSError as error:
            seen.append(error.errno)

    async def main() -> None:
        async with world(serve) as here:
            client = here.connect()
            assert await here.loop.sock_recv(client, 100) == b"hi"
            await here.loop.sock_sendall(client, b"x")
            await asyncio.sleep(0.01)
            reset(client)
            assert (await here.until_closed()).reason == "caller_gone"
        assert seen == [errno.ECONNRESET]
        assert here.upstream.given_back == [("stock/stock-0", True, errors.CALLER_GONE)]
    run(main())


def test_the_endpoint_resets() -> None:
    async def serve(sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, b"hi")
        await loop.sock_recv(sock, 100)
        reset(sock)

    async def main() -> None:
        async with world(serve) as here:
            with here.connect() as client:
                assert await here.loop.sock_recv(client, 100) == b"hi"
                await here.loop.sock_sendall(client, b"x")
                with pytest.raises(ConnectionResetError):
                    await here.loop.sock_recv(client, 100)
            record = await here.until_closed()
        assert (record.reason, record.request_bytes, record.response_bytes) == ("upstream_connection_lost", 1, 2)
        assert here.upstream.given_back == [("stock/stock-0", False, errors.CONNECTION_LOST)]
    run(main())


def test_a_reset_is_seen_while_nothing_is_read() -> None:
    async def serve(sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            while True:
                sock.send(bytes(1 << 20))
        except BlockingIOError:
            await asyncio.sleep(0.05)
        reset(sock)

    async def main() -> None:
        async with world(serve) as here:
            with here.connect() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                assert (await here.until_closed()).reason == "upstream_connection_lost"
    run(main())


def test_refused_then_another_endpoint() -> None:
    async def main() -> None:
        refuses = Place(LOCAL, dead_port(), "stock/stock-9")
        async with world(echo, before=(refuses,)) as here:
            with here.connect() as client:
                await here.loop.sock_sendall(client, b"early")
                client.shutdown(socket.SHUT_WR)
                assert await read_all(client) == b"early"
            record = await here.until_closed()
        assert (record.endpoint, record.attempts, record.reason) == ("stock/stock-0", 2, "")
        assert record.events is not None
        assert [(name, attributes) for _, name, attributes in record.events] == [
            ("connect_failed", {"mesh.endpoint": "stock/stock-9", "mesh.reason": "upstream_connect_failed"})]
        assert here.upstream.picks == [(LOCAL, 0), (LOCAL, 1)]
        assert here.upstream.given_back == [("stock/stock-9", False, errors.CONNECT_FAILED),
                                            ("stock/stock-0", True, None)]
        assert here.proxy.statistics().connect_failures == 1
    run(main())


def test_at_most_three_endpoints_are_tried() -> None:
    async def main() -> None:
        refuse = tuple(Place(LOCAL, dead_port(), f"stock/stock-{number}") for number in range(1, 5))
        async with world(echo, before=refuse) as here:
            with here.connect() as client, pytest.raises(ConnectionResetError):
                await here.loop.sock_recv(client, 1)
            record = await here.until_closed()
        assert (record.attempts, record.reason, record.endpoint) == (3, "upstream_connect_failed", "stock/stock-3")
        assert here.proxy.statistics().failed == 1
    run(main())


def test_the_only_endpoint_is_tried_again_after_a_moment() -> None:
    async def main() -> None:
        async with world(before=(Place(LOCAL, dead_port()),), again=True) as here:
            with here.connect() as client, pytest.raises(ConnectionResetError):
                await here.loop.sock_recv(client, 1)
            record = await here.until_closed()
        assert (record.attempts, record.reason) == (3, "upstream_connect_failed")
        assert record.end_ns - record.start_ns >= 0.09e9
    run(main())


def test_an_end_that_came_before_the_endpoint_did_is_passed_on() -> None:
    """The caller has said all and closed its half while nobody listened; the event that told of it is long gone."""
    async def main() -> None:
        with socket.socket() as backend:
            backend.bind((LOCAL, 0))  # refuses until it listens
            backend.setblocking(False)
            place = Place(LOCAL, backend.getsockname()[1])
            async with world(before=(place,), again=True) as here:
                client = here.connect()
                await until(lambda: len(here.upstream.given_back) == 2)  # between the second attempt and the third
                client.send(b"all of it")
                client.shutdown(socket.SHUT_WR)
                for _ in range(5):
                    await asyncio.sleep(0)
                backend.listen()
                served, _ = await here.loop.sock_accept(backend)
                with served, client:
                    assert await asyncio.wait_for(read_all(served), 5) == b"all of it"
                    served.send(b"answer")
                    served.shutdown(socket.SHUT_WR)
                    assert await read_all(client) == b"answer"
                assert (await here.until_closed()).reason == ""

    run(main())


def test_an_endpoint_that_accepts_and_resets_counts_as_not_connected() -> None:
    async def slam(sock: socket.socket) -> None:
        reset(sock)

    async def main() -> None:
        live = listening()
        async with world(slam) as here:
            here.upstream.places.append(Place(LOCAL, live.getsockname()[1], "stock/stock-1"))
            with here.connect() as client:
                server, _ = await here.loop.sock_accept(live)
                with server:
                    await here.loop.sock_sendall(server, b"welcome")
                assert await here.loop.sock_recv(client, 100) == b"welcome"
            record = await here.until_closed()
        live.close()
        assert (record.endpoint, record.attempts) == ("stock/stock-1", 2)
        assert here.upstream.given_back[0] == ("stock/stock-0", False, errors.CONNECTION_LOST)
    run(main())


@asynccontextmanager
async def full_backlog() -> AsyncIterator[int]:
    """A port on which connecting hangs: its backlog is full."""
    loop = asyncio.get_running_loop()
    with socket.create_server((LOCAL, 0), backlog=0) as full:
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        await asyncio.sleep(0.01)
        assert loop.is_running()
        yield full.getsockname()[1]
        for filler in fillers:
            filler.close()


def test_connecting_times_out_then_another_endpoint() -> None:
    async def main() -> None:
        async with full_backlog() as port, \
                world(echo, before=(Place(LOCAL, port, "stock/stock-7"),), connect_timeout=0.03) as here:
            with here.connect() as client:
                await here.loop.sock_sendall(client, b"patience")
                assert await here.loop.sock_recv(client, 100) == b"patience"
            record = await here.until_closed()
            assert record.events is not None
            assert record.events[0][2]["mesh.reason"] == "upstream_connect_timeout"
            assert 0.02e9 < record.events[0][0] - record.start_ns < 0.5e9
    run(main())


def test_the_caller_leaves_while_connecting() -> None:
    async def main() -> None:
        async with full_backlog() as port, world(before=(Place(LOCAL, port),)) as here:
            client = here.connect()
            await until(lambda: here.proxy.statistics().connecting == 1)
            reset(client)
            record = await here.until_closed()
        assert record.reason == "caller_gone"
        assert here.upstream.given_back == [("stock/stock-0", True, errors.CALLER_GONE)]
    run(main())


def test_what_is_sent_before_there_is_an_endpoint_waits() -> None:
    async def main() -> None:
        async with full_backlog() as port, \
                world(echo, before=(Place(LOCAL, port, "stock/stock-7"),), connect_timeout=0.05) as here:
            with here.connect() as client:
                await here.loop.sock_sendall(client, b"x" * 100_000)
                client.shutdown(socket.SHUT_WR)
                assert len(await read_all(client)) == 100_000
            assert (await here.until_closed()).request_bytes == 100_000
    run(main())


def test_a_name_is_resolved() -> None:
    async def main() -> None:
        async with world(echo) as here:
            here.upstream.places[0] = Place("localhost", here.upstream.places[0].port)
            with here.connect() as client:
                await here.loop.sock_sendall(client, b"by name")
                assert await here.loop.sock_recv(client, 100) == b"by name"
    run(main())


@pytest.mark.parametrize("host", ["", "256.1.1.1", "no such host", "a" * 300, "\0", "::1::"])
def test_an_impossible_host_is_a_failed_connect(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async def getaddrinfo(*_: object, **__: object) -> list[object]:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

        class Loop:
            def __getattr__(self, name: str) -> Any:
                return getaddrinfo if name == "getaddrinfo" else getattr(asyncio.get_running_loop(), name)

        reactor = Reactor(Loop())  # type: ignore[arg-type]
        upstream = Fixed([Place(host, 1)])
        records: list[Record] = []
        proxy = TcpProxy(reactor, upstream, CLIENT, "stock", records.append)
        near, far = socket.socketpair()
        proxy.adopt(_tcp_pair(near, far).detach(), LOCAL)
        await until(lambda: proxy.connections == 0)
        await asyncio.sleep(0)
        assert records[0].reason == "upstream_connect_failed"
        for sock in _pairs:
            sock.close()
        _pairs.clear()
    run(main())


_pairs: list[socket.socket] = []


def _tcp_pair(near: socket.socket, far: socket.socket) -> socket.socket:
    near.close()
    far.close()
    with socket.create_server((LOCAL, 0)) as server:
        client = socket.create_connection(server.getsockname())
        _pairs.append(client)
        return server.accept()[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_address_families(host: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        try:
            backend = listening(host)
        except OSError:
            pytest.skip(f"no {host} here")
        async with world(before=(Place(host, backend.getsockname()[1]),)) as here:
            with here.connect() as client:
                server, _ = await loop.sock_accept(backend)
                with server:
                    await loop.sock_sendall(server, b"six")
                assert await loop.sock_recv(client, 100) == b"six"
        backend.close()
    run(main())


def test_urgent_data_stops_nothing() -> None:
    """A read ends at the urgent mark though more is there: a short read then proves nothing."""
    async def main() -> None:
        async with world(echo) as here:
            with here.connect() as client:
                for number in range(50):
                    sent = b"%d before," % number
                    client.send(sent)
                    client.send(b"!", socket.MSG_OOB)  # travels outside the stream, as everywhere
                    client.send(b"after")
                    heard = b""
                    while len(heard) < len(sent) + 5:
                        heard += await asyncio.wait_for(here.loop.sock_recv(client, 100), 5)
                    assert heard == sent + b"after"
                client.send(b"x")
                client.send(b"!", socket.MSG_OOB)
                client.send(b"last words")
                client.shutdown(socket.SHUT_WR)
                assert await read_all(client) == b"xlast words"
            assert (await here.until_closed()).reason == ""
    run(main())


@pytest.mark.parametrize("size", [1, 32_767, 32_768, 32_769, 300_000])
@pytest.mark.parametrize("ends", [True, False])
def test_what_the_caller_sent_at_once_goes_out_with_the_connection(size: int, ends: bool) -> None:
    async def main() -> None:
        async with world(echo) as here:
            with here.connect() as client:
                sent = os.urandom(size)
                writer = here.loop.create_task(here.loop.sock_sendall(client, sent))  # before anybody accepts
                if ends:
                    writer.add_done_callback(lambda _: client.shutdown(socket.SHUT_WR))
                    assert await read_all(client) == sent
                else:
                    heard = b""
                    while len(heard) < size:
                        heard += await here.loop.sock_recv(client, 1 << 16)
                    assert heard == sent
                await writer
        assert here.records[0].request_bytes == here.records[0].response_bytes == size
    run(main())


def test_a_caller_that_ends_before_the_connection_stands() -> None:
    async def main() -> None:
        async with world(echo) as here:
            with here.connect() as client:
                client.shutdown(socket.SHUT_WR)
                assert await read_all(client) == b""
            assert (await here.until_closed()).reason == ""
    run(main())


async def _silent(here: Any, client: socket.socket, server: socket.socket) -> None:
    pass


async def _talking(here: Any, client: socket.socket, server: socket.socket) -> None:
    await here.loop.sock_sendall(client, b"x")
    assert await here.loop.sock_recv(server, 1) == b"x"


async def _caller_done(here: Any, client: socket.socket, server: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
    assert await here.loop.sock_recv(server, 1) == b""


async def _endpoint_done(here: Any, client: socket.socket, server: socket.socket) -> None:
    server.shutdown(socket.SHUT_WR)
    assert await here.loop.sock_recv(client, 1) == b""


async def _full(here: Any, client: socket.socket, server: socket.socket) -> None:
    """Neither reads: each direction stands with octets carried over."""
    for sock in (client, server):
        idle = 0
        while idle < 5:
            try:
                sock.send(bytes(1 << 16))
                idle = 0
            except BlockingIOError:
                idle += 1
            await asyncio.sleep(0.001)
    assert here.proxy.reactor.carried > 0


@pytest.mark.parametrize("who", ["caller", "endpoint", "both"])
@pytest.mark.parametrize("state", [_silent, _talking, _caller_done, _endpoint_done, _full])
def test_a_reset_in_any_state_leaves_nothing(state: Any, who: str) -> None:
    async def main() -> None:
        with listening() as backend:
            async with world(before=(Place(LOCAL, backend.getsockname()[1]),)) as here:
                client = here.connect()
                server, _ = await here.loop.sock_accept(backend)
                await state(here, client, server)
                if who != "endpoint":
                    reset(client)
                if who != "caller":
                    reset(server)
                if state is _silent and who == "endpoint":  # nothing was sent: that endpoint is tried no more
                    client.close()
                await until(lambda: here.proxy.connections == 0)
                client.close()
                server.close()
        assert len(here.records) == 1
    run(main())


@pytest.mark.slow
def test_a_million_writes_of_one_byte() -> None:
    async def main() -> None:
        async with world(echo) as here:
            with here.connect() as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sent, at = os.urandom(1_000_000), 0
                reader = here.loop.create_task(read_all(client))
                while at < len(sent):
                    try:
                        for _ in range(5000):
                            at += client.send(sent[at:at + 1])
                    except BlockingIOError:
                        pass
                    await asyncio.sleep(0)
                client.shutdown(socket.SHUT_WR)
                assert await reader == sent
        assert here.records[0].request_bytes == here.records[0].response_bytes == 1_000_000
    run(main())
