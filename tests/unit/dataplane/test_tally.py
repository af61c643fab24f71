"""The counts, by direction, service and reason."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.dataplane.record import CLIENT, GRPC, HTTP1, RETRY, SERVER, TCP, Record
from mesh.dataplane.tally import LATENCY_BOUNDS, Tallies


def record(**fields: Any) -> Record:
    made = Record()
    values = {"kind": CLIENT, "protocol": GRPC, "service": "cart", "endpoint": "cart/cart-0", "http_status": 200,
              "grpc_status": 0, "start_ns": 10**18, "end_ns": 10**18 + 1_000_000} | fields
    for name, value in values.items():
        setattr(made, name, value)
    return made


def outbound(*records: Record, most: int = 10) -> dict[str, Any]:
    tallies = Tallies(most)
    for each in records:
        tallies.add(each)
    found: dict[str, Any] = tallies.statistics()["outbound"]
    return found


def test_what_is_counted_of_a_request() -> None:
    failed = {"reason": "upstream_reset", "grpc_status": 14}
    cart = outbound(record(request_bytes=5, response_bytes=7), record(**failed, attempts=3), record(**failed),
                    record(grpc_status=5, protocol=GRPC))["cart"]
    assert cart["reasons"] == {"ok": 2, "upstream_reset": 2}
    assert cart["grpc"] == {"0": 1, "5": 1, "14": 2}
    assert cart["http"] == {}
    assert (cart["attempts"], cart["request_bytes"], cart["response_bytes"]) == (6, 5, 7)


def test_what_never_got_to_an_endpoint_made_no_attempt() -> None:
    cart = outbound(record(reason="no_endpoints", endpoint="", grpc_status=14))["cart"]
    assert (cart["attempts"], cart["reasons"]) == (0, {"ok": 0, "no_endpoints": 1})


@pytest.mark.parametrize(("status", "counted"), [
    (0, {}), (101, {"1xx": 1}), (204, {"2xx": 1}), (599, {"5xx": 1}), (700, {})])
def test_http_statuses_by_class(status: int, counted: dict[str, int]) -> None:
    assert outbound(record(protocol=HTTP1, http_status=status, grpc_status=-1))["cart"]["http"] == counted


def test_statuses_out_of_range_are_no_harm() -> None:
    cart = outbound(record(grpc_status=17), record(grpc_status=99_999), record(grpc_status=-1))["cart"]
    assert (cart["reasons"], cart["grpc"]) == ({"ok": 3}, {})


@pytest.mark.parametrize(("seconds", "place"), [
    (0.0, 0), (0.0005, 0), (0.000501, 1), (1.0, 10), (1.5, 11), (60.0, 15), (61.0, 16), (1e6, 16), (-5.0, 0)])
def test_durations_by_class(seconds: float, place: int) -> None:
    cart = outbound(record(end_ns=10**18 + round(seconds * 1e9)))["cart"]
    assert [index for index, count in enumerate(cart["buckets"]) if count] == [place]
    assert cart["seconds"] == pytest.approx(max(0.0, seconds))
    assert len(cart["buckets"]) == len(LATENCY_BOUNDS) + 1


def test_attempts_are_counted_by_why_and_are_no_requests() -> None:
    cart = outbound(*(record(kind=RETRY, why=why) for why in ("not sent", "not sent", "x")))["cart"]
    assert (cart["retries"], cart["reasons"]) == ({"not sent": 2, "x": 1}, {"ok": 0})


def test_directions_are_kept_apart() -> None:
    tallies = Tallies()
    tallies.add(record(kind=SERVER))
    tallies.add(record(protocol=TCP, http_status=0, grpc_status=-1))
    found = tallies.statistics()
    assert found["inbound"]["cart"]["grpc"] == {"0": 1}
    assert found["outbound"]["cart"]["grpc"] == {}


def test_names_that_a_caller_makes_up_are_counted_together() -> None:
    found = outbound(*(record(service=f"made-up-{i}", reason="no_route", endpoint="") for i in range(100)), record())
    assert set(found) == {"", "cart"}
    assert found[""]["reasons"] == {"ok": 0, "no_route": 100}
    known = outbound(record(), record(reason="no_route"))
    assert known["cart"]["reasons"] == {"ok": 1}
    many = outbound(*(record(service=f"s{i}") for i in range(5)), record(service="s0"), most=3)
    assert {name: tally["reasons"]["ok"] for name, tally in many.items()} == {"s0": 2, "s1": 1, "s2": 1, "": 2}
