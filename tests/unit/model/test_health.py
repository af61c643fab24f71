"""Policies of health: what is refused, with field, value and bound, and what contradicts itself."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.errors import InvalidResource
from mesh.model import (
    CheckKind,
    CommandCheck,
    FailureRatioOutlier,
    GrpcCheck,
    HealthPolicy,
    HttpCheck,
    LatencyOutlier,
    MysqlCheck,
    OutlierPolicy,
    PostgresCheck,
    Protocol,
    RedisCheck,
    Service,
    SuccessRateOutlier,
    TcpCheck,
    Verdict,
    VerdictKind,
)

BOUNDS = [
    (OutlierPolicy, "jitter", 0, 1), (OutlierPolicy, "interval", 0.1, 3600),
    (SuccessRateOutlier, "deviations", 0.1, 10), (SuccessRateOutlier, "margin", 0, 1),
    (SuccessRateOutlier, "min_endpoints", 2, 10_000), (SuccessRateOutlier, "min_requests", 1, 1_000_000),
    (FailureRatioOutlier, "threshold", 0.01, 1), (FailureRatioOutlier, "min_endpoints", 1, 10_000),
    (FailureRatioOutlier, "min_requests", 1, 1_000_000),
    (LatencyOutlier, "factor", 1.1, 1000), (LatencyOutlier, "floor", 0, 3600),
    (LatencyOutlier, "min_endpoints", 2, 10_000), (LatencyOutlier, "min_requests", 1, 1_000_000),
    (HealthPolicy, "interval", 0.1, 3600), (HealthPolicy, "timeout", 0.01, 60), (HealthPolicy, "rise", 1, 100),
    (HealthPolicy, "fall", 1, 100), (HealthPolicy, "jitter", 0, 1), (HealthPolicy, "port", 1, 65_535),
    (lambda **field: HealthPolicy(interval=3600.0, **field), "fast_interval", 0.05, 3600),
]


@pytest.mark.parametrize(("make", "field", "low", "high"), BOUNDS)
def test_both_bounds_are_in_and_beyond_them_is_refused(make: Any, field: str, low: float, high: float):
    for value in (low, high):
        assert getattr(make(**{field: value}), field) == value
    step = 1 if isinstance(low, int) and isinstance(high, int) and high > 1 else 0.001
    for value in (low - step, high + step):
        if value == 0:
            continue  # means "off" in some
        with pytest.raises(InvalidResource, match=rf"^{field}: .* is outside "):
            make(**{field: value})


@pytest.mark.parametrize(("make", "message"), [
    (lambda: HealthPolicy(tcp=TcpCheck(), redis=RedisCheck()), "redis: an endpoint is checked in one way, and tcp"),
    (lambda: HealthPolicy(interval=0.3, fast_interval=0.5), "fast_interval: 0.5 is more than interval 0.3"),
    (lambda: HttpCheck(method="GET /"), "method: 'GET /' is no HTTP method"),
    (lambda: HttpCheck(path="health"), "path: 'health' is no path"),
    (lambda: HttpCheck(path="/a b"), "path: '/a b' is no path"),
    (lambda: HttpCheck(path="/a\r\nX: y"), "path: "),
    (lambda: HttpCheck(path="/" + "a" * 2048), "path: 2,049 bytes, at most 2,048"),
    (lambda: HttpCheck(host="a\r\nb"), "host: "),
    (lambda: HttpCheck(statuses=()), "statuses: 0 ranges, outside 1..20"),
    (lambda: HttpCheck(statuses=((200, 600),)), "statuses[0]: 600 is outside 100..599"),
    (lambda: HttpCheck(statuses=((200, 200), (300, 299))), "statuses[1]: 300-299 ends before it begins"),
    (lambda: GrpcCheck("x" * 256), "service: 256 bytes, at most 255"),
    (lambda: MysqlCheck("u" * 64), "user: 64 bytes, at most 63"),
    (lambda: PostgresCheck("a\0b"), "user: 'a\\x00b' has a NUL in it"),
    (lambda: CommandCheck(()), "argv: 0 arguments, outside 1..32"),
    (lambda: CommandCheck(("",)), "argv[0]: '' can't be an argument"),
    (lambda: CommandCheck(("a", "b\0")), "argv[1]: "),
    (lambda: Service("dns", Protocol.UDP, health=HealthPolicy(tcp=TcpCheck())),
     "health.tcp: a service of protocol udp has no such port to check; name one in health.port"),
    (lambda: Verdict("cart", VerdictKind.EJECTED, "", 0.0), "endpoint: 'cart' is not <service>/<endpoint>"),
    (lambda: Verdict("cart/A", VerdictKind.EJECTED, "", 0.0), "endpoint: 'A' is not a name"),
    (lambda: Verdict("cart/a", VerdictKind.EJECTED, "x" * 301, 0.0), "reason: 301 bytes, at most 300"),
    (lambda: Verdict("cart/a", VerdictKind.EJECTED, "a\nb", 0.0), "reason: 'a\\nb' is more than one line"),
])
def test_what_contradicts_itself_or_could_be_something_else_is_refused(make: Any, message: str):
    with pytest.raises(InvalidResource) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_udp_may_be_checked_at_another_port_or_by_a_command():
    Service("dns", Protocol.UDP, health=HealthPolicy(tcp=TcpCheck(), port=53))
    Service("dns", Protocol.UDP, health=HealthPolicy(command=CommandCheck(("dig",))))
    Service("dns", Protocol.UDP)


def test_kind_and_check():
    assert (HealthPolicy().kind, HealthPolicy().check) == (CheckKind.NONE, None)
    for kind, check in (("tcp", TcpCheck()), ("http", HttpCheck()), ("grpc", GrpcCheck()), ("mysql", MysqlCheck()),
                        ("postgres", PostgresCheck()), ("redis", RedisCheck()), ("command", CommandCheck(("a",)))):
        policy = HealthPolicy(**{kind: check})
        assert (policy.kind.value, policy.check) == (kind, check)


def test_the_quick_interval_is_never_slower_than_the_slow_one():
    assert HealthPolicy().between == 0.5
    assert HealthPolicy(interval=0.2).between == 0.2
    assert HealthPolicy(fast_interval=1.5).between == 1.5
