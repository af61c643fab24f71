"""An explanation is the next pick, and leaves no trace: over all algorithms, checked against picks that are made."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
from balance_world import endpoints, load, node_set, policy_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.balance import Balancer, Caller, Node, NodeSet, Rng
from mesh.balance.explain import LISTED, SCORES, Rehearsal, chance, explain
from mesh.model import (
    Algorithm,
    Endpoint,
    HashKey,
    HashPolicy,
    Health,
    Locality,
    LocalityPolicy,
    Prefer,
    SlowStartPolicy,
    StickyPolicy,
    SubsetPolicy,
)
from mesh.model.balance import HASHING, RAMPING

ALL = list(Algorithm)


class Twin:
    """A balancer, and another one in the same state that nobody ever asks for an explanation."""

    def __init__(self, algorithm: Algorithm, weights: list[int], seed: int, **fields: object) -> None:
        self.sides: list[tuple[Balancer, NodeSet]] = []
        for _ in range(2):
            nodes = node_set(weights)
            self.sides.append((Balancer(policy_of(algorithm, **fields), nodes, Rng(seed)), nodes))
        self.asked = self.sides[0][0]


def explained(balancer: Balancer, key: int, now: float, tried: list[Node] | None = None):
    return explain(balancer, now, lambda _: key, tried=tried)


def state_of(nodes: NodeSet):
    return [(node.weight, node.in_flight, node.latency, node.latency_at, node.up_since, node.ejected_until,
             node.probe_until, node.held)
            for node in nodes.nodes], nodes.generation


@pytest.mark.parametrize("algorithm", ALL, ids=lambda each: each.value)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_explanation_is_the_next_pick_and_changes_nothing(algorithm: Algorithm, data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=9), "weights")
    fields: dict[str, object] = {}
    if algorithm in HASHING and algorithm is not Algorithm.SOURCE_IP_HASH:
        fields["hash"] = HashPolicy(HashKey.PATH, bounded_load=data.draw(st.sampled_from([0, 1.25]), "bound"))
    if algorithm in RAMPING and data.draw(st.booleans(), "slow start"):
        fields["slow_start"] = SlowStartPolicy(window=10.0)
    twin = Twin(algorithm, weights, data.draw(st.integers(0, 2**32), "seed"), **fields)
    now = 1.0
    for _ in range(data.draw(st.integers(1, 25), "steps")):
        now += data.draw(st.sampled_from([0.0, 0.01, 0.5, 3.0]), "pause")
        place = data.draw(st.integers(0, len(weights) - 1), "place")
        what = data.draw(st.sampled_from(["pick", "again", "end", "eject", "answer", "set"]), "what")
        if what in ("pick", "again"):
            key = data.draw(st.integers(0, 2**64 - 1), "key")
            check_pick(twin, key, now, place if what == "again" else None)
            continue
        if what == "set":
            weights[place] = (weights[place] + 1) % 6
        for balancer, nodes in twin.sides:
            change(what, balancer, nodes, nodes.nodes[place], now, weights)


def change(what: str, balancer: Balancer, nodes: NodeSet, node: Node, now: float, weights: list[int]) -> None:
    """Anything but a pick."""
    if what == "end":
        if node.in_flight:
            node.end()
    elif what == "eject":
        node.ejected_until, node.ejections = now + 2.0, 1
        node.held = weights[0] % 2 == 0  # else it comes back without a probe
        balancer.changed()
    elif what == "answer":
        balancer.on_result(node, 0.01 * (node.position + 1), True, now)
    else:
        nodes.reconcile(endpoints(weights))
        balancer.changed()


def check_pick(twin: Twin, key: int, now: float, place: int | None) -> None:
    """Explain on one side, then pick on both: they are the same, and so are their generators."""
    nodes = twin.asked.nodes
    before = state_of(nodes)
    said = explained(twin.asked, key, now, None if place is None else [nodes.nodes[place]])
    assert state_of(nodes) == before
    picks = []
    for balancer, own in twin.sides:
        pick = balancer.pick(key, now, None if place is None else [own.nodes[place]])
        assert (pick and pick.resource) == (said.picked and said.picked.resource)
        assert pick is None or balancer.why == said.why
        if pick is not None:
            pick.begin()
        picks.append(pick)
    assert picks[0] is said.picked
    numbers = [balancer.rng.next64() for balancer, _ in twin.sides]
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("algorithm", ALL, ids=lambda each: each.value)
def test_a_hundred_explanations_leave_the_sequence_alone(algorithm: Algorithm) -> None:
    twin = Twin(algorithm, [3, 1, 2, 2], 11)
    asked, alone = (side[0] for side in twin.sides)
    for i in range(60):
        for _ in range(2):
            explained(asked, i * 7919, 1.0 + i)
        picks = asked.pick(i * 7919, 1.0 + i, None), alone.pick(i * 7919, 1.0 + i, None)
        assert picks[0].resource == picks[1].resource
        for pick in picks:
            pick.begin()
    assert asked.rng.next64() == alone.rng.next64()


@pytest.mark.parametrize("algorithm", ALL, ids=lambda each: each.value)
def test_nobody_is_told_of_calls_but_who_was_before(algorithm: Algorithm) -> None:
    nodes = node_set([1, 1])
    balancer = Balancer(policy_of(algorithm), nodes, Rng(1))
    with Rehearsal(balancer) as fork:
        fork.pick(1, 1.0, None)
        forked = fork.picker
    load(nodes.nodes[0], 3)  # a picker that still watched would look at a tree it has let go of
    assert forked.active == []
    balancer.pick(1, 1.0, None)
    explained(balancer, 1, 1.0)
    load(nodes.nodes[0], 0)
    load(nodes.nodes[1], 5)
    if algorithm in (Algorithm.LEAST_CONNECTIONS, Algorithm.LEAST_TIME):
        assert balancer.pick(1, 1.0, None) is nodes.nodes[0]


def test_each_endpoint_says_why_not() -> None:
    nodes = NodeSet()
    nodes.reconcile([
        Endpoint("cart", "a", "::1", 1, metadata=(("v", "2"),)),
        Endpoint("cart", "b", "::1", 2, metadata=(("v", "2"),), health=Health.DRAINING),
        Endpoint("cart", "c", "::1", 3, metadata=(("v", "2"),), weight=0),
        Endpoint("cart", "d", "::1", 4),
        Endpoint("cart", "e", "::1", 5, metadata=(("v", "2"),), health=Health.UNHEALTHY),
        Endpoint("cart", "f", "::1", 6, metadata=(("v", "2"),)),
        Endpoint("cart", "g", "::1", 7, metadata=(("v", "2"),), priority=1),
        *(Endpoint("cart", f"h{i}", "::1", 8 + i, metadata=(("v", "2"),)) for i in range(6))])
    balancer = Balancer(policy_of(Algorithm.POWER_OF_TWO, subset=SubsetPolicy((("v", "2"),))), nodes, Rng(1))
    by_name = nodes.by_name
    by_name["f"].ejected_until, by_name["f"].ejections = 31.0, 2
    by_name["a"].consecutive_failures = 3
    said = explained(balancer, 1, 1.0, [by_name["h0"]])
    states = {each.node.endpoint.name: each.state for each in said.candidates}
    assert {name: states[name] for name in "abcdefg"} == {
        "a": "", "b": "draining", "c": "weight 0", "d": "its metadata is not what subset.match asks for",
        "e": "unhealthy, the registry says", "f": "ejected for 30 s more (2 times in a row)",
        "g": "spare: the levels before it take everything"}
    assert states["h0"] == "avoided: it was tried, or asked to be left alone"
    notes = {each.node.endpoint.name: each.note for each in said.candidates}
    assert (notes["a"], notes["h1"]) == ("3 failures in a row", "")
    assert [level.name for level in said.levels] == ["", "priority 1"]
    assert [level.load for level in said.levels] == [1.0, 0.0]


def test_panic_and_subsets_are_told() -> None:
    nodes = node_set([1] * 8)
    balancer = Balancer(policy_of(Algorithm.POWER_OF_TWO, subset=SubsetPolicy(size=3)), nodes, Rng(1), Caller("a/a-0"))
    said = explained(balancer, 1, 1.0)
    assert Counter(each.state for each in said.candidates) == {"": 3, "not one of the 3 that this sidecar uses": 5}
    nodes = node_set([1] * 4)
    for node in nodes.nodes[:3]:
        node.ejected_until, node.ejections = 11.0, 1
    balancer = Balancer(policy_of(Algorithm.POWER_OF_TWO), nodes, Rng(1))
    said = explained(balancer, 1, 1.0)
    assert said.levels[0].panic
    assert Counter(each.note for each in said.candidates) == {
        "": 1, "ejected for 10 s more (once); used all the same: panic": 3}
    assert all(each.state == "" for each in said.candidates)


def test_places_and_slow_starts_are_told() -> None:
    nodes = NodeSet()
    here, there = Locality("eu", "a"), Locality("eu", "b")
    nodes.reconcile([Endpoint("cart", "x", "::1", 1, locality=here), Endpoint("cart", "y", "::1", 2, locality=there)])
    policy = policy_of(Algorithm.POWER_OF_TWO, locality=LocalityPolicy(Prefer.ZONE), slow_start=SlowStartPolicy(10.0))
    balancer = Balancer(policy, nodes, Rng(1), Caller("a/a-0", here))
    balancer.pick(1, 1.0, None)
    nodes.reconcile([Endpoint("cart", "x", "::1", 1, locality=here), Endpoint("cart", "y", "::1", 2, locality=there),
                     Endpoint("cart", "z", "::1", 3, locality=here)])
    balancer.changed()
    said = explained(balancer, 1, 2.0)
    assert {each.node.endpoint.name: (each.level, each.ramp) for each in said.candidates} == {
        "x": ("same zone", 1.0), "y": ("same region", 1.0), "z": ("same zone", 0.1)}
    assert said.why.endswith("same zone")


@pytest.mark.parametrize(("algorithm", "scores"), [
    (Algorithm.POWER_OF_TWO, [4.0, 1.0]), (Algorithm.LEAST_REQUEST, [4.0, 1.0]),
    (Algorithm.LEAST_CONNECTIONS, [4.0, 1.0]), (Algorithm.FIRST_AVAILABLE, [4 / 3, 0.0]),
    (Algorithm.PEAK_EWMA, [0.03 * 5, 0.03 * 2]), (Algorithm.LEAST_TIME, [0.03 * 5, 0.03 * 2]),
    (Algorithm.ROUND_ROBIN, [None, None])])
def test_scores_are_the_algorithms_own(algorithm: Algorithm, scores: list[float | None]) -> None:
    nodes = node_set([1, 1])
    load(nodes.nodes[0], 4)
    load(nodes.nodes[1], 1)
    said = explained(Balancer(policy_of(algorithm), nodes, Rng(1)), 1, 1.0)
    by_name = {each.node.endpoint.name: each.score for each in said.candidates}
    assert [by_name[node.endpoint.name] for node in nodes.nodes] == pytest.approx(scores)
    assert (algorithm in SCORES) == (scores[0] is not None)


@pytest.mark.parametrize("weights", [[1, 1, 1], [1, 4, 2]])
def test_the_highest_score_of_a_key_is_where_it_goes(weights: list[int]) -> None:
    balancer = Balancer(policy_of(Algorithm.RENDEZVOUS), node_set(weights), Rng(1))
    for key in range(50):
        said = explained(balancer, key, 1.0)
        best = max(said.candidates, key=lambda each: each.score or 0.0)
        assert best.node is said.picked
        assert best.share == 1.0


def test_shares_are_those_of_the_picks_that_follow() -> None:
    balancer = Balancer(policy_of(Algorithm.RANDOM), node_set([1, 3]), Rng(5))
    shares = {each.node.full_weight: each.share for each in explained(balancer, 1, 1.0).candidates}
    assert shares[1] + shares[3] == pytest.approx(1.0)
    assert 0.68 < shares[3] < 0.82
    turns = Balancer(policy_of(Algorithm.WEIGHTED_ROUND_ROBIN), node_set([1, 3]), Rng(5))
    assert {each.share for each in explained(turns, 1, 1.0).candidates} == {0.25, 0.75}


def test_a_cookie_is_followed() -> None:
    balancer = Balancer(policy_of(Algorithm.ROUND_ROBIN, sticky=StickyPolicy("sid")), node_set([1, 1, 1]), Rng(1))
    for node in balancer.nodes.nodes:
        cookie = balancer.sticky.set_cookie(node).partition(b";")[0]
        said = explain(balancer, 1.0, lambda _: 1, cookie)
        assert (said.picked, said.why) == (node, "sticky")
        assert said.candidates[0].share == 1.0


def test_nothing_to_pick_and_too_much_to_list() -> None:
    said = explained(Balancer(policy_of(Algorithm.MAGLEV), node_set([0]), Rng(1)), 1, 1.0)
    assert (said.picked, [each.state for each in said.candidates]) == (None, ["weight 0"])
    many = Balancer(policy_of(Algorithm.ROUND_ROBIN), node_set([1] * (LISTED + 50)), Rng(1))
    said = explained(many, 1, 1.0)
    assert (len(said.candidates), said.omitted) == (LISTED, 50)
    assert said.candidates[0].node is said.picked


def test_what_chance_has_to_say() -> None:
    assert chance(policy_of(Algorithm.MAGLEV)) == ""
    assert "turn" in chance(policy_of(Algorithm.ROUND_ROBIN))
    assert "chance" in chance(policy_of(Algorithm.POWER_OF_TWO))
    assert copy.copy(Rng(1)).next64() == Rng(1).next64()


def test_one_that_is_full_is_picked_only_where_all_are() -> None:
    balancer = Balancer(policy_of(Algorithm.ROUND_ROBIN), node_set([1, 1, 1]), Rng(1))
    nodes = balancer.nodes.nodes
    said = explain(balancer, 1.0, lambda _: 1, full=nodes[:2])
    assert said.picked is nodes[2]
    states = {each.node: each.state for each in said.candidates}
    assert states == {nodes[0]: "full: 0 calls in flight, as many as it may have",
                      nodes[1]: "full: 0 calls in flight, as many as it may have", nodes[2]: ""}
    assert explain(balancer, 1.0, lambda _: 1, tried=[nodes[2]], full=nodes[:2]).picked is nodes[2]
    assert explain(balancer, 1.0, lambda _: 1, full=nodes).picked in nodes
