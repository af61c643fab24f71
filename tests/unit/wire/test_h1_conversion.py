"""From HTTP/2 to HTTP/1.1 and back: what can be said in both means the same in both, the rest is not begun."""

from __future__ import annotations

from typing import Any

import pytest
from h1_peer import Side, head, request, response, told
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mesh.wire.errors import StreamStateError
from mesh.wire.h1_parse import message_at
from mesh.wire.h1_write import form_of
from mesh.wire.hpack import Block, Decoder, Encoder, Head, literal, make_head

Pairs = list[tuple[bytes, bytes]]
TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
# What the mesh's parsers give a meaning to; each has its own tests.
MEANT = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings", b"te",
         b"host", b"content-length", b"content_length", b"transfer_encoding", b"expect", b"cookie", b"traceparent",
         b"tracestate", b"grpc-timeout", b"sec-websocket-key"}
names = st.text(TOKEN, min_size=1, max_size=80).map(str.encode).filter(lambda name: name not in MEANT)
values = st.binary(max_size=300).map(
    lambda value: bytes(octet for octet in value if octet == 9 or (octet >= 0x20 and octet != 0x7F)).strip(b" \t"))
fields = st.lists(st.tuples(names, values), max_size=8)
paths = st.text("abc/?&=%20.,;:@!$'()*+|\"<>\\^`{}~", max_size=300).map(lambda text: b"/" + text.encode())
methods = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"PROPFIND", b"x"])
authorities = st.sampled_from([b"cart", b"cart:8080", b"[::1]:1", b"a.b-c_d", b"CART"])


def pairs(section: Head) -> Pairs:
    return [(field.name, field.value) for field in section.fields]


def by_name(section: Pairs) -> Pairs:
    """Pseudo-header fields sorted, the others as they are."""
    pseudo = sorted(field for field in section if field[0].startswith(b":"))
    return pseudo + [field for field in section if not field[0].startswith(b":")]


def over_http2(section: Head, extra: bytes = b"") -> Block:
    block = bytearray(Encoder().encode(section) + extra)
    return Decoder().decode(block, 0, len(block))


def over_http1(section: Head, extra: bytes = b"", end: bool = True) -> Pairs:
    """The section as the server is told of it."""
    client, server = Side(client=True), Side()
    client.conn.request(None, section, extra, end)
    server.feed(client.sent())
    assert server.error is None
    [event] = server.events()
    assert event[3] is end or section.method == b"CONNECT"
    return list(event[2])


@pytest.mark.slow
@settings(derandomize=True, max_examples=100, deadline=None)
@given(methods, authorities, paths, fields)
@example(b"GET", b"cart", b"/", [(b"x", b"")])
@example(b"GET", b"cart", b"/" + b"x" * 200, [(b"y" * 64, b"z" * 240)])
def test_requests_there_and_back(method: bytes, authority: bytes, path: bytes, more: Pairs) -> None:
    section = [(b":method", method), (b":scheme", b"http"), (b":authority", authority), (b":path", path), *more]
    received = over_http2(make_head(section)).head
    assert received.request_problem is None
    there = over_http1(received)
    assert by_name([field for field in there if field != (b"content-length", b"0")]) == by_name(section)
    back = over_http2(make_head(there)).head
    assert back.request_problem is None
    assert over_http1(back) == there


@pytest.mark.slow
@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.integers(200, 999), fields)
def test_responses_there_and_back(status: int, more: Pairs) -> None:
    section = [(b":status", b"%d" % status), *more]
    received = over_http2(make_head(section)).head
    client, server = Side(client=True), Side()
    client.conn.request(None, request(), b"", True)
    server.feed(client.sent())
    server.answer(received, None if status in (204, 304) else b"")
    client.feed(server.sent())
    event = client.events()[0]
    assert list(event[2]) == section
    assert over_http2(make_head(event[2])).head.response_problem is None


@pytest.mark.slow
@settings(derandomize=True, max_examples=100, deadline=None)
@given(fields.filter(bool))
def test_trailers_there_and_back(more: Pairs) -> None:
    more = [(b"x-" + name, value) for name, value in more]
    received = over_http2(make_head(more)).head
    client, server = Side(client=True), Side()
    stream = client.conn.request(None, request(b"POST"), b"", False)
    client.conn.send_head(stream, received, b"", True)
    server.feed(client.sent())
    assert list(told(server.events())[-1][2]) == more


printable = st.text("".join(map(chr, range(256))), max_size=12).map(lambda text: text.encode("latin-1"))


@pytest.mark.slow
@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.one_of(methods, printable), st.one_of(authorities, printable), st.one_of(paths, printable),
       st.one_of(names, printable), st.one_of(values, printable))
def test_nothing_that_came_over_http2_is_more_than_one_request(
    method: bytes, authority: bytes, path: bytes, name: bytes, value: bytes
) -> None:
    """Either it is refused before an octet is written, or the other side is told of this one request."""
    section = [(b":method", method), (b":scheme", b"http"), (b":authority", authority), (b":path", path), (name, value)]
    received = over_http2(make_head(section)).head
    client, server = Side(client=True), Side()
    try:
        client.conn.request(None, received, b"", True)
    except StreamStateError:
        assert client.sent() == b""
        return
    assert received.request_problem is None
    server.feed(client.sent())
    assert server.error is None
    [event] = server.events()
    assert dict(event[2])[b":path"] == path
    assert dict(event[2])[b":method"] == method
    assert server.rest == b""


