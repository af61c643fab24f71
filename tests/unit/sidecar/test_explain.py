"""What a sidecar answers about a call that nobody makes: the parts that would decide are asked, and nothing moves."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.balance.hashing import source_key
from mesh.balance.rng import Rng
from mesh.dataplane.clusters import Clusters
from mesh.dataplane.custom import OwnPolicies
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Recorder
from mesh.discovery.subscription import Refusal
from mesh.model import (
    Algorithm,
    BalancePolicy,
    Endpoint,
    HashKey,
    HashPolicy,
    Health,
    LimitsPolicy,
    Protocol,
    RetryPolicy,
    Service,
    StickyPolicy,
)
from mesh.model.custom import CustomMode, CustomPolicy
from mesh.sidecar.explain import CannotTell, Explainer, policy_reports
from mesh.v1 import introspection_pb2 as pb


class Listeners:
    def __init__(self, found: tuple[str, str] = ("outbound cart", "127.0.0.1:15001")) -> None:
        self.found = found

    def listener_of(self, service: str) -> tuple[str, str]:
        return self.found


class Known:
    def __init__(self) -> None:
        self.refusals = {"cart": Refusal("9", "balance.choices: 1 is outside 2..100"), "stock": Refusal("9", "no")}

    def versions(self, service: str) -> tuple[str, str]:
        return "7", "8"


class World:
    def __init__(self, service: Service | None, *names: str, listeners: Any = None) -> None:
        hub = Hub(None, Rng(1), Recorder(), lambda: 1.0, lambda: 0)
        self.clusters = Clusters(hub, lambda _: None, lambda _: None, policies=OwnPolicies(False, lambda: 1))
        self.cluster = self.clusters.get("cart")
        if service is not None:
            self.clusters.on_service("cart", service)
            self.clusters.on_endpoints("cart", {name: Endpoint("cart", name, "127.0.0.1", 80, metadata=(("a", "b"),))
                                                for name in names})
        self.explainer = Explainer(listeners or Listeners(), self.clusters, Known())

    def ask(self, service: str = "cart", **call: Any) -> pb.Explanation:
        headers = [pb.CallHeader(name=name, value=value) for name, value in call.pop("headers", {}).items()]
        return self.explainer.answer(pb.HypotheticalCall(service=service, headers=headers, **call))


def test_all_that_is_in_force_is_told() -> None:
    world = World(Service("cart", retry=RetryPolicy(idempotent_methods=("/shop.Cart/Get",))), "a", "b")
    world.cluster.nodes.nodes[0].begin()
    found = world.ask(path="/shop.Cart/Get")
    assert (found.listener, found.address) == ("outbound cart", "127.0.0.1:15001")
    assert (found.service.name, found.service_version, found.endpoints_version) == ("cart", "7", "8")
    assert list(found.refused) == ["cart version 9: balance.choices: 1 is outside 2..100"]
    assert (found.picked, found.reason, found.why, found.method) == ("cart/b", "", "power_of_two", "POST")
    assert found.chance
    assert found.score
    assert not found.key
    by_name = {each.endpoint.name: each for each in found.endpoints}
    assert {name: (each.in_flight, each.score, each.state) for name, each in by_name.items()} == {
        "a": (1, 1.0, ""), "b": (0, 0.0, "")}
    assert by_name["b"].share == 1.0
    assert not by_name["b"].endpoint.metadata  # could be 20 KB each
    assert not by_name["b"].HasField("latency")
    assert found.retry_budget == 100.0
    assert {each.failure: (each.again, each.why) for each in found.retries} == {
        "the connection is refused or times out": (True, "not sent"),
        "the endpoint refuses the stream unprocessed": (True, "not sent"),
        "the callee's sidecar could not deliver it": (True, "not delivered"),
        "the connection breaks while it is in flight": (True, "idempotent method"),
        "the endpoint answers UNAVAILABLE (HTTP 503)": (True, "idempotent method")}


def test_what_may_have_run_is_not_repeated() -> None:
    world = World(Service("cart"), "a")
    found = world.ask(path="/shop.Cart/Add")
    assert [each.again for each in found.retries] == [True, True, True, False, False]
    keyed = world.ask(path="/shop.Cart/Add", headers={"idempotency-key": "1"})
    assert [each.why for each in keyed.retries][3:] == ["idempotency-key"] * 2


def test_asking_changes_nothing() -> None:
    world = World(Service("cart", balance=BalancePolicy(Algorithm.ROUND_ROBIN)), "a", "b", "c")
    told = []
    for _ in range(6):
        told.append({world.ask().picked for _ in range(5)})
        assert told[-1] == {world.cluster.pick(1, None).resource}
    assert told[:3] == told[3:]
    assert set().union(*told) == {"cart/a", "cart/b", "cart/c"}


def test_hashed_headers_and_sources_decide() -> None:
    balance = BalancePolicy(Algorithm.MAGLEV, hash=HashPolicy(HashKey.HEADER, "user"))
    world = World(Service("cart", Protocol.HTTP2, balance), *"abcdefgh")
    found = [world.ask(headers={"user": str(n)}) for n in range(40)]
    assert len({each.picked for each in found}) == 8
    assert found[0].key.startswith("header user (hash ")
    assert found[0].method == "GET"
    assert not found[0].chance
    balance = BalancePolicy(Algorithm.SOURCE_IP_HASH)
    world = World(Service("cart", Protocol.TCP, balance), *"abcdefgh")
    told = world.ask(source="10.0.0.7")
    assert told.key == f"source_ip 10.0.0.7 (hash {source_key('10.0.0.7'):016x})"
    assert told.picked == world.cluster.pick(source_key("10.0.0.7"), None).resource
    assert (told.method, len(told.retries)) == ("", 0)
    assert world.ask().key.startswith("source_ip 127.0.0.1 ")


def test_cookies_decide() -> None:
    world = World(Service("cart", Protocol.HTTP1, BalancePolicy(sticky=StickyPolicy("sid"))), *"abc")
    sticky = world.cluster.balancer.sticky
    for node in world.cluster.nodes.nodes:
        cookie = sticky.set_cookie(node).decode().partition(";")[0]
        told = world.ask(headers={"cookie": f"x=1; {cookie}"})
        assert (told.picked, told.why, told.chance) == (node.resource, "sticky", "")


def test_a_call_that_would_fail_says_how() -> None:
    assert World(Service("cart")).ask().reason == "no_endpoints"
    world = World(Service("cart"), "a")
    world.cluster.update_endpoints([Endpoint("cart", "a", "::1", 80, health=Health.DRAINING)])
    told = world.ask()
    assert (told.picked, told.reason, told.endpoints[0].state) == ("", "no_healthy_upstream", "draining")


def test_limits_have_a_say() -> None:
    world = World(Service("cart", balance=BalancePolicy(Algorithm.ROUND_ROBIN),
                          limits=LimitsPolicy(endpoint_requests=1, max_requests=2)), "a", "b", "c")
    assert world.ask().crowded == ""
    nodes = world.cluster.nodes.nodes
    nodes[0].begin()
    assert {world.ask().picked for _ in range(3)} <= {"cart/b", "cart/c"}
    states = {each.endpoint.name: each.state for each in world.ask().endpoints}
    assert states["a"] == "full: 1 calls in flight, as many as it may have"
    nodes[1].begin()
    told = world.ask()
    assert told.picked == "cart/c"
    assert told.crowded == "2 requests are in flight, as many as limits.max_requests lets in"
    for node in nodes[:2]:
        node.end()


def test_what_can_not_be_told_comes_with_a_remedy() -> None:
    with pytest.raises(CannotTell, match="has not called stock so far"):
        World(Service("cart"), "a").ask("stock")
    with pytest.raises(CannotTell, match=r"no port for calls to cart: start it with --outbound cart=PORT"):
        World(Service("cart"), "a", listeners=Listeners(("", ""))).ask()
    with pytest.raises(CannotTell, match="not been told yet what cart is"):
        World(None).ask()
    world = World(None)
    world.clusters.on_service("cart", None)
    with pytest.raises(CannotTell, match="the registry has no service cart"):
        world.ask()


def test_a_policy_that_may_not_run_is_reported() -> None:
    custom = CustomPolicy("Mine", "class Mine:\n    def pick(self, c, r, n, g): pass\n", CustomMode.SHADOW)
    world = World(Service("cart", balance=BalancePolicy(custom=custom)), "a")
    (report,) = policy_reports(world.clusters.custom_statistics())
    assert (report.service, report.class_name, report.mode, report.state) == ("cart", "Mine", "shadow", "not allowed")
    assert "--allow-custom-policies" in report.last_fault
    assert World(Service("cart"), "a").clusters.custom_statistics() == {}
