"""SlowStart: the curve, when it begins, and that picks follow it."""

from __future__ import annotations

from collections import Counter

import pytest
from balance_world import balancer_of, endpoints, node_set

from mesh.balance import NodeSet, Rng
from mesh.balance.slow_start import SlowStart
from mesh.model import Algorithm, Health, SlowStartPolicy
from mesh.model.balance import RAMPING

INFINITY = float("inf")


def grown(policy: SlowStartPolicy, ages: list[float]) -> list[float]:
    """The ratios of its weight that a new endpoint has at these ages, beside one that was there before."""
    nodes, slow_start = node_set([4]), SlowStart(policy)
    slow_start.advance(nodes, 0.0)
    nodes.reconcile(endpoints([4, 4]))
    slow_start.advance(nodes, 100.0)
    ratios = []
    for age in ages:
        slow_start.advance(nodes, 100.0 + age)
        old, new = nodes.nodes
        assert old.weight == 400
        ratios.append(new.weight / old.weight)
    return ratios


def test_linear_from_a_tenth():
    assert grown(SlowStartPolicy(60.0), [0, 3, 6, 15, 30, 59.9, 60, 1000]) == pytest.approx(
        [0.1, 0.1, 0.1, 0.25, 0.5, 0.998, 1, 1], abs=0.003)


def test_the_curve():
    """Envoy's formula: (age / window) ^ (1 / aggression)."""
    early = grown(SlowStartPolicy(60.0, aggression=2.0), [15, 30, 45])
    assert early == pytest.approx([0.25**0.5, 0.5**0.5, 0.75**0.5], abs=0.003)
    late = grown(SlowStartPolicy(60.0, aggression=0.5, min_ratio=0.01), [15, 30, 45])
    assert late == pytest.approx([0.0625, 0.25, 0.5625], abs=0.003)


def test_what_is_there_at_the_start_is_warm():
    nodes, slow_start = node_set([]), SlowStart(SlowStartPolicy(60.0))
    slow_start.advance(nodes, 0.0)
    nodes.reconcile(endpoints([1, 3]))
    assert slow_start.advance(nodes, 5.0) == INFINITY
    assert [node.weight for node in nodes.nodes] == [100, 300]


@pytest.mark.parametrize("away", ["ejected", "unhealthy", "draining", "weight 0"])
def test_one_that_comes_back_starts_again(away: str):
    nodes, slow_start = node_set([1, 1]), SlowStart(SlowStartPolicy(60.0))
    slow_start.advance(nodes, 0.0)
    a, _ = given = endpoints([1, 1])
    if away == "ejected":
        nodes.nodes[1].ejected_until = 30.0
    else:
        gone = endpoints([1, 0 if away == "weight 0" else 1],
                         health=Health.HEALTHY if away == "weight 0" else Health(away))[1]
        nodes.reconcile([a, gone])
    slow_start.advance(nodes, 10.0)
    nodes.reconcile(given)
    assert slow_start.advance(nodes, 30.0) < INFINITY
    assert nodes.nodes[1].weight == 10
    slow_start.advance(nodes, 60.0)
    assert nodes.nodes[1].weight == 50
    assert slow_start.advance(nodes, 90.0) == INFINITY
    assert nodes.nodes[1].weight == 100


def test_it_is_due_again_while_one_grows():
    nodes, slow_start = node_set([1]), SlowStart(SlowStartPolicy(60.0))
    assert slow_start.advance(nodes, 0.0) == INFINITY
    nodes.reconcile(endpoints([1, 1]))
    now, steps = 0.0, 0
    while (due := slow_start.advance(nodes, now)) < INFINITY:
        assert now < due <= now + 1.2
        now = due
        steps += 1
    assert now == pytest.approx(60, abs=1.3)
    assert steps == 50


def test_a_change_of_weight_meanwhile_counts():
    nodes, slow_start = node_set([1]), SlowStart(SlowStartPolicy(10.0))
    slow_start.advance(nodes, 0.0)
    nodes.reconcile(endpoints([1, 2]))
    slow_start.advance(nodes, 0.0)
    nodes.reconcile(endpoints([1, 8]))
    slow_start.advance(nodes, 5.0)
    assert [node.weight for node in nodes.nodes] == [100, 400]


@pytest.mark.parametrize("algorithm", RAMPING)
def test_picks_follow_the_weights_as_they_grow(algorithm: Algorithm):
    """Idle nodes that are equally fast: shares are the weights, five sigma. At 30 of 60 s the new one has 0.5 / 3.5."""
    nodes: NodeSet = node_set([1, 1, 1])
    picker = balancer_of(algorithm, nodes, Rng(1), slow_start=SlowStartPolicy(60.0))
    picker.pick(0, 0.0, None)
    nodes.reconcile(endpoints([1, 1, 1, 1]))
    picker.changed()
    keys = Rng(2)
    for age, share in ((0.0, 0.1), (30.0, 0.5), (60.0, 1.0)):
        picker.pick(0, 100.0 + age, None)
        for node in nodes.nodes:
            picker.on_result(node, 0.03, True, 100.0 + age)
        counts = Counter(picker.pick(keys.next64(), 100.0 + age, None).position for _ in range(4000))
        p = share / (3 + share)
        assert abs(counts[3] - 4000 * p) <= 5 * (4000 * p * (1 - p)) ** 0.5, (age, counts)


def test_a_policy_without_it_gives_the_whole_weight_back():
    nodes = node_set([1, 3])
    picker = balancer_of(Algorithm.RANDOM, nodes, Rng(1), slow_start=SlowStartPolicy(60.0))
    picker.pick(0, 0.0, None)
    assert [node.weight for node in nodes.nodes] == [100, 300]
    picker.close()
    balancer_of(Algorithm.RANDOM, nodes, Rng(1)).pick(0, 0.0, None)
    assert [node.weight for node in nodes.nodes] == [1, 3]
