"""Which outbound port leads where, and what is spoken on it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from mesh.balance.rng import Rng
from mesh.dataplane import loop
from mesh.dataplane.clusters import Clusters
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Recorder
from mesh.model import Endpoint, Protocol, Service
from mesh.sidecar.config import load
from mesh.sidecar.outbound import Outbounds
from mesh.sidecar.ports import Doors
from mesh.sidecar.sockets import Sockets
from mesh.wire.frames import PREFACE


class World:
    def __init__(self, *flags: str) -> None:
        loop = asyncio.get_running_loop()
        self.hub = Hub(loop, Rng(1), Recorder())
        self.asked: list[str] = []
        self.clusters = Clusters(self.hub, self.asked.append, self.asked.remove)
        config = load(["--service", "web", *flags], {})
        self.sockets = Sockets.bind(config)
        self.doors = Doors(self.hub, self.sockets)
        self.outbounds = Outbounds(config, self.hub, self.doors, self.clusters, self._entry)

    def _entry(self, kind: int, cluster: Any, router: Any) -> Entry:
        return Entry(self.hub, kind, cluster, router, False, True, True, 0)

    def accepted(self, index: int) -> str:
        """What a connection to the port is taken for."""
        port = self.outbounds._ports[index]
        before = port.tcp.statistics().accepted, self.hub.transports
        near, far = socket.socketpair()
        far.sendall(PREFACE)
        near.setblocking(False)
        port.inspector.accept(near.detach(), "127.0.0.1", 1)
        far.close()
        return {(1, 0): "tcp", (0, 1): "http"}[port.tcp.statistics().accepted - before[0],
                                                self.hub.transports - before[1]]


def run(main: Any) -> None:
    loop.run(main())


def test_declared_services_are_subscribed_to_and_reported() -> None:
    async def main() -> None:
        world = World("--outbound", "cart=0", "--outbound", "stock=0/tcp", "--outbound-shared", "0")
        assert world.asked == world.outbounds.services() == ["cart", "stock"]
        world.doors.start()
        addresses = world.outbounds.addresses()
        assert set(addresses) == {"cart", "stock"}
        assert all(not address.endswith(":0") for address in addresses.values())
        assert (world.outbounds.shared_address() or "").startswith("127.0.0.1:")
        await world.outbounds.drain(1)

    run(main)


def test_what_is_spoken_is_declared_or_discovered() -> None:
    async def main() -> None:
        world = World("--outbound", "stock=0/tcp", "--outbound", "cart=0")
        world.doors.start()
        assert world.accepted(0) == "tcp"
        assert world.accepted(1) == "http"  # not discovered yet
        world.clusters.on_service("cart", Service("cart", Protocol.TCP))
        assert world.accepted(1) == "tcp"
        world.clusters.on_service("stock", Service("stock", Protocol.GRPC))
        assert world.accepted(0) == "tcp"  # the declaration wins
        await world.outbounds.drain(0.1)
        world.sockets.close()
        async with asyncio.timeout(5):
            while world.hub.watched:  # noqa: ASYNC110  the turn that hears of the far ends
                await asyncio.sleep(0.001)

    run(main)


def test_statistics_name_every_port() -> None:
    async def main() -> None:
        world = World("--outbound", "cart=0", "--outbound-shared", "0")
        listed = world.outbounds.statistics()
        assert [each["service"] for each in listed] == ["cart", None]
        assert listed[0]["tcp"]["connections"] == 0
        assert listed[0]["http"]["active"] == 0
        world.sockets.close()

    run(main)


# ---- UDP


def udp(*address: Any) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(address or ("127.0.0.1", 0))
    return sock


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  sockets decide when
            await asyncio.sleep(0.001)


def port_of(world: World, service: str) -> tuple[str, int]:
    host, port = world.outbounds.addresses()[service].rsplit(":", 1)
    return host, int(port)


def test_datagrams_go_where_udp_is_declared_or_discovered() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        world = World("--outbound", "declared=0/udp", "--outbound", "discovered=0", "--outbound", "other=0/tcp")
        world.doors.start()
        with udp() as app, udp() as client:
            for name in ("declared", "discovered"):
                world.clusters.on_endpoints(name, {"a": Endpoint(name, "a", *app.getsockname())})
            for name in ("declared", "discovered"):
                address = port_of(world, name)
                if name == "discovered":
                    world.clusters.on_service(name, Service(name, Protocol.GRPC))
                    client.sendto(b"not yet", address)
                    await until(lambda: world.outbounds.statistics()[1]["udp"]["dropped"] == 1)
                world.clusters.on_service(name, Service(name, Protocol.UDP))
                client.sendto(name.encode(), address)
                async with asyncio.timeout(5):
                    assert await loop.sock_recv(app, 100) == name.encode()
            stream = socket.create_connection(port_of(world, "discovered"))
            stream.setblocking(False)
            with pytest.raises(ConnectionResetError):  # there is nobody to carry a connection to
                await loop.sock_recv(stream, 1)
            stream.close()
            client.connect(port_of(world, "other"))
            client.send(b"x")
            with pytest.raises(ConnectionRefusedError):
                client.recv(10)
        assert [each["udp"]["sessions"] for each in world.outbounds.statistics()] == [1, 1, 0]
        await world.outbounds.drain(0.01)
        assert [each["udp"]["sessions"] for each in world.outbounds.statistics()] == [0, 0, 0]
        await asyncio.sleep(0)

    run(main)


def test_datagrams_may_be_left_to_another_process() -> None:
    async def main() -> None:
        world = World("--outbound", "dns=0/udp")
        world.doors.start()
        [sock] = world.sockets["outbound dns"]
        with sock.dup() as other, udp() as client:
            world.doors.leave_datagrams()
            client.sendto(b"x", sock.getsockname())
            await asyncio.sleep(0)
            assert other.recv(10) == b"x"
        await world.outbounds.drain(1)
        await asyncio.sleep(0)

    run(main)
