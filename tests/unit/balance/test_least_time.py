"""LeastTime: the least of all by latency and calls in flight, and that averages age without being asked."""

from __future__ import annotations

import itertools

from balance_world import balancer_of, load, node_set
from hypothesis import given
from hypothesis import strategies as st

from mesh.balance import Rng
from mesh.balance.latency import LatencyAverage
from mesh.model import Algorithm


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5), st.floats(0.001, 10)), min_size=1, max_size=12))
def test_the_least_of_all(said: list[tuple[int, int, float]]):
    nodes = node_set([weight for weight, _, _ in said])
    picker = balancer_of(Algorithm.LEAST_TIME, nodes, Rng(1))
    picker.pick(0, 50.0, None)
    for node, (_, calls, latency) in zip(nodes.nodes, said, strict=True):
        load(node, calls)
        picker.on_result(node, latency, True, 50.0)
    average = LatencyAverage(10.0, 0.03)
    mean = sum(node.weight for node in nodes.nodes) / len(nodes.nodes)
    costs = {node: average.cost(node, 50.0, mean) for node in nodes.nodes}
    assert costs[picker.pick(0, 50.0, None)] == min(costs.values())


def test_a_slow_one_is_asked_again_when_its_average_has_aged():
    """Nobody reports on it meanwhile: the pick itself brings averages up to date, one at a time."""
    nodes = node_set([1, 1, 1])
    picker = balancer_of(Algorithm.LEAST_TIME, nodes, Rng(1))
    latencies = [0.3, 0.03, 0.03]
    when = []
    for i in range(6000):
        now = i / 100
        node = picker.pick(0, now, None)
        node.begin()
        node.end()
        picker.on_result(node, latencies[node.position], True, now)
        if node.position == 0:
            when.append(now)
    assert when[0] < 1
    assert [round(later - earlier) for earlier, later in itertools.pairwise(when)] in ([23, 23], [23])


def test_a_mean_and_not_the_peak():
    """One slow answer in a hundred hardly moves it; peak EWMA would flee for seconds."""
    nodes = node_set([1, 1])
    picker = balancer_of(Algorithm.LEAST_TIME, nodes, Rng(1))
    for i in range(2000):
        for node in nodes.nodes:
            picker.on_result(node, 1.0 if node.position == 0 and i % 100 == 99 else 0.02, True, i / 100)
    assert nodes.nodes[0].latency < 0.05
