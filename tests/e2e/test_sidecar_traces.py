"""One call, one trace: spans of both sidecars joined by `traceparent`, stored by the control plane, read back."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from typing import NamedTuple

import grpc
import pytest
from e2e_calls import Client
from e2e_mesh import Mesh, Replica, service
from e2e_processes import Sidecar, eventually

from mesh.v1 import trace_pb2

pytestmark = pytest.mark.e2e
Span = trace_pb2.TraceSpan


class Shop(NamedTuple):
    mesh: Mesh
    web: Sidecar
    carts: list[Replica]


@pytest.fixture(scope="module")
def shop(mesh: Mesh) -> Shop:
    mesh.apply(service("cart", balance={"algorithm": "ALGORITHM_ROUND_ROBIN"}, outlier={"consecutive_failures": 0}))
    carts = mesh.replicas("cart", 2)
    web = mesh.sidecar("web", "web-0", outbound=["cart"], shared=True)
    mesh.wait_seen(web, "cart")
    return Shop(mesh, web, carts)


@pytest.fixture
def client(shop: Shop, connect: Callable[..., Client]) -> Client:
    return connect(shop.web.outbound("cart"))


def new_parent(flags: str = "01") -> tuple[str, str, str]:
    """(trace id, span id, traceparent) as an app would send it."""
    trace_id, span_id = os.urandom(16).hex(), os.urandom(8).hex()
    return trace_id, span_id, f"00-{trace_id}-{span_id}-{flags}"


def seen_by_the_app(client: Client, *metadata: tuple[str, str]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode("latin-1")
            for key, value in json.loads(client.call("Metadata", metadata=metadata))}


def test_client_and_server_span_of_one_call(shop: Shop, client: Client) -> None:
    """Root at the caller's sidecar, the callee's is its child, the app sees the callee's as its parent."""
    seen = seen_by_the_app(client)["traceparent"].split("-")
    assert seen[0] == "00"
    assert seen[3] == "01"
    root, server = sorted(shop.mesh.trace(seen[1], 2), key=lambda span: span.parent_span_id != "")
    assert (root.kind, root.service, root.parent_span_id) == ("client", "web", "")
    assert (server.kind, server.service, server.parent_span_id) == ("server", "cart", root.span_id)
    assert server.span_id == seen[2]
    assert root.name == server.name == "test.Echo/Metadata"
    assert not root.error
    assert not server.error
    assert root.start.ToNanoseconds() <= server.start.ToNanoseconds() + 2_000_000
    assert root.duration.ToNanoseconds() > 0
    attributes = dict(root.attributes)
    assert attributes["rpc.system"] == "grpc"
    assert attributes["rpc.service"] == "test.Echo"
    assert attributes["rpc.method"] == "Metadata"
    assert attributes["rpc.grpc.status_code"] == "0"
    assert attributes["mesh.endpoint"] in ("cart/cart-0", "cart/cart-1")
    assert attributes["mesh.pick"] == "round_robin"
    assert root.resource["service.name"] == "web"
    assert server.resource["service.instance.id"] in ("cart-0", "cart-1")


def test_the_apps_own_trace_is_joined(shop: Shop, client: Client) -> None:
    trace_id, span_id, traceparent = new_parent()
    seen = seen_by_the_app(client, ("traceparent", traceparent), ("tracestate", "vendor=value,other=1"))
    assert seen["traceparent"].split("-")[1] == trace_id
    assert seen["tracestate"] == "vendor=value,other=1"
    spans = {span.kind: span for span in shop.mesh.trace(trace_id, 2)}
    assert spans["client"].parent_span_id == span_id
    assert spans["server"].parent_span_id == spans["client"].span_id


