# cython: language_level=3, wraparound=False, initializedcheck=False
"""Connections to one endpoint: opened on demand, shared by every downstream, retired when the peer says GOAWAY.

What lives here: the pool of one endpoint, the upstream side of the codec, and the interface through which a request
hears of its response. What this must not know: which endpoint to take, whether to retry.
"""

from __future__ import annotations

import asyncio
from typing import Any

import cython

from mesh import errors
from mesh.balance.node import Node
from mesh.dataplane.hub import Hub
from mesh.dataplane.room import Room
from mesh.dataplane.tasks import spawn
from mesh.dataplane.timers import Timer
from mesh.dataplane.transport import Transport, TransportHandler
from mesh.resilience.fair_queue import FairQueue
from mesh.wire.codec import Codec, Stream
from mesh.wire.h2 import Connection
from mesh.wire.hpack import Block

# One HTTP/2 connection carries what its peer allows (SETTINGS_MAX_CONCURRENT_STREAMS); another is opened only when all
# are full.
MAX_CONNECTIONS = cython.declare(cython.int, 8)


class UpstreamCall(Timer):
    """One request, as the upstream side sees it; `Exchange` implements it. As a timer it fires at what it waits for."""

    def on_cluster_known(self) -> cython.int:
        """Discovery has told for the first time what the service is."""
        return 0

    def flow(self) -> object:
        """With whom it takes turns while it waits: all of one caller's connection count as one."""
        return None

    def on_room(self) -> cython.bint:
        """There is room for one more request at the service: take it. False if no endpoint that may be picked has any,
        and it waits on."""
        return True

    def on_no_room(self, reason: object) -> cython.int:
        """There was none; nothing was sent. `reason` is a `mesh.errors.Reason`."""
        return 0

    def on_connection(self, transport: Transport) -> cython.int:
        """A connection with room for a stream is there: open it now."""
        return 0

    def on_no_connection(self, reason: object, detail: str) -> cython.int:
        """No connection could be had; nothing was sent. `reason` is a `mesh.errors.Reason`."""
        return 0

    def on_response_headers(self, block: Block, end: cython.bint) -> cython.int:
        return 0

    def on_response_data(self, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t, credit: cython.int,
                         end: cython.bint) -> cython.int:
        return 0

    def on_upstream_reset(self, code: cython.uint, by_peer: cython.bint) -> cython.int:
        """The stream is dead: RST_STREAM of the peer, or an error of the peer that the codec answered."""
        return 0

    def on_upstream_lost(self) -> cython.int:
        """The connection is gone with the stream open."""
        return 0

    def on_upstream_writable(self) -> cython.int:
        """More of the request's body can be sent."""
        return 0


