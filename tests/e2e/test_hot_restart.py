"""Hot restart on real processes under load: no connection refused, no request lost, whoever dies on the way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import grpc
import pytest
from e2e_calls import Client, Load
from e2e_mesh import Mesh, Replica, service
from e2e_processes import APPS, ROOT, Sidecar, eventually

from mesh.v1 import registry_pb2

pytestmark = pytest.mark.e2e


class Shop(NamedTuple):
    """`web` calls one `cart` (gRPC) and one `stock` (TCP): there is no other endpoint to go to."""

    mesh: Mesh
    web: Sidecar
    cart: Replica
    stock: Replica


@pytest.fixture
def shop(make_mesh: Callable[[], Mesh]) -> Shop:
    mesh = make_mesh()
    mesh.apply(service("cart", retry={"max_attempts": 1}), service("stock", "TCP"))
    [cart] = mesh.replicas("cart", 1)
    [stock] = mesh.replicas("stock", 1, kind="tcp", protocol="tcp")
    web = mesh.sidecar("web", "web-0", outbound=["cart", "stock"], shared=True)
    mesh.wait_seen(web, "cart")
    mesh.wait_seen(web, "stock")
    return Shop(mesh, web, cart, stock)


class TcpLoad:
    """A new connection for every question, and one connection that is kept for 20 of them."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._address = (host, int(port))
        self.total = 0
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(kept,), daemon=True) for kept in (1, 1, 20)]

    def _run(self, questions: int) -> None:
        while not self._stop.is_set():
            try:
                with socket.create_connection(self._address, timeout=10) as connection:
                    connection.sendall(b'{"do": "echo"}\n')
                    for number in range(questions):
                        said = f"question {number}".encode()
                        connection.sendall(said)
                        heard = b""
                        while len(heard) < len(said):
                            heard += connection.recv(1000) or self._cut()
                        assert heard == said
                        self._stop.wait(0.005)
                    connection.shutdown(socket.SHUT_WR)
                    assert connection.recv(1000) == b""
                self.total += 1
            except (OSError, AssertionError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")

    @staticmethod
    def _cut() -> bytes:
        raise ConnectionError("the connection ended early")

    def __enter__(self) -> TcpLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    def wait_more(self, count: int) -> None:
        goal = self.total + count
        eventually(lambda: self.total >= goal or self.failures, f"{count} more connections", 20)


def restart(shop: Shop, old: Sidecar, *flags: str) -> Sidecar:
    """Put a successor in the place of `old` and wait until that has ended."""
    new = old.successor(*flags)
    shop.mesh.processes.append(new)
    assert old.wait_end() == 0, old.tail()
    return new


class Removals:
    """What the registry removes while the block runs."""

    def __init__(self, mesh: Mesh) -> None:
        self._watch = mesh.registry.Watch(registry_pb2.WatchRequest())
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.names: list[str] = []

    def _run(self) -> None:
        try:
            for event in self._watch:
                if event.kind == registry_pb2.WatchResponse.KIND_REMOVED:
                    self.names.append(event.resource)
        except grpc.RpcError:
            pass  # cancelled

    def __enter__(self) -> list[str]:
        self._thread.start()
        return self.names

    def __exit__(self, *_: object) -> None:
        self._watch.cancel()
        self._thread.join(5)


def test_three_hot_restarts_in_a_row_of_every_sidecar_fail_nothing(shop: Shop, load: type[Load]) -> None:
    web, cart, stock = shop.web, shop.cart.sidecar, shop.stock.sidecar
    registered = shop.mesh.registered("cart"), shop.mesh.registered("stock")
    with Removals(shop.mesh) as removed, TcpLoad(web.outbound("stock")) as connections, \
            load(web.outbound("cart"), lambda n: ("Pause", b"0.02", ()), threads=8) as calls:
        for _ in range(3):
            calls.wait_more(20)
            connections.wait_more(5)
            addresses = {**web.ready, "pid": 0}
            web = restart(shop, web)
            assert {**web.ready, "pid": 0} == addresses
            calls.wait_more(20)
            cart = restart(shop, cart)
            connections.wait_more(5)
            stock = restart(shop, stock)
        calls.wait_more(50)
        connections.wait_more(10)
    assert calls.failures == []
    assert connections.failures == []
    assert removed == []
    assert (shop.mesh.registered("cart"), shop.mesh.registered("stock")) == registered
    for sidecar in (web, cart, stock):
        assert os.listdir(sidecar.state_dir).count(f"{sidecar.service}.{sidecar.instance}.sock") == 1


@pytest.mark.parametrize("side", ["outbound", "inbound"])
def test_a_successor_killed_before_it_is_ready(shop: Shop, load: type[Load], side: str) -> None:
    """The old one goes on as if nothing had been, and the next successor gets its turn."""
    # The new one waits for news of a service, or until it is registered.
    old, flags = (shop.web, ["--outbound", "nowhere=0"]) if side == "outbound" else (shop.stock.sidecar, [])
    with Removals(shop.mesh) as removed, TcpLoad(shop.web.outbound("stock")) as connections, \
            load(shop.web.outbound("cart"), lambda n: ("Pause", b"0.02", ()), threads=4) as calls:
        for _ in range(3):
            new = unready(shop, old, *flags)
            said(old, f"to process {new.pid}")
            calls.wait_more(10)
            connections.wait_more(5)
            new.kill()
            new.wait()
            said(old, f"process {new.pid} gave up before it was ready")
            calls.wait_more(10)
            connections.wait_more(5)
        restart(shop, old)
        calls.wait_more(20)
        connections.wait_more(5)
    assert calls.failures == []
    assert connections.failures == []
    assert removed == []


def unready(shop: Shop, old: Sidecar, *flags: str) -> subprocess.Popen[bytes]:
    """A successor of `old` that hears from no control plane, and so waits before it says that it is ready."""
    argv = ["127.0.0.1:1" if word == shop.mesh.address else word for word in old.argv]
    with open(old.directory / f"unready-{time.monotonic_ns()}.log", "wb") as log:
        return subprocess.Popen([*argv, "--takeover", *flags], stdout=log, stderr=log, cwd=old.directory,
                                env={**os.environ, "PYTHONPATH": str(ROOT)})


def said(sidecar: Sidecar, what: str) -> None:
    eventually(lambda: what in sidecar.tail(100_000), f"{sidecar.name} says {what!r}")


def test_a_successor_with_other_addresses(shop: Shop, load: type[Load], connect: Callable[..., Client]) -> None:
    """What it wants and did not get it binds itself; what it doesn't want ends with the old one."""
    with load(shop.web.outbound("cart"), lambda n: ("Pause", b"0.02", ()), threads=4) as calls:
        calls.wait_more(20)
        cart = restart(shop, shop.cart.sidecar, "--inbound", "127.0.0.2:0")
        assert cart.inbound.startswith("127.0.0.2:")
        calls.wait_more(20)
    assert calls.failures == []
    host, _, port = shop.cart.sidecar.inbound.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    shared = shop.web.shared
    web = shop.web.successor("--outbound-shared", "127.0.0.2:0", "--outbound", "basket=0")
    shop.mesh.processes.append(web)
    assert shop.web.wait_end() == 0
    assert web.outbound("cart") == shop.web.outbound("cart")
    assert web.outbound("basket").startswith("127.0.0.1:")
    assert web.shared.startswith("127.0.0.2:")
    client = connect(web.shared, ("grpc.default_authority", "cart"))
    assert client.call("Whoami") == b"cart-0"
    host, _, port = shared.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_a_successor_that_cannot_have_its_ports_gets_nothing(shop: Shop, connect: Callable[..., Client]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([*shop.web.argv, "--takeover", "--outbound", f"extra={port}"], cwd=shop.web.directory,
                              env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=20,
                              check=False)
    assert done.returncode == 2
    assert done.stderr == f"mesh sidecar: --outbound extra=127.0.0.1:{port}: address already in use\n"
    said(shop.web, "gave up before it was ready; going on as before")
    assert connect(shop.web.outbound("cart")).call("Whoami") == b"cart-0"


def test_without_a_predecessor_it_starts_as_usual_and_a_killed_one_leaves_no_trace(shop: Shop) -> None:
    shop.web.kill()
    shop.web.argv.append("--takeover")
    shop.web.start()
    shop.mesh.wait_seen(shop.web, "cart")
    assert "nobody to take over from" in shop.web.tail()
    restart(shop, shop.web)


def test_a_successor_told_to_stop_leaves_the_old_one_in_place(shop: Shop, load: type[Load]) -> None:
    old = shop.cart.sidecar
    with load(shop.web.outbound("cart"), lambda n: ("Pause", b"0.02", ()), threads=4) as calls:
        new = unready(shop, old)
        log = Path(os.readlink(f"/proc/{new.pid}/fd/2"))
        eventually(lambda: "no stream" in log.read_text(), "it runs, and looks for the control plane")
        new.send_signal(signal.SIGTERM)
        assert new.wait(30) == 0
        said(old, f"process {new.pid} gave up before it was ready")
        calls.wait_more(20)
        assert set(shop.mesh.registered("cart")) == {"cart-0"}
    assert calls.failures == []


def test_mesh_run_puts_a_new_sidecar_in_place_on_usr2(shop: Shop, load: type[Load]) -> None:
    mesh = shop.mesh
    port = free_port()
    argv = [sys.executable, "-m", "mesh.cli", "run", "--service", "cart", "--instance", "cart-run", "--port", str(port),
            "--control-plane", mesh.address, "--state-dir", str(mesh.directory / "state-run"), "--drain-timeout", "5s",
            "--", sys.executable, str(APPS / "grpc_app.py"), "--name", "cart-run", "--port", str(port),
            "--ready-fd", "1"]
    with open(mesh.directory / "run.log", "wb") as log:
        run = subprocess.Popen(argv, cwd=mesh.directory, stdout=subprocess.DEVNULL, stderr=log,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        mesh.wait_registered("cart", {"cart-0", "cart-run"})
        mesh.wait_seen(shop.web, "cart")
        with Removals(mesh) as removed, load(shop.web.outbound("cart"), lambda n: ("Pause", b"0.02", ())) as calls:
            text = mesh.directory / "run.log"
            for number in range(1, 4):
                calls.wait_more(20)
                run.send_signal(signal.SIGUSR2)
                eventually(lambda: text.read_bytes().count(b": drained") == number, "the old one ends", 15)  # noqa: B023
            calls.wait_more(50)
        assert calls.failures == []
        assert calls.answers["cart-run"] > 20
        assert removed == []
        run.send_signal(signal.SIGTERM)
        run.wait(15)
        assert set(mesh.registered("cart")) == {"cart-0"}
    finally:
        run.kill()
        run.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port