def test_not_sampled_leaves_no_span_and_is_passed_on(shop: Shop, client: Client) -> None:
    hidden, _, traceparent = new_parent("00")
    seen = seen_by_the_app(client, ("traceparent", traceparent))["traceparent"].split("-")
    assert (seen[1], seen[3]) == (hidden, "00")
    shown, _, traceparent = new_parent("01")
    seen_by_the_app(client, ("traceparent", traceparent))
    shop.mesh.trace(shown, 2)  # exported after the hidden one would have been
    with pytest.raises(grpc.RpcError) as caught:
        shop.mesh.traces.GetTrace(trace_pb2.GetTraceRequest(trace_id=hidden), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("broken", [
    "", "garbage", f"00-{'0' * 32}-{'1' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01", f"00-{'A' * 32}-{'1' * 16}-01"])
def test_broken_traceparent_starts_a_new_trace(client: Client, broken: str) -> None:
    version, trace_id, span_id, flags = seen_by_the_app(client, ("traceparent", broken))["traceparent"].split("-")
    assert version == "00"
    assert len(trace_id) == 32
    assert trace_id not in broken.lower()
    assert set(trace_id) != {"0"}
    assert len(span_id) == 16
    assert flags == "01"


def call_span(mesh: Mesh, trace_id: str, parent: str) -> Span:
    """The caller's sidecar's span of a whole call, once it is there."""
    return eventually(lambda: next((span for span in mesh.trace(trace_id, 1) if span.parent_span_id == parent), None),
                      "the client span is stored")


def test_each_attempt_of_a_retried_call_has_its_span(shop: Shop, client: Client) -> None:
    """Not delivered at one replica, answered by the other: four spans, each with its true parent."""
    shop.carts[0].app.kill()
    try:
        traces = []
        for _ in range(2):  # round robin: at least one of the two goes to the dead one first
            trace_id, span_id, traceparent = new_parent()
            assert client.call("Whoami", metadata=[("traceparent", traceparent)]) == b"cart-1"
            traces.append((trace_id, span_id))
        retried = [(trace_id, span_id) for trace_id, span_id in traces
                   if call_span(shop.mesh, trace_id, span_id).attributes["mesh.attempts"] == "2"]
        trace_id, span_id = retried[0]
        spans = shop.mesh.trace(trace_id, 4)
    finally:
        shop.carts[0].app.start()
    assert len(spans) == 4
    call = next(span for span in spans if span.parent_span_id == span_id)
    assert call.kind == "client"
    assert not call.error, "the call as a whole succeeded"
    assert [event.name for event in call.events] == ["attempt failed"]
    assert call.events[0].attributes["mesh.endpoint"] == "cart/cart-0"
    retry = next(span for span in spans if span.kind == "client" and span.parent_span_id == call.span_id)
    assert retry.attributes["http.request.resend_count"] == "1"
    assert retry.attributes["mesh.endpoint"] == "cart/cart-1"
    servers = {span.resource["service.instance.id"]: span for span in spans if span.kind == "server"}
    assert servers["cart-0"].parent_span_id == call.span_id
    assert servers["cart-0"].error
    assert servers["cart-0"].attributes["mesh.reason"] == "upstream_connect_failed"
    assert servers["cart-1"].parent_span_id == retry.span_id
    assert not servers["cart-1"].error


def test_failures_show_their_status_and_reason(shop: Shop, client: Client, connect: Callable[..., Client]) -> None:
    trace_id, _, traceparent = new_parent()
    client.code("Fail", b'{"code": 13, "message": "broken"}', metadata=[("traceparent", traceparent)])
    for span in shop.mesh.trace(trace_id, 2):
        assert span.error
        assert span.attributes["rpc.grpc.status_code"] == "13"
    trace_id, _, traceparent = new_parent()
    unknown = connect(shop.web.shared, ("grpc.default_authority", "nobody"))
    unknown.code("Whoami", metadata=[("traceparent", traceparent)])
    [span] = shop.mesh.trace(trace_id, 1)
    assert span.error
    assert span.attributes["mesh.reason"] == "no_route"
    trace_id, _, traceparent = new_parent()
    client.code("Sleep", timeout=0.3, metadata=[("traceparent", traceparent)])
    # Who notices first is open: a sidecar (with its reason), the caller's reset, or the app (with its status).
    for span in shop.mesh.trace(trace_id, 2):
        assert (span.attributes.get("mesh.reason") in ("deadline_exceeded", "caller_reset")
                or span.attributes.get("rpc.grpc.status_code") == "4"), span


def test_list_of_traces_filters(shop: Shop, client: Client) -> None:
    trace_id, _, traceparent = new_parent()
    client.call("Pause", b"0.3", metadata=[("traceparent", traceparent)])
    shop.mesh.trace(trace_id, 2)
    request = trace_pb2.ListTracesRequest(service="cart", limit=1000)
    request.min_duration.FromMilliseconds(250)
    listed = {trace.trace_id: trace for trace in shop.mesh.traces.ListTraces(request, timeout=5).traces}
    assert listed[trace_id].spans == 2
    assert set(listed[trace_id].services) == {"web", "cart"}
    request = trace_pb2.ListTracesRequest(errors_only=True, limit=1000)
    assert trace_id not in {trace.trace_id for trace in shop.mesh.traces.ListTraces(request, timeout=5).traces}
    request = trace_pb2.ListTracesRequest(service="nobody")
    assert list(shop.mesh.traces.ListTraces(request, timeout=5).traces) == []


def test_stream_is_one_span_with_its_bytes(shop: Shop, client: Client) -> None:
    trace_id, _, traceparent = new_parent()
    call = client.channel.unary_stream("/test.Echo/Count")(b'{"n": 100, "size": 1000}', timeout=10,
                                                           metadata=[("traceparent", traceparent)])
    assert len(list(call)) == 100
    for span in shop.mesh.trace(trace_id, 2):
        assert span.attributes["mesh.response.bytes"] == str(100 * 1005)


def test_sampler_of_the_environment(shop: Shop, connect: Callable[..., Client]) -> None:
    """OTEL_TRACES_SAMPLER=always_off and a service name of its own."""
    quiet = shop.mesh.sidecar("quiet", "quiet-0", outbound=["cart"], env={
        "OTEL_TRACES_SAMPLER": "parentbased_always_off", "OTEL_SERVICE_NAME": "renamed"})
    shop.mesh.wait_seen(quiet, "cart")
    client = connect(quiet.outbound("cart"))
    assert seen_by_the_app(client)["traceparent"].endswith("-00")
    trace_id, _, traceparent = new_parent()
    seen_by_the_app(client, ("traceparent", traceparent))
    assert {span.service for span in shop.mesh.trace(trace_id, 2)} == {"renamed", "cart"}


def test_spans_survive_an_absent_collector(shop: Shop, client: Client) -> None:
    """The control plane is away when the call ends and comes back soon: the spans arrive."""
    shop.mesh.control_plane.kill()
    trace_id, _, traceparent = new_parent()
    assert client.call("Whoami", metadata=[("traceparent", traceparent)])
    shop.mesh.control_plane.start()
    spans = eventually(lambda: shop.mesh.trace(trace_id, 2, 20), "the spans arrive", 30)
    assert {span.kind for span in spans} == {"client", "server"}
