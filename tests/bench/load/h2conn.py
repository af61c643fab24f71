# cython: language_level=3, wraparound=False, initializedcheck=False, boundscheck=False
"""One HTTP/2 connection of load or backend: frames, both directions' flow control, fair turns among streams.

What lives here: just enough of RFC 9113 for messages of any size. A stream is known by its slot, (id / 2) modulo 4096.
What this must not know: what a header block says, who calls whom.
"""

from __future__ import annotations

import os
from typing import Any

import cython
from cython.cimports.csock import EAGAIN, EPOLLOUT, MSG_NOSIGNAL, errno, recv, send
from cython.cimports.engine import Client, Engine
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import memcpy, memmove

DATA = cython.declare(cython.int, 0)
SETTINGS = cython.declare(cython.int, 4)
PING = cython.declare(cython.int, 6)
GOAWAY = cython.declare(cython.int, 7)
WINDOW_UPDATE = cython.declare(cython.int, 8)
END_STREAM = cython.declare(cython.int, 1)
ACK = cython.declare(cython.int, 1)
SLOTS = cython.declare(cython.int, 4096)
WINDOW = cython.declare(cython.longlong, 1 << 24)
IN_BYTES = cython.declare(cython.Py_ssize_t, 1 << 20)
OUT_BYTES = cython.declare(cython.Py_ssize_t, 1 << 20)
RESERVE = cython.declare(cython.Py_ssize_t, 65_536)  # of the outbox, for what may not wait
FRAME = cython.declare(cython.longlong, 16_384)
TURN = cython.declare(cython.int, 16)  # DATA frames of one stream before the next one's turn


