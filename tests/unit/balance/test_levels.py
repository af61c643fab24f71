"""Levels: who goes first, how much the next ones take over, when ejections are not believed; and the picks that
follow."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from balance_world import policy_of
from hypothesis import given
from hypothesis import strategies as st

from mesh.balance import Balancer, Caller, NodeSet, Rng
from mesh.balance.levels import Eligibility
from mesh.model import (
    Algorithm,
    BalancePolicy,
    Endpoint,
    Health,
    Locality,
    LocalityPolicy,
    OutlierPolicy,
    Prefer,
    SubsetPolicy,
)

HOME = Caller("shop/shop-0", Locality("eu", "eu-a"))
ZONE_FIRST = LocalityPolicy(Prefer.ZONE)


def at(name: str, place: str = "", **fields: object) -> Endpoint:
    """`place` is `region/zone`."""
    region, _, zone = place.partition("/")
    return Endpoint("cart", name, "127.0.0.1", 80, locality=Locality(region, zone), **fields)


def nodes_of(*given: Endpoint) -> NodeSet:
    nodes = NodeSet()
    nodes.reconcile(given)
    return nodes


def fleet(ups: dict[str, tuple[int, int]], priority: bool = False) -> NodeSet:
    """For each zone (or priority) how many endpoints are up, of how many; the others are ejected."""
    nodes, down = NodeSet(), set()
    given = []
    for index, (place, (up, of)) in enumerate(ups.items()):
        for i in range(of):
            name = f"n{index}-{i}"
            given.append(at(name, "eu/eu-a" if priority else place, priority=index if priority else 0))
            if i >= up:
                down.add(name)
    nodes.reconcile(given)
    for name in down:
        nodes.by_name[name].ejected_until = 100.0
    return nodes


def loads(nodes: NodeSet, policy: BalancePolicy | None = None, caller: Caller = HOME) -> list[float]:
    levels = Eligibility(policy or BalancePolicy(locality=ZONE_FIRST), caller).sort(nodes.nodes, 0.0)
    return [round(level.load, 3) for level in levels]


@pytest.mark.parametrize(("ups", "expected"), [
    ({"eu/eu-a": (10, 10), "eu/eu-b": (10, 10)}, [1.0, 0.0]),
    ({"eu/eu-a": (8, 10), "eu/eu-b": (10, 10)}, [1.0, 0.0]),  # 0.8 * 1.4 is more than enough
    ({"eu/eu-a": (7, 10), "eu/eu-b": (10, 10)}, [0.98, 0.02]),
    ({"eu/eu-a": (5, 10), "eu/eu-b": (10, 10)}, [0.7, 0.3]),
    ({"eu/eu-a": (5, 10), "eu/eu-b": (1, 10), "us/us-a": (10, 10)}, [0.7, 0.14, 0.16]),
    ({"eu/eu-a": (0, 10), "eu/eu-b": (10, 10)}, [0.0, 1.0]),
    ({"eu/eu-a": (2, 10), "eu/eu-b": (1, 10)}, [0.667, 0.333]),  # 0.28 + 0.14: each its part of what they can take
    ({"us/us-a": (10, 10)}, [1.0])])
def test_a_level_takes_what_it_has_capacity_for_and_the_next_what_is_left(ups: dict, expected: list[float]):
    """Envoy's table for priority levels, by zones."""
    assert loads(fleet(ups)) == expected


@pytest.mark.parametrize(("up", "expected"), [(10, [1.0, 0.0]), (5, [0.7, 0.3]), (0, [0.0, 1.0])])
def test_backups_are_the_same_by_priority(up: int, expected: list[float]):
    nodes = fleet({"primary": (up, 10), "backup": (10, 10)}, priority=True)
    assert loads(nodes, BalancePolicy()) == expected
    counts: Counter = Counter()
    balancer = Balancer(BalancePolicy(Algorithm.RANDOM), nodes, Rng(1))
    for _ in range(4000):
        counts[balancer.pick(0, 0.0, None).priority] += 1
        backup = ", priority 1" if expected[0] == 0 else ("", ", priority 1")
        assert balancer.why.removeprefix("random") in backup
    assert counts[1] / 4000 == pytest.approx(expected[1], abs=5 * (0.21 / 4000) ** 0.5)


