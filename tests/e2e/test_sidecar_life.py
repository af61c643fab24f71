"""The sidecar as a process: start, drain, restart, what it weighs and what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import grpc
import pytest
from e2e_calls import Client, Load, trailers
from e2e_mesh import Mesh, Replica, service
from e2e_processes import ROOT, SIDECAR, Sidecar, eventually

pytestmark = pytest.mark.e2e


class Shop(NamedTuple):
    mesh: Mesh
    web: Sidecar
    carts: list[Replica]


@pytest.fixture(scope="module")
def shop(mesh: Mesh) -> Shop:
    mesh.apply(service("cart"))
    carts = mesh.replicas("cart", 3)
    web = mesh.sidecar("web", "web-0", outbound=["cart"], shared=True)
    mesh.wait_seen(web, "cart")
    return Shop(mesh, web, carts)


@pytest.fixture
def client(shop: Shop, connect: Callable[..., Client]) -> Client:
    return connect(shop.web.outbound("cart"))


def test_idle_sidecar_stays_under_45_mb(shop: Shop, connect: Callable[..., Client],
                                        capsys: pytest.CaptureFixture[str]) -> None:
    """Tracing on, some hundred calls made and their spans exported, both roles."""
    client = connect(shop.web.outbound("cart"))
    for _ in range(600):
        client.call("Echo", b"x" * 100)
    eventually(lambda: shop.web.statistics()["spans"]["waiting"] == 0, "the spans are exported")
    assert shop.web.statistics()["spans"]["dropped"] == 0
    shop.web.wait_idle()
    resident = {sidecar.name: sidecar.resident_kib() / 1024 for sidecar in (shop.web, shop.carts[0].sidecar)}
    with capsys.disabled():
        print("\n  resident: " + ", ".join(f"{name} {mib:.1f} MiB" for name, mib in resident.items()))
    assert max(resident.values()) * 1.048576 < 45, "MB"


def test_idle_sidecar_burns_no_cpu(shop: Shop) -> None:
    shop.web.wait_idle()
    before, started = shop.web.cpu_seconds(), time.monotonic()
    threading.Event().wait(2)
    share = (shop.web.cpu_seconds() - before) / (time.monotonic() - started)
    assert share < 0.03, f"{share:.1%} of a core while nothing happens"


def test_traffic_leaves_no_descriptor_and_no_memory_behind(shop: Shop, connect: Callable[..., Client]) -> None:
    """Connections that come and go, cancelled calls, failed calls."""
    def round_of_traffic() -> None:
        for _ in range(30):
            client = Client(shop.web.outbound("cart"))
            try:
                client.call("Echo", bytes(100_000))
                cancelled = client.method("Sleep").future(b"", timeout=5)
                client.code("Fail", b'{"code": 3, "message": "no"}')
                cancelled.cancel()
            finally:
                client.close()
        shop.web.wait_idle()
        for cart in shop.carts:
            cart.sidecar.wait_idle()

    round_of_traffic()
    everyone = [shop.web, *(cart.sidecar for cart in shop.carts)]
    before = [(sidecar.descriptors(), sidecar.resident_kib()) for sidecar in everyone]
    for _ in range(5):
        round_of_traffic()

    def back() -> bool:
        return all(sidecar.descriptors() <= fds + 1 for sidecar, (fds, _) in zip(everyone, before, strict=True))

    eventually(back, "as many descriptors as before", 5)
    for sidecar, (_, resident) in zip(everyone, before, strict=True):
        assert sidecar.resident_kib() < resident + 3000, sidecar.name
        assert sidecar.statistics()["timers"] == 0, sidecar.name


def test_sigterm_of_a_callees_sidecar_under_load_fails_nothing(shop: Shop, load: type[Load]) -> None:
    """Slow calls in flight and no idempotency key: GOAWAY, finish, exit 0."""
    leaving = shop.carts[2]
    with load(shop.web.outbound("cart"), lambda n: ("Pause", b"0.05", ()), threads=12) as traffic:
        traffic.wait_more(150)
        assert leaving.sidecar.stop() == 0
        traffic.wait_more(150)
        assert set(shop.mesh.registered("cart")) == {"cart-0", "cart-1"}
        leaving.sidecar.start()
        shop.mesh.wait_registered("cart", {"cart-0", "cart-1", "cart-2"})
        traffic.wait_more(150)
    assert traffic.failures == []
    assert set(traffic.answers) == {"cart-0", "cart-1", "cart-2"}
    shop.mesh.wait_seen(shop.web, "cart")


def test_rolling_restart_of_every_replica_fails_nothing(shop: Shop, load: type[Load]) -> None:
    with load(shop.web.outbound("cart"), lambda n: ("Pause", b"0.01", ()), threads=8) as traffic:
        for cart in shop.carts:
            assert cart.sidecar.stop() == 0
            cart.app.kill()
            cart.app.start()
            cart.sidecar.start()
            shop.mesh.wait_registered("cart", {"cart-0", "cart-1", "cart-2"})
            shop.mesh.wait_seen(shop.web, "cart")
            traffic.wait_more(30)
    assert traffic.failures == []


def test_drain_waits_for_an_open_stream(shop: Shop, connect: Callable[..., Client]) -> None:
    [lone] = shop.mesh.replicas("lone", 1)
    client = connect(shop.web.shared, ("grpc.default_authority", "lone"))
    go_on = threading.Event()

    def requests() -> Iterator[bytes]:
        yield b"one"
        go_on.wait(10)
        yield b"two"

    stream = client.chat(requests())
    assert next(stream) == b"one"
    lone.sidecar.signal(signal.SIGTERM)
    shop.mesh.wait_registered("lone", set())
    assert lone.sidecar.alive
    go_on.set()
    assert list(stream) == [b"two"]
    assert lone.sidecar.stop() == 0


def test_drain_deadline_ends_what_never_ends(shop: Shop, connect: Callable[..., Client]) -> None:
    """--drain-timeout 5s is the harness's; a sidecar with 1s answers the open call itself and exits 0."""
    app = shop.mesh.app("stuck-0")
    sidecar = shop.mesh.sidecar("stuck", "stuck-0", "--drain-timeout", "1s", app=app)
    shop.mesh.wait_registered("stuck", {"stuck-0"})
    client = connect(shop.web.shared, ("grpc.default_authority", "stuck"))
    call = client.method("Sleep").future(b"", timeout=20)
    with Client(app.address) as direct:
        eventually(lambda: direct.stats()["sleeping"] == 1, "the call is at the app")
        started = time.monotonic()
        assert sidecar.stop() == 0
        assert time.monotonic() - started < 4
        error = call.exception()
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert trailers(error)["mesh-reason"] == "drain_deadline"
        eventually(lambda: direct.stats()["sleeping"] == 0, "the app's handler is cancelled")


