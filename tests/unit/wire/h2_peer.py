"""A peer made by hand for the codec's tests: frames as bytes in, frames as tuples out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from mesh.wire.codec import Stream
from mesh.wire.errors import ConnectionError_
from mesh.wire.h2 import Connection
from mesh.wire.h2_events import EventLog
from mesh.wire.hpack import Encoder, make_head
from mesh.wire.limits import Settings

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
KINDS = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
]
REQUEST = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/shop.Cart/Get"), (b":authority", b"cart"))
RESPONSE = ((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILERS = ((b"grpc-status", b"0"),)
END_STREAM, END_HEADERS, PADDED, PRIORITIZED, ACK = 1, 4, 8, 32, 1


def frame(kind: str, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((KINDS.index(kind), flags)) + stream_id.to_bytes(4, "big") + payload


def block(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return Encoder().encode(make_head(list(fields)))


def headers(stream_id: int, fields: Iterable[tuple[bytes, bytes]] = REQUEST, end: bool = False) -> bytes:
    return frame("HEADERS", END_HEADERS | end, stream_id, block(fields))


def data(stream_id: int, octets: bytes = b"", end: bool = False) -> bytes:
    return frame("DATA", int(end), stream_id, octets)


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame("SETTINGS", 0, 0, b"".join(i.to_bytes(2, "big") + v.to_bytes(4, "big") for i, v in pairs))


def word(kind: str, stream_id: int, value: int) -> bytes:
    return frame(kind, 0, stream_id, value.to_bytes(4, "big"))


def reset(stream_id: int, code: int = 8) -> bytes:
    return word("RST_STREAM", stream_id, code)


def window_update(stream_id: int, increment: int) -> bytes:
    return word("WINDOW_UPDATE", stream_id, increment)


def parse(octets: bytes) -> list[tuple[str, int, int, bytes]]:
    """Output of a connection as (kind, flags, stream id, payload); a client's preface is skipped."""
    octets = octets.removeprefix(PREFACE)
    frames = []
    while octets:
        n = int.from_bytes(octets[:3], "big")
        assert len(octets) >= 9 + n, "a frame is cut off"
        frames.append((KINDS[octets[3]], octets[4], int.from_bytes(octets[5:9], "big"), octets[9 : 9 + n]))
        octets = octets[9 + n :]
    return frames


class Side:
    """A connection with its event log, past the exchange of SETTINGS unless `fresh`."""

    def __init__(
        self, client: bool = False, fresh: bool = False, settings_: Settings | None = None, auto_release: bool = True
    ) -> None:
        self.log = EventLog(auto_release)
        self.dirty: list[Connection] = []
        self.conn = Connection(client, self.log, self.dirty, settings_)
        self.log.conn = self.conn
        self.rest = b""
        if not fresh:
            self.conn.start()
            self.feed((b"" if client else PREFACE) + settings() + frame("SETTINGS", ACK))
            self.sent()
            self.events()

    def feed(self, octets: bytes) -> None:
        """Give `octets` to the connection the way a shell does."""
        buf = bytearray(self.rest + octets)
        used = self.conn.receive(buf, len(buf))
        while self.conn.deferred:
            del buf[:used]
            used = self.conn.receive(buf, len(buf))
        assert 0 <= used <= len(buf)
        self.rest = bytes(buf[used:])

    def fails(self, octets: bytes) -> int:
        """Feed what must end the connection; return the code, which GOAWAY says too."""
        with pytest.raises(ConnectionError_) as caught:
            self.feed(octets)
        goaway = [sent for sent in self.sent() if sent[0] == "GOAWAY"]
        assert len(goaway) == 1
        assert int.from_bytes(goaway[0][3][4:8], "big") == caught.value.code
        assert self.conn.closed
        return caught.value.code

    def events(self) -> list[tuple[Any, ...]]:
        return self.log.take()

    def sent(self) -> list[tuple[str, int, int, bytes]]:
        return parse(self.conn.take_output())

    def resets(self) -> list[tuple[int, int]]:
        """(stream id, code) of each RST_STREAM sent."""
        return [
            (stream_id, int.from_bytes(payload, "big"))
            for kind, _, stream_id, payload in self.sent()
            if kind == "RST_STREAM"
        ]

    def stream(self, stream_id: int) -> Stream:
        return self.log.streams[stream_id]

    def open(self, end: bool = False, fields: Iterable[tuple[bytes, bytes]] = REQUEST, head: bool = False) -> Stream:
        """Client: send a request."""
        stream = self.conn.open(None, block(fields), end, head)
        self.sent()
        return stream


def pump(one: Side, other: Side) -> None:
    """Carry output between two connections until both are silent."""
    while one.conn.out_len or other.conn.out_len:
        for source, sink in ((one, other), (other, one)):
            octets = source.conn.take_output()
            if octets:
                sink.feed(octets)
