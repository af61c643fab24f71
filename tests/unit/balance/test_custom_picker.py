"""A policy of one's own among the pickers: what it is shown, whose pick counts, and what it can't break."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from balance_world import load, node_set

from mesh.balance import Balancer, Node, NodeSet, Rng
from mesh.balance.custom_picker import Candidate
from mesh.balance.explain import explain
from mesh.model import Algorithm, BalancePolicy, Endpoint, Locality
from mesh.model.custom import CustomMode, CustomPolicy

SOURCE = "class Mine:\n    def pick(self, candidates, request, now, rng): pass\n"


class Policy:
    """What the picker is given: `choose` is the policy proper."""

    def __init__(self, choose: Callable[[Sequence[Candidate]], Any], live: bool = True) -> None:
        self.choose = choose
        self.live = live
        self.fell_back = False
        self.resting = False
        self.asked_for: list[int] = []
        self.refused: list[Any] = []
        self.compared: list[bool] = []
        self.results: list[tuple[str, float, bool]] = []

    def asked(self, now: float) -> bool:
        self.fell_back = self.live and self.resting
        return not self.resting

    def pick(self, candidates: Sequence[Candidate], key: int, now: float) -> Any:
        self.asked_for.append(len(candidates))
        return self.choose(candidates)

    def refuse(self, answer: object) -> None:
        self.refused.append(answer)
        self.fell_back = self.live

    def compare(self, chosen: object, used: object) -> None:
        self.compared.append(chosen is used)

    def on_result(self, candidate: Candidate, latency: float, ok: bool, now: float) -> None:
        self.results.append((candidate.name, latency, ok))

    def fork(self) -> Policy | None:
        return copy.copy(self) if self.live else None


def balancer(policy: Policy, nodes: NodeSet, algorithm: Algorithm = Algorithm.POWER_OF_TWO) -> Balancer:
    mode = CustomMode.LIVE if policy.live else CustomMode.SHADOW
    return Balancer(BalancePolicy(algorithm, custom=CustomPolicy("Mine", SOURCE, mode)), nodes, Rng(1), None, policy)


def names(made: Balancer, picks: int, tried: list[Node] | None = None) -> list[str]:
    return [made.pick(7, 1.0, tried).endpoint.name for _ in range(picks)]


def test_live_its_picks_are_used() -> None:
    made = balancer(Policy(lambda candidates: candidates[-1]), node_set([1, 2, 3]))
    assert names(made, 4) == ["cart-00002"] * 4
    assert made.why == "custom Mine"
    assert made.describe() == "custom Mine"


def test_in_shadow_they_are_compared() -> None:
    policy = Policy(lambda candidates: candidates[0], live=False)
    made = balancer(policy, node_set([1, 1, 1]), Algorithm.ROUND_ROBIN)
    alone = Balancer(BalancePolicy(Algorithm.ROUND_ROBIN), node_set([1, 1, 1]), Rng(1))
    assert names(made, 6) == names(alone, 6)
    assert made.why == "round_robin"
    assert sorted(policy.compared) == [False] * 4 + [True] * 2


@pytest.mark.parametrize("live", [True, False])
def test_what_is_no_candidate_is_refused_and_somebody_picked(live: bool) -> None:
    nodes = node_set([1, 1])
    other = node_set([1])
    stolen: list[Candidate] = []
    thief = balancer(Policy(lambda candidates: stolen.append(candidates[0])), other)
    thief.pick(1, 1.0, None)
    for answer in ("cart-00000", 0, object(), stolen[0], nodes.nodes[0]):
        policy = Policy(lambda _: answer, live)  # noqa: B023  asked at once
        made = balancer(policy, nodes)
        assert made.pick(1, 1.0, None) in nodes.nodes
        assert policy.refused == [answer]
        assert policy.compared == []
        assert made.why == ("power_of_two for custom Mine" if live else "power_of_two")


def test_no_opinion_and_rest_leave_it_to_the_algorithm() -> None:
    policy = Policy(lambda _: None)
    made = balancer(policy, node_set([1, 1]))
    alone = Balancer(BalancePolicy(), node_set([1, 1]), Rng(1))
    assert names(made, 20) == names(alone, 20)
    assert policy.refused == []
    policy.resting = True
    policy.asked_for.clear()
    assert names(made, 20) == names(alone, 20)
    assert policy.asked_for == []
    assert made.why == "power_of_two for custom Mine"


def test_a_second_attempt_is_asked_of_the_others() -> None:
    policy = Policy(lambda candidates: candidates[0])
    nodes = node_set([1, 1, 1])
    made = balancer(policy, nodes)
    assert names(made, 1, [nodes.nodes[0]]) == ["cart-00001"]
    assert names(made, 1, nodes.nodes[:2]) == ["cart-00002"]
    assert policy.asked_for == [2, 1]
    assert made.pick(1, 1.0, list(nodes.nodes)) in nodes.nodes  # all tried: a second chance, by the algorithm
    assert policy.asked_for == [2, 1]


def test_only_those_that_can_be_picked_are_shown() -> None:
    policy = Policy(lambda candidates: candidates[0])
    nodes = node_set([1, 0, 1, 1])
    nodes.nodes[0].ejected_until = 10.0
    made = balancer(policy, nodes)
    assert names(made, 1) == ["cart-00002"]
    assert policy.asked_for == [2]


def test_a_candidate_is_what_the_endpoint_is_now_and_can_not_be_changed() -> None:
    seen: list[Candidate] = []
    nodes = NodeSet()
    nodes.reconcile([Endpoint("cart", "a", "10.0.0.1", 80, 3, Locality("eu", "z"), metadata=(("v", "2"),))])
    made = balancer(Policy(lambda candidates: seen.append(candidates[0])), nodes)
    made.pick(1, 1.0, None)
    (shown,) = seen
    assert (shown.name, shown.region, shown.zone, shown.weight, shown.priority) == ("a", "eu", "z", 3, 0)
    assert (shown.index, shown.in_flight, shown.failures, dict(shown.metadata)) == (0, 0, 0, {"v": "2"})
    load(nodes.nodes[0], 2)
    nodes.nodes[0].consecutive_failures = 4
    assert (shown.in_flight, shown.failures) == (2, 4)
    assert repr(shown) == "<Candidate a weight=3 in_flight=2>"
    assert copy.deepcopy(shown) is shown
    assert copy.copy(shown) is shown
    for name in ("name", "weight", "in_flight"):
        with pytest.raises(AttributeError):
            setattr(shown, name, 7)
    with pytest.raises(TypeError):
        shown.metadata["v"] = "3"


def test_results_reach_it_and_the_algorithm() -> None:
    policy = Policy(lambda _: None, live=False)
    nodes = node_set([1, 1])
    made = balancer(policy, nodes, Algorithm.PEAK_EWMA)
    made.pick(1, 1.0, None)
    assert made.feedback
    made.on_result(nodes.nodes[1], 0.25, False, 1.0)
    made.on_result(nodes.nodes[1], 0.5, True, 1.0)
    assert policy.results == [("cart-00001", 0.25, False), ("cart-00001", 0.5, True)]
    assert nodes.nodes[1].latency == 0.5


def test_it_lets_go_of_the_nodes_with_its_balancer() -> None:
    nodes = node_set([1, 1])
    made = balancer(Policy(lambda _: None, live=False), nodes, Algorithm.LEAST_CONNECTIONS)
    made.pick(1, 1.0, None)
    made.close()
    load(nodes.nodes[0], 3)
    again = balancer(Policy(lambda _: None, live=False), nodes, Algorithm.LEAST_CONNECTIONS)
    assert names(again, 3) == ["cart-00001"] * 3


def test_explanations_ask_a_copy_and_shadows_not_at_all() -> None:
    class Turns(Policy):
        turn = 0

        def pick(self, candidates: Sequence[Candidate], key: int, now: float) -> Any:
            self.turn += 1
            return candidates[self.turn % len(candidates)]

    policy = Turns(lambda _: None)
    made = balancer(policy, node_set([1, 1, 1]))
    for _ in range(5):
        told = [explain(made, 1.0, lambda _: 7) for _ in range(2)]
        assert {each.picked.endpoint.name for each in told} == set(names(made, 1))
    assert policy.turn == 5
    assert told[0].why == "custom Mine"
    shadow = Policy(lambda candidates: candidates[0], live=False)
    explain(balancer(shadow, node_set([1, 1])), 1.0, lambda _: 7)
    assert shadow.asked_for == []
