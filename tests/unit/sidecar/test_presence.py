"""The instance in the registry: there when its app is and not before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mesh.balance.rng import Rng
from mesh.dataplane import loop
from mesh.errors import UNAVAILABLE, UpstreamError
from mesh.sidecar import presence as module
from mesh.sidecar.config import load
from mesh.sidecar.presence import Presence
from mesh.v1.registry_pb2 import DeregisterRequest, RegisterRequest, RegisterResponse
from mesh.v1.service_pb2 import PROTOCOL_UDP


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


def made(registry: Registry, *flags: str) -> Presence:
    config = load(["--service", "cart", "--instance", "cart-7", *flags], {})
    assert config.app is not None
    channel: Any = registry
    return Presence(config, config.app, ("127.0.0.1", 7000), channel, Rng(1))


async def app(port: int = 0) -> tuple[asyncio.Server, int]:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", port)
    number: int = server.sockets[0].getsockname()[1]
    return server, number


@pytest.mark.parametrize("deregister", [True, False])
def test_the_instance_registers_when_its_app_answers(deregister: bool) -> None:
    async def main() -> None:
        registry = Registry()
        server, port = await app()
        server.close()
        presence = made(registry, "--app", str(port), "--weight", "3", "--zone", "z1")
        presence.watch_app()
        assert not await presence.wait_registered(0.02)
        assert registry.calls == []
        server, _ = await app(port)
        assert await presence.wait_registered(5)
        endpoint = registry.calls[0].endpoint
        assert (endpoint.service, endpoint.name, endpoint.weight, endpoint.locality.zone) == ("cart", "cart-7", 3, "z1")
        assert (endpoint.host, endpoint.port) == ("127.0.0.1", 7000)
        assert await presence.leave(deregister)
        assert [call.lease_id for call in registry.calls[1:]] == (["lease-1"] if deregister else [])
        server.close()

    loop.run(main())


def test_an_app_that_does_not_come_is_told_of_once(monkeypatch: pytest.MonkeyPatch,
                                                   caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    monkeypatch.setattr(module, "_PROBE_FIRST", 0.001)
    probes = iter([False, False, False, True])

    async def main() -> None:
        async def is_up() -> bool:
            return next(probes)

        presence = made(Registry(), "--app", "50123")
        monkeypatch.setattr(presence, "_app_is_up", is_up)
        with caplog.at_level("INFO"):
            presence.watch_app()
            await until(lambda: "registered cart/cart-7" in caplog.text)
        await presence.leave(True)

    loop.run(main())
    said = [record.message for record in caplog.records if record.name == "mesh.sidecar"]
    assert said == ["nothing accepts connections at 127.0.0.1:50123: not registered until something does"]


@pytest.mark.parametrize(("advertised", "address"), [("10.9.8.7", ("10.9.8.7", 7000)),
                                                     ("10.9.8.7:80", ("10.9.8.7", 80))])
def test_callers_are_told_the_advertised_address(advertised: str, address: tuple[str, int]) -> None:
    async def main() -> None:
        registry = Registry()
        server, port = await app()
        presence = made(registry, "--app", str(port), "--inbound", "0.0.0.0:0", "--advertise", advertised)
        presence.watch_app()
        assert await presence.wait_registered(5)
        assert (registry.calls[0].endpoint.host, registry.calls[0].endpoint.port) == address
        await presence.leave(True)
        server.close()

    loop.run(main())


def test_an_app_that_never_comes_is_no_hindrance_to_leaving() -> None:
    async def main() -> None:
        registry = Registry()
        presence = made(registry, "--app", "1")
        presence.watch_app()
        await asyncio.sleep(0)
        assert not await presence.leave(True)
        assert registry.calls == []

    loop.run(main())


def test_what_was_contested_before_the_app_came_is_contested_after() -> None:
    async def main() -> None:
        registry = Registry()
        server, port = await app()
        presence = made(registry, "--app", str(port))
        presence.contest(register=False)
        presence.watch_app()
        assert not await presence.wait_registered(0.05)
        presence.settle()
        assert await presence.wait_registered(5)
        await presence.leave(True)
        server.close()

    loop.run(main())


def test_a_udp_app_is_not_asked() -> None:
    async def main() -> None:
        registry = Registry()
        presence = made(registry, "--app", "1", "--protocol", "udp")
        presence.watch_app()
        await until(lambda: registry.calls)
        assert registry.calls[0].protocol == PROTOCOL_UDP
        assert await presence.leave(True)

    loop.run(main())
