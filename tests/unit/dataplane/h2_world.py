"""A small world for the HTTP/2 data path: our proxy between scripted peers that speak the `h2` package's HTTP/2.

Real sockets on loopback, one event loop, no sleeps: tests wait for what they expect.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

from mesh.balance.rng import Rng
from mesh.dataplane import loop
from mesh.dataplane.acceptor import HttpAcceptor
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.listener import Port
from mesh.dataplane.record import CLIENT, Record, Recorder
from mesh.model import Endpoint, Service

GRPC = [(":method", "POST"), (":scheme", "http"), (":path", "/shop.Cart/Add"), (":authority", "cart"),
        ("content-type", "application/grpc"), ("te", "trailers")]
PLAIN = [(":method", "GET"), (":scheme", "http"), (":path", "/things"), (":authority", "cart")]
OK = [(":status", "200"), ("content-type", "application/grpc")]
DONE = [("grpc-status", "0")]
WAIT = 5.0


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop.run(main())


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait for `condition` to hold, giving the loop turns; fails after WAIT seconds."""
    deadline = asyncio.get_running_loop().time() + WAIT
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"{what} did not come about within {WAIT:g} s")
        await asyncio.sleep(0.001)


class Call:
    """One stream as a scripted peer sees it."""

    def __init__(self, peer: Peer, stream_id: int) -> None:
        self.peer = peer
        self.id = stream_id
        self.headers: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self.informational: list[dict[str, str]] = []
        self.body = bytearray()
        self.ended = False
        self.reset: int | None = None

    def send_headers(self, headers: list[tuple[str, str]], end: bool = False) -> None:
        self.peer.conn.send_headers(self.id, headers, end_stream=end)
        self.peer.flush()

    def send(self, data: bytes, end: bool = False) -> None:
        """At most what the windows allow."""
        self.peer.conn.send_data(self.id, data, end_stream=end)
        self.peer.flush()

    def end(self) -> None:
        self.peer.conn.end_stream(self.id)
        self.peer.flush()

    def cancel(self, code: int = 8) -> None:
        self.peer.conn.reset_stream(self.id, code)
        self.peer.flush()

    def answer(self, body: bytes = b"", status: str = "0") -> None:
        """A whole gRPC answer."""
        self.send_headers(OK)
        if body:
            self.send(body)
        self.send_headers([("grpc-status", status)], end=True)


class Peer(asyncio.Protocol):
    """A scripted HTTP/2 peer in either role.

    `script(call)` runs at a server when the headers of a request are there.
    """

    def __init__(self, client: bool, script: Callable[[Call], object] | None = None, *, acknowledge: bool = True,
                 settings: dict[int, int] | None = None) -> None:
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding="utf-8"))
        self.calls: dict[int, Call] = {}
        self.script = script
        self.acknowledge = acknowledge
        self.settings = settings
        self.transport: Any = None
        self.aborted = False
        self.lost = False
        self.goaway: list[tuple[int, int]] = []
        self._unread = b""

    def abort(self) -> None:
        """End the connection, also one that is still being accepted."""
        self.aborted = True
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.aborted:
            transport.abort()
            return
        if self.settings and not self.conn.config.client_side:  # a client's preface comes first
            self.conn.update_settings({})
        self.conn.initiate_connection()
        if self.settings:
            self.conn.update_settings(self.settings)
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if not self.conn.config.client_side and self._unread[:3] == b"PRI":
            self._feed(24)
        while len(self._unread) >= 9:
            size = 9 + int.from_bytes(self._unread[:3], "big")
            if len(self._unread) < size:
                break
            if self._unread[3] == 7:  # the h2 package takes no frame after GOAWAY, RFC 9113 6.8 has open streams go on
                self.goaway.append((int.from_bytes(self._unread[9:13], "big"),
                                    int.from_bytes(self._unread[13:17], "big")))
                self._unread = self._unread[size:]
            else:
                self._feed(size)
        self.flush()

    def _feed(self, size: int) -> None:
        data, self._unread = self._unread[:size], self._unread[size:]
        for event in self.conn.receive_data(data):
            self._on(event)

    def _on(self, event: Any) -> None:
        stream_id = getattr(event, "stream_id", None)
        if not stream_id:
            return
        call = self.calls.setdefault(stream_id, Call(self, stream_id))
        if isinstance(event, (h2.events.RequestReceived, h2.events.ResponseReceived)):
            call.headers = dict(event.headers)
            if self.script is not None:
                self.script(call)
        elif isinstance(event, h2.events.InformationalResponseReceived):
            call.informational.append(dict(event.headers))
        elif isinstance(event, h2.events.TrailersReceived):
            call.trailers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            call.body += event.data
            if self.acknowledge and event.flow_controlled_length:
                self.conn.acknowledge_received_data(event.flow_controlled_length, stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            call.ended = True
        elif isinstance(event, h2.events.StreamReset):
            call.reset = event.error_code

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: object) -> None:
        self.lost = True

    def flush(self) -> None:
        if self.transport is not None and (data := self.conn.data_to_send()):
            self.transport.write(data)

    def request(self, headers: list[tuple[str, str]], end: bool = True) -> Call:
        """Open a stream as a client."""
        call = Call(self, self.conn.get_next_available_stream_id())
        self.calls[call.id] = call
        self.conn.send_headers(call.id, headers, end_stream=end)
        self.flush()
        return call


