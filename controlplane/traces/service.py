"""The OTLP trace service and `mesh.v1.TraceQueryService`: the grpc.aio shells around the trace store.

What lives here: the bounded queue in front of the store, its two threads (one writes, one reads), and the mapping of
calls. What this must not know: SQL, span formats. An export is answered when it is written, so a sender is slowed down
before anything is dropped; when QUEUE bytes wait, further exports are refused with RESOURCE_EXHAUSTED, which OTLP
senders retry.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import time_ns
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from controlplane.errors import InvalidRequest, NotFound, Overloaded, RequestError, StoreError, one_line
from controlplane.rpc import Context, Handler, parse, refuse, unary
from controlplane.tasks import spawn
from controlplane.traces.intake import Sorted, sort_out
from controlplane.traces.render import id_range, summary, trace
from controlplane.traces.store import MAX_SPANS, TraceStore
from mesh.errors import InvalidResource
from mesh.resource.convert import duration_from_proto
from mesh.v1 import trace_pb2

EXPORT_NAME = "opentelemetry.proto.collector.trace.v1.TraceService"
QUERY_NAME = "mesh.v1.TraceQueryService"
QUEUE = 32 << 20  # bytes of export requests that may wait
_BATCH = 2 << 20  # bytes of export requests that are written in one go
_EXPIRE = 5.0  # seconds between two looks for traces that are too old
_DEFAULT_LIMIT, _MAX_LIMIT = 20, 1000

_log = logging.getLogger(__name__)


class TraceIntake:
    """`TraceService.Export`."""

    def __init__(self, store: TraceStore) -> None:
        self.refused_exports = 0  # because the queue was full
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trace-write")
        self._queue: deque[tuple[bytes, asyncio.Future[bytes]]] = deque()
        self._queued = 0
        self._writer: asyncio.Task[None] | None = None
        self._expirer = spawn("trace-expire", self._expire())
        self._failing = False

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handler of the one method."""
        return grpc.method_handlers_generic_handler(
            EXPORT_NAME, {"Export": grpc.unary_unary_rpc_method_handler(self._export)})

    async def export(self, raw: bytes) -> bytes:
        """Store an encoded ExportTraceServiceRequest and return the encoded response."""
        if self._queue and self._queued + len(raw) > QUEUE:
            self.refused_exports += 1
            raise Overloaded(f"{self._queued} bytes of spans wait to be written, at most {QUEUE}; try again later")
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._queue.append((raw, done))
        self._queued += len(raw)
        if self._writer is None:
            self._writer = spawn("trace-write", self._write())
        return await done

    async def close(self) -> None:
        """Write what waits and close the store."""
        self._expirer.cancel()
        if self._writer is not None:
            await asyncio.wait((self._writer,))
        await self._call(self._store.close)
        self._thread.shutdown(wait=False)

    async def _export(self, raw: bytes, context: Context) -> bytes:
        try:
            return await self.export(raw)
        except (RequestError, StoreError) as error:
            await refuse(context, error)

    async def _write(self) -> None:
        while self._queue:
            batch: list[tuple[bytes, asyncio.Future[bytes]]] = []
            size = 0
            while self._queue and size < _BATCH:
                batch.append(self._queue.popleft())
                size += len(batch[-1][0])
            try:
                answers = await self._call(_store, self._store, [raw for raw, _ in batch])
            except Exception as error:
                self._failed(error)
                answers = [error if isinstance(error, StoreError) else StoreError(str(error))] * len(batch)
            else:
                self._failing = False
            self._queued -= size
            for (_, done), answer in zip(batch, answers, strict=True):
                if done.done():
                    continue
                if isinstance(answer, bytes):
                    done.set_result(answer)
                else:
                    done.set_exception(answer)
        self._writer = None

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE)
            try:
                await self._call(self._store.expire, time_ns())
            except StoreError as error:
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            _log.error("traces can't be written: %s", error)
        self._failing = True

    async def _call(self, function: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


def _store(store: TraceStore, raws: list[bytes]) -> list[bytes | Exception]:
    """Parse and write a batch of requests; runs in the writing thread."""
    batch: list[Sorted | Exception] = []
    for raw in raws:
        try:
            batch.append(sort_out(parse(ExportTraceServiceRequest, raw)))
        except InvalidRequest as error:
            batch.append(error)
    found = [entry for entry in batch if isinstance(entry, Sorted)]
    overfull = {id(span) for span in store.write([span for entry in found for span in entry.spans], time_ns())}
    if overfull:
        for entry in found:
            count = sum(id(span) in overfull for span in entry.spans)
            if count:
                entry.refuse(count, f"a trace keeps at most {MAX_SPANS} spans")
    return [_answer(entry) if isinstance(entry, Sorted) else entry for entry in batch]


def _answer(found: Sorted) -> bytes:
    response = ExportTraceServiceResponse()
    if found.refused:
        response.partial_success.rejected_spans = found.refused
        response.partial_success.error_message = one_line(f"{found.refused} spans refused; first: {found.reason}")
    return response.SerializeToString()


class TraceQueries:
    """`mesh.v1.TraceQueryService`."""

    def __init__(self, store: TraceStore) -> None:
        self._reader = store.reader()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trace-read")

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handlers of both methods."""
        methods: dict[str, Handler] = {
            "ListTraces": unary(trace_pb2.ListTracesRequest, self.list_traces),
            "GetTrace": unary(trace_pb2.GetTraceRequest, self.get_trace),
        }
        return grpc.method_handlers_generic_handler(QUERY_NAME, methods)

    async def list_traces(self, request: trace_pb2.ListTracesRequest) -> trace_pb2.ListTracesResponse:
        limit = request.limit or _DEFAULT_LIMIT
        if limit > _MAX_LIMIT:
            raise InvalidResource("limit", f"{limit} is outside 1..{_MAX_LIMIT}")
        min_duration = duration_from_proto("min_duration", request.min_duration)
        if min_duration < 0:
            raise InvalidResource("min_duration", f"{min_duration:g} s is negative")
        nanoseconds = min(round(min_duration * 1e9), (1 << 63) - 1)

        def look_up() -> trace_pb2.ListTracesResponse:
            found = self._reader.matching(request.service, errors_only=request.errors_only,
                                          min_duration=nanoseconds, limit=limit)
            return trace_pb2.ListTracesResponse(traces=map(summary, found))

        return await asyncio.get_running_loop().run_in_executor(self._thread, look_up)

    async def get_trace(self, request: trace_pb2.GetTraceRequest) -> trace_pb2.GetTraceResponse:
        low, high = id_range(request.trace_id)

        def look_up() -> trace_pb2.GetTraceResponse:
            found = self._reader.find(low, high)
            if not found:
                raise NotFound(f"trace {request.trace_id} is not stored (never arrived, or evicted)")
            if len(found) > 1:
                raise InvalidRequest(f"trace_id {request.trace_id!r}: several traces begin so; give more digits")
            return trace(found[0])

        return await asyncio.get_running_loop().run_in_executor(self._thread, look_up)

    async def close(self) -> None:
        """Close the reader."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._reader.close)
        self._thread.shutdown(wait=False)
