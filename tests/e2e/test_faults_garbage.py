"""Bytes that are no HTTP/2, on every port: only the connection they came by is closed."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

import pytest
from e2e_calls import Client, Load
from e2e_mesh import Mesh, Replica
from e2e_processes import Sidecar, eventually

pytestmark = pytest.mark.e2e
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


_random = random.Random(2)
GARBAGE = {
    "random bytes": _random.randbytes(4096),
    "zeros": bytes(70_000),
    "broken http/1.1": b"GET / HTTP/1.1\r\nHost cart\r\n\r\n",
    "tls hello": bytes.fromhex("160301020001 0001fc0303".replace(" ", "")) + _random.randbytes(506),
    "preface of something else": b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n" + SETTINGS,
    "no settings": PREFACE + frame(6, 0, 0, b"12345678"),
    "huge frame": PREFACE + SETTINGS + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(1000),
    "headers on stream 0": PREFACE + SETTINGS + frame(1, 5, 0, b"\x82"),
    "even stream": PREFACE + SETTINGS + frame(1, 5, 2, b"\x82"),
    "broken hpack": PREFACE + SETTINGS + frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff"),
    "continuation out of the blue": PREFACE + SETTINGS + frame(9, 4, 1, b"\x82"),
    "frame inside a header block": PREFACE + SETTINGS + frame(1, 1, 1, b"\x82") + frame(0, 0, 1, b"x"),
    "data on an idle stream": PREFACE + SETTINGS + frame(0, 1, 1, b"x"),
    "window overflow": PREFACE + SETTINGS + frame(8, 0, 0, b"\x7f\xff\xff\xff"),
    "zero window update": PREFACE + SETTINGS + frame(8, 0, 0, bytes(4)),
    "settings of wrong length": PREFACE + frame(4, 0, 0, b"\0\0\0\0\0"),
    "push promise": PREFACE + SETTINGS + frame(5, 4, 1, b"\0\0\0\2\x82"),
    "random frames": PREFACE + SETTINGS + b"".join(
        frame(_random.randrange(12), _random.randrange(256), _random.randrange(4), _random.randbytes(20))
        for _ in range(200)),
}
# What is no error yet: the rest may come.
UNFINISHED = {
    "nothing": b"",
    "half a preface": PREFACE[:11],
    "preface only": PREFACE,
    "half a frame": PREFACE + SETTINGS + b"\0\0\x08\6\0\0\0\0\0abc",
}


class Ports(NamedTuple):
    mesh: Mesh
    web: Sidecar
    cart: Replica

    def address(self, port: str) -> tuple[str, int]:
        host, number = {"outbound": self.web.outbound("cart"), "shared": self.web.shared,
                        "inbound": self.cart.sidecar.inbound, "control plane": self.mesh.address}[port].rsplit(":", 1)
        return host, int(number)


@pytest.fixture(scope="module")
def ports(mesh: Mesh) -> Ports:
    [cart] = mesh.replicas("cart", 1)
    web = mesh.sidecar("web", "web-0", outbound=["cart"], shared=True)
    mesh.wait_seen(web, "cart")
    return Ports(mesh, web, cart)


def closed_by_peer(connection: socket.socket) -> bool:
    """Read until the peer closes; False when it hasn't within the timeout of the socket."""
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("port", ["outbound", "shared", "inbound"])
def test_garbage_closes_its_own_connection_only(ports: Ports, load: type[Load], port: str) -> None:
    left_open = []
    with load(ports.web.outbound("cart"), lambda n: ("Echo", b"ok", ()), threads=2) as traffic:
        traffic.wait_more(20)
        descriptors = ports.web.descriptors() + ports.cart.sidecar.descriptors()
        for name, garbage in GARBAGE.items():
            with socket.create_connection(ports.address(port), timeout=3) as connection:
                try:
                    connection.sendall(garbage)
                except ConnectionError:
                    continue
                if not closed_by_peer(connection):
                    left_open.append(name)
        traffic.wait_more(20)
    assert traffic.failures == []
    assert left_open == []
    assert ports.web.alive
    assert ports.cart.sidecar.alive
    eventually(lambda: ports.web.descriptors() + ports.cart.sidecar.descriptors() <= descriptors + 2,
               "no descriptor is left behind", 5)


