import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TcpCheck(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusRange(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class HttpCheck(_message.Message):
    __slots__ = ("method", "path", "host", "statuses")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    method: str
    path: str
    host: str
    statuses: _containers.RepeatedCompositeFieldContainer[StatusRange]
    def __init__(self, method: _Optional[str] = ..., path: _Optional[str] = ..., host: _Optional[str] = ..., statuses: _Optional[_Iterable[_Union[StatusRange, _Mapping]]] = ...) -> None: ...

class GrpcCheck(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class MysqlCheck(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: str
    def __init__(self, user: _Optional[str] = ...) -> None: ...

class PostgresCheck(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: str
    def __init__(self, user: _Optional[str] = ...) -> None: ...

class RedisCheck(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CommandCheck(_message.Message):
    __slots__ = ("argv",)
    ARGV_FIELD_NUMBER: _ClassVar[int]
    argv: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, argv: _Optional[_Iterable[str]] = ...) -> None: ...

class HealthPolicy(_message.Message):
    __slots__ = ("tcp", "http", "grpc", "mysql", "postgres", "redis", "command", "interval", "timeout", "rise", "fall", "jitter", "fast_interval", "port", "uneject")
    TCP_FIELD_NUMBER: _ClassVar[int]
    HTTP_FIELD_NUMBER: _ClassVar[int]
    GRPC_FIELD_NUMBER: _ClassVar[int]
    MYSQL_FIELD_NUMBER: _ClassVar[int]
    POSTGRES_FIELD_NUMBER: _ClassVar[int]
    REDIS_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RISE_FIELD_NUMBER: _ClassVar[int]
    FALL_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    FAST_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    UNEJECT_FIELD_NUMBER: _ClassVar[int]
    tcp: TcpCheck
    http: HttpCheck
    grpc: GrpcCheck
    mysql: MysqlCheck
    postgres: PostgresCheck
    redis: RedisCheck
    command: CommandCheck
    interval: _duration_pb2.Duration
    timeout: _duration_pb2.Duration
    rise: int
    fall: int
    jitter: float
    fast_interval: _duration_pb2.Duration
    port: int
    uneject: bool
    def __init__(self, tcp: _Optional[_Union[TcpCheck, _Mapping]] = ..., http: _Optional[_Union[HttpCheck, _Mapping]] = ..., grpc: _Optional[_Union[GrpcCheck, _Mapping]] = ..., mysql: _Optional[_Union[MysqlCheck, _Mapping]] = ..., postgres: _Optional[_Union[PostgresCheck, _Mapping]] = ..., redis: _Optional[_Union[RedisCheck, _Mapping]] = ..., command: _Optional[_Union[CommandCheck, _Mapping]] = ..., interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., rise: _Optional[int] = ..., fall: _Optional[int] = ..., jitter: _Optional[float] = ..., fast_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., port: _Optional[int] = ..., uneject: _Optional[bool] = ...) -> None: ...

class SuccessRateOutlier(_message.Message):
    __slots__ = ("deviations", "margin", "min_endpoints", "min_requests")
    DEVIATIONS_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    MIN_ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    MIN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    deviations: float
    margin: float
    min_endpoints: int
    min_requests: int
    def __init__(self, deviations: _Optional[float] = ..., margin: _Optional[float] = ..., min_endpoints: _Optional[int] = ..., min_requests: _Optional[int] = ...) -> None: ...

class FailureRatioOutlier(_message.Message):
    __slots__ = ("threshold", "min_endpoints", "min_requests")
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MIN_ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    MIN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    min_endpoints: int
    min_requests: int
    def __init__(self, threshold: _Optional[float] = ..., min_endpoints: _Optional[int] = ..., min_requests: _Optional[int] = ...) -> None: ...

class LatencyOutlier(_message.Message):
    __slots__ = ("factor", "floor", "min_endpoints", "min_requests")
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    MIN_ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    MIN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    factor: float
    floor: _duration_pb2.Duration
    min_endpoints: int
    min_requests: int
    def __init__(self, factor: _Optional[float] = ..., floor: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., min_endpoints: _Optional[int] = ..., min_requests: _Optional[int] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("endpoint", "kind", "reason", "since", "until")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Verdict.Kind]
        KIND_EJECTED: _ClassVar[Verdict.Kind]
        KIND_CHECK_FAILED: _ClassVar[Verdict.Kind]
    KIND_UNSPECIFIED: Verdict.Kind
    KIND_EJECTED: Verdict.Kind
    KIND_CHECK_FAILED: Verdict.Kind
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    endpoint: str
    kind: Verdict.Kind
    reason: str
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    def __init__(self, endpoint: _Optional[str] = ..., kind: _Optional[_Union[Verdict.Kind, str]] = ..., reason: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class VerdictKey(_message.Message):
    __slots__ = ("endpoint", "kind")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    endpoint: str
    kind: Verdict.Kind
    def __init__(self, endpoint: _Optional[str] = ..., kind: _Optional[_Union[Verdict.Kind, str]] = ...) -> None: ...

class ReportVerdictsRequest(_message.Message):
    __slots__ = ("sidecar", "complete", "down", "up")
    SIDECAR_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    DOWN_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    sidecar: str
    complete: bool
    down: _containers.RepeatedCompositeFieldContainer[Verdict]
    up: _containers.RepeatedCompositeFieldContainer[VerdictKey]
    def __init__(self, sidecar: _Optional[str] = ..., complete: _Optional[bool] = ..., down: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., up: _Optional[_Iterable[_Union[VerdictKey, _Mapping]]] = ...) -> None: ...

class ReportVerdictsResponse(_message.Message):
    __slots__ = ("unknown", "time_to_live")
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_LIVE_FIELD_NUMBER: _ClassVar[int]
    unknown: bool
    time_to_live: _duration_pb2.Duration
    def __init__(self, unknown: _Optional[bool] = ..., time_to_live: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListVerdictsRequest(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class SeenVerdict(_message.Message):
    __slots__ = ("sidecar", "verdict")
    SIDECAR_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    sidecar: str
    verdict: Verdict
    def __init__(self, sidecar: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ...) -> None: ...

class ListVerdictsResponse(_message.Message):
    __slots__ = ("verdicts",)
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    verdicts: _containers.RepeatedCompositeFieldContainer[SeenVerdict]
    def __init__(self, verdicts: _Optional[_Iterable[_Union[SeenVerdict, _Mapping]]] = ...) -> None: ...
