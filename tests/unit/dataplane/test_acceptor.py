"""How slow a caller may be, and how connections drain."""

from __future__ import annotations

import asyncio

import pytest
from h2_world import until
from http1_world import GET, answer, ok, run, world

from mesh.dataplane.acceptor import Limits

LIMITS = Limits(header=10, idle=60, progress=30, progress_bytes=1000)


def test_half_a_head_is_answered_with_408_in_time() -> None:
    async def main() -> None:
        async with world(ok, LIMITS) as w:
            reader, writer = await w.caller()
            await until(lambda: w.acceptor.connections)
            for octet in GET[:8]:
                writer.write(bytes((octet,)))
                await asyncio.sleep(0)
                w.pass_time(1)
            assert w.acceptor.statistics()["slow_headers"] == 0
            w.pass_time(10)
            await until(lambda: w.acceptor.statistics()["slow_headers"] == 1)
            assert (await reader.read(1000)).startswith(b"HTTP/1.1 408 ")

    run(main)


def test_a_connection_without_a_request_is_closed_without_a_word() -> None:
    async def main() -> None:
        async with world(ok, LIMITS) as w:
            reader, writer = await w.caller()
            writer.write(GET)
            await answer(reader)
            w.pass_time(59)
            assert w.acceptor.statistics()["connections"] == 1
            w.pass_time(2)
            assert await reader.read(1000) == b""
            assert w.acceptor.statistics()["idle_closed"] == 1

    run(main)


@pytest.mark.parametrize("octets", [0, 999, 1000])
def test_a_body_has_to_move(octets: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async def main() -> None:
        async with world(serve, LIMITS) as w:
            reader, writer = await w.caller()
            writer.write(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 100000\r\n\r\n")
            await until(lambda: w.connections)
            w.pass_time(0)
            writer.write(b"x" * octets)
            await until(lambda: octets == 0 or w.hub.inbox.count(b"x") >= octets)
            w.pass_time(31)
            stats = w.acceptor.statistics()
            assert stats["slow_bodies"] == (0 if octets == 1000 else 1)
            if octets < 1000:
                assert (await answer(reader)).startswith(b"HTTP/1.1 408 ")

    run(main)


def test_an_answer_that_nobody_takes_is_given_up() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        while True:
            writer.write(b"x" * 100_000)
            await writer.drain()

    async def main() -> None:
        async with world(serve, LIMITS) as w:
            _, writer = await w.caller()
            writer.transport.pause_reading()
            writer.write(GET)
            held = -1
            while held != (held := w.hub.inbox.count(b"x") + len(w.acceptor.connections)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            for _ in range(3):
                w.pass_time(31)
            assert w.acceptor.statistics()["stalled_readers"] == 1
            assert w.entry.active == 0

    run(main)


def test_who_is_idle_leaves_at_once_and_who_is_not_after_its_answer() -> None:
    gate = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await gate.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def main() -> None:
        async with world(serve) as w:
            idle, _ = await w.caller()
            busy, writer = await w.caller()
            writer.write(GET)
            await until(lambda: w.entry.active == 1 and len(w.acceptor.connections) == 2)
            draining = asyncio.get_running_loop().create_task(w.acceptor.drain(5))
            assert await idle.read(10) == b""
            gate.set()
            assert b"connection: close" in (await answer(busy)).lower()
            assert await busy.read(10) == b""
            await draining

    run(main)
