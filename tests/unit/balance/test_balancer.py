"""What is the same for every algorithm: who is picked from, in which order of preference, and when that is looked at
again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from balance_world import balancer_of, load

from mesh.balance import Balancer, Outlier, Rng
from mesh.model import Algorithm, Health, OutlierPolicy

EVERY = pytest.mark.parametrize("algorithm", Algorithm)


def reach(algorithm: Algorithm, nodes: list) -> set:
    """Which of the nodes that may be picked will be, in many picks without load: all, but for first available."""
    return set(nodes[:1]) if algorithm is Algorithm.FIRST_AVAILABLE else set(nodes)


def picks(picker: Balancer, n: int, now: float = 0.0, tried: list | None = None) -> set:
    return {picker.pick(key * 7919, now, tried) for key in range(n)}


@EVERY
def test_none_where_nothing_is_healthy(algorithm: Algorithm, endpoints, node_set):
    nodes = node_set([])
    picker = balancer_of(algorithm, nodes, Rng(1))
    assert picker.pick(1, 0.0, None) is None
    nodes.reconcile([*endpoints([0]), *endpoints([0, 1, 1], health=Health.DRAINING)[1:2],
                     *endpoints([0, 0, 1], health=Health.UNHEALTHY)[2:]])
    picker.changed()
    assert len(nodes.nodes) == 3
    assert picks(picker, 20) == {None}
    assert picker.pick(1, 0.0, [nodes.nodes[0]]) is None
    assert not picker.panic


@EVERY
def test_never_one_that_is_drained_unhealthy_or_of_weight_0(algorithm: Algorithm, endpoints, node_set):
    nodes = node_set([1, 0, 1, 1, 2])
    drained = endpoints([1, 0, 1], health=Health.DRAINING)[2]
    ill = endpoints([1, 0, 1, 1], health=Health.UNHEALTHY)[3]
    given = endpoints([1, 0, 1, 1, 2])
    nodes.reconcile([given[0], given[1], drained, ill, given[4]])
    picker = balancer_of(algorithm, nodes, Rng(1))
    assert picks(picker, 500) == reach(algorithm, [nodes.nodes[0], nodes.nodes[4]])


@EVERY
def test_an_ejected_one_is_left_out_until_its_time_and_comes_back_by_itself(algorithm: Algorithm, node_set):
    nodes = node_set([1, 1, 1])
    picker = balancer_of(algorithm, nodes, Rng(2))
    assert picks(picker, 200) == reach(algorithm, nodes.nodes)
    a, b, c = nodes.nodes
    a.ejected_until = 30.0
    picker.changed()
    assert picks(picker, 200, now=10.0) == reach(algorithm, [b, c])
    assert picks(picker, 200, now=29.999) == reach(algorithm, [b, c])
    assert picks(picker, 200, now=30.0) == reach(algorithm, [a, b, c])


@EVERY
def test_all_ejected_is_as_none_ejected_until_the_first_is_back(algorithm: Algorithm, node_set):
    nodes = node_set([1, 1, 0])
    a, b, _ = nodes.nodes
    a.ejected_until, b.ejected_until = 30.0, 40.0
    picker = balancer_of(algorithm, nodes, Rng(3))
    assert picks(picker, 200) == reach(algorithm, [a, b])
    assert picker.panic
    assert picker.pick(1, 0.0, [a]) is b
    assert picks(picker, 200, now=30.0) == {a}
    assert not picker.panic
    assert picks(picker, 200, now=40.0) == reach(algorithm, [a, b])


@EVERY
@pytest.mark.parametrize("weights", [[1, 1], [1, 3, 2], [1, 1_000_000], [1] * 20])
def test_tried_is_avoided_while_another_is_up(algorithm: Algorithm, weights: list[int], node_set):
    nodes = node_set(weights)
    picker = balancer_of(algorithm, nodes, Rng(4))
    for untried in nodes.nodes:
        tried = [node for node in nodes.nodes if node is not untried]
        assert picks(picker, 50, tried=tried) == {untried}


@EVERY
def test_when_all_were_tried_one_of_them_again(algorithm: Algorithm, node_set):
    nodes = node_set([1, 3, 2])
    picker = balancer_of(algorithm, nodes, Rng(5))
    assert picks(picker, 300, tried=list(nodes.nodes)) == reach(algorithm, nodes.nodes)


@EVERY
def test_an_eligible_one_that_was_tried_goes_before_an_ejected_one(algorithm: Algorithm, node_set):
    nodes = node_set([1, 1])
    a, b = nodes.nodes
    b.ejected_until = 30.0
    picker = balancer_of(algorithm, nodes, Rng(6))
    assert picks(picker, 50, tried=[a]) == {a}


@EVERY
def test_a_tried_one_that_left_the_set_does_no_harm(algorithm: Algorithm, endpoints, node_set):
    nodes = node_set([1, 1, 1])
    gone = nodes.nodes[2]
    nodes.reconcile(endpoints([1, 1]))
    picker = balancer_of(algorithm, nodes, Rng(7))
    assert picks(picker, 100, tried=[gone, nodes.nodes[0]]) == {nodes.nodes[1]}


@EVERY
def test_a_refresh_that_changes_nothing_leaves_the_sequence_alone(algorithm: Algorithm, endpoints, node_set):
    plain = balancer_of(algorithm, node_set([1, 3, 2]), Rng(8))
    disturbed_set = node_set([1, 3, 2])
    disturbed = balancer_of(algorithm, disturbed_set, Rng(8))
    for key in range(200):
        disturbed_set.reconcile(endpoints([1, 3, 2]))
        disturbed.changed()
        assert disturbed.pick(key, 0.0, None).position == plain.pick(key, 0.0, None).position


@EVERY
def test_same_seed_same_picks(algorithm: Algorithm, node_set):
    def sequence(seed: int) -> list[int]:
        picker = balancer_of(algorithm, node_set([5, 1, 2, 2]), Rng(seed))
        return [picker.pick(key % 50, 0.0, None).position for key in range(100)]

    assert sequence(1) == sequence(1)


@EVERY
def test_it_says_which_algorithm(algorithm: Algorithm, node_set):
    picker = balancer_of(algorithm, node_set([1]), Rng(1))
    assert picker.describe() == algorithm.value
    picker.pick(1, 0.0, None)
    assert picker.why == algorithm.value


@EVERY
def test_a_call_may_end_before_its_node_is_known_to_have_no_weight(algorithm: Algorithm, endpoints, node_set):
    """The set changes at once, what the picker knows of it at its next pick; calls end in between."""
    nodes = node_set([1, 1])
    picker = balancer_of(algorithm, nodes, Rng(1))
    picker.pick(1, 0.0, None)
    for node in nodes.nodes:
        load(node, 3)
    nodes.reconcile(endpoints([0, 1]))
    picker.changed()
    for node in nodes.nodes:
        node.end()
        picker.on_result(node, 0.01, True, 0.0)
        node.begin()
        node.end()
    assert picks(picker, 50) == {nodes.nodes[1]}
    nodes.reconcile(endpoints([1, 1]))
    picker.changed()
    assert nodes.nodes[0] in {picker.pick(1, 0.0, [nodes.nodes[1]])}


@EVERY
def test_two_balancers_may_share_a_set_and_one_may_leave(algorithm: Algorithm, node_set):
    """Each is told of all calls, whoever picked; one that was closed holds no node."""
    nodes = node_set([1, 1, 1])
    first, second = balancer_of(algorithm, nodes, Rng(1)), balancer_of(algorithm, nodes, Rng(2))
    first.pick(1, 0.0, None), second.pick(1, 0.0, None)
    load(nodes.nodes[0], 4), load(nodes.nodes[1], 2)
    first.close()
    assert first.pick(1, 0.0, None) is None
    load(nodes.nodes[1], 0)
    assert second.pick(1, 0.0, None) in nodes.nodes
    if algorithm is Algorithm.LEAST_CONNECTIONS:
        load(nodes.nodes[2], 1)
        assert picks(second, 50) == {nodes.nodes[1]}


@EVERY
def test_the_state_of_a_survivor_counts_on(algorithm: Algorithm, endpoints, node_set):
    """A call that was under way when the set changed is still known, and so is its end."""
    nodes = node_set([1, 1, 1])
    picker = balancer_of(algorithm, nodes, Rng(1))
    picker.pick(1, 0.0, None)
    a = load(nodes.nodes[0], 9)
    nodes.reconcile(endpoints([1, 1, 1, 1]))
    picker.changed()
    by_load = (Algorithm.LEAST_CONNECTIONS, Algorithm.LEAST_TIME, Algorithm.FIRST_AVAILABLE)
    if algorithm in by_load:
        assert a not in picks(picker, 200)
    load(a, 0)
    assert a in picks(picker, 200)


def ejected(nodes, node, now: float = 0.0) -> Outlier:
    outlier = Outlier(OutlierPolicy(consecutive_failures=1, base_ejection_time=10.0), nodes)
    assert outlier.on_result(node, False, now)
    outlier.take_news()
    return outlier


@EVERY
def test_half_open_lets_one_request_through_and_the_next_when_that_has_no_end(algorithm: Algorithm, node_set):
    nodes = node_set([1, 1, 1, 1])
    picker = balancer_of(algorithm, nodes, Rng(3))
    a, *rest = nodes.nodes
    ejected(nodes, a)
    picker.changed()
    assert picks(picker, 100, now=9.9) == reach(algorithm, rest)
    assert picker.pick(1, 10.0, [rest[0]]) is not a  # a second attempt is no probe
    assert picker.pick(1, 10.0, None) is a
    assert picker.why.endswith(", probe")
    assert picks(picker, 100, now=10.1) == reach(algorithm, rest)
    assert picker.pick(1, 15.0, None) is a  # the first never ended
    assert picks(picker, 100, now=15.2) == reach(algorithm, rest)


@EVERY
def test_half_open_the_probes_end_decides(algorithm: Algorithm, node_set):
    nodes = node_set([1, 1, 1, 1])
    picker = balancer_of(algorithm, nodes, Rng(3))
    a, *rest = nodes.nodes
    assert picks(picker, 300) == reach(algorithm, nodes.nodes)
    outlier = ejected(nodes, a)
    picker.changed()
    assert picker.pick(1, 10.0, None) is a
    assert outlier.on_result(a, False, 10.5)
    picker.changed()
    assert picks(picker, 100, now=30.4) == reach(algorithm, rest)
    assert picker.pick(1, 30.5, None) is a
    outlier.on_result(a, True, 30.6)
    assert outlier.news
    picker.changed()
    assert picks(picker, 300, now=30.6) == reach(algorithm, nodes.nodes)


def test_half_open_waits_a_while_for_a_request_that_may_be_repeated(node_set):
    nodes = node_set([1, 1, 1, 1])
    picker = balancer_of(Algorithm.ROUND_ROBIN, nodes, Rng(3))
    a = nodes.nodes[0]
    ejected(nodes, a)
    picker.changed()
    for now in (10.0, 10.5, 10.99):
        picker.safe = False
        assert picker.pick(1, now, None) is not a
        assert picker.probes == [a]
    assert picker.pick(1, 10.99, None) is a
    assert picker.probes is None
    nodes = node_set([1, 1, 1, 1])
    picker = balancer_of(Algorithm.ROUND_ROBIN, nodes, Rng(3))
    a = nodes.nodes[0]
    ejected(nodes, a)
    picker.changed()
    picker.safe = False
    assert picker.pick(1, 10.0, None) is not a
    picker.safe = False
    assert picker.pick(1, 11.0, None) is a


def test_several_in_half_open_get_a_request_each(node_set):
    nodes = node_set([1] * 20)
    picker = balancer_of(Algorithm.MAGLEV, nodes, Rng(3))
    policy = OutlierPolicy(consecutive_failures=1, base_ejection_time=10.0, max_ejection_ratio=0.2)
    outlier = Outlier(policy, nodes)
    out = nodes.nodes[4:8]
    for node in out:
        assert outlier.on_result(node, False, 0.0)
    picker.changed()
    assert [picker.pick(5, 10.0, None) for _ in range(4)] == out
    assert not set(out) & picks(picker, 100, now=10.0)


def test_the_only_endpoint_is_used_though_it_is_ejected_and_its_success_ends_that(node_set):
    nodes = node_set([1])
    picker = balancer_of(Algorithm.POWER_OF_TWO, nodes, Rng(3))
    a, = nodes.nodes
    outlier = ejected(nodes, a)
    picker.changed()
    assert picks(picker, 5, now=1.0) == {a}
    assert picker.panic
    assert picks(picker, 5, now=20.0) == {a}
    outlier.on_result(a, True, 20.0)
    picker.changed()
    assert picks(picker, 5, now=20.0) == {a}
    assert not picker.panic


def test_levels_that_get_nothing_are_not_probed_and_those_before_them_are(node_set, endpoints):
    nodes = node_set([])
    nodes.reconcile([*endpoints([1]), *(replace(backup, priority=1) for backup in endpoints([1, 1, 1])[1:])])
    front, back, other = nodes.nodes
    picker = balancer_of(Algorithm.ROUND_ROBIN, nodes, Rng(3))
    outlier = Outlier(OutlierPolicy(consecutive_failures=1, base_ejection_time=10.0, max_ejection_ratio=1.0), nodes)
    outlier.on_result(back, False, 0.0)
    picker.changed()
    assert picks(picker, 10, now=20.0) == {front}
    outlier.on_result(front, False, 20.0)
    picker.changed()
    assert picker.pick(1, 21.0, None) is back  # it has load now
    assert picks(picker, 10, now=22.0) == {other}
    outlier.on_result(back, True, 23.0)
    picker.changed()
    assert picks(picker, 10, now=29.0) == {back, other}
    assert picker.pick(1, 30.0, None) is front
    assert picks(picker, 10, now=31.0) == {back, other}


@EVERY
def test_what_its_checks_say_is_down_is_left_out_unless_all_are(algorithm: Algorithm, node_set):
    nodes = node_set([1, 1, 1])
    picker = balancer_of(algorithm, nodes, Rng(2))
    a, b, c = nodes.nodes
    a.failing = True
    picker.changed()
    assert picks(picker, 200) == reach(algorithm, [b, c])
    assert not a.eligible(0.0)
    b.failing = c.failing = True
    picker.changed()
    assert picks(picker, 200) == reach(algorithm, nodes.nodes)
    assert picker.panic


@EVERY
def test_what_no_check_has_ended_for_is_used_only_while_none_is_up(algorithm: Algorithm, node_set):
    nodes = node_set([1, 1, 1])
    picker = balancer_of(algorithm, nodes, Rng(2))
    a, b, c = nodes.nodes
    for node in nodes.nodes:
        node.unproven = True
    picker.changed()
    assert picks(picker, 200) == reach(algorithm, nodes.nodes)
    assert not picker.panic
    a.unproven, a.failing = False, True
    picker.changed()
    assert picks(picker, 200) == reach(algorithm, [b, c])
    b.unproven = False
    picker.changed()
    assert picks(picker, 200) == {b}
    assert not picker.panic  # one of the two that count
    a.failing = False
    picker.changed()
    assert picks(picker, 200) == reach(algorithm, [a, b])
    a.ejected_until = b.ejected_until = 50.0
    picker.changed()
    assert picks(picker, 200) == reach(algorithm, [a, b, c])
    assert picker.panic
