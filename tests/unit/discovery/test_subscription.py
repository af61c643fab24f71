"""The sidecar's half of discovery, response by response; proto/mesh/v1/discovery.proto is the specification."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.discovery.decode import ENDPOINT_TYPE, SERVICE_TYPE
from mesh.discovery.subscription import Refusal, Subscription
from mesh.errors import InvalidResource
from mesh.model import Endpoint, Service
from mesh.resource.convert import endpoint_to_proto, service_to_proto
from mesh.xds.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource


class Recording:
    """A sink that keeps what is in force and refuses what `refuse` names."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.services: dict[str, Service | None] = {}
        self.endpoints: dict[str, dict[str, int]] = {}
        self.calls: list[str] = []
        self.refuse: dict[str, Exception] = {}

    def check(self, resource: Service | Endpoint) -> None:
        name = f"check {resource.name}"
        if name in self.refuse:
            raise self.refuse[name]

    def on_service(self, name: str, service: Service | None) -> None:
        self.calls.append(name)
        if name in self.refuse:
            raise self.refuse[name]
        self.services[name] = service

    def in_force(self, name: str, version: str) -> None:
        self.versions[name] = version

    def on_endpoints(self, service: str, endpoints: Mapping[str, Endpoint]) -> None:
        self.calls.append(f"{service}/*")
        if f"{service}/*" in self.refuse:
            raise self.refuse[f"{service}/*"]
        self.endpoints[service] = {name: endpoint.weight for name, endpoint in endpoints.items()}


def service(name: str, version: str = "1") -> Resource:
    resource = Resource(name=name, version=version)
    resource.resource.type_url = SERVICE_TYPE
    resource.resource.value = service_to_proto(Service(name)).SerializeToString()
    return resource


def endpoint(service_name: str, name: str, version: str = "1", weight: int = 1) -> Resource:
    resource = Resource(name=f"{service_name}/{name}", version=version)
    resource.resource.type_url = ENDPOINT_TYPE
    resource.resource.value = endpoint_to_proto(
        Endpoint(service_name, name, "127.0.0.1", 80, weight)).SerializeToString()
    return resource


def services(*resources: Resource, removed: tuple[str, ...] = (), nonce: str = "n1") -> DeltaDiscoveryResponse:
    return DeltaDiscoveryResponse(type_url=SERVICE_TYPE, resources=resources, removed_resources=removed, nonce=nonce)


def endpoints(*resources: Resource, removed: tuple[str, ...] = (), nonce: str = "n2") -> DeltaDiscoveryResponse:
    return DeltaDiscoveryResponse(type_url=ENDPOINT_TYPE, resources=resources, removed_resources=removed, nonce=nonce)


def started(*names: str) -> tuple[Subscription, Recording]:
    """A subscription to `names` on an open stream."""
    sink = Recording()
    subscription = Subscription("front/front-0", "0.1", sink)
    for name in names:
        subscription.subscribe(name)
    subscription.opened()
    subscription.requests()
    return subscription, sink


def brief(requests: list[DeltaDiscoveryRequest]) -> list[tuple[str, list[str], dict[str, str]]]:
    return [(request.type_url.rpartition(".")[2], list(request.resource_names_subscribe),
             dict(request.initial_resource_versions)) for request in requests]


def acked(answer: DeltaDiscoveryRequest | None, nonce: str) -> bool:
    assert answer is not None
    return answer.response_nonce == nonce and not answer.HasField("error_detail")


def test_first_requests_introduce_the_node_once() -> None:
    subscription = Subscription("front/front-0", "0.1", Recording())
    assert subscription.requests() == []
    assert subscription.subscribe("cart")
    assert not subscription.subscribe("cart")
    subscription.opened()
    first = subscription.requests()
    assert brief(first) == [("Service", ["cart"], {}), ("Endpoint", ["cart/*"], {})]
    assert [request.node.id for request in first] == ["front/front-0", ""]
    assert first[0].node.user_agent_version == "0.1"
    assert subscription.requests() == []
    subscription.subscribe("payment")
    later = subscription.requests()
    assert brief(later) == [("Service", ["payment"], {}), ("Endpoint", ["payment/*"], {})]
    assert not any(request.HasField("node") for request in later)


def test_accepts_acknowledges_and_hands_on() -> None:
    subscription, sink = started("cart")
    assert acked(subscription.receive(services(service("cart"), nonce="a")), "a")
    assert not subscription.known("cart")
    answer = subscription.receive(endpoints(endpoint("cart", "c0"), endpoint("cart", "c1", weight=3), nonce="b"))
    assert acked(answer, "b")
    assert subscription.known("cart")
    assert sink.services["cart"] == Service("cart")
    assert sink.endpoints == {"cart": {"c0": 1, "c1": 3}}
    assert sink.calls == ["cart", "cart/*"]


