"""Discovery and registration of the sidecar against the real control plane, and what they do when it dies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from e2e_mesh import Mesh, service

from mesh.balance.rng import Rng
from mesh.dataplane import loop
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Recorder
from mesh.dataplane.rpc import Channel
from mesh.discovery.client import DiscoveryClient
from mesh.discovery.registration import Registration
from mesh.discovery.state import StateFile
from mesh.errors import InvalidResource
from mesh.model import Endpoint, Protocol, Service
from mesh.v1 import registry_pb2

pytestmark = pytest.mark.e2e


class Sink:
    """Keeps what is in force; refuses weights over `limit`."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.limit = 1_000_000
        self.services: dict[str, Service | None] = {}
        self.weights: dict[str, dict[str, int]] = {}
        self.calls = 0

    def check(self, resource: Service | Endpoint) -> None:
        if isinstance(resource, Endpoint) and resource.weight > self.limit:
            raise InvalidResource("weight", f"{resource.weight} is more than this sidecar takes")

    def on_service(self, name: str, service: Service | None) -> None:
        self.calls += 1
        self.services[name] = service

    def in_force(self, name: str, version: str) -> None:
        self.versions[name] = version

    def on_endpoints(self, service: str, endpoints: Mapping[str, Endpoint]) -> None:
        self.calls += 1
        self.weights[service] = {name: endpoint.weight for name, endpoint in endpoints.items()}


class Sidecar:
    """The parts of a sidecar that talk to the control plane, in this process."""

    def __init__(self, hub: Hub, mesh: Mesh, instance: str, state: Path | None = None) -> None:
        host, _, port = mesh.address.rpartition(":")
        self.hub = hub
        self.instance = instance
        self.sink = Sink()
        self.channel = Channel(hub, [(host, int(port))])
        self.discovery = DiscoveryClient(self.channel, f"web/{instance}", self.sink, Rng(1),
                                         StateFile(state, "web", instance) if state else None)

    def registration(self, name: str, weight: int = 1) -> Registration:
        return Registration(self.channel, Endpoint("cart", name, "127.0.0.1", 4000, weight), Protocol.GRPC,
                            f"cart/{name}", Rng(2), time_to_live=1.0)

    async def close(self) -> None:
        await self.discovery.close()
        await self.channel.close()


