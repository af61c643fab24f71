"""How often a request is tried, when a second copy of it is sent, and how long everything may take.

What lives here: RetryPolicy with HedgePolicy, and TimeoutPolicy: frozen, and refused where they break a rule
(InvalidResource names field, value and bound). What this must not know: protobuf, sockets, clocks. Units: seconds as
float, of nanosecond resolution; ratios in 0..1. `proto/mesh/v1/service.proto` is the specification of every field.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mesh.errors import InvalidResource
from mesh.model.checks import check_range, check_whole

_METHOD = re.compile(r"/[!-)+-~]*\*?")  # visible ASCII, `*` only at the end
# gRPC status names a retry policy may list; OK is not a failure. CANCELLED is the caller's own doing.
RETRYABLE_CODES = ("UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
                   "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
                   "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED")
MAX_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class HedgePolicy:
    percentile: float = 0.0
    min_delay: float = 0.01

    def __post_init__(self) -> None:
        if self.percentile != 0:
            check_range("percentile", self.percentile, 0.5, 0.999)
        check_range("min_delay", self.min_delay, 0.001, 60)


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
    statuses: frozenset[int] = frozenset((502, 503, 504))
    max_pushback: float = 5.0
    hedge: HedgePolicy = HedgePolicy()

    def __post_init__(self) -> None:
        check_whole("max_attempts", self.max_attempts, 1, MAX_ATTEMPTS)
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
        if not self.statuses:
            raise InvalidResource("statuses", "no status at all; to switch retries off set max_attempts to 1")
        for status in self.statuses:
            check_whole("statuses", status, 400, 599)
        check_range("max_pushback", self.max_pushback, 0, 3600)
        self._check_hedge()

    def _check_hedge(self) -> None:
        percentile = self.hedge.percentile
        if percentile == 0:
            return
        if self.max_attempts < 2:
            raise InvalidResource("hedge.percentile", f"{percentile!r} needs a second attempt, and max_attempts is 1")
        if self.budget_ratio == 0 and self.budget_min_per_second == 0:
            raise InvalidResource("hedge.percentile", f"{percentile!r} needs a budget, and both budget_ratio and "
                                                      "budget_min_per_second are 0")


@dataclass(frozen=True, slots=True)
class TimeoutPolicy:
    connect: float = 1.0
    request: float = 0.0
    idle: float = 3600.0
    udp_idle: float = 60.0
    per_try: float = 0.0

    def __post_init__(self) -> None:
        check_range("connect", self.connect, 0.001, 60)
        if self.request != 0:
            check_range("request", self.request, 0.001, 86_400)
        check_range("idle", self.idle, 1, 86_400)
        check_range("udp_idle", self.udp_idle, 1, 86_400)
        if self.per_try != 0:
            check_range("per_try", self.per_try, 0.001, 86_400)
            if 0 < self.request < self.per_try:
                raise InvalidResource("per_try", f"{self.per_try!r} is more than request {self.request!r}")
