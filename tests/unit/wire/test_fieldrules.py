from __future__ import annotations

import pytest

from mesh.wire.fieldrules import all_of, digits, name_problem, value_problem

OTHER, METHOD, SCHEME, AUTHORITY, PATH, PROTOCOL, STATUS = range(7)
CONTENT_LENGTH, HOST, TE = 13, 18, 19


@pytest.mark.parametrize("name", [b"a", b"x-y_z.0", b"grpc-status", b":path", b":status", b"te", b"!#$%&'*+-.^_`|~0a"])
def test_names(name: bytes) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (b"", "empty field name"),
        (b"A", "upper-case field name"),
        (b"x-Y", "upper-case field name"),
        (b"x y", "illegal octet in a field name"),
        (b"x:", "illegal octet in a field name"),
        (b"x\0", "illegal octet in a field name"),
        (b"\xe9", "illegal octet in a field name"),
        (b":", "unknown pseudo-header field"),
        (b":version", "unknown pseudo-header field"),
        (b":Path", "unknown pseudo-header field"),
        (b"connection", "connection-specific field"),
        (b"keep-alive", "connection-specific field"),
        (b"proxy-connection", "connection-specific field"),
        (b"transfer-encoding", "connection-specific field"),
        (b"upgrade", "connection-specific field"),
    ],
)
def test_bad_names(name: bytes, problem: str) -> None:
    assert name_problem(name) == problem


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (OTHER, b""),
        (OTHER, b"a b\tc"),
        (OTHER, bytes(range(0x80, 0x100))),
        (OTHER, b"~!{}"),
        (METHOD, b"GET"),
        (METHOD, b"M-SEARCH"),
        (SCHEME, b"https"),
        (SCHEME, b"coap+tcp"),
        (PATH, b"/"),
        (PATH, b"/a?b=c%20&d=[x]"),
        (PATH, b"*"),
        (PATH, "/é".encode()),
        (AUTHORITY, b""),
        (AUTHORITY, b"cart.shop:80"),
        (AUTHORITY, b"[::1]:443"),
        (AUTHORITY, b"a%2Fb"),
        (STATUS, b"200"),
        (STATUS, b"100"),
        (STATUS, b"999"),
        (PROTOCOL, b"websocket"),
        (CONTENT_LENGTH, b"0"),
        (CONTENT_LENGTH, b"999999999999999999"),
        (TE, b"trailers"),
        (TE, b"Trailers"),
        (HOST, b"a:1"),
    ],
)
def test_values(kind: int, value: bytes) -> None:
    assert value_problem(kind, value) is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((OTHER, bytes((octet,)) + b"x") for octet in [*range(9), *range(10, 32), 127]),
        (OTHER, b"a\0b"),
        (OTHER, b"a\rb"),
        (OTHER, b"a\nb"),
        (OTHER, b" a"),
        (OTHER, b"a "),
        (OTHER, b"\ta"),
        (OTHER, b"a\t"),
        (OTHER, b" "),
        (METHOD, b""),
        (METHOD, b"GE T"),
        (METHOD, b"GET/"),
        (SCHEME, b""),
        (SCHEME, b"ht:tp"),
        (PATH, b""),
        (PATH, b"a"),
        (PATH, b"http://x/"),
        (PATH, b"/a b"),
        (PATH, b"/a#b"),
        (PATH, b"**"),
        (AUTHORITY, b"user@host"),
        (AUTHORITY, b"a b"),
        (AUTHORITY, b"a/b"),
        (AUTHORITY, b"a\\b"),
        (HOST, b"a/b"),
        (STATUS, b""),
        (STATUS, b"20"),
        (STATUS, b"2000"),
        (STATUS, b"2x0"),
        (STATUS, b"099"),
        (STATUS, b"+20"),
        (PROTOCOL, b""),
        (PROTOCOL, b"a b"),
        (CONTENT_LENGTH, b""),
        (CONTENT_LENGTH, b"-1"),
        (CONTENT_LENGTH, b"+1"),
        (CONTENT_LENGTH, b"1,1"),
        (CONTENT_LENGTH, b"0x1"),
        (CONTENT_LENGTH, b"1" * 19),
        (TE, b"gzip"),
        (TE, b""),
        (TE, b"trailers, gzip"),
    ],
)
def test_bad_values(kind: int, value: bytes) -> None:
    assert value_problem(kind, value) is not None


@pytest.mark.parametrize(
    ("text", "most", "number"),
    [
        (b"0", 1, 0),
        (b"007", 3, 7),
        (b"9" * 18, 18, 10**18 - 1),
        (b"", 3, -1),
        (b"12", 1, -1),
        (b"1a", 3, -1),
        (b"\xb2", 3, -1),
    ],
)
def test_digits(text: bytes, most: int, number: int) -> None:
    assert digits(text, most) == number


def test_all_of_an_empty_text() -> None:
    assert all_of(b"", 1)
