"""Outlier: what ejects, for how long, how many at a time, and what ends it."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.balance.ejection import Outlier, median_without, to_blame
from mesh.balance.node import Node, NodeSet
from mesh.balance.rng import Rng
from mesh.model import (
    Endpoint,
    FailureRatioOutlier,
    Health,
    LatencyOutlier,
    OutlierPolicy,
    SuccessRateOutlier,
)

POLICY = OutlierPolicy(consecutive_failures=3, base_ejection_time=10.0, max_ejection_time=25.0, max_ejection_ratio=0.5)


def fail(outlier: Outlier, node: Node, times: int, now: float) -> list[bool]:
    return [outlier.on_result(node, False, now) for _ in range(times)]


def test_the_threshold_ejects_once(node_set):
    nodes = node_set([1, 1, 1, 1])
    outlier = Outlier(POLICY, nodes)
    node = nodes.nodes[0]
    assert fail(outlier, node, 5, 100.0) == [False, False, True, False, False]
    assert (node.ejections, node.ejected_until, node.consecutive_failures) == (1, 110.0, 3)


def test_a_success_ends_the_row(node_set):
    nodes = node_set([1, 1])
    outlier = Outlier(POLICY, nodes)
    node = nodes.nodes[0]
    for _ in range(10):
        assert fail(outlier, node, 2, 0.0) == [False, False]
        assert outlier.on_result(node, True, 0.0) is False
    assert node.consecutive_failures == 0


def test_one_failure_after_the_return_ejects_again_and_for_longer(node_set):
    nodes = node_set([1, 1])
    outlier = Outlier(POLICY, nodes)
    node = nodes.nodes[0]
    lasted = []
    now = 0.0
    fail(outlier, node, 2, now)
    for _ in range(4):
        assert outlier.on_result(node, False, now) is True
        lasted.append(node.ejected_until - now)
        now = node.ejected_until
    assert lasted == [10.0, 20.0, 25.0, 25.0]


def test_a_row_of_ejections_shrinks_by_one_with_each_interval_that_it_is_up(node_set):
    nodes = node_set([1, 1])
    outlier = Outlier(replace(POLICY, interval=5.0, max_ejection_time=100.0), nodes)
    node = nodes.nodes[0]
    lasted = []
    now = 0.0
    for up in (0.0, 4.9, 5.0, 9.9, 15.0, 1000.0):
        now += up
        fail(outlier, node, 3, now)
        lasted.append(node.ejected_until - now)
        now = node.ejected_until
        outlier.on_result(node, True, now)
        assert (node.ejected_until, node.held, node.consecutive_failures) == (0.0, False, 0)
    assert lasted == [10.0, 20.0, 20.0, 20.0, 10.0, 10.0]


def test_a_late_success_does_not_bring_it_back_early(node_set):
    nodes = node_set([1, 1])
    outlier = Outlier(POLICY, nodes)
    node = nodes.nodes[0]
    fail(outlier, node, 3, 0.0)
    assert outlier.on_result(node, True, 5.0) is False
    assert (node.ejections, node.ejected_until, node.consecutive_failures) == (1, 10.0, 0)


@pytest.mark.parametrize(("ratio", "n", "most"), [(0.0, 10, 1), (0.1, 10, 1), (0.1, 19, 1), (0.1, 20, 2), (0.5, 5, 2),
                                                  (0.29, 100, 29), (1.0, 4, 4), (0.1, 1, 1), (1.0, 1, 1)])
def test_how_many_may_be_out(ratio: float, n: int, most: int, node_set):
    nodes = node_set([1] * n)
    outlier = Outlier(OutlierPolicy(consecutive_failures=1, max_ejection_ratio=ratio, half_open=False), nodes)
    assert sum(outlier.on_result(node, False, 0.0) for node in nodes.nodes) == most
    # The next goes as soon as one is back: at its next failure.
    out = [node for node in nodes.nodes if node.ejected_until > 0.0]
    out[0].ejected_until = 1.0
    rest = [node for node in nodes.nodes if node not in out]
    if rest:
        assert outlier.on_result(rest[0], False, 0.5) is False
        assert outlier.on_result(rest[0], False, 1.0) is True


def test_who_waits_for_its_probe_counts_as_out(node_set):
    nodes = node_set([1] * 4)
    outlier = Outlier(replace(POLICY, max_ejection_ratio=0.25), nodes)
    a, b, *_ = nodes.nodes
    fail(outlier, a, 3, 0.0)
    assert not any(fail(outlier, b, 3, 50.0))
    outlier.on_result(a, True, 50.0)
    assert fail(outlier, b, 1, 50.0) == [True]


def test_only_healthy_nodes_count_and_are_ejected(endpoints, node_set):
    nodes = node_set([1, 1, 1, 0])
    nodes.reconcile([*endpoints([1, 1]), endpoints([1, 1, 1], health=Health.DRAINING)[2], endpoints([1, 1, 1, 0])[3]])
    a, b, draining, weightless = nodes.nodes
    outlier = Outlier(OutlierPolicy(consecutive_failures=1, max_ejection_ratio=0.5), nodes)
    assert not outlier.on_result(draining, False, 0.0)
    assert not outlier.on_result(weightless, False, 0.0)
    assert outlier.on_result(a, False, 0.0)
    assert not outlier.on_result(b, False, 0.0)  # half of two is one


def test_a_removed_node_is_not_ejected(endpoints, node_set):
    nodes = node_set([1, 1])
    gone = nodes.nodes[1]
    nodes.reconcile(endpoints([1]))
    assert not Outlier(OutlierPolicy(consecutive_failures=1), nodes).on_result(gone, False, 0.0)


def test_threshold_0_switches_off(node_set):
    nodes = node_set([1, 1])
    outlier = Outlier(OutlierPolicy(consecutive_failures=0), nodes)
    assert not any(fail(outlier, nodes.nodes[0], 100, 0.0))
    assert nodes.nodes[0].consecutive_failures == 100


def test_a_new_policy_goes_on_with_the_same_counts(node_set):
    nodes = node_set([1, 1])
    fail(Outlier(POLICY, nodes), nodes.nodes[0], 2, 0.0)
    assert Outlier(POLICY, nodes).on_result(nodes.nodes[0], False, 0.0)


@given(st.floats(0, 1), st.lists(st.tuples(st.integers(0, 7), st.booleans(), st.floats(0, 20)), max_size=200))
def test_never_more_out_than_the_cap(ratio: float, results: list[tuple[int, bool, float]]):
    nodes = NodeSet()
    nodes.reconcile(Endpoint("cart", f"cart-{i}", "127.0.0.1", 80) for i in range(8))
    outlier = Outlier(OutlierPolicy(consecutive_failures=2, max_ejection_ratio=ratio), nodes)
    now = 0.0
    for position, ok, wait in results:
        now += wait
        node = nodes.nodes[position]
        before = node.ejected_until
        ejected = outlier.on_result(node, ok, now)
        assert ejected == (node.ejected_until > max(before, now))
        assert sum(not node.eligible(now) for node in nodes.nodes) <= max(1.0, ratio * 8 + 1e-9)


def test_jitter_makes_it_longer_by_up_to_its_ratio_and_not_shorter(node_set):
    policy = replace(POLICY, jitter=0.5, max_ejection_ratio=1.0)
    nodes = node_set([1] * 200)
    outlier = Outlier(policy, nodes, Rng(7))
    for node in nodes.nodes:
        fail(outlier, node, 3, 0.0)
    lasted = sorted(node.ejected_until for node in nodes.nodes)
    # Uniform over 10..15: of 200 the extremes are within 0.5 of the ends but for a chance of 1e-9.
    assert 10.0 <= lasted[0] < 10.5
    assert 14.5 < lasted[-1] <= 15.0


def test_the_news_are_told_once(node_set):
    nodes = node_set([1, 1])
    outlier = Outlier(POLICY, nodes)
    node = nodes.nodes[0]
    node.last_failure = "status 503"
    fail(outlier, node, 3, 0.0)
    assert outlier.news
    assert outlier.take_news() == [node]
    assert (outlier.news, outlier.take_news()) == (False, [])
    assert node.ejected_why == "3 failures in a row, the last: status 503"
    outlier.on_result(node, True, 10.0)
    assert outlier.take_news() == [node]
    assert node.ejected_until == 0.0


def test_half_open_only_a_success_brings_it_back(node_set):
    nodes = node_set([1, 1])
    outlier = Outlier(POLICY, nodes)
    node = nodes.nodes[0]
    fail(outlier, node, 3, 0.0)
    assert not node.eligible(10.0)
    assert node.out(1000.0)
    assert outlier.on_result(node, False, 10.0) is True  # the probe
    assert (node.ejected_until, node.ejected_at) == (30.0, 0.0)
    assert node.ejected_why == "its probe failed, after: 3 failures in a row"
    assert outlier.on_result(node, False, 30.0) is True
    assert node.ejected_why == "its probe failed, after: 3 failures in a row"
    assert outlier.on_result(node, True, 55.0) is False
    assert node.eligible(55.0)
    assert not node.out(55.0)
    assert fail(outlier, node, 2, 55.0) == [False, False]  # a new row


def test_without_half_open_time_brings_it_back(node_set):
    nodes = node_set([1, 1])
    outlier = Outlier(replace(POLICY, half_open=False), nodes)
    node = nodes.nodes[0]
    fail(outlier, node, 3, 0.0)
    assert not node.eligible(9.9)
    assert node.eligible(10.0)
    assert not node.out(10.0)


def test_a_check_that_succeeds_brings_it_back_before_its_time(node_set):
    nodes = node_set([1, 1])
    outlier = Outlier(POLICY, nodes)
    node = nodes.nodes[0]
    outlier.bring_back(node, 0.0)
    assert not outlier.news
    fail(outlier, node, 3, 0.0)
    outlier.take_news()
    outlier.bring_back(node, 1.0)
    assert node.eligible(1.0)
    assert outlier.take_news() == [node]
    fail(outlier, node, 3, 2.0)
    assert node.ejected_until == 22.0


def serve(outlier: Outlier, nodes: NodeSet, failures: list[int], of: int, now: float) -> list[str]:
    """Each node has `of` results, the first of them failures, none in a row; then the interval ends."""
    for node, failed in zip(nodes.nodes, failures, strict=True):
        for i in range(of):
            outlier.on_result(node, i >= failed, now)
            node.consecutive_failures = 0
    outlier.on_result(nodes.nodes[-1], True, now + outlier.interval)
    return [node.endpoint.name for node in nodes.nodes if node.out(now + outlier.interval)]


RATE = OutlierPolicy(consecutive_failures=0, max_ejection_ratio=1.0, interval=10.0)


@pytest.mark.parametrize(("failures", "out"), [
    ([0, 0, 0, 0, 0, 0], []),
    # mean 95 %, deviation 11.2 %: below 73.8 %
    ([0, 0, 30, 0, 0, 0], ["cart-00002"]),
    # All alike: nobody is an outlier, however bad.
    ([60, 60, 60, 60, 60, 60], []),
    # Below mean - 1.9 deviations (97.4 %), and yet not by the margin: 2.5 % under the mean.
    ([0, 0, 3, 0, 0, 0], []),
    # Two of six: 2 deviations take more than that.
    ([0, 0, 50, 50, 0, 0], []),
])
def test_success_rates(failures: list[int], out: list[str], node_set):
    nodes = node_set([1] * 6)
    assert serve(Outlier(RATE, nodes), nodes, failures, 100, 0.0) == out


def test_success_rates_take_enough_requests_of_enough_endpoints(node_set):
    failures = [0, 0, 50, 0, 0, 0]
    nodes = node_set([1] * 6)
    assert serve(Outlier(RATE, nodes), nodes, failures, 99, 0.0) == []
    nodes = node_set([1] * 6)
    more = replace(RATE, success_rate=SuccessRateOutlier(min_endpoints=7))
    assert serve(Outlier(more, nodes), nodes, failures, 100, 0.0) == []
    off = replace(RATE, success_rate=SuccessRateOutlier(deviations=0.0))
    assert not Outlier(off, nodes).counting
    assert serve(Outlier(off, nodes), nodes, failures, 100, 0.0) == []


def test_without_a_margin_it_is_envoys_rule(node_set):
    nodes = node_set([1] * 6)
    envoy = replace(RATE, success_rate=SuccessRateOutlier(margin=0.0))
    assert serve(Outlier(envoy, nodes), nodes, [0, 0, 1, 0, 0, 0], 100, 0.0) == ["cart-00002"]
    assert nodes.nodes[2].ejected_why == "success rate 99.0%, and 99.8% on average"


def test_each_interval_counts_anew(node_set):
    nodes = node_set([1] * 6)
    outlier = Outlier(RATE, nodes)
    for start in range(0, 100, 10):  # 50 requests an interval are too few, however many intervals
        assert serve(outlier, nodes, [0, 0, 50, 0, 0, 0], 50, float(start)) == []


RATIO = replace(RATE, success_rate=SuccessRateOutlier(deviations=0.0), max_ejection_ratio=0.34,
                failure_ratio=FailureRatioOutlier(0.5, min_endpoints=5, min_requests=20))


@pytest.mark.parametrize(("failures", "out"), [
    ([0, 9, 0, 0, 0, 0], []),
    ([0, 10, 0, 0, 0, 0], ["cart-00001"]),
    # A third may be out: the worst two, not the first two.
    ([10, 11, 12, 13, 14, 15], ["cart-00004", "cart-00005"]),
])
def test_failure_ratios_the_worst_first(failures: list[int], out: list[str], node_set):
    nodes = node_set([1] * 6)
    assert serve(Outlier(RATIO, nodes), nodes, failures, 20, 0.0) == out
    for name in out:
        assert "requests failed" in nodes.by_name[name].ejected_why


LATENCY = replace(RATE, success_rate=SuccessRateOutlier(deviations=0.0), max_ejection_ratio=0.5,
                  latency=LatencyOutlier(3.0, floor=0.05, min_endpoints=3, min_requests=10))


@pytest.mark.parametrize(("means", "out"), [
    ([0.02, 0.02, 0.02, 0.2], [3]),
    ([0.02, 0.02, 0.02, 0.05], []),  # over 3 times, and not over the floor
    ([0.1, 0.1, 0.1, 0.3], []),  # exactly 3 times
    ([0.1, 0.1, 0.1, 0.31], [3]),
    ([0.1, 9.0, 0.1, 0.5], [1, 3]),
    ([0.1, 9.0, 0.1, 0.1], [1]),
    ([0.1, 9.0], []),  # too few to compare
])
def test_latencies(means: list[float], out: list[int], node_set):
    nodes = node_set([1] * len(means))
    outlier = Outlier(LATENCY, nodes)
    assert outlier.timing
    outlier.on_result(nodes.nodes[0], True, 0.0)
    for node, mean in zip(nodes.nodes, means, strict=True):
        node.timed = 10
        node.spent = 10 * mean
    outlier.on_result(nodes.nodes[0], True, 10.0)
    assert [node.position for node in nodes.nodes if node.out(10.0)] == out
    assert all(node.timed == 0 and node.spent == 0 for node in nodes.nodes)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9), st.data())
def test_median_without(values: list[float], data: st.DataObject):
    values.sort()
    place = data.draw(st.integers(0, len(values) - 1))
    assert median_without(values, place) == pytest.approx(statistics.median(values[:place] + values[place + 1:]))


@pytest.mark.parametrize(("http", "grpc", "blamed"), [
    (200, -1, False), (200, 0, False), (404, -1, False), (429, -1, False), (500, -1, True), (501, -1, False),
    (502, -1, True), (503, -1, True), (504, -1, True), (505, -1, False), (503, 0, True),
    *((200, status, status in (2, 4, 13, 14, 15)) for status in range(1, 17)),
])
def test_who_is_to_blame(http: int, grpc: int, blamed: bool):
    assert to_blame(http, grpc) is blamed
