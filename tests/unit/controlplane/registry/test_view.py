from __future__ import annotations

from controlplane.registry import Lease, Registry, ServiceRecord, Stored, Table, View
from mesh.model import Endpoint, Protocol, Service


def record(name: str, revision: int) -> ServiceRecord:
    return ServiceRecord(Service(name), revision)


def names(changed):
    return None if changed is None else [name for name, _ in changed]


def test_what_changed_since_comes_once_per_resource():
    table: Table[ServiceRecord] = Table()
    for serial, name in enumerate("abcab", start=1):
        assert table.put(name, "", record(name, serial), serial)
    assert names(table.since(0)) == ["c", "a", "b"]
    assert names(table.since(3)) == ["a", "b"]
    assert names(table.since(5)) == []


def test_a_record_of_the_same_version_is_exchanged_without_a_change():
    table: Table[ServiceRecord] = Table()
    table.put("a", "", record("a", 1), 1)
    payload = table.entries["a"].payload = b"made once"
    newer = record("a", 1)
    assert not table.put("a", "", newer, 2)
    assert table.entries["a"].record is newer
    assert table.entries["a"].payload is payload
    assert names(table.since(1)) == []


def test_removals_are_remembered_until_there_are_too_many():
    table: Table[ServiceRecord] = Table(max_tombstones=2)
    for serial, name in enumerate("abcd", start=1):
        table.put(name, "", record(name, serial), serial)
    assert table.remove("a", 5, 105) == ""
    assert table.remove("b", 6, 106) == ""
    assert table.remove("zzz", 7, 107) is None
    assert set(names(table.since(4))) == {"a", "b"}
    assert table.removed_revision("a", 0) == 105
    table.remove("c", 8, 108)
    assert table.since(4) is None
    assert set(names(table.since(5))) == {"b", "c"}
    assert table.removed_revision("a", 999) == 999


def test_a_resource_that_comes_back_is_no_removal():
    table: Table[ServiceRecord] = Table()
    table.put("a", "", record("a", 1), 1)
    table.remove("a", 2, 2)
    table.put("a", "", record("a", 3), 3)
    assert names(table.since(0)) == ["a"]
    assert table.removed_revision("a", 0) == 0


def test_collections_hold_their_members_and_vanish_with_the_last():
    view = View(Stored(5))
    registry = Registry(Stored(5), 0.0)
    for name in ("x", "y"):
        change = registry.register(Endpoint("cart", name, "h", 1), Protocol.GRPC, Lease(name, 10.0), 0.0)
        services, endpoints = view.publish(change)
        assert endpoints == [(f"cart/{name}", "cart/*")]
        assert services == ([("cart", "")] if name == "x" else [])
    assert set(view.endpoints.collections["cart/*"]) == {"cart/x", "cart/y"}
    assert [entry.name for entry in view.of_service("cart")] == ["cart/x", "cart/y"] == [
        entry.name for entry in view.of_service("")]
    view.publish(registry.delete("cart", "", 0.0))
    assert view.endpoints.collections == {}
    assert view.of_service("cart") == []
    assert view.revision == registry.revision


def test_a_change_of_the_lease_alone_moves_nothing():
    view = View(Stored(5))
    registry = Registry(Stored(5), 0.0)
    for lease in ("one", "two"):
        moved = view.publish(
            registry.register(Endpoint("cart", "x", "h", 1), Protocol.GRPC, Lease(lease, 10.0), 0.0))
    assert moved == ([], [])
    assert view.endpoints.entries["cart/x"].record.lease.id == "two"
    assert view.revision == 7


def test_replacing_the_whole_state_shows_only_the_differences():
    registry = Registry(Stored(5), 0.0)
    view = View(Stored(5))
    for name in ("x", "y"):
        view.publish(registry.register(Endpoint("cart", name, "h", 1), Protocol.GRPC, Lease(name, 10.0), 0.0))
    serial = view.endpoints.serial
    kept = {("cart", "x"): registry.endpoint(("cart", "x"))}
    services, endpoints = view.replace(Stored(50, registry.services, kept, {}))
    assert (services, endpoints) == ([], [("cart/y", "cart/*")])
    assert names(view.endpoints.since(serial)) == ["cart/y"]
    assert view.revision == 50
