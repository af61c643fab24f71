"""HTTP/2 as server: any octets, however cut, cause the same calls and the same output, and none that RFC 9113 forbids.

They end in a ConnectionError_ with its GOAWAY queued, or not at all; a user who answers, resets or leaves in the
middle of it changes none of that; and where the `h2` package is content it was told the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import h2_frames
import h2_oracle
import h2_play
from h2_frames import PREFACE, data, frame, headers, settings, some_frame, word
from hpack_blocks import NAMES, REQUEST, SECTIONS, TRAILERS

MAX_LEN = 5000
TOKENS = (*NAMES, PREFACE, settings(), data(1, b""), word(h2_frames.WINDOW_UPDATE, 0, 10), b"\0\0\x04\x03\0\0\0\0\1")


def seeds() -> list[bytes]:
    rng = random.Random(2)
    start = PREFACE + settings()
    found = [
        bytes((way, way))
        + start
        + headers(1, REQUEST)
        + data(1, b"abc")
        + data(1, b"", True)
        + headers(3, REQUEST, True)
        + word(8, 0, 1000)
        + frame(4, 1, 0, b"")
        for way in range(8)
    ]
    found += [b"\0\0" + start + headers(1, section, True) for section in SECTIONS]
    found += [
        bytes((9, rng.randrange(256)))
        + start
        + headers(1, REQUEST)
        + b"".join(some_frame(rng, False) for _ in range(6))
        for _ in range(40)
    ]
    found += [
        b"\1\0" + start + headers(1, REQUEST) + headers(1, TRAILERS, True),
        b"\0\0" + PREFACE[:10],
        b"\0\0GET / HTTP/1.1\r\n",
    ]
    return found


def mutate(octets: bytes, rng: random.Random, native: Callable[[bytes], bytes]) -> bytes:
    if len(octets) < 2 or rng.random() < 0.1:
        return bytes((rng.randrange(256), rng.choice((0, 0, rng.randrange(256))))) + octets[2:]
    return octets[:2] + h2_frames.mutate(octets[2:], rng, native, False)


def compare(octets: bytes, ours: tuple[Any, ...]) -> None:
    h2_oracle.compare(False, [], octets, ours)


def run(octets: bytes) -> object:
    return h2_play.run(octets, False, compare)
