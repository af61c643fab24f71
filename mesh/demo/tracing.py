"""The shop's own spans: the storefront is an app with OpenTelemetry, whose spans join those of its sidecar.

What lives here: the OpenTelemetry SDK set up from the usual `OTEL_*` variables, a span exporter over grpcio, and the
one span of a customer. What this must not know: the mesh. Any app instrumented with OpenTelemetry would do the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import grpc
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class GrpcSpanExporter(SpanExporter):
    """Sends spans by OTLP/gRPC to `target` (host:port, plaintext); a batch that can't be sent is given up."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target)
        self._export = self._channel.unary_unary(
            METHOD, request_serializer=trace_service_pb2.ExportTraceServiceRequest.SerializeToString,
            response_deserializer=trace_service_pb2.ExportTraceServiceResponse.FromString)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send one batch; called on the batch processor's thread."""
        try:
            self._export(encode_spans(spans), timeout=5.0)
        except grpc.RpcError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the connection."""
        self._channel.close()


def customer_span(trace_id: int, span_id: int, start_ns: int, end_ns: int) -> ReadableSpan:
    """Return the root of an order's trace, as the customer sees it; times in nanoseconds since the epoch."""
    return ReadableSpan("order", SpanContext(trace_id, span_id, False, TraceFlags(TraceFlags.SAMPLED)),
                        resource=Resource({"service.name": "customer"}), kind=SpanKind.CLIENT,
                        start_time=start_ns, end_time=end_ns)


def provider(service: str) -> TracerProvider:
    """Return a provider whose sampler follows `OTEL_TRACES_SAMPLER` and which exports to `OTEL_EXPORTER_OTLP_ENDPOINT`.

    Without an endpoint nothing is exported, but the trace context is still passed on.
    """
    made = TracerProvider(resource=Resource.create({"service.name": service}))
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    if endpoint:
        made.add_span_processor(BatchSpanProcessor(GrpcSpanExporter(endpoint.removeprefix("http://")),
                                                   schedule_delay_millis=500))
    return made
