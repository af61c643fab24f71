"""Stored traces as messages of `trace.proto`.

What lives here: OTLP spans to TraceSpan, a trace to its summary, an id's prefix to a range. What this must not know:
stores, grpc.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from controlplane.errors import InvalidRequest
from controlplane.traces.store import Found
from mesh.v1 import trace_pb2

_PREFIX = re.compile(r"[0-9a-f]{4,32}")
_KINDS = {Span.SPAN_KIND_SERVER: "server", Span.SPAN_KIND_CLIENT: "client", Span.SPAN_KIND_PRODUCER: "producer",
          Span.SPAN_KIND_CONSUMER: "consumer"}


def id_range(prefix: str) -> tuple[bytes, bytes]:
    """Return the lowest and the highest trace id that begins with `prefix`. Raises InvalidRequest when it is none."""
    prefix = prefix.lower()
    if not _PREFIX.fullmatch(prefix):
        raise InvalidRequest(f"trace_id {prefix[:64]!r} is not 4..32 hex digits")
    return bytes.fromhex(prefix.ljust(32, "0")), bytes.fromhex(prefix.ljust(32, "f"))


def summary(found: Found) -> trace_pb2.TraceSummary:
    """Return the one-line view of a trace."""
    spans = [(service, Span.FromString(message)) for service, _, message in found.spans]
    ids = {span.span_id for _, span in spans}
    start = min((span.start_time_unix_nano for _, span in spans), default=0)
    end = max((span.end_time_unix_nano for _, span in spans), default=0)
    roots = [(span.start_time_unix_nano, span.name, service) for service, span in spans
             if span.parent_span_id not in ids]
    _, name, root_service = min(roots, default=(0, "", ""))
    return trace_pb2.TraceSummary(
        trace_id=found.trace_id.hex(), start=_timestamp(start), duration=_duration(end - start), root_name=name,
        root_service=root_service, spans=len(spans), errors=sum(_failed(span) for _, span in spans),
        services=sorted({service for service, _ in spans}))


def trace(found: Found) -> trace_pb2.GetTraceResponse:
    """Return all of a trace, spans by start time."""
    resources: dict[bytes, dict[str, str]] = {}
    spans: list[tuple[int, int, trace_pb2.TraceSpan]] = []
    for service, resource, message in found.spans:
        attributes = resources.get(resource)
        if attributes is None:
            attributes = resources[resource] = _attributes(Resource.FromString(resource).attributes)
        span = Span.FromString(message)
        spans.append((span.start_time_unix_nano, -span.end_time_unix_nano, _span(span, service, attributes)))
    spans.sort(key=lambda item: item[:2])
    return trace_pb2.GetTraceResponse(trace_id=found.trace_id.hex(), spans=(span for _, _, span in spans))


def _span(span: Span, service: str, resource: dict[str, str]) -> trace_pb2.TraceSpan:
    events = (trace_pb2.SpanEvent(at=_timestamp(event.time_unix_nano), name=event.name,
                                  attributes=_attributes(event.attributes)) for event in span.events)
    return trace_pb2.TraceSpan(
        span_id=span.span_id.hex(), parent_span_id=span.parent_span_id.hex(), name=span.name,
        kind=_KINDS.get(span.kind, "internal"), service=service, start=_timestamp(span.start_time_unix_nano),
        duration=_duration(span.end_time_unix_nano - span.start_time_unix_nano), error=_failed(span),
        status_message=span.status.message, attributes=_attributes(span.attributes), resource=resource, events=events)


def _failed(span: Span) -> bool:
    return span.status.code == Status.STATUS_CODE_ERROR


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, str]:
    return {pair.key: _text(pair.value) for pair in pairs}


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "bytes_value":
        return value.bytes_value.hex()
    if kind in ("array_value", "kvlist_value"):
        return MessageToJson(getattr(value, kind), indent=None)
    return str(getattr(value, kind))


def _timestamp(nanoseconds: int) -> Timestamp:
    return Timestamp(seconds=nanoseconds // 1_000_000_000, nanos=nanoseconds % 1_000_000_000)


def _duration(nanoseconds: int) -> Duration:
    return Duration(seconds=nanoseconds // 1_000_000_000, nanos=nanoseconds % 1_000_000_000)
