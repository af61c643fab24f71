"""Deterministic subsetting: how even, how stable, and against what it was chosen."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from balance_world import endpoints

from mesh.balance import Caller, NodeSet
from mesh.balance.hashing import hash64
from mesh.balance.rng import mix64
from mesh.balance.subset import window
from mesh.model import Endpoint

CALLERS = 1000


def nodes_of(names: list[str]) -> list:
    nodes = NodeSet()
    nodes.reconcile(Endpoint("cart", name, "127.0.0.1", 80) for name in names)
    return nodes.nodes


def names(nodes: list) -> set[str]:
    return {node.endpoint.name for node in nodes}


def counts(n: int, size: int, places: list[float]) -> list[int]:
    nodes = nodes_of([f"e{i}" for i in range(n)])
    used: Counter = Counter()
    for place in places:
        chosen = window(nodes, size, place)
        assert len(chosen) == size
        used.update(names(chosen))
    return [used[f"e{i}"] for i in range(n)]


@pytest.mark.parametrize(("n", "size", "callers"), [(300, 20, 1000), (300, 20, 7), (11, 3, 100), (100, 99, 13)])
def test_callers_that_know_their_rank_load_all_endpoints_alike(n: int, size: int, callers: int):
    """Of m callers, evenly spread, those whose window reaches an endpoint lie in an arc of size / n: floor or ceil of
    m * size / n of them."""
    used = counts(n, size, [Caller(position=rank / callers).place() for rank in range(callers)])
    assert min(used) >= callers * size // n
    assert max(used) <= -(-callers * size // n)


def test_callers_that_do_not_are_as_even_as_random():
    """Binomial(1000, 20/300): 67 on average, standard deviation 7.9; five of them."""
    used = counts(300, 20, [Caller(f"cart/cart-{i}").place() for i in range(CALLERS)])
    assert all(abs(count - 66.7) < 5 * 7.9 for count in used)
    assert max(used) - min(used) > 10  # and that is why a rank is better


def test_rendezvous_would_have_been_as_uneven():
    """What the docstring says of gRPC's A68: the top k by hash."""
    backends = [hash64(b"e%d" % i) for i in range(300)]
    used: Counter = Counter()
    for caller in range(CALLERS):
        ranked = sorted(range(300), key=lambda i: mix64(backends[i] ^ mix64(caller)))
        used.update(ranked[:20])
    assert max(used.values()) - min(used.values()) > 25


@pytest.mark.parametrize("size", [2, 20])
def test_one_that_comes_or_goes_changes_two_members_at_most(size: int):
    fleet = [f"e{i}" for i in range(100)]
    places = [i / 97 for i in range(97)]
    before = [names(window(nodes_of(fleet), size, place)) for place in places]
    rng = random.Random(1)
    for _ in range(10):
        gone = rng.choice(fleet)
        after = [names(window(nodes_of([name for name in fleet if name != gone]), size, place)) for place in places]
        assert all(len(old - new) <= 2 for old, new in zip(before, after, strict=True))
        assert all(len(new - old) <= 2 for old, new in zip(before, after, strict=True))


def test_all_sidecars_see_the_same_circle_whatever_the_order_of_names():
    one, other = nodes_of(["a", "b", "c", "d"]), nodes_of(["d", "c", "b", "a"])
    assert names(window(one, 2, 0.3)) == names(window(other, 2, 0.3))


def test_the_order_of_the_set_stays():
    nodes = nodes_of([f"e{i}" for i in range(50)])
    chosen = window(nodes, 10, 0.9)
    assert [node.position for node in chosen] == sorted(node.position for node in chosen)


def test_few_are_all():
    nodes = NodeSet()
    nodes.reconcile(endpoints([1, 1, 1]))
    assert window(nodes.nodes, 3, 0.5) is nodes.nodes
    assert window(nodes.nodes, 9, 0.5) is nodes.nodes


def test_places():
    assert Caller(position=0.25).place() == 0.25
    assert Caller(position=1.25).place() == 0.25
    assert 0 <= Caller("a/b").place() < 1
    assert Caller("a/b").place() == Caller("a/b").place() != Caller("a/c").place()
