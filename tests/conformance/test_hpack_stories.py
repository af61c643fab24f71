"""Stories: header blocks in sequence over one dynamic table, in the format of hpack-test-case (RFC 7541).

Those in `stories/` are of other encoders (`make_stories.py`): a decoder that is out of step anywhere fails on a later
block. Any directory of hpack-test-case's own stories can be given: `HPACK_STORIES=dir python -m pytest …`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import hpack
import pytest

from mesh.wire.errors import HpackError
from mesh.wire.hpack import Block, Decoder, Encoder, literal, make_head

OWN = Path(__file__).resolve().parent / "stories"
FILES = sorted(path for folder in (OWN, *map(Path, filter(None, [os.environ.get("HPACK_STORIES")])))
               for path in folder.rglob("story_*.json"))  # fmt: skip
PER_CALL = (b"traceparent", b"tracestate", b"grpc-timeout")
Fields = list[tuple[bytes, bytes]]


def fields_of(case: dict[str, Any]) -> Fields:
    return [(name.encode("latin-1"), value.encode("latin-1"))
            for field in case["headers"] for name, value in field.items()]  # fmt: skip


def expected(fields: Fields) -> Fields:
    """What differs from call to call is kept apart, and comes last here."""
    return [field for field in fields if field[0] not in PER_CALL] + sorted(
        field for field in fields if field[0] in PER_CALL)


def told(block: Block) -> Fields:
    call = [(b"grpc-timeout", block.grpc_timeout), (b"traceparent", block.traceparent),
            (b"tracestate", block.tracestate)]  # fmt: skip
    return [(field.name, field.value) for field in block.head.fields] + [
        (name, value) for name, value in call if value is not None]  # fmt: skip


def blocks(path: Path) -> list[tuple[bytes, int | None, Fields]]:
    """(octets, table size announced before them or None for no change, fields)."""
    out = []
    before = 4096
    for case in json.loads(path.read_text())["cases"]:
        size = case.get("header_table_size", before)
        out.append((bytes.fromhex(case["wire"]), None if size == before else size, fields_of(case)))
        before = size
    return out


def test_there_are_stories_of_each_kind() -> None:
    texts = [json.loads(path.read_text())["description"] for path in FILES if path.parent == OWN]
    for words in ("requests by hpack", "responses by hpack", "requests by nghttp2", "responses by nghttp2",
                  "table 0,", "table 64,", "table 16384,", "changes [0, 4096]", "changes [100, 2000, 50]",
                  "no Huffman"):  # fmt: skip
        assert any(words in text for text in texts), words


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_decode(path: Path) -> None:
    decoder = Decoder()
    for octets, size, fields in blocks(path):
        if size is not None:
            decoder.set_limit(size)
        buf = bytearray(b"\0" + octets + b"\0")
        assert told(decoder.decode(buf, 1, 1 + len(octets))) == expected(fields)
        assert decoder.size <= decoder.max_size <= decoder.limit


@pytest.mark.parametrize("encoder", ["requests by hpack, table 4096, changes []",
                                     "requests by nghttp2, table 4096, changes []"])  # fmt: skip
def test_a_block_left_out_is_noticed(encoder: str) -> None:
    """The stories can tell a table in step from one that isn't."""
    every = next(blocks(path) for path in FILES if encoder in path.read_text())
    wrong = 0
    for left_out in range(len(every) - 1):
        decoder = Decoder(1 << 16)
        for number, (octets, _, fields) in enumerate(every):
            if number == left_out:
                continue
            try:
                wrong += told(decoder.decode(bytearray(octets), 0, len(octets))) != expected(fields)
            except HpackError:
                wrong += 1
    assert wrong > len(every)


@pytest.mark.parametrize("path", FILES[::4], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_encode(path: Path) -> None:
    """What we make of the same fields is understood by another decoder, whatever table size it announced."""
    encoder, decoder = Encoder(), hpack.Decoder(max_header_list_size=1 << 20)
    for _, size, fields in blocks(path):
        if size is not None:
            encoder.set_max_table(size)
            decoder.max_allowed_table_size = size
        call = [field for field in fields if field[0] in PER_CALL]
        octets = encoder.encode(make_head([field for field in fields if field[0] not in PER_CALL]))
        octets += b"".join(literal(name, value) for name, value in sorted(call))
        assert [(bytes(name), bytes(value)) for name, value in decoder.decode(octets, raw=True)] == expected(fields)
