"""Policies of one's own at work: what is loaded, what counts as a fault, and when one is asked no more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mesh.balance.rng import Rng
from mesh.dataplane.custom import (
    BENCH,
    FAULTS_IN_A_ROW,
    LOG_EVERY,
    LONGEST_BENCH,
    PARDON,
    OwnPolicies,
    OwnPolicy,
    Request,
    not_allowed,
)
from mesh.dataplane.watchdog import Interrupted, Watchdog
from mesh.model.custom import CustomMode, CustomPolicy
from mesh.wire.hpack import make_head

CANDIDATES = ("a", "b", "c")


class Guard:
    """A watchdog that interrupts when the test says so."""

    def __init__(self) -> None:
        self.interrupt = False

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self.interrupt:
            raise Interrupted
        return function(*arguments)


class World:
    def __init__(self, source: str, mode: CustomMode = CustomMode.LIVE, watchdog: Any = None) -> None:
        self.now = 0.0
        self.took = 0.0
        self.guard = watchdog or Guard()
        self.policy = OwnPolicy("cart", CustomPolicy("Mine", source, mode), Rng(1), self.guard, self.clock)

    def clock(self) -> float:
        self.now += self.took / 2  # read before and after: a pick takes what the difference is
        return self.now

    def picks(self, now: float = 0.0, count: int = 1) -> list[Any]:
        """What comes of being asked; "rest" where it isn't."""
        return [self.policy.pick(CANDIDATES, 7, now) if self.policy.asked(now) else "rest" for _ in range(count)]


def mine(body: str, more: str = "") -> str:
    return f"class Mine:\n    def pick(self, candidates, request, now, rng):\n        {body}\n{more}"


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    made = Watchdog()
    made.install()
    yield made
    made.uninstall()


def test_a_pick_is_passed_on_and_counted() -> None:
    world = World(mine("return candidates[rng.below(1)]"))
    assert world.picks(count=3) == ["a"] * 3
    told = world.policy.statistics(0.0)
    assert (told["class"], told["mode"], told["state"]) == ("Mine", "live", "running")
    assert (told["picks"], told["faults"]) == (3, {})
    assert not world.policy.fell_back
    assert World(mine("return None")).picks() == [None]


def test_state_lasts_and_results_are_heard() -> None:
    world = World("import math\nclass Mine:\n    def __init__(self):\n        self.seen = []\n"
                  "    def pick(self, candidates, request, now, rng):\n        return candidates[len(self.seen) % 3]\n"
                  "    def on_result(self, candidate, latency, ok, now):\n"
                  "        self.seen.append((candidate, latency, ok, now))\n")
    assert world.picks() == ["a"]
    world.policy.on_result("a", 0.5, True, 1.0)
    assert world.picks() == ["b"]
    assert world.policy._instance.seen == [("a", 0.5, True, 1.0)]


def test_a_request_is_shown() -> None:
    world = World(mine("return (request.service, request.method, request.path, request.authority, "
                       "request.header('x-user'), request.header('none'), request.source)"))
    world.policy.head = make_head([(b":method", b"GET"), (b":path", b"/a?b"), (b":authority", b"cart"),
                                   (b"x-user", b"7")])
    assert world.picks() == [("cart", "GET", "/a?b", "cart", "7", None, 7)]
    world.policy.head = None  # TCP
    assert world.picks() == [("cart", "", "", "", None, None, 7)]
    with pytest.raises(AttributeError):
        Request("cart", 1, None).other = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(("body", "said"), [
    ("return 1 // 0", "pick: line 3: ZeroDivisionError: integer division or modulo by zero"),
    ("raise SystemExit", "pick: line 3: SystemExit: "), ("open('/etc/passwd')", "pick: line 3: NameError: "),
    ("import os", "pick: line 3: ImportError: a policy can't import 'os', only bisect, collections,")])
def test_an_exception_is_a_fault_with_its_line(body: str, said: str) -> None:
    world = World(mine(body))
    assert world.picks() == [None]
    assert world.policy.faults == {"exception": 1}
    assert world.policy.last_fault.startswith(said)
    assert world.policy.fell_back


def test_a_late_pick_is_not_used() -> None:
    world = World(mine("return candidates[0]"))
    world.took = 0.0009 * 2
    assert world.picks() == ["a"]
    world.took = 0.0011 * 2
    assert world.picks() == [None]
    assert world.policy.last_fault == "a pick took 1.1 ms, and may take 1 ms"
    assert world.policy.statistics(0.0)["longest_pick"] == pytest.approx(0.0011)
    assert world.policy.pick_seconds == pytest.approx(0.002)


def test_ten_faults_in_a_row_and_it_rests_longer_each_time(caplog: pytest.LogCaptureFixture) -> None:
    world = World(mine("return request.fail"))
    now, rest = 0.0, BENCH
    assert world.picks(now, FAULTS_IN_A_ROW + 2) == [None] * FAULTS_IN_A_ROW + ["rest"] * 2
    for _ in range(6):
        assert world.policy.state(now) == "benched"
        assert world.picks(now + rest - 0.001) == ["rest"]
        assert world.policy.fell_back
        now += rest
        assert world.policy.state(now) == "running"
        assert world.picks(now, 2) == [None, "rest"]  # one more is enough
        rest = min(rest * 2, LONGEST_BENCH)
    assert world.policy.faults == {"exception": FAULTS_IN_A_ROW + 6}


