import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from mesh.v1 import health_pb2 as _health_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Protocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROTOCOL_UNSPECIFIED: _ClassVar[Protocol]
    PROTOCOL_TCP: _ClassVar[Protocol]
    PROTOCOL_HTTP2: _ClassVar[Protocol]
    PROTOCOL_GRPC: _ClassVar[Protocol]
    PROTOCOL_HTTP1: _ClassVar[Protocol]
    PROTOCOL_AUTO: _ClassVar[Protocol]
    PROTOCOL_UDP: _ClassVar[Protocol]

class Algorithm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALGORITHM_UNSPECIFIED: _ClassVar[Algorithm]
    ALGORITHM_ROUND_ROBIN: _ClassVar[Algorithm]
    ALGORITHM_WEIGHTED_ROUND_ROBIN: _ClassVar[Algorithm]
    ALGORITHM_RANDOM: _ClassVar[Algorithm]
    ALGORITHM_SOURCE_IP_HASH: _ClassVar[Algorithm]
    ALGORITHM_LEAST_CONNECTIONS: _ClassVar[Algorithm]
    ALGORITHM_POWER_OF_TWO: _ClassVar[Algorithm]
    ALGORITHM_UNIFORM_RANDOM: _ClassVar[Algorithm]
    ALGORITHM_LEAST_REQUEST: _ClassVar[Algorithm]
    ALGORITHM_PEAK_EWMA: _ClassVar[Algorithm]
    ALGORITHM_LEAST_TIME: _ClassVar[Algorithm]
    ALGORITHM_RENDEZVOUS: _ClassVar[Algorithm]
    ALGORITHM_RING_HASH: _ClassVar[Algorithm]
    ALGORITHM_MAGLEV: _ClassVar[Algorithm]
    ALGORITHM_FIRST_AVAILABLE: _ClassVar[Algorithm]

