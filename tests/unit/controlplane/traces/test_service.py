from __future__ import annotations

import asyncio
import threading

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from controlplane.errors import InvalidRequest, NotFound, Overloaded, StoreError
from controlplane.traces import service as module
from controlplane.traces.service import TraceIntake, TraceQueries
from controlplane.traces.store import TraceStore
from mesh.errors import InvalidResource
from mesh.v1 import trace_pb2


def export(*traces: int, bad: int = 0) -> bytes:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for trace in traces:
        spans.add(trace_id=trace.to_bytes(16, "big"), span_id=b"\1" * 8, name="s", start_time_unix_nano=10**18,
                  end_time_unix_nano=10**18 + 5)
    spans.extend(Span(trace_id=b"x") for _ in range(bad))
    return request.SerializeToString()


def run(tmp_path, scenario) -> None:
    async def main():
        store = TraceStore(tmp_path / "traces.sqlite", 8 << 20, 1e9)
        intake, queries = TraceIntake(store), TraceQueries(store)
        try:
            await scenario(intake, queries, store)
        finally:
            await queries.close()
            await intake.close()

    asyncio.run(main())


async def listed(queries: TraceQueries, **fields):
    response = await queries.list_traces(trace_pb2.ListTracesRequest(**fields))
    return [int(trace.trace_id, 16) for trace in response.traces]


def test_an_export_is_answered_when_it_can_be_read_back(tmp_path):
    async def scenario(intake, queries, store):
        response = ExportTraceServiceResponse.FromString(await intake.export(export(1, 2)))
        assert not response.HasField("partial_success")
        assert sorted(await listed(queries)) == [1, 2]
        trace = await queries.get_trace(trace_pb2.GetTraceRequest(trace_id="1".zfill(32)))
        assert [span.name for span in trace.spans] == ["s"]

    run(tmp_path, scenario)


def test_malformed_spans_are_counted_in_the_answer_of_their_own_request(tmp_path):
    async def scenario(intake, queries, store):
        raws = await asyncio.gather(intake.export(export(1)), intake.export(export(2, bad=3)))
        good, partly = map(ExportTraceServiceResponse.FromString, raws)
        assert not good.HasField("partial_success")
        assert partly.partial_success.rejected_spans == 3
        assert "3 spans refused; first: span '' of 'unknown_service': trace_id" in partly.partial_success.error_message
        assert sorted(await listed(queries)) == [1, 2]

    run(tmp_path, scenario)


def test_spans_beyond_the_limit_of_a_trace_are_counted_too(tmp_path, monkeypatch):
    monkeypatch.setattr("controlplane.traces.store.MAX_SPANS", 1)

    async def scenario(intake, queries, store):
        raws = await asyncio.gather(intake.export(export(1)), intake.export(export(1, 2)))
        answers = [ExportTraceServiceResponse.FromString(raw).partial_success.rejected_spans for raw in raws]
        assert answers == [0, 1]

    run(tmp_path, scenario)


def test_what_is_no_export_is_refused_and_the_others_of_its_batch_are_not(tmp_path):
    async def scenario(intake, queries, store):
        results = await asyncio.gather(intake.export(export(1)), intake.export(b"\xff\xff"), intake.export(export(2)),
                                       return_exceptions=True)
        assert isinstance(results[1], InvalidRequest)
        assert sorted(await listed(queries)) == [1, 2]

    run(tmp_path, scenario)


def test_a_full_queue_refuses_and_counts(tmp_path, monkeypatch):
    raw = export(1)
    monkeypatch.setattr(module, "QUEUE", 3 * len(raw))
    monkeypatch.setattr(module, "_BATCH", 1)

    async def scenario(intake, queries, store):
        gate, entered, write = threading.Event(), threading.Event(), store.write

        def slow(spans, now):
            entered.set()
            gate.wait(5)
            return write(spans, now)

        store.write = slow
        first = [asyncio.ensure_future(intake.export(raw))]
        await asyncio.to_thread(entered.wait, 5)
        first += [asyncio.ensure_future(intake.export(raw)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="try again later"):
            await intake.export(raw)
        assert intake.refused_exports == 1
        gate.set()
        await asyncio.gather(*first)
        await intake.export(raw)

    run(tmp_path, scenario)


def test_a_store_that_fails_is_answered_as_such_and_recovers(tmp_path, caplog):
    async def scenario(intake, queries, store):
        write = store.write
        store.write = lambda spans, now: (_ for _ in ()).throw(StoreError("disk full"))
        for _ in range(3):
            with pytest.raises(StoreError, match="disk full"):
                await intake.export(export(1))
        store.write = write
        await intake.export(export(1))
        assert await listed(queries) == [1]

    run(tmp_path, scenario)
    assert [record.message for record in caplog.records] == ["traces can't be written: disk full"]


def test_closing_writes_what_waits(tmp_path):
    async def scenario(intake, queries, store):
        waiting = [asyncio.ensure_future(intake.export(export(number))) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        await intake.close()
        await asyncio.gather(*waiting)
        assert sorted(await listed(queries)) == [1, 2, 3]

        async def nothing():
            pass

        intake.close = nothing

    run(tmp_path, scenario)


@pytest.mark.parametrize(("fields", "error"), [
    ({"limit": 1001}, InvalidResource), ({"min_duration": {"seconds": -1}}, InvalidResource)])
def test_filters_out_of_bounds_are_refused(tmp_path, fields, error):
    async def scenario(intake, queries, store):
        with pytest.raises(error):
            await listed(queries, **fields)

    run(tmp_path, scenario)


def test_a_long_minimum_is_no_overflow_and_the_default_limit_is_20(tmp_path):
    async def scenario(intake, queries, store):
        await intake.export(export(*range(1, 31)))
        assert await listed(queries, min_duration={"seconds": 315_576_000_000}) == []
        assert len(await listed(queries)) == 20
        assert len(await listed(queries, limit=25)) == 25

    run(tmp_path, scenario)


def test_an_id_that_several_traces_begin_with_asks_for_more_digits(tmp_path):
    async def scenario(intake, queries, store):
        await intake.export(export(0xABCD << 112, 0xABCDE << 108))
        with pytest.raises(InvalidRequest, match="several traces begin so"):
            await queries.get_trace(trace_pb2.GetTraceRequest(trace_id="abcd"))
        assert (await queries.get_trace(trace_pb2.GetTraceRequest(trace_id="abcde"))).trace_id.startswith("abcde")
        with pytest.raises(NotFound):
            await queries.get_trace(trace_pb2.GetTraceRequest(trace_id="ffff"))

    run(tmp_path, scenario)
