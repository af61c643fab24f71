# cython: language_level=3, wraparound=False, initializedcheck=False
"""What the servers of io_layers.py run per event: an answer to every request, and uvloop's side of the comparison.

What lives here: the handler that both layers' codecs call, and the protocols that carry a codec, or relay, on uvloop's
transports. What this must not know: our reactor and its relays (io_servers), load, how CPU is measured.

All of it is compiled, as our own layer is: what is compared are the layers, not Python with Cython. The protocols do
what uvloop does best: a buffer of our own to read HTTP into, octets that go on as they came in the relays, one write
per read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cython

from mesh.dataplane.transport import Transport, TransportHandler
from mesh.wire.codec import Codec, Stream
from mesh.wire.errors import ConnectionError_
from mesh.wire.hpack import Block, make_head

if not cython.compiled:
    from mesh.wire.codec import STAYS
    from mesh.wire.octets import octets_of

BODY = cython.declare(bytes, b"j" * 100)
MESSAGE = cython.declare(bytes, b"\0\0\0\0\x64" + b"j" * 100)
HEAD = cython.declare(object, make_head([(b":status", b"200"), (b"content-type", b"application/json"),
                                         (b"content-length", b"100")]))
GRPC_HEAD = cython.declare(object, make_head([(b":status", b"200"), (b"content-type", b"application/grpc")]))
TRAILERS = cython.declare(object, make_head([(b"grpc-status", b"0")]))
ENHANCE_YOUR_CALM = cython.declare(cython.uint, 11)  # RFC 9113, section 7

# What all connections of the process read into, as in our own layer; what a codec leaves is put in front again.
INBOX = cython.declare(bytearray, bytearray(131_072))
VIEW = cython.declare(object, memoryview(INBOX))


class Responder(TransportHandler):
    """Answers each request with 100 octets once all of it is there; `grpc`: as one message, with trailers."""

    def __init__(self, grpc: cython.bint) -> None:
        self.grpc = grpc
        self.conn: Any = None

    def on_connected(self, transport: Transport) -> cython.int:
        self.conn = transport.conn
        return 0

    def on_lost(self, exc: object) -> cython.int:
        self.conn = None
        return 0

    def on_headers(self, stream: Stream, block: Block, end: cython.bint) -> cython.int:
        return self.answer(stream) if end else 0

    def on_data(self, stream: Stream, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t,
                credit: cython.int, end: cython.bint) -> cython.int:
        self.conn.release(stream, credit)
        return self.answer(stream) if end else 0

    def answer(self, stream: Stream) -> cython.int:
        conn: Codec = self.conn
        if conn.sendable(stream) < len(MESSAGE) and self.grpc:
            return conn.reset(stream, ENHANCE_YOUR_CALM)  # the load counts it as failed
        if self.grpc:
            conn.send_head(stream, GRPC_HEAD, b"", False)
            conn.send_data(stream, MESSAGE, 0, len(MESSAGE), False)
            return conn.send_head(stream, TRAILERS, b"", True)
        conn.send_head(stream, HEAD, b"", False)
        return conn.send_data(stream, BODY, 0, len(BODY), True)


class Carrier:
    """A codec on a transport of uvloop: an asyncio.BufferedProtocol in all but inheritance.

    `loop.time()` is the clock that uvloop keeps for a turn, so `now` is read as cheaply as in our layer.
    """

    def __init__(self, loop: Any, conn: Codec) -> None:
        self.conn = conn
        self.now = loop.time
        self.call_soon = loop.call_soon
        self.transport: Any = None
        self.write: Any = None
        self.rest = b""
        self.paused = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.write = transport.write
        self.conn.now = self.now()
        self.conn.start()
        if self.conn.out_len:
            self.write(self.conn.take_output())

    def get_buffer(self, sizehint: object) -> object:
        return VIEW if not self.rest else VIEW[len(self.rest):]

    def buffer_updated(self, n: cython.Py_ssize_t) -> None:
        have: cython.Py_ssize_t = len(self.rest)
        if have:
            INBOX[:have] = self.rest
            self.rest = b""
        self.feed(have + n)

    def feed(self, total: cython.Py_ssize_t) -> cython.int:
        conn: Codec = self.conn
        used: cython.Py_ssize_t
        conn.now = self.now()
        try:
            used = conn.receive(INBOX, total)
        except ConnectionError_:
            used = total
            self.transport.close()
        if used < total:
            self.rest = bytes(VIEW[used:total])
        if conn.out_len:
            self.write(conn.take_output())
        if conn.ending != STAYS:
            self.transport.close()
        elif conn.deferred:
            self.call_soon(self.again)
        return 0

    def again(self) -> None:
        """The codec has stopped for the others' sake."""
        self.buffer_updated(0)

    def pause_writing(self) -> None:
        self.paused = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.paused = False
        self.transport.resume_reading()

    def eof_received(self) -> object:
        return self.conn.receive_eof()

    def connection_lost(self, exc: object) -> None:
        self.conn.end()
        self.conn.owner = None


class Relay:
    """One side of a relayed connection: an asyncio.Protocol in all but inheritance."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.other: Any = None  # the other side's transport
        self.write: Any = None

    def pair(self, other: Any) -> object:
        """What is read here goes to the transport `other`."""
        self.other = other
        self.write = other.write
        return None

    def data_received(self, data: object) -> None:
        self.write(data)

    def eof_received(self) -> object:
        if self.other is None or not self.other.can_write_eof() or not self.transport.can_write_eof():
            return False
        self.other.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.resume_reading()

    def connection_lost(self, exc: object) -> None:
        if self.other is not None:
            self.other.close()


class Upstream(Relay):
    """The side of the backend."""

    def __init__(self, down: Any) -> None:
        Relay.__init__(self)
        self.other = down

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.pair(self.other)


class Downstream(Relay):
    """The side of the caller. `connect(down)` connects an `Upstream` of the transport `down`.

    `early`: what comes before that stands. uvloop's TCP transports cannot be paused in `connection_made`.
    """

    def __init__(self, loop: Any, connect: Callable[[Any], Any]) -> None:
        Relay.__init__(self)
        self.connect = lambda: loop.create_task(connect(self.transport))
        self.task: Any = None
        self.early: list[Any] = []
        self.write = self.early.append

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.task = self.connect()
        self.task.add_done_callback(self.connected)

    def connected(self, task: Any) -> None:
        self.connect = self.task = None
        if task.cancelled() or task.exception() is not None:
            self.transport.close()
            return
        self.pair(task.result()[0])
        if self.early:
            self.write(b"".join(self.early))
            self.early = []
        if self.transport.is_closing():
            self.other.close()


class BufferedDownstream(Downstream):
    """The same as an asyncio.BufferedProtocol, which uvloop's TLS reads into without a copy.

    Plain TCP has `data_received`: one call per read, not two.
    """

    def get_buffer(self, sizehint: object) -> object:
        return VIEW

    def buffer_updated(self, n: cython.Py_ssize_t) -> None:
        self.write(octets_of(INBOX, 0, n))
