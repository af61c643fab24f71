"""RoundRobin: the order, and that it outlives changes of the set."""

from __future__ import annotations

import itertools

from balance_world import balancer_of

from mesh.balance import Balancer, Rng
from mesh.model import Algorithm


def names(picker: Balancer, n: int, tried: list | None = None) -> list[int]:
    return [picker.pick(0, 0.0, tried).position for _ in range(n)]


def test_each_in_turn_from_a_random_start(node_set):
    starts = set()
    for seed in range(50):
        sequence = names(balancer_of(Algorithm.ROUND_ROBIN, node_set([1, 5, 2, 1]), Rng(seed)), 12)
        starts.add(sequence[0])
        assert [(after - before) % 4 for before, after in itertools.pairwise(sequence)] == [1] * 11
    assert starts == {0, 1, 2, 3}


def test_an_ejected_one_gives_its_neighbour_no_double_share(node_set):
    nodes = node_set([1, 1, 1, 1])
    nodes.nodes[1].ejected_until = 100.0
    sequence = names(balancer_of(Algorithm.ROUND_ROBIN, nodes, Rng(1)), 30)
    assert [sequence.count(i) for i in range(4)] == [10, 0, 10, 10]


def test_the_turn_goes_on_behind_the_last_when_the_set_changes(endpoints, node_set):
    nodes = node_set([1, 1, 1, 1])
    picker = balancer_of(Algorithm.ROUND_ROBIN, nodes, Rng(1))
    while picker.pick(0, 0.0, None).position != 1:
        pass
    nodes.nodes[0].ejected_until = 50.0
    picker.changed()
    assert names(picker, 4) == [2, 3, 1, 2]
    nodes.reconcile(endpoints([1, 1, 1, 1, 1]))
    picker.changed()
    assert names(picker, 4) == [3, 4, 1, 2]


def test_a_retry_takes_the_next_turn(node_set):
    nodes = node_set([1, 1, 1])
    picker = balancer_of(Algorithm.ROUND_ROBIN, nodes, Rng(1))
    first = picker.pick(0, 0.0, None)
    again = picker.pick(0, 0.0, [first])
    assert (again.position - first.position) % 3 == 1
    assert (picker.pick(0, 0.0, None).position - again.position) % 3 == 1
