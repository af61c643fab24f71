"""The callee's side: what arrives goes to the app, and a drain closes the port first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop

from mesh.balance.rng import Rng
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Recorder
from mesh.sidecar.config import load
from mesh.sidecar.inbound import Inbound
from mesh.sidecar.ports import Doors
from mesh.sidecar.sockets import Sockets


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    await reader.read()
    writer.close()


def test_tcp_reaches_the_app_until_the_drain() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        hub = Hub(loop, Rng(1), Recorder())
        app = await asyncio.start_server(greet, "127.0.0.1", 0)
        config = load(["--service", "cart", "--protocol", "tcp", "--app", str(app.sockets[0].getsockname()[1])], {})
        assert config.app is not None
        doors = Doors(hub, Sockets.bind(config))

        def entry(kind: int, cluster: Any, router: Any) -> Entry:
            return Entry(hub, kind, cluster, router, False, True, True, 0)

        inbound = Inbound(config, config.app, hub, doors, entry)
        assert inbound.statistics()["address"] == str(inbound.door)
        doors.start()
        reader, writer = await asyncio.open_connection(*inbound.door.address)
        assert await reader.readexactly(5) == b"hello"
        drained = asyncio.ensure_future(inbound.drain(5))
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="refused"):
            await asyncio.open_connection(*inbound.door.address)
        assert not drained.done()
        assert inbound.statistics()["tcp"] == 1
        writer.write_eof()
        assert await reader.read() == b""
        await asyncio.wait_for(drained, 5)
        assert inbound.statistics()["tcp"] == 0
        writer.close()
        app.close()

    uvloop.run(main())
