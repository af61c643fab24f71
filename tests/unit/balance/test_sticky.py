"""Sticky: a cookie leads back to its endpoint, and anything else to none; the balancer's use of it."""

from __future__ import annotations

import pytest
from balance_world import balancer_of, endpoints, node_set

from mesh.balance import NodeSet, Rng
from mesh.balance.request_key import cookie_value
from mesh.balance.sticky import Sticky
from mesh.model import Algorithm, Health, StickyPolicy

POLICY = StickyPolicy("mesh-cart")


def cookie(sticky: Sticky, node) -> bytes:
    return sticky.set_cookie(node).partition(b";")[0]


def test_there_and_back():
    nodes = node_set([1, 1, 1])
    sticky = Sticky(POLICY, nodes)
    for node in nodes.nodes:
        assert sticky.node_of(b"a=1; " + cookie(sticky, node)) is node


def test_what_is_set():
    nodes = node_set([1])
    value = Sticky(POLICY, nodes).set_cookie(nodes.nodes[0])
    assert value.endswith(b"; Path=/; HttpOnly; SameSite=Lax")
    assert len(cookie_value(value, b"mesh-cart")) == 16
    timed = Sticky(StickyPolicy("s", 3600, "/shop"), nodes).set_cookie(nodes.nodes[0])
    assert timed.endswith(b"; Max-Age=3600; Path=/shop; HttpOnly; SameSite=Lax")


def test_another_sidecar_reads_it_and_a_restarted_endpoint_keeps_it():
    value = cookie(Sticky(POLICY, nodes := node_set([1, 1])), nodes.nodes[1])
    elsewhere = node_set([1, 1])
    sticky = Sticky(POLICY, elsewhere)
    assert sticky.node_of(value) is elsewhere.nodes[1]
    elsewhere.reconcile(endpoints([1, 1], first_port=7000))
    assert sticky.node_of(value) is elsewhere.nodes[1]
    elsewhere.reconcile(endpoints([1]))
    assert sticky.node_of(value) is None


@pytest.mark.parametrize("cookies", [b"", b"mesh-cart=", b"mesh-cart=cart-00000", b"mesh-cart=0000000000000000",
                                     b"\xff=;"])
def test_what_no_sidecar_issued_means_nothing(cookies: bytes):
    assert Sticky(POLICY, node_set([1, 1])).node_of(cookies) is None


@pytest.mark.parametrize("algorithm", [Algorithm.POWER_OF_TWO, Algorithm.LEAST_CONNECTIONS, Algorithm.MAGLEV])
def test_a_client_stays_until_its_endpoint_can_not_be_picked(algorithm: Algorithm):
    nodes: NodeSet = node_set([1, 1, 1])
    picker = balancer_of(algorithm, nodes, Rng(1), sticky=POLICY)
    home = nodes.nodes[1]
    cookies = cookie(picker.sticky, home)
    assert {picker.pick_again(cookies, key, 0.0, None) for key in range(50)} == {home}
    assert picker.why == "sticky"
    assert picker.pick_again(cookies, 1, 0.0, [home]) is not home
    assert picker.why == algorithm.value
    assert picker.pick_again(None, 1, 0.0, None) in nodes.nodes
    home.ejected_until = 10.0
    picker.changed()
    assert picker.pick_again(cookies, 1, 5.0, None) is not home
    assert picker.pick_again(cookies, 1, 10.0, None) is home
    nodes.reconcile([*endpoints([1]), *endpoints([1, 1], health=Health.DRAINING)[1:], *endpoints([1, 1, 1])[2:]])
    picker.changed()
    assert picker.pick_again(cookies, 1, 20.0, None) is not home


def test_without_a_policy_there_is_no_cookie():
    assert balancer_of(Algorithm.POWER_OF_TWO, node_set([1]), Rng(1)).sticky is None
