"""The callee's side: registered when the app is there and not before, gone from the registry before the port closes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop

from mesh.balance.rng import Rng
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Recorder
from mesh.errors import UNAVAILABLE, UpstreamError
from mesh.model import Protocol
from mesh.sidecar import inbound as module
from mesh.sidecar.config import load
from mesh.sidecar.inbound import Inbound
from mesh.sidecar.sockets import Sockets
from mesh.v1.registry_pb2 import DeregisterRequest, RegisterRequest, RegisterResponse


class Registry:
    """Stands where the channel to the control plane stands: answers calls, keeps what was asked, in order."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def unary(self, path: str, request: bytes, timeout: float, metadata: Any = ()) -> bytes:
        if path.endswith("/Register"):
            self.calls.append(RegisterRequest.FromString(request))
            return RegisterResponse(lease_id="lease-1").SerializeToString()
        self.calls.append(DeregisterRequest.FromString(request))
        return b""

    async def stream(self, path: str, metadata: Any = ()) -> Any:
        raise UpstreamError(UNAVAILABLE, "no heartbeats here")


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  sockets decide when
            await asyncio.sleep(0.005)


def made(registry: Registry, *flags: str) -> Inbound:
    hub = Hub(asyncio.get_running_loop(), Rng(1), Recorder())

    def entry(kind: int, cluster: Any, router: Any) -> Entry:
        return Entry(hub, kind, cluster, router, False, True, True, 0)

    config = load(["--service", "cart", "--instance", "cart-7", *flags], {})
    return Inbound(config, hub, Sockets.bind(config), registry, entry)  # type: ignore[arg-type]


def test_the_instance_registers_when_its_app_answers_and_leaves_first() -> None:
    async def main() -> None:
        registry = Registry()
        app = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = app.sockets[0].getsockname()[1]
        app.close()
        inbound = made(registry, "--app", str(port), "--weight", "3", "--zone", "z1")
        inbound.start()
        inbound.watch_app()
        await asyncio.sleep(0.02)
        assert registry.calls == []
        app = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", port)
        await until(lambda: registry.calls)
        endpoint = registry.calls[0].endpoint
        assert (endpoint.service, endpoint.name, endpoint.weight, endpoint.locality.zone) == ("cart", "cart-7", 3, "z1")
        assert endpoint.port == inbound.door.address[1]
        both = asyncio.gather(inbound.drain(1), inbound.drain(1))
        await until(lambda: len(registry.calls) == 2)
        _, writer = await asyncio.open_connection(*inbound.door.address)  # still open to those who have not heard
        writer.close()
        await both
        assert registry.calls[1].lease_id == "lease-1"
        with pytest.raises(OSError, match="refused"):
            await asyncio.open_connection(*inbound.door.address)
        app.close()

    uvloop.run(main())


def test_an_app_that_does_not_come_is_told_of_once(monkeypatch: pytest.MonkeyPatch,
                                                   caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    monkeypatch.setattr(module, "_PROBE_FIRST", 0.001)
    probes = iter([False, False, False, True])

    async def main() -> None:
        async def is_up() -> bool:
            return next(probes)

        registry = Registry()
        inbound = made(registry, "--app", "50123")
        monkeypatch.setattr(inbound, "_app_is_up", is_up)
        inbound.start()
        with caplog.at_level("INFO"):
            inbound.watch_app()
            await until(lambda: registry.calls)
            await until(lambda: "registered cart/cart-7" in caplog.text)
        await inbound.drain(1)

    uvloop.run(main())
    said = [record.message for record in caplog.records if record.name == "mesh.sidecar"]
    assert said == ["nothing accepts connections at 127.0.0.1:50123: not registered until something does"]


def test_callers_are_told_the_advertised_address() -> None:
    async def main() -> None:
        registry = Registry()
        app = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = app.sockets[0].getsockname()[1]
        inbound = made(registry, "--app", str(port), "--inbound", "0.0.0.0:0", "--advertise", "10.9.8.7")
        inbound.start()
        inbound.watch_app()
        await until(lambda: registry.calls)
        assert registry.calls[0].endpoint.host == "10.9.8.7"
        assert registry.calls[0].endpoint.port == inbound.door.address[1]
        await inbound.drain(1)
        app.close()

    uvloop.run(main())


def test_an_app_that_never_comes_is_no_hindrance_to_stopping() -> None:
    async def main() -> None:
        registry = Registry()
        inbound = made(registry, "--app", "1", "--protocol", Protocol.TCP.value)
        inbound.start()
        inbound.watch_app()
        await asyncio.sleep(0)
        await inbound.drain(1)
        assert registry.calls == []
        assert inbound.statistics()["tcp"] == 0

    uvloop.run(main())
