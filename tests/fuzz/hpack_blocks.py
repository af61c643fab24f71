"""Header blocks for the mutators: fields that mean something to the codec, and every representation of RFC 7541."""

from __future__ import annotations

import random

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

Fields = tuple[tuple[bytes, bytes], ...]

HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
REQUEST: Fields = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/shop.Cart/Get"),
    (b":authority", b"cart"),
)
GET: Fields = ((b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"cart"))
RESPONSE: Fields = ((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILERS: Fields = ((b"grpc-status", b"0"),)
SECTIONS: tuple[Fields, ...] = (
    REQUEST, REQUEST, GET, RESPONSE, RESPONSE, TRAILERS,
    ((b":status", b"100"),), ((b":status", b"103"),), ((b":status", b"204"),), ((b":status", b"304"),),
    ((b":method", b"CONNECT"), (b":authority", b"cart:80")),
    ((b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/ws"),
     (b":authority", b"cart")),
    ((b":method", b"HEAD"), *GET[1:]), ((b":method", b"OPTIONS"), (b":scheme", b"http"), (b":path", b"*")),
)  # fmt: skip
FIELDS: Fields = (
    (b"content-length", b"0"), (b"content-length", b"3"), (b"content-length", b"5"), (b"content-length", b"x"),
    (b"te", b"trailers"), (b"te", b"gzip"), (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"host", b"cart"),
    (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), (b"tracestate", b"a=1"),
    (b"grpc-timeout", b"1S"), (b"grpc-status", b"14"), (b"grpc-message", b"no%20way"), (b"connection", b"close"),
    (b"transfer-encoding", b"chunked"), (b"upgrade", b"h2c"), (b"Upper", b"x"), (b"", b"x"), (b"bad name", b"x"),
    (b"x", b" y"), (b"x", b"a\nb"), (b"x-long", b"v" * 300), (b"x", b""), (b":status", b"99"), (b":path", b""),
    (b":path", b"no/slash"), (b":unknown", b"x"), (b"mesh-reason", b"r"), (b"mesh-not-delivered", b"1"),
    (b"idempotency-key", b"k"), (b"expect", b"100-continue"), (b"user-agent", b"grpc-python/1.62"),
    (b":authority", b"b@d"), (b":method", b"A B"), (b"host", b"other"),
)  # fmt: skip
NAMES = tuple(sorted({name for section in (*SECTIONS, FIELDS) for name, _ in section}))


def integer(value: int, bits: int, first: int) -> bytes:
    """RFC 7541, section 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    out, value = bytearray((first | most,)), value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def string(text: bytes, huffman: bool) -> bytes:
    if huffman:
        text = HUFFMAN.encode(text)
    return integer(len(text), 7, 0x80 if huffman else 0) + text


def literal(rng: random.Random, name: bytes, value: bytes) -> bytes:
    """A literal in one of its three kinds; the name by an index now and then, which may be anybody's."""
    first, bits = rng.choice(((0x40, 6), (0x40, 6), (0, 4), (0x10, 4)))
    if rng.random() < 0.2:
        return integer(rng.choice((1, 2, 4, 8, 15, 28, 31, 58, 61, 62, 63, 66)), bits, first) + string(
            value, rng.random() < 0.4
        )
    return bytes((first,)) + string(name, rng.random() < 0.4) + string(value, rng.random() < 0.4)


def representation(rng: random.Random) -> bytes:
    """Any one representation, mostly a legal one."""
    what = rng.randrange(12)
    if what < 5:
        return literal(rng, *rng.choice(FIELDS))
    if what < 7:
        return bytes((0x80 | rng.randrange(1, 68),))
    if what == 7:
        return integer(rng.choice((0, 31, 32, 64, 100, 4095, 4096, 4097, 2**28 + 5)), 5, 0x20)
    if what == 8:
        return integer(rng.choice((0, 62, 70, 126, 127, 128, 255, 2**21, 2**28, 2**35)), 7, 0x80)
    if what == 9:
        n = rng.choice((1, 60, 127, 128, 200, 400))
        return literal(rng, rng.choice((b"x", b"n" * n)), b"v" * n)
    name = rng.choice(NAMES)
    return literal(rng, name, bytes(rng.randrange(33, 127) for _ in range(rng.randrange(6))))


def section(rng: random.Random) -> bytes:
    """A block: a section that makes sense, more fields behind it, each as some representation."""
    fields = list(rng.choice(SECTIONS)) + [rng.choice(FIELDS) for _ in range(rng.choice((0, 0, 0, 1, 2, 5)))]
    plain = rng.random() < 0.5
    out = b"".join(
        bytes((0,)) + string(name, False) + string(value, False) if plain else literal(rng, name, value)
        for name, value in fields
    )
    return representation(rng) + out if rng.random() < 0.1 else out
