"""The exporter against a collector made of opentelemetry-proto and grpcio: what arrives is what was recorded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from mesh.balance.rng import Rng
from mesh.dataplane import loop
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import CLIENT, GRPC, RETRY, SERVER, TCP, Record, Recorder
from mesh.dataplane.rpc import Channel
from mesh.telemetry.encode import SpanEncoder
from mesh.telemetry.exporter import Exporter
from mesh.telemetry.settings import TelemetrySettings, telemetry_settings
from mesh.telemetry.spans import make_resource

pytestmark = pytest.mark.e2e


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it is sent; fails as `failures` says first."""

    def __init__(self) -> None:
        self.arrived = threading.Condition()
        self.batches: list[ResourceSpans] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.failures: list[grpc.StatusCode] = []

    def Export(self, request: trace_service_pb2.ExportTraceServiceRequest,
               context: grpc.ServicerContext) -> trace_service_pb2.ExportTraceServiceResponse:
        with self.arrived:
            if self.failures:
                context.abort(self.failures.pop(0), "not now")
            self.metadata.append(dict(context.invocation_metadata()))
            self.batches.extend(request.resource_spans)
            self.arrived.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Span]:
        return [span for batch in self.batches for scope in batch.scope_spans for span in scope.spans]

    def wait(self, count: int) -> bool:
        with self.arrived:
            return self.arrived.wait_for(lambda: len(self.spans) >= count, 5)


@contextmanager
def collecting(port: int = 0) -> Iterator[tuple[int, Collector]]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield port, collector
    finally:
        server.stop(None).wait()


def run(settings: TelemetrySettings, test: Callable[[Recorder, Exporter], Awaitable[None]]) -> None:
    async def main() -> None:
        recorder = Recorder(settings.max_queue_size)
        hub = Hub(asyncio.get_running_loop(), Rng(1), recorder)
        channel = Channel(hub, settings.targets)
        exporter = Exporter(recorder, channel, SpanEncoder(make_resource("front", "front-0")), settings, Rng(2))
        exporter.start()
        try:
            async with asyncio.timeout(20):
                await test(recorder, exporter)
        finally:
            await exporter.shutdown(2.0)
            await channel.close()

    loop.run(main())


def make(number: int, kind: int = CLIENT, protocol: int = GRPC) -> Record:
    record = Record()
    record.kind, record.protocol, record.service = kind, protocol, "cart"
    record.trace_hi, record.trace_lo, record.span_id, record.parent_id = 0xAB << 56, number, number, 7
    record.start_ns = 1_800_000_000_000_000_000 + number
    record.end_ns = record.start_ns + 5_000_000
    record.path, record.grpc_status, record.http_status = b"/shop.Cart/Add", 0, 200
    record.endpoint, record.peer_host, record.peer_port, record.why = "cart/cart-1", "127.0.0.1", 4000, "round_robin"
    return record


def attributes(span: Span) -> dict[str, str | int]:
    return {attribute.key: attribute.value.string_value if attribute.value.HasField("string_value")
            else attribute.value.int_value for attribute in span.attributes}


def test_spans_arrive_with_names_attributes_status_events_and_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    failed = make(2, RETRY)
    failed.grpc_status, failed.reason, failed.attempt, failed.why = 14, "upstream_reset", 2, "UNAVAILABLE"
    first = make(1)
    first.attempts, first.tracestate = 2, b"vendor=x"
    first.events = [(first.start_ns + 1000, "attempt failed", {"mesh.reason": "upstream_reset", "mesh.attempt": 1})]
    tcp = make(4, CLIENT, TCP)
    tcp.service, tcp.request_bytes, tcp.response_bytes, tcp.parent_id = "stock", 10, 2**40, 0

    with collecting() as (port, collector):
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "10",
                   "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20key"}

        async def test(recorder: Recorder, exporter: Exporter) -> None:
            for record in (first, failed, make(3, SERVER), tcp):
                recorder.add(record)
            assert await asyncio.to_thread(collector.wait, 4)

        run(telemetry_settings(environ, ()), test)
        resource = {pair.key: pair.value.string_value for pair in collector.batches[0].resource.attributes}
        assert resource["service.name"] == "front"
        assert resource["service.instance.id"] == "front-0"
        assert resource["deployment.environment.name"] == "test"
        assert collector.batches[0].scope_spans[0].scope.name == "mesh.sidecar"
        assert collector.metadata[0]["api-key"] == "a key"
        spans = {int.from_bytes(span.span_id, "big"): span for span in collector.spans}
        assert [spans[number].name for number in (1, 2, 3, 4)] == ["shop.Cart/Add"] * 3 + ["tcp stock"]
        assert [spans[number].kind for number in (1, 2, 3)] == [Span.SPAN_KIND_CLIENT] * 2 + [Span.SPAN_KIND_SERVER]
        assert spans[1].trace_id.hex() == "ab00000000000000" + "0000000000000001"
        assert (spans[1].parent_span_id.hex(), spans[4].parent_span_id) == ("0000000000000007", b"")
        assert spans[1].trace_state == "vendor=x"
        assert attributes(spans[1])["mesh.attempts"] == 2
        assert (spans[1].events[0].name, spans[1].events[0].time_unix_nano) == ("attempt failed", first.start_ns + 1000)
        assert (spans[2].status.code, spans[1].status.code) == (Status.STATUS_CODE_ERROR, Status.STATUS_CODE_UNSET)
        assert attributes(spans[2])["http.request.resend_count"] == 1
        assert attributes(spans[4])["mesh.response.bytes"] == 2**40


def test_a_collector_that_is_away_and_comes_back_gets_everything() -> None:
    with collecting() as (port, _):
        pass
    settings = telemetry_settings({"OTEL_BSP_SCHEDULE_DELAY": "10"}, (("127.0.0.1", port),))

    async def test(recorder: Recorder, exporter: Exporter) -> None:
        for number in range(1, 1001):
            recorder.add(make(number))
        while exporter.statistics().waiting < 1000 or recorder.pending:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        with collecting(port) as (_, collector):
            collector.failures = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
            assert await asyncio.to_thread(collector.wait, 1000)
            assert sorted(span.span_id for span in collector.spans) == [number.to_bytes(8, "big")
                                                                        for number in range(1, 1001)]
            while exporter.statistics().exported < 1000:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert exporter.statistics().dropped == 0

    run(settings, test)


def test_shutdown_flushes() -> None:
    with collecting() as (port, collector):
        async def test(recorder: Recorder, exporter: Exporter) -> None:
            for number in range(1, 101):
                recorder.add(make(number))

        run(TelemetrySettings(targets=(("127.0.0.1", port),), schedule_delay=3600.0), test)
        assert len(collector.spans) == 100
