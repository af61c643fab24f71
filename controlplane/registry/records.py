"""What the registry keeps of each resource, and the change that carries it to the store and to the readers.

What lives here: frozen records and `Change`. What this must not know: protobuf, clocks, stores, streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from mesh.model import Endpoint, Health, Service

Key = tuple[str, str]
"""Service name, endpoint name."""


class Outcome(Enum):
    """What applying a resource did."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Overlay:
    """What an operator has set on an endpoint's name; it outlives the endpoint's registrations."""

    weight: int | None = None
    drained: bool = False

    def over(self, base: Endpoint) -> Endpoint:
        """Return the endpoint that sidecars are shown."""
        weight = base.weight if self.weight is None else self.weight
        health = Health.DRAINING if self.drained else base.health
        if weight == base.weight and health is base.health:
            return base
        return replace(base, weight=weight, health=health)


def canonical(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with its metadata sorted: a protobuf map has no order, and equals must compare equal."""
    ordered = tuple(sorted(endpoint.metadata))
    return endpoint if ordered == endpoint.metadata else replace(endpoint, metadata=ordered)


NO_OVERLAY = Overlay()


@dataclass(frozen=True, slots=True)
class Lease:
    """By what a registered endpoint stays: `time_to_live` seconds after the last heartbeat it goes."""

    id: str
    time_to_live: float
    sidecar: str = ""


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    service: Service
    revision: int


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """`base` is what was registered or applied, `effective` what sidecars are shown.

    `revision` is the one that last changed `effective`; `lease` is None for an endpoint applied by hand.
    """

    base: Endpoint
    overlay: Overlay
    lease: Lease | None
    revision: int
    effective: Endpoint = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "effective", self.overlay.over(self.base))


@dataclass(frozen=True, slots=True)
class Stated:
    """An endpoint given by hand, and which of the fields an operator may also set apart it states."""

    endpoint: Endpoint
    weight: bool = False
    health: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One revision: every record it replaced, or None where it removed one."""

    revision: int
    services: Mapping[str, ServiceRecord | None] = field(default_factory=dict)
    endpoints: Mapping[Key, EndpointRecord | None] = field(default_factory=dict)
    overlays: Mapping[Key, Overlay | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """The registry's whole persistent state at one revision."""

    revision: int
    services: Mapping[str, ServiceRecord] = field(default_factory=dict)
    endpoints: Mapping[Key, EndpointRecord] = field(default_factory=dict)
    overlays: Mapping[Key, Overlay] = field(default_factory=dict)
