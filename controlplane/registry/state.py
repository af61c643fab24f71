"""The registry: services, endpoints, operators' overlays and leases, and every way in which they change.

What lives here: the rules. Each method checks its whole request, then changes everything or raises and changes nothing;
what it changed comes back as one `Change` under the next revision. What this must not know: protobuf, stores, streams,
clocks (`now` is handed in: monotonic seconds), randomness (lease ids are handed in).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from controlplane.errors import Held, NotFound
from controlplane.registry.leases import Leases
from controlplane.registry.records import (
    NO_OVERLAY,
    Change,
    EndpointRecord,
    Key,
    Lease,
    Outcome,
    Overlay,
    ServiceRecord,
    Stated,
    Stored,
)
from mesh.errors import InvalidResource
from mesh.model import MAX_WEIGHT, Endpoint, Health, Protocol, Service, check_name


class _Draft:
    """A change in the making: what it reads already holds what it wrote."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.revision = registry.revision + 1
        self.services: dict[str, ServiceRecord | None] = {}
        self.endpoints: dict[Key, EndpointRecord | None] = {}
        self.overlays: dict[Key, Overlay | None] = {}

    def service(self, name: str) -> ServiceRecord | None:
        return self.services[name] if name in self.services else self._registry.services.get(name)

    def endpoint(self, key: Key) -> EndpointRecord | None:
        return self.endpoints[key] if key in self.endpoints else self._registry.endpoint(key)

    def overlay(self, key: Key) -> Overlay:
        overlay = self.overlays[key] if key in self.overlays else self._registry.overlays.get(key)
        return NO_OVERLAY if overlay is None else overlay

    def put_service(self, service: Service) -> Outcome:
        old = self.service(service.name)
        if old is not None and old.service == service:
            return Outcome.UNCHANGED
        self.services[service.name] = ServiceRecord(service, self.revision)
        return Outcome.CREATED if old is None else Outcome.CHANGED

    def put_overlay(self, key: Key, overlay: Overlay) -> None:
        if overlay != self.overlay(key):
            self.overlays[key] = None if overlay == NO_OVERLAY else overlay

    def put_endpoint(self, base: Endpoint, lease: Lease | None) -> Outcome:
        """Write the endpoint under the overlay of its name; its revision moves only if sidecars see a difference."""
        key = (base.service, base.name)
        old = self.endpoint(key)
        record = EndpointRecord(base, self.overlay(key), lease, self.revision)
        if old is not None and old.effective == record.effective:
            record = replace(record, revision=old.revision)
        if record == old:
            return Outcome.UNCHANGED
        self.endpoints[key] = record
        return Outcome.CREATED if old is None else Outcome.CHANGED


