from __future__ import annotations

import pytest

from mesh.wire.errors import Malformed
from mesh.wire.h1_parse import Message, message_at, trailers_at
from mesh.wire.hpack import Block

REQUEST, RESPONSE = 0, 1
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def read(role: int, text: bytes) -> tuple[Message, Block]:
    """Start line and field lines, without the empty one; in the middle of a buffer that must not be looked at."""
    buf = bytearray(b"\x00" + text + b"\x00")
    at = first = 1
    found = -1
    while first < len(buf) - 1:
        if first > at and found < 0 and buf[first] | 0x20 in b"tg":
            found = first
        first = buf.find(b"\n", first) + 1
    block = Block.__new__(Block)
    return message_at(role, buf, at, found, len(buf) - 1, block), block


def request(text: bytes) -> tuple[Message, Block]:
    return read(REQUEST, text)


def pairs(block: Block) -> list[tuple[bytes, bytes]]:
    return [(field.name, field.value) for field in block.head.fields]


def pseudo(text: bytes) -> list[bytes]:
    """The values of :method, :protocol, :scheme, :authority, :path, as far as they are there."""
    head = request(text)[1].head
    values = (head.method, head.protocol, head.scheme, head.authority, head.path)
    return [value for value in values if value is not None]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b"GET /a?b HTTP/1.1\r\nHost: cart:80\r\n", [b"GET", b"http", b"cart:80", b"/a?b"]),
        (b"GET / HTTP/1.0\r\n", [b"GET", b"http", b"/"]),
        (b"GET / HTTP/1.1\r\nHost:\r\n", [b"GET", b"http", b"/"]),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n", [b"OPTIONS", b"http", b"a", b"*"]),
        (b"GET http://a/b HTTP/1.1\r\nHost: a\r\n", [b"GET", b"http", b"a", b"/b"]),
        (b"GET HTTPS://A:443?q HTTP/1.1\r\nHost: a:443\r\n", [b"GET", b"https", b"A:443", b"/?q"]),
        (b"GET http://a HTTP/1.1\r\nHost: a\r\n", [b"GET", b"http", b"a", b"/"]),
        (b"GET http://a HTTP/1.0\r\n", [b"GET", b"http", b"a", b"/"]),
        (b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n", [b"OPTIONS", b"http", b"a", b"*"]),
        (b"OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\n", [b"OPTIONS", b"http", b"a", b"/"]),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n", [b"CONNECT", b"a:443"]),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n", [b"CONNECT", b"a:443"]),
        (b"brew /pot HTTP/1.1\r\nHost: a\r\n", [b"brew", b"http", b"a", b"/pot"]),
        (b"GET //a HTTP/1.1\r\nHost: b\r\n", [b"GET", b"http", b"b", b"//a"]),
        (b"GET /c HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: "
         + KEY + b"\r\n", [b"CONNECT", b"websocket", b"http", b"a", b"/c"]),
    ],
)
def test_requests_that_are_taken(text: bytes, values: list[bytes]) -> None:
    for _ in range(3):  # new, memorised, recalled
        assert pseudo(text) == values


def bad(line: bytes, status: int = 400, fields: bytes = b"Host: a\r\n") -> tuple[bytes, int]:
    return line + b"\r\n" + fields, status


