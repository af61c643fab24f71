"""Many connections that have been used once and then say nothing: what each of them costs the proxy.

What lives here: opening them one by one over plain sockets and reading resident memory. What this must not know: which
proxy it is. The kernel's socket buffers are not resident memory of a process and are not counted.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import procstat

IP_BIND_ADDRESS_NO_PORT = 24
PATIENCE = 10.0
SETTLE = 4.0


def allowed(wanted: int) -> int:
    """Connections that a relay can hold: two descriptors each, within this machine's limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, (hard - 400) // 2)


def connect(port: int, number: int) -> socket.socket:
    """A connection from one of eight source addresses, so that ports do not run out."""
    sock = socket.socket()
    sock.settimeout(PATIENCE)
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((f"127.0.0.{2 + number % 8}", 0))
    try:
        sock.connect(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock


def exact(sock: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            raise ConnectionError("closed before the answer")
        data += part
    return data


def use_tcp(sock: socket.socket, host: str) -> None:
    sock.sendall(b"e" + b"q" * 99)
    exact(sock, 200)


def use_http1(sock: socket.socket, host: str) -> None:
    sock.sendall(f"GET /100/idle HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data or len(data) < data.index(b"\r\n\r\n") + 104:
        part = sock.recv(4096)
        if not part:
            raise ConnectionError("closed before the answer")
        data += part
    if not data.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(data[:40].decode("latin-1"))


def use_http2(sock: socket.socket, host: str) -> None:
    from h2bits import PREFACE, Table, frame, message, order, settings

    table = Table()
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/bench.Echo/Unary"),
              (b":authority", host.encode()), (b"te", b"trailers"), (b"content-type", b"application/grpc")]
    block = b"".join(table.field(name, value) for name, value in fields)
    sock.sendall(PREFACE + settings(1 << 20) + frame(1, 4, 1, block) + frame(0, 1, 1, message(100, order("u", 100, 1))))
    while True:
        head = exact(sock, 9)
        size = int.from_bytes(head[:3], "big")
        kind, flags, stream = head[3], head[4], struct.unpack(">I", head[5:])[0]
        payload = exact(sock, size)
        if kind == 4 and not flags & 1:
            sock.sendall(frame(4, 1, 0))
        elif kind == 1 and flags & 1:
            return
        elif kind in (3, 7):
            raise ConnectionError(f"frame {kind} on stream {stream}: {payload!r}")


USES: dict[str, Callable[[socket.socket, str], None]] = {"tcp": use_tcp, "http1": use_http1, "grpc": use_http2}


def resident(pids: list[int]) -> int:
    return sum(procstat.rss_kib(pid) for pid in pids)


def settled(pids: list[int]) -> int:
    """Resident KiB once it has stopped changing."""
    last, until = -1, time.monotonic() + SETTLE
    while (now := resident(pids)) != last and time.monotonic() < until:
        last = now
        time.sleep(0.3)
    return now


def measure(kind: str, port: int, wanted: int, pids: list[int], host: str) -> dict[str, Any]:
    """Open `wanted` connections, one request over each, and compare resident memory with and without them."""
    use = USES[kind]
    socks: list[socket.socket] = []
    errors: dict[str, int] = {}
    try:
        for number in range(8):  # what the first connections cause is not theirs alone
            with contextlib.closing(connect(port, number)) as sock:
                use(sock, host)
        before = settled(pids)
        begun = time.monotonic()
        for number in range(allowed(wanted)):
            try:
                sock = connect(port, number)
                socks.append(sock)
                use(sock, host)
            except OSError as e:
                errors[str(e)] = errors.get(str(e), 0) + 1
                if sum(errors.values()) > 20:
                    break
        took = time.monotonic() - begun
        held = settled(pids)
    finally:
        for sock in socks:
            sock.close()
    failed = sum(errors.values())
    opened = len(socks) - failed
    if opened <= 0:
        return {"problem": "; ".join(errors) or "no connection"}
    return {"done": opened, "failed": failed, "errors": errors, "seconds": took, "cpu_ns": 0,
            "bytes_per_conn": (held - before) * 1024 / opened, "before_mb": before / 1024, "held_mb": held / 1024,
            "left_mb": settled(pids) / 1024}
