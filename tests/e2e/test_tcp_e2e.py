"""Opaque bytes through two sidecars: every byte, both directions, half-close, and nobody held up by anybody."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from e2e_mesh import Mesh, Replica, service
from e2e_processes import Sidecar, eventually

pytestmark = pytest.mark.e2e
MIB = 1 << 20


class Stock(NamedTuple):
    mesh: Mesh
    web: Sidecar
    replicas: list[Replica]

    def dial(self, timeout: float = 20.0) -> socket.socket:
        host, port = self.web.outbound("stock").rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=timeout)

    def held(self) -> int:
        """Connections that the apps of all replicas hold, asked past the mesh."""
        total = 0
        for replica in self.replicas:
            if replica.app.alive:
                with socket.create_connection(("127.0.0.1", replica.app.port), timeout=5) as connection:
                    connection.sendall(b'{"do": "stats"}\n')
                    total += json.loads(connection.makefile().readline())["held"]
        return total


@pytest.fixture(scope="module")
def stock(mesh: Mesh) -> Stock:
    mesh.apply(service("stock", "TCP"))
    replicas = mesh.replicas("stock", 2, kind="tcp", protocol="tcp")
    web = mesh.sidecar("web", "web-0", outbound=["stock"])
    mesh.wait_seen(web, "stock")
    return Stock(mesh, web, replicas)


def pattern(size: int) -> bytes:
    """The app's own: see apps/tcp_app.py."""
    block = bytes(range(251)) * 261
    return (block * (size // len(block) + 1))[:size]


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(MIB):
        parts.append(part)
    return b"".join(parts)


def exchange(stock: Stock, command: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """Send, half-close, read to the end. The answer's JSON line and what came beside it."""
    with stock.dial() as connection:
        sender = threading.Thread(target=lambda: (connection.sendall(json.dumps(command).encode() + b"\n" + payload),
                                                  connection.shutdown(socket.SHUT_WR)))
        sender.start()
        answer = read_all(connection)
        sender.join(20)
    if command["do"] == "duplex":
        return json.loads(answer[command["reply"]:]), answer[:command["reply"]]
    line, _, rest = answer.partition(b"\n")
    return json.loads(line), rest


@pytest.mark.parametrize("size", [0, 1, 65_536, 16 * MIB])
def test_transfer_with_half_close(stock: Stock, size: int) -> None:
    """The caller's end of input reaches the app, whose answer comes after it, every byte."""
    payload = os.urandom(size)
    report, reply = exchange(stock, {"do": "swap", "reply": size}, payload)
    assert (report["bytes"], report["sha256"]) == (size, hashlib.sha256(payload).hexdigest())
    assert hashlib.sha256(reply).hexdigest() == hashlib.sha256(pattern(size)).hexdigest()


def test_both_directions_at_one_time(stock: Stock) -> None:
    payload = os.urandom(16 * MIB)
    report, reply = exchange(stock, {"do": "duplex", "reply": 16 * MIB}, payload)
    assert (report["bytes"], report["sha256"]) == (len(payload), hashlib.sha256(payload).hexdigest())
    assert reply == pattern(16 * MIB)


def test_many_connections_at_one_time(stock: Stock) -> None:
    """64 transfers of 256 KiB; both replicas serve."""
    reports: list[dict[str, Any]] = []
    payload = os.urandom(MIB // 4)

    def run() -> None:
        report, reply = exchange(stock, {"do": "swap", "reply": MIB // 4}, payload)
        assert reply == pattern(MIB // 4)
        reports.append(report)

    threads = [threading.Thread(target=run) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(reports) == 64
    assert {report["sha256"] for report in reports} == {hashlib.sha256(payload).hexdigest()}
    assert set(Counter(report["name"] for report in reports)) == {"stock-0", "stock-1"}


def test_small_messages_go_at_once(stock: Stock) -> None:
    """A request and its answer: nothing waits for more bytes."""
    with stock.dial() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b'{"do": "echo"}\n')
        started = time.monotonic()
        for n in range(200):
            message = b"%04d" % n
            connection.sendall(message)
            assert connection.recv(100) == message
        assert time.monotonic() - started < 4, "20 ms each would be Nagle's doing"


def test_slow_reader_holds_nobody_up(stock: Stock) -> None:
    """A caller that reads nothing: the others run, the sidecars stay small, and it gets all in the end."""
    with stock.dial() as lazy:
        lazy.sendall(json.dumps({"do": "swap", "reply": 64 * MIB}).encode() + b"\n")
        lazy.shutdown(socket.SHUT_WR)
        for _ in range(5):
            report, reply = exchange(stock, {"do": "swap", "reply": MIB}, b"x" * MIB)
            assert (report["bytes"], len(reply)) == (MIB, MIB)
        for sidecar in (stock.web, *(replica.sidecar for replica in stock.replicas)):
            assert sidecar.resident_kib() < 70 * 1024, sidecar.name
        answer = read_all(lazy)
    assert answer.partition(b"\n")[2] == pattern(64 * MIB)


def test_slow_writer_and_app_that_waits(stock: Stock) -> None:
    payload = os.urandom(3000)
    with stock.dial() as connection:
        connection.sendall(b'{"do": "swap", "reply": 0}\n')
        for start in range(0, 3000, 100):
            connection.sendall(payload[start:start + 100])
            threading.Event().wait(0.002)
        connection.shutdown(socket.SHUT_WR)
        report = json.loads(read_all(connection))
    assert report["sha256"] == hashlib.sha256(payload).hexdigest()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_caller_that_vanishes_is_seen_by_the_app(stock: Stock, how: str) -> None:
    connections = [stock.dial() for _ in range(10)]
    for connection in connections:
        connection.sendall(b'{"do": "hold"}\n')
        assert connection.recv(100) == b"holding\n"
    assert stock.held() == 10
    for connection in connections:
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    eventually(lambda: stock.held() == 0, "the apps see that the callers are gone", 5)


def test_app_that_dies_is_seen_by_the_caller(stock: Stock) -> None:
    connections = [stock.dial() for _ in range(4)]
    for connection in connections:
        connection.sendall(b'{"do": "hold"}\n')
        assert connection.recv(100) == b"holding\n"
    stock.replicas[0].app.kill()
    try:
        ended = 0
        for connection in connections:
            connection.settimeout(1)
            try:
                ended += connection.recv(100) == b""
            except ConnectionError:
                ended += 1
            except TimeoutError:
                pass
        assert ended == 4 - stock.held()
        assert ended > 0, "least in flight: each replica had some"
    finally:
        stock.replicas[0].app.start()
        for connection in connections:
            connection.close()


def test_connection_refused_goes_elsewhere(stock: Stock) -> None:
    """The callee's sidecar is gone: nothing was sent yet, so another endpoint takes the connection."""
    stock.replicas[0].sidecar.kill()
    try:
        for _ in range(10):
            report, _ = exchange(stock, {"do": "swap", "reply": 0}, b"hello")
            assert report["name"] == "stock-1"
    finally:
        stock.replicas[0].sidecar.start()
        stock.mesh.wait_registered("stock", {"stock-0", "stock-1"})
        stock.mesh.wait_seen(stock.web, "stock")


def test_weights_are_shares_of_connections(stock: Stock) -> None:
    stock.mesh.apply(service("stock", "TCP", balance={"algorithm": "ALGORITHM_WEIGHTED_ROUND_ROBIN"}))
    stock.mesh.set_weights("stock", stock_0=1, stock_1=3)
    stock.mesh.wait_seen(stock.web, "stock")
    eventually(lambda: stock.web.cluster("stock")["algorithm"] == "weighted_round_robin", "the policy is in force")
    names = Counter(exchange(stock, {"do": "swap", "reply": 0}, b"")[0]["name"] for _ in range(40))
    assert names == {"stock-0": 10, "stock-1": 30}
    stock.mesh.set_weights("stock", stock_0=1, stock_1=1)
    stock.mesh.wait_seen(stock.web, "stock")


def test_drain_lets_connections_finish(stock: Stock) -> None:
    """SIGTERM of a callee's sidecar with an open connection that then ends by itself."""
    stock.mesh.set_weights("stock", stock_0=0)
    stock.mesh.wait_seen(stock.web, "stock")
    leaving = stock.replicas[1]
    with stock.dial() as connection:
        connection.sendall(b'{"do": "echo"}\n')
        connection.sendall(b"before")
        assert connection.recv(100) == b"before"
        leaving.sidecar.signal(15)
        stock.mesh.wait_registered("stock", {"stock-0"})
        connection.sendall(b"after")
        assert connection.recv(100) == b"after"
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert leaving.sidecar.stop() == 0
    leaving.sidecar.start()
    stock.mesh.set_weights("stock", stock_0=1)
    stock.mesh.wait_registered("stock", {"stock-0", "stock-1"})
    stock.mesh.wait_seen(stock.web, "stock")


def test_nobody_there_closes_the_connection(stock: Stock) -> None:
    stock.mesh.apply(service("void", "TCP"))
    web = stock.mesh.sidecar("lonely", "lonely-0", outbound=["void/tcp"])
    host, port = web.outbound("void").rsplit(":", 1)
    # The reset can be there before connect() has returned.
    with contextlib.suppress(ConnectionError), socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b""


def test_nothing_is_left_open(stock: Stock, connect: Callable[..., Any]) -> None:
    descriptors = [sidecar.descriptors() for sidecar in (stock.web, stock.replicas[0].sidecar)]
    for _ in range(100):
        exchange(stock, {"do": "swap", "reply": 1000}, b"x" * 1000)
    eventually(lambda: all(now <= before + 1 for now, before in zip(
        (stock.web.descriptors(), stock.replicas[0].sidecar.descriptors()), descriptors, strict=True)),
        "as many descriptors as before", 5)
    stock.web.wait_idle()


def test_a_connection_is_one_span_at_each_sidecar(stock: Stock) -> None:
    """Nothing joins the two over opaque bytes: each sidecar has a trace of its own."""
    from mesh.v1 import trace_pb2

    exchange(stock, {"do": "swap", "reply": 12_345}, b"z" * 54_321)

    def found() -> list[trace_pb2.TraceSpan]:
        listed = stock.mesh.traces.ListTraces(trace_pb2.ListTracesRequest(limit=1000), timeout=5).traces
        spans = []
        for trace in listed[:20]:
            if trace.root_name == "tcp stock":
                spans += stock.mesh.trace(trace.trace_id, 1)
        return [span for span in spans if span.attributes.get("mesh.response.bytes", "").startswith("12")]

    spans = eventually(found, "the spans are stored", 10)
    assert {span.service for span in spans} <= {"web", "stock"}
    assert all(span.attributes["mesh.endpoint"].startswith("stock/stock-") for span in spans)