@pytest.mark.parametrize(
    ("text", "status"),
    [
        # request lines
        bad(b""),
        bad(b"GET"),
        bad(b"GET /"),
        bad(b"GET / "),
        bad(b"GET HTTP/1.1"),
        bad(b"GET  HTTP/1.1"),
        bad(b"GET  / HTTP/1.1"),
        bad(b"GET /  HTTP/1.1"),
        bad(b"GET / HTTP/1.1 "),
        bad(b" GET / HTTP/1.1"),
        bad(b"GET\t/ HTTP/1.1"),
        bad(b"GET /\tHTTP/1.1"),
        bad(b"GET /a b HTTP/1.1"),
        bad(b"GET /a\x00 HTTP/1.1"),
        bad(b"GET /a\x7f HTTP/1.1"),
        bad(b"GET /a\r HTTP/1.1"),
        bad(b"GET /\xe9 HTTP/1.1"),
        bad(b"GET /#a HTTP/1.1"),
        bad(b"G(T / HTTP/1.1"),
        bad(b"G\x00T / HTTP/1.1"),
        bad(b"get / HTTP/1.1", 501),
        bad(b"Post / HTTP/1.1", 501),
        bad(b"GET a HTTP/1.1"),
        bad(b"GET * HTTP/1.1"),
        bad(b"GET ** HTTP/1.1"),
        bad(b"GET a:80 HTTP/1.1"),
        bad(b"GET ftp://a/ HTTP/1.1"),
        bad(b"GET http:///x HTTP/1.1"),
        bad(b"GET http://u@a/ HTTP/1.1"),
        bad(b"GET http://a:x/ HTTP/1.1"),
        bad(b"GET http://b/ HTTP/1.1"),
        bad(b"GET http://a:80/ HTTP/1.1"),
        # versions
        bad(b"GET / HTTP/0.9", 505),
        bad(b"GET / HTTP/1.2", 505),
        bad(b"GET / HTTP/2.0", 505),
        bad(b"PRI * HTTP/2.0", 505, b""),
        bad(b"GET / HTTP/3.7", 505),
        bad(b"GET / HTTP/1.1x"),
        bad(b"GET / http/1.1"),
        bad(b"GET / HTTP/11"),
        bad(b"GET / HTTP/1,1"),
        bad(b"GET / HTTP/1.10"),
        bad(b"GET / HTTP/01.1"),
        bad(b"GET / HTTPS/1.1"),
        bad(b"GET / HTTP/x.1"),
        bad(b"GET / HTTP/1."),
        # Host
        bad(b"GET / HTTP/1.1", 400, b""),
        bad(b"GET / HTTP/1.1", 400, b"Host: a\r\nhost: a\r\n"),
        bad(b"GET / HTTP/1.0", 400, b"Host: a\r\nhost: b\r\n"),
        bad(b"GET / HTTP/1.1", 400, b"Host: a, b\r\n"),
        bad(b"GET / HTTP/1.1", 400, b"Host: a b\r\n"),
        bad(b"GET / HTTP/1.1", 400, b"Host: u@a\r\n"),
        bad(b"GET / HTTP/1.1", 400, b"Host: :80\r\n"),
        bad(b"GET / HTTP/1.1", 400, b"Host: a/b\r\n"),
        bad(b"GET / HTTP/1.0", 400, b"Host: a b\r\n"),
        bad(b"GET http://a/ HTTP/1.1", 400, b""),
        # CONNECT
        bad(b"CONNECT a HTTP/1.1"),
        bad(b"CONNECT / HTTP/1.1"),
        bad(b"CONNECT http://a:80/ HTTP/1.1"),
        bad(b"CONNECT a: HTTP/1.1"),
        bad(b"CONNECT a:443 HTTP/1.1", 400, b"Host: b:443\r\n"),
        bad(b"CONNECT a:443 HTTP/1.1", 400, b"Host: a:80\r\n"),
        bad(b"CONNECT a:443 HTTP/1.1", 400, b"Host: a\r\ncontent-length: 1\r\n"),
        bad(b"CONNECT a:443 HTTP/1.1", 400, b"Host: a\r\nTransfer-Encoding: chunked\r\n"),
        # framing
        bad(b"POST / HTTP/1.1", 400, b"Host: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n"),
        bad(b"POST / HTTP/1.1", 400, b"Host: a\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n"),
        bad(b"POST / HTTP/1.1", 400, b"Host: a\r\ntransfer-encoding: chunked, chunked\r\n"),
        bad(b"POST / HTTP/1.1", 400, b"Host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        bad(b"POST / HTTP/1.1", 400, b"Host: a\r\ntransfer-encoding: chunked, identity\r\n"),
        bad(b"POST / HTTP/1.1", 400, b"Host: a\r\ntransfer-encoding: identity, chunked\r\n"),
        bad(b"POST / HTTP/1.1", 400, b"Host: a\r\ntransfer-encoding: gzip, chunked\r\n"),
        bad(b"POST / HTTP/1.1", 400, b"Host: a\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n"),
        bad(b"POST / HTTP/1.1", 400, b"Host: a\r\ntransfer-encoding:\r\n"),
        bad(b"POST / HTTP/1.1", 501, b"Host: a\r\ntransfer-encoding: ,\r\n"),
        bad(b"POST / HTTP/1.1", 400, b"Host: a\r\ntransfer-encoding: , chunked\r\n"),
        bad(b"POST / HTTP/1.1", 400, b"Host: a\r\ntransfer-encoding:\r\ntransfer-encoding: chunked\r\n"),
        bad(b"POST / HTTP/1.1", 400, b"Host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding:\r\n"),
        bad(b"POST / HTTP/1.1", 501, b"Host: a\r\ntransfer-encoding: gzip\r\n"),
        bad(b"POST / HTTP/1.1", 501, b"Host: a\r\ntransfer-encoding: identity\r\n"),
        bad(b"POST / HTTP/1.1", 501, b"Host: a\r\ntransfer-encoding: xchunked\r\n"),
        bad(b"POST / HTTP/1.1", 501, b"Host: a\r\ntransfer-encoding: \x22chunked\x22\r\n"),
        bad(b"POST / HTTP/1.1", 501, b"Host: a\r\ntransfer-encoding: chunked;a=b\r\n"),
        bad(b"POST / HTTP/1.1", 400, b"Host: a\r\ntransfer-encoding: chunked\x0b\r\n"),
        bad(b"POST / HTTP/1.1", 400, b"Host: a\r\ntransfer-encoding : chunked\r\n"),
        bad(b"POST / HTTP/1.0", 400, b"Host: a\r\ntransfer-encoding: chunked\r\n"),
        # upgrades
        bad(b"GET / HTTP/1.1", 400, b"Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"),
        bad(b"GET / HTTP/1.1", 400,
            b"Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n"),
        bad(b"GET / HTTP/1.1", 400, b"Host: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n"),
        bad(b"GET / HTTP/1.1", 400, b"Host: a\r\nConnection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n"),
        # sizes
        bad(b"GET / HTTP/1.1", 431, b"Host: a\r\nx: " + b"v" * 65_500 + b"\r\n"),
    ],
)
def test_requests_that_are_refused(text: bytes, status: int) -> None:
    for _ in range(3):  # nothing of it is memorised
        with pytest.raises(Malformed) as info:
            request(text)
        assert info.value.status == status


@pytest.mark.parametrize(
    "fields",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        b"Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n",
        b"Connection: upgrade\r\nUpgrade: TLS/1.2\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket, x\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: x\r\n",
        b"Connection: upgrade\r\nUpgrade: \r\n",
        b"Upgrade: websocket\r\n",
        b"Connection: close\r\nUpgrade: websocket\r\n",
    ],
)
def test_upgrades_that_are_not_heard(fields: bytes) -> None:
    message, block = request(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields)
    assert not message.tunnel
    assert pairs(block) == [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]


