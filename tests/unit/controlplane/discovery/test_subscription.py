from __future__ import annotations

import pytest

from controlplane.discovery.encoding import ENDPOINT
from controlplane.discovery.subscription import MAX_IN_FLIGHT, PAGE, Subscription
from controlplane.errors import InvalidRequest
from controlplane.registry import Lease, Registry, Stored, View
from mesh.model import Endpoint, Protocol
from mesh.xds.v3.discovery_pb2 import DeltaDiscoveryRequest, Status


class World:
    """A registry with endpoints of `cart`, and one subscription to endpoints."""

    def __init__(self, *names: str) -> None:
        self.registry = Registry(Stored(100), 0.0)
        self.view = View(Stored(100))
        self.sub = Subscription(ENDPOINT)
        self.nonce = 0
        for name in names:
            self.register(name)

    def publish(self, change) -> None:
        serial = self.view.serial
        self.view.publish(change)
        self.sub.follower.moved(serial)

    def register(self, name: str, weight: int = 1, metadata=()) -> None:
        endpoint = Endpoint("cart", name, "127.0.0.1", 80, weight, metadata=metadata)
        lease = Lease(f"l{self.registry.revision}", 10.0)
        self.publish(self.registry.register(endpoint, Protocol.GRPC, lease, 0.0))

    def delete(self, name: str) -> None:
        self.publish(self.registry.delete("cart", name, 0.0))

    def version(self, name: str) -> str:
        return self.view.endpoints.entries[f"cart/{name}"].version

    def request(self, **fields):
        return self.sub.request(DeltaDiscoveryRequest(type_url=ENDPOINT.url, **fields), self.view.endpoints,
                                self.view.revision, 50.0)

    def page(self, floor: int = 0):
        """The names sent and removed, or None; the nonce is `self.nonce`."""
        page = self.sub.page(self.view.endpoints, str(self.nonce + 1), floor)
        if page is None:
            return None
        self.nonce += 1
        return [entry.name for entry in page.entries], page.removed

    def ack(self, nonce: int | None = None) -> None:
        self.request(response_nonce=str(self.nonce if nonce is None else nonce))

    def nack(self, message: str, nonce: int | None = None) -> None:
        self.request(response_nonce=str(self.nonce if nonce is None else nonce),
                     error_detail=Status(code=3, message=message))


def test_what_was_acknowledged_is_not_sent_again():
    world = World("a", "b")
    followed = world.request(resource_names_subscribe=["cart/*"])
    assert (followed.kind, followed.joined, followed.left) == ("endpoint", ["cart/*"], [])
    assert world.page() == (["cart/a", "cart/b"], [])
    world.ack()
    assert world.page() is None
    world.register("a", 5)
    assert world.page() == (["cart/a"], [])


def test_resuming_sends_what_differs_and_names_what_is_gone():
    world = World("a", "b", "c")
    world.request(resource_names_subscribe=["cart/*"], initial_resource_versions={
        "cart/a": world.version("a"), "cart/b": "1", "cart/gone": "2", "pay/other": "3"})
    assert world.page() == (["cart/b", "cart/c"], ["cart/gone"])
    assert world.page() is None


def test_resuming_with_everything_in_force_says_nothing():
    world = World("a", "b")
    world.request(resource_names_subscribe=["cart/*"], initial_resource_versions={
        "cart/a": world.version("a"), "cart/b": world.version("b")})
    assert world.page() is None


def test_versions_from_a_registry_that_was_ahead_of_this_one_say_nothing():
    world = World("a", "b")
    world.request(resource_names_subscribe=["cart/*"], initial_resource_versions={
        "cart/a": world.version("a"), "cart/b": str(world.view.revision + 1), "cart/gone": "5"})
    assert world.page() == (["cart/a", "cart/b"], ["cart/gone"])


@pytest.mark.parametrize("version", ["", "x", "-1", "9" * 5000, "1.5"])
def test_versions_that_are_no_revisions_say_nothing(version):
    world = World("a")
    world.request(resource_names_subscribe=["cart/a"], initial_resource_versions={"cart/a": version})
    assert world.page() == (["cart/a"], [])


