"""Limits through real sidecars: apps that do one thing at a time, rates that all callers share, TCP connections."""

from __future__ import annotations

import http.client
import socket
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from e2e_calls import Client
from e2e_mesh import Mesh, service
from e2e_processes import Sidecar, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def mesh(make_mesh: Callable[[], Mesh]) -> Mesh:
    return make_mesh()


def called(address: str, path: str, times: int) -> Counter[tuple[int, str]]:
    """What came of so many requests, one after the other over one connection: status and reason."""
    found: Counter[tuple[int, str]] = Counter()
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        for _ in range(times):
            connection.request("POST", path)
            answer = connection.getresponse()
            answer.read()
            found[answer.status, answer.headers.get("mesh-reason", "")] += 1
    finally:
        connection.close()
    return found


def together(addresses: list[str], path: str, callers: int, times: int) -> Counter[tuple[int, str]]:
    """`callers` at each address at the same time."""
    with ThreadPoolExecutor(callers * len(addresses)) as threads:
        done = [threads.submit(called, address, path, times) for address in addresses for _ in range(callers)]
        return sum((each.result() for each in done), Counter())


def limits(sidecar: Sidecar, name: str) -> dict[str, Any]:
    found: dict[str, Any] = sidecar.cluster(name)["limits"]
    return found


def web(mesh: Mesh, instance: str, name: str, protocol: str = "") -> tuple[Sidecar, str]:
    """A caller of `name`, and where its app would call."""
    sidecar = mesh.sidecar("web", instance, outbound=[name + protocol])
    mesh.wait_seen(sidecar, name)
    return sidecar, sidecar.outbound(name)


def test_one_request_at_a_time_in_each_process(mesh: Mesh) -> None:
    """Two replicas whose handler must not be called twice at a time, called through two sidecars by eight callers each:
    a sidecar knows its own calls only, so it is the callee's that has the rest wait. What is POST and may have run is
    never repeated."""
    mesh.apply(service("alone", "HTTP1", limits={"endpoint_requests": 1, "queue_timeout": "30s"}))
    replicas = mesh.replicas("alone", 2, kind="http1", protocol="http1")
    callers = [web(mesh, f"alone-{n}", "alone") for n in range(2)]
    assert together([address for _, address in callers], "/alone/0.002", 8, 15) == {(200, ""): 240}
    for sidecar, _ in callers:
        sidecar.wait_idle()
        eventually(lambda sidecar=sidecar: (limits(sidecar, "alone")["pending"], limits(sidecar, "alone")["requests"])  # type: ignore[misc]
                   == (0, 0), "nobody waits")
        assert limits(sidecar, "alone")["refused"] == {}
    for replica in replicas:
        inbound = replica.sidecar.statistics()["inbound"]
        assert inbound["http"]["requests"] > 0
        assert inbound["limits"]["refused"] == {}


def test_a_server_of_one_connection(mesh: Mesh) -> None:
    """One thread that serves a connection until it ends: with a second connection a caller would wait for that."""
    mesh.apply(service("single", "HTTP1", limits={"endpoint_connections": 1, "queue_timeout": "30s"}))
    mesh.replicas("single", 1, "--single", kind="http1", protocol="http1")
    _, address = web(mesh, "single-0", "single")
    assert together([address], "/whoami", 8, 15) == {(200, ""): 120}


def test_what_waits_too_long_fails_fast(mesh: Mesh) -> None:
    mesh.apply(service("slow", "HTTP1", limits={"endpoint_requests": 1, "queue_timeout": "0.2s", "max_pending": 2},
                       retry={"max_attempts": 1}))
    mesh.replicas("slow", 1, kind="http1", protocol="http1")
    sidecar, address = web(mesh, "slow-0", "slow")
    assert called(address, "/whoami", 1) == {(200, ""): 1}  # there are connections now
    found = together([address], "/pause/2", 4, 1)
    assert found == {(200, ""): 1, (503, "queue_timeout"): 2, (503, "queue_full"): 1}
    assert limits(sidecar, "slow")["refused"] == {"queue_timeout": 2, "queue_full": 1}


