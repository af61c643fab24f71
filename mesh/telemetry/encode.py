# cython: language_level=3, wraparound=False, initializedcheck=False
"""Records as OTLP bytes, at a cost that traffic can bear.

What lives here: an encoder that has the SDK's own OTLP encoder make one template per *kind* of span (name, attributes,
status: 60 µs) and then only adds what differs per request (ids, times, byte counts: 0.3 µs) as further protobuf fields,
whose order is free. What this must not know: which attributes there are (`semantics`), sockets, queues.
Field numbers: opentelemetry/proto/{trace,common}/v1, https://github.com/open-telemetry/opentelemetry-proto.
"""

from __future__ import annotations

import cython
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource

from mesh.dataplane.record import GRPC, TCP, UDP, Record
from mesh.telemetry.semantics import (
    REQUEST_BYTES,
    RESPONSE_BYTES,
    path_attributes,
    span_name,
    stable_attributes,
    text,
)
from mesh.telemetry.spans import build_span

if not cython.compiled:
    from mesh.wire.octets import octets_of, put_octets

# Kinds of span remembered, about 1 KB each, and paths. A caller who makes up either empties the memo; it can't grow it.
MAX_TEMPLATES = 1024
MAX_PATHS = 4096
SLOTS = 512  # of a first look by address, before the memo proper; a power of two
START_BYTES = 65_536  # of the batch's buffer, which then grows to what a batch needs

# Tags, number << 3 | type: LEN = 2 (with one byte of length where that is fixed), I64 = 1, VARINT = 0.
TRACE_ID, SPAN_ID, PARENT_ID = b"\x0a\x10", b"\x12\x08", b"\x22\x08"  # Span.trace_id, span_id, parent_span_id
TRACE_STATE, NAME, ATTRIBUTES = b"\x1a", b"\x2a", b"\x4a"  # Span.trace_state, name, attributes
KEY, VALUE, STRING = b"\x0a", b"\x12", b"\x0a"  # KeyValue.key, value; AnyValue.string_value
SCOPE_SPANS, RESOURCE_SPANS = b"\x12", b"\x0a"  # ResourceSpans.scope_spans, ExportTraceServiceRequest.resource_spans
SPANS_TAG, START_TAG, END_TAG, ATTRIBUTES_TAG, INT_TAG = 0x12, 0x39, 0x41, 0x4A, 0x18

TCP_: int = TCP  # its C name
UDP_: int = UDP


@cython.cclass
class Template:
    """A kind of span: what its records have in common, and that part of them encoded."""

    def __init__(self, record: Record, octets: bytes) -> None:
        self.octets: bytes = octets
        self.kind: int = record.kind
        self.protocol: int = record.protocol
        self.root: bool = record.parent_id == 0
        self.service: str = record.service
        self.method: bytes = record.method
        self.authority: bytes = record.authority
        self.endpoint: str = record.endpoint
        self.peer_host: str = record.peer_host
        self.peer_port: int = record.peer_port
        self.source: str = record.source
        self.attempt: int = record.attempt
        self.attempts: int = record.attempts
        self.http_status: int = record.http_status
        self.grpc_status: int = record.grpc_status
        self.reason: str = record.reason
        self.why: str = record.why
        self.pick: str = record.pick
        self.candidates: int = record.candidates
        self.version: str = record.version
        self.listener: str = record.listener

    def fits(self, record: Record) -> cython.bint:
        """Whether `record` is of this kind."""
        return (
            self.peer_port == record.peer_port and self.grpc_status == record.grpc_status
            and self.http_status == record.http_status and self.kind == record.kind
            and self.protocol == record.protocol and self.root == (record.parent_id == 0)
            and self.attempt == record.attempt and self.attempts == record.attempts
            and (self.service is record.service or self.service == record.service)
            and (self.endpoint is record.endpoint or self.endpoint == record.endpoint)
            and (self.method is record.method or self.method == record.method)
            and (self.authority is record.authority or self.authority == record.authority)
            and (self.peer_host is record.peer_host or self.peer_host == record.peer_host)
            and (self.source is record.source or self.source == record.source)
            and (self.reason is record.reason or self.reason == record.reason)
            and (self.why is record.why or self.why == record.why)
            and self.candidates == record.candidates
            and (self.pick is record.pick or self.pick == record.pick)
            and (self.version is record.version or self.version == record.version)
            and (self.listener is record.listener or self.listener == record.listener)
        )


