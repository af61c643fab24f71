from __future__ import annotations

import pytest

from controlplane.registry import Follower, Interest, Lease, Registry, Stored, View
from mesh.model import Endpoint, Protocol


class World:
    """A registry, its view, and one follower of endpoints that is told of every publication."""

    def __init__(self, *, tell_absent: bool = True) -> None:
        self.registry = Registry(Stored(100), 0.0)
        self.view = View(Stored(100))
        self.follower = Follower(tell_absent=tell_absent)

    def publish(self, change, *, tell: bool = True):
        serial = self.view.serial
        self.view.publish(change)
        if tell:
            self.follower.moved(serial)

    def register(self, name: str, service: str = "cart", *, tell: bool = True, **fields) -> None:
        endpoint = Endpoint(service, name, "127.0.0.1", 80, **fields)
        lease = Lease(f"{service}-{name}-{self.registry.revision}", 10.0)
        self.publish(self.registry.register(endpoint, Protocol.GRPC, lease, 0.0), tell=tell)

    def delete(self, name: str, service: str = "cart", *, tell: bool = True) -> None:
        self.publish(self.registry.delete(service, name, 0.0), tell=tell)

    def follow(self, *items: str) -> None:
        for item in items:
            self.follower.follow(item, self.view.endpoints)

    def take(self, limit: int = 1000, refused=None):
        entries, removed = self.follower.take(self.view.endpoints, limit, lambda name, entry: 1, refused or {})
        return [entry.name for entry, _ in entries], removed


@pytest.mark.parametrize(("item", "expected"), [
    ("*", ["cart/a", "cart/b", "pay/a"]), ("cart/*", ["cart/a", "cart/b"]), ("pay/a", ["pay/a"])])
def test_an_item_is_handed_out_in_full_once(item, expected):
    world = World()
    for name, service in (("a", "cart"), ("b", "cart"), ("a", "pay")):
        world.register(name, service)
    world.follow(item)
    entries, removed = world.take()
    assert (sorted(entries), removed) == (expected, [])
    assert world.take() == ([], [])
    assert not world.follower.behind


@pytest.mark.parametrize("item", ["*", "cart/*", "cart/a"])
def test_what_does_not_exist_is_told_once_and_comes_when_it_appears(item):
    world = World()
    world.follow(item)
    assert world.take() == ([], [item])
    assert world.take() == ([], [])
    world.register("a")
    assert world.take() == (["cart/a"], [])
    world.delete("a")
    assert world.take() == ([], ["cart/a"])


@pytest.mark.parametrize("item", ["*", "cart/*", "cart/a"])
def test_absence_is_kept_to_itself_by_a_follower_that_tells_none(item):
    world = World(tell_absent=False)
    world.follow(item)
    assert world.take() == ([], [])


def test_absence_that_ended_before_it_was_told_is_not_told():
    world = World()
    world.follow("cart/*", "pay/a")
    world.register("a")
    world.register("a", "pay")
    entries, removed = world.take()
    assert (sorted(entries), removed) == (["cart/a", "pay/a"], [])


def test_changes_merge_and_a_resource_that_came_and_went_is_not_mentioned():
    world = World()
    world.register("a")
    world.follow("cart/*")
    world.take()
    for weight in (2, 3, 4):
        world.register("a", weight=weight)
    world.register("b")
    world.delete("b")
    entries, removed = world.follower.take(world.view.endpoints, 1000, lambda name, entry: 1)
    assert [entry.record.effective.weight for entry, _ in entries] == [4]
    assert removed == []


def test_others_changes_do_not_matter():
    world = World()
    world.register("a")
    world.follow("cart/*")
    world.take()
    world.register("a", "pay")
    assert world.take() == ([], [])


def test_a_page_has_at_least_one_and_at_most_the_limit_and_the_rest_follows():
    world = World()
    for name in "abcde":
        world.register(name)
    world.follow("cart/*")
    assert world.take(0) == ([], [])
    assert world.take(2) == (["cart/a", "cart/b"], [])
    entries, _ = world.follower.take(world.view.endpoints, 1, lambda name, entry: 50)
    assert [entry.name for entry, _ in entries] == ["cart/c"]
    world.delete("d")
    world.register("e", weight=9)
    assert world.take(2) == (["cart/e"], [])


