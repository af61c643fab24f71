"""HPACK, writing: any list of fields that an encoder wrote is that list to every decoder: ours and `hpack` crosswise.

`hpack` writes with Huffman code and dynamic table over several sections, changing its table size in between; we read
it. We write without a table; `hpack` reads it.

An input: lines of fields, `name\\0value`; an empty line ends a section; a line that starts with octet 1 sets the size
of the table, with octet 2 holds a field never to be indexed.
"""

from __future__ import annotations

from itertools import pairwise

import hpack
from hpack_blocks import FIELDS, NAMES, SECTIONS

from mesh.wire.hpack import Decoder, Encoder, make_head

MAX_LEN = 800
TOKENS = (*NAMES, b"\n", b"\n\n", b"\0", b"\n\x01", b"\n\x02")
PER_CALL = (b"traceparent", b"tracestate", b"grpc-timeout")


def line(name: bytes, value: bytes) -> bytes:
    return name.replace(b"\n", b"") + b"\0" + value.replace(b"\n", b"") + b"\n"


def seeds() -> list[bytes]:
    sections = [b"".join(line(*field) for field in section) for section in SECTIONS]
    return [
        *(one + b"\n" + two for one, two in pairwise(sections)),
        b"\n".join(line(*field) for field in FIELDS),
        b"\x01\x40\n" + b"\n".join(sections[:3]) + b"\n\x01\0\n" + sections[0] + b"\n\x01\x7f\n\x02a\0b\n" * 3,
    ]


def run(data: bytes) -> object:
    theirs, ours, reader, writer = hpack.Encoder(), Decoder(), hpack.Decoder(), Encoder()
    log: list[object] = []
    fields: list[tuple[bytes, bytes, bool]] = []
    for text in [*data.split(b"\n"), b""]:
        if text[:1] == b"\x01":
            size = 16 * (text[1] if len(text) > 1 else 0)
            writer.set_max_table(size)
            # The size it has already, set again before it was announced, `hpack` never announces at all.
            if size != theirs.header_table_size:
                theirs.header_table_size = size
        elif text:
            name, _, value = text.lstrip(b"\x02").partition(b"\0")
            fields.append((name, value, text[:1] == b"\x02"))
        elif fields:
            log.append(section(theirs, ours, fields))
            pairs = [(name, value) for name, value, _ in fields]
            code = writer.encode(make_head(pairs))
            assert [(bytes(name), bytes(value)) for name, value in reader.decode(code, raw=True)] == pairs
            log.append(code)
            fields = []
    return log


def section(theirs: hpack.Encoder, ours: Decoder, fields: list[tuple[bytes, bytes, bool]]) -> object:
    log = []
    for huffman in (False, True):
        code = theirs.encode(fields, huffman=huffman)
        block = ours.decode(bytearray(code), 0, len(code))
        meant = [field for field in fields if field[0] not in PER_CALL]
        assert [(field.name, field.value) for field in block.head.fields] == [field[:2] for field in meant]
        # A field that is in a table already `hpack` sends as an index, never to be indexed or not.
        assert all(field[2] for field, read in zip(meant, block.head.fields, strict=True) if read.sensitive)
        states = [value for name, value, _ in fields if name == b"tracestate"]
        assert (block.tracestate or b"") == b",".join(states)
        log.append((repr(block), block.head.request_problem, block.head.response_problem))
    return log
