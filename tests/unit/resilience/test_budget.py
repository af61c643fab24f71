"""Budget: exact ratios, the reserve, the window, and a bound that holds for any history."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.resilience.budget import Budget

RATIOS = [0.1, 0.25, 0.5, 0.75, 0.99]


@pytest.mark.parametrize("ratio", [0.0, *RATIOS, 0.2, 0.29, 0.6, 1.0])
@pytest.mark.parametrize("n", [1, 3, 10, 100, 1000, 1337])
def test_the_ratio_is_exact_to_the_last_retry(ratio: float, n: int):
    """Rounding a reciprocal to whole tokens makes 0.6 or 0.75 allow 100 %. Here it is floor(ratio * n), exactly."""
    budget = Budget(ratio, 0.0, 10.0)
    for _ in range(n):
        budget.deposit(5.0)
    allowed = 0
    while budget.withdraw(5.0):
        allowed += 1
    assert allowed == math.floor(round(ratio * n, 6))


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_retry_with_each_request_gets_the_ratio(ratio: float):
    budget = Budget(ratio, 0.0, 10.0)
    allowed = 0
    for i in range(10_000):
        budget.deposit(i * 0.0001)
        allowed += budget.withdraw(i * 0.0001)
    assert ratio * 10_000 - 1 <= allowed <= ratio * 10_000


def test_the_reserve_is_there_from_the_start_and_once_per_window():
    budget = Budget(0.2, 10.0, 10.0)
    assert budget.level(0.0) == 100.0
    assert sum(budget.withdraw(0.0) for _ in range(500)) == 100
    assert not budget.withdraw(9.0)
    assert not budget.withdraw(10.9)
    assert sum(budget.withdraw(11.0) for _ in range(500)) == 100


def test_a_fraction_of_the_reserve_counts():
    budget = Budget(0.25, 0.05, 10.0)
    assert not budget.withdraw(0.0)
    budget.deposit(0.0)
    assert budget.level(0.0) == 0.75
    assert not budget.withdraw(0.0)
    budget.deposit(0.0)
    assert budget.withdraw(0.0)
    assert budget.level(0.0) == 0.0
    assert not budget.withdraw(0.0)


def test_a_refusal_costs_nothing():
    budget = Budget(0.5, 0.0, 10.0)
    budget.deposit(0.0)
    assert not any(budget.withdraw(0.0) for _ in range(100))
    budget.deposit(0.0)
    assert budget.withdraw(0.0)


def test_requests_are_forgotten_between_1_and_1_1_windows_later():
    budget = Budget(1.0, 0.0, 10.0)
    budget.deposit(0.5)
    assert budget.level(10.5) == 1.0
    assert budget.level(11.999) == 0.0
    assert budget.level(1e9) == 0.0


@pytest.mark.parametrize("window", [1.0, 3.3, 10.0, 60.0])
def test_a_steady_load_keeps_a_steady_allowance(window: float):
    budget = Budget(0.2, 0.0, window)
    allowed = 0
    requests = 50 * 20
    for i in range(requests):
        now = 12_345.678 + i * window / 50
        budget.deposit(now)
        allowed += budget.withdraw(now)
    assert requests * 0.2 - 1 <= allowed <= requests * 0.2


@given(st.floats(0, 1), st.floats(0, 3), st.floats(0.5, 20),
       st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=300))
def test_no_window_ever_sees_more_than_its_share(ratio: float, per_second: float, window: float,
                                                 events: list[tuple[bool, float]]):
    """In any span of one window: retries <= ratio * first attempts (of it and of the 1.1 windows before) + reserve."""
    budget = Budget(ratio, per_second, window)
    now = 1000.0
    deposits: list[float] = []
    retries: list[float] = []
    for is_retry, wait in events:
        now += wait
        if not is_retry:
            budget.deposit(now)
            deposits.append(now)
        elif budget.withdraw(now):
            retries.append(now)
            in_window = sum(now - window < at <= now for at in retries)
            paid_for = sum(now - 1.1 * window - 1e-6 <= at for at in deposits)
            assert in_window <= ratio * paid_for + per_second * window + 1e-6


@pytest.mark.parametrize(("ratio", "per_second", "window"), [
    (-0.1, 1, 1), (1.1, 1, 1), (math.nan, 1, 1), (math.inf, 1, 1),
    (0.2, -1, 1), (0.2, math.nan, 1), (0.2, math.inf, 1),
    (0.2, 1, 0), (0.2, 1, -1), (0.2, 1, math.nan), (0.2, 1, math.inf)])
def test_what_is_no_budget_is_refused(ratio: float, per_second: float, window: float):
    with pytest.raises(ValueError, match=r"ratio|min_per_second|window"):
        Budget(ratio, per_second, window)
