from __future__ import annotations

import pytest

from mesh.wire.blockmemo import memorise, recall, skim
from mesh.wire.hpack import literal
from mesh.wire.huffman import huffman_encode
from mesh.wire.octets import hash_at

PARENT = literal(b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
CODED = huffman_encode(b"grpc-timeout")


@pytest.mark.parametrize(
    ("octets", "stable"),
    [
        (b"", 0),
        (b"\x82\x87\xbd", 3),
        (b"\x04\x02/a", 4),
        (b"\x14\x02/a", 4),
        (b"\x0f\x10\x01x", 4),
        (b"\x00\x01a\x01b", 5),
        (b"\x10\x01a\x01b", 5),
        (b"\x00\x01a\x7f\x01" + b"v" * 128, 133),
        (b"\x82" + PARENT, 1),
        (b"\x82" + PARENT + b"\x82", 1),
        (PARENT, 0),
        (b"\x82\x40" + PARENT[1:], 1),
        (b"\x82\x10" + PARENT[1:], 1),
        (b"\x82\x00" + bytes((0x80 | len(CODED),)) + CODED + b"\x011", 1),
    ],
)
def test_what_no_table_has_to_do_with(octets: bytes, stable: int) -> None:
    assert skim(bytearray(b".." + octets + b".."), 2, 2 + len(octets)) == 2 + stable


@pytest.mark.parametrize(
    "octets",
    [
        b"\xbe",
        b"\xff\x00",
        b"\x80",
        b"\x20",
        b"\x82\x3f\xe1\x1f",
        b"\x41\x01a",
        b"\x40\x01a\x01b",
        b"\x7e\x01a",
        b"\x0f\x2f\x01a",
        b"\x0f",
        b"\x00",
        b"\x00\x01",
        b"\x00\x01a",
        b"\x00\x01a\x05b",
        b"\x04\x02/",
        b"\x0f\xff\x01\x01a",
        b"\x00\x01a\x7f",
        b"\x00\x01a\x7f\xff\x01",
    ],
)
def test_what_has_to_be_decoded(octets: bytes) -> None:
    assert skim(bytearray(octets), 0, len(octets)) == -1


def test_the_second_meeting_is_remembered() -> None:
    octets = bytearray(b"..\x82\x04\x10/blockmemo/test/")
    h = hash_at(octets, 2, len(octets) - 2, 1)
    meaning = object()
    assert recall(octets, 2, len(octets) - 2, h) is None
    memorise(bytes(octets[2:]), h, meaning)
    assert recall(octets, 2, len(octets) - 2, h) is None
    memorise(bytes(octets[2:]), h, meaning)
    assert recall(octets, 2, len(octets) - 2, h) is meaning
    assert recall(octets, 3, len(octets) - 3, h) is None, "the octets are compared, not only their hash"


def test_a_set_keeps_the_two_used_last() -> None:
    parts = [bytearray(b"part %d" % i) for i in range(3)]
    hashes = [0x1234_5600_0000_0000 + (i << 33) + 77 for i in range(3)]

    def meet(i: int) -> object:
        meaning = recall(parts[i], 0, 6, hashes[i])
        if meaning is None:
            memorise(bytes(parts[i]), hashes[i], parts[i])
        return meaning

    assert [meet(i) for i in (0, 0, 0, 1, 1, 1)] == [None, None, parts[0], None, None, parts[1]]
    assert meet(0) is parts[0]  # 1 has not been used for longer: it makes room
    assert [meet(2) for _ in range(3)] == [None, None, parts[2]]
    assert meet(0) is parts[0]
    assert meet(1) is None