def test_a_rate_is_shared_by_all_callers(mesh: Mesh) -> None:
    """The callee's sidecar counts, and says when to come again; nobody repeats it."""
    mesh.apply(service("rated", "GRPC", limits={"rate_limits": [{"rate": 0.01, "burst": 5}]}))
    [replica] = mesh.replicas("rated", 1)
    addresses = [web(mesh, f"rated-{n}", "rated")[1] for n in range(2)]
    with Client(addresses[0]) as one, Client(addresses[1]) as other:
        for client in (one, other, one, other, one):
            assert client.call("Whoami") == b"rated-0"
        for client in (one, other):
            error = client.code("Whoami")
            trailers = dict((*error.trailing_metadata(), *error.initial_metadata()))  # type: ignore[attr-defined]
            assert error.code().name == "RESOURCE_EXHAUSTED"  # type: ignore[attr-defined]
            assert trailers["mesh-reason"] == "rate_limited"
            assert 0 < int(trailers["grpc-retry-pushback-ms"]) <= 100_000
    assert replica.sidecar.statistics()["inbound"]["limits"]["refused"] == {"rate_limited": 2}


class Callers:
    """`count` at a time that ask for `path` again and again until the end of the block. `before`: what the app said of
    its queue, latest last; `problems`: answers that were not 200."""

    def __init__(self, address: str, path: str, count: int) -> None:
        self.address = address
        self.path = path
        self.before: list[int] = []
        self.problems: list[str] = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.call) for _ in range(count)]

    def call(self) -> None:
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            while not self.stop.is_set():
                connection.request("GET", self.path)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.problems.append(f"{answer.status} {answer.headers.get('mesh-reason')}")
                self.before.append(int(answer.headers.get("x-before", "0")))
        finally:
            connection.close()

    def __enter__(self) -> Callers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def lately(self, answers: int) -> int:
        """The longest queue of the next so many answers."""
        begun = len(self.before)
        eventually(lambda: len(self.before) >= begun + answers, f"{answers} answers", 60)
        return max(self.before[begun:])


def test_an_adaptive_limit_keeps_the_queue_out_of_the_app(mesh: Mesh) -> None:
    """32 callers of an app that does one thing at a time, for 2 ms. The more are let in, the longer each takes, so that
    the limit settles where limit = 1.25 * 3 + sqrt(limit), at about 7 (gradient.py), were the least latency, of 3 at
    a time, measured without noise; three times as much makes it 16. Without a limit all 32 are at the app."""
    mesh.apply(service("queued", "HTTP1", limits={"adaptive": {"enabled": True}, "queue_timeout": "60s"}))
    [replica] = mesh.replicas("queued", 1, kind="http1", protocol="http1")
    _, address = web(mesh, "queued-0", "queued")
    with Callers(address, "/queue/0.002", 32) as callers:
        eventually(lambda: replica.sidecar.statistics()["inbound"]["limits"]["least_latency"] > 0, "it is measured", 60)
        assert callers.lately(1000) < 24
        mesh.apply(service("queued", "HTTP1", limits={"queue_timeout": "60s"}))
        eventually(lambda: callers.before[-1] > 24, "all are at the app", 60)
    assert callers.problems == []


def test_an_adaptive_limit_grows_while_that_costs_nothing(mesh: Mesh) -> None:
    """An app that has a thread for each: the limit goes up from 3 and never keeps the 24 callers waiting for long."""
    mesh.apply(service("elastic", "HTTP1", limits={"adaptive": {"enabled": True}, "queue_timeout": "60s"}))
    [replica] = mesh.replicas("elastic", 1, kind="http1", protocol="http1")
    _, address = web(mesh, "elastic-0", "elastic")
    inbound = replica.sidecar.statistics
    assert inbound()["inbound"]["limits"]["adaptive_limit"] == 3
    with Callers(address, "/pause/0.1", 24) as callers:
        eventually(lambda: inbound()["inbound"]["limits"]["adaptive_limit"] >= 24, "it has grown", 60)
        eventually(lambda: inbound()["inbound"]["limits"]["requests"] == 24, "all are let in", 60)
    assert callers.problems == []


def test_tcp_connections(mesh: Mesh) -> None:
    mesh.apply(service("db", "TCP", limits={"endpoint_connections": 2}))
    mesh.replicas("db", 1, kind="tcp", protocol="tcp")
    sidecar, address = web(mesh, "db-0", "db", "/tcp")
    host, _, port = address.rpartition(":")
    held = [socket.create_connection((host, int(port)), timeout=10) for _ in range(2)]
    eventually(lambda: limits(sidecar, "db")["connections"] == 2, "two connections are open")
    with socket.create_connection((host, int(port)), timeout=10) as third, pytest.raises(ConnectionResetError):
        third.recv(1)
    assert limits(sidecar, "db")["refused"] == {"limit_connections": 1}
    held.pop().close()
    eventually(lambda: limits(sidecar, "db")["connections"] == 1, "one is gone")
    with socket.create_connection((host, int(port)), timeout=10):
        eventually(lambda: limits(sidecar, "db")["connections"] == 2, "another is let in")
    for each in held:
        each.close()
