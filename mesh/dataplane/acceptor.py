# cython: language_level=3, wraparound=False, initializedcheck=False
"""The HTTP connections that came in by one entry: how each begins, how long it may be slow, how all of them drain.

What lives here: the set of connections, the time limits on callers (`Limits`), the end. What this must not know: how
a connection is detected (inspector), what happens to a request (exchange), why it drains.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

import cython

from mesh import errors
from mesh.dataplane.downstream import DownstreamHandler
from mesh.dataplane.entry import Entry
from mesh.dataplane.exchange import Exchange
from mesh.dataplane.hub import Hub
from mesh.dataplane.probation import Probation
from mesh.dataplane.record import SERVER
from mesh.dataplane.tls import Session
from mesh.dataplane.transport import Transport
from mesh.wire import h1, h2
from mesh.wire.codec import Codec, Stream
from mesh.wire.limits import Settings

_log = logging.getLogger(__name__)

# A graceful GOAWAY takes one round trip (RFC 9113 6.8); a peer that doesn't answer it is not waited for longer, in
# seconds.
_GOAWAY_ROUND_TRIP = 1.0
_POLL = 0.02
# Inbound takes this much more of a header list than it announces, in octets: to what the caller's sidecar let pass it
# has added traceparent and grpc-timeout, and a request must not become too large by that.
FIELDS_ADDED = 1024
# How often connections are looked at for callers that are too slow, in seconds.
_SWEEP = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How slow a caller may be. Durations in seconds, 0 for no limit.

    `header`: from the first octet of a header section (or frame) to its last; nginx's client_header_timeout is 60,
    HAProxy advises 5 to 10 for `timeout http-request`. `idle`: a connection without a request; HTTP/1.1 and HTTP/2.
    `progress`: within this time a caller that has a body to send or an answer to take moves at least `progress_bytes`
    (streams of gRPC and upgraded connections may be silent for as long as they like; an answer that waits for its
    reader may not).
    """

    header: float = 10.0
    idle: float = 300.0
    progress: float = 30.0
    progress_bytes: int = 1024


class HttpAcceptor:
    """HTTP/1.1 and HTTP/2 connections of callers."""

    def __init__(self, hub: Hub, entry: Entry, limits: Limits | None = None) -> None:
        if limits is None:
            limits = Limits()
        self.hub = hub
        self.entry = entry
        self.settings: Any = Settings(list_tolerance=FIELDS_ADDED if entry.kind == SERVER else 0, connect_protocol=True)
        self.connections: set[DownstreamHandler] = set()
        self.probation = Probation(hub)
        self.header = limits.header
        self.idle = limits.idle
        self.progress = limits.progress
        self.progress_bytes = limits.progress_bytes
        self.slow_headers = 0
        self.slow_bodies = 0
        self.stalled_readers = 0
        self.idled = 0
        self.counts: dict[str, int] = {}
        self.sweeping: Any = None

    def accept(self, fd: int, host: str, port: int, version: int, tls: Session | None = None) -> None:
        """Serve one more connection, of HTTP/1.1 (`version` 1) or HTTP/2; the descriptor is ours from now on.

        `tls` is what has been established on it.
        """
        handler = DownstreamHandler(self.entry, self.connections, self.probation)
        conn: Codec
        if version == 1:
            conn = h1.Connection(False, handler, self.hub.dirty)
        else:
            multiplexed = h2.Connection(False, handler, self.hub.dirty, self.settings)
            multiplexed.memory = self.hub.memory
            conn = multiplexed
        conn.counts = self.counts
        Transport(conn, handler, self.hub).adopt(fd, host, port, tls)
        if self.sweeping is None:
            self.sweeping = self.hub.loop.call_later(_SWEEP, self.sweep)

    def sweep(self) -> None:
        """End what is too slow; once a second while there are connections."""
        handler: DownstreamHandler
        now: cython.double = self.hub.touch()
        for handler in list(self.connections):
            self.check(handler, now)
        self.probation.sweep()
        self.hub.flush()
        self.sweeping = self.hub.loop.call_later(_SWEEP, self.sweep) if self.connections else None

    def check(self, handler: DownstreamHandler, now: cython.double) -> cython.int:
        """Hold one connection against the limits."""
        shell: Transport = handler.shell
        exchange: Exchange
        stream: Stream
        if shell.closing:
            return 0
        begun: cython.double = shell.conn.oldest_unfinished()
        if begun == 0 and shell.conn.open_streams() == 0:
            begun = shell.begun  # else: a section beside an open request, or its trailers, which must not keep it open
        if self.header > 0 and 0 < begun < now - self.header:
            self.slow_headers += 1
            _log.info("slow_headers: %s port %d", shell.peer_host, shell.peer_port)
            return shell.expire()
        if shell.conn.open_streams() == 0:
            if self.idle > 0 and handler.heard < now - self.idle:
                self.idled += 1
                return shell.expire()
            return 0
        if self.progress <= 0:
            return 0
        for stream in shell.conn.all_streams():
            exchange = stream.owner
            if exchange is None or now - exchange.checked_at < self.progress:
                continue
            if exchange.checked_at > 0:
                if exchange.response:
                    if exchange.answered_bytes - exchange.checked_response < self.progress_bytes:
                        self.stalled_readers += 1
                        exchange.fail(errors.STALLED_READER, "")
                        continue
                elif (exchange.uploading()
                        and exchange.request_bytes - exchange.checked_request < self.progress_bytes):
                    self.slow_bodies += 1
                    exchange.fail(errors.SLOW_BODY, "")
                    continue
            exchange.checked_at = now
            exchange.checked_request = exchange.request_bytes
            exchange.checked_response = exchange.answered_bytes
        return 0

    async def drain(self, timeout: float) -> None:
        """Tell every peer to go elsewhere (GOAWAY, `Connection: close`) and wait for open requests, at most `timeout`
        seconds.

        What is still open then is answered with `drain_deadline`.
        """
        started = time.monotonic()
        self.hub.touch()
        for handler in list(self.connections):
            handler.shell.conn.drain()
        self.hub.flush()
        while self.connections and time.monotonic() - started < timeout:
            settled = time.monotonic() - started > _GOAWAY_ROUND_TRIP
            for handler in list(self.connections):
                conn = handler.shell.conn
                if conn.active == 0 and (settled or conn.settled()):
                    handler.shell.close()
            await asyncio.sleep(_POLL)
        self.hub.touch()
        for handler in list(self.connections):
            handler.fail_all(errors.DRAIN_DEADLINE)

    def statistics(self) -> dict[str, Any]:
        return {"connections": len(self.connections), **self.entry.statistics(),
                "slow_headers": self.slow_headers, "slow_bodies": self.slow_bodies,
                "stalled_readers": self.stalled_readers, "idle_closed": self.idled, "limits": dict(self.counts),
                "probation": self.probation.statistics()}
