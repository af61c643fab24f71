"""How endpoints are judged: by what happens to requests (passive), and by checks of the sidecar's own (active).

What lives here: OutlierPolicy and HealthPolicy with their parts, which refuse what breaks a rule. What this must not
know: protobuf, sockets, clocks. Seconds as float, ratios in 0..1; `proto/mesh/v1/health.proto` and `service.proto` are
the specification of every field and default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from mesh.errors import InvalidResource
from mesh.model.checks import check_name, check_range, check_text, check_whole

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_TARGET = re.compile(r"/[!-~]*")
_AUTHORITY = re.compile(r"[!-~]{1,255}")
MAX_ENDPOINTS = 10_000
MAX_REQUESTS = 1_000_000
MAX_STATUSES = 20
MAX_ARGUMENTS = 32
MAX_REASON = 300
# The quick rhythm of checks where the policy names none.
FAST_INTERVAL = 0.5


class CheckKind(Enum):
    """What an active check does."""

    NONE = "none"
    TCP = "tcp"
    HTTP = "http"
    GRPC = "grpc"
    MYSQL = "mysql"
    POSTGRES = "postgres"
    REDIS = "redis"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class SuccessRateOutlier:
    """Ejects who succeeds less often than mean - deviations * standard deviation; `deviations` 0 switches it off."""

    deviations: float = 1.9
    margin: float = 0.05
    min_endpoints: int = 5
    min_requests: int = 100

    def __post_init__(self) -> None:
        if self.deviations != 0:
            check_range("deviations", self.deviations, 0.1, 10)
        check_range("margin", self.margin, 0, 1)
        check_whole("min_endpoints", self.min_endpoints, 2, MAX_ENDPOINTS)
        check_whole("min_requests", self.min_requests, 1, MAX_REQUESTS)


@dataclass(frozen=True, slots=True)
class FailureRatioOutlier:
    """Ejects who fails at least this share of its requests; `threshold` 0 switches it off."""

    threshold: float = 0.0
    min_endpoints: int = 5
    min_requests: int = 50

    def __post_init__(self) -> None:
        if self.threshold != 0:
            check_range("threshold", self.threshold, 0.01, 1)
        check_whole("min_endpoints", self.min_endpoints, 1, MAX_ENDPOINTS)
        check_whole("min_requests", self.min_requests, 1, MAX_REQUESTS)


@dataclass(frozen=True, slots=True)
class LatencyOutlier:
    """Ejects whose mean latency is over `factor` times the median of the others' and over `floor`; `factor` 0: off."""

    factor: float = 0.0
    floor: float = 0.05
    min_endpoints: int = 3
    min_requests: int = 50

    def __post_init__(self) -> None:
        if self.factor != 0:
            check_range("factor", self.factor, 1.1, 1000)
        check_range("floor", self.floor, 0, 3600)
        check_whole("min_endpoints", self.min_endpoints, 2, MAX_ENDPOINTS)
        check_whole("min_requests", self.min_requests, 1, MAX_REQUESTS)


_SUCCESS_RATE, _FAILURE_RATIO, _LATENCY = SuccessRateOutlier(), FailureRatioOutlier(), LatencyOutlier()


@dataclass(frozen=True, slots=True)
class OutlierPolicy:
    consecutive_failures: int = 5
    base_ejection_time: float = 30.0
    max_ejection_time: float = 300.0
    max_ejection_ratio: float = 0.1
    jitter: float = 0.1
    half_open: bool = True
    interval: float = 10.0
    success_rate: SuccessRateOutlier = _SUCCESS_RATE
    failure_ratio: FailureRatioOutlier = _FAILURE_RATIO
    latency: LatencyOutlier = _LATENCY

    def __post_init__(self) -> None:
        check_whole("consecutive_failures", self.consecutive_failures, 0, 1000)
        check_range("base_ejection_time", self.base_ejection_time, 0.001, 3600)
        check_range("max_ejection_time", self.max_ejection_time, 0.001, 86_400)
        if self.max_ejection_time < self.base_ejection_time:
            raise InvalidResource("max_ejection_time", f"{self.max_ejection_time!r} is less than base_ejection_time "
                                                       f"{self.base_ejection_time!r}")
        check_range("max_ejection_ratio", self.max_ejection_ratio, 0, 1)
        check_range("jitter", self.jitter, 0, 1)
        check_range("interval", self.interval, 0.1, 3600)


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Connects, and is not hung up on."""


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """An HTTP/1.1 request. `statuses`: ranges, both ends included, of what counts as alive."""

    method: str = "GET"
    path: str = "/"
    host: str = ""
    statuses: tuple[tuple[int, int], ...] = ((200, 399),)

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or not _TOKEN.fullmatch(self.method):
            raise InvalidResource("method", f"{self.method!r} is no HTTP method of 1..32 bytes")
        check_text("path", self.path, 2048)
        if not _TARGET.fullmatch(self.path):
            raise InvalidResource("path", f"{self.path!r} is no path: visible ASCII that begins with '/'")
        check_text("host", self.host, 255)
        if self.host and not _AUTHORITY.fullmatch(self.host):
            raise InvalidResource("host", f"{self.host!r} is no host: visible ASCII")
        if not 1 <= len(self.statuses) <= MAX_STATUSES:
            raise InvalidResource("statuses", f"{len(self.statuses)} ranges, outside 1..{MAX_STATUSES}")
        for index, (first, last) in enumerate(self.statuses):
            check_whole(f"statuses[{index}]", first, 100, 599)
            check_whole(f"statuses[{index}]", last, 100, 599)
            if last < first:
                raise InvalidResource(f"statuses[{index}]", f"{first}-{last} ends before it begins")


@dataclass(frozen=True, slots=True)
class GrpcCheck:
    """`grpc.health.v1.Health/Check` of `service`; "" is the server as a whole."""

    service: str = ""

    def __post_init__(self) -> None:
        check_text("service", self.service, 255)


@dataclass(frozen=True, slots=True)
class MysqlCheck:
    """The server's handshake packet; with `user` a login without password."""

    user: str = ""

    def __post_init__(self) -> None:
        _check_user(self.user)


