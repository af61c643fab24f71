"""LimitsPolicy and its parts: bounds, contradictions, which protocols they are for."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.errors import InvalidResource
from mesh.model import AdaptivePolicy, LimitsPolicy, Protocol, RateLimit, Service


def test_defaults() -> None:
    limits = LimitsPolicy()
    assert (limits.max_pending, limits.queue_timeout, limits.endpoint_requests) == (1024, 3.0, 0)
    assert not limits.adaptive.enabled
    assert (limits.adaptive.min_limit, limits.adaptive.max_limit, limits.adaptive.rtt_samples) == (3, 1000, 50)
    assert limits.needs_requests() == ""


@pytest.mark.parametrize(("fields", "message"), [
    ({"endpoint_connections": -1}, "endpoint_connections: -1 is outside 0..1,000,000"),
    ({"endpoint_requests": 1_000_001}, "endpoint_requests: 1000001 is outside 0..1,000,000"),
    ({"endpoint_pending": -1}, "endpoint_pending: -1 is outside 0..1,000,000"),
    ({"endpoint_retries": 2_000_000}, "endpoint_retries: 2000000 is outside 0..1,000,000"),
    ({"max_requests": 1.5}, "max_requests: 1.5 is not a whole number"),
    ({"max_connections": True}, "max_connections: True is not a whole number"),
    ({"max_retries": -2}, "max_retries: -2 is outside 0..1,000,000"),
    ({"max_pending": "many"}, "max_pending: 'many' is not a whole number"),
    ({"queue_timeout": 0}, "queue_timeout: 0 is outside 0.001..60"),
    ({"queue_timeout": 61.0}, "queue_timeout: 61.0 is outside 0.001..60"),
    ({"rate_limits": (RateLimit(1),) * 17}, "rate_limits: 17 of them, at most 16"),
])
def test_what_is_out_of_range(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidResource) as caught:
        LimitsPolicy(**fields)
    assert str(caught.value) == message


@pytest.mark.parametrize(("fields", "message"), [
    ({"min_limit": 0}, "min_limit: 0 is outside 1..1,000,000"),
    ({"min_limit": 10, "max_limit": 9}, "max_limit: 9 is less than min_limit 10"),
    ({"percentile_ratio": 1.1}, "percentile_ratio: 1.1 is outside 0..1"),
    ({"update_interval": 0.0}, "update_interval: 0.0 is outside 0.001..60"),
    ({"rtt_interval": 0.5}, "rtt_interval: 0.5 is outside 1..86,400"),
    ({"rtt_samples": 0}, "rtt_samples: 0 is outside 1..10,000"),
    ({"jitter_ratio": -0.1}, "jitter_ratio: -0.1 is outside 0..1"),
    ({"buffer_ratio": float("nan")}, "buffer_ratio: nan is outside 0..10"),
    ({"enabled": 1}, "enabled: 1 is neither true nor false"),
    ({"enabled": False, "max_limit": 50}, "enabled: is missing, and without it the rest has no meaning"),
])
def test_adaptive_policies_that_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidResource) as caught:
        AdaptivePolicy(**{"enabled": True, **fields})
    assert str(caught.value) == message


def test_a_rate_limit() -> None:
    assert RateLimit(2.5).burst == 3
    assert RateLimit(0.1).burst == 1
    assert RateLimit(5, 50).burst == 50
    assert RateLimit(1, key="header:x-user").header == "x-user"
    assert RateLimit(1, key="source_ip").header == ""


@pytest.mark.parametrize(("fields", "message"), [
    ({"rate": 0}, "rate: 0 is outside 0.001..1,000,000"),
    ({"rate": "5"}, "rate: '5' is not a number"),
    ({"burst": -1}, "burst: -1 is outside 0..1,000,000"),
    ({"max_keys": 0}, "max_keys: 0 is outside 1..1,000,000"),
    *(({"key": key}, f"key: {key!r} is none of all, source_ip and header:<name>, the name of 1..128 lower-case token "
                     "characters") for key in ("", "everything", "header", "header:", "header:X-User", "header:a b")),
])
def test_rate_limits_that_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidResource) as caught:
        RateLimit(**{"rate": 1, **fields})
    assert str(caught.value) == message


@pytest.mark.parametrize(("limits", "field"), [
    (LimitsPolicy(endpoint_requests=1), "endpoint_requests"), (LimitsPolicy(max_requests=1), "max_requests"),
    (LimitsPolicy(endpoint_pending=1), "endpoint_pending"), (LimitsPolicy(endpoint_retries=1), "endpoint_retries"),
    (LimitsPolicy(max_retries=1), "max_retries"), (LimitsPolicy(adaptive=AdaptivePolicy(enabled=True)), "adaptive"),
    (LimitsPolicy(rate_limits=(RateLimit(1),)), "rate_limits")])
def test_what_needs_requests(limits: LimitsPolicy, field: str) -> None:
    for protocol in (Protocol.HTTP1, Protocol.HTTP2, Protocol.GRPC, Protocol.AUTO):
        Service("cart", protocol, limits=limits)
    with pytest.raises(InvalidResource, match=rf"^limits\.{field}: a service of protocol tcp has connections"):
        Service("cart", Protocol.TCP, limits=limits)


def test_connections_are_for_tcp_too_and_nothing_is_for_udp() -> None:
    Service("db", Protocol.TCP, limits=LimitsPolicy(endpoint_connections=5, max_connections=10))
    with pytest.raises(InvalidResource, match=r"^limits: have no meaning with protocol udp"):
        Service("dns", Protocol.UDP, limits=LimitsPolicy(endpoint_connections=5))
