"""WeightedRandom: picks do not depend on the ones before."""

from __future__ import annotations

import itertools

from balance_world import balancer_of

from mesh.balance import Rng
from mesh.model import Algorithm


def test_neighbouring_picks_are_independent(node_set):
    """P(same node twice in a row) is sum(p^2) = (1 + 9 + 4) / 36 for 1:3:2; binomial, five sigma."""
    picker = balancer_of(Algorithm.RANDOM, node_set([1, 3, 2]), Rng(1))
    picks = [picker.pick(0, 0.0, None) for _ in range(20_001)]
    same = sum(a is b for a, b in itertools.pairwise(picks))
    p = 14 / 36
    assert abs(same - 20_000 * p) < 5 * (20_000 * p * (1 - p)) ** 0.5


def test_the_key_has_no_say(node_set):
    a = balancer_of(Algorithm.RANDOM, node_set([1, 3, 2]), Rng(1))
    b = balancer_of(Algorithm.RANDOM, node_set([1, 3, 2]), Rng(1))
    assert [a.pick(0, 0.0, None).position for _ in range(100)] == [b.pick(k, 0.0, None).position for k in range(100)]
