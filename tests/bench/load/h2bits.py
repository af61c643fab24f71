# cython: language_level=3, wraparound=False, initializedcheck=False, boundscheck=False
"""What load and backend share of HTTP/2 and HPACK: a few frames, and header blocks that vary as real clients' do.

What lives here: bytes made of values. What this must not know: sockets, time. Compiled by the benchmark into
build/bench, as h2caller and h2answerer are.
"""

from __future__ import annotations

import struct
from typing import Any

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW = 1 << 24
BUFFER = 1 << 18


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IBBI", len(payload) << 8 | kind, flags, 0, 0)[:5] + struct.pack(">I", stream) + payload


def settings(initial_window: int) -> bytes:
    """SETTINGS with INITIAL_WINDOW_SIZE, and the connection's window opened as wide."""
    return (frame(4, 0, 0, struct.pack(">HI", 4, initial_window))
            + frame(8, 0, 0, struct.pack(">I", initial_window - 65_535)))


def message(size: int, order: bytes = b"") -> bytes:
    """A gRPC message of `size` bytes with its 5-byte prefix, beginning with `order`."""
    return struct.pack(">BI", 0, size) + order + b"m" * (size - len(order))


def order(mode: str, size: int, count: int) -> bytes:
    """What the server is to do. "u": answer with a message of `size` bytes, "s": with `count`, "b": one for each."""
    return mode.encode() + struct.pack(">II", size, count)


def string(value: bytes) -> bytes:
    """A HPACK string without Huffman coding, up to 254 bytes."""
    if len(value) < 127:
        return bytes([len(value)]) + value
    return bytes([127, len(value) - 127]) + value


class Table:
    """The sender's side of a HPACK dynamic table of 4096 bytes. Entries are known by a key."""

    def __init__(self) -> None:
        self.entries: list[Any] = []  # (key, size), newest last
        self.size = 0
        self.inserted = 0
        self.at: dict[Any, int] = {}

    def insert(self, key: Any, size: int) -> None:
        while self.size + size > 4096:
            old, old_size = self.entries.pop(0)
            self.size -= old_size
            if self.at.get(old) == self.inserted - len(self.entries) - 1:
                del self.at[old]
        self.entries.append((key, size))
        self.size += size
        self.at[key] = self.inserted
        self.inserted += 1

    def index(self, key: Any) -> int:
        """Index of an entry, 0 if there is none."""
        place = self.at.get(key)
        return 0 if place is None else 61 + self.inserted - place

    def field(self, name: bytes, value: bytes) -> bytes:
        """An indexed field; it is entered into the table if it is not there."""
        if (name, value) == (b":method", b"POST"):
            return b"\x83"
        if (name, value) == (b":scheme", b"http"):
            return b"\x86"
        index = self.index((name, value))
        if index:
            return bytes([0x80 | index]) if index < 127 else bytes([0xFF, index - 127])
        self.insert((name, value), 32 + len(name) + len(value))
        return b"\x40" + string(name) + string(value)

    def name(self, name: bytes, size: int) -> bytes:
        """What precedes the value of a field that is entered anew, `size` bytes as the table counts them."""
        index = self.index(name)
        self.insert(name, size)  # by name only: the value never comes again
        if not index:
            return b"\x40" + string(name)
        return bytes([0x40 | index]) if index < 63 else bytes([0x7F, index - 63])


SETTLE = 512  # calls after which a table that gets entries of equal sizes repeats itself


def indexed_parts(fields: list[tuple[bytes, bytes]]) -> tuple[list[tuple[bytes, bytes, bytes]], int]:
    """What surrounds the values of traceparent (55 bytes) and grpc-timeout (7) when both enter the table at each call.

    Returns (before traceparent, between, ...) per call, and the period with which the list repeats from SETTLE on.
    """
    table = Table()
    parts = []
    for _ in range(3 * SETTLE):
        stable = b"".join([table.field(name, value) for name, value in fields])
        parts.append((stable, table.name(b"traceparent", 98), table.name(b"grpc-timeout", 51)))
    for period in range(1, SETTLE):
        if parts[SETTLE:2 * SETTLE] == parts[SETTLE + period:2 * SETTLE + period]:
            return parts[:SETTLE + period], period
    raise ValueError("no period: the fields do not fit the table")


class Blocks:
    """Makes the header block of each call of one connection. `fields` is the part that repeats.

    `vary` is what differs from call to call: "" nothing, "literal" traceparent and grpc-timeout as literals that leave
    the dynamic table alone (grpc C-core does so), "indexed" the same two entered into the table (grpc-go and nghttp2 do
    so, and thereby shift every index and evict), "path" the :path, "all" the :path, the same two and a request id as
    literals. `pool` (traceparent, grpc-timeout) and `paths` hold
    HPACK strings.
    """

    def __init__(self, fields: list[tuple[bytes, bytes]], vary: str, pool: list[tuple[bytes, bytes]],
                 paths: list[bytes]) -> None:
        self.vary = vary
        self.pool = pool
        self.paths = paths
        self.turn = 0
        table = Table()
        self.first = b"".join([table.field(name, value) for name, value in fields])
        self.stable = b"".join([table.field(name, value) for name, value in fields])
        self.parts, self.period = indexed_parts(fields) if vary == "indexed" else ([], 1)

    def next(self) -> bytes:
        turn = self.turn
        self.turn = turn + 1
        if self.vary == "indexed":
            at = turn if turn < SETTLE else SETTLE + (turn - SETTLE) % self.period
            stable, before, between = self.parts[at]
            parent, timeout = self.pool[turn % len(self.pool)]
            return b"".join((stable, before, parent, between, timeout))
        stable = self.stable if turn else self.first
        if self.vary == "literal":
            parent, timeout = self.pool[turn % len(self.pool)]
            return b"".join((stable, b"\x00\x0btraceparent", parent, b"\x00\x0cgrpc-timeout", timeout))
        if self.vary == "path":
            return b"\x04" + self.paths[turn % len(self.paths)] + stable
        if self.vary == "all":
            parent, timeout = self.pool[turn % len(self.pool)]
            return b"".join((b"\x04", self.paths[turn % len(self.paths)], stable, b"\x00\x0btraceparent", parent,
                             b"\x00\x0cgrpc-timeout", timeout, b"\x00\x0cx-request-id", parent))
        return stable
