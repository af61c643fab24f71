"""The lines of the access log, and that making them neither blocks nor loses without counting."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from mesh.dataplane import loop
from mesh.dataplane.record import CLIENT, GRPC, HTTP1, SERVER, TCP, Record, Recorder
from mesh.telemetry.access_log import LineLog, format_line
from mesh.telemetry.appender import Appender


def record(**fields: Any) -> Record:
    made = Record()
    values = {"kind": CLIENT, "protocol": GRPC, "service": "cart", "endpoint": "cart/cart-0", "http_status": 200,
              "grpc_status": 0, "start_ns": 1_700_000_000_123_456_789, "end_ns": 1_700_000_000_125_956_789,
              "path": b"/shop.Cart/Add", "method": b"POST", "authority": b"cart", "source": "127.0.0.1",
              "why": "power_of_two",
              "trace_hi": 1, "trace_lo": 2, "span_id": 3, "request_bytes": 5, "response_bytes": 7} | fields
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_a_line_says_all_of_a_request() -> None:
    line = format_line(record())
    assert line.endswith("}\n")
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.123456Z", "duration": 0.0025, "direction": "outbound", "protocol": "grpc",
        "service": "cart", "endpoint": "cart/cart-0", "source": "127.0.0.1", "method": "POST", "authority": "cart",
        "path": "/shop.Cart/Add", "status": 200, "grpc_status": 0, "reason": "ok", "why": "power_of_two", "attempts": 1,
        "request_bytes": 5, "response_bytes": 7, "trace_id": "00000000000000010000000000000002",
        "span_id": "0000000000000003", "sampled": False}


@pytest.mark.parametrize(("fields", "said"), [
    ({"reason": "upstream_reset"}, {"reason": "upstream_reset"}),
    ({"attempts": 2, "last_endpoint": "cart/cart-1"}, {"attempts": 2, "endpoint": "cart/cart-1"}),
    ({"endpoint": "", "reason": "no_endpoints"}, {"attempts": 0, "endpoint": ""}),
    ({"kind": SERVER, "trace_flags": 1}, {"direction": "inbound", "sampled": True}),
    ({"protocol": HTTP1, "grpc_status": -1, "path": b"/a?token=secret"}, {"grpc_status": None, "path": "/a"}),
    ({"protocol": TCP, "http_status": 0, "grpc_status": -1},
     {"method": None, "authority": None, "path": None, "status": None}),
    ({"path": b'/"\\\n\x00\xff'}, {"path": '/"\\\n\x00\ufffd'}),
    ({"end_ns": 0}, {"duration": 0.0}),
    ({"service": 'a"b'}, {"service": 'a"b'}),
])
def test_a_line_of_each_kind(fields: dict[str, Any], said: dict[str, Any]) -> None:
    line = format_line(record(**fields))
    assert line.count("\n") == 1
    found = json.loads(line)
    assert {name: found[name] for name in said} == said


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_everything_is_written_by_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder(1000)
        log = LineLog(recorder, Appender(str(tmp_path / "log")), format_line)
        log.start()
        for number in range(700):
            recorder.add(record(span_id=number))
        async with asyncio.timeout(10):
            while recorder.pending:  # noqa: ASYNC110  half full: it doesn't wait for its time
                await asyncio.sleep(0)
        for number in range(700, 750):
            recorder.add(record(span_id=number))
        await log.shutdown(10)
        assert log.statistics() == {"written": 750, "dropped": 0, "waiting": 0}

    loop.run(main())
    assert [int(json.loads(line)["span_id"], 16) for line in lines(tmp_path / "log")] == list(range(750))


def test_making_lines_gives_way_and_loses_nothing_when_it_is_ended(tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder(1000)
        ticks = iter(range(10**6))
        log = LineLog(recorder, Appender(str(tmp_path / "log")), format_line, clock=lambda: float(next(ticks)))
        log.start()
        for number in range(1000):
            recorder.add(record(span_id=number))
        turns = 0
        while recorder.pending > 500:  # a slice is over after each 32
            await asyncio.sleep(0)
            turns += 1
        assert turns > 5
        await log.shutdown(10)

    loop.run(main())
    assert len(lines(tmp_path / "log")) == 1000


def test_what_there_is_no_room_for_waits_and_then_is_dropped_and_counted(tmp_path: Path) -> None:
    class Full:
        path, written, lost, ready = "x", 0, 3, False

        def close(self, timeout: float) -> None:
            pass

    async def main() -> None:
        recorder = Recorder(10)
        appender: Any = Full()
        log = LineLog(recorder, appender, format_line)
        for _ in range(25):
            recorder.add(record())
        await log.flush()
        assert log.statistics() == {"written": 0, "dropped": 18, "waiting": 10}
        await log.shutdown(1)

    loop.run(main())