def test_changes_merge_with_what_is_in_force() -> None:
    subscription, sink = started("cart", "payment")
    subscription.receive(endpoints(endpoint("cart", "c0"), endpoint("cart", "c1"), endpoint("payment", "p0")))
    sink.calls.clear()
    subscription.receive(endpoints(endpoint("cart", "c1", "7", weight=9), removed=("cart/c0",)))
    assert sink.endpoints == {"cart": {"c1": 9}, "payment": {"p0": 1}}
    assert sink.calls == ["cart/*"]


def test_absent_service_and_empty_collection_are_answers() -> None:
    subscription, sink = started("cart")
    subscription.receive(services(removed=("cart",)))
    subscription.receive(endpoints(removed=("cart/*",)))
    assert subscription.known("cart")
    assert sink.services == {"cart": None}
    assert sink.endpoints == {"cart": {}}
    sink.calls.clear()
    subscription.receive(services(removed=("cart",)))  # said again: nothing new
    subscription.receive(endpoints(removed=("cart/*",)))
    assert sink.calls == []


def test_collection_removal_takes_every_endpoint_and_service_removal_is_told() -> None:
    subscription, sink = started("cart")
    subscription.receive(services(service("cart")))
    subscription.receive(endpoints(endpoint("cart", "c0"), endpoint("cart", "c1")))
    subscription.receive(services(removed=("cart",)))
    subscription.receive(endpoints(removed=("cart/*",)))
    assert sink.services == {"cart": None}
    assert sink.endpoints == {"cart": {}}
    assert list(subscription.saved()) == []


def test_reconnect_carries_the_versions_in_force() -> None:
    subscription, _ = started("cart", "stock")
    subscription.receive(services(service("cart", "4")))
    subscription.receive(endpoints(endpoint("cart", "c0", "5"), endpoint("cart", "c1", "6")))
    subscription.receive(endpoints(removed=("cart/c0",)))
    subscription.opened()
    requests = subscription.requests()
    assert brief(requests) == [("Service", ["cart", "stock"], {"cart": "4"}),
                               ("Endpoint", ["cart/*", "stock/*"], {"cart/c1": "6"})]
    assert requests[0].node.id == "front/front-0"
    assert subscription.known("cart")


def test_one_bad_resource_is_refused_and_the_others_are_in_force() -> None:
    subscription, sink = started("cart")
    subscription.receive(endpoints(endpoint("cart", "c0", "1"), endpoint("cart", "c1", "1")))
    bad = endpoint("cart", "c0", "2")
    bad.resource.value = b"\xff\xff"
    alien = endpoint("cart", "c2", "2")
    alien.name = "cart/other"
    answer = subscription.receive(endpoints(bad, endpoint("cart", "c1", "2", weight=5), alien, nonce="x"))
    assert answer is not None
    assert (answer.response_nonce, answer.error_detail.code) == ("x", 3)
    lines = answer.error_detail.message.split("\n")
    assert [line.partition(": ")[0] for line in lines] == ["cart/c0", "cart/other"]
    assert "undecodable" in lines[0]
    assert lines[1] == "cart/other: name: 'cart/c2' is not the resource's name"
    assert sink.endpoints == {"cart": {"c0": 1, "c1": 5}}
    subscription.opened()
    assert brief(subscription.requests())[1][2] == {"cart/c0": "1", "cart/c1": "2"}


def test_a_wrong_type_and_a_bad_value_are_refused() -> None:
    subscription, sink = started("cart")
    wrong = service("cart", "3")
    wrong.resource.type_url = ENDPOINT_TYPE
    answer = subscription.receive(services(wrong))
    assert answer is not None
    assert answer.error_detail.message == f"cart: '{ENDPOINT_TYPE}' is not {SERVICE_TYPE}"
    bad = service("cart", "4")
    bad.resource.value = bytes((0x0A, 4)) + b"cart" + bytes((0x22, 2, 0x08, 11))  # retry.max_attempts = 11
    answer = subscription.receive(services(bad))
    assert answer is not None
    assert answer.error_detail.message == "cart: retry.max_attempts: 11 is outside 1..10"
    assert sink.services == {}
    assert subscription.refusals == {"cart": Refusal("4", "retry.max_attempts: 11 is outside 1..10")}


