"""One reason, one code, wherever it is told: answer, span, access log, metrics. Each is provoked in a real sidecar.

A reason that is new wants a case here, or a line in ELSEWHERE that says why no HTTP or gRPC request ends with it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h2.events
import pytest
from e2e_h2peer import GET, POST, Headers, Peer, serve
from e2e_h2stage import OK, Stage, Stager
from e2e_mesh import Mesh, service
from e2e_processes import Sidecar, eventually
from h2.settings import SettingCodes
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from mesh.errors import REASONS
from mesh.v1 import endpoint_pb2

pytestmark = pytest.mark.e2e

ELSEWHERE = {
    "upstream_status": "an answer with a failure status ends an attempt; a request passes it on",
    "not_delivered": "ends an attempt; a request passes on what the callee's sidecar says is the matter",
    "draining": "nobody is refused while a port drains: it has been closed",
    "limit_retries": "says why there was no further attempt",
    "limit_connections": "TCP (test_tcp_e2e)",
    "held_back": "floods",
    "idle_timeout": "TCP and UDP (test_tcp_e2e, test_udp_e2e)",
    "upstream_unreachable": "UDP (test_udp_e2e)",
    "too_many_sessions": "UDP (test_udp_e2e)",
}
# The caller is gone, or the answer has begun.
UNTOLD = {"caller_reset", "caller_gone", "stalled_reader"}


class Watched:
    """A sidecar that tells all there is to tell."""

    def __init__(self, mesh: Mesh, name: str, *flags: str, **more: Any) -> None:
        self.mesh = mesh
        self.log = mesh.directory / f"access-{name}.log"
        self.sidecar: Sidecar = mesh.sidecar(name, f"{name}-0", "--access-log", str(self.log), "--admin", "0", *flags,
                                             **more)

    def get(self, path: str) -> str:
        request = urllib.request.Request(f"http://{self.sidecar.ready['admin']}{path}",
                                         headers={"Accept": "application/openmetrics-text"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def count(self, direction: str, reason: str) -> float:
        """Of all services."""
        return sum(sample.value for family in text_string_to_metric_families(self.get("/metrics"))
                   for sample in family.samples if sample.name == "mesh_requests_total"
                   and (sample.labels["direction"], sample.labels["reason"]) == (direction, reason))

    def line(self, trace_id: str, direction: str) -> dict[str, Any]:
        """The access log's line of this request."""
        def find() -> dict[str, Any] | None:
            for line in self.log.read_text().splitlines() if self.log.exists() else ():
                found: dict[str, Any] = json.loads(line)
                if (found["trace_id"], found["direction"]) == (trace_id, direction):
                    return found
            return None

        found = eventually(find, f"{self.sidecar.name} logs {trace_id}")
        assert found is not None
        return found


class World(NamedTuple):
    mesh: Mesh
    web: Watched
    stage: Stager


@pytest.fixture(scope="module")
def watched(mesh: Mesh) -> Watched:
    return Watched(mesh, "web", "--progress-timeout", "1s", shared=True, outbound=["ghost"])


@pytest.fixture
def world(mesh: Mesh, watched: Watched) -> Iterator[World]:
    stager = Stager(mesh, watched.sidecar)
    yield World(mesh, watched, stager)
    stager.close()


class Told(NamedTuple):
    """`code`: what the caller was told, if it could be. `by`: whose sidecar it was."""

    code: str | None
    by: Watched
    direction: str = "outbound"
    counted: bool = True


def dial(address: str, **settings: int) -> Peer:
    host, port = address.rsplit(":", 1)
    return Peer(socket.create_connection((host, int(port)), timeout=10), True,
                {SettingCodes[name]: value for name, value in settings.items()})


def reason_of(peer: Peer, stream: int) -> str:
    headers = dict(peer.wait(h2.events.ResponseReceived, stream).headers)
    return str(headers[b"mesh-reason"].decode())


def head(base: Headers, name: str, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """A request's fields, those that begin with a colon first."""
    fields = [*base, (b":authority", name.encode()), *more]
    return sorted(fields, key=lambda field: not field[0].startswith(b":"))


def ask(world: World, name: str, trace: tuple[bytes, bytes], base: Headers = GET, *more: tuple[bytes, bytes],
        address: str = "", end: bool = True) -> Told:
    peer = dial(address or world.web.sidecar.shared)
    with contextlib.closing(peer):
        stream = peer.request(head(base, name, trace, *more), end=end)
        return Told(reason_of(peer, stream), world.web)


GRPC = [*POST, (b"content-type", b"application/grpc"), (b"te", b"trailers")]
Case = Callable[[World, tuple[bytes, bytes]], Told]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__.removeprefix("case_")] = function
    return function