class Upstream:
    """A scripted server; `calls` in the order in which their headers came."""

    def __init__(self, script: Callable[[Call], object] | None = None, **peer: Any) -> None:
        self.calls: list[Call] = []
        self.peers: list[Peer] = []
        self.script = script
        self._peer = peer
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> Upstream:
        self._server = await asyncio.get_running_loop().create_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def _accept(self) -> Peer:
        peer = Peer(False, self._called, **self._peer)
        self.peers.append(peer)
        return peer

    def _called(self, call: Call) -> None:
        self.calls.append(call)
        if self.script is not None:
            self.script(call)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for peer in self.peers:
            peer.abort()


def listening(host: str = "127.0.0.1") -> socket.socket:
    """A socket that listens at a free port."""
    sock = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setblocking(False)
    return sock


class Clock:
    """A clock that stands still until it is moved, or let go at the end of a test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._since: float | None = None

    def __call__(self) -> float:
        return self.now if self._since is None else self.now + time.monotonic() - self._since

    def run(self) -> None:
        self._since = time.monotonic()


class World:
    """Our proxy in one direction: `peer` calls it, it calls the upstreams."""

    def __init__(self, kind: int = CLIENT, parent_based: bool = True, root_always: bool = True,
                 clock: Clock | None = None) -> None:
        self.clock = clock
        self.hub = Hub(asyncio.get_running_loop(), Rng(7), Recorder(1000), clock)
        self.cluster = Cluster(self.hub, "cart")
        self.entry = Entry(self.hub, kind, self.cluster, None, True, parent_based, root_always, 0)
        self.acceptor = HttpAcceptor(self.hub, self.entry)
        self.port = Port(self.hub, listening(), self.accept)
        self.upstreams: list[Upstream] = []
        self.peers: list[Peer] = []

    def accept(self, fd: int, host: str, port: int) -> None:
        self.acceptor.accept(fd, host, port, 2)

    async def client(self, **options: Any) -> Peer:
        _, peer = await asyncio.get_running_loop().create_connection(lambda: Peer(True, **options), *self.port.address)
        self.peers.append(peer)
        return peer

    def records(self) -> list[Record]:
        return self.hub.recorder.drain(1000)

    def idle(self) -> bool:
        """Nothing is open: no exchange, no timer, nothing in flight, waiting or repeated."""
        return (self.entry.active == 0 and self.hub.timers.armed == 0
                and all(node.in_flight == node.pending == node.retries == 0 for node in self.cluster.nodes.nodes))


@contextlib.asynccontextmanager
async def world(*scripts: Callable[[Call], object] | Upstream | None, service: Service | None = None, dead: int = 0,
                **options: Any) -> AsyncIterator[World]:
    """A proxy in front of one scripted endpoint per script, named a, b, c ...; `dead` more refuse connections.

    The picker is round robin unless `service` says otherwise, so the first call goes to `a`.
    """
    made = World(**options)
    endpoints = []
    for index, script in enumerate(scripts):
        upstream = script if isinstance(script, Upstream) else Upstream(script)
        made.upstreams.append(await upstream.start())
        endpoints.append(Endpoint("cart", chr(ord("a") + index), "127.0.0.1", upstream.port))
    for index in range(dead):
        endpoints.append(Endpoint("cart", f"dead-{index}", "127.0.0.1", await _unused_port()))
    if service is not None:
        made.cluster.update_service(service)
        made.cluster.update_endpoints(endpoints)
        while endpoints and made.cluster.pick(0, None).endpoint.name != endpoints[-1].name:
            pass  # round robin starts anywhere; the next pick is `a`
    made.port.start()
    try:
        yield made
        if made.clock is not None:
            made.clock.run()
        await until(made.idle, "an idle proxy")
    finally:
        made.port.close()
        for peer in made.peers:
            peer.transport.abort()
        for each in made.upstreams:
            each.close()
        await until(lambda: made.hub.transports == 0, "the end of all connections")
        await until(lambda: made.hub.watched == 0, "the last descriptor")
        await until(lambda: not any(node.pool is not None and node.pool.connecting
                                    for node in made.cluster.nodes.nodes), "the end of all connects")
        peers = [*made.peers, *(peer for each in made.upstreams for peer in each.peers)]
        await until(lambda: all(peer.lost for peer in peers), "the end of all peers")


async def _unused_port() -> int:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    return port


async def answered(call: Call) -> Call:
    """Wait for the end of a call, however it ends."""
    await until(lambda: call.ended or call.reset is not None, f"an answer on stream {call.id}")
    return call


