# cython: language_level=3, wraparound=False, initializedcheck=False
"""One attempt of a request at one endpoint: a place on a connection, a stream, and how to let go of both.

What lives here: Attempt, which the exchange of a request is for the attempt it follows, and Hedge, a second one beside
it that is yet to be chosen. What this must not know: which endpoint, whether to try again, what the caller is told.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh import errors
from mesh.dataplane.entry import Entry
from mesh.dataplane.gate import Gate
from mesh.dataplane.relay import Relay
from mesh.dataplane.timers import Timer
from mesh.dataplane.transport import Transport
from mesh.dataplane.upstream import Pool
from mesh.wire.codec import Codec, Stream
from mesh.wire.hpack import Block

if not cython.compiled:
    from mesh.dataplane.relay import CONNECTING, OPEN, PAUSED, QUEUED, WAITING

# RST_STREAM codes, RFC 9113 section 7
REFUSED_STREAM = cython.declare(cython.int, 7)
CANCEL = cython.declare(cython.int, 8)
# A stream is not reset before it is this old, in seconds: callers share the connection to an endpoint, and one who
# cancels everything at once must not have the endpoint take it for a rapid reset (CVE-2023-44487) and hang up on all.
RESET_AGE = cython.declare(cython.double, 0.1)


class LateReset(Timer):
    """Resets a stream that nobody waits for any more; what still comes on it is dropped."""

    def __init__(self, up: Transport, stream: Stream, pool: Pool) -> None:
        Timer.__init__(self)
        self.up = up
        self.stream = stream
        self.pool = pool

    def fire(self) -> cython.int:
        if not self.up.closed and not self.stream.closed:
            self.up.conn.reset(self.stream, CANCEL)
            self.pool.settle(self.up)
        return 0


class Attempt(Relay):
    """`request_deadline`: instant, 0 for none. `attempt_record`: what is written down of it. `number`: 1 is the first
    attempt of its request. `allowance`: attempts that those further down the chain of calls may make, this one
    included; 0: nothing is said of them. `sent_at`: 0 until the headers are sent, and once the time has been told."""

    def set_up(self, entry: Entry) -> cython.int:
        """What a constructor does first. One that calls its base's costs as much as a request's whole life here."""
        if not cython.compiled:  # where every attribute is 0 or None from the start
            self.clear()
        self.entry = entry
        self.hub = entry.hub
        return 0

    def clear(self) -> None:
        Relay.__init__(self)
        self.armed = False
        self.cluster: Any = None
        self.head: Any = None
        self.request_deadline = 0.0
        self.node: Any = None
        self.pool: Any = None
        self.attempt_record: Any = None
        self.number = 0
        self.allowance = 0
        self.opened_at = 0.0
        self.sent_at = 0.0

    def attempt_failed(self, reason: Any, detail: str) -> cython.int:
        """It is over without an answer."""
        return 0

    def fail(self, reason: Any, detail: str) -> cython.int:
        """The request can't be sent at all."""
        return 0

    def copy_answered(self, copy: Attempt, block: Block, end: cython.bint) -> cython.int:
        """The copy of this request was first to have an answer."""
        return 0

    def copy_failed(self, copy: Attempt, reason: Any) -> cython.int:
        """The copy of this request is over without an answer; `reason` None: by no fault of the endpoint."""
        return 0

    def seek_connection(self) -> cython.int:
        """Open the stream now, or when the endpoint's pool has a connection with room."""
        transport: Transport | None = self.pool.acquire()
        if transport is not None and self.pool.waiting.count == 0:
            self.up = transport
            return self.open_stream()
        self.state = CONNECTING
        return self.pool.wait(self)

    def on_connection(self, transport: Transport) -> cython.int:
        if self.state == CONNECTING:
            self.up = transport
            self.open_stream()
        return 0

    def on_no_connection(self, reason: object, detail: str) -> cython.int:
        if self.state == CONNECTING:
            self.state = PAUSED
            self.attempt_failed(reason, detail)
        return 0

    def open_stream(self) -> cython.int:
        """Send the request's headers, with our span as the parent and what is left of the deadline."""
        conn: Codec = self.up.conn
        problem: str | None = conn.request_problem(self.head)
        if problem is not None:  # HTTP/2 lets through what would be two requests, or none, in HTTP/1.1
            return self.fail(errors.CALLER_PROTOCOL_ERROR, problem)
        if self.head.protocol is not None and not conn.tunnels():
            return self.fail(errors.NO_UPGRADE, "")
        left: cython.double = 0.0
        if self.request_deadline > 0:
            left = max(self.request_deadline - self.hub.now, 0.000001)
        end: cython.bint = self.request_ended and not self.pending and self.trailers is None
        self.state = OPEN
        self.opened_at = self.hub.now
        self.up_stream = conn.request(
            self, self.head, self.entry.call_fields(self.attempt_record, left, self.allowance, conn.textual), end)
        self.request_sent = end
        self.sent_at = self.hub.now
        if not end and (self.pending or self.request_ended):
            self.pump_request()
        return 0

    def on_upstream_reset(self, code: cython.uint, by_peer: cython.bint) -> cython.int:
        if self.response_ended:
            return 0  # the whole answer is here; what the endpoint resets is our unfinished upload
        if code == REFUSED_STREAM and not self.committed:
            return self.attempt_failed(errors.REFUSED_STREAM, "")
        if not by_peer:
            return self.attempt_failed(errors.UPSTREAM_PROTOCOL_ERROR, "")
        return self.attempt_failed(errors.reset_by(code), f"RST_STREAM code {code}")

    def on_upstream_lost(self) -> cython.int:
        if self.response_ended:
            return 0
        return self.attempt_failed(errors.UPSTREAM_PROTOCOL_ERROR if self.up.failed else errors.CONNECTION_LOST, "")

    def leave_upstream(self, code: cython.uint) -> cython.int:
        """Let go of the upstream stream, resetting it with `code` unless it is closed."""
        stream: Stream = self.up_stream
        if self.state == CONNECTING and self.pool is not None:
            self.pool.leave(self)
        elif self.state == WAITING:
            self.cluster.stop_waiting(self)
        elif self.state == QUEUED:
            gate: Gate = self.cluster.gate
            gate.leave(self)
        if stream is not None:
            self.drop_response()
            self.up_stream = None
            stream.owner = None
            if not self.up.closed and not (stream.local_closed and stream.remote_closed):
                if code == CANCEL and not self.up.conn.textual and self.hub.now < self.opened_at + RESET_AGE:
                    self.hub.timers.add(LateReset(self.up, stream, self.pool), self.opened_at + RESET_AGE, self.hub.now)
                else:
                    self.up.conn.reset(stream, code)
                    self.pool.settle(self.up)
        self.up = None
        return 0


