"""Checks on a clock of the test's own: when, how many at a time, and what follows for the picks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from mesh.balance.course import State
from mesh.balance.rng import Rng
from mesh.dataplane import loop
from mesh.dataplane.checker import MAX_RUNNING, Checker
from mesh.dataplane.checks import CheckFailed, Subject
from mesh.dataplane.clusters import Clusters
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Recorder
from mesh.errors import InvalidResource
from mesh.model import (
    BalancePolicy,
    CommandCheck,
    Endpoint,
    HealthPolicy,
    HttpCheck,
    OutlierPolicy,
    Service,
    SubsetPolicy,
    TcpCheck,
)

POLICY = HealthPolicy(tcp=TcpCheck(), interval=2.0, timeout=1.0, rise=2, fall=3, jitter=0.0)


class Alarm(NamedTuple):
    at: float
    action: Callable[[], object]
    ended: list[bool]

    def cancel(self) -> None:
        self.ended.append(True)


class Place:
    """A sidecar's checker and clusters. `ill`: reasons by endpoint; `asked`: each check, in order; a check lasts until
    `hold` is empty of it."""

    def __init__(self, allow_commands: bool = False) -> None:
        self.now = 100.0
        self.hub = Hub(asyncio.get_running_loop(), Rng(1), Recorder(), lambda: self.now, lambda: 0)
        self.due: list[Alarm] = []
        self.checker = Checker(self.hub, allow_commands, self.run, self.later)
        self.verdicts = 0
        self.clusters = Clusters(self.hub, lambda name: None, lambda name: None, None, self.checker, self.heard)
        self.ill: dict[str, str] = {}
        self.asked: list[Subject] = []
        self.held: dict[str, asyncio.Event] = {}

    def later(self, seconds: float, action: Callable[[], object]) -> Alarm:
        self.due.append(Alarm(self.now + seconds, action, []))
        return self.due[-1]

    def ring(self) -> None:
        due = [alarm for alarm in self.due if alarm.at <= self.now]
        self.due = [alarm for alarm in self.due if alarm.at > self.now]
        for alarm in due:
            if not alarm.ended:
                alarm.action()

    def heard(self) -> None:
        self.verdicts += 1

    async def run(self, hub: Hub, check: Any, subject: Subject, timeout: float) -> None:
        self.asked.append(subject)
        held = self.held.get(subject.endpoint)
        if held is not None:
            await held.wait()
        why = self.ill.get(subject.endpoint)
        if why is not None:
            raise CheckFailed(why)

    def serve(self, policy: HealthPolicy = POLICY, count: int = 3, **more: Any) -> Any:
        cluster = self.clusters.get("cart")
        self.clusters.on_service("cart", Service("cart", health=policy, **more))
        self.put(count)
        return cluster

    def put(self, count: int) -> None:
        self.clusters.on_endpoints("cart", {f"c{i}": Endpoint("cart", f"c{i}", "127.0.0.1", 1000 + i)
                                            for i in range(count)})
        self.clusters.get("cart")._put_what_was_held()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Let time pass in steps that no timer is lost in."""
        until = self.now + seconds
        while self.now < until - 1e-9:
            self.now = min(self.now + 0.1, until)
            self.hub.touch()
            self.ring()
            await self.settle()


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        await main()

    loop.run(all_of_it())


def picked(cluster: Any) -> set[str]:
    return {cluster.pick(key * 7919, None).endpoint.name for key in range(60)}


def test_until_a_check_has_ended_all_are_used_then_those_that_passed() -> None:
    async def main() -> None:
        place = Place()
        place.ill["cart/c1"] = "connection refused"
        cluster = place.serve()
        assert picked(cluster) == {"c0", "c1", "c2"}
        await place.advance(0.1)
        assert sorted(subject.endpoint for subject in place.asked) == ["cart/c0", "cart/c1", "cart/c2"]
        assert picked(cluster) == {"c0", "c2"}
        assert place.verdicts > 0
        place.put(4)
        assert picked(cluster) == {"c0", "c2"}  # the new one has not been checked
        await place.advance(0.1)
        assert picked(cluster) == {"c0", "c2", "c3"}
        place.checker.close()

    run(main)


