"""RingHash: minimal disruption, shares as even as there are points, and what a ring may cost."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

import pytest
from balance_world import balancer_of

from mesh.balance import Balancer, NodeSet, Rng
from mesh.balance.hashing import hash64
from mesh.balance.ring_hash import Ring, RingHash, check_ring
from mesh.balance.rng import mix64
from mesh.errors import InvalidResource
from mesh.model import Algorithm, Endpoint, HashPolicy

KEYS = [hash64(b"key %d" % i) for i in range(4000)]
MASK = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15
OWNER = 0xFFFFFF


def make(weights: dict[str, int], **fields: int) -> tuple[NodeSet, Balancer]:
    nodes = NodeSet()
    picker = balancer_of(Algorithm.RING_HASH, nodes, Rng(1), hash=HashPolicy(**fields))
    return nodes, update(nodes, picker, weights)


def update(nodes: NodeSet, picker: Balancer, weights: dict[str, int]) -> Balancer:
    nodes.reconcile(Endpoint("cart", name, "127.0.0.1", 80, weight=weight) for name, weight in weights.items())
    picker.changed()
    return picker


def homes(picker: Balancer) -> list[str]:
    return [picker.pick(key, 0.0, None).endpoint.name for key in KEYS]


@pytest.mark.parametrize("counts", [[1], [1, 1], [3, 1, 7], [50] * 20, [1000, 1]])
def test_the_owner_is_that_of_the_next_point_on_a_sorted_list(counts: list[int]):
    hashes = [hash64(b"%d" % i) for i in range(len(counts))]
    points = sorted((mix64((name + j * GAMMA) & MASK) & ~OWNER) | owner
                    for owner, (name, count) in enumerate(zip(hashes, counts, strict=True)) for j in range(count))
    ring = Ring(hashes, counts)
    assert ring.total == len(points)
    places = [*KEYS[:1000], 0, MASK, *(point & ~OWNER for point in points), *(points[-1] + 2**24 & MASK,)]
    for place in places:
        expected = points[bisect_left(points, place & ~OWNER) % len(points)] & OWNER
        assert ring.owner(place) == expected


SETS = pytest.mark.parametrize("weights", [dict.fromkeys("abcde", 1), {"a": 1, "b": 3, "c": 2},
                                           {f"n{i}": 1 + i % 2 for i in range(30)} | {"a": 2}])


@SETS
def test_removal_moves_only_the_keys_of_the_one_that_left(weights: dict[str, int]):
    nodes, picker = make(weights)
    before = homes(picker)
    after = homes(update(nodes, picker, {**weights, "a": 0}))
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(moved) == before.count("a") > 0
    assert {old for old, _ in moved} == {"a"}
    assert len({new for _, new in moved}) >= min(len(weights) - 1, 20)  # to all the others, not to one neighbour


@SETS
def test_what_comes_takes_what_it_is_due_and_nothing_else_moves(weights: dict[str, int]):
    """2048 points or more for the new one: its share is off by 3 %, and the count of its keys by chance; five sigma."""
    nodes, picker = make(weights)
    before = homes(picker)
    after = homes(update(nodes, picker, {**weights, "new": 2}))
    assert all(new in (old, "new") for old, new in zip(before, after, strict=True))
    expected = len(KEYS) * 2 / (sum(weights.values()) + 2)
    assert abs(after.count("new") - expected) < 5 * expected * (1 / 2048 + 1 / expected) ** 0.5


@SETS
def test_more_weight_only_attracts_and_less_only_sheds(weights: dict[str, int]):
    nodes, picker = make(weights)
    before = homes(picker)
    more = homes(update(nodes, picker, {**weights, "a": weights["a"] + 1}))
    assert all(new in (old, "a") for old, new in zip(before, more, strict=True))
    assert more.count("a") > before.count("a")
    assert homes(update(nodes, picker, weights)) == before


def test_shares_are_as_even_as_points_are_many():
    """k points: off by 1 / sqrt(k), five sigma."""
    for k in (16, 256):
        _, picker = make({"a": 1, "b": 3, "c": 2, "d": 2}, min_ring_size=8 * k)
        counts = Counter(homes(picker))
        for name, weight in {"a": 1, "b": 3, "c": 2, "d": 2}.items():
            expected = len(KEYS) * weight / 8
            assert abs(counts[name] - expected) < 5 * expected * (1 / (k * weight) + 1 / expected) ** 0.5


@pytest.mark.parametrize(("weights", "smallest", "largest", "total"), [
    ([1], 1024, 8_388_608, 1024),
    ([1] * 64, 1024, 8_388_608, 64 * 1024),
    ([1] * 65, 1024, 8_388_608, 65 * 512),
    ([1] * 200, 1024, 8_388_608, 200 * 256),
    ([1] * 2000, 1024, 8_388_608, 2000 * 64),
    ([1] * 2000, 10, 8_388_608, 2000 * 16),  # never more of them than asked for, up to the next power of two
    ([1, 3, 2], 1024, 8_388_608, 6 * 512),
    ([3, 3], 1024, 8_388_608, 6 * 512),  # 341.3 points per unit of weight become 512
    ([1, 1_000_000], 512, 1000, 1000),  # at least one each
    ([1] * 2000, 1024, 1024, 2000),
    ([5, 5], 1, 1, 2)])
def test_how_many_points(weights: list[int], smallest: int, largest: int, total: int):
    _, picker = make({f"n{i:04}": weight for i, weight in enumerate(weights)}, min_ring_size=smallest,
                     max_ring_size=largest)
    picker.pick(0, 0.0, None)
    assert picker.picker.ring.total == pytest.approx(total, abs=1)


def test_a_ring_takes_no_more_than_its_memory():
    assert RingHash(Rng(1), 0.0, 1024, 8_388_608).max_size == 5_592_405
    check_ring(HashPolicy(min_ring_size=100), 1200)
    with pytest.raises(InvalidResource, match=r"min_ring_size: 101 points take .* at most 100 points"):
        check_ring(HashPolicy(min_ring_size=101), 1200)
