"""Node and NodeSet: what is eligible, and what a reconciliation keeps."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from balance_world import load

from mesh.balance.maglev import Maglev
from mesh.balance.node import Node, NodeSet
from mesh.balance.rng import Rng
from mesh.model import Endpoint, Health


@pytest.mark.parametrize("health", Health)
@pytest.mark.parametrize("weight", [0, 1])
@pytest.mark.parametrize("ejected_until", [0.0, 9.0, 10.0, 11.0])
def test_eligible(health: Health, weight: int, ejected_until: float):
    node = Node(Endpoint("cart", "a", "::1", 80, weight=weight, health=health))
    node.ejected_until = ejected_until
    assert node.healthy == (health is Health.HEALTHY and weight > 0)
    assert node.eligible(10.0) == (node.healthy and ejected_until <= 10.0)


def test_repr_shows_the_state():
    node = Node(Endpoint("cart", "a", "::1", 80, weight=3))
    node.begin()
    node.begin()
    assert repr(node) == "<Node cart/a healthy weight=3 in_flight=2 failures=0 ejections=0 until=0>"


def test_among_goes_by_identity(node_set):
    a, b, c = node_set([1, 1, 1]).nodes
    assert a.among([c, a])
    assert not b.among([c, a])
    assert not a.among([])
    assert not a.among(node_set([1]).nodes)


def test_first_reconcile_adds_all_in_the_order_of_names(endpoints):
    nodes = NodeSet()
    given = endpoints([1, 3, 2])
    added, removed, changed = nodes.reconcile(reversed(given))
    assert (len(added), removed, changed) == (3, [], [])
    assert [node.endpoint for node in nodes.nodes] == given
    assert [node.position for node in nodes.nodes] == [0, 1, 2]
    assert nodes.by_name == {node.endpoint.name: node for node in nodes.nodes}


def test_no_difference_changes_nothing(endpoints, node_set):
    nodes = node_set([1, 3, 2])
    before, generation = list(nodes.nodes), nodes.generation
    assert nodes.reconcile(reversed(endpoints([1, 3, 2]))) == ([], [], [])
    assert nodes.nodes == before
    assert nodes.generation == generation


def test_a_survivor_keeps_its_state(endpoints, node_set):
    nodes = node_set([1, 3, 2])
    a, b, c = nodes.nodes
    b.consecutive_failures, b.ejections, b.ejected_until, b.pool = 4, 2, 99.0, object()
    b.latency, b.latency_at, b.samples = 0.25, 8.0, 3
    load(b, 7)

    def state() -> tuple:
        return (b.in_flight, b.consecutive_failures, b.ejections, b.ejected_until, b.pool, b.latency, b.latency_at,
                b.samples)

    before = state()
    added, removed, changed = nodes.reconcile(endpoints([1, 5]))
    assert (added, removed, changed) == ([], [c], [b])
    assert nodes.nodes == [a, b]
    assert state() == before
    assert b.weight == 5
    assert c.removed
    assert not c.eligible(0.0)
    assert c.position == -1


def test_generation_tells_of_weights_only(endpoints, node_set):
    nodes = node_set([1, 3])
    generation = nodes.generation
    _, _, changed = nodes.reconcile([replace(endpoint, metadata=(("version", "2"),)) for endpoint in endpoints([1, 3])])
    assert len(changed) == 2
    assert nodes.generation == generation
    nodes.reconcile(endpoints([1, 0]))
    assert nodes.generation > generation
    assert not nodes.nodes[1].healthy


def test_another_address_is_another_process(endpoints, node_set):
    nodes = node_set([1, 1])
    old = nodes.nodes[0]
    load(old, 3).ejected_until = 99.0
    added, removed, changed = nodes.reconcile([replace(endpoints([1])[0], port=6000), endpoints([1, 1])[1]])
    assert (len(added), removed, changed) == (1, [old], [])
    fresh = nodes.nodes[0]
    assert fresh is added[0]
    assert fresh is not old
    assert (fresh.in_flight, fresh.ejected_until, fresh.position) == (0, 0.0, 0)
    assert old.in_flight == 3
    assert old.removed


def test_draining_and_back(endpoints, node_set):
    nodes = node_set([1])
    (node,) = nodes.nodes
    _, _, changed = nodes.reconcile(endpoints([1], health=Health.DRAINING))
    assert changed == [node]
    assert not node.eligible(0.0)
    nodes.reconcile(endpoints([1]))
    assert node.eligible(0.0)


def test_emptied_and_filled_again(endpoints, node_set):
    nodes = node_set([1, 1])
    _, removed, _ = nodes.reconcile([])
    assert len(removed) == 2
    assert nodes.nodes == []
    added, _, _ = nodes.reconcile(endpoints([1, 1]))
    assert added == nodes.nodes
    assert not any(node in removed for node in added)


def test_watchers_hear_of_begin_and_end_until_they_leave_or_the_node_does(endpoints, node_set):
    nodes = node_set([1, 1])
    a, b = nodes.nodes
    one, two = Maglev(Rng(1), 1.25, 101), Maglev(Rng(1), 1.25, 101)
    for watcher in (one, two):
        a.watch(watcher)
        b.watch(watcher)
    load(a, 2), load(b, 3)
    assert (one.in_flight, two.in_flight) == (5, 5)
    a.unwatch(one)
    a.unwatch(one)
    load(a, 0)
    assert (one.in_flight, two.in_flight) == (5, 3)
    nodes.reconcile(endpoints([1]))
    load(b, 0)
    assert (one.in_flight, two.in_flight) == (5, 3)


def test_calls_are_counted_by_begin_and_end_only():
    """Pickers that keep loads in order hear of calls there; a count changed elsewhere would go past them. The
    gate has a sum of its own."""
    root = Path(__file__).parents[3] / "mesh"
    written = [f"{path.relative_to(root)}: {line.strip()}" for path in sorted(root.rglob("*.py"))
               for line in path.read_text().splitlines() if re.search(r"\w\.in_flight (\+|-)?= ", line)]
    assert {line.split(": ")[0] for line in written} <= {
        "balance/node.py", "balance/hashing.py", "dataplane/gate.py"}, written
