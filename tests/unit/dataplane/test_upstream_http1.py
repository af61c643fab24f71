"""HTTP/1.1 connections to one endpoint: used again, given up in time."""

from __future__ import annotations

import asyncio
import socket

import pytest
from h2_world import Peer, until
from http1_world import GET, OK, answer, ok, run, world

from mesh.model import Endpoint, Protocol, RetryPolicy, Service, TimeoutPolicy


def test_a_connection_is_used_again() -> None:
    async def main() -> None:
        async with world(ok) as w:
            reader, writer = await w.caller()
            for _ in range(5):
                writer.write(GET)
                assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
            assert w.connections == 1
            assert list(w.pool.idle) == list(w.pool.everyone)

    run(main)


def test_calls_at_once_have_a_connection_each_and_the_last_used_is_used_next() -> None:
    async def main() -> None:
        async with world(ok) as w:
            callers = [await w.caller() for _ in range(4)]
            for _, writer in callers:
                writer.write(GET)
            for reader, _ in callers:
                await answer(reader)
            assert w.connections == len(w.pool.idle) == 4
            newest = list(w.pool.idle)[-1]
            for _ in range(3):
                callers[0][1].write(GET)
                await answer(callers[0][0])
                assert list(w.pool.idle)[-1] is newest
            assert w.connections == 4

    run(main)


@pytest.mark.parametrize(("told", "seconds"), [(b"", 4.0), (b"Keep-Alive: timeout=20\r\n", 19.0),
                                               (b"Keep-Alive: timeout=1\r\n", 0.5)])
def test_an_idle_connection_is_closed_before_the_server_does_it(told: bytes, seconds: float) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK.replace(b"Content", told + b"Content"))

    async def main() -> None:
        async with world(serve) as w:
            reader, writer = await w.caller()
            writer.write(GET)
            await answer(reader)
            w.pass_time(seconds - 0.1)
            if seconds >= 4:
                assert len(w.pool.idle) == 1
            w.pass_time(4.2)
            assert not w.pool.idle
            await until(lambda: not w.pool.everyone)
            writer.write(GET)
            await answer(reader)
            assert w.connections == 2

    run(main)


def test_what_the_server_closes_is_not_used_again() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        writer.close()

    async def main() -> None:
        async with world(serve) as w:
            reader, writer = await w.caller()
            for _ in range(3):
                writer.write(GET)
                assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
            assert w.connections == 3

    run(main)


def test_a_request_that_crosses_the_servers_end_is_sent_once_more() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()  # had been idle for too long, it thinks

    async def main() -> None:
        async with world(serve) as w:
            reader, writer = await w.caller()
            for _ in range(3):
                writer.write(GET)
                assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
            assert w.connections == 3
            assert w.entry.retries == 0
            writer.write(GET.replace(b"GET", b"POST"))
            assert (await answer(reader)).startswith(b"HTTP/1.1 502 ")

    run(main)


def test_a_retired_pool_finishes_what_it_has() -> None:
    gate = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await gate.wait()
        writer.write(OK)

    async def main() -> None:
        async with world(serve) as w:
            reader, writer = await w.caller()
            writer.write(GET)
            await until(lambda: w.connections == 1)
            pool = w.pool
            w.cluster.update_endpoints([])
            gate.set()
            assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
            await until(lambda: not pool.everyone)

    run(main)


@pytest.mark.parametrize(("name", "value"), [(":path", "/caf\u00e9"), (":method", "get"), (":authority", "a,b")])
def test_what_http2_says_and_http_1_1_can_not_is_refused_and_costs_nobody_else(name: str, value: str) -> None:
    async def main() -> None:
        async with world(ok) as w:
            w.version = 2
            caller = Peer(True)
            await asyncio.get_running_loop().create_connection(lambda: caller, *w.port.address)
            fields = {":method": "GET", ":scheme": "http", ":authority": "shop", ":path": "/"}
            good = caller.request(list(fields.items()))
            bad = caller.request(list({**fields, name: value}.items()))
            late = caller.request(list(fields.items()))
            await until(lambda: good.ended and bad.ended and late.ended, "the answers")
            assert good.headers[":status"] == late.headers[":status"] == "200"
            assert bad.headers[":status"] == "400"
            assert bad.headers["mesh-reason"] == "caller_protocol_error"
            assert not caller.lost
            caller.transport.close()

    run(main)


def test_who_waits_for_a_connection_that_can_not_be_had_is_told() -> None:
    async def main() -> None:
        async with world(ok) as w:
            w.cluster.update_service(Service("shop", Protocol.HTTP1, retry=RetryPolicy(max_attempts=1)))
            with socket.create_server(("127.0.0.1", 0)) as gone:
                w.cluster.update_endpoints([Endpoint("shop", "a", *gone.getsockname())])
            callers = [await w.caller() for _ in range(3)]
            for _, writer in callers:
                writer.write(GET)
            for reader, _ in callers:
                head = await answer(reader)
                assert head.startswith(b"HTTP/1.1 503 ")
                assert b"mesh-reason: upstream_connect_failed" in head
            assert w.entry.active == 0

    run(main)


def test_an_app_is_told_of_time_and_attempts_left() -> None:
    """As lines of HTTP/1.1: the first hop's own count, one that came in, and none for what can't be run twice."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK)

    async def main() -> None:
        async with world(serve) as w:
            w.cluster.update_service(Service("shop", Protocol.HTTP1, timeout=TimeoutPolicy(request=20)))
            reader, writer = await w.caller()
            parent = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
            for request in (GET, GET[:-2] + parent + b"tracestate: x=1, mesh=a:2\r\nMesh-Attempts: 5\r\n\r\n",
                            b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n"):
                writer.write(request)
                await answer(reader)
            said = [{line.split(b": ")[0].lower(): line.split(b": ")[1] for line in head.split(b"\r\n")[1:-2]}
                    for head in heads]
            assert [each.get(b"mesh-attempts") for each in said] == [b"3", b"2", None]
            assert [each.get(b"tracestate") for each in said] == [b"mesh=a:3", b"mesh=a:2,x=1", None]
            assert all(each[b"grpc-timeout"].endswith(b"u") for each in said)

    run(main)
