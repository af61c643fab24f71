# cython: language_level=3, wraparound=False, initializedcheck=False
"""What every HTTP version is to those who carry requests: streams with a header section, data and trailers.

What lives here: the interface between the protocols (`h1`, `h2`) and the data path: `Codec`, the `Stream` it makes, the
`Handler` it tells. What this must not know: any protocol, sockets, routes.

A header section is a `Head` as HTTP/2 has it, whatever came over the wire: pseudo-header fields first, names in lower
case, no field that concerns one connection only. An upgrade (WebSocket) is an extended CONNECT (RFC 8441).
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.wire.hpack import Block, Head
from mesh.wire.output import Output
from mesh.wire.streams import StreamState

# Codec.ending
STAYS = cython.declare(cython.int, 0)
CLOSES = cython.declare(cython.int, 1)
ABORTS = cython.declare(cython.int, 2)


class Stream(StreamState):
    """One request and its response. `owner` is the user's; the rest belongs to the codec (see `StreamState`)."""


class Handler:
    """What a codec calls; the shells derive from it. Returns mean nothing; exceptions go through `receive`.

    A handler may call the codec back, also to reset the stream it is being told about.
    """

    def on_headers(self, stream: Stream, block: Block, end: cython.bint) -> cython.int:
        """A well-formed header section: request (server), response, interim response (status 1xx), or trailers."""
        return 0

    def on_data(self, stream: Stream, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t,
                credit: cython.int, end: cython.bint) -> cython.int:
        """`n` octets at `buf[start:start + n]`, valid during the call; `credit` octets are due to `release()`."""
        return 0

    def on_reset(self, stream: Stream, code: cython.uint, by_peer: cython.bint) -> cython.int:
        """The stream is dead: the peer ended it, or an error of the peer that was answered already."""
        return 0

    def on_writable(self, stream: Stream | None) -> cython.int:
        """A window grew: this stream's, or (None) that of the connection or of all streams."""
        return 0

    def on_goaway(self, last_id: cython.uint, code: cython.uint, debug: bytes) -> cython.int:
        """The peer takes no new streams. As client: those above `last_id` were given `on_reset(REFUSED_STREAM)`."""
        return 0

    def on_settings(self) -> cython.int:
        """The peer's SETTINGS are in force."""
        return 0

    def on_ping_ack(self, data: bytes) -> cython.int:
        """The peer answered `ping(data)`."""
        return 0


