"""Span names, attributes and error rules of the semantic conventions."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.dataplane.record import CLIENT, GRPC, HTTP1, HTTP2, RETRY, SERVER, TCP, UDP, Record
from mesh.errors import REASONS
from mesh.telemetry.semantics import (
    MAX_TEXT,
    outcome,
    own_attributes,
    path_attributes,
    span_name,
    stable_attributes,
    text,
)


def record(**fields: Any) -> Record:
    """A gRPC call by the caller's sidecar, with `fields` set on it."""
    made = Record()
    values = {"kind": CLIENT, "protocol": GRPC, "service": "cart", "path": b"/shop.Cart/Add", "method": b"POST",
              "http_status": 200, "grpc_status": 0} | fields
    for name, value in values.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(("fields", "name"), [
    ({}, "shop.Cart/Add"),
    ({"path": b""}, "grpc"),
    ({"path": b"/odd"}, "odd"),
    ({"protocol": HTTP2, "method": b"GET", "path": b"/items/7"}, "GET"),
    ({"protocol": HTTP2, "method": b"BREW"}, "HTTP"),
    ({"protocol": TCP, "service": "stock", "path": b""}, "tcp stock"),
    ({"protocol": UDP, "service": "dns", "path": b""}, "udp dns"),
])
def test_span_name(fields: dict[str, Any], name: str) -> None:
    assert span_name(record(**fields)) == name


def test_grpc_client() -> None:
    made = record(endpoint="cart/cart-1", peer_host="10.0.0.7", peer_port=4000, source="127.0.0.1", why="power_of_two",
                  attempts=2, authority=b"127.0.0.1:15001", request_bytes=5, response_bytes=7)
    assert stable_attributes(made) == {
        "mesh.service": "cart", "rpc.system": "grpc",
        "rpc.grpc.status_code": 0, "server.address": "cart", "network.peer.address": "10.0.0.7",
        "network.peer.port": 4000, "mesh.endpoint": "cart/cart-1", "mesh.pick": "power_of_two", "mesh.attempts": 2}
    assert own_attributes(made) == {"mesh.request.bytes": 5, "mesh.response.bytes": 7, "rpc.service": "shop.Cart",
                                     "rpc.method": "Add"}


def test_grpc_server() -> None:
    made = record(kind=SERVER, peer_host="127.0.0.1", peer_port=50051, source="10.0.0.9", authority=b"cart.shop:80",
                  grpc_status=14)
    assert stable_attributes(made) == {
        "mesh.service": "cart", "rpc.system": "grpc",
        "rpc.grpc.status_code": 14, "server.address": "cart.shop", "server.port": 80, "client.address": "10.0.0.9",
        "network.peer.address": "10.0.0.9", "error.type": "UNAVAILABLE"}


@pytest.mark.parametrize(("protocol", "version"), [(HTTP1, "1.1"), (HTTP2, "2")])
def test_http_client(protocol: int, version: str) -> None:
    made = record(protocol=protocol, method=b"GET", path=b"/items/7?token=secret", http_status=404, grpc_status=-1)
    assert stable_attributes(made) == {"mesh.service": "cart", "http.request.method": "GET",
                                       "network.protocol.version": version,
                                       "http.response.status_code": 404, "server.address": "cart", "mesh.attempts": 1,
                                       "error.type": "404"}
    assert own_attributes(made)["url.path"] == "/items/7"


def test_unknown_method_is_bounded_but_not_lost() -> None:
    attributes = stable_attributes(record(protocol=HTTP2, method=b"BREW"))
    assert (attributes["http.request.method"], attributes["http.request.method_original"]) == ("_OTHER", "BREW")


def test_tcp() -> None:
    made = record(protocol=TCP, service="stock", path=b"", method=b"", http_status=0, grpc_status=-1,
                  endpoint="stock/stock-0", peer_host="::1", peer_port=6379, reason="upstream_connect_failed")
    assert stable_attributes(made) == {
        "mesh.service": "stock", "server.address": "stock", "network.peer.address": "::1", "network.peer.port": 6379,
        "mesh.endpoint": "stock/stock-0", "mesh.attempts": 1, "mesh.reason": "upstream_connect_failed",
        "error.type": "upstream_connect_failed"}


def test_udp() -> None:
    made = record(protocol=UDP, service="dns", path=b"", method=b"", http_status=0, grpc_status=-1, kind=SERVER,
                  source="10.0.0.9", peer_host="127.0.0.1", peer_port=53)
    assert stable_attributes(made) == {
        "mesh.service": "dns", "network.transport": "udp", "server.address": "dns", "server.port": 53,
        "client.address": "10.0.0.9", "network.peer.address": "10.0.0.9"}


def test_retry_attempt() -> None:
    attributes = stable_attributes(record(kind=RETRY, attempt=3, why="upstream_reset", attempts=3))
    assert attributes["http.request.resend_count"] == 2
    assert attributes["mesh.retry_reason"] == "upstream_reset"
    assert "mesh.attempts" not in attributes
    assert "mesh.pick" not in attributes


