"""Records as spans of the OpenTelemetry SDK.

What lives here: the one place that builds SDK objects: resource, scope and ReadableSpan. What this must not know:
sockets, queues. Importing this module imports the SDK (2.5 MB, 20 ms): do it at start, never while traffic waits.
"""

from __future__ import annotations

import os

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

import mesh
from mesh.dataplane.record import RETRY, SERVER, Record
from mesh.telemetry.semantics import Attributes, outcome, own_attributes, span_name, stable_attributes, text

SCOPE = InstrumentationScope("mesh.sidecar", mesh.__version__)
_UNSET = Status(StatusCode.UNSET)


def make_resource(service: str, instance: str) -> Resource:
    """The process's resource: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over the sidecar's own names."""
    named = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    given = {pair.partition("=")[0].strip() for pair in named.split(",")}
    own = {"service.name": service, "service.instance.id": instance}
    if os.environ.get("OTEL_SERVICE_NAME", "").strip():
        given.add("service.name")
    # Resource.create lets its argument win over the environment, hence only what the environment doesn't say.
    return Resource.create({key: value for key, value in own.items() if key not in given})


def readable_span(record: Record, resource: Resource) -> ReadableSpan:
    """The whole record as the SDK's value, for any of its exporters."""
    return build_span(record, resource, stable_attributes(record) | own_attributes(record))


def build_span(record: Record, resource: Resource, attributes: Attributes) -> ReadableSpan:
    """The record with the attributes given."""
    trace_id = record.trace_hi << 64 | record.trace_lo
    flags = TraceFlags(record.trace_flags & 0xFF)
    state = TraceState.from_header([text(record.tracestate)]) if record.tracestate else None
    parent = None
    if record.parent_id:
        # The parent of an attempt is this sidecar's own span; every other parent came in a traceparent header.
        parent = SpanContext(trace_id, record.parent_id, record.kind != RETRY, flags)
    error_type, message = outcome(record)
    return ReadableSpan(
        name=span_name(record),
        context=SpanContext(trace_id, record.span_id, False, flags, state),
        parent=parent,
        resource=resource,
        attributes=attributes,
        events=[Event(name, values, unix_ns) for unix_ns, name, values in record.events or ()],
        kind=SpanKind.SERVER if record.kind == SERVER else SpanKind.CLIENT,
        status=Status(StatusCode.ERROR, message or None) if error_type else _UNSET,
        start_time=record.start_ns,
        end_time=record.end_ns,
        instrumentation_scope=SCOPE,
    )
