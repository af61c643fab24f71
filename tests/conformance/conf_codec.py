"""Our codec without sockets, as one who is judged: octets in, octets out, an app that answers at the end of a request.

What lives here: the wires that need no process. What this must not know: what is judged.
"""

from __future__ import annotations

from typing import Any

from conf_peer import BODY, Silence

from mesh.wire.codec import Stream
from mesh.wire.errors import ConnectionError_
from mesh.wire.h2 import Connection
from mesh.wire.h2_events import EventLog
from mesh.wire.hpack import Encoder, Head, make_head
from mesh.wire.limits import Limits, Settings

OK = make_head([(b":status", b"200"), (b"content-type", b"text/plain")])
GET = make_head([(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"cart")])
SETTINGS = Settings(connect_protocol=True, limits=Limits(requests_per_pass=32))


class CodecWire:
    """What is sent is taken at once; what comes of it is there to read, and then nothing more."""

    def __init__(self, client: bool, settings: Settings = SETTINGS) -> None:
        self.log = EventLog(auto_release=False)
        self.conn = Connection(client, self.log, None, settings)
        self.conn.now = 1.0
        self.log.conn = self.conn
        self.log.hook = self.on_event
        self.rest = b""
        self.ended = False
        self.conn.start()

    def on_event(self, event: tuple[Any, ...], stream: Stream | None) -> None:
        raise NotImplementedError

    def send(self, octets: bytes) -> None:
        if self.ended:
            return
        buf = bytearray(self.rest + octets)
        try:
            used = self.conn.receive(buf, len(buf))
            while self.conn.deferred:
                del buf[:used]
                used = self.conn.receive(buf, len(buf))
            self.rest = bytes(buf[used:])
        except ConnectionError_:
            self.ended = True
        self.ended |= self.conn.ending != 0

    def read(self) -> bytes:
        if self.conn.out_len:
            return self.conn.take_output()
        if self.ended:
            return b""
        raise Silence


class ServerWire(CodecWire):
    """Our server side; its app answers `BODY` to each request that is complete, as the windows allow."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        super().__init__(False, settings)
        self.left: dict[int, bytes] = {}
        self.methods: dict[int, bytes] = {}

    def on_event(self, event: tuple[Any, ...], stream: Stream | None) -> None:
        if event == ("writable", 0):
            self.conn.serve()
        elif stream is not None:
            if event[0] == "headers" and stream.id not in self.methods:
                self.methods[stream.id] = dict(event[2])[b":method"]
            if event[0] in ("headers", "data") and event[3]:
                self.conn.send_head(stream, OK, b"", self.methods[stream.id] == b"HEAD")
                self.left[stream.id] = BODY
            if stream.id in self.left:
                self.push(stream)

    def push(self, stream: Stream) -> None:
        left = self.left[stream.id]
        if stream.closed or stream.local_closed:
            return
        n = min(self.conn.sendable(stream), len(left))
        if n:
            self.conn.send_data(stream, left, 0, n, n == len(left))
            self.left[stream.id] = left[n:]
        if n < len(left):
            self.conn.wait(stream)


class ClientWire(CodecWire):
    """Our client side, with requests under way."""

    def __init__(self, *requests: Head) -> None:
        super().__init__(True)
        self.streams = [self.conn.request(None, head, b"", True) for head in requests or (GET,)]

    def on_event(self, event: tuple[Any, ...], stream: Stream | None) -> None:
        pass

    def events(self) -> list[tuple[Any, ...]]:
        return self.log.take()


def block(head: Head) -> bytes:
    return Encoder().encode(head)
