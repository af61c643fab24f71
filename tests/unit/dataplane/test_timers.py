"""The timing wheel: never early, at most a tick late, O(1) moves, survives a stalled loop."""

from __future__ import annotations

import random

import pytest

from mesh.dataplane.timers import Probe, TimerWheel


def test_fires_once_at_most_a_tick_late() -> None:
    wheel = TimerWheel(100.0, 0.005, 64)
    fired: list[str] = []
    wheel.arm(Probe(lambda: fired.append("a")), 100.020, 100.0)
    assert wheel.advance(100.019) == 0
    assert wheel.advance(100.026) == 1
    assert fired == ["a"]
    assert wheel.advance(101.0) == 0


def test_deadline_beyond_one_turn_waits_for_its_turn() -> None:
    wheel = TimerWheel(0.0, 0.005, 8)  # one turn is 40 ms
    fired: list[str] = []
    wheel.arm(Probe(lambda: fired.append("late")), 0.1, 0.0)
    for step in range(1, 20):
        wheel.advance(step * 0.005)
        assert fired == []
    wheel.advance(0.11)
    assert fired == ["late"]


def test_moving_and_disarming() -> None:
    wheel = TimerWheel(0.0)
    fired: list[str] = []
    first, second = Probe(lambda: fired.append("first")), Probe(lambda: fired.append("second"))
    wheel.arm(first, 0.01, 0.0)
    wheel.arm(first, 0.05, 0.0)
    wheel.arm(second, 0.02, 0.0)
    wheel.disarm(second)
    wheel.disarm(second)
    assert wheel.armed == 1
    wheel.advance(0.03)
    assert fired == []
    wheel.advance(0.06)
    assert fired == ["first"]
    assert wheel.armed == 0


def test_a_past_deadline_fires_at_the_next_tick() -> None:
    wheel = TimerWheel(10.0)
    fired: list[str] = []
    wheel.arm(Probe(lambda: fired.append("x")), 9.0, 10.0)
    wheel.advance(10.006)
    assert fired == ["x"]


def test_timers_may_arm_and_disarm_while_firing() -> None:
    wheel = TimerWheel(0.0)
    fired: list[str] = []
    victim = Probe(lambda: fired.append("victim"))

    def fire() -> None:
        fired.append("first")
        wheel.disarm(victim)
        wheel.arm(again, 0.05, 0.02)

    again = Probe(lambda: fired.append("again"))
    wheel.arm(Probe(fire), 0.01, 0.0)
    wheel.arm(victim, 0.01, 0.0)
    wheel.advance(0.02)
    assert fired == ["first"]
    wheel.advance(0.06)
    assert fired == ["first", "again"]


def test_a_stalled_loop_fires_everything_that_is_due() -> None:
    wheel = TimerWheel(0.0, 0.005, 16)
    fired: list[int] = []
    for n in range(100):
        wheel.arm(Probe(lambda n=n: fired.append(n)), n * 0.01, 0.0)
    wheel.advance(50.0)
    assert sorted(fired) == list(range(100))
    assert wheel.armed == 0


@pytest.mark.parametrize("seed", range(5))
def test_against_a_sorted_list(seed: int) -> None:
    """Any mix of arming, moving and disarming fires what a sorted list would, each within a tick of its deadline."""
    rng = random.Random(seed)
    now = 1000.0
    wheel = TimerWheel(now, 0.005, 32)
    due: dict[int, float] = {}
    late: list[float] = []
    clock = [now]

    def fired(n: int) -> None:
        late.append(clock[0] - due.pop(n))

    probes = [Probe(lambda n=n: fired(n)) for n in range(50)]
    for _ in range(2000):
        n = rng.randrange(50)
        if rng.random() < 0.6:
            due[n] = clock[0] + rng.random() * 0.5
            wheel.arm(probes[n], due[n], clock[0])
        else:
            due.pop(n, None)
            wheel.disarm(probes[n])
        clock[0] += 0.004
        wheel.advance(clock[0])
        assert all(deadline > clock[0] - 0.0095 for deadline in due.values())
    assert late
    assert min(late) >= 0
    assert max(late) <= 0.0095
    assert wheel.armed == len(due)
