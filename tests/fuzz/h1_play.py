"""One HTTP/1.1 connection of ours fed with octets, cut this way and that, while its user does something with it.

An input of both targets: an octet that seeds how the octets are cut (odd: the peer closes its side at the end), an
octet that says how the user behaves, then what the peer sends.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from h2_play import cut, merged

from mesh.balance.rng import Rng
from mesh.wire.codec import Stream
from mesh.wire.errors import ConnectionError_
from mesh.wire.h1 import Connection
from mesh.wire.h2_events import EventLog
from mesh.wire.hpack import Head, make_head

KEEP, LATE, DRAIN, TRAILERS = 8, 16, 64, 128  # bits of the behaviour; the low three say which way


def response(status: int, *fields: tuple[bytes, bytes]) -> Head:
    return make_head([(b":status", b"%d" % status), *fields])


OK, INTERIM, ENDS = response(200), response(103, (b"link", b"</a>")), make_head([(b"grpc-status", b"0")])
SIZED, EMPTY, NOTHING = response(200, (b"content-length", b"600")), response(404), response(204)
GET = make_head([(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"cart"), (b":path", b"/")])
HEAD = make_head([(b":method", b"HEAD"), (b":scheme", b"http"), (b":authority", b"cart"), (b":path", b"/")])
POST = make_head([(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"cart"), (b":path", b"/p")])
SIZED_POST = make_head([(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"cart"), (b":path", b"/p"),
                        (b"content-length", b"9")])  # fmt: skip
CONNECT = make_head([(b":method", b"CONNECT"), (b":authority", b"cart:80")])
WEBSOCKET = make_head([(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"),
                       (b":authority", b"cart"), (b":path", b"/ws")])  # fmt: skip


class User:
    """Who owns the connection. All it does happens inside the handler's calls, or when everything has come."""

    def __init__(self, conn: Connection, behaviour: int) -> None:
        self.conn = conn
        self.behaviour = behaviour
        self.way = behaviour & 7
        self.seen = 0
        self.asked: list[bytes] = []  # methods of the requests, UPGRADE for an upgrade

    def on_event(self, event: tuple[Any, ...], stream: Stream | None) -> None:
        self.seen += event[0] == "headers"  # data may come in any number of pieces
        if self.behaviour & DRAIN and self.seen == 2:
            self.conn.drain()
        if stream is not None and event[0] in ("headers", "data"):
            self.act(event, stream)

    def act(self, event: tuple[Any, ...], stream: Stream) -> None:
        raise NotImplementedError

    def late(self) -> None:
        """Everything has come."""

    def finish(self, stream: Stream) -> None:
        """The end of what we send, as trailers or not."""
        if self.behaviour & TRAILERS:
            self.conn.send_head(stream, ENDS, self.conn.field(b"x-late", b"1"), True)
        else:
            self.conn.send_data(stream, b"", 0, 0, True)


class Server(User):
    """0: never answers. 1: 200 with its length, when the request has ended. 2: at once, in chunks, whose end comes with
    the request's. 3: 103 at once, then as 1. 4: the octets back. 5: resets when told. 6: 204 or 404. 7: resets at the
    end of the request, having answered half. LATE: answers what is open when everything has come."""

    def act(self, event: tuple[Any, ...], stream: Stream) -> None:
        what, end = event[0], event[3]
        if what == "headers" and event[2][:1] != () and event[2][0][0].startswith(b":"):
            names = dict(event[2])
            self.asked.append(b"UPGRADE" if b":protocol" in names else names[b":method"])
            self.begin(stream, end)
        elif what == "data" and self.way == 4:
            self.conn.send_data(stream, event[2], 0, len(event[2]), False)
        if end and not stream.closed:
            self.end(stream)

    def begin(self, stream: Stream, end: bool) -> None:
        if self.way == 5:
            self.conn.reset(stream, 8)
        elif self.way == 3:
            self.conn.send_head(stream, INTERIM, b"", False)
        elif self.way in (2, 4):
            self.conn.send_head(stream, OK, self.conn.field(b"traceparent", b"00-1"), False)
            self.conn.send_data(stream, b"early", 0, 5, False)

    def end(self, stream: Stream) -> None:
        if self.way in (1, 3):
            self.conn.send_head(stream, SIZED, b"", False)
            self.conn.send_data(stream, bytearray(b"x" * 600), 0, 600, not self.behaviour & TRAILERS)
            if self.behaviour & TRAILERS:
                self.finish(stream)
        elif self.way in (2, 4):
            self.finish(stream)
        elif self.way == 6:
            self.conn.send_head(stream, NOTHING if stream.id & 2 else EMPTY, b"", True)
        elif self.way == 7:
            self.conn.send_head(stream, SIZED, b"", False)
            self.conn.send_data(stream, b"x" * 300, 0, 300, False)
            self.conn.reset(stream, 2)

    def late(self) -> None:
        for stream in self.conn.all_streams():
            if not stream.headers_sent:
                self.conn.send_head(stream, EMPTY, b"", True)
                if not stream.closed:
                    self.conn.reset(stream, 0)