class UpstreamHandler(TransportHandler):
    """The codec's handler on a connection to an endpoint; `Stream.owner` is the `UpstreamCall`.

    `greeting`: a future, True when the peer's SETTINGS are here, False when the connection ended before.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.shell: Any = None
        self.greeting: Any = pool.hub.loop.create_future()

    def on_headers(self, stream: Stream, block: Block, end: cython.bint) -> cython.int:
        call: UpstreamCall = stream.owner
        if call is not None:
            call.on_response_headers(block, end)
        return 0

    def on_data(self, stream: Stream, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t,
                credit: cython.int, end: cython.bint) -> cython.int:
        call: UpstreamCall = stream.owner
        if call is not None:
            call.on_response_data(buf, start, n, credit, end)
        else:
            self.shell.conn.release(stream, credit)
        return 0

    def on_reset(self, stream: Stream, code: cython.uint, by_peer: cython.bint) -> cython.int:
        call: UpstreamCall = stream.owner
        if call is not None:
            call.on_upstream_reset(code, by_peer)
        return 0

    def on_writable(self, stream: Stream | None) -> cython.int:
        call: UpstreamCall
        if stream is not None:
            call = stream.owner
            if call is not None:
                call.on_upstream_writable()
            return 0
        return self.shell.conn.serve()

    def on_goaway(self, last_id: cython.uint, code: cython.uint, debug: bytes) -> cython.int:
        self.pool.retire_connection(self.shell)
        return 0

    def on_settings(self) -> cython.int:
        if not self.greeting.done():
            self.greeting.set_result(True)
        else:
            self.pool.serve_waiting()
        return 0

    def on_connected(self, transport: Transport) -> cython.int:
        self.shell = transport
        if transport.conn.textual:
            self.greeting.set_result(True)  # HTTP/1.1 servers say nothing before they are asked
        return 0

    def on_lost(self, exc: object) -> cython.int:
        shell: Transport = self.shell
        if not self.greeting.done():
            self.greeting.set_result(False)
        self.pool.forget(shell)
        stream: Stream
        call: UpstreamCall
        for stream in shell.conn.all_streams():
            call = stream.owner
            if call is not None:
                call.on_upstream_lost()
        return 0

    def on_received(self) -> cython.int:
        pool: Pool = self.pool
        if pool.textual or pool.waiting.count or pool.retiring or pool.room.max_connections:
            pool.settle(self.shell)
        return 0

    def on_write_resume(self) -> cython.int:
        return self.on_writable(None)


class Hurry(Timer):
    """Fires when the one that came first has waited long enough for a connection. `pool`: None while nobody waits, so
    that a pool goes with its last user."""

    def __init__(self) -> None:
        Timer.__init__(self)
        self.pool: Any = None

    def fire(self) -> cython.int:
        pool: Pool = self.pool
        return pool.expire()


class Pool:
    """The HTTP/2 connections to one endpoint.

    `ready` take new streams, `retiring` finish what they have. `retire()` ends the pool the same way; it may be called
    twice. `textual`: the connections speak HTTP/1.1 (a subclass). `sibling`: the pool of the other protocol, where an
    endpoint speaks both. `room`: what the pools of a service share; one of its own where none is given. `node`: where
    those that wait here are counted.
    """

    def __init__(self, hub: Hub, host: str, port: cython.int, connect_timeout: cython.double,
                 room: Room | None = None, node: Node | None = None) -> None:
        self.hub = hub
        self.room: Any = Room() if room is None else room
        self.node: Any = node
        self.room.pools.append(self)
        self.host = host
        self.port = port
        self.connect_timeout = connect_timeout
        self.ready: list[Transport] = []
        self.retiring: list[Transport] = []
        self.connecting = 0
        self.waiting = FairQueue(0)
        self.hurry = Hurry()
        self.retired = False
        self.textual = False
        self.sibling: Any = None

    def make_codec(self, handler: UpstreamHandler) -> Codec:
        conn = Connection(True, handler, self.hub.dirty)
        conn.memory = self.hub.memory
        conn.counts = self.hub.counts
        return conn

    def may_connect(self) -> cython.bint:
        """Whether those that wait justify one more connection."""
        return self.connecting == 0 and self.may_grow()

    def may_grow(self) -> cython.bint:
        """Whether there may be one more connection."""
        return (not self.retired and len(self.ready) < MAX_CONNECTIONS
                and len(self.ready) < self.room.endpoint_connections and self.room.may_connect(self))

    def start_connecting(self) -> cython.int:
        while self.may_connect():
            self.connecting += 1
            spawn(f"connect {self.host}:{self.port}", self.connect())
        return 0

    def acquire(self) -> Transport | None:
        """A connection with room for one more stream now, or None: then `wait()`."""
        transport: Transport
        for transport in self.ready:
            if not transport.closing and transport.conn.can_open():
                return transport
        return None

    def wait(self, call: UpstreamCall) -> cython.int:
        """Queue `call` for the next connection or free stream: first come first served, callers' connections in
        turn."""
        room: Room = self.room
        self.waiting.most = room.places(
            self.waiting.count, room.max_pending == 0 and (self.connecting > 0 or self.may_grow()))
        displaced = self.waiting.push(call.flow(), call, self.hub.now)
        if displaced is None:
            self.count_waiting(1)
        if self.waiting.count and not self.hurry.armed:
            self.hurry.pool = self
            self.hub.timers.add(self.hurry, self.hub.now + room.queue_timeout, self.hub.now)
        self.start_connecting()
        if displaced is not None:
            room.refuse(errors.QUEUE_FULL)
            return cython.cast(UpstreamCall, displaced).on_no_connection(errors.QUEUE_FULL,
                                                                         f"{room.pending} requests wait already")
        return 0

    def count_waiting(self, more: cython.longlong) -> cython.int:
        """One more waits here (1), or one less (-1)."""
        self.room.pending += more
        if self.node is not None:
            self.node.queue(more)
        return 0

    def leave(self, call: UpstreamCall) -> cython.int:
        """Take `call` out of the queue, if it is there."""
        if self.waiting.remove(call):
            self.count_waiting(-1)
            self.rest()
        return 0

    def rest(self) -> cython.int:
        if self.waiting.count == 0:
            self.hub.timers.cancel(self.hurry)
            self.hurry.pool = None
        return 0

    def expire(self) -> cython.int:
        """Give up those that have waited for too long; while a connection is being made, for as long as that may take.
        """
        room: Room = self.room
        limit: cython.double = room.queue_timeout
        if self.connecting and limit < self.connect_timeout:
            limit = self.connect_timeout
        while self.waiting.count and self.waiting.oldest() + limit <= self.hub.now:
            room.refuse(errors.QUEUE_TIMEOUT)
            self.tell_oldest(errors.QUEUE_TIMEOUT, f"{self.host}:{self.port} had no connection for it in {limit:g} s")
        if self.waiting.count:
            self.hub.timers.add(self.hurry, self.waiting.oldest() + limit, self.hub.now)
        return 0

    def tell_oldest(self, reason: Any, detail: str) -> cython.int:
        """The one that has waited longest gets no connection."""
        call: UpstreamCall = self.waiting.pop_oldest()
        self.count_waiting(-1)
        self.rest()
        return call.on_no_connection(reason, detail)

    async def connect(self) -> None:
        """Open one connection; when that fails, everything that waits is told, and nothing was sent.

        It counts as open when the peer has sent its SETTINGS: then something is there that lives and speaks HTTP/2, and
        it is known how many streams it takes. A frozen process accepts connections (the kernel does it) and says
        nothing.
        """
        handler = UpstreamHandler(self)
        transport = Transport(self.make_codec(handler), handler, self.hub)
        reason: Any = None
        detail = ""
        try:
            async with asyncio.timeout(self.connect_timeout):
                await transport.connect(self.host, self.port)
                if not await handler.greeting:
                    reason = errors.CONNECT_FAILED
                    detail = f"{self.host}:{self.port} closed the connection" + (
                        ": it does not speak HTTP/2" if transport.failed else " at once")
        except TimeoutError:
            reason = errors.CONNECT_TIMEOUT
            detail = f"{self.host}:{self.port} did not answer within {self.connect_timeout:g} s"
        except OSError as exc:
            reason = errors.CONNECT_FAILED
            detail = f"{self.host}:{self.port}: {exc.strerror or exc}"
        finally:
            self.connecting -= 1
        self.hub.touch()
        if reason is not None:
            transport.abort()
            self.fail_waiting(reason, detail)
        elif not transport.closed:
            self.take(transport)
            self.serve_waiting()
        else:  # it greeted and was gone in the same breath
            self.fail_waiting(errors.CONNECT_FAILED, f"{self.host}:{self.port} closed the connection at once")
        self.part()
        self.hub.flush()

    def take(self, transport: Transport) -> cython.int:
        """A new connection stands."""
        if self.retired:
            return transport.close()
        self.ready.append(transport)
        return 0

    def fail_waiting(self, reason: Any, detail: str) -> cython.int:
        """No connection could be had: tell those that wait for it now, not those who come meanwhile."""
        left: cython.longlong = self.waiting.count
        while left > 0 and self.waiting.count:
            left -= 1
            self.tell_oldest(reason, detail)
        return 0

    def serve_waiting(self) -> cython.int:
        """Give free streams to those that wait; open another connection when there are none."""
        transport: Transport | None
        call: UpstreamCall
        while self.waiting.count:
            transport = self.acquire()
            if transport is None:
                return self.start_connecting()
            call = self.waiting.pop()
            self.count_waiting(-1)
            call.on_connection(transport)
        return self.rest()

    def settle(self, transport: Transport) -> cython.int:
        """Streams of `transport` may have ended: give their places away, close it if it was retiring and this was the
        last."""
        if self.waiting.count:
            self.serve_waiting()
        if transport.conn.active or transport.closing:
            return 0
        if (self.retiring and transport in self.retiring) or (self.room.max_connections and self.room.starved(self)):
            transport.close()
        return 0

    def retire_connection(self, transport: Transport) -> cython.int:
        """No new streams on it; it closes when the last one ends."""
        if transport in self.ready:
            self.ready.remove(transport)
            self.retiring.append(transport)
        if transport.conn.active == 0:
            transport.close()
        if self.waiting.count:
            self.serve_waiting()
        return 0

    def forget(self, transport: Transport) -> cython.int:
        """The connection is gone."""
        if transport in self.ready:
            self.ready.remove(transport)
        elif transport in self.retiring:
            self.retiring.remove(transport)
        if self.waiting.count:
            self.serve_waiting()
        self.part()
        return self.room.freed()

    def discard_idle(self) -> cython.int:
        """Use no connection again that has only been waiting."""
        return 0

    def retire(self) -> cython.int:
        """The endpoint is gone: finish what is open, take nothing new."""
        self.retired = True
        if self.sibling is not None:
            self.sibling.retire()
        transport: Transport
        for transport in list(self.ready):
            self.retire_connection(transport)
        if self.connecting == 0:
            self.fail_waiting(errors.CONNECT_FAILED, f"{self.host}:{self.port} has left the service")
        return self.part()

    # -- what the room asks

    def part(self) -> cython.int:
        """Leave the room, with the last connection of an endpoint that is gone."""
        if self.over():
            self.node = None
            if self in self.room.pools:
                self.room.pools.remove(self)
        return 0

    def size(self) -> int:
        """Connections, open or being opened."""
        return self.connecting + len(self.ready) + len(self.retiring)

    def over(self) -> bool:
        """Whether the endpoint is gone and its last connection too."""
        return bool(self.retired) and self.size() == 0

    def hungry(self) -> bool:
        """Whether somebody waits for a connection."""
        return self.waiting.count > 0 and not self.retired

    def serve(self) -> None:
        """There may be more connections than before."""
        self.serve_waiting()

    def spare_one(self) -> bool:
        """Close a connection that nobody uses; False if there is none."""
        transport: Transport
        for transport in self.ready:
            if not transport.closing and transport.conn.active == 0:
                transport.close()
                return True
        return False
