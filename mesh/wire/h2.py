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
from mesh.wire.errors import ConnectionError_, HeaderListTooLarge, HpackError, StreamStateError
from mesh.wire.frames import PREFACE
from mesh.wire.hpack import Block, Decoder, Encoder, Head, literal
from mesh.wire.limits import MAX_CONTINUATIONS, RAPID_RESET_AGE, Allowance, Settings
from mesh.wire.sending import SendingSide
from mesh.wire.streams import StreamState

if not cython.compiled:
    from mesh.wire.octets import equal_at, octets_of
    from mesh.wire.sending import DRAIN_PING
    from mesh.wire.streams import ENDED, OWN_RESET, PEER_RESET, word_at

MAX_FRAME: int = 16384  # our SETTINGS_MAX_FRAME_SIZE: the initial value, never changed
MAX_WINDOW: int = 2147483647
# Octets of a header block in several frames: twice the header list, as in Go's net/http2, so that one that is merely
# too large costs its stream (HeaderListTooLarge) and not the connection with everybody else's.
MAX_BLOCK: int = 131072
CONTINUATIONS: int = MAX_CONTINUATIONS
RAPID: float = RAPID_RESET_AGE


class Statistics(NamedTuple):
    """Counts since the connection began; octets are DATA payload."""

    opened: int
    active: int
    peer_resets: int
    own_resets: int
    data_received: int
    data_sent: int


