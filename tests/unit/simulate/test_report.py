"""The figures of a run."""

from __future__ import annotations

import pytest

from mesh.simulate.engine import UNFINISHED, Outcome, Result
from mesh.simulate.report import imbalance, summarise
from mesh.simulate.scenario import Scenario, scenario_from_document


def scenario() -> Scenario:
    return scenario_from_document({"duration": "10s", "warmup": "1s", "endpoints": [
        {"name": "a", "service_time": "1ms", "weight": 3}, {"name": "b", "service_time": "1ms"}]})


def test_figures() -> None:
    result = Result()
    result.outcomes = [
        Outcome(0.5, 9.0, "a", 1, True), *(Outcome(1 + i / 100, (i + 1) / 1000, "a", 1, True) for i in range(98)),
        Outcome(5.0, 0.0, "b", 3, False, "upstream_reset"), Outcome(9.9, 60.0, "b", 1, False, UNFINISHED)]
    result.attempts.update(a=98, b=4)
    result.retries.update({"idempotent method": 2})
    result.ejections.update(b=1)
    summary = summarise(scenario(), result, {"a": 2, "b": 5}, 9)
    assert (summary.requests, summary.answered) == (100, 98)
    assert summary.failed == {"upstream_reset": 1, UNFINISHED: 1}
    assert (summary.p50, summary.highest) == (0.05, 60.0), "a failure at once is no latency, one that waits is"
    assert summary.mean == pytest.approx((sum(range(1, 99)) / 1000 + 60) / 99)
    assert summary.amplification == pytest.approx(1.02)
    assert summary.imbalance == pytest.approx(98 / 102 / 0.75)
    assert summary.answered_by == {"a": 98, "b": 0}
    assert (summary.ejections, summary.longest) == (1, {"a": 2, "b": 5})
    assert [failures for _, _, failures in summary.timeline] == [0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert summary.timeline[0][1] == pytest.approx(0.098, rel=0.02)
    shown = summary.to_json()
    assert shown["latency_seconds"] == {"p50": 0.05, "p90": summary.p90, "p99": summary.p99, "p99.9": 60.0,
                                        "mean": summary.mean, "max": 60.0}


def test_nothing_came() -> None:
    summary = summarise(scenario(), Result(), {"a": 0, "b": 0})
    assert (summary.requests, summary.p99, summary.mean) == (0, None, None)
    assert (summary.amplification, summary.imbalance) == (0, 0)


def test_weights_make_what_is_even() -> None:
    assert imbalance(scenario(), {"a": 300, "b": 100}) == 1.0
    assert imbalance(scenario(), {"a": 200, "b": 200}) == 2.0
