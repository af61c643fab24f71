"""HTTP/2 as a sequence of frames, for seeds and mutators: what a peer may send, and what it had better not."""

from __future__ import annotations

import random
from collections.abc import Callable

from hpack_blocks import RESPONSE, SECTIONS, TRAILERS, Fields, section, string

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 1, 1, 4, 8, 32
STREAMS = (1, 1, 1, 1, 3, 3, 3, 5, 5, 7, 9, 0, 2, 11, 2**31 - 1)
WORDS = (0, 1, 5, 7, 8, 10, 100, 16384, 65535, 2**31 - 1, 2**31, 2**32 - 1)
SETTING_VALUES = {
    1: (0, 100, 4096, 65536), 2: (0, 0, 1, 2), 3: (0, 1, 100), 4: (0, 1, 10, 65535, 2**31 - 1, 2**31),
    5: (16383, 16384, 20000, 2**24 - 1, 2**24), 6: (0, 100, 65536), 8: (0, 1, 2), 9: (0, 1), 77: (5,),
}  # fmt: skip


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def block(fields: Fields) -> bytes:
    return b"".join(b"\0" + string(name, False) + string(value, False) for name, value in fields)


def headers(stream_id: int, fields: Fields, end: bool = False) -> bytes:
    return frame(HEADERS, END_HEADERS | end, stream_id, block(fields))


def data(stream_id: int, octets: bytes, end: bool = False) -> bytes:
    return frame(DATA, int(end), stream_id, octets)


def word(kind: int, stream_id: int, value: int) -> bytes:
    return frame(kind, 0, stream_id, value.to_bytes(4, "big"))


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(i.to_bytes(2, "big") + v.to_bytes(4, "big") for i, v in pairs))


def split(octets: bytes) -> list[bytes]:
    """The frames of `octets`; a preface and what is left at the end are pieces too."""
    pieces = []
    if octets.startswith(PREFACE):
        pieces.append(PREFACE)
        octets = octets[24:]
    while len(octets) >= 9:
        n = 9 + int.from_bytes(octets[:3], "big")
        pieces.append(octets[:n])
        octets = octets[n:]
    return [*pieces, octets] if octets else pieces


def is_whole(piece: bytes) -> bool:
    """A preface, or a frame with all of its payload."""
    return piece == PREFACE or (len(piece) >= 9 and len(piece) == 9 + int.from_bytes(piece[:3], "big"))


def some_headers(rng: random.Random, stream_id: int, client: bool) -> bytes:
    """HEADERS, whole or in parts, padded, prioritized; for a client to read (`client`) rather a response."""
    if rng.random() < 0.3:
        code = section(rng)
    else:
        code = block(rng.choice((RESPONSE, RESPONSE, TRAILERS)) if client else rng.choice((*SECTIONS[:3], TRAILERS)))
    flags = rng.choice((0, END_STREAM))
    padding = 0
    rest = b""
    if rng.random() < 0.2:
        cut = rng.randrange(len(code) + 1)
        code, rest = code[:cut], code[cut:]
    if rng.random() < 0.1:
        flags, code = flags | PRIORITIZED, rng.choice((0, 1, 3, 2**31 + 1)).to_bytes(4, "big") + b"\x10" + code
    if rng.random() < 0.1:
        padding = rng.choice((0, 1, 20, 255))
        flags, code = (
            flags | PADDED,
            bytes((padding,)) + code + bytes(rng.choice((padding, padding, max(0, padding - 1)))),
        )
    if not rest:
        return frame(HEADERS, flags | END_HEADERS, stream_id, code)
    cut = rng.randrange(len(rest) + 1)
    out = frame(HEADERS, flags, stream_id, code)
    if rng.random() < 0.5:
        return out + frame(CONTINUATION, END_HEADERS, stream_id, rest)
    return out + frame(CONTINUATION, 0, stream_id, rest[:cut]) + frame(CONTINUATION, END_HEADERS, stream_id, rest[cut:])


