# cython: language_level=3, wraparound=False, initializedcheck=False
"""The sending half of an HTTP/2 connection (RFC 9113, sections 5.2, 6.8): what may go out on which stream, and how
much.

What lives here: sending on open streams, flow control both ways, resets, GOAWAY and graceful leave. What this must
not know: how frames are read, header fields.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.wire.codec import Handler
from mesh.wire.errors import StreamStateError
from mesh.wire.frames import FrameWriter
from mesh.wire.limits import Allowance, Settings
from mesh.wire.streams import StreamState, StreamTable

if not cython.compiled:
    from mesh.wire.streams import ENDED, OWN_RESET

DRAIN_PING: bytes = b"mesh-drn"


class SendingSide(FrameWriter):
    """What a connection sends, less what it only sends as an answer. Public methods are those of `Connection`."""

    def __init__(self, client: cython.bint, handler: Handler, dirty: list[Any] | None, settings: Settings) -> None:
        FrameWriter.__init__(self, client, handler, dirty)
        self.table: StreamTable = StreamTable()
        self.local_goaway: bool = False
        self.draining: bool = False  # GOAWAY follows when DRAIN_PING is answered
        self.last_peer_id: int = 0
        self.send_window: int = 65535
        self.recv_window: int = max(65535, settings.connection_window)
        self.unreleased: int = 0
        self.half_window: int = max(1, settings.initial_window // 2)
        self.half_connection: int = self.recv_window // 2
        self.own_resets: int = 0
        self.data_sent: int = 0
        self.pings: Allowance = Allowance(100, 100)
        self.updates: Allowance = Allowance(1000, 100)
        # A caller may cancel all it has open at once.
        self.rapid_resets: Allowance = Allowance(max(100, settings.max_concurrent_streams), 100)

    def send_headers(self, stream: StreamState, header_block: bytes, end: cython.bint) -> cython.int:
        """Send a response, an interim response or trailers. Nothing is sent on a stream that is dead.

        StreamStateError after our own END_STREAM.
        """
        if self.closed or stream.closed:
            return 0
        if stream.local_closed:
            raise StreamStateError("HEADERS after END_STREAM")
        self.headers_frames(stream.id, header_block, end)
        stream.headers_sent = True
        if end:
            stream.local_closed = True
            if stream.remote_closed:
                self.drop(stream, ENDED)
        return 0

    def sendable(self, stream: StreamState) -> cython.Py_ssize_t:
        """How many octets of DATA both windows allow now."""
        window: cython.longlong = min(self.send_window, stream.send_window)
        return 0 if window < 0 or stream.closed else window

    def send_data(self, stream: StreamState, buf: object, start: cython.Py_ssize_t, n: cython.Py_ssize_t,
                  end: cython.bint) -> cython.int:
        """Send `buf[start:start + n]` (bytes or bytearray). Nothing is sent on a stream that is dead.

        StreamStateError: more than `sendable`, before the headers, or after our own END_STREAM.
        """
        if self.closed or stream.closed:
            return 0
        if stream.local_closed or not stream.headers_sent:
            raise StreamStateError("DATA after END_STREAM" if stream.local_closed else "DATA before HEADERS")
        if n > 0 and (n > self.send_window or n > stream.send_window):
            raise StreamStateError(f"DATA of {n} octets, {self.sendable(stream)} allowed")
        self.data_frames(stream.id, buf, start, n, end)
        self.send_window -= n
        stream.send_window -= n
        self.data_sent += n
        # What a peer does in answer to DATA: WINDOW_UPDATE for stream and connection, PING to measure the round trip.
        self.updates.give(20)
        self.pings.give(1)
        if end:
            stream.local_closed = True
            if stream.remote_closed:
                self.drop(stream, ENDED)
        return 0

    def release(self, stream: StreamState | None, credit: cython.int) -> cython.int:
        """`credit` octets told by `on_data` have been consumed; the windows grow by halves. The stream may be dead."""
        if self.closed:
            return 0
        self.unreleased += credit
        if self.unreleased >= self.half_connection:
            self.word_frame(8, 0, self.unreleased)
            self.recv_window += self.unreleased
            self.unreleased = 0
        if stream is not None and not stream.remote_closed and not stream.closed:
            stream.unreleased += credit
            if stream.unreleased >= self.half_window:
                self.word_frame(8, stream.id, stream.unreleased)
                stream.recv_window += stream.unreleased
                stream.unreleased = 0
        return 0

    def reset(self, stream: StreamState, code: cython.uint) -> cython.int:
        """Send RST_STREAM; the handler hears no more of the stream. No effect on a dead stream."""
        if self.closed or stream.closed:
            return 0
        self.own_resets += 1
        self.word_frame(3, stream.id, code)
        return self.drop(stream, OWN_RESET)

    def goaway(self, code: cython.uint = 0, debug: bytes = b"") -> cython.int:
        """Send GOAWAY with the last stream id we took; streams that come after it are ignored."""
        if self.closed:
            return 0
        self.local_goaway = True
        self.goaway_frame(self.last_peer_id, code, debug)
        return 0

    def drain(self) -> cython.int:
        """Leave without losing a request (RFC 9113, section 6.8): warn, refuse only what comes a round trip later."""
        if self.closed or self.local_goaway:
            return 0
        if self.client:
            return self.goaway()
        self.draining = True
        self.goaway_frame(0x7FFFFFFF, 0, b"")
        return self.ping(DRAIN_PING)

    def ping(self, data: bytes) -> cython.int:
        """Send PING with eight octets of `data`."""
        if len(data) != 8:
            raise ValueError("PING takes 8 octets")
        if not self.closed:
            self.frame(8, 6, 0, 0)
            self.put(data)
        return 0

    def drop(self, stream: StreamState, how: cython.int) -> cython.int:
        """The stream is closed."""
        stream.closed = True
        if how == ENDED:
            self.rapid_resets.give(1)
        return self.table.remove(stream, how)