class HashKey(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HASH_KEY_UNSPECIFIED: _ClassVar[HashKey]
    HASH_KEY_SOURCE_IP: _ClassVar[HashKey]
    HASH_KEY_HEADER: _ClassVar[HashKey]
    HASH_KEY_COOKIE: _ClassVar[HashKey]
    HASH_KEY_PATH: _ClassVar[HashKey]
    HASH_KEY_QUERY: _ClassVar[HashKey]

class Prefer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PREFER_UNSPECIFIED: _ClassVar[Prefer]
    PREFER_ANY: _ClassVar[Prefer]
    PREFER_REGION: _ClassVar[Prefer]
    PREFER_ZONE: _ClassVar[Prefer]

class CustomMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CUSTOM_MODE_UNSPECIFIED: _ClassVar[CustomMode]
    CUSTOM_MODE_OFF: _ClassVar[CustomMode]
    CUSTOM_MODE_SHADOW: _ClassVar[CustomMode]
    CUSTOM_MODE_LIVE: _ClassVar[CustomMode]
PROTOCOL_UNSPECIFIED: Protocol
PROTOCOL_TCP: Protocol
PROTOCOL_HTTP2: Protocol
PROTOCOL_GRPC: Protocol
PROTOCOL_HTTP1: Protocol
PROTOCOL_AUTO: Protocol
PROTOCOL_UDP: Protocol
ALGORITHM_UNSPECIFIED: Algorithm
ALGORITHM_ROUND_ROBIN: Algorithm
ALGORITHM_WEIGHTED_ROUND_ROBIN: Algorithm
ALGORITHM_RANDOM: Algorithm
ALGORITHM_SOURCE_IP_HASH: Algorithm
ALGORITHM_LEAST_CONNECTIONS: Algorithm
ALGORITHM_POWER_OF_TWO: Algorithm
ALGORITHM_UNIFORM_RANDOM: Algorithm
ALGORITHM_LEAST_REQUEST: Algorithm
ALGORITHM_PEAK_EWMA: Algorithm
ALGORITHM_LEAST_TIME: Algorithm
ALGORITHM_RENDEZVOUS: Algorithm
ALGORITHM_RING_HASH: Algorithm
ALGORITHM_MAGLEV: Algorithm
ALGORITHM_FIRST_AVAILABLE: Algorithm
HASH_KEY_UNSPECIFIED: HashKey
HASH_KEY_SOURCE_IP: HashKey
HASH_KEY_HEADER: HashKey
HASH_KEY_COOKIE: HashKey
HASH_KEY_PATH: HashKey
HASH_KEY_QUERY: HashKey
PREFER_UNSPECIFIED: Prefer
PREFER_ANY: Prefer
PREFER_REGION: Prefer
PREFER_ZONE: Prefer
CUSTOM_MODE_UNSPECIFIED: CustomMode
CUSTOM_MODE_OFF: CustomMode
CUSTOM_MODE_SHADOW: CustomMode
CUSTOM_MODE_LIVE: CustomMode

class LatencyPolicy(_message.Message):
    __slots__ = ("decay", "initial")
    DECAY_FIELD_NUMBER: _ClassVar[int]
    INITIAL_FIELD_NUMBER: _ClassVar[int]
    decay: _duration_pb2.Duration
    initial: _duration_pb2.Duration
    def __init__(self, decay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., initial: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class HashPolicy(_message.Message):
    __slots__ = ("key", "name", "bounded_load", "min_ring_size", "max_ring_size", "table_size")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BOUNDED_LOAD_FIELD_NUMBER: _ClassVar[int]
    MIN_RING_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_RING_SIZE_FIELD_NUMBER: _ClassVar[int]
    TABLE_SIZE_FIELD_NUMBER: _ClassVar[int]
    key: HashKey
    name: str
    bounded_load: float
    min_ring_size: int
    max_ring_size: int
    table_size: int
    def __init__(self, key: _Optional[_Union[HashKey, str]] = ..., name: _Optional[str] = ..., bounded_load: _Optional[float] = ..., min_ring_size: _Optional[int] = ..., max_ring_size: _Optional[int] = ..., table_size: _Optional[int] = ...) -> None: ...

class StickyPolicy(_message.Message):
    __slots__ = ("cookie", "ttl", "path")
    COOKIE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    cookie: str
    ttl: _duration_pb2.Duration
    path: str
    def __init__(self, cookie: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., path: _Optional[str] = ...) -> None: ...

class SubsetPolicy(_message.Message):
    __slots__ = ("match", "or_any", "size")
    class MatchEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MATCH_FIELD_NUMBER: _ClassVar[int]
    OR_ANY_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    match: _containers.ScalarMap[str, str]
    or_any: bool
    size: int
    def __init__(self, match: _Optional[_Mapping[str, str]] = ..., or_any: _Optional[bool] = ..., size: _Optional[int] = ...) -> None: ...

class LocalityPolicy(_message.Message):
    __slots__ = ("prefer", "failover")
    PREFER_FIELD_NUMBER: _ClassVar[int]
    FAILOVER_FIELD_NUMBER: _ClassVar[int]
    prefer: Prefer
    failover: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, prefer: _Optional[_Union[Prefer, str]] = ..., failover: _Optional[_Iterable[str]] = ...) -> None: ...

class SlowStartPolicy(_message.Message):
    __slots__ = ("window", "aggression", "min_ratio")
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    AGGRESSION_FIELD_NUMBER: _ClassVar[int]
    MIN_RATIO_FIELD_NUMBER: _ClassVar[int]
    window: _duration_pb2.Duration
    aggression: float
    min_ratio: float
    def __init__(self, window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., aggression: _Optional[float] = ..., min_ratio: _Optional[float] = ...) -> None: ...

class CustomPolicy(_message.Message):
    __slots__ = ("source", "mode", "time_limit")
    CLASS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    TIME_LIMIT_FIELD_NUMBER: _ClassVar[int]
    source: str
    mode: CustomMode
    time_limit: _duration_pb2.Duration
    def __init__(self, source: _Optional[str] = ..., mode: _Optional[_Union[CustomMode, str]] = ..., time_limit: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., **kwargs) -> None: ...

class BalancePolicy(_message.Message):
    __slots__ = ("algorithm", "choices", "capacity", "latency", "hash", "sticky", "subset", "locality", "slow_start", "overprovisioning", "panic_threshold", "merge_window", "custom")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    STICKY_FIELD_NUMBER: _ClassVar[int]
    SUBSET_FIELD_NUMBER: _ClassVar[int]
    LOCALITY_FIELD_NUMBER: _ClassVar[int]
    SLOW_START_FIELD_NUMBER: _ClassVar[int]
    OVERPROVISIONING_FIELD_NUMBER: _ClassVar[int]
    PANIC_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MERGE_WINDOW_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    algorithm: Algorithm
    choices: int
    capacity: int
    latency: LatencyPolicy
    hash: HashPolicy
    sticky: StickyPolicy
    subset: SubsetPolicy
    locality: LocalityPolicy
    slow_start: SlowStartPolicy
    overprovisioning: float
    panic_threshold: float
    merge_window: _duration_pb2.Duration
    custom: CustomPolicy
    def __init__(self, algorithm: _Optional[_Union[Algorithm, str]] = ..., choices: _Optional[int] = ..., capacity: _Optional[int] = ..., latency: _Optional[_Union[LatencyPolicy, _Mapping]] = ..., hash: _Optional[_Union[HashPolicy, _Mapping]] = ..., sticky: _Optional[_Union[StickyPolicy, _Mapping]] = ..., subset: _Optional[_Union[SubsetPolicy, _Mapping]] = ..., locality: _Optional[_Union[LocalityPolicy, _Mapping]] = ..., slow_start: _Optional[_Union[SlowStartPolicy, _Mapping]] = ..., overprovisioning: _Optional[float] = ..., panic_threshold: _Optional[float] = ..., merge_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., custom: _Optional[_Union[CustomPolicy, _Mapping]] = ...) -> None: ...

class HedgePolicy(_message.Message):
    __slots__ = ("percentile", "min_delay")
    PERCENTILE_FIELD_NUMBER: _ClassVar[int]
    MIN_DELAY_FIELD_NUMBER: _ClassVar[int]
    percentile: float
    min_delay: _duration_pb2.Duration
    def __init__(self, percentile: _Optional[float] = ..., min_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("max_attempts", "codes", "idempotent_methods", "budget_ratio", "budget_min_per_second", "budget_window", "backoff_base", "backoff_max", "replay_bytes", "statuses", "max_pushback", "hedge")
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENT_METHODS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_RATIO_FIELD_NUMBER: _ClassVar[int]
    BUDGET_MIN_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BUDGET_WINDOW_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_BASE_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_MAX_FIELD_NUMBER: _ClassVar[int]
    REPLAY_BYTES_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    MAX_PUSHBACK_FIELD_NUMBER: _ClassVar[int]
    HEDGE_FIELD_NUMBER: _ClassVar[int]
    max_attempts: int
    codes: _containers.RepeatedScalarFieldContainer[str]
    idempotent_methods: _containers.RepeatedScalarFieldContainer[str]
    budget_ratio: float
    budget_min_per_second: float
    budget_window: _duration_pb2.Duration
    backoff_base: _duration_pb2.Duration
    backoff_max: _duration_pb2.Duration
    replay_bytes: int
    statuses: _containers.RepeatedScalarFieldContainer[int]
    max_pushback: _duration_pb2.Duration
    hedge: HedgePolicy
    def __init__(self, max_attempts: _Optional[int] = ..., codes: _Optional[_Iterable[str]] = ..., idempotent_methods: _Optional[_Iterable[str]] = ..., budget_ratio: _Optional[float] = ..., budget_min_per_second: _Optional[float] = ..., budget_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., backoff_base: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., backoff_max: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., replay_bytes: _Optional[int] = ..., statuses: _Optional[_Iterable[int]] = ..., max_pushback: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., hedge: _Optional[_Union[HedgePolicy, _Mapping]] = ...) -> None: ...

class TimeoutPolicy(_message.Message):
    __slots__ = ("connect", "request", "idle", "udp_idle", "per_try")
    CONNECT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    UDP_IDLE_FIELD_NUMBER: _ClassVar[int]
    PER_TRY_FIELD_NUMBER: _ClassVar[int]
    connect: _duration_pb2.Duration
    request: _duration_pb2.Duration
    idle: _duration_pb2.Duration
    udp_idle: _duration_pb2.Duration
    per_try: _duration_pb2.Duration
    def __init__(self, connect: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idle: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., udp_idle: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., per_try: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class OutlierPolicy(_message.Message):
    __slots__ = ("consecutive_failures", "base_ejection_time", "max_ejection_time", "max_ejection_ratio", "jitter", "half_open", "interval", "success_rate", "failure_ratio", "latency")
    CONSECUTIVE_FAILURES_FIELD_NUMBER: _ClassVar[int]
    BASE_EJECTION_TIME_FIELD_NUMBER: _ClassVar[int]
    MAX_EJECTION_TIME_FIELD_NUMBER: _ClassVar[int]
    MAX_EJECTION_RATIO_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    HALF_OPEN_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_RATE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_RATIO_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    consecutive_failures: int
    base_ejection_time: _duration_pb2.Duration
    max_ejection_time: _duration_pb2.Duration
    max_ejection_ratio: float
    jitter: float
    half_open: bool
    interval: _duration_pb2.Duration
    success_rate: _health_pb2.SuccessRateOutlier
    failure_ratio: _health_pb2.FailureRatioOutlier
    latency: _health_pb2.LatencyOutlier
    def __init__(self, consecutive_failures: _Optional[int] = ..., base_ejection_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_ejection_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_ejection_ratio: _Optional[float] = ..., jitter: _Optional[float] = ..., half_open: _Optional[bool] = ..., interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., success_rate: _Optional[_Union[_health_pb2.SuccessRateOutlier, _Mapping]] = ..., failure_ratio: _Optional[_Union[_health_pb2.FailureRatioOutlier, _Mapping]] = ..., latency: _Optional[_Union[_health_pb2.LatencyOutlier, _Mapping]] = ...) -> None: ...

class AdaptivePolicy(_message.Message):
    __slots__ = ("enabled", "min_limit", "max_limit", "percentile_ratio", "update_interval", "rtt_interval", "rtt_samples", "jitter_ratio", "buffer_ratio")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    MIN_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MAX_LIMIT_FIELD_NUMBER: _ClassVar[int]
    PERCENTILE_RATIO_FIELD_NUMBER: _ClassVar[int]
    UPDATE_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    RTT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    RTT_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    JITTER_RATIO_FIELD_NUMBER: _ClassVar[int]
    BUFFER_RATIO_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    min_limit: int
    max_limit: int
    percentile_ratio: float
    update_interval: _duration_pb2.Duration
    rtt_interval: _duration_pb2.Duration
    rtt_samples: int
    jitter_ratio: float
    buffer_ratio: float
    def __init__(self, enabled: _Optional[bool] = ..., min_limit: _Optional[int] = ..., max_limit: _Optional[int] = ..., percentile_ratio: _Optional[float] = ..., update_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., rtt_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., rtt_samples: _Optional[int] = ..., jitter_ratio: _Optional[float] = ..., buffer_ratio: _Optional[float] = ...) -> None: ...

class RateLimit(_message.Message):
    __slots__ = ("rate", "burst", "key", "max_keys")
    RATE_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    MAX_KEYS_FIELD_NUMBER: _ClassVar[int]
    rate: float
    burst: int
    key: str
    max_keys: int
    def __init__(self, rate: _Optional[float] = ..., burst: _Optional[int] = ..., key: _Optional[str] = ..., max_keys: _Optional[int] = ...) -> None: ...

class LimitsPolicy(_message.Message):
    __slots__ = ("endpoint_connections", "endpoint_requests", "max_requests", "max_connections", "max_retries", "max_pending", "queue_timeout", "adaptive", "rate_limits", "endpoint_pending", "endpoint_retries")
    ENDPOINT_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    MAX_PENDING_FIELD_NUMBER: _ClassVar[int]
    QUEUE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    ADAPTIVE_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMITS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_PENDING_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_RETRIES_FIELD_NUMBER: _ClassVar[int]
    endpoint_connections: int
    endpoint_requests: int
    max_requests: int
    max_connections: int
    max_retries: int
    max_pending: int
    queue_timeout: _duration_pb2.Duration
    adaptive: AdaptivePolicy
    rate_limits: _containers.RepeatedCompositeFieldContainer[RateLimit]
    endpoint_pending: int
    endpoint_retries: int
    def __init__(self, endpoint_connections: _Optional[int] = ..., endpoint_requests: _Optional[int] = ..., max_requests: _Optional[int] = ..., max_connections: _Optional[int] = ..., max_retries: _Optional[int] = ..., max_pending: _Optional[int] = ..., queue_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., adaptive: _Optional[_Union[AdaptivePolicy, _Mapping]] = ..., rate_limits: _Optional[_Iterable[_Union[RateLimit, _Mapping]]] = ..., endpoint_pending: _Optional[int] = ..., endpoint_retries: _Optional[int] = ...) -> None: ...

class Service(_message.Message):
    __slots__ = ("name", "protocol", "balance", "retry", "timeout", "outlier", "health", "limits")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    OUTLIER_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    name: str
    protocol: Protocol
    balance: BalancePolicy
    retry: RetryPolicy
    timeout: TimeoutPolicy
    outlier: OutlierPolicy
    health: _health_pb2.HealthPolicy
    limits: LimitsPolicy
    def __init__(self, name: _Optional[str] = ..., protocol: _Optional[_Union[Protocol, str]] = ..., balance: _Optional[_Union[BalancePolicy, _Mapping]] = ..., retry: _Optional[_Union[RetryPolicy, _Mapping]] = ..., timeout: _Optional[_Union[TimeoutPolicy, _Mapping]] = ..., outlier: _Optional[_Union[OutlierPolicy, _Mapping]] = ..., health: _Optional[_Union[_health_pb2.HealthPolicy, _Mapping]] = ..., limits: _Optional[_Union[LimitsPolicy, _Mapping]] = ...) -> None: ...
