"""Endpoints that die, refuse, fail or stay silent: what the caller sees, and how often the app was run."""

from __future__ import annotations

import contextlib
import itertools
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from e2e_calls import Client, Load, Metadata, trailers
from e2e_mesh import Mesh, Replica, service
from e2e_processes import Sidecar, eventually

from mesh.v1 import endpoint_pb2

pytestmark = pytest.mark.e2e
KEY: Metadata = (("idempotency-key", "k"),)
_ids = itertools.count()


class Shop(NamedTuple):
    mesh: Mesh
    web: Sidecar

    def replicas(self, name: str, count: int, **policies: dict[str, object]) -> tuple[list[Replica], Path]:
        """A service of its own for one test, known to the caller, and the ledger its apps write."""
        ledger = self.mesh.directory / f"ledger-{name}"
        self.mesh.apply(service(name, **policies))
        made = self.mesh.replicas(name, count, "--ledger", str(ledger))
        return made, ledger

    def client(self, connect: Callable[..., Client], name: str) -> Client:
        """A client of the service, once the sidecar knows its endpoints."""
        client = connect(self.web.shared, ("grpc.default_authority", name))
        with contextlib.suppress(grpc.RpcError):
            client.call("Echo", timeout=5)  # makes the sidecar subscribe
        self.mesh.wait_seen(self.web, name)
        return client


@pytest.fixture(scope="module")
def shop(mesh: Mesh) -> Shop:
    return Shop(mesh, mesh.sidecar("web", "web-0", shared=True, outbound=["pay", "once", "half"]))


def runs(ledger: Path) -> Counter[str]:
    """How often each request id was run, over all apps."""
    return Counter(line.split(" ", 1)[1] for line in ledger.read_text().splitlines()) if ledger.exists() else Counter()


def who_ran(ledger: Path) -> Counter[str]:
    return Counter(line.split(" ", 1)[0] for line in ledger.read_text().splitlines()) if ledger.exists() else Counter()


def test_death_under_load_with_a_key_fails_nothing(shop: Shop, load: type[Load]) -> None:
    """SIGKILL of app and sidecar of one of three replicas, calls in flight: all of them succeed elsewhere."""
    replicas, ledger = shop.replicas("pay", 3)
    shop.mesh.wait_seen(shop.web, "pay")

    def request(n: int) -> tuple[str, bytes, Metadata]:
        return "Pause", b"0.02 p%d" % n, [("idempotency-key", f"p{n}")]

    with load(shop.web.outbound("pay"), request, threads=8) as traffic:
        traffic.wait_more(200)
        replicas[1].kill()
        traffic.wait_more(600)
    assert traffic.failures == []
    assert set(runs(ledger)) == {f"p{n}" for n in range(traffic.total)}


def test_death_of_the_app_alone_with_a_key_fails_nothing(shop: Shop, connect: Callable[..., Client],
                                                         load: type[Load]) -> None:
    """The sidecar stays and says what it could not deliver; the app comes back and is used again."""
    replicas, _ = shop.replicas("half", 2)
    shop.mesh.wait_seen(shop.web, "half")
    with load(shop.web.outbound("half"), lambda n: ("Pause", b"0.01 h%d" % n, KEY), threads=6) as traffic:
        traffic.wait_more(200)
        replicas[0].app.kill()
        traffic.wait_more(300)
        replicas[0].app.start()
        traffic.wait_more(100)
    assert traffic.failures == []


def test_what_may_have_run_is_not_run_twice_without_a_key(shop: Shop, load: type[Load]) -> None:
    """Death under load, no key: some calls fail, none runs twice, and the failures are few and say why."""
    replicas, ledger = shop.replicas("once", 3)
    shop.mesh.wait_seen(shop.web, "once")
    with load(shop.web.outbound("once"), lambda n: ("Pause", b"0.02 o%d" % n, ()), threads=8) as traffic:
        traffic.wait_more(200)
        replicas[2].kill()
        traffic.wait_more(600)
    ran = runs(ledger)
    assert max(ran.values()) == 1, [name for name, count in ran.items() if count > 1]
    # What answered has run; what failed was in flight when the replica died: at most one per thread.
    assert len(traffic.failures) <= 8, traffic.failures
    assert all(text.startswith("UNAVAILABLE") and "mesh-reason" in text for text in traffic.failures)


