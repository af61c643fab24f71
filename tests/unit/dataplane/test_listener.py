"""Ports, and draining without losing a request."""

from __future__ import annotations

import asyncio
import os
import resource
import socket

import pytest
from h2_world import GRPC, OK, Peer, answered, listening, run, until, world
from test_exchange import cart, echo

from mesh.dataplane.listener import Port
from mesh.dataplane.reactor import Reactor


def refuse(fd: int, host: str, port: int) -> None:
    os.close(fd)


def test_names_of_addresses() -> None:
    port = Port(Reactor(None), listening(), refuse)
    assert str(port) == f"127.0.0.1:{port.address[1]}"
    port.close()
    port = Port(Reactor(None), listening("::1"), refuse)
    assert str(port) == f"[::1]:{port.address[1]}"
    port.close()


def test_who_connected_before_the_start_is_served() -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            sock = listening()
            port = Port(w.hub, sock, w.accept)
            early = socket.create_connection(port.address)
            port.start()
            _, client = await asyncio.get_running_loop().create_connection(lambda: Peer(True), sock=early)
            await answered(client.request(GRPC))
            client.transport.abort()
            port.close()
            port.close()

    run(main)


def test_a_port_that_is_closed_at_once_refuses() -> None:
    async def main() -> None:
        port = Port(Reactor(asyncio.get_running_loop()), listening(), refuse)
        port.start()
        port.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*port.address)

    run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_each_connection_comes_with_its_opener(host: str) -> None:
    async def main() -> None:
        got: list[tuple[str, int]] = []

        def accept(fd: int, host: str, port: int) -> None:
            assert not os.get_blocking(fd)
            assert not os.get_inheritable(fd)
            with socket.socket(fileno=fd) as sock:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            got.append((host, port))

        port = Port(Reactor(asyncio.get_running_loop()), listening(host), accept)
        port.start()
        # More than one turn takes, fewer than the backlog holds.
        clients = [socket.create_connection(port.address) for _ in range(100)]
        await until(lambda: len(got) == 100)
        assert sorted(got) == sorted(client.getsockname()[:2] for client in clients)
        for client in clients:
            client.close()
        port.close()

    run(main)


def test_out_of_descriptors_connections_wait(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        got: list[int] = []

        def accept(fd: int, host: str, port: int) -> None:
            got.append(fd)

        port = Port(Reactor(asyncio.get_running_loop()), listening(), accept)
        port.start()
        client = socket.create_connection(port.address)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        try:
            await until(lambda: bool(caplog.records))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert got == []
        await until(lambda: bool(got))
        os.close(got[0])
        client.close()
        port.close()
        assert {record.message for record in caplog.records} == {f"connections to {port} wait: Too many open files"}

    run(main)


def test_a_port_that_waits_for_descriptors_can_be_closed(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        port = Port(Reactor(asyncio.get_running_loop()), listening(), refuse)
        port.start()
        client = socket.create_connection(port.address)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        try:
            await until(lambda: bool(caplog.records))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        port.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        client.close()
        await asyncio.sleep(0.12)  # longer than the pause

    run(main)


def test_a_connection_that_nobody_can_take_is_closed_and_the_next_served(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        got: list[int] = []

        def accept(fd: int, host: str, port: int) -> None:
            if not got:
                got.append(-1)
                raise RuntimeError("broken on purpose")
            got.append(fd)

        port = Port(Reactor(asyncio.get_running_loop()), listening(), accept)
        port.start()
        first = socket.create_connection(port.address)
        await until(lambda: len(got) == 1)
        assert first.recv(1) == b""
        second = socket.create_connection(port.address)
        await until(lambda: len(got) == 2)
        os.close(got[1])
        first.close()
        second.close()
        port.close()

    run(main)
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_drain_tells_callers_and_finishes_what_is_open() -> None:
    async def main() -> None:
        async with world(lambda call: call.send_headers(OK), service=cart()) as w:
            client = await w.client()
            call = client.request(GRPC)
            await until(lambda: w.upstreams[0].calls)
            w.port.close()
            drained = asyncio.ensure_future(w.acceptor.drain(5))
            await until(lambda: len(client.goaway) == 2)  # a warning, then the last id
            assert client.goaway == [(2**31 - 1, 0), (call.id, 0)]
            assert not drained.done()
            w.upstreams[0].calls[0].send_headers([("grpc-status", "0")], end=True)
            await answered(call)
            assert call.trailers == {"grpc-status": "0"}
            await drained
            await until(lambda: client.lost)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*w.port.address)

    run(main)


def test_what_outlasts_the_deadline_is_told_so() -> None:
    async def main() -> None:
        async with world(None, service=cart()) as w:
            client = await w.client()
            call = client.request(GRPC)
            await until(lambda: w.upstreams[0].calls)
            await w.acceptor.drain(0.05)
            await answered(call)
            assert call.headers["mesh-reason"] == "drain_deadline"
            await until(lambda: client.lost)

    run(main)


def test_an_idle_caller_is_let_go_at_once() -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            client = await w.client()
            await answered(client.request(GRPC))
            await asyncio.wait_for(w.acceptor.drain(30), 5)
            await until(lambda: client.lost)
            assert w.acceptor.statistics()["connections"] == 0

    run(main)
