"""The storefront's spans reach a real OTLP/gRPC server with their service name; a dead collector is no error."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace.export import SpanExportResult

from mesh.demo.process import free_ports
from mesh.demo.tracing import GrpcSpanExporter, customer_span, provider


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.requests: list[trace_service_pb2.ExportTraceServiceRequest] = []

    def Export(self, request: trace_service_pb2.ExportTraceServiceRequest,
               context: grpc.ServicerContext) -> trace_service_pb2.ExportTraceServiceResponse:
        self.requests.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, int]]:
    made = Collector()
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(made, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield made, port
        server.stop(None).wait()


def test_spans_arrive_with_their_service(collector: tuple[Collector, int], monkeypatch: pytest.MonkeyPatch) -> None:
    made, port = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    spans = provider("storefront")
    with spans.get_tracer("test").start_as_current_span("place order"):
        pass
    spans.shutdown()
    resource = made.requests[0].resource_spans[0]
    assert {item.key: item.value.string_value for item in resource.resource.attributes}["service.name"] == "storefront"
    assert [span.name for span in resource.scope_spans[0].spans] == ["place order"]


def test_a_customers_span_is_a_root(collector: tuple[Collector, int]) -> None:
    made, port = collector
    exporter = GrpcSpanExporter(f"127.0.0.1:{port}")
    assert exporter.export([customer_span(0xABC, 0xDEF, 1_000, 2_000)]) is SpanExportResult.SUCCESS
    exporter.shutdown()
    span = made.requests[0].resource_spans[0].scope_spans[0].spans[0]
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id) == (f"{0xABC:032x}", f"{0xDEF:016x}", b"")
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1_000, 2_000)


def test_a_dead_collector_costs_only_the_batch() -> None:
    exporter = GrpcSpanExporter(f"127.0.0.1:{free_ports(1)[0]}")
    assert exporter.export([]) is SpanExportResult.FAILURE
    exporter.shutdown()


def test_without_an_endpoint_nothing_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    spans = provider("storefront")
    with spans.get_tracer("test").start_as_current_span("place order") as span:
        assert span.get_span_context().is_valid
    spans.shutdown()
