from __future__ import annotations

import pytest

from mesh.wire.errors import Malformed
from mesh.wire.h1_chunks import Chunks

END = b"0\r\n"


def read(octets: bytes, cuts: tuple[int, ...] = ()) -> tuple[bytes, bytes]:
    """The data of chunked content, and what follows the last chunk; fed in the pieces between `cuts`."""
    chunks = Chunks()
    chunks.begin()
    data = bytearray()
    edges = (0, *cuts, len(octets))
    for i, start in enumerate(edges[:-1]):
        buf = bytearray(octets[start : edges[i + 1]])
        at = 0
        while at < len(buf):
            at = chunks.skip(buf, at, len(buf))
            if chunks.last():
                return bytes(data), bytes(buf[at:]) + octets[edges[i + 1] :]
            if chunks.data_due():
                take = min(chunks.left, len(buf) - at)
                data += buf[at : at + take]
                chunks.took(take)
                at += take
    raise EOFError


@pytest.mark.parametrize(
    ("octets", "data"),
    [
        (b"5\r\nhello\r\n", b"hello"),
        (b"5\r\nhello\r\n6\r\n world\r\n", b"hello world"),
        (b"", b""),
        (b"a\r\n0123456789\r\n", b"0123456789"),
        (b"A\r\n0123456789\r\n", b"0123456789"),
        (b"000000000000000a\r\n0123456789\r\n", b"0123456789"),
        (b"2;x\r\nab\r\n", b"ab"),
        (b"2;x=y\r\nab\r\n", b"ab"),
        (b'2;x="y; \t\\"\xff";z\r\nab\r\n', b"ab"),
        (b"2\r\n\r\n\r\n", b"\r\n"),
    ],
)
def test_data_comes_out_however_it_is_cut(octets: bytes, data: bytes) -> None:
    octets += END + b"rest"
    assert read(octets) == (data, b"rest")
    assert read(octets, tuple(range(1, len(octets)))) == (data, b"rest")
    for cut in range(1, len(octets)):
        assert read(octets, (cut,)) == (data, b"rest"), cut


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"\r\n", 400),
        (b"x\r\n", 400),
        (b"+5\r\n", 400),
        (b"-5\r\n", 400),
        (b"0x5\r\n", 400),
        (b" 5\r\n", 400),
        (b"5 \r\n", 400),
        (b"5 ;x\r\n", 400),
        (b"5\n", 400),
        (b"5\r\r\n", 400),
        (b"5_0\r\n", 400),
        (b"5\x00\r\n", 400),
        (b"5,5\r\n", 400),
        (b"5;\r\n", 400),
        (b"5;x=\r\n", 400),
        (b"5; x\r\n", 400),
        (b"5;x =y\r\n", 400),
        (b"5;x=y z\r\n", 400),
        (b"5;x\n", 400),
        (b'5;x="\r\n', 400),
        (b'5;x="a"b\r\n', 400),
        (b'5;x="\x01"\r\n', 400),
        (b'5;x="\\\r"\r\n', 400),
        (b"5;x\x80\r\n", 400),
        (b"2\r\nabc\r\n", 400),
        (b"2\r\nab\n", 400),
        (b"2\r\nab\rx", 400),
        (b"2\r\nab5\r\n", 400),
        (b"00000000000000005\r\n", 413),
        (b"ffffffffffffffff\r\n", 413),
        (b"4000000000000000\r\n", 413),
        (b"5;" + b"x" * 8192 + b"\r\n", 431),
        (b"1;" + b"x" * 5000 + b"\r\na\r\n" + b"1;" + b"x" * 5000 + b"\r\na\r\n", 431),
    ],
)
def test_what_is_not_framing_is_refused_however_it_is_cut(octets: bytes, status: int) -> None:
    for cuts in ((), tuple(range(1, len(octets)))):
        with pytest.raises(Malformed) as info:
            read(octets + b"0123456789", cuts)
        assert info.value.status == status


def test_the_largest_size() -> None:
    chunks = Chunks()
    buf = bytearray(b"3fffffffffffffff\r\n")
    assert chunks.skip(buf, 0, len(buf)) == len(buf)
    assert chunks.left == 0x3FFFFFFFFFFFFFFF


def test_extensions_of_one_message_are_not_counted_in_the_next() -> None:
    chunks = Chunks()
    for _ in range(3):
        chunks.begin()
        buf = bytearray(b"0;" + b"x" * 8000 + b"\r\n")
        chunks.skip(buf, 0, len(buf))
        assert chunks.last()
