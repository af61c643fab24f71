from __future__ import annotations

import pytest

from mesh.wire import h1_section
from mesh.wire.errors import Malformed
from mesh.wire.fields import intern_literal
from mesh.wire.h1_section import Section, new_section


def read(lines: bytes, trailers: bool = False) -> Section:
    section = new_section(trailers)
    buf = bytearray(b"\n" + lines + b"\n")
    section.read(buf, 1, 1 + len(lines))
    return section


def pairs(section: Section) -> list[tuple[bytes, bytes]]:
    return [(field.name, field.value) for field in section.fields]


def test_names_in_lower_case_values_trimmed() -> None:
    section = read(b"Accept:text/*\r\nX-Empty:\r\nX-Blank: \t \r\nX-Obs: \xe9 a\tb \r\nX-Colon: a:b\r\n")
    assert pairs(section) == [
        (b"accept", b"text/*"), (b"x-empty", b""), (b"x-blank", b""), (b"x-obs", b"\xe9 a\tb"), (b"x-colon", b"a:b")]


@pytest.mark.parametrize("n", [1, 100, 126, 127, 128, 200, 239, 240, 241, 254, 255, 256, 1000, 60_000])
def test_values_of_every_length(n: int) -> None:
    value = b"v" * n
    for _ in range(3):  # new, interned, known
        assert pairs(read(b"X-A: " + value + b"\r\n")) == [(b"x-a", value)]


@pytest.mark.parametrize("n", [1, 62, 63, 64, 126, 127, 128, 300])
def test_names_of_every_length(n: int) -> None:
    for _ in range(3):
        assert pairs(read(b"N" * n + b":\r\n")) == [(b"n" * n, b"")]


def test_a_field_that_repeats_is_one_object_for_both_protocols() -> None:
    [first] = read(b"X-Both: same\r\n").fields
    [second] = read(b"x-both:  same\r\n").fields
    [third] = read(b"X-BOTH: same\r\n").fields
    literal = bytearray(b"\x06x-both\x04same")
    assert second is third is intern_literal(literal, 0, 7, len(literal), False)
    assert first.value == b"same"


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"no colon\r\n", 400),
        (b": v\r\n", 400),
        (b"a : v\r\n", 400),
        (b"a\t: v\r\n", 400),
        (b" a: v\r\n", 400),
        (b"a: v\r\n b\r\n", 400),
        (b"a: v\r\n\tb\r\n", 400),
        (b"a(b): v\r\n", 400),
        (b"\xc3\xa9: v\r\n", 400),
        (b"a\x00: v\r\n", 400),
        (b"a: v\rw\r\n", 400),
        (b"a: v\x00w\r\n", 400),
        (b"a: v\x1bw\r\n", 400),
        (b"a: v\x7f\r\n", 400),
        (b"a: v\r\r\n", 400),
        (b"\r: v\r\n", 400),
        (b"connection: a\x00\r\n", 400),
        (b"host: a\x01\r\n", 400),
        (b"host: a\r\nHost: a\r\n", 400),
        (b"content-length: 1\r\ncontent-length: 1\r\n", 400),
        (b"content-length: 1\r\ncontent-length: 2\r\n", 400),
        (b"content-length:\r\n", 400),
        (b"content-length: +1\r\n", 400),
        (b"content-length: -1\r\n", 400),
        (b"content-length: 1,1\r\n", 400),
        (b"content-length: 1 1\r\n", 400),
        (b"content-length: 0x1\r\n", 400),
        (b"content-length: 1_0\r\n", 400),
        (b"content-length: \xb2\r\n", 400),
        (b"content-length: 1234567890123456789\r\n", 413),
        (b"content-length: 99999999999999999999999\r\n", 413),
        (b"content_length: 1\r\n", 400),
        (b"Transfer_Encoding: chunked\r\n", 400),
        (b"connection: a b\r\n", 400),
        (b"connection: host\r\n", 400),
        (b"connection: close, Content-Length\r\n", 400),
        (b"sec-websocket-key: a\r\nsec-websocket-key: a\r\n", 400),
    ],
)
def test_what_is_refused(lines: bytes, status: int) -> None:
    for _ in range(2):
        with pytest.raises(Malformed) as info:
            read(b"x-first: 1\r\n" + lines + b"x-last: 1\r\n")
        assert info.value.status == status


