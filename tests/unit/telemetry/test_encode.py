"""The template encoder says exactly what the SDK's own OTLP encoder says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource

from mesh.dataplane.record import GRPC, HTTP1, HTTP2, TCP, UDP, Record
from mesh.errors import REASONS
from mesh.telemetry.encode import MAX_TEMPLATES, SpanEncoder
from mesh.telemetry.spans import readable_span

RESOURCE = Resource({"service.name": "front", "service.instance.id": "front-0"}, "https://opentelemetry.io/schemas/1.40.0")
U64 = st.integers(1, (1 << 64) - 1)
NS = st.integers(0, (1 << 63) - 1)
NAME = st.sampled_from(["cart", "payment", "stock-2"])
FIELDS = st.fixed_dictionaries({
    "kind": st.integers(0, 2), "protocol": st.sampled_from((TCP, HTTP2, GRPC, HTTP1, UDP)),
    "trace_hi": U64, "trace_lo": U64, "span_id": U64,
    "parent_id": st.just(0) | U64, "trace_flags": st.integers(0, 255), "start_ns": NS, "end_ns": NS, "service": NAME,
    "path": st.binary(max_size=20) | st.just(b"/shop.Cart/Add") | st.just(b"/x?" + b"y" * 2000),
    "method": st.sampled_from([b"GET", b"POST", b"BREW", b""]),
    "authority": st.sampled_from([b"cart", b"cart.shop:80", b"127.0.0.1:99", b"\xff:\xfe"]),
    "endpoint": st.sampled_from(["", "cart/cart-0"]), "peer_host": st.sampled_from(["", "127.0.0.1", "::1"]),
    "peer_port": st.integers(0, 65535), "source": st.sampled_from(["", "10.0.0.1"]), "attempt": st.integers(1, 10),
    "attempts": st.integers(1, 10), "http_status": st.sampled_from([0, 200, 404, 503]),
    "grpc_status": st.integers(-1, 20), "reason": st.sampled_from(["", "unheard_of", *REASONS]),
    "why": st.sampled_from(["", "power_of_two"]), "pick": st.sampled_from(["", "maglev"]),
    "candidates": st.integers(0, 3), "version": st.sampled_from(["", "17"]),
    "listener": st.sampled_from(["", "inbound", "outbound cart"]), "request_bytes": NS, "response_bytes": NS,
    "tracestate": st.sampled_from([b"", b"a=1", b"a=1,b@c=x y"]),
    "events": st.none() | st.just([]) | st.lists(
        st.tuples(NS, NAME, st.dictionaries(NAME, st.text(max_size=3) | st.booleans() | st.floats(0, 1) | NS))),
})


def build(fields: dict[str, object]) -> Record:
    record = Record()
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def canonical(request: ExportTraceServiceRequest) -> ExportTraceServiceRequest:
    """The same with each span's attributes sorted: their order says nothing."""
    for spans in request.resource_spans:
        for scope in spans.scope_spans:
            for span in scope.spans:
                attributes = sorted(span.attributes, key=lambda attribute: attribute.key)
                span.ClearField("attributes")
                span.attributes.extend(attributes)
    return request


def spans_of(request: bytes) -> list[Span]:
    return list(ExportTraceServiceRequest.FromString(request).resource_spans[0].scope_spans[0].spans)


ENCODER = SpanEncoder(RESOURCE)  # shared by all examples, so that templates are met again


@pytest.mark.slow
@settings(deadline=None)
@given(batch=st.lists(FIELDS.map(build), min_size=1, max_size=4))
def test_equals_the_sdk_encoder(batch: list[Record]) -> None:
    for record in batch:
        ENCODER.add(record)
    assert ENCODER.count == len(batch)
    ours = ENCODER.take()
    assert (ENCODER.count, ENCODER.size) == (0, 0)
    theirs = encode_spans([readable_span(record, RESOURCE) for record in batch])
    assert canonical(ExportTraceServiceRequest.FromString(ours)) == canonical(theirs)


def test_templates_are_bounded() -> None:
    encoder = SpanEncoder(RESOURCE)
    for number in range(MAX_TEMPLATES + 5):
        encoder.add(build({"protocol": 2, "path": b"/s/%d" % number}))
    encoder.take()
    encoder.add(build({"protocol": 2, "path": b"/s/0"}))
    assert spans_of(encoder.take())[0].name == "s/0"


def test_http_paths_share_a_template_and_keep_their_own_path() -> None:
    encoder = SpanEncoder(RESOURCE)
    for path in (b"/a", b"/b"):
        encoder.add(build({"protocol": 1, "method": b"GET", "path": path}))
    assert [[attribute.value.string_value for attribute in span.attributes if attribute.key == "url.path"]
            for span in spans_of(encoder.take())] == [["/a"], ["/b"]]


def test_a_batch_grows_as_far_as_it_must() -> None:
    encoder = SpanEncoder(RESOURCE)
    for number in range(1, 2001):
        encoder.add(build({"protocol": 2, "path": b"/shop.Cart/Add", "span_id": number}))
    assert encoder.size > 200_000
    assert [int.from_bytes(span.span_id, "big") for span in spans_of(encoder.take())] == list(range(1, 2001))


def test_a_record_that_can_not_be_encoded_leaves_the_batch_as_it_was() -> None:
    encoder = SpanEncoder(RESOURCE)
    encoder.add(build({"span_id": 1}))
    with pytest.raises(ValueError, match="unpack"):
        encoder.add(build({"events": [()]}))
    encoder.add(build({"span_id": 2}))
    assert [int.from_bytes(span.span_id, "big") for span in spans_of(encoder.take())] == [1, 2]


def test_an_empty_request_is_valid() -> None:
    encoder = SpanEncoder(RESOURCE)
    assert spans_of(encoder.take()) == []
