"""The discovery shell: what goes out when, reconnecting, waiters, saving. The test plays the control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rpc_fakes import FakeCall, FakeChannel, Sleeps, settle

from mesh.balance.rng import Rng
from mesh.discovery.client import BACKOFF, METHOD, DiscoveryClient
from mesh.discovery.decode import ENDPOINT_TYPE, SERVICE_TYPE
from mesh.discovery.state import StateFile
from mesh.model import Endpoint, Service
from mesh.resource.convert import endpoint_to_proto, service_to_proto
from mesh.xds.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse


class Sink:
    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.services: dict[str, Service | None] = {}
        self.endpoints: dict[str, list[str]] = {}
        self.on_change: Callable[[], None] = lambda: None

    def check(self, resource: Service | Endpoint) -> None:
        pass

    def on_service(self, name: str, service: Service | None) -> None:
        self.services[name] = service
        self.on_change()

    def in_force(self, name: str, version: str) -> None:
        self.versions[name] = version

    def on_endpoints(self, service: str, endpoints: Mapping[str, Endpoint]) -> None:
        self.endpoints[service] = sorted(endpoints)


class World:
    """A client with everything around it faked, and what the test wants to ask of it."""

    def __init__(self, state: StateFile | None = None) -> None:
        self.channel = FakeChannel()
        self.sleeps = Sleeps()
        self.sink = Sink()
        self.now = 100.0
        channel: Any = self.channel
        self.client = DiscoveryClient(channel, "front/front-0", self.sink, Rng(7), state, sleep=self.sleeps,
                                      clock=lambda: self.now)

    @property
    def call(self) -> FakeCall:
        return self.channel.calls[-1]

    def sent(self, call: FakeCall | None = None) -> list[DeltaDiscoveryRequest]:
        return [DeltaDiscoveryRequest.FromString(data) for data in (call or self.call).sent]

    def deliver(self, *names: str, version: str = "1") -> None:
        """Services (`cart`) and endpoints (`cart/c0`), one response per type; `-` before a name: it is gone."""
        for url in (SERVICE_TYPE, ENDPOINT_TYPE):
            response = DeltaDiscoveryResponse(type_url=url, nonce=f"{url[-8:]}{len(self.call.sent)}")
            for name in names:
                if ("/" in name) != (url == ENDPOINT_TYPE):
                    continue
                if name.startswith("-"):
                    response.removed_resources.append(name[1:])
                    continue
                resource = response.resources.add(name=name, version=version)
                resource.resource.type_url = url
                service, _, endpoint = name.partition("/")
                value: Any = (endpoint_to_proto(Endpoint(service, endpoint, "127.0.0.1", 1)) if endpoint
                              else service_to_proto(Service(service)))
                resource.resource.value = value.SerializeToString()
            if response.resources or response.removed_resources:
                self.call.deliver(response)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(5):
            await test()

    asyncio.run(main())


def test_connects_only_when_something_is_asked_for() -> None:
    async def test() -> None:
        world = World()
        world.client.start()
        await settle()
        assert world.channel.calls == []
        world.client.subscribe("cart")
        world.client.subscribe("cart")
        await settle()
        assert [call.path for call in world.channel.calls] == [METHOD]
        assert [list(request.resource_names_subscribe) for request in world.sent()] == [["cart"], ["cart/*"]]
        assert world.sent()[0].node.id == "front/front-0"
        assert world.client.connected
        await world.client.close()

    run(test)


def test_each_response_is_answered_and_later_names_go_out_at_once() -> None:
    async def test() -> None:
        world = World()
        world.client.subscribe("cart")
        world.client.start()
        await settle()
        world.deliver("cart", "cart/c0")
        await settle()
        answers = world.sent()[2:]
        assert [(answer.type_url, answer.response_nonce != "") for answer in answers] == [
            (SERVICE_TYPE, True), (ENDPOINT_TYPE, True)]
        assert world.sink.endpoints == {"cart": ["c0"]}
        world.client.subscribe("stock")
        assert list(world.sent()[4].resource_names_subscribe) == ["stock"]
        await world.client.close()
        assert world.call.cancelled

    run(test)


def test_unsubscribing_is_said_at_once() -> None:
    async def test() -> None:
        world = World()
        world.client.subscribe("cart")
        world.client.unsubscribe("cart")
        world.client.unsubscribe("cart")
        world.client.subscribe("stock")
        world.client.start()
        await settle()
        assert [list(request.resource_names_subscribe) for request in world.sent()] == [["stock"], ["stock/*"]]
        world.client.unsubscribe("stock")
        assert [list(request.resource_names_unsubscribe) for request in world.sent()[2:]] == [["stock"], ["stock/*"]]
        assert not world.client.known("stock")
        await world.client.close()

    run(test)


def test_a_sink_may_subscribe_from_within() -> None:
    async def test() -> None:
        world = World()
        world.sink.on_change = lambda: world.client.subscribe("payment")
        world.client.subscribe("cart")
        world.client.start()
        await settle()
        world.deliver("cart")
        await settle()
        assert ["payment"] in [list(request.resource_names_subscribe) for request in world.sent()]
        await world.client.close()

    run(test)


def test_wait_known() -> None:
    async def test() -> None:
        world = World()
        world.client.start()
        waiting = asyncio.ensure_future(world.client.wait_known("cart", 5.0))
        absent = asyncio.ensure_future(world.client.wait_known("nothing", 5.0))
        late = asyncio.ensure_future(world.client.wait_known("late", 0.001))
        await settle()
        world.deliver("cart")
        await settle()
        assert not waiting.done()
        world.deliver("cart/c0", "-nothing", "-nothing/*")
        assert await waiting
        assert await absent
        assert world.sink.services["nothing"] is None
        assert not await late
        assert await world.client.wait_known("cart", 0.0)
        await world.client.close()

    run(test)


def test_reconnects_for_ever_with_growing_jittered_delays_and_keeps_its_state() -> None:
    async def test() -> None:
        world = World()
        world.client.subscribe("cart")
        world.channel.down = True
        world.client.start()
        for _ in range(10):
            await settle()
            await world.sleeps.wake()
        ceilings = [BACKOFF.ceiling(number) for number in range(1, 11)]
        assert all(delay <= ceiling for delay, ceiling in zip(world.sleeps.asked, ceilings, strict=False))
        assert ceilings[0] == 0.1
        assert ceilings[-1] == 5.0
        assert len(set(world.sleeps.asked)) > 8
        assert not world.client.connected
        world.channel.down = False
        await world.sleeps.wake()
        world.deliver("cart", "cart/c0", version="9")
        await settle()
        assert world.client.connected
        world.now += 60  # it lived for long: the next delay is a short one again
        world.call.fail()
        await settle()
        assert world.sleeps.asked[-1] <= 0.1
        assert not world.client.connected
        assert world.sink.endpoints == {"cart": ["c0"]}
        await world.sleeps.wake()
        versions = [dict(request.initial_resource_versions) for request in world.sent()]
        assert versions == [{"cart": "9"}, {"cart/c0": "9"}]
        await world.client.close()

    run(test)


def test_a_stream_that_keeps_ending_at_once_is_not_hammered() -> None:
    async def test() -> None:
        world = World()
        world.client.subscribe("cart")
        world.client.start()
        for _ in range(8):
            await settle()
            world.call.end()
            await settle()
            await world.sleeps.wake()
        assert max(world.sleeps.asked[5:]) > 0.5
        assert len(world.channel.calls) == 9
        await world.client.close()

    run(test)


def test_garbage_ends_the_stream_only() -> None:
    async def test() -> None:
        world = World()
        world.client.subscribe("cart")
        world.client.start()
        await settle()
        first = world.call
        first.deliver(b"\xff\xff\xff")
        await settle()
        assert first.cancelled
        await world.sleeps.wake()
        assert world.call is not first
        await world.client.close()

    run(test)


def test_refusals_are_shown() -> None:
    async def test() -> None:
        world = World()
        world.client.subscribe("cart")
        world.client.start()
        await settle()
        response = DeltaDiscoveryResponse(type_url=SERVICE_TYPE, nonce="x")
        response.resources.add(name="cart", version="3")
        world.call.deliver(response)
        await settle()
        assert world.sent()[-1].error_detail.message.startswith("cart: ")
        assert world.client.refusals["cart"].version == "3"
        await world.client.close()

    run(test)


def test_state_is_saved_once_per_burst_and_used_by_the_next_run(tmp_path: Path) -> None:
    state = StateFile(tmp_path, "front", "front-0")

    async def first() -> None:
        world = World(state)
        world.client.subscribe("cart")
        world.client.start()
        await settle()
        world.deliver("cart")
        world.deliver("cart/c0")
        world.deliver("cart/c1")
        await settle()
        assert state.load() == []
        assert len(world.sleeps.asked) == 1
        await world.sleeps.wake()
        async with asyncio.timeout(2):
            while len(state.load()) != 3:  # noqa: ASYNC110  another thread writes it
                await asyncio.sleep(0.001)
        world.deliver("-cart/c0")
        await settle()
        await world.client.close()  # saves what was due
        assert sorted(resource.name for resource in state.load()) == ["cart", "cart/c1"]

    async def second() -> None:
        world = World(state)
        world.channel.down = True
        assert await world.client.wait_known("cart", 0.0)
        assert world.sink.services["cart"] == Service("cart")
        assert world.sink.endpoints == {"cart": ["c1"]}
        world.client.start()
        await settle()
        assert not world.client.connected
        await world.client.close()
        assert len(state.load()) == 2

    run(first)
    run(second)


def test_state_used_on_an_open_stream_opens_a_new_one_at_once(tmp_path: Path) -> None:
    state = StateFile(tmp_path, "front", "front-0")

    async def first() -> None:
        world = World(state)
        world.client.subscribe("payment")
        world.client.start()
        await settle()
        world.deliver("payment", "payment/p0", version="5")
        await settle()
        await world.client.close()

    async def second() -> None:
        world = World(state)
        world.client.subscribe("cart")
        world.client.start()
        await settle()
        assert await world.client.wait_known("payment", 0.0)
        await settle()
        assert world.sleeps.asked == []
        assert len(world.channel.calls) == 2
        assert [(list(request.resource_names_subscribe), dict(request.initial_resource_versions))
                for request in world.sent()] == [(["cart", "payment"], {"payment": "5"}),
                                                 (["cart/*", "payment/*"], {"payment/p0": "5"})]
        await world.client.close()

    run(first)
    run(second)


def test_a_control_plane_that_dies_just_then_is_not_hammered(tmp_path: Path) -> None:
    state = StateFile(tmp_path, "front", "front-0")

    async def first() -> None:
        world = World(state)
        world.client.subscribe("payment")
        world.client.start()
        await settle()
        world.deliver("payment")
        await settle()
        await world.client.close()

    async def second() -> None:
        world = World(state)
        world.client.subscribe("cart")
        world.client.start()
        await settle()
        world.channel.down = True
        world.client.subscribe("payment")
        await settle()
        assert len(world.sleeps.asked) == 1
        await world.client.close()

    run(first)
    run(second)


def test_a_fault_of_ours_is_logged_and_the_stream_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = World()
        world.client.subscribe("cart")
        world.client.start()
        await settle()
        world.call.deliver(5)  # FromString raises TypeError
        await settle()
        assert world.sleeps.asked
        await world.sleeps.wake()
        assert len(world.channel.calls) == 2
        await world.client.close()

    run(test)
    assert "Traceback" in caplog.text


def test_a_disk_that_fails_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")

    async def test() -> None:
        world = World(StateFile(tmp_path / "file", "front", "front-0"))
        world.client.subscribe("cart")
        world.client.start()
        await settle()
        world.deliver("cart")
        await settle()
        await world.client.close()

    run(test)
    assert "discovered state not saved" in caplog.text
