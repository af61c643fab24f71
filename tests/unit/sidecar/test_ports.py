"""A door accepts from all of its sockets, and from none once it is closed."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
import uvloop

from mesh.dataplane.reactor import Reactor
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
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(door.address)
        for fd in seen:
            os.close(fd)
        for client in clients:
            client.close()

    uvloop.run(main())


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

    uvloop.run(main())
