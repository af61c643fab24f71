from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from mesh.v1 import endpoint_pb2, health_pb2, registry_pb2, service_pb2

Mesh = Callable[..., Any]
NOW = 1_700_000_000.0


def endpoint(name: str, weight: int = 1, health: Any = endpoint_pb2.HEALTH_HEALTHY) -> Any:
    return endpoint_pb2.Endpoint(service="cart", name=name, host="127.0.0.1", port=50051, weight=weight, health=health)


@pytest.fixture(autouse=True)
def _registry(plane: Any) -> None:
    statuses = [registry_pb2.EndpointStatus(endpoint=endpoint("cart-0", 3), sidecar="cart/cart-0", weight_set=True),
                registry_pb2.EndpointStatus(endpoint=endpoint("cart-1", health=endpoint_pb2.HEALTH_DRAINING))]
    statuses[0].last_heartbeat.FromMilliseconds(2500)
    statuses[1].endpoint.host = "::1"
    statuses[1].endpoint.locality.zone = "b"
    services = [service_pb2.Service(name="cart", protocol=service_pb2.PROTOCOL_GRPC), service_pb2.Service(name="web")]
    services[0].timeout.request.FromMilliseconds(1500)
    plane.answers |= {
        "ListServices": registry_pb2.ListServicesResponse(services=services, revision=5),
        "GetService": registry_pb2.GetServiceResponse(service=services[0], revision=5),
        "ListEndpoints": registry_pb2.ListEndpointsResponse(endpoints=statuses, revision=5),
        "ListVerdicts": health_pb2.ListVerdictsResponse(),
    }


def test_services(mesh: Mesh) -> None:
    assert mesh("get", "services").out.splitlines() == [
        "SERVICE  PROTOCOL  BALANCING     ENDPOINTS  ATTEMPTS  CONNECT  REQUEST",
        "cart     grpc      power_of_two  1/2        3         1s       1.5s",
        "web      grpc      power_of_two  0/0        3         1s       none"]
    listed = mesh("get", "services", "-o", "json").json
    assert listed["revision"] == 5
    assert listed["services"][0]["name"] == "cart"
    assert listed["services"][0]["protocol"] == "grpc"
    one = mesh("get", "services", "cart", "-o", "json").json
    assert [service["name"] for service in one["services"]] == ["cart"]


def test_a_service_that_does_not_exist(mesh: Mesh, plane: Any, refuse: Any) -> None:
    plane.answers["GetService"] = refuse(grpc.StatusCode.NOT_FOUND, "service/crt is not registered")
    done = mesh("get", "services", "crt")
    assert (done.code, done.err) == (2, "mesh get: service/crt is not registered\n")


def test_endpoints(mesh: Mesh, plane: Any) -> None:
    assert mesh("get", "endpoints", "cart").out.splitlines() == [
        "SERVICE  ENDPOINT  ADDRESS          WEIGHT  HEALTH    LOCALITY  SIDECAR      HEARTBEAT  DOWN FOR",
        "cart     cart-0    127.0.0.1:50051  3*      healthy   -         cart/cart-0  2s ago     -",
        "cart     cart-1    [::1]:50051      1       draining  b         -            -          -"]
    assert plane.asked[0].service == "cart"
    listed = mesh("get", "endpoints", "-o", "json").json
    assert listed["endpoints"][0]["weight"] == 3
    assert listed["endpoints"][0]["status"] == {"sidecar": "cart/cart-0", "last_heartbeat_s": 2.5, "weight_set": True,
                                                "down_for": []}
    assert listed["endpoints"][1]["health"] == "draining"
    assert listed["endpoints"][1]["status"] == {"sidecar": None, "last_heartbeat_s": None, "weight_set": False,
                                                "down_for": []}


def seen(sidecar: str, endpoint: str, kind: Any, reason: str, ago: float, left: float | None) -> Any:
    now = NOW
    verdict = health_pb2.Verdict(endpoint=endpoint, kind=kind, reason=reason)
    verdict.since.FromMilliseconds(round((now - ago) * 1000))
    if left is not None:
        verdict.until.FromMilliseconds(round((now + left) * 1000))
    return health_pb2.SeenVerdict(sidecar=sidecar, verdict=verdict)


