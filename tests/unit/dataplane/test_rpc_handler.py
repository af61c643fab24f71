"""The seam between codec and gRPC client: callbacks arrive, commands go out, nothing happens after the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from rpc_peers import FRAME, OK_HEAD, Peer, answer, run, until

from mesh.dataplane.hub import Hub
from mesh.dataplane.rpc_handler import RpcHandler
from mesh.dataplane.transport import Transport
from mesh.wire.h2 import Connection
from mesh.wire.hpack import Head, make_head

HEAD = make_head([(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/t.T/x"),
                  (b"te", b"trailers"), (b"content-type", b"application/grpc")])


class Events:
    """Both the listener of a connection and the owner of a stream."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_settings(self) -> None:
        self.seen.append("settings")

    def on_goaway(self, code: int, debug: bytes) -> None:
        self.seen.append(("goaway", code, debug))

    def on_lost(self, exc: object) -> None:
        self.seen.append("lost")

    def on_headers(self, head: Head, end: bool) -> None:
        self.seen.append((head.status or head.grpc_status, bool(end)))

    def on_data(self, data: bytes, credit: int, end: bool) -> None:
        self.seen.append((data, credit, bool(end)))

    def on_reset(self, code: int) -> None:
        self.seen.append(("reset", code))

    def on_writable(self) -> None:
        self.seen.append("writable")

    def on_connection_lost(self) -> None:
        self.seen.append("connection lost")


class World:
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.events = Events()
        self.handler = RpcHandler(hub, self.events)
        self.transport = Transport(Connection(True, self.handler, hub.dirty), self.handler, hub)


def connected(test: Callable[[World, Peer], Awaitable[None]], *script: Any) -> None:
    async def main(hub: Hub) -> None:
        world = World(hub)
        assert not world.handler.usable()
        assert world.handler.active() == 0
        peers: list[Peer] = []

        def accept() -> Peer:
            peers.append(Peer(list(script)))
            return peers[-1]

        server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
        async with server:
            await world.transport.connect(*server.sockets[0].getsockname())
            await until(lambda: "settings" in world.events.seen)
            world.events.seen.clear()
            try:
                await test(world, peers[0])
            finally:
                world.transport.abort()
                await peers[0].lost

    run(main)


def test_a_call_from_headers_to_trailers() -> None:
    async def test(world: World, peer: Peer) -> None:
        heard = world.handler.heard
        stream = world.handler.open(world.events, HEAD, b"1S")
        assert world.handler.send(stream, FRAME, 0, True) == len(FRAME)
        assert world.handler.active() == 1
        world.hub.flush()
        await until(lambda: (0, True) in world.events.seen)
        assert [event for event in world.events.seen if event != "writable"] == [
            (200, False), (FRAME, len(FRAME), False), (0, True)]
        world.handler.release(stream, len(FRAME))
        assert world.handler.heard >= heard + 3
        assert world.handler.active() == 0

    connected(test, answer(OK_HEAD, FRAME, [("grpc-status", "0")]))


def test_send_takes_what_the_window_allows_and_goes_on_when_told() -> None:
    async def test(world: World, peer: Peer) -> None:
        stream = world.handler.open(world.events, HEAD, None)
        data = bytes(100_000)
        sent = world.handler.send(stream, data, 0, True)
        assert sent == 65_535  # the initial window of RFC 9113
        assert world.handler.send(stream, data, sent, True) == 0
        world.hub.flush()
        await until(lambda: "writable" in world.events.seen)
        peer.conn.increment_flow_control_window(100_000)
        peer.conn.increment_flow_control_window(100_000, 1)
        peer.flush()
        world.events.seen.clear()
        await until(lambda: world.events.seen.count("writable") >= 2)
        assert world.handler.send(stream, data, sent, True) == len(data) - sent
        assert world.handler.send(stream, b"", 0, False) == 0

    def acknowledge_nothing(conn: Any, stream: int) -> None:
        conn.increment_flow_control_window(1)

    connected(test, acknowledge_nothing)


def test_reset_goaway_ping_and_loss() -> None:
    async def test(world: World, peer: Peer) -> None:
        world.handler.ping(b"12345678")
        first = world.handler.open(world.events, HEAD, None)
        second = world.handler.open(world.events, HEAD, None)
        world.handler.reset(first, 8)
        world.hub.flush()
        await until(lambda: peer.pings == 1 and peer.resets == [8])
        assert world.handler.active() == 1
        peer.conn.close_connection(11, b"calm", last_stream_id=3)
        peer.flush()
        await until(lambda: ("goaway", 11, b"calm") in world.events.seen)
        assert not world.handler.usable()
        peer.transport.close()
        await until(lambda: "lost" in world.events.seen)
        assert world.events.seen[-2:] == ["connection lost", "lost"]
        # afterwards nothing has an effect, and nothing raises
        assert world.handler.send(second, b"x", 0, True) == -1
        world.handler.reset(second, 8)
        world.handler.release(second, 1)
        world.handler.ping(b"12345678")
        world.hub.flush()

    connected(test)


def test_a_stream_without_owner_is_still_given_window() -> None:
    sent = 13 * 16_384  # more than half of the 256 KiB that a stream starts with

    async def test(world: World, peer: Peer) -> None:
        world.handler.open(None, HEAD, None)
        world.hub.flush()
        await until(lambda: 1 in peer.conn.streams and peer.conn.local_flow_control_window(1) > 262_144 - sent)
        assert set(world.events.seen) <= {"writable"}

    def pour(conn: Any, stream: int) -> None:
        conn.send_headers(stream, OK_HEAD)
        for _ in range(13):
            conn.send_data(stream, bytes(16_384))

    connected(test, pour)
