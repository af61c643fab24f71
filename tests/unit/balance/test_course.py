"""The course of checks: what changes a verdict, and when the next check is due."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.balance.course import Course, State
from mesh.balance.rng import Rng
from mesh.model import HealthPolicy, HttpCheck, TcpCheck

POLICY = HealthPolicy(tcp=TcpCheck(), interval=2.0, rise=2, fall=3, jitter=0.0, fast_interval=0.5)


def story(course: Course, results: str, now: float = 0.0) -> str:
    """`+` and `-` in, what the state is after each out: `u`, `p`, `f`."""
    said = ""
    rng = Rng(1)
    for result in results:
        before = course.state
        changed = course.on_result(result == "+", "refused", now, rng)
        assert changed == (course.state is not before)
        said += course.state.value[0]
    return said


@pytest.mark.parametrize(("results", "states"), [
    ("+", "p"), ("-", "f"),
    ("+--+--+---", "pppppppppf"),
    ("-+-+-++", "ffffffp"),
    ("+---+-++", "pppffffp"),
])
def test_the_first_result_and_then_rise_and_fall(results: str, states: str):
    assert story(Course(POLICY, 0.0), results) == states


def test_rise_and_fall_of_1():
    assert story(Course(replace(POLICY, rise=1, fall=1), 0.0), "+-+--+") == "pfpffp"


def test_the_first_is_due_at_once_the_next_ones_after_the_interval_and_sooner_while_it_is_not_settled():
    course = Course(POLICY, 100.0)
    rng = Rng(1)
    assert (course.due, course.state) == (100.0, State.UNPROVEN)
    waits = []
    for ok in (True, True, False, False, True, False, False, False, False, True, True):
        course.on_result(ok, "refused", 100.0, rng)
        waits.append(course.due - 100.0)
    assert 0 <= waits[0] < 2.0
    assert waits[1:] == [2.0, 0.5, 0.5, 2.0, 0.5, 0.5, 2.0, 2.0, 0.5, 2.0]


def test_the_first_interval_is_cut_short_at_random_so_that_checks_spread():
    rng = Rng(5)
    dues = []
    for _ in range(400):
        course = Course(POLICY, 0.0)
        course.on_result(True, "", 0.0, rng)
        dues.append(course.due)
    # Uniform over 0..2: each quarter has 100 of 400, with a standard deviation of 9.
    for quarter in range(4):
        assert 50 < sum(quarter / 2 <= due < (quarter + 1) / 2 for due in dues) < 150


@given(st.floats(0, 1), st.integers(0, 2**64 - 1), st.lists(st.booleans(), min_size=1, max_size=20))
def test_jitter_is_a_share_of_the_interval(jitter: float, seed: int, results: list[bool]):
    course = Course(replace(POLICY, jitter=jitter), 0.0)
    rng = Rng(seed)
    for place, ok in enumerate(results):
        course.on_result(ok, "", 0.0, rng)
        assert course.due <= 2.0 * (1 + jitter) + 1e-9
        if place:
            assert course.due >= 0.5 * (1 - jitter) - 1e-9


def test_since_and_reason_are_those_of_the_verdict():
    course = Course(POLICY, 0.0)
    rng = Rng(1)
    course.on_result(True, "", 1.0, rng)
    assert course.since == 1.0
    for at, reason in ((2.0, "a"), (3.0, "b"), (4.0, "c"), (5.0, "d")):
        course.on_result(False, reason, at, rng)
    assert (course.since, course.reason, course.state) == (4.0, "d", State.FAILING)


def test_another_policy_keeps_the_state():
    course = Course(POLICY, 0.0)
    story(course, "+-")
    course.adopt(replace(POLICY, fall=2, interval=0.6, timeout=0.3), 1.0)
    assert course.state is State.PASSING
    assert course.due <= 1.6
    assert story(course, "-") == "f"


def test_where_something_else_is_checked_one_result_says_anew_what_is():
    for policy in (replace(POLICY, tcp=None, http=HttpCheck()), replace(POLICY, port=99)):
        course = Course(POLICY, 0.0)
        story(course, "++")
        course.adopt(policy, 7.0)
        assert (course.state, course.due) == (State.PASSING, 7.0)
        assert story(course, "-") == "f"
