"""Measured percentiles beside exact ones, how they forget, and the delay that a policy makes of them."""

from __future__ import annotations

import math

import pytest

from mesh.balance.rng import Rng
from mesh.model import HedgePolicy
from mesh.resilience.hedge import Hedging, LatencyHistogram

# Half a bucket of an eighth of a doubling, either way.
ERROR = 2 ** (1 / 16) * 1.000001


@pytest.mark.parametrize("draw", [
    lambda u: 0.001 + 0.099 * u, lambda u: -0.01 * math.log(1 - u), lambda u: 0.001 / (1 - u) ** 0.8,
    lambda u: 0.002 if u < 0.9 else 0.5], ids=["uniform", "exponential", "pareto", "two"])
@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.95, 0.99])
def test_a_percentile_is_off_by_half_a_bucket(draw: object, ratio: float) -> None:
    rng = Rng(5)
    samples = [draw(rng.uniform()) for _ in range(5000)]  # type: ignore[operator]
    histogram = LatencyHistogram()
    for sample in samples:
        histogram.add(sample, 1.0)
    exact = sorted(samples)[math.ceil(ratio * len(samples)) - 1]
    assert exact / ERROR <= histogram.percentile(ratio, 1.0) <= exact * ERROR


def test_the_ends_of_the_range() -> None:
    histogram = LatencyHistogram()
    assert histogram.percentile(0.5, 0.0) == 0.0
    for least in (0.0, -1.0, 1e-9):
        histogram.add(least, 0.0)
    assert histogram.percentile(1.0, 0.0) == pytest.approx(1e-5, rel=0.05)
    histogram.add(1e9, 0.0)
    assert 150 < histogram.percentile(1.0, 0.0) < 180
    assert histogram.total == 4


def test_what_is_older_counts_less_and_less() -> None:
    histogram = LatencyHistogram()
    for _ in range(800):
        histogram.add(0.1, 100.0)
    assert histogram.total == 800
    histogram.percentile(0.5, 106.9)
    assert histogram.total == 800
    histogram.percentile(0.5, 107.0)
    assert histogram.total == 400
    histogram.add(0.1, 121.5)  # two more turns have passed
    assert histogram.total == 101
    for _ in range(200):
        histogram.add(0.001, 121.5)
    assert histogram.percentile(0.5, 121.5) < 0.0011
    histogram.percentile(0.5, 1e6)
    assert histogram.total < 1e-9


@pytest.mark.parametrize(("ratio", "needed"), [(0.5, 10), (0.95, 100), (0.99, 500)])
def test_no_delay_before_enough_is_known(ratio: float, needed: int) -> None:
    hedging = Hedging(HedgePolicy(ratio, 0.001))
    assert hedging.delay(0.0) == -1.0
    for _ in range(needed - 1):
        hedging.observe(0.05, 1.0)
    assert hedging.delay(1.0) == -1.0
    for _ in range(17):
        hedging.observe(0.05, 1.0)
    assert hedging.delay(1.0) == pytest.approx(0.05, rel=0.05)
    assert hedging.delay(60.0) == -1.0, "what was known is forgotten"


def test_never_sooner_than_the_policy_says() -> None:
    hedging = Hedging(HedgePolicy(0.9, 0.25))
    for _ in range(100):
        hedging.observe(0.05, 1.0)
    assert hedging.delay(1.0) == 0.25


def test_the_delay_follows_the_service() -> None:
    hedging = Hedging(HedgePolicy(0.9, 0.001))
    for _ in range(200):
        hedging.observe(0.01, 1.0)
    assert hedging.delay(1.0) == pytest.approx(0.01, rel=0.05)
    for n in range(400):
        hedging.observe(0.1, 8.0 + n / 100)
    assert hedging.delay(12.0) == pytest.approx(0.1, rel=0.05)


def test_a_share_of_requests_is_slower_than_the_delay() -> None:
    """What the percentile means: about one request in twenty waits for longer, whatever the distribution."""
    rng = Rng(9)
    hedging = Hedging(HedgePolicy(0.95, 0.001))
    slower = asked = 0
    for n in range(20_000):
        now = n / 1000
        latency = -0.02 * math.log(1 - rng.uniform())
        delay = hedging.delay(now)
        if delay > 0:
            asked += 1
            slower += latency > delay
        # One that is overtaken is known to have taken at least the delay.
        hedging.observe(min(latency, delay + 0.001) if delay > 0 else latency, now)
    assert asked > 19_000
    assert 0.03 < slower / asked < 0.07
