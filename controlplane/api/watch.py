"""`RegistryService.Watch`: the present state, then what changes, at the watcher's own pace.

What lives here: one watcher's position in both tables, and the order in which it is told. What this must not know: the
registry's rules, stores. A watcher is handed everything up to one revision in the order of revisions, then everything
up to the next; while it is slow to read, changes merge in the view and nothing is kept for it but names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from controlplane.errors import ShuttingDown
from controlplane.publisher import Publisher
from controlplane.registry import EndpointRecord, Follower, ServiceRecord, View
from controlplane.rpc import Context
from mesh.model import check_name
from mesh.resource.convert import endpoint_to_proto, service_to_proto
from mesh.v1 import registry_pb2

_ALL = 1 << 62  # no limit of names for one look


class Watcher:
    """One watcher, of one service or of all."""

    def __init__(self, view: View, service: str) -> None:
        self.services_item = service or "*"
        self.endpoints_item = f"{service}/*" if service else "*"
        self.woken = asyncio.Event()
        self._view = view
        self._services: Follower[ServiceRecord] = Follower(tell_absent=False)
        self._endpoints: Follower[EndpointRecord] = Follower(tell_absent=False)
        self._services.follow(self.services_item, view.services)
        self._endpoints.follow(self.endpoints_item, view.endpoints)

    def wake(self, serial: int, _revision: int) -> None:
        """Something watched was published after `serial`."""
        self._services.moved(serial)
        self._endpoints.moved(serial)
        self.woken.set()

    def look(self) -> Iterator[registry_pb2.WatchResponse]:
        """Return what changed since the last look, by revision, a service before its endpoints."""
        view = self._view
        services, services_gone = self._services.take(view.services, _ALL, _one)
        endpoints, endpoints_gone = self._endpoints.take(view.endpoints, _ALL, _one)
        put, removed = registry_pb2.WatchResponse.KIND_PUT, registry_pb2.WatchResponse.KIND_REMOVED
        told: list[tuple[int, int, str, ServiceRecord | EndpointRecord | None]] = []
        told += ((entry.record.revision, 0, entry.name, entry.record) for entry, _ in services)
        told += ((entry.record.revision, 1, entry.name, entry.record) for entry, _ in endpoints)
        told += ((view.endpoints.removed_revision(name, view.revision), 2, name, None) for name in endpoints_gone)
        told += ((view.services.removed_revision(name, view.revision), 3, name, None) for name in services_gone)
        told.sort(key=lambda item: item[:3])
        for revision, _, name, record in told:
            if isinstance(record, ServiceRecord):
                yield registry_pb2.WatchResponse(kind=put, revision=revision, resource=f"service/{name}",
                                                 service=service_to_proto(record.service))
            elif isinstance(record, EndpointRecord):
                yield registry_pb2.WatchResponse(kind=put, revision=revision, resource=f"endpoint/{name}",
                                                 endpoint=endpoint_to_proto(record.effective))
            else:
                kind = "endpoint" if "/" in name else "service"
                yield registry_pb2.WatchResponse(kind=removed, revision=revision, resource=f"{kind}/{name}")


class Watches:
    """Serves watchers until `close`."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._open: set[Watcher] = set()
        self._closed = False

    async def watch(self, request: registry_pb2.WatchRequest, context: Context) -> None:
        """Serve one call."""
        if request.service:
            check_name(request.service, "service")
        publisher = self._publisher
        watcher = Watcher(publisher.view, request.service)
        publisher.services.add(watcher.services_item, watcher)
        publisher.endpoints.add(watcher.endpoints_item, watcher)
        self._open.add(watcher)
        try:
            synced = False
            while not self._closed:
                revision = publisher.told_revision
                for response in watcher.look():
                    await context.write(response.SerializeToString())
                if not synced:
                    synced = True
                    synced_at = registry_pb2.WatchResponse(kind=registry_pb2.WatchResponse.KIND_SYNCED,
                                                           revision=revision)
                    await context.write(synced_at.SerializeToString())
                await watcher.woken.wait()
                watcher.woken.clear()
        finally:
            self._open.discard(watcher)
            publisher.services.drop(watcher.services_item, watcher)
            publisher.endpoints.drop(watcher.endpoints_item, watcher)
        raise ShuttingDown()

    def close(self) -> None:
        """End every call, as the control plane shuts down."""
        self._closed = True
        for watcher in self._open:
            watcher.woken.set()


def _one(_name: str, _entry: object) -> int:
    return 1
