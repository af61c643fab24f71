"""Recorded decisions as a scenario."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mesh.errors import InvalidResource
from mesh.model import Service
from mesh.simulate.play import play
from mesh.simulate.recorded import scenario_of


def line(time: float, endpoint: str = "a", latency: float = 0.01, **more: Any) -> str:
    return json.dumps({"time": 1_700_000_000 + time, "service": "cart", "endpoint": endpoint, "why": "power_of_two",
                       "latency": latency, "outcome": "ok", "attempt": 1, **more})


def test_requests_come_when_they_came_and_take_as_long() -> None:
    lines = [line(at / 10, "ab"[at % 2], 0.01 if at % 2 else 0.05) for at in range(100)]
    scenario = scenario_of([*lines, "\n"], "here.jsonl")
    assert (scenario.name, len(scenario.backends), scenario.arrivals) == ("cart", 2, pytest.approx(
        [at / 10 for at in range(100)], abs=1e-6))
    summary = play(scenario, Service("cart"))
    assert (summary.requests, summary.answered, summary.failed) == (100, 100, {})
    assert {round(latency, 6) for latency in summary.latencies} == {0.01, 0.05}


def test_failures_are_replayed_where_they_were() -> None:
    """In the second half a refuses; the policy's retries go to b."""
    lines = [line(at / 10, "ab"[at % 2]) for at in range(100)]
    lines += [line(at / 10, "a", 0.001, outcome="upstream_connect_failed") if at % 2 else line(at / 10, "b")
              for at in range(100, 200)]
    summary = play(scenario_of(lines, "here.jsonl"), Service("cart"))
    assert summary.failed == {}
    assert 5 <= summary.retries["not sent"] <= 60


def test_a_sample_stands_for_all() -> None:
    """One in four recorded: three more requests between two."""
    scenario = scenario_of([line(at, ratio=0.25) for at in range(11)], "here.jsonl")
    assert scenario.arrivals is not None
    for begin in range(10):
        assert sum(begin <= at < begin + 1 for at in scenario.arrivals) == 4


def test_further_attempts_are_no_requests() -> None:
    scenario = scenario_of([line(0), line(0.1, "b", attempt=2), line(1), line(2)], "here.jsonl")
    assert scenario.arrivals == pytest.approx((0, 1, 2))
    assert [backend.endpoint.name for backend in scenario.backends] == ["a", "b"]


def test_one_service_of_several() -> None:
    lines = [line(0), line(1), line(0, service="stock"), line(3, service="stock")]
    with pytest.raises(InvalidResource, match="decisions of cart, stock: say which with --service"):
        scenario_of(lines, "here.jsonl")
    assert scenario_of(lines, "here.jsonl", "stock").duration == 3
    with pytest.raises(InvalidResource, match="no decision of shop, only of cart, stock"):
        scenario_of(lines, "here.jsonl", "shop")


@pytest.mark.parametrize(("bad", "problem"), [
    ("{", "not JSON"), ("[]", "not an object"), (line(0, latency="1"), "latency"),
    (line(0, outcome="fine"), "outcome: 'fine'"), (line(0, latency=-1), "latency"), (line(0, ratio=0), "ratio"),
    (line(0, attempt=0), "attempt"), (line(0, service=""), "service"),
    (json.dumps({"time": 1}), "outcome: is missing"), (line(0, endpoint=None), "endpoint: is missing")])
def test_what_is_wrong_is_told_with_its_line(bad: str, problem: str) -> None:
    with pytest.raises(InvalidResource, match=rf"^here.jsonl:2: {problem}"):
        scenario_of([line(0), bad, line(1)], "here.jsonl")


def test_nothing_to_replay() -> None:
    with pytest.raises(InvalidResource, match="no decision"):
        scenario_of([], "here.jsonl")
    with pytest.raises(InvalidResource, match="fewer than two requests"):
        scenario_of([line(0)], "here.jsonl")
