"""TokenBuckets against a bucket that is filled and emptied, and its memory."""

from __future__ import annotations

import random

import pytest

from mesh.resilience.token_bucket import TokenBuckets


class Bucket:
    """The textbook's."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst, self.tokens, self.at = rate, burst, burst, 0.0

    def take(self, now: float) -> float:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens >= 1 - 1e-6:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / self.rate


@pytest.mark.parametrize(("rate", "burst"), [(1, 1), (10, 1), (100, 7), (0.5, 3), (3.7, 100)])
def test_as_a_bucket_does(rate: float, burst: int) -> None:
    rng = random.Random(11)
    buckets, model, now = TokenBuckets(rate, burst), Bucket(rate, burst), 0.0
    for _ in range(2000):
        now += rng.choice([0, rng.random() / rate, 3 * rng.random() / rate])
        assert buckets.wait("k", now) == pytest.approx(buckets.take("k", now), abs=1e-6) == pytest.approx(
            model.take(now), abs=1e-5)


def test_burst_then_rate_and_when_to_come_again() -> None:
    buckets = TokenBuckets(10, 3)
    assert [buckets.take("a", 5.0) for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]
    assert buckets.take("a", 5.05) == pytest.approx(0.05)
    assert buckets.take("a", 5.1) == 0
    assert buckets.take("a", 5.1) == pytest.approx(0.1)


def test_each_key_has_its_own() -> None:
    buckets = TokenBuckets(1, 1, 10)
    assert [buckets.take(key, 1.0) for key in ("a", "b", None, "a")] == [0, 0, 0, 1]


def test_memory_is_bounded_and_who_asked_last_the_longest_ago_is_forgotten() -> None:
    buckets = TokenBuckets(0.1, 1, 3)
    for key in "abc":
        assert buckets.take(key, 0.0) == 0
    assert buckets.take("a", 1.0) == pytest.approx(9)  # refused, but heard of
    assert buckets.take("d", 1.0) == 0
    assert len(buckets) == 3
    assert buckets.forgotten == 1
    assert buckets.take("a", 1.0) > 0
    assert buckets.take("b", 1.0) == 0  # forgotten: a full bucket again
    for n in range(1000):
        buckets.take(n, 100.0 + 20 * n)
    assert len(buckets) == 3
    assert buckets.forgotten < 10  # what was full again is no loss


@pytest.mark.parametrize(("rate", "burst", "keys"), [(0, 1, 1), (-1, 1, 1), (float("inf"), 1, 1), (float("nan"), 1, 1),
                                                     (1, 0.5, 1), (1, float("nan"), 1), (1, 1, 0)])
def test_values_out_of_range(rate: float, burst: float, keys: int) -> None:
    with pytest.raises(ValueError, match="is not"):
        TokenBuckets(rate, burst, keys)