def test_versions_known_from_before_are_not_handed_out_and_what_is_gone_is():
    world = World()
    for name in "ab":
        world.register(name)
    versions = {name: entry.version for name, entry in world.view.endpoints.entries.items()}
    world.follower.known.update({"cart/a": versions["cart/a"], "cart/b": "7", "cart/gone": "8", "pay/x": "9"})
    world.follow("cart/*")
    assert world.take() == (["cart/b"], ["cart/gone"])
    world.follow("pay/*")
    assert world.take() == ([], ["pay/x", "pay/*"])


def test_a_reader_behind_the_oldest_tombstone_compares_everything_it_knows():
    world = World()
    world.view.endpoints._max_tombstones = 1
    for name in "abc":
        world.register(name)
    world.follow("cart/*")
    world.take()
    serial = world.view.serial
    world.delete("a", tell=False)
    world.delete("b", tell=False)
    world.register("d", tell=False)
    world.follower.moved(serial)
    assert world.view.endpoints.since(serial) is None
    entries, removed = world.take()
    assert (entries, sorted(removed)) == (["cart/d"], ["cart/a", "cart/b"])
    assert set(world.follower.known) == {"cart/c", "cart/d"}


def test_leaving_an_item_forgets_what_no_other_item_takes_in():
    world = World()
    for name in "ab":
        world.register(name)
    world.follow("cart/*", "cart/a")
    world.take()
    world.follower.leave("cart/*")
    assert set(world.follower.known) == {"cart/a"}
    world.register("b", weight=3)
    world.register("a", weight=3)
    assert world.take() == (["cart/a"], [])


def test_leaving_a_name_keeps_what_another_item_has_yet_to_hand_out():
    world = World()
    world.register("a")
    world.follower.known["cart/gone"] = "5"
    world.follow("cart/*", "cart/a", "cart/gone")
    world.follower.leave("cart/a")
    world.follower.leave("cart/gone")
    assert world.take() == (["cart/a"], ["cart/gone"])


def test_leaving_an_item_forgets_what_it_had_yet_to_hand_out():
    world = World()
    world.register("a")
    world.follow("*")
    world.follower.leave("*")
    assert world.take() == ([], [])
    world.follow("*")
    assert world.take()[0] == ["cart/a"]


def test_doubting_an_item_hands_it_out_anew_and_still_tells_what_has_gone():
    world = World()
    for name in "ab":
        world.register(name)
    world.follow("cart/*")
    world.take()
    world.delete("b")
    world.follower.doubt("cart/*", list(world.follower.known))
    world.follow("cart/*")
    assert world.take() == (["cart/a"], ["cart/b"])


def test_a_refused_version_is_passed_over_but_its_removal_is_told():
    world = World()
    world.register("a")
    world.follow("cart/a")
    version = world.view.endpoints.entries["cart/a"].version
    assert world.take(refused={"cart/a": version}) == ([], [])
    world.register("a", weight=5)
    assert world.take(refused={"cart/a": version}) == (["cart/a"], [])
    del world.follower.known["cart/a"]  # refused as well
    world.delete("a")
    assert world.take(refused={"cart/a": "x"}) == ([], ["cart/a"])


def test_interest_finds_the_readers_of_a_name_its_collection_and_everything():
    interest: Interest[str] = Interest()
    interest.add("*", "all")
    interest.add("cart/*", "cart")
    interest.add("cart/a", "one")
    interest.add("pay/*", "pay")
    assert interest.in_any([("cart/a", "cart/*")]) == {"all", "cart", "one"}
    assert interest.in_any([("cart/b", "cart/*")]) == {"all", "cart"}
    assert interest.in_any([("cart", "")]) == {"all"}
    assert interest.in_any([]) == set()
    interest.drop("cart/*", "cart")
    interest.drop("cart/*", "cart")
    assert interest.in_any([("cart/b", "cart/*")]) == {"all"}
    assert "cart/*" not in interest._readers
