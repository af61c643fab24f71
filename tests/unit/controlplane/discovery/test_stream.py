from __future__ import annotations

import pytest

from controlplane.discovery.encoding import ENDPOINT, SERVICE
from controlplane.discovery.stream import StreamState
from controlplane.errors import InvalidRequest
from controlplane.registry import Lease, Registry, Stored, View
from mesh.model import Endpoint, Protocol
from mesh.xds.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Status

NODE = Node(id="web/web-0", user_agent_version="0.1.0")


class World:
    """A registry and one stream, which is woken at once by every publication."""

    def __init__(self) -> None:
        self.registry = Registry(Stored(100), 0.0)
        self.view = View(Stored(100))
        self.stream = StreamState(self.view, 40.0)

    def register(self, name: str, service: str = "cart", *, wake: bool = True, weight: int = 1) -> None:
        serial, revision = self.view.serial, self.view.revision
        self.view.publish(self.registry.register(Endpoint(service, name, "h", 1, weight), Protocol.GRPC,
                                                 Lease(f"{service}{name}{revision}", 10.0), 0.0))
        if wake:
            self.stream.wake(serial, revision)

    def request(self, url: str, **fields):
        return self.stream.receive(DeltaDiscoveryRequest(type_url=url, **fields), self.view.revision, 50.0)

    def start(self) -> None:
        self.request(SERVICE.url, node=NODE, resource_names_subscribe=["*"])
        self.request(ENDPOINT.url, resource_names_subscribe=["*"])

    def next(self):
        raw = self.stream.next_response(self.view.revision)
        return None if raw is None else DeltaDiscoveryResponse.FromString(raw)

    def ack(self, response, **fields) -> None:
        self.request(response.type_url, response_nonce=response.nonce, **fields)

    def report(self):
        return self.stream.report(self.view.revision)


def names(response):
    return [resource.name for resource in response.resources]


def test_services_go_before_their_endpoints_whatever_was_asked_first():
    world = World()
    world.register("a")
    world.request(ENDPOINT.url, node=NODE, resource_names_subscribe=["cart/*"])
    world.request(SERVICE.url, resource_names_subscribe=["cart"])
    first, second = world.next(), world.next()
    assert (first.type_url, names(first)) == (SERVICE.url, ["cart"])
    assert (second.type_url, names(second)) == (ENDPOINT.url, ["cart/a"])
    assert world.next() is None
    assert first.nonce != second.nonce


def test_endpoints_wait_behind_services_that_can_not_be_sent_yet(monkeypatch):
    monkeypatch.setattr("controlplane.discovery.subscription.MAX_IN_FLIGHT", 1)
    world = World()
    world.start()
    absent = world.next()
    assert list(absent.removed_resources) == ["*"]
    world.register("a", "cart")
    assert world.next() is None  # the service waits for the answer to the first response, the endpoint for the service
    world.ack(absent)
    assert names(world.next()) == ["cart"]
    assert names(world.next()) == ["cart/a"]


def test_a_response_names_the_revision_when_nothing_is_left_after_it():
    world = World()
    world.register("a", wake=False)
    world.start()
    first, second = world.next(), world.next()
    assert (first.system_version_info, second.system_version_info) == ("0", "101")
    world.ack(first)
    world.ack(second)
    world.register("b", "pay")
    first, second = world.next(), world.next()
    assert (first.system_version_info, second.system_version_info) == ("101", "102")
    world.register("b", "pay", weight=4)
    assert world.next().system_version_info == "103"


def test_the_report_follows_what_is_sent_and_answered():
    world = World()
    world.register("a", wake=False)
    world.start()
    assert (world.report().sent_revision, world.report().acked_revision) == (0, 0)
    first, second = world.next(), world.next()
    assert (world.report().sent_revision, world.report().acked_revision) == (101, 0)
    world.ack(second)
    assert (world.report().sent_revision, world.report().acked_revision) == (101, 0)
    world.ack(first)
    report = world.report()
    assert (report.sent_revision, report.acked_revision) == (101, 101)
    assert (report.id, report.build, report.connected, report.connected_at, report.last_ack) == (
        "web/web-0", "0.1.0", True, 40.0, 50.0)
    assert report.subscriptions == ("service/*", "endpoint/*")
    world.register("a", weight=3)
    assert (world.report().sent_revision, world.report().acked_revision) == (101, 101)
    world.next()
    assert (world.report().sent_revision, world.report().acked_revision) == (102, 101)


def test_a_sidecar_that_others_changes_do_not_concern_is_up_to_date_without_being_told():
    world = World()
    world.register("a")
    world.request(ENDPOINT.url, node=NODE, resource_names_subscribe=["cart/*"])
    world.ack(world.next())
    world.register("b", "pay", wake=False)
    assert (world.report().sent_revision, world.report().acked_revision) == (102, 102)
    assert world.next() is None


def test_refusals_are_reported():
    world = World()
    world.register("a")
    world.start()
    services, endpoints = world.next(), world.next()
    world.ack(services, error_detail=Status(code=3, message="cart: no such algorithm"))
    world.ack(endpoints, error_detail=Status(code=3, message="cart/a: no such port"))
    report = world.report()
    assert [(refusal.resource, refusal.version, refusal.reason) for refusal in report.refusals] == [
        ("service/cart", "101", "no such algorithm"), ("endpoint/cart/a", "101", "no such port")]
    assert report.acked_revision == 101


def test_one_request_may_answer_and_subscribe():
    world = World()
    world.register("a")
    world.request(ENDPOINT.url, node=NODE, resource_names_subscribe=["cart/*"])
    followed = world.request(ENDPOINT.url, response_nonce=world.next().nonce, resource_names_subscribe=["pay/*"],
                             resource_names_unsubscribe=["cart/*"])
    assert (followed.joined, followed.left) == (["pay/*"], ["cart/*"])
    assert list(world.next().removed_resources) == ["pay/*"]
    assert dict(world.stream.items()) == {"service": set(), "endpoint": {"pay/*"}}


def test_a_nonce_belongs_to_its_type():
    world = World()
    world.start()
    services = world.next()
    with pytest.raises(InvalidRequest, match="response_nonce"):
        world.request(ENDPOINT.url, response_nonce=services.nonce)


@pytest.mark.parametrize("node", ["", "web", "web/", "/x", "web/web-0/x", "web/web-0/0", "web/web-0/1/2", "WEB/0",
                                  "web/web 0", "web/\n"])
def test_the_first_request_says_whose_stream_it_is(node):
    world = World()
    with pytest.raises(InvalidRequest, match=r"is not <service>/<instance>\[/<worker>\]$"):
        world.request(SERVICE.url, node=Node(id=node))


def test_further_workers_of_a_sidecar_have_numbers():
    world = World()
    world.request(SERVICE.url, node=Node(id="web/web-0/1"))
    assert world.stream.node == "web/web-0/1"


@pytest.mark.parametrize("url", ["", "type.googleapis.com/envoy.config.cluster.v3.Cluster", "mesh.v1.Service"])
def test_other_types_are_refused(url):
    world = World()
    with pytest.raises(InvalidRequest, match="is not served"):
        world.request(url, node=NODE)
