"""The sidecar's own gRPC client against grpcio's server, and a scripted HTTP/2 peer for what no server should do."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
import uvloop

from mesh.balance.rng import Rng
from mesh.dataplane.h2transport import Hub
from mesh.dataplane.record import Recorder
from mesh.dataplane.rpc import Channel
from mesh.errors import UpstreamError


def run(test: Callable[[Hub], Awaitable[None]]) -> None:
    """Run `test` on a loop of its own; it hangs for 10 s at most."""

    async def main() -> None:
        async with asyncio.timeout(10):
            await test(Hub(asyncio.get_running_loop(), Rng(1), Recorder(1)))
            await asyncio.sleep(0)

    uvloop.run(main())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread or the peer does."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def status_of(call: Awaitable[Any]) -> tuple[int, str]:
    with pytest.raises(UpstreamError) as caught:
        await call
    return caught.value.status, caught.value.message


# -- grpcio's server


class Methods(grpc.GenericRpcHandler):
    """What the server can do, by the last part of the path."""

    def __init__(self) -> None:
        self.seen: list[tuple[tuple[str, str], ...]] = []
        self.time_remaining: float | None = None
        self.cancelled = threading.Event()
        self.release = threading.Event()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        name = details.method.rpartition("/")[2]
        handler = getattr(self, name, None)
        if handler is None:
            return None
        self.seen.append(tuple(details.invocation_metadata))
        if name == "chat":
            return grpc.stream_stream_rpc_method_handler(handler)
        if name in ("many", "watch"):
            return grpc.unary_stream_rpc_method_handler(handler)
        return grpc.unary_unary_rpc_method_handler(handler)

    def echo(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.time_remaining = context.time_remaining()
        return request

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "nö: 100 %\nof it")
        raise AssertionError

    def hang(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.cancelled.set)
        self.release.wait(5)
        return b""

    def many(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for number in range(int(request)):
            yield b"%06d" % number + bytes(1000)

    def watch(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.cancelled.set)
        yield b"first"
        self.release.wait(5)

    def chat(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            if request == b"fail":
                context.abort(grpc.StatusCode.DATA_LOSS, "as asked")
            yield request.upper()


@contextmanager
def serving(port: int = 0) -> Iterator[tuple[int, Methods]]:
    methods = Methods()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[methods], options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield port, methods
    finally:
        methods.release.set()
        server.stop(None).wait()


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[int, Methods]]:
    with serving() as server:
        yield server


@pytest.fixture
def server(shared: tuple[int, Methods]) -> tuple[int, Methods]:
    shared[1].cancelled.clear()
    shared[1].release.clear()
    shared[1].seen.clear()
    return shared


@asynccontextmanager
async def channel_to(hub: Hub, *ports: int, **options: float) -> AsyncIterator[Channel]:
    channel = Channel(hub, [("127.0.0.1", port) for port in ports], **options)
    try:
        yield channel
    finally:
        await channel.close()


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


def test_errors_carry_status_and_text(server: tuple[int, Methods]) -> None:
    async def test(hub: Hub) -> None:
        async with channel_to(hub, server[0]) as channel:
            status, message = await status_of(channel.unary("/t.T/fail", b"", 3.0))
            assert status == 9
            assert message == f"127.0.0.1:{server[0]}/t.T/fail: nö: 100 %\nof it"
            assert (await status_of(channel.unary("/t.T/nothing", b"", 3.0)))[0] == 12
            assert await channel.unary("/t.T/echo", b"still", 3.0) == b"still"

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
            await until(lambda: bool(methods.seen))
            task.cancel()
            assert await asyncio.to_thread(methods.cancelled.wait, 3)
            with pytest.raises(asyncio.CancelledError):
                await task

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


# -- a scripted peer


class Peer(asyncio.Protocol):
    """An HTTP/2 server (hyper-h2) that answers the n-th request of a connection with the n-th step of its script."""

    def __init__(self, script: list[Callable[[h2.connection.H2Connection, int], None]], ping_acks: bool = True) -> None:
        self.script = list(script)
        self.ping_acks = ping_acks
        self.pings = 0
        self.resets: list[int] = []
        self.lost = asyncio.get_running_loop().create_future()
        config = h2.config.H2Configuration(client_side=False, validate_outbound_headers=False)
        self.conn = h2.connection.H2Connection(config)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.conn.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.transport.write(self.conn.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self.conn.receive_data(data):
            if isinstance(event, h2.events.PingReceived):
                self.pings += 1
                if not self.ping_acks:
                    self.conn.clear_outbound_data_buffer()
            elif isinstance(event, h2.events.RequestReceived) and self.script:
                self.script.pop(0)(self.conn, event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self.resets.append(event.error_code)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


Step = Callable[[h2.connection.H2Connection, int], None]
OK_HEAD = [(":status", "200"), ("content-type", "application/grpc")]


def answer(*parts: Any, end: bool = True) -> Step:
    """Header lists and bytes, sent one after the other; the last ends the stream."""

    def step(conn: h2.connection.H2Connection, stream: int) -> None:
        for number, part in enumerate(parts):
            last = end and number == len(parts) - 1
            if isinstance(part, bytes):
                conn.send_data(stream, part, end_stream=last)
            else:
                conn.send_headers(stream, part, end_stream=last)

    return step


def with_peer(test: Callable[[Channel, Peer], Awaitable[None]], *script: Step, ping_acks: bool = True,
              **options: float) -> None:
    async def main(hub: Hub) -> None:
        peers: list[Peer] = []

        def accept() -> Peer:
            peers.append(Peer(list(script), ping_acks))
            return peers[-1]

        server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
        async with server, channel_to(hub, server.sockets[0].getsockname()[1], **options) as channel:
            await channel.connect()
            await test(channel, peers[0])
        for peer in peers:
            await peer.lost

    run(main)


FRAME = b"\x00\x00\x00\x00\x02hi"


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
