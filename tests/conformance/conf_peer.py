"""A raw-frame HTTP/2 peer that may break every rule, and what it can be shown in answer.

What lives here: frames as octets, one connection in either role, the verdicts that h2spec gives ("a connection error of
these codes"). What this must not know: whom it talks to (see `Wire`), which case it plays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import hpack

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 1, 1, 4, 8, 32
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
 REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM) = range(12)
TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_LIST, CONNECT_PROTOCOL = 1, 2, 3, 4, 5, 6, 8

Fields = list[tuple[bytes, bytes]]
BODY = b"an answer of some octets"  # what every server in these tests says to GET and POST


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def ends(self) -> bool:
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)

    @property
    def code(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        return int.from_bytes(self.payload[:4] if self.kind == RST_STREAM else self.payload[4:8], "big")


class Silence(Exception):
    """Nothing comes though something is due."""


class Wire(Protocol):
    """The way to who is judged."""

    def send(self, octets: bytes) -> None: ...

    def read(self) -> bytes:
        """What comes next; b"" for the end of the connection. Silence: nothing does."""


class Peer:
    """One connection. `settings`: what the other side announced; `seen`: every frame it sent."""

    def __init__(self, wire: Wire, server: bool = False, authority: bytes = b"cart") -> None:
        self.wire = wire
        self.server = server
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self.settings: dict[int, int] = {}
        self.seen: list[Frame] = []
        self.get: Fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", authority)]
        self.ok: Fields = [(b":status", b"200")]
        self.post: Fields = [(b":method", b"POST"), *self.get[1:]]
        self._rest = b""

    # -- out

    def send(self, octets: bytes) -> None:
        self.wire.send(octets)

    def frame(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"",
              length: int | None = None) -> None:
        """A frame; `length` where its header lies about that."""
        n = len(payload) if length is None else length
        self.send(n.to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload)

    def block(self, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        return self.encoder.encode([hpack.HeaderTuple(name, value) for name, value in fields])

    def headers(self, stream: int, fields: Fields | None = None, end: bool = True, flags: int = END_HEADERS,
                before: bytes = b"", after: bytes = b"") -> None:
        """HEADERS, by default of a request or a response; octets may be put around the header block."""
        block = self.block((self.ok if self.server else self.get) if fields is None else fields)
        self.frame(HEADERS, flags | (END_STREAM if end else 0), stream, before + block + after)

    def data(self, stream: int, octets: bytes = b"test", end: bool = True) -> None:
        self.frame(DATA, END_STREAM if end else 0, stream, octets)

    def word(self, kind: int, stream: int, value: int) -> None:
        self.frame(kind, 0, stream, value.to_bytes(4, "big"))

    def reset(self, stream: int, code: int = CANCEL) -> None:
        self.word(RST_STREAM, stream, code)

    def window(self, stream: int, grown: int) -> None:
        self.word(WINDOW_UPDATE, stream, grown)

    def priority(self, stream: int, on: int = 0, weight: int = 255, exclusive: bool = False) -> None:
        self.frame(PRIORITY, 0, stream, (on | exclusive << 31).to_bytes(4, "big") + bytes((weight,)))

    def set(self, *pairs: tuple[int, int]) -> None:
        self.frame(SETTINGS, 0, 0, b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs))

    def ping(self, octets: bytes = b"h2spec\0\0", ack: bool = False) -> None:
        self.frame(PING, ACK if ack else 0, 0, octets)

    def goaway(self, last: int = 0, code: int = NO_ERROR, debug: bytes = b"") -> None:
        self.frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + debug)

    def continuation(self, stream: int, fields: Fields | None = None, end: bool = True) -> None:
        self.frame(CONTINUATION, END_HEADERS if end else 0, stream, self.block(dummy() if fields is None else fields))

    # -- in

    def next(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        while len(self._rest) < 9 or len(self._rest) < 9 + int.from_bytes(self._rest[:3], "big"):
            octets = self.wire.read()
            if not octets:
                assert not self._rest, "the connection ends inside a frame"
                return None
            self._rest += octets
        n = int.from_bytes(self._rest[:3], "big")
        frame = Frame(self._rest[3], self._rest[4], int.from_bytes(self._rest[5:9], "big"), self._rest[9 : 9 + n])
        self._rest = self._rest[9 + n :]
        self.seen.append(frame)
        if frame.kind == SETTINGS and not frame.flags & ACK:
            for at in range(0, n, 6):
                key, value = frame.payload[at : at + 2], frame.payload[at + 2 : at + 6]
                self.settings[int.from_bytes(key, "big")] = int.from_bytes(value, "big")
        return frame

    def until(self, wanted: Callable[[Frame], bool], what: str) -> Frame:
        """The next frame that is wanted; those before it are passed over."""
        passed: list[Frame] = []
        while True:
            try:
                frame = self.next()
            except Silence:
                raise AssertionError(f"{what}; came: {passed}") from None
            assert frame is not None, f"{what}; came: {passed} and the end"
            if wanted(frame):
                return frame
            passed.append(frame)

    def handshake(self) -> None:
        """Preface and SETTINGS both ways, all acknowledged."""
        if self.server:
            while len(self._rest) < len(PREFACE):
                self._rest += self.wire.read()
            assert self._rest.startswith(PREFACE)
            self._rest = self._rest[len(PREFACE) :]
        else:
            self.send(PREFACE)
        self.set((INITIAL_WINDOW, 65_535))
        mine = theirs = False
        while not (mine and theirs):
            frame = self.until(lambda frame: frame.kind == SETTINGS, "SETTINGS and their acknowledgement")
            if frame.flags & ACK:
                mine = True
            else:
                theirs = True
                self.frame(SETTINGS, ACK)

    def fields_of(self, frame: Frame) -> Fields:
        """Of HEADERS that stand alone."""
        assert frame.flags & (END_HEADERS | PADDED | PRIORITIZED) == END_HEADERS
        return [(bytes(name), bytes(value)) for name, value in self.decoder.decode(frame.payload, raw=True)]


@dataclass(frozen=True)
class Case:
    """`run` plays it after the handshake (`fresh`: before), `verdict` asserts what is to come of it.

    `codec_only`: with an app behind, it would be the app's speed or opinion that decides.
    """

    id: str
    title: str
    run: Callable[[Peer], object]
    verdict: Callable[[Peer], object]
    fresh: bool = False
    codec_only: bool = False

    def play(self, peer: Peer) -> None:
        if not self.fresh:
            peer.handshake()
        self.run(peer)
        self.verdict(peer)


def dummy(n: int = 1, size: int = 4000) -> Fields:
    """Fields of no meaning, of `size` octets each."""
    return [(b"x-dummy%d" % i, b"x" * size) for i in range(n)]


# -- Verdicts. Where h2spec is content with the end of the connection, we want to be told why.


def connection_error(*codes: int) -> Callable[[Peer], None]:
    """GOAWAY of one of these codes, and then the end."""

    def verdict(peer: Peer) -> None:
        frame = peer.until(lambda frame: frame.kind == GOAWAY and frame.code != NO_ERROR, f"GOAWAY of {codes}")
        assert frame.code in codes, f"GOAWAY of {frame.code}, wanted {codes}: {frame.payload[8:]!r}"
        ended(peer)

    return verdict


def stream_error(*codes: int) -> Callable[[Peer], None]:
    """RST_STREAM, or GOAWAY, of one of these codes."""

    def verdict(peer: Peer) -> None:
        frame = peer.until(lambda frame: frame.kind in (RST_STREAM, GOAWAY), f"RST_STREAM or GOAWAY of {codes}")
        assert frame.code in codes, f"{frame}, wanted {codes}"

    return verdict


def reset_of(stream: int, *codes: int) -> Callable[[Peer], None]:
    """RST_STREAM of this stream, and that the connection goes on."""

    def verdict(peer: Peer) -> None:
        frame = peer.until(lambda frame: frame.kind in (RST_STREAM, GOAWAY), f"RST_STREAM of {codes}")
        assert (frame.kind, frame.stream) == (RST_STREAM, stream), frame
        assert frame.code in codes, f"RST_STREAM of {frame.code}, wanted {codes}"
        goes_on(peer)

    return verdict


def ended(peer: Peer) -> None:
    """The connection ends; what comes before that is not looked at."""
    try:
        while peer.next() is not None:
            pass
    except Silence:
        raise AssertionError(f"the connection stays open; came: {peer.seen}") from None


def pong(octets: bytes = b"h2spec\0\0") -> Callable[[Peer], None]:
    """The answer to a PING of these octets, and to none before it."""

    def verdict(peer: Peer) -> None:
        frame = peer.until(lambda frame: frame.kind == PING, "PING")
        assert (frame.flags & ACK, frame.payload) == (ACK, octets), frame

    return verdict


def pong_or_end(peer: Peer) -> None:
    peer.ping(b"or-end\0\0")
    try:
        while (frame := peer.next()) is not None:
            if frame.kind == PING and frame.payload == b"or-end\0\0":
                return
    except Silence:
        raise AssertionError("neither PING nor the end") from None


def goes_on(peer: Peer) -> None:
    """Nothing happened: no error, and the connection answers."""
    seen = len(peer.seen)
    peer.ping(b"goes on?")
    pong(b"goes on?")(peer)
    assert not [frame for frame in peer.seen[seen:] if frame.kind in (RST_STREAM, GOAWAY)], peer.seen[seen:]


def answered(stream: int = 1) -> Callable[[Peer], None]:
    """Response headers on this stream, the first HEADERS of all."""

    def verdict(peer: Peer) -> None:
        frame = peer.until(lambda frame: frame.kind in (HEADERS, RST_STREAM, GOAWAY), f"HEADERS on {stream}")
        assert (frame.kind, frame.stream) == (HEADERS, stream), frame

    return verdict


def stream_ends(peer: Peer, stream: int = 1) -> None:
    peer.until(lambda frame: frame.ends and frame.stream == stream, f"the end of stream {stream}")


def data_of(n: int) -> Callable[[Peer], None]:
    """DATA, the next of all, of `n` octets."""

    def verdict(peer: Peer) -> None:
        frame = peer.until(lambda frame: frame.kind in (DATA, RST_STREAM, GOAWAY), f"DATA of {n} octets")
        assert (frame.kind, len(frame.payload)) == (DATA, n), frame

    return verdict


def settings_acknowledged(peer: Peer) -> None:
    peer.until(lambda frame: frame.kind == SETTINGS and bool(frame.flags & ACK), "the acknowledgement of SETTINGS")