def test_capacity_is_by_weight():
    nodes = nodes_of(at("a", "eu/eu-a", weight=9), at("b", "eu/eu-a", weight=1), at("c", "eu/eu-b"))
    nodes.by_name["a"].ejected_until = 10.0
    assert loads(nodes) == [0.14, 0.86]


@pytest.mark.parametrize(("change", "expected"), [
    ({"health": Health.UNHEALTHY}, [0.7, 0.3]),  # lost capacity
    ({"health": Health.DRAINING}, [1.0, 0.0]), ({"weight": 0}, [1.0, 0.0])])  # meant to go: no capacity to begin with
def test_what_counts_as_capacity(change: dict, expected: list[float]):
    good = [at(f"a{i}", "eu/eu-a") for i in range(5)] + [at("b", "eu/eu-b")]
    bad = [replace(at(f"x{i}", "eu/eu-a"), **change) for i in range(5)]
    assert loads(nodes_of(*good, *bad)) == expected


def test_the_order_of_places():
    policy = BalancePolicy(locality=LocalityPolicy(Prefer.ZONE, ("us", "ap")))
    nodes = nodes_of(at("far", "sa/sa-a"), at("ap", "ap/ap-a"), at("us", "us/us-a"), at("region", "eu/eu-b"),
                     at("zone", "eu/eu-a"), at("backup", "eu/eu-a", priority=1))
    eligibility = Eligibility(policy, HOME)
    levels = eligibility.sort(nodes.nodes, 0.0)
    assert [node.endpoint.name for level in levels for node in level.active] == [
        "zone", "region", "us", "ap", "far", "backup"]
    assert [level.name for level in levels] == [
        "same zone", "same region", "us", "ap", "far", "priority 1, same zone"]


def test_a_region_without_zones():
    policy = BalancePolicy(locality=LocalityPolicy(Prefer.REGION))
    nodes = nodes_of(at("a", "eu/eu-a"), at("b", "eu/eu-b"), at("c", "us/us-a"), at("d", "ap/ap-a"))
    levels = Eligibility(policy, HOME).sort(nodes.nodes, 0.0)
    assert [[node.endpoint.name for node in level.active] for level in levels] == [["a", "b"], ["c", "d"]]
    assert loads(nodes, BalancePolicy()) == [1.0]  # places have no say unless asked


def test_picks_follow_the_loads_and_a_key_keeps_its_level():
    nodes = fleet({"eu/eu-a": (5, 10), "eu/eu-b": (10, 10)})
    for algorithm in Algorithm:
        balancer = Balancer(policy_of(algorithm, locality=ZONE_FIRST), nodes, Rng(1), HOME)
        keys = Rng(2)
        picked = [(key := keys.next64(), balancer.pick(key, 0.0, None)) for _ in range(4000)]
        near = sum(node.endpoint.locality.zone == "eu-a" for _, node in picked)
        assert abs(near - 2800) <= 5 * (4000 * 0.21) ** 0.5, algorithm
        assert not any(node.ejected_until for _, node in picked)
        if balancer.describe() in ("rendezvous", "source_ip_hash", "ring_hash", "maglev"):
            assert all(balancer.pick(key, 0.0, None) is node for key, node in picked[:200])


def test_a_second_attempt_goes_on_to_backups_before_it_repeats():
    nodes = nodes_of(at("a"), at("b"), at("backup", priority=1))
    for algorithm in Algorithm:
        balancer = Balancer(policy_of(algorithm), nodes, Rng(1))
        a, b, backup = nodes.nodes
        assert backup not in {balancer.pick(key, 0.0, None) for key in range(50)}
        assert balancer.pick(1, 0.0, [a]) is b
        assert balancer.pick(1, 0.0, [a, b]) is backup
        assert balancer.why == f"{algorithm.value}, priority 1"
        assert balancer.pick(1, 0.0, [a, b, backup]) in (a, b)


