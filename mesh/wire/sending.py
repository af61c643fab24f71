# cython: language_level=3, wraparound=False, initializedcheck=False
"""The sending half of an HTTP/2 connection (RFC 9113, sections 5.2, 5.4, 6.8): what may go out on which stream, how
much, in whose turn.

What lives here: sending on open streams, send windows and the fair sharing of the connection's, resets, errors, GOAWAY
and graceful leave, and the counting of what a peer must not do too often. What this must not know: how frames are read,
header fields.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import cython

from mesh.wire.codec import Handler, Stream
from mesh.wire.errors import ConnectionError_, StreamStateError
from mesh.wire.limits import CONTROL_BACKLOG, Allowance, Limits, Settings
from mesh.wire.streams import StreamState, StreamTable
from mesh.wire.windows import Windows

if not cython.compiled:
    from mesh.wire.codec import CLOSES
    from mesh.wire.streams import ENDED, OWN_RESET

DRAIN_PING: bytes = b"mesh-drn"
NO_TURN: int = 1 << 62
# Octets that a stream may send in its turn while others wait too: a frame of the usual size.
QUANTUM: int = 16_384
# While so much output waits for the kernel, no more turns are given, so that a short answer does not queue behind all
# of a long one.
MOST_OUTPUT: int = 262_144


class SendingSide(Windows):
    """What a connection sends, less what it only sends as an answer. Public methods are those of `Connection`."""

    def __init__(self, client: cython.bint, handler: Handler, dirty: list[Any] | None, settings: Settings) -> None:
        Windows.__init__(self, client, handler, dirty, settings)
        limits: Limits = settings.limits
        self.table: StreamTable = StreamTable()
        self.waiting: deque[StreamState] = deque()
        self.turn: int = NO_TURN
        self.local_goaway: bool = False
        self.peer_goaway: bool = False
        self.draining: bool = False  # GOAWAY follows when DRAIN_PING is answered
        self.last_peer_id: int = 0
        self.send_window: int = 65535
        self.own_resets: int = 0
        self.data_sent: int = 0
        self.frames_sent: int = 0  # of DATA
        self.opened: int = 0
        self.ended: int = 0  # streams that neither side reset
        self.reads: int = 0
        self.answers: int = 0  # in this batch of output
        self.answered: int = 0  # which batch that was
        self.max_answers: int = limits.control_backlog
        self.pings: Allowance = Allowance(limits.pings, limits.pings)
        self.updates: Allowance = Allowance(10 * limits.window_updates, limits.window_updates)
        self.useless: Allowance = Allowance(10 * limits.useless_frames, limits.useless_frames)
        self.early_resets: Allowance = Allowance(limits.early_resets, limits.early_resets / 5)
        # A caller may cancel all it has open at once.
        self.rapid_resets: Allowance = Allowance(max(limits.resets, settings.max_concurrent_streams), limits.resets)

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
        """How many octets of DATA both windows, and its turn if it has one, allow now."""
        window: cython.longlong = min(self.send_window, stream.send_window, self.turn)
        return 0 if window < 0 or stream.closed else window

    def send_data(self, stream: StreamState, buf: object, start: cython.Py_ssize_t, n: cython.Py_ssize_t,
                  end: cython.bint) -> cython.int:
        """Send `buf[start:start + n]` (bytes or bytearray). Nothing is sent on a stream that is dead.

        StreamStateError: more than both windows allow, before the headers, or after our own END_STREAM.
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
        self.turn -= n
        self.data_sent += n
        self.frames_sent += 1
        if end:
            stream.local_closed = True
            if stream.remote_closed:
                self.drop(stream, ENDED)
        return 0

    # -- turns

    def wait(self, stream: StreamState) -> cython.int:
        """`stream` has more to send than it may now; it is told by `on_writable` when it is its turn."""
        if self.closed or stream.closed or stream.waits == 1:
            return 0
        if stream.send_window <= 0:
            stream.waits = 2  # WINDOW_UPDATE or SETTINGS will tell
            return 0
        stream.waits = 1
        self.waiting.append(stream)
        return 0

    def serve(self) -> cython.int:
        """Give those that wait their turns, while the connection's window lasts and not too much output waits."""
        ring: Any = self.waiting
        if not ring or self.turn < NO_TURN // 2:
            return 0
        stream: Stream
        before: cython.longlong
        stuck: cython.Py_ssize_t = 0  # turns in a row that sent nothing
        try:
            while ring and stuck < len(ring) and self.send_window > 0 and self.out_len < MOST_OUTPUT:
                stream = ring.popleft()
                stream.waits = 0
                if stream.closed:
                    continue
                before = self.data_sent
                self.turn = QUANTUM
                self.handler.on_writable(stream)
                stuck = stuck + 1 if self.data_sent == before and stream.waits == 1 else 0
        finally:
            self.turn = NO_TURN
        return 0

    def waiters(self) -> cython.Py_ssize_t:
        """How many streams wait for their turn."""
        return len(self.waiting)

    # -- resets and leaving

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
        if self.closed or self.local_goaway or self.draining:
            return 0
        if self.client:
            return self.goaway()
        self.draining = True
        self.goaway_frame(0x7FFFFFFF, 0, b"")
        return self.ping(DRAIN_PING)

    def drop(self, stream: StreamState, how: cython.int) -> cython.int:
        """The stream is closed."""
        stream.closed = True
        if how == ENDED:
            self.ended += 1
        self.table.remove(stream, how)
        return self.leave() if self.peer_goaway and self.table.count == 0 else 0

    def leave(self) -> cython.int:
        """The peer has said GOAWAY and no stream is open: nothing more comes. A request that crosses it is told so."""
        if self.closed or self.ending == CLOSES:
            return 0
        if not self.client and not self.local_goaway:
            self.goaway()
        self.ending = CLOSES
        return self.attend()

    # -- what a peer may do, and how often

    def answer(self) -> cython.int:
        """Count a frame that the peer makes us send; called before it is queued."""
        if self.out_len == 0 or self.answered != self.batch:
            self.answers = 0
            self.answered = self.batch + 1 if self.out_len == 0 else self.batch
        self.answers += 1
        if self.answers > self.max_answers:
            return self.fail(11, "answers that the peer does not read", CONTROL_BACKLOG)
        return 0

    def spend(self, allowance: Allowance, cause: str, earned: cython.longlong = 0) -> cython.int:
        """Count a frame that costs its sender nothing. `earned`: how many it has earned by work, in all."""
        if not allowance.take(self.now, self.reads, earned):
            return self.fail(11, f"too many: {cause}", cause)
        return 0

    def fail(self, code: cython.uint, reason: str, cause: str = "") -> cython.int:
        """A connection error: RFC 9113, section 5.4.1."""
        error: ConnectionError_ = ConnectionError_(code, reason, cause)
        self.count(error.cause)
        self.goaway(code, reason.encode("ascii", "replace"))
        self.closed = True
        raise error
