from mesh.v1 import endpoint_pb2 as _endpoint_pb2
from mesh.v1 import service_pb2 as _service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SidecarHello(_message.Message):
    __slots__ = ("id", "build")
    ID_FIELD_NUMBER: _ClassVar[int]
    BUILD_FIELD_NUMBER: _ClassVar[int]
    id: str
    build: str
    def __init__(self, id: _Optional[str] = ..., build: _Optional[str] = ...) -> None: ...

class SidecarMessage(_message.Message):
    __slots__ = ("hello", "answer", "reports")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    hello: SidecarHello
    answer: SidecarAnswer
    reports: PolicyReports
    def __init__(self, hello: _Optional[_Union[SidecarHello, _Mapping]] = ..., answer: _Optional[_Union[SidecarAnswer, _Mapping]] = ..., reports: _Optional[_Union[PolicyReports, _Mapping]] = ...) -> None: ...

class SidecarQuestion(_message.Message):
    __slots__ = ("id", "call")
    ID_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    id: int
    call: HypotheticalCall
    def __init__(self, id: _Optional[int] = ..., call: _Optional[_Union[HypotheticalCall, _Mapping]] = ...) -> None: ...

class SidecarAnswer(_message.Message):
    __slots__ = ("id", "refusal", "explanation")
    ID_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    id: int
    refusal: str
    explanation: Explanation
    def __init__(self, id: _Optional[int] = ..., refusal: _Optional[str] = ..., explanation: _Optional[_Union[Explanation, _Mapping]] = ...) -> None: ...

