# cython: language_level=3, wraparound=False, initializedcheck=False
"""HTTP/1.1 connections to one endpoint: one request at a time each, kept for the next.

What lives here: which idle connection is used again and for how long one is kept. What this must not know: which
endpoint to take, whether to retry, how HTTP/1.1 is written.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh import errors
from mesh.balance.node import Node
from mesh.dataplane.hub import Hub
from mesh.dataplane.room import Room
from mesh.dataplane.timers import Timer
from mesh.dataplane.transport import Transport
from mesh.dataplane.upstream import Pool, UpstreamHandler
from mesh.wire.codec import Codec
from mesh.wire.h1 import Connection

# Connections to one endpoint that are being opened at a time. The backlog of many a server is short (socketserver's is
# 5), and what overflows it waits for a second; what waits here is taken back for free when its caller cancels.
MAX_CONNECTING = cython.declare(cython.int, 16)
# An idle connection is closed by us before the server does it: a request that crosses its FIN is lost, and one that is
# not idempotent can't be sent again. Servers keep idle connections for 5 s (Node, uvicorn), 2 s (gunicorn's threads,
# which close after the answer otherwise), 75 s (nginx); `Keep-Alive: timeout=N` tells. Seconds.
KEEP_IDLE = cython.declare(cython.double, 4.0)


class Sweep(Timer):
    """Closes the connections of a pool that were idle for too long. `pool`: None while there are none."""

    def __init__(self) -> None:
        Timer.__init__(self)
        self.pool: Any = None

    def fire(self) -> cython.int:
        pool: Http1Pool = self.pool
        return pool.sweep()


class Http1Pool(Pool):
    """`idle`: connections and the time each became idle, oldest first; one that was just taken may still be there.

    The one used last is used next, so that those that are not needed grow old. `everyone`: all that are open.
    """

    def __init__(self, hub: Hub, host: str, port: cython.int, connect_timeout: cython.double,
                 room: Room | None = None, node: Node | None = None) -> None:
        Pool.__init__(self, hub, host, port, connect_timeout, room, node)
        self.textual = True
        self.idle: dict[Transport, float] = {}
        self.everyone: set[Transport] = set()
        self.sweeper = Sweep()

    def make_codec(self, handler: UpstreamHandler) -> Codec:
        return Connection(True, handler, self.hub.dirty, self.hub.rng)

    def may_connect(self) -> cython.bint:
        return self.connecting < MAX_CONNECTING and self.connecting < self.waiting.count and self.may_grow()

    def may_grow(self) -> cython.bint:
        return (not self.retired and len(self.everyone) + self.connecting < self.room.endpoint_connections
                and self.room.may_connect(self))

    def acquire(self) -> Transport | None:
        transport: Transport
        while self.idle:
            transport = next(reversed(self.idle))
            if transport.conn.can_open() and not transport.closing:
                return transport
            del self.idle[transport]
        return None

    def take(self, transport: Transport) -> cython.int:
        if self.retired:
            return transport.close()
        self.everyone.add(transport)
        return self.keep(transport)

    def keep(self, transport: Transport) -> cython.int:
        """`transport` waits for the next request."""
        self.idle.pop(transport, None)
        self.idle[transport] = self.hub.now
        if not self.sweeper.armed:
            self.sweeper.pool = self
            self.hub.timers.add(self.sweeper, self.hub.now + KEEP_IDLE, self.hub.now)
        return 0

    def settle(self, transport: Transport) -> cython.int:
        if transport.closing or not transport.conn.can_open():
            return 0
        if self.retired:
            return transport.close()
        self.keep(transport)
        if self.waiting.count:
            return self.serve_waiting()
        if self.room.max_connections and self.room.starved(self):
            self.idle.pop(transport, None)
            transport.close()
        return 0

    def sweep(self) -> cython.int:
        """Close what has been idle for too long."""
        transport: Transport
        now: cython.double = self.hub.now
        for transport, since in list(self.idle.items()):
            if not transport.conn.can_open():
                del self.idle[transport]  # in use, or about to go
            elif since + keep_for(transport) <= now:
                del self.idle[transport]
                transport.close()
        if self.idle:
            self.hub.timers.add(self.sweeper, now + 0.25 * KEEP_IDLE, now)
        else:
            self.sweeper.pool = None
        return 0

    def discard_idle(self) -> cython.int:
        """One idle connection turned out to be dead, so the others most likely are: the app was restarted."""
        transport: Transport
        for transport in list(self.idle):
            if transport.conn.can_open():
                transport.close()
        self.idle.clear()
        return 0

    def fail_waiting(self, reason: Any, detail: str) -> cython.int:
        """One connection failed: the one that waited longest is told. The others have theirs under way, or get one that
        stands. Where none does, whoever has none under way is told too: the endpoint may be gone."""
        if reason is errors.CONNECT_FAILED and self.retired:
            return Pool.fail_waiting(self, reason, detail)
        left: cython.longlong = 1
        if not self.everyone and self.waiting.count > self.connecting:
            left = self.waiting.count - self.connecting
        while left > 0 and self.waiting.count:
            left -= 1
            self.tell_oldest(reason, detail)
        return self.start_connecting()

    def forget(self, transport: Transport) -> cython.int:
        self.everyone.discard(transport)
        self.idle.pop(transport, None)
        if self.waiting.count:
            self.serve_waiting()
        self.part()
        return self.room.freed()

    def size(self) -> int:
        return self.connecting + len(self.everyone)

    def spare_one(self) -> bool:
        transport: Transport
        for transport in list(self.idle):
            if transport.conn.can_open() and not transport.closing:
                del self.idle[transport]
                transport.close()
                return True
        return False

    def retire(self) -> cython.int:
        self.hub.timers.cancel(self.sweeper)
        self.sweeper.pool = None
        self.retired = True
        self.discard_idle()
        return Pool.retire(self)


def keep_for(transport: Transport) -> float:
    """Seconds that an idle connection is kept: what the server told, less what an answer may take, or KEEP_IDLE."""
    conn: Connection = cython.cast(Connection, transport.conn)
    told: float = conn.keep_alive_timeout
    return max(told - 1.0, 0.5 * told) if told > 0 else KEEP_IDLE