def made(world: World, script: Any = None, **policies: Any) -> Stage:
    policies.setdefault("retry", {"max_attempts": 1})
    return world.stage(*([script] if script else []), **policies)


@case
def case_no_route(world: World, trace: tuple[bytes, bytes]) -> Told:
    return ask(world, "nowhere", trace)


@case
def case_no_service(world: World, trace: tuple[bytes, bytes]) -> Told:
    return ask(world, "ghost", trace, GRPC, address=world.web.sidecar.outbound("ghost"))


@case
def case_no_endpoints(world: World, trace: tuple[bytes, bytes]) -> Told:
    return ask(world, made(world).name, trace)


@case
def case_no_healthy_upstream(world: World, trace: tuple[bytes, bytes]) -> Told:
    world.mesh.apply(service("weightless"), endpoints=[
        endpoint_pb2.Endpoint(service="weightless", name="a", host="127.0.0.1", port=1, weight=0)])
    return ask(world, "weightless", trace, GRPC)


def at_port(world: World, name: str, port: int, trace: tuple[bytes, bytes]) -> Told:
    world.mesh.apply(service(name, "HTTP2", retry={"max_attempts": 1}, timeout={"connect": "0.1s"}), endpoints=[
        endpoint_pb2.Endpoint(service=name, name="a", host="127.0.0.1", port=port)])
    return ask(world, name, trace)


@case
def case_upstream_connect_failed(world: World, trace: tuple[bytes, bytes]) -> Told:
    with socket.socket() as bound:  # and not listening, so nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        return at_port(world, "refusing", bound.getsockname()[1], trace)


@case
def case_upstream_connect_timeout(world: World, trace: tuple[bytes, bytes]) -> Told:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        return at_port(world, "frozen", frozen.getsockname()[1], trace)


def reset_with(code: int) -> Any:
    def reset(peer: Peer, request: h2.events.RequestReceived) -> None:
        peer.h2.reset_stream(request.stream_id, code)
        peer.flush()

    return serve(reset)


@case
def case_upstream_refused_stream(world: World, trace: tuple[bytes, bytes]) -> Told:
    return ask(world, made(world, reset_with(7)).name, trace)


@case
def case_upstream_reset(world: World, trace: tuple[bytes, bytes]) -> Told:
    return ask(world, made(world, reset_with(2), protocol="GRPC").name, trace, GRPC)


@case
def case_upstream_connection_lost(world: World, trace: tuple[bytes, bytes]) -> Told:
    return ask(world, made(world, serve(lambda peer, _: peer.sock.shutdown(socket.SHUT_RDWR))).name, trace, POST)


@case
def case_upstream_protocol_error(world: World, trace: tuple[bytes, bytes]) -> Told:
    """A SETTINGS frame of five octets."""
    return ask(world, made(world, serve(lambda peer, _: peer.raw(bytes((0, 0, 5, 4, 0, 0, 0, 0, 0)) + b"12345"))).name,
               trace, POST)


@case
def case_upgrade_not_supported(world: World, trace: tuple[bytes, bytes]) -> Told:
    connect = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/")]
    return ask(world, made(world, serve(lambda peer, request: None)).name, trace, connect, end=False)


@case
def case_deadline_exceeded(world: World, trace: tuple[bytes, bytes]) -> Told:
    silent = made(world, serve(lambda peer, request: None), protocol="GRPC")
    return ask(world, silent.name, trace, GRPC, (b"grpc-timeout", b"50m"))


@case
def case_per_try_timeout(world: World, trace: tuple[bytes, bytes]) -> Told:
    return ask(world, made(world, serve(lambda peer, request: None), timeout={"per_try": "0.5s"}).name, trace)


@case
def case_caller_protocol_error(world: World, trace: tuple[bytes, bytes]) -> Told:
    return ask(world, made(world, reset_with(7), protocol="GRPC").name, trace, GRPC, (b"grpc-timeout", b"soon"))


@case
def case_slow_body(world: World, trace: tuple[bytes, bytes]) -> Told:
    return ask(world, made(world, serve(lambda peer, request: None)).name, trace, POST, end=False)


@case
def case_stalled_reader(world: World, trace: tuple[bytes, bytes]) -> Told:
    def answer(peer: Peer, request: h2.events.RequestReceived) -> None:
        peer.respond(request.stream_id, OK, b"x" * 60_000)

    peer = dial(world.web.sidecar.shared, INITIAL_WINDOW_SIZE=0)
    with contextlib.closing(peer):
        stream = peer.request(head(GET, made(world, serve(answer)).name, trace))
        peer.wait(h2.events.StreamReset, stream)
    return Told(None, world.web)