def test_sigusr1_drains_inbound_and_keeps_outbound(shop: Shop, connect: Callable[..., Client]) -> None:
    app = shop.mesh.app("both-0")
    both = shop.mesh.sidecar("both", "both-0", app=app, outbound=["cart"])
    shop.mesh.wait_registered("both", {"both-0"})
    shop.mesh.wait_seen(both, "cart")
    both.signal(signal.SIGUSR1)
    both.wait_event("drained", 5)
    assert shop.mesh.registered("both") == {}
    host, port = both.inbound.rsplit(":", 1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=2)
    assert connect(both.outbound("cart")).call("Whoami").startswith(b"cart-")
    assert both.stop() == 0


def test_registers_only_when_the_app_accepts(shop: Shop) -> None:
    app = shop.mesh.app("early-0")
    app.kill()
    shop.mesh.sidecar("early", "early-0", app=app)
    # It is ready and has tried: the probe's first pauses are 50 ms and a little more.
    threading.Event().wait(0.5)
    assert shop.mesh.registered("early") == {}
    app.start()
    shop.mesh.wait_registered("early", {"early-0"}, 5)


def test_outbound_drain_finishes_the_apps_calls(shop: Shop, connect: Callable[..., Client]) -> None:
    """SIGTERM of the caller's own sidecar: what is open ends well, and then it exits."""
    web = shop.mesh.sidecar("caller", "caller-0", outbound=["cart"])
    shop.mesh.wait_seen(web, "cart")
    client = connect(web.outbound("cart"))
    calls = [client.method("Pause").future(b"0.7", timeout=10) for _ in range(10)]
    eventually(lambda: any(value >= 10 for value in web.in_use().values()), "ten calls are under way")
    assert web.stop() == 0
    assert all(call.result().startswith(b"cart-") for call in calls)


@pytest.mark.parametrize(("flags", "word"), [
    (["--service", "Not A Name"], "--service"), (["--servise", "web"], "--service"), ([], "--service"),
    (["--service", "web", "--outbound", "cart"], "--outbound"), (["--service", "web", "--weight", "-1"], "--weight"),
    (["--service", "web", "--config", "nowhere.yaml"], "nowhere.yaml")])
def test_wrong_flag_is_one_line_and_exit_code_2(shop: Shop, flags: list[str], word: str) -> None:
    done = subprocess.run([*SIDECAR, *flags], capture_output=True, text=True, timeout=20, cwd=shop.mesh.directory,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert word in done.stderr
    assert done.stdout == ""


def test_port_in_use_is_one_line_and_exit_code_2(shop: Shop) -> None:
    taken = shop.web.outbound("cart").rsplit(":", 1)[1]
    with pytest.raises(TimeoutError) as caught:
        Sidecar("second", "second-0", shop.mesh.directory, shop.mesh.address, "--outbound", f"cart={taken}")
    assert "exit code 2" in str(caught.value)
    assert taken in str(caught.value)
