"""`mesh explain` for a past call: spans to attempts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from mesh.cli.explain_trace import calls_of
from mesh.v1 import registry_pb2, trace_pb2

Mesh = Callable[..., Any]
ID = "4bf92f3577b34da6a3ce929d0e0e4736"
BEGIN = 1_700_000_000_000_000_000
MS = 1_000_000


def span(id_: str, start: int, duration: int, kind: str = "client", parent: str = "", **attributes: str) -> Any:
    made = trace_pb2.TraceSpan(span_id=id_, parent_span_id=parent, name="shop.Cart/Get", kind=kind,
                               service="storefront", resource={"service.instance.id": "storefront-0"},
                               attributes={name.replace("__", "."): value for name, value in attributes.items()})
    made.start.FromNanoseconds(BEGIN + start * MS)
    made.duration.FromMilliseconds(duration)
    return made


def retried() -> list[Any]:
    whole = span("a1", 10, 41, mesh__attempts="2", mesh__service="cart", mesh__listener="outbound cart",
                 mesh__version="17", mesh__endpoint="cart/cart-1", mesh__pick="power_of_two", mesh__candidates="3",
                 network__peer__address="10.0.0.1", network__peer__port="7000", rpc__grpc__status_code="0")
    event = whole.events.add(name="attempt failed", attributes={
        "mesh.attempt": "1", "mesh.endpoint": "cart/cart-1", "mesh.reason": "upstream_reset",
        "mesh.retry": "idempotent method", "mesh.budget": "97.25"})
    event.at.FromNanoseconds(BEGIN + 22 * MS)
    again = span("a2", 40, 11, parent="a1", http__request__resend_count="1", mesh__retry_reason="idempotent method",
                 mesh__endpoint="cart/cart-0", mesh__pick="power_of_two, far", mesh__candidates="2",
                 rpc__grpc__status_code="0")
    return [span("r0", 0, 60, "server"), again, whole, span("s1", 41, 8, "server", parent="a2", mesh__endpoint="x")]


@pytest.fixture(autouse=True)
def _trace(plane: Any) -> None:
    plane.answers["GetTrace"] = trace_pb2.GetTraceResponse(trace_id=ID, spans=retried())
    plane.answers["GetService"] = registry_pb2.GetServiceResponse(revision=19)


def test_each_attempt_has_its_own_story() -> None:
    (made,) = calls_of(retried())
    assert (made.caller, made.service, made.listener, made.version) == (
        "storefront/storefront-0", "cart", "outbound cart", "17")
    assert (made.start, made.duration, made.outcome) == (10 * MS, 41 * MS, "")
    first, second = made.attempts
    assert (first.endpoint, first.failure, first.retry, first.budget) == (
        "cart/cart-1", "upstream_reset", "idempotent method", 97.25)
    assert (first.start, first.duration, first.status) == (10 * MS, 12 * MS, "")
    assert (second.number, second.endpoint) == (2, "cart/cart-0")
    assert (second.pick, second.candidates) == ("power_of_two, far", "2")
    assert (second.start, second.duration, second.status, second.failure) == (40 * MS, 11 * MS, "gRPC 0", "")


def test_it_is_printed(mesh: Mesh) -> None:
    done = mesh("explain", ID[:8])
    assert (done.code, done.err) == (0, "")
    assert [" ".join(line.split()) for line in done.out.splitlines()] == [
        f"Trace {ID}: 1 call between sidecars.", "",
        "storefront/storefront-0 → cart: shop.Cart/Get, taken by outbound cart",
        "Service in force: version 17",
        "went well, 41ms, 2 attempts",
        "ATTEMPT AFTER ENDPOINT ADDRESS PICKED BY OF TOOK ENDED AGAIN BECAUSE BUDGET LEFT",
        "1 +10ms cart/cart-1 10.0.0.1:7000 power_of_two 3 12ms upstream_reset idempotent method 97.2",
        "2 +40ms cart/cart-0 - power_of_two, far 2 11ms gRPC 0 - -"]


def test_json(mesh: Mesh) -> None:
    told = mesh("explain", ID, "--json").json
    assert told["trace_id"] == ID
    (call,) = told["calls"]
    assert (call["service"], call["version"], call["failure"], len(call["attempts"])) == ("cart", "17", None, 2)
    assert call["attempts"][0]["retry_budget"] == 97.25
    assert call["attempts"][1]["candidates"] == 2


def test_what_was_not_repeated_says_why() -> None:
    failed = span("a1", 0, 2, mesh__attempts="1", mesh__service="cart", mesh__reason="upstream_reset")
    failed.error = True
    event = failed.events.add(name="not tried again", attributes={
        "mesh.attempt": "1", "mesh.retry": "retry budget exhausted", "mesh.budget": "0.4"})
    event.at.FromNanoseconds(BEGIN + 2 * MS)
    (attempt,) = calls_of([failed])[0].attempts
    assert (attempt.failure, attempt.retry, attempt.given_up, attempt.budget) == (
        "upstream_reset", "", "retry budget exhausted", 0.4)


def test_failures_and_old_spans(mesh: Mesh, plane: Any, refuse: Any) -> None:
    failed = span("a1", 0, 2, mesh__attempts="1", mesh__service="cart", mesh__reason="no_endpoints")
    failed.error = True
    plane.answers["GetTrace"] = trace_pb2.GetTraceResponse(trace_id=ID, spans=[failed])
    plane.answers["GetService"] = refuse(grpc.StatusCode.NOT_FOUND, "service/cart does not exist")
    out = mesh("explain", ID).out
    assert "failed: no_endpoints, 2ms, 1 attempt\n" in out
    assert "a version that its spans don't name; the service does not exist any more" in out
    plane.answers["GetTrace"] = trace_pb2.GetTraceResponse(trace_id=ID, spans=[span("r0", 0, 60, "server")])
    assert "None of its spans is of a caller's sidecar" in mesh("explain", ID).out


def test_a_trace_that_is_not_there(mesh: Mesh, plane: Any, refuse: Any) -> None:
    plane.answers["GetTrace"] = refuse(grpc.StatusCode.NOT_FOUND, "trace 4bf9 is not stored")
    done = mesh("explain", "4bf9")
    assert (done.code, done.err) == (2, "mesh explain: trace 4bf9 is not stored\n")
