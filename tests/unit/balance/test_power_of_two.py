"""PowerOfTwo: what it does to queues, beside random."""

from __future__ import annotations

import heapq

import pytest
from balance_world import balancer_of, load

from mesh.balance import Rng
from mesh.model import Algorithm


def test_the_less_loaded_of_two(node_set):
    """With two nodes, both are drawn (but for once in 65,536 picks)."""
    nodes = node_set([1, 1])
    load(nodes.nodes[0], 1)
    picker = balancer_of(Algorithm.POWER_OF_TWO, nodes, Rng(1))
    picks = [picker.pick(0, 0.0, None).position for _ in range(1000)]
    assert picks.count(1) >= 999
    nodes = node_set([1, 3])
    load(nodes.nodes[0], 1), load(nodes.nodes[1], 3)  # equal by weight: the first draw stands
    picker = balancer_of(Algorithm.POWER_OF_TWO, nodes, Rng(1))
    picks = [picker.pick(0, 0.0, None).position for _ in range(4000)]
    assert abs(picks.count(1) - 3000) < 5 * (4000 * 3 / 16) ** 0.5


@pytest.mark.parametrize("weights", [[1], [1, 1_000_000], [1_000_000, 1, 1]])
def test_it_ends_where_a_second_is_hard_to_draw(weights: list[int], node_set):
    nodes = node_set(weights)
    picker = balancer_of(Algorithm.POWER_OF_TWO, nodes, Rng(1))
    assert all(picker.pick(0, 0.0, None) in nodes.nodes for _ in range(200))


def closed_loop(algorithm: Algorithm, nodes, slow: int, callers: int = 64, calls: int = 8000) -> tuple[list[int], int]:
    """Callers that call again as soon as they are answered; the first `slow` nodes take 10 times as long.

    Returns the calls per node and the longest queue (calls in flight at one node) seen.
    """
    picker, times = balancer_of(algorithm, nodes, Rng(1)), Rng(2)
    running: list[tuple[float, int, object]] = []
    counts, longest, now = [0] * len(nodes.nodes), 0, 0.0
    for call in range(calls):
        if call >= callers:
            now, _, done = heapq.heappop(running)
            done.end()
        node = picker.pick(0, now, None)
        node.begin()
        counts[node.position] += 1
        longest = max(longest, node.in_flight)
        service_time = (10.0 if node.position < slow else 1.0) * (0.5 + times.uniform())
        heapq.heappush(running, (now + service_time, call, node))
    return counts, longest


def test_a_slow_node_gets_less(node_set):
    """Random gives the slow one of ten its tenth, 800 of 8000, and nearly all callers end up waiting for it."""
    random_counts, random_longest = closed_loop(Algorithm.RANDOM, node_set([1] * 10), slow=1)
    counts, longest = closed_loop(Algorithm.POWER_OF_TWO, node_set([1] * 10), slow=1)
    assert random_counts[0] > 700
    assert counts[0] < 300
    assert longest < random_longest / 2


@pytest.mark.parametrize("weights", [[1, 3, 2], [1, 0, 9], [1, 99], [2, 2, 2]])
@pytest.mark.parametrize("callers", [1, 2, 4, 8, 16, 64])
def test_shares_under_load_stay_near_the_weights(callers: int, weights: list[int], node_set):
    """Nodes that are equally fast. That in-flight counts are whole numbers costs up to 5 points at a few callers;
    were only the loads before the call compared, 1:9 would come out as 45:55 at two."""
    counts, _ = closed_loop(Algorithm.POWER_OF_TWO, node_set(weights), slow=0, callers=callers, calls=4000)
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count / 4000 - weight / sum(weights)) < 0.05
