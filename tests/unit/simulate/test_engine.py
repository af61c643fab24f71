"""The engine against results that are known without it."""

from __future__ import annotations

import pytest

from mesh.model import (
    Algorithm,
    BalancePolicy,
    Endpoint,
    Health,
    HedgePolicy,
    OutlierPolicy,
    Protocol,
    RetryPolicy,
    Service,
    TimeoutPolicy,
)
from mesh.simulate.engine import Outcome, Server, Simulation, State, constant, exponential, mean, percentile


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


def test_the_fullest_bin_of_two_choices_and_of_one():
    """n balls into n bins (nothing is ever answered): the fullest has log n / log log n (1 + o(1)) at random (here 4,
    and some more: 5 to 9 in 99 % of the cases), log log n / log 2 + O(1) with the better of two (here 3, or 1 more).

    Azar, Broder, Karlin, Upfal: Balanced Allocations, 1994; Mitzenmacher's thesis, 1996, has tables: 4 for n = 2^12.
    """
    n, fullest = 4096, {}
    for algorithm in (Algorithm.RANDOM, Algorithm.POWER_OF_TWO):
        arrivals = iter(i / n for i in range(n))
        fleet = endpoints(n)
        servers = {endpoint.name: Server(constant(1000.0)) for endpoint in fleet}
        Simulation(Service("cart", balance=BalancePolicy(algorithm)), fleet, servers, 1.0, 1,
                   arrivals=lambda now, rng, arrivals=arrivals: next(arrivals, None)).run(1.0)
        assert sum(server.longest for server in servers.values()) >= n / 2
        fullest[algorithm] = max(server.longest for server in servers.values())
    assert 5 <= fullest[Algorithm.RANDOM] <= 9
    assert fullest[Algorithm.POWER_OF_TWO] <= 4


def test_a_storm_without_a_budget_and_none_with_it():
    """Every replica fails. Without a budget each request makes all the attempts it may; with it, 20 % more than
    requests, but for the floor of one a second, which 500 a second don't see."""
    attempts = {}
    for ratio, floor in ((0.2, 1.0), (1.0, 10_000.0)):
        servers = [Server(constant(0.001), 100) for _ in range(4)]
        for server in servers:
            server.state = State.FAILING
        retry = RetryPolicy(max_attempts=4, budget_ratio=ratio, budget_min_per_second=floor)
        result = simulation(Algorithm.ROUND_ROBIN, servers, 500.0, retry=retry).run(10.0)
        attempts[ratio] = sum(result.attempts.values()) / len(result.outcomes)
        assert {outcome.reason for outcome in result.outcomes} == {"upstream_status"}
    assert attempts[0.2] < 1.3
    assert attempts[1.0] > 3.9


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


def put(name: str, state: State, at: float, made: Simulation) -> None:
    made.schedule(at, lambda: made.put(name, state))


@pytest.mark.parametrize(("state", "reason"), [
    (State.DEAD, "upstream_connect_failed"), (State.FAILING, "upstream_status"), (State.RESETTING, "upstream_reset")])
def test_each_state_has_its_reason_and_ends(state: State, reason: str):
    made = simulation(Algorithm.ROUND_ROBIN, [Server(constant(0.01), 100)], 200.0, retry=RetryPolicy(max_attempts=1))
    put("e00", state, 1.0, made)
    put("e00", State.UP, 2.0, made)
    result = made.run(3.0)
    assert all(outcome.ok for outcome in [*result.between(0.0, 0.98), *result.between(2.0, 2.9)])
    assert {outcome.reason for outcome in result.between(1.0, 1.99)} == {reason}


def test_what_a_dying_server_has_is_lost_at_once():
    """One worker, four calls: one worked on, three waiting. None is answered twice, and it comes back with no work."""
    server = Server(constant(1.0))
    arrivals = iter([0.1, 0.2, 0.3, 0.4, 2.0])
    made = simulation(Algorithm.ROUND_ROBIN, [server], 1.0, retry=RetryPolicy(max_attempts=1))
    made.arrivals = lambda now, rng: next(arrivals, None)
    made._events.clear()
    made._expect()
    put("e00", State.DEAD, 0.5, made)
    put("e00", State.UP, 1.0, made)
    result = made.run(4.0)
    assert [(outcome.reason, round(outcome.at + outcome.latency, 6)) for outcome in result.outcomes] == [
        ("upstream_connection_lost", 0.5)] * 4 + [("", 3.0)]
    assert (server.busy, len(server.waiting), len(server.working), server.answered) == (0, 0, 0, 1)


def test_a_silent_server_keeps_what_it_has_until_it_is_back():
    server = Server(constant(0.1), 2)
    made = simulation(Algorithm.ROUND_ROBIN, [server], 20.0)
    put("e00", State.SILENT, 1.0, made)
    put("e00", State.UP, 2.0, made)
    result = made.run(4.0)
    assert not [outcome for outcome in result.outcomes if 1.0 < outcome.at + outcome.latency < 2.0]
    late = [outcome for outcome in result.outcomes if 0.95 < outcome.at < 1.9]
    assert len(late) > 10
    assert all(outcome.ok and outcome.at + outcome.latency >= 2.0 for outcome in late)
    assert (server.busy, len(server.held)) <= (2, 0)