@pytest.mark.parametrize(("value", "length", "shown"), [
    (b"0", 0, b"0"), (b"42", 42, b"42"), (b"0042", 42, b"42"), (b"00", 0, b"0"),
    (b"999999999999999999", 999999999999999999, b"999999999999999999")])
def test_content_length_is_a_plain_number(value: bytes, length: int, shown: bytes) -> None:
    section = read(b"Content-Length: " + value + b"\r\n")
    assert section.length == length
    assert pairs(section) == [(b"content-length", shown)]


def test_what_concerns_the_connection_stays_here() -> None:
    section = read(
        b"Connection: Close, X-Mine\r\nX-Mine: 1\r\nX-Yours: 2\r\nKeep-Alive: timeout=7, max=3\r\n"
        b"Proxy-Connection: a\r\nTransfer-Encoding: Chunked\r\nUpgrade: A, b\r\n"
        b"Connection: x-also\r\nX-Also: 3\r\nHTTP2-Settings: x\r\n"
        b"Host: cart\r\nTE: gzip;q=0.5\r\nProxy-Authorization: p\r\nExpect: 100-Continue\r\n")
    assert pairs(section) == [(b"x-yours", b"2"), (b"proxy-authorization", b"p"), (b"expect", b"100-Continue")]
    assert section.options == {b"close", b"x-mine", b"x-also"}
    assert section.coding == b"chunked"
    assert section.protocols == [b"a", b"b"]
    assert section.keep_alive == 7
    assert section.host == b"cart"
    assert section.expects
    assert section.length == -1


@pytest.mark.parametrize("value", [b"200-ok", b"100-continue, x", b""])
def test_another_expectation_is_for_the_message_to_judge(value: bytes) -> None:
    section = read(b"expect: " + value + b"\r\n")
    assert (section.expects, section.expects_other) == (False, True)


def test_te_trailers_goes_on_though_connection_names_it() -> None:
    assert pairs(read(b"TE: gzip, Trailers\r\nConnection: TE\r\n")) == [(b"te", b"trailers")]


@pytest.mark.parametrize(
    ("option", "forgets"), [(b"traceparent", 1), (b"TraceState", 2), (b"grpc-timeout, traceparent", 5), (b"x", 0)]
)
def test_per_call_fields_can_be_named_too(option: bytes, forgets: int) -> None:
    assert read(b"Connection: " + option + b"\r\n").forgets == forgets


def test_a_websocket_key_for_the_connection_only_is_none() -> None:
    section = read(b"Sec-WebSocket-Key: k\r\nConnection: sec-websocket-key\r\n")
    assert section.key is None
    assert pairs(section) == []


def test_trailers_lose_what_has_no_place_there() -> None:
    section = read(
        b"X-Sum: 1\r\nSet-Cookie: a\r\nAuthorization: b\r\nConnection: x-sum\r\nTE: x\r\nGrpc-Status: 0\r\n", True)
    assert pairs(section) == [(b"x-sum", b"1"), (b"grpc-status", b"0")]


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding", b"Host"])
def test_trailers_that_frame_or_route_are_refused(name: bytes) -> None:
    with pytest.raises(Malformed):
        read(name + b": 1\r\n", True)


def test_trailers_have_the_same_syntax() -> None:
    for lines in (b"a : b\r\n", b"a: \x00\r\n", b"connection: \x01\r\n", b" a: b\r\n"):
        with pytest.raises(Malformed):
            read(lines, True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"timeout=5", 5), (b"max=1, Timeout=60", 60), (b'timeout="9"', 9), (b"timeout=0", 0), (b"timeout=x", 0), (b"", 0),
     (b"timeout=9999999", 0), (b"timeout=-1", 0)],
)
def test_keep_alive(value: bytes, seconds: int) -> None:
    assert h1_section.timeout_of(value) == seconds
