# cython: language_level=3, wraparound=False, initializedcheck=False
"""A TCP client and a TCP server for the benchmark: small requests, new connections, bulk.

What lives here: the sockets of load and backend. What this must not know: proxies, processes. The first byte of a
connection says what it is for: `e` a small request, answered by a small response, again and again; `b` bytes without
end from the server. Compiled by the benchmark into build/bench; it also runs uncompiled.
"""

from __future__ import annotations

import select
import socket
import time
from typing import Any

REQUEST = b"e" + b"q" * 99
RESPONSE = b"r" * 200
CHUNK = 1 << 18
BUCKETS = 200_000


def serve(listener: socket.socket) -> None:
    """Answer every connection on `listener` for ever."""
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    socks: dict[int, socket.socket] = {}
    seen: dict[int, int] = {}
    bulk = b"b" * CHUNK
    wait_in, wait_out = select.EPOLLIN, select.EPOLLOUT
    while True:
        for fd, what in poll.poll():
            sock = socks.get(fd)
            if sock is None:
                try:
                    sock, _ = listener.accept()
                except BlockingIOError:
                    continue
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                socks[sock.fileno()] = sock
                seen[sock.fileno()] = 0
                poll.register(sock.fileno(), wait_in)
                continue
            try:
                if what & wait_out and not what & wait_in:
                    sock.send(bulk)
                    continue
                data = sock.recv(65_536)
                if data:
                    if data[:1] == b"b":
                        poll.modify(fd, wait_in | wait_out)
                        continue
                    count = seen[fd] + len(data)
                    while count >= 100:
                        sock.send(RESPONSE)
                        count -= 100
                    seen[fd] = count
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            poll.unregister(fd)
            del socks[fd], seen[fd]
            sock.close()


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    return sock


def run_small(port: int, conns: int, churn: bool, start_ns: int, until_ns: int, at_start: Any,
              histogram: Any) -> tuple[int, int]:
    """Small requests, one in flight on each of `conns` connections; `churn`: a new connection each. (done, failed)."""
    poll = select.epoll()
    socks: dict[int, socket.socket] = {}
    got: dict[int, int] = {}
    sent_at: dict[int, int] = {}
    done = failed = 0

    def begin() -> None:
        begun = time.monotonic_ns()
        sock = connect(port)
        fd = sock.fileno()
        socks[fd], got[fd], sent_at[fd] = sock, 0, begun
        poll.register(fd, select.EPOLLIN)
        sock.send(REQUEST)

    for _ in range(conns):
        begin()
    waiting = True
    now = time.monotonic_ns()
    while now < until_ns:
        if waiting and now >= start_ns:
            waiting, done, failed = False, 0, 0
            at_start()
        ready = poll.poll(0.05)
        now = time.monotonic_ns()
        for fd, _ in ready:
            sock = socks[fd]
            try:
                data = sock.recv(4096)
            except OSError:
                data = b""
            if not data:
                failed += 1
                poll.unregister(fd)
                socks.pop(fd).close()
                begin()
                continue
            count = got[fd] + len(data)
            if count < 200:
                got[fd] = count
                continue
            done += 1
            took = (now - sent_at[fd]) // 1000
            histogram[took if took < BUCKETS else BUCKETS - 1] += 1
            if churn:
                poll.unregister(fd)
                socks.pop(fd).close()
                begin()
                continue
            got[fd] = 0
            sent_at[fd] = now
            sock.send(REQUEST)
    for sock in socks.values():
        sock.close()
    poll.close()
    return done, failed


def run_bulk(port: int, conns: int, start_ns: int, until_ns: int, at_start: Any) -> tuple[int, int]:
    """Take what the server sends on `conns` connections; return (bytes, failed connections)."""
    poll = select.epoll()
    socks: dict[int, socket.socket] = {}
    room = bytearray(1 << 20)
    taken = failed = 0
    for _ in range(conns):
        sock = connect(port)
        socks[sock.fileno()] = sock
        poll.register(sock.fileno(), select.EPOLLIN)
        sock.send(b"b")
    waiting = True
    now = time.monotonic_ns()
    while now < until_ns and socks:
        if waiting and now >= start_ns:
            waiting, taken = False, 0
            at_start()
        for fd, _ in poll.poll(0.05):
            try:
                n = socks[fd].recv_into(room)
            except OSError:
                n = 0
            taken += n
            if not n:
                failed += 1
                poll.unregister(fd)
                socks.pop(fd).close()
        now = time.monotonic_ns()
    for sock in socks.values():
        sock.close()
    poll.close()
    return taken, failed