DOWNGRADES: list[Pairs] = [
    [(b"transfer-encoding", b"chunked")],
    [(b"transfer-encoding", b"chunked"), (b"content-length", b"0")],
    [(b"content-length", b"0\r\nx: y")],
    [(b"content-length", b"1"), (b"content-length", b"2")],
    [(b"x", b"y\r\ntransfer-encoding: chunked")],
    [(b"x", b"y\ntransfer-encoding: chunked")],
    [(b"x", b"y\rz")],
    [(b"x: y\r\ntransfer-encoding", b"chunked")],
    [(b"x:y", b"z")],
    [(b"host", b"other")],
    [(b"host", b"cart"), (b"host", b"cart")],
    [(b"connection", b"transfer-encoding")],
    [(b"upgrade", b"h2c")],
    [(b"te", b"chunked")],
]


@pytest.mark.parametrize("more", DOWNGRADES)
def test_downgrades_that_smuggle_are_not_begun(more: Pairs) -> None:
    received = over_http2(make_head(pairs(request(b"POST")) + more)).head
    side = Side(client=True)
    with pytest.raises(StreamStateError):
        side.conn.request(None, received, b"", False)
    assert side.sent() == b""
    assert side.conn.can_open()


@pytest.mark.parametrize(("name", "value"), [
    (b":path", b"/ HTTP/1.1\r\nx: y\r\n\r\nGET /admin"), (b":path", b"/\tx"), (b":path", b"/ x"), (b":path", b"x"),
    (b":method", b"GET / HTTP/1.1\r\n\r\n"), (b":method", b"GET "), (b":method", b"get"),
    (b":authority", b"cart\r\nx: y"), (b":authority", b"cart "), (b":authority", b"u:p@cart"), (b":authority", b"a,b"),
    (b":authority", b"cart/x"), (b":authority", b"cart?x"),
])
def test_control_data_that_smuggles_is_not_begun(name: bytes, value: bytes) -> None:
    section = [(key, value if key == name else old) for key, old in pairs(request())]
    side = Side(client=True)
    with pytest.raises(StreamStateError):
        side.conn.request(None, over_http2(make_head(section)).head, b"", True)
    assert side.sent() == b""


def test_what_differs_per_call_stays_apart_on_both_ways() -> None:
    section = request(b"GET", b"/per-call")
    heads: list[Any] = []
    for i in range(3):
        block = over_http2(section, literal(b"traceparent", b"tp%d" % i) + literal(b"grpc-timeout", b"%dm" % i))
        client = Side(client=True)
        extra = client.conn.field(b"traceparent", block.traceparent) + client.conn.field(b"grpc-timeout",
                                                                                       block.grpc_timeout)
        client.conn.request(None, block.head, extra, True)
        text = bytearray(client.sent())
        again = Block.__new__(Block)
        message_at(0, text, 0, text.index(b"traceparent"), len(text) - 2, again)
        assert (again.traceparent, again.tracestate, again.grpc_timeout) == (b"tp%d" % i, None, b"%dm" % i)
        heads.append(again.head)
    assert heads[1] is heads[2]
    assert form_of(heads[1]).start == b"GET /per-call HTTP/1.1\r\nhost: cart\r\n"


def test_crumbs_of_a_cookie_are_one_line_and_stay_one() -> None:
    there = over_http1(request(b"GET", b"/", (b"cookie", b"a=1"), (b"cookie", b"b=2")))
    assert there[4:] == [(b"cookie", b"a=1; b=2")]


def test_a_websocket_by_both_protocols() -> None:
    """H1 caller, an extended CONNECT between two sidecars, H1 app: the key and its answer pass through."""
    caller, app = Side(), Side()
    middle = Side(client=True)
    caller.feed(b"GET /c HTTP/1.1\r\nHost: cart\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\n\r\n")
    [event] = caller.events()
    between = over_http2(make_head(event[2])).head
    assert between.request_problem is None
    assert between.protocol == b"websocket"
    middle.conn.request(None, between, b"", False)
    app.feed(middle.sent())
    assert by_name(list(app.events()[0][2])) == by_name(list(event[2]))
    app.conn.send_head(app.stream(), response(200), b"", False)
    middle.feed(app.sent())
    answer = over_http2(make_head(middle.events()[0][2])).head
    assert pairs(answer) == [(b":status", b"200"), (b"sec-websocket-accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")]
    caller.conn.send_head(caller.stream(), answer, b"", False)
    assert caller.sent() == (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                             b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")


def test_a_plain_connect_by_both_protocols() -> None:
    section = head((b":method", b"CONNECT"), (b":authority", b"db:5432"))
    assert over_http1(over_http2(section).head, end=False) == [(b":method", b"CONNECT"), (b":authority", b"db:5432")]
