"""ReplayBuffer: keeps up to its limit, then gives everything up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.resilience.replay import ReplayBuffer


def test_it_keeps_exactly_its_limit():
    buffer = ReplayBuffer(10)
    assert buffer.append(b"12345")
    assert buffer.append(b"67890")
    assert buffer.append(b"")
    assert (buffer.chunks, buffer.size, buffer.overflowed) == ([b"1234567890"], 10, False)


def test_small_chunks_are_joined_and_large_ones_are_not_copied():
    buffer = ReplayBuffer(65_536)
    large = b"l" * 2000
    for chunk in (large, b"s", b"s", large, *[b"x"] * 5000):
        assert buffer.append(chunk)
    assert buffer.chunks[0] is large
    assert [len(chunk) for chunk in buffer.chunks] == [2000, 2, 2000, 1024, 1024, 1024, 1024, 904]


def test_one_byte_more_gives_it_up_for_good():
    buffer = ReplayBuffer(10)
    assert buffer.append(b"1234567890")
    assert not buffer.append(b"x")
    assert (buffer.chunks, buffer.size, buffer.overflowed) == ([], 0, True)
    assert not buffer.append(b"x")
    assert not buffer.append(b"")
    assert buffer.chunks == []


@pytest.mark.parametrize("limit", [0, 1, 65_536])
def test_an_empty_body_always_fits(limit: int):
    buffer = ReplayBuffer(limit)
    assert buffer.append(b"")
    assert not buffer.overflowed


@given(st.integers(0, 50), st.lists(st.binary(max_size=20)))
def test_it_holds_everything_or_nothing(limit: int, chunks: list[bytes]):
    buffer = ReplayBuffer(limit)
    total = 0
    for chunk in chunks:
        total += len(chunk)
        kept = buffer.append(chunk)
        assert kept == (total <= limit) == (not buffer.overflowed)
        if not kept:
            break
    body = b"".join(chunks)
    assert b"".join(buffer.chunks) == (body if len(body) <= limit else b"")
    assert buffer.size == len(b"".join(buffer.chunks)) <= limit