def test_the_time_limit_ends_what_is_silent_and_nothing_is_left_open():
    servers = [Server(constant(0.01), 4), Server(constant(0.01), 4)]
    made = simulation(Algorithm.ROUND_ROBIN, servers, 100.0, timeout=TimeoutPolicy(request=0.25))
    put("e00", State.SILENT, 1.0, made)
    made.run(2.0)
    result = made.end(10.0)
    overdue = [outcome for outcome in result.outcomes if not outcome.ok]
    assert len(overdue) > 20
    assert {(outcome.reason, round(outcome.latency, 6), outcome.endpoint) for outcome in overdue} == {
        ("deadline_exceeded", 0.25, "e00")}
    assert all(node.in_flight == 0 for caller in made.callers for node in caller.nodes.nodes)
    # What was given up before a worker took it is not worked off when the server comes back.
    made.put("e00", State.UP)
    assert servers[0].busy <= 4


def test_what_is_open_at_the_end_is_unfinished():
    made = simulation(Algorithm.ROUND_ROBIN, [Server(constant(0.01))], 50.0)
    put("e00", State.SILENT, 1.0, made)
    made.run(2.0)
    result = made.end(5.0)
    waiting = [outcome for outcome in result.outcomes if outcome.reason == "unfinished"]
    assert set(waiting) >= set(result.between(1.0, 2.0))
    assert len(waiting) > 20
    assert all(outcome.latency == pytest.approx(7.0 - outcome.at) and not outcome.ok for outcome in waiting)
    assert not result.between(2.0, 100.0), "no request comes after the end"


def test_only_what_may_run_twice_is_repeated_after_a_reset():
    for method, attempts in ((b"GET", 3), (b"POST", 1)):
        servers = [Server(constant(0.01)), Server(constant(0.01)), Server(constant(0.01))]
        made = simulation(Algorithm.ROUND_ROBIN, servers, 20.0)
        made.method = method
        for server in servers:
            server.state = State.RESETTING
        assert {outcome.attempts for outcome in made.run(2.0).outcomes} == {attempts}


def test_an_attempt_that_takes_too_long_is_made_again_elsewhere():
    servers = [Server(constant(0.01), 100), Server(constant(0.01), 100)]
    servers[0].state = State.SILENT
    made = simulation(Algorithm.ROUND_ROBIN, servers, 20.0, timeout=TimeoutPolicy(per_try=0.1))
    made.run(2.0)
    result = made.end(5.0)
    assert result.failed() == 0
    assert {outcome.attempts for outcome in result.outcomes} == {1, 2}
    # 0.1 s, a pause of 25 ms at most, 0.01 s
    assert all(0.11 <= outcome.latency <= 0.136 for outcome in result.outcomes if outcome.attempts == 2)
    assert all(node.in_flight == 0 for node in made.callers[0].nodes.nodes)


def test_a_copy_of_what_is_slow_cuts_the_tail():
    """One of four takes ten times as long: after 20 ms a copy goes elsewhere and takes 10. A quarter of 600 requests
    have one."""
    tails = {}
    for ratio in (0.0, 0.7):
        servers = [Server(constant(0.01 if i else 0.1), 100) for i in range(4)]
        retry = RetryPolicy(hedge=HedgePolicy(ratio, min_delay=0.02), budget_ratio=1.0)
        made = simulation(Algorithm.ROUND_ROBIN, servers, 100.0, retry=retry)
        made.run(6.0)
        result = made.end(5.0)
        assert all(node.in_flight == 0 for node in made.callers[0].nodes.nodes)
        assert result.failed() == 0
        tails[ratio] = percentile(result.between(3.0, 6.0), 0.9)
    assert tails[0.0] == pytest.approx(0.1)
    assert tails[0.7] == pytest.approx(0.03)
    assert 100 < result.retries["hedge"] < 200


def test_http_statuses_are_those_of_the_policy():
    for statuses, attempts in ((frozenset((503,)), 3), (frozenset((502,)), 1)):
        servers = [Server(constant(0.01)), Server(constant(0.01))]
        for server in servers:
            server.state = State.FAILING
        made = simulation(Algorithm.ROUND_ROBIN, servers, 20.0, retry=RetryPolicy(statuses=statuses),
                          protocol=Protocol.HTTP1)
        assert {outcome.attempts for outcome in made.run(2.0).outcomes} == {attempts}


def test_ejections_are_counted():
    servers = [Server(constant(0.001), 100) for _ in range(4)]
    servers[0].state = State.DEAD
    result = simulation(Algorithm.ROUND_ROBIN, servers, 500.0, callers=2, outlier=OutlierPolicy()).run(3.0)
    assert result.ejections == {"e00": 2}
    assert result.failed() == 0
    assert result.retries == {"not sent": 10}


def test_all_draining_is_no_healthy_upstream():
    made = simulation(Algorithm.RANDOM, [Server(constant(0.1))], 100.0)
    made.set_endpoints([Endpoint("cart", "e00", "127.0.0.1", 1, health=Health.DRAINING)])
    assert {outcome.reason for outcome in made.run(1.0).outcomes} == {"no_healthy_upstream"}


def test_no_endpoint_is_a_failure_at_once():
    made = simulation(Algorithm.RANDOM, [Server(constant(0.1))], 100.0)
    made.set_endpoints([])
    result = made.run(1.0)
    assert result.outcomes
    assert all(not outcome.ok and outcome.latency == 0 and outcome.endpoint == "" for outcome in result.outcomes)
    assert {outcome.reason for outcome in result.outcomes} == {"no_endpoints"}


def test_percentiles():
    outcomes = [Outcome(0.0, latency / 100, "a", 1, True) for latency in range(100, 0, -1)]
    assert [percentile(outcomes, ratio) for ratio in (0.01, 0.5, 0.99, 1.0)] == [0.01, 0.5, 0.99, 1.0]
    with pytest.raises(ValueError, match="of nothing"):
        percentile([], 0.5)
