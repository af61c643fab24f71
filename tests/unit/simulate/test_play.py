"""A whole run, and the results that are known without it, as the documents promise them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mesh.model import Algorithm, BalancePolicy, OutlierPolicy, RetryPolicy, Service
from mesh.simulate.play import play
from mesh.simulate.report import Summary
from mesh.simulate.scenario import scenario_from_document


def policy(algorithm: Algorithm = Algorithm.ROUND_ROBIN, **more: Any) -> Service:
    return Service("any", balance=BalancePolicy(algorithm), **more)


def run(service: Service, endpoints: list[dict[str, Any]], **fields: Any) -> Summary:
    return play(scenario_from_document({"endpoints": endpoints, **fields}), service)


def test_round_robins_mean_is_the_mean_of_the_endpoints_means() -> None:
    """T = sum(Ti) / N at low load."""
    means = [0.010, 0.020, 0.030, 0.100]
    endpoints = [{"name": f"e{i}", "service_time": time, "workers": 0} for i, time in enumerate(means)]
    summary = run(policy(), endpoints, rate=1000, duration="5s", callers=1)
    assert summary.mean == pytest.approx(sum(means) / 4, rel=0.001)
    assert summary.imbalance == pytest.approx(1.0, abs=0.005)


@pytest.mark.slow
def test_m_m_1() -> None:
    """Mean time in the system: service time / (1 - utilisation). Correlated, so within 10 %."""
    summary = run(policy(), [{"name": "one", "service_time": "exponential:1ms"}], rate=600, duration="60s", callers=1)
    assert summary.mean == pytest.approx(0.001 / 0.4, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [Algorithm.POWER_OF_TWO, Algorithm.PEAK_EWMA])
def test_what_sees_load_or_latency_beats_round_robins_p99(algorithm: Algorithm) -> None:
    """One of eight endpoints takes ten times as long; there is room for all requests elsewhere."""
    fleet = [{"name": "e", "count": 8, "service_time": "exponential:10ms", "workers": 4}]
    faults = [{"at": "1s", "endpoint": "e-3", "slowdown": 10}]
    tails = [run(each, fleet, rate=1600, duration="6s", events=faults).p99
             for each in (policy(), policy(algorithm))]
    assert tails[0] is not None
    assert tails[1] is not None
    assert tails[0] / tails[1] > 3


@pytest.mark.parametrize(("budget", "low", "high"), [
    ({}, 1.0, 1.45), ({"budget_ratio": 1.0, "budget_min_per_second": 10_000.0}, 2.99, 3.01)])
def test_a_retry_storm_with_and_without_the_budget(budget: dict[str, float], low: float, high: float) -> None:
    """Every replica answers 503. The default budget: 20 % and 10 a second, of which a window's 100 may go at once; of
    500 requests a second that is 1.2 and, in 4 s, another 100 / 2000 = 0.05, and the same for each of the 4 callers."""
    fleet = [{"name": "e", "count": 4, "service_time": "1ms", "workers": 0}]
    events = [{"at": 0, "endpoint": f"e-{i}", "state": "failing"} for i in range(4)]
    summary = run(policy(retry=RetryPolicy(**budget)), fleet, rate=500, duration="4s", warmup=0, events=events)
    assert low < summary.amplification < high
    assert summary.answered == 0
    assert set(summary.failed) == {"upstream_status"}


def test_progress_is_told_and_the_warm_up_is_not_counted() -> None:
    scenario = scenario_from_document({"endpoints": [{"name": "e", "service_time": "10ms", "workers": 0}],
                                       "duration": "10s", "warmup": "5s", "rate": 100})
    told: list[float] = []
    summary = play(scenario, policy(), told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert summary.requests == pytest.approx(500, rel=0.2)
    assert abs(sum(summary.attempts.values()) - summary.requests) <= 1
    assert summary.answered == summary.requests


def test_the_same_seed_is_the_same_run() -> None:
    scenario = scenario_from_document({"endpoints": [{"name": "e", "count": 3, "service_time": "exponential:10ms"}],
                                       "duration": "3s", "rate": 200})
    assert play(scenario, policy()) == play(scenario, policy())
    assert play(scenario, policy()) != play(replace(scenario, seed=2), policy())


def test_a_dead_endpoint_costs_retries_and_no_request() -> None:
    fleet = [{"name": "e", "count": 4, "service_time": "exponential:5ms", "workers": 8}]
    summary = run(policy(outlier=OutlierPolicy()), fleet, rate=500, duration="6s",
                  events=[{"at": "2s", "endpoint": "e-1", "state": "dead"}])
    assert summary.failed == {}
    assert summary.ejections == 4
    assert sum(summary.retries.values()) >= 20
