"""The access log: one JSON line for each request, connection or session that has ended, sampled or not.

What lives here: what stands in a line, and the loop that makes lines of records in slices, beside the traffic. What
this must not know: how lines get to a file (appender), who records.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from mesh.dataplane.record import GRPC, HTTP1, HTTP2, SERVER, TCP, UDP, Record, Recorder
from mesh.dataplane.tasks import spawn
from mesh.telemetry.appender import Appender
from mesh.telemetry.semantics import text, url_path

_PROTOCOLS = {TCP: "tcp", HTTP2: "http2", GRPC: "grpc", HTTP1: "http1", UDP: "udp"}
# Records that wait to become lines; beyond that the newest are dropped and counted.
CAPACITY = 8192
# Seconds between two batches, if there are not many sooner.
_EVERY = 0.25
# How long the making of lines holds the loop at most, and how many records it takes at a time.
_SLICE = 0.0005
_RECORDS = 32


def format_line(record: Record) -> str:
    """The line of one record, with its end. Fields are always the same and in one order; docs/operate.md has them."""
    second, nanos = divmod(record.start_ns, 1_000_000_000)
    http = record.protocol in (HTTP1, HTTP2, GRPC)
    endpoint = record.last_endpoint or record.endpoint
    return "".join((
        '{"time":"', _stamp(second), f".{nanos // 1000:06d}Z",
        f'","duration":{max(0, record.end_ns - record.start_ns) / 1e9:.6f},"direction":"',
        "inbound" if record.kind == SERVER else "outbound",
        '","protocol":"', _PROTOCOLS[record.protocol],
        '","service":', quoted(record.service), ',"endpoint":', quoted(endpoint), ',"source":', quoted(record.source),
        ',"method":', quoted(text(record.method)) if http else "null",
        ',"authority":', quoted(text(record.authority)) if http else "null",
        ',"path":', quoted(url_path(record)) if http else "null",
        ',"status":', str(record.http_status) if record.http_status > 0 else "null",
        ',"grpc_status":', str(record.grpc_status) if record.grpc_status >= 0 else "null",
        ',"reason":"', record.reason or "ok", '","why":', quoted(record.why),
        f',"attempts":{record.attempts if endpoint else 0},"request_bytes":{record.request_bytes}'
        f',"response_bytes":{record.response_bytes},"trace_id":"{record.trace_hi:016x}{record.trace_lo:016x}"'
        f',"span_id":"{record.span_id:016x}","sampled":', "true" if record.trace_flags & 1 else "false", "}\n"))


@functools.lru_cache(4)  # many lines have the same second
def _stamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class LineLog:
    """Writes what `recorder` holds, `format_line` of each, by `appender`: from `start` to `shutdown`."""

    def __init__(self, recorder: Recorder, appender: Appender, format_line: Callable[[Record], str],
                 clock: Callable[[], float] = time.perf_counter) -> None:
        self._recorder = recorder
        self._appender = appender
        self._format = format_line
        self._clock = clock
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._recorder.wake = self._due.set
        self._task = spawn(f"lines to {self._appender.path}", self._run())

    async def shutdown(self, timeout: float) -> None:
        """Write all that is there, within `timeout` seconds; a disk that takes longer is not waited for."""
        self._recorder.wake = None
        if self._task is not None:
            self._task.cancel()
        await self.flush()
        await asyncio.to_thread(self._appender.close, timeout)

    def statistics(self) -> dict[str, Any]:
        """Counts of lines: written, dropped (no room, or not taken by the file), and records that wait."""
        return {"written": self._appender.written, "dropped": self._recorder.dropped + self._appender.lost,
                "waiting": self._recorder.pending}

    async def flush(self) -> None:
        """Hand over what waits, as far as there is room for it."""
        started = self._clock()
        lines: list[str] = []
        while self._appender.ready and (records := self._recorder.drain(_RECORDS)):
            lines += map(self._format, records)
            if self._clock() - started > _SLICE:
                self._hand_over(lines)  # before this task can be cancelled
                await asyncio.sleep(0)
                started = self._clock()
        self._hand_over(lines)

    def _hand_over(self, lines: list[str]) -> None:
        if lines:
            self._appender.add("".join(lines).encode(), len(lines))
            lines.clear()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            timer = loop.call_later(_EVERY, self._due.set)
            await self._due.wait()
            timer.cancel()
            self._due.clear()
            await self.flush()