def test_only_get_upgrades_and_not_in_http_1_0() -> None:
    fields = b"Host: a\r\nConnection: upgrade\r\nUpgrade: x\r\n"
    assert request(b"GET / HTTP/1.1\r\n" + fields)[0].tunnel
    assert not request(b"POST / HTTP/1.1\r\n" + fields)[0].tunnel
    assert not request(b"GET / HTTP/1.0\r\n" + fields)[0].tunnel


def test_a_websocket_handshake() -> None:
    message, block = request(
        b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n"
        b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n")
    assert message.tunnel
    assert message.key == KEY
    assert block.head.request_problem is None
    assert pairs(block)[5:] == [
        (b"sec-websocket-key", KEY), (b"sec-websocket-version", b"13"), (b"sec-websocket-protocol", b"chat")]


@pytest.mark.parametrize(
    ("text", "persistent", "chunked", "length", "expects"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n", True, False, -1, False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", False, False, -1, False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, CLOSE\r\n", False, False, -1, False),
        (b"GET / HTTP/1.0\r\n", False, False, -1, False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", True, False, -1, False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n", False, False, -1, False),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n", True, False, 7, False),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n", True, True, -1, False),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nExpect: 100-continue\r\n", True, False, 7, True),
        (b"POST / HTTP/1.0\r\nContent-Length: 7\r\nExpect: 100-continue\r\n", False, False, 7, False),
    ],
)
def test_what_a_request_says_of_content_and_connection(
    text: bytes, persistent: bool, chunked: bool, length: int, expects: bool
) -> None:
    for _ in range(3):
        message, block = request(text)
        assert (message.persistent, message.chunked, message.length, message.expects) == (
            persistent, chunked, length, expects)
        assert ((b"expect", b"100-continue") in pairs(block)) is expects