def test_a_call_that_killed_the_app_is_not_repeated_without_a_key(shop: Shop, connect: Callable[..., Client]) -> None:
    _, ledger = shop.replicas("fragile", 2)
    client = shop.client(connect, "fragile")
    error = client.code("Die", b"mortal")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert trailers(error)["mesh-reason"] in ("upstream_connection_lost", "upstream_reset")
    assert runs(ledger) == {"mortal": 1}
    # The other one still serves; the dead one is a refused delivery, repeated elsewhere without a key.
    for _ in range(20):
        assert client.call("Whoami").startswith(b"fragile-")


def test_a_call_that_kills_every_app_ends_with_max_attempts(shop: Shop, connect: Callable[..., Client]) -> None:
    _, ledger = shop.replicas("doomed", 4, retry={"max_attempts": 3})
    client = shop.client(connect, "doomed")
    error = client.code("Die", b"mortal", metadata=KEY)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert runs(ledger) == {"mortal": 3}
    assert set(who_ran(ledger).values()) == {1}, "never the same endpoint twice while another is up"


def test_app_down_is_not_delivered_and_goes_elsewhere_without_a_key(shop: Shop, connect: Callable[..., Client]) -> None:
    replicas, ledger = shop.replicas("stock", 2, balance={"algorithm": "ALGORITHM_ROUND_ROBIN"})
    client = shop.client(connect, "stock")
    replicas[0].app.kill()
    for n in range(40):
        assert client.call("Whoami", b"s%d" % n) == b"stock-1"
    assert set(runs(ledger).values()) == {1}


def test_whole_service_down_says_why(shop: Shop, connect: Callable[..., Client]) -> None:
    replicas, _ = shop.replicas("lone", 1)
    client = shop.client(connect, "lone")
    replicas[0].app.kill()
    error = client.code("Whoami")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert trailers(error)["mesh-reason"] == "not_delivered" or "connect" in str(trailers(error)["mesh-reason"])
    replicas[0].app.start()
    assert eventually(lambda: _answer(client), "it serves again") == b"lone-0"


def _answer(client: Client) -> bytes:
    try:
        return client.call("Whoami", timeout=2)
    except grpc.RpcError:
        return b""


def test_no_sidecar_behind_the_endpoint(shop: Shop, connect: Callable[..., Client]) -> None:
    """Connection refused by the endpoint's host; and once the lease has ended, no endpoints at all."""
    replicas, _ = shop.replicas("gone", 1)
    client = shop.client(connect, "gone")
    replicas[0].kill()
    started = time.monotonic()
    error = client.code("Whoami", timeout=10)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert trailers(error)["mesh-reason"] == "upstream_connect_failed"
    assert time.monotonic() - started < 3
    shop.mesh.wait_registered("gone", set(), 20)
    shop.mesh.wait_seen(shop.web, "gone")
    assert trailers(client.code("Whoami"))["mesh-reason"] == "no_endpoints"


def test_retry_elsewhere_on_a_listed_status(shop: Shop, connect: Callable[..., Client]) -> None:
    """An UNAVAILABLE of the app is repeated only for a method declared idempotent or with a key."""
    replicas, ledger = shop.replicas("flaky", 2, balance={"algorithm": "ALGORITHM_ROUND_ROBIN"},
                                     outlier={"consecutive_failures": 0},
                                     retry={"idempotent_methods": ["/test.Echo/Whoami"]})
    client = shop.client(connect, "flaky")
    with Client(replicas[0].app.address) as direct:
        direct.call("SetSick", b"1")
    assert client.shares(20) == {"flaky-1": 20}
    want = b'{"code": 14, "message": "no", "id": "plain"}'
    assert client.code("Fail", want).details() == "no"
    assert runs(ledger)["plain"] == 1
    assert client.code("Fail", want.replace(b"plain", b"keyed"), metadata=KEY).details() == "no"
    assert runs(ledger)["keyed"] == 3
    assert client.code("Fail", want.replace(b"plain", b"other").replace(b"14", b"10"), metadata=KEY).details() == "no"
    assert runs(ledger)["other"] == 1, "ABORTED is not in retry.codes"


def test_streams_are_repeated_only_before_the_first_answer(shop: Shop, connect: Callable[..., Client]) -> None:
    shop.replicas("stream", 2)
    client = shop.client(connect, "stream")
    answered = threading.Event()

    def requests() -> object:
        yield b"hello"
        answered.wait(10)
        yield b"die"

    stream = client.channel.stream_stream("/test.Echo/Chat")(requests(), timeout=20, metadata=KEY)
    assert next(stream) == b"hello"
    answered.set()
    with pytest.raises(grpc.RpcError) as caught:
        list(stream)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert client.call("Whoami")