def some_frame(rng: random.Random, client: bool) -> bytes:
    """Any one frame (HEADERS perhaps with CONTINUATION), mostly one that is legal somewhere."""
    stream_id = rng.choice(STREAMS)
    what = rng.randrange(16)
    if what < 5:
        return some_headers(rng, stream_id, client)
    if what < 8:
        octets = bytes(rng.choice((0, 1, 3, 5, 100, 450)))
        if rng.random() < 0.2:
            return frame(DATA, PADDED | rng.randrange(2), stream_id, bytes((rng.choice((0, 2, 200)),)) + octets)
        return data(stream_id, octets, rng.random() < 0.5)
    if what == 8:
        return word(RST_STREAM, stream_id, rng.choice((0, 1, 5, 7, 8, 11, 999)))
    if what == 9:
        pairs = [
            (key, rng.choice(SETTING_VALUES[key])) for key in rng.choices(tuple(SETTING_VALUES), k=rng.randrange(3))
        ]
        return settings(*pairs) if rng.random() < 0.8 else frame(SETTINGS, ACK, 0, b"")
    if what < 12:
        return word(WINDOW_UPDATE, rng.choice((0, 0, stream_id)), rng.choice(WORDS))
    if what == 12:
        return frame(PING, rng.randrange(2), 0, rng.choice((b"12345678", b"mesh-drn")))
    if what == 13:
        return frame(GOAWAY, 0, 0, rng.choice(WORDS[:6]).to_bytes(4, "big") + bytes(4) + b"bye"[: rng.randrange(4)])
    if what == 14:
        return frame(PRIORITY, 0, stream_id, rng.choice((0, 1, 3)).to_bytes(4, "big") + b"\x0f")
    return frame(rng.choice((PUSH_PROMISE, 10, 16, 0x99)), rng.randrange(256), stream_id, bytes(rng.choice((0, 4, 8))))


def storm(rng: random.Random, client: bool) -> bytes:
    """The same again and again, as the limits per second are for."""
    return some_frame(rng, client) * rng.choice((3, 20, 60, 120))


def mutate(octets: bytes, rng: random.Random, native: Callable[[bytes], bytes], client: bool) -> bytes:
    """One change to a sequence of frames that leaves it one, mostly."""
    pieces = split(octets)
    at = rng.randrange(len(pieces) + 1)
    what = rng.randrange(14)
    if what < 4 or not pieces:
        pieces.insert(at, some_frame(rng, client))
    elif what == 4:
        pieces.insert(at, rng.choice(pieces))
    elif what == 5:
        del pieces[at - 1]
    elif what == 6:
        other = rng.randrange(len(pieces))
        pieces[at - 1], pieces[other] = pieces[other], pieces[at - 1]
    elif what == 7 and len(octets) < 3000:
        pieces.insert(at, storm(rng, client))
    elif what == 8:
        return native(octets)
    elif what == 9:
        pieces[at - 1] = some_frame(rng, client)
    else:
        pieces[at - 1] = change(pieces[at - 1], rng, native)
    return b"".join(pieces)


def change(piece: bytes, rng: random.Random, native: Callable[[bytes], bytes]) -> bytes:
    """One change inside a frame; its length is put right, mostly."""
    if len(piece) < 9 or piece == PREFACE:
        return native(piece)
    kind, flags, stream_id, payload = piece[3], piece[4], int.from_bytes(piece[5:9], "big"), piece[9:]
    what = rng.randrange(7)
    if what == 0:
        kind = rng.randrange(11)
    elif what == 1:
        flags ^= rng.choice((1, 4, 8, 32, 1 << rng.randrange(8)))
    elif what == 2:
        stream_id = rng.choice(STREAMS)
    elif what == 3 and kind in (HEADERS, CONTINUATION):
        payload = section(rng)
    elif what == 4:
        return native(piece)
    else:
        payload = native(payload)
    return frame(kind, flags, stream_id, payload[:16500])
