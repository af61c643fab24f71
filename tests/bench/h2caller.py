# cython: language_level=3, wraparound=False, initializedcheck=False, boundscheck=False
"""A gRPC caller that costs next to nothing, so that the proxy is what saturates.

What lives here: just enough HTTP/2 (RFC 9113) to keep N calls in flight. It sends ready-made header blocks and tells
success from failure by the shape of the answer: headers, DATA of the expected length, trailers. What this must not
know: proxies, processes, statistics.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import time
from typing import Any

import cython
from cython.cimports.libc.string import memcpy
from h2bits import BUFFER, PREFACE, WINDOW, frame, settings

BUCKETS = 200_000  # latency histogram, one microsecond each; the last takes what is above
DATA = cython.declare(cython.int, 0)
HEADERS = cython.declare(cython.int, 1)
RST_STREAM = cython.declare(cython.int, 3)
SETTINGS = cython.declare(cython.int, 4)
PING = cython.declare(cython.int, 6)
GOAWAY = cython.declare(cython.int, 7)
WINDOW_UPDATE = cython.declare(cython.int, 8)
END_STREAM = cython.declare(cython.int, 1)
END_HEADERS = cython.declare(cython.int, 4)
ACK = cython.declare(cython.int, 1)
SLOTS = cython.declare(cython.int, 4096)  # calls in flight on one connection at most
OUT_BYTES = cython.declare(cython.Py_ssize_t, 1 << 20)


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def put_frame(at: cython.p_uchar, kind: cython.int, flags: cython.int, sid: cython.longlong,
              payload: cython.p_const_uchar, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Write a frame at `at`, return its length."""
    at[0] = n >> 16
    at[1] = n >> 8
    at[2] = n
    at[3] = kind
    at[4] = flags
    at[5] = sid >> 24
    at[6] = sid >> 16
    at[7] = sid >> 8
    at[8] = sid
    memcpy(at + 9, payload, n)
    return n + 9


