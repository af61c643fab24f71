"""Ports, and draining without losing a request."""

from __future__ import annotations

import asyncio
import socket

import pytest
from h2_world import GRPC, OK, Peer, answered, listening, run, until, world
from test_exchange import cart, echo

from mesh.dataplane.listener import Port


def test_names_of_addresses() -> None:
    port = Port(listening(), object)
    assert str(port) == f"127.0.0.1:{port.address[1]}"
    port.close()
    port = Port(listening("::1"), object)
    assert str(port) == f"[::1]:{port.address[1]}"
    port.close()


def test_who_connected_before_the_start_is_served() -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            sock = listening()
            port = Port(sock, w.acceptor.accept)
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
        port = Port(listening(), object)
        port.start()
        port.close()
        with pytest.raises(OSError, match="refused"):
            await asyncio.open_connection(*port.address)

    run(main)


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
            with pytest.raises(OSError, match="refused"):
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
