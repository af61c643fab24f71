from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mesh import errors
from mesh.dataplane.listener import Port
from mesh.dataplane.reactor import EDGES, Probe, Reactor
from mesh.dataplane.record import CLIENT, SERVER, Record
from mesh.dataplane.tcp import TcpProxy
from mesh.errors import Reason

sys.path.insert(0, str(Path(__file__).parent))

from tcp_world import LOCAL, Fixed, Place, echo, listening, read_all, reset, run, until, world
from uncollected import uncollected


def test_without_records_nothing_is_recorded() -> None:
    async def main() -> None:
        async with world(echo, record=False, kind=SERVER) as here:
            with here.connect() as client:
                client.shutdown(socket.SHUT_WR)
                assert await read_all(client) == b""
        assert here.records == []
    run(main())


def test_twenty_at_once_each_get_their_own() -> None:
    async def main() -> None:
        async with world(echo) as here:
            clients = [here.connect() for _ in range(20)]
            for number, client in enumerate(clients):
                await here.loop.sock_sendall(client, b"%d" % number)
                client.shutdown(socket.SHUT_WR)
            for number, client in enumerate(clients):
                with client:
                    assert await read_all(client) == b"%d" % number
        assert {record.source for record in here.records} == {LOCAL}
    run(main())


def test_a_descriptor_that_was_watched_before_is_taken_over_with_what_it_holds() -> None:
    async def main() -> None:
        async with world(echo) as here:
            with listening() as other, socket.create_connection(other.getsockname()) as client:
                client.setblocking(False)
                client.send(b"early")
                masks: list[int] = []
                watch = Probe(masks.append)
                taken = other.accept()[0].detach()
                here.proxy.reactor.add(watch, taken, EDGES)
                await until(lambda: bool(masks))
                fd = here.proxy.reactor.release(watch)
                assert (fd, watch.fd) == (taken, -1)
                here.proxy.adopt(fd, LOCAL)
                client.shutdown(socket.SHUT_WR)
                assert await read_all(client) == b"early"
        assert here.records[0].request_bytes == here.records[0].response_bytes == 5
    run(main())


def test_no_endpoint_closes_at_once() -> None:
    async def main() -> None:
        async with world() as here:
            with here.connect() as client, pytest.raises(ConnectionResetError):
                await here.loop.sock_recv(client, 1)
            record = await here.until_closed()
        assert (record.reason, record.endpoint, record.attempts) == ("no_healthy_upstream", "", 1)
    run(main())


def test_idle_connections_are_closed() -> None:
    async def main() -> None:
        async with world(echo, idle_timeout=1.0) as here:
            busy, idle = here.connect(), here.connect()
            for _ in range(22):
                await here.loop.sock_sendall(busy, b"x")
                assert await here.loop.sock_recv(busy, 1) == b"x"
                await asyncio.sleep(0.05)
            with pytest.raises(ConnectionResetError):
                await here.loop.sock_recv(idle, 1)
            assert here.proxy.connections == 1
            busy.shutdown(socket.SHUT_WR)
            assert await read_all(busy) == b""
            busy.close()
            idle.close()
        assert [record.reason for record in here.records] == ["idle_timeout", ""]
        assert here.upstream.given_back[0] == ("stock/stock-0", True, errors.IDLE_TIMEOUT)
    run(main())


@pytest.mark.slow
def test_300_connections_at_once() -> None:
    async def main() -> None:
        async with world(echo) as here:
            async def one(number: int) -> None:
                sent = os.urandom(1000) * (number + 1)
                with here.connect() as client:
                    writer = here.loop.create_task(here.loop.sock_sendall(client, sent))
                    heard = b""
                    while len(heard) < len(sent):
                        heard += await here.loop.sock_recv(client, 1 << 16)
                    await writer
                    assert heard == sent

            await asyncio.gather(*(one(number) for number in range(300)))
            await until(lambda: here.proxy.connections == 0)
        assert len(here.records) == 300
        assert here.proxy.statistics().accepted == 300
    run(main())


def test_drain_waits_for_the_open_and_takes_no_more() -> None:
    async def main() -> None:
        async with world(echo) as here:
            client = here.connect()
            await here.loop.sock_sendall(client, b"x")
            assert await here.loop.sock_recv(client, 1) == b"x"
            draining = here.loop.create_task(here.proxy.drain(5))
            await asyncio.sleep(0.01)
            with here.connect() as late, pytest.raises(ConnectionResetError):
                await here.loop.sock_recv(late, 1)
            await here.loop.sock_sendall(client, b"y")
            assert await here.loop.sock_recv(client, 1) == b"y"
            client.close()
            assert await draining == 0
        assert here.records[0].reason == ""
    run(main())


def test_drain_resets_what_is_open_at_the_deadline() -> None:
    async def main() -> None:
        async with world(echo) as here:
            with here.connect() as client:
                await here.loop.sock_sendall(client, b"x")
                assert await here.loop.sock_recv(client, 1) == b"x"
                assert await here.proxy.drain(0.02) == 1
                with pytest.raises(ConnectionResetError):
                    await here.loop.sock_recv(client, 1)
            assert (await here.until_closed()).reason == "drain_deadline"
            assert await here.proxy.drain(5) == 0
    run(main())


def test_an_upstream_that_raises_ends_that_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Fixed):
        def pick(self, source: str, tried: list[Any]) -> Place | None:
            if not self.picks:
                self.picks.append((source, 0))
                raise RuntimeError("broken on purpose")
            return super().pick(source, tried)

        def released(self, target: Any, ok: bool, reason: Reason | None) -> None:
            raise RuntimeError("broken on purpose")

    def record(_: Record) -> None:
        raise RuntimeError("broken on purpose")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        backend, front, reactor = listening(), listening(), Reactor(asyncio.get_running_loop())
        proxy = TcpProxy(reactor, Broken([Place(LOCAL, backend.getsockname()[1])]), CLIENT, "stock", record)
        address = front.getsockname()
        port = Port(reactor, front, proxy.accept)
        port.start()
        with socket.create_connection(address) as first:
            first.setblocking(False)
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(first, 1)
        with socket.create_connection(address) as second:
            second.setblocking(False)
            server, _ = await loop.sock_accept(backend)
            server.close()
            assert await loop.sock_recv(second, 1) == b""
        await until(lambda: proxy.connections == 0)
        proxy.abort()
        port.close()
        await asyncio.sleep(0)
        backend.close()
    run(main())
    assert [record.exc_info is not None for record in caplog.records] == [True] * 4


def test_connections_leave_no_garbage_to_the_collector() -> None:
    async def main() -> None:
        async with world(echo) as here:
            loop = asyncio.get_running_loop()

            async def once(end: Callable[[socket.socket], object]) -> None:
                client = socket.socket()
                client.setblocking(False)
                await loop.sock_connect(client, here.address)
                await loop.sock_sendall(client, b"hello")
                assert await loop.sock_recv(client, 100) == b"hello"
                end(client)
                await until(lambda: here.proxy.connections == 0)

            await once(socket.socket.close)
            with uncollected() as found:
                for _ in range(10):
                    await once(socket.socket.close)
                    await once(reset)
                await asyncio.sleep(0.01)
            assert not found

    run(main())