@pytest.fixture
def _disagree(plane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.cli.get.time", SimpleNamespace(time=lambda: NOW))
    ejected, failed = health_pb2.Verdict.KIND_EJECTED, health_pb2.Verdict.KIND_CHECK_FAILED
    plane.answers["ListVerdicts"] = health_pb2.ListVerdictsResponse(verdicts=[
        seen("web/web-0", "cart/cart-0", failed, "HTTP status 503", 61.5, None),
        seen("web/web-0", "cart/cart-0", ejected, "5 failures in a row", 10.5, 20.2),
        seen("web/web-1", "cart/cart-0", ejected, "5 failures in a row", 5.5, -3.0)])
    plane.answers["ListSidecars"] = registry_pb2.ListSidecarsResponse(sidecars=[
        registry_pb2.SidecarStatus(id=name, connected=name != "web/web-9", subscriptions=["endpoint/cart/*"])
        for name in ("cart/cart-0", "web/web-1", "shop/shop-0", "web/web-9")])


@pytest.mark.usefixtures("_disagree")
def test_endpoints_that_sidecars_see_as_down(mesh: Mesh) -> None:
    lines = mesh("get", "endpoints", "cart").out.splitlines()
    assert lines[1].endswith("  web/web-0, web/web-1: HTTP status 503")
    assert lines[2].endswith("-")
    down = mesh("get", "endpoints", "cart", "-o", "json").json["endpoints"][0]["status"]["down_for"]
    assert [(each["caller"], each["verdict"], each["reason"], each["until"] is None) for each in down] == [
        ("web/web-0", "check_failed", "HTTP status 503", True), ("web/web-0", "ejected", "5 failures in a row", False),
        ("web/web-1", "ejected", "5 failures in a row", False)]


@pytest.mark.usefixtures("_disagree")
def test_the_matrix_of_callers(mesh: Mesh) -> None:
    assert mesh("get", "endpoints", "cart", "--callers").out.splitlines() == [
        "ENDPOINT  shop/shop-0  web/web-0              web/web-1",
        "cart-0    up           check_failed, ejected  ejected",
        "cart-1    up           up                     up",
        "",
        "CALLER     ENDPOINT     VERDICT       SINCE      UNTIL               REASON",
        "web/web-0  cart/cart-0  check_failed  1m 1s ago  its checks succeed  HTTP status 503",
        "web/web-0  cart/cart-0  ejected       10s ago    in 20s              5 failures in a row",
        "web/web-1  cart/cart-0  ejected       5s ago     a probe succeeds    5 failures in a row"]
    listed = mesh("get", "endpoints", "cart", "--callers", "-o", "json").json
    assert listed["callers"] == ["shop/shop-0", "web/web-0", "web/web-1"]
    assert "needs a SERVICE" in mesh("get", "endpoints", "--callers").err
    assert "does not go with --watch" in mesh("get", "endpoints", "cart", "--callers", "--watch").err


def test_nothing_to_list(mesh: Mesh, plane: Any) -> None:
    plane.answers["ListServices"] = registry_pb2.ListServicesResponse()
    plane.answers["ListEndpoints"] = registry_pb2.ListEndpointsResponse()
    assert mesh("get", "services").out == "no services\n"
    assert mesh("get", "endpoints").out == "no endpoints\n"
    assert mesh("get", "sidecars").out == "no sidecars\n"
    assert mesh("get", "endpoints", "-o", "json").json == {"revision": 0, "endpoints": []}


def watched() -> list[Any]:
    kind = registry_pb2.WatchResponse
    put, removed = kind.KIND_PUT, kind.KIND_REMOVED
    return [kind(kind=put, revision=1, resource="service/cart", service=service_pb2.Service(name="cart")),
            kind(kind=put, revision=2, resource="endpoint/cart/cart-0", endpoint=endpoint("cart-0")),
            kind(kind=kind.KIND_SYNCED, revision=2),
            kind(kind=put, revision=3, resource="endpoint/cart/cart-0", endpoint=endpoint("cart-0", 9)),
            kind(kind=put, revision=4, resource="endpoint/cart/cart-0", endpoint=endpoint("cart-0", 9)),
            kind(kind=put, revision=5, resource="endpoint/cart/cart-1", endpoint=endpoint("cart-1")),
            kind(kind=removed, revision=6, resource="endpoint/cart/cart-0")]


def test_watch(mesh: Mesh, plane: Any) -> None:
    plane.answers["Watch"] = watched()
    lines = mesh("get", "endpoints", "cart", "--watch").out.splitlines()
    assert lines[0].startswith("SERVICE")
    assert lines[1].startswith("cart     cart-0")
    assert [line.split()[1:4] for line in lines[2:]] == [["changed", "cart", "cart-0"], ["added", "cart", "cart-1"],
                                                         ["removed", "cart", "cart-0"]]
    assert lines[2].endswith("(revision 3)")


def test_watch_as_json_lines(mesh: Mesh, plane: Any) -> None:
    plane.answers["Watch"] = watched()
    events = [json.loads(line) for line in mesh("get", "endpoints", "-w", "-o", "json").out.splitlines()]
    assert [event["event"] for event in events] == ["put", "synced", "put", "put", "put", "removed"]
    assert events[2]["endpoint"]["weight"] == 9
    assert events[-1] == {"event": "removed", "revision": 6, "resource": "endpoint/cart/cart-0", "endpoint": None}


def test_sidecars(mesh: Mesh, plane: Any) -> None:
    now = int(time.time())
    here = registry_pb2.SidecarStatus(id="cart/cart-0", connected=True, sent_revision=5, acked_revision=5, build="1",
                                      subscriptions=["stock/*", "stock"])
    gone = registry_pb2.SidecarStatus(id="web/web-0", refusals=[registry_pb2.Refusal(resource="service/cart")])
    gone.last_ack.FromSeconds(now - 125)
    plane.answers["ListSidecars"] = registry_pb2.ListSidecarsResponse(sidecars=[here, gone], revision=5)
    lines = mesh("get", "sidecars").out.splitlines()
    assert lines[1].split() == ["cart/cart-0", "yes", "5", "5", "-", "1", "stock", "stock/*"]
    assert lines[2].startswith("web/web-0    no, last heard 2m ")
    listed = mesh("get", "sidecars", "-o", "json").json["sidecars"]
    assert listed[0]["subscriptions"] == ["stock", "stock/*"]
    assert listed[0]["last_ack"] is None
    assert listed[1]["refusals"][0]["resource"] == "service/cart"
