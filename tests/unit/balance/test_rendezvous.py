"""Rendezvous: the same caller, the same endpoint; a change of the set moves only the keys it must."""

from __future__ import annotations

from collections import Counter

import pytest
from balance_world import balancer_of

from mesh.balance import Balancer, Node, NodeSet, Rng, source_key
from mesh.model import Algorithm, Endpoint

KEYS = [source_key(f"10.{i >> 8}.{i & 255}.{i % 7}") for i in range(4000)]


def make(weights: dict[str, int]) -> tuple[NodeSet, Balancer]:
    nodes = NodeSet()
    return nodes, update(nodes, balancer_of(Algorithm.SOURCE_IP_HASH, nodes, Rng(1)), weights)


def update(nodes: NodeSet, picker: Balancer, weights: dict[str, int]) -> Balancer:
    nodes.reconcile(Endpoint("cart", name, "127.0.0.1", 80, weight=weight) for name, weight in weights.items())
    picker.changed()
    return picker


def homes(picker: Balancer, tried: list[Node] | None = None) -> list[str]:
    return [picker.pick(key, 0.0, tried).endpoint.name for key in KEYS]


def test_neither_rng_nor_order_has_a_say():
    nodes, picker = make({"a": 1, "b": 2, "c": 3})
    again = update(nodes, balancer_of(Algorithm.SOURCE_IP_HASH, nodes, Rng(99)), {"c": 3, "a": 1, "b": 2})
    assert homes(picker) == homes(again)


@pytest.mark.parametrize("weights", [dict.fromkeys("abcde", 1), {"a": 1, "b": 3, "c": 2}])
def test_removal_moves_only_the_keys_of_the_one_that_left(weights: dict[str, int]):
    nodes, picker = make(weights)
    before = homes(picker)
    after = homes(update(nodes, picker, {name: weight for name, weight in weights.items() if name != "a"}))
    assert all(old == new for old, new in zip(before, after, strict=True) if old != "a")
    assert "a" not in after


@pytest.mark.parametrize("weights", [dict.fromkeys("abcde", 1), {"a": 1, "b": 3, "c": 2}])
def test_what_comes_takes_what_it_is_due_and_nothing_else_moves(weights: dict[str, int]):
    nodes, picker = make(weights)
    before = homes(picker)
    after = homes(update(nodes, picker, {**weights, "new": 2}))
    assert all(new in (old, "new") for old, new in zip(before, after, strict=True))
    p = 2 / (sum(weights.values()) + 2)
    assert abs(after.count("new") - len(KEYS) * p) < 5 * (len(KEYS) * p * (1 - p)) ** 0.5


def test_more_weight_only_attracts_less_only_sheds():
    nodes, picker = make({"a": 2, "b": 2, "c": 2})  # all equal: the path without logarithms
    before = homes(picker)
    more = homes(update(nodes, picker, {"a": 4, "b": 2, "c": 2}))
    assert all(new in (old, "a") for old, new in zip(before, more, strict=True))
    less = homes(update(nodes, picker, {"a": 1, "b": 2, "c": 2}))
    assert all(new == old or old == "a" for old, new in zip(before, less, strict=True))


def test_equal_weights_of_any_size_are_the_same():
    assert homes(make({"a": 1, "b": 1, "c": 1})[1]) == homes(make({"a": 500, "b": 500, "c": 500})[1])


def test_tried_and_ejected_fall_to_the_second_choice_and_back():
    nodes, picker = make({"a": 1, "b": 3, "c": 2})
    before = homes(picker)
    b = nodes.by_name["b"]
    without_b = homes(picker, [b])
    assert "b" not in without_b
    assert all(old == new for old, new in zip(before, without_b, strict=True) if old != "b")
    b.ejected_until = 10.0
    picker.changed()
    assert homes(picker) == without_b
    assert [picker.pick(key, 10.0, None).endpoint.name for key in KEYS] == before


def test_a_restart_under_another_address_keeps_the_callers():
    nodes, picker = make({"a": 1, "b": 1})
    before = homes(picker)
    nodes.reconcile([Endpoint("cart", "a", "127.0.0.2", 81), Endpoint("cart", "b", "127.0.0.1", 80)])
    picker.changed()
    assert homes(picker) == before
    assert nodes.by_name["a"].endpoint.host == "127.0.0.2"


def test_more_callers_than_are_remembered():
    _, picker = make({"a": 1, "b": 3, "c": 2})
    assert len(set(KEYS)) > 3000
    first = homes(picker)
    assert homes(picker) == first
    counts = Counter(first)
    for name, weight in {"a": 1, "b": 3, "c": 2}.items():
        p = weight / 6
        assert abs(counts[name] - len(KEYS) * p) < 5 * (len(KEYS) * p * (1 - p)) ** 0.5
