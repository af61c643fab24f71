# cython: language_level=3, wraparound=False, initializedcheck=False, boundscheck=False
"""A gRPC server that costs next to nothing: every call is answered with headers, one message and grpc-status 0.

What lives here: just enough HTTP/2 (RFC 9113) for that; it never looks into a request's header block. It also serves as
the sink for exported spans, whose bodies it throws away. What this must not know: proxies, processes.
"""

from __future__ import annotations

import select
import socket
import struct
from typing import Any

import cython
from cython.cimports.libc.string import memcpy
from h2bits import BUFFER, PREFACE, WINDOW, frame, settings, string

DATA = cython.declare(cython.int, 0)
HEADERS = cython.declare(cython.int, 1)
SETTINGS = cython.declare(cython.int, 4)
PING = cython.declare(cython.int, 6)
WINDOW_UPDATE = cython.declare(cython.int, 8)
END_STREAM = cython.declare(cython.int, 1)
ACK = cython.declare(cython.int, 1)


@cython.cclass
class Answerer:
    """One connection of the server: every stream that ends is answered with headers, one message and grpc-status 0."""

    sock: Any
    body: bytes
    ready: bytes
    repeats: cython.bint
    second: cython.Py_ssize_t  # where the second and third frame of `ready` begin
    third: cython.Py_ssize_t
    out: bytearray
    pending: bytearray
    unsent: bytearray
    taken: cython.longlong
    greeted: cython.bint
    answered: cython.bint
    indexed: cython.bint
    closed: cython.bint

    def __init__(self, sock: Any, body: bytes) -> None:
        self.sock = sock
        self.body = body
        self.out = bytearray(1 << 20)
        self.ready = b""
        self.pending = bytearray()
        self.unsent = bytearray()
        self.indexed = True
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self.send(settings(WINDOW))

    def is_closed(self) -> bool:
        return self.closed

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
        except OSError:
            self.closed = True
        return None

    @cython.ccall
    def on_readable(self) -> object:
        try:
            data: bytes = self.sock.recv(BUFFER)
        except BlockingIOError:
            return None
        except OSError:
            self.closed = True
            return None
        if not data:
            self.closed = True
            return None
        self.taken += len(data)
        if self.pending:
            self.pending += data
            data = bytes(self.pending)
            self.pending.clear()
        if not self.greeted:
            if len(data) < 24:
                self.pending += data
                return None
            if not data.startswith(PREFACE):
                self.closed = True
                return None
            self.greeted = True
            data = data[24:]
        self.parse(data)
        if self.taken > WINDOW // 4:
            self.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self.taken)))
            self.taken = 0
        return None

    @cython.cfunc
    def parse(self, data: bytes) -> cython.int:
        view: cython.p_const_uchar = data
        at: cython.Py_ssize_t = 0
        n: cython.Py_ssize_t = len(data)
        size: cython.Py_ssize_t
        kind: cython.int
        flags: cython.int
        out: cython.p_uchar = self.out
        made: cython.Py_ssize_t = 0
        ready: cython.p_const_uchar
        length: cython.Py_ssize_t
        while n - at >= 9:
            size = view[at] << 16 | view[at + 1] << 8 | view[at + 2]
            if n - at - 9 < size:
                break
            kind = view[at + 3]
            flags = view[at + 4]
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                if not self.repeats:
                    self.repeats = self.answered
                    self.ready = self.template()
                ready = self.ready
                length = len(self.ready)
                if made + length > len(self.out):
                    self.send(memoryview(self.out)[:made])
                    made = 0
                memcpy(out + made, ready, length)
                memcpy(out + made + 5, view + at + 5, 4)
                memcpy(out + made + self.second + 5, view + at + 5, 4)
                memcpy(out + made + self.third + 5, view + at + 5, 4)
                made += length
            elif kind == SETTINGS and not flags & ACK:
                self.learn(data[at + 9:at + 9 + size])
                self.send(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                self.send(frame(PING, ACK, 0, data[at + 9:at + 17]))
            at += 9 + size
        if at < n:
            self.pending += data[at:]
        if made:
            self.send(memoryview(self.out)[:made])
        elif self.unsent:
            self.send(b"")
        return 0

    def learn(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            key, value = struct.unpack(">HI", payload[at:at + 6])
            if key == 1 and value < 256:
                self.indexed = False  # too small a table to rely on

    @cython.cfunc
    def template(self) -> bytes:
        """An answer for stream 0: HEADERS, DATA, HEADERS."""
        if self.answered and self.indexed:
            head, tail = b"\x88\xbf", b"\xbe"  # :status 200, content-type; grpc-status is the newest entry
        else:
            way = b"\x40" if self.indexed else b"\x00"
            head = b"\x88" + way + string(b"content-type") + string(b"application/grpc")
            tail = way + string(b"grpc-status") + string(b"0")
            self.answered = True
        self.second = len(head) + 9
        self.third = self.second + len(self.body) + 9
        return frame(HEADERS, 4, 0, head) + frame(DATA, 0, 0, self.body) + frame(HEADERS, 5, 0, tail)


def serve(listener: socket.socket, body: bytes) -> None:
    """Answer every call on `listener` for ever. Bodies up to 16,384 bytes."""
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    by_fd: dict[int, Answerer] = {}
    while True:
        for fd, _ in poll.poll():
            answerer = by_fd.get(fd)
            if answerer is None:
                sock, _ = listener.accept()
                by_fd[sock.fileno()] = Answerer(sock, body)
                poll.register(sock.fileno(), select.EPOLLIN)
                continue
            answerer.on_readable()
            if answerer.is_closed():
                poll.unregister(fd)
                del by_fd[fd]
