"""LeastRequest: the least loaded of as many as it was told to draw."""

from __future__ import annotations

import pytest
from balance_world import balancer_of, load, node_set

from mesh.balance import Rng
from mesh.model import Algorithm


def test_two_choices_are_power_of_two():
    nodes = node_set([1, 3, 2, 2])
    for position, calls in enumerate([3, 1, 4, 1]):
        load(nodes.nodes[position], calls)
    a = balancer_of(Algorithm.LEAST_REQUEST, nodes, Rng(1))
    b = balancer_of(Algorithm.POWER_OF_TWO, nodes, Rng(1))
    assert [a.pick(0, 0.0, None) for _ in range(300)] == [b.pick(0, 0.0, None) for _ in range(300)]


@pytest.mark.parametrize("choices", [2, 3, 5, 20])
def test_the_chance_to_find_the_one_that_is_idle(choices: int):
    """Each draw beyond the first differs from the best so far: 1 - (1 - 1/n) (1 - 1/(n-1)) ^ (choices - 1). Five
    sigma."""
    n = 10
    nodes = node_set([1] * n)
    for node in nodes.nodes[1:]:
        load(node, 1)
    picker = balancer_of(Algorithm.LEAST_REQUEST, nodes, Rng(1), choices=choices)
    found = sum(picker.pick(0, 0.0, None).position == 0 for _ in range(10_000))
    p = 1 - (1 - 1 / n) * (1 - 1 / (n - 1)) ** (choices - 1)
    assert abs(found - 10_000 * p) < 5 * (10_000 * p * (1 - p)) ** 0.5


@pytest.mark.parametrize("weights", [[1], [1, 1_000_000]])
def test_it_ends_where_others_are_hard_to_draw(weights: list[int]):
    nodes = node_set(weights)
    picker = balancer_of(Algorithm.LEAST_REQUEST, nodes, Rng(1), choices=100)
    assert all(picker.pick(0, 0.0, None) in nodes.nodes for _ in range(50))
