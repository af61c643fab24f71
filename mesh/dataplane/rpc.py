"""The sidecar's own gRPC client, over the same HTTP/2 codec that carries the traffic.

What lives here: Channel, that is one connection to the first of some targets that answers, its keepalive, deadlines.
What this must not know: what is called, and when to try again: callers back off by themselves. grpcio is not used
because it costs a sidecar 27 MB and threads beside the traffic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import mesh
from mesh.dataplane.hub import Hub
from mesh.dataplane.rpc_call import Call
from mesh.dataplane.rpc_handler import RpcHandler
from mesh.dataplane.tasks import spawn
from mesh.dataplane.transport import Transport
from mesh.errors import DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE, UpstreamError
from mesh.wire import errors as h2
from mesh.wire.grpc import format_timeout
from mesh.wire.h2 import Connection
from mesh.wire.hpack import Head, make_head

Metadata = Sequence[tuple[str, str]]

MAX_MESSAGE = 4 << 20  # bytes; what gRPC implementations accept unless told otherwise
KEEPALIVE = 10.0  # seconds of silence on a connection with open calls before a PING
KEEPALIVE_TIMEOUT = 5.0  # seconds for its answer
MAX_HEADS = 64  # encoded request heads kept per connection


class _Connection:
    """One connection, from its first attempt to its end."""

    def __init__(self, channel: Channel, host: str, port: int) -> None:
        self.name = f"{host}:{port}" if ":" not in host else f"[{host}]:{port}"
        self.handler = RpcHandler(channel.hub, self)
        self.transport = Transport(Connection(True, self.handler, channel.hub.dirty), self.handler, channel.hub)
        self.ready: asyncio.Future[None] = channel.hub.loop.create_future()
        self.gone: asyncio.Future[None] = channel.hub.loop.create_future()
        self._channel = channel
        self._address = host, port
        self._heads: dict[tuple[str, tuple[tuple[str, str], ...]], Head] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._retired = False

    async def open(self, timeout: float) -> None:
        """Connect and wait for the peer's SETTINGS, at most `timeout` seconds. Raises OSError, also for a timeout."""
        try:
            async with asyncio.timeout(timeout):
                await self.transport.connect(*self._address)
                await self.ready
        except BaseException:
            self.close()
            raise
        self._watch(self._channel.keepalive, 0)

    def usable(self) -> bool:
        """Whether a call can be started now."""
        return not self._retired and self.handler.usable()

    def full(self) -> bool:
        """Whether the peer's limit of streams is all that is in the way of a call."""
        return not self._retired and not self.transport.closing

    def start(self, path: str, metadata: Metadata, timeout: float | None) -> Call:
        """Open a call. Raises UpstreamError when the connection has been lost meanwhile."""
        if not self.usable():
            raise UpstreamError(UNAVAILABLE, f"{self.name}{path}: the connection broke")
        key = path, tuple(metadata)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= MAX_HEADS:
                self._heads.clear()
            head = self._heads[key] = self._head(path, metadata)
        call = Call(self.handler, f"{self.name}{path}", MAX_MESSAGE, self._channel.hub.flush, self._call_ended)
        call.begin(head, None if timeout is None else format_timeout(timeout))
        self._channel.hub.flush()
        return call

    def _head(self, path: str, metadata: Metadata) -> Head:
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", self.name.encode()),
                  (b":path", path.encode()), (b"te", b"trailers"), (b"content-type", b"application/grpc"),
                  (b"user-agent", f"mesh-sidecar/{mesh.__version__}".encode()), (b"grpc-accept-encoding", b"identity")]
        return make_head(fields + [(name.encode(), value.encode()) for name, value in metadata])

    def close(self) -> None:
        """End it at once, with all its calls."""
        self._retired = True
        if self._timer is not None:
            self._timer.cancel()
        if not self.ready.done():
            self.ready.cancel()
        self.transport.abort()

    def _watch(self, interval: float, heard: int) -> None:
        """Keepalive: after an interval of silence while calls are open, PING; after KEEPALIVE_TIMEOUT more, give up."""
        self._timer = self._channel.hub.loop.call_later(interval, self._check, heard)

    def _check(self, heard: int) -> None:
        if self.handler.heard != heard or self.handler.active() == 0:
            self._watch(self._channel.keepalive, self.handler.heard)
            return
        self.handler.ping(b"mesh-rpc")
        self._channel.hub.flush()
        self._timer = self._channel.hub.loop.call_later(self._channel.keepalive_timeout, self._give_up, heard)

    def _give_up(self, heard: int) -> None:
        if self.handler.heard == heard:
            self.close()
        else:
            self._watch(max(self._channel.keepalive - self._channel.keepalive_timeout, 0.0), self.handler.heard)

    def _call_ended(self) -> None:
        if self._retired:
            self._channel.hub.loop.call_soon(self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.handler.active() == 0 and not self.transport.closed:
            self.close()

    # -- from the codec, see rpc_handler

    def on_settings(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)

    def on_goaway(self, code: int, debug: bytes) -> None:
        if code == h2.ENHANCE_YOUR_CALM and debug == b"too_many_pings":
            # https://github.com/grpc/grpc/blob/master/doc/keepalive.md: double the interval
            self._channel.keepalive *= 2
        self._retired = True
        self._call_ended()

    def on_lost(self, exc: object) -> None:
        self._retired = True
        self._channel.forget(self)
        self.gone.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the peer does not speak HTTP/2" if self.transport.failed
                                                     else str(exc or "the peer closed the connection")))


