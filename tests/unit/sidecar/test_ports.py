"""A door accepts from all of its sockets, and once closed nothing that was accepted is missing."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop

from mesh.sidecar.config import load
from mesh.sidecar.ports import Door
from mesh.sidecar.sockets import Sockets


class Greeter(asyncio.Protocol):
    def __init__(self, seen: list[asyncio.BaseTransport]) -> None:
        self._seen = seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._seen.append(transport)


def test_a_door_over_several_sockets() -> None:
    async def main() -> None:
        seen: list[asyncio.BaseTransport] = []
        sockets = Sockets.bind(load(["--service", "web", "--outbound-shared", "0"], {}), 3)
        door = Door(sockets["outbound-shared"], lambda: Greeter(seen))
        assert str(door) == f"127.0.0.1:{door.address[1]}"
        clients = [socket.create_connection(door.address) for _ in range(16)]
        door.start()
        async with asyncio.timeout(5):
            while len(seen) < 16:  # noqa: ASYNC110  the kernel decides when
                await asyncio.sleep(0.001)
        await door.close()
        await door.close()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(door.address)
        for transport in seen:
            transport.close()
        for client in clients:
            client.close()

    uvloop.run(main())


def test_what_was_accepted_has_reached_its_protocol_when_the_door_is_closed() -> None:
    async def main() -> None:
        seen: list[asyncio.BaseTransport] = []
        made: list[Greeter] = []

        def accept() -> Greeter:
            made.append(Greeter(seen))
            return made[-1]

        sockets = Sockets.bind(load(["--service", "web", "--outbound-shared", "0"], {}))
        door = Door(sockets["outbound-shared"], accept)
        door.start()
        clients = [socket.create_connection(door.address) for _ in range(16)]
        async with asyncio.timeout(5):
            while not made:  # noqa: ASYNC110  the kernel decides when
                await asyncio.sleep(0)
        await door.close()
        assert len(seen) == len(made) > 0
        for transport in seen:
            transport.close()
        for client in clients:
            client.close()

    uvloop.run(main())
