"""HTTP/1.1 as client: any octets, however cut, are the same responses; what we ask `h11` reads as those requests.

Where `h11` or llhttp read a response that we took, it is the same one: status, fields, content, and where the next
begins. What only one of us and `h11` refuses is listed with the reason.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import h1_compare
import h1_play
from fuzz_h1_server import BODIES, change
from h1_views import by_llhttp, requests_h11, responses_h11

MAX_LEN = 2500
LINES = tuple(
    (
        b"Content-Length: 3|Content-Length: 0|Content-Length: 5|Content-Length: 3, 3|"
        b"Transfer-Encoding: chunked|Transfer-Encoding: gzip|Connection: close|Connection: keep-alive|"
        b"Connection: upgrade|Upgrade: websocket|Sec-WebSocket-Accept: x|Keep-Alive: timeout=5|X: y| folded|"
        b"X : y|: y|X|Set-Cookie: a=1|grpc-status: 0|traceparent: 00-ab|Trailer: x|Proxy-Connection: x|"
        b"X:\t\xe9 "
    ).split(b"|")
)
STARTS = tuple(
    (
        b"HTTP/1.1 200 OK|HTTP/1.1 404 Not Found|HTTP/1.1 204 No Content|HTTP/1.1 304 Not Modified|"
        b"HTTP/1.1 100 Continue|HTTP/1.0 200 OK|HTTP/1.1 101 Switching Protocols|HTTP/1.1 103|HTTP/1.1 200 |"
        b"HTTP/1.1 20 OK|HTTP/2.0 200 OK|HTTP/1.1 099 X|http/1.1 200 OK|HTTP/1.1 999 \xe9"
    ).split(b"|")
)
TOKENS = (*LINES, *STARTS, *BODIES, b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"Sec-WebSocket-Accept: ")


def response(rng: random.Random) -> bytes:
    start = rng.choice(STARTS[:8] if rng.random() < 0.8 else STARTS)
    lines = rng.choices(LINES, k=rng.choice((0, 0, 1, 2, 4)))
    if rng.random() < 0.6:
        lines.append(rng.choice((b"Content-Length: 3", b"Transfer-Encoding: chunked")))
        return b"\r\n".join((start, *lines, b"", b"")) + BODIES[lines[-1][:1] == b"T"]
    return b"\r\n".join((start, *lines, b"", b"")) + rng.choice(BODIES)


def seeds() -> list[bytes]:
    rng = random.Random(6)
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    found = [
        bytes((way, way)) + chunked + BODIES[2] + b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc"
        for way in range(8)
    ]
    found += [b"\0\0" + STARTS[0] + b"\r\n" + line + b"\r\n\r\nabc" for line in LINES]
    found += [b"\1\0" + start + b"\r\n\r\nabc" for start in STARTS]
    found += [bytes((rng.randrange(256), 0)) + response(rng) + response(rng) for _ in range(60)]
    key = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "
    return [*found, b"\0\7" + key + b"\r\n\r\nabc", b"\0\3HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef"]


def mutate(data: bytes, rng: random.Random, native: Callable[[bytes], bytes]) -> bytes:
    return change(data, rng, native, response, LINES, STARTS)


def check_requests(play: h1_play.Play) -> None:
    """What we sent, `h11` reads as the requests we meant, and nothing else."""
    view = requests_h11(play.output, False)
    asked = [{b"UPGRADE": b"GET"}.get(method, method) for method in play.user.asked]
    assert view.error is None, f"h11 does not read our request: {view.error}: {play.output!r}"
    assert [message.start[0] for message in view.messages] == asked
    assert all(dict(message.fields)[b"host"] for message in view.messages)
    assert asked[-1:] == [b"CONNECT"] or play.user.way == 7 or not view.rest


def run(data: bytes) -> object:
    played = h1_play.run(data, True)
    if played is None:
        return None
    play, whole = played
    check_requests(play)
    if data[1] == 0:
        octets, eof = data[2:], bool(data[0] & 1)
        messages = h1_compare.told(whole[0])
        view = responses_h11(octets, [b"GET"] * 4, eof)
        h1_compare.compare(messages, whole[1], play.over(), view, by_llhttp(octets, responses=True))
    return whole, play.output
