"""What one stream has subscribed to of one resource type, has been sent, and has refused.

What lives here: the pure state behind a delta xDS subscription; `proto/mesh/v1/discovery.proto` is its specification.
What this must not know: grpc, events, clocks (`at` is handed in: seconds since the epoch).

A version counts as known from when it is sent. Refused, it stops counting: what was in force before does again, and the
refused version is not sent a second time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from controlplane.discovery.encoding import ResourceType
from controlplane.errors import InvalidRequest, one_line
from controlplane.registry import EndpointRecord, Entry, Follower, ServiceRecord, Table
from controlplane.status import Refusal
from mesh.xds.v3.discovery_pb2 import DeltaDiscoveryRequest

R = TypeVar("R", ServiceRecord, EndpointRecord)

MAX_ITEMS = 10_000  # names and collections that one stream may subscribe to, of one type
MAX_IN_FLIGHT = 16  # responses waiting for their answer; further changes merge until one is answered
PAGE = 1_048_576  # bytes of resources in one response; grpc clients take 4 MiB unless told otherwise
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ITEMS = {"service": re.compile(rf"\*|{_LABEL}"), "endpoint": re.compile(rf"\*|{_LABEL}/(?:\*|{_LABEL})")}


@dataclass(frozen=True, slots=True)
class Followed:
    """Which items of a type (`service`, `endpoint`) a request added and dropped."""

    kind: str
    joined: list[str]
    left: list[str]


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """The contents of one response."""

    type: ResourceType[R]
    entries: list[Entry[R]]
    removed: list[str]

    def response(self, revision: int, nonce: str) -> bytes:
        """Return the DeltaDiscoveryResponse."""
        return self.type.response(revision, nonce, self.entries, self.removed)


@dataclass(slots=True)
class _InFlight:
    """A response that waits for its answer: per resource the version before and the one sent."""

    floor: int  # the revision that was answered in full before it
    versions: dict[str, tuple[str | None, str]]


class Subscription(Generic[R]):
    """One type on one stream."""

    __slots__ = ("_in_flight", "_refused", "_type", "follower", "refusals", "started")

    def __init__(self, type_: ResourceType[R]) -> None:
        self._type: ResourceType[R] = type_
        self.follower: Follower[R] = Follower(tell_absent=True)
        self.refusals: dict[str, Refusal] = {}
        self.started = False
        self._refused: dict[str, str] = {}
        self._in_flight: dict[str, _InFlight] = {}

    def start(self, versions: Mapping[str, str], revision: int) -> None:
        """Take over what the sidecar holds, with the first request of the type.

        A version newer than the registry itself comes from another registry: then none of them says anything.
        """
        self.started = True
        ours = all(len(text) < 20 and text.isdecimal() and int(text) <= revision for text in versions.values())
        for name, version in versions.items():
            self._check_item(name, "initial_resource_versions")
            self.follower.known[name] = version if ours else ""

    def request(self, request: DeltaDiscoveryRequest, table: Table[R], revision: int, at: float) -> Followed:
        """Take one request of this type: an answer, changes of what is followed, or both. Raises InvalidRequest."""
        error = request.error_detail.message if request.HasField("error_detail") else None
        if request.response_nonce:
            self.answer(request.response_nonce, error, at)
        elif error is not None:
            raise InvalidRequest("error_detail without a response_nonce")
        if not self.started:
            self.start(request.initial_resource_versions, revision)
        elif request.initial_resource_versions:
            raise InvalidRequest(f"initial_resource_versions belong in the first request of {self._type.url}")
        left = self.unsubscribe(request.resource_names_unsubscribe)
        return Followed(self._type.kind, self.subscribe(request.resource_names_subscribe, table), left)

    def subscribe(self, items: Iterable[str], table: Table[R]) -> list[str]:
        """Follow further items; return those that are new. One that is followed already is sent again."""
        new: list[str] = []
        for item in items:
            self._check_item(item, "resource_names_subscribe")
            if item in self.follower.items:
                self.follower.doubt(item, list(self.follower.known))
            else:
                # Responses under way may still put in force what was forgotten when it was unsubscribed from.
                self.follower.doubt(item, self._in_flight_names() - self.follower.known.keys())
                new.append(item)
                if len(self.follower.items) >= MAX_ITEMS:
                    raise InvalidRequest(f"resource_names_subscribe: more than {MAX_ITEMS} names on one stream")
            self.follower.follow(item, table)
        return new

    def unsubscribe(self, items: Iterable[str]) -> list[str]:
        """Stop following items; return those that were followed."""
        left: list[str] = []
        for item in items:
            if item in self.follower.items:
                self.follower.leave(item)
                left.append(item)
        if left:
            for name in [name for name in self.refusals if not self.follower.covers_name(name)]:
                self._accept(name)
        return left

    @property
    def blocked(self) -> bool:
        """Whether too many responses wait for their answer to send another."""
        return len(self._in_flight) >= MAX_IN_FLIGHT

    def page(self, table: Table[R], nonce: str, floor: int) -> Page[R] | None:
        """Return what the next response is to carry under `nonce`, or None when there is nothing to say.

        `floor` is the revision that the stream had been told of in full before.
        """
        entries, removed = self.follower.take(table, PAGE, self._weigh, self._refused)
        if not entries and not removed:
            return None
        self._in_flight[nonce] = _InFlight(floor, {entry.name: (known, entry.version) for entry, known in entries})
        for name in removed:
            self._accept(name)
        return Page(self._type, [entry for entry, _ in entries], removed)

    def answer(self, nonce: str, error: str | None, at: float) -> None:
        """Take the answer to a response: with `error` None all of it is in force, else as discovery.proto says."""
        flight = self._in_flight.pop(nonce, None)
        if flight is None:
            raise InvalidRequest(f"response_nonce {one_line(nonce)!r}: no response of {self._type.url} "
                                 "with this nonce waits for its answer")
        reasons = {} if error is None else _reasons(error, flight.versions)
        for name, (before, sent) in flight.versions.items():
            if name not in reasons:
                if self._refused.get(name) == sent and name not in self._in_flight_names():
                    self.follower.known[name] = sent  # refused in an earlier response, taken in this one
                self._accept(name)
            elif name in self.follower.known:  # else it was unsubscribed from, or its end has been sent since
                self.refusals[name] = Refusal(f"{self._type.kind}/{name}", sent, reasons[name], at)
                self._refused[name] = sent
                self._take_back(name, before, sent)

    def floors(self) -> Iterable[int]:
        """Return for each response in flight the revision that was answered in full before it."""
        return (flight.floor for flight in self._in_flight.values())

    def _in_flight_names(self) -> set[str]:
        return {name for flight in self._in_flight.values() for name in flight.versions}

    def _accept(self, name: str) -> None:
        self.refusals.pop(name, None)
        self._refused.pop(name, None)

    def _take_back(self, name: str, before: str | None, sent: str) -> None:
        for later in self._in_flight.values():
            if name in later.versions and later.versions[name][0] == sent:
                later.versions[name] = (before, later.versions[name][1])
        if self.follower.known.get(name) == sent:
            if before is None:
                del self.follower.known[name]
            else:
                self.follower.known[name] = before

    def _weigh(self, name: str, entry: Entry[R] | None) -> int:
        return len(name) + 2 if entry is None else len(self._type.payload(entry))

    def _check_item(self, item: str, where: str) -> None:
        if not _ITEMS[self._type.kind].fullmatch(item):
            raise InvalidRequest(f"{where}: {one_line(item)[:200]!r} is not a name of {self._type.url}")


def _reasons(message: str, versions: Mapping[str, object]) -> dict[str, str]:
    """Return the reason for each refused resource: `<name>: <reason>` per line; with no such line all are refused."""
    reasons: dict[str, str] = {}
    for line in message.splitlines():
        name, colon, reason = line.partition(": ")
        if colon and name in versions:
            reasons[name] = one_line(reason)
    if reasons:
        return reasons
    return dict.fromkeys(versions, one_line(message) or "refused without a reason")
