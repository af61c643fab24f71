"""One connection of ours fed with octets, cut this way and that, while its user does something with what it is told.

An input of both HTTP/2 targets: an octet that seeds how the octets are cut, an octet that says how the user behaves,
then what the peer sends.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from h2_audit import Audit
from h2_frames import GOAWAY, PREFACE, block, is_whole, split
from hpack_blocks import GET, REQUEST, RESPONSE, TRAILERS

from mesh.wire.codec import Stream
from mesh.wire.errors import ConnectionError_
from mesh.wire.h2 import Connection
from mesh.wire.h2_events import EventLog
from mesh.wire.limits import Limits, Settings

# So few of everything that a short input reaches each bound (but for answers that wait: it depends on the cuts).
FEW = Limits(
    **dict.fromkeys(("pings", "settings", "empty_data", "early_resets", "resets", "refused_streams"), 4),
    **dict.fromkeys(("window_updates", "priorities", "useless_frames", "forced_resets"), 1),
    continuations=3,
    header_block=600,
    header_fields=10,
    requests_per_pass=2,
)
SMALL = Settings(
    max_concurrent_streams=3,
    initial_window=400,
    connection_window=66_000,
    max_window=1600,
    max_header_list=400,
    list_tolerance=50,
    header_table=200,
    max_frame=20_000,
    connect_protocol=True,
    limits=FEW,
)
KEEP, SMALL_SETTINGS, DRAIN, PINGS = 8, 16, 64, 128  # bits of the behaviour; the low three say which


class User:
    """Who owns the connection. All it does happens inside the handler's calls, so that no cutting changes its order."""

    def __init__(self, conn: Connection, behaviour: int) -> None:
        self.conn = conn
        self.behaviour = behaviour
        self.way = behaviour & 7
        self.seen = 0
        self.body: dict[int, bytes] = {}  # what is still to be sent, by stream

    def on_event(self, event: tuple[Any, ...], stream: Stream | None) -> None:
        self.seen += 1
        if self.behaviour & DRAIN and self.seen == 3:
            self.conn.drain()
        if self.behaviour & PINGS and event[0] == "headers":
            self.conn.ping(b"12345678")
        self.act(event, stream)
        for each in self.conn.all_streams():
            self.push(each)

    def act(self, event: tuple[Any, ...], stream: Stream | None) -> None:
        raise NotImplementedError

    def push(self, stream: Stream) -> None:
        """Send of the body what the windows take, and END_STREAM behind the last of it."""
        body = self.body.get(stream.id)
        if body is None or stream.closed or stream.local_closed:
            return
        n = min(self.conn.sendable(stream), len(body))
        if n == 0 and body:
            self.conn.wait(stream)
            return
        self.body[stream.id] = body[n:]
        if n < len(body):
            self.conn.send_data(stream, body, 0, n, False)
            self.conn.wait(stream)
        elif self.way & 1:
            self.conn.send_data(stream, bytearray(body), 0, n, True)
        else:
            self.conn.send_data(stream, body, 0, n, False)
            self.conn.send_headers(stream, block(TRAILERS), True)


class Server(User):
    """0: never answers. 1, 2: when the request has ended. 3: at once. 4: 100, then the octets back. 5: resets when told
    of the request. 6: GOAWAY at the first. 7: resets at the first DATA."""

    def act(self, event: tuple[Any, ...], stream: Stream | None) -> None:
        what = event[0]
        if self.way == 0 or stream is None or what not in ("headers", "data"):
            return
        if what == "headers" and self.way == 5:
            self.conn.reset(stream, 8)
        elif what == "headers" and self.way == 6:
            self.conn.goaway()
        elif what == "data" and self.way == 7:
            self.conn.reset(stream, 2)
        elif self.way == 4 and what == "headers" and not stream.headers_sent:
            self.conn.send_headers(stream, block(((b":status", b"100"),)), False)
            self.conn.send_headers(stream, block(RESPONSE), event[3])
        elif self.way == 4 and what == "data" and stream.id in self.body:
            self.body[stream.id] += event[2]
        elif (event[3] or self.way == 3) and not stream.headers_sent:
            self.conn.send_headers(
                stream, block((*RESPONSE, (b"x", b"y" * 20_000)) if self.way == 2 else RESPONSE), False
            )
        if stream.headers_sent and stream.id not in self.body:
            self.body[stream.id] = b"answer" * 100


