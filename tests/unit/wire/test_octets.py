from __future__ import annotations

import pytest

from mesh.wire.octets import copy_octets, equal_at, hash_at, is_text, load, octets_of, put_octets, store


def test_octets_of_copies_a_run() -> None:
    buf = bytearray(b"0123456789")
    assert octets_of(buf, 0, 10) == b"0123456789"
    assert octets_of(buf, 3, 4) == b"3456"
    assert octets_of(buf, 10, 0) == b""


@pytest.mark.parametrize(("start", "n"), [(-1, 2), (0, -1), (0, 11), (10, 1), (11, 0), (2**62, 2**62)])
def test_runs_outside_the_buffer_are_refused(start: int, n: int) -> None:
    buf = bytearray(10)
    with pytest.raises(IndexError):
        octets_of(buf, start, n)
    with pytest.raises(IndexError):
        hash_at(buf, start, n, 1)
    with pytest.raises(IndexError):
        copy_octets(bytearray(20), 0, buf, start, n)
    with pytest.raises(IndexError):
        copy_octets(bytearray(20), 0, bytes(buf), start, n)


def test_equal_at() -> None:
    buf = bytearray(b"abcabc")
    assert equal_at(buf, 3, b"abc")
    assert not equal_at(buf, 2, b"abc")
    assert not equal_at(buf, 4, b"bcd")
    assert not equal_at(buf, -1, b"a")
    assert equal_at(buf, 6, b"")


def test_hash_depends_on_every_octet_and_on_the_length() -> None:
    base = bytes(range(1, 24))
    hashes = {hash_at(bytearray(base[:n]), 0, n, 7) for n in range(24)}
    assert len(hashes) == 24
    for place in range(len(base)):
        other = bytearray(base)
        other[place] ^= 0x40
        assert hash_at(other, 0, len(other), 7) not in hashes


def test_hash_does_not_depend_on_the_place() -> None:
    buf = bytearray(b"..path/to/some/thing..path/to/some/thing")
    assert hash_at(buf, 2, 18, 5) == hash_at(buf, 22, 18, 5)
    assert hash_at(buf, 2, 18, 5) != hash_at(buf, 2, 18, 6)


def test_put_and_copy_write_in_place() -> None:
    out = bytearray(8)
    put_octets(out, 1, b"abc")
    copy_octets(out, 4, b"xyz", 1, 2)
    copy_octets(out, 6, bytearray(b"0123"), 2, 2)
    assert out == b"\0abcyz23"
    with pytest.raises(IndexError):
        put_octets(out, 6, b"abc")
    with pytest.raises(IndexError):
        copy_octets(out, 0, out, 1, 2)


def test_text_is_told_from_control_characters_at_every_place() -> None:
    for octet in range(256):
        fine = octet == 9 or (octet >= 0x20 and octet != 0x7F)
        for n in (1, 7, 8, 9, 16, 23):
            for place in {0, n // 2, n - 1}:
                for filling in (b"a", b" ", b"\t", b"\x80", b"\xff"):
                    text = filling * place + bytes((octet,)) + filling * (n - place - 1)
                    assert is_text(text) == fine, text
    assert is_text(b"")


def test_words() -> None:
    buf = bytearray(range(20))
    store(buf, 3, load(bytes(range(100, 120)), 5))
    assert buf == bytes((0, 1, 2, *range(105, 113), *range(11, 20)))
    for start in (-1, 13, 2**62):
        with pytest.raises(IndexError):
            store(buf, start, 0)
        with pytest.raises(IndexError):
            load(bytes(buf), start)
