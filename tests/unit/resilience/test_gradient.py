"""GradientLimit: what it measures, how the limit moves, and that it finds the capacity of a simulated callee."""

from __future__ import annotations

from math import sqrt

import pytest

from mesh.balance.rng import Rng
from mesh.model import AdaptivePolicy
from mesh.resilience.gradient import GradientLimit

POLICY = AdaptivePolicy(enabled=True, rtt_samples=5, jitter_ratio=0)


def measured(policy: AdaptivePolicy = POLICY, least: float = 0.01) -> GradientLimit:
    """One that has just measured `least`, at the instant 1."""
    limit = GradientLimit(policy, Rng(1), 0.0)
    for _ in range(policy.rtt_samples):
        assert limit.measuring
        limit.sample(least, 1.0)
    assert not limit.measuring
    return limit


def test_the_least_is_measured_with_the_lowest_limit() -> None:
    limit = GradientLimit(POLICY, Rng(1), 10.0)
    assert (limit.limit, limit.least) == (3, 0)
    limit.sample(0.5, 10.2)  # sent before the measurement began
    for latency in (0.03, 0.01, 0.02, 0.05, 0.02):
        assert limit.measuring
        limit.sample(latency, 11.0)
    assert not limit.measuring
    assert limit.least == 0.02  # the median
    assert limit.limit == 3


@pytest.mark.parametrize(("latency", "growth"), [(0.01, 1.25), (0.0125, 1.0), (0.02, 0.625), (0.001, 2.0), (1.0, 0.5)])
def test_envoys_formula(latency: float, growth: float) -> None:
    limit = measured(AdaptivePolicy(enabled=True, rtt_samples=5, min_limit=100))
    limit.sample(latency, 1.05)  # within the interval
    assert limit.limit == 100
    limit.sample(latency, 1.11)
    assert limit.limit == max(100, int(100 * growth + sqrt(100 * growth) + 1e-9))


def test_bounds() -> None:
    limit = measured(AdaptivePolicy(enabled=True, rtt_samples=5, min_limit=3, max_limit=20))
    now = 1.0
    for _ in range(50):
        now += 0.2
        limit.sample(0.01, now)
    assert limit.limit == 20
    lowest = 20
    for _ in range(50):
        now += 0.2
        limit.sample(10.0, now)
        lowest = min(lowest, limit.limit)
    assert lowest == 3


def test_measured_anew_in_time_and_then_on_from_where_it_was() -> None:
    limit = measured()
    now = 1.0
    while now < 60.5:
        now += 0.2
        limit.sample(0.01, now)
    before = limit.limit
    assert before > 100
    limit.sample(0.01, 61.1)
    assert limit.measuring
    assert limit.limit == 3
    for _ in range(5):
        limit.sample(0.02, 62.0)
    assert not limit.measuring
    assert (limit.limit, limit.least) == (before, 0.02)


def test_measured_anew_where_the_lowest_limit_does_not_help() -> None:
    limit = measured()
    now = 1.0
    for _ in range(20):
        now += 0.2
        limit.sample(0.1, now)
        if limit.measuring:
            break
    assert limit.measuring


def test_it_finds_what_a_callee_can_do() -> None:
    """A callee of 20 workers, each 10 ms a request, always asked for as much as may be: 10 ms up to 20 at a time, in
    proportion beyond. The limit has to settle where no worker is idle and no more than as many wait as work."""
    limit = measured()
    now = 1.0
    seen = []
    for step in range(400):
        latency = 0.01 * max(1.0, limit.limit / 20)
        for _ in range(5):
            now += 0.025
            limit.sample(latency, now)
        if step > 100 and not limit.measuring:
            seen.append(limit.limit)
    assert min(seen) >= 20
    assert max(seen) <= 40