def test_rise_and_fall_and_the_log_once_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        place = Place()
        cluster = place.serve()
        await place.advance(3.0)
        with caplog.at_level(logging.INFO):
            place.ill["cart/c1"] = "HTTP status 503"
            await place.advance(0.5)
            assert picked(cluster) == {"c0", "c1", "c2"}
            await place.advance(5.0)
            assert picked(cluster) == {"c0", "c2"}
            await place.advance(20.0)
            assert caplog.text.count("cart/c1 is down by its checks: HTTP status 503") == 1
            statistics = cluster.statistics()["endpoints"]
            assert (statistics["c1"]["check"], statistics["c1"]["check_failure"]) == ("failing", "HTTP status 503")
            assert (statistics["c0"]["check"], statistics["c0"]["check_failure"]) == ("passing", None)
            del place.ill["cart/c1"]
            await place.advance(4.0)
            assert picked(cluster) == {"c0", "c1", "c2"}
            assert caplog.text.count("cart/c1 is up by its checks") == 1
        place.checker.close()

    run(main)


def test_the_rhythm() -> None:
    async def main() -> None:
        place = Place()
        place.serve(count=1)
        await place.advance(40.0)
        calm = len(place.asked)
        assert 19 <= calm <= 22
        place.ill["cart/c0"] = "x"
        await place.advance(4.0)  # at most 2 s until the first, then two more half a second apart
        assert place.checker.course(place.clusters.get("cart"), place.clusters.get("cart").nodes.nodes[0]).state is (
            State.FAILING)
        place.checker.close()
        place.asked.clear()
        await place.advance(10.0)
        assert place.asked == []

    run(main)


def test_at_most_some_at_a_time() -> None:
    async def main() -> None:
        place = Place()
        count = 3 * MAX_RUNNING
        place.held = {f"cart/c{i}": asyncio.Event() for i in range(count)}
        place.serve(count=count)
        await place.advance(0.5)
        assert len(place.asked) == MAX_RUNNING
        place.held[place.asked[0].endpoint].set()
        await place.settle()
        assert len(place.asked) == MAX_RUNNING + 1
        for held in place.held.values():
            held.set()
        await place.settle()
        await place.advance(0.1)
        assert {subject.endpoint for subject in place.asked} == set(place.held)
        place.checker.close()

    run(main)


def test_what_leaves_is_checked_no_more_and_the_rest_keeps_its_state() -> None:
    async def main() -> None:
        place = Place()
        place.ill["cart/c0"] = "x"
        cluster = place.serve(count=3)
        await place.advance(0.1)
        place.put(2)
        place.asked.clear()
        await place.advance(5.0)
        assert {subject.endpoint for subject in place.asked} == {"cart/c0", "cart/c1"}
        assert picked(cluster) == {"c1"}
        place.clusters.on_service("cart", None)
        place.asked.clear()
        await place.advance(5.0)
        assert place.asked == []
        place.checker.close()

    run(main)


def test_a_change_of_policy_keeps_verdicts_and_no_policy_ends_them() -> None:
    async def main() -> None:
        place = Place()
        place.ill["cart/c0"] = "x"
        cluster = place.serve(count=3)
        await place.advance(0.1)
        place.clusters.on_service("cart", Service("cart", health=replace(POLICY, interval=30.0)))
        assert picked(cluster) == {"c1", "c2"}
        place.clusters.on_service("cart", Service("cart", health=replace(POLICY, tcp=None, http=HttpCheck(), port=77)))
        assert picked(cluster) == {"c1", "c2"}
        place.asked.clear()
        del place.ill["cart/c0"]
        await place.advance(0.1)
        assert {subject.port for subject in place.asked} == {77}
        assert picked(cluster) == {"c0", "c1", "c2"}
        place.ill["cart/c0"] = "x"
        await place.advance(6.0)
        assert picked(cluster) == {"c1", "c2"}
        place.clusters.on_service("cart", Service("cart"))
        assert picked(cluster) == {"c0", "c1", "c2"}
        assert cluster.statistics()["endpoints"]["c0"]["check"] is None
        place.checker.close()

    run(main)


