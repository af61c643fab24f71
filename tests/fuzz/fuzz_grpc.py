"""gRPC: messages are the same however the octets are cut, timeouts and status texts survive being written and read.

The first octet of an input says which of the three the rest is, and how it is cut.
"""

from __future__ import annotations

import random
import re
from urllib.parse import unquote_to_bytes

from mesh.wire.errors import MessageError
from mesh.wire.grpc import (
    MessageDecoder,
    decode_message,
    encode_message,
    format_timeout,
    frame,
    grpc_status_of,
    parse_timeout,
)

MAX_LEN = 300
TOKENS = (
    b"\0\0\0\0\0",
    b"\0\0\0\0\1",
    b"\1\0\0\0\1",
    b"\0\0\0\0\x64",
    b"99999999",
    b"H",
    b"M",
    b"S",
    b"m",
    b"u",
    b"n",
    b"%25",
    b"%e2%98%83",
    b"%",
    b"%f",
)
TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])", re.DOTALL)
SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
LIMIT = 100


def seeds() -> list[bytes]:
    return [
        b"\0" + frame(b"") + frame(b"abc") + frame(b"x" * 100),
        b"\x04" + frame(b"x" * 101),
        b"\x08" + frame(b"compressed", True),
        *(b"\x01" + value for value in (b"1H", b"20M", b"3S", b"500m", b"1u", b"99999999n", b"123456789m", b"m")),
        *(b"\x02" + value for value in (b"not found", b"100%25", b"%e2%98%83 snow", b"%zz", "Zürich".encode())),
    ]


def messages(data: bytes, cuts: random.Random) -> object:
    """The messages of `data` fed in pieces, and why no more."""
    decoder = MessageDecoder(LIMIT)
    found: list[bytes] = []
    at = 0
    while at < len(data):
        n = cuts.choice((1, 4, 7, 30, 1000))
        try:
            found += decoder.feed(data[at : at + n])
        except MessageError as error:
            return found, str(error)
        assert decoder.pending < 5 + LIMIT
        at += n
    assert b"".join(frame(message) for message in found) == data[: len(data) - decoder.pending]
    return found, decoder.pending


def timeout(value: bytes) -> object:
    seconds = parse_timeout(value)
    match = TIMEOUT.fullmatch(value)
    assert (seconds >= 0.0) == (match is not None)
    if match is None:
        return seconds
    assert abs(seconds - int(match[1]) * SECONDS[match[2]]) <= 1e-9 * seconds
    written = format_timeout(seconds)
    again = parse_timeout(written)
    # Rounded down but for a thousandth of the unit, in a unit that loses at most a thousandth, and never to nothing.
    assert 0.0 < again <= max(seconds * (1 + 1e-7) + 1e-9, 1e-6)
    assert seconds < 0.001 or again > seconds * 0.999
    return written


def run(data: bytes) -> object:
    if not data:
        return [grpc_status_of(status) for status in range(100, 600)]
    kind, rest = data[0] & 3, data[1:]
    if kind == 0:
        told = messages(rest, random.Random(data[0]))
        whole: list[bytes] = []
        try:
            whole = MessageDecoder(LIMIT).feed(rest)
        except MessageError:
            pass
        else:
            assert told[0] == whole  # type: ignore[index]
        return told
    if kind == 1:
        return timeout(rest)
    text = decode_message(rest)
    assert text == unquote_to_bytes(rest).decode("utf-8", "replace")
    written = encode_message(text)
    assert decode_message(written) == text
    assert all(0x20 <= octet <= 0x7E for octet in written)
    return text, written