def test_the_sink_refuses_and_the_old_stays() -> None:
    subscription, sink = started("cart")
    subscription.receive(services(service("cart", "1")))
    sink.refuse["cart"] = InvalidResource("protocol", "is not\nwhat the listener speaks")
    answer = subscription.receive(services(service("cart", "2"), nonce="z"))
    assert answer is not None
    assert answer.error_detail.message == "cart: protocol: is not what the listener speaks"
    assert next(subscription.saved()).version == "1"
    assert subscription.refusals["cart"].version == "2"
    sink.refuse.clear()
    assert acked(subscription.receive(services(service("cart", "3"), nonce="y")), "y")
    assert subscription.refusals == {}
    assert next(subscription.saved()).version == "3"


def test_check_refuses_one_endpoint_of_many() -> None:
    subscription, sink = started("cart")
    sink.refuse["check c1"] = InvalidResource("host", "is a name")
    answer = subscription.receive(endpoints(endpoint("cart", "c0"), endpoint("cart", "c1"), endpoint("cart", "c2")))
    assert answer is not None
    assert answer.error_detail.message == "cart/c1: host: is a name"
    assert sink.endpoints == {"cart": {"c0": 1, "c2": 1}}


def test_a_refused_set_is_refused_whole() -> None:
    subscription, sink = started("cart", "payment")
    subscription.receive(endpoints(endpoint("cart", "c0", "1")))
    sink.refuse["cart/*"] = InvalidResource("", "too many")
    answer = subscription.receive(endpoints(endpoint("cart", "c1", "2"), endpoint("cart", "c2", "2"),
                                            endpoint("payment", "p0", "2"), removed=("cart/c0",)))
    assert answer is not None
    assert answer.error_detail.message == "cart/c1: too many\ncart/c2: too many"
    assert sink.endpoints == {"cart": {"c0": 1}, "payment": {"p0": 1}}
    subscription.opened()
    assert brief(subscription.requests())[1][2] == {"cart/c0": "1", "payment/p0": "2"}


def test_a_fault_of_ours_is_a_refusal_with_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    subscription, sink = started("cart")
    sink.refuse["cart"] = KeyError("oops")
    answer = subscription.receive(services(service("cart")))
    assert answer is not None
    assert answer.error_detail.message == "cart: internal error: KeyError('oops')"
    assert "Traceback" in caplog.text


def test_what_nobody_asked_for_is_acknowledged_and_ignored() -> None:
    subscription, sink = started("cart")
    assert acked(subscription.receive(services(service("payment"), removed=("stock",), nonce="q")), "q")
    assert acked(subscription.receive(endpoints(endpoint("payment", "p"), removed=("stock/*",), nonce="r")), "r")
    assert subscription.receive(DeltaDiscoveryResponse(type_url="other", nonce="s")) is None
    assert sink.calls == []
    assert list(subscription.saved()) == []


def test_generation_grows_only_with_what_is_in_force() -> None:
    subscription, _ = started("cart")
    before = subscription.generation
    subscription.receive(endpoints())
    bad = service("cart")
    bad.resource.value = b"\xff"
    subscription.receive(services(bad))
    assert subscription.generation == before
    subscription.receive(services(service("cart")))
    assert subscription.generation > before


def test_unsubscribing_forgets_and_subscribing_again_asks_again() -> None:
    subscription, sink = started("cart", "stock")
    subscription.receive(services(service("cart"), service("stock")))
    subscription.receive(endpoints(endpoint("cart", "c0"), endpoint("stock", "s0")))
    sink.calls.clear()
    assert subscription.unsubscribe("cart")
    assert not subscription.unsubscribe("cart")
    assert not subscription.known("cart")
    assert [resource.name for resource in subscription.saved()] == ["stock", "stock/s0"]
    assert [list(request.resource_names_unsubscribe) for request in subscription.requests()] == [["cart"], ["cart/*"]]
    subscription.receive(endpoints(endpoint("cart", "c1")))  # was under way
    assert sink.calls == []
    assert subscription.subscribe("cart")
    assert brief(subscription.requests()) == [("Service", ["cart"], {}), ("Endpoint", ["cart/*"], {})]
    subscription.receive(endpoints(endpoint("cart", "c2")))
    assert sink.endpoints["cart"] == {"c2": 1}


def test_unsubscribed_and_subscribed_before_anything_was_sent_asks_once() -> None:
    subscription, _ = started("cart")
    subscription.unsubscribe("cart")
    subscription.subscribe("cart")
    requests = subscription.requests()
    assert brief(requests) == [("Service", ["cart"], {}), ("Endpoint", ["cart/*"], {})]
    assert not any(request.resource_names_unsubscribe for request in requests)
    subscription.subscribe("stock")
    subscription.unsubscribe("stock")
    assert subscription.requests() == []


