# cython: language_level=3, wraparound=False, initializedcheck=False
"""An HTTP/1.1 connection without I/O (RFC 9112), both roles: octets in, calls of a handler and octets out.

What lives here: which part of which message is due, and what ends a connection. What this must not know: sockets,
clocks (`now` is set by the shell), routes, the syntax of heads.

One message at a time: what a caller sends ahead (pipelining) is left to the shell, whose buffer is the limit, until
the answer before is written. Anything that two readers could take for two things is refused: a request with an answer
of its own (400, 413, 414, 417, 431, 501, 505) and the end of the connection, a response with the end of the
connection.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.balance.rng import Rng
from mesh.wire.codec import Handler, Stream
from mesh.wire.errors import ConnectionError_, Malformed
from mesh.wire.h1_chunks import Chunks
from mesh.wire.h1_parse import Message
from mesh.wire.h1_patterns import Patterns
from mesh.wire.h1_sending import SendingSide
from mesh.wire.hpack import Block
from mesh.wire.limits import HEADER_LIST

if not cython.compiled:
    from mesh.wire.codec import ABORTS, CLOSES
    from mesh.wire.h1_parse import REQUEST, RESPONSE, message_at, trailers_at
    from mesh.wire.h1_patterns import BY_ROLE
    from mesh.wire.h1_sending import (
        CHUNKS_DUE,
        HEAD_DUE,
        LENGTH_DUE,
        NOTHING_DUE,
        REST_DUE,
        TRAILERS_DUE,
        TUNNEL,
        TUNNEL_DUE,
        WINDOW,
    )
    from mesh.wire.h1_syntax import LOWER, MAX_FIELDS, MAX_LINE, MAX_SECTION, MAX_TRAILERS
    from mesh.wire.h1_write import accept_of, refusal
    from mesh.wire.octets import equal_at, find_octet

MAX_BLANK_LINES: int = 4  # before a request line (RFC 9112, section 2.2)
MAX_INTERIM: int = 32  # interim responses to one request
LAST_CHUNK: bytes = b"\r\n0\r\n\r\n"
NO_OCTETS: bytearray = bytearray()
ACCEPT_NAMES: frozenset[bytes] = frozenset((b"sec-websocket-accept",))
LENGTH_NAMES: frozenset[bytes] = frozenset((b"content-length",))


class Connection(SendingSide):
    """One HTTP/1.1 connection in one role; see `SendingSide` for sending.

    `rng`: for the keys of WebSocket handshakes that come without one.
    `keep_alive_timeout`: seconds that the last answer said its sender keeps an idle connection, 0 for unknown.
    """

    def __init__(self, client: cython.bint, handler: Handler, dirty: list[Any] | None = None,
                 rng: Rng | None = None) -> None:
        SendingSide.__init__(self, client, handler, dirty, rng)
        self.chunks: Any = None
        # How far the section that is due was searched for its end, from its beginning: `searched` octets, of which the
        # present line begins at `line` and is the `lines`-th; `first`: the first line that can be a per-call field.
        self.line: int = 0
        self.lines: int = 0
        self.first: int = -1
        self.blank_lines: int = 0
        self.pattern: Any = None  # of the last head
        self.interim: int = 0
        self.partial: float = 0.0

    def start(self) -> cython.int:
        if not self.client:
            self.partial = self.now  # of the first request
        return 0

    def receive(self, buf: bytearray, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """As `Codec.receive`. ConnectionError_: the message can't be taken; the answer, if one is due, is queued."""
        if n > len(buf):
            raise IndexError("octets outside the buffer")
        at: cython.Py_ssize_t = 0
        used: cython.Py_ssize_t
        self.held = False
        try:
            while at < n:
                if self.closed or self.ending:
                    return n
                if self.choked or self.state == NOTHING_DUE:
                    if self.client and self.state == NOTHING_DUE:
                        raise Malformed(502, "octets after the response")
                    self.held = True
                    break
                used = self.advance(buf, at, n)
                if used == at:
                    break
                at = used
        except Malformed as error:
            self.fail(error.status, error.reason)
        if at == n or self.held:
            self.partial = 0.0
        elif at > 0 or self.partial == 0.0:
            self.partial = self.now
        if self.eof and self.stream is None and not self.held:
            self.end_with(CLOSES)
        return at

    def oldest_unfinished(self) -> cython.double:
        """Since when the peer has been at a header or trailer section, or owes the first; 0: it is at none."""
        return self.partial

    def advance(self, buf: bytearray, at: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Take the next piece of what is due from `buf[at:n]`; where it ends, `at` if it is not all there."""
        take: cython.Py_ssize_t = n - at
        if self.state == HEAD_DUE:
            return self.on_head(buf, at, n)
        if self.state == LENGTH_DUE:
            if take > self.left:
                take = self.left
            self.left -= take
            self.deliver(buf, at, take, self.left == 0)
            return at + take
        if self.state == CHUNKS_DUE:
            return self.on_chunks(buf, at, n)
        if self.state == TRAILERS_DUE:
            return self.on_trailers(buf, at, n)
        self.deliver(buf, at, take, False)
        return n

    def receive_eof(self) -> cython.bint:
        stream: Stream | None = self.stream
        if self.closed or self.ending or stream is None:
            return False
        self.eof = True
        if self.state == REST_DUE or self.state == TUNNEL_DUE:
            self.deliver(NO_OCTETS, 0, 0, True)
            return self.framing == TUNNEL and not stream.local_closed and self.ending == 0
        # The caller may have closed its side only: it gets its answer. What was sent ahead is served as well.
        return not self.client and stream.remote_closed

    def reading(self) -> cython.bint:
        return not (self.held or self.choked)

    # -- heads

    def on_head(self, buf: bytearray, at: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        if self.searched == 0:
            if self.client:
                if self.stream is None:
                    raise Malformed(502, "octets that nobody has asked for")
                if buf[at] != 0x48:
                    raise Malformed(502, "not an HTTP/1.1 response")
            elif LOWER[buf[at]] == 0:
                return self.blank_line(buf, at, n)
        block: Block
        message: Message | None
        role: cython.int = RESPONSE if self.client else REQUEST
        patterns: Patterns = cython.cast(Patterns, BY_ROLE[role])
        if self.searched == 0:
            block = Block.__new__(Block)
            message = patterns.match(self.pattern, buf, at, n, block)
            if message is not None:
                self.pattern = patterns.matched
                block.head = message.head
                self.blank_lines = 0
                return self.on_message(message, block, patterns.matched.end)
        end: cython.Py_ssize_t = self.search(buf, at, n, MAX_LINE, MAX_LINE + MAX_SECTION)
        if end < 0:
            return at
        first: cython.Py_ssize_t = self.first if self.first < 0 else at + self.first
        self.searched = self.line = self.lines = self.blank_lines = 0
        self.first = -1
        block = Block.__new__(Block)
        message = message_at(role, buf, at, first, end - 2, block)
        patterns.learn(buf, at, end - 2, message)
        return self.on_message(message, block, end)

    def on_message(self, message: Message, block: Block, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """A head is there; it ends before `end`."""
        if self.client:
            self.on_response(message, block)
        else:
            self.on_request(message, block)
        return end

    def blank_line(self, buf: bytearray, at: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """RFC 9112, section 2.2: a few empty lines before a request are overlooked."""
        if buf[at] != 0x0D or (at + 1 < n and buf[at + 1] != 0x0A):
            raise Malformed(400, "not an HTTP/1.1 request")
        if at + 1 == n:
            return at
        self.blank_lines += 1
        if self.blank_lines > MAX_BLANK_LINES:
            raise Malformed(400, "empty lines instead of a request")
        return at + 2

    def search(self, buf: bytearray, at: cython.Py_ssize_t, n: cython.Py_ssize_t, most_line: cython.Py_ssize_t,
               most: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Where the section that begins at `at` ends, behind its empty line; -1 if it goes on past `n`.

        Malformed: it is over a limit, or has a bare LF. No octet is looked at twice, however few come at a time.
        """
        line: cython.Py_ssize_t = at + self.line
        feed: cython.Py_ssize_t = at + self.searched
        octet: cython.int
        while True:
            feed = find_octet(buf, 0x0A, feed, n)
            if feed < 0:
                break
            if feed == line or buf[feed - 1] != 0x0D:
                raise Malformed(400, "bare LF")
            feed += 1
            if feed - line == 2:
                if feed - at > most + 4:
                    raise Malformed(431, "field section is too large")
                return feed
            self.lines += 1
            if self.lines == 1:
                if feed - line > most_line + 2:
                    self.too_long()
            elif self.lines > MAX_FIELDS + 1:
                raise Malformed(431, "too many fields")
            if self.first < 0 and (self.lines > 1 or self.state == TRAILERS_DUE):
                octet = buf[line] | 0x20
                if octet == 0x74 or octet == 0x67:  # t, g
                    self.first = line - at
            line = feed
        self.searched = n - at
        self.line = line - at
        if self.lines == 0 and self.searched > most_line:
            self.too_long()
        if self.searched > most:
            raise Malformed(431, "field section is too large")
        return -1

    def too_long(self) -> cython.int:
        """The first line is."""
        if self.state == TRAILERS_DUE:
            raise Malformed(431, "trailer section is too large")
        raise Malformed(414, "start line is too long")

    def on_request(self, message: Message, block: Block) -> cython.int:
        stream: Stream = self.new_stream(None)
        end: cython.bint = False
        stream.headers_received = True
        stream.head_request = message.head.method == b"HEAD"
        self.request_message = message
        self.persistent = message.persistent
        self.begun = False
        self.undecided = message.tunnel
        if message.tunnel:
            stream.tunnel = 1
            self.upgrade = message.head.protocol
            self.state = NOTHING_DUE
        elif message.chunked:
            self.expect_chunks()
        elif message.length > 0:
            self.state = LENGTH_DUE
            self.left = message.length
        else:
            end = stream.remote_closed = True
            self.state = NOTHING_DUE
        return self.handler.on_headers(stream, block, end)

    def on_response(self, message: Message, block: Block) -> cython.int:
        """RFC 9112, section 6.3."""
        stream: Stream = self.stream
        status: cython.int = message.head.status
        if message.switched is not None:
            if self.upgrade is None or message.switched != self.upgrade:
                raise Malformed(502, "101 that was not asked for")
            self.check_accept(block)
            return self.open_tunnel(stream, block)
        if status < 200:
            self.interim += 1
            if self.interim > MAX_INTERIM:
                raise Malformed(502, "too many interim responses")
            return self.handler.on_headers(stream, block, False)
        self.interim = 0
        if self.undecided:
            if status < 300:
                if self.upgrade is not None:
                    # Its section would say that the upgrade was granted, and it was not.
                    raise Malformed(502, "success without the upgrade that was asked for")
                block.head = block.head.without(LENGTH_NAMES)
                return self.open_tunnel(stream, block)
            self.persistent = False
        stream.headers_received = True
        self.keep_alive_timeout = message.keep_alive
        if not message.persistent:
            self.persistent = False
        if stream.head_request or status == 204 or status == 304 or message.length == 0:
            self.close_remote(stream)
            return self.handler.on_headers(stream, block, True)
        if message.chunked:
            self.expect_chunks()
        elif message.length > 0:
            self.state = LENGTH_DUE
            self.left = message.length
        else:
            self.state = REST_DUE
            self.persistent = False
        return self.handler.on_headers(stream, block, False)

    def open_tunnel(self, stream: Stream, block: Block) -> cython.int:
        """As client: CONNECT or the upgrade is granted."""
        self.undecided = self.persistent = False
        self.interim = 0
        stream.headers_received = True
        self.state = TUNNEL_DUE
        self.framing = TUNNEL
        stream.tunnel = 2
        self.handler.on_headers(stream, block, False)
        if stream.closed:
            return 0
        return self.handler.on_writable(stream)

    def check_accept(self, block: Block) -> cython.int:
        """RFC 6455, section 4.1, if the key is our own: then nobody else can, and nobody else wants to know."""
        if self.own_key is None:
            return 0
        want: bytes = accept_of(self.own_key)
        given: list[Any] = [field.value for field in block.head.fields if field.name == b"sec-websocket-accept"]
        if given != [want]:
            raise Malformed(502, "wrong sec-websocket-accept")
        block.head = block.head.without(ACCEPT_NAMES)
        return 0

    # -- content

    def expect_chunks(self) -> cython.int:
        if self.chunks is None:
            self.chunks = Chunks()
        self.chunks.begin()
        self.state = CHUNKS_DUE
        return 0

    def on_chunks(self, buf: bytearray, at: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Framing, and the data of one chunk."""
        chunks: Chunks = self.chunks
        at = chunks.skip(buf, at, n)
        if chunks.last():
            self.state = TRAILERS_DUE
            return at
        if at == n or not chunks.data_due():
            return at
        take: cython.Py_ssize_t = n - at
        end: cython.bint = False
        if take >= chunks.left:
            take = chunks.left
            # The end is mostly there as well: then tell it with the last data.
            end = n - at - take >= 7 and equal_at(buf, at + take, LAST_CHUNK)
        chunks.took(take)
        self.deliver(buf, at, take, end)
        return at + take + 7 if end else at + take

    def on_trailers(self, buf: bytearray, at: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        end: cython.Py_ssize_t = self.search(buf, at, n, MAX_TRAILERS, MAX_TRAILERS)
        if end < 0:
            return at
        first: cython.Py_ssize_t = self.first if self.first < 0 else at + self.first
        self.searched = self.line = self.lines = 0
        self.first = -1
        block: Block
        stream: Stream | None = self.stream
        if end - at > 2:
            block = Block.__new__(Block)
            trailers_at(buf, at, first, end - 2, block)
            if stream is not None and block_says(block):
                self.close_remote(stream)
                self.handler.on_headers(stream, block, True)
                return end
        self.deliver(buf, at, 0, True)
        return end

    def deliver(self, buf: bytearray, at: cython.Py_ssize_t, n: cython.Py_ssize_t, end: cython.bint) -> cython.int:
        """Tell content; that of a request whose answer is complete is dropped."""
        stream: Stream | None = self.stream
        self.begun = True
        if stream is None:
            self.left_to_drop -= n
            if self.left_to_drop < 0:
                return self.end_with(CLOSES)
            if end:
                self.state = HEAD_DUE
            return 0
        self.unreleased += n
        if self.unreleased >= WINDOW:
            self.choked = True
        if end:
            self.close_remote(stream)
        return self.handler.on_data(stream, buf, at, n, n, end)

    def close_remote(self, stream: Stream) -> cython.int:
        """The peer's message is complete."""
        stream.remote_closed = True
        self.state = NOTHING_DUE
        return self.complete(stream) if stream.local_closed else 0

    # -- errors

    def expire(self, begun: cython.bint) -> cython.int:
        if begun and not self.client and self.stream is None and self.ending == 0:
            self.put(refusal(408))
        return self.end_with(CLOSES)

    def fail(self, status: cython.int, reason: str) -> cython.int:
        """The peer's message can't be taken: answer if an answer is due, and end the connection."""
        error: ConnectionError_ = ConnectionError_(1, reason, HEADER_LIST if status in (414, 431) else "")
        self.count(error.cause)
        stream: Stream | None = self.stream
        answer: cython.bint = not self.client and self.ending == 0
        if stream is not None:
            answer = answer and not stream.headers_sent
            stream.closed = True
            self.stream = None
        elif self.state != HEAD_DUE:
            answer = False  # the rest of an upload that has its answer
        if stream is not None:
            self.handler.on_reset(stream, 1, False)
        if answer:
            self.put(refusal(status))
        self.ending = CLOSES if answer or stream is None else ABORTS
        self.closed = True
        raise error


def block_says(block: Block) -> cython.bint:
    """True unless a section is empty."""
    return bool(block.head.fields or block.traceparent is not None or block.tracestate is not None
                or block.grpc_timeout is not None)