def test_what_a_pick_was_made_of() -> None:
    known = {"pick": "maglev", "why": "power_of_two", "candidates": 3, "version": "17", "listener": "outbound cart"}

    def told(kind: int) -> dict[str, Any]:
        names = ("mesh.pick", "mesh.candidates", "mesh.version", "mesh.listener", "mesh.retry_reason")
        return {name: value for name, value in stable_attributes(record(kind=kind, **known)).items() if name in names}

    assert told(CLIENT) == {"mesh.pick": "power_of_two", "mesh.candidates": 3, "mesh.version": "17",
                            "mesh.listener": "outbound cart"}
    assert told(RETRY) == {"mesh.pick": "maglev", "mesh.candidates": 3, "mesh.version": "17",
                           "mesh.retry_reason": "power_of_two"}
    assert told(SERVER) == {"mesh.listener": "outbound cart"}


def test_a_grpc_span_names_only_an_odd_http_status() -> None:
    assert "http.response.status_code" not in stable_attributes(record())
    assert stable_attributes(record(http_status=503))["http.response.status_code"] == 503


@pytest.mark.parametrize("status", range(18))
def test_grpc_error_rules(status: int) -> None:
    """https://opentelemetry.io/docs/specs/semconv/rpc/grpc/#grpc-status"""
    client = outcome(record(grpc_status=status)).error_type
    server = outcome(record(kind=SERVER, grpc_status=status)).error_type
    assert bool(client) == (status != 0)
    assert bool(server) == (status in (2, 4, 12, 13, 14, 15))
    assert client == ("" if status == 0 else "17" if status == 17 else client)
    assert client.isupper() or client in ("", "17")


@pytest.mark.parametrize(("status", "client", "server"), [(200, "", ""), (302, "", ""), (404, "404", ""),
                                                          (499, "499", ""), (500, "500", "500"), (0, "", "")])
def test_http_error_rules(status: int, client: str, server: str) -> None:
    fields = {"protocol": HTTP2, "grpc_status": -1, "http_status": status}
    assert outcome(record(**fields)).error_type == client
    assert outcome(record(kind=SERVER, **fields)).error_type == server


@pytest.mark.parametrize("code", sorted(REASONS))
def test_every_reason_is_an_error_with_a_message(code: str) -> None:
    made = record(reason=code, grpc_status=REASONS[code].grpc_status)
    assert outcome(made) == (code, REASONS[code].message)
    assert stable_attributes(made)["mesh.reason"] == code


@pytest.mark.parametrize("code", ["caller_reset", "caller_gone"])
def test_a_caller_that_gave_up_is_no_error_of_the_server(code: str) -> None:
    made = record(kind=SERVER, reason=code, grpc_status=1)
    assert outcome(made) == ("", "")
    assert stable_attributes(made)["mesh.reason"] == code
    assert "error.type" not in stable_attributes(made)


def test_an_unknown_reason_is_still_an_error() -> None:
    assert outcome(record(reason="new_one")) == ("new_one", "")


@pytest.mark.parametrize(("authority", "address", "port"), [
    (b"", "cart", None), (b"cart", "cart", None), (b"cart.shop.svc:8080", "cart.shop.svc", 8080),
    (b"127.0.0.1:15001", "cart", None), (b"localhost:15001", "cart", None), (b"[::1]:15001", "cart", None),
    (b"10.1.2.3", "cart", None), (b"cart:", "cart", None), (b"cart:x", "cart", None), (b"cart:123456", "cart", None),
])
def test_server_address(authority: bytes, address: str, port: int | None) -> None:
    attributes = stable_attributes(record(authority=authority))
    assert (attributes["server.address"], attributes.get("server.port")) == (address, port)


@pytest.mark.parametrize("raw", [b"/a\xff\xfe", b"/" + b"x" * 70_000, "/ü".encode() * 50_000,
                                 b"\xf0\x9f\x98\x80" * 5000])
def test_text_is_valid_and_bounded(raw: bytes) -> None:
    made = text(raw)
    assert len(made) <= MAX_TEXT
    made.encode("utf-8")


@pytest.mark.parametrize(("path", "expected"), [
    (b"/shop.Cart/Add", {"rpc.service": "shop.Cart", "rpc.method": "Add"}), (b"/Add", {"rpc.method": "Add"}),
    (b"/a/b/c", {"rpc.service": "a/b", "rpc.method": "c"}), (b"", {"rpc.method": ""})])
def test_what_a_grpc_path_says(path: bytes, expected: dict[str, str]) -> None:
    assert path_attributes(record(path=path)) == expected


def test_what_other_paths_say() -> None:
    assert path_attributes(record(protocol=HTTP2, path=b"/a?secret=1")) == {"url.path": "/a"}
    assert path_attributes(record(protocol=TCP)) == path_attributes(record(protocol=UDP)) == {}
