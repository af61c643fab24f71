"""How an endpoint is picked: the algorithms and the policy of each, frozen and validated.

What lives here: Algorithm, BalancePolicy and its parts. What this must not know: how any of it is carried out,
protobuf. A policy that contradicts itself is refused whole: a parameter that the algorithm has no use for is a mistake,
not a wish. `proto/mesh/v1/service.proto` is the specification of every field and default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from mesh.errors import InvalidResource
from mesh.model.checks import check_range, check_text, check_whole
from mesh.model.custom import CustomMode, CustomPolicy

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110 5.6.2
_PARAMETER = re.compile(r"[!-%'-<>-~]{1,128}")  # visible ASCII without `&` and `=`
_COOKIE_PATH = re.compile(r"/[!-:<-~]{0,255}")  # RFC 6265 4.1.1: no control characters, no `;`
MAX_RING = 8_388_608
MAX_TABLE = 5_000_011
_NO_CUSTOM = CustomPolicy()


class Algorithm(Enum):
    """How an endpoint is picked."""

    ROUND_ROBIN = "round_robin"
    WEIGHTED_ROUND_ROBIN = "weighted_round_robin"
    RANDOM = "random"
    SOURCE_IP_HASH = "source_ip_hash"
    LEAST_CONNECTIONS = "least_connections"
    POWER_OF_TWO = "power_of_two"
    UNIFORM_RANDOM = "uniform_random"
    LEAST_REQUEST = "least_request"
    PEAK_EWMA = "peak_ewma"
    LEAST_TIME = "least_time"
    RENDEZVOUS = "rendezvous"
    RING_HASH = "ring_hash"
    MAGLEV = "maglev"
    FIRST_AVAILABLE = "first_available"


# Which algorithms a parameter means something to.
WITH_CHOICES = (Algorithm.LEAST_REQUEST, Algorithm.PEAK_EWMA)
WITH_LATENCY = (Algorithm.PEAK_EWMA, Algorithm.LEAST_TIME)
HASHING = (Algorithm.SOURCE_IP_HASH, Algorithm.RENDEZVOUS, Algorithm.RING_HASH, Algorithm.MAGLEV)


# Those that go by weight at each pick, so that an endpoint's can grow while it starts.
RAMPING = (Algorithm.POWER_OF_TWO, Algorithm.LEAST_REQUEST, Algorithm.PEAK_EWMA, Algorithm.LEAST_TIME,
           Algorithm.LEAST_CONNECTIONS, Algorithm.WEIGHTED_ROUND_ROBIN, Algorithm.RANDOM, Algorithm.SOURCE_IP_HASH,
           Algorithm.RENDEZVOUS)


class HashKey(Enum):
    """What of a request the hashing algorithms go by."""

    SOURCE_IP = "source_ip"
    HEADER = "header"
    COOKIE = "cookie"
    PATH = "path"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class LatencyPolicy:
    """The moving average of latencies: its time constant, and what an endpoint starts with. Both in seconds."""

    decay: float = 10.0
    initial: float = 0.03

    def __post_init__(self) -> None:
        check_range("decay", self.decay, 0.1, 3600)
        check_range("initial", self.initial, 0.000_001, 60)


def _is_prime(number: int) -> bool:
    if number < 2 or number % 2 == 0:
        return number == 2
    return all(number % factor for factor in range(3, int(number**0.5) + 1, 2))


@dataclass(frozen=True, slots=True)
class HashPolicy:
    """What is hashed, and how. `name`: of the header, cookie or query parameter. `bounded_load` 0: no bound."""

    key: HashKey = HashKey.SOURCE_IP
    name: str = ""
    bounded_load: float = 0.0
    min_ring_size: int = 1024
    max_ring_size: int = MAX_RING
    table_size: int = 65_537

    def __post_init__(self) -> None:
        check_text("name", self.name, 128)
        if self.key in (HashKey.SOURCE_IP, HashKey.PATH):
            if self.name:
                raise InvalidResource("name", f"{self.name!r} has no meaning with key {self.key.value}")
        elif self.key is HashKey.QUERY:
            if not _PARAMETER.fullmatch(self.name):
                raise InvalidResource("name", f"{self.name!r} is no name of a query parameter: 1..128 visible ASCII "
                                              "characters without '&' and '='")
        elif not _TOKEN.fullmatch(self.name):
            raise InvalidResource("name", f"{self.name!r} is no name of a {self.key.value}: 1..128 token characters")
        if self.key is HashKey.HEADER and self.name != self.name.lower():
            raise InvalidResource("name", f"{self.name!r} is not in lower case")
        if self.bounded_load != 0:
            check_range("bounded_load", self.bounded_load, 1.01, 10)
        check_whole("min_ring_size", self.min_ring_size, 1, MAX_RING)
        check_whole("max_ring_size", self.max_ring_size, 1, MAX_RING)
        if self.max_ring_size < self.min_ring_size:
            raise InvalidResource("max_ring_size",
                                  f"{self.max_ring_size:,} is less than min_ring_size {self.min_ring_size:,}")
        check_whole("table_size", self.table_size, 101, MAX_TABLE)
        if not _is_prime(self.table_size):
            raise InvalidResource("table_size", f"{self.table_size:,} is not a prime number, as Maglev needs")


@dataclass(frozen=True, slots=True)
class StickyPolicy:
    """Stickiness by a cookie that the sidecar issues. `cookie` "": off. `ttl` in seconds, 0: until the client
    closes."""

    cookie: str = ""
    ttl: float = 0.0
    path: str = "/"

    def __post_init__(self) -> None:
        check_text("cookie", self.cookie, 128)
        check_text("path", self.path, 256)
        if self.cookie and not _TOKEN.fullmatch(self.cookie):
            raise InvalidResource("cookie", f"{self.cookie!r} is no name of a cookie: 1..128 token characters")
        if self.ttl != 0:
            check_range("ttl", self.ttl, 1, 31_536_000)
        if not _COOKIE_PATH.fullmatch(self.path):
            raise InvalidResource("path", f"{self.path!r} is no path of a cookie: '/' and up to 255 visible ASCII "
                                          "characters without ';'")
        if not self.cookie and (self.ttl != 0 or self.path != "/"):
            raise InvalidResource("cookie", "is missing, and without it the rest has no meaning")


class Prefer(Enum):
    """Which endpoints go before others by where they are."""

    ANY = "any"
    REGION = "region"
    ZONE = "zone"


@dataclass(frozen=True, slots=True)
class SubsetPolicy:
    """`match`: only endpoints with all of this metadata; `or_any`: all, while none of those can be picked. `size`: how
    many each sidecar uses, 0: all."""

    match: tuple[tuple[str, str], ...] = ()
    or_any: bool = False
    size: int = 0

    def __post_init__(self) -> None:
        if len(self.match) > 64:
            raise InvalidResource("match", f"{len(self.match)} entries, at most 64")
        for key, value in self.match:
            if key == "":
                raise InvalidResource("match", "a key has at least 1 byte")
            check_text(f"match[{key!r}] as a key", key, 63)
            check_text(f"match[{key!r}]", value, 256)
        if len({key for key, _ in self.match}) < len(self.match):
            raise InvalidResource("match", "the same key twice")
        object.__setattr__(self, "match", tuple(sorted(self.match)))
        if not isinstance(self.or_any, bool):
            raise InvalidResource("or_any", f"{self.or_any!r} is neither true nor false")
        if self.or_any and not self.match:
            raise InvalidResource("or_any", "has no meaning without match")
        if self.size != 0:
            check_whole("size", self.size, 2, 10_000)


@dataclass(frozen=True, slots=True)
class LocalityPolicy:
    """Endpoints near the caller go first; `failover`: regions in the order in which they take over."""

    prefer: Prefer = Prefer.ANY
    failover: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for index, region in enumerate(self.failover):
            check_text(f"failover[{index}]", region, 256)
            if region == "":
                raise InvalidResource(f"failover[{index}]", "a region has at least 1 byte")
        if len(self.failover) > 64:
            raise InvalidResource("failover", f"{len(self.failover)} regions, at most 64")
        if len(set(self.failover)) < len(self.failover):
            raise InvalidResource("failover", "the same region twice")
        if self.failover and self.prefer is Prefer.ANY:
            raise InvalidResource("failover", "has no meaning with prefer any: no region goes before another")


@dataclass(frozen=True, slots=True)
class SlowStartPolicy:
    """An endpoint's weight grows to the whole over `window` seconds (0: at once), from `min_ratio` of it; `aggression`
    1: steadily, above 1: fast first, below 1: slowly first."""

    window: float = 0.0
    aggression: float = 1.0
    min_ratio: float = 0.1

    def __post_init__(self) -> None:
        if self.window != 0:
            check_range("window", self.window, 1, 3600)
        check_range("aggression", self.aggression, 0.1, 10)
        check_range("min_ratio", self.min_ratio, 0.01, 1)
        if self.window == 0 and (self.aggression != 1.0 or self.min_ratio != 0.1):
            raise InvalidResource("window", "is missing, and without it the rest has no meaning")


@dataclass(frozen=True, slots=True)
class BalancePolicy:
    """`choices`: endpoints drawn per pick. `capacity`: calls that an endpoint takes at a time, per unit of weight; 0:
    not given. `overprovisioning`: how much more than its part of the load the rest of a level is trusted with.
    `panic_threshold`: ratio of usable endpoints below which ejections are not believed. `merge_window`: in seconds.
    """

    algorithm: Algorithm = Algorithm.POWER_OF_TWO
    choices: int = 2
    capacity: int = 0
    latency: LatencyPolicy = LatencyPolicy()
    hash: HashPolicy = HashPolicy()
    sticky: StickyPolicy = StickyPolicy()
    subset: SubsetPolicy = SubsetPolicy()
    locality: LocalityPolicy = LocalityPolicy()
    slow_start: SlowStartPolicy = SlowStartPolicy()
    overprovisioning: float = 1.4
    panic_threshold: float = 0.5
    merge_window: float = 0.1
    custom: CustomPolicy = _NO_CUSTOM

    def __post_init__(self) -> None:
        check_whole("choices", self.choices, 2, 100)
        check_whole("capacity", self.capacity, 0, 1_000_000)
        self._only("choices", self.choices, 2, WITH_CHOICES)
        self._only("capacity", self.capacity, 0, (Algorithm.FIRST_AVAILABLE,))
        if self.algorithm is Algorithm.FIRST_AVAILABLE and self.capacity == 0:
            raise InvalidResource("capacity", "is missing: first_available must know when an endpoint is full, "
                                              "1..1,000,000")
        latency = LatencyPolicy()
        self._only("latency.decay", self.latency.decay, latency.decay, WITH_LATENCY)
        self._only("latency.initial", self.latency.initial, latency.initial, WITH_LATENCY)
        self._check_hash()
        check_range("overprovisioning", self.overprovisioning, 1, 10)
        check_range("panic_threshold", self.panic_threshold, 0, 1)
        check_range("merge_window", self.merge_window, 0, 60)
        self._only("slow_start.window", self.slow_start.window, 0.0, RAMPING)
        if self.subset.size and self.algorithm in HASHING:
            raise InvalidResource("subset.size", f"{self.subset.size} contradicts algorithm {self.algorithm.value}: "
                                                 "sidecars with different endpoints send a key to different ones")

        if self.custom.mode is CustomMode.LIVE and self.algorithm is not Algorithm.POWER_OF_TWO:
            raise InvalidResource("algorithm", f"{self.algorithm.value} contradicts custom.mode live: the class picks, "
                                               "and power_of_two is what it falls back to")

    def _check_hash(self) -> None:
        given, default = self.hash, HashPolicy()
        self._only("hash.key", given.key.value, default.key.value, HASHING)
        self._only("hash.bounded_load", given.bounded_load, default.bounded_load, HASHING)
        self._only("hash.min_ring_size", given.min_ring_size, default.min_ring_size, (Algorithm.RING_HASH,))
        self._only("hash.max_ring_size", given.max_ring_size, default.max_ring_size, (Algorithm.RING_HASH,))
        self._only("hash.table_size", given.table_size, default.table_size, (Algorithm.MAGLEV,))
        if self.algorithm is Algorithm.SOURCE_IP_HASH and given.key is not HashKey.SOURCE_IP:
            raise InvalidResource("hash.key", f"{given.key.value} contradicts algorithm source_ip_hash; "
                                              "rendezvous is the same algorithm with any key")

    def _only(self, where: str, value: object, default: object, algorithms: tuple[Algorithm, ...]) -> None:
        """Refuse a parameter of another algorithm: whoever sets it expects something that will not happen."""
        if value != default and self.algorithm not in algorithms:
            raise InvalidResource(where, f"{value!r} has no meaning with algorithm {self.algorithm.value}, only with "
                                         f"{' and '.join(algorithm.value for algorithm in algorithms)}")

    def needs_http(self) -> str:
        """Return the field that can only be had of HTTP requests, "" where there is none."""
        if self.hash.key is not HashKey.SOURCE_IP:
            return "hash.key"
        return "sticky.cookie" if self.sticky.cookie else ""
