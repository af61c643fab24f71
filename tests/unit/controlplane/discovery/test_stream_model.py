"""A registry that changes and a sidecar that accepts, refuses, lags and reconnects at random agree in the end."""

from __future__ import annotations

from collections import deque
from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controlplane.discovery.encoding import ENDPOINT, SERVICE
from controlplane.discovery.stream import StreamState
from controlplane.errors import RequestError
from controlplane.registry import Lease, Registry, Stored, View
from mesh.model import Endpoint, Protocol
from mesh.xds.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Status

SERVICES = st.sampled_from(("cart", "pay"))
NAMES = st.sampled_from(("a", "b"))
ITEMS = st.one_of(
    st.tuples(st.just(SERVICE.url), st.sampled_from(("*", "cart", "pay", "none"))),
    st.tuples(st.just(ENDPOINT.url), st.sampled_from(("*", "cart/*", "pay/*", "cart/a", "none/*"))))


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry(Stored(100), 0.0)
        self.view = View(Stored(100))
        self.view.endpoints._max_tombstones = 2
        self.held: dict[str, dict[str, str]] = {SERVICE.url: {}, ENDPOINT.url: {}}
        self.wanted: dict[str, set[str]] = {SERVICE.url: set(), ENDPOINT.url: set()}
        self.connect()

    def connect(self) -> None:
        """Open a stream, as a sidecar does that still wants what it wanted."""
        self.stream = StreamState(self.view, 0.0)
        self.introduced = False
        self.arrived: deque[DeltaDiscoveryResponse] = deque()
        self.refused: dict[tuple[str, str], str] = {}
        for url in self.wanted:
            self.send(url, resource_names_subscribe=self.wanted[url], initial_resource_versions=self.held[url])

    def send(self, url: str, **fields) -> None:
        node = None if self.introduced else Node(id="web/web-0")
        self.introduced = True
        self.stream.receive(DeltaDiscoveryRequest(node=node, type_url=url, **fields), self.view.revision, 1.0)

    def publish(self, change) -> None:
        if change is None:
            return
        before = self.view.serial, self.view.revision
        moved = dict(zip(("service", "endpoint"), self.view.publish(change), strict=True))
        items = dict(self.stream.items())
        if any({name, collection, "*"} & items[kind] for kind, pairs in moved.items() for name, collection in pairs):
            self.stream.wake(*before)

    @rule(service=SERVICES, name=NAMES, weight=st.integers(0, 2))
    def register(self, service, name, weight):
        lease = Lease(f"l{self.registry.revision}", 10.0)
        self.publish(self.registry.register(Endpoint(service, name, "h", 1, weight), Protocol.GRPC, lease, 0.0))

    @rule(service=SERVICES, name=st.one_of(st.just(""), NAMES))
    def delete(self, service, name):
        with suppress(RequestError):
            self.publish(self.registry.delete(service, name, 0.0))

    @rule(item=ITEMS)
    def subscribe(self, item):
        url, name = item
        self.wanted[url].add(name)
        self.send(url, resource_names_subscribe=[name])

    @rule(item=ITEMS)
    def unsubscribe(self, item):
        url, name = item
        self.wanted[url].discard(name)
        for held in [held for held in self.held[url] if not self.wants(url, held)]:
            del self.held[url][held]
        self.refused = {key: version for key, version in self.refused.items() if self.wants(*key)}
        self.send(url, resource_names_unsubscribe=[name])

    @rule()
    def arrive(self):
        raw = self.stream.next_response(self.view.revision)
        if raw is not None:
            self.arrived.append(DeltaDiscoveryResponse.FromString(raw))

    @rule(refuse=st.sets(st.sampled_from(("cart", "pay", "cart/a", "cart/b", "pay/a"))))
    def answer(self, refuse):
        if not self.arrived:
            return
        response = self.arrived.popleft()
        url, held = response.type_url, self.held[response.type_url]
        lines = []
        for one in response.resources:
            # What the sidecar no longer wants it drops on arrival.
            if one.name in refuse and held.get(one.name) != one.version:
                lines.append(f"{one.name}: no")
                if self.wants(url, one.name):
                    self.refused[url, one.name] = one.version
            elif self.wants(url, one.name):
                held[one.name] = one.version
                self.refused.pop((url, one.name), None)
        for name in response.removed_resources:
            held.pop(name, None)
            self.refused.pop((url, name), None)
        error = Status(code=3, message="\n".join(lines)) if lines else None
        self.send(url, response_nonce=response.nonce, error_detail=error)

    @rule()
    def reconnect(self):
        self.connect()

    def wants(self, url: str, name: str) -> bool:
        collection = f"{name.partition('/')[0]}/*"
        return not self.wanted[url].isdisjoint({name, collection, "*"})

    @rule()
    def catch_up(self):
        while self.stream.behind or self.arrived:
            self.arrive()
            self.answer(set())
        assert self.stream.next_response(self.view.revision) is None
        for url, table in ((SERVICE.url, self.view.services), (ENDPOINT.url, self.view.endpoints)):
            there = {name: entry.version for name, entry in table.entries.items() if self.wants(url, name)}
            refused = {name: version for (kind, name), version in self.refused.items() if kind == url}
            for name, version in there.items():
                if refused.get(name) == version:
                    assert self.held[url].get(name) != version
                else:
                    assert self.held[url].get(name) == version
            assert set(self.held[url]) <= set(there)
        report = self.stream.report(self.view.revision)
        assert report.sent_revision == report.acked_revision == self.view.revision

    @invariant()
    def refusals_shown_are_those_of_the_sidecar(self):
        if self.arrived:
            return
        shown = {(refusal.resource.partition("/")[2], refusal.version) for refusal in self.stream.report(0).refusals}
        assert shown == {(name, version) for (_, name), version in self.refused.items()}


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_a_sidecar_ends_up_with_what_there_is = pytest.mark.slow(Machine.TestCase)