class Registry:
    """The working state. A 64-bit `revision` counts the accepted changes and never goes back."""

    def __init__(self, stored: Stored, now: float) -> None:
        self.revision = 0
        self.services: dict[str, ServiceRecord] = {}
        self.endpoints: dict[str, dict[str, EndpointRecord]] = {}
        self.overlays: dict[Key, Overlay] = {}
        self.leases = Leases(now)
        self.restore(stored, now)

    def endpoint(self, key: Key) -> EndpointRecord | None:
        """Return what is kept of one endpoint, or None."""
        return self.endpoints.get(key[0], {}).get(key[1])

    def restore(self, stored: Stored, now: float) -> None:
        """Take over a stored state. Leases that are new here get a full time-to-live: nobody could heartbeat yet."""
        gone = {record.lease.id for record in self._records() if record.lease is not None}
        self.revision = stored.revision
        self.services = dict(stored.services)
        self.overlays = dict(stored.overlays)
        self.endpoints = {}
        for (service, name), record in stored.endpoints.items():
            self.endpoints.setdefault(service, {})[name] = record
            if record.lease is not None:
                gone.discard(record.lease.id)
                if self.leases.key(record.lease.id) is None:
                    self.leases.grant(record.lease, (service, name), now)
        for lease_id in gone:
            self.leases.end(lease_id)

    def register(self, endpoint: Endpoint, protocol: Protocol, lease: Lease, now: float) -> Change:
        """Put an endpoint under a new lease; an earlier lease of the same name ends, an unknown service is created."""
        draft = _Draft(self)
        if draft.service(endpoint.service) is None:
            draft.put_service(Service(endpoint.service, protocol))
        draft.put_endpoint(endpoint, lease)
        return self._accept(draft, now)

    def heartbeat(self, lease_id: str, now: float) -> bool:
        """Renew a lease; False: it is not known (any more), register again unless it is `taken_over`."""
        return self.leases.heartbeat(lease_id, now)

    def taken_over(self, lease_id: str) -> Key | None:
        """Return the endpoint of a lease that has ended and that another lease, so a newer one, keeps; else None."""
        key = self.leases.ended(lease_id)
        record = None if key is None else self.endpoint(key)
        return None if record is None or record.lease is None else key

    def deregister(self, lease_id: str, now: float) -> Change | None:
        """Remove the endpoint of a lease; None when the lease has ended already."""
        key = self.leases.key(lease_id)
        if key is None:
            return None
        return self._remove((key,), now)

    def expire(self, now: float) -> Change | None:
        """Remove the endpoints whose leases have run out; to be called several times a second (see `leases`)."""
        keys = self.leases.due(now)
        return self._remove(keys, now) if keys else None

    def apply(self, services: Sequence[Service], endpoints: Sequence[Stated], *, dry_run: bool,
              now: float) -> tuple[Change | None, list[Outcome]]:
        """Create or replace services and static endpoints, all or nothing; outcomes come in the order given.

        A weight or health that an endpoint states takes the place of what an operator had set on the name; one that it
        leaves out lets that stand. Raises Held for an endpoint that a lease keeps, NotFound for an endpoint of an
        unknown service.
        """
        draft = _Draft(self)
        outcomes: list[Outcome] = []
        seen: set[str] = set()
        for index, service in enumerate(services):
            _once(seen, service.name, f"services[{index}].name")
            outcomes.append(draft.put_service(service))
        for index, stated in enumerate(endpoints):
            base = stated.endpoint
            _once(seen, base.resource, f"endpoints[{index}].name")
            key = (base.service, base.name)
            if draft.service(base.service) is None:
                raise NotFound(f"endpoints[{index}].service: service/{base.service} does not exist")
            old = draft.endpoint(key)
            if old is not None and old.lease is not None:
                holder = f"sidecar {old.lease.sidecar}" if old.lease.sidecar else "a sidecar"
                raise Held(f"endpoints[{index}]: endpoint/{base.resource} is kept by the lease of {holder}; "
                           "set its weight or drain it instead")
            overlay = draft.overlay(key)
            draft.put_overlay(key, Overlay(None if stated.weight else overlay.weight,
                                           False if stated.health else overlay.drained))
            outcomes.append(draft.put_endpoint(base, None))
        if dry_run:
            return None, outcomes
        return self._accept_any(draft, now), outcomes

    def delete(self, service: str, endpoint: str, now: float) -> Change:
        """Remove one endpoint, or with `endpoint` empty a service and all that belongs to it, overlays too."""
        check_name(service, "service")
        draft = _Draft(self)
        if endpoint:
            check_name(endpoint, "endpoint")
            key = (service, endpoint)
            if key not in self.overlays:
                self._existing(key)
            draft.put_overlay(key, NO_OVERLAY)
            if self.endpoint(key) is not None:
                draft.endpoints[key] = None
            return self._accept(draft, now)
        if service not in self.services:
            raise NotFound(f"service/{service} does not exist")
        draft.services[service] = None
        for name in self.endpoints.get(service, {}):
            draft.endpoints[service, name] = None
        for key in self.overlays:
            if key[0] == service:
                draft.overlays[key] = None
        return self._accept(draft, now)

    def set_weights(self, service: str, weights: Mapping[str, int], now: float) -> Change | None:
        """Set the weights of endpoints of one service in one revision; None when they stood so already."""
        check_name(service, "service")
        if service not in self.services:
            raise NotFound(f"service/{service} does not exist")
        if not weights:
            raise InvalidResource("weights", "empty; name at least one endpoint")
        draft = _Draft(self)
        for name, weight in weights.items():
            check_name(name, "weights")
            if not 0 <= weight <= MAX_WEIGHT:
                raise InvalidResource(f"weights[{name!r}]", f"{weight} is outside 0..{MAX_WEIGHT}")
            record = self._existing((service, name))
            draft.put_overlay((service, name), replace(draft.overlay((service, name)), weight=weight))
            draft.put_endpoint(record.base, record.lease)
        return self._accept_any(draft, now)

    def drain(self, service: str, endpoint: str, *, undo: bool, now: float) -> Change | None:
        """Mark an endpoint as draining, or with `undo` as healthy again; None when it stood so already."""
        check_name(service, "service")
        check_name(endpoint, "endpoint")
        key = (service, endpoint)
        record = self._existing(key)
        draft = _Draft(self)
        draft.put_overlay(key, replace(draft.overlay(key), drained=not undo))
        base = record.base
        if undo and base.health is Health.DRAINING:
            base = replace(base, health=Health.HEALTHY)
        draft.put_endpoint(base, record.lease)
        return self._accept_any(draft, now)

    def _existing(self, key: Key) -> EndpointRecord:
        record = self.endpoint(key)
        if record is None:
            raise NotFound(f"endpoint/{key[0]}/{key[1]} does not exist")
        return record

    def _records(self) -> Iterable[EndpointRecord]:
        return (record for of_service in self.endpoints.values() for record in of_service.values())

    def _remove(self, keys: Iterable[Key], now: float) -> Change:
        draft = _Draft(self)
        for key in keys:
            draft.endpoints[key] = None
        return self._accept(draft, now)

    def _accept_any(self, draft: _Draft, now: float) -> Change | None:
        return self._accept(draft, now) if draft.services or draft.endpoints or draft.overlays else None

    def _accept(self, draft: _Draft, now: float) -> Change:
        self.revision = draft.revision
        for name, service in draft.services.items():
            if service is None:
                del self.services[name]
            else:
                self.services[name] = service
        for key, overlay in draft.overlays.items():
            if overlay is None:
                self.overlays.pop(key, None)
            else:
                self.overlays[key] = overlay
        for key, record in draft.endpoints.items():
            self._replace(key, record, now)
        return Change(draft.revision, draft.services, draft.endpoints, draft.overlays)

    def _replace(self, key: Key, record: EndpointRecord | None, now: float) -> None:
        service, name = key
        of_service = self.endpoints.setdefault(service, {})
        old = of_service.get(name)
        lease = None if record is None else record.lease
        if old is not None and old.lease is not None and old.lease != lease:
            self.leases.end(old.lease.id)
        if lease is not None and (old is None or old.lease != lease):
            self.leases.grant(lease, key, now)
        if record is not None:
            of_service[name] = record
        else:
            of_service.pop(name, None)
            if not of_service:
                del self.endpoints[service]


def _once(seen: set[str], name: str, where: str) -> None:
    if name in seen:
        raise InvalidResource(where, f"{name!r} is given twice in one request")
    seen.add(name)
