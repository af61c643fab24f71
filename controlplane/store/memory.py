"""A store that forgets: for tests, and for a control plane that is to leave nothing behind.

What lives here: the fold of changes over a state. What this must not know: files, protobuf, asyncio.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.errors import Conflict
from controlplane.registry import Change, EndpointRecord, Key, Overlay, ServiceRecord, Stored


class MemoryStore:
    """Keeps the state in this process; starts empty at `first_revision`."""

    def __init__(self, first_revision: int = 0) -> None:
        self._revision = first_revision
        self._services: dict[str, ServiceRecord] = {}
        self._endpoints: dict[Key, EndpointRecord] = {}
        self._overlays: dict[Key, Overlay] = {}

    def load(self) -> Stored:
        return Stored(self._revision, dict(self._services), dict(self._endpoints), dict(self._overlays))

    def commit(self, expected: int, changes: Sequence[Change]) -> None:
        if expected != self._revision:
            raise Conflict(f"the store is at revision {self._revision}, not {expected}")
        for change in changes:
            for name, service in change.services.items():
                if service is None:
                    self._services.pop(name, None)
                else:
                    self._services[name] = service
            for key, endpoint in change.endpoints.items():
                if endpoint is None:
                    self._endpoints.pop(key, None)
                else:
                    self._endpoints[key] = endpoint
            for key, overlay in change.overlays.items():
                if overlay is None:
                    self._overlays.pop(key, None)
                else:
                    self._overlays[key] = overlay
            self._revision = change.revision

    def close(self) -> None:
        """Nothing to release."""
