"""The output buffer of a connection."""

from __future__ import annotations

from mesh.wire.codec import Handler
from mesh.wire.h2 import Connection


def test_whoever_has_something_to_say_is_told_of_once() -> None:
    dirty: list[Connection] = []
    one = Connection(True, Handler(), dirty)
    assert dirty == []
    one.start()
    one.ping(b"12345678")
    assert dirty == [one]
    assert one.take_output().endswith(b"12345678")
    one.ping(b"abcdefgh")
    assert dirty == [one, one]


def test_a_large_buffer_is_given_back_once_it_is_empty() -> None:
    one = Connection(True, Handler())
    one.start()
    for _ in range(1000):
        one.ping(b"12345678")
    one.trim()
    assert len(one.out) > 17_000
    assert len(one.take_output()) > 17_000
    one.trim()
    assert len(one.out) == 256
