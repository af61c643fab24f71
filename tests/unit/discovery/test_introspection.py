"""The sidecar's side of questions: who it says it is, what it answers, and that it comes back. The test asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from rpc_fakes import FakeCall, FakeChannel, Sleeps, settle

from mesh.balance.rng import Rng
from mesh.discovery.introspection import METHOD, OLD_CONTROL_PLANE, REPORT_EVERY, IntrospectionClient
from mesh.errors import UNIMPLEMENTED, InvalidResource
from mesh.v1 import introspection_pb2 as pb


class World:
    def __init__(self) -> None:
        self.channel = FakeChannel()
        self.sleeps = Sleeps()
        self.reports: list[pb.PolicyReport] = []
        channel: Any = self.channel
        self.client = IntrospectionClient(channel, "web/web-0", self.answer, lambda: self.reports, Rng(7),
                                          sleep=self.sleeps, clock=lambda: 100.0)

    def answer(self, call: pb.HypotheticalCall) -> pb.Explanation:
        if call.service == "none":
            raise InvalidResource("service", "there is none")
        if call.service == "broken":
            raise ZeroDivisionError("oh")
        return pb.Explanation(picked=f"{call.service}/a")

    @property
    def call(self) -> FakeCall:
        return self.channel.calls[-1]

    def sent(self) -> list[pb.SidecarMessage]:
        return [pb.SidecarMessage.FromString(data) for data in self.call.sent]

    def ask(self, number: int, service: str) -> None:
        self.call.deliver(pb.SidecarQuestion(id=number, call=pb.HypotheticalCall(service=service)))


def run(test: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        async with asyncio.timeout(5):
            world.client.start()
            await settle()
            await test(world)
            await world.client.close()

    asyncio.run(main())


def test_it_says_hello_and_answers() -> None:
    async def test(world: World) -> None:
        assert world.call.path == METHOD
        world.ask(1, "cart")
        world.ask(2, "none")
        world.ask(3, "broken")
        world.ask(4, "stock")
        await settle()
        first, *answers = world.sent()
        assert first.hello.id == "web/web-0"
        assert first.hello.build
        assert [(each.answer.id, each.answer.explanation.picked) for each in answers] == [
            (1, "cart/a"), (2, ""), (3, ""), (4, "stock/a")]
        assert answers[1].answer.refusal == "service: there is none"
        assert answers[2].answer.refusal == "internal error: ZeroDivisionError('oh')"
        assert not answers[1].answer.HasField("explanation")

    run(test)


def test_it_comes_back_after_the_stream_has_ended_however_that_was() -> None:
    async def test(world: World) -> None:
        for end in (world.call.end, lambda: world.call.fail(), lambda: world.call.deliver(b"\xff\xff")):
            before = len(world.channel.calls)
            end()
            await settle()
            assert world.sleeps.asked[-1] <= 5.0
            await world.sleeps.wake()
            assert len(world.channel.calls) == before + 1
            world.ask(1, "cart")
            await settle()
            assert world.sent()[-1].answer.explanation.picked == "cart/a"

    run(test)


def test_an_old_control_plane_is_not_pestered() -> None:
    async def test(world: World) -> None:
        world.call.fail(UNIMPLEMENTED, "what?")
        await settle()
        assert world.sleeps.asked[-1] == OLD_CONTROL_PLANE
        world.channel.down = True
        await world.sleeps.wake()
        assert world.sleeps.asked[-1] <= 5.0

    run(test)


def test_reports_are_sent_when_they_change_and_again_on_a_new_stream() -> None:
    async def test(world: World) -> None:
        assert [each.WhichOneof("message") for each in world.sent()] == ["hello"]
        assert world.sleeps.asked == [REPORT_EVERY]
        world.reports = [pb.PolicyReport(service="cart", picks=1)]
        await world.sleeps.wake()
        await world.sleeps.wake()
        assert [each.WhichOneof("message") for each in world.sent()] == ["hello", "reports"]
        world.reports = []
        await world.sleeps.wake()
        assert not world.sent()[-1].reports.reports
        world.reports = [pb.PolicyReport(service="cart", picks=2)]
        world.call.end()
        await settle()
        await world.sleeps.wake()
        assert [each.WhichOneof("message") for each in world.sent()] == ["hello", "reports"]

    run(test)