def test_a_check_that_passes_ends_an_ejection_and_none_that_began_before_it() -> None:
    async def main() -> None:
        place = Place()
        outlier = OutlierPolicy(consecutive_failures=1)
        cluster = place.serve(count=3, outlier=outlier)
        await place.advance(3.0)
        node = cluster.nodes.by_name["c0"]
        held = place.held["cart/c0"] = asyncio.Event()
        place.asked.clear()
        while "cart/c0" not in {subject.endpoint for subject in place.asked}:
            await place.advance(0.1)
        place.now += 0.01
        place.hub.touch()
        cluster.failed(node)
        assert picked(cluster) == {"c1", "c2"}
        held.set()
        await place.settle()
        assert picked(cluster) == {"c1", "c2"}
        await place.advance(2.2)
        assert picked(cluster) == {"c0", "c1", "c2"}
        place.clusters.on_service("cart", Service("cart", outlier=outlier, health=replace(POLICY, uneject=False)))
        cluster.failed(node)
        await place.advance(10.0)
        assert picked(cluster) == {"c1", "c2"}
        place.checker.close()

    run(main)


def test_of_a_subset_only_its_endpoints_are_checked() -> None:
    async def main() -> None:
        place = Place()
        cluster = place.serve(count=50, balance=BalancePolicy(subset=SubsetPolicy(size=5)))
        await place.advance(0.1)
        checked = {subject.endpoint.partition("/")[2] for subject in place.asked}
        assert len(checked) == 5
        assert picked(cluster) == checked
        place.ill = dict.fromkeys((f"cart/{name}" for name in checked), "x")
        await place.advance(8.0)
        place.asked.clear()
        place.put(51)
        await place.advance(8.0)
        assert 5 <= len({subject.endpoint for subject in place.asked}) <= 6  # what is ill stays in it
        await place.advance(4.0)
        place.asked.clear()
        await place.advance(4.0)
        assert {subject.endpoint.partition("/")[2] for subject in place.asked} == {
            name for name, state in cluster.statistics()["endpoints"].items() if state["check"] is not None}
        place.checker.close()

    run(main)


def test_only_services_that_are_called_are_checked() -> None:
    async def main() -> None:
        place = Place()
        place.clusters.pin("cart", called=False)
        place.clusters.on_service("cart", Service("cart", health=POLICY))
        place.clusters.on_endpoints("cart", {"c0": Endpoint("cart", "c0", "127.0.0.1", 1)})
        await place.advance(5.0)
        assert place.asked == []
        place.clusters.get("cart")
        await place.advance(0.1)
        assert len(place.asked) == 1
        place.checker.close()

    run(main)


def test_commands_take_the_operators_consent(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        policy = HealthPolicy(command=CommandCheck(("check",)))
        place = Place()
        place.clusters.get("cart")
        with pytest.raises(InvalidResource, match=r"^health.command: .*--allow-check-commands"):
            place.clusters.check(Service("cart", health=policy))
        place.clusters.check(Service("other", health=policy))  # not called by this sidecar
        place.serve(policy)
        await place.advance(5.0)
        assert place.asked == []
        assert "cart is not checked" in caplog.text
        place.checker.close()
        place = Place(allow_commands=True)
        place.clusters.get("cart")
        place.clusters.check(Service("cart", health=policy))
        place.serve(policy)
        await place.advance(0.1)
        assert len(place.asked) == 3
        place.checker.close()

    run(main)


def test_a_fault_of_ours_counts_as_a_failure_and_does_not_end_the_checks(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        place = Place()

        async def broken(*_: Any) -> None:
            raise ZeroDivisionError("oops")

        place.checker.run = broken
        cluster = place.serve(count=1)
        await place.advance(0.1)
        assert cluster.statistics()["endpoints"]["c0"]["check_failure"] == (
            "the check itself failed: ZeroDivisionError('oops')")
        place.checker.run = place.run
        await place.advance(5.0)
        assert cluster.statistics()["endpoints"]["c0"]["check"] == "passing"
        place.checker.close()

    run(main)
