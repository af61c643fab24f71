"""Picker: what it does for every algorithm: watching its nodes, and avoiding those that were tried."""

from __future__ import annotations

import pytest
from balance_world import load, node_set

from mesh.balance import Rng, make_picker
from mesh.balance.picker import Picker
from mesh.model import Algorithm, BalancePolicy


def test_the_base_class_is_no_picker():
    picker = Picker(Rng(1))
    nodes = node_set([1]).nodes
    picker.take(nodes, [])
    assert picker.active == nodes
    assert not picker.feedback


def test_only_the_active_nodes_are_watched():
    """A node that left `active` no longer counts here, and one that came does."""
    nodes = node_set([1, 1, 1]).nodes
    picker = make_picker(BalancePolicy(Algorithm.MAGLEV), Rng(1))
    assert not picker.bounded_load
    from mesh.balance.maglev import Maglev

    bounded = Maglev(Rng(1), 1.25, 101)
    bounded.take(nodes[:2], [])
    load(nodes[0], 3), load(nodes[2], 5)
    assert bounded.in_flight == 3
    bounded.take(nodes[1:], [])
    assert bounded.in_flight == 5
    load(nodes[0], 9), load(nodes[1], 2)
    assert bounded.in_flight == 7
    bounded.detach()
    load(nodes[1], 0)
    assert bounded.in_flight == 7
    assert bounded.active == []


@pytest.mark.parametrize("weights", [[1, 1, 1], [5, 1, 1]])
def test_all_but_one_tried(weights: list[int]):
    from mesh.balance import Balancer, NodeSet

    nodes: NodeSet = node_set(weights)
    balancer = Balancer(BalancePolicy(Algorithm.RANDOM), nodes, Rng(1))
    assert {balancer.pick(0, 0.0, nodes.nodes[:2]) for _ in range(50)} == {nodes.nodes[2]}
