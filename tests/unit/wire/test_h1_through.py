"""A caller and an app, both h11, with both roles of our codec between them: what one says, the other hears."""

from __future__ import annotations

import random
from typing import Any

import h11
import pytest
from h1_peer import Side

from mesh.wire.codec import Stream
from mesh.wire.hpack import make_head

Event = tuple[Any, ...]


class Proxy:
    """Our two connections; what one is told, the other sends on. Output is cut at random."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.down = Side()
        self.up = Side(client=True)
        self.asking: Stream | None = None
        self.asked: Stream | None = None
        self.down.log.hook = self.from_caller
        self.up.log.hook = self.from_app

    def from_caller(self, event: Event, stream: Stream) -> None:
        conn = self.up.conn
        if event[0] == "headers" and self.asking is not stream:
            self.asking = stream
            self.asked = conn.request(None, make_head(event[2]), b"", event[3])
        elif event[0] == "headers":
            conn.send_head(self.asked, make_head(event[2]), b"", True)
        elif event[0] == "data":
            conn.send_data(self.asked, event[2], 0, len(event[2]), event[3])

    def from_app(self, event: Event, stream: Stream) -> None:
        conn = self.down.conn
        if event[0] == "headers":
            conn.send_head(self.asking, make_head(event[2]), b"", event[3])
        elif event[0] == "data":
            conn.send_data(self.asking, event[2], 0, len(event[2]), event[3])

    def carry(self, side: Side, octets: bytes) -> None:
        while octets:
            n = self.rng.choice((1, 7, 100, 5000))
            side.feed(octets[:n])
            assert side.error is None
            octets = octets[n:]

    def turn(self, caller: h11.Connection, app: h11.Connection, octets: bytes) -> list[Any]:
        """Carry `octets` of the caller to the app; what the app is told."""
        self.carry(self.down, octets)
        app.receive_data(self.up.sent())
        return told(app)

    def answer(self, caller: h11.Connection, octets: bytes, ends: bool) -> list[Any]:
        """Carry `octets` of the app to the caller (`ends`: and the end of the connection); what the caller is told."""
        self.carry(self.up, octets)
        if ends:
            self.up.conn.receive_eof()
        caller.receive_data(self.down.sent())
        if self.down.conn.ending:
            caller.receive_data(b"")
        return told(caller)


def told(conn: h11.Connection) -> list[Any]:
    """What h11 tells, as plain values; data joined."""
    found: list[Any] = []
    while True:
        event = conn.next_event()
        match event:
            case h11.Request():
                found.append((event.method, event.target, sorted(event.headers)))
            case h11.Response() | h11.InformationalResponse():
                found.append((event.status_code, sorted(event.headers)))
            case h11.Data():
                if found and isinstance(found[-1], bytes):
                    found[-1] += bytes(event.data)
                else:
                    found.append(bytes(event.data))
            case h11.EndOfMessage():
                found.append(sorted(event.headers))
                return found
            case _:
                return found


def said(conn: h11.Connection, *events: Any) -> bytes:
    return b"".join(conn.send(event) or b"" for event in events)


def without(fields: list[Any], *names: bytes) -> list[Any]:
    return [field for field in fields if field[0] not in names]


BODIES = [b"", b"x", b"hello" * 20, bytes(range(256)) * 40]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_what_one_says_the_other_hears(seed: int) -> None:
    rng = random.Random(seed)
    proxy, caller, app = Proxy(rng), h11.Connection(h11.CLIENT), h11.Connection(h11.SERVER)
    for turn in range(30):
        method = rng.choice([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE"])
        body = rng.choice(BODIES) if method in (b"POST", b"PUT") else b""
        trailers = [(b"x-sum", b"1")] if body and rng.random() < 0.3 else []
        fields = [(b"host", b"cart"), (b"x-turn", b"%d" % turn), (b"cookie", b"a; b")]
        if body and not trailers and rng.random() < 0.5:
            framing = [(b"content-length", b"%d" % len(body))]
        else:
            framing = [(b"transfer-encoding", b"chunked")] if body else []
        octets = said(caller, h11.Request(method=method, target=b"/t?%d" % turn, headers=fields + framing),
                      *([h11.Data(data=body)] if body else []), h11.EndOfMessage(headers=trailers))
        heard = proxy.turn(caller, app, octets)
        assert heard[0][:2] == (method, b"/t?%d" % turn)
        assert without(heard[0][2], b"transfer-encoding", b"content-length") == sorted(fields)
        assert heard[1:] == ([body] if body else []) + [trailers]

        if rng.random() < 0.2:
            early = h11.InformationalResponse(status_code=103, headers=[(b"l", b"x")])
            [interim] = proxy.answer(caller, said(app, early), False)
            assert interim == (103, [(b"l", b"x")])
        status = rng.choice([200, 200, 404, 500, 204, 304])
        content = b"" if status in (204, 304) or method == b"HEAD" else rng.choice(BODIES)
        ends = turn == 29
        how = rng.choice([b"content-length", b"transfer-encoding"]) if not ends else b""
        answer: list[tuple[bytes, bytes]] = [(b"x-turn", b"%d" % turn), (b"set-cookie", b"a"), (b"set-cookie", b"b")]
        if ends:
            status, answer = 200, [*answer, (b"connection", b"close")]
            content = b"" if method == b"HEAD" else b"until the end"
        elif status not in (204, 304):
            answer.append((how, b"chunked" if how == b"transfer-encoding" else b"%d" % len(content)))
        after = [(b"x-late", b"2")] if how == b"transfer-encoding" and content and rng.random() < 0.5 else []
        octets = said(app, h11.Response(status_code=status, headers=answer),
                      *([h11.Data(data=content)] if content else []), h11.EndOfMessage(headers=after))
        heard = proxy.answer(caller, octets, ends)
        assert heard[0][0] == status
        assert (without(heard[0][1], b"transfer-encoding", b"content-length", b"connection")
                == without(sorted(answer), b"transfer-encoding", b"content-length", b"connection"))
        assert heard[1:] == ([content] if content else []) + [after]
        if not ends:
            assert proxy.up.conn.can_open()
            assert proxy.down.conn.ending == 0
            caller.start_next_cycle()
            app.start_next_cycle()
    assert not proxy.up.conn.can_open()


@pytest.mark.parametrize("cut", [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
                                 b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"])
def test_half_an_answer_is_never_a_whole_one(cut: bytes) -> None:
    proxy, caller = Proxy(random.Random(1)), h11.Connection(h11.CLIENT)
    octets = said(caller, h11.Request(method=b"GET", target=b"/", headers=[(b"host", b"a")]), h11.EndOfMessage())
    proxy.carry(proxy.down, octets)
    proxy.carry(proxy.up, cut)
    assert proxy.up.conn.receive_eof() is False
    assert proxy.up.conn.active == 1  # the shell tells that the connection is lost; the exchange then resets:
    proxy.down.conn.reset(proxy.down.stream(), 2)
    assert proxy.down.conn.ending == 2
    caller.receive_data(proxy.down.sent())
    assert told(caller)[-1] == b"half"
    caller.receive_data(b"")
    with pytest.raises(h11.RemoteProtocolError):
        caller.next_event()