class H2Conn(Client):
    """A connection. `messages[slot]` is what a stream sends, again and again while `left[slot]` bytes are to go."""

    def __init__(self, engine: Engine, histogram: Any, rate: float, phase: float) -> None:
        slot: cython.int
        Client.__init__(self, engine, histogram, rate, phase)
        self.inbox = cython.cast(cython.p_uchar, malloc(IN_BYTES))
        self.outbox = cython.cast(cython.p_uchar, malloc(OUT_BYTES))
        self.conn_window = 65_535
        self.initial_window = 65_535
        self.messages = [b""] * SLOTS
        self.indexed = True
        self.max_streams = 100  # until the peer's SETTINGS are here
        for slot in range(SLOTS):
            self.open[slot] = False
            self.queued[slot] = False

    def __dealloc__(self) -> None:
        free(self.inbox)
        free(self.outbox)

    def begin(self, sid: cython.longlong) -> cython.int:
        """A new stream; return its slot."""
        slot: cython.int = cython.cast(cython.int, (sid >> 1) % SLOTS)
        self.stream_id[slot] = sid
        self.open[slot] = True
        self.ends[slot] = False
        self.left[slot] = 0
        self.offset[slot] = 0
        self.window[slot] = self.initial_window
        return slot

    def put(self, kind: cython.int, flags: cython.int, sid: cython.longlong, payload: cython.p_const_uchar,
            n: cython.Py_ssize_t) -> cython.int:
        """A frame into the outbox, which must have room."""
        at: cython.p_uchar = self.outbox + self.out
        if self.out + n + 9 > OUT_BYTES:
            raise BufferError("the outbox is full")
        at[0] = (n >> 16) & 255
        at[1] = (n >> 8) & 255
        at[2] = n & 255
        at[3] = kind
        at[4] = flags
        at[5] = (sid >> 24) & 255
        at[6] = (sid >> 16) & 255
        at[7] = (sid >> 8) & 255
        at[8] = sid & 255
        memcpy(at + 9, payload, n)
        self.out += n + 9
        return 0

    def more(self, slot: cython.int, octets: cython.longlong) -> cython.int:
        """The stream has `octets` more to send (0: look again)."""
        self.left[slot] += octets
        if not self.queued[slot]:
            self.queued[slot] = True
            self.queue[(self.queue_first + self.queue_count) % SLOTS] = slot
            self.queue_count += 1
        return 0

    def pump(self) -> cython.int:
        """Write DATA as far as windows and the outbox let us, the streams in turn."""
        slot: cython.int
        frames: cython.int
        n: cython.longlong
        message: bytes
        length: cython.longlong
        last: cython.bint
        body: cython.p_const_uchar
        while self.queue_count and self.out < OUT_BYTES - RESERVE and self.conn_window > 0:
            slot = self.queue[self.queue_first]
            self.queue_first = (self.queue_first + 1) % SLOTS
            self.queue_count -= 1
            self.queued[slot] = False
            if not self.open[slot]:
                continue
            message = cython.cast(bytes, self.messages[slot])
            body = message
            length = len(message)
            frames = 0
            while self.left[slot] > 0 and frames < TURN and self.out < OUT_BYTES - RESERVE:
                n = min(length - self.offset[slot], FRAME, self.left[slot], self.window[slot], self.conn_window)
                if n <= 0:
                    break
                last = n == self.left[slot] and self.ends[slot] and not self.server
                self.put(DATA, END_STREAM if last else 0, self.stream_id[slot], body + self.offset[slot], n)
                self.left[slot] -= n
                self.window[slot] -= n
                self.conn_window -= n
                self.offset[slot] = cython.cast(cython.int, (self.offset[slot] + n) % length)
                frames += 1
            if self.left[slot] == 0:
                if self.ends[slot]:
                    self.all_sent(slot)
            elif self.window[slot] > 0:
                self.more(slot, 0)
        return 0

    def all_sent(self, slot: cython.int) -> cython.int:
        """The last byte of a stream that ends has been written."""
        return 0

    def flush(self) -> cython.int:
        """Hand the outbox to the kernel; what it does not take waits."""
        n: cython.Py_ssize_t
        if self.fd < 0:
            return 0
        while True:
            while self.out_from < self.out:
                n = send(self.fd, self.outbox + self.out_from, self.out - self.out_from, MSG_NOSIGNAL)
                if n < 0:
                    if errno == EAGAIN:
                        memmove(self.outbox, self.outbox + self.out_from, self.out - self.out_from)
                        self.out -= self.out_from
                        self.out_from = 0
                        return self.engine.watch(self, True)
                    return self.lost(f"send: {os.strerror(errno)}")
                self.out_from += n
            self.out = self.out_from = 0
            if not self.queue_count or self.conn_window <= 0:
                return self.engine.watch(self, False)
            self.pump()
            if self.out == 0:
                return self.engine.watch(self, False)

    def lost(self, why: object) -> cython.int:
        """The connection is over."""
        if not self.closed:
            self.closed = True
            self.fail(why)
            self.engine.drop(self)
        return 0

    def on_ready(self, events: cython.uint, now: cython.longlong) -> cython.int:
        if self.wants_out and events & EPOLLOUT:
            self.flush()
            if self.closed:
                return 0
        n: cython.Py_ssize_t = recv(self.fd, self.inbox + self.have, IN_BYTES - self.have, 0)
        if n < 0:
            return 0 if errno == EAGAIN else self.lost(f"recv: {os.strerror(errno)}")
        if n == 0:
            return self.lost("connection closed by the other side")
        self.have += n
        at: cython.Py_ssize_t = self.skip_preface()
        size: cython.Py_ssize_t
        sid: cython.longlong
        kind: cython.int
        flags: cython.int
        view: cython.p_const_uchar = self.inbox
        while self.have - at >= 9:
            size = view[at] << 16 | view[at + 1] << 8 | view[at + 2]
            if self.have - at - 9 < size:
                break
            kind = view[at + 3]
            flags = view[at + 4]
            sid = (view[at + 5] & 127) << 24 | view[at + 6] << 16 | view[at + 7] << 8 | view[at + 8]
            at += 9
            if kind == SETTINGS:
                if not flags & ACK:
                    self.setting(view + at, size)
                    self.put(SETTINGS, ACK, 0, view, 0)
            elif kind == PING:
                if not flags & ACK:
                    self.put(PING, ACK, 0, view + at, 8)
            elif kind == WINDOW_UPDATE:
                self.widen(sid, (view[at] & 127) << 24 | view[at + 1] << 16 | view[at + 2] << 8 | view[at + 3])
            elif kind == GOAWAY:
                return self.lost(f"GOAWAY {cython.cast(bytes, view[at + 4:at + size])!r}")
            else:
                if kind == DATA:
                    self.taken += size
                self.on_frame(kind, flags, sid, view + at, size, now)
            at += size
        if at:
            memmove(self.inbox, self.inbox + at, self.have - at)
            self.have -= at
        if self.taken > WINDOW // 4:
            self.widen_theirs()
        self.pump()
        return self.flush()

    def skip_preface(self) -> cython.Py_ssize_t:
        """Octets of the client's preface to step over, which come once."""
        n: cython.Py_ssize_t = 0
        if self.server and not self.greeted and self.have >= 24:
            self.greeted = True
            n = 24
        return n

    def widen(self, sid: cython.longlong, by: cython.longlong) -> cython.int:
        slot: cython.int = cython.cast(cython.int, (sid >> 1) % SLOTS)
        if sid == 0:
            self.conn_window += by
        elif self.open[slot] and self.stream_id[slot] == sid:
            self.window[slot] += by
            if self.left[slot]:
                self.more(slot, 0)
        return 0

    def widen_theirs(self) -> cython.int:
        """Give the peer back the connection's window."""
        payload = cython.declare(cython.uchar[4])
        payload[0] = (self.taken >> 24) & 127
        payload[1] = (self.taken >> 16) & 255
        payload[2] = (self.taken >> 8) & 255
        payload[3] = self.taken & 255
        self.taken = 0
        return self.put(WINDOW_UPDATE, 0, 0, payload, 4)

    def setting(self, payload: cython.p_const_uchar, n: cython.Py_ssize_t) -> cython.int:
        at: cython.Py_ssize_t = 0
        slot: cython.int
        value: cython.longlong
        while at + 6 <= n:
            value = payload[at + 2] << 24 | payload[at + 3] << 16 | payload[at + 4] << 8 | payload[at + 5]
            if payload[at + 1] == 4:
                for slot in range(SLOTS):
                    if self.open[slot]:
                        self.window[slot] += value - self.initial_window
                        if self.left[slot]:
                            self.more(slot, 0)
                self.initial_window = value
            elif payload[at + 1] == 3:
                self.max_streams = value
            elif payload[at + 1] == 1 and value < 256:
                self.indexed = False  # too small a table to rely on
            at += 6
        return 0

    def on_frame(self, kind: cython.int, flags: cython.int, sid: cython.longlong, payload: cython.p_const_uchar,
                 n: cython.Py_ssize_t, now: cython.longlong) -> cython.int:
        """A frame of a stream."""
        return 0
