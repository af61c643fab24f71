"""Every way in which the registry changes, in random order: store, view and readers end up with the same state."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controlplane.errors import RequestError
from controlplane.registry import Follower, Lease, Registry, Stated, View
from controlplane.store.memory import MemoryStore
from mesh.model import Endpoint, Health, Protocol, Service

SERVICES = st.sampled_from(("cart", "pay"))
NAMES = st.sampled_from(("a", "b", "c"))
ITEMS = ("*", "cart/*", "pay/*", "cart/a", "pay/b", "none/*")


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore(100)
        self.registry = Registry(self.store.load(), 0.0)
        self.view = View(self.store.load())
        self.view.endpoints._max_tombstones = 2
        self.now = 0.0
        self.leases = 0
        self.revisions = [100]
        self.followers = {item: Follower(tell_absent=True) for item in ITEMS}
        self.held: dict[str, dict[str, str]] = {item: {} for item in ITEMS}
        for item, follower in self.followers.items():
            follower.follow(item, self.view.endpoints)

    def accept(self, change) -> None:
        if change is None:
            assert self.registry.revision == self.revisions[-1]
            return
        assert change.revision == self.registry.revision == self.revisions[-1] + 1
        self.revisions.append(change.revision)
        self.store.commit(self.revisions[-2], [change])
        serial = self.view.serial
        _, endpoints = self.view.publish(change)
        for follower in self.followers.values():
            if any(follower.covers(*pair) for pair in endpoints):
                follower.moved(serial)

    @rule(service=SERVICES, name=NAMES, port=st.integers(1, 3), ttl=st.integers(1, 4))
    def register(self, service, name, port, ttl):
        self.leases += 1
        lease = Lease(f"l{self.leases}", float(ttl))
        self.accept(self.registry.register(Endpoint(service, name, "h", port), Protocol.GRPC, lease, self.now))

    @rule(number=st.integers(1, 30))
    def heartbeat(self, number):
        self.registry.heartbeat(f"l{number}", self.now)

    @rule(number=st.integers(1, 30))
    def deregister(self, number):
        self.accept(self.registry.deregister(f"l{number}", self.now))

    @rule(seconds=st.sampled_from((0.25, 0.5, 5.0)))
    def time_passes(self, seconds):
        self.now += seconds
        self.accept(self.registry.expire(self.now))

    @rule(service=SERVICES, name=st.one_of(st.just(""), NAMES))
    def delete(self, service, name):
        self.tried(lambda: self.registry.delete(service, name, self.now))

    @rule(service=SERVICES, weights=st.dictionaries(NAMES, st.integers(0, 3), max_size=3))
    def set_weights(self, service, weights):
        self.tried(lambda: self.registry.set_weights(service, weights, self.now))

    @rule(service=SERVICES, name=NAMES, undo=st.booleans())
    def drain(self, service, name, undo):
        self.tried(lambda: self.registry.drain(service, name, undo=undo, now=self.now))

    @rule(services=st.sets(SERVICES), name=NAMES, of=SERVICES, weight=st.booleans(), health=st.sampled_from(Health),
          dry_run=st.booleans())
    def apply(self, services, name, of, weight, health, dry_run):
        stated = Stated(Endpoint(of, name, "static", 1, health=health), weight=weight, health=True)
        self.tried(lambda: self.registry.apply([Service(service) for service in services], [stated], dry_run=dry_run,
                                               now=self.now)[0])

    def tried(self, operation):
        before = self.whole()
        try:
            change = operation()
        except (RequestError, ValueError):
            assert self.whole() == before
        else:
            self.accept(change)

    @rule(item=st.sampled_from(ITEMS), limit=st.integers(1, 3))
    def read(self, item, limit):
        entries, removed = self.followers[item].take(self.view.endpoints, limit, lambda name, entry: 1)
        assert 0 < len(entries) + len(removed) <= limit or not self.followers[item].behind
        for entry, before in entries:
            assert self.held[item].get(entry.name) == before != entry.version
            self.held[item][entry.name] = entry.version
        for name in removed:
            self.held[item].pop(name, None)

    def whole(self):
        return (self.registry.revision, dict(self.registry.services), dict(self.registry.overlays),
                {service: dict(members) for service, members in self.registry.endpoints.items()})

    @invariant()
    def the_store_holds_the_registry(self):
        stored = self.store.load()
        assert stored.revision == self.registry.revision
        assert stored.services == self.registry.services
        assert stored.overlays == self.registry.overlays
        again = Registry(stored, self.now)
        assert again.endpoints == self.registry.endpoints
        assert len(again.leases) == len(self.registry.leases)

    @invariant()
    def the_view_shows_it_and_versions_move_exactly_with_what_is_shown(self):
        shown = {name: entry.record for name, entry in self.view.endpoints.entries.items()}
        assert shown == {f"{service}/{name}": record for service, members in self.registry.endpoints.items()
                         for name, record in members.items()}
        assert all(record.base.service in self.registry.services for record in shown.values())

    @invariant()
    def a_reader_that_has_caught_up_holds_what_it_follows(self):
        for item, follower in self.followers.items():
            if not follower.behind:
                follows = {name: entry.version for name, entry in self.view.endpoints.entries.items()
                           if follower.covers(name, entry.collection)}
                assert self.held[item] == follows == follower.known


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_registry_store_view_and_readers_agree = pytest.mark.slow(Machine.TestCase)