@cython.cclass
class Caller:
    """One connection of the load: `streams` calls in flight, the next one sent as soon as one is answered.

    `rate` > 0 sends at that many calls a second instead, the first one `phase` (0..1) of an interval late, never more
    than `streams` at once, and measures from the time a call was due. Latencies go to `histogram` (array of 8-byte
    counts) in microseconds.
    """

    sock: Any
    blocks: Any
    body: bytes
    expect: cython.int
    inflight: cython.int
    streams: cython.int
    next_id: cython.longlong
    started: cython.longlong[4096]  # ns; 0: no such call
    stage: cython.int[4096]  # header sections and bytes of the answer so far
    pending: bytes
    taken: cython.longlong
    done: cython.longlong
    failed: cython.longlong
    histogram: cython.longlong[:]
    interval: cython.double
    due: cython.double
    out: bytearray
    unsent: bytearray
    closed: cython.bint
    errors: dict

    def __init__(self, port: int, streams: int, blocks: Any, body: bytes, expect: int, histogram: Any,
                 rate: float, phase: float) -> None:
        slot: cython.int
        for slot in range(SLOTS):
            self.started[slot] = 0
        self.blocks = blocks
        self.body = body
        self.expect = expect
        self.streams = streams
        self.histogram = histogram
        self.interval = 1e9 / rate if rate else 0.0
        self.pending = b""
        self.out = bytearray(OUT_BYTES)
        self.unsent = bytearray()
        self.errors = {}
        self.next_id = 1
        self.sock = socket.create_connection(("127.0.0.1", port), 5)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.send(PREFACE + settings(WINDOW))
        self.due = time.monotonic_ns() + phase * self.interval

    def fileno(self) -> int:
        return int(self.sock.fileno())

    def results(self) -> tuple[int, int, dict[str, int]]:
        return self.done, self.failed, self.errors

    def reset_results(self) -> None:
        self.done = 0
        self.failed = 0
        self.errors.clear()

    def fail(self, why: str) -> None:
        self.failed += 1
        self.errors[why] = self.errors.get(why, 0) + 1

    @cython.ccall
    def send(self, data: object) -> object:
        try:
            if not self.unsent:
                sent = self.sock.send(data)
                if sent < len(data):
                    self.unsent += data[sent:]
                return None
            self.unsent += data
            del self.unsent[:self.sock.send(self.unsent)]
        except BlockingIOError:
            if not self.unsent:
                self.unsent += data
        except OSError as e:
            self.close(f"send: {e}")
        return None

    def close(self, why: str) -> None:
        if not self.closed:
            self.closed = True
            self.fail(why)
            self.sock.close()

    @cython.ccall
    def fill(self, now: cython.longlong) -> object:
        """Send the calls that are due."""
        at: cython.p_uchar = self.out
        n: cython.Py_ssize_t = 0
        block: bytes
        due: cython.longlong
        while self.inflight < self.streams and n < OUT_BYTES - 40_000:
            due = now
            if self.interval > 0:
                if self.due > now:
                    break
                due = cython.cast(cython.longlong, self.due)
                self.due += self.interval
            self.started[(self.next_id >> 1) % SLOTS] = due
            self.stage[(self.next_id >> 1) % SLOTS] = 0
            block = self.blocks.next()
            n += put_frame(at + n, HEADERS, END_HEADERS, self.next_id, block, len(block))
            n += put_frame(at + n, DATA, END_STREAM, self.next_id, self.body, len(self.body))
            self.next_id += 2
            self.inflight += 1
        if n:
            self.send(memoryview(self.out)[:n])
        elif self.unsent:
            self.send(b"")
        return None

    @cython.ccall
    def on_readable(self, now: cython.longlong) -> object:
        data: bytes
        try:
            data = self.sock.recv(BUFFER)
        except BlockingIOError:
            return None
        except OSError as e:
            self.close(f"recv: {e}")
            return None
        if not data:
            self.close("connection closed by the proxy")
            return None
        self.taken += len(data)
        if self.pending:
            data = self.pending + data
            self.pending = b""
        self.parse(data, now)
        if self.taken > WINDOW // 4 and not self.closed:
            self.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self.taken)))
            self.taken = 0
        return None

    @cython.cfunc
    def parse(self, data: bytes, now: cython.longlong) -> cython.int:
        view: cython.p_const_uchar = data
        at: cython.Py_ssize_t = 0
        n: cython.Py_ssize_t = len(data)
        size: cython.Py_ssize_t
        sid: cython.longlong
        slot: cython.int
        kind: cython.int
        flags: cython.int
        while n - at >= 9:
            size = view[at] << 16 | view[at + 1] << 8 | view[at + 2]
            if n - at - 9 < size:
                break
            kind = view[at + 3]
            flags = view[at + 4]
            sid = (view[at + 5] & 127) << 24 | view[at + 6] << 16 | view[at + 7] << 8 | view[at + 8]
            slot = (sid >> 1) % SLOTS
            if kind == HEADERS:
                if not flags & END_STREAM:
                    self.stage[slot] += 1
                elif self.stage[slot] == self.expect + 1:
                    self.finish(slot, now, None)
                else:
                    self.finish(slot, now, f"answer of {self.stage[slot] - 1} bytes")
            elif kind == DATA:
                self.stage[slot] += size
                if flags & END_STREAM:
                    self.finish(slot, now, "answer without trailers")
            elif kind == RST_STREAM:
                self.finish(slot, now, f"RST_STREAM {data[at + 12]}")
            elif kind == SETTINGS and not flags & ACK:
                self.send(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                self.send(frame(PING, ACK, 0, data[at + 9:at + 17]))
            elif kind == GOAWAY:
                self.close(f"GOAWAY {data[at + 13:at + 9 + size]!r}")
                return 0
            at += 9 + size
        if at < n:
            self.pending = data[at:]
        return 0

    @cython.cfunc
    def finish(self, slot: cython.int, now: cython.longlong, why: object) -> cython.int:
        begun: cython.longlong = self.started[slot]
        if begun == 0:
            return 0
        self.started[slot] = 0
        self.inflight -= 1
        if why is not None:
            self.fail(str(why))
            return 0
        self.done += 1
        took: cython.longlong = (now - begun) // 1000
        if took >= self.histogram.shape[0]:
            took = self.histogram.shape[0] - 1
        if took < 0:
            took = 0
        self.histogram[took] += 1
        return 0


class Alarm:
    """A timerfd: epoll's own timeouts are whole milliseconds, too coarse for a call that is due."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
        self.spec = (ctypes.c_long * 4)()

    def set(self, at_ns: int) -> None:
        self.spec[2], self.spec[3] = divmod(at_ns, 1_000_000_000)
        self.libc.timerfd_settime(self.fd, 1, ctypes.byref(self.spec), None)  # 1: TFD_TIMER_ABSTIME


def run_load(callers: list[Caller], until_ns: int, start_ns: int, at_start: Any) -> None:
    """Drive the callers until `until_ns` (monotonic ns); at `start_ns` call `at_start()`: the measured part begins."""
    caller: Caller  # typed, or Cython looks its C attributes up in vain
    poll = select.epoll()
    by_fd: dict[int, Any] = {}
    alarm = Alarm()
    poll.register(alarm.fd, select.EPOLLIN | select.EPOLLET)
    now: cython.longlong = time.monotonic_ns()
    nearest: cython.longlong
    due: cython.longlong
    paced: cython.bint = False
    waiting: cython.bint = True
    alive: cython.int
    for caller in callers:
        by_fd[caller.fileno()] = caller
        poll.register(caller.fileno(), select.EPOLLIN)
        paced = caller.interval > 0
        caller.fill(now)
    while now < until_ns:
        if waiting and now >= start_ns:
            waiting = False
            for caller in callers:
                caller.reset_results()
            at_start()
        nearest = 0
        alive = 0
        for caller in callers:
            if caller.closed:
                continue
            alive += 1
            if paced and caller.inflight < caller.streams:
                due = cython.cast(cython.longlong, caller.due)
                if nearest == 0 or due < nearest:
                    nearest = due
        if not alive:
            break
        if nearest:
            alarm.set(nearest)
        ready = poll.poll(0.05)
        now = time.monotonic_ns()
        for fd, _ in ready:
            caller = by_fd.get(fd)
            if caller is not None and not caller.closed:
                caller.on_readable(now)
                if not caller.closed and not paced:
                    caller.fill(now)
        if paced:
            for caller in callers:
                if not caller.closed:
                    caller.fill(now)
    for caller in callers:
        caller.sock.close()
    poll.close()
    os.close(alarm.fd)
