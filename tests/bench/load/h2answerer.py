# cython: language_level=3, wraparound=False, initializedcheck=False, boundscheck=False
"""A gRPC server that costs next to nothing. It never looks into a header block; the request's message says what to do.

What lives here: the first bytes of a message (`h2bits.order`) say how many messages of which size come back. What says
nothing of the kind, as exported spans, is thrown away and answered by an empty message. What this must not know:
proxies, processes.
"""

from __future__ import annotations

from typing import Any

import cython
from cython.cimports.engine import Engine
from cython.cimports.h2conn import H2Conn
from cython.cimports.libc.string import memcpy
from h2bits import message, settings, string

DATA = cython.declare(cython.int, 0)
HEADERS = cython.declare(cython.int, 1)
RST_STREAM = cython.declare(cython.int, 3)
END_STREAM = cython.declare(cython.int, 1)
END_HEADERS = cython.declare(cython.int, 4)
SLOTS = cython.declare(cython.int, 4096)
ORDER = cython.declare(cython.int, 14)  # octets of a message that hold its prefix and the order


class Answerer(H2Conn):
    """One connection of the server."""

    def __init__(self, engine: Engine, fd: int, ready: dict[Any, bytes]) -> None:
        H2Conn.__init__(self, engine, None, 0.0, 0.0)
        self.fd = fd
        self.ready = ready
        self.server = True  # streams end by trailers
        hello: bytes = settings(1 << 24)
        memcpy(self.outbox, cython.cast(cython.p_const_uchar, hello), len(hello))
        self.out = len(hello)

    def on_frame(self, kind: cython.int, flags: cython.int, sid: cython.longlong, payload: cython.p_const_uchar,
                 n: cython.Py_ssize_t, now: cython.longlong) -> cython.int:
        slot: cython.int = cython.cast(cython.int, (sid >> 1) % SLOTS)
        if kind == HEADERS and (not self.open[slot] or self.stream_id[slot] != sid):
            self.begin(sid)
            self.got[slot] = 0
            self.mode[slot] = 0
            if flags & END_STREAM:
                self.on_data(slot, payload, 0, True)
        elif kind == DATA and self.stream_id[slot] == sid:
            self.on_data(slot, payload, n, flags & END_STREAM)
        elif kind == RST_STREAM and self.stream_id[slot] == sid:
            self.open[slot] = False
        return 0

    def on_data(self, slot: cython.int, payload: cython.p_const_uchar, n: cython.Py_ssize_t,
                last: cython.bint) -> cython.int:
        before: cython.longlong = self.got[slot]
        self.got[slot] += n
        head: cython.p_uchar = self.head + slot * ORDER
        if before < ORDER and n:
            memcpy(head + before, payload, min(n, ORDER - before))
        if not self.mode[slot] and (self.got[slot] >= ORDER or last):
            self.start(slot)
            before = 0
        if self.mode[slot] == ord("b"):
            self.more(slot, len(self.messages[slot])
                      * (self.got[slot] // self.request[slot] - before // self.request[slot]))
        if last:
            self.ends[slot] = True
            if self.mode[slot] == ord("s"):
                self.more(slot, len(self.messages[slot]) * (head[10] << 24 | head[11] << 16 | head[12] << 8 | head[13]))
            elif self.mode[slot] == ord("u"):
                self.more(slot, len(self.messages[slot]))
            else:
                self.more(slot, 0)
        return 0

    def start(self, slot: cython.int) -> cython.int:
        """The order is here: send headers."""
        head: cython.p_uchar = self.head + slot * ORDER
        size: cython.longlong = head[6] << 24 | head[7] << 16 | head[8] << 8 | head[9]
        if self.got[slot] >= ORDER and head[5] in (ord("u"), ord("s"), ord("b")):
            self.mode[slot] = head[5]
        else:
            self.mode[slot] = ord("u")
            size = 0
        self.request[slot] = 5 + (head[1] << 24 | head[2] << 16 | head[3] << 8 | head[4])
        found: object = self.ready.get(size)
        if found is None:
            found = self.ready[size] = message(size)
        self.messages[slot] = found
        block: bytes
        if self.answered and self.indexed:
            block = b"\x88\xbf"  # :status 200, content-type; grpc-status is the newest entry
        else:
            block = b"\x88" + self.way() + string(b"content-type") + string(b"application/grpc")
        return self.put(HEADERS, END_HEADERS, self.stream_id[slot], block, len(block))

    def way(self) -> bytes:
        """How a literal is written: entered into the table, or not."""
        return b"\x40" if self.indexed else b"\x00"

    def all_sent(self, slot: cython.int) -> cython.int:
        block: bytes = b"\xbe"
        if not (self.answered and self.indexed):
            block = self.way() + string(b"grpc-status") + string(b"0")
            self.answered = True
        self.open[slot] = False
        return self.put(HEADERS, END_HEADERS | END_STREAM, self.stream_id[slot], block, len(block))


def serve(listener: int) -> None:
    """Answer every call on `listener` for ever."""
    ready: dict[Any, bytes] = {}
    engine = Engine()
    engine.serve(listener, lambda engine, fd: Answerer(engine, fd, ready))
