"""The values the mesh decides on: services, endpoints and policies, frozen and validated.

What lives here: one frozen dataclass per resource or policy, whose constructor refuses what breaks a rule
(InvalidResource names field, value and bound). What this must not know: protobuf, sockets, clocks. Units: seconds as
float, of nanosecond resolution; ratios in 0..1. `proto/mesh/v1` is the specification of every field and default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from mesh.errors import InvalidResource
from mesh.model.balance import BalancePolicy
from mesh.model.checks import check_host, check_name, check_text, check_whole
from mesh.model.health import HealthPolicy, OutlierPolicy
from mesh.model.limits import LimitsPolicy
from mesh.model.retry import RetryPolicy, TimeoutPolicy

MAX_WEIGHT = 1_000_000
MAX_PRIORITY = 127
_BALANCE, _RETRY, _TIMEOUT = BalancePolicy(), RetryPolicy(), TimeoutPolicy()
_LIMITS, _OUTLIER, _HEALTH = LimitsPolicy(), OutlierPolicy(), HealthPolicy()
# In an endpoint's metadata: a sidecar answers at the address, which takes HTTP/2 whatever its app speaks.
SIDECAR_METADATA = ("mesh.sidecar", "h2")


class Protocol(Enum):
    """What the bytes of a service are."""

    AUTO = "auto"
    TCP = "tcp"
    UDP = "udp"
    HTTP1 = "http1"
    HTTP2 = "http2"
    GRPC = "grpc"


class Health(Enum):
    """What the registry says of an endpoint."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Locality:
    region: str = ""
    zone: str = ""

    def __post_init__(self) -> None:
        check_text("region", self.region, 256)
        check_text("zone", self.zone, 256)


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    protocol: Protocol = Protocol.GRPC
    balance: BalancePolicy = _BALANCE
    retry: RetryPolicy = _RETRY
    timeout: TimeoutPolicy = _TIMEOUT
    outlier: OutlierPolicy = _OUTLIER
    health: HealthPolicy = _HEALTH
    limits: LimitsPolicy = _LIMITS

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.retry.hedge.percentile and self.balance.sticky.cookie:
            raise InvalidResource("retry.hedge.percentile", f"{self.retry.hedge.percentile!r}: balance.sticky keeps a "
                                                            "client at its endpoint, a hedge goes to another")
        needed = self.balance.needs_http()
        if needed and self.protocol is Protocol.TCP:
            raise InvalidResource(f"balance.{needed}", "a service of protocol tcp has no requests to read it from")
        for where, value in (("retry.hedge.percentile", self.retry.hedge.percentile),
                             ("timeout.per_try", self.timeout.per_try)):
            if value and self.protocol in (Protocol.TCP, Protocol.UDP):
                raise InvalidResource(where, f"{value!r}: a service of protocol {self.protocol.value} has no requests "
                                             "that could be tried again")
        if self.protocol is Protocol.UDP and not self.health.port and self.health.check not in (
                None, self.health.command):
            raise InvalidResource(f"health.{self.health.kind.value}", "a service of protocol udp has no such port to "
                                                                      "check; name one in health.port")
        self._check_limits()

    def _check_limits(self) -> None:
        if self.protocol is Protocol.UDP and self.limits != _LIMITS:
            raise InvalidResource("limits", "have no meaning with protocol udp")
        needed = self.limits.needs_requests()
        if needed and self.protocol is Protocol.TCP:
            raise InvalidResource(f"limits.{needed}", "a service of protocol tcp has connections and no requests")


@dataclass(frozen=True, slots=True)
class Endpoint:
    service: str
    name: str
    host: str
    port: int
    weight: int = 1
    locality: Locality = Locality()
    health: Health = Health.HEALTHY
    metadata: tuple[tuple[str, str], ...] = field(default=())
    priority: int = 0

    def __post_init__(self) -> None:
        check_name(self.service, "service")
        check_name(self.name)
        check_host(self.host)
        check_whole("port", self.port, 1, 65_535)
        check_whole("weight", self.weight, 0, MAX_WEIGHT)
        check_whole("priority", self.priority, 0, MAX_PRIORITY)
        if len(self.metadata) > 64:
            raise InvalidResource("metadata", f"{len(self.metadata)} entries, at most 64")
        for key, value in self.metadata:
            if key == "":
                raise InvalidResource("metadata", "a key has at least 1 byte")
            check_text(f"metadata[{key!r}] as a key", key, 63)
            check_text(f"metadata[{key!r}]", value, 256)
        if len({key for key, _ in self.metadata}) < len(self.metadata):
            raise InvalidResource("metadata", "the same key twice")
        # In one order, so that equal endpoints are equal values.
        object.__setattr__(self, "metadata", tuple(sorted(self.metadata)))

    @property
    def behind_sidecar(self) -> bool:
        """Whether it is a sidecar that answers at this address."""
        return SIDECAR_METADATA in self.metadata

    @property
    def resource(self) -> str:
        """Resource name, `<service>/<name>`."""
        return f"{self.service}/{self.name}"
