# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""The seam between the compiled codec and the plain Python of `rpc`: C-level callbacks in, Python calls out, and back.

What lives here: forwarding, one line each. What this must not know: gRPC. It is compiled because plain Python can
neither override nor call C-level methods; a few calls a second pass through it.

`listener` (one per connection) has `on_settings()`, `on_goaway(code, debug)` and `on_lost(exc)`; a stream's owner has
`on_headers(head, end)`, `on_data(data, credit, end)`, `on_reset(code)`, `on_writable()` and `on_connection_lost()`.
None of them may raise.
"""

from __future__ import annotations

from typing import Any

from mesh.dataplane.hub import Hub
from mesh.dataplane.transport import Transport, TransportHandler
from mesh.wire.codec import Stream
from mesh.wire.hpack import Block, Head


class RpcHandler(TransportHandler):
    """One client connection. `heard` counts the peer's signs of life."""

    def __init__(self, hub: Hub, listener: Any) -> None:
        self.hub = hub
        self.listener = listener
        self.shell: Any = None
        self.heard = 0

    # -- from the codec

    def on_connected(self, transport: Transport) -> int:
        self.shell = transport
        return 0

    def on_settings(self) -> int:
        self.heard += 1
        self.listener.on_settings()
        return 0

    def on_headers(self, stream: Stream, block: Block, end: bool) -> int:
        self.heard += 1
        if stream.owner is not None:
            stream.owner.on_headers(block.head, end)
        return 0

    def on_data(self, stream: Stream, buf: bytearray, start: int, n: int, credit: int, end: bool) -> int:
        self.heard += 1
        if stream.owner is not None:
            stream.owner.on_data(bytes(buf[start:start + n]), credit, end)
        else:
            self.shell.conn.release(stream, credit)
        return 0

    def on_reset(self, stream: Stream, code: int, by_peer: bool) -> int:
        self.heard += 1
        if stream.owner is not None:
            stream.owner.on_reset(code)
        return 0

    def on_writable(self, stream: Stream | None) -> int:
        self.heard += 1
        if stream is None:
            return self.tell_all("on_writable")
        if stream.owner is not None:
            stream.owner.on_writable()
        return 0

    def on_goaway(self, last_id: int, code: int, debug: bytes) -> int:
        self.heard += 1
        self.listener.on_goaway(code, debug)
        return 0

    def on_ping_ack(self, data: bytes) -> int:
        self.heard += 1
        return 0

    def on_write_resume(self) -> int:
        return self.tell_all("on_writable")

    def on_lost(self, exc: object) -> int:
        self.tell_all("on_connection_lost")
        self.listener.on_lost(exc)
        return 0

    def tell_all(self, method: str) -> int:
        if self.shell is not None:
            for stream in self.shell.conn.all_streams():
                if stream.owner is not None:
                    getattr(stream.owner, method)()
        return 0

    # -- to the codec; the caller ends with `hub.flush()`

    def usable(self) -> bool:
        """Whether a stream can be opened now."""
        return bool(self.shell is not None and not self.shell.closing and self.shell.conn.can_open())

    def active(self) -> int:
        """Streams open."""
        return 0 if self.shell is None else int(self.shell.conn.active)

    def open(self, owner: Any, head: Head, timeout: bytes | None) -> Any:
        """Open a stream whose callbacks go to `owner`, with `timeout` as its grpc-timeout; only while `usable()`."""
        extra = b"" if timeout is None else self.shell.conn.field(b"grpc-timeout", timeout)
        return self.shell.conn.request(owner, head, extra, False)

    def send(self, stream: Stream, data: bytes, start: int, end: bool) -> int:
        """Send what may go now of `data[start:]`, `end` with its last byte. Return how much; -1: nothing, later."""
        n = len(data) - start
        if self.shell.paused or self.shell.closed:
            return -1
        room: int = self.shell.conn.sendable(stream)
        if n > room:
            n = room
            end = False
        if n > 0 or end:
            self.shell.conn.send_data(stream, data, start, n, end)
        return n

    def release(self, stream: Stream, credit: int) -> None:
        """The `credit` of an on_data has been consumed."""
        if not self.shell.closed:
            self.shell.conn.release(stream, credit)

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream; nothing more is heard of it."""
        if not self.shell.closed:
            self.shell.conn.reset(stream, code)

    def ping(self, data: bytes) -> None:
        """Send a PING of 8 bytes."""
        if not self.shell.closed:
            self.shell.conn.ping(data)