def test_a_refused_version_is_kept_back_and_shown_until_another_is_accepted():
    world = World("a", "b")
    world.request(resource_names_subscribe=["cart/*"])
    world.page()
    refused = world.version("a")
    world.nack("cart/a: weight of\tthe wrong\u2028kind\ncart/unknown: whatever")
    (refusal,) = world.sub.refusals.values()
    assert (refusal.resource, refusal.version, refusal.at) == ("endpoint/cart/a", refused, 50.0)
    assert refusal.reason == "weight of the wrong"
    assert world.page() is None
    world.register("b", 9)
    assert world.page() == (["cart/b"], [])
    world.ack()
    world.register("a", 3)
    assert world.page() == (["cart/a"], [])
    assert world.sub.refusals
    world.ack()
    assert not world.sub.refusals


def test_a_refusal_puts_the_version_before_back_in_force():
    world = World("a")
    world.request(resource_names_subscribe=["cart/*"])
    world.page()
    world.ack()
    good = world.version("a")
    world.register("a", 5)
    world.page()
    world.nack("cart/a: no")
    assert world.sub.follower.known == {"cart/a": good}
    world.delete("a")
    assert world.page() == ([], ["cart/a"])
    assert not world.sub.refusals


def test_refusals_of_two_responses_in_flight_go_back_to_the_last_accepted_version():
    world = World("a")
    world.request(resource_names_subscribe=["cart/*"])
    world.page()
    world.ack()
    good = world.version("a")
    world.register("a", 5)
    world.page()
    world.register("a", 6)
    world.page()
    world.nack("cart/a: five", 2)
    assert world.sub.follower.known == {"cart/a": world.version("a")}
    world.nack("cart/a: six", 3)
    assert world.sub.follower.known == {"cart/a": good}
    assert world.sub.refusals["cart/a"].reason == "six"
    assert world.page() is None


def test_a_first_version_that_was_refused_is_removed_by_name_when_it_goes():
    world = World("a")
    world.request(resource_names_subscribe=["cart/*"])
    world.page()
    world.nack("cart/a: no")
    assert world.sub.follower.known == {}
    world.delete("a")
    assert world.page() == ([], ["cart/a"])


def test_an_error_that_names_no_resource_refuses_the_whole_response():
    world = World("a", "b")
    world.request(resource_names_subscribe=["cart/*"])
    world.page()
    world.nack("something is wrong: cart/a")
    assert {refusal.reason for refusal in world.sub.refusals.values()} == {"something is wrong: cart/a"}
    assert set(world.sub.refusals) == {"cart/a", "cart/b"}


def test_an_error_without_words_is_shown_as_one():
    world = World("a")
    world.request(resource_names_subscribe=["cart/*"])
    world.page()
    world.nack("")
    assert world.sub.refusals["cart/a"].reason == "refused without a reason"


def test_a_refusal_of_a_response_that_only_removes_refuses_nothing():
    world = World()
    world.request(resource_names_subscribe=["cart/*"])
    assert world.page() == ([], ["cart/*"])
    world.nack("cart/*: no")
    assert not world.sub.refusals


def test_unsubscribing_forgets_refusals_and_versions():
    world = World("a", "b")
    world.request(resource_names_subscribe=["cart/*", "cart/b"])
    world.page()
    world.nack("cart/a: no")
    followed = world.request(resource_names_unsubscribe=["cart/*", "never/*"])
    assert followed.left == ["cart/*"]
    assert (world.sub.refusals, set(world.sub.follower.known)) == ({}, {"cart/b"})
    world.request(resource_names_subscribe=["cart/*"])
    assert world.page() == (["cart/a"], [])


def test_an_answer_after_unsubscribing_is_fine():
    world = World("a")
    world.request(resource_names_subscribe=["cart/*"])
    world.page()
    world.request(resource_names_unsubscribe=["cart/*"])
    world.nack("cart/a: no")
    assert not world.sub.refusals


def test_what_was_under_way_when_unsubscribed_from_is_removed_by_name_when_it_goes_after_resubscribing():
    world = World("a")
    world.request(resource_names_subscribe=["cart/*"])
    world.page()
    world.request(resource_names_unsubscribe=["cart/*"], resource_names_subscribe=["cart/*"])
    world.delete("a")
    page = world.page()
    assert page is not None
    assert "cart/a" in page[1]