class Codec(Output):
    """One connection in one role (`client`: we send requests), without I/O.

    `now`: monotonic seconds, which the shell sets before `receive`. `closed` is set by a connection error, and may be
    set by the shell: nothing is sent or received any more. `textual`: fields that are added to a section are lines of
    text and not HPACK literals. `ending`: STAYS; CLOSES, the shell closes the connection once the output is written;
    ABORTS, the shell ends it at once, so that the peer does not take a part for the whole. `shut`: nothing more will
    be sent, and the shell says so once the output is written, but what the peer sends is still taken. `deferred`:
    `receive` has stopped before the end though it could go on, for the others' sake: the shell calls it again, in
    another turn of the loop. `counts`: how often what happened, by reason code, None for nothing; a shell may give all
    its connections one.
    """

    def __init__(self, client: cython.bint, handler: Handler, dirty: list[Any] | None, textual: cython.bint) -> None:
        Output.__init__(self, dirty)
        self.client: bool = client
        self.handler: Handler = handler
        self.textual: bool = textual
        self.closed: bool = False
        self.ending: int = 0
        self.shut: bool = False
        self.deferred: bool = False
        self.counts: dict[str, int] | None = None
        self.now: float = 0.0

    @property
    def active(self) -> int:
        """How many streams are open."""
        return int(self.open_streams())

    def open_streams(self) -> cython.int:
        raise NotImplementedError

    # -- what the shell calls

    def start(self) -> cython.int:
        """The connection stands: queue what the protocol begins with."""
        return 0

    def receive(self, buf: bytearray, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Take the octets `buf[:n]`; how many are used up. The rest is kept by the shell, which adds to it.

        ConnectionError_: the peer broke the protocol; the answer is queued, nothing more will be taken.
        """
        raise NotImplementedError

    def receive_eof(self) -> cython.bint:
        """The peer sends no more. True if the connection stays, for what is still to be sent; False: close it."""
        return False

    def reading(self) -> cython.bint:
        """False while `receive` would take nothing (a reader is slow, or the answer before is not finished).

        The shell then reads no more from the socket, until it is told by `attend`.
        """
        return True

    def all_streams(self) -> list[Any]:
        """The open streams."""
        raise NotImplementedError

    def oldest_unfinished(self) -> cython.double:
        """Since when the peer has been at a header section (its first octets and SETTINGS too); 0: it is at none."""
        return 0.0

    def end(self) -> cython.int:
        """The connection is gone. The last call."""
        self.closed = True
        return 0

    def count(self, cause: str) -> cython.int:
        """Note that this happened."""
        if self.counts is None:
            self.counts = {}
        self.counts[cause] = self.counts.get(cause, 0) + 1
        return 0

    def drain(self) -> cython.int:
        """Leave without losing a request: no new ones after those the peer may have sent already."""
        return 0

    def expire(self, begun: cython.bint) -> cython.int:
        """No stream is open and the peer takes too long to open one; `begun`: a part of a section has come."""
        return self.drain()

    def settled(self) -> cython.bint:
        """After `drain`: True once the peer can have no request on its way that we would still take."""
        return True

    # -- what those who carry requests call

    def can_open(self) -> cython.bint:
        """Client: True if the peer takes one more stream now."""
        raise NotImplementedError

    def request_problem(self, head: Head) -> str | None:
        """Client: why this well-formed request can't be said in this version of HTTP, or None."""
        return None

    def tunnels(self) -> cython.bint:
        """Client: True if the peer takes upgrades (`Head.protocol`), as far as it has told."""
        return True

    def request(self, owner: object, head: Head, extra: bytes, end: cython.bint) -> Stream:
        """Client: send a request on a new stream; `extra` are encoded fields (see `field`) at the section's end.

        StreamStateError if the connection takes none (`can_open`), or not this one (`request_problem`, `tunnels`).
        """
        raise NotImplementedError

    def send_head(self, stream: StreamState, head: Head, extra: bytes, end: cython.bint) -> cython.int:
        """Send a response, an interim response or trailers. Nothing is sent on a stream that is dead.

        StreamStateError after our own end.
        """
        raise NotImplementedError

    def field(self, name: bytes, value: bytes) -> bytes:
        """One encoded field; the value must be a legal one."""
        raise NotImplementedError

    def sendable(self, stream: StreamState) -> cython.Py_ssize_t:
        """How many octets of data may be sent now."""
        raise NotImplementedError

    def send_data(self, stream: StreamState, buf: object, start: cython.Py_ssize_t, n: cython.Py_ssize_t,
                  end: cython.bint) -> cython.int:
        """Send `buf[start:start + n]` (bytes or bytearray). Nothing is sent on a stream that is dead.

        StreamStateError: more than `sendable`, before the headers, or after our own end.
        """
        raise NotImplementedError

    def wait(self, stream: StreamState) -> cython.int:
        """`stream` has more data than may be sent now: `on_writable` tells it when it is its turn."""
        return 0

    def serve(self) -> cython.int:
        """Give those that wait their turns, by `on_writable`; for the shell, when a window grew or the kernel took all.

        No turns are given while much output waits: call it again once that is written.
        """
        stream: Stream
        for stream in self.all_streams():
            self.handler.on_writable(stream)
        return 0

    def waiters(self) -> cython.Py_ssize_t:
        """How many streams wait for their turn."""
        return 0

    def release(self, stream: StreamState | None, credit: cython.int) -> cython.int:
        """`credit` octets told by `on_data` have been consumed. The stream may be dead."""
        return 0

    def reset(self, stream: StreamState, code: cython.uint) -> cython.int:
        """End the stream in the middle; the handler hears no more of it. No effect on a dead stream.

        `code` as in RFC 9113, section 7.
        """
        raise NotImplementedError
