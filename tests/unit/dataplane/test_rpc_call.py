"""One call: messages both ways, how it ends, and everything a peer can answer that it shouldn't."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import h2.connection
import h2.errors
import pytest
from rpc_peers import FRAME, OK_HEAD, Methods, Peer, Step, answer, channel_to, run, serving, status_of, until, with_peer

from mesh.dataplane.hub import Hub
from mesh.dataplane.rpc import Channel
from mesh.errors import UpstreamError


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


def test_errors_carry_status_and_text(server: tuple[int, Methods]) -> None:
    async def test(hub: Hub) -> None:
        async with channel_to(hub, server[0]) as channel:
            status, message = await status_of(channel.unary("/t.T/fail", b"", 3.0))
            assert status == 9
            assert message == f"127.0.0.1:{server[0]}/t.T/fail: nö: 100 %\nof it"
            assert (await status_of(channel.unary("/t.T/nothing", b"", 3.0)))[0] == 12
            assert await channel.unary("/t.T/echo", b"still", 3.0) == b"still"

    run(test)


def test_bidirectional_stream(server: tuple[int, Methods]) -> None:
    async def test(hub: Hub) -> None:
        async with channel_to(hub, server[0]) as channel:
            call = await channel.stream("/t.T/chat", [("x", "y")])
            for word in (b"one", b"two"):
                await call.send(word)
                assert await anext(call) == word.upper()
            call.send_nowait(b"three")
            call.end_sending()
            assert [message async for message in call] == [b"THREE"]
            with pytest.raises(UpstreamError, match="is over"):
                await call.send(b"late")
            call.cancel()

    run(test)


def test_stream_error_after_messages(server: tuple[int, Methods]) -> None:
    async def test(hub: Hub) -> None:
        async with channel_to(hub, server[0]) as channel:
            call = await channel.stream("/t.T/chat")
            call.send_nowait(b"fine")
            call.send_nowait(b"fail")
            assert await anext(call) == b"FINE"
            status, message = await status_of(anext(call))
            assert (status, message.rpartition(": ")[2]) == (15, "as asked")
            assert (await status_of(anext(call)))[0] == 15

    run(test)


def test_slow_reader_holds_the_sender_back_and_loses_nothing(server: tuple[int, Methods]) -> None:
    async def test(hub: Hub) -> None:
        async with channel_to(hub, server[0]) as channel:
            call = await channel.stream("/t.T/many")
            call.send_nowait(b"3000", end=True)
            await asyncio.sleep(0.05)  # 3 MB would be here by now if nothing held them back
            numbers = [int(message[:6]) async for message in call]
            assert numbers == list(range(3000))

    run(test)


def test_cancel_reaches_the_server(server: tuple[int, Methods]) -> None:
    port, methods = server

    async def test(hub: Hub) -> None:
        async with channel_to(hub, port) as channel:
            call = await channel.stream("/t.T/watch")
            call.send_nowait(b"", end=True)
            assert await anext(call) == b"first"
            call.cancel()
            call.cancel()
            assert (await status_of(anext(call)))[0] == 1
            assert await asyncio.to_thread(methods.cancelled.wait, 3)

    run(test)


@pytest.mark.parametrize(("step", "status", "says"), [
    (answer([(":status", "503")]), 14, "HTTP status 503"),
    (answer([(":status", "404")]), 12, "HTTP status 404"),
    (answer([(":status", "401")], b"no"), 16, "HTTP status 401"),
    (answer([(":status", "503"), ("grpc-status", "8"), ("grpc-message", "a%20b")]), 8, "a b"),
    (answer([*OK_HEAD, ("grpc-status", "5")]), 5, "no message"),
    (answer([(":status", "200"), ("content-type", "text/html")], b"<html>"), 2, "not application/grpc"),
    (answer(OK_HEAD, FRAME), 13, "ended without trailers"),
    (answer(OK_HEAD, FRAME, [("x", "y")]), 2, "no grpc-status"),
    (answer(OK_HEAD, FRAME, [("grpc-status", "many")]), 2, "no message"),
    (answer(OK_HEAD, FRAME[:-1], [("grpc-status", "0")]), 13, "cut off"),
    (answer(OK_HEAD, FRAME + FRAME, [("grpc-status", "0")]), 12, "more than one message"),
    (answer(OK_HEAD, [("grpc-status", "0")]), 12, "no message came back"),
    (answer(OK_HEAD, b"\x01" + FRAME[1:], [("grpc-status", "0")]), 13, "compress"),
    (answer(OK_HEAD, b"\x00\x7f\xff\xff\xff", end=False), 13, "message of 2147483647"),
    (lambda conn, stream: conn.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM), 14, "REFUSED_STREAM"),
    (lambda conn, stream: conn.reset_stream(stream, h2.errors.ErrorCodes.CANCEL), 1, "CANCEL"),
    (lambda conn, stream: conn.reset_stream(stream, h2.errors.ErrorCodes.ENHANCE_YOUR_CALM), 8, "ENHANCE_YOUR_CALM"),
    (lambda conn, stream: conn.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR), 13, "INTERNAL_ERROR"),
])
def test_odd_answers(step: Step, status: int, says: str) -> None:
    async def test(channel: Channel, peer: Peer) -> None:
        seen = await status_of(channel.unary("/t.T/x", b"", 3.0))
        assert seen[0] == status
        assert says in seen[1]
        assert await channel.unary("/t.T/x", b"", 3.0) == b"hi"  # on the same connection

    with_peer(test, step, answer(OK_HEAD, FRAME, [("grpc-status", "0")]))


def test_interim_responses_are_skipped() -> None:
    async def test(channel: Channel, peer: Peer) -> None:
        assert await channel.unary("/t.T/x", b"", 3.0) == b"hi"

    with_peer(test, answer([(":status", "103"), ("link", "x")], OK_HEAD, FRAME, [("grpc-status", "0")]))


def test_an_early_ok_resets_the_unfinished_request() -> None:
    async def test(channel: Channel, peer: Peer) -> None:
        call = await channel.stream("/t.T/x")
        assert [message async for message in call] == [b"hi"]
        await until(lambda: bool(peer.resets))

    with_peer(test, answer(OK_HEAD, FRAME, [("grpc-status", "0")]))


def test_connection_lost_in_mid_call() -> None:
    async def test(channel: Channel, peer: Peer) -> None:
        call = await channel.stream("/t.T/x")
        assert await anext(call) == b"hi"
        peer.transport.close()
        status, message = await status_of(anext(call))
        assert status == 14
        assert message.endswith("/t.T/x: the connection broke")

    with_peer(test, answer(OK_HEAD, FRAME, end=False))
