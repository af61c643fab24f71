"""MergeWindow: what waits, what does not, and that the last state always arrives."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mesh.balance.merge import MergeWindow
from mesh.model import Endpoint, Health


def at(name: str, **fields: object) -> Endpoint:
    return Endpoint("cart", name, "127.0.0.1", 80, **fields)


def named(*endpoints: Endpoint) -> dict[str, Endpoint]:
    return {endpoint.name: endpoint for endpoint in endpoints}


A, B, C, D = (at(name) for name in "abcd")


def test_a_single_change_is_put_in_force_at_once():
    merge = MergeWindow(1.0)
    assert merge.offer(named(A, B), 0.0) == named(A, B)
    assert merge.offer(named(A, B, C), 1.0) == named(A, B, C)
    assert merge.due is None
    assert merge.take(9.0) is None


def test_those_that_follow_wait_and_only_the_last_state_counts():
    merge = MergeWindow(1.0)
    merge.offer(named(A), 10.0)
    assert merge.offer(named(A, B), 10.1) is None
    assert merge.due == 11.0
    assert merge.offer(named(A, B, C), 10.2) is None
    heavier = named(replace(A, weight=5), B, C, D)
    assert merge.offer(heavier, 10.9) is None
    assert merge.take(10.95) is None
    assert merge.take(11.0) == heavier
    assert merge.due is None
    assert merge.offer(named(A), 11.5) == named(replace(A, weight=5))  # the window begins anew; who left is gone
    assert merge.take(12.0) == named(A)


def test_bad_news_never_waits():
    merge = MergeWindow(1.0)
    merge.offer(named(A, B, C, D), 0.0)
    worse = named(replace(A, health=Health.DRAINING), replace(B, weight=0), replace(C, weight=7), at("e"))
    now = merge.offer(worse, 0.1)
    assert now == named(worse["a"], worse["b"], C)
    assert merge.offer(worse, 0.2) is None
    assert merge.take(1.0) == worse


def test_a_first_usable_endpoint_does_not_wait():
    merge = MergeWindow(1.0)
    merge.offer({}, 0.0)
    assert merge.offer(named(replace(A, weight=0)), 0.1) is not None
    assert merge.offer(named(A), 0.2) == named(A)
    assert merge.offer(named(A, B), 0.3) is None


def test_who_is_to_take_over_from_all_others_does_not_wait():
    """The whole weight from one endpoint to another, in the middle of a window: there is never nobody."""
    merge = MergeWindow(1.0)
    away = replace(B, weight=0)
    merge.offer(named(A, away), 0.0)
    now = named(replace(A, weight=0), B)
    assert merge.offer(now, 0.1) == now
    assert merge.offer(named(A, B), 0.2) is None


def test_no_window_no_waiting():
    merge = MergeWindow(0.0)
    for now in (0.0, 0.0, 0.001):
        assert merge.offer(named(A), now) == named(A)


def usable(endpoints: dict[str, Endpoint]) -> bool:
    return any(each.weight > 0 and each.health is Health.HEALTHY for each in endpoints.values())


STATES = st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(0, 2), st.sampled_from(Health)))


@given(st.lists(st.tuples(st.floats(0.01, 0.6), STATES), min_size=1, max_size=12))
def test_what_is_in_force_never_uses_what_the_latest_says_not_to_and_catches_up(story: list):
    merge, now, in_force = MergeWindow(1.0), 0.0, {}
    latest: dict[str, Endpoint] = {}
    for wait, state in story:
        now += wait
        if (taken := merge.take(now)) is not None:
            in_force = taken
        latest = named(*(at(name, weight=weight, health=health) for name, (weight, health) in state.items()))
        if (taken := merge.offer(latest, now)) is not None:
            in_force = taken
        assert usable(in_force) or not usable(latest)
        for name, endpoint in in_force.items():
            if endpoint.weight > 0 and endpoint.health is Health.HEALTHY:
                assert name in latest
                assert latest[name].weight > 0
                assert latest[name].health is Health.HEALTHY
        assert merge.due is None or merge.due <= now + 1.0
        assert (merge.due is None) == (in_force == latest) or in_force == latest
    if merge.due is not None:
        in_force = merge.take(merge.due)
    assert in_force == latest
