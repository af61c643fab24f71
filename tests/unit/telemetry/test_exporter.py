"""Slices, batches, backlog, retries and the end of the exporter; the test plays the collector."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from rpc_fakes import FakeChannel, Sleeps, settle

from mesh.balance.rng import Rng
from mesh.dataplane.record import Record, Recorder
from mesh.errors import UpstreamError
from mesh.telemetry.encode import SpanEncoder
from mesh.telemetry.exporter import EXPORT, MAX_ATTEMPTS, MAX_REQUEST, PAUSE, Exporter, ExportStatistics
from mesh.telemetry.settings import TelemetrySettings

ENCODER = SpanEncoder(Resource({"service.name": "front"}))
OK = ExportTraceServiceResponse()


class World:
    """An exporter that exports when `flush` says so: its delay is an hour."""

    def __init__(self, capacity: int = 1000, batch: int = 10, queue: int = 100) -> None:
        self.recorder = Recorder(capacity)
        self.channel = FakeChannel()
        self.sleeps = Sleeps()
        self.ticks = 0
        channel: Any = self.channel
        settings = TelemetrySettings(schedule_delay=3600.0, max_export_batch_size=batch, max_queue_size=queue)
        self.rests: list[float] = []
        self.exporter = Exporter(self.recorder, channel, ENCODER, settings, Rng(5), clock=self.clock, sleep=self.sleeps,
                                 rest=self.rest)
        self.number = 0

    def clock(self) -> float:
        self.ticks += 1
        return self.ticks * 0.00008

    async def rest(self, seconds: float) -> None:
        self.rests.append(seconds)
        await asyncio.sleep(0)

    def record(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            made = Record()
            made.span_id = self.number
            self.recorder.add(made)

    async def flush(self) -> None:
        assert self.recorder.wake is not None
        self.recorder.wake()
        await settle()

    def exported(self) -> list[list[int]]:
        """Span ids (they are numbers here) of each request."""
        batches: list[list[int]] = []
        for path, data in self.channel.unary_calls:
            assert path == EXPORT
            spans = ExportTraceServiceRequest.FromString(data).resource_spans[0].scope_spans[0].spans
            batches.append([int.from_bytes(span.span_id, "big") for span in spans])
        return batches


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(5):
            await test()

    asyncio.run(main())


def test_batches_in_order() -> None:
    async def test() -> None:
        world = World()
        world.exporter.start()
        world.channel.answers.extend([OK] * 3)
        world.record(25)
        await world.flush()
        assert world.exported() == [list(range(1, 11)), list(range(11, 21)), list(range(21, 26))]
        assert world.exporter.statistics() == ExportStatistics(exported=25, dropped=0, waiting=0)
        await world.exporter.shutdown(1.0)

    run(test)


def test_nothing_to_say_sends_nothing() -> None:
    async def test() -> None:
        world = World()
        world.exporter.start()
        await world.flush()
        await world.exporter.shutdown(1.0)
        assert world.channel.unary_calls == []

    run(test)


def test_a_half_full_recorder_is_emptied_at_once() -> None:
    async def test() -> None:
        world = World(capacity=10)
        world.exporter.start()
        await settle()
        world.channel.answers.append(OK)
        world.record(4)
        await settle()
        assert world.exported() == []
        world.record(1)
        await settle()
        assert world.exported() == [[1, 2, 3, 4, 5]]
        await world.exporter.shutdown(1.0)

    run(test)


def test_the_loop_gets_its_turn_between_slices() -> None:
    async def test() -> None:
        world = World(batch=1000, queue=1000)
        turns: list[int] = []

        async def count() -> None:
            while True:
                turns.append(world.recorder.pending)
                await asyncio.sleep(0)

        world.exporter.start()
        await settle()
        world.channel.answers.append(OK)
        world.record(360)
        counter = asyncio.ensure_future(count())
        await world.flush()
        await settle()
        counter.cancel()
        steps = [before - after for before, after in pairwise(turns)]
        assert max(steps) <= 64
        assert sum(step > 0 for step in steps) >= 7
        assert len(world.exported()[0]) == 360
        await world.exporter.shutdown(1.0)

    run(test)


def test_slices_are_apart_unless_there_is_too_much_for_that() -> None:
    """At most one slice a millisecond, so that a request waits for one at most; a recorder that is nearly full comes
    first, and so does the end of the process."""
    async def test() -> None:
        world = World(capacity=100, batch=1000, queue=1000)
        world.exporter.start()
        await settle()
        world.channel.answers.extend([OK, OK])
        world.record(99)
        await world.flush()
        assert world.rests[0] == 0.0
        assert world.rests[-1] == PAUSE
        assert sorted(world.rests) == world.rests
        world.rests.clear()
        world.record(45)
        await world.exporter.shutdown(1.0)
        assert world.rests
        assert set(world.rests) == {0.0}
        assert len(world.exported()[1]) == 45

    run(test)


def test_a_request_is_not_larger_than_can_be_sent_in_one_go() -> None:
    async def test() -> None:
        world = World(batch=5000, queue=5000, capacity=5000)
        world.exporter.start()
        world.channel.answers.extend([OK] * 100)
        world.record(2000)
        await world.flush()
        for _ in range(20):
            await settle()
        assert sum(map(len, world.exported())) == 2000
        assert max(len(data) for _, data in world.channel.unary_calls) < 1.1 * MAX_REQUEST
        await world.exporter.shutdown(1.0)

    run(test)


def test_an_unreachable_collector_leaves_a_bounded_backlog_of_the_newest(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = World(batch=10, queue=30)
        world.exporter.start()
        world.channel.down = True
        for _ in range(6):
            world.record(10)
            await world.flush()
            await world.sleeps.wake()
        assert world.exporter.statistics() == ExportStatistics(exported=0, dropped=30, waiting=30)
        world.channel.down = False
        world.channel.answers.extend([OK] * 3)
        await world.sleeps.wake()
        assert world.exported() == [list(range(31, 41)), list(range(41, 51)), list(range(51, 61))]
        assert world.exporter.statistics() == ExportStatistics(exported=30, dropped=30, waiting=0)
        await world.exporter.shutdown(1.0)

    caplog.set_level("INFO")
    run(test)
    assert [record.message for record in caplog.records] == [
        "traces: the collector does not take spans: 127.0.0.1:15010: Connection refused",
        "traces: the collector takes spans again; 30 lost so far"]


@pytest.mark.parametrize("status", [1, 4, 8, 10, 11, 15])
def test_a_batch_that_keeps_failing_is_given_up(status: int) -> None:
    async def test() -> None:
        world = World()
        world.exporter.start()
        world.channel.answers.extend([UpstreamError(status, "no")] * MAX_ATTEMPTS + [OK])
        world.record(20)
        await world.flush()
        for _ in range(MAX_ATTEMPTS):
            await world.sleeps.wake()
        assert [batch[0] for batch in world.exported()] == [1] * MAX_ATTEMPTS + [11]
        assert world.exporter.statistics() == ExportStatistics(exported=10, dropped=10, waiting=0)
        assert all(delay <= 0.1 * 2**number for number, delay in enumerate(world.sleeps.asked))
        await world.exporter.shutdown(1.0)

    run(test)


@pytest.mark.parametrize("status", [2, 3, 5, 7, 12, 13, 16])
def test_what_can_not_succeed_is_not_tried_again(status: int) -> None:
    async def test() -> None:
        world = World()
        world.exporter.start()
        world.channel.answers.extend([UpstreamError(status, "no"), OK])
        world.record(20)
        await world.flush()
        await world.sleeps.wake()
        assert [batch[0] for batch in world.exported()] == [1, 11]
        assert world.exporter.statistics() == ExportStatistics(exported=10, dropped=10, waiting=0)
        await world.exporter.shutdown(1.0)

    run(test)


def test_unavailable_is_tried_for_as_long_as_there_is_room() -> None:
    async def test() -> None:
        world = World()
        world.exporter.start()
        world.channel.answers.extend([UpstreamError(14, "no")] * 20 + [OK])
        world.record(1)
        await world.flush()
        for _ in range(20):
            await world.sleeps.wake()
        assert world.exporter.statistics() == ExportStatistics(exported=1, dropped=0, waiting=0)
        await world.exporter.shutdown(1.0)

    run(test)


def test_partial_success_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = World()
        world.exporter.start()
        partial = ExportTracePartialSuccess(rejected_spans=3, error_message="too old")
        world.channel.answers.extend([ExportTraceServiceResponse(partial_success=partial), b"\xff\xff"])
        world.record(20)
        await world.flush()
        assert world.exporter.statistics() == ExportStatistics(exported=17, dropped=3, waiting=0)
        await world.exporter.shutdown(1.0)

    run(test)
    assert "the collector refused 3 of 10 spans: too old" in caplog.text


def test_a_record_that_can_not_be_encoded_costs_itself_only(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = World()
        world.exporter.start()
        world.channel.answers.append(OK)
        world.record(1)
        bad = Record()
        bad.events = [()]  # type: ignore[list-item]
        world.recorder.add(bad)
        world.record(1)
        await world.flush()
        assert world.exported() == [[1, 2]]
        assert world.exporter.statistics() == ExportStatistics(exported=2, dropped=1, waiting=0)
        await world.exporter.shutdown(1.0)

    run(test)
    assert "a record could not be encoded" in caplog.text


def test_a_fault_of_ours_costs_one_batch(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = World()
        world.exporter.start()
        world.channel.answers.extend((KeyError("ours"), OK))
        world.record(20)
        await world.flush()
        assert world.exporter.statistics() == ExportStatistics(exported=10, dropped=10, waiting=0)
        await world.exporter.shutdown(1.0)

    run(test)
    assert "Traceback" in caplog.text


def test_the_recorder_s_own_drops_are_counted() -> None:
    async def test() -> None:
        world = World(capacity=5)
        world.record(7)
        assert world.exporter.statistics() == ExportStatistics(exported=0, dropped=2, waiting=5)
        await world.exporter.shutdown(0.1)  # never started: nothing to end

    run(test)


def test_shutdown_sends_what_is_there() -> None:
    async def test() -> None:
        world = World()
        world.exporter.start()
        await settle()
        world.channel.answers.extend([OK] * 2)
        world.record(15)
        await world.exporter.shutdown(1.0)
        assert [len(batch) for batch in world.exported()] == [10, 5]
        assert world.exporter.statistics() == ExportStatistics(exported=15, dropped=0, waiting=0)

    run(test)


def test_shutdown_lets_a_request_in_flight_finish_and_sends_it_once() -> None:
    async def test() -> None:
        world = World()
        world.exporter.start()
        answer = asyncio.get_running_loop().create_future()
        world.channel.answers.extend([answer, OK])
        world.record(10)
        await world.flush()
        world.record(1)
        ending = asyncio.ensure_future(world.exporter.shutdown(1.0))
        await settle()
        answer.set_result(b"")
        await ending
        assert world.exported() == [list(range(1, 11)), [11]]

    run(test)


def test_shutdown_has_a_deadline_and_counts_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = World()
        world.exporter.start()
        world.channel.down = True
        world.record(15)
        await world.exporter.shutdown(0.01)
        assert world.exporter.statistics() == ExportStatistics(exported=0, dropped=15, waiting=0)

    run(test)
    assert "15 spans could not be sent before the end" in caplog.text


def test_exports_on_schedule() -> None:
    async def test() -> None:
        world = World()
        channel: Any = world.channel
        exporter = Exporter(world.recorder, channel, ENCODER, TelemetrySettings(schedule_delay=0.001), Rng(1))
        exporter.start()
        world.channel.answers.append(OK)
        world.record(1)
        while not world.channel.unary_calls:  # noqa: ASYNC110  a millisecond, by the loop's clock
            await asyncio.sleep(0.001)
        await exporter.shutdown(1.0)

    run(test)
