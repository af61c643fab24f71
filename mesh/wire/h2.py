# cython: language_level=3, wraparound=False, initializedcheck=False
"""An HTTP/2 connection without I/O (RFC 9113), both roles: octets in, calls of a handler and octets out.

What lives here: stream states, flow control, SETTINGS, GOAWAY, and the limits that keep one peer from costing more
than it pays. What this must not know: sockets, clocks (`now` is set by the shell), routes, gRPC.

A connection error queues GOAWAY and raises ConnectionError_; a stream error is answered with RST_STREAM and told to
the handler by `on_reset(by_peer=False)` if it knew the stream. Priorities are ignored, server push is refused.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cython

from mesh.wire.codec import Handler, Stream
from mesh.wire.control import ControlSide
from mesh.wire.errors import HeaderListTooLarge, HpackError, StreamStateError
from mesh.wire.frames import PREFACE
from mesh.wire.hpack import Block, Head, literal
from mesh.wire.limits import (
    FLOOD_CONTINUATION,
    FLOOD_EMPTY_DATA,
    FLOOD_USELESS_FRAMES,
    HEADER_BLOCK,
    HEADER_LIST,
    REFUSED_STREAMS,
    Allowance,
    Limits,
    Settings,
)
from mesh.wire.streams import StreamState

if not cython.compiled:
    from mesh.wire.octets import equal_at, octets_of
    from mesh.wire.streams import ENDED, OWN_RESET, word_at


class Statistics(NamedTuple):
    """Counts since the connection began; octets are DATA payload."""

    opened: int
    active: int
    peer_resets: int
    own_resets: int
    data_received: int
    data_sent: int


class Connection(ControlSide):
    """One HTTP/2 connection in one role. See `FrameWriter` for output, `SendingSide` for sending, `Windows` for what
    may be received, `Settings` for what is announced and `Limits` for how far a peer may go.

    `now`: monotonic seconds, which the shell sets before `receive` so that the limits per second mean seconds.
    `closed` is set by a connection error, and may be set by the shell: nothing is sent or received any more. `active`
    counts open streams.
    """

    def __init__(self, client: cython.bint, handler: Handler, dirty: list[Any] | None = None,
                 settings: Settings | None = None) -> None:
        if settings is None:
            settings = Settings()
        ControlSide.__init__(self, client, handler, dirty, settings)
        limits: Limits = settings.limits
        self.max_streams: int = settings.max_concurrent_streams
        self.max_frame: int = settings.max_frame
        self.connect_protocol: bool = settings.connect_protocol
        self.preface_due: bool = not client
        self.fragment: bytearray | None = None
        self.fragment_id: int = 0
        self.fragment_flags: int = 0
        self.fragments: int = 0
        self.max_fragments: int = limits.continuations
        self.max_block: int = limits.header_block
        self.fresh: int = 0  # requests of this read
        self.max_fresh: int = limits.requests_per_pass
        self.data_received: int = 0
        self.empties: Allowance = Allowance(limits.empty_data, limits.empty_data)
        self.refused: Allowance = Allowance(max(limits.refused_streams, settings.max_concurrent_streams),
                                            limits.refused_streams)

    # -- what the shell calls

    def open_streams(self) -> cython.int:
        return self.table.count

    def receive(self, buf: bytearray, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Take the octets `buf[:n]`; how many are used up. The rest is the beginning of a frame: keep it, and add to
        it.

        ConnectionError_: the peer broke the protocol; GOAWAY is queued, nothing more will be taken.
        """
        if n > len(buf):
            raise IndexError("octets outside the buffer")
        if self.closed:
            return n
        self.reads += 1
        self.fresh = 0
        self.deferred = False
        at: cython.Py_ssize_t = 0
        length: cython.Py_ssize_t
        kind: cython.int
        flags: cython.int
        stream_id: cython.uint
        if self.preface_due:
            length = min(n, 24)
            if not equal_at(buf, 0, PREFACE[:length]):
                self.fail(1, "not an HTTP/2 preface")
            if length < 24:
                return 0
            self.preface_due = False
            at = 24
        while n - at >= 9:
            length = (buf[at] << 16) | (buf[at + 1] << 8) | buf[at + 2]
            if length > self.max_frame:
                self.fail(6, "frame over SETTINGS_MAX_FRAME_SIZE")
            kind = buf[at + 3]
            flags = buf[at + 4]
            stream_id = word_at(buf, at + 5) & 0x7FFFFFFF
            if kind > 1 or self.fragment is not None or not self.settings_received or stream_id & 1 == 0:
                self.judge(kind, flags, stream_id, length)
            if n - at - 9 < length:
                self.keep_time(kind != 0, at > 0)  # DATA may be slow
                return at
            if kind == 0:
                self.on_data_frame(flags, stream_id, buf, at + 9, length)
            elif kind > 1:
                self.on_frame(kind, flags, stream_id, buf, at + 9, length)
            elif self.fresh < self.max_fresh:
                self.on_headers_frame(flags, stream_id, buf, at + 9, length)
            else:
                self.deferred = True
                break
            at += 9 + length
            if self.closed:
                return n
        self.keep_time(at < n and not self.deferred, at > 0)
        return at

    def keep_time(self, partial: cython.bint, moved: cython.bint) -> cython.int:
        """Note since when the peer has been at the frame that is not complete, and at its header section."""
        if not partial:
            self.partial = 0.0
        elif moved or self.partial == 0.0:
            self.partial = self.now
        if self.settings_received and self.fragment is None:
            self.begun = 0.0
        return 0

    def oldest_unfinished(self) -> cython.double:
        """Since when the peer has been at a header section (its preface and SETTINGS too); 0: it is at none."""
        if self.begun == 0.0 or 0.0 < self.partial < self.begun:
            return self.partial
        return self.begun

    def can_open(self) -> cython.bint:
        """Client: True if the peer takes one more stream now."""
        return (
            not (self.closed or self.peer_goaway or self.local_goaway)
            and cython.cast(cython.uint, self.table.count) < self.peer_max_streams
            and self.next_id < 0x7FFFFFFF
        )

    def open(self, owner: object, header_block: bytes, end: cython.bint, head_request: cython.bint = False) -> Stream:
        """Client: send a request on the next stream. `head_request`: its response has no content whatever it promises.

        StreamStateError if the connection takes none (GOAWAY, closed, ids used up).
        """
        if not self.client or self.closed or self.peer_goaway or self.local_goaway or self.next_id >= 0x7FFFFFFF:
            raise StreamStateError("no stream can be opened")
        stream: Stream = Stream.__new__(Stream)
        stream.begin(self.next_id, self.peer_window, self.stream_window, self.now)
        self.next_id += 2
        self.opened += 1
        stream.owner = owner
        stream.head_request = head_request
        stream.headers_sent = True
        stream.local_closed = end
        self.table.add(stream)
        self.headers_frames(stream.id, header_block, end)
        if self.next_id >= 0x7FFFFFFF:  # RFC 9113, section 5.1.1: a new connection is needed
            self.handler.on_goaway(stream.id, 0, b"stream ids used up")
        return stream

    def tunnels(self) -> cython.bint:
        return self.peer_connect_protocol

    def request(self, owner: object, head: Head, extra: bytes, end: cython.bint) -> Stream:
        if head.protocol is not None and not self.peer_connect_protocol:  # RFC 8441, section 3
            raise StreamStateError("extended CONNECT was not announced")
        stream: Stream = self.open(owner, self.encoder.encode(head) + extra, end, head.method == b"HEAD")
        if head.scheme is None or head.protocol is not None:
            stream.tunnel = 1
        return stream

    def send_head(self, stream: StreamState, head: Head, extra: bytes, end: cython.bint) -> cython.int:
        if stream.tunnel == 1 and 200 <= head.status < 300:
            stream.tunnel = 2
        return self.send_headers(stream, self.encoder.encode(head) + extra if extra else self.encoder.encode(head), end)

    def settled(self) -> cython.bint:
        return self.local_goaway

    def field(self, name: bytes, value: bytes) -> bytes:
        return literal(name, value)

    def all_streams(self) -> list[Any]:
        """The open streams."""
        return self.table.streams()

    def statistics(self) -> Statistics:
        return Statistics(
            self.opened, self.table.count, self.peer_resets, self.own_resets, self.data_received, self.data_sent
        )

    # -- frames

    def judge(self, kind: cython.int, flags: cython.int, stream_id: cython.uint, n: cython.Py_ssize_t) -> cython.int:
        """What is wrong with a frame, as far as its header tells: said before the rest of it is here."""
        if self.fragment is not None and kind != 9:
            return self.fail(1, "header block interrupted")
        if not self.settings_received and kind != 4:
            return self.fail(1, "first frame is not SETTINGS")
        if kind == 0:
            return self.fail(1, "DATA on stream 0") if stream_id == 0 else 0
        if kind == 1:
            return self.fail(1, "HEADERS on an even stream id") if stream_id & 1 == 0 else 0
        if kind == 8 or kind == 3:
            return self.fail(6, "WINDOW_UPDATE or RST_STREAM is not 4 octets") if n != 4 else 0
        if kind == 9:
            if self.fragment is None or stream_id != self.fragment_id:
                return self.fail(1, "CONTINUATION without its HEADERS")
            return 0
        if kind == 5:
            return self.fail(1, "PUSH_PROMISE")
        if kind == 2 or kind > 9:
            return 0
        if kind == 6 and n != 8:
            return self.fail(6, "PING is not 8 octets")
        if stream_id:
            return self.fail(1, "frame of the connection on a stream")
        if kind == 4:
            if flags & 1 and n:
                return self.fail(6, "SETTINGS acknowledgement with a payload")
            return self.fail(6, "SETTINGS is not a multiple of 6 octets") if n % 6 else 0
        return self.fail(6, "GOAWAY is shorter than 8 octets") if kind == 7 and n < 8 else 0

    def on_frame(self, kind: cython.int, flags: cython.int, stream_id: cython.uint, buf: bytearray,
                 start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.int:
        """One whole frame other than DATA and HEADERS: its payload is `buf[start:start + n]`, its header is judged."""
        if kind == 8:
            return self.on_window_update(stream_id, word_at(buf, start) & 0x7FFFFFFF)
        if kind == 9:
            return self.on_continuation(flags, stream_id, buf, start, n)
        if kind == 3:
            return self.on_reset_frame(stream_id, word_at(buf, start))
        if kind == 2:
            return self.on_priority(stream_id, 0 if n != 5 else word_at(buf, start) & 0x7FFFFFFF, n)
        if kind == 4:
            return self.on_settings_frame(flags, buf, start, n)
        if kind == 6:
            return self.on_ping(flags, octets_of(buf, start, 8))
        if kind == 7:
            return self.on_goaway_frame(buf, start, n)
        # RFC 9113, section 4.1: ignore what is unknown
        return self.spend(self.useless, FLOOD_USELESS_FRAMES, self.ended)

    def on_data_frame(self, flags: cython.int, stream_id: cython.uint, buf: bytearray, start: cython.Py_ssize_t,
                      n: cython.Py_ssize_t) -> cython.int:
        credit: cython.Py_ssize_t = n
        end: cython.bint = flags & 1
        if flags & 8:
            if n == 0:
                return self.fail(6, "padded DATA without a pad length")
            n -= 1 + buf[start]
            start += 1
            if n < 0:
                return self.fail(1, "padding longer than the frame")
        stream: Stream | None = cython.cast(Stream, self.table.find(stream_id))
        if stream is None and self.idle(stream_id):
            return self.fail(1, "DATA on an idle stream")
        self.recv_window -= credit
        if self.recv_window < 0:
            return self.fail(3, "DATA past the connection's window")
        self.held += credit
        self.memory.held += credit
        if stream is None:
            if n == 0:
                self.spend(self.empties, FLOOD_EMPTY_DATA)
            self.release(None, credit)
            return self.stray(stream_id, False)
        code: cython.uint = 0
        stream.recv_window -= credit
        if stream.remote_closed:
            code = 5
        elif not stream.headers_received:
            code = 1
        elif stream.recv_window < 0:
            code = 3
        elif stream.expected >= 0:
            stream.expected -= n
            if stream.expected < 0 or (end and stream.expected > 0):
                code = 1
        if code:
            self.release(None, credit)
            return self.stream_error(stream, code)
        self.data_received += n
        if end:
            self.close_remote(stream)
        elif n == 0:
            self.spend(self.empties, FLOOD_EMPTY_DATA)
            return self.release(stream, credit)
        if self.recv_window < self.low_water:
            self.top_up()
        return self.handler.on_data(stream, buf, start, n, credit, end)

    def on_headers_frame(self, flags: cython.int, stream_id: cython.uint, buf: bytearray, start: cython.Py_ssize_t,
                         n: cython.Py_ssize_t) -> cython.int:
        end: cython.Py_ssize_t = start + n
        if flags & 8:
            if n == 0:
                return self.fail(6, "padded HEADERS without a pad length")
            end -= buf[start]
            start += 1
        if flags & 32:
            if end - start < 5:
                return self.fail(6 if n < 5 else 1, "HEADERS too short for its priority")
            if word_at(buf, start) & 0x7FFFFFFF == stream_id:
                flags |= 256  # a stream that depends on itself: RFC 7540, section 5.3.1
            start += 5
        if end < start:
            return self.fail(1, "padding longer than the frame")
        if flags & 4:
            return self.on_block(flags, stream_id, buf, start, end)
        self.fragment = bytearray(octets_of(buf, start, end - start))
        self.fragment_id = stream_id
        self.fragment_flags = flags
        self.fragments = 0
        self.begun = self.now
        return 0

    def on_continuation(self, flags: cython.int, stream_id: cython.uint, buf: bytearray, start: cython.Py_ssize_t,
                        n: cython.Py_ssize_t) -> cython.int:
        block: bytearray | None = self.fragment
        if block is None:
            return 0
        self.fragments += 1
        if self.fragments > self.max_fragments:
            return self.fail(11, "header block in too many frames", FLOOD_CONTINUATION)
        if len(block) + n > self.max_block:
            return self.fail(11, "header block of too many octets", HEADER_BLOCK)
        block += octets_of(buf, start, n)
        if flags & 4:
            self.fragment = None
            return self.on_block(self.fragment_flags, stream_id, block, 0, len(block))
        return 0

    def on_block(self, flags: cython.int, stream_id: cython.uint, buf: bytearray, start: cython.Py_ssize_t,
                 end: cython.Py_ssize_t) -> cython.int:
        """A whole header block. It is decoded whatever becomes of it, since that keeps the table in step."""
        block: Block
        code: cython.uint = 1 if flags & 256 else 0
        try:
            block = self.decoder.decode(buf, start, end)
        except HpackError as error:
            return self.fail(9, str(error))
        except HeaderListTooLarge:
            block = Block.__new__(Block)
            code = 11
            self.count(HEADER_LIST)
        stream: Stream | None = cython.cast(Stream, self.table.find(stream_id))
        if stream is None:
            if not self.idle(stream_id):
                return self.stray(stream_id, True)
            if self.client:
                return self.fail(1, "HEADERS on an idle stream")
            return self.on_request(stream_id, block, flags & 1, code)
        if stream.remote_closed:
            code = 5
        elif stream.tunnel == 2:  # RFC 9113, section 8.5
            code = 1
        if code:
            return self.stream_error(stream, code)
        return self.on_section(stream, block, flags & 1)

    def on_request(self, stream_id: cython.uint, block: Block, end: cython.bint,
                   code: cython.uint) -> cython.int:
        """Server: a new stream. `code` is why it is refused already, or 0."""
        self.highest_id = stream_id
        self.fresh += 1
        if self.local_goaway:
            self.spend(self.refused, REFUSED_STREAMS)
            return self.table.remember(stream_id, OWN_RESET)
        self.last_peer_id = stream_id
        head: Head
        if code == 0:
            head = block.head
            if (head.request_problem is not None or (head.protocol is not None and not self.connect_protocol)
                    or (end and head.content_length > 0)):
                code = 1
        if code:
            return self.refuse(stream_id, code)
        if cython.cast(cython.uint, self.table.count) >= self.max_streams:
            self.spend(self.refused, REFUSED_STREAMS)
            self.answer()
            self.own_resets += 1
            self.word_frame(3, stream_id, 7)
            return self.table.remember(stream_id, OWN_RESET)
        stream: Stream = Stream.__new__(Stream)
        stream.begin(stream_id, self.peer_window, self.stream_window, self.now)
        stream.headers_received = True
        stream.remote_closed = end
        stream.expected = head.content_length
        if head.scheme is None or head.protocol is not None:  # only a CONNECT is so
            stream.tunnel = 1
            stream.expected = -1
        self.opened += 1
        self.table.add(stream)
        return self.handler.on_headers(stream, block, end)

    def on_section(self, stream: Stream, block: Block, end: cython.bint) -> cython.int:
        """A response, or the trailers of either side, on an open stream."""
        head: Head = block.head
        if stream.headers_received:
            if not end or head.trailers_problem is not None or stream.expected > 0:
                return self.stream_error(stream, 1)
        else:
            if head.response_problem is not None:
                return self.stream_error(stream, 1)
            if head.status >= 200:
                stream.headers_received = True
                if stream.tunnel and head.status < 300:
                    stream.tunnel = 2  # RFC 9110, section 9.3.6: no content, so that content-length says nothing
                elif stream.head_request or head.status == 304 or head.status == 204:
                    stream.expected = 0  # RFC 9110, section 6.4.1: whatever content-length says
                else:
                    stream.expected = head.content_length
            if end and (head.status < 200 or stream.expected > 0):
                return self.stream_error(stream, 1)
        if end:
            self.close_remote(stream)
        return self.handler.on_headers(stream, block, end)

    # -- states

    def stray(self, stream_id: cython.uint, opens: cython.bint) -> cython.int:
        """DATA, or HEADERS (`opens`), on a stream that is closed: RFC 9113, section 5.1, "closed"."""
        how: cython.int = self.table.fate(stream_id)
        if how == ENDED:
            return self.fail(5, "frame on a stream that both sides ended")
        if how == OWN_RESET:
            return 0  # it was under way
        if how == 0 and opens and not self.client:
            return self.fail(1, "stream id is not higher than the last")
        return self.refuse(stream_id, 5)

    def close_remote(self, stream: Stream) -> cython.int:
        """The peer said END_STREAM."""
        stream.remote_closed = True
        return self.drop(stream, ENDED) if stream.local_closed else 0
