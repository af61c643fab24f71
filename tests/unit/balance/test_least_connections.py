"""LeastConnections: the least of all by in-flight per weight, and what happens to equals."""

from __future__ import annotations

from balance_world import balancer_of, load
from hypothesis import given
from hypothesis import strategies as st

from mesh.balance import NodeSet, Rng
from mesh.model import Algorithm, Endpoint


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12), st.integers(0, 2**64 - 1),
       st.sets(st.integers(0, 11)))
def test_no_untried_node_has_less(loads: list[tuple[int, int]], seed: int, tried_positions: set[int]):
    nodes = NodeSet()
    nodes.reconcile(Endpoint("cart", f"cart-{i:03}", "127.0.0.1", 80, weight=w) for i, (w, _) in enumerate(loads))
    for node, (_, in_flight) in zip(nodes.nodes, loads, strict=True):
        load(node, in_flight)
    picker = balancer_of(Algorithm.LEAST_CONNECTIONS, nodes, Rng(seed))
    tried = [node for node in nodes.nodes if node.position in tried_positions]
    picked = picker.pick(0, 0.0, tried)
    among = [node for node in nodes.nodes if node not in tried] or nodes.nodes
    assert picked in among
    assert picked.in_flight / picked.weight == min(node.in_flight / node.weight for node in among)


def test_in_flight_settles_at_the_weights(node_set):
    """Filling up without any call ending: after 600 picks each has 100 per weight, whatever the draws among equals."""
    nodes = node_set([1, 3, 2])
    picker = balancer_of(Algorithm.LEAST_CONNECTIONS, nodes, Rng(1))
    for _ in range(600):
        picker.pick(0, 0.0, None).begin()
    assert [node.in_flight for node in nodes.nodes] == [100, 300, 200]


def test_one_is_avoided_while_it_hangs(node_set):
    nodes = node_set([1, 1, 1])
    load(nodes.nodes[1], 1)
    picker = balancer_of(Algorithm.LEAST_CONNECTIONS, nodes, Rng(1))
    assert {picker.pick(0, 0.0, None).position for _ in range(100)} == {0, 2}