class CallHeader(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class HypotheticalCall(_message.Message):
    __slots__ = ("service", "path", "method", "headers", "source")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    service: str
    path: str
    method: str
    headers: _containers.RepeatedCompositeFieldContainer[CallHeader]
    source: str
    def __init__(self, service: _Optional[str] = ..., path: _Optional[str] = ..., method: _Optional[str] = ..., headers: _Optional[_Iterable[_Union[CallHeader, _Mapping]]] = ..., source: _Optional[str] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("caller", "call")
    CALLER_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    caller: str
    call: HypotheticalCall
    def __init__(self, caller: _Optional[str] = ..., call: _Optional[_Union[HypotheticalCall, _Mapping]] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("sidecar", "others", "explanation")
    SIDECAR_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    sidecar: str
    others: _containers.RepeatedScalarFieldContainer[str]
    explanation: Explanation
    def __init__(self, sidecar: _Optional[str] = ..., others: _Optional[_Iterable[str]] = ..., explanation: _Optional[_Union[Explanation, _Mapping]] = ...) -> None: ...

class ExplainedLevel(_message.Message):
    __slots__ = ("name", "load", "up", "candidates", "panic")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    PANIC_FIELD_NUMBER: _ClassVar[int]
    name: str
    load: float
    up: float
    candidates: int
    panic: bool
    def __init__(self, name: _Optional[str] = ..., load: _Optional[float] = ..., up: _Optional[float] = ..., candidates: _Optional[int] = ..., panic: _Optional[bool] = ...) -> None: ...

class ExplainedEndpoint(_message.Message):
    __slots__ = ("endpoint", "level", "state", "note", "in_flight", "latency", "score", "share", "ramp", "ejections")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    RAMP_FIELD_NUMBER: _ClassVar[int]
    EJECTIONS_FIELD_NUMBER: _ClassVar[int]
    endpoint: _endpoint_pb2.Endpoint
    level: str
    state: str
    note: str
    in_flight: int
    latency: float
    score: float
    share: float
    ramp: float
    ejections: int
    def __init__(self, endpoint: _Optional[_Union[_endpoint_pb2.Endpoint, _Mapping]] = ..., level: _Optional[str] = ..., state: _Optional[str] = ..., note: _Optional[str] = ..., in_flight: _Optional[int] = ..., latency: _Optional[float] = ..., score: _Optional[float] = ..., share: _Optional[float] = ..., ramp: _Optional[float] = ..., ejections: _Optional[int] = ...) -> None: ...

class ExplainedRetry(_message.Message):
    __slots__ = ("failure", "again", "why")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    failure: str
    again: bool
    why: str
    def __init__(self, failure: _Optional[str] = ..., again: _Optional[bool] = ..., why: _Optional[str] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("listener", "address", "service", "service_version", "endpoints_version", "refused", "picked", "reason", "why", "chance", "score", "key", "levels", "endpoints", "omitted", "retries", "retry_budget", "method", "crowded")
    LISTENER_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_VERSION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_VERSION_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    PICKED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    CHANCE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    OMITTED_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    RETRY_BUDGET_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    CROWDED_FIELD_NUMBER: _ClassVar[int]
    listener: str
    address: str
    service: _service_pb2.Service
    service_version: str
    endpoints_version: str
    refused: _containers.RepeatedScalarFieldContainer[str]
    picked: str
    reason: str
    why: str
    chance: str
    score: str
    key: str
    levels: _containers.RepeatedCompositeFieldContainer[ExplainedLevel]
    endpoints: _containers.RepeatedCompositeFieldContainer[ExplainedEndpoint]
    omitted: int
    retries: _containers.RepeatedCompositeFieldContainer[ExplainedRetry]
    retry_budget: float
    method: str
    crowded: str
    def __init__(self, listener: _Optional[str] = ..., address: _Optional[str] = ..., service: _Optional[_Union[_service_pb2.Service, _Mapping]] = ..., service_version: _Optional[str] = ..., endpoints_version: _Optional[str] = ..., refused: _Optional[_Iterable[str]] = ..., picked: _Optional[str] = ..., reason: _Optional[str] = ..., why: _Optional[str] = ..., chance: _Optional[str] = ..., score: _Optional[str] = ..., key: _Optional[str] = ..., levels: _Optional[_Iterable[_Union[ExplainedLevel, _Mapping]]] = ..., endpoints: _Optional[_Iterable[_Union[ExplainedEndpoint, _Mapping]]] = ..., omitted: _Optional[int] = ..., retries: _Optional[_Iterable[_Union[ExplainedRetry, _Mapping]]] = ..., retry_budget: _Optional[float] = ..., method: _Optional[str] = ..., crowded: _Optional[str] = ...) -> None: ...

class PolicyReport(_message.Message):
    __slots__ = ("service", "class_name", "mode", "state", "picks", "agreed", "differed", "abstained", "faults", "last_fault", "pick_seconds", "longest_pick")
    class FaultsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PICKS_FIELD_NUMBER: _ClassVar[int]
    AGREED_FIELD_NUMBER: _ClassVar[int]
    DIFFERED_FIELD_NUMBER: _ClassVar[int]
    ABSTAINED_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    LAST_FAULT_FIELD_NUMBER: _ClassVar[int]
    PICK_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LONGEST_PICK_FIELD_NUMBER: _ClassVar[int]
    service: str
    class_name: str
    mode: str
    state: str
    picks: int
    agreed: int
    differed: int
    abstained: int
    faults: _containers.ScalarMap[str, int]
    last_fault: str
    pick_seconds: float
    longest_pick: float
    def __init__(self, service: _Optional[str] = ..., class_name: _Optional[str] = ..., mode: _Optional[str] = ..., state: _Optional[str] = ..., picks: _Optional[int] = ..., agreed: _Optional[int] = ..., differed: _Optional[int] = ..., abstained: _Optional[int] = ..., faults: _Optional[_Mapping[str, int]] = ..., last_fault: _Optional[str] = ..., pick_seconds: _Optional[float] = ..., longest_pick: _Optional[float] = ...) -> None: ...

class PolicyReports(_message.Message):
    __slots__ = ("reports",)
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    reports: _containers.RepeatedCompositeFieldContainer[PolicyReport]
    def __init__(self, reports: _Optional[_Iterable[_Union[PolicyReport, _Mapping]]] = ...) -> None: ...

class ListPoliciesRequest(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class SidecarPolicies(_message.Message):
    __slots__ = ("sidecar", "reports")
    SIDECAR_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    sidecar: str
    reports: _containers.RepeatedCompositeFieldContainer[PolicyReport]
    def __init__(self, sidecar: _Optional[str] = ..., reports: _Optional[_Iterable[_Union[PolicyReport, _Mapping]]] = ...) -> None: ...

class ListPoliciesResponse(_message.Message):
    __slots__ = ("sidecars",)
    SIDECARS_FIELD_NUMBER: _ClassVar[int]
    sidecars: _containers.RepeatedCompositeFieldContainer[SidecarPolicies]
    def __init__(self, sidecars: _Optional[_Iterable[_Union[SidecarPolicies, _Mapping]]] = ...) -> None: ...
