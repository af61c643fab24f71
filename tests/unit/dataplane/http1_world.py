"""A proxy of HTTP/1.1 between blocking sockets of a test, with a clock that the test moves.

What lives here: plumbing. What this must not know: what a test asserts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from h2_world import listening, until

from mesh.balance.rng import Rng
from mesh.dataplane import loop
from mesh.dataplane.acceptor import HttpAcceptor, Limits
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.listener import Port
from mesh.dataplane.record import CLIENT, Recorder
from mesh.model import Endpoint, Protocol, Service

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"


class World:
    """One endpoint that `serve` plays; `connections` counts those it accepted, `now` is the proxy's time.

    `version`: of the HTTP that the next callers speak.
    """

    def __init__(self, serve: Serve, limits: Limits | None = None) -> None:
        self.now = 1000.0
        self.version = 1
        self.hub = Hub(asyncio.get_running_loop(), Rng(7), Recorder(1000), clock=lambda: self.now)
        self.cluster = Cluster(self.hub, "shop")
        self.entry = Entry(self.hub, CLIENT, self.cluster, None, True, True, True, 0)
        self.acceptor = HttpAcceptor(self.hub, self.entry, limits)
        self.port = Port(self.hub, listening(), self.accept)
        self.connections = 0
        self._serve = serve
        self._writers: list[asyncio.StreamWriter] = []

    def accept(self, fd: int, host: str, port: int) -> None:
        self.acceptor.accept(fd, host, port, self.version)

    async def served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._serve(reader, writer)

    async def caller(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.port.address)
        self._writers.append(writer)
        return reader, writer

    @property
    def pool(self) -> Any:
        return self.cluster.nodes.nodes[0].pool

    def pass_time(self, seconds: float) -> None:
        """Move the clock and let what is due happen."""
        self.now += seconds
        self.hub.timers.advance(self.hub.touch())
        self.acceptor.sweep()
        self.hub.flush()

    def close(self) -> None:
        self.port.close()
        self.cluster.close()
        for writer in self._writers:
            writer.close()


@contextlib.asynccontextmanager
async def world(serve: Serve, limits: Limits | None = None) -> AsyncIterator[World]:
    made = World(serve, limits)
    server = await asyncio.start_server(made.served, "127.0.0.1", 0)
    made.cluster.update_service(Service("shop", Protocol.HTTP1))
    made.cluster.update_endpoints([Endpoint("shop", "a", *server.sockets[0].getsockname()[:2])])
    made.port.start()
    try:
        yield made
    finally:
        made.close()
        server.close()
        await until(lambda: made.hub.transports == 0, "the end of all connections")


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The head of the next answer; its body, by content-length, is read away."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length: "):
            await reader.readexactly(int(line[16:]))
    return head


async def ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request without a body."""
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop.run(main())
