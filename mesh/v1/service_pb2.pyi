import datetime

from google.protobuf import duration_pb2 as _duration_pb2
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

class Algorithm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALGORITHM_UNSPECIFIED: _ClassVar[Algorithm]
    ALGORITHM_ROUND_ROBIN: _ClassVar[Algorithm]
    ALGORITHM_WEIGHTED_ROUND_ROBIN: _ClassVar[Algorithm]
    ALGORITHM_RANDOM: _ClassVar[Algorithm]
    ALGORITHM_SOURCE_IP_HASH: _ClassVar[Algorithm]
    ALGORITHM_LEAST_CONNECTIONS: _ClassVar[Algorithm]
    ALGORITHM_POWER_OF_TWO: _ClassVar[Algorithm]
PROTOCOL_UNSPECIFIED: Protocol
PROTOCOL_TCP: Protocol
PROTOCOL_HTTP2: Protocol
PROTOCOL_GRPC: Protocol
ALGORITHM_UNSPECIFIED: Algorithm
ALGORITHM_ROUND_ROBIN: Algorithm
ALGORITHM_WEIGHTED_ROUND_ROBIN: Algorithm
ALGORITHM_RANDOM: Algorithm
ALGORITHM_SOURCE_IP_HASH: Algorithm
ALGORITHM_LEAST_CONNECTIONS: Algorithm
ALGORITHM_POWER_OF_TWO: Algorithm

class BalancePolicy(_message.Message):
    __slots__ = ("algorithm",)
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    algorithm: Algorithm
    def __init__(self, algorithm: _Optional[_Union[Algorithm, str]] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("max_attempts", "codes", "idempotent_methods", "budget_ratio", "budget_min_per_second", "budget_window", "backoff_base", "backoff_max", "replay_bytes")
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENT_METHODS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_RATIO_FIELD_NUMBER: _ClassVar[int]
    BUDGET_MIN_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BUDGET_WINDOW_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_BASE_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_MAX_FIELD_NUMBER: _ClassVar[int]
    REPLAY_BYTES_FIELD_NUMBER: _ClassVar[int]
    max_attempts: int
    codes: _containers.RepeatedScalarFieldContainer[str]
    idempotent_methods: _containers.RepeatedScalarFieldContainer[str]
    budget_ratio: float
    budget_min_per_second: float
    budget_window: _duration_pb2.Duration
    backoff_base: _duration_pb2.Duration
    backoff_max: _duration_pb2.Duration
    replay_bytes: int
    def __init__(self, max_attempts: _Optional[int] = ..., codes: _Optional[_Iterable[str]] = ..., idempotent_methods: _Optional[_Iterable[str]] = ..., budget_ratio: _Optional[float] = ..., budget_min_per_second: _Optional[float] = ..., budget_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., backoff_base: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., backoff_max: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., replay_bytes: _Optional[int] = ...) -> None: ...

class TimeoutPolicy(_message.Message):
    __slots__ = ("connect", "request", "idle")
    CONNECT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    connect: _duration_pb2.Duration
    request: _duration_pb2.Duration
    idle: _duration_pb2.Duration
    def __init__(self, connect: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idle: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class OutlierPolicy(_message.Message):
    __slots__ = ("consecutive_failures", "base_ejection_time", "max_ejection_time", "max_ejection_ratio")
    CONSECUTIVE_FAILURES_FIELD_NUMBER: _ClassVar[int]
    BASE_EJECTION_TIME_FIELD_NUMBER: _ClassVar[int]
    MAX_EJECTION_TIME_FIELD_NUMBER: _ClassVar[int]
    MAX_EJECTION_RATIO_FIELD_NUMBER: _ClassVar[int]
    consecutive_failures: int
    base_ejection_time: _duration_pb2.Duration
    max_ejection_time: _duration_pb2.Duration
    max_ejection_ratio: float
    def __init__(self, consecutive_failures: _Optional[int] = ..., base_ejection_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_ejection_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_ejection_ratio: _Optional[float] = ...) -> None: ...

class Service(_message.Message):
    __slots__ = ("name", "protocol", "balance", "retry", "timeout", "outlier")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    OUTLIER_FIELD_NUMBER: _ClassVar[int]
    name: str
    protocol: Protocol
    balance: BalancePolicy
    retry: RetryPolicy
    timeout: TimeoutPolicy
    outlier: OutlierPolicy
    def __init__(self, name: _Optional[str] = ..., protocol: _Optional[_Union[Protocol, str]] = ..., balance: _Optional[_Union[BalancePolicy, _Mapping]] = ..., retry: _Optional[_Union[RetryPolicy, _Mapping]] = ..., timeout: _Optional[_Union[TimeoutPolicy, _Mapping]] = ..., outlier: _Optional[_Union[OutlierPolicy, _Mapping]] = ...) -> None: ...
