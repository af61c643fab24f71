"""The bytes between two streams: whose turn it is, what may wait, and for whom."""

from __future__ import annotations

import asyncio
from typing import Any

from h2_world import DONE, GRPC, OK, Call, Peer, Upstream, World, answered, run, until, world

from mesh.model import OutlierPolicy, RetryPolicy, Service


def cart() -> Service:
    return Service("cart", outlier=OutlierPolicy(consecutive_failures=0), retry=RetryPolicy(max_attempts=1))


async def pour(call: Call, n: int, piece: int = 16_384) -> None:
    """Send `n` octets as the windows allow, then trailers."""
    call.send_headers(OK)
    while n and not call.peer.lost and call.reset is None:
        room = min(call.peer.conn.local_flow_control_window(call.id), piece, n)
        if room:
            call.send(b"x" * room)
            n -= room
        await asyncio.sleep(0)
    if not n:
        call.send_headers(DONE, end=True)


def pouring(n: int, piece: int = 16_384) -> Any:
    """A script that answers with `n` octets, or with as many as the header `octets` asks for."""
    return lambda call: asyncio.get_running_loop().create_task(
        pour(call, int(call.headers.get("octets", str(n))), piece))  # fmt: skip


def relays(w: World) -> list[Any]:
    """The exchanges of all callers."""
    return [stream.owner for handler in w.acceptor.connections for stream in handler.shell.conn.all_streams()]


def unread(w: World) -> int:
    return sum(handler.shell.unread for handler in w.acceptor.connections)


async def closed(w: World, peer: Peer) -> None:
    peer.transport.abort()
    await until(lambda: w.hub.memory.held == 0, "all memory back")


def test_short_answers_pass_a_long_one_that_waits_for_the_connections_window() -> None:
    async def main() -> None:
        async with world(pouring(100), service=cart()) as w:
            caller = await w.client(acknowledge=False)
            long = caller.request([*GRPC, ("octets", "200000")])
            await until(lambda: len(long.body) == 65_535, "the whole window")
            short = [caller.request(GRPC) for _ in range(20)]
            await until(lambda: unread(w) >= 20 * 100 + 100_000, "all answers to wait")
            caller.conn.increment_flow_control_window(20_000)
            caller.flush()
            for call in short:
                await answered(call)
                assert len(call.body) == 100
            assert len(long.body) < 65_535 + 20_000
            caller.conn.increment_flow_control_window(1_000_000)
            caller.conn.increment_flow_control_window(1_000_000, long.id)
            caller.flush()
            await answered(long)
            assert len(long.body) == 200_000
            assert (unread(w), w.hub.memory.held) == (0, 0)

    run(main)


def test_a_caller_who_does_not_read_uses_up_its_own_share_only() -> None:
    async def main() -> None:
        async with world(pouring(200_000), service=cart()) as w:
            w.hub.memory.limit = 4_000_000
            deaf = await w.client(settings={4: 0})
            other = await w.client()
            asked = [deaf.request(GRPC) for _ in range(10)]
            await until(lambda: sum(call.ended or call.reset is not None for call in asked) >= 4, "some to be given up")
            assert unread(w) <= 1_048_576 + 200_000
            assert {call.trailers.get("mesh-reason") for call in asked if call.ended} == {"stalled_reader"}
            # The endpoint's connection is the same one, and goes on.
            assert len(w.upstreams[0].peers) == 1
            call = await answered(other.request(GRPC))
            assert len(call.body) == 200_000
            await closed(w, deaf)

    run(main)


def test_small_frames_that_wait_are_joined() -> None:
    async def main() -> None:
        async with world(pouring(5000, piece=1), service=cart()) as w:
            deaf = await w.client(settings={4: 0})
            call = deaf.request(GRPC)
            await until(lambda: unread(w) == 5000, "all of the answer to wait")
            (relay,) = relays(w)
            assert 5 <= sum(isinstance(item, bytes) for item, _, _ in relay.response) <= 7
            assert w.hub.memory.held == 5000
            deaf.conn.increment_flow_control_window(10_000, call.id)
            deaf.flush()
            await answered(call)
            assert call.body == b"x" * 5000
            assert w.hub.memory.held == 0

    run(main)


def test_small_frames_of_a_request_are_joined() -> None:
    async def main() -> None:
        held = asyncio.Event()

        async def late(call: Call) -> None:
            await held.wait()
            call.peer.conn.increment_flow_control_window(10_000, call.id)
            call.peer.flush()
            await until(lambda: call.ended)
            call.answer(bytes(call.body))

        def script(call: Call) -> Any:
            return asyncio.get_running_loop().create_task(late(call))

        async with world(Upstream(script, settings={4: 0}), service=cart()) as w:
            caller = await w.client()
            call = caller.request(GRPC, end=False)
            await until(lambda: w.upstreams[0].calls)
            for _ in range(3000):
                call.send(b"y")
            call.end()
            await until(lambda: relays(w)[0].pending and w.hub.memory.held == 3000, "all of it to wait")
            assert len(relays(w)[0].pending) <= 4
            held.set()
            await answered(call)
            assert call.body == b"y" * 3000

    run(main)


def test_memory_is_given_back_however_a_request_ends() -> None:
    async def main() -> None:
        async with world(pouring(100_000), service=cart()) as w:
            deaf = await w.client(settings={4: 0})
            calls = [deaf.request(GRPC) for _ in range(4)]
            await until(lambda: unread(w) == 400_000, "all answers to wait")
            calls[0].cancel()
            await until(lambda: unread(w) == 300_000)
            assert w.hub.memory.held == 300_000
            w.upstreams[0].peers[0].transport.abort()  # the rest is here already, or fails
            await until(lambda: w.hub.memory.held == 0, "memory of a connection that is gone")
            deaf.transport.abort()
            await until(lambda: not w.acceptor.connections)

    run(main)
