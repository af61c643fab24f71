from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.wire.tracecontext import TraceParent, format_traceparent, limit_tracestate, parse_traceparent

EXAMPLE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def numbers(parent: TraceParent | None) -> tuple[int, int, int, int] | None:
    return None if parent is None else (parent.trace_hi, parent.trace_lo, parent.span_id, parent.flags)


def test_the_example_of_the_specification() -> None:
    parent = parse_traceparent(EXAMPLE)
    assert numbers(parent) == (0x0AF7651916CD43DD, 0x8448EB211C80319C, 0xB7AD6B7169203331, 1)
    assert numbers(TraceParent.parse(EXAMPLE)) == numbers(parent)


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (EXAMPLE[:-2] + b"00", 0),
        (EXAMPLE[:-2] + b"ff", 0xFF),
        (b"01" + EXAMPLE[2:-2] + b"ff", 3),
        (b"fe" + EXAMPLE[2:] + b"-what-the-future-brings", 1),
        (b"cc" + EXAMPLE[2:] + b"-", 1),
    ],
)
def test_versions_and_flags(value: bytes, flags: int) -> None:
    parent = parse_traceparent(value)
    assert parent is not None
    assert parent.flags == flags


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        EXAMPLE[:-1],
        EXAMPLE + b"-",
        EXAMPLE + b"0",
        b"ff" + EXAMPLE[2:],
        b"cc" + EXAMPLE[2:] + b".x",
        EXAMPLE.upper(),
        EXAMPLE.replace(b"-", b"_"),
        EXAMPLE.replace(b"a", b"g", 1),
        b"0x" + EXAMPLE[2:],
        b"00-" + b"0" * 32 + EXAMPLE[35:],
        EXAMPLE[:36] + b"0" * 16 + EXAMPLE[52:],
        EXAMPLE[:-1] + b"z",
        EXAMPLE[:3] + b"-" + EXAMPLE[4:],
        b" " + EXAMPLE[1:],
    ],
)
def test_malformed(value: bytes) -> None:
    assert parse_traceparent(value) is None


def test_half_a_trace_id_may_be_zero() -> None:
    assert numbers(parse_traceparent(format_traceparent(0, 1, 1, 0))) == (0, 1, 1, 0)
    assert numbers(parse_traceparent(format_traceparent(1, 0, 1, 0))) == (1, 0, 1, 0)


U64 = st.integers(0, 2**64 - 1)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(U64, U64, U64, st.integers(0, 255))
def test_round_trip(hi: int, lo: int, span: int, flags: int) -> None:
    value = format_traceparent(hi, lo, span, flags)
    assert value == b"00-%016x%016x-%016x-%02x" % (hi, lo, span, flags)
    assert numbers(parse_traceparent(value)) == (None if not (hi or lo) or not span else (hi, lo, span, flags))


@pytest.mark.parametrize(
    ("value", "limited"),
    [
        (b"", b""),
        (b"a=1", b"a=1"),
        (b"a=1,b=2", b"a=1,b=2"),
        (b" a=1 ,\tb=2,, ", b"a=1,b=2"),
        (b"a", b""),
        (b"=1", b""),
        (b"a=1,b", b""),
        (b",".join(b"k%d=v" % i for i in range(40)), b",".join(b"k%d=v" % i for i in range(32))),
        (b"a=" + b"x" * 510, b"a=" + b"x" * 510),
        (b"a=" + b"x" * 511, b""),
        (b"a=1,b=" + b"x" * 510, b"a=1"),
    ],
)
def test_tracestate(value: bytes, limited: bytes) -> None:
    assert limit_tracestate(value) == limited


def test_every_digit_at_every_place() -> None:
    good = b"00-0123456789abcdeffedcba9876543210-8899aabbccddeeff-01"
    for place in range(55):
        for octet in range(256):
            value = good[:place] + bytes((octet,)) + good[place + 1 :]
            parent = parse_traceparent(value)
            fine = octet in b"0123456789abcdef" if place not in (2, 35, 52) else octet == 0x2D
            assert (parent is not None) == fine, value
            if parent is not None:
                assert (parent.trace_hi, parent.trace_lo) == (int(value[3:19], 16), int(value[19:35], 16))
                assert (parent.span_id, parent.flags) == (int(value[36:52], 16), int(value[53:], 16) & (
                    0xFF if value[:2] == b"00" else 3))
                if value[:2] == b"00":
                    assert format_traceparent(parent.trace_hi, parent.trace_lo, parent.span_id, parent.flags) == value