def test_body_of_a_retry_is_whole(shop: Shop, connect: Callable[..., Client]) -> None:
    """Up to replay_bytes a body is kept and sent again; beyond, the call fails with what happened."""
    replicas, _ = shop.replicas("body", 2, balance={"algorithm": "ALGORITHM_ROUND_ROBIN"})
    client = shop.client(connect, "body")
    replicas[0].app.kill()
    chunks = [bytes([n]) * 1000 for n in range(40)]
    for _ in range(10):
        report = client.collect(chunks, metadata=KEY)
        assert (report["messages"], report["bytes"], report["name"]) == (40, 40_000, "body-1")
    for size in (60_000, 65_000):
        for _ in range(4):
            assert client.call("Echo", bytes(size)) == bytes(size)


def test_budget_bounds_the_retries(shop: Shop, connect: Callable[..., Client]) -> None:
    """All replicas fail: 200 calls of at most 5 attempts may cost 20 % more attempts, not five times as many."""
    _, ledger = shop.replicas("broke", 2, retry={
        "max_attempts": 5, "budget_ratio": 0.2, "budget_min_per_second": 0, "backoff_base": "0.001s",
        "backoff_max": "0.001s", "budget_window": "60s"}, outlier={"consecutive_failures": 0})
    client = shop.client(connect, "broke")
    for n in range(200):
        error = client.code("Fail", b'{"code": 14, "message": "no", "id": "b%d"}' % n, metadata=KEY)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
    attempts = sum(runs(ledger).values())
    assert 200 < attempts <= 241, attempts


def test_silent_app_meets_the_services_deadline(shop: Shop, connect: Callable[..., Client]) -> None:
    """timeout.request ends it although the caller set no deadline; the app's handler is cancelled."""
    replicas, _ = shop.replicas("mute", 1, timeout={"request": "0.5s"})
    client = shop.client(connect, "mute")
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        client.method("Sleep")(b"")
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # The app was told of the deadline and may be the one who said so.
    assert trailers(caught.value).get("mesh-reason") in (None, "deadline_exceeded")
    assert 0.4 < time.monotonic() - started < 1.5
    with Client(replicas[0].app.address) as direct:
        eventually(lambda: direct.stats()["sleeping"] == 0, "the handler is cancelled")


def test_stopped_app_meets_the_callers_deadline(shop: Shop, connect: Callable[..., Client]) -> None:
    """SIGSTOP: the kernel still accepts, nobody answers."""
    replicas, _ = shop.replicas("frozen", 1)
    client = shop.client(connect, "frozen")
    replicas[0].app.signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert client.code("Echo", timeout=0.7).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 2
    finally:
        replicas[0].app.signal(signal.SIGCONT)
    assert eventually(lambda: _answer(client), "it thaws") == b"frozen-0"


def test_connect_timeout_goes_elsewhere(shop: Shop, connect: Callable[..., Client]) -> None:
    """An endpoint whose listener's backlog is full never answers the connect."""
    with FullListener() as port:
        shop.mesh.apply(service("tarpit", timeout={"connect": "0.2s"}, balance={"algorithm": "ALGORITHM_ROUND_ROBIN"}),
                        endpoints=[endpoint_pb2.Endpoint(service="tarpit", name="dead", host="127.0.0.1", port=port)])
        client = connect(shop.web.shared, ("grpc.default_authority", "tarpit"))
        error = client.code("Whoami")
        assert trailers(error)["mesh-reason"] == "upstream_connect_timeout"
        live = shop.mesh.app("tarpit-live")
        shop.mesh.apply(endpoints=[endpoint_pb2.Endpoint(service="tarpit", name="live", host="127.0.0.1",
                                                         port=live.port)])
        shop.mesh.wait_seen(shop.web, "tarpit")
        assert client.shares(10) == {"tarpit-live": 10}


class FullListener:
    """A listening port whose accept queue is full, so that further SYNs are dropped."""

    def __enter__(self) -> int:
        self.sockets = [socket.socket()]
        self.sockets[0].bind(("127.0.0.1", 0))
        self.sockets[0].listen(0)
        address: tuple[str, int] = self.sockets[0].getsockname()
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            self.sockets.append(filler)
        return address[1]

    def __exit__(self, *_: object) -> None:
        for each in self.sockets:
            each.close()
