# cython: language_level=3, wraparound=False, initializedcheck=False
"""The sending half of an HTTP/1.1 connection: heads, content and trailers of one message after the other.

What lives here: what may be written when, how content is framed, when the connection ends, resets. What this must not
know: how messages are read.

RFC 9112 has no stream errors: what can't be finished ends the connection, so that nobody takes a part for the whole.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.balance.rng import Rng
from mesh.wire.codec import Codec, Handler, Stream
from mesh.wire.errors import StreamStateError
from mesh.wire.h1_parse import Message
from mesh.wire.h1_write import Form
from mesh.wire.hpack import Head
from mesh.wire.streams import StreamState

if not cython.compiled:
    from mesh.wire.codec import ABORTS, CLOSES
    from mesh.wire.fieldrules import all_of
    from mesh.wire.h1_write import accept_of, form_of
    from mesh.wire.octets import copy_octets

# How our message is framed.
NONE: int = 0  # no content, whatever is sent
LENGTH: int = 1
CHUNKED: int = 2
UNTIL_CLOSE: int = 3
TUNNEL: int = 4
# What the peer's message is about to have (`Connection.state`).
HEAD_DUE: int = 0
LENGTH_DUE: int = 1
CHUNKS_DUE: int = 2
TRAILERS_DUE: int = 3
REST_DUE: int = 4  # content until the connection ends
TUNNEL_DUE: int = 5
NOTHING_DUE: int = 6  # its message is complete, or a tunnel is asked for: we have the word

MAX_PENDING: int = 1 << 20  # octets of output that wait for the kernel before no more data is taken
WINDOW: int = 262144  # octets told by `on_data` and not released before no more is read
MAX_DROPPED: int = 65536  # octets of an upload that nobody wants any more, before the connection is given up
HEX: bytes = b"0123456789abcdef"
RNG: Rng = Rng(0)


class SendingSide(Codec):
    """What a connection sends. Public methods are those of `Connection`."""

    def __init__(self, client: cython.bint, handler: Handler, dirty: list[Any] | None, rng: Rng | None) -> None:
        Codec.__init__(self, client, handler, dirty, True)
        self.rng: Rng = rng if rng is not None else RNG
        self.stream: Any = None
        self.request_message: Any = None  # server: what is being answered
        self.state: int = HEAD_DUE
        self.framing: int = NONE
        self.left_out: int = 0
        self.persistent: bool = True
        self.draining: bool = False
        self.eof: bool = False
        self.held: bool = False
        self.choked: bool = False
        self.begun: bool = False
        self.unreleased: int = 0
        self.left_to_drop: int = 0
        self.left: int = 0
        self.searched: int = 0
        self.next_id: int = 1
        self.upgrade: bytes | None = None
        self.undecided: bool = False
        self.own_key: bytes | None = None
        self.keep_alive_timeout: int = 0

    def open_streams(self) -> cython.int:
        return 0 if self.stream is None else 1

    def all_streams(self) -> list[Any]:
        return [] if self.stream is None else [self.stream]

    def can_open(self) -> cython.bint:
        return (
            self.client and self.stream is None and self.state == HEAD_DUE and self.ending == 0
            and not (self.closed or self.draining or self.eof)
        )

    # -- heads

    def request_problem(self, head: Head) -> str | None:
        form: Form = form_of(head)
        return "a request without :method" if form.problem is None and head.method is None else form.problem

    def request(self, owner: object, head: Head, extra: bytes, end: cython.bint) -> Stream:
        """As `Codec.request`. StreamStateError also for a section that HTTP/1.1 can't say; nothing is written then."""
        if not self.can_open():
            raise StreamStateError("no stream can be opened")
        problem: str | None = self.request_problem(head)
        if problem is not None:
            raise StreamStateError(problem)
        form: Form = form_of(head)
        if end and head.content_length > 0:
            raise StreamStateError("a request without the content that it promises")
        stream: Stream = self.new_stream(owner)
        stream.head_request = head.method == b"HEAD"
        stream.headers_sent = True
        self.persistent = True
        self.upgrade = form.protocol
        self.undecided = form.tunnel
        stream.tunnel = 1 if form.tunnel else 0
        self.own_key = None
        self.put(form.start)
        if form.lines:
            self.put(form.lines)
        if extra:
            self.put(extra)
        if form.tunnel:
            self.framing = NONE
            if form.protocol == b"websocket" and not form.has_key:
                self.own_key = self.new_key()
                self.put(b"sec-websocket-key: " + self.own_key + b"\r\n")
        elif form.length:
            self.framing = LENGTH
            self.left_out = head.content_length
            self.put(form.length)
        elif end:
            self.framing = NONE
            if form.with_content:
                self.put(b"content-length: 0\r\n")
        else:
            self.framing = CHUNKED
            self.put(b"transfer-encoding: chunked\r\n")
        self.put(b"\r\n")
        if end:
            stream.local_closed = True
        return stream

    def new_stream(self, owner: object) -> Stream:
        stream: Stream = Stream.__new__(Stream)
        stream.begin(self.next_id, 0, 0, self.now)
        stream.owner = owner
        self.next_id += 2
        self.stream = stream
        return stream

    def new_key(self) -> bytes:
        """A Sec-WebSocket-Key (RFC 6455, section 4.1): 16 octets that nobody has used before, in base64."""
        from base64 import b64encode

        return b64encode(self.rng.next64().to_bytes(8, "big") + self.rng.next64().to_bytes(8, "big"))

    def send_head(self, stream: StreamState, head: Head, extra: bytes, end: cython.bint) -> cython.int:
        """As `Codec.send_head`. An interim response is not sent to HTTP/1.0, trailers are where there is no place.

        StreamStateError also for a section that HTTP/1.1 can't say; nothing is written then.
        """
        if self.closed or stream.closed:
            return 0
        if stream.local_closed:
            raise StreamStateError("a section after the end")
        form: Form = form_of(head)
        if form.problem is not None:
            raise StreamStateError(form.problem)
        if stream.headers_sent:
            if head.status or head.method is not None or not end:
                raise StreamStateError("a second head")
            return self.send_trailers(stream, form, extra)
        if head.status == 0:
            raise StreamStateError("a response without :status")
        if head.status < 200:
            if end:
                raise StreamStateError("an interim response is not the end")
            if self.request_message.http10:
                return 0
            if head.status == 100:
                self.begun = True
            return self.put_head(form, extra, b"")
        return self.send_response(stream, head, form, extra, end)

    def put_head(self, form: Form, extra: bytes, framing: bytes) -> cython.int:
        self.put(form.start)
        if form.lines:
            self.put(form.lines)
        if extra:
            self.put(extra)
        if framing:
            self.put(framing)
        return self.put(b"\r\n")

    def send_response(self, stream: StreamState, head: Head, form: Form, extra: bytes, end: cython.bint) -> cython.int:
        """The final response's head."""
        request: Message = self.request_message
        framing: bytes = form.length
        status: cython.int = head.status
        bodiless: cython.bint = stream.head_request or status == 204 or status == 304
        if end and head.content_length > 0 and not bodiless:
            raise StreamStateError("a response without the content that it promises")
        if self.undecided:
            if 200 <= status < 300:
                return self.switch(stream, form, extra, end)
            # Octets that were sent ahead into the tunnel are not to be read as requests.
            self.undecided = self.persistent = False
            stream.remote_closed = True
        elif request.expects and not self.begun and not stream.remote_closed:
            # The content may come or not (RFC 9110, section 10.1.1): who could tell it from the next request?
            self.persistent = False
        if self.draining:
            self.persistent = False
        if bodiless:
            self.framing = NONE
        elif form.length:
            self.framing = LENGTH
            self.left_out = head.content_length
        elif end:
            self.framing = NONE
            framing = b"content-length: 0\r\n"
        elif request.http10:
            self.framing = UNTIL_CLOSE
            self.persistent = False
        else:
            self.framing = CHUNKED
            framing = b"transfer-encoding: chunked\r\n"
        stream.headers_sent = True
        self.put(form.start)
        if form.lines:
            self.put(form.lines)
        if extra:
            self.put(extra)
        if framing:
            self.put(framing)
        if not self.persistent:
            self.put(b"connection: close\r\n\r\n")
        elif request.http10:
            self.put(b"connection: keep-alive\r\n\r\n")
        else:
            self.put(b"\r\n")
        return self.close_local(stream) if end else 0

    def switch(self, stream: StreamState, form: Form, extra: bytes, end: cython.bint) -> cython.int:
        """Grant CONNECT, or an upgrade by a 101: from here on there are only octets, both ways."""
        stream.headers_sent = True
        self.undecided = self.persistent = False
        self.framing = TUNNEL
        self.state = TUNNEL_DUE
        stream.tunnel = 2
        if self.upgrade is None:
            self.put(form.start)
        else:
            self.put(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: " + self.upgrade + b"\r\nconnection: upgrade\r\n")
            if self.request_message.key is not None and not form.has_accept:
                self.put(b"sec-websocket-accept: " + accept_of(self.request_message.key) + b"\r\n")
        if form.lines:
            self.put(form.lines)
        if extra:
            self.put(extra)
        self.put(b"\r\n")
        self.go_on()
        return self.close_local(stream) if end else 0

    def send_trailers(self, stream: StreamState, form: Form, extra: bytes) -> cython.int:
        if self.framing == LENGTH and self.left_out:
            raise StreamStateError("less content than promised")
        if self.framing == CHUNKED:
            self.put(b"0\r\n")
            if form.lines:
                self.put(form.lines)
            if extra:
                self.put(extra)
            self.put(b"\r\n")
        return self.close_local(stream)

    def field(self, name: bytes, value: bytes) -> bytes:
        """As `Codec.field`. StreamStateError: the value would not stay on its line."""
        if not all_of(value, 2):
            raise StreamStateError("illegal octet in a field value")
        return name + b": " + value + b"\r\n"

    # -- content

    def sendable(self, stream: StreamState) -> cython.Py_ssize_t:
        """What is left of 1 MiB of pending output; 0 in a tunnel that has not been granted yet."""
        if stream.closed or self.closed or self.ending or (self.client and self.undecided):
            return 0
        return MAX_PENDING - self.out_len if self.out_len < MAX_PENDING else 0

    def send_data(self, stream: StreamState, buf: object, start: cython.Py_ssize_t, n: cython.Py_ssize_t,
                  end: cython.bint) -> cython.int:
        """As `Codec.send_data`. StreamStateError also for more or less than content-length has promised."""
        if self.closed or stream.closed or self.ending:
            return 0
        if stream.local_closed or not stream.headers_sent:
            raise StreamStateError("data after the end" if stream.local_closed else "data before the head")
        if n > 0 and n > self.sendable(stream):
            raise StreamStateError(f"data of {n} octets, {self.sendable(stream)} allowed")
        if self.framing == CHUNKED:
            self.put_chunk(buf, start, n, end)
        elif self.framing == LENGTH:
            if n > self.left_out or (end and n < self.left_out):
                raise StreamStateError(f"{n} octets of data where {self.left_out} are promised")
            self.left_out -= n
            self.put_data(buf, start, n)
        elif self.framing != NONE:
            self.put_data(buf, start, n)
        return self.close_local(stream) if end else 0

    def put_data(self, buf: object, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.int:
        if n > 0:
            self.room(n)
            copy_octets(self.out, self.out_len, buf, start, n)
            self.out_len += n
        return 0

    def put_chunk(self, buf: object, start: cython.Py_ssize_t, n: cython.Py_ssize_t, end: cython.bint) -> cython.int:
        """One chunk (none for no data: that would be the last), and the end."""
        digits: cython.int = 1
        if n > 0:
            self.room(n + 32)
            while n >> (4 * digits):
                digits += 1
            out: bytearray = self.out
            at: cython.Py_ssize_t = self.out_len
            while digits:
                digits -= 1
                out[at] = HEX[(n >> (4 * digits)) & 15]
                at += 1
            out[at] = 0x0D
            out[at + 1] = 0x0A
            copy_octets(out, at + 2, buf, start, n)
            at += 2 + n
            out[at] = 0x0D
            out[at + 1] = 0x0A
            self.out_len = at + 2
        if end:
            self.put(b"0\r\n\r\n")
        return 0

    def wait(self, stream: StreamState) -> cython.int:
        if not stream.closed:
            stream.waits = 1
        return 0

    def serve(self) -> cython.int:
        stream: Stream | None = self.stream
        if stream is not None and stream.waits and self.sendable(stream) > 0:
            stream.waits = 0
            self.handler.on_writable(stream)
        return 0

    def waiters(self) -> cython.Py_ssize_t:
        return 1 if self.stream is not None and self.stream.waits else 0

    def release(self, stream: StreamState | None, credit: cython.int) -> cython.int:
        self.unreleased -= credit
        if self.choked and self.unreleased <= WINDOW // 2:
            self.choked = self.held = False
            if not self.closed:
                self.attend()
        return 0

    # -- ends

    def close_local(self, stream: StreamState) -> cython.int:
        """Our message is complete."""
        stream.local_closed = True
        if stream.remote_closed:
            return self.complete(stream)
        if self.framing == TUNNEL:  # one side may end before the other, as in TCP
            self.shut = True
            return self.attend()
        if self.framing == UNTIL_CLOSE:
            return self.end_with(CLOSES)
        return 0

    def complete(self, stream: StreamState) -> cython.int:
        """Both messages are complete."""
        stream.closed = True
        self.stream = None
        self.request_message = None
        if not self.persistent or self.draining or (self.eof and not self.held):
            return self.end_with(CLOSES)
        self.state = HEAD_DUE
        return self.go_on()

    def go_on(self) -> cython.int:
        """What was held back may be received."""
        if self.held:
            self.held = False
            self.attend()
        return 0

    def end_with(self, how: cython.int) -> cython.int:
        """Have the shell end the connection."""
        if self.ending < how:
            self.ending = how
            self.attend()
        return 0

    def reset(self, stream: StreamState, code: cython.uint) -> cython.int:
        """As `Codec.reset`: ends the connection, but for the rest of an upload (NO_ERROR, after the whole answer)."""
        if self.closed or stream.closed:
            return 0
        stream.closed = True
        self.stream = None
        if self.client or (stream.headers_sent and not stream.local_closed):
            return self.end_with(ABORTS)
        if not stream.local_closed or code or not self.persistent or self.draining or self.ending:
            return self.end_with(CLOSES)
        if self.state == LENGTH_DUE and self.left > MAX_DROPPED:
            return self.end_with(CLOSES)
        self.left_to_drop = MAX_DROPPED
        self.choked = False
        return self.go_on()

    def drain(self) -> cython.int:
        """Leave: the message under way is the last, which is said if there is still time to."""
        self.draining = True
        if self.stream is None and self.searched == 0:  # not in the middle of a head either
            self.end_with(CLOSES)
        return 0
