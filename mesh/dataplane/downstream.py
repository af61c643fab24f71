# cython: language_level=3, wraparound=False, initializedcheck=False
"""Connections that callers open to us: each new stream becomes an exchange.

What lives here: the downstream side of the codec. What this must not know: listeners, endpoints, policies.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.balance.hashing import source_key
from mesh.dataplane.entry import Entry
from mesh.dataplane.exchange import Exchange
from mesh.dataplane.probation import HeldCaller, Probation
from mesh.dataplane.record import CLIENT
from mesh.dataplane.transport import Transport, TransportHandler
from mesh.wire.codec import Stream
from mesh.wire.hpack import Block
from mesh.wire.limits import REASONS

if not cython.compiled:
    from mesh.dataplane.relay import NEW


class DownstreamHandler(TransportHandler):
    """The codec's handler on a caller's connection; `Stream.owner` is the `Exchange`.

    `connections` is its listener's set. `fresh`: requests of this read. They go on their way when all of it has been
    handled, or with their first data: what is cancelled in the same read has cost nobody else anything then.
    `held`: where they take their turns instead, if the caller's address was held back when the first came (`judged`).
    """

    def __init__(self, entry: Entry, connections: set[DownstreamHandler], probation: Probation) -> None:
        self.entry = entry
        self.connections = connections
        self.probation = probation
        self.held: Any = None
        self.judged = False
        self.fresh: list[Exchange] = []
        self.shell: Any = None
        self.heard = 0.0
        self.key = 0

    def on_headers(self, stream: Stream, block: Block, end: cython.bint) -> cython.int:
        exchange: Exchange = stream.owner
        if exchange is None:
            exchange = Exchange(self.entry)
            exchange.begin(self.shell, stream, block, end, self.key)
            if exchange.state == NEW:
                self.fresh.append(exchange)
        else:
            exchange.on_request_trailers(block)
        return 0

    def on_data(self, stream: Stream, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t,
                credit: cython.int, end: cython.bint) -> cython.int:
        exchange: Exchange = stream.owner
        if exchange is not None:
            if exchange.state == NEW:
                if not self.judged:
                    self.judge()
                if self.held is None:
                    exchange.proceed()
            exchange.on_request_data(buf, start, n, credit, end)
        else:
            self.shell.conn.release(stream, credit)
        return 0

    def on_reset(self, stream: Stream, code: cython.uint, by_peer: cython.bint) -> cython.int:
        exchange: Exchange = stream.owner
        if exchange is not None:
            self.take_back(exchange, True)
        return 0

    def on_writable(self, stream: Stream | None) -> cython.int:
        exchange: Exchange
        if stream is not None:
            exchange = stream.owner
            if exchange is not None:
                exchange.on_downstream_writable()
            return 0
        return self.shell.conn.serve()

    def on_write_resume(self) -> cython.int:
        return self.on_writable(None)

    def on_connected(self, transport: Transport) -> cython.int:
        self.shell = transport
        self.heard = transport.hub.now
        self.connections.add(self)
        self.key = source_key(transport.peer_host)
        return 0

    def on_received(self) -> cython.int:
        self.heard = self.shell.hub.now
        exchange: Exchange
        if self.fresh:
            if not self.judged:
                self.judge()
            if self.held is None:
                for exchange in self.fresh:
                    exchange.proceed()
            else:
                held: HeldCaller = self.held
                for exchange in self.fresh:
                    held.enter(exchange)
            self.fresh.clear()
        return 0

    def judge(self) -> cython.int:
        """The first request has come: does its source flood?"""
        self.judged = True
        self.held = self.probation.of(self.shell.peer_host)
        return 0

    def on_offence(self, cause: str) -> cython.int:
        if cause in REASONS:
            self.probation.offend(self.shell.peer_host, cause)
        return 0

    def on_lost(self, exc: object) -> cython.int:
        self.connections.discard(self)
        self.fresh.clear()
        stream: Stream
        exchange: Exchange
        streams: list[Stream] = self.shell.conn.all_streams()
        # What still waits goes first, or it would be sent in the place of what has just been cancelled.
        streams.reverse()
        for stream in streams:
            exchange = stream.owner
            if exchange is not None:
                self.take_back(exchange, False)
        return 0

    def take_back(self, exchange: Exchange, reset: cython.bint) -> cython.int:
        """The caller wants no answer any more."""
        if exchange.state == NEW:
            if self.held is not None:
                held: HeldCaller = self.held
                held.leave(exchange)
        elif exchange.opened_at > 0 and not exchange.committed and self.entry.kind == CLIENT:
            # Sidecars cancel for many callers, and have judged them themselves.
            self.probation.cancel(self.shell.peer_host, self.shell.hub.now - exchange.opened_at)
        return exchange.on_caller_gone(reset)

    def fail_all(self, reason: Any) -> cython.int:
        """Answer every open request with a failure of ours, then close."""
        stream: Stream
        exchange: Exchange
        for stream in self.shell.conn.all_streams():
            exchange = stream.owner
            if exchange is not None:
                exchange.fail(reason, "")
        self.shell.hub.flush()
        return self.shell.close()