@pytest.mark.parametrize("port", ["outbound", "shared", "inbound", "control plane"])
def test_unfinished_connections_bother_nobody(ports: Ports, connect: Callable[..., Client], port: str) -> None:
    connections = []
    try:
        for garbage in UNFINISHED.values():
            connection = socket.create_connection(ports.address(port), timeout=3)
            connections.append(connection)
            connection.sendall(garbage)
        client = connect(ports.web.outbound("cart"))
        for _ in range(20):
            assert client.call("Echo", b"ok") == b"ok"
    finally:
        for connection in connections:
            connection.close()
    ports.web.wait_idle()


def test_garbage_at_the_control_plane(ports: Ports) -> None:
    for name in ("random bytes", "broken http/1.1", "tls hello", "broken hpack"):
        with socket.create_connection(ports.address("control plane"), timeout=3) as connection:
            connection.sendall(GARBAGE[name])
            closed_by_peer(connection)
    assert set(ports.mesh.registered("cart")) == {"cart-0"}
    assert ports.mesh.control_plane.alive


def test_connections_reset_by_the_kernel(ports: Ports, connect: Callable[..., Client]) -> None:
    """SO_LINGER 0: the close is a RST, also with frames unread."""
    for port in ("outbound", "inbound"):
        for garbage in (PREFACE + SETTINGS, PREFACE + SETTINGS + frame(6, 0, 0, b"12345678") * 100, b"x"):
            connection = socket.create_connection(ports.address(port), timeout=3)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(garbage)
            connection.close()
    assert connect(ports.web.outbound("cart")).call("Echo", b"ok") == b"ok"


@pytest.mark.parametrize("flood", ["ping", "settings", "rapid reset", "empty data", "empty continuation"])
def test_floods_are_cut_off(ports: Ports, connect: Callable[..., Client], flood: str) -> None:
    """CVE-2019-9512, -9515, -9518, CVE-2023-44487, CVE-2024-27316: the connection goes, the sidecar stays small."""
    request = bytes.fromhex("828684") + b"\x41\x04cart"  # GET http / at `cart`
    once = {"ping": frame(6, 0, 0, b"12345678"), "settings": SETTINGS, "empty data": frame(0, 0, 1, b""),
            "empty continuation": frame(9, 0, 1, b""), "rapid reset": b""}[flood]
    start = {"empty data": frame(1, 4, 1, request), "empty continuation": frame(1, 1, 1, request)}.get(flood, b"")
    with socket.create_connection(ports.address("outbound"), timeout=5) as connection:
        connection.sendall(PREFACE + SETTINGS + start)
        cut = False
        stream = 1
        try:
            for _ in range(400):  # 40,000 frames
                if flood == "rapid reset":
                    once = b"".join(frame(1, 5, stream + 2 * i, request) + frame(3, 0, stream + 2 * i, b"\0\0\0\10")
                                    for i in range(100))
                    stream += 200
                    connection.sendall(once)
                else:
                    connection.sendall(once * 100)
                connection.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    cut = cut or connection.recv(1 << 20) == b""
                connection.settimeout(5)
                if cut:
                    break
        except (ConnectionError, TimeoutError):
            cut = True
        assert cut or closed_by_peer(connection), "40,000 frames that do nothing were taken"
    assert connect(ports.web.outbound("cart")).call("Echo", b"ok") == b"ok"
    ports.web.wait_idle()
    ports.cart.sidecar.wait_idle()
    assert ports.web.resident_kib() < 80 * 1024