class Hedge(Attempt):
    """A copy of a request that is wholly here, on its way to another endpoint until `whole` takes it over or drops it.

    It sends what is kept for a repetition; its answer it does not take itself.
    """

    def __init__(self, whole: Attempt) -> None:
        self.set_up(whole.entry)
        self.whole: Any = whole
        self.down = whole.down
        self.cluster = whole.cluster
        self.head = whole.head
        self.request_deadline = whole.request_deadline
        self.trailers = whole.trailers
        self.request_ended = True
        self.replay = whole.replay
        self.rewind()
        self.replay = None

    # `whole` lets go of this and may end: a reference of their own keeps it for as long as its methods run.

    def attempt_failed(self, reason: Any, detail: str) -> cython.int:
        whole: Attempt = self.whole
        return whole.copy_failed(self, reason)

    def fail(self, reason: Any, detail: str) -> cython.int:
        return self.attempt_failed(None, detail)

    def on_upstream_lost(self) -> cython.int:
        if self.up.conn.textual and not self.up.failed:  # perhaps the server had just given the connection up
            return self.attempt_failed(None, "")
        return Attempt.on_upstream_lost(self)

    def on_response_headers(self, block: Block, end: cython.bint) -> cython.int:
        whole: Attempt = self.whole
        if 100 <= block.head.status < 200:
            return 0
        return whole.copy_answered(self, block, end)
