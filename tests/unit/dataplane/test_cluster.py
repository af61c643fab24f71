"""The runtime of a service: news put in force without losing what survivors have."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from h2_world import GRPC, answered, run, until, world

from mesh.balance.rng import Rng
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Recorder
from mesh.model import (
    Algorithm,
    BalancePolicy,
    Endpoint,
    Health,
    LatencyOutlier,
    OutlierPolicy,
    RetryPolicy,
    Service,
    TimeoutPolicy,
)


def at(name: str, port: int = 1000, **more: Any) -> Endpoint:
    return Endpoint("cart", name, "127.0.0.1", port, **more)


def made(clock: Any = None) -> Cluster:
    return Cluster(Hub(None, Rng(1), Recorder(), clock or (lambda: 100.0), lambda: 0), "cart")


def test_known_needs_both_words_or_the_word_that_there_is_none() -> None:
    cluster = made()
    assert not cluster.known()
    cluster.update_service(Service("cart"))
    assert not cluster.known()
    cluster.update_endpoints([])
    assert cluster.known()
    gone = made()
    gone.update_service(None)
    assert gone.known()
    assert gone.service is None


def test_survivors_keep_their_state() -> None:
    cluster = made()
    cluster.update_service(Service("cart"))
    cluster.update_endpoints([at("a"), at("b")])
    node = cluster.nodes.by_name["a"]
    for _ in range(3):
        node.begin()
    cluster.update_endpoints([at("a", weight=5), at("c")])
    assert cluster.nodes.by_name["a"] is node
    assert (node.in_flight, node.weight) == (3, 5)
    assert set(cluster.nodes.by_name) == {"a", "c"}


@pytest.mark.parametrize("endpoint", [at("a", weight=0), at("a", health=Health.DRAINING),
                                      at("a", health=Health.UNHEALTHY)])
def test_what_must_not_be_picked_is_not(endpoint: Endpoint) -> None:
    cluster = made()
    cluster.update_service(Service("cart"))
    cluster.update_endpoints([endpoint])
    assert cluster.pick(0, None) is None
    cluster.update_endpoints([endpoint, at("b")])
    assert {cluster.pick(key, None).endpoint.name for key in range(20)} == {"b"}


def test_a_new_policy_replaces_the_picker_and_its_name() -> None:
    cluster = made()
    cluster.update_service(Service("cart", balance=BalancePolicy(Algorithm.ROUND_ROBIN)))
    cluster.update_endpoints([at("a"), at("b")])
    assert cluster.why == "round_robin"
    cluster.update_service(Service("cart", balance=BalancePolicy(Algorithm.WEIGHTED_ROUND_ROBIN),
                                   retry=RetryPolicy(max_attempts=7), timeout=TimeoutPolicy(connect=0.5)))
    assert (cluster.why, cluster.max_attempts, cluster.connect_timeout) == ("weighted_round_robin", 7, 0.5)
    assert cluster.pick(0, None) is not None


def test_what_is_observed_steers_algorithms_that_go_by_latency() -> None:
    cluster = made()
    cluster.update_service(Service("cart", balance=BalancePolicy(Algorithm.PEAK_EWMA)))
    cluster.update_endpoints([at("a"), at("b")])
    slow, fast = (cluster.nodes.by_name[name] for name in "ab")
    assert {cluster.pick(0, None) for _ in range(50)} == {slow, fast}
    cluster.observe(slow, 0.5, True)
    cluster.observe(fast, 0.05, True)
    assert {cluster.pick(0, None) for _ in range(50)} == {fast}
    cluster.update_service(Service("cart", balance=BalancePolicy(Algorithm.ROUND_ROBIN)))
    cluster.observe(fast, 9.0, True)
    assert {cluster.pick(0, None) for _ in range(50)} == {slow, fast}
    assert (slow.latency, fast.latency) == (0.5, 0.05)


def test_a_service_that_was_deleted_and_made_again_has_let_go_of_its_nodes() -> None:
    cluster = made()
    service = Service("cart", balance=BalancePolicy(Algorithm.LEAST_CONNECTIONS))
    cluster.update_service(service)
    cluster.update_endpoints([at("a"), at("b")])
    cluster.pick(0, None)
    old = cluster.balancer
    cluster.update_service(None)
    cluster.update_service(service)
    assert cluster.balancer is not old
    assert old.picker.active == []
    assert cluster.pick(0, None) is not None


def test_an_unchanged_policy_keeps_the_budget() -> None:
    cluster = made()
    service = Service("cart")
    cluster.update_service(service)
    budget = cluster.budget
    cluster.update_service(Service("cart"))
    assert cluster.budget is budget


def test_consecutive_failures_eject_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    hub = Hub(None, Rng(1), Recorder(), lambda: now[0], lambda: 0)
    cluster = Cluster(hub, "cart")
    cluster.update_service(Service("cart", outlier=OutlierPolicy(consecutive_failures=3, base_ejection_time=30,
                                                                 jitter=0.0)))
    cluster.update_endpoints([at("a"), at("b"), at("c")])
    bad = cluster.nodes.by_name["a"]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            cluster.failed(bad, "upstream_reset")
    assert "ejected cart/a for 30 s: 3 failures in a row, the last: upstream_reset" in caplog.text
    assert {cluster.pick(key, None).endpoint.name for key in range(30)} == {"b", "c"}
    now[0] += 31
    hub.touch()
    assert [cluster.pick(key, None).endpoint.name for key in range(50)].count("a") == 1  # the probe
    statistics = cluster.statistics()
    assert statistics["endpoints"]["a"]["ejections"] == 1
    assert "3 failures in a row" in statistics["endpoints"]["a"]["ejected"]
    with caplog.at_level(logging.INFO):
        cluster.succeeded(bad)
    assert "cart/a is back after 31 s" in caplog.text
    assert {cluster.pick(key, None).endpoint.name for key in range(50)} == {"a", "b", "c"}
    assert cluster.statistics()["endpoints"]["a"]["ejected"] is None


def test_an_answer_that_has_begun_ends_an_ejection_a_stream_may_live_for_hours() -> None:
    now = [100.0]
    hub = Hub(None, Rng(1), Recorder(), lambda: now[0], lambda: 0)
    cluster = Cluster(hub, "cart")
    cluster.update_service(Service("cart", outlier=OutlierPolicy(consecutive_failures=1, base_ejection_time=1)))
    cluster.update_endpoints([at("a"), at("b"), at("c")])
    bad = cluster.nodes.by_name["a"]
    cluster.failed(bad)
    cluster.observe(bad, 0.1, True)  # of a request from before
    assert bad.out(now[0])
    now[0] += 2
    hub.touch()
    cluster.observe(bad, 0.1, False)
    assert bad.out(now[0])
    cluster.observe(bad, 0.1, True)
    assert not bad.out(now[0])


def test_latencies_are_added_up_only_where_somebody_compares_them() -> None:
    cluster = made()
    cluster.update_service(Service("cart"))
    cluster.update_endpoints([at("a"), at("b"), at("c")])
    node = cluster.nodes.by_name["a"]
    cluster.observe(node, 0.5, True)
    assert node.timed == 0
    cluster.update_service(Service("cart", outlier=OutlierPolicy(latency=LatencyOutlier(3.0))))
    cluster.observe(node, 0.5, True)
    cluster.observe(node, 0.25, False)
    assert (node.timed, node.spent) == (2, 0.75)


def test_a_success_ends_the_count() -> None:
    cluster = made()
    cluster.update_service(Service("cart", outlier=OutlierPolicy(consecutive_failures=2)))
    cluster.update_endpoints([at("a"), at("b")])
    node = cluster.nodes.by_name["a"]
    for _ in range(5):
        cluster.failed(node)
        cluster.succeeded(node)
    assert node.consecutive_failures == 0
    assert node.ejections == 0


def test_an_endpoint_that_leaves_finishes_what_it_has() -> None:
    async def main() -> None:
        service = Service("cart", balance=BalancePolicy(Algorithm.ROUND_ROBIN))
        async with world(None, None, service=service) as w:
            call = (await w.client()).request(GRPC)
            await until(lambda: w.upstreams[0].calls)
            w.cluster.update_endpoints([w.cluster.endpoints["b"]])
            await asyncio.sleep(0)
            assert not w.upstreams[0].peers[0].lost
            w.upstreams[0].calls[0].answer(b"done")
            await answered(call)
            assert call.body == b"done"
            await until(lambda: w.upstreams[0].peers[0].lost)

    run(main)


def test_an_endpoint_that_moves_is_called_at_its_new_address() -> None:
    async def main() -> None:
        service = Service("cart", balance=BalancePolicy(Algorithm.ROUND_ROBIN))
        async with world(lambda call: call.answer(b"old"), lambda call: call.answer(b"new"), service=service) as w:
            w.cluster.update_endpoints([at("a", w.upstreams[0].port)])
            client = await w.client()
            assert (await answered(client.request(GRPC))).body == b"old"
            w.cluster.update_endpoints([at("a", w.upstreams[1].port)])
            assert (await answered(client.request(GRPC))).body == b"new"

    run(main)


def test_who_can_not_be_reached_and_may_not_be_ejected_is_avoided() -> None:
    """One of three may be ejected. The other one that is gone is tried once in a while: after 1 s, 1.6 s, 2.56 s."""
    now = 100.0
    cluster = made(lambda: now)
    cluster.update_service(Service("cart", balance=BalancePolicy(Algorithm.ROUND_ROBIN),
                                   outlier=OutlierPolicy(consecutive_failures=2, base_ejection_time=300.0)))
    cluster.update_endpoints([at("a"), at("b"), at("c")])
    a, b = cluster.nodes.by_name["a"], cluster.nodes.by_name["b"]

    def picked() -> set[str]:
        nodes = [cluster.pick(0, None) for _ in range(6)]
        return {node.endpoint.name for node in nodes if node is not None}

    for _ in range(2):
        cluster.failed(a, "upstream_connect_failed")
    assert cluster.ejected == 1
    cluster.failed(b, "not_delivered")
    assert picked() == {"b", "c"}  # once is no row
    for seconds in (1.0, 1.6, 2.56):
        cluster.failed(b, "not_delivered")
        assert cluster.ejected == 1
        assert picked() == {"c"}
        now += seconds - 0.01
        cluster.hub.touch()
        assert picked() == {"c"}
        now += 0.02
        cluster.hub.touch()
        assert picked() == {"b", "c"}
    cluster.succeeded(b)
    cluster.failed(b, "not_delivered")
    assert picked() == {"b", "c"}


def test_who_can_not_be_reached_is_avoided_in_panic_too() -> None:
    """The one with most of the weight is gone, so that ejections are not believed: of it that is all the same."""
    now = 100.0
    cluster = made(lambda: now)
    cluster.update_service(Service("cart", outlier=OutlierPolicy(consecutive_failures=2, base_ejection_time=300.0)))
    cluster.update_endpoints([at("a", weight=5), at("b")])
    a = cluster.nodes.by_name["a"]

    def picked() -> set[str]:
        nodes = [cluster.pick(0, None) for _ in range(30)]
        return {node.endpoint.name for node in nodes if node is not None}

    for _ in range(2):
        cluster.failed(a, "not_delivered")
    assert cluster.ejected == 1
    assert picked() == {"a", "b"}
    cluster.failed(a, "status 503")
    assert picked() == {"a", "b"}
    cluster.failed(a, "not_delivered")
    assert picked() == {"b"}
    now += 1.1
    cluster.hub.touch()
    assert picked() == {"a", "b"}


def test_who_fails_otherwise_and_may_not_be_ejected_is_not_avoided() -> None:
    cluster = made()
    cluster.update_service(Service("cart", outlier=OutlierPolicy(consecutive_failures=1, base_ejection_time=300.0)))
    cluster.update_endpoints([at("a"), at("b"), at("c")])
    cluster.failed(cluster.nodes.by_name["a"], "status 503")
    cluster.failed(cluster.nodes.by_name["b"], "status 503")
    assert cluster.ejected == 1
    assert {node.endpoint.name for node in (cluster.pick(0, None) for _ in range(40)) if node is not None} == {"b", "c"}
