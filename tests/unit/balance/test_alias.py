"""AliasTable: that its books balance for any weights, and that draws follow them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.balance.alias import AliasTable
from mesh.balance.node import Node
from mesh.balance.rng import Rng
from mesh.model import MAX_WEIGHT, Endpoint


def make(weights: list[int]) -> list[Node]:
    return [Node(Endpoint("cart", f"cart-{i}", "127.0.0.1", 80, weight=weight)) for i, weight in enumerate(weights)]


@given(st.lists(st.integers(1, MAX_WEIGHT), min_size=1, max_size=40), st.integers(0, 2**64 - 1))
def test_any_weights_build_and_draw(weights: list[int], seed: int):
    nodes = make(weights)
    table = AliasTable(nodes)
    rng = Rng(seed)
    assert all(table.draw(rng) in nodes for _ in range(20))


def test_draws_follow_the_weights_within_5_sigma():
    weights = [1, 1000, 50, 50, 300, 7]
    nodes = make(weights)
    table, rng = AliasTable(nodes), Rng(5)
    counts = dict.fromkeys(nodes, 0)
    n = 40_000
    for _ in range(n):
        counts[table.draw(rng)] += 1
    for node in nodes:
        p = node.weight / sum(weights)
        assert abs(counts[node] - n * p) <= 5 * (n * p * (1 - p)) ** 0.5 + 1


def test_equal_weights_take_one_random_number_each():
    nodes = make([7, 7, 7])
    a, b = Rng(1), Rng(1)
    table = AliasTable(nodes)
    assert [table.draw(a) for _ in range(50)] == [nodes[b.below(3)] for _ in range(50)]
