"""The table of services: found by name or authority, subscribed to once, bounded against made-up names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mesh.balance.rng import Rng
from mesh.balance.subset import Caller, window
from mesh.dataplane import clusters as module
from mesh.dataplane.clusters import Clusters
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Recorder
from mesh.errors import InvalidResource
from mesh.model import Algorithm, BalancePolicy, Endpoint, HashPolicy, Service, SubsetPolicy


def made() -> tuple[Clusters, list[str]]:
    asked: list[str] = []
    return Clusters(Hub(None, Rng(1), Recorder(), lambda: 1.0, lambda: 0), asked.append, asked.remove), asked


def test_a_service_is_asked_for_once() -> None:
    clusters, asked = made()
    first = clusters.get("cart")
    assert clusters.get("cart") is first
    assert clusters.cluster_for(b"cart:8080") is first
    assert clusters.cluster_for(b"cart.mesh") is first
    assert asked == ["cart"]


def test_what_names_no_service_has_no_cluster() -> None:
    clusters, asked = made()
    for authority in (None, b"", b"Not A Name", b"-x", b"a" * 100):
        assert clusters.cluster_for(authority) is None
    assert asked == []


def test_news_reaches_the_cluster_and_strangers_are_ignored() -> None:
    clusters, _ = made()
    cart = clusters.get("cart")
    clusters.on_service("cart", Service("cart"))
    clusters.on_endpoints("cart", {"a": Endpoint("cart", "a", "127.0.0.1", 1)})
    clusters.on_service("other", Service("other"))
    clusters.on_endpoints("other", {})
    clusters.check(Service("cart"))
    assert cart.known()
    assert list(cart.endpoints) == ["a"]
    assert [each["service"] for each in clusters.statistics()] == ["cart"]


def test_a_policy_beyond_this_sidecar_is_refused_with_its_path() -> None:
    clusters, _ = made()
    clusters.check(Service("cart"))
    clusters.check(Endpoint("cart", "a", "::1", 80))
    policy = BalancePolicy(Algorithm.RING_HASH, hash=HashPolicy(min_ring_size=8_388_608))
    with pytest.raises(InvalidResource, match=r"^balance\.hash\.min_ring_size: 8,388,608 points take 96 MiB"):
        clusters.check(Service("cart", balance=policy))


def at(name: str, **fields: Any) -> Endpoint:
    return Endpoint("cart", name, "127.0.0.1", 80, **fields)


def named(*endpoints: Endpoint) -> dict[str, Endpoint]:
    return {endpoint.name: endpoint for endpoint in endpoints}


def test_changes_that_follow_closely_are_put_in_force_together_and_bad_news_at_once() -> None:
    now = [100.0]
    loop = SimpleNamespace(call_later=lambda delay, call: None)
    hub = Hub(loop, Rng(1), Recorder(), lambda: now[0], lambda: 0)
    clusters = Clusters(hub, lambda name: None, lambda name: None)
    cluster = clusters.get("cart")
    clusters.on_service("cart", Service("cart", balance=BalancePolicy(merge_window=1.0)))

    def weights() -> dict[str, int]:
        return {name: node.weight for name, node in cluster.nodes.by_name.items()}

    clusters.on_endpoints("cart", named(at("a"), at("b")))
    assert weights() == {"a": 1, "b": 1}
    now[0] += 0.2
    clusters.on_endpoints("cart", named(at("a", weight=5), at("b"), at("c")))
    assert weights() == {"a": 1, "b": 1}
    now[0] += 0.2
    clusters.on_endpoints("cart", named(at("a", weight=7), at("c")))
    assert weights() == {"a": 1}
    now[0] += 0.7
    hub.timers.advance(hub.touch())
    assert weights() == {"a": 7, "c": 1}
    assert hub.timers.armed == 0
    clusters.on_endpoints("cart", named(at("a"), at("c")))
    clusters.close()
    assert hub.timers.armed == 0


def test_a_sidecar_stands_where_its_rank_in_its_own_service_says() -> None:
    hub = Hub(None, Rng(1), Recorder(), lambda: 1.0, lambda: 0)
    clusters = Clusters(hub, lambda name: None, lambda name: None, Caller("shop/shop-1"))
    few = BalancePolicy(Algorithm.ROUND_ROBIN, subset=SubsetPolicy(size=2))
    cluster = clusters.get("cart")
    clusters.on_service("cart", Service("cart", balance=few))
    clusters.on_endpoints("cart", named(*(at(f"c{i}") for i in range(8))))

    def used() -> set[str]:
        return {cluster.pick(0, None).endpoint.name for _ in range(20)}

    def at_position(position: float | None) -> set[str]:
        caller = Caller("shop/shop-1", position=position)
        return {node.endpoint.name for node in window(cluster.nodes.nodes, 2, caller.place())}

    assert used() == at_position(None)
    for fleet, position in ((["shop-0", "shop-1"], 0.75), (["shop-1", "shop-2", "shop-3", "shop-4"], 0.125),
                            (["shop-2"], None)):
        clusters.on_endpoints("shop", {name: Endpoint("shop", name, "::1", 80) for name in fleet})
        assert used() == at_position(position)
        late = clusters.get("late")
        assert late.caller == cluster.caller


def test_made_up_names_do_not_fill_the_memory() -> None:
    clusters, _ = made()
    module_bound = module.MAX_CLUSTERS
    real = clusters.get("cart")
    clusters.on_service("cart", Service("cart"))
    for n in range(3 * module_bound):
        clusters.cluster_for(b"made-up-%d" % n)
        clusters.on_service(f"made-up-{n}", None)
    assert len(clusters.statistics()) <= module_bound + 1
    assert clusters.get("cart") is real


def test_names_that_nobody_answers_for_are_bounded_too() -> None:
    clusters, _ = made()
    for n in range(3 * module.MAX_CLUSTERS):
        clusters.cluster_for(b"silent-%d" % n)
    assert len(clusters.statistics()) <= 2 * module.MAX_CLUSTERS
    assert clusters.cluster_for(b"one-more") is None


def test_what_is_forgotten_is_asked_for_again_and_what_is_declared_is_never_forgotten() -> None:
    clusters, asked = made()
    declared = clusters.pin("declared")
    clusters.on_service("declared", None)
    for n in range(module.MAX_CLUSTERS + 5):
        clusters.cluster_for(b"made-up-%d" % n)
        clusters.on_service(f"made-up-{n}", None)
    assert "made-up-0" not in asked
    assert asked[0] == "declared"
    clusters.on_service("declared", Service("declared"))
    assert declared.service == Service("declared")
    clusters.cluster_for(b"made-up-0")
    assert asked[-1] == "made-up-0"
