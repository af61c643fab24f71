"""Records become the SDK's own values."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind, StatusCode

from mesh.dataplane.record import CLIENT, GRPC, RETRY, SERVER, Record
from mesh.telemetry.spans import SCOPE, make_resource, readable_span


def record(kind: int = CLIENT) -> Record:
    made = Record()
    made.kind, made.protocol, made.path, made.service = kind, GRPC, b"/shop.Cart/Add", "cart"
    made.trace_hi, made.trace_lo, made.span_id, made.parent_id, made.trace_flags = 1, 2, 3, 4, 1
    made.start_ns, made.end_ns = 1_700_000_000_000_000_000, 1_700_000_000_001_000_000
    made.grpc_status, made.http_status = 0, 200
    return made


@pytest.mark.parametrize(("kind", "span_kind", "remote"), [(CLIENT, SpanKind.CLIENT, True),
                                                           (SERVER, SpanKind.SERVER, True),
                                                           (RETRY, SpanKind.CLIENT, False)])
def test_span(kind: int, span_kind: SpanKind, remote: bool) -> None:
    span = readable_span(record(kind), Resource.get_empty())
    assert (span.name, span.kind, span.instrumentation_scope) == ("shop.Cart/Add", span_kind, SCOPE)
    assert span.context is not None
    assert (span.context.trace_id, span.context.span_id, span.context.trace_flags) == ((1 << 64) + 2, 3, 1)
    assert span.parent is not None
    assert (span.parent.span_id, span.parent.is_remote) == (4, remote)
    assert (span.start_time, span.end_time) == (1_700_000_000_000_000_000, 1_700_000_000_001_000_000)
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes is not None
    assert span.attributes["rpc.method"] == "Add"
    assert span.to_json()


def test_root_tracestate_and_events() -> None:
    made = record()
    made.parent_id, made.tracestate = 0, b"vendor=1, other=x"
    made.events = [(1_700_000_000_000_500_000, "attempt failed", {"mesh.reason": "upstream_reset"})]
    span = readable_span(made, Resource.get_empty())
    assert span.parent is None
    assert span.context is not None
    assert list(span.context.trace_state.items()) == [("vendor", "1"), ("other", "x")]
    assert [(event.timestamp, event.name, dict(event.attributes or {})) for event in span.events] == made.events


def test_error_status() -> None:
    made = record()
    made.grpc_status, made.reason = 14, "no_endpoints"
    span = readable_span(made, Resource.get_empty())
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "the service has no endpoints")
    made.reason = ""
    assert readable_span(made, Resource.get_empty()).status.description is None


@pytest.mark.parametrize(("environ", "service", "instance"), [
    ({}, "cart", "cart-0"),
    ({"OTEL_SERVICE_NAME": "mine"}, "mine", "cart-0"),
    ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=theirs,deployment.environment=test"}, "theirs", "cart-0"),
    ({"OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=i-1", "OTEL_SERVICE_NAME": "mine"}, "mine", "i-1"),
])
def test_resource(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], service: str, instance: str) -> None:
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    attributes = make_resource("cart", "cart-0").attributes
    assert (attributes["service.name"], attributes["service.instance.id"]) == (service, instance)
    assert attributes["telemetry.sdk.name"] == "opentelemetry"
    if "deployment" in str(environ):
        assert attributes["deployment.environment"] == "test"