def test_good_picks_end_the_row_and_in_the_end_the_record() -> None:
    world = World("class Mine:\n    fail = False\n    def pick(self, candidates, request, now, rng):\n"
                  "        return candidates[9 if self.fail else 0]\n")
    mine = world.policy._instance
    for _ in range(3):
        mine.fail = True
        assert world.picks(count=FAULTS_IN_A_ROW - 1) == [None] * (FAULTS_IN_A_ROW - 1)
        mine.fail = False
        assert world.picks() == ["a"]
    mine.fail = True
    world.picks(0.0, FAULTS_IN_A_ROW)
    mine.fail = False
    world.picks(BENCH, PARDON)
    mine.fail = True
    world.picks(BENCH, FAULTS_IN_A_ROW)
    assert world.policy._benched_until == 2 * BENCH  # a first time again


def test_what_is_no_candidate_counts_in_the_row_too() -> None:
    world = World(mine("return 'x'"))
    for _ in range(FAULTS_IN_A_ROW):
        assert world.picks() == ["x"]
        world.policy.refuse("x")
    assert world.picks() == ["rest"]
    assert world.policy.faults == {"not_a_candidate": FAULTS_IN_A_ROW}
    assert world.policy.last_fault == "it picked x, which is none of the candidates"


def test_an_interruption_is_enough() -> None:
    world = World(mine("return candidates[0]"))
    world.guard.interrupt = True
    assert world.picks(count=2) == [None, "rest"]
    assert world.policy.faults == {"interrupted": 1}
    assert world.policy.last_fault == "pick had to be interrupted: took too long"


def test_a_runaway_pick_is_really_stopped(watchdog: Watchdog) -> None:
    world = World(mine("while True:\n            pass"), watchdog=watchdog)
    assert world.picks(count=2) == [None, "rest"]
    assert world.policy.last_fault in ("pick had to be interrupted: line 3: took too long",
                                       "pick had to be interrupted: line 4: took too long")


def test_faults_of_on_result_count() -> None:
    world = World(mine("return candidates[0]", "    def on_result(self, candidate, latency, ok, now):\n        x\n"))
    world.policy.on_result("a", 0.5, True, 0.0)
    assert world.policy.faults == {"exception": 1}
    assert world.policy.last_fault == "on_result: line 5: NameError: name 'x' is not defined"
    for _ in range(FAULTS_IN_A_ROW):
        world.policy.on_result("a", 0.5, True, 0.0)
    assert world.policy.faults == {"exception": FAULTS_IN_A_ROW}
    assert world.picks() == ["rest"]


@pytest.mark.parametrize("source", [
    mine("pass") + "\nimport socket\n", mine("pass") + "\nMine = 3\n", mine("pass") + "\nx\n",
    "class Mine:\n    def __init__(self, more): pass\n    def pick(self, c, r, n, g): pass\n"])
def test_what_can_not_be_loaded_is_broken_and_never_asked(source: str) -> None:
    world = World(source)
    assert world.picks() == ["rest"]
    assert world.policy.state(1e9) == "broken"
    assert world.policy.last_fault.startswith("it can't be loaded: ")


def test_each_kind_of_fault_is_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    world = World(mine("return request.fail"))
    with caplog.at_level(logging.WARNING):
        world.picks(count=5)
        assert len(caplog.records) == 1
        assert "<policy Mine of cart>: pick: line 3: AttributeError" in caplog.text
        world.policy.refuse("x")
        assert len(caplog.records) == 2
        world.picks(LOG_EVERY)
        assert len(caplog.records) == 3


def test_shadows_are_compared_and_never_fall_back() -> None:
    world = World(mine("return 1 // 0"), CustomMode.SHADOW)
    assert world.picks() == [None]
    assert not world.policy.fell_back
    world.policy.compare("a", "a")
    world.policy.compare("a", "b")
    told = world.policy.statistics(0.0)
    assert (told["agreed"], told["differed"]) == (1, 1)
    assert world.policy.fork() is None


def test_a_copy_is_asked_for_explanations() -> None:
    world = World("class Mine:\n    def __init__(self):\n        self.turn = [0]\n"
                  "    def pick(self, candidates, request, now, rng):\n        self.turn[0] += 1\n"
                  "        return candidates[(self.turn[0] + rng.below(3)) % 3]\n")
    for _ in range(6):
        fork = world.policy.fork()
        assert [fork.pick(CANDIDATES, 7, 0.0)] == world.picks()
        fork.on_result("a", 1.0, True, 0.0)
    assert world.policy.picks == 6
    assert world.policy._instance.turn == [6]
    assert World("class Mine:\n    def __init__(self):\n        self.all = (x for x in ())\n"
                 "    def pick(self, c, r, n, g): pass\n").policy.fork() is None


def test_only_where_it_is_allowed() -> None:
    policy = CustomPolicy("Mine", mine("return candidates[0]"), CustomMode.SHADOW)
    guard: Any = Guard()
    assert OwnPolicies(False, lambda: 1, guard).make("cart", policy) is None
    assert OwnPolicies(True, lambda: 1, guard).make("cart", CustomPolicy()) is None
    made = OwnPolicies(True, lambda: 1, guard).make("cart", policy)
    assert made is not None
    assert set(not_allowed(policy)) == set(made.statistics(0.0))
    assert not_allowed(policy)["state"] == "not allowed"
