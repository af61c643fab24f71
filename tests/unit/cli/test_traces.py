from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from mesh.v1 import trace_pb2

Mesh = Callable[..., Any]
ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(autouse=True)
def _traces(plane: Any) -> None:
    summary = trace_pb2.TraceSummary(trace_id=ID, root_name="shop.Store/Buy", root_service="storefront", spans=4,
                                     errors=1, services=["cart", "storefront"])
    summary.start.FromNanoseconds(int(time.time() - 65) * 10**9)
    summary.duration.FromMilliseconds(41)
    plane.answers["ListTraces"] = trace_pb2.ListTracesResponse(traces=[summary])
    span = trace_pb2.TraceSpan(span_id="00f067aa0ba902b7", name="shop.Store/Buy", kind="client", service="storefront",
                               error=True, attributes={"mesh.reason": "upstream_reset", "b": "2", "a": "1"})
    span.start.FromNanoseconds(1_700_000_000_123_456_789)
    span.duration.FromMilliseconds(41)
    event = span.events.add(name="connect_failed", attributes={"mesh.endpoint": "cart/cart-0"})
    event.at.FromNanoseconds(1_700_000_000_124_456_789)
    plane.answers["GetTrace"] = trace_pb2.GetTraceResponse(trace_id=ID, spans=[span])


def test_traces(mesh: Mesh, plane: Any) -> None:
    done = mesh("traces", "--service", "cart", "--errors", "--min-duration", "250ms", "--limit", "3")
    row = done.out.splitlines()[1].split()
    assert (row[0], row[3]) == (ID[:16], "ago")
    assert row[4:] == ["41ms", "4", "1", "storefront", "shop.Store/Buy", "cart", "storefront"]
    request = plane.asked[0]
    assert (request.service, request.errors_only, request.limit) == ("cart", True, 3)
    assert request.min_duration.ToMilliseconds() == 250
    shown = mesh("traces", "-o", "json").json["traces"][0]
    assert (shown["trace_id"], shown["duration_ns"], shown["services"]) == (ID, 41_000_000, ["cart", "storefront"])
    assert not plane.asked[1].HasField("min_duration")
    assert plane.asked[1].limit == 20


def test_no_traces(mesh: Mesh, plane: Any) -> None:
    plane.answers["ListTraces"] = trace_pb2.ListTracesResponse()
    assert mesh("traces").out == "no traces\n"
    assert mesh("traces", "-o", "json").json == {"traces": []}


def test_a_wrong_duration(mesh: Mesh) -> None:
    done = mesh("traces", "--min-duration", "long")
    assert done.code == 2
    assert done.err == "mesh traces: --min-duration long: 'long' is not a duration: 30s, 250ms, 5m, 1h\n"


def test_trace(mesh: Mesh, plane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    lines = mesh("trace", "4BF92F35").out.splitlines()
    assert plane.asked[0].trace_id == "4bf92f35"
    assert lines[0] == f"Trace {ID}: 1 span, 1 service, 41ms, 1 error"
    assert lines[2].startswith("storefront shop.Store/Buy ")
    assert lines[2].endswith("41ms ✗ upstream_reset")
    assert lines[3] == "  · +1ms connect_failed cart/cart-0"


def test_trace_as_json(mesh: Mesh) -> None:
    shown = mesh("trace", ID, "-o", "json").json
    assert shown["trace_id"] == ID
    assert shown["spans"] == [{
        "span_id": "00f067aa0ba902b7", "parent_span_id": None, "name": "shop.Store/Buy", "kind": "client",
        "service": "storefront", "start": "2023-11-14T22:13:20.123456789Z", "start_ns": 1_700_000_000_123_456_789,
        "duration_ns": 41_000_000, "error": True, "status_message": "",
        "attributes": {"a": "1", "b": "2", "mesh.reason": "upstream_reset"}, "resource": {},
        "events": [{"at": "2023-11-14T22:13:20.124456789Z", "at_ns": 1_700_000_000_124_456_789,
                    "name": "connect_failed", "attributes": {"mesh.endpoint": "cart/cart-0"}}]}]


@pytest.mark.parametrize("given", ["", "4bf", "xyz1", ID + "0", "4bf9.", "../etc"])
def test_no_trace_ids(mesh: Mesh, plane: Any, given: str) -> None:
    done = mesh("trace", given)
    assert (done.code, done.err) == (2, f"mesh trace: {given}: not a trace id: 4..32 hex digits\n")
    assert plane.asked == []


def test_an_unknown_trace(mesh: Mesh, plane: Any, refuse: Any) -> None:
    plane.answers["GetTrace"] = refuse(grpc.StatusCode.NOT_FOUND, "no trace begins with 4bf9")
    done = mesh("trace", "4bf9")
    assert (done.code, done.err) == (2, "mesh trace: no trace begins with 4bf9\n")