def test_equal_heads_are_one_message_and_what_changes_per_call_is_apart() -> None:
    seen = set()
    for i in range(4):
        message, block = request(
            b"POST /same HTTP/1.1\r\nHost: cart\r\nContent-Length: 5\r\nTraceParent:  tp-%d \r\ngrpc-timeout: %dm\r\n"
            b"tracestate: a=%d\r\nTraceState: b=%d\r\n" % (i, i, i, i))
        if i:
            seen.add(id(message))
        assert block.head is message.head
        assert (block.traceparent, block.grpc_timeout) == (b"tp-%d" % i, b"%dm" % i)
        assert block.tracestate == b"a=%d,b=%d" % (i, i)
        assert pairs(block)[4:] == [(b"content-length", b"5")]
    assert len(seen) == 1


def test_per_call_lines_may_stand_between_others() -> None:
    heads = set()
    for i in range(4):
        message, block = request(
            b"GET /between HTTP/1.1\r\nAccept: */*\r\ntraceparent: tp-%d\r\nHost: cart\r\nTe: trailers\r\n"
            b"Grpc-Timeout: 1S\r\nGarlic: 1\r\nx: y\r\n" % i)
        assert (block.traceparent, block.grpc_timeout, block.tracestate) == (b"tp-%d" % i, b"1S", None)
        assert pairs(block)[4:] == [(b"accept", b"*/*"), (b"garlic", b"1"), (b"x", b"y"), (b"te", b"trailers")]
        heads.add(id(message.head))
    assert len(heads) == 2  # the one before it was seen twice, and the memorised one


def test_a_head_is_what_its_octets_say_though_another_has_the_same_rest() -> None:
    for text, path in ((b"GET /1", b"/1"), (b"GET /2", b"/2")) * 3:
        assert request(text + b" HTTP/1.1\r\nHost: a\r\ntraceparent: x\r\n")[1].head.path == path


@pytest.mark.parametrize(("option", "left"), [
    (b"traceparent", (None, b"s", b"1S")), (b"tracestate", (b"p", None, b"1S")), (b"Grpc-Timeout", (b"p", b"s", None))])
def test_connection_may_name_per_call_fields(option: bytes, left: tuple[bytes | None, ...]) -> None:
    for _ in range(3):
        block = request(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: " + option
                        + b"\r\ntraceparent: p\r\ntracestate: s\r\ngrpc-timeout: 1S\r\n")[1]
        assert (block.traceparent, block.tracestate, block.grpc_timeout) == left


@pytest.mark.parametrize("line", [b"traceparent: a\x00", b"traceparent : a", b"grpc-timeout\t: 1S", b"tracestate: a\rb",
                                  b"traceparent: a\r\n b"])
