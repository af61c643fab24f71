from __future__ import annotations

import pytest

from mesh.wire.hpack import make_head
from mesh.wire.sectionrules import same_host

Fields = list[tuple[bytes, bytes]]
M, S, P, A = (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"cart:80")
CONNECT = (b":method", b"CONNECT")
WEBSOCKET = (b":protocol", b"websocket")

REQUESTS: list[tuple[Fields, str | None]] = [
    ([M, S, P, A], None),
    ([A, P, S, M], None),
    ([M, S, P], None),
    ([S, P, A], "no :method"),
    ([M, P, A], "no :scheme"),
    ([M, S, A], "no :path"),
    ([M, S, P, A, (b":status", b"200")], ":status in a request"),
    ([M, S, (b":path", b"*"), A], ":path * without OPTIONS"),
    ([(b":method", b"OPTIONS"), S, (b":path", b"*"), A], None),
    ([CONNECT, A], None),
    ([CONNECT], "CONNECT without :authority"),
    ([CONNECT, (b":authority", b"")], "CONNECT without :authority"),
    ([CONNECT, A, S], "CONNECT with :scheme or :path"),
    ([CONNECT, A, P], "CONNECT with :scheme or :path"),
    ([CONNECT, A, (b"content-length", b"0")], None),
    ([CONNECT, A, (b"content-length", b"1")], "CONNECT with content"),
    ([CONNECT, WEBSOCKET, S, P, A], None),
    ([CONNECT, WEBSOCKET, S, A], "no :path"),
    ([CONNECT, WEBSOCKET, P, A], "no :scheme"),
    ([CONNECT, WEBSOCKET, S, P, A, (b"content-length", b"5")], "CONNECT with content"),
    ([M, WEBSOCKET, S, P, A], ":protocol without CONNECT"),
    ([M, S, P, A, (b"host", b"CART")], None),
    ([M, S, P, A, (b"host", b"cart:8080")], "host differs from :authority"),
    ([M, S, P, A, (b"host", b"")], "host differs from :authority"),
    ([M, S, P, (b"host", b"cart")], None),
    ([M, S, P, (b"host", b"")], "empty :authority"),
    ([M, S, P, (b":authority", b"")], "empty :authority"),
    ([M, (b":scheme", b"unix"), P, (b":authority", b"")], None),
    ([M, S, P, A, (b"content-length", b"3")], None),
    ([M, S, P, A, (b"content-length", b"3"), (b"content-length", b"3")], "content-length twice"),
]


@pytest.mark.parametrize(("fields", "problem"), REQUESTS)
def test_requests(fields: Fields, problem: str | None) -> None:
    assert make_head(fields).request_problem == problem


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ([(b":status", b"200")], None),
        ([(b":status", b"100")], None),
        ([(b":status", b"103"), (b"link", b"<x>")], None),
        ([(b":status", b"101")], ":status 101 has no place in HTTP/2"),
        ([(b"a", b"b")], "no :status"),
        ([], "no :status"),
        ([(b":status", b"200"), P], "not exactly :status"),
        ([(b":status", b"200"), (b"content-length", b"5")], None),
        ([(b":status", b"304"), (b"content-length", b"5")], None),
        ([(b":status", b"204"), (b"content-length", b"0")], None),
        ([(b":status", b"204"), (b"content-length", b"5")], "content-length in a response that has no content"),
        ([(b":status", b"103"), (b"content-length", b"0")], "content-length in a response that has no content"),
    ],
)
def test_responses(fields: Fields, problem: str | None) -> None:
    assert make_head(fields).response_problem == problem


@pytest.mark.parametrize(
    ("one", "other", "scheme", "same"),
    [
        (b"a", b"A", b"http", True),
        (b"a", b"a:80", b"http", True),
        (b"a:443", b"a", b"HTTPS", True),
        (b"[::1]", b"[::1]:80", b"http", True),
        (b"a", b"a:443", b"http", False),
        (b"a", b"a:80", b"https", False),
        (b"a", b"a:80", b"grpc", False),
        (b"a", b"a:80", None, False),
        (b"a", b"b", b"http", False),
        (b"a:080", b"a", b"http", False),
    ],
)
def test_hosts(one: bytes, other: bytes, scheme: bytes | None, same: bool) -> None:
    assert same_host(one, other, scheme) is same
    assert same_host(other, one, scheme) is same
