"""The engine against results that are known without it."""

from __future__ import annotations

import pytest

from mesh.model import Algorithm, BalancePolicy, Endpoint, OutlierPolicy, RetryPolicy, Service
from mesh.simulate.engine import Outcome, Server, Simulation, constant, exponential, mean, percentile


def endpoints(n: int) -> list[Endpoint]:
    return [Endpoint("cart", f"e{i:02}", "127.0.0.1", 5000 + i) for i in range(n)]


def simulation(algorithm: Algorithm, servers: list[Server], rate: float, seed: int = 1, callers: int = 1,
               **policies: object) -> Simulation:
    policies.setdefault("outlier", OutlierPolicy(consecutive_failures=0))
    fleet = endpoints(len(servers))
    return Simulation(Service("cart", balance=BalancePolicy(algorithm), **policies), fleet,
                      {endpoint.name: server for endpoint, server in zip(fleet, servers, strict=True)}, rate, seed,
                      callers)


def test_round_robin_takes_the_mean_of_the_endpoints_times():
    """T = sum(Ti) / N where nothing waits: each endpoint is called as often as any other."""
    times = [0.01, 0.02, 0.03, 0.1]
    result = simulation(Algorithm.ROUND_ROBIN, [Server(constant(time), 10_000) for time in times], 1000.0).run(8.0)
    done = result.between(0.0, 7.0)
    assert mean(done) == pytest.approx(sum(times) / 4, rel=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("utilisation", [0.3, 0.6])
def test_one_server_is_the_m_m_1_queue(utilisation: float):
    """Mean time in system = service time / (1 - utilisation). The mean of correlated times is rough: within 10 %."""
    result = simulation(Algorithm.ROUND_ROBIN, [Server(exponential(0.001))], utilisation * 1000).run(60.0)
    assert mean(result.outcomes) == pytest.approx(0.001 / (1 - utilisation), rel=0.1)
    assert len(result.outcomes) == pytest.approx(60_000 * utilisation, rel=0.03)


@pytest.mark.slow
def test_two_choices_against_one():
    """Mitzenmacher: the longest queue of random grows as log n / log log n, that of two choices as log log n."""
    longest = {}
    for algorithm in (Algorithm.RANDOM, Algorithm.POWER_OF_TWO):
        servers = [Server(exponential(0.01)) for _ in range(50)]
        simulation(algorithm, servers, 0.9 * 50 / 0.01).run(4.0)
        longest[algorithm] = max(server.longest for server in servers)
    assert longest[Algorithm.POWER_OF_TWO] <= 12
    assert longest[Algorithm.RANDOM] >= 3 * longest[Algorithm.POWER_OF_TWO]


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.2, 1.1, 1.3), (1.0, 1.9, 2.05)])
def test_the_budget_bounds_what_retries_add(ratio: float, low: float, high: float):
    """Everything fails, two attempts are allowed. Nearly without a floor the budget lets `ratio` of them through."""
    servers = [Server(constant(0.001), 100) for _ in range(4)]
    for server in servers:
        server.alive = False
    retry = RetryPolicy(max_attempts=2, budget_ratio=ratio, budget_min_per_second=0.0)
    result = simulation(Algorithm.ROUND_ROBIN, servers, 500.0, retry=retry).run(10.0)
    assert low < sum(result.attempts.values()) / len(result.outcomes) < high
    assert result.failed() == len(result.outcomes)


def test_the_same_seed_is_the_same_run_and_another_is_not():
    def outcomes(seed: int) -> list[Outcome]:
        servers = [Server(exponential(0.01)) for _ in range(3)]
        return simulation(Algorithm.POWER_OF_TWO, servers, 200.0, seed, callers=2).run(1.0).outcomes

    assert outcomes(1) == outcomes(1)
    assert outcomes(1) != outcomes(2)


def test_in_parts_or_in_one_go():
    def made() -> Simulation:
        return simulation(Algorithm.RANDOM, [Server(exponential(0.01)) for _ in range(3)], 200.0)

    whole, parts = made(), made()
    whole.run(1.0)
    for i in range(1, 11):
        parts.run(i / 10)
    assert parts.result.outcomes == whole.result.outcomes


def test_what_dies_in_the_middle_fails_what_it_has_and_refuses_the_rest():
    server = Server(constant(0.1), 100)
    made = simulation(Algorithm.ROUND_ROBIN, [server], 100.0, retry=RetryPolicy(max_attempts=1))

    def die() -> None:
        server.alive = False

    made.schedule(1.0, die)
    result = made.run(2.0)
    assert all(outcome.ok for outcome in result.between(0.0, 0.9))
    assert not any(outcome.ok for outcome in result.between(0.9, 1.9))
    assert {round(outcome.latency, 6) for outcome in result.between(1.0, 1.9)} == {0.001}
    with pytest.raises(ValueError, match="is past"):
        made.schedule(1.5, die)


def test_no_endpoint_is_a_failure_at_once():
    made = simulation(Algorithm.RANDOM, [Server(constant(0.1))], 100.0)
    made.set_endpoints([])
    result = made.run(1.0)
    assert result.outcomes
    assert all(not outcome.ok and outcome.latency == 0 and outcome.endpoint == "" for outcome in result.outcomes)


def test_percentiles():
    outcomes = [Outcome(0.0, latency / 100, "a", 1, True) for latency in range(100, 0, -1)]
    assert [percentile(outcomes, ratio) for ratio in (0.01, 0.5, 0.99, 1.0)] == [0.01, 0.5, 0.99, 1.0]
    with pytest.raises(ValueError, match="of nothing"):
        percentile([], 0.5)