@dataclass(frozen=True, slots=True)
class PostgresCheck:
    """An SSLRequest; with `user` a StartupMessage, which is not carried through to a session."""

    user: str = ""

    def __post_init__(self) -> None:
        _check_user(self.user)


@dataclass(frozen=True, slots=True)
class RedisCheck:
    """PING."""


@dataclass(frozen=True, slots=True)
class CommandCheck:
    """A program of the sidecar's machine, without a shell; alive is exit status 0."""

    argv: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.argv) <= MAX_ARGUMENTS:
            raise InvalidResource("argv", f"{len(self.argv)} arguments, outside 1..{MAX_ARGUMENTS}")
        for index, argument in enumerate(self.argv):
            check_text(f"argv[{index}]", argument, 4096)
            if "\0" in argument or (index == 0 and not argument):
                raise InvalidResource(f"argv[{index}]", f"{argument!r} can't be an argument of a program")


_KINDS = tuple(kind.value for kind in CheckKind if kind is not CheckKind.NONE)
Check = TcpCheck | HttpCheck | GrpcCheck | MysqlCheck | PostgresCheck | RedisCheck | CommandCheck


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """Active checks; at most one of `tcp`..`command` is set, with none there are no checks.

    `fast_interval` 0: FAST_INTERVAL, or `interval` where that is shorter. `port` 0: the endpoint's own.
    """

    tcp: TcpCheck | None = None
    http: HttpCheck | None = None
    grpc: GrpcCheck | None = None
    mysql: MysqlCheck | None = None
    postgres: PostgresCheck | None = None
    redis: RedisCheck | None = None
    command: CommandCheck | None = None
    interval: float = 2.0
    timeout: float = 1.0
    rise: int = 2
    fall: int = 3
    jitter: float = 0.1
    fast_interval: float = 0.0
    port: int = 0
    uneject: bool = True

    def __post_init__(self) -> None:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) > 1:
            raise InvalidResource(given[1], f"an endpoint is checked in one way, and {given[0]} is given too")
        check_range("interval", self.interval, 0.1, 3600)
        check_range("timeout", self.timeout, 0.01, 60)
        check_whole("rise", self.rise, 1, 100)
        check_whole("fall", self.fall, 1, 100)
        check_range("jitter", self.jitter, 0, 1)
        if self.fast_interval != 0:
            check_range("fast_interval", self.fast_interval, 0.05, 3600)
            if self.fast_interval > self.interval:
                raise InvalidResource("fast_interval",
                                      f"{self.fast_interval!r} is more than interval {self.interval!r}")
        if self.port != 0:
            check_whole("port", self.port, 1, 65_535)

    @property
    def check(self) -> Check | None:
        """What is done; None where there are no checks."""
        return (self.tcp or self.http or self.grpc or self.mysql or self.postgres or self.redis or self.command)

    @property
    def kind(self) -> CheckKind:
        """Which of them it is."""
        return next((CheckKind(kind) for kind in _KINDS if getattr(self, kind) is not None), CheckKind.NONE)

    @property
    def between(self) -> float:
        """Seconds from one check to the next while the verdict is not settled."""
        return self.fast_interval or min(FAST_INTERVAL, self.interval)


def _check_user(user: str) -> None:
    check_text("user", user, 63)
    if "\0" in user:
        raise InvalidResource("user", f"{user!r} has a NUL in it")


class VerdictKind(Enum):
    """`EJECTED`: by passive health; `CHECK_FAILED`: by active checks."""

    EJECTED = "ejected"
    CHECK_FAILED = "check_failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one sidecar has against one endpoint, `<service>/<name>`. Times in seconds since the epoch; `until` None:
    until its checks succeed."""

    endpoint: str
    kind: VerdictKind
    reason: str
    since: float
    until: float | None = None

    def __post_init__(self) -> None:
        check_resource("endpoint", self.endpoint)
        check_text("reason", self.reason, MAX_REASON)
        if "\n" in self.reason or "\r" in self.reason:
            raise InvalidResource("reason", f"{self.reason!r} is more than one line")


def check_resource(where: str, name: str) -> None:
    """Refuse what is no `<service>/<endpoint>`."""
    service, slash, endpoint = name.partition("/")
    if not slash:
        raise InvalidResource(where, f"{name[:200]!r} is not <service>/<endpoint>")
    check_name(service, where)
    check_name(endpoint, where)