class Channel:
    """Calls to one service that lives at any of `targets` (host, port).

    Connects on demand, to the target that worked last and then to the others in turn, `connect_timeout` seconds each.
    All calls share one connection. Every failure is an UpstreamError with the gRPC status.
    """

    def __init__(self, hub: Hub, targets: Sequence[tuple[str, int]], connect_timeout: float = 1.0, *,
                 keepalive: float = KEEPALIVE, keepalive_timeout: float = KEEPALIVE_TIMEOUT) -> None:
        if not targets:
            raise ValueError("a channel needs a target")
        self.hub = hub
        self.keepalive = keepalive
        self.keepalive_timeout = keepalive_timeout
        self._targets = list(targets)
        self._connect_timeout = connect_timeout
        self._connections: set[_Connection] = set()  # one that takes calls at most; others finish what they have
        self._connecting: asyncio.Task[_Connection | UpstreamError] | None = None
        self._closed = False

    async def unary(self, path: str, request: bytes, timeout: float, metadata: Metadata = ()) -> bytes:
        """Call and return the one answer, all within `timeout` seconds."""
        deadline = self.hub.loop.time() + timeout
        try:
            async with asyncio.timeout_at(deadline):
                connection = await self._connect()
                call = connection.start(path, metadata, max(deadline - self.hub.loop.time(), 0.001))
                try:
                    call.send_nowait(request, end=True)
                    return await call.single()
                finally:
                    call.cancel()
        except TimeoutError:
            raise UpstreamError(DEADLINE_EXCEEDED, f"{path}: no answer within {timeout:g} s") from None

    async def stream(self, path: str, metadata: Metadata = ()) -> Call:
        """Open a call in which both sides may send any number of messages."""
        return (await self._connect()).start(path, metadata, None)

    async def connect(self) -> None:
        """Connect unless it is connected. Raises UpstreamError."""
        await self._connect()

    @property
    def target(self) -> tuple[str, int]:
        """Where the next connection is tried first: where the last one was made."""
        return self._targets[0]

    async def close(self) -> None:
        """End all calls and connections; the channel can't be used any more."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait((self._connecting,))
        connections = list(self._connections)
        for connection in connections:
            connection.close()
        for connection in connections:
            await connection.gone

    def forget(self, connection: _Connection) -> None:
        """`connection` is gone."""
        self._connections.discard(connection)

    async def _connect(self) -> _Connection:
        if self._closed:
            raise UpstreamError(UNAVAILABLE, "the channel is closed")
        for connection in self._connections:
            if connection.usable():
                return connection
        if any(connection.full() for connection in self._connections):
            raise UpstreamError(RESOURCE_EXHAUSTED, "the peer takes no more calls on this connection")
        if self._connecting is None or self._connecting.done():
            names = ", ".join(f"{host}:{port}" for host, port in self._targets)
            self._connecting = spawn(f"connect {names}", self._connect_any())
        result = await asyncio.shield(self._connecting)  # other calls wait for it too
        if isinstance(result, UpstreamError):
            raise result
        return result

    async def _connect_any(self) -> _Connection | UpstreamError:
        """One attempt per target; failure is an expected outcome, hence returned."""
        failures: list[str] = []
        for _ in self._targets:
            host, port = self._targets[0]
            connection = _Connection(self, host, port)
            try:
                await connection.open(self._connect_timeout)
            except TimeoutError:
                failures.append(f"{connection.name}: no answer within {self._connect_timeout:g} s")
            except OSError as exc:
                failures.append(f"{connection.name}: {exc.strerror or exc}")
            else:
                self._connections.add(connection)
                return connection
            self._targets.append(self._targets.pop(0))
        return UpstreamError(UNAVAILABLE, "; ".join(failures))
