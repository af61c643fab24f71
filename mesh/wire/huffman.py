# cython: language_level=3, wraparound=False, initializedcheck=False
"""The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B).

What lives here: the code table and both directions. What this must not know: header fields. The code is canonical
(codes of one length are consecutive, in the order of their symbols), so the lengths say everything.
"""

from __future__ import annotations

import re

import cython

from mesh.wire.errors import HpackError

if not cython.compiled:
    from mesh.wire.octets import octets_of

# Code length in bits of symbols 0..255 and of EOS (256); RFC 7541, appendix B.
LENGTHS: bytearray = bytearray(
    int(length)
    for length in re.findall(r"\d+", """
    13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28
    6 10 10 12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10
    13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6
    15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28
    20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24
    22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23
    26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27
    20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26
    30""")
)
# Code of each symbol; and per length: its first code, how many there are, and where its symbols start in ORDER.
CODES: list[int] = [0] * 257
FIRST_CODE: list[int] = [0] * 31
COUNT: list[int] = [0] * 31
OFFSET: list[int] = [0] * 31
ORDER: list[int] = sorted(range(257), key=lambda symbol: (LENGTHS[symbol], symbol))
# Symbol and length for every octet that starts with a code of at most 8 bits (length 0: the code is longer).
FAST_SYMBOL: bytearray = bytearray(256)
FAST_LENGTH: bytearray = bytearray(256)
SCRATCH: bytearray = bytearray(4096)
WINDOW: int = (1 << 56) - 1  # as many unread bits as one more octet leaves room for


def build_tables() -> None:
    code = 0
    previous = LENGTHS[ORDER[0]]
    for position, symbol in enumerate(ORDER):
        length = LENGTHS[symbol]
        code <<= length - previous
        previous = length
        if not COUNT[length]:
            FIRST_CODE[length] = code
            OFFSET[length] = position
        COUNT[length] += 1
        CODES[symbol] = code
        if length <= 8:
            for rest in range(1 << (8 - length)):
                FAST_SYMBOL[code << (8 - length) | rest] = symbol
                FAST_LENGTH[code << (8 - length) | rest] = length
        code += 1


build_tables()


def huffman_decode(buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> bytes:
    """The text whose code is the `n` octets at `start`.

    HpackError: EOS inside, padding over 7 bits, or padding that is not the beginning of EOS (RFC 7541, section 5.2).
    """
    end: cython.Py_ssize_t = start + n
    if start < 0 or n < 0 or end > len(buf):
        raise IndexError("octets outside the buffer")
    out: bytearray = SCRATCH
    if len(out) < n * 8 // 5 + 1:
        out.extend(bytes(n * 8 // 5 + 1 - len(out)))
    fast_length: bytearray = FAST_LENGTH
    fast_symbol: bytearray = FAST_SYMBOL
    window: cython.ulonglong = 0  # unread bits stand at the low end; what is above them is stale
    bits: cython.int = 0
    position: cython.Py_ssize_t = start
    k: cython.Py_ssize_t = 0
    index: cython.int
    length: cython.int
    symbol: cython.int
    code: cython.longlong
    while True:
        while bits <= 48 and position < end:
            window = ((window << 8) | buf[position]) & WINDOW
            position += 1
            bits += 8
        if bits < 8:
            if bits == 0:
                break
            index = ((window << (8 - bits)) | (0xFF >> bits)) & 0xFF
            length = fast_length[index]
            if length == 0 or length > bits:
                if index != 0xFF:
                    raise HpackError("Huffman padding is not the beginning of EOS")
                break
        else:
            index = (window >> (bits - 8)) & 0xFF
            length = fast_length[index]
        if length:
            out[k] = fast_symbol[index]
            k += 1
            bits -= length
            continue
        for length in range(10, 31):
            if length > bits:
                raise HpackError("Huffman padding is too long")
            code = (window >> (bits - length)) & ((1 << length) - 1)
            code -= cython.cast(cython.longlong, FIRST_CODE[length])
            if 0 <= code < cython.cast(cython.longlong, COUNT[length]):
                break
        else:
            raise HpackError("Huffman code is none")
        symbol = ORDER[OFFSET[length] + code]
        if symbol == 256:
            raise HpackError("Huffman text holds EOS")
        out[k] = symbol
        k += 1
        bits -= length
    return octets_of(out, 0, k)


def huffman_length(text: bytes) -> cython.Py_ssize_t:
    """How many octets `text` takes when coded."""
    lengths: bytearray = LENGTHS
    bits: cython.Py_ssize_t = 7
    octet: cython.uchar
    for octet in text:
        bits += lengths[octet]
    return bits >> 3


def huffman_encode(text: bytes) -> bytes:
    """`text` in the Huffman code, padded with the beginning of EOS."""
    lengths: bytearray = LENGTHS
    out: bytearray = bytearray()
    window: cython.ulonglong = 0
    bits: cython.int = 0
    code: cython.ulonglong
    octet: cython.uchar
    for octet in text:
        code = CODES[octet]
        window = ((window << lengths[octet]) | code) & WINDOW
        bits += lengths[octet]
        while bits >= 8:
            bits -= 8
            out.append((window >> bits) & 0xFF)
    if bits:
        out.append(((window << (8 - bits)) | (0xFF >> bits)) & 0xFF)
    return bytes(out)