class Client(User):
    """Up to four requests, one after the other. 0, 4, 5, 6: GET (4 resets at an interim response, 5 at any). 1: POST in
    chunks. 2: HEAD and GET by turns. 3: CONNECT, then octets. 7: an upgrade, then octets. 6: POST with its length."""

    def request(self) -> None:
        if len(self.asked) >= 4 or not self.conn.can_open():
            return
        head = {1: POST, 2: GET if len(self.asked) & 1 else HEAD, 3: CONNECT, 6: SIZED_POST, 7: WEBSOCKET}.get(
            self.way, GET
        )
        self.asked.append({WEBSOCKET: b"UPGRADE"}.get(head, head.method or b""))
        more = self.way in (1, 3, 6, 7)
        stream = self.conn.request(None, head, self.conn.field(b"traceparent", b"00-1"), not more)
        if more and self.way in (1, 6):
            self.conn.send_data(stream, b"questions", 0, 9, False)
            self.finish(stream)

    def act(self, event: tuple[Any, ...], stream: Stream) -> None:
        if event[0] == "headers" and (self.way == 5 or (self.way == 4 and event[2][0][1][:1] == b"1")):
            self.conn.reset(stream, 8)
        elif self.way in (3, 7) and event[0] == "headers" and not stream.local_closed:
            self.conn.send_data(stream, b"tunnelled", 0, min(9, self.conn.sendable(stream)), False)
        self.request()


class Play:
    def __init__(self, client: bool, behaviour: int) -> None:
        self.log = EventLog(not behaviour & KEEP)
        self.dirty: list[Connection] = []
        self.conn = Connection(client, self.log, self.dirty, Rng(7))
        self.log.conn, self.conn.now = self.conn, 1.0
        self.user = (Client if client else Server)(self.conn, behaviour)
        self.log.hook = self.user.on_event
        self.output, self.rest = b"", b""
        self.error: tuple[int, str] | None = None
        self.conn.start()

    def feed(self, octets: bytes) -> None:
        """As a shell does: what is held back is offered again when the connection asks for attention."""
        self.rest += octets
        while not self.over():
            self.dirty.clear()
            buf = bytearray(self.rest)
            try:
                used = self.conn.receive(buf, len(buf))
            except ConnectionError_ as error:
                self.error = error.code, error.reason
                used = len(buf)
            assert 0 <= used <= len(buf)
            self.output += self.conn.take_output()
            self.rest = bytes(buf[used:])
            if isinstance(self.user, Client):
                self.user.request()  # the connection is free again only once `receive` is through
                self.output += self.conn.take_output()
            if not (self.dirty and self.rest and self.conn.reading()):
                return

    def over(self) -> bool:
        return bool(self.conn.ending or self.conn.closed)

    def run(self, pieces: Iterable[bytes], eof: bool) -> tuple[Any, ...]:
        if isinstance(self.user, Client):
            self.user.request()
            self.output += self.conn.take_output()
        for piece in pieces:
            self.feed(piece)
        if self.user.behaviour & LATE and not self.over():
            self.user.late()
            self.output += self.conn.take_output()
            self.feed(b"")
        stays = None
        if eof and not self.over():
            stays = self.conn.receive_eof()
            self.output += self.conn.take_output()
        if self.error is not None:
            assert self.conn.closed
            assert self.conn.ending
        open_streams = self.conn.all_streams()
        assert self.conn.active == len(open_streams) <= 1
        assert len(self.rest) <= 80_000
        rest = b"" if self.over() else self.rest
        return merged(self.log.take()), self.error, self.conn.ending, stays, len(open_streams), rest


def run(data: bytes, client: bool) -> tuple[Play, tuple[Any, ...]] | None:
    """All ways to feed an input come to the same; the last play, and what came of it."""
    if len(data) < 2:
        return None
    seed, behaviour, octets = data[0], data[1], data[2:]
    first = Play(client, behaviour)
    whole = first.run([octets], bool(seed & 1))
    other = Play(client, behaviour)
    assert other.run(cut(octets, seed >> 1), bool(seed & 1)) == whole
    assert other.user.asked == first.user.asked
    if behaviour & 7 != 4 or client:  # what is sent back is cut as it came
        assert other.output == first.output
    third = Play(client, behaviour)  # what was met twice is remembered
    assert third.run([octets[:7], octets[7:]], bool(seed & 1)) == whole
    return first, whole


def cuts(octets: bytes, rng: random.Random) -> bytes:
    """The two octets in front, mostly for comparing."""
    return bytes((rng.randrange(256), rng.choice((0, 1, rng.randrange(256))))) + octets[2:]
