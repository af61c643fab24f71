# cython: language_level=3, wraparound=False, initializedcheck=False, boundscheck=False
"""A gRPC caller that costs next to nothing, so that the proxy is what saturates.

What lives here: calls kept in flight, and telling success from failure by the shape of the answer: headers, as many
bytes as expected, trailers. What this must not know: proxies, processes.
"""

from __future__ import annotations

from typing import Any

import cython
from cython.cimports.engine import Engine, connect_to
from cython.cimports.h2conn import H2Conn
from cython.cimports.libc.string import memcpy
from h2bits import PREFACE, settings

DATA = cython.declare(cython.int, 0)
HEADERS = cython.declare(cython.int, 1)
RST_STREAM = cython.declare(cython.int, 3)
END_STREAM = cython.declare(cython.int, 1)
END_HEADERS = cython.declare(cython.int, 4)
SLOTS = cython.declare(cython.int, 4096)
OVERDUE = cython.declare(cython.longlong, 100_000_000)
ROOM = cython.declare(cython.Py_ssize_t, (1 << 20) - 65_536)


class Caller(H2Conn):
    """One connection: `streams` calls in flight, the next one sent as soon as one is answered, or when it is due.

    `mode` "u": unary; "s": one request, `rounds` messages in answer, each counted as done; "b": `rounds` messages
    there and back on each stream, one at a time, each counted.
    """

    def __init__(self, engine: Engine, histogram: Any, rate: float, phase: float, port: int, turn: int, streams: int,
                 blocks: Any, body: bytes, answer: int, mode: str, rounds: int) -> None:
        H2Conn.__init__(self, engine, histogram, rate, phase)
        slot: cython.int
        self.blocks = blocks
        self.body = body
        self.mode = ord(mode)
        self.answer = answer
        self.rounds = rounds
        self.expect = answer * rounds
        self.streams = streams
        self.next_id = 1
        self.messages = [body] * SLOTS
        for slot in range(SLOTS):
            self.begun[slot] = 0
        hello: bytes = PREFACE + settings(1 << 24)
        memcpy(self.outbox, cython.cast(cython.p_const_uchar, hello), len(hello))
        self.out = len(hello)
        self.fd = connect_to(port, turn)
        engine.add(self)
        engine.watch(self, True)

    def has_room(self) -> cython.bint:
        return self.inflight < self.streams and self.inflight < self.max_streams

    def fill(self, now: cython.longlong) -> cython.int:
        """Open the streams that are due."""
        block: bytes
        slot: cython.int
        due: cython.longlong
        opened: cython.bint = False
        if self.closed:
            return 0
        while self.inflight < self.streams and self.inflight < self.max_streams and self.out < ROOM:
            due = now
            if self.interval > 0:
                if self.due > now:
                    break
                due = cython.cast(cython.longlong, self.due)
                self.due += self.interval
            slot = self.begin(self.next_id)
            self.begun[slot] = due
            self.heads[slot] = 0
            self.got[slot] = 0
            self.turns[slot] = 1
            block = self.blocks.next()
            self.put(HEADERS, END_HEADERS, self.next_id, block, len(block))
            self.ends[slot] = self.mode != ord("b") or self.rounds == 1
            self.more(slot, len(self.body))
            self.next_id += 2
            self.inflight += 1
            opened = True
        if opened:
            self.pump()
            if not self.wants_out:
                self.flush()
        return 0

    def settle(self, now: cython.longlong) -> cython.int:
        slot: cython.int
        for slot in range(SLOTS):
            if self.open[slot] and self.begun[slot] < now - OVERDUE:
                self.histogram.add((now - self.begun[slot]) // 1000)
        return H2Conn.settle(self, now)

    def on_ready(self, events: cython.uint, now: cython.longlong) -> cython.int:
        H2Conn.on_ready(self, events, now)
        return 0 if self.closed or self.interval > 0 else self.fill(now)

    def on_frame(self, kind: cython.int, flags: cython.int, sid: cython.longlong, payload: cython.p_const_uchar,
                 n: cython.Py_ssize_t, now: cython.longlong) -> cython.int:
        slot: cython.int = cython.cast(cython.int, (sid >> 1) % SLOTS)
        if not self.open[slot] or self.stream_id[slot] != sid:
            return 0
        if kind == HEADERS:
            if not flags & END_STREAM:
                self.heads[slot] += 1
            elif self.heads[slot] == 1 and self.got[slot] == self.expect:
                self.finish(slot, now, None)
            else:
                self.finish(slot, now, f"answer of {self.got[slot]} bytes")
        elif kind == DATA:
            self.on_data(slot, n, now)
            if flags & END_STREAM:
                self.finish(slot, now, "answer without trailers")
        elif kind == RST_STREAM:
            self.finish(slot, now, f"RST_STREAM {payload[3]}")
        return 0

    def on_data(self, slot: cython.int, n: cython.Py_ssize_t, now: cython.longlong) -> cython.int:
        before: cython.longlong = self.got[slot] // self.answer
        self.got[slot] += n
        if self.mode == ord("u"):
            return 0
        complete: cython.longlong = self.got[slot] // self.answer - before
        if self.mode == ord("s"):
            self.done += complete
        elif complete:
            self.count(self.begun[slot], now)
            if self.turns[slot] < self.rounds:
                self.turns[slot] += 1
                self.begun[slot] = now
                self.ends[slot] = self.turns[slot] == self.rounds
                self.more(slot, len(self.body))
        return 0

    def finish(self, slot: cython.int, now: cython.longlong, why: object) -> cython.int:
        self.open[slot] = False
        self.inflight -= 1
        if why is not None:
            return self.fail(why)
        if self.mode == ord("u"):
            self.count(self.begun[slot], now)
        return 0
