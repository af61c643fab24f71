"""The attempts left along a chain of calls: in the header, and in tracestate among the members of others."""

from __future__ import annotations

import pytest

from mesh.wire.chain import LINES, LITERALS, MOST, put_member, take_member
from mesh.wire.hpack import Decoder, make_head
from mesh.wire.tracecontext import limit_tracestate


@pytest.mark.parametrize(("state", "count", "rest"), [
    (b"mesh=a:3", 3, b""), (b"mesh=a:10", 10, b""), (b"mesh=a:1,x=1", 1, b"x=1"), (b"x=1,mesh=a:2", 2, b"x=1"),
    (b"x=1,mesh=a:2,y=2", 2, b"x=1,y=2"), (b"x=1 , mesh=a:2 ,y=2", 2, b"x=1 ,y=2"), (b"mesh=a:3,mesh=a:1", 3, b""),
    # not ours
    (b"", 0, b""), (b"x=1,y=2", 0, b"x=1,y=2"), (b"amesh=a:3", 0, b"amesh=a:3"), (b"x=mesh=a:3", 0, b"x=mesh=a:3"),
    (b"mesh@x=a:3", 0, b"mesh@x=a:3"),
    # ours, but not usable: out with it
    (b"mesh=a:0", 0, b""), (b"mesh=a:11", 0, b""), (b"mesh=a:-1", 0, b""), (b"mesh=a:,x=1", 0, b"x=1"),
    (b"mesh=b:3", 0, b""), (b"mesh=", 0, b""), (b"mesh=a:0003", 0, b""), (b"mesh=a:\xc2\xb2", 0, b"")])
def test_what_a_tracestate_says(state: bytes, count: int, rest: bytes) -> None:
    assert take_member(state) == (count, rest)


@pytest.mark.parametrize("state", [b"", b"x=1", b"x=1,y=2", b"x=" + b"v" * 400])
@pytest.mark.parametrize("attempts", range(1, MOST + 1))
def test_there_and_back(state: bytes, attempts: int) -> None:
    said = put_member(state, attempts)
    assert said.startswith(b"mesh=a:%d" % attempts)
    assert limit_tracestate(said) == said
    assert take_member(said) == (attempts, state)


@pytest.mark.parametrize("state", [b"x=" + b"v" * 505, b",".join(b"k%d=1" % n for n in range(32))])
def test_a_full_tracestate_stays_as_it_is(state: bytes) -> None:
    assert put_member(state, 3) == state


@pytest.mark.parametrize("attempts", range(1, MOST + 1))
def test_the_header(attempts: int) -> None:
    block = bytearray(b"\x82" + LITERALS[attempts])
    assert Decoder().decode(block, 0, len(block)).head.attempts == attempts
    assert LINES[attempts] == b"mesh-attempts: %d\r\n" % attempts


@pytest.mark.parametrize(("values", "attempts"), [
    ([], 0), ([b"3"], 3), ([b"3", b"2"], 2), ([b"2", b"3"], 2), ([b"0"], 0), ([b"11"], 0), ([b"99", b"4"], 4),
    ([b"4", b""], 4), ([b"-1"], 0), ([b"x"], 0), ([b"003"], 0), ([b"1" * 30], 0)])
def test_what_is_no_count_says_nothing_and_the_smaller_counts(values: list[bytes], attempts: int) -> None:
    head = make_head([(b":method", b"GET"), *((b"mesh-attempts", value) for value in values)])
    assert head.attempts == attempts
