"""The caller in the end-to-end tests: a stock grpcio client of `/test.Echo`, and load that counts what fails.

What lives here: calls. What this must not know: processes, the mesh.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any

import grpc
from e2e_mesh import OPTIONS

Metadata = Sequence[tuple[str, str | bytes]]


class Client:
    """One channel to a sidecar's port (or to an app), over TLS with `credentials`. Bytes in and out."""

    def __init__(self, target: str, *options: tuple[str, Any], compression: grpc.Compression | None = None,
                 credentials: grpc.ChannelCredentials | None = None) -> None:
        if credentials is None:
            self.channel = grpc.insecure_channel(target, [*OPTIONS, *options], compression=compression)
        else:
            self.channel = grpc.secure_channel(target, credentials, [*OPTIONS, *options], compression=compression)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.channel.close()

    def method(self, name: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
        return self.channel.unary_unary(f"/test.Echo/{name}")

    def call(self, name: str, request: bytes = b"", timeout: float = 20.0, metadata: Metadata = ()) -> bytes:
        return self.method(name)(request, timeout=timeout, metadata=metadata)

    def code(self, name: str, request: bytes = b"", timeout: float = 20.0, metadata: Metadata = ()) -> grpc.RpcError:
        """The error of a call that has to fail."""
        try:
            reply = self.call(name, request, timeout, metadata)
        except grpc.RpcError as error:
            return error
        raise AssertionError(f"{name} answered {reply[:100]!r} instead of failing")

    def serve(self, name: str, request: bytes, timeout: float = 20.0) -> Any:
        return self.channel.unary_stream(f"/test.Echo/{name}")(request, timeout=timeout)

    def collect(self, requests: Iterable[bytes], timeout: float = 20.0, metadata: Metadata = ()) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.channel.stream_unary("/test.Echo/Collect")(
            iter(requests), timeout=timeout, metadata=metadata))
        return report

    def chat(self, requests: Iterator[bytes], timeout: float | None = 20.0) -> Any:
        return self.channel.stream_stream("/test.Echo/Chat")(requests, timeout=timeout)

    def stats(self) -> Counter[str]:
        return Counter(json.loads(self.call("Stats")))

    def shares(self, calls: int, metadata: Metadata = ()) -> Counter[str]:
        """Who answered `calls` sequential calls."""
        whoami = self.method("Whoami")
        return Counter(whoami(b"", timeout=10, metadata=metadata).decode() for _ in range(calls))


def trailers(error: Any) -> dict[str, str | bytes]:
    """All metadata of a failed call."""
    return {**dict(error.initial_metadata() or ()), **dict(error.trailing_metadata() or ())}


class Load:
    """Calls from `threads` threads until the block ends; `failures` and `answers` tell of every one.

    `request(n)` makes the n-th call's (method, request, metadata). The first failures are kept in words.
    """

    def __init__(self, target: str, request: Callable[[int], tuple[str, bytes, Metadata]], threads: int = 4,
                 pause: float = 0.002, timeout: float = 10.0) -> None:
        self.clients = [Client(target) for _ in range(2)]
        self.request = request
        self.pause = pause
        self.timeout = timeout
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self.failed: list[bytes] = []
        self.total = 0
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(self.clients[i % 2],), daemon=True)
                         for i in range(threads)]

    def _run(self, client: Client) -> None:
        while not self._stop.is_set():
            method, request, metadata = self.request(next(self._numbers))
            started = time.monotonic()
            try:
                answer = client.call(method, request, self.timeout, metadata).decode()
                with self._lock:
                    self.answers[answer] += 1
                    self.total += 1
            except grpc.RpcError as error:
                with self._lock:
                    self.total += 1
                    self.failed.append(request)
                    self.failures.append(f"{error.code().name} after {time.monotonic() - started:.3f} s: "
                                         f"{error.details()} {trailers(error)}")
            self._stop.wait(self.pause)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(self.timeout + 5)
        for client in self.clients:
            client.close()

    def wait_more(self, calls: int, timeout: float = 20.0) -> None:
        """Wait until `calls` more have ended."""
        goal = self.total + calls
        deadline = time.monotonic() + timeout
        while self.total < goal:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.total} of {goal} calls in {timeout:g} s; failures: {self.failures[:3]}")
            self._stop.wait(0.01)