@cython.cclass
class SpanEncoder:
    """`add` records to a batch, then `take` it as the bytes of one ExportTraceServiceRequest.

    `count` is the records in the batch so far, `size` their bytes.
    """

    def __init__(self, resource: Resource) -> None:
        self.count: int = 0
        self.resource: Resource = resource
        self.templates: dict[tuple[object, ...], Template] = {}
        self.slots: list[Template | None] = [None] * SLOTS
        self.request_key: bytes = sized(KEY, REQUEST_BYTES.encode()) + VALUE
        self.response_key: bytes = sized(KEY, RESPONSE_BYTES.encode()) + VALUE
        self.paths: tuple[dict[bytes, bytes], ...] = ({}, {}, {}, {}, {})  # by protocol
        message = encode_spans([build_span(Record(), resource, {})]).resource_spans[0]
        scope = message.scope_spans[0]
        scope.ClearField("spans")
        self.scope: bytes = scope.SerializeToString()
        message.ClearField("scope_spans")
        self.head: bytes = message.SerializeToString()
        self.out: bytearray = bytearray(START_BYTES)
        self.size: int = 0

    def add(self, record: Record) -> cython.int:
        """Append one span. What it raises (a malformed event) leaves the batch as it was."""
        octets: bytes = self.template(record).octets
        extra: bytes = b""
        if record.tracestate or record.events:
            extra = self.extras(record)
        path: bytes = b"" if record.protocol == TCP_ or record.protocol == UDP_ else self.path(record)
        parent: cython.int = 10 if record.parent_id else 0
        sent: cython.ulonglong = cython.cast(cython.ulonglong, record.request_bytes)
        received: cython.ulonglong = cython.cast(cython.ulonglong, record.response_bytes)
        if not cython.compiled:
            sent &= 0xFFFFFFFFFFFFFFFF
            received &= 0xFFFFFFFFFFFFFFFF
        length: cython.Py_ssize_t = (
            len(octets) + len(path) + len(extra) + 18 + 10 + 9 + 9 + parent
            + 4 + len(self.request_key) + varint_size(sent) + 4 + len(self.response_key) + varint_size(received)
        )
        if self.size + length + 11 > len(self.out):
            self.out += bytes(max(len(self.out), length + 11))
        out: bytearray = self.out
        at: cython.Py_ssize_t = self.size
        out[at] = SPANS_TAG
        at = put_varint(out, at + 1, length)
        put_octets(out, at, octets)
        at += len(octets)
        put_octets(out, at, path)
        at += len(path)
        put_octets(out, at, TRACE_ID)
        put_big(out, at + 2, record.trace_hi)
        put_big(out, at + 10, record.trace_lo)
        put_octets(out, at + 18, SPAN_ID)
        put_big(out, at + 20, record.span_id)
        at += 28
        if parent:
            put_octets(out, at, PARENT_ID)
            put_big(out, at + 2, record.parent_id)
            at += 10
        out[at] = START_TAG
        put_little(out, at + 1, record.start_ns)
        out[at + 9] = END_TAG
        put_little(out, at + 10, record.end_ns)
        at = put_count(out, at + 18, self.request_key, sent)
        at = put_count(out, at, self.response_key, received)
        put_octets(out, at, extra)
        self.size = at + len(extra)
        self.count += 1
        return 0

    def take(self) -> bytes:
        """The batch as one request, all under this process's resource; a new batch begins."""
        scope: bytes = SCOPE_SPANS + varint(len(self.scope) + self.size) + self.scope
        start: bytes = RESOURCE_SPANS + varint(len(self.head) + len(scope) + self.size)
        request: bytes = b"".join((start, self.head, scope, memoryview(self.out)[:self.size]))
        self.size = 0
        self.count = 0
        return request

    def template(self, record: Record) -> Template:
        slot: cython.size_t
        if cython.compiled:
            slot = cython.cast(cython.size_t, cython.cast(cython.p_void, record.endpoint)) >> 4
        else:
            slot = id(record.endpoint) >> 4
        slot = (slot ^ record.peer_port ^ (record.grpc_status * 7) ^ (record.kind << 4) ^ record.attempts) & (SLOTS - 1)
        found: Template | None = self.slots[slot]
        if found is None or not found.fits(record):
            found = self.slots[slot] = self.remembered(record)
        return found

    def remembered(self, record: Record) -> Template:
        key = (record.kind, record.protocol, record.service, record.method, record.authority, record.endpoint,
               record.peer_host, record.peer_port, record.source, record.attempt, record.attempts, record.http_status,
               record.grpc_status, record.reason, record.why, record.pick, record.candidates, record.version,
               record.listener, record.parent_id == 0)
        found: Template | None = self.templates.get(key)
        if found is None:
            if len(self.templates) >= MAX_TEMPLATES:
                self.templates.clear()
            span = encode_spans([build_span(record, self.resource, stable_attributes(record))]
                                ).resource_spans[0].scope_spans[0].spans[0]
            kept = trace_pb2.Span(kind=span.kind, attributes=span.attributes, status=span.status, flags=span.flags)
            if record.protocol != GRPC:  # else the name is the path's
                kept.name = span.name
            found = self.templates[key] = Template(record, kept.SerializeToString())
        return found

    def path(self, record: Record) -> bytes:
        """The fields that the path decides."""
        known: dict[bytes, bytes] = self.paths[record.protocol]
        found = known.get(record.path)
        if found is not None:
            return found
        out: bytes = b""
        if record.protocol == GRPC:
            out = sized(NAME, span_name(record).encode())
        for key, value in path_attributes(record).items():
            out += sized(ATTRIBUTES, sized(KEY, key.encode()) + sized(VALUE, sized(STRING, value.encode())))
        if len(known) >= MAX_PATHS:
            known.clear()
        known[record.path] = out
        return out

    def extras(self, record: Record) -> bytes:
        """The fields that few records have."""
        out: bytes = b""
        if record.tracestate:
            out += sized(TRACE_STATE, text(record.tracestate).encode())
        if record.events:
            whole = encode_spans([build_span(record, self.resource, {})]).resource_spans[0].scope_spans[0].spans[0]
            out += trace_pb2.Span(events=whole.events).SerializeToString()
        return out