class Connection(SendingSide):
    """One HTTP/2 connection in one role. See `FrameWriter` for output, `SendingSide` for sending, `Settings` for what
    is announced.

    `now`: monotonic seconds, which the shell sets before `receive` so that the limits per second mean seconds.
    `closed` is set by a connection error, and may be set by the shell: nothing is sent or received any more. `active`
    counts open streams.
    """

    def __init__(self, client: cython.bint, handler: Handler, dirty: list[Any] | None = None,
                 settings: Settings | None = None) -> None:
        if settings is None:
            settings = Settings()
        SendingSide.__init__(self, client, handler, dirty, settings)
        self.settings: Settings = settings
        self.encoder: Encoder = Encoder()
        self.decoder: Decoder = Decoder(4096, settings.max_header_list + settings.list_tolerance)
        self.peer_goaway: bool = False
        self.peer_max_streams: int = 100 if client else 0  # until its SETTINGS are here; RFC 9113 recommends no less
        self.settings_received: bool = False
        self.settings_acknowledged: bool = False
        self.max_streams: int = settings.max_concurrent_streams
        self.connect_protocol: bool = settings.connect_protocol
        self.next_id: int = 1
        self.highest_id: int = 0  # of the peer's streams, those that came after our GOAWAY too
        self.peer_window: int = 65535
        # Until our SETTINGS are acknowledged the peer may go by the initial 65,535.
        self.stream_window: int = max(65535, settings.initial_window)
        self.preface_due: bool = not client
        self.fragment: bytearray | None = None
        self.fragment_id: int = 0
        self.fragment_flags: int = 0
        self.fragments: int = 0
        self.reads: int = 0
        self.opened: int = 0
        self.peer_resets: int = 0
        self.data_received: int = 0
        self.settings_frames: Allowance = Allowance(50, 50)
        self.empties: Allowance = Allowance(100, 100)
        self.forced_resets: Allowance = Allowance(200, 10)

    # -- what the shell calls

    def open_streams(self) -> cython.int:
        return self.table.count

    def start(self) -> cython.int:
        """Queue the preface: SETTINGS, and the connection's receive window."""
        settings: Any = self.settings
        pairs: list[Any] = [(4, settings.initial_window), (6, settings.max_header_list)]
        if self.client:
            self.put(PREFACE)
            pairs.append((2, 0))
        else:
            pairs.append((3, settings.max_concurrent_streams))
            if self.connect_protocol:
                pairs.append((8, 1))
        self.settings_frame(pairs)
        if self.recv_window > 65535:
            self.word_frame(8, 0, self.recv_window - 65535)
        return 0

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
        at: cython.Py_ssize_t = 0
        length: cython.Py_ssize_t
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
            if length > MAX_FRAME:
                self.fail(6, "frame over SETTINGS_MAX_FRAME_SIZE")
            if n - at - 9 < length:
                break
            self.on_frame(buf[at + 3], buf[at + 4], word_at(buf, at + 5) & 0x7FFFFFFF, buf, at + 9, length)
            at += 9 + length
            if self.closed:
                return n
        return at

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
        self.updates.give(2)
        self.headers_frames(stream.id, header_block, end)
        return stream

    def request(self, owner: object, head: Head, extra: bytes, end: cython.bint) -> Stream:
        return self.open(owner, self.encoder.encode(head) + extra, end, head.method == b"HEAD")

    def send_head(self, stream: StreamState, head: Head, extra: bytes, end: cython.bint) -> cython.int:
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

    def on_frame(self, kind: cython.int, flags: cython.int, stream_id: cython.uint, buf: bytearray,
                 start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.int:
        """One whole frame whose payload is `buf[start:start + n]`."""
        if self.fragment is not None and kind != 9:
            return self.fail(1, "header block interrupted")
        if not self.settings_received and kind != 4:
            return self.fail(1, "first frame is not SETTINGS")
        if kind == 0:
            return self.on_data_frame(flags, stream_id, buf, start, n)
        if kind == 1:
            return self.on_headers_frame(flags, stream_id, buf, start, n)
        if kind == 8:
            if n != 4:
                return self.fail(6, "WINDOW_UPDATE is not 4 octets")
            return self.on_window_update(stream_id, word_at(buf, start) & 0x7FFFFFFF)
        if kind == 9:
            return self.on_continuation(flags, stream_id, buf, start, n)
        if kind == 3:
            if n != 4:
                return self.fail(6, "RST_STREAM is not 4 octets")
            return self.on_reset_frame(stream_id, word_at(buf, start))
        if kind == 2:
            return self.on_priority(stream_id, 0 if n != 5 else word_at(buf, start) & 0x7FFFFFFF, n)
        if kind > 9:
            return 0  # RFC 9113, section 4.1: ignore what is unknown
        if kind == 5:
            return self.fail(1, "PUSH_PROMISE")
        if stream_id:
            return self.fail(1, "frame of the connection on a stream")
        if kind == 4:
            return self.on_settings_frame(flags, buf, start, n)
        if kind == 7:
            return self.on_goaway_frame(buf, start, n)
        if n != 8:
            return self.fail(6, "PING is not 8 octets")
        return self.on_ping(flags, octets_of(buf, start, 8))

    def on_data_frame(self, flags: cython.int, stream_id: cython.uint, buf: bytearray, start: cython.Py_ssize_t,
                      n: cython.Py_ssize_t) -> cython.int:
        if stream_id == 0:
            return self.fail(1, "DATA on stream 0")
        credit: cython.Py_ssize_t = n
        end: cython.bint = flags & 1
        if flags & 8:
            if n == 0:
                return self.fail(6, "padded DATA without a pad length")
            n -= 1 + buf[start]
            start += 1
            if n < 0:
                return self.fail(1, "padding longer than the frame")
        self.recv_window -= credit
        if self.recv_window < 0:
            return self.fail(3, "DATA past the connection's window")
        stream: Stream | None = cython.cast(Stream, self.table.find(stream_id))
        if stream is None:
            if self.idle(stream_id):
                return self.fail(1, "DATA on an idle stream")
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
            self.spend(self.empties, "empty DATA")
            return self.release(stream, credit)
        return self.handler.on_data(stream, buf, start, n, credit, end)

    def on_headers_frame(self, flags: cython.int, stream_id: cython.uint, buf: bytearray, start: cython.Py_ssize_t,
                         n: cython.Py_ssize_t) -> cython.int:
        if stream_id & 1 == 0:
            return self.fail(1, "HEADERS on an even stream id")
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
        return 0

    def on_continuation(self, flags: cython.int, stream_id: cython.uint, buf: bytearray, start: cython.Py_ssize_t,
                        n: cython.Py_ssize_t) -> cython.int:
        block: bytearray | None = self.fragment
        if block is None or stream_id != self.fragment_id:
            return self.fail(1, "CONTINUATION without its HEADERS")
        self.fragments += 1
        if self.fragments > CONTINUATIONS or len(block) + n > MAX_BLOCK:
            return self.fail(11, "header block in too many octets or frames")
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
        stream: Stream | None = cython.cast(Stream, self.table.find(stream_id))
        if stream is None:
            if not self.idle(stream_id):
                return self.stray(stream_id, True)
            if self.client:
                return self.fail(1, "HEADERS on an idle stream")
            return self.on_request(stream_id, block, flags & 1, code)
        if stream.remote_closed:
            code = 5
        if code:
            return self.stream_error(stream, code)
        return self.on_section(stream, block, flags & 1)

    def on_request(self, stream_id: cython.uint, block: Block, end: cython.bint,
                   code: cython.uint) -> cython.int:
        """Server: a new stream. `code` is why it is refused already, or 0."""
        self.highest_id = stream_id
        if self.local_goaway:
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
            self.own_resets += 1
            self.word_frame(3, stream_id, 7)
            return self.table.remember(stream_id, OWN_RESET)
        stream: Stream = Stream.__new__(Stream)
        stream.begin(stream_id, self.peer_window, self.stream_window, self.now)
        stream.headers_received = True
        stream.remote_closed = end
        stream.expected = head.content_length
        self.opened += 1
        self.table.add(stream)
        self.updates.give(2)  # gRPC core sends one per stream it opens; the same two as in Envoy's limit
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
                if not stream.head_request and head.status != 304:
                    stream.expected = head.content_length
            if end and (head.status < 200 or stream.expected > 0):
                return self.stream_error(stream, 1)
        if end:
            self.close_remote(stream)
        return self.handler.on_headers(stream, block, end)

    def on_reset_frame(self, stream_id: cython.uint, code: cython.uint) -> cython.int:
        stream: Stream | None = cython.cast(Stream, self.table.find(stream_id))
        if stream is None:
            if stream_id == 0 or self.idle(stream_id):
                return self.fail(1, "RST_STREAM on an idle stream")
            return 0
        self.peer_resets += 1
        if not self.client and not stream.headers_sent and self.now - stream.opened < RAPID:
            self.spend(self.rapid_resets, "rapid resets")
        self.drop(stream, PEER_RESET)
        return self.handler.on_reset(stream, code, True)

    def on_settings_frame(self, flags: cython.int, buf: bytearray, start: cython.Py_ssize_t,
                          n: cython.Py_ssize_t) -> cython.int:
        self.spend(self.settings_frames, "SETTINGS")
        stream: Stream
        grown: cython.longlong
        if flags & 1:
            if n:
                return self.fail(6, "SETTINGS acknowledgement with a payload")
            if not self.settings_received:
                return self.fail(1, "first frame is an acknowledgement")
            if not self.settings_acknowledged:
                self.settings_acknowledged = True
                grown = self.settings.initial_window - self.stream_window
                self.stream_window += grown
                if grown:
                    for stream in self.table.streams():
                        stream.recv_window += grown
            return 0
        if n % 6:
            return self.fail(6, "SETTINGS is not a multiple of 6 octets")
        before: cython.longlong = self.peer_window
        at: cython.Py_ssize_t
        if not self.settings_received:
            self.settings_received = True
            self.peer_max_streams = 0x7FFFFFFF  # unless it says otherwise
        for at in range(start, start + n, 6):
            self.on_setting((buf[at] << 8) | buf[at + 1], word_at(buf, at + 2))
        self.frame(0, 4, 1, 0)
        self.handler.on_settings()
        return self.handler.on_writable(None) if self.peer_window > before else 0

    def on_setting(self, identifier: cython.int, value: cython.longlong) -> cython.int:
        """RFC 9113, section 6.5.2; RFC 8441, section 3; RFC 9218, section 2.1."""
        stream: Stream
        grown: cython.longlong
        if identifier == 1:
            self.encoder.set_max_table(value)
        elif identifier == 2:
            if value > 1 or (value and self.client):
                return self.fail(1, "SETTINGS_ENABLE_PUSH")
        elif identifier == 3:
            self.peer_max_streams = value
        elif identifier == 4:
            if value > MAX_WINDOW:
                return self.fail(3, "SETTINGS_INITIAL_WINDOW_SIZE")
            grown = value - self.peer_window
            self.peer_window = value
            for stream in self.table.streams():
                stream.send_window += grown
                if stream.send_window > MAX_WINDOW:
                    return self.fail(3, "SETTINGS_INITIAL_WINDOW_SIZE overflows a window")
        elif identifier == 5:
            if value < 16384 or value > 16777215:
                return self.fail(1, "SETTINGS_MAX_FRAME_SIZE")
            self.peer_max_frame = value
        elif (identifier == 8 or identifier == 9) and value > 1:
            return self.fail(1, "SETTINGS value is not 0 or 1")
        return 0

    def on_ping(self, flags: cython.int, data: bytes) -> cython.int:
        if flags & 1:
            if self.draining and data == DRAIN_PING and not self.local_goaway:
                self.goaway()
            return self.handler.on_ping_ack(data)
        self.spend(self.pings, "PING")
        self.frame(8, 6, 1, 0)
        return self.put(data)

    def on_goaway_frame(self, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.int:
        if n < 8:
            return self.fail(6, "GOAWAY is shorter than 8 octets")
        self.spend(self.settings_frames, "GOAWAY")
        self.peer_goaway = True
        last_id: cython.uint = word_at(buf, start) & 0x7FFFFFFF
        stream: Stream
        if self.client:
            for stream in self.table.streams():
                if stream.id > last_id and not stream.closed:
                    self.drop(stream, OWN_RESET)
                    self.handler.on_reset(stream, 7, True)
        return self.handler.on_goaway(last_id, word_at(buf, start + 4), octets_of(buf, start + 8, min(n - 8, 256)))

    def on_window_update(self, stream_id: cython.uint, increment: cython.longlong) -> cython.int:
        self.spend(self.updates, "WINDOW_UPDATE")
        if stream_id == 0:
            if increment == 0:
                return self.fail(1, "WINDOW_UPDATE of 0")
            self.send_window += increment
            if self.send_window > MAX_WINDOW:
                return self.fail(3, "WINDOW_UPDATE overflows the connection's window")
            return self.handler.on_writable(None)
        stream: Stream | None = cython.cast(Stream, self.table.find(stream_id))
        if stream is None:
            return self.fail(1, "WINDOW_UPDATE on an idle stream") if self.idle(stream_id) else 0
        if increment == 0:
            return self.stream_error(stream, 1)
        stream.send_window += increment
        if stream.send_window > MAX_WINDOW:
            return self.stream_error(stream, 3)
        return self.handler.on_writable(stream)

    def on_priority(self, stream_id: cython.uint, dependency: cython.uint, n: cython.Py_ssize_t) -> cython.int:
        """Ignored, but for what RFC 9113, section 6.3, and RFC 7540, section 5.3.1, forbid."""
        if stream_id == 0:
            return self.fail(1, "PRIORITY on stream 0")
        if n == 5 and dependency != stream_id:
            return 0
        stream: Stream | None = cython.cast(Stream, self.table.find(stream_id))
        if stream is not None:
            return self.stream_error(stream, 1 if n == 5 else 6)
        if not self.idle(stream_id):
            return 0
        return self.fail(1 if n == 5 else 6, "malformed PRIORITY on an idle stream")

    # -- states

    def idle(self, stream_id: cython.uint) -> cython.bint:
        """True if the stream has not been opened yet (an even id never is)."""
        if stream_id & 1 == 0:
            return True
        return stream_id >= self.next_id if self.client else stream_id > self.highest_id

    def stray(self, stream_id: cython.uint, opens: cython.bint) -> cython.int:
        """DATA, or HEADERS (`opens`), on a stream that is closed: RFC 9113, section 5.1, "closed"."""
        how: cython.int = self.table.fate(stream_id)
        if how == ENDED:
            return self.fail(5, "frame on a stream that both sides ended")
        if how == PEER_RESET:
            return self.refuse(stream_id, 5)
        if how == 0 and opens and not self.client:
            return self.fail(1, "stream id is not higher than the last")
        return 0

    def close_remote(self, stream: Stream) -> cython.int:
        """The peer said END_STREAM."""
        stream.remote_closed = True
        return self.drop(stream, ENDED) if stream.local_closed else 0

    def stream_error(self, stream: Stream, code: cython.uint) -> cython.int:
        """RFC 9113, section 5.4.2. What it costs us is counted: CVE-2025-8671 makes a server reset its own streams."""
        self.drop(stream, OWN_RESET)
        self.refuse(stream.id, code)
        return self.handler.on_reset(stream, code, False)

    def refuse(self, stream_id: cython.uint, code: cython.uint) -> cython.int:
        """RST_STREAM for a stream that the handler doesn't know, or no longer."""
        self.spend(self.forced_resets, "stream errors")
        self.own_resets += 1
        self.word_frame(3, stream_id, code)
        return self.table.remember(stream_id, OWN_RESET)

    def spend(self, allowance: Allowance, reason: str) -> cython.int:
        """Count a frame that costs its sender nothing."""
        if not allowance.take(self.now, self.reads):
            return self.fail(11, f"too many {reason}")
        return 0

    def fail(self, code: cython.uint, reason: str) -> cython.int:
        """A connection error: RFC 9113, section 5.4.1."""
        self.goaway(code, reason.encode("ascii", "replace"))
        self.closed = True
        raise ConnectionError_(code, reason)

