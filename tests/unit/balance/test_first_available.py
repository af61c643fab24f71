"""FirstAvailable: one after the other is filled, and emptied in the other direction."""

from __future__ import annotations

from balance_world import balancer_of, load, node_set

from mesh.balance import Rng
from mesh.model import Algorithm


def test_each_is_filled_before_the_next():
    nodes = node_set([1, 2, 1])
    picker = balancer_of(Algorithm.FIRST_AVAILABLE, nodes, Rng(1), capacity=3)
    for _ in range(12):
        picker.pick(0, 0.0, None).begin()
    assert [node.in_flight for node in nodes.nodes] == [3, 6, 3]


def test_what_ends_makes_room_at_the_front():
    nodes = node_set([1, 1, 1])
    picker = balancer_of(Algorithm.FIRST_AVAILABLE, nodes, Rng(1), capacity=2)
    for _ in range(5):
        picker.pick(0, 0.0, None).begin()
    nodes.nodes[0].end()
    assert picker.pick(0, 0.0, None) is nodes.nodes[0]
    nodes.nodes[0].begin()
    nodes.nodes[1].end()
    assert picker.pick(0, 0.0, None) is nodes.nodes[1]


def test_when_all_are_full_the_least_full():
    nodes = node_set([1, 2, 1])
    picker = balancer_of(Algorithm.FIRST_AVAILABLE, nodes, Rng(1), capacity=2)
    for node, calls in zip(nodes.nodes, [5, 7, 4], strict=True):
        load(node, calls)
    assert picker.pick(0, 0.0, None) is nodes.nodes[1]
    for _ in range(4):
        picker.pick(0, 0.0, None).begin()
    assert [node.in_flight for node in nodes.nodes] == [5, 10, 5]


def test_a_retry_goes_to_the_next_with_room():
    nodes = node_set([1, 1, 1])
    picker = balancer_of(Algorithm.FIRST_AVAILABLE, nodes, Rng(1), capacity=1)
    picker.pick(0, 0.0, None)
    load(nodes.nodes[1], 1)
    assert picker.pick(0, 0.0, [nodes.nodes[0]]) is nodes.nodes[2]
    assert picker.pick(0, 0.0, None) is nodes.nodes[0]