def test_a_level_keeps_its_state_while_others_come_and_go():
    """Round robin goes on behind the last although a level before it came and went."""
    nodes = nodes_of(*(at(f"n{i}", "eu/eu-b") for i in range(4)))
    policy = BalancePolicy(Algorithm.ROUND_ROBIN, locality=ZONE_FIRST)
    balancer = Balancer(policy, nodes, Rng(1), HOME)
    first = balancer.pick(0, 0.0, None).position
    nodes.reconcile([*(at(f"n{i}", "eu/eu-b") for i in range(4)), at("near", "eu/eu-a")])
    balancer.changed()
    assert balancer.pick(0, 0.0, None).endpoint.name == "near"
    nodes.reconcile([at(f"n{i}", "eu/eu-b") for i in range(4)])
    balancer.changed()
    assert balancer.pick(0, 0.0, None).endpoint.name == f"n{(first + 1) % 4}"


# -- panic


@pytest.mark.parametrize(("up", "threshold", "panic"), [
    (5, 0.5, False), (4, 0.5, True), (0, 0.5, True), (0, 0.0, True), (1, 0.0, False), (7, 1.0, True), (8, 1.0, False)])
def test_below_the_threshold_ejections_are_not_believed(up: int, threshold: float, panic: bool):
    """With 8 of 10 up the rest can take it all (1.12): no reason to panic, whatever the threshold."""
    nodes = fleet({"eu/eu-a": (up, 10)})
    policy = BalancePolicy(Algorithm.ROUND_ROBIN, panic_threshold=threshold)
    balancer = Balancer(policy, nodes, Rng(1))
    picked = {balancer.pick(0, 0.0, None) for _ in range(20)}
    assert len(picked) == (10 if panic else up)
    assert balancer.panic == panic
    assert balancer.why == ("round_robin" + f", panic: {up * 10}% up" * panic)


def test_no_panic_while_other_levels_can_take_it():
    nodes = fleet({"eu/eu-a": (1, 10), "eu/eu-b": (10, 10)})
    balancer = Balancer(BalancePolicy(Algorithm.RANDOM, locality=ZONE_FIRST), nodes, Rng(1), HOME)
    picked = {balancer.pick(0, 0.0, None) for _ in range(2000)}
    assert len(picked) == 11
    assert not balancer.panic
    for name, node in nodes.by_name.items():
        if name.startswith("n1") and name > "n1-2":
            node.ejected_until = 100.0
    balancer.changed()  # 0.14 + 0.42: both panic
    assert len({balancer.pick(0, 0.0, None) for _ in range(2000)}) == 20
    assert balancer.panic


def test_the_registrys_word_is_never_overridden():
    nodes = nodes_of(at("a"), *(at(f"x{i}", health=Health.UNHEALTHY) for i in range(9)))
    nodes.by_name["a"].ejected_until = 10.0
    balancer = Balancer(BalancePolicy(), nodes, Rng(1))
    assert {balancer.pick(key, 0.0, None).endpoint.name for key in range(50)} == {"a"}


def test_panic_ends_with_the_ejections():
    nodes = fleet({"eu/eu-a": (1, 10)})
    balancer = Balancer(BalancePolicy(Algorithm.ROUND_ROBIN), nodes, Rng(1))
    balancer.pick(0, 0.0, None)
    for node in nodes.nodes[1:6]:
        node.ejected_until = 10.0
    balancer.changed()
    assert len({balancer.pick(0, 9.0, None) for _ in range(20)}) == 10
    assert len({balancer.pick(0, 10.0, None) for _ in range(20)}) == 6
    assert not balancer.panic


# -- subsets


V1, V2 = {"metadata": (("version", "1"),)}, {"metadata": (("tier", "gold"), ("version", "2"))}


def test_only_what_matches_all_of_the_metadata():
    nodes = nodes_of(at("a", **V1), at("b", **V2), at("c", **V2), at("d"))
    for match, expected in (((("version", "2"),), {"b", "c"}), ((("version", "2"), ("tier", "gold")), {"b", "c"}),
                            ((("version", "1"), ("tier", "gold")), set()), ((("version", "3"),), set())):
        balancer = Balancer(BalancePolicy(subset=SubsetPolicy(match)), nodes, Rng(1))
        picked = {balancer.pick(key, 0.0, None) for key in range(60)}
        assert {node.endpoint.name for node in picked if node is not None} == expected
        assert (None in picked) == (not expected)


