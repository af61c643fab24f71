"""The callee's side: what arrives goes to the app, and a drain closes the port first."""

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
from mesh.model import LimitsPolicy, Protocol, RateLimit, Service, TimeoutPolicy
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

        clusters = Clusters(hub, lambda name: None, lambda name: None)
        inbound = Inbound(config, config.app, hub, doors, clusters, entry)
        assert inbound.statistics()["address"] == str(inbound.door)
        doors.start()
        reader, writer = await asyncio.open_connection(*inbound.door.address)
        assert await reader.readexactly(5) == b"hello"
        drained = asyncio.ensure_future(inbound.drain(5))
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*inbound.door.address)
        assert not drained.done()
        assert inbound.statistics()["tcp"] == 1
        writer.write_eof()
        assert await reader.read() == b""
        await asyncio.wait_for(drained, 5)
        assert inbound.statistics()["tcp"] == 0
        writer.close()
        app.close()

    loop.run(main())


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def test_datagrams_reach_the_app_until_the_drain() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        hub = Hub(loop, Rng(1), Recorder())
        with udp() as app, udp() as client:
            config = load(["--service", "cart", "--protocol", "udp", "--app", str(app.getsockname()[1])], {})
            assert config.app is not None
            doors = Doors(hub, Sockets.bind(config))
            clusters = Clusters(hub, lambda name: None, lambda name: None)

            def entry(kind: int, cluster: Any, router: Any) -> Entry:
                return Entry(hub, kind, cluster, router, False, True, True, 0)

            inbound = Inbound(config, config.app, hub, doors, clusters, entry)
            assert inbound.udp.upstream.udp_idle == 60
            clusters.on_service("cart", Service("cart", Protocol.UDP, timeout=TimeoutPolicy(udp_idle=5)))
            assert inbound.udp.upstream.udp_idle == 5  # the service's: as long as the callers' sidecars keep theirs
            doors.start()
            client.connect(inbound.door.address)
            client.send(b"x")
            async with asyncio.timeout(5):
                assert await loop.sock_recv(app, 10) == b"x"
            assert inbound.statistics()["udp"]["sessions"] == 1
            await inbound.drain(0.01)
            client.send(b"y")
            with pytest.raises(ConnectionRefusedError):
                client.recv(10)
        assert inbound.statistics()["udp"]["sessions"] == 0

    loop.run(main())


def test_the_services_limits_hold_at_its_app() -> None:
    """Those that concern the app; what each caller keeps for itself does not."""
    async def main() -> None:
        hub = Hub(asyncio.get_running_loop(), Rng(1), Recorder())
        config = load(["--service", "cart", "--app", "9"], {})
        assert config.app is not None
        clusters = Clusters(hub, lambda name: None, lambda name: None)
        limits = LimitsPolicy(endpoint_requests=1, endpoint_pending=3, endpoint_retries=4, max_requests=5,
                              max_connections=6, max_pending=7, queue_timeout=0.5, rate_limits=(RateLimit(3),))
        inbound = Inbound(config, config.app, hub, Doors(hub, Sockets.bind(config)), clusters,
                          lambda kind, cluster, router: Entry(hub, kind, cluster, router, False, True, True, 0))
        app = inbound.http.entry.cluster
        assert app.gate is None
        clusters.on_service("cart", Service("cart", limits=limits, timeout=TimeoutPolicy(request=9)))
        assert (app.gate.endpoint_requests, app.gate.max_requests) == (1, 0)
        assert (app.gate.endpoint_pending, app.gate.endpoint_retries) == (0, 0)
        assert (app.room.max_connections, app.room.max_pending, app.room.queue_timeout) == (0, 7, 0.5)
        assert app.rates.limits == (RateLimit(3),)
        assert app.request_timeout == 0
        assert inbound.statistics()["limits"]["requests"] == 0
        clusters.on_service("cart", None)
        assert app.gate.endpoint_requests == 0
        assert app.rates is None
        await inbound.drain(0.01)

    loop.run(main())
