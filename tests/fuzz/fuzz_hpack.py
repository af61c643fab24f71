"""HPACK, reading: block after block of one connection means what `hpack` says it means, or both refuse it.

Then the dynamic tables hold the same, and what we encode of a section is that section again, to `hpack` and to us. What
the caches know changes nothing: all is done three times, since a thing is remembered when it was met twice.

An input: an octet of options, then blocks, each behind its length in one octet (0xFF: two more have it).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import hpack
from hpack_blocks import NAMES, representation, section

from mesh.wire.errors import HeaderListTooLarge, HpackError
from mesh.wire.hpack import Block, Decoder, Encoder, literal

MAX_LEN = 1500
TOKENS = NAMES
PER_CALL = (b"traceparent", b"tracestate", b"grpc-timeout")
TABLES = (4096, 4096, 100, 0)
LISTS = (65536, 65536, 65536, 150)
Told = list[tuple[bytes, bytes, bool]]


def split(data: bytes) -> list[bytes]:
    blocks, at = [], 0
    while at < len(data):
        n = data[at]
        at += 1
        if n == 255:
            n = int.from_bytes(data[at : at + 2], "big")
            at += 2
        blocks.append(data[at : at + n])
        at += n
    return blocks


def join(blocks: list[bytes]) -> bytes:
    return b"".join(
        (bytes((len(block),)) if len(block) < 255 else b"\xff" + len(block).to_bytes(2, "big")) + block
        for block in blocks
    )


def seeds() -> list[bytes]:
    rng = random.Random(1)
    found = [bytes((options,)) + join([section(rng) for _ in range(4)]) for options in range(16)]
    found += [b"\0" + join([representation(rng) for _ in range(6)]) for _ in range(20)]
    encoder = hpack.Encoder()
    blocks = [
        encoder.encode([(b":method", b"GET"), (b":path", b"/%d" % i), (b"cookie", b"secret%d" % i, True)])
        for i in range(3)
    ]
    return [*found, b"\0" + join(blocks)]


def mutate(data: bytes, rng: random.Random, native: Callable[[bytes], bytes]) -> bytes:
    options, blocks = data[:1] or b"\0", split(data[1:])
    at = rng.randrange(len(blocks) + 1)
    what = rng.randrange(9)
    if what == 0:
        blocks.insert(at, section(rng))
    elif what == 1 and blocks:
        blocks.insert(at, rng.choice(blocks))
    elif what == 2 and len(blocks) > 1:
        del blocks[at - 1]
    elif what == 3:
        options = bytes((rng.randrange(256),))
    elif what < 6 and blocks:
        block = blocks[at - 1]
        cut = rng.choice((0, len(block), rng.randrange(len(block) + 1)))
        blocks[at - 1] = block[:cut] + representation(rng) + block[cut:]
    elif blocks:
        blocks[at - 1] = native(blocks[at - 1])
    else:
        blocks.append(representation(rng))
    return options + join(blocks)


def oracle(size: int) -> hpack.Decoder:
    decoder = hpack.Decoder(max_header_list_size=1 << 30)
    decoder.header_table_size = decoder.max_allowed_table_size = size
    return decoder


def read(decoder: hpack.Decoder, block: bytes) -> Told | None:
    """What the oracle makes of a block; None: nothing."""
    try:
        fields = decoder.decode(block, raw=True)
    except hpack.HPACKError:
        return None
    return [(bytes(field[0]), bytes(field[1]), not field.indexable) for field in fields]


def pick(told: Told, name: bytes) -> list[bytes]:
    return [value for key, value, _ in told if key == name]


def compare(block: Block, told: Told) -> None:
    """A block that we took says what the oracle says."""
    rest = [field for field in told if field[0] not in PER_CALL]
    assert [(field.name, field.value, field.sensitive) for field in block.head.fields] == rest
    parents, states, timeouts = (pick(told, name) for name in PER_CALL)
    assert block.traceparent == (None if not parents else parents[0] if len(parents) == 1 else b"")
    assert block.tracestate == (b",".join(states) if states else None)
    assert block.grpc_timeout == (timeouts[-1] if timeouts else None)
    assert block.head.size == sum(32 + len(name) + len(value) for name, value, _ in rest)


def check_writing(block: Block) -> None:
    """Encode what was read: it must mean the same, and what must not be indexed stays so.

    The octets may differ from one time to the next: a section that repeats is sent on in those it came in.
    """
    values = block.traceparent, block.tracestate, block.grpc_timeout
    tail = b"".join(literal(name, value) for name, value in zip(PER_CALL, values, strict=True) if value is not None)
    code = Encoder().encode(block.head) + tail
    told = read(oracle(4096), code)
    assert told is not None
    if block.traceparent != b"":
        compare(block, told)
    again = Decoder(4096, 1 << 30).decode(bytearray(code), 0, len(code))
    assert repr(again) == repr(block)


def table(decoder: Decoder, size: int) -> list[tuple[bytes, bytes]]:
    """The dynamic table of ours, asked for entry by entry; the one behind the last is refused."""
    entries = []
    for index in range(62, 62 + size + 1):
        probe = bytearray((0xFF, *((index - 127 & 127 | 128, index - 127 >> 7) if index >= 127 else ())))
        if index < 127:
            probe = bytearray((0x80 | index,))
        try:
            block = decoder.decode(probe, 0, len(probe))
        except HpackError:
            assert index == 62 + size
            return entries
        except HeaderListTooLarge:
            entries.append((b"too", b"large"))
            continue
        found = [(field.name, field.value) for field in block.head.fields] or [
            (name, value)
            for name, value in zip(PER_CALL, (block.traceparent, block.tracestate, block.grpc_timeout), strict=True)
            if value is not None
        ]
        entries += found
    raise AssertionError("an entry too many")


def judgement(block: Block) -> tuple[Any, ...]:
    head = block.head
    return (
        head.request_problem,
        head.response_problem,
        head.trailers_problem,
        head.method,
        head.scheme,
        head.authority,
        head.path,
        head.protocol,
        head.status,
        head.is_grpc,
        head.grpc_status,
        head.grpc_message,
        head.content_length,
        head.idempotency_key,
        head.not_delivered,
        head.reason,
        head.size,
    )


def play(data: bytes, told: list[Told | None] | None) -> tuple[list[object], Decoder]:
    """What our decoder makes of the blocks; held against what the oracle `told` where that is given."""
    options = data[0]
    most = LISTS[options >> 2 & 3]
    decoder = Decoder(TABLES[options & 3], most)
    log: list[object] = []
    for number, block in enumerate(split(data[1:])):
        theirs = told[number] if told is not None else None
        framed = bytearray(b"??" + block + b"!!")
        size = sum(32 + len(name) + len(value) for name, value, _ in theirs or ())
        try:
            ours = decoder.decode(framed, 2, 2 + len(block))
        except HeaderListTooLarge:
            log.append("too large")
            assert told is None or (theirs is not None and size > most)
            continue
        except HpackError as error:
            log.append(str(error))
            if theirs is not None:
                raise AssertionError(f"only we refuse: {error}") from error
            break
        check_writing(ours)
        log.append((repr(ours), judgement(ours)))
        if told is None:
            continue
        assert theirs is not None, "taken, though it is none"
        assert size <= most
        compare(ours, theirs)
    return log, decoder


def run(data: bytes) -> object:
    if not data:
        return None
    reference = oracle(TABLES[data[0] & 3])
    told: list[Told | None] = []
    for block in split(data[1:]):
        told.append(read(reference, block))
        if told[-1] is None:
            break
    log, decoder = play(data, told)
    for _ in range(2):
        again, decoder = play(data, None)
        assert again == log
    if told and told[-1] is None:
        return log
    entries = [(bytes(name), bytes(value)) for name, value in reference.header_table.dynamic_entries]
    most = LISTS[data[0] >> 2 & 3]
    assert table(decoder, len(entries)) == [
        entry if 32 + len(entry[0]) + len(entry[1]) <= most else (b"too", b"large") for entry in entries
    ]
    return log
