"""Huffman: any octets decode as `hpack` decodes them, or neither does; what decodes is the code of what it decodes to.

And any octets, taken as a text, survive coding, the announced length is the real one, and `hpack` codes them alike.
"""

from __future__ import annotations

from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman

from mesh.wire.errors import HpackError
from mesh.wire.huffman import huffman_decode, huffman_encode, huffman_length

MAX_LEN = 100
TOKENS = (b"\xff\xff\xff\xff", b"\xff\xff\xff\xfc", b"\xff\xff\xff\xfb", b"\x7f", b"\xfe", b"\xff\xc7")
ORACLE = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def seeds() -> list[bytes]:
    texts = [
        b"",
        b"www.example.com",
        b"Mon, 21 Oct 2013 20:13:21 GMT",
        bytes(range(0, 256, 3)),
        bytes(range(1, 256, 3)),
        bytes(range(2, 256, 3)),
        b"\0" * 20,
        b"{|}~" * 9,
    ]
    return texts + [huffman_encode(text) for text in texts]


def run(data: bytes) -> object:
    code = huffman_encode(data)
    assert huffman_length(data) == len(code)
    assert huffman_decode(bytearray(code), 0, len(code)) == data
    assert ORACLE.encode(data) == code
    framed = bytearray(b"\xaa" + data + b"\xbb")
    try:
        theirs: bytes | None = bytes(decode_huffman(data))
    except HPACKDecodingError:
        theirs = None
    try:
        ours: bytes | None = huffman_decode(framed, 1, len(data))
    except HpackError as error:
        if theirs is not None:
            raise AssertionError(f"only we refuse: {error}") from error
        return code, str(error)
    assert ours == theirs
    assert huffman_encode(ours) == data
    return code, ours