class Client(User):
    """Up to six requests, two of them before anything came. 0: all six, without a body. 1, 2: bodies. 3: HEAD, and
    CONNECT. 4: resets at the first DATA. 5: at the response. 6: GOAWAY at the first event. 7: one after the other."""

    def begin(self) -> None:
        self.opened: list[Stream] = []
        for _ in range(2 if self.way else 6):
            self.request()

    def request(self) -> None:
        if len(self.opened) >= 6 or not self.conn.can_open():
            return
        number = len(self.opened)
        if self.way == 3:
            connect = number & 1
            fields = (
                ((b":method", b"CONNECT"), (b":authority", b"cart:80"))
                if connect
                else ((b":method", b"HEAD"), *GET[1:])
            )
            stream = self.conn.open(number, block(fields), not connect, not connect)
        elif self.way in (1, 2):
            stream = self.conn.open(number, block(REQUEST), False)
            self.body[stream.id] = b"question" * (number * 1000)
        else:
            stream = self.conn.open(number, block(GET), True)
        self.opened.append(stream)

    def act(self, event: tuple[Any, ...], stream: Stream | None) -> None:
        if stream is not None and (self.way, event[0]) in ((4, "data"), (5, "headers")):
            self.conn.reset(stream, 8)
        elif self.way == 6:
            self.conn.goaway()
        if self.way != 7 or event[0] == "reset" or (event[0] in ("headers", "data") and event[3]):
            self.request()


def merged(events: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Neighbouring DATA of one stream as one: a frame may be handed on in parts."""
    out: list[tuple[Any, ...]] = []
    for event in events:
        if event[0] == "data" and out and out[-1][:2] == event[:2] and not out[-1][3]:
            out[-1] = ("data", event[1], out[-1][2] + event[2], event[3])
        else:
            out.append(event)
    return out


def play(client: bool, behaviour: int, pieces: Iterable[bytes], audit: Audit | None = None) -> tuple[Any, ...]:
    """What came of it: events, output, counts, how it ended. With `audit` each piece has to be one frame."""
    log = EventLog(not behaviour & KEEP)
    conn = Connection(client, log, None, SMALL if behaviour & SMALL_SETTINGS else None)
    log.conn, conn.now = conn, 1.0
    user = (Client if client else Server)(conn, behaviour)
    log.hook = user.on_event
    conn.start()
    if isinstance(user, Client):
        user.begin()
    output, rest, error = conn.take_output(), b"", None
    if audit is not None:
        audit.went(output)
    for piece in pieces:
        rest += piece
        sent = b""
        while error is None:
            buf = bytearray(rest)
            try:
                used = conn.receive(buf, len(buf))
                assert 0 <= used <= len(buf)
                rest = bytes(buf[used:])
            except ConnectionError_ as caught:
                error = caught.code, caught.reason
            sent += conn.take_output()
            if not conn.deferred:
                break
        output += sent
        if audit is not None:
            audit.came(piece)
            audit.went(sent)
        if error is not None:
            break
        assert len(rest) < 9 + (20_000 if behaviour & SMALL_SETTINGS else 16_384)
    sent = turns(conn)
    output += sent
    if audit is not None:
        audit.went(sent)
    if error is not None:
        last = split(output.removeprefix(PREFACE))[-1]
        assert (last[3], int.from_bytes(last[13:17], "big")) == (GOAWAY, error[0])
        assert conn.closed
        assert not conn.can_open()
        assert conn.receive(bytearray(b"more"), 4) == 4
        assert conn.take_output() == b""
    counts = conn.statistics()
    streams = sorted(stream.id for stream in conn.all_streams())
    assert counts.active == conn.active == len(streams)
    assert counts.opened >= counts.active >= 0
    if not behaviour & KEEP and error is None:
        assert conn.held == 0, "octets that were given back still count"
    timers(conn)
    return merged(log.take()), output, tuple(counts), streams, error


def turns(conn: Connection) -> bytes:
    """Those that wait get their turns, as long as it helps."""
    output = b""
    while conn.waiters() and not conn.closed:
        conn.serve()
        sent = conn.take_output()
        if not sent:
            break
        output += sent
    return output


def timers(conn: Connection) -> None:
    """What a shell asks from time to time, and at the end."""
    conn.now = 100.0
    assert 0.0 <= conn.oldest_unfinished() <= 100.0
    conn.end()
    assert conn.closed
    assert conn.memory.held == 0


def cut(octets: bytes, seed: int) -> list[bytes]:
    """Pieces of any length; one by one where that is quick."""
    if seed == 0 and len(octets) < 1000:
        return [octets[at : at + 1] for at in range(len(octets))]
    rng, pieces = random.Random(seed), []
    while octets:
        n = rng.choice((1, 5, 9, 13, 40, 200, 2000))
        pieces.append(octets[:n])
        octets = octets[n:]
    return pieces


def run(data: bytes, client: bool, compare: Callable[[bytes, tuple[Any, ...]], None]) -> object:
    """All ways to feed an input come to the same; what came of it, after `compare` has seen the octets and it."""
    if len(data) < 2:
        return None
    behaviour, octets = data[1], data[2:]
    whole = play(client, behaviour, [octets])
    assert play(client, behaviour, cut(octets, data[0])) == whole
    audit = Audit()
    assert play(client, behaviour, split(octets), audit) == whole
    if behaviour == 0:
        # We judge a frame by its header, before it is all there; the oracle doesn't.
        frames = b"".join(piece for piece in split(octets) if is_whole(piece))
        compare(frames, whole if frames == octets else play(client, behaviour, [frames]))
    return whole
