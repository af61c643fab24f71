"""A door accepts from all of its sockets, and from none once it is closed."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

from mesh.dataplane import loop
from mesh.dataplane.reactor import Reactor
from mesh.dataplane.record import CLIENT
from mesh.dataplane.udp import UdpProxy
from mesh.sidecar.config import load
from mesh.sidecar.ports import Door, Doors
from mesh.sidecar.sockets import Sockets


def test_a_door_over_several_sockets() -> None:
    async def main() -> None:
        seen: list[int] = []
        sockets = Sockets.bind(load(["--service", "web", "--outbound-shared", "0"], {}), 3)
        reactor = Reactor(asyncio.get_running_loop())
        door = Door(reactor, sockets["outbound-shared"], lambda fd, host, port: seen.append(fd))
        assert str(door) == f"127.0.0.1:{door.address[1]}"
        assert not door.open
        clients = [socket.create_connection(door.address) for _ in range(16)]
        door.start()
        assert door.open
        assert reactor.watched == 3
        async with asyncio.timeout(5):
            while len(seen) < 16:  # noqa: ASYNC110  the kernel decides when
                await asyncio.sleep(0.001)
        door.close()
        door.close()
        assert not door.open
        assert reactor.watched == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(door.address)
        for fd in seen:
            os.close(fd)
        for client in clients:
            client.close()

    loop.run(main())


def test_a_door_accepts_for_a_worker_that_has_died() -> None:
    async def main() -> None:
        seen: list[int] = []
        sockets = Sockets.bind(load(["--service", "web", "--outbound-shared", "0"], {}), 2)
        other = [(name, sock.dup()) for name, sock in sockets.slot(1)]
        again = [(name, sock.dup()) for name, sock in sockets.slot(1)]
        waiting = [socket.create_connection(other[0][1].getsockname()) for _ in range(32)]
        sockets.keep(0, 2)
        reactor = Reactor(asyncio.get_running_loop())
        doors = Doors(reactor, sockets)
        door = doors.add("outbound-shared", lambda fd, host, port: seen.append(fd))
        doors.start()
        async with asyncio.timeout(5):
            while not seen:  # noqa: ASYNC110  the kernel decides when
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert len(seen) < 32
        doors.lend(1, other)
        async with asyncio.timeout(5):
            while len(seen) < 32:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        doors.take_back(1)
        doors.take_back(1)
        assert reactor.watched == 1
        later = [socket.create_connection(door.address) for _ in range(32)]  # some wait for the other worker again
        await asyncio.sleep(0.01)
        assert len(seen) < 64
        door.close()
        doors.lend(1, again)  # too late: it is closed
        assert reactor.watched == 0
        for fd in seen:
            os.close(fd)
        for client in (*waiting, *later):
            client.close()

    loop.run(main())


# ---- datagrams


class Nobody:
    """No endpoint."""

    connect_timeout = 1.0
    udp_idle = 60.0

    def pick(self, source: str, tried: list[Any]) -> None:
        return None

    def released(self, target: Any, ok: bool, reason: Any) -> None:
        raise AssertionError


def datagrams(slots: int) -> tuple[Reactor, Sockets, Doors, UdpProxy]:
    reactor = Reactor(asyncio.get_running_loop())
    sockets = Sockets.bind(load(["--service", "web", "--outbound", "dns=0/udp"], {}), slots)
    return reactor, sockets, Doors(reactor, sockets), UdpProxy(reactor, Nobody(), CLIENT, "dns")


def send(address: tuple[str, int], count: int) -> list[socket.socket]:
    clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for client in clients:
        client.sendto(b"x", address)
    return clients


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  the kernel decides when
            await asyncio.sleep(0.001)


def test_a_door_for_datagrams() -> None:
    async def main() -> None:
        reactor, _, doors, proxy = datagrams(3)
        assert doors.has("outbound dns")
        assert not doors.has("outbound dns udp")
        door = doors.add_datagrams("outbound dns", proxy)
        assert str(door) == f"127.0.0.1:{door.address[1]}"
        assert not door.open
        doors.start()
        assert door.open
        clients = send(door.address, 16)
        await until(lambda: proxy.sessions == 16)
        doors.leave_datagrams()
        door.close()
        assert not door.open
        clients += send(door.address, 1)
        await asyncio.sleep(0.001)
        assert proxy.statistics().dropped == 16
        assert await proxy.drain(0.001) == 16
        for client in clients:
            client.close()
        assert reactor.watched == 0

    loop.run(main())


def test_a_door_for_datagrams_that_never_opened() -> None:
    async def main() -> None:
        _, sockets, doors, proxy = datagrams(1)
        door = doors.add_datagrams("outbound dns", proxy)
        door.close()
        assert sockets["outbound dns"][0].fileno() == -1

    loop.run(main())


def test_datagrams_are_read_for_a_worker_that_has_died() -> None:
    async def main() -> None:
        reactor, sockets, doors, proxy = datagrams(2)
        other = [(name, sock.dup()) for name, sock in sockets.slot(1)]
        again = [(name, sock.dup()) for name, sock in sockets.slot(1)]
        clients = send(other[0][1].getsockname(), 32)
        sockets.keep(0, 2)
        door = doors.add_datagrams("outbound dns", proxy)
        doors.start()
        await until(lambda: proxy.sessions > 0)
        await asyncio.sleep(0.01)
        assert proxy.sessions < 32
        doors.lend(1, other)
        await until(lambda: proxy.sessions == 32)
        doors.take_back(1)
        doors.take_back(1)
        assert reactor.watched == 1
        clients += send(door.address, 32)  # some wait for the other worker again
        await asyncio.sleep(0.01)
        assert proxy.sessions < 64
        door.close()
        doors.lend(1, again)  # too late: it is closed
        assert await proxy.drain(0.001) > 32
        assert reactor.watched == 0
        for client in clients:
            client.close()

    loop.run(main())
