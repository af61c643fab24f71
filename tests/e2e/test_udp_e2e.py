"""Datagrams through two sidecars: sessions that stick, endpoints that die, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from e2e_mesh import Mesh, Replica, service
from e2e_processes import Sidecar, eventually

from mesh.v1 import trace_pb2

pytestmark = pytest.mark.e2e
IDLE = 1.0


class Dns(NamedTuple):
    """`web` calls two `dns`; a session is over after a second."""

    mesh: Mesh
    web: Sidecar
    replicas: list[Replica]

    def dial(self, timeout: float = 5.0) -> socket.socket:
        """A caller's socket: one source address, one session."""
        host, port = self.web.outbound("dns").rsplit(":", 1)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(timeout)
        sock.connect((host, int(port)))
        return sock

    def udp(self) -> dict[str, int]:
        """The statistics of the outbound port."""
        [found] = [each["udp"] for each in self.web.statistics()["outbound"] if each["service"] == "dns"]
        return dict(found)


def made(mesh: Mesh, outbound: str) -> Dns:
    mesh.apply(service("dns", "UDP", timeout={"udp_idle": f"{IDLE:g}s"}, outlier={"base_ejection_time": "1s"},
                       balance={"algorithm": "ALGORITHM_ROUND_ROBIN"}))
    replicas = mesh.replicas("dns", 2, kind="udp", protocol="udp")
    web = mesh.sidecar("web", "web-0", outbound=[outbound])
    mesh.wait_seen(web, "dns")
    return Dns(mesh, web, replicas)


@pytest.fixture(scope="module")
def dns(mesh: Mesh) -> Dns:
    return made(mesh, "dns/udp")


@pytest.fixture
def own_dns(make_mesh: Callable[[], Mesh]) -> Dns:
    """For a test that breaks something. The protocol is not declared: discovery says it."""
    return made(make_mesh(), "dns")


def ask(sock: socket.socket, datagram: bytes) -> bytes:
    sock.send(datagram)
    return sock.recv(65_536)


def ask_until(sock: socket.socket, datagram: bytes, timeout: float = 10.0) -> tuple[bytes, int]:
    """Ask as UDP's users do, again and again; the answer, and how many questions were lost before it."""
    deadline, lost = time.monotonic() + timeout, 0
    sock.settimeout(0.1)
    while True:
        try:
            return ask(sock, datagram), lost
        except (TimeoutError, ConnectionRefusedError):
            lost += 1
            assert time.monotonic() < deadline, f"{lost} questions and no answer"


@contextlib.contextmanager
def dialled(dns: Dns, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(dns.dial()) for _ in range(count)]


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, 65_507])
def test_every_size_there_and_back(dns: Dns, size: int) -> None:
    payload = os.urandom(size)
    with dns.dial() as sock:
        assert ask(sock, payload) == payload


def test_a_session_sticks_and_sessions_are_spread(dns: Dns) -> None:
    with dialled(dns, 20) as callers:
        names = [ask(sock, b"?name") for sock in callers]
        assert Counter(names) == {b"dns-0": 10, b"dns-1": 10}  # each in turn
        for _ in range(5):
            assert [ask(sock, b"?name") for sock in callers] == names


def test_many_answers_to_one_question(dns: Dns) -> None:
    with dns.dial() as sock:
        assert ask(sock, b"?many") == b"0"
        assert [sock.recv(10) for _ in range(9)] == [b"%d" % number for number in range(1, 10)]


def test_sessions_end_and_leave_nothing_behind(dns: Dns) -> None:
    processes = [dns.web, *(replica.sidecar for replica in dns.replicas)]
    for process in processes:
        process.wait_idle()  # earlier sessions are over
    before = [process.descriptors() for process in processes]
    opened = dns.udp()["opened"]
    with dialled(dns, 50) as callers:
        for sock in callers:
            assert ask(sock, b"x") == b"x"
        assert dns.udp()["sessions"] == 50
        assert sum(node["in_flight"] for node in dns.web.endpoints("dns").values()) == 50
        kept = callers[0]
        ended = time.monotonic() + 2.5 * IDLE
        while time.monotonic() < ended:
            assert ask(kept, b"still here") == b"still here"
            time.sleep(IDLE / 5)
        assert dns.udp()["sessions"] == 1
    eventually(lambda: dns.udp()["sessions"] == 0, "no session is left", 5)
    assert dns.udp()["opened"] == opened + 50
    for process in processes:
        process.wait_idle()
    eventually(lambda: all(process.descriptors() <= count + 1
                           for process, count in zip(processes, before, strict=True)), "their sockets are closed", 5)


def test_each_session_leaves_a_span(dns: Dns) -> None:
    with dns.dial() as sock:
        for _ in range(3):
            assert ask(sock, b"12345") == b"12345"

    def spans() -> list[trace_pb2.TraceSpan]:
        listed = dns.mesh.traces.ListTraces(trace_pb2.ListTracesRequest(service="web", limit=1000), timeout=5).traces
        found = [dns.mesh.trace(trace.trace_id, 1) for trace in listed if trace.root_name == "udp dns"]
        return [span for trace in found for span in trace if span.attributes.get("mesh.request.bytes") == "15"]

    [span] = eventually(spans, "the span of the session is there", 10)
    assert span.attributes["network.transport"] == "udp"
    assert span.attributes["mesh.response.bytes"] == "15"
    assert span.attributes["mesh.endpoint"].startswith("dns/dns-")


