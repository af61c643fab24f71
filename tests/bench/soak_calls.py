"""The load of the soak: threads of stock clients that check every byte and note every failure.

What lives here: the kinds of calls. What this must not know: which events are injected, how memory is measured. A call
that its own side gives up (cancelled, reset) is counted as abandoned, not as failed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

import grpc
import soak_http
from e2e_mesh import OPTIONS
from soak_figures import Failure

TIMEOUT = 20.0
CALLS_PER_CHANNEL = 300


class Corrupt(Exception):
    """An answer came, and it is wrong."""


class Tally:
    """What all threads have seen."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.done: Counter[str] = Counter()
        self.abandoned: Counter[str] = Counter()
        self.failures: list[Failure] = []

    def total(self) -> int:
        return sum(self.done.values())


def grpc_reason(error: grpc.RpcError) -> str:
    """Code, the mesh's reason, or the details without the changing parts."""
    given = {**dict(error.initial_metadata() or ()), **dict(error.trailing_metadata() or ())}
    return f"{error.code().name} {given.get('mesh-reason') or (error.details() or '')[:60]}".strip()


class Thread(threading.Thread):
    """Calls of some kinds, one after the other with pauses, until `stop`."""

    service = ""
    protocol = ""

    def __init__(self, target: str, tally: Tally, stop: threading.Event, seed: int, per_second: float) -> None:
        super().__init__(daemon=True)
        self.target = target
        self.tally = tally
        self.stop = stop
        self.rng = random.Random(seed)
        self.pause = 1.0 / per_second

    def kinds(self) -> list[tuple[str, int, Callable[[], bool]]]:
        """(name, weight, call); the call returns whether it went to its end (False: given up on purpose)."""
        raise NotImplementedError

    def reopen(self) -> None:
        """After a failure, and now and then."""

    def close(self) -> None:
        """At the end."""

    def run(self) -> None:
        kinds = self.kinds()
        weights = [weight for _, weight, _ in kinds]
        count = 0
        while not self.stop.is_set():
            name, _, call = self.rng.choices(kinds, weights)[0]
            self.one(name, call)
            count += 1
            if count % CALLS_PER_CHANNEL == 0:
                self.reopen()
            self.stop.wait(self.rng.expovariate(1 / self.pause))
        self.close()

    def one(self, name: str, call: Callable[[], bool]) -> None:
        started = time.monotonic()
        reason, corrupt = "", False
        try:
            finished = call()
        except Corrupt as error:
            reason, corrupt = f"corrupt: {error}", True
        except grpc.RpcError as error:
            reason = grpc_reason(error)
        except TimeoutError:
            reason = "timeout"
        except (OSError, soak_http.http.client.HTTPException) as error:
            reason = f"{type(error).__name__} {getattr(error, 'strerror', None) or error}".strip()[:80]
        with self.tally.lock:
            if reason:
                self.tally.failures.append(Failure(name, self.service, self.protocol, started, time.monotonic(), reason,
                                                   corrupt))
            elif finished:
                self.tally.done[name] += 1
            else:
                self.tally.abandoned[name] += 1
        if reason:
            self.reopen()


class GrpcThread(Thread):
    service, protocol = "echo", "grpc"

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.channel = grpc.insecure_channel(self.target, OPTIONS)

    def reopen(self) -> None:
        self.channel.close()
        self.channel = grpc.insecure_channel(self.target, OPTIONS)

    def close(self) -> None:
        self.channel.close()

    def kinds(self) -> list[tuple[str, int, Callable[[], bool]]]:
        return [("grpc unary", 60, self.unary), ("grpc big", 3, self.big), ("grpc deadline", 3, self.deadline),
                ("grpc server stream", 8, self.server_stream), ("grpc client stream", 4, self.client_stream),
                ("grpc bidi", 6, self.bidi), ("grpc cancelled", 6, self.cancelled)]

    def echo(self, request: bytes) -> bool:
        if self.channel.unary_unary("/test.Echo/Echo")(request, timeout=TIMEOUT) != request:
            raise Corrupt("the echo differs")
        return True

    def unary(self) -> bool:
        return self.echo(self.rng.randbytes(self.rng.randrange(2000)))

    def big(self) -> bool:
        return self.echo(self.rng.randbytes(self.rng.randrange(50_000, 1_500_000)))

    def deadline(self) -> bool:
        try:
            self.channel.unary_unary("/test.Echo/Sleep")(b"", timeout=0.05)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return True
            raise
        raise Corrupt("Sleep answered")

    def server_stream(self) -> bool:
        want = {"n": self.rng.randrange(1, 200), "size": self.rng.choice((8, 100, 4000))}
        got = self.channel.unary_stream("/test.Echo/Count")(json.dumps(want).encode(), timeout=TIMEOUT)
        numbers = [int.from_bytes(message[:8], "big") for message in got]
        if numbers != list(range(want["n"])):
            raise Corrupt(f"{len(numbers)} of {want['n']} messages, or out of order")
        return True

    def client_stream(self) -> bool:
        parts = [self.rng.randbytes(self.rng.randrange(20_000)) for _ in range(self.rng.randrange(1, 30))]
        report = json.loads(self.channel.stream_unary("/test.Echo/Collect")(iter(parts), timeout=TIMEOUT))
        if report["sha256"] != hashlib.sha256(b"".join(parts)).hexdigest():
            raise Corrupt("the digest differs")
        return True

    def bidi(self) -> bool:
        parts = [self.rng.randbytes(self.rng.randrange(1, 3000)) for _ in range(self.rng.randrange(1, 40))]
        if list(self.channel.stream_stream("/test.Echo/Chat")(iter(parts), timeout=TIMEOUT)) != parts:
            raise Corrupt("the chat differs")
        return True

    def cancelled(self) -> bool:
        """Give up a stream in the middle: RST_STREAM, or the whole connection at once."""
        call = self.channel.unary_stream("/test.Echo/Endless")(b"", timeout=TIMEOUT)
        for _ in range(self.rng.randrange(30)):
            next(call)
        if self.rng.random() < 0.2:
            self.reopen()
        else:
            call.cancel()
        return False


