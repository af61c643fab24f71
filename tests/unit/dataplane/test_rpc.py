"""The sidecar's own gRPC client: connecting, sharing, deadlines, failover, keepalive, the end of connections."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import h2.connection
import h2.errors
import pytest
from rpc_peers import FRAME, OK_HEAD, Methods, Peer, answer, channel_to, run, serving, status_of, until, with_peer

from mesh.dataplane.hub import Hub
from mesh.dataplane.rpc import Channel


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[int, Methods]]:
    with serving() as server:
        yield server


@pytest.fixture
def server(shared: tuple[int, Methods]) -> tuple[int, Methods]:
    shared[1].begun.clear()
    shared[1].cancelled.clear()
    shared[1].release.clear()
    shared[1].seen.clear()
    return shared


def test_unary_with_metadata_and_deadline(server: tuple[int, Methods]) -> None:
    port, methods = server

    async def test(hub: Hub) -> None:
        async with channel_to(hub, port) as channel:
            assert await channel.unary("/t.T/echo", b"hello", 3.0, [("api-key", "k")]) == b"hello"
            assert await channel.unary("/t.T/echo", b"", 3.0) == b""
            for number in range(50):
                assert await channel.unary("/t.T/echo", b"%d" % number, 3.0) == b"%d" % number

    run(test)
    assert ("api-key", "k") in methods.seen[0]
    assert dict(methods.seen[0])["user-agent"].startswith("mesh-sidecar/")
    assert methods.time_remaining is not None
    assert 1.0 < methods.time_remaining <= 3.0


def test_big_messages_both_ways(server: tuple[int, Methods]) -> None:
    big = bytes(range(256)) * 16_000  # 4,096,000 bytes: just under the limit, far over every window

    async def test(hub: Hub) -> None:
        async with channel_to(hub, server[0]) as channel:
            answers = await asyncio.gather(*(channel.unary("/t.T/echo", big, 8.0) for _ in range(3)))
            assert all(answer == big for answer in answers)

    run(test)


def test_many_concurrent_calls_share_one_connection(server: tuple[int, Methods]) -> None:
    async def test(hub: Hub) -> None:
        async with channel_to(hub, server[0]) as channel:
            answers = await asyncio.gather(*(channel.unary("/t.T/echo", b"%d" % n, 8.0) for n in range(80)))
            assert answers == [b"%d" % n for n in range(80)]
            assert hub.transports == 1

    run(test)


def test_deadline_cancels_at_the_server(server: tuple[int, Methods]) -> None:
    port, methods = server

    async def test(hub: Hub) -> None:
        async with channel_to(hub, port) as channel:
            assert await status_of(channel.unary("/t.T/hang", b"", 0.05)) == (4, "/t.T/hang: no answer within 0.05 s")
            assert await asyncio.to_thread(methods.cancelled.wait, 3)

    run(test)


def test_cancelled_caller_cancels_at_the_server(server: tuple[int, Methods]) -> None:
    port, methods = server

    async def test(hub: Hub) -> None:
        async with channel_to(hub, port) as channel:
            task = asyncio.ensure_future(channel.unary("/t.T/hang", b"", 5.0))
            await until(methods.begun.is_set)
            task.cancel()
            assert await asyncio.to_thread(methods.cancelled.wait, 3)
            with pytest.raises(asyncio.CancelledError):
                await task

    run(test)


def test_server_restart_breaks_calls_and_the_next_call_connects_anew() -> None:
    async def test(hub: Hub) -> None:
        with serving() as (port, _):
            channel = Channel(hub, [("127.0.0.1", port)])
            call = await channel.stream("/t.T/chat")
            await call.send(b"x")
            assert await anext(call) == b"X"
            stopping = asyncio.ensure_future(status_of(anext(call)))
            await asyncio.sleep(0)
        assert (await stopping)[0] in (1, 14)
        status, message = await status_of(channel.unary("/t.T/echo", b"", 3.0))
        assert status == 14
        assert f"127.0.0.1:{port}: Connection refused" in message
        with serving(port):
            assert await channel.unary("/t.T/echo", b"back", 3.0) == b"back"
        await channel.close()

    run(test)


def test_failover_to_the_target_that_answers_and_stays_there(server: tuple[int, Methods]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refuses

        async def test(hub: Hub) -> None:
            async with channel_to(hub, closed.getsockname()[1], server[0]) as channel:
                assert await channel.unary("/t.T/echo", b"a", 3.0) == b"a"
                assert channel.target == ("127.0.0.1", server[0])

        run(test)


def test_a_target_that_never_answers_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # the kernel accepts, nobody speaks
        port = silent.getsockname()[1]

        async def test(hub: Hub) -> None:
            async with channel_to(hub, port, connect_timeout=0.05) as channel:
                assert await status_of(channel.unary("/t.T/echo", b"", 3.0)) == (
                    14, f"127.0.0.1:{port}: no answer within 0.05 s")
                assert hub.transports == 0

        run(test)


def test_closed_channel() -> None:
    async def test(hub: Hub) -> None:
        channel = Channel(hub, [("127.0.0.1", 1)])
        await channel.close()
        assert await status_of(channel.unary("/t.T/echo", b"", 3.0)) == (14, "the channel is closed")

    run(test)
    with pytest.raises(ValueError, match="needs a target"):
        Channel(None, [])  # type: ignore[arg-type]


def test_goaway_finishes_old_calls_and_sends_new_ones_elsewhere() -> None:
    async def test(channel: Channel, peer: Peer) -> None:
        old = await channel.stream("/t.T/x")
        assert await anext(old) == b"hi"
        peer.conn.close_connection(last_stream_id=1)
        peer.conn.state_machine.state = h2.connection.ConnectionState.SERVER_OPEN  # graceful: hyper-h2 has no other way
        peer.flush()
        await asyncio.sleep(0.01)
        fresh = await channel.stream("/t.T/x")
        assert await anext(fresh) == b"hi"
        assert not peer.lost.done()
        peer.conn.send_headers(1, [("grpc-status", "0")], end_stream=True)
        peer.flush()
        assert [message async for message in old] == []
        await peer.lost  # nothing runs on it any more
        fresh.cancel()

    with_peer(test, answer(OK_HEAD, FRAME, end=False))


def test_keepalive_pings_only_in_silence_and_notices_death() -> None:
    async def test(channel: Channel, peer: Peer) -> None:
        await asyncio.sleep(0.05)
        assert peer.pings == 0  # no call: no ping
        call = await channel.stream("/t.T/x")
        started = time.monotonic()
        status, message = await status_of(anext(call))
        assert status == 14
        assert message.endswith("the connection broke")
        assert peer.pings == 1
        assert time.monotonic() - started < 2

    with_peer(test, lambda conn, stream: None, ping_acks=False, keepalive=0.02, keepalive_timeout=0.02)


def test_keepalive_answers_keep_a_silent_call_alive() -> None:
    async def test(channel: Channel, peer: Peer) -> None:
        call = await channel.stream("/t.T/x")
        await until(lambda: peer.pings >= 3)
        peer.conn.send_headers(1, [*OK_HEAD, ("grpc-status", "0")], end_stream=True)
        peer.flush()
        assert [message async for message in call] == []

    with_peer(test, lambda conn, stream: None, keepalive=0.02, keepalive_timeout=0.02)


def test_too_many_pings_doubles_the_interval() -> None:
    async def test(channel: Channel, peer: Peer) -> None:
        peer.conn.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_pings")
        peer.flush()
        await peer.lost
        assert channel.keepalive == 20.0

    with_peer(test, keepalive=10.0)


def test_a_peer_that_is_no_http2_server() -> None:
    async def test(hub: Hub) -> None:
        def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example ESMTP ready, and some more text\r\n")
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with channel_to(hub, port) as channel:
            status, message = await status_of(channel.unary("/t.T/x", b"", 3.0))
            assert (status, message) == (14, f"127.0.0.1:{port}: the peer does not speak HTTP/2")
        server.close()

    run(test)


def test_stream_limit_of_the_peer() -> None:
    async def test(channel: Channel, peer: Peer) -> None:
        peer.conn.update_settings({3: 1})  # MAX_CONCURRENT_STREAMS
        peer.flush()
        await asyncio.sleep(0.01)
        call = await channel.stream("/t.T/x")
        assert await status_of(channel.unary("/t.T/x", b"", 3.0)) == (
            8, "the peer takes no more calls on this connection")
        call.cancel()

    with_peer(test)
