"""LoadTree: the least load against looking at all, whatever is set in whatever order."""

from __future__ import annotations

from collections import Counter

import pytest
from balance_world import node_set
from hypothesis import given
from hypothesis import strategies as st

from mesh.balance.load_tree import LoadTree
from mesh.balance.rng import Rng

LOADS = st.sampled_from([0.0, 0.5, 1.0, 7.0, float("inf")])


@given(st.lists(LOADS, min_size=1, max_size=9), st.lists(st.tuples(st.integers(0, 8), LOADS), max_size=20))
def test_the_least_and_the_first_of_the_least(loads: list[float], changes: list[tuple[int, float]]):
    nodes = node_set([1] * len(loads)).nodes
    tree = LoadTree(nodes)
    tree.fill(loads)
    for place, load in [(0, loads[0]), *changes]:
        if place < len(loads):
            assert tree.set(nodes[place], load) == loads[place]
            loads[place] = load
        least = min(loads)
        if least == float("inf"):
            assert tree.first() is None
            assert tree.draw(Rng(1)) is None
        else:
            assert tree.first() is nodes[loads.index(least)]
            assert {tree.draw(Rng(seed)) for seed in range(200)} <= {
                node for node, load in zip(nodes, loads, strict=True) if load == least}


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 100])
def test_equals_are_drawn_by_weight(n: int):
    """Every second is among the equals. Binomial, five sigma."""
    nodes = node_set([1 + i % 7 for i in range(n)]).nodes
    tree, rng = LoadTree(nodes), Rng(3)
    tree.fill([0.25 if i % 2 == 0 else 0.5 for i in range(n)])
    counts = Counter(tree.draw(rng) for _ in range(20_000))
    equals = [node for node in nodes if node.position % 2 == 0]
    assert set(counts) <= set(equals)
    for node in equals:
        p = node.weight / sum(node.weight for node in equals)
        assert abs(counts[node] - 20_000 * p) <= 5 * (20_000 * p * (1 - p)) ** 0.5


def test_a_node_of_another_set_is_left_alone():
    tree = LoadTree(node_set([1]).nodes)
    tree.fill([2.0])
    assert tree.set(node_set([1]).nodes[0], 0.0) == float("inf")
    assert tree.first() is not None


def test_no_nodes_no_least():
    tree = LoadTree([])
    tree.fill([])
    assert tree.first() is None
    assert tree.draw(Rng(1)) is None
