"""Malformed messages and other errors that cost one stream (RFC 9113, sections 5.4.2 and 8.1.1)."""

from __future__ import annotations

import pytest
from h2_peer import (
    PADDED,
    PREFACE,
    PRIORITIZED,
    REQUEST,
    RESPONSE,
    TRAILERS,
    Side,
    block,
    data,
    frame,
    headers,
    settings,
    window_update,
)

from mesh.wire.hpack import make_head
from mesh.wire.limits import Settings

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM = 1, 3, 5, 6, 7
CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 8, 9, 11
GET = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"))
BLOCK = block(REQUEST)

BAD_REQUESTS = {
    "no method": REQUEST[1:],
    "upper case": (*REQUEST, (b"X-Y", b"1")),
    "connection": (*REQUEST, (b"connection", b"close")),
    "te": (*REQUEST, (b"te", b"gzip")),
    "line break": (*REQUEST, (b"a", b"b\r\nc: d")),
    "status": (*REQUEST, (b":status", b"200")),
    "pseudo after regular": ((b"a", b"b"), *REQUEST),
    "empty path": (*GET[:2], (b":path", b"")),
    "extended connect": ((b":method", b"CONNECT"), (b":protocol", b"websocket"), *REQUEST[1:]),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_malformed_requests(name: str) -> None:
    side = Side()
    for stream_id in (1, 3, 5):
        side.feed(headers(stream_id, BAD_REQUESTS[name], stream_id == 3))
        assert side.resets() == [(stream_id, PROTOCOL_ERROR)]
        side.feed(data(stream_id, b"what was under way") if stream_id != 3 else b"")
    assert side.events() == []
    assert side.conn.active == 0
    side.feed(headers(7))
    assert side.events() == [("headers", 7, REQUEST, False)]


def test_extended_connect_where_it_was_announced() -> None:
    side = Side(settings_=Settings(connect_protocol=True), fresh=True)
    side.conn.start()
    assert (8, 1) in [
        (int.from_bytes(payload[i : i + 2], "big"), int.from_bytes(payload[i + 2 : i + 6], "big"))
        for kind, _, _, payload in side.sent()[:1]
        for i in range(0, len(payload), 6)
    ]
    side.feed(PREFACE + settings() + headers(1, BAD_REQUESTS["extended connect"]))
    assert side.events()[-1][0] == "headers"


STREAM_ERRORS = {
    "window update of 0": (window_update(1, 0), PROTOCOL_ERROR),
    "window overflow": (window_update(1, 2**31 - 1), FLOW_CONTROL_ERROR),
    "data past the stream's window": (
        b"".join(data(1, bytes(16_384)) for _ in range(16)) + data(1, b"x"),
        FLOW_CONTROL_ERROR,
    ),
    "headers that don't end the stream": (headers(1, TRAILERS), PROTOCOL_ERROR),
    "a request for trailers": (headers(1, REQUEST, True), PROTOCOL_ERROR),
    "malformed trailers": (headers(1, [(b"A", b"b")], True), PROTOCOL_ERROR),
    "priority of 6 octets": (frame("PRIORITY", 0, 1, bytes(6)), FRAME_SIZE_ERROR),
    "priority on itself": (frame("PRIORITY", 0, 1, b"\0\0\0\1\0"), PROTOCOL_ERROR),
    "data after the end": (data(1, b"", True) + data(1, b"x"), STREAM_CLOSED),
    "headers after the end": (data(1, b"", True) + headers(1, TRAILERS, True), STREAM_CLOSED),
    "trailers depend on themselves": (
        frame("HEADERS", 5 | PRIORITIZED, 1, b"\0\0\0\1\0" + block(TRAILERS)),
        PROTOCOL_ERROR,
    ),
}


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_stream_errors(name: str) -> None:
    octets, code = STREAM_ERRORS[name]
    side = Side(auto_release=False)
    side.feed(headers(1) + headers(3))
    stream = side.stream(1)
    side.feed(octets)
    assert side.resets() == [(1, code)]
    assert side.events()[-1] == ("reset", 1, code, False)
    assert stream.closed
    assert [each.id for each in side.conn.all_streams()] == [3]
    side.feed(data(1, b"late") + data(3, b"x"))
    assert side.events() == [("data", 3, b"x", False)]


def test_a_request_that_depends_on_itself() -> None:
    side = Side()
    side.feed(frame("HEADERS", 5 | PRIORITIZED, 1, b"\x80\0\0\1\0" + BLOCK))
    assert side.resets() == [(1, PROTOCOL_ERROR)]
    side.feed(frame("HEADERS", 5 | PRIORITIZED | PADDED, 3, b"\2\0\0\0\1\xff" + BLOCK + b"\0\0"))
    assert side.events() == [("headers", 3, REQUEST, True)]


CLIENT_STREAM_ERRORS = {
    "data before the response": data(1, b"x"),
    "an interim response that ends": headers(1, [(b":status", b"103")], True),
    "no status": headers(1, [(b"a", b"b")]),
    "trailers first": headers(1, TRAILERS, True),
    "switching protocols": headers(1, [(b":status", b"101")]),
    "an interim response after the response": headers(1, RESPONSE) + headers(1, [(b":status", b"103")]),
    "an interim response with a content-length": headers(1, [(b":status", b"100"), (b"content-length", b"0")]),
    "no content, and a promise of it": headers(1, [(b":status", b"204"), (b"content-length", b"3")]),
    "two responses": headers(1, RESPONSE) + headers(1, RESPONSE),
    "trailers that don't end": headers(1, RESPONSE) + headers(1, TRAILERS),
    "a request": headers(1, REQUEST, True),
    "less than promised": headers(1, (*RESPONSE, (b"content-length", b"3"))) + data(1, b"ab", True),
    "more than promised": headers(1, (*RESPONSE, (b"content-length", b"3"))) + data(1, b"abcd"),
    "trailers before the promise is kept": headers(1, (*RESPONSE, (b"content-length", b"3")))
    + headers(1, TRAILERS, True),
    "nothing of what was promised": headers(1, (*RESPONSE, (b"content-length", b"3")), True),
}


@pytest.mark.parametrize("name", CLIENT_STREAM_ERRORS)
def test_malformed_responses(name: str) -> None:
    side = Side(client=True)
    stream = side.open()
    side.feed(CLIENT_STREAM_ERRORS[name])
    assert side.resets() == [(1, PROTOCOL_ERROR)]
    assert side.events()[-1] == ("reset", 1, PROTOCOL_ERROR, False)
    assert stream.closed
    side.feed(headers(1, RESPONSE, True) + data(1, b"late"))
    assert side.events() == []


@pytest.mark.parametrize(
    ("fields", "head"),
    [
        ([(b":status", b"200"), (b"content-length", b"3")], True),
        ([(b":status", b"304"), (b"content-length", b"3")], False),
        ([(b":status", b"200"), (b"content-length", b"0")], False),
        ([(b":status", b"204")], False),
        ([(b":status", b"204"), (b"content-length", b"0")], False),
    ],
)
def test_responses_without_content(fields: list[tuple[bytes, bytes]], head: bool) -> None:
    side = Side(client=True)
    side.open(head=head)
    side.open(head=head)
    side.open(head=head)
    side.feed(headers(1, fields, True))
    assert side.events() == [("headers", 1, tuple(fields), True)]
    side.feed(headers(3, fields) + data(3, b"", True))
    assert side.events() == [("headers", 3, tuple(fields), False), ("data", 3, b"", True)]
    side.feed(headers(5, fields) + data(5, b"x", True))
    assert side.resets() == [(5, PROTOCOL_ERROR)], "octets that an HTTP/1.1 peer would take for the next response"


CONNECT = ((b":method", b"CONNECT"), (b":authority", b"cart:80"))


@pytest.mark.parametrize("fields", [CONNECT, BAD_REQUESTS["extended connect"]])
def test_in_a_tunnel_there_is_only_data(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    """RFC 9113, section 8.5: HEADERS on it are a stream error, trailers too."""
    server = Side(settings_=Settings(connect_protocol=True))
    server.feed(headers(1, fields) + headers(3, fields) + headers(5, fields))
    for stream_id, status in ((1, b"200"), (3, b"403")):
        server.conn.send_head(server.stream(stream_id), make_head([(b":status", status)]), b"", False)
    assert [server.stream(stream_id).tunnel for stream_id in (1, 3, 5)] == [2, 1, 1]
    server.feed(data(1, b"any") + data(1, b"thing") + headers(3, TRAILERS, True))
    assert server.resets() == []
    server.feed(headers(1, TRAILERS, True))
    assert server.resets() == [(1, PROTOCOL_ERROR)]


@pytest.mark.parametrize(("status", "fatal"), [(b"200", True), (b"299", True), (b"403", False)])
def test_the_callers_end_of_a_tunnel(status: bytes, fatal: bool) -> None:
    side = Side(client=True)
    side.feed(settings((8, 1)))
    side.conn.request(None, make_head(list(CONNECT)), b"", False)
    side.conn.request(None, make_head(list(BAD_REQUESTS["extended connect"])), b"", False)
    side.sent()
    for stream_id in (1, 3):
        side.feed(headers(stream_id, [(b":status", b"103")]) + headers(stream_id, [(b":status", status)]))
        side.feed(data(stream_id, b"x") + headers(stream_id, TRAILERS, True))
        assert side.resets() == ([(stream_id, PROTOCOL_ERROR)] if fatal else [])


def test_content_length_says_nothing_about_a_tunnel() -> None:
    side = Side(client=True)
    side.conn.request(None, make_head(list(CONNECT)), b"", False)
    side.feed(headers(1, [(b":status", b"200"), (b"content-length", b"3")]) + data(1, b"as much as you like", True))
    assert side.events()[-1] == ("data", 1, b"as much as you like", True)


@pytest.mark.parametrize(
    ("promised", "octets", "fits"),
    [
        (b"3", data(1, b"abc", True), True),
        (b"3", data(1, b"ab") + data(1, b"c") + data(1, b"", True), True),
        (b"0", data(1, b"", True), True),
        (b"3", data(1, b"ab", True), False),
        (b"3", data(1, b"abcd"), False),
        (b"3", data(1, b"", True), False),
        (b"3", data(1, b"abc") + headers(1, TRAILERS, True), True),
        (b"3", data(1, b"ab") + headers(1, TRAILERS, True), False),
    ],
)
def test_content_length_of_requests(promised: bytes, octets: bytes, fits: bool) -> None:
    side = Side()
    side.feed(headers(1, (*REQUEST, (b"content-length", promised))) + octets)
    assert side.resets() == ([] if fits else [(1, PROTOCOL_ERROR)])
    side.feed(headers(3, (*REQUEST, (b"content-length", b"3")), True))
    assert side.resets() == [(3, PROTOCOL_ERROR)]