def run(test: Callable[[Hub], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await test(Hub(asyncio.get_running_loop(), Rng(1), Recorder(1)))

    loop.run(main())


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  another process does it
        await asyncio.sleep(0.01)


def sidecar_of(mesh: Mesh, name: str) -> registry_pb2.SidecarStatus:
    found = mesh.registry.ListSidecars(registry_pb2.ListSidecarsRequest()).sidecars
    return next((sidecar for sidecar in found if sidecar.id == name), registry_pb2.SidecarStatus())


def test_registered_endpoints_reach_a_subscriber_and_leave_it(mesh: Mesh) -> None:
    async def test(hub: Hub) -> None:
        web = Sidecar(hub, mesh, "web-0")
        web.discovery.start()
        assert await web.discovery.wait_known("cart", 5.0)
        assert web.sink.services == {"cart": None}
        mortal = Sidecar(hub, mesh, "web-9")
        first, second = web.registration("cart-0"), mortal.registration("cart-1", weight=3)
        first.start()
        second.start()
        await until(lambda: web.sink.weights["cart"] == {"cart-0": 1, "cart-1": 3})
        assert web.sink.services["cart"] == Service("cart")
        await asyncio.sleep(1.5)  # longer than the lease: heartbeats keep it
        assert web.sink.weights["cart"] == {"cart-0": 1, "cart-1": 3}
        await first.deregister(2.0)
        await until(lambda: web.sink.weights["cart"] == {"cart-1": 3})
        await mortal.close()  # as if it had died: no heartbeat, and nobody deregisters
        await until(lambda: web.sink.weights["cart"] == {})
        await web.close()

    run(test)


def test_of_two_with_one_name_the_newer_stays_and_the_older_keeps_out(
        mesh: Mesh, caplog: pytest.LogCaptureFixture) -> None:
    def listed() -> tuple[int, list[int]]:
        found = mesh.registry.ListEndpoints(registry_pb2.ListEndpointsRequest(service="cart"))
        return found.revision, [one.endpoint.weight for one in found.endpoints if one.endpoint.name == "twin"]

    async def test(hub: Hub) -> None:
        old, new = Sidecar(hub, mesh, "web-4"), Sidecar(hub, mesh, "web-5")
        try:
            older, newer = old.registration("twin", weight=1), new.registration("twin", weight=3)
            older.start()
            await older.registered.wait()
            newer.start()
            await newer.registered.wait()
            revision, weights = await asyncio.to_thread(listed)
            assert weights == [3]
            await until(lambda: not older.registered.is_set())
            await asyncio.sleep(2.5)  # more than two times to live: the two would have fought several rounds
            assert await asyncio.to_thread(listed) == (revision, [3])
            assert newer.registered.is_set()
            assert not older.registered.is_set()
            await older.deregister(2.0)
            assert await asyncio.to_thread(listed) == (revision, [3])
            await newer.deregister(2.0)
            assert await asyncio.to_thread(listed) == (revision + 1, [])
            again = old.registration("twin", weight=5)  # a new run of what had been kept out
            again.start()
            await again.registered.wait()
            assert await asyncio.to_thread(listed) == (revision + 2, [5])
            await again.deregister(2.0)
        finally:
            await old.close()
            await new.close()

    run(test)
    assert caplog.text.count("another instance registered as cart/twin (newer)") == 1


def test_a_refused_version_is_shown_and_the_old_one_stays(mesh: Mesh) -> None:
    async def test(hub: Hub) -> None:
        web = Sidecar(hub, mesh, "web-1")
        web.sink.limit = 10
        endpoint = registry_pb2.ApplyRequest(services=[service("stock")])
        for name in ("s0", "s1"):
            endpoint.endpoints.add(service="stock", name=name, host="127.0.0.1", port=1, weight=5)
        await asyncio.to_thread(mesh.registry.Apply, endpoint)
        web.discovery.start()
        assert await web.discovery.wait_known("stock", 5.0)
        await asyncio.to_thread(mesh.registry.SetWeights, registry_pb2.SetWeightsRequest(
            service="stock", weights={"s0": 11, "s1": 7}))
        await until(lambda: web.sink.weights["stock"]["s1"] == 7)
        assert web.sink.weights["stock"] == {"s0": 5, "s1": 7}
        await until(lambda: len(sidecar_of(mesh, "web/web-1").refusals) == 1)
        refusal = sidecar_of(mesh, "web/web-1").refusals[0]
        assert refusal.resource == "endpoint/stock/s0"
        assert refusal.reason == "weight: 11 is more than this sidecar takes"
        assert web.discovery.refusals["stock/s0"].reason == refusal.reason
        await asyncio.to_thread(mesh.registry.SetWeights, registry_pb2.SetWeightsRequest(
            service="stock", weights={"s0": 9}))
        await until(lambda: web.sink.weights["stock"] == {"s0": 9, "s1": 7})
        await until(lambda: not sidecar_of(mesh, "web/web-1").refusals)
        assert sidecar_of(mesh, "web/web-1").build
        await web.close()

    run(test)


def test_a_control_plane_that_is_killed_and_comes_back(mesh: Mesh, tmp_path: Path) -> None:
    async def test(hub: Hub) -> None:
        web = Sidecar(hub, mesh, "web-2", tmp_path)
        web.discovery.start()
        cart = web.registration("cart-9")
        cart.start()
        await web.discovery.wait_known("cart", 5.0)
        await until(lambda: web.sink.weights["cart"] == {"cart-9": 1})
        calls = web.sink.calls
        await asyncio.to_thread(mesh.control_plane.kill)
        await until(lambda: not web.discovery.connected)
        assert web.sink.weights["cart"] == {"cart-9": 1}
        await asyncio.sleep(1.5)  # the lease would have run out
        await asyncio.to_thread(mesh.control_plane.start)
        await until(lambda: web.discovery.connected)
        await until(lambda: sidecar_of(mesh, "web/web-2").connected)
        await asyncio.sleep(1.5)
        # It resumed: what did not change did not come again.
        assert web.sink.weights["cart"] == {"cart-9": 1}
        assert web.sink.calls == calls
        await cart.deregister(2.0)
        await until(lambda: web.sink.weights["cart"] == {})
        await web.close()
        # A new run, with the control plane away, has what the old one had.
        await asyncio.to_thread(mesh.control_plane.kill)
        again = Sidecar(hub, mesh, "web-2", tmp_path)
        again.discovery.start()
        assert await again.discovery.wait_known("cart", 1.0)
        assert again.sink.services["cart"] == Service("cart")
        await again.close()
        await asyncio.to_thread(mesh.control_plane.start)

    run(test)


def test_a_forgotten_service_comes_again_when_asked_for(mesh: Mesh) -> None:
    async def test(hub: Hub) -> None:
        await asyncio.to_thread(mesh.registry.Apply, registry_pb2.ApplyRequest(services=[service("late")]))
        web = Sidecar(hub, mesh, "web-3")
        web.discovery.start()
        assert await web.discovery.wait_known("late", 5.0)
        await until(lambda: "service/late" in sidecar_of(mesh, "web/web-3").subscriptions)
        web.discovery.unsubscribe("late")
        await until(lambda: "service/late" not in sidecar_of(mesh, "web/web-3").subscriptions)
        web.sink.services.clear()
        assert await web.discovery.wait_known("late", 5.0)
        assert web.sink.services["late"] == Service("late")
        await web.close()

    run(test)
