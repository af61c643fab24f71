"""HTTP/1.1 as server: any octets, however cut, are the same requests, and what we answer `h11` reads as those answers.

Where `h11` or llhttp read a request that we took, it is the same one: method, target, fields, content, and where the
next begins. What only one of us and `h11` refuses is listed with the reason.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import h1_compare
import h1_play
from h1_views import by_llhttp, requests_h11, responses_h11

MAX_LEN = 2500
LINES = tuple(
    (
        b"Host: cart|host: other|Content-Length: 3|Content-Length: 5|Content-Length: +3|"
        b"Transfer-Encoding: chunked|Transfer-Encoding: gzip, chunked|Connection: close|"
        b"Connection: keep-alive, x|Expect: 100-continue|Upgrade: websocket|Connection: upgrade|"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==|TE: trailers|X: y| folded|X : y|: y|X|Cookie: a=1|"
        b"traceparent: 00-ab|tracestate: a=1|grpc-timeout: 1S|Trailer: x|Keep-Alive: timeout=5|"
        b"Proxy-Connection: x|Upgrade: h2c|HTTP2-Settings: AA|X:\t\xe9 "
    ).split(b"|")
)
STARTS = tuple(
    (
        b"GET / HTTP/1.1|POST /p HTTP/1.1|HEAD /?q HTTP/1.1|OPTIONS * HTTP/1.1|GET http://cart/x HTTP/1.1|"
        b"CONNECT cart:80 HTTP/1.1|GET / HTTP/1.0|PUT / HTTP/1.0|GET /#f HTTP/1.1|get / HTTP/1.1|"
        b"GET  / HTTP/1.1|GET / HTTP/2.0|X-Y /%20 HTTP/1.1|GET /"
    ).split(b"|")
)
BODIES = (
    *(b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n", b"0\r\n\r\n", b"A \r\n", b"3\r\nabcd"),
    *(b"", b"0x3\r\nabc", b"2\r\nab\r\n1\r\nc\r\n0\r\ntraceparent: 00-1\r\nHost: x\r\n\r\n"),
)
TOKENS = (*LINES, *STARTS, *BODIES, b"\r\n", b"\r\n\r\n", b"\n", b"\r")


def request(rng: random.Random) -> bytes:
    start = rng.choice(STARTS[:8] if rng.random() < 0.8 else STARTS)
    lines = [b"Host: cart"] * (rng.random() < 0.9) + rng.choices(LINES, k=rng.choice((0, 0, 1, 1, 2, 4)))
    if rng.random() < 0.3:
        lines.append(rng.choice((b"Content-Length: 3", b"Transfer-Encoding: chunked")))
        return b"\r\n".join((start, *lines, b"", b"")) + BODIES[lines[-1][:1] == b"T"]
    return b"\r\n".join((start, *lines, b"", b"")) + rng.choice(BODIES)


def seeds() -> list[bytes]:
    rng = random.Random(5)
    get, post = (
        b"GET / HTTP/1.1\r\nHost: cart\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: cart\r\nTransfer-Encoding: chunked\r\n\r\n",
    )
    found = [bytes((way, way)) + get + post + BODIES[1] + get for way in range(8)]
    found += [bytes((way, way | 0x90)) + post + BODIES[2] + get for way in range(8)]
    found += [b"\0\1" + start + b"\r\nHost: cart\r\n" + line + b"\r\n\r\nabc" for start in STARTS[:3] for line in LINES]
    found += [bytes((rng.randrange(256), 1)) + request(rng) + request(rng) for _ in range(60)]
    return found


def mutate(data: bytes, rng: random.Random, native: Callable[[bytes], bytes]) -> bytes:
    return change(data, rng, native, request, LINES, STARTS)


def change(
    data: bytes,
    rng: random.Random,
    native: Callable[[bytes], bytes],
    message: Callable[[random.Random], bytes],
    lines: tuple[bytes, ...] | list[bytes],
    starts: tuple[bytes, ...],
) -> bytes:
    """One change to a sequence of messages, mostly to one of its lines."""
    if len(data) < 2 or rng.random() < 0.1:
        return h1_play.cuts(data, rng)
    front, rest = data[:2], data[2:]
    parts = rest.split(b"\r\n")
    at = rng.randrange(len(parts))
    what = rng.randrange(9)
    if what == 0:
        return front + rest + message(rng)
    if what == 1:
        parts.insert(at, rng.choice(lines))
    elif what == 2:
        del parts[at]
    elif what == 3:
        parts.insert(at, rng.choice(parts))
    elif what == 4:
        parts[at] = native(parts[at])
    elif what == 5:
        parts[0] = rng.choice(starts)
    elif what == 6:
        parts[at] = rng.choice(lines)
    elif what == 7:
        return front + native(rest)
    else:
        parts.insert(at, rng.choice(BODIES))
    return front + b"\r\n".join(parts)


def check_answers(play: h1_play.Play) -> None:
    """What we sent, `h11` reads as an answer to each request; the last may be cut off where we abort the connection."""
    asked = play.user.asked
    refused = play.error is not None
    closed = play.conn.ending == 1 and play.user.way != 5  # a reset before the answer ends the connection without one
    view = responses_h11(play.output, [*asked, *([b"GET"] if refused else [])], closed)
    assert view.error is None or play.conn.ending == 2, f"h11 does not read our answer: {view.error}: {play.output!r}"
    answered = sum(message.complete for message in view.messages)
    assert answered <= len(asked) + refused
    tunnel = bool(asked) and asked[-1] in (b"CONNECT", b"UPGRADE")
    assert tunnel or not view.rest, f"octets behind the answer: {view.rest!r}"


def run(data: bytes) -> object:
    played = h1_play.run(data, False)
    if played is None:
        return None
    play, whole = played
    check_answers(play)
    if data[1] == 1:
        octets, eof = data[2:], bool(data[0] & 1)
        messages = h1_compare.told(whole[0])
        h1_compare.compare(messages, whole[1], play.over(), requests_h11(octets, eof), by_llhttp(octets))
    return whole, play.output if data[1] & 7 != 4 else b""
