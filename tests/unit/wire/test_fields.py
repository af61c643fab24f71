from __future__ import annotations

import pytest

from mesh.wire.fields import (
    Field,
    integer_octets,
    intern_field,
    intern_literal,
    intern_name,
    is_literal,
    literal_octets,
    name_prefix,
    new_field,
    new_name,
    seen_before,
    string_of,
)
from mesh.wire.huffman import huffman_encode


def field(name: bytes, value: bytes, sensitive: bool = False) -> Field:
    return new_field(new_name(name, b""), value, b"", sensitive)


@pytest.mark.parametrize(
    ("value", "bits", "first", "octets"),
    [  # the first three: RFC 7541, appendix C.1
        (10, 5, 0, "0a"),
        (1337, 5, 0, "1f9a0a"),
        (42, 8, 0, "2a"),
        (30, 5, 0x20, "3e"),
        (31, 5, 0x20, "3f00"),
        (127, 7, 0x80, "ff00"),
        (254, 7, 0, "7f7f"),
        (255, 7, 0, "7f8001"),
    ],
)
def test_integers(value: int, bits: int, first: int, octets: str) -> None:
    assert integer_octets(value, bits, first) == bytes.fromhex(octets)


@pytest.mark.parametrize(
    ("name", "value", "octets"),
    [
        (b":method", b"GET", b"\x82"),
        (b":path", b"/index.html", b"\x85"),
        (b":status", b"404", b"\x8d"),
        (b"accept-encoding", b"gzip, deflate", b"\x90"),
        (b":path", b"/a", b"\x04\x02/a"),
        (b":status", b"201", b"\x08\x03201"),
        (b"te", b"trailers", b"\x00\x02te\x08trailers"),
        (b"user-agent", b"x", b"\x0f\x2b\x01x"),
        (b"x-long", b"v" * 200, b"\x00\x06x-long\x7f\x49" + b"v" * 200),
        (b"date", b"", b"\xa1"),
    ],
)
def test_representation(name: bytes, value: bytes, octets: bytes) -> None:
    assert field(name, value).enc == octets


def test_a_sensitive_field_stays_never_indexed() -> None:
    assert field(b"authorization", b"x", True).enc == b"\x1f\x08\x01x"
    assert field(b"x-key", b"x", True).enc == b"\x10\x05x-key\x01x"
    assert field(b":method", b"GET", True).enc == b"\x12\x03GET"


def test_size_counts_32_more() -> None:
    assert field(b"abc", b"de").size == 37


def test_a_field_is_judged_with_its_name() -> None:
    assert field(b"Abc", b"d").problem == "upper-case field name"
    assert field(b":status", b"x").problem == ":status is not a three-digit number"
    assert field(b"abc", b"d").problem is None


def test_equal_literals_are_one_field() -> None:
    buf = bytearray(b"\x03abc\x02xy\x03abc\x02xy\x03abc\x02xz")
    intern_literal(buf, 0, 4, 7, False)
    one = intern_literal(buf, 0, 4, 7, False)  # kept when it is met the second time
    assert (one.name, one.value) == (b"abc", b"xy")
    assert intern_literal(buf, 7, 4, 7, False) is one
    assert intern_literal(buf, 14, 4, 7, False) is not one
    assert intern_literal(buf, 0, 4, 7, True) is not one
    assert intern_name(buf, 0, 4) is intern_name(buf, 7, 4)


def test_huffman_coded_literals_are_kept_by_their_code() -> None:
    coded = huffman_encode(b"some-value")
    literal = bytes((0x80 | len(coded),)) + coded
    name = new_name(b"x-some", b"")
    intern_field(name, bytearray(literal), 0, len(literal), False)
    one = intern_field(name, bytearray(literal), 0, len(literal), False)
    assert one.value == b"some-value"
    assert intern_field(name, bytearray(b"." + literal), 1, len(literal), False) is one
    assert is_literal(one, name, bytearray(literal), 0, len(literal), False)
    assert not is_literal(one, None, bytearray(literal), 0, len(literal), False)


def test_a_flood_of_fields_leaves_those_in_use() -> None:
    hot = bytearray(b"\x05x-hot\x03yes")
    intern_literal(hot, 0, 6, 10, False)
    one = intern_literal(hot, 0, 6, 10, False)
    for i in range(20_000):
        buf = bytearray(b"\x06x-cold\x05%05d" % i)
        intern_literal(buf, 0, 7, len(buf), False)
        assert intern_literal(hot, 0, 6, 10, False) is one


def test_long_values_are_not_kept() -> None:
    buf = bytearray(b"\x01a" + integer_octets(300, 7, 0) + b"v" * 300)
    one = intern_literal(buf, 0, 2, len(buf), False)
    assert one.value == b"v" * 300
    assert intern_literal(buf, 0, 2, len(buf), False) is not one


@pytest.mark.parametrize("n", [0, 1, 126, 127, 128, 300, 20_000])
def test_string_of(n: int) -> None:
    for text, flag in ((b"a" * n, 0), (huffman_encode(b"a" * n), 0x80)):
        literal = integer_octets(len(text), 7, flag) + text
        assert string_of(bytearray(b"." + literal + b"."), 1, len(literal)) == b"a" * n


def test_a_value_is_kept_when_it_is_met_the_second_time() -> None:
    seen = bytearray(4096)
    assert not seen_before(seen, 0x1234_5678_9ABC_DEF0)
    assert seen_before(seen, 0x1234_5678_9ABC_DEF0)
    assert not seen_before(seen, 0x1234_5672_9ABC_DEF0)
    assert not seen_before(seen, 0x1234_5670_9ABC_DEF0)


@pytest.mark.parametrize("n", [0, 1, 126, 127, 128, 2000])
def test_literal_octets(n: int) -> None:
    assert literal_octets(b"\x04", b"v" * n, 0) == b"\x04" + integer_octets(n, 7, 0) + b"v" * n
    assert literal_octets(b"\x00\x01a", b"v" * n, 0x10) == b"\x10\x01a" + integer_octets(n, 7, 0) + b"v" * n


def test_name_prefix() -> None:
    assert name_prefix(b"content-type") == b"\x0f\x10"
    assert name_prefix(b"x" * 130) == b"\x00\x7f\x03" + b"x" * 130