class TcpThread(Thread):
    service, protocol = "stock", "tcp"

    def kinds(self) -> list[tuple[str, int, Callable[[], bool]]]:
        return [("tcp swap", 20, self.swap), ("tcp duplex", 3, self.duplex), ("tcp reset", 4, self.reset)]

    def connect(self, order: dict[str, object]) -> socket.socket:
        host, _, port = self.target.rpartition(":")
        sock = socket.create_connection((host, int(port)), TIMEOUT)
        sock.sendall(json.dumps(order).encode() + b"\n")
        return sock

    @staticmethod
    def read_all(sock: socket.socket) -> bytes:
        parts = []
        while data := sock.recv(1 << 16):
            parts.append(data)
        return b"".join(parts)

    def check(self, answer: tuple[bytes, bytes], sent: bytes, size: int) -> bool:
        """`answer` is the JSON line and the payload."""
        line, payload = answer
        if not line:
            raise ConnectionError("closed without an answer")
        if len(payload) < size:
            raise ConnectionError("closed after part of the answer")
        if json.loads(line)["sha256"] != hashlib.sha256(sent).hexdigest() or payload != tcp_pattern(size):
            raise Corrupt("the bytes differ")
        return True

    def swap(self) -> bool:
        sent = self.rng.randbytes(self.rng.choice((1, 500, 50_000)))
        size = self.rng.choice((0, 100, 100_000))
        with self.connect({"do": "swap", "reply": size}) as sock:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            line, _, payload = self.read_all(sock).partition(b"\n")
        return self.check((line, payload), sent, size)

    def duplex(self) -> bool:
        """Both directions at once, more than any buffer holds."""
        sent = self.rng.randbytes(1_000_000)
        size = 2_000_000
        received: list[bytes] = []
        with self.connect({"do": "duplex", "reply": size}) as sock:
            def send() -> None:
                with contextlib.suppress(OSError):
                    sock.sendall(sent)
                    sock.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send, daemon=True)
            sender.start()
            try:
                received.append(self.read_all(sock))
            finally:
                sender.join(TIMEOUT)
        return self.check((received[0][size:].rstrip(b"\n"), received[0][:size]), sent, size)

    def reset(self) -> bool:
        sock = self.connect({"do": "duplex", "reply": 5_000_000})
        sock.recv(self.rng.randrange(1, 100_000))
        soak_http.reset(sock)
        return False


def tcp_pattern(size: int) -> bytes:
    """What e2e's tcp_app sends."""
    block = bytes(range(251)) * 261
    return (block * (size // len(block) + 1))[:size]


class HttpThread(Thread):
    service, protocol = "web", "http1"

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.caller = soak_http.Caller(self.target, TIMEOUT)

    def reopen(self) -> None:
        self.caller.close()
        self.caller = soak_http.Caller(self.target, TIMEOUT)

    def close(self) -> None:
        self.caller.close()

    def kinds(self) -> list[tuple[str, int, Callable[[], bool]]]:
        def checked(method: Callable[[random.Random], str]) -> Callable[[], bool]:
            def call() -> bool:
                wrong = method(self.rng)
                if wrong:
                    raise Corrupt(wrong)
                return True

            return call

        def give_up() -> bool:
            self.caller.give_up(self.rng)
            self.reopen()
            return False

        return [("http get", 40, checked(lambda rng: self.caller.get(rng))),
                ("http head", 4, checked(lambda rng: self.caller.head(rng))),
                ("http post", 20, checked(lambda rng: self.caller.post(rng))), ("http reset", 4, give_up)]
