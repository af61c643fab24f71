"""LatencyAverage: the arithmetic, on a clock in hand."""

from __future__ import annotations

import math

import pytest
from balance_world import load, node_set

from mesh.balance.latency import LatencyAverage
from mesh.balance.node import Node

E = math.exp(-1)


@pytest.fixture
def node() -> Node:
    return node_set([2]).nodes[0]


def test_before_the_first_answer_it_is_the_initial_one_and_fades(node: Node):
    average = LatencyAverage(10.0, 0.03)
    assert average.of(node, 100.0) == 0.03
    assert average.of(node, 110.0) == pytest.approx(0.03 * E)
    assert average.of(node, 100.0) == 0.03  # looking changes nothing


@pytest.mark.parametrize("peak", [False, True])
def test_the_first_answer_takes_the_place_of_the_guess(peak: bool, node: Node):
    average = LatencyAverage(10.0, 0.03)
    average.add(node, 0.002, True, 5.0, peak)
    assert average.of(node, 5.0) == 0.002
    assert node.samples == 1


def test_what_is_decay_old_counts_one_eth(node: Node):
    average = LatencyAverage(10.0, 0.03)
    average.add(node, 0.1, True, 0.0, False)
    average.add(node, 0.4, True, 10.0, False)
    assert average.of(node, 10.0) == pytest.approx(0.1 * E + 0.4 * (1 - E))


def test_a_peak_is_believed_at_once_and_a_recovery_has_to_last(node: Node):
    average = LatencyAverage(10.0, 0.03)
    average.add(node, 0.1, True, 0.0, True)
    average.add(node, 2.0, True, 0.5, True)
    assert average.of(node, 0.5) == 2.0
    average.add(node, 0.1, True, 1.0, True)
    assert 1.8 < average.of(node, 1.0) < 2.0
    for i in range(1, 1000):
        average.add(node, 0.1, True, 1.0 + i * 0.1, True)
    assert average.of(node, 101.0) == pytest.approx(0.1, rel=0.02)


def test_a_steady_latency_is_the_average(node: Node):
    average = LatencyAverage(10.0, 0.03)
    for i in range(200):
        average.add(node, 0.05, True, i * 0.7, False)
    assert average.of(node, 199 * 0.7) == pytest.approx(0.05)


def test_to_fail_fast_is_not_to_be_fast(node: Node):
    average = LatencyAverage(10.0, 0.03)
    average.add(node, 0.5, True, 0.0, True)
    average.add(node, 0.001, False, 1.0, True)
    assert average.of(node, 1.0) >= 0.5 * math.exp(-0.1)
    average.add(node, 3.0, False, 2.0, True)  # a timeout is slow
    assert average.of(node, 2.0) == 3.0


def test_a_failure_is_no_measurement(node: Node):
    average = LatencyAverage(10.0, 0.03)
    average.add(node, 0.001, False, 0.0, True)
    assert node.samples == 0
    assert average.of(node, 0.0) == 0.03
    average.add(node, 2.0, False, 1.0, True)  # what timed out first is slow at least, until it answers
    assert average.of(node, 1.0) == 2.0
    average.add(node, 0.01, True, 2.0, True)
    assert average.of(node, 2.0) == 0.01


def test_a_clock_that_stands_still_or_runs_backwards(node: Node):
    average = LatencyAverage(10.0, 0.03)
    average.add(node, 0.1, True, 9.0, False)
    average.add(node, 0.2, True, 9.0, False)
    average.add(node, 0.3, True, 8.0, False)
    assert average.of(node, 7.0) == pytest.approx(0.2)
    assert node.latency_at == 9.0


def test_the_first_answers_count_alike():
    """Ten in the first 100 ms: by time alone the first of them would rule for ten seconds."""
    [node] = node_set([1]).nodes
    average = LatencyAverage(10.0, 0.03)
    for i, latency in enumerate([1.0, *[0.1] * 9]):
        average.add(node, latency, True, i / 100, False)
    assert average.of(node, 0.09) == pytest.approx(0.19)


def test_cost_grows_with_calls_in_flight_per_share(node: Node):
    average = LatencyAverage(10.0, 0.03)
    assert average.cost(node, 0.0, 2.0) == 0.03
    assert average.cost(load(node, 3), 0.0, 2.0) == pytest.approx(0.12)
    assert average.cost(node, 0.0, 1.0) == pytest.approx(0.03 * 2.5)
