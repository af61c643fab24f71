"""What is told of verdicts, and when: the test plays the control plane and the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from rpc_fakes import FakeChannel, Sleeps, settle

from mesh.balance.rng import Rng
from mesh.discovery.verdicts import GATHER, MAX_VERDICTS, METHOD, REFRESH, VerdictReporter
from mesh.errors import UNIMPLEMENTED, UpstreamError
from mesh.model import Verdict, VerdictKind
from mesh.v1 import health_pb2

Said = tuple[bool, list[str], list[str]]


class World:
    def __init__(self) -> None:
        self.channel = FakeChannel()
        self.sleeps = Sleeps()
        self.down: dict[str, Verdict] = {}
        channel: Any = self.channel
        self.reporter = VerdictReporter(channel, "web/web-0", self.collect, Rng(3), sleep=self.sleeps)
        self.reporter.start()

    def collect(self) -> dict[Any, Verdict]:
        return {(verdict.endpoint, verdict.kind): verdict for verdict in self.down.values()}

    def put(self, name: str, reason: str = "") -> None:
        self.down[name] = Verdict(f"cart/{name}", VerdictKind.EJECTED, reason, 1.0, 2.0)
        self.reporter.changed()

    def drop(self, name: str) -> None:
        del self.down[name]
        self.reporter.changed()

    def answer(self, unknown: bool = False) -> None:
        self.channel.answers.append(health_pb2.ReportVerdictsResponse(unknown=unknown))

    async def tell(self, answers: int = 1, unknown: bool = False) -> list[Said]:
        """Let the reporter gather, or its refresh come, and return what it says then."""
        for _ in range(answers):
            self.answer(unknown)
        await settle()
        await self.sleeps.wake()
        return self.said()

    def said(self) -> list[Said]:
        found = []
        for path, data in self.channel.unary_calls:
            assert path == METHOD
            request = health_pb2.ReportVerdictsRequest.FromString(data)
            assert request.sidecar == "web/web-0"
            found.append((request.complete, [verdict.endpoint for verdict in request.down],
                          [key.endpoint for key in request.up]))
        self.channel.unary_calls.clear()
        return found


def run(test: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            await test(World())

    asyncio.run(main())


def test_first_all_then_news_then_that_they_stand() -> None:
    async def test(world: World) -> None:
        await settle()
        assert world.sleeps.asked == []  # nothing to say, nothing to wait for
        world.put("a")
        world.put("b")
        assert await world.tell() == [(True, ["cart/a", "cart/b"], [])]
        world.put("c")
        world.put("b", "worse")
        world.drop("a")
        assert await world.tell() == [(False, ["cart/b", "cart/c"], ["cart/a"])]
        await settle()
        assert world.sleeps.asked[-1] == REFRESH
        assert await world.tell() == [(False, [], [])]
        world.drop("b")
        world.drop("c")
        assert await world.tell() == [(False, [], ["cart/b", "cart/c"])]
        asked = len(world.sleeps.asked)
        await settle()
        assert len(world.sleeps.asked) == asked  # silent again
        await world.reporter.close(1.0)
        assert world.said() == []

    run(test)


def test_a_burst_is_one_report() -> None:
    async def test(world: World) -> None:
        for name in "abcdefgh":
            world.put(name)
            await settle()
        assert world.sleeps.asked == [GATHER]
        assert len(await world.tell()) == 1
        world.answer()
        await world.reporter.close(1.0)
        assert world.said() == [(True, [], [])]

    run(test)


def test_a_control_plane_that_was_restarted_is_told_all() -> None:
    async def test(world: World) -> None:
        world.put("a")
        world.put("b")
        await world.tell()
        await settle()
        assert await world.tell(unknown=True) == [(False, [], [])]  # the refresh
        assert await world.tell() == [(True, ["cart/a", "cart/b"], [])]

    run(test)


def test_what_may_have_arrived_or_not_is_told_anew_also_that_it_is_nothing() -> None:
    async def test(world: World) -> None:
        world.put("a")
        world.channel.answers.append(UpstreamError(4, "no answer"))
        await settle()
        await world.sleeps.wake()
        assert len(world.said()) == 1
        world.drop("a")
        await world.sleeps.wake()  # the pause after the failure
        assert await world.tell() == [(True, [], [])]

    run(test)


def test_it_goes_on_while_the_control_plane_is_away() -> None:
    async def test(world: World) -> None:
        world.channel.down = True
        world.put("a")
        for _ in range(20):
            await settle()
            await world.sleeps.wake()
        world.channel.down = False
        world.answer()
        for _ in range(2):
            await settle()
            await world.sleeps.wake()
        assert world.said()[0] == (True, ["cart/a"], [])

    run(test)


def test_one_that_takes_no_reports_is_not_asked_again() -> None:
    async def test(world: World) -> None:
        world.put("a")
        world.channel.answers.append(UpstreamError(UNIMPLEMENTED, "what?"))
        await settle()
        await world.sleeps.wake()
        assert len(world.said()) == 1
        world.put("b")
        await settle()
        await world.sleeps.wake()
        assert world.said() == []

    run(test)


def test_no_more_than_the_control_plane_takes() -> None:
    async def test(world: World) -> None:
        for i in range(MAX_VERDICTS + 5):
            world.down[f"c{i}"] = Verdict(f"cart/c{i}", VerdictKind.EJECTED, "", 1.0, 2.0)
        world.reporter.changed()
        (_, down, _), = await world.tell()
        assert len(down) == MAX_VERDICTS

    run(test)
