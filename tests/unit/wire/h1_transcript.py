"""Plays seeded HTTP/1.1 conversations through the codec and prints what came of them; run once compiled, once plain."""

from __future__ import annotations

import hashlib
import random
from typing import Any

from h1_octets import random_requests, random_responses
from h1_peer import Side, head, request, response

from mesh.wire import h1, h1_chunks, h1_parse, h1_patterns, h1_section, h1_sending, h1_syntax, h1_write, hpack, octets
from mesh.wire.errors import WireError

MODULES = (h1, h1_chunks, h1_parse, h1_patterns, h1_section, h1_sending, h1_syntax, h1_write, hpack, octets)
CHAT = ((b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":authority", b"a"),
        (b":path", b"/c"))
REQUESTS = [request(), request(b"HEAD"), request(b"POST", b"/p", (b"content-length", b"3")), request(b"PUT"),
            head(*CHAT), request(b"GET", b"/a b"), head((b":method", b"CONNECT"), (b":authority", b"a:1")),
            request(b"Get")]
RESPONSES = [response(200), response(204), response(304, (b"content-length", b"9")), response(103), response(403),
             response(200, (b"content-length", b"3")), response(101), head((b"grpc-status", b"0")),
             response(200, (b"x", b"a\r\nb"))]
MOVES = ["head", "head", "data", "data", "end", "trailers", "reset", "drain", "release", "read"]


class Play:
    """One conversation: what the peer says, and seeded answers to it."""

    def __init__(self, rng: random.Random, client: bool) -> None:
        self.rng = rng
        self.side = Side(client, auto_release=rng.random() < 0.9)
        self.log: list[object] = []
        self.streams: list[Any] = []

    def attempt(self, call: Any, *arguments: object) -> Any:
        try:
            return call(*arguments)
        except WireError as error:
            self.log.append(repr(error))
            return None

    def move(self) -> None:
        rng, conn = self.rng, self.side.conn
        self.streams += [stream for stream in conn.all_streams() if stream not in self.streams]
        stream = self.streams[-1] if self.streams else None
        what = rng.choice(MOVES)
        if what == "read":
            self.side.attended()
        elif what == "drain":
            if rng.random() < 0.1:
                conn.drain()
        elif stream is None:
            return
        elif what == "head":
            self.attempt(conn.send_head, stream, rng.choice(RESPONSES), b"", rng.random() < 0.5)
        elif what == "data":
            self.attempt(conn.send_data, stream, b"abc" * 9, 1, rng.choice((0, 1, 3, 20)), False)
        elif what == "end":
            self.attempt(conn.send_data, stream, b"abc", 0, rng.choice((0, 3)), True)
        elif what == "trailers":
            self.attempt(conn.send_head, stream, head((b"t", b"1")), b"u: 2\r\n", True)
        elif what == "release":
            conn.release(stream, rng.choice((1, 100_000)))
        elif rng.random() < 0.2:
            conn.reset(stream, rng.choice((0, 8)))

    def play(self) -> list[object]:
        rng, side = self.rng, self.side
        if side.conn.client:
            octets = random_responses(rng, rng.choice((1, 0.95, 0.8)))
        else:
            octets = random_requests(rng, rng.choice((1, 0.95, 0.8)))
        while octets:
            if side.conn.client and rng.random() < 0.7:
                stream = self.attempt(side.conn.request, None, rng.choice(REQUESTS), b"a: b\r\n", rng.random() < 0.7)
                self.streams += [stream] if stream is not None else []
            n = rng.choice((1, 10, 100, 1000))
            if side.error is None:
                side.feed(octets[:n])
            octets = octets[n:]
            for _ in range(rng.randrange(4)):
                self.move()
            self.log += side.events()
            self.log += [side.sent(), side.rest, side.conn.ending, side.conn.reading(), side.conn.active]
        self.log += [side.conn.receive_eof(), side.conn.ending, repr(side.error), side.conn.keep_alive_timeout]
        return self.log + side.events()


def main() -> None:
    plain = [module.__name__ for module in MODULES if str(module.__file__).endswith(".py")]
    assert len(plain) in (0, len(MODULES)), f"half of it is plain: {plain}"
    print("plain" if plain else "compiled")
    rng = random.Random(23)
    for round_ in range(300):
        lines = repr([Play(rng, client).play() for client in (False, True)])
        print(round_, hashlib.sha256(lines.encode()).hexdigest()[:16], lines[:4000])


if __name__ == "__main__":
    main()
