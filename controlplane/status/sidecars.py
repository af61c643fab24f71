"""The sidecars connected now, and those seen in the last hour.

What lives here: the table and its bounds. What this must not know: grpc, protobuf, clocks (`now` is handed in: seconds
since the epoch). A sidecar that comes back while its old stream is still dying is one row: the newer stream's.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Protocol

KEEP = 3600.0  # seconds that a sidecar stays listed after its stream has ended
MAX_GONE = 10_000  # ... and how many such sidecars at most


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version of a resource that a sidecar couldn't accept, and why; `at` in seconds since the epoch."""

    resource: str
    version: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class SidecarReport:
    """What one sidecar holds. Times in seconds since the epoch, None for never."""

    id: str
    build: str
    connected: bool
    connected_at: float
    last_ack: float | None
    sent_revision: int
    acked_revision: int
    subscriptions: tuple[str, ...]
    refusals: tuple[Refusal, ...]


class Source(Protocol):
    """A stream that can say how far its sidecar is."""

    def report(self, told_revision: int) -> SidecarReport:
        """Describe the sidecar; `told_revision` is the one up to which every stream has been woken."""


class Sidecars:
    """Sidecars by id, `<service>/<instance>`."""

    def __init__(self) -> None:
        self._connected: dict[str, Source] = {}
        self._gone: OrderedDict[str, tuple[float, SidecarReport]] = OrderedDict()  # in the order in which they left

    def connected(self, id_: str, source: Source) -> None:
        """A stream has said whose it is."""
        self._connected[id_] = source
        self._gone.pop(id_, None)

    def disconnected(self, id_: str, source: Source, told_revision: int, now: float) -> None:
        """A stream has ended; nothing happens when a newer one has taken its place."""
        if self._connected.get(id_) is not source:
            return
        del self._connected[id_]
        self._gone[id_] = (now, replace(source.report(told_revision), connected=False))
        if len(self._gone) > MAX_GONE:
            self._gone.popitem(last=False)

    def list(self, told_revision: int, now: float) -> list[SidecarReport]:
        """Return every sidecar connected or seen within KEEP seconds, by id."""
        while self._gone and next(iter(self._gone.values()))[0] < now - KEEP:
            self._gone.popitem(last=False)
        reports = [source.report(told_revision) for source in self._connected.values()]
        reports += (report for _, report in self._gone.values())
        return sorted(reports, key=lambda report: report.id)