def test_a_stream_on_which_all_was_dropped_does_not_start_anew() -> None:
    """`initial_resource_versions` belongs to the first request of a stream, whatever is wanted later."""
    subscription, _ = started("cart")
    subscription.unsubscribe("cart")
    subscription.requests()
    subscription.subscribe("stock")
    subscription.receive(endpoints(endpoint("stock", "s0")))
    assert [dict(request.initial_resource_versions) for request in subscription.requests()] == [{}, {}]


# -- what an earlier run left


def test_restored_state_is_in_force_when_its_service_is_asked_for() -> None:
    sink = Recording()
    subscription = Subscription("front/front-0", "0.1", sink)
    subscription.restore([endpoint("cart", "c0", "5"), service("cart", "4"), service("payment", "2")])
    assert sink.calls == []
    subscription.subscribe("cart")
    assert sink.calls == ["cart", "cart/*"]
    assert subscription.known("cart")
    assert not subscription.needs_new_stream
    subscription.opened()
    assert brief(subscription.requests()) == [("Service", ["cart"], {"cart": "4"}),
                                              ("Endpoint", ["cart/*"], {"cart/c0": "5"})]
    assert [resource.name for resource in subscription.saved()] == ["cart", "cart/c0", "payment"]


def test_restored_service_without_endpoints_is_known() -> None:
    subscription = Subscription("front/front-0", "0.1", Recording())
    subscription.restore([service("cart")])
    subscription.subscribe("cart")
    assert subscription.known("cart")


def test_restored_endpoints_alone_or_refused_services_are_not_known() -> None:
    sink = Recording()
    subscription = Subscription("front/front-0", "0.1", sink)
    sink.refuse["payment"] = InvalidResource("", "no")
    subscription.restore([endpoint("cart", "c0"), service("payment")])
    subscription.subscribe("cart")
    subscription.subscribe("payment")
    assert not subscription.known("cart")
    assert not subscription.known("payment")
    assert sink.endpoints == {"cart": {"c0": 1}}


def test_restoring_on_an_open_stream_needs_a_new_one() -> None:
    """Only a stream's first request says what is held; without it the registry couldn't name what is gone."""
    subscription, _ = started("cart")
    subscription.restore([service("payment", "9")])
    subscription.subscribe("payment")
    assert subscription.needs_new_stream
    subscription.opened()
    assert not subscription.needs_new_stream
    assert brief(subscription.requests())[0] == ("Service", ["cart", "payment"], {"payment": "9"})


# -- any order of responses: what is in force equals a plain model's

NAMES = st.sampled_from(["c0", "c1", "c2"])
CHANGE = st.tuples(st.sampled_from(["put", "bad", "remove", "clear"]), st.sampled_from(["cart", "payment"]), NAMES,
                   st.integers(1, 9))


@pytest.mark.slow
@settings(deadline=None)
@given(responses=st.lists(st.lists(CHANGE, max_size=5), max_size=8))
def test_in_force_equals_the_model(responses: list[list[tuple[str, str, str, int]]]) -> None:
    subscription, sink = started("cart", "payment")
    model: dict[str, dict[str, int]] = {}
    for number, changes in enumerate(responses):
        response = endpoints(nonce=str(number))
        seen: set[str] = set()
        for what, of, name, weight in changes:
            key = f"{of}/{name}"
            if key in seen or f"{of}/*" in seen or (what == "clear" and any(other.startswith(of) for other in seen)):
                continue  # a response names a resource once
            seen.add(f"{of}/*" if what == "clear" else key)
            if what == "remove":
                response.removed_resources.append(key)
                model.setdefault(of, {}).pop(name, None)
            elif what == "clear":
                response.removed_resources.append(f"{of}/*")
                model[of] = {}
            else:
                resource = endpoint(of, name, str(number), weight)
                if what == "bad":
                    resource.resource.value = b"\xff"
                else:
                    model.setdefault(of, {})[name] = weight
                response.resources.append(resource)
        answer = subscription.receive(response)
        assert answer is not None
        assert answer.response_nonce == str(number)
        for of in ("cart", "payment"):
            assert sink.endpoints.get(of, {}) == model.get(of, {})
    held = {resource.name for resource in subscription.saved()}
    assert held == {f"{of}/{name}" for of, names in model.items() for name in names}
