from __future__ import annotations

from controlplane.registry.leases import ENDED, FLEET, STALL, Leases
from controlplane.registry.records import Lease

TICK = 0.25


def tick(leases: Leases, start: float, end: float, *, beating: tuple[str, ...] = (), every: float = 1.0):
    """Ask `due` every TICK from start to end while some leases heartbeat; return {lease key: time it was due}."""
    due: dict[tuple[str, str], float] = {}
    steps = round((end - start) / TICK)
    for step in range(1, steps + 1):
        now = start + step * TICK
        if step % round(every / TICK) == 0:
            for lease_id in beating:
                leases.heartbeat(lease_id, now)
        for key in leases.due(now):
            due[key] = now
            leases.end(key[1])
    return due


def granted(*names: str, now: float = 0.0, ttl: float = 10.0) -> Leases:
    leases = Leases(now)
    for name in names:
        leases.grant(Lease(name, ttl), ("cart", name), now)
    return leases


def test_a_lease_ends_when_its_time_to_live_has_passed_since_the_last_heartbeat():
    leases = granted("a")
    assert leases.heartbeat("a", 4.0)
    assert tick(leases, 0.0, 13.75) == {}
    assert tick(leases, 13.75, 20.0) == {("cart", "a"): 14.0}


def test_an_ended_or_unknown_lease_does_not_heartbeat():
    leases = granted("a")
    leases.end("a")
    leases.end("a")
    assert not leases.heartbeat("a", 1.0)
    assert not leases.heartbeat("never", 1.0)
    assert leases.heard("a") is None
    assert leases.key("a") is None


def test_each_lease_keeps_its_own_time_to_live():
    leases = granted("a")
    leases.grant(Lease("b", 2.0), ("cart", "b"), 0.0)
    assert tick(leases, 0.0, 30.0) == {("cart", "b"): 2.0, ("cart", "a"): 10.0}


def test_a_stall_of_the_control_plane_gives_everybody_a_fresh_time_to_live():
    leases = granted("a", "b")
    tick(leases, 0.0, 9.0)
    wake = 9.0 + 60.0
    assert leases.due(wake) == []
    assert tick(leases, wake, wake + 9.75) == {}
    assert set(tick(leases, wake + 9.75, wake + 10.5)) == {("cart", "a"), ("cart", "b")}


def test_a_stall_right_after_the_start_is_one_too():
    leases = granted("a", ttl=1.0)
    assert leases.due(2.5) == []
    assert tick(leases, 2.5, 4.0) == {("cart", "a"): 3.5}


def test_a_late_tick_below_the_stall_limit_is_no_stall():
    leases = granted("a")
    tick(leases, 0.0, 9.75)
    assert leases.due(9.75 + STALL - 0.01) == [("cart", "a")]


def test_one_dead_among_a_living_fleet_ends():
    names = tuple(f"i{n}" for n in range(FLEET + 2))
    leases = granted(*names)
    assert tick(leases, 0.0, 12.0, beating=names[1:]) == {("cart", "i0"): 10.0}


def test_whole_fleet_silence_ends_nothing_until_somebody_is_heard_and_then_everybody_gets_a_fresh_time_to_live():
    names = tuple(f"i{n}" for n in range(FLEET))
    leases = granted(*names)
    assert tick(leases, 0.0, 500.0) == {}
    leases.heartbeat("i1", 500.0)
    assert tick(leases, 500.0, 509.75, beating=("i1",)) == {}
    assert set(tick(leases, 509.75, 513.0, beating=("i1",))) == {("cart", "i0"), ("cart", "i2")}
    assert leases.key("i1") == ("cart", "i1")


def test_a_registration_ends_the_silence_too():
    leases = granted(*(f"i{n}" for n in range(FLEET)))
    tick(leases, 0.0, 100.0)
    leases.grant(Lease("new", 10.0), ("cart", "new"), 100.0)
    assert len(tick(leases, 100.0, 112.0, beating=("new",))) == FLEET


def test_a_fleet_below_the_limit_may_die_as_one():
    names = tuple(f"i{n}" for n in range(FLEET - 1))
    assert len(tick(granted(*names), 0.0, 12.0)) == FLEET - 1


def test_leases_with_long_intervals_do_not_vouch_for_the_short_ones():
    leases = granted("short")
    for name in ("x", "y", "z"):
        leases.grant(Lease(name, 3600.0), ("cart", name), 0.0)
    assert tick(leases, 0.0, 15.0) == {("cart", "short"): 10.0}


def test_the_queue_does_not_grow_with_reregistration():
    leases = granted("keep", ttl=3600.0)
    for number in range(2000):
        leases.grant(Lease(f"x{number}", 3600.0), ("cart", "x"), float(number) / 100)
        leases.end(f"x{number}")
    assert len(leases) == 1
    assert len(leases._queue) < 200


def test_what_an_ended_lease_kept_is_remembered_within_a_bound_until_the_lease_is_granted_again():
    leases = granted("a", "b")
    assert leases.ended("a") is None
    leases.end("a")
    assert leases.ended("a") == ("cart", "a")
    assert (leases.ended("b"), leases.ended("never")) == (None, None)
    leases.grant(Lease("a", 10.0), ("cart", "a"), 1.0)
    assert leases.ended("a") is None
    leases.end("b")
    for number in range(ENDED):
        assert leases.ended("b") == ("cart", "b")
        leases.grant(Lease(f"x{number}", 10.0), ("cart", "x"), 1.0)
        leases.end(f"x{number}")
    assert leases.ended("b") is None
    assert leases.ended("x0") == ("cart", "x")
