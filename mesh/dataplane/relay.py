# cython: language_level=3, wraparound=False, initializedcheck=False
"""The bytes of one request and its response, between the caller's stream and the endpoint's.

What lives here: what is on its way in either direction, held back as far as windows and kernels ask, and what is kept
to be sent once more. What this must not know: which endpoint, why, whether to try again; how a stream is framed.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import cython

from mesh.dataplane.upstream import UpstreamCall
from mesh.resilience.replay import ReplayBuffer
from mesh.wire.codec import Codec
from mesh.wire.hpack import Block, Head
from mesh.wire.octets import octets_of
from mesh.wire.windows import Memory

# Relay.state
NEW = cython.declare(cython.int, 0)
WAITING = cython.declare(cython.int, 1)  # for discovery's first word about the service
CONNECTING = cython.declare(cython.int, 2)  # for a connection with room
OPEN = cython.declare(cython.int, 3)  # a stream is open upstream
PAUSED = cython.declare(cython.int, 4)  # between two attempts
DONE = cython.declare(cython.int, 5)
QUEUED = cython.declare(cython.int, 6)  # for room at the service

# Octets up to which small chunks that have to wait become one: a body of one octet per frame would else take a hundred
# times its size.
JOINED = cython.declare(cython.Py_ssize_t, 1024)
# Octets of answers that may wait for one caller's connection to take them, all its requests together; the request that
# goes over is given up. What waits was received on connections that callers share: one who does not read must not use
# that up. The second number where an eighth of the memory for all of it is taken already.
MAX_UNREAD = cython.declare(cython.longlong, 16_777_216)
MAX_UNREAD_WHEN_SHORT = cython.declare(cython.longlong, 1_048_576)


class Relay(UpstreamCall):
    """`pending` holds (bytes, credit) towards the endpoint, `response` (what, credit, end) towards the caller; both are
    None or empty on the fast path, and bounded by the receive windows of their connections. `body_sent`: an octet of
    the request's body has been sent to an endpoint; until then all of it is in `pending`, whatever its size.
    `between`: an attempt is over and the next has not begun; what comes meanwhile is pending, and kept for a replay by
    the next."""

    def __init__(self) -> None:
        self.down: Any = None
        self.down_stream: Any = None
        self.up: Any = None
        self.up_stream: Any = None
        self.state = NEW
        self.trailers: Block | None = None
        self.request_ended = False
        self.request_sent = False
        self.body_sent = False
        self.between = False
        self.response_ended = False
        self.committed = False
        self.request_bytes = 0
        self.response_bytes = 0
        self.answered_bytes = 0
        self.checked_at = 0.0
        self.checked_request = 0
        self.checked_response = 0
        self.pending: deque[tuple[bytes, int]] | None = None
        self.pending_at = 0
        self.response: deque[tuple[Any, int, bool]] | None = None
        self.response_at = 0
        self.replay: ReplayBuffer | None = None

    def flow(self) -> object:
        return self.down

    def answered(self) -> cython.int:
        """The last byte of the answer has been handed to the caller's connection."""
        return 0

    def request_complete(self) -> cython.int:
        """The last byte of the request is here."""
        return 0

    def unreadable(self) -> cython.int:
        """More waits for the caller than may."""
        return 0

    # -- the request

    def replayable(self) -> cython.bint:
        """Whether the request could be sent from its beginning: all of its body so far is still here."""
        return self.replay is not None or not self.body_sent

    def on_request_data(self, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t, credit: cython.int,
                        end: cython.bint) -> cython.int:
        """`n` more bytes of the request; `credit` goes back to the caller once they are on their way."""
        self.request_bytes += n
        if end:
            self.request_ended = True
            self.request_complete()
        if self.response_ended:  # the answer is complete: what still comes is of no use
            self.down.conn.release(self.down_stream, credit)
            return 0
        chunk: bytes | None = None
        if self.replay is not None and n > 0 and not self.committed and not self.between:
            chunk = octets_of(buf, start, n)
            if not self.replay.append(chunk):
                self.replay = None
        if (self.state == OPEN and not self.pending and not self.up.paused
                and self.up.conn.sendable(self.up_stream) >= n):
            if n > 0 or end:
                if n > 0:
                    self.body_sent = True
                self.up.conn.send_data(self.up_stream, buf, start, n, end)
                if end:
                    self.request_sent = True
            self.down.conn.release(self.down_stream, credit)
            return 0
        if self.pending is None:
            self.pending = deque()
        if chunk is None:
            chunk = octets_of(buf, start, n)
        self.keep_request(chunk, credit)
        if self.state == OPEN:
            self.pump_request()
        return 0

    def keep_request(self, chunk: bytes, credit: cython.int) -> cython.int:
        """Put a chunk to what is pending; small ones are joined, since each costs a hundred bytes beside its own."""
        pending: Any = self.pending
        before: bytes
        due: cython.int
        if pending:
            before, due = pending[len(pending) - 1]
            if len(before) + len(chunk) <= JOINED:
                pending[len(pending) - 1] = (before + chunk, due + credit)
                return 0
        pending.append((chunk, credit))
        return 0

    def keep_response(self, chunk: bytes, credit: cython.int, end: cython.bint) -> cython.int:
        """The same towards the caller."""
        response: Any = self.response
        due: cython.int
        self.down.unread += len(chunk)
        if response:
            before, due, _ = response[len(response) - 1]
            if not isinstance(before, Head) and len(before) + len(chunk) <= JOINED:
                response[len(response) - 1] = (before + chunk, due + credit, end)
                return 0
        response.append((chunk, credit, end))
        return 0

    def on_request_trailers(self, block: Block) -> cython.int:
        self.trailers = block
        self.request_ended = True
        self.request_complete()
        if self.state == OPEN:
            self.pump_request()
        return 0

    def on_upstream_writable(self) -> cython.int:
        if self.pending or (self.request_ended and not self.request_sent):
            self.pump_request()
        return 0

    def pump_request(self) -> cython.int:
        """Send what waits of the request, as far as the endpoint's windows and the kernel allow."""
        if self.state != OPEN or self.up_stream is None or self.request_sent:
            return 0
        conn: Codec = self.up.conn
        chunk: bytes
        credit: cython.int
        left: cython.Py_ssize_t
        room: cython.Py_ssize_t
        last: cython.bint
        pending: Any = self.pending
        while pending:
            if self.up.paused:
                conn.wait(self.up_stream)
                return 0
            chunk, credit = pending[0]
            left = len(chunk) - self.pending_at
            room = conn.sendable(self.up_stream)
            last = self.request_ended and self.trailers is None and len(pending) == 1
            if room < left:
                if room > 0:
                    self.body_sent = True
                    conn.send_data(self.up_stream, chunk, self.pending_at, room, False)
                    self.pending_at += room
                conn.wait(self.up_stream)
                return 0
            pending.popleft()
            if left > 0:
                self.body_sent = True
            if left > 0 or last:
                conn.send_data(self.up_stream, chunk, self.pending_at, left, last)
            self.pending_at = 0
            if credit:
                self.down.conn.release(self.down_stream, credit)
            if last:
                self.request_sent = True
                return 0
        if self.request_ended and not self.request_sent:
            self.request_sent = True
            if self.trailers is not None:
                conn.send_head(self.up_stream, self.trailers.head, b"", True)
            else:
                conn.send_data(self.up_stream, b"", 0, 0, True)
        return 0

    def rewind(self) -> cython.int:
        """Send the body from its start again: what was kept of it, then what came during the pause."""
        held: Any = self.pending
        self.between = False
        self.pending_at = 0
        self.pending = None
        if self.replay is not None:
            self.pending = deque([(chunk, 0) for chunk in self.replay.chunks])
        if held:
            if self.pending is None:
                self.pending = deque()
            for chunk, credit in held:
                self.pending.append((chunk, credit))
                if self.replay is not None and not self.replay.append(chunk):
                    self.replay = None
        return 0

    def release_pending(self) -> cython.int:
        """Give the caller's credit for unsent bytes back: they are in the replay buffer, or of no use any more."""
        credit: cython.int
        if self.pending:
            for _, credit in self.pending:
                if credit:
                    self.down.conn.release(self.down_stream, credit)
        self.pending = None
        self.pending_at = 0
        return 0

    # -- the response

    def send_response_head(self, head: Head, end: cython.bint) -> cython.int:
        if self.response:
            self.response.append((head, 0, end))
            return 0
        conn: Codec = self.down.conn
        conn.send_head(self.down_stream, head, b"", end)
        if end:
            self.answered()
        return 0

    def on_response_data(self, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t, credit: cython.int,
                         end: cython.bint) -> cython.int:
        self.response_bytes += n
        if end:
            self.response_ended = True
        conn: Codec = self.down.conn
        if not self.response and not self.down.paused and conn.sendable(self.down_stream) >= n:
            if n > 0 or end:
                conn.send_data(self.down_stream, buf, start, n, end)
            self.up.conn.release(self.up_stream, credit)
            if end:
                self.answered()
            return 0
        if self.response is None:
            self.response = deque()
        self.keep_response(octets_of(buf, start, n), credit, end)
        self.pump_response()
        if self.response and self.down.unread > MAX_UNREAD_WHEN_SHORT:
            memory: Memory = self.down.hub.memory
            if self.down.unread > MAX_UNREAD or 8 * memory.held > memory.limit:
                return self.unreadable()
        return 0

    def drop_response(self) -> cython.int:
        """What waits for the caller is of no use any more: give its credit back."""
        credit: cython.int
        if self.response:
            for item, credit, _ in self.response:
                if not isinstance(item, Head):
                    self.down.unread -= len(item)
                if credit and self.up is not None and not self.up.closed:
                    self.up.conn.release(self.up_stream, credit)
        self.response = None
        self.response_at = 0
        return 0

    def on_downstream_writable(self) -> cython.int:
        if self.response:
            self.pump_response()
        return 0

    def pump_response(self) -> cython.int:
        """Send what waits of the response, as far as the caller's windows and the kernel allow."""
        if self.state == DONE:
            return 0
        conn: Codec = self.down.conn
        chunk: bytes
        credit: cython.int
        end: cython.bint
        left: cython.Py_ssize_t
        room: cython.Py_ssize_t
        while self.response:
            if self.down.paused:
                conn.wait(self.down_stream)
                return 0
            item, credit, end = self.response[0]
            if isinstance(item, Head):
                self.response.popleft()
                conn.send_head(self.down_stream, item, b"", end)
            else:
                chunk = item
                left = len(chunk) - self.response_at
                room = conn.sendable(self.down_stream)
                if room < left:
                    if room > 0:
                        conn.send_data(self.down_stream, chunk, self.response_at, room, False)
                        self.response_at += room
                        self.answered_bytes += room
                    conn.wait(self.down_stream)
                    return 0
                self.response.popleft()
                self.down.unread -= len(chunk)
                if left > 0 or end:
                    conn.send_data(self.down_stream, chunk, self.response_at, left, end)
                    self.answered_bytes += left
                self.response_at = 0
                if credit and not self.up.closed:
                    self.up.conn.release(self.up_stream, credit)
            if end:
                return self.answered()
        return 0
