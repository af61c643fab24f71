"""Peers of the gRPC client in tests: grpcio's server, and a scripted HTTP/2 server for what no server should do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import pytest

from mesh.balance.rng import Rng
from mesh.dataplane import loop
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Recorder
from mesh.dataplane.rpc import Channel
from mesh.errors import UpstreamError


def run(test: Callable[[Hub], Awaitable[None]]) -> None:
    """Run `test` on a loop of its own; it hangs for 10 s at most."""

    async def main() -> None:
        async with asyncio.timeout(10):
            await test(Hub(asyncio.get_running_loop(), Rng(1), Recorder(1)))
            await asyncio.sleep(0)

    loop.run(main())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread or the peer does."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def status_of(call: Awaitable[Any]) -> tuple[int, str]:
    with pytest.raises(UpstreamError) as caught:
        await call
    return caught.value.status, caught.value.message


class Methods(grpc.GenericRpcHandler):
    """What the server can do, by the last part of the path."""

    def __init__(self) -> None:
        self.seen: list[tuple[tuple[str, str], ...]] = []
        self.time_remaining: float | None = None
        self.begun = threading.Event()  # a method that hangs would be told of a cancellation now
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
        if not context.add_callback(self.cancelled.set):
            self.cancelled.set()
        self.begun.set()
        self.release.wait(5)
        return b""

    def many(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for number in range(int(request)):
            yield b"%06d" % number + bytes(1000)

    def watch(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        if not context.add_callback(self.cancelled.set):
            self.cancelled.set()
        self.begun.set()
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


@asynccontextmanager
async def channel_to(hub: Hub, *ports: int, **options: float) -> AsyncIterator[Channel]:
    channel = Channel(hub, [("127.0.0.1", port) for port in ports], **options)
    try:
        yield channel
    finally:
        await channel.close()


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


FRAME = b"\x00\x00\x00\x00\x02hi"  # a message


def with_peer(test: Callable[[Channel, Peer], Awaitable[None]], *script: Step, ping_acks: bool = True,
              **options: float) -> None:
    async def main(hub: Hub) -> None:
        peers: list[Peer] = []

        def accept() -> Peer:
            peers.append(Peer(list(script), ping_acks))
            return peers[-1]

        server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
        async with server, channel_to(hub, server.sockets[0].getsockname()[1], **options) as channel:
            try:
                await channel.connect()
                await test(channel, peers[0])
            finally:
                await channel.close()
                for peer in peers:
                    await peer.lost

    run(main)
