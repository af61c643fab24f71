from __future__ import annotations

import sqlite3

import pytest

from controlplane.errors import Conflict, StoreError
from controlplane.registry import Lease, Registry, Stated
from controlplane.store.memory import MemoryStore
from controlplane.store.sqlite import SqliteStore
from mesh.model import Algorithm, BalancePolicy, Endpoint, Health, Locality, Protocol, RetryPolicy, Service


@pytest.fixture
def path(tmp_path):
    return tmp_path / "registry.sqlite"


def history(registry: Registry):
    """Changes that touch every column."""
    service = Service("cart", Protocol.HTTP2, BalancePolicy(Algorithm.RANDOM),
                      RetryPolicy(codes=frozenset(("INTERNAL",))))
    static = Endpoint("cart", "static", "10.0.0.1", 80, 0, Locality("eu", "a"), Health.UNHEALTHY,
                      (("a", "1"), ("b", "2")))
    yield registry.apply([service, Service("pay")], [Stated(static)], dry_run=False, now=0.0)[0]
    yield registry.register(Endpoint("cart", "c-0", "::1", 81), Protocol.GRPC, Lease("l", 12.5, "cart/c-0"), 0.0)
    yield registry.set_weights("cart", {"c-0": 7, "static": 1}, 0.0)
    yield registry.drain("cart", "c-0", undo=False, now=0.0)
    yield registry.register(Endpoint("pay", "p-0", "h", 1), Protocol.GRPC, Lease("m", 1.0), 0.0)
    yield registry.deregister("m", 0.0)
    yield registry.delete("pay", "", 0.0)
    yield registry.drain("cart", "static", undo=False, now=0.0)
    yield registry.delete("cart", "static", 0.0)


def test_each_commit_is_there_when_the_file_is_opened_anew_without_a_close(path):
    store, memory = SqliteStore(path, 500), MemoryStore(500)
    registry = Registry(store.load(), 0.0)
    revision = 500
    for change in history(registry):
        store.commit(revision, [change])
        memory.commit(revision, [change])
        revision = change.revision
        crashed = SqliteStore(path, 1)
        assert crashed.load() == memory.load()
        crashed.close()
    assert revision == 509
    store.close()


def test_a_group_of_changes_is_one_commit(path):
    store = SqliteStore(path, 0)
    registry = Registry(store.load(), 0.0)
    changes = list(history(registry))
    store.commit(0, changes)
    loaded = Registry(store.load(), 0.0)
    assert (loaded.services, loaded.endpoints, loaded.overlays) == (
        registry.services, registry.endpoints, registry.overlays)
    store.commit(9, [])
    store.close()


def test_a_commit_from_another_revision_is_refused_whole(path):
    store, other = SqliteStore(path, 0), SqliteStore(path, 0)
    first, second = Registry(store.load(), 0.0), Registry(other.load(), 0.0)
    store.commit(0, [first.apply([Service("cart")], [], dry_run=False, now=0.0)[0]])
    with pytest.raises(Conflict, match="from revision 0"):
        other.commit(0, [second.apply([Service("pay")], [], dry_run=False, now=0.0)[0]])
    assert set(other.load().services) == {"cart"}
    store.close()
    other.close()


def test_a_new_file_starts_at_the_revision_given_and_an_old_one_does_not(path):
    store = SqliteStore(path, 1234)
    assert store.load().revision == 1234
    store.close()
    store = SqliteStore(path, 9999)
    assert store.load().revision == 1234
    store.close()


def test_durability_settings(path):
    store = SqliteStore(path, 0)
    assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2
    store.close()


@pytest.mark.parametrize("content", [
    b"this is no database at all, far from it" * 50, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused_with_its_name(path, content):
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"registry\.sqlite: "):
        SqliteStore(path, 0)
    assert path.read_bytes() == content


def test_a_damaged_page_is_refused(path):
    store = SqliteStore(path, 0)
    store.commit(0, list(history(Registry(store.load(), 0.0))))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 2:] = b"\x55" * (len(content) - 4096 * 2)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"registry\.sqlite: "):
        SqliteStore(path, 0)


def test_a_resource_that_breaks_a_rule_is_named(path):
    store = SqliteStore(path, 0)
    store._db.execute("INSERT INTO service VALUES ('cart', 1, x'0a0343415e')")
    with pytest.raises(StoreError, match="service/cart can't be read"):
        store.load()
    store._db.execute("UPDATE service SET message = x'ff'")
    with pytest.raises(StoreError, match="service/cart can't be read"):
        store.load()
    store.close()


def test_other_databases_and_newer_schemas_are_refused(path):
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE something (x)")
    db.commit()
    with pytest.raises(StoreError, match="not one of the mesh"):
        SqliteStore(path, 0)
    db.close()
    path.unlink()
    SqliteStore(path, 0).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(StoreError, match="newer release"):
        SqliteStore(path, 0)


def test_a_directory_that_is_missing_is_a_clear_error(tmp_path):
    with pytest.raises(StoreError, match="unable to open"):
        SqliteStore(tmp_path / "none" / "registry.sqlite", 0)


def test_a_revision_beyond_64_bits_is_refused_and_nothing_written(path):
    store = SqliteStore(path, 0)
    registry = Registry(store.load(), 0.0)
    registry.revision = 1 << 63
    with pytest.raises(StoreError):
        store.commit(0, [registry.apply([Service("cart")], [], dry_run=False, now=0.0)[0]])
    assert store.load().revision == 0
    store.close()
