"""Octets to give to parsers of HTTP/1.1: what they must take, and what has fooled one or another of them."""

from __future__ import annotations

import random

METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"CONNECT", b"get", b"FROB", b"G@T", b""]
TARGETS = [b"/", b"/a?b=c&d", b"/%20~", b"*", b"http://cart/x", b"http://cart", b"http://other/", b"cart:80", b"a b",
           b"/\xc3\xa9", b"", b"/#f", b"/\x00", b"//x"]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.1 ", b""]
FIELDS = [
    b"Accept: */*", b"X: y", b"X:", b"X:  y \t", b"X: \xe9", b"x-Y_z~: 1", b"Cookie: a=b; c", b"TE: trailers",
    b"Traceparent: 00-1-2-01", b"tracestate: a=b", b"Grpc-Timeout: 1S", b"Connection: close", b"Connection: keep-alive",
    b"Connection: x, te", b"Keep-Alive: timeout=5", b"Expect: 100-continue", b"Upgrade: h2c", b"Upgrade: foo",
    b"Connection: Upgrade",
]
EVIL_FIELDS = [
    b" X: y", b"\tX: y", b"X : y", b"X\t: y", b": y", b"X", b"", b"X: a\x00b", b"X: a\rb", b"X: a\nb", b"X: a\x0bb",
    b"X: a\x7fb", b"X\x80: y", b"X(: y", b"\xef\xbb\xbfX: y", b"Host: other", b"Host: cart, other", b"Host: u@cart",
    b"Connection: host", b"Expect: 200-ok", b"\r",
]
LENGTHS = [
    b"Content-Length: 5", b"content-length:5", b"Content-Length: 05", b"Content-Length: 5, 5", b"Content-Length: 5,",
    b"Content-Length: +5", b"Content-Length: -5", b"Content-Length: 5 5", b"Content-Length: 0x5", b"Content-Length: ",
    b"Content-Length: 4", b"Content-Length: 6", b"Content-Length: 5\x00", b"Content-Length: 5;",
    b"Content-Length: \xb5",
    b"Content-Length : 5", b"Content-Length: 99999999999999999999", b"Content-Length: 5\t", b"Content_Length: 5",
    b"Content-Length\x00: 5", b"Content-Length: 5\r", b"Content-Length: 1e1", b"Content-Length: 5.0",
]
CODINGS = [
    b"Transfer-Encoding: chunked", b"transfer-encoding:CHUNKED", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, gzip", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunkedx", b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: 'chunked'", b"Transfer-Encoding: \"chunked\"", b"Transfer-Encoding : chunked",
    b" Transfer-Encoding: chunked", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: chunked\t",
    b"Transfer-Encoding: chunk", b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding: , chunked",
    b"Transfer-Encoding:", b"Transfer_Encoding: chunked", b"X: y\rTransfer-Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked", b"Transfer-Encoding\x00: chunked", b"Transfer-Encoding\r\n: chunked",
    b"Transfer-Encoding: chun\r\n ked", b"Transfer-Encoding: c\xb5hunked", b"Transfer-encoding: identity, chunked",
]
CHUNKS = [b"5\r\nhello\r\n0\r\n\r\n", b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
          b"0\r\n\r\n", b"05\r\nhello\r\n00\r\n\r\n"]
EVIL_CHUNKS = [
    b"5 \r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n",
    b"5;\r\nhello\r\n0\r\n\r\n", b"5;x\nhello\r\n0\r\n\r\n", b"5;\x00\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\n",
    b"5\r\nhello\r\n0\n\r\n", b"5\r\nhello\r\n0\r\n X: y\r\n\r\n", b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n", b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    b"5\rhello\r\n0\r\n\r\n", b"5\r\nhello\r\n-0\r\n\r\n", b"5\r\nhello\r\n\r\n0\r\n\r\n",
    b"5\r\n\r\nhello\r\n0\r\n\r\n", b"5_\r\nhello\r\n0\r\n\r\n",
]
OCTETS = [b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x00", b":", b",", b";", b"\x80", b"\x0b", b"x", b"0", b"\x7f",
          b"\r\n "]


def some(rng: random.Random, usual: list[bytes], evil: list[bytes], likely: float) -> bytes:
    return rng.choice(usual) if rng.random() < likely else rng.choice(evil)


def body(rng: random.Random, tame: float) -> tuple[list[bytes], bytes]:
    """Fields that frame content, and the content: mostly one that fits."""
    kind = rng.random()
    if kind < 0.35:
        return [], b""
    if kind < 0.65:
        return [some(rng, LENGTHS[:2], LENGTHS, tame)], b"hello"
    lines = [some(rng, CODINGS[:2], CODINGS, tame)]
    if rng.random() > tame:
        lines.append(rng.choice(LENGTHS + CODINGS))
    return lines, some(rng, CHUNKS, EVIL_CHUNKS, tame)


def message(rng: random.Random, first: bytes, lines: list[bytes], tame: float) -> bytes:
    framing, content = body(rng, tame)
    lines = [*lines, *framing, *(some(rng, FIELDS, EVIL_FIELDS, tame) for _ in range(rng.randrange(4)))]
    rng.shuffle(lines)
    octets = b"\r\n".join((first, *lines, b"", b"")) + content
    if rng.random() > tame:
        at = rng.randrange(len(octets))
        octets = octets[:at] + rng.choice(OCTETS) + octets[at + rng.randrange(2) :]
    return octets


def random_requests(rng: random.Random, tame: float) -> bytes:
    """One to three requests; `tame`: the share of parts that are as they should be."""
    octets = b""
    for _ in range(rng.choice((1, 1, 2, 3))):
        method = some(rng, METHODS[:6], METHODS, tame)
        target = some(rng, TARGETS[:3], TARGETS, tame)
        version = some(rng, VERSIONS[:1], VERSIONS, tame)
        octets += message(rng, b" ".join((method, target, version)),
                          [b"Host: cart"] if rng.random() < 0.5 + tame / 2 else [], tame)
    return octets


def random_responses(rng: random.Random, tame: float) -> bytes:
    """One response, sometimes behind an interim one, sometimes with more behind it."""
    octets = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" if rng.random() < 0.1 else b""
    version = some(rng, VERSIONS[:2], VERSIONS, tame)
    status = some(rng, [b"200", b"200", b"204", b"304", b"404", b"500"],
                  [b"99", b"2000", b"2x0", b"", b"101", b"100"], tame)
    octets += message(rng, b" ".join((version, status, rng.choice((b"OK", b"", b"Not \xe9 \t Found")))), [], tame)
    return octets + (b"HTTP/1.1 200 OK\r\n\r\n" if rng.random() < 0.1 * (1 - tame) else b"")
