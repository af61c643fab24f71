"""Feeds an HTTP/1.1 connection the way a shell does, for the codec's tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesh.wire.codec import Stream
from mesh.wire.errors import ConnectionError_
from mesh.wire.h1 import Connection
from mesh.wire.h2_events import EventLog
from mesh.wire.hpack import Head, make_head

GET = b"GET /x HTTP/1.1\r\nHost: cart\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def head(*pairs: tuple[bytes, bytes]) -> Head:
    return make_head(list(pairs))


def request(method: bytes = b"GET", path: bytes = b"/x", *pairs: tuple[bytes, bytes]) -> Head:
    return head((b":method", method), (b":scheme", b"http"), (b":authority", b"cart"), (b":path", path), *pairs)


def response(status: int = 200, *pairs: tuple[bytes, bytes]) -> Head:
    return head((b":status", b"%d" % status), *pairs)


class Side:
    """A connection with its event log; `error` is what the connection failed with."""

    def __init__(self, client: bool = False, auto_release: bool = True) -> None:
        self.log = EventLog(auto_release)
        self.dirty: list[Connection] = []
        self.conn = Connection(client, self.log, self.dirty)
        self.log.conn = self.conn
        self.rest = b""
        self.error: ConnectionError_ | None = None
        self.conn.start()

    def feed(self, octets: bytes) -> None:
        """Give `octets` to the connection, which are the last of a read."""
        buf = bytearray(self.rest + octets)
        try:
            used = self.conn.receive(buf, len(buf))
        except ConnectionError_ as error:
            self.error = error
            self.rest = b""
            return
        self.rest = bytes(buf[used:])

    def attended(self) -> bool:
        """True if the shell was asked to look at the connection; what it held back is then received."""
        if not self.dirty:
            return False
        self.dirty.clear()
        if self.rest and self.conn.reading():
            self.feed(b"")
        return True

    def events(self) -> list[tuple[Any, ...]]:
        return self.log.take()

    def sent(self) -> bytes:
        return self.conn.take_output()

    def stream(self) -> Stream:
        [stream] = self.conn.all_streams()
        return stream  # type: ignore[no-any-return]

    def answer(self, answer: Head, body: bytes | None = None, extra: bytes = b"") -> None:
        """A whole response to the open request."""
        stream = self.stream()
        self.conn.send_head(stream, answer, extra, body is None)
        if body is not None:
            self.conn.send_data(stream, body, 0, len(body), True)


def told(events: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The events with the data of each run joined, so that it doesn't matter how the octets were cut."""
    joined: list[tuple[Any, ...]] = []
    for event in events:
        if event[0] == "data" and joined and joined[-1][0] == "data" and joined[-1][1] == event[1]:
            joined[-1] = ("data", event[1], joined[-1][2] + event[2], event[3])
        else:
            joined.append(event)
    return joined