def second_of(world: World, trace: tuple[bytes, bytes], before: int, **limits: Any) -> Told:
    """The request after `before` others, to an endpoint that doesn't answer, under these limits."""
    arrived: list[int] = []
    stage = made(world, serve(lambda peer, request: arrived.append(1)), limits=limits)
    peer = dial(world.web.sidecar.shared)
    with contextlib.closing(peer):
        for _ in range(before):
            peer.request(head(GET, stage.name))
            eventually(lambda: arrived, "the first is in flight and waits for no connection")
        return Told(reason_of(peer, peer.request(head(GET, stage.name, trace))), world.web)


@case
def case_limit_requests(world: World, trace: tuple[bytes, bytes]) -> Told:
    return second_of(world, trace, 1, max_requests=1, max_pending=0)


@case
def case_queue_full(world: World, trace: tuple[bytes, bytes]) -> Told:
    return second_of(world, trace, 2, max_requests=1, max_pending=1, queue_timeout="30s")


@case
def case_queue_timeout(world: World, trace: tuple[bytes, bytes]) -> Told:
    return second_of(world, trace, 1, max_requests=1, queue_timeout="0.1s")


@case
def case_rate_limited(world: World, trace: tuple[bytes, bytes]) -> Told:
    return second_of(world, trace, 1, rate_limits=[{"rate": 0.001, "burst": 1}])


def open_request(world: World, trace: tuple[bytes, bytes]) -> tuple[Peer, int]:
    """A request that its endpoint has and does not answer."""
    arrived: list[int] = []
    stage = made(world, serve(lambda peer, request: arrived.append(1)))
    peer = dial(world.web.sidecar.shared)
    stream = peer.request(head(GET, stage.name, trace))
    eventually(lambda: arrived, "the request arrives")
    return peer, stream


@case
def case_caller_reset(world: World, trace: tuple[bytes, bytes]) -> Told:
    peer, stream = open_request(world, trace)
    with contextlib.closing(peer):
        peer.h2.reset_stream(stream, 8)
        peer.h2.ping(b"received")
        peer.wait(h2.events.PingAckReceived)  # before the connection ends, which would be a reason of its own
    return Told(None, world.web)


@case
def case_caller_gone(world: World, trace: tuple[bytes, bytes]) -> Told:
    open_request(world, trace)[0].close()
    return Told(None, world.web)


@pytest.fixture(scope="module")
def lost(mesh: Mesh) -> Watched:
    """A sidecar that never hears of any service; its spans go to the control plane all the same."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        host, port = nobody.getsockname()
        return Watched(mesh, "lost", shared=True, control_plane=f"{host}:{port}",
                       env={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{mesh.address}"})


def check(code: str, told: Told, trace_id: str, before: float) -> None:
    """It is the same in all four places."""
    assert told.code == (None if code in UNTOLD else code)
    line = told.by.line(trace_id, told.direction)
    assert line["reason"] == code
    kind = {"outbound": "client", "inbound": "server"}[told.direction]

    def span() -> dict[str, str] | None:
        return next((dict(found.attributes) for found in told.by.mesh.trace(trace_id, 1)
                     if found.kind == kind and found.resource["service.name"] == told.by.sidecar.service), None)

    attributes = eventually(span, f"the span of {trace_id}")
    assert attributes is not None
    assert attributes["mesh.reason"] == code
    assert attributes.get("mesh.endpoint", "") == line["endpoint"]
    assert line["service"] == attributes["mesh.service"]
    if told.counted:
        assert told.by.count(told.direction, code) == before + 1


def new_trace() -> tuple[str, tuple[bytes, bytes]]:
    trace_id = os.urandom(16).hex()
    return trace_id, (b"traceparent", f"00-{trace_id}-{os.urandom(8).hex()}-01".encode())


@pytest.mark.parametrize("code", CASES)
def test_a_reason_is_the_same_everywhere(world: World, code: str) -> None:
    trace_id, trace = new_trace()
    before = world.web.count("outbound", code)
    check(code, CASES[code](world, trace), trace_id, before)


def test_what_the_callees_sidecar_made_is_its_own(mesh: Mesh, watched: Watched) -> None:
    """The app is gone: its sidecar says so, in the answer and in all that it tells; the caller's passes it on."""
    app = mesh.app("cart-0")
    cart = Watched(mesh, "cart", app=app)
    mesh.apply(service("cart", retry={"max_attempts": 1}))
    mesh.wait_registered("cart", {"cart-0"})
    app.kill()
    trace_id, trace = new_trace()
    before = cart.count("inbound", "upstream_connect_failed")

    def answered() -> str:
        with contextlib.closing(dial(watched.sidecar.shared)) as peer:
            return reason_of(peer, peer.request(head(GRPC, "cart", trace)))

    assert answered() == "upstream_connect_failed"
    check("upstream_connect_failed", Told("upstream_connect_failed", cart, "inbound"), trace_id, before)
    passed_on = watched.line(trace_id, "outbound")
    assert (passed_on["reason"], passed_on["grpc_status"]) == ("ok", 14)


