"""OTLP export requests taken apart: what is kept of each span, and which spans are refused.

What lives here: the check of each span, one by one. What this must not know: stores, grpc, clocks. Rules:
https://opentelemetry.io/docs/specs/otlp/ and the comments of opentelemetry/proto/trace/v1/trace.proto.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

MAX_SPAN = 262_144  # bytes of one span
_MAX_TIME = (1 << 63) - 1  # what the store can keep; the year 2262
_UNNAMED = "unknown_service"  # what the semantic conventions call a resource without service.name


class ResourceRow(NamedTuple):
    """Who made spans. `key` is a hash of `message`, which is the encoded Resource."""

    key: bytes
    service: str
    message: bytes


class SpanRow(NamedTuple):
    """What is kept of one span. `start` and `end` in nanoseconds since the epoch; `message` is the encoded Span."""

    trace_id: bytes
    span_id: bytes
    start: int
    end: int
    error: bool
    resource: ResourceRow
    message: bytes


@dataclass(slots=True)
class Sorted:
    """The spans of one request: those to keep, how many were refused, and why the first of them was."""

    spans: list[SpanRow] = field(default_factory=list)
    refused: int = 0
    reason: str = ""

    def refuse(self, count: int, reason: str) -> None:
        self.refused += count
        self.reason = self.reason or reason


def sort_out(request: ExportTraceServiceRequest) -> Sorted:
    """Check every span of a request."""
    result = Sorted()
    for of_resource in request.resource_spans:
        resource = _resource(of_resource.resource)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                problem = _problem(span)
                if not problem:
                    message = span.SerializeToString()
                    if len(message) <= MAX_SPAN:
                        result.spans.append(SpanRow(
                            span.trace_id, span.span_id, span.start_time_unix_nano, span.end_time_unix_nano,
                            span.status.code == Status.STATUS_CODE_ERROR, resource, message))
                        continue
                    problem = f"{len(message)} bytes, at most {MAX_SPAN}"
                result.refuse(1, f"span {span.name[:60]!r} of {resource.service[:60]!r}: {problem}")
    return result


def _resource(resource: Resource) -> ResourceRow:
    message = resource.SerializeToString(deterministic=True)
    names = (pair.value.string_value for pair in resource.attributes if pair.key == "service.name")
    return ResourceRow(blake2b(message, digest_size=16).digest(), next(names, "")[:255] or _UNNAMED, message)


def _problem(span: Span) -> str:
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return f"trace_id {span.trace_id[:20].hex()!r} is not 16 bytes with one above zero"
    if len(span.span_id) != 8 or not any(span.span_id):
        return f"span_id {span.span_id[:20].hex()!r} is not 8 bytes with one above zero"
    if span.parent_span_id and len(span.parent_span_id) != 8:
        return f"parent_span_id {span.parent_span_id[:20].hex()!r} is not 8 bytes"
    if span.end_time_unix_nano < span.start_time_unix_nano:
        return "it ends before it starts"
    if span.end_time_unix_nano > _MAX_TIME:
        return f"end_time_unix_nano {span.end_time_unix_nano} is after the year 2262"
    return ""
