# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""Records as OTLP bytes, at a cost that traffic can bear.

What lives here: an encoder that has the SDK's own OTLP encoder make one template per *kind* of span (name, attributes,
status: 60 µs) and then only adds what differs per request (ids, times, byte counts: 3 µs) as further protobuf fields,
whose order is free. What this must not know: which attributes there are (`semantics`), sockets, queues.
Field numbers: opentelemetry/proto/{trace,common}/v1, https://github.com/open-telemetry/opentelemetry-proto.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource

from mesh.dataplane.record import GRPC, HTTP2, Record
from mesh.telemetry.semantics import REQUEST_BYTES, RESPONSE_BYTES, URL_PATH, stable_attributes, text, url_path
from mesh.telemetry.spans import build_span

# Kinds of span remembered, about 700 bytes each. A caller who makes up paths empties the memo; it can't grow it.
MAX_TEMPLATES = 1024

_IDS = Struct(">2sQQ2sQ")  # trace_id = 1, span_id = 2: both are bytes, big-endian
_PARENT = Struct(">2sQ")  # parent_span_id = 4
_TIMES = Struct("<cQcQ")  # start_time_unix_nano = 7, end_time_unix_nano = 8: fixed64
_TRACE_STATE, _ATTRIBUTES, _SPANS, _SCOPE_SPANS, _RESOURCE_SPANS = b"\x1a", b"\x4a", b"\x12", b"\x12", b"\x0a"
_VARINTS = tuple(bytes((n,)) for n in range(128))


class SpanEncoder:
    """`span` encodes one record; `request` wraps what it returned as the bytes of one ExportTraceServiceRequest."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._templates: dict[tuple[object, ...], bytes] = {}
        self._request_bytes = b"\x0a" + _sized(REQUEST_BYTES.encode()) + b"\x12"
        self._response_bytes = b"\x0a" + _sized(RESPONSE_BYTES.encode()) + b"\x12"
        self._url_path = b"\x0a" + _sized(URL_PATH.encode()) + b"\x12"
        message = encode_spans([build_span(Record(), resource, {})]).resource_spans[0]
        scope = message.scope_spans[0]
        scope.ClearField("spans")
        self._scope = scope.SerializeToString()
        message.ClearField("scope_spans")
        self._head = message.SerializeToString()

    def span(self, record: Record) -> bytes:
        """One `ScopeSpans.spans` entry, tag and length included."""
        key = (record.kind, record.protocol, record.service, record.path if record.protocol == GRPC else b"",
               record.method, record.authority, record.endpoint, record.peer_host, record.peer_port, record.source,
               record.attempt, record.attempts, record.http_status, record.grpc_status, record.reason, record.why,
               record.parent_id == 0)
        template = self._templates.get(key)
        if template is None:
            if len(self._templates) >= MAX_TEMPLATES:
                self._templates.clear()
            template = self._templates[key] = self._template(record)
        out = [template,
               _IDS.pack(b"\x0a\x10", record.trace_hi, record.trace_lo, b"\x12\x08", record.span_id),
               _TIMES.pack(b"\x39", record.start_ns, b"\x41", record.end_ns)]
        if record.parent_id:
            out.append(_PARENT.pack(b"\x22\x08", record.parent_id))
        out.append(_attribute(self._request_bytes, b"\x18" + _varint(record.request_bytes)))
        out.append(_attribute(self._response_bytes, b"\x18" + _varint(record.response_bytes)))
        if record.protocol == HTTP2:
            out.append(_attribute(self._url_path, b"\x0a" + _sized(url_path(record).encode())))
        if record.tracestate:
            out.append(_TRACE_STATE + _sized(text(record.tracestate).encode()))
        if record.events:
            full = build_span(record, self._resource, {})
            events = encode_spans([full]).resource_spans[0].scope_spans[0].spans[0].events
            out.append(trace_pb2.Span(events=events).SerializeToString())
        return _SPANS + _sized(b"".join(out))

    def request(self, spans: Iterable[bytes]) -> bytes:
        """One request that holds `spans`, all under this process's resource."""
        scope = self._scope + b"".join(spans)
        return _RESOURCE_SPANS + _sized(self._head + _SCOPE_SPANS + _sized(scope))

    def _template(self, record: Record) -> bytes:
        span = encode_spans([build_span(record, self._resource, stable_attributes(record))]
                            ).resource_spans[0].scope_spans[0].spans[0]
        for name in ("trace_id", "span_id", "trace_state", "parent_span_id", "start_time_unix_nano",
                     "end_time_unix_nano", "events"):
            span.ClearField(name)
        return span.SerializeToString()


def _attribute(key: bytes, value: bytes) -> bytes:
    """Span.attributes = 9: KeyValue{key = 1, value = 2: AnyValue{string_value = 1 | int_value = 3}}."""
    return _ATTRIBUTES + _sized(key + _sized(value))


def _sized(payload: bytes) -> bytes:
    return _varint(len(payload)) + payload


def _varint(number: int) -> bytes:
    """Base 128, least significant group first; `number` 0..2^63-1."""
    if number < 128:
        return _VARINTS[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