def sized(tag: bytes, payload: bytes) -> bytes:
    """A length-delimited field."""
    return tag + varint(len(payload)) + payload


def varint(number: cython.ulonglong) -> bytes:
    """`put_varint` as bytes."""
    out: bytearray = bytearray(10)
    return octets_of(out, 0, put_varint(out, 0, number))


def varint_size(number: cython.ulonglong) -> cython.int:
    """Bytes that `put_varint` writes."""
    size: cython.int = 1
    while number > 127:
        number >>= 7
        size += 1
    return size


def put_varint(out: bytearray, at: cython.Py_ssize_t, number: cython.ulonglong) -> cython.Py_ssize_t:
    """Base 128, least significant group first. Returns the position after it, as the other `put_` functions do."""
    while number > 127:
        out[at] = (number & 127) | 128
        number >>= 7
        at += 1
    out[at] = number
    return at + 1


def put_count(out: bytearray, at: cython.Py_ssize_t, key: bytes, number: cython.ulonglong) -> cython.Py_ssize_t:
    """Span.attributes: KeyValue{key, value: AnyValue{int_value}}; a key is short, so that each length is one byte."""
    value_size: cython.int = 1 + varint_size(number)
    out[at] = ATTRIBUTES_TAG
    out[at + 1] = len(key) + 1 + value_size
    put_octets(out, at + 2, key)
    at += 2 + len(key)
    out[at] = value_size
    out[at + 1] = INT_TAG
    return put_varint(out, at + 2, number)


def put_big(out: bytearray, at: cython.Py_ssize_t, number: cython.ulonglong) -> cython.Py_ssize_t:
    """Eight bytes, the most significant first: ids."""
    shift: cython.int
    for shift in range(56, -8, -8):
        out[at] = (number >> shift) & 255
        at += 1
    return at


def put_little(out: bytearray, at: cython.Py_ssize_t, number: cython.longlong) -> cython.Py_ssize_t:
    """Eight bytes, the least significant first: fixed64."""
    shift: cython.int
    for shift in range(0, 64, 8):
        out[at] = (number >> shift) & 255
        at += 1
    return at
