"""The lines of recorded decisions, and that a simulation reads them."""

from __future__ import annotations

import json

from mesh.dataplane.record import RETRY, Record
from mesh.simulate.recorded import parse_decision
from mesh.telemetry.decisions import format_decision


def attempt() -> Record:
    record = Record()
    record.kind = RETRY
    record.service = "cart"
    record.endpoint = "cart/cart-1"
    record.why = "power_of_two"
    record.start_ns = 1_700_000_000_012_345_678
    record.end_ns = record.start_ns + 2_500_000
    return record


def test_a_good_answer() -> None:
    line = format_decision(attempt(), 1.0)
    assert json.loads(line) == {"time": 1_700_000_000.012345, "service": "cart", "endpoint": "cart-1",
                                "why": "power_of_two", "latency": 0.0025, "outcome": "ok", "attempt": 1}
    assert line.endswith("}\n")
    decision = parse_decision(line, "here")
    assert (decision.outcome, decision.ratio, decision.grpc_status) == ("ok", 1.0, -1)


def test_a_failure_of_a_sample() -> None:
    record = attempt()
    record.reason, record.attempt, record.grpc_status = "upstream_status", 2, 14
    decision = parse_decision(format_decision(record, 0.05), "here")
    assert (decision.outcome, decision.attempt) == ("upstream_status", 2)
    assert (decision.grpc_status, decision.ratio) == (14, 0.05)
