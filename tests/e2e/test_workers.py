"""`--workers N` on real processes: the load is shared, one instance is registered, and no worker needs another."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from e2e_calls import Client, Load
from e2e_mesh import Mesh, Replica, service
from e2e_processes import Sidecar, eventually

pytestmark = pytest.mark.e2e


class Shop(NamedTuple):
    mesh: Mesh
    web: Sidecar
    cart: Replica
    stock: Replica


def callee(mesh: Mesh, name: str, *flags: str, kind: str = "grpc", protocol: str = "grpc") -> Replica:
    app = mesh.app(f"{name}-0", kind=kind)
    return Replica(app, mesh.sidecar(name, f"{name}-0", *flags, app=app, protocol=protocol))


@pytest.fixture(scope="module")
def shop(mesh: Mesh) -> Shop:
    mesh.apply(service("cart"), service("stock", "TCP"))
    cart = callee(mesh, "cart", "--workers", "2")
    stock = callee(mesh, "stock", "--workers", "2", kind="tcp", protocol="tcp")
    mesh.wait_registered("cart", {"cart-0"})
    mesh.wait_registered("stock", {"stock-0"})
    web = mesh.sidecar("web", "web-0", "--workers", "2", outbound=["cart", "stock"])
    eventually(lambda: all(set(each["clusters"][0]["endpoints"]) == {"cart-0"} for each in workers(web)), "web knows")
    return Shop(mesh, web, cart, stock)


def workers(sidecar: Sidecar) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sidecar.statistics()["workers"]
    return found


def echo(address: str, said: bytes = b"hello") -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b'{"do": "echo"}\n' + said)
        connection.shutdown(socket.SHUT_WR)
        heard = b""
        while data := connection.recv(1000):
            heard += data
    assert heard == said


def test_the_load_is_shared_and_the_instance_is_one(shop: Shop, connect: Callable[..., Client]) -> None:
    assert len(shop.web.ready["workers"]) == 2
    for _ in range(16):
        client = connect(shop.web.outbound("cart"), ("grpc.use_local_subchannel_pool", 1))
        for _ in range(5):
            assert client.call("Whoami") == b"cart-0"
        echo(shop.web.outbound("stock"))
    statistics = shop.web.statistics()
    shares = [each["outbound"][0]["http"]["requests"] for each in statistics["workers"]]
    assert sum(shares) == statistics["outbound"][0]["http"]["requests"] == 80
    assert min(shares) > 0
    accepted = [each["outbound"][1]["tcp"]["accepted"] for each in statistics["workers"]]
    assert sum(accepted) == statistics["outbound"][1]["tcp"]["accepted"] == 16
    assert statistics["id"] == "web/web-0"
    assert [each["id"] for each in statistics["workers"]] == ["web/web-0", "web/web-0/1"]
    assert set(shop.mesh.registered("cart")) == {"cart-0"}
    for worker in ("web/web-0", "web/web-0/1", "cart/cart-0", "cart/cart-0/1"):
        status = shop.mesh.sidecar_status(worker)
        assert status is not None
        assert status.connected


def test_what_workers_weigh(shop: Shop, connect: Callable[..., Client], capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(8):
        client = connect(shop.web.outbound("cart"), ("grpc.use_local_subchannel_pool", 1))
        for _ in range(100):
            client.call("Echo", b"x" * 100)
    sizes = {pid: sizes_kib(pid) for pid in (shop.web.pid, *(each["pid"] for each in workers(shop.web)))}
    with capsys.disabled():
        print("\n  " + ", ".join(f"{name} RSS {rss / 1024:.1f} MiB PSS {pss / 1024:.1f} private {private / 1024:.1f}"
                                 for name, (rss, pss, private) in zip(("parent", "worker 0", "worker 1"),
                                                                      sizes.values(), strict=True)))
    *_, (_, _, private) = sizes.values()
    assert private < 20 * 1024, "one more worker costs less than half of a sidecar of its own"


def sizes_kib(pid: int) -> tuple[int, int, int]:
    """Resident, proportional (shared pages divided by those who share them) and private memory."""
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, _, value = line.partition(":")
        sizes[key] = int(value.split()[0])
    return sizes["Rss"], sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"]


@pytest.mark.parametrize("which", [0, 1])
def test_a_worker_that_is_killed_keeps_nobody_waiting(shop: Shop, which: int) -> None:
    """Its own connections end with it; not one more is refused, cut or held up, and it is replaced."""
    cut: list[str] = []
    total = 0
    stop = threading.Event()

    def connect_for_ever() -> None:
        nonlocal total
        while not stop.is_set():
            started = time.monotonic()
            try:
                echo(shop.web.outbound("stock"))
                total += 1
            except AssertionError:
                cut.append("cut")
            except OSError as error:
                cut.append(type(error).__name__)
            took = time.monotonic() - started
            if took > 2:
                cut.append(f"took {took:.1f} s")

    threads = [threading.Thread(target=connect_for_ever) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: total > 30, "connections")
        os.kill(workers(shop.web)[which]["pid"], signal.SIGKILL)
        eventually(lambda: total > 100, "more connections")
        eventually(lambda: len(workers(shop.web)) == 2, "two workers again")
        before = total
        eventually(lambda: total > before + 50, "more connections with two workers")
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert len(cut) <= 3, "one each that the worker was carrying"
    assert set(cut) <= {"cut", "ConnectionResetError"}
    assert "starting it again" in shop.web.tail(100_000)
    echo(shop.web.outbound("stock"))
    if which == 0:
        assert set(shop.mesh.registered("stock")) == {"stock-0"}


def test_the_registering_worker_killed_registers_again(shop: Shop) -> None:
    os.kill(workers(shop.cart.sidecar)[0]["pid"], signal.SIGKILL)
    eventually(lambda: shop.cart.sidecar.tail(100_000).count("registered cart/cart-0") == 2, "registered again")
    assert set(shop.mesh.registered("cart")) == {"cart-0"}


def test_sigterm_under_load_fails_nothing(shop: Shop, load: type[Load]) -> None:
    app = shop.mesh.app("cart-1")
    second = Replica(app, shop.mesh.sidecar("cart", "cart-1", "--workers", "2", app=app))
    shop.mesh.wait_registered("cart", {"cart-0", "cart-1"})
    eventually(lambda: all(set(each["clusters"][0]["endpoints"]) == {"cart-0", "cart-1"} for each in workers(shop.web)),
               "web knows both")
    with load(shop.web.outbound("cart"), lambda n: ("Pause", b"0.05", ()), threads=12) as calls:
        calls.wait_more(100)
        assert second.sidecar.stop() == 0
        calls.wait_more(100)
        assert set(shop.mesh.registered("cart")) == {"cart-0"}
    assert calls.failures == []
    assert calls.answers["cart-1"] > 10
    second.app.kill()


def test_hot_restart_with_more_and_with_fewer_workers_fails_nothing(shop: Shop, load: type[Load]) -> None:
    web, cart = shop.web, shop.cart.sidecar
    with load(web.outbound("cart"), lambda n: ("Pause", b"0.02", ()), threads=8) as calls:
        for count in (3, 1, 2):
            for old in (web, cart):
                calls.wait_more(30)
                new = old.successor("--workers", str(count))
                shop.mesh.processes.append(new)
                assert old.wait_end() == 0, old.tail()
                if old is web:
                    web = new
                else:
                    cart = new
            assert len(web.ready.get("workers", [0])) == count
        calls.wait_more(50)
    assert calls.failures == []
    assert set(shop.mesh.registered("cart")) == {"cart-0"}