def test_nothing_is_known_yet(lost: Watched) -> None:
    """`not_discovered`; and `overloaded` where a thousand wait for that."""
    trace_id, trace = new_trace()
    with contextlib.closing(dial(lost.sidecar.shared)) as peer:
        code = reason_of(peer, peer.request(head(GET, "cart", trace)))
    check("not_discovered", Told(code, lost), trace_id, 0)
    peers = [dial(lost.sidecar.shared) for _ in range(2)]
    for peer in peers:
        peer.wait(h2.events.RemoteSettingsChanged)
        for _ in range(512):
            stream = peer.h2.get_next_available_stream_id()
            peer.h2.send_headers(stream, head(GET, "stock"), end_stream=True)
    trace_id, trace = new_trace()
    peers[0].flush()
    stream = peers[1].request(head(GET, "stock", trace))
    code = reason_of(peers[1], stream)
    for peer in peers:
        peer.close()
    check("overloaded", Told(code, lost), trace_id, 0)


def test_the_end_of_a_sidecar(mesh: Mesh) -> None:
    """What is open then is told, in the answer, the span and the log; metrics are gone with it."""
    ending = Watched(mesh, "ending", "--drain-timeout", "1s", shared=True)
    stager = Stager(mesh, ending.sidecar)
    trace_id, trace = new_trace()
    arrived: list[int] = []
    stage = stager(serve(lambda peer, request: arrived.append(1)))
    host, port = ending.sidecar.shared.rsplit(":", 1)
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=10)) as caller:
        caller.request("GET", "/", headers={"Host": stage.name, "traceparent": trace[1].decode()})
        eventually(lambda: arrived, "the request arrives")
        ending.sidecar.signal(signal.SIGTERM)
        answer = caller.getresponse()
        code = answer.headers["mesh-reason"]
        answer.read()
    assert ending.sidecar.wait_end() == 0
    check("drain_deadline", Told(code, ending, counted=False), trace_id, 0)
    for backend in stager._backends:
        backend.close()


def test_every_reason_has_its_case() -> None:
    beside = {"not_discovered", "overloaded", "drain_deadline"}
    missing = set(REASONS) - set(CASES) - beside - set(ELSEWHERE)
    assert not missing, f"{missing}: a case in this file, or a line in ELSEWHERE"
    assert not set(ELSEWHERE) & (set(CASES) | beside)
    assert set(CASES) <= set(REASONS)


def test_a_thousand_requests_are_logged_and_counted_once(mesh: Mesh, watched: Watched, tmp_path: Path) -> None:
    """Of two workers that share a file and an address; the file is moved away in the middle."""
    log, moved = tmp_path / "log", tmp_path / "log.1"
    app = mesh.app("many-0")
    many = mesh.sidecar("many", "many-0", "--workers", "2", "--access-log", str(log), "--admin", "0", app=app)
    mesh.wait_registered("many", {"many-0"})
    peers = [dial(many.inbound) for _ in range(8)]
    fields = head([*GRPC[:2], (b":path", b"/test.Echo/Whoami"), *GRPC[3:]], "many")

    def burst() -> None:
        asked = [(peer, peer.request(fields, end=False)) for peer in peers for _ in range(25)]
        for peer, stream in asked:
            peer.h2.send_data(stream, bytes(5), end_stream=True)
        for peer, stream in asked:
            peer.wait(h2.events.StreamEnded, stream)

    def admin(path: str) -> str:
        with urllib.request.urlopen(f"http://{many.ready['admin']}{path}", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    burst()
    eventually(lambda: log.exists() and len(log.read_text().splitlines()) == 200, "200 lines")
    log.rename(moved)
    for _ in range(4):
        burst()
    eventually(lambda: log.exists() and len(log.read_text().splitlines()) == 800, "800 lines in the new file")
    assert len(moved.read_text().splitlines()) == 200
    lines = [json.loads(line) for path in (moved, log) for line in path.read_text().splitlines()]
    assert {(line["direction"], line["reason"], line["path"], line["grpc_status"]) for line in lines} == {
        ("inbound", "ok", "/test.Echo/Whoami", 0)}
    assert len({line["span_id"] for line in lines}) == 1000
    for _ in range(4):  # whichever worker is asked
        text = admin("/metrics")
        assert 'mesh_requests_total{direction="inbound",service="many",reason="ok"} 1000\n' in text
        assert 'mesh_log_lines_total{log="access_log",outcome="written"} 1000\n' in text
    assert len(json.loads(admin("/statistics"))["workers"]) == 2
    assert admin("/healthz") == "ok\n"
    for peer in peers:
        peer.close()
