"""Connections of a service: how many in all, who gets one when there are none left, how long one waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2_world import run, until
from http1_world import GET, World, answer, ok, world

from mesh.dataplane.room import Room, part
from mesh.model import Endpoint, LimitsPolicy, Protocol, RetryPolicy, Service


def shop(**limits: Any) -> Service:
    return Service("shop", Protocol.HTTP1, retry=RetryPolicy(max_attempts=1), limits=LimitsPolicy(**limits))


def counts(w: World) -> dict[str, Any]:
    found: dict[str, Any] = w.cluster.statistics()["limits"]
    return found


@pytest.mark.parametrize(("limit", "workers", "each"), [(0, 4, 0), (1, 1, 1), (1, 4, 1), (8, 4, 2), (9, 4, 3)])
def test_a_workers_part(limit: int, workers: int, each: int) -> None:
    assert part(limit, workers) == each
    room = Room()
    room.configure(LimitsPolicy(max_connections=limit, max_retries=limit, max_pending=limit), workers)
    assert (room.max_connections, room.max_retries, room.max_pending) == (each, each, each)


def test_one_connection_per_endpoint() -> None:
    async def main() -> None:
        async with world(ok) as w:
            w.cluster.update_service(shop(endpoint_connections=1))
            callers = [await w.caller() for _ in range(10)]
            for _, writer in callers:
                writer.write(GET)
            for reader, _ in callers:
                assert b" 200 " in await answer(reader)
            assert w.connections == 1
            assert counts(w)["connections"] == 1
            assert counts(w)["pending"] == 0

    run(main)


def test_an_idle_connection_is_closed_for_who_needs_one() -> None:
    """Two endpoints, one connection for both: it goes where the request goes."""
    async def main() -> None:
        async with world(ok) as w:
            [first] = [node.endpoint for node in w.cluster.nodes.nodes]
            elsewhere = await asyncio.start_server(w.served, "127.0.0.1", 0)
            w.cluster.update_service(shop(max_connections=1))
            reader, writer = await w.caller()
            writer.write(GET)
            await answer(reader)
            w.cluster.update_endpoints([first, Endpoint("shop", "b", *elsewhere.sockets[0].getsockname()[:2])])
            for _ in range(20):
                writer.write(GET)
                assert b" 200 " in await answer(reader)
                assert counts(w)["connections"] == 1
            assert w.connections > 2
            w.cluster.update_endpoints([first])
            elsewhere.close()

    run(main)


def test_who_waits_for_a_connection_too_long_is_told() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async def main() -> None:
        async with world(serve) as w:
            w.cluster.update_service(shop(endpoint_connections=1))
            _, writer = await w.caller()
            writer.write(GET)
            await until(lambda: w.connections)
            reader, other = await w.caller()
            other.write(GET)
            await until(lambda: counts(w)["pending"] == 1)
            w.pass_time(3.1)
            head = await answer(reader)
            assert b"mesh-reason: queue_timeout" in head
            assert counts(w)["pending"] == 0

    run(main)


def test_who_may_not_wait_may_wait_for_a_connection_that_is_made() -> None:
    async def main() -> None:
        async with world(ok) as w:
            w.cluster.update_service(shop(max_pending=0))
            callers = [await w.caller() for _ in range(40)]
            for _, writer in callers:
                writer.write(GET)
            for reader, _ in callers:
                assert b" 200 " in await answer(reader)

    run(main)


def test_only_so_many_connects_at_a_time() -> None:
    """The others wait, and cost nothing when their callers go."""
    async def main() -> None:
        async with world(ok) as w:
            w.version = 1
            callers = [await w.caller() for _ in range(100)]
            most = 0
            for _, writer in callers:
                writer.write(GET)

            def watch() -> bool:
                nonlocal most
                if w.cluster.nodes.nodes[0].pool is not None:
                    most = max(most, w.pool.connecting)
                return w.entry.requests == 100 and w.entry.active == 0

            await until(watch)
            assert most <= 16
            for reader, _ in callers:
                assert b" 200 " in await answer(reader)

    run(main)


def test_retries_in_flight() -> None:
    room = Room()
    room.configure(LimitsPolicy(max_retries=2), 1)
    room.retries = 2
    assert room.statistics()["retries"] == 2
