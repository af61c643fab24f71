"""WeightedRoundRobin against a literal transcription of nginx's algorithm, and its windows."""

from __future__ import annotations

import itertools
from collections import Counter
from math import gcd

import pytest
from balance_world import balancer_of
from hypothesis import given
from hypothesis import strategies as st

from mesh.balance import Balancer, NodeSet, Rng
from mesh.model import Algorithm, Endpoint


def nginx_cycle(weights: list[int]) -> list[int]:
    """One cycle of nginx's sequence from the start, as nginx computes it: every peer, every time."""
    current = [0] * len(weights)
    total = sum(weights)
    sequence = []
    for _ in range(total // gcd(*weights)):
        best = -1
        for i, weight in enumerate(weights):
            if weight == 0:
                continue
            current[i] += weight
            if best < 0 or current[i] > current[best]:
                best = i
        current[best] -= total
        sequence.append(best)
    assert current == [0] * len(weights)
    return sequence


def make(weights: list[int], seed: int = 1) -> tuple[NodeSet, Balancer]:
    nodes = NodeSet()
    nodes.reconcile(Endpoint("cart", f"cart-{i:05}", "127.0.0.1", 80, weight=w) for i, w in enumerate(weights))
    return nodes, balancer_of(Algorithm.WEIGHTED_ROUND_ROBIN, nodes, Rng(seed))


def sequence(picker: Balancer, n: int) -> list[int]:
    return [picker.pick(0, 0.0, None).position for _ in range(n)]


def test_the_sequence_in_nginxs_own_example():
    assert nginx_cycle([5, 1, 1]) == [0, 0, 1, 0, 2, 0, 0]
    assert nginx_cycle([1, 3, 2]) == [1, 2, 0, 1, 2, 1]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12).filter(any), st.integers(0, 2**64 - 1))
def test_it_is_nginxs_sequence_from_some_place_in_its_cycle(weights: list[int], seed: int):
    cycle = nginx_cycle(weights)
    _, picker = make(weights, seed)
    mine = sequence(picker, 2 * len(cycle))
    rotations = [cycle[i:] + cycle[:i] for i in range(len(cycle))]
    assert mine[:len(cycle)] in rotations
    assert mine[len(cycle):] == mine[:len(cycle)]


def test_every_start_is_as_likely():
    """So that the first picks of many sidecars have the shares, too. Binomial, five sigma."""
    first = Counter(sequence(make([1, 3, 2], seed)[1], 1)[0] for seed in range(3000))
    for position, weight in enumerate([1, 3, 2]):
        p = weight / 6
        assert abs(first[position] - 3000 * p) < 5 * (3000 * p * (1 - p)) ** 0.5


@pytest.mark.parametrize("weights", [[1, 3, 2], [1, 0, 9], [100, 300, 200], [1, 1, 1], [1, 2, 3, 4, 5, 5, 4, 3, 2, 1]])
def test_every_window_of_the_sum_of_weights_is_exact(weights: list[int]):
    nodes, picker = make(weights)
    total = sum(weights)
    picks = sequence(picker, 3 * total)
    for start in range(2 * total):
        counts = Counter(picks[start:start + total])
        assert [counts[node.position] for node in nodes.nodes] == weights


def test_windows_are_exact_at_once_after_a_change_of_weights():
    for seed in range(20):
        nodes, picker = make([1, 3, 2], seed)
        sequence(picker, seed)
        nodes.reconcile(Endpoint("cart", f"cart-{i:05}", "127.0.0.1", 80, weight=w) for i, w in enumerate([1, 0, 9]))
        picker.changed()
        counts = Counter(sequence(picker, 10))
        assert counts == {0: 1, 2: 9}


def test_windows_are_exact_at_once_after_an_ejection_and_a_return():
    nodes, picker = make([1, 3, 2])
    sequence(picker, 4)
    nodes.nodes[1].ejected_until = 10.0
    picker.changed()
    assert Counter(sequence(picker, 3)) == {0: 1, 2: 2}
    assert Counter(picker.pick(0, 10.0, None).position for _ in range(6)) == {0: 1, 1: 3, 2: 2}


def test_a_tried_one_loses_the_turn_that_it_is_passed_over_for():
    """All draws, those that are passed over included, stay in nginx's order."""
    def with_retries(order: list[int]) -> list[int]:
        draws = itertools.cycle(order)
        both = []
        for _ in range(12):
            first = next(draws)
            both += [first, next(draw for draw in draws if draw != first)]
        return both

    cycle = nginx_cycle([1, 3, 2])
    _, picker = make([1, 3, 2])
    mine = []
    for _ in range(12):
        first = picker.pick(0, 0.0, None)
        mine += [first.position, picker.pick(0, 0.0, [first]).position]
    assert mine in [with_retries(cycle[i:] + cycle[:i]) for i in range(6)]


def test_large_weights_and_sets():
    weights = [1 + i % 7 for i in range(5000)]
    _, picker = make(weights)
    assert Counter(sequence(picker, sum(weights))) == dict(enumerate(weights))
    _, picker = make([1_000_000, 999_999, 1])
    counts = Counter(sequence(picker, 2000))
    assert abs(counts[0] - counts[1]) <= 1
