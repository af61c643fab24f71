"""PeakEwma: it keeps away from what is slow or silent, and goes back when that is over."""

from __future__ import annotations

from collections import Counter

import pytest
from balance_world import balancer_of, load, node_set

from mesh.balance import Balancer, Rng
from mesh.model import Algorithm, LatencyPolicy


def run(picker: Balancer, latencies: list[float], start: float, seconds: float) -> Counter:
    """A pick each 10 ms, answered at once after its endpoint's latency: one call in flight at a time."""
    counts: Counter = Counter()
    for i in range(int(seconds * 100)):
        now = start + i / 100
        node = picker.pick(0, now, None)
        node.begin()
        counts[node.position] += 1
        node.end()
        picker.on_result(node, latencies[node.position], True, now)
    return counts


def test_the_slow_one_of_two_is_only_asked_now_and_then():
    """Its cost falls by e in each 10 s of silence, so 0.3 s against 0.03 s is asked again after 23 s."""
    nodes = node_set([1, 1])
    picker = balancer_of(Algorithm.PEAK_EWMA, nodes, Rng(1))
    run(picker, [0.3, 0.03], 0.0, 1.0)
    counts = run(picker, [0.3, 0.03], 1.0, 100.0)
    assert 3 <= counts[0] <= 6
    assert counts[0] + counts[1] == 10_000


def test_one_that_has_recovered_gets_its_share_back():
    nodes = node_set([1, 1, 1, 1])
    picker = balancer_of(Algorithm.PEAK_EWMA, nodes, Rng(1))
    assert run(picker, [0.5, 0.01, 0.01, 0.01], 0.0, 20.0)[0] < 20
    run(picker, [0.01] * 4, 20.0, 80.0)
    counts = run(picker, [0.01] * 4, 100.0, 20.0)
    assert 300 < counts[0] < 700


def test_what_does_not_answer_is_found_by_its_calls_in_flight():
    nodes = node_set([1, 1])
    picker = balancer_of(Algorithm.PEAK_EWMA, nodes, Rng(1))
    run(picker, [0.01, 0.01], 0.0, 1.0)
    load(nodes.nodes[0], 5)
    assert {picker.pick(0, 1.0, None).position for _ in range(100)} == {1}


@pytest.mark.parametrize("faster", [0.1, 1.0, 10.0])
def test_weights_bound_what_latency_can_do(faster: float):
    """1:9 comes out between p^2 = 1 % and p (2 - p) = 19 % (and five sigma), however fast the light one is."""
    nodes = node_set([1, 9])
    picker, times = balancer_of(Algorithm.PEAK_EWMA, nodes, Rng(1)), Rng(2)
    counts: Counter = Counter()
    for i in range(20_000):
        node = picker.pick(0, i / 100, None)
        counts[node.position] += 1
        latency = 0.02 + 0.02 * times.uniform()
        picker.on_result(node, latency / faster if node.position == 0 else latency, True, i / 100)
    sigma = (0.19 * 0.81 / 20_000) ** 0.5
    assert 0.01 - 5 * sigma < counts[0] / 20_000 < 0.19 + 5 * sigma
    assert (counts[0] / 20_000 < 0.05) == (faster < 1)


@pytest.mark.parametrize("choices", [2, 3, 8])
def test_more_choices_find_the_fast_one_more_often(choices: int):
    """Of ten one is fast: two choices see it in 1 of 5 picks, all ten always would."""
    nodes = node_set([1] * 10)
    picker = balancer_of(Algorithm.PEAK_EWMA, nodes, Rng(1), choices=choices)
    for node in nodes.nodes:
        picker.on_result(node, 0.01 if node.position == 3 else 1.0, True, 0.0)
    found = sum(picker.pick(0, 0.0, None).position == 3 for _ in range(5000)) / 5000
    assert found == pytest.approx(1 - 0.9 ** choices, abs=0.06)


def test_the_averages_outlive_the_picker_and_the_policy():
    nodes = node_set([1, 1])
    first = balancer_of(Algorithm.PEAK_EWMA, nodes, Rng(1))
    run(first, [0.3, 0.03], 0.0, 1.0)
    first.close()
    second = balancer_of(Algorithm.PEAK_EWMA, nodes, Rng(1), latency=LatencyPolicy(5.0, 0.5))
    assert {second.pick(0, 1.0, None).position for _ in range(100)} == {1}


def test_it_ends_where_a_second_is_hard_to_draw():
    nodes = node_set([1, 1_000_000])
    picker = balancer_of(Algorithm.PEAK_EWMA, nodes, Rng(1))
    assert all(picker.pick(0, 0.0, None) in nodes.nodes for _ in range(200))
