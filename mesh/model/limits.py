"""How much of a service may be used at a time, and how fast: the limits and their parts, frozen and validated.

What lives here: LimitsPolicy, AdaptivePolicy, RateLimit. What this must not know: how any of it is kept, protobuf.
`proto/mesh/v1/service.proto` is the specification of every field and default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from math import ceil

from mesh.errors import InvalidResource
from mesh.model.checks import check_range, check_text, check_whole

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,128}")  # RFC 9110 5.6.2, in lower case
MOST = 1_000_000
MAX_RATE_LIMITS = 16
ALL = "all"
SOURCE_IP = "source_ip"
HEADER_PREFIX = "header:"
# The fields of LimitsPolicy that are whole numbers.
COUNTS = ("endpoint_connections", "endpoint_requests", "endpoint_pending", "endpoint_retries", "max_requests",
          "max_connections", "max_retries", "max_pending")


@dataclass(frozen=True, slots=True)
class AdaptivePolicy:
    """A limit on concurrency that is found by watching latency; off unless `enabled`. Times in seconds.

    `min_limit`, `max_limit`: its bounds. `percentile_ratio`: of the latencies of an `update_interval`, what they are
    summed up to. `rtt_interval`, `rtt_samples`, `jitter_ratio`: how often the least latency is measured anew, with how
    many requests, and by what part of the interval the next time is put off at most. `buffer_ratio`: what counts as no
    delay yet, as a part of the least latency.
    """

    enabled: bool = False
    min_limit: int = 3
    max_limit: int = 1000
    percentile_ratio: float = 0.5
    update_interval: float = 0.1
    rtt_interval: float = 60.0
    rtt_samples: int = 50
    jitter_ratio: float = 0.1
    buffer_ratio: float = 0.25

    def __post_init__(self) -> None:
        if not isinstance(self.enabled, bool):
            raise InvalidResource("enabled", f"{self.enabled!r} is neither true nor false")
        check_whole("min_limit", self.min_limit, 1, MOST)
        check_whole("max_limit", self.max_limit, 1, MOST)
        if self.max_limit < self.min_limit:
            raise InvalidResource("max_limit", f"{self.max_limit:,} is less than min_limit {self.min_limit:,}")
        check_range("percentile_ratio", self.percentile_ratio, 0, 1)
        check_range("update_interval", self.update_interval, 0.001, 60)
        check_range("rtt_interval", self.rtt_interval, 1, 86_400)
        check_whole("rtt_samples", self.rtt_samples, 1, 10_000)
        check_range("jitter_ratio", self.jitter_ratio, 0, 1)
        check_range("buffer_ratio", self.buffer_ratio, 0, 10)
        if not self.enabled and any(getattr(self, field.name) != field.default for field in fields(self)):
            raise InvalidResource("enabled", "is missing, and without it the rest has no meaning")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`rate` requests a second, and `burst` at once; for each key its own. `burst` 0: the rate, rounded up.

    `key`: `all`, `source_ip` or `header:<name>`. `max_keys`: how many are remembered.
    """

    rate: float
    burst: int = 0
    key: str = ALL
    max_keys: int = 10_000

    def __post_init__(self) -> None:
        check_range("rate", self.rate, 0.001, MOST)
        check_whole("burst", self.burst, 0, MOST)
        if self.burst == 0:
            object.__setattr__(self, "burst", ceil(self.rate))
        check_text("key", self.key, 256)
        if self.key not in (ALL, SOURCE_IP) and (not self.key.startswith(HEADER_PREFIX)
                                                 or not _HEADER.fullmatch(self.header)):
            raise InvalidResource("key", f"{self.key!r} is none of all, source_ip and header:<name>, the name of "
                                         "1..128 lower-case token characters")
        check_whole("max_keys", self.max_keys, 1, MOST)

    @property
    def header(self) -> str:
        """The name of the header that is the key, "" where it is no header."""
        return self.key.removeprefix(HEADER_PREFIX) if self.key.startswith(HEADER_PREFIX) else ""


@dataclass(frozen=True, slots=True)
class LimitsPolicy:
    """How much may be under way at a time; 0 is no limit, but for two. `queue_timeout` in seconds.

    `endpoint_...`: per endpoint; the others per service. `endpoint_connections` 0: 1,024, of TCP any number.
    `endpoint_pending`: requests that may wait for a connection to it. `max_pending`: requests that may wait for room or
    a connection anywhere, for at most `queue_timeout`; 0: none waits.
    """

    endpoint_connections: int = 0
    endpoint_requests: int = 0
    endpoint_pending: int = 0
    endpoint_retries: int = 0
    max_requests: int = 0
    max_connections: int = 0
    max_retries: int = 0
    max_pending: int = 1024
    queue_timeout: float = 3.0
    adaptive: AdaptivePolicy = AdaptivePolicy()
    rate_limits: tuple[RateLimit, ...] = ()

    def __post_init__(self) -> None:
        for name in COUNTS:
            check_whole(name, getattr(self, name), 0, MOST)
        check_range("queue_timeout", self.queue_timeout, 0.001, 60)
        if len(self.rate_limits) > MAX_RATE_LIMITS:
            raise InvalidResource("rate_limits", f"{len(self.rate_limits)} of them, at most {MAX_RATE_LIMITS}")

    def needs_requests(self) -> str:
        """Return the field that can only be had of HTTP requests, "" where there is none."""
        for name in ("endpoint_requests", "endpoint_pending", "endpoint_retries", "max_requests", "max_retries"):
            if getattr(self, name):
                return name
        if self.adaptive.enabled:
            return "adaptive"
        return "rate_limits" if self.rate_limits else ""
