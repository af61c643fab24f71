"""A door accepts from all of its sockets, and from none once it is closed."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
import uvloop

from mesh.dataplane.reactor import Reactor
from mesh.sidecar.config import load
from mesh.sidecar.ports import Door
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