def test_per_call_lines_are_judged_like_others(line: bytes) -> None:
    for _ in range(3):
        with pytest.raises(Malformed):
            request(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n")


def test_long_heads_are_read_and_not_memorised() -> None:
    lines = b"".join(b"t%03d: %s\r\n" % (i, b"v" * 60) for i in range(90))
    for _ in range(3):
        block = request(b"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: tp\r\n" + lines)[1]
        assert len(pairs(block)) == 94
        assert block.traceparent == b"tp"


# -- responses


@pytest.mark.parametrize(
    ("text", "status", "persistent", "chunked", "length"),
    [
        (b"HTTP/1.1 200 OK\r\n", 200, True, False, -1),
        (b"HTTP/1.1 200 \r\n", 200, True, False, -1),
        (b"HTTP/1.1 200\r\n", 200, True, False, -1),
        (b"HTTP/1.1 404 \xe9 a\tb\r\nContent-Length: 3\r\n", 404, True, False, 3),
        (b"HTTP/1.1 999 x\r\nTransfer-Encoding: chunked\r\n", 999, True, True, -1),
        (b"HTTP/1.0 200 OK\r\n", 200, False, False, -1),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", 200, True, False, -1),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", 200, False, False, -1),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n", 204, True, False, -1),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n", 103, True, False, -1),
    ],
)
def test_responses_that_are_taken(text: bytes, status: int, persistent: bool, chunked: bool, length: int) -> None:
    for _ in range(3):
        message, block = read(RESPONSE, text)
        assert block.head.status == status
        assert (message.persistent, message.chunked, message.length) == (persistent, chunked, length)
        assert message.switched is None


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1\r\n", b"HTTP/1.1 \r\n", b"HTTP/1.1 20\r\n", b"HTTP/1.1 2000 OK\r\n", b"HTTP/1.1  200 OK\r\n",
        b"HTTP/1.1 200\tOK\r\n", b"HTTP/1.1 2x0 OK\r\n", b"HTTP/1.1 099 OK\r\n", b"HTTP/1.1 +20 OK\r\n",
        b"HTTP/2.0 200 OK\r\n", b"HTTP/1.2 200 OK\r\n", b"HTTP/0.9 200 OK\r\n", b"http/1.1 200 OK\r\n",
        b"ICY 200 OK\r\n", b" HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 O\x00K\r\n", b"HTTP/1.1 200 O\rK\r\n",
        b"HTTP/1.1 200 O\x7fK\r\n",
        b"HTTP/1.1 200 OK\r\n x: y\r\n", b"HTTP/1.1 200 OK\r\nx : y\r\n", b"HTTP/1.1 200 OK\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n",
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 1\r\n",
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n",
        b"HTTP/1.1 100 Continue\r\ncontent-length: 1\r\n", b"HTTP/1.1 101 x\r\ntransfer-encoding: chunked\r\n",
    ],
)
def test_responses_that_are_refused(text: bytes) -> None:
    for _ in range(3):
        with pytest.raises(Malformed):
            read(RESPONSE, text)


@pytest.mark.parametrize(
    ("fields", "switched"),
    [(b"Upgrade: WebSocket\r\nConnection: Upgrade\r\n", b"websocket"), (b"Upgrade: websocket\r\n", b""),
     (b"Connection: upgrade\r\n", b""), (b"Upgrade: a, b\r\nConnection: upgrade\r\n", b"a,b")],
)
def test_a_101_is_a_200_that_says_what_it_switched_to(fields: bytes, switched: bytes) -> None:
    message, block = read(RESPONSE, b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"x: y\r\n")
    assert message.switched == switched
    assert pairs(block) == [(b":status", b"200"), (b"x", b"y")]


def test_keep_alive_of_a_response() -> None:
    assert read(RESPONSE, b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\n")[0].keep_alive == 5


def test_the_same_octets_mean_something_else_in_the_other_role() -> None:
    for _ in range(3):
        request(b"GET / HTTP/1.1\r\nHost: a\r\n")
        with pytest.raises(Malformed):
            read(RESPONSE, b"GET / HTTP/1.1\r\nHost: a\r\n")


# -- trailers


def test_trailers() -> None:
    text = bytearray(b"X-Sum: 1\r\nTraceparent: tp\r\nTe: x\r\n\r\n")
    block = Block.__new__(Block)
    trailers_at(text, 0, 10, len(text) - 2, block)
    assert pairs(block) == [(b"x-sum", b"1")]
    assert block.traceparent == b"tp"
    assert block.head.trailers_problem is None


def test_an_expectation_is_a_request_s_and_means_nothing_elsewhere() -> None:
    for value in (b"200-ok", b"100-continue, x", b""):
        with pytest.raises(Malformed) as info:
            request(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: " + value + b"\r\n")
        assert info.value.status == 417
        _, block = request(b"POST / HTTP/1.0\r\nHost: a\r\nExpect: " + value + b"\r\n")
        assert b"expect" not in dict(pairs(block))
        _, block = read(RESPONSE, b"HTTP/1.1 200 OK\r\nExpect: " + value + b"\r\n")
        assert (b"expect", value) in pairs(block)
