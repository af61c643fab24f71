"""Finished records on their way to the collector, beside the traffic and never in its way.

What lives here: two loops, one that encodes records in slices, one that sends batches and holds them while the
collector is away. What this must not know: attributes (`semantics`), wire format (`encode`), how bytes travel (`rpc`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from mesh.balance.rng import Rng
from mesh.dataplane.record import Recorder
from mesh.dataplane.rpc import Channel
from mesh.dataplane.tasks import spawn
from mesh.errors import UNAVAILABLE, UpstreamError
from mesh.resilience.backoff import Backoff
from mesh.telemetry.encode import SpanEncoder
from mesh.telemetry.settings import TelemetrySettings

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
BACKOFF = Backoff(0.1, 5.0)
# A slice holds the loop at most this long (seconds), plus the last 8 records: 0.6 ms were every one of a new kind.
SLICE = 0.0001
SLICE_RECORDS = 8
# Seconds between two slices, so that a request waits for one at most; none while the recorder fills faster than that.
PAUSE = 0.001
MAX_ATTEMPTS = 5
# Bytes of a request, about: to frame and send so much takes some 0.1 ms. With 270 KB, 512 spans, it took 0.7 ms in
# one go, most of it to touch fresh memory, which was the tail of every request's latency.
MAX_REQUEST = 1 << 16
# CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS may be sent again:
# https://opentelemetry.io/docs/specs/otlp/#failures
RETRYABLE = frozenset((1, 4, 8, 10, 11, 14, 15))

_log = logging.getLogger(__name__)


class ExportStatistics(NamedTuple):
    """Counts of spans since the start: taken by the collector, lost here (queue full, given up), waiting."""

    exported: int
    dropped: int
    waiting: int


class Batch(NamedTuple):
    """One request, and the number of spans in it."""

    spans: int
    request: bytes


class Exporter:
    """Sends what `recorder` holds to the collector behind `channel`; `start` it once, `shutdown` it at the end.

    Spans wait in memory while the collector is away, at most `settings.max_queue_size` of them beside the recorder's
    own; then the oldest are dropped and counted. A batch that the collector fails to take (other than by being
    unreachable) is sent MAX_ATTEMPTS times.
    """

    def __init__(self, recorder: Recorder, channel: Channel, encoder: SpanEncoder, settings: TelemetrySettings,
                 rng: Rng, *, clock: Callable[[], float] = time.perf_counter,
                 sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
                 rest: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._recorder = recorder
        self._channel = channel
        self._encoder = encoder
        self._settings = settings
        self._rng = rng
        self._clock = clock
        self._sleep = sleep  # between attempts
        self._rest = rest  # between slices
        self._backlog: deque[Batch] = deque()  # oldest first; the batch that is being filled is the encoder's
        self._waiting = 0  # spans in the backlog
        self._exported = 0
        self._dropped = 0
        self._due = asyncio.Event()
        self._filled = asyncio.Event()
        self._reachable = True
        self._ending = False
        self._encoder_task: asyncio.Task[None] | None = None
        self._sender_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Export from now on, every `schedule_delay` and whenever the recorder is half full."""
        self._recorder.wake = self._due.set
        self._encoder_task = spawn("span encoder", self._encode_for_ever())
        self._sender_task = spawn("span sender", self._send_for_ever())

    async def shutdown(self, timeout: float) -> None:
        """Send everything that is there, within `timeout` seconds; what remains then is dropped and counted."""
        self._recorder.wake = None
        if self._encoder_task is None or self._sender_task is None:
            return
        self._encoder_task.cancel()
        await self._encode()
        self._ending = True
        self._filled.set()
        await asyncio.wait((self._sender_task,), timeout=timeout)
        self._sender_task.cancel()
        if self._waiting:
            _log.warning("traces: %d spans could not be sent before the end", self._waiting)
        self._dropped += self._waiting
        self._waiting = 0
        self._backlog.clear()

    def statistics(self) -> ExportStatistics:
        """Counts since the start."""
        return ExportStatistics(self._exported, self._dropped + self._recorder.dropped,
                                self._waiting + self._encoder.count + self._recorder.pending)

    async def _encode_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            timer = loop.call_later(self._settings.schedule_delay, self._due.set)
            await self._due.wait()
            timer.cancel()
            self._due.clear()
            await self._encode(PAUSE)

    async def _encode(self, pause: float = 0.0) -> None:
        """Move every record to the backlog, a slice at a time, with pauses of so many seconds between them."""
        encoder, limit = self._encoder, self._settings.max_export_batch_size
        started = self._clock()
        while records := self._recorder.drain(min(SLICE_RECORDS, limit - encoder.count)):
            for record in records:
                try:
                    encoder.add(record)
                except Exception:  # a fault of ours in one span must not cost the others
                    self._dropped += 1
                    _log.exception("traces: a record could not be encoded")
            if encoder.count >= limit or encoder.size >= MAX_REQUEST:
                self._close_batch()
            if self._clock() - started > SLICE:
                await self._rest(pause if 4 * self._recorder.pending < 3 * self._recorder.capacity else 0)
                started = self._clock()
        if encoder.count:
            self._close_batch()

    def _close_batch(self) -> None:
        self._waiting += self._encoder.count
        self._backlog.append(Batch(self._encoder.count, self._encoder.take()))
        while self._waiting > self._settings.max_queue_size:
            self._drop(self._backlog[0])
        self._filled.set()

    def _drop(self, batch: Batch) -> None:
        if self._remove(batch):
            self._dropped += batch.spans

    def _remove(self, batch: Batch) -> bool:
        """Take the oldest batch off the backlog, unless that has been dropped meanwhile."""
        if not self._backlog or self._backlog[0] is not batch:
            return False
        self._backlog.popleft()
        self._waiting -= batch.spans
        return True

    async def _send_for_ever(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._backlog:
                await self._send(self._backlog[0])
            if self._ending:
                return

    async def _send(self, batch: Batch) -> None:
        """Try until the batch is taken, given up or dropped for want of room."""
        attempt = failures = 0
        while self._backlog and self._backlog[0] is batch:
            attempt += 1
            try:
                answer = await self._channel.unary(EXPORT, batch.request, self._settings.timeout,
                                                   self._settings.metadata)
            except UpstreamError as exc:
                failures += exc.status != UNAVAILABLE
                self._failed(batch, exc, final=exc.status not in RETRYABLE or failures >= MAX_ATTEMPTS)
                await self._sleep(BACKOFF.delay(attempt, self._rng))
            except Exception:  # a fault of ours must not end the export for ever
                _log.exception("traces: sending %d spans failed", batch.spans)
                self._drop(batch)
            else:
                self._succeeded(batch, answer)

    def _failed(self, batch: Batch, exc: UpstreamError, *, final: bool) -> None:
        if self._reachable:
            self._reachable = False
            _log.warning("traces: the collector does not take spans: %s", exc)
        if final:
            self._drop(batch)

    def _succeeded(self, batch: Batch, answer: bytes) -> None:
        if not self._reachable:
            self._reachable = True
            _log.info("traces: the collector takes spans again; %d lost so far", self._dropped)
        try:
            partial = ExportTraceServiceResponse.FromString(answer).partial_success
            refused, why = min(partial.rejected_spans, batch.spans), partial.error_message
        except DecodeError:
            refused, why = 0, ""  # it said OK
        if refused > 0:
            _log.warning("traces: the collector refused %d of %d spans: %s", refused, batch.spans, why)
        if self._remove(batch):
            self._exported += batch.spans - max(refused, 0)
            self._dropped += max(refused, 0)
