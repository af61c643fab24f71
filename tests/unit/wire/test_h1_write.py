from __future__ import annotations

import pytest
from h1_peer import head, request, response

from mesh.wire.h1_write import accept_of, form_of, refusal

CHAT = (
    (b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":authority", b"a"),
    (b":path", b"/c"),
)


def test_a_request_in_text() -> None:
    form = form_of(request(b"POST", b"/p?q", (b"accept", b"*/*"), (b"content-length", b"005"), (b"te", b"trailers")))
    assert form.problem is None
    assert form.start == b"POST /p?q HTTP/1.1\r\nhost: cart\r\n"
    assert form.lines == b"accept: */*\r\nconnection: te\r\nte: trailers\r\n"
    assert form.length == b"content-length: 5\r\n"
    assert form.with_content


def test_the_text_is_made_once() -> None:
    section = request()
    assert form_of(section) is form_of(section)
    assert form_of(section).lines == b""


def test_crumbs_of_a_cookie_are_joined() -> None:
    form = form_of(request(b"GET", b"/", (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")))
    assert form.lines == b"x: y\r\ncookie: a=1; b=2\r\n"


def test_host_stands_for_an_authority_that_is_not_there() -> None:
    form = form_of(head((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b"host", b"b:1"), (b"x", b"y")))
    assert form.start == b"GET / HTTP/1.1\r\nhost: b:1\r\n"
    assert form.lines == b"x: y\r\n"


def test_there_is_always_a_host() -> None:
    form = form_of(head((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")))
    assert form.start == b"GET / HTTP/1.1\r\nhost: \r\n"


def test_connect() -> None:
    form = form_of(head((b":method", b"CONNECT"), (b":authority", b"a:443"), (b"content-length", b"0")))
    assert form.start == b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n"
    assert form.tunnel
    assert form.protocol is None
    assert form.length == b""


def test_an_extended_connect_is_an_upgrade() -> None:
    form = form_of(head(*CHAT, (b"sec-websocket-key", b"k"), (b"sec-websocket-version", b"13")))
    assert form.start == b"GET /c HTTP/1.1\r\nhost: a\r\n"
    assert form.lines == (b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: k\r\n"
                          b"sec-websocket-version: 13\r\n")
    assert form.tunnel
    assert form.has_key
    assert not form_of(head(*CHAT)).has_key


def test_responses_in_text() -> None:
    form = form_of(response(404, (b"content-length", b"3"), (b"set-cookie", b"a"), (b"set-cookie", b"b")))
    assert form.start == b"HTTP/1.1 404 Not Found\r\n"
    assert form.lines == b"set-cookie: a\r\nset-cookie: b\r\n"
    assert form.length == b"content-length: 3\r\n"
    assert form_of(response(299)).start == b"HTTP/1.1 299 \r\n"
    assert form_of(response(200, (b"sec-websocket-accept", b"x"))).has_accept


@pytest.mark.parametrize("status", [100, 103, 199, 204])
def test_no_length_where_there_never_is_content(status: int) -> None:
    assert form_of(response(status, (b"content-length", b"0"))).length == b""


def test_trailers_in_text_less_what_has_no_place_there() -> None:
    form = form_of(head((b"grpc-status", b"0"), (b"content-length", b"5"), (b"host", b"a"), (b"set-cookie", b"x"),
                        (b"te", b"trailers"), (b"x", b"")))
    assert form.problem is None
    assert form.lines == b"grpc-status: 0\r\nx: \r\n"
    assert form.length == b""


@pytest.mark.parametrize(
    "section",
    [
        request(b"GET", b"/a b"),
        request(b"GET", b"/a\r\nx: y"),
        request(b"GET", b"/a\tb"),
        request(b"GET", b"/\x00"),
        request(b"GET", b"/caf\xc3\xa9"),
        request(b"GET", b"/a#b"),
        request(b"GET", b"http://b/"),
        request(b"GET", b"*"),
        request(b"GET", b""),
        request(b"G T"),
        request(b"GET / HTTP/1.1\r\nx:"),
        request(b"get"),
        request(b"Head"),
        request(b""),
        request(b"GET", b"/", (b"transfer-encoding", b"chunked")),
        request(b"GET", b"/", (b"connection", b"x")),
        request(b"GET", b"/", (b"keep-alive", b"x")),
        request(b"GET", b"/", (b"upgrade", b"x")),
        request(b"GET", b"/", (b"te", b"gzip")),
        request(b"GET", b"/", (b"host", b"b")),
        request(b"GET", b"/", (b"content-length", b"1"), (b"content-length", b"1")),
        request(b"GET", b"/", (b"content-length", b"+1")),
        request(b"GET", b"/", (b"x", b"a\r\nb: c")),
        request(b"GET", b"/", (b"x", b"a\nb")),
        request(b"GET", b"/", (b"x", b"a\x00")),
        request(b"GET", b"/", (b"x\r\ny", b"a")),
        request(b"GET", b"/", (b"x:", b"a")),
        request(b"GET", b"/", (b"x y", b"a")),
        request(b"GET", b"/", (b"X", b"a")),
        head((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a b"), (b":path", b"/")),
        head((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a\r\nx: y"), (b":path", b"/")),
        head((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"u@a"), (b":path", b"/")),
        head((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a,b"), (b":path", b"/")),
        head((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b"host", b"a,b")),
        head((b":method", b"GET"), (b":path", b"/")),
        head((b":method", b"CONNECT"), (b":authority", b"a")),
        head((b":method", b"CONNECT"), (b":authority", b"a:1"), (b"content-length", b"1")),
        head(*CHAT, (b"content-length", b"1")),
        head((b":method", b"CONNECT"), (b":authority", b"a:1"), (b":path", b"/"), (b":scheme", b"http")),
        head((b":method", b"GET"), *CHAT[1:]),
        response(200, (b"x", b"a\r\nb")),
        response(200, (b"transfer-encoding", b"chunked")),
        response(200, (b":path", b"/")),
        response(101),
        response(99),
        head((b"x", b"a\rb")),
        head((b"transfer-encoding", b"chunked")),
    ],
    ids=repr,
)
def test_what_http2_lets_through_and_http_1_1_can_not_say_has_no_text(section: object) -> None:
    form = form_of(section)  # type: ignore[arg-type]
    assert form.problem is not None
    assert form.lines == form.length == b""


def test_the_answer_to_what_can_not_be_taken() -> None:
    assert refusal(431) == (b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
                            b"content-length: 0\r\nmesh-reason: caller_protocol_error\r\n\r\n")


def test_the_example_of_rfc_6455() -> None:
    assert accept_of(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
