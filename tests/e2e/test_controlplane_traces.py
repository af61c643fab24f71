"""The control plane as a process of its own: traces by OTLP, and reading them back."""

from __future__ import annotations

import os

import grpc
import pytest
from e2e_controlplane import (
    Client,
    control_planes,
    refused,
    run,
)
from google.protobuf.duration_pb2 import Duration
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from mesh.v1 import trace_pb2

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def start(tmp_path):
    with control_planes(tmp_path / "data") as starter:
        yield starter


def spans() -> list[ReadableSpan]:
    """Two traces from the OpenTelemetry SDK: one of two services with an error, one short."""
    memory = InMemorySpanExporter()
    tracers = {}
    for service in ("web", "cart"):
        provider = TracerProvider(resource=Resource.create({"service.name": service}))
        provider.add_span_processor(SimpleSpanProcessor(memory))
        tracers[service] = provider.get_tracer("test")
    start = 1_700_000_000 * 10**9
    with tracers["web"].start_as_current_span("GET /cart", kind=SpanKind.CLIENT, start_time=start,
                                              end_on_exit=False) as root:
        child = tracers["cart"].start_span("Cart/Get", kind=SpanKind.SERVER, start_time=start + 10**6,
                                           attributes={"rpc.system": "grpc", "n": 3})
        child.set_status(StatusCode.ERROR, "no stock")
        child.end(start + 2 * 10**6)
        root.end(start + 5 * 10**6)
    tracers["web"].start_span("GET /", start_time=start + 10**9).end(start + 10**9 + 1000)
    return list(memory.get_finished_spans())


def test_traces_in_the_official_encoding_come_in_and_are_read_back(start):
    async def scenario(client: Client) -> None:
        request = encode_spans(spans())
        answer = await client.otlp.Export(request, compression=grpc.Compression.Gzip)
        assert not answer.HasField("partial_success")
        listed = (await client.traces.ListTraces(trace_pb2.ListTracesRequest())).traces
        assert [(one.root_name, one.root_service, one.spans, one.errors, list(one.services)) for one in listed] == [
            ("GET /", "web", 1, 0, ["web"]), ("GET /cart", "web", 2, 1, ["cart", "web"])]
        for filters in ({"service": "cart"}, {"errors_only": True}, {"min_duration": Duration(nanos=5_000_000)}):
            found = (await client.traces.ListTraces(trace_pb2.ListTracesRequest(**filters))).traces
            assert [one.root_name for one in found] == ["GET /cart"]
        trace_id = listed[1].trace_id
        trace = await client.traces.GetTrace(trace_pb2.GetTraceRequest(trace_id=trace_id[:12].upper()))
        assert trace.trace_id == trace_id
        root, child = trace.spans
        assert (root.name, root.kind, root.parent_span_id) == ("GET /cart", "client", "")
        assert (child.name, child.kind, child.service, child.parent_span_id) == (
            "Cart/Get", "server", "cart", root.span_id)
        assert (child.error, child.status_message, child.attributes["n"]) == (True, "no stock", "3")
        assert child.resource["service.name"] == "cart"
        assert child.duration.ToNanoseconds() == 10**6
        assert (await refused(client.traces.GetTrace(trace_pb2.GetTraceRequest(trace_id="zz"))))[0] is (
            grpc.StatusCode.INVALID_ARGUMENT)
        assert (await refused(client.traces.GetTrace(trace_pb2.GetTraceRequest(trace_id="0" * 32))))[0] is (
            grpc.StatusCode.NOT_FOUND)

    run(start(), scenario)


def test_malformed_spans_and_malformed_exports(start):
    async def scenario(client: Client) -> None:
        request = encode_spans(spans())
        request.resource_spans[0].scope_spans[0].spans[0].trace_id = b"short"
        answer = await client.otlp.Export(request)
        assert answer.partial_success.rejected_spans == 1
        assert "is not 16 bytes" in answer.partial_success.error_message
        raw = client.channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        assert (await refused(raw(b"\xff")))[0] is grpc.StatusCode.INVALID_ARGUMENT
        bomb = b"\x0a\x80\x80\x80\x08" + bytes(16 << 20)
        code, _ = await refused(raw(bomb, compression=grpc.Compression.Gzip))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED

    run(start(), scenario)


def test_stored_traces_outlive_the_process_and_the_limit_is_kept(start, tmp_path):
    async def fill(client: Client) -> None:
        request = trace_service_pb2.ExportTraceServiceRequest()
        out = request.resource_spans.add().scope_spans.add().spans
        for number in range(400):
            out.add(trace_id=os.urandom(16), span_id=os.urandom(8), name=f"{number}" + "x" * 1000,
                    start_time_unix_nano=10**18, end_time_unix_nano=10**18 + 1)
        for _ in range(20):
            for span in out:
                span.trace_id = os.urandom(16)
            await client.otlp.Export(request)

    async def read(client: Client) -> None:
        assert len((await client.traces.ListTraces(trace_pb2.ListTracesRequest(limit=1000))).traces) == 1000

    process = start("--trace-max-size", "4MiB")
    run(process, fill)
    process.kill()
    files = (tmp_path / "data" / name for name in ("traces.sqlite", "traces.sqlite-wal"))
    assert sum(file.stat().st_size for file in files) <= 4 << 20
    run(start("--trace-max-size", "4MiB"), read)
