"""Offenders: how long, growth, forgiveness, memory."""

from __future__ import annotations

from mesh.resilience.offenders import Offenders


def test_an_offence_is_remembered_for_a_while() -> None:
    known = Offenders()
    assert known.held_until("a") == 0
    assert known.note("a", 100.0) == 110.0
    assert known.held_until("a") == 110.0
    assert known.held_until("b") == 0


def test_a_crowd_at_once_is_one_offence() -> None:
    known = Offenders()
    for n in range(100):
        known.note("a", 100.0 + n / 100)
    assert known.held_until("a") == 110.99


def test_who_goes_on_is_held_back_longer_and_longer_up_to_a_bound() -> None:
    known = Offenders()
    now, times = 0.0, []
    while now < 2000:
        times.append(round(known.note("a", now) - now))
        now += 1.0
    assert times[:6] == [10] * 6
    assert sorted(set(times)) == [10, 20, 40, 80, 160, 300]
    assert times == sorted(times)


def test_who_keeps_quiet_begins_anew() -> None:
    known = Offenders()
    known.note("a", 0.0)
    assert known.note("a", 8.0) == 28.0  # 20 s
    assert known.note("a", 49.0) == 59.0
    known.note("b", 0.0)
    assert known.note("b", 15.0) == 35.0


def test_memory_is_bounded() -> None:
    known = Offenders(most=3)
    for n, source in enumerate("abcad"):
        known.note(source, float(n))
    assert len(known) == 3
    assert known.held_until("b") == 0
    assert known.held_until("a") > 0