def test_a_version_refused_in_one_response_and_accepted_in_the_next_is_known():
    world = World("a")
    world.request(resource_names_subscribe=["cart/*"])
    world.page()
    world.request(resource_names_subscribe=["cart/*"])
    world.page()
    world.nack("cart/a: not yet", 1)
    world.ack(2)
    assert world.sub.follower.known == {"cart/a": world.version("a")}
    assert not world.sub.refusals
    world.delete("a")
    assert world.page() == ([], ["cart/a"])


def test_a_refusal_of_what_has_been_removed_since_is_not_shown():
    world = World("a")
    world.request(resource_names_subscribe=["cart/*"])
    world.page()
    world.delete("a")
    assert world.page() == ([], ["cart/a"])
    world.nack("cart/a: no", 1)
    assert not world.sub.refusals


def test_subscribing_to_the_same_again_sends_it_again():
    world = World("a", "b")
    world.request(resource_names_subscribe=["cart/*"])
    world.page()
    world.ack()
    assert world.request(resource_names_subscribe=["cart/*"]).joined == []
    assert world.page() == (["cart/a", "cart/b"], [])


def test_too_many_unanswered_responses_block_until_one_is_answered():
    world = World("a")
    world.request(resource_names_subscribe=["cart/*"])
    for weight in range(MAX_IN_FLIGHT):
        assert not world.sub.blocked
        world.page(floor=100 + weight)
        world.register("a", 2 + weight)
    assert world.sub.blocked
    assert list(world.sub.floors()) == list(range(100, 100 + MAX_IN_FLIGHT))
    world.ack(1)
    assert not world.sub.blocked
    assert world.page() == (["cart/a"], [])


def test_a_large_state_comes_in_pages():
    world = World()
    metadata = tuple((f"k{number}", "v" * 256) for number in range(64))
    for number in range(150):
        world.register(f"e{number}", metadata=metadata)
    world.request(resource_names_subscribe=["cart/*"])
    sent: list[str] = []
    pages = 0
    while (page := world.sub.page(world.view.endpoints, str(pages), 0)) is not None:
        assert len(page.response(1, "n")) < PAGE + 20_000
        sent += [entry.name for entry in page.entries]
        pages += 1
    assert pages == 3
    assert len(sent) == len(set(sent)) == 150


@pytest.mark.parametrize(("fields", "words"), [
    ({"response_nonce": "77"}, "response_nonce '77': no response"),
    ({"response_nonce": "x\ny" * 2000}, "response_nonce 'x y"),
    ({"error_detail": Status(message="no")}, "error_detail without a response_nonce"),
    ({"resource_names_subscribe": ["cart"]}, "'cart' is not a name of"),
    ({"resource_names_subscribe": ["cart/*/x"]}, "is not a name of"),
    ({"resource_names_subscribe": [""]}, "'' is not a name of"),
    ({"resource_names_subscribe": ["UPPER/*"]}, "is not a name of"),
    ({"initial_resource_versions": {"../etc": "1"}}, "initial_resource_versions: '../etc' is not a name of"),
])
def test_requests_that_make_no_sense_are_refused(fields, words):
    with pytest.raises(InvalidRequest) as caught:
        World("a").request(**fields)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_a_nonce_is_answered_once():
    world = World("a")
    world.request(resource_names_subscribe=["cart/*"])
    world.page()
    world.ack()
    with pytest.raises(InvalidRequest, match="response_nonce '1'"):
        world.ack()


def test_initial_versions_come_with_the_first_request_only():
    world = World("a")
    world.request(resource_names_subscribe=["cart/*"])
    with pytest.raises(InvalidRequest, match="first request"):
        world.request(initial_resource_versions={"cart/a": "1"})


def test_the_number_of_items_is_bounded(monkeypatch):
    monkeypatch.setattr("controlplane.discovery.subscription.MAX_ITEMS", 2)
    world = World()
    world.request(resource_names_subscribe=["a/*", "b/*"])
    with pytest.raises(InvalidRequest, match="more than 2 names"):
        world.request(resource_names_subscribe=["c/*"])
