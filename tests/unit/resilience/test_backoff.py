"""Backoff: bounds for any policy, growth, jitter."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.balance.rng import Rng
from mesh.resilience.backoff import Backoff


@given(st.floats(0.001, 60), st.floats(1, 1000), st.integers(1, 10_000), st.integers(0, 2**64 - 1))
def test_a_delay_is_within_0_and_its_ceiling(base: float, factor: float, attempt: int, seed: int):
    backoff = Backoff(base, base * factor)
    ceiling = min(base * factor, base * 2.0 ** min(attempt - 1, 1000))
    assert backoff.ceiling(attempt) == ceiling
    assert 0.0 <= backoff.delay(attempt, Rng(seed)) < ceiling


def test_the_defaults_double_up_to_the_maximum():
    backoff = Backoff(0.025, 0.25)
    assert [backoff.ceiling(n) for n in range(1, 7)] == [0.025, 0.05, 0.1, 0.2, 0.25, 0.25]


def test_the_jitter_is_full_and_even():
    """Mean of 20,000 uniform draws: half the ceiling; five standard deviations of it are 1.02 % of the ceiling."""
    backoff, rng = Backoff(0.1, 10.0), Rng(1)
    delays = [backoff.delay(3, rng) for _ in range(20_000)]
    assert abs(sum(delays) / len(delays) - 0.2) < 0.4 * 0.0102
    assert min(delays) < 0.001
    assert max(delays) > 0.399


@pytest.mark.parametrize(("base", "maximum"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (1.0, math.nan),
                                               (1.0, math.inf), (math.inf, math.inf)])
def test_what_is_no_policy_is_refused(base: float, maximum: float):
    with pytest.raises(ValueError, match="base"):
        Backoff(base, maximum)


@pytest.mark.parametrize("attempt", [0, -1])
def test_retries_are_counted_from_1(attempt: int):
    with pytest.raises(ValueError, match="counted from 1"):
        Backoff(0.1, 1.0).delay(attempt, Rng(1))
