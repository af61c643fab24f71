"""What hashing algorithms share: stable keys, bounds on loads, second choices."""

from __future__ import annotations

from collections import Counter

import pytest
from balance_world import balancer_of, node_set

from mesh.balance import Rng, source_key
from mesh.balance.hashing import hash64
from mesh.balance.rng import mix64
from mesh.model import Algorithm, HashPolicy
from mesh.model.balance import HASHING

EVERY = pytest.mark.parametrize("algorithm", HASHING)


def test_keys_are_stable_across_processes():
    assert hash64(b"a") == mix64(0xAF63DC4C8601EC8C)  # FNV-1a's published value for "a"
    assert source_key("127.0.0.1") == 3895513269503089370
    assert source_key("::1") == 507484833163759295


def test_a_mapped_ipv4_address_is_the_ipv4_address():
    assert source_key("::ffff:10.0.0.1") == source_key("10.0.0.1")
    assert source_key("::ffff:1") != source_key("1")




@EVERY
def test_no_node_ever_has_more_than_its_bound(algorithm: Algorithm):
    """One key is all the traffic there is: unbounded, one node would get it all."""
    nodes = node_set([1, 3, 2, 2])
    picker = balancer_of(algorithm, nodes, Rng(1), hash=HashPolicy(bounded_load=1.25))
    for calls in range(1, 401):
        picker.pick(12345, 0.0, None).begin()
        for node in nodes.nodes:
            assert node.in_flight <= -(-1.25 * calls * node.weight // 8)
    assert sum(node.in_flight for node in nodes.nodes) == 400


@EVERY
def test_below_the_bound_it_is_as_without_one(algorithm: Algorithm):
    nodes = node_set([1] * 4)
    plain = balancer_of(algorithm, nodes, Rng(1))
    bounded = balancer_of(algorithm, nodes, Rng(1), hash=HashPolicy(bounded_load=10))
    keys = [hash64(b"%d" % i) for i in range(500)]
    assert [bounded.pick(key, 0.0, None) for key in keys] == [plain.pick(key, 0.0, None) for key in keys]


@EVERY
def test_what_a_node_has_no_room_for_goes_to_all_others(algorithm: Algorithm):
    """Not to one neighbour, who would be the next to overflow; and each key always to the same one."""
    nodes = node_set([1] * 6)
    picker = balancer_of(algorithm, nodes, Rng(1), hash=HashPolicy(bounded_load=1.25))
    keys = [hash64(b"%d" % i) for i in range(3000)]
    homes = {key: picker.pick(key, 0.0, None) for key in keys}
    full = homes[keys[0]]
    while full.in_flight < 8:
        full.begin()
    away = {key: picker.pick(key, 0.0, None) for key, home in homes.items() if home is full}
    counts = Counter(away.values())
    assert full not in counts
    assert len(counts) == 5
    assert min(counts.values()) > len(away) / 5 * 0.6
    assert all(picker.pick(key, 0.0, None) is node for key, node in away.items())
    assert all(picker.pick(key, 0.0, None) is home for key, home in homes.items() if home is not full)


@EVERY
def test_a_bound_that_calls_have_left_is_open_again(algorithm: Algorithm):
    nodes = node_set([1] * 3)
    picker = balancer_of(algorithm, nodes, Rng(1), hash=HashPolicy(bounded_load=1.01))
    home = picker.pick(7, 0.0, None)
    home.begin()
    assert picker.pick(7, 0.0, None) is not home
    home.end()
    assert picker.pick(7, 0.0, None) is home


@EVERY
def test_the_second_choice_of_a_key_is_always_the_same(algorithm: Algorithm):
    nodes = node_set([1, 3, 2, 2])
    one, two = (balancer_of(algorithm, nodes, Rng(seed)) for seed in (1, 2))
    for i in range(300):
        key = hash64(b"%d" % i)
        tried = [one.pick(key, 0.0, None)]
        for _ in range(3):
            node = one.pick(key, 0.0, tried)
            assert node not in tried
            assert two.pick(key, 0.0, tried) is node
            tried.append(node)


@EVERY
def test_an_ejected_one_moves_only_its_own_keys_and_has_them_back(algorithm: Algorithm):
    """To all the others, and not a key more, whatever a change of the set would cost the algorithm."""
    nodes = node_set([1, 3, 2, 2])
    picker = balancer_of(algorithm, nodes, Rng(1))
    keys = [hash64(b"%d" % i) for i in range(2000)]
    before = [picker.pick(key, 0.0, None) for key in keys]
    out = nodes.nodes[1]
    out.ejected_until = 10.0
    picker.changed()
    during = [picker.pick(key, 1.0, None) for key in keys]
    assert [new for old, new in zip(before, during, strict=True) if old is not out and new is not old] == []
    assert {new for old, new in zip(before, during, strict=True) if old is out} == set(nodes.nodes) - {out}
    assert [picker.pick(key, 10.0, None) for key in keys] == before
