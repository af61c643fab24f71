"""PROXY protocol headers for connections that are passed on."""

from __future__ import annotations

import socket

import pytest

from mesh.dataplane.introduction import introduction
from mesh.wire.proxy_protocol import ProxyAddress, encode_v1, encode_v2, parse_proxy


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_ends_are_told(version: str, host: str) -> None:
    make = introduction(version)
    assert make is not None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (socket.create_server((host, 0), family=family) as server,
          socket.create_connection(server.getsockname()[:2]) as client):
        accepted, peer = server.accept()
        with accepted:
            header = parse_proxy(bytearray(made := make(accepted.fileno(), peer[0])), len(made))
            assert header is not None
            assert header.source == ProxyAddress(*client.getsockname()[:2])
            assert header.destination == ProxyAddress(*server.getsockname()[:2])
            assert accepted.fileno() >= 0  # still ours


@pytest.mark.parametrize(("version", "unknown"), [("v1", encode_v1(None, None)), ("v2", encode_v2(None, None))])
def test_what_can_not_be_told_is_not_made_up(version: str, unknown: bytes) -> None:
    make = introduction(version)
    assert make is not None
    near, far = socket.socketpair()
    with near, far:
        assert make(near.fileno(), "10.0.0.1") == unknown
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as _:
        accepted, _ = server.accept()
        with accepted:
            assert make(accepted.fileno(), "2001:db8::1") == unknown  # a source of another family


def test_nobody_is_introduced_unless_asked_for() -> None:
    assert introduction("") is None
