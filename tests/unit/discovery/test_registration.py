"""Registered, kept alive, registered again whenever the registry forgot, deregistered: the test plays the registry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from rpc_fakes import FakeCall, FakeChannel, Sleeps, settle

from mesh.balance.rng import Rng
from mesh.discovery.registration import BACKOFF, DEREGISTER, HEARTBEAT, REGISTER, Registration
from mesh.errors import DEADLINE_EXCEEDED, UpstreamError
from mesh.model import Endpoint, Protocol
from mesh.v1 import registry_pb2, service_pb2


class World:
    def __init__(self, time_to_live: float = 9.0) -> None:
        self.channel = FakeChannel()
        self.sleeps = Sleeps()
        channel: Any = self.channel
        self.registration = Registration(channel, Endpoint("cart", "cart-0", "10.0.0.1", 4000, 3), Protocol.HTTP2,
                                         "cart/cart-0", Rng(3), time_to_live=time_to_live, sleep=self.sleeps)

    @property
    def call(self) -> FakeCall:
        return self.channel.calls[-1]

    def grant(self, lease: str, seconds: int = 9) -> None:
        """The answer to the next Register."""
        self.channel.answers.append(registry_pb2.RegisterResponse(lease_id=lease,
                                                                  time_to_live=Duration(seconds=seconds)))

    def beats(self, call: FakeCall | None = None) -> list[str]:
        return [registry_pb2.HeartbeatRequest.FromString(data).lease_id for data in (call or self.call).sent]

    def answer(self, alive: bool = True, replaced: bool = False) -> None:
        self.call.deliver(registry_pb2.HeartbeatResponse(lease_id=self.beats()[-1], alive=alive, replaced=replaced))

    def unary(self) -> list[str]:
        return [path for path, _ in self.channel.unary_calls]


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(5):
            await test()

    asyncio.run(main())


def test_registers_and_beats_every_third_of_the_granted_time() -> None:
    async def test() -> None:
        world = World()
        world.grant("L1", 12)
        world.registration.start()
        await settle()
        assert world.registration.registered.is_set()
        request = registry_pb2.RegisterRequest.FromString(world.channel.unary_calls[0][1])
        assert (request.endpoint.name, request.endpoint.port, request.endpoint.weight) == ("cart-0", 4000, 3)
        assert (request.sidecar, request.protocol) == ("cart/cart-0", service_pb2.PROTOCOL_HTTP2)
        assert request.time_to_live.seconds == 9
        assert world.call.path == HEARTBEAT
        for number in range(1, 5):
            assert world.beats() == ["L1"] * number
            world.answer()
            await settle()
            assert world.sleeps.asked == [4.0] * number
            await world.sleeps.wake()
        world.channel.answers.append(registry_pb2.DeregisterResponse())
        await world.registration.deregister(1.0)
        assert world.unary() == [REGISTER, DEREGISTER]
        assert registry_pb2.DeregisterRequest.FromString(world.channel.unary_calls[1][1]).lease_id == "L1"
        assert not world.registration.registered.is_set()
        await settle()
        assert world.call.cancelled

    run(test)


def test_an_unknown_lease_registers_again() -> None:
    async def test() -> None:
        world = World()
        world.grant("L1")
        world.registration.start()
        await settle()
        world.answer(alive=False)
        await settle()
        assert not world.registration.registered.is_set()
        world.grant("L2")
        await world.sleeps.wake()
        assert world.beats() == ["L2"]
        assert world.registration.registered.is_set()
        world.channel.answers.append(registry_pb2.DeregisterResponse())
        await world.registration.deregister(1.0)

    run(test)


def test_the_old_process_of_an_instance_leaves_the_place_to_the_new_one(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = World()
        world.grant("L1")
        world.registration.start()
        await settle()
        world.registration.contest(register=False)
        world.answer(alive=False, replaced=True)
        await settle()
        await world.registration.abandon()
        await settle()
        assert world.unary() == [REGISTER]  # no Deregister: the lease is the other one's
        assert not world.registration.registered.is_set()
        assert caplog.records == []

    run(test)


@pytest.mark.parametrize("replaced", [True, False])
def test_the_old_process_registers_again_when_the_new_one_has_failed(replaced: bool) -> None:
    async def test() -> None:
        world = World()
        world.grant("L1")
        world.registration.start()
        await settle()
        world.registration.contest(register=False)
        if replaced:  # heard before the other one failed, or after
            world.answer(alive=False, replaced=True)
            await settle()
            assert world.unary() == [REGISTER]
        world.grant("L2")
        world.registration.settle()
        await settle()
        if not replaced:
            world.answer(alive=False, replaced=True)
            await settle()
            await world.sleeps.wake()
        assert world.unary() == [REGISTER, REGISTER]
        assert world.beats() == ["L2"]
        assert world.registration.registered.is_set()
        world.channel.down = True
        await world.registration.deregister(1.0)

    run(test)


def test_while_a_new_process_comes_up_the_old_one_asks_for_no_lease() -> None:
    """The control plane has forgotten it: were it to register now, it could come after the new one and replace it."""
    async def test() -> None:
        world = World()
        world.grant("L1")
        world.registration.start()
        await settle()
        world.registration.contest(register=False)
        world.answer(alive=False)
        await settle()
        await world.sleeps.wake()
        assert world.unary() == [REGISTER]
        world.grant("L2")
        world.registration.settle()
        await settle()
        assert world.unary() == [REGISTER, REGISTER]
        world.channel.down = True
        await world.registration.deregister(1.0)

    run(test)


def test_a_new_process_that_the_old_one_replaced_registers_again_when_that_is_gone() -> None:
    async def test() -> None:
        world = World()
        world.grant("L1")
        world.registration.contest(register=True)
        world.registration.start()
        await settle()
        assert world.beats() == ["L1"]
        world.answer(alive=False, replaced=True)
        await settle()
        assert world.unary() == [REGISTER]
        world.grant("L2")
        world.registration.settle()
        await settle()
        assert world.unary() == [REGISTER, REGISTER]
        assert world.beats() == ["L2"]
        world.channel.down = True
        await world.registration.deregister(1.0)

    run(test)


def test_a_broken_stream_is_opened_anew_with_the_same_lease() -> None:
    async def test() -> None:
        world = World()
        world.grant("L1")
        world.registration.start()
        await settle()
        world.answer()
        await settle()
        await world.sleeps.wake()
        world.call.fail()
        await settle()
        assert world.sleeps.asked[-1] <= 0.1
        await world.sleeps.wake()
        assert len(world.channel.calls) == 2
        assert world.beats() == ["L1"]
        assert world.unary() == [REGISTER]
        assert world.registration.registered.is_set()
        world.call.end()
        await settle()
        await world.sleeps.wake()
        assert len(world.channel.calls) == 3
        world.channel.answers.append(UpstreamError(14, "gone"))
        await world.registration.deregister(1.0)

    run(test)


def test_survives_a_control_plane_that_is_away() -> None:
    async def test() -> None:
        world = World()
        world.channel.down = True
        world.registration.start()
        for _ in range(20):
            await settle()
            await world.sleeps.wake()
        assert all(delay <= BACKOFF.maximum for delay in world.sleeps.asked)
        assert max(world.sleeps.asked) > 1.0
        assert not world.registration.registered.is_set()
        world.channel.down = False
        world.grant("L1")
        await world.sleeps.wake()
        assert world.beats() == ["L1"]
        world.channel.down = True
        await world.registration.deregister(1.0)

    run(test)


def test_registering_slows_down_while_every_lease_is_ended_at_once() -> None:
    async def test() -> None:
        world = World()
        world.registration.start()
        for number in range(10):
            world.grant(f"L{number}")
            await settle()
            await world.sleeps.wake()
            world.answer(alive=False)
            await settle()
        assert max(world.sleeps.asked) > 1.0
        world.channel.answers.append(registry_pb2.DeregisterResponse())
        await world.registration.deregister(1.0)

    run(test)


def test_who_is_replaced_says_so_once_and_stays_out(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = World()
        world.grant("L1")
        world.registration.start()
        await settle()
        world.answer(alive=False, replaced=True)
        await settle()
        assert world.call.cancelled
        assert not world.registration.registered.is_set()
        await world.sleeps.wake()
        assert (world.unary(), len(world.channel.calls), world.sleeps.asked) == ([REGISTER], 1, [])
        await world.registration.deregister(1.0)
        assert world.unary() == [REGISTER]  # nothing is left to give back

    run(test)
    assert [(record.levelname, record.getMessage()) for record in caplog.records if record.levelname != "INFO"] == [(
        "ERROR", "another instance registered as cart/cart-0 (newer); this one stays out of the registry: "
                 "give each instance its own --instance")]


def test_a_register_of_ours_that_was_never_answered_may_be_what_replaced_us() -> None:
    async def test() -> None:
        world = World()
        world.channel.answers.append(UpstreamError(DEADLINE_EXCEEDED, "no answer within 5 s"))
        world.registration.start()
        await settle()
        for lease in ("L2", "L3"):
            world.grant(lease)
            await world.sleeps.wake()
            assert world.beats() == [lease]
            world.answer(alive=False, replaced=True)
            await settle()
        await world.sleeps.wake()
        assert world.unary() == [REGISTER] * 3  # the second time it was somebody else
        await world.registration.deregister(1.0)

    run(test)


def test_an_unanswered_register_is_forgotten_once_the_next_one_has_held() -> None:
    async def test() -> None:
        world = World()
        world.channel.answers.append(UpstreamError(DEADLINE_EXCEEDED, "no answer within 5 s"))
        world.registration.start()
        await settle()
        world.grant("L2")
        for _ in range(3):
            await world.sleeps.wake()
            world.answer()
            await settle()
        await world.sleeps.wake()
        world.answer(alive=False, replaced=True)
        await settle()
        await world.sleeps.wake()
        assert world.unary() == [REGISTER] * 2
        await world.registration.deregister(1.0)

    run(test)


@pytest.mark.parametrize("error", [UpstreamError(3, "endpoint.port: 0 is outside 1..65535"), b"\xff\xff"])
def test_a_refused_registration_is_said_once_and_tried_again(error: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = World()
        world.channel.answers.extend((error, error, error))
        world.registration.start()
        for _ in range(2):
            await settle()
            await world.sleeps.wake()
        assert len(world.channel.unary_calls) == 3
        world.channel.down = True
        await world.registration.deregister(1.0)

    run(test)
    assert caplog.text.count("registration of cart/cart-0: ") == 1


def test_a_fault_of_ours_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = World()
        world.channel.answers.append(KeyError("ours"))
        world.grant("L1")
        world.registration.start()
        await settle()
        await world.sleeps.wake()
        assert world.beats() == ["L1"]
        world.channel.down = True
        await world.registration.deregister(1.0)

    run(test)
    assert "Traceback" in caplog.text


def test_a_heartbeat_that_is_not_answered_in_time_breaks_the_stream() -> None:
    async def test() -> None:
        world = World()
        world.grant("L1", 1)
        world.registration.start()
        await settle()
        first = world.call
        async with asyncio.timeout(2):
            while not world.sleeps.asked:  # noqa: ASYNC110  a third of a second, by the loop's clock
                await asyncio.sleep(0.01)
        assert first.cancelled
        world.channel.down = True
        await world.registration.deregister(1.0)

    run(test)


def test_deregistering_waits_for_a_register_in_flight_and_gives_its_lease_back() -> None:
    async def test() -> None:
        world = World()
        answer: asyncio.Future[registry_pb2.RegisterResponse] = asyncio.get_running_loop().create_future()
        world.channel.answers.append(answer)
        world.registration.start()
        await settle()
        leaving = asyncio.ensure_future(world.registration.deregister(1.0))
        await settle()
        assert not leaving.done()
        world.channel.answers.append(registry_pb2.DeregisterResponse())
        answer.set_result(registry_pb2.RegisterResponse(lease_id="L9"))
        await leaving
        assert registry_pb2.DeregisterRequest.FromString(world.channel.unary_calls[-1][1]).lease_id == "L9"

    run(test)


def test_deregistering_has_a_deadline_and_works_when_never_registered(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = World()
        await world.registration.deregister(1.0)
        assert world.unary() == []
        world.grant("L1")
        world.registration = World().registration
        world.channel.answers.clear()
        slow = World()
        slow.grant("L1")
        slow.registration.start()
        await settle()
        slow.channel.answers.append(asyncio.get_running_loop().create_future())
        await slow.registration.deregister(0.01)

    run(test)
    assert "cart/cart-0 not deregistered within 0.01 s" in caplog.text
