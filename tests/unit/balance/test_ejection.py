"""Outlier: what ejects, for how long, how many at a time, and what ends it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.balance.ejection import Outlier
from mesh.balance.node import Node, NodeSet
from mesh.model import Endpoint, Health, OutlierPolicy

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


def test_a_success_after_the_return_makes_it_the_first_ejection_again(node_set):
    nodes = node_set([1, 1])
    outlier = Outlier(POLICY, nodes)
    node = nodes.nodes[0]
    fail(outlier, node, 3, 0.0)
    outlier.on_result(node, True, 10.0)
    assert (node.ejections, node.ejected_until) == (0, 0.0)
    assert fail(outlier, node, 3, 11.0) == [False, False, True]
    assert node.ejected_until == 21.0


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
    outlier = Outlier(OutlierPolicy(consecutive_failures=1, max_ejection_ratio=ratio), nodes)
    assert sum(outlier.on_result(node, False, 0.0) for node in nodes.nodes) == most
    # The next goes as soon as one is back: at its next failure.
    out = [node for node in nodes.nodes if node.ejected_until > 0.0]
    out[0].ejected_until = 1.0
    rest = [node for node in nodes.nodes if node not in out]
    if rest:
        assert outlier.on_result(rest[0], False, 0.5) is False
        assert outlier.on_result(rest[0], False, 1.0) is True


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