def test_a_flood_does_not_stop_others(dns: Dns) -> None:
    """30,000 datagrams as fast as one can: lost are only its own, and the memory is where it was."""
    with dns.dial() as flooder, dns.dial() as other:
        assert ask(other, b"before") == b"before"
        before = dns.web.resident_kib()
        slowest = 0.0
        for number in range(30_000):
            flooder.send(b"?silence")
            if number % 1000 == 0:
                started = time.monotonic()
                _, lost = ask_until(other, b"%d" % number)
                slowest = max(slowest, time.monotonic() - started)
                assert lost <= 3
        assert slowest < 2
        assert dns.web.resident_kib() - before < 4096
    assert dns.udp()["refused"] == 0


# ---- endpoints that die


def test_a_killed_endpoint_is_left(own_dns: Dns) -> None:
    """Both processes die at once: its sessions lose what they asked in that moment, and go on with the other one."""
    with dialled(own_dns, 20) as callers:
        assert Counter(ask(sock, b"?name") for sock in callers) == {b"dns-0": 10, b"dns-1": 10}
        own_dns.replicas[0].kill()
        answers = [ask_until(sock, b"?name") for sock in callers]
        assert {name for name, _ in answers} == {b"dns-1"}
        assert sum(lost for _, lost in answers) <= 12  # one for each of its ten sessions
        assert own_dns.udp()["unreachable"] >= 1
    eventually(lambda: own_dns.udp()["sessions"] == 0, "no session is left", 5)


def test_a_dead_app_is_left_though_its_sidecar_lives(own_dns: Dns) -> None:
    """The sidecar passes the refusal on, and takes its part again when the app is back."""
    with dialled(own_dns, 10) as callers:
        assert Counter(ask(sock, b"?name") for sock in callers) == {b"dns-0": 5, b"dns-1": 5}
        own_dns.replicas[0].app.kill()
        answers = [ask_until(sock, b"?name") for sock in callers]
        assert {name for name, _ in answers} == {b"dns-1"}
        assert sum(lost for _, lost in answers) <= 20
        own_dns.replicas[0].app.start()

    def back() -> bool:
        with own_dns.dial() as sock:
            return ask_until(sock, b"?name")[0] == b"dns-0"

    eventually(back, "the restarted app gets its share again", 20)


class Caller(threading.Thread):
    """Asks on one socket without a pause; `lost` counts the questions that were not answered within a second."""

    def __init__(self, dns: Dns) -> None:
        super().__init__(daemon=True)
        self.sock = dns.dial(1.0)
        self.total = 0
        self.lost = 0
        self.names: Counter[bytes] = Counter()
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            self.total += 1
            try:
                self.names[ask(self.sock, b"?name")] += 1
            except OSError:
                self.lost += 1

    def finish(self) -> None:
        self._over.set()
        self.join(10)
        self.sock.close()


@contextlib.contextmanager
def calling(dns: Dns, count: int) -> Iterator[list[Caller]]:
    callers = [Caller(dns) for _ in range(count)]
    try:
        eventually(lambda: all(caller.total > 20 for caller in callers), "all callers are answered")
        yield callers
        seen = [caller.total for caller in callers]
        eventually(lambda: all(caller.total > before + 20 for caller, before in zip(callers, seen, strict=True)),
                   "all callers are still answered")
    finally:
        for caller in callers:
            caller.finish()


def test_an_endpoint_that_drains_is_left_without_a_loss(own_dns: Dns) -> None:
    with calling(own_dns, 4) as callers:
        assert own_dns.replicas[0].sidecar.stop() == 0
    assert [caller.lost for caller in callers] == [0] * 4
    with own_dns.dial() as sock:
        assert ask(sock, b"?name") == b"dns-1"
        own_dns.web.signal(signal.SIGTERM)
        started = time.monotonic()
        assert own_dns.web.wait_end() == 0
        assert time.monotonic() - started < 4  # not for as long as there are sessions: a quiet second is enough


def test_a_hot_restart_loses_nothing(own_dns: Dns) -> None:
    """Of the caller's sidecar and of a callee's: the sockets are handed over with what waits in them."""
    with calling(own_dns, 4) as callers:
        successors: list[Any] = []
        for old in (own_dns.web, own_dns.replicas[0].sidecar):
            successors.append(old.successor())
            old.wait_end(20)
    lost = [caller.lost for caller in callers]
    for successor in successors:
        assert successor.stop() == 0
    assert lost == [0] * 4


def test_workers_share_the_callers(make_mesh: Callable[[], Mesh]) -> None:
    """Two workers at the callee and two at the caller: all datagrams of a session go through one of each."""
    mesh = make_mesh()
    mesh.apply(service("dns", "UDP", timeout={"udp_idle": "2s"}, balance={"algorithm": "ALGORITHM_ROUND_ROBIN"}))
    mesh.replicas("dns", 1, kind="udp", protocol="udp", sidecar_flags=("--workers", "2"))
    web = mesh.sidecar("web", "web-0", "--workers", "2", outbound=["dns/udp"])
    eventually(lambda: all("dns-0" in each["clusters"][0]["endpoints"] for each in web.statistics()["workers"]),
               "both workers know the endpoint")
    with contextlib.ExitStack() as stack:
        host, port = web.outbound("dns").rsplit(":", 1)
        callers = []
        for _ in range(40):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.connect((host, int(port)))
            callers.append(sock)
        for turn in range(3):
            for number, sock in enumerate(callers):
                datagram = b"%d of %d" % (turn, number)
                assert datagram in ask_until(sock, datagram)[0]
        shares = [each["outbound"][0]["udp"]["opened"] for each in web.statistics()["workers"]]
        assert sum(shares) >= 40  # more where this machine was slower than the sessions' idle time
        assert min(shares) > 0
