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

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_OCTET = re.compile(r"0|[1-9][0-9]{0,2}")
_METHOD = re.compile(r"/[!-)+-~]*\*?")  # visible ASCII, `*` only at the end
MAX_WEIGHT = 1_000_000
# gRPC status names a retry policy may list; OK is not a failure. CANCELLED is the caller's own doing.
RETRYABLE_CODES = ("UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
                   "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
                   "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED")

def check_name(name: str, where: str = "name") -> None:
    """Refuse what is no DNS label (RFC 1123): services and endpoints become host names and metric labels."""
    if not isinstance(name, str) or not _LABEL.fullmatch(name):
        raise InvalidResource(where, f"{name!r} is not a name: 1..63 of a-z, 0-9 and '-', "
                                     "not starting or ending with '-'")


def _check_range(where: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidResource(where, f"{value!r} is not a number")
    if not low <= value <= high:  # nor is NaN
        raise InvalidResource(where, f"{value!r} is outside {low:,}..{high:,}")


def _check_whole(where: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidResource(where, f"{value!r} is not a whole number")
    _check_range(where, value, low, high)


def _check_text(where: str, value: str, most: int) -> None:
    """Refuse what is no text of at most `most` bytes of UTF-8."""
    if not isinstance(value, str):
        raise InvalidResource(where, f"{value!r} is not text")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidResource(where, f"{value!r} is not Unicode text") from None
    if size > most:
        raise InvalidResource(where, f"{size:,} bytes, at most {most:,}")


def _check_host(host: str) -> None:
    """Refuse what is neither an IPv4 address, an IPv6 address (without brackets) nor a host name."""
    if isinstance(host, str):
        if ":" in host:
            import ipaddress  # seldom needed, and not light

            try:
                ipaddress.IPv6Address(host)
                return
            except ValueError:
                pass
        elif host.replace(".", "").isdecimal():
            parts = host.split(".")
            if len(parts) == 4 and all(_OCTET.fullmatch(part) and int(part) <= 255 for part in parts):
                return
        elif _HOST_NAME.fullmatch(host):
            return
    raise InvalidResource("host", f"{host!r} is neither an IP address nor a host name")


class Protocol(Enum):
    """What the bytes of a service are."""

    TCP = "tcp"
    HTTP2 = "http2"
    GRPC = "grpc"


class Algorithm(Enum):
    """How an endpoint is picked."""

    ROUND_ROBIN = "round_robin"
    WEIGHTED_ROUND_ROBIN = "weighted_round_robin"
    RANDOM = "random"
    SOURCE_IP_HASH = "source_ip_hash"
    LEAST_CONNECTIONS = "least_connections"
    POWER_OF_TWO = "power_of_two"


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
        _check_text("region", self.region, 256)
        _check_text("zone", self.zone, 256)


@dataclass(frozen=True, slots=True)
class BalancePolicy:
    algorithm: Algorithm = Algorithm.POWER_OF_TWO


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
        _check_whole("max_attempts", self.max_attempts, 1, 10)
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
        _check_range("budget_ratio", self.budget_ratio, 0, 1)
        _check_range("budget_min_per_second", self.budget_min_per_second, 0, 10_000)
        _check_range("budget_window", self.budget_window, 1, 60)
        _check_range("backoff_base", self.backoff_base, 0.001, 60)
        _check_range("backoff_max", self.backoff_max, 0.001, 60)
        if self.backoff_max < self.backoff_base:
            raise InvalidResource("backoff_max",
                                  f"{self.backoff_max!r} is less than backoff_base {self.backoff_base!r}")
        _check_whole("replay_bytes", self.replay_bytes, 0, 1_048_576)


@dataclass(frozen=True, slots=True)
class TimeoutPolicy:
    connect: float = 1.0
    request: float = 0.0
    idle: float = 3600.0

    def __post_init__(self) -> None:
        _check_range("connect", self.connect, 0.001, 60)
        if self.request != 0:
            _check_range("request", self.request, 0.001, 86_400)
        _check_range("idle", self.idle, 1, 86_400)


@dataclass(frozen=True, slots=True)
class OutlierPolicy:
    consecutive_failures: int = 5
    base_ejection_time: float = 30.0
    max_ejection_time: float = 300.0
    max_ejection_ratio: float = 0.1

    def __post_init__(self) -> None:
        _check_whole("consecutive_failures", self.consecutive_failures, 0, 1000)
        _check_range("base_ejection_time", self.base_ejection_time, 0.001, 3600)
        _check_range("max_ejection_time", self.max_ejection_time, 0.001, 86_400)
        if self.max_ejection_time < self.base_ejection_time:
            raise InvalidResource("max_ejection_time", f"{self.max_ejection_time!r} is less than base_ejection_time "
                                                       f"{self.base_ejection_time!r}")
        _check_range("max_ejection_ratio", self.max_ejection_ratio, 0, 1)


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    protocol: Protocol = Protocol.GRPC
    balance: BalancePolicy = BalancePolicy()
    retry: RetryPolicy = RetryPolicy()
    timeout: TimeoutPolicy = TimeoutPolicy()
    outlier: OutlierPolicy = OutlierPolicy()

    def __post_init__(self) -> None:
        check_name(self.name)


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

    def __post_init__(self) -> None:
        check_name(self.service, "service")
        check_name(self.name)
        _check_host(self.host)
        _check_whole("port", self.port, 1, 65_535)
        _check_whole("weight", self.weight, 0, MAX_WEIGHT)
        if len(self.metadata) > 64:
            raise InvalidResource("metadata", f"{len(self.metadata)} entries, at most 64")
        for key, value in self.metadata:
            if key == "":
                raise InvalidResource("metadata", "a key has at least 1 byte")
            _check_text(f"metadata[{key!r}] as a key", key, 63)
            _check_text(f"metadata[{key!r}]", value, 256)
        if len({key for key, _ in self.metadata}) < len(self.metadata):
            raise InvalidResource("metadata", "the same key twice")
        # In one order, so that equal endpoints are equal values.
        object.__setattr__(self, "metadata", tuple(sorted(self.metadata)))

    @property
    def resource(self) -> str:
        """Resource name, `<service>/<name>`."""
        return f"{self.service}/{self.name}"