def test_all_while_none_of_those_can_be_picked():
    nodes = nodes_of(at("a", **V1), at("b", **V2))
    a, b = nodes.nodes
    balancer = Balancer(BalancePolicy(subset=SubsetPolicy((("version", "2"),), or_any=True)), nodes, Rng(1))
    assert {balancer.pick(key, 0.0, None) for key in range(60)} == {b}
    b.ejected_until = 5.0
    balancer.changed()
    assert {balancer.pick(key, 0.0, None) for key in range(60)} == {a}
    assert {balancer.pick(key, 5.0, None) for key in range(60)} == {b}


def test_each_sidecar_uses_its_part_and_the_rest_of_it_while_some_is_ejected():
    nodes = nodes_of(*(at(f"n{i:02}") for i in range(50)))
    policy = BalancePolicy(Algorithm.ROUND_ROBIN, subset=SubsetPolicy(size=10))
    balancer = Balancer(policy, nodes, Rng(1), Caller(position=0.3))
    used = {balancer.pick(0, 0.0, None) for _ in range(100)}
    assert len(used) == 10
    gone = min(used, key=lambda node: node.position)
    gone.ejected_until = 5.0
    balancer.changed()
    assert {balancer.pick(0, 0.0, None) for _ in range(100)} == used - {gone}
    other = Balancer(policy, nodes, Rng(1), Caller(position=0.8))
    assert {other.pick(0, 9.0, None) for _ in range(100)}.isdisjoint(used)


def test_a_subset_of_each_level():
    nodes = nodes_of(*(at(f"a{i:02}", "eu/eu-a") for i in range(20)), *(at(f"b{i:02}", "eu/eu-b") for i in range(20)))
    policy = BalancePolicy(Algorithm.ROUND_ROBIN, locality=ZONE_FIRST, subset=SubsetPolicy(size=5))
    levels = Eligibility(policy, HOME).sort(nodes.nodes, 0.0)
    assert [len(level.active) for level in levels] == [5, 5]


# -- whatever happens


ENDPOINTS = st.lists(st.tuples(st.sampled_from(["eu/eu-a", "eu/eu-b", "us/us-a", ""]), st.integers(0, 2),
                               st.integers(0, 3), st.sampled_from(Health), st.booleans()), max_size=12)


@given(ENDPOINTS, st.sampled_from(Prefer), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([1.0, 1.4]),
       st.sampled_from([0, 2]))
def test_loads_sum_up_and_whoever_can_be_picked_is(given: list, prefer: Prefer, threshold: float, factor: float,
                                                   size: int):
    nodes = nodes_of(*(at(f"n{i}", place, priority=priority, weight=weight, health=health)
                       for i, (place, priority, weight, health, _) in enumerate(given)))
    for node, (*_, ejected) in zip((nodes.by_name[f"n{i}"] for i in range(len(given))), given, strict=True):
        node.ejected_until = 10.0 * ejected
    policy = BalancePolicy(locality=LocalityPolicy(prefer), panic_threshold=threshold, overprovisioning=factor,
                           subset=SubsetPolicy(size=size))
    levels = Eligibility(policy, HOME).sort(nodes.nodes, 0.0)
    healthy = [node for node in nodes.nodes if node.healthy]
    assert sum(level.load for level in levels) == pytest.approx(1.0 if healthy else 0.0)
    for level in levels:
        assert level.load == 0 or level.active
        assert set(level.active) <= set(healthy)
        if not level.panic:
            assert all(node.eligible(0.0) for node in level.active)
    picked = Balancer(policy, nodes, Rng(1), HOME).pick(1, 0.0, None)
    assert (picked is None) == (not healthy)
    if any(node.eligible(0.0) for node in healthy) and threshold == 0 and size == 0:
        assert picked.eligible(0.0)


def test_bounds_of_the_outlier_policy_leave_no_reason_to_panic():
    """At most a tenth out: 0.9 * 1.4 is more than enough, so that by default no ejection spills anything over."""
    assert (1 - OutlierPolicy().max_ejection_ratio) * BalancePolicy().overprovisioning >= 1
