# cython: language_level=3, wraparound=False, initializedcheck=False, boundscheck=False
"""HTTP/1.1 load and its server: GET requests made beforehand, answers told by their head.

What lives here: just enough of RFC 9112 to see that an answer is 200 and of the expected length. `GET /SIZE/...` is
answered with SIZE bytes. What this must not know: proxies, processes.
"""

from __future__ import annotations

import random
from typing import Any

import cython
from cython.cimports.csock import EAGAIN, MSG_NOSIGNAL, errno, memmem, recv, send, strncasecmp
from cython.cimports.engine import Engine, Peer
from cython.cimports.tcpload import ROOM, Asker, room


def make_requests(size: int, host: str, churn: bool, vary: str, count: int) -> list[bytes]:
    """Requests as a service's client writes them. `vary` "": one that repeats; "all": path, traceparent, id differ."""
    rng = random.Random(1)
    made = []
    for number in range(count if vary else 1):
        fields = [f"GET /{size}/item-{number:08d} HTTP/1.1", f"host: {host}", "user-agent: python-requests/2.32.3",
                  "accept-encoding: gzip, deflate", "accept: */*", "x-tenant: acme",
                  f"traceparent: 00-{rng.getrandbits(128) | 1:032x}-{rng.getrandbits(64) | 1:016x}-01",
                  f"x-request-id: {rng.getrandbits(128):032x}", *(["connection: close"] if churn else [])]
        made.append(("\r\n".join(fields) + "\r\n\r\n").encode())
    return made


class H1Asker(Asker):
    """A connection with one request in flight; answers have `body` bytes."""

    def __init__(self, engine: Engine, histogram: Any, rate: float, phase: float, port: int, turn: int,
                 requests: list[bytes], churn: bool, body: int) -> None:
        Asker.__init__(self, engine, histogram, rate, phase, port, turn, requests, churn)
        self.body = body
        self.partial = b""

    def received(self, n: cython.Py_ssize_t) -> cython.int:
        data: bytes
        whole: cython.Py_ssize_t
        if self.got:
            self.need -= n
            return 1 if self.need == 0 else 0 if self.need > 0 else -1
        if self.partial:
            data = self.partial + cython.cast(bytes, room[:n])
            self.partial = b""
            whole = self.head(data, len(data))
            if whole == 0:
                self.partial = data
            n = len(data)
        else:
            whole = self.head(room, n)
            if whole == 0:
                self.partial = cython.cast(bytes, room[:n])
        if whole <= 0:
            return cython.cast(cython.int, whole)
        self.got = 1
        self.need = whole - n
        return 1 if self.need == 0 else 0 if self.need > 0 else -1

    def head(self, data: cython.p_const_uchar, n: cython.Py_ssize_t) -> cython.int:
        """Length of the answer that begins at `data`; 0: its head is not complete, -1: not what was expected."""
        end: cython.p_const_uchar = cython.cast(cython.p_const_uchar, memmem(data, n, b"\r\n\r\n", 4))
        if end == cython.NULL:
            return 0
        if n < 12 or data[9] != ord("2") or data[10] != ord("0") or data[11] != ord("0"):
            self.problem = cython.cast(bytes, data[:32]).partition(b"\r")[0].decode("latin-1")
            return -1
        at: cython.p_const_uchar = data
        length: cython.Py_ssize_t = -1
        while at != cython.NULL and at < end:
            at = cython.cast(cython.p_const_uchar, memmem(at, end - at, b"\r\n", 2))
            if at == cython.NULL:
                break
            at += 2
            if end - at > 15 and not strncasecmp(cython.cast(cython.p_char, at), b"content-length:", 15):
                at += 15
                while at[0] == ord(" "):
                    at += 1
                length = 0
                while ord("0") <= at[0] <= ord("9"):
                    length = length * 10 + at[0] - ord("0")
                    at += 1
                break
        if length != self.body:
            self.problem = f"answer of {length} bytes"
            return -1
        return cython.cast(cython.int, end - data + 4 + length)


class H1Answerer(Peer):
    """A connection of the server."""

    def __init__(self, engine: Engine, fd: int, ready: dict[Any, bytes]) -> None:
        self.engine = engine
        self.fd = fd
        self.ready = ready
        self.partial = b""

    def leave(self) -> cython.int:
        return self.engine.drop(self)

    def on_ready(self, events: cython.uint, now: cython.longlong) -> cython.int:
        n: cython.Py_ssize_t = recv(self.fd, room, ROOM, 0)
        if n <= 0:
            return 0 if n < 0 and errno == EAGAIN else self.leave()
        kept: bytes = b""
        data: cython.p_const_uchar = room
        if self.partial:
            kept = self.partial + cython.cast(bytes, room[:n])
            self.partial = b""
            data = kept
            n = len(kept)
        end: cython.p_const_uchar
        out: bytes
        last: cython.bint
        while n > 0:
            end = cython.cast(cython.p_const_uchar, memmem(data, n, b"\r\n\r\n", 4))
            if end == cython.NULL:
                self.partial = cython.cast(bytes, data[:n])
                break
            last = memmem(data, end - data, b"onnection: close", 16) != cython.NULL
            out = self.answer(data, end - data, last)
            if not out or send(self.fd, cython.cast(cython.p_const_uchar, out), len(out), MSG_NOSIGNAL) != len(out):
                return self.leave()
            if last:
                return self.leave()
            n -= end - data + 4
            data = end + 4
        return 0

    def answer(self, data: cython.p_const_uchar, n: cython.Py_ssize_t, last: cython.bint) -> bytes:
        size: cython.int = 0
        at: cython.Py_ssize_t = 5  # after "GET /"
        while at < n and ord("0") <= data[at] <= ord("9"):
            size = size * 10 + data[at] - ord("0")
            at += 1
        key: cython.int = size * 2 + last
        found: object = self.ready.get(key)
        if found is None:
            found = self.ready[key] = (
                f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n"
                f"cache-control: no-store\r\n{'connection: close' if last else 'x-served-by: bench'}\r\n\r\n"
            ).encode() + b"j" * size
        return cython.cast(bytes, found)


def serve(listener: int) -> None:
    """Answer every connection on `listener` for ever."""
    ready: dict[Any, bytes] = {}
    engine = Engine()
    engine.serve(listener, lambda engine, fd: H1Answerer(engine, fd, ready))

