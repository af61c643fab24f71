"""The values the mesh decides on: services, endpoints and policies, frozen and validated.

What lives here: one frozen dataclass per resource or policy, whose constructor refuses what breaks a rule
(InvalidResource names field, value and bound). What this must not know: protobuf, sockets, clocks. Units: seconds as
float, of nanosecond resolution; ratios in 0..1. `proto/mesh/v1` is the specification of every field and default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from mesh.errors import InvalidResource
from mesh.model.balance import BalancePolicy
from mesh.model.checks import check_host, check_name, check_range, check_text, check_whole

_METHOD = re.compile(r"/[!-)+-~]*\*?")  # visible ASCII, `*` only at the end
MAX_WEIGHT = 1_000_000
MAX_PRIORITY = 127
_BALANCE = BalancePolicy()
# gRPC status names a retry policy may list; OK is not a failure. CANCELLED is the caller's own doing.
RETRYABLE_CODES = ("UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
                   "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
                   "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED")


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
class RetryPolicy:
    max_attempts: int = 3
    codes: frozenset[str] = frozenset(("UNAVAILABLE",))
    idempotent_methods: tuple[str, ...] = ()
    budget_ratio: float = 0.2
    budget_min_per_second: float = 10.0
    budget_window: float = 10.0
    backoff_base: float = 0.025
    backoff_max: float = 0.25
    replay_bytes: int = 65_536

    def __post_init__(self) -> None:
        check_whole("max_attempts", self.max_attempts, 1, 10)
        if not self.codes:
            raise InvalidResource("codes", "no status at all; to switch retries off set max_attempts to 1")
        for code in self.codes:
            if code not in RETRYABLE_CODES:
                raise InvalidResource("codes", f"{code!r} is not a gRPC status that can be retried; "
                                               f"one of {', '.join(RETRYABLE_CODES)}")
        for method in self.idempotent_methods:
            if not isinstance(method, str) or not _METHOD.fullmatch(method):
                raise InvalidResource("idempotent_methods",
                                      f"{method!r} is neither a path (/shop.Cart/Get) nor a prefix ending in '*'")
        check_range("budget_ratio", self.budget_ratio, 0, 1)
        check_range("budget_min_per_second", self.budget_min_per_second, 0, 10_000)
        check_range("budget_window", self.budget_window, 1, 60)
        check_range("backoff_base", self.backoff_base, 0.001, 60)
        check_range("backoff_max", self.backoff_max, 0.001, 60)
        if self.backoff_max < self.backoff_base:
            raise InvalidResource("backoff_max",
                                  f"{self.backoff_max!r} is less than backoff_base {self.backoff_base!r}")
        check_whole("replay_bytes", self.replay_bytes, 0, 1_048_576)


@dataclass(frozen=True, slots=True)
class TimeoutPolicy:
    connect: float = 1.0
    request: float = 0.0
    idle: float = 3600.0
    udp_idle: float = 60.0

    def __post_init__(self) -> None:
        check_range("connect", self.connect, 0.001, 60)
        if self.request != 0:
            check_range("request", self.request, 0.001, 86_400)
        check_range("idle", self.idle, 1, 86_400)
        check_range("udp_idle", self.udp_idle, 1, 86_400)


@dataclass(frozen=True, slots=True)
class OutlierPolicy:
    consecutive_failures: int = 5
    base_ejection_time: float = 30.0
    max_ejection_time: float = 300.0
    max_ejection_ratio: float = 0.1

    def __post_init__(self) -> None:
        check_whole("consecutive_failures", self.consecutive_failures, 0, 1000)
        check_range("base_ejection_time", self.base_ejection_time, 0.001, 3600)
        check_range("max_ejection_time", self.max_ejection_time, 0.001, 86_400)
        if self.max_ejection_time < self.base_ejection_time:
            raise InvalidResource("max_ejection_time", f"{self.max_ejection_time!r} is less than base_ejection_time "
                                                       f"{self.base_ejection_time!r}")
        check_range("max_ejection_ratio", self.max_ejection_ratio, 0, 1)


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    protocol: Protocol = Protocol.GRPC
    balance: BalancePolicy = _BALANCE
    retry: RetryPolicy = RetryPolicy()
    timeout: TimeoutPolicy = TimeoutPolicy()
    outlier: OutlierPolicy = OutlierPolicy()

    def __post_init__(self) -> None:
        check_name(self.name)
        needed = self.balance.needs_http()
        if needed and self.protocol is Protocol.TCP:
            raise InvalidResource(f"balance.{needed}", "a service of protocol tcp has no requests to read it from")


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
