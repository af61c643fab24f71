"""What of the registry is published: committed to the store and shown to reads, watches and discovery streams.

What lives here: one table per resource type, ordered by when each resource was last published, so that a reader asks
"what changed since" at a cost in proportion to the change. What this must not know: leases, stores, protobuf, streams.

A reader's position is a `serial`, which counts publications in this process; revisions are the registry's and persist.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain
from typing import Generic, TypeVar

from controlplane.registry.records import Change, EndpointRecord, Key, ServiceRecord, Stored

R = TypeVar("R", ServiceRecord, EndpointRecord)
MAX_TOMBSTONES = 10_000  # removals remembered; a reader further behind compares everything it knows


class Entry(Generic[R]):
    """One published resource. `collection` is `<service>/*` of an endpoint, empty of a service.

    `payload` is a free slot for its encoded form, made once and shared by all streams.
    """

    __slots__ = ("collection", "name", "payload", "record", "serial", "version")

    def __init__(self, name: str, collection: str, record: R, serial: int) -> None:
        self.name = name
        self.collection = collection
        self.record: R = record
        self.version = str(record.revision)
        self.serial = serial
        self.payload: bytes | None = None


class Table(Generic[R]):
    """The published resources of one type."""

    def __init__(self, max_tombstones: int = MAX_TOMBSTONES) -> None:
        self.serial = 0
        self.entries: OrderedDict[str, Entry[R]] = OrderedDict()  # oldest publication first
        self.collections: dict[str, dict[str, Entry[R]]] = {}
        self._removed: OrderedDict[str, tuple[int, str, int]] = OrderedDict()  # name -> serial, collection, revision
        self._horizon = 0  # serial of the newest removal that is forgotten
        self._max_tombstones = max_tombstones
        self._since: dict[int, list[tuple[str, str]]] = {}

    def put(self, name: str, collection: str, record: R, serial: int) -> bool:
        """Publish a record; False when readers already have this version of it (then only the record is exchanged)."""
        old = self.entries.get(name)
        if old is not None and old.record.revision == record.revision:
            old.record = record
            return False
        entry = Entry(name, collection, record, serial)
        self.entries[name] = entry
        self.entries.move_to_end(name)
        self._removed.pop(name, None)
        if collection:
            self.collections.setdefault(collection, {})[name] = entry
        self._moved(serial)
        return True

    def remove(self, name: str, serial: int, revision: int) -> str | None:
        """Take a resource back and return its collection, or None when it was not published."""
        entry = self.entries.pop(name, None)
        if entry is None:
            return None
        if entry.collection:
            members = self.collections[entry.collection]
            del members[name]
            if not members:
                del self.collections[entry.collection]
        self._removed[name] = (serial, entry.collection, revision)
        if len(self._removed) > self._max_tombstones:
            _, (self._horizon, _, _) = self._removed.popitem(last=False)
        self._moved(serial)
        return entry.collection

    def since(self, serial: int) -> list[tuple[str, str]] | None:
        """Return (name, collection) of what changed after `serial`; None when that is not known any more."""
        if serial < self._horizon:
            return None
        changed = self._since.get(serial)
        if changed is None:
            changed = []
            for entry in reversed(self.entries.values()):
                if entry.serial <= serial:
                    break
                changed.append((entry.name, entry.collection))
            for name, (removed, collection, _) in reversed(self._removed.items()):
                if removed <= serial:
                    break
                changed.append((name, collection))
            changed.reverse()
            self._since[serial] = changed
        return changed

    def removed_revision(self, name: str, default: int) -> int:
        """Return the revision that removed `name`, or `default` when that is not known any more."""
        removed = self._removed.get(name)
        return default if removed is None else removed[2]

    def _moved(self, serial: int) -> None:
        self.serial = serial
        self._since.clear()


class View:
    """Both tables, and the revision they stand at."""

    def __init__(self, stored: Stored) -> None:
        self.revision = 0
        self.serial = 0
        self.services: Table[ServiceRecord] = Table()
        self.endpoints: Table[EndpointRecord] = Table()
        self.replace(stored)

    def publish(self, change: Change) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Take over a committed change; return (name, collection) of the services and endpoints that moved."""
        self.serial += 1
        self.revision = change.revision
        services: list[tuple[str, str]] = []
        endpoints: list[tuple[str, str]] = []
        for name, service in change.services.items():
            if service is None:
                moved = self.services.remove(name, self.serial, change.revision) is not None
            else:
                moved = self.services.put(name, "", service, self.serial)
            if moved:
                services.append((name, ""))
        for key, record in change.endpoints.items():
            resource, collection = f"{key[0]}/{key[1]}", f"{key[0]}/*"
            if record is None:
                moved = self.endpoints.remove(resource, self.serial, change.revision) is not None
            else:
                moved = self.endpoints.put(resource, collection, record, self.serial)
            if moved:
                endpoints.append((resource, collection))
        return services, endpoints

    def replace(self, stored: Stored) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Take over a whole stored state, as `publish` does with one change."""
        services: dict[str, ServiceRecord | None] = dict(stored.services)
        endpoints: dict[Key, EndpointRecord | None] = dict(stored.endpoints)
        for name in self.services.entries:
            services.setdefault(name, None)
        for entry in self.endpoints.entries.values():
            endpoint = entry.record.base
            endpoints.setdefault((endpoint.service, endpoint.name), None)
        return self.publish(Change(stored.revision, services, endpoints))

    def of_service(self, service: str) -> list[Entry[EndpointRecord]]:
        """Return the endpoints of one service, or of all when `service` is empty, by resource name."""
        if service:
            found = list(self.endpoints.collections.get(f"{service}/*", {}).values())
        else:
            found = list(chain.from_iterable(members.values() for members in self.endpoints.collections.values()))
        return sorted(found, key=lambda entry: entry.name)
