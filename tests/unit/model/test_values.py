"""The bounds of every value: both ends in, one step beyond out, NaN and infinity never; defaults as the .proto says."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidResource
from mesh.model import (
    MAX_PRIORITY,
    MAX_WEIGHT,
    Algorithm,
    Endpoint,
    Health,
    HedgePolicy,
    Locality,
    OutlierPolicy,
    Protocol,
    RetryPolicy,
    Service,
    TimeoutPolicy,
    check_name,
)


def endpoint(**changes: Any) -> Endpoint:
    return Endpoint(**{"service": "cart", "name": "cart-0", "host": "127.0.0.1", "port": 80, **changes})


# (constructor, field, low, high, whole numbers only)
BOUNDS = [
    (RetryPolicy, "max_attempts", 1, 10, True),
    (RetryPolicy, "budget_ratio", 0, 1, False),
    (RetryPolicy, "budget_min_per_second", 0, 10_000, False),
    (RetryPolicy, "budget_window", 1, 60, False),
    (lambda **field: RetryPolicy(backoff_max=60.0, **field), "backoff_base", 0.001, 60, False),
    (lambda **field: RetryPolicy(backoff_base=0.001, **field), "backoff_max", 0.001, 60, False),
    (RetryPolicy, "replay_bytes", 0, 1_048_576, True),
    (TimeoutPolicy, "connect", 0.001, 60, False),
    (TimeoutPolicy, "request", 0.001, 86_400, False),
    (TimeoutPolicy, "idle", 1, 86_400, False),
    (TimeoutPolicy, "udp_idle", 1, 86_400, False),
    (TimeoutPolicy, "per_try", 0.001, 86_400, False),
    (RetryPolicy, "max_pushback", 0, 3600, False),
    (HedgePolicy, "percentile", 0.5, 0.999, False),
    (HedgePolicy, "min_delay", 0.001, 60, False),
    (OutlierPolicy, "consecutive_failures", 0, 1000, True),
    (lambda **field: OutlierPolicy(max_ejection_time=3600.0, **field), "base_ejection_time", 0.001, 3600, False),
    (lambda **field: OutlierPolicy(base_ejection_time=0.001, **field), "max_ejection_time", 0.001, 86_400, False),
    (OutlierPolicy, "max_ejection_ratio", 0, 1, False),
    (endpoint, "port", 1, 65_535, True),
    (endpoint, "weight", 0, MAX_WEIGHT, True),
    (endpoint, "priority", 0, MAX_PRIORITY, True),
]
OFF_AT_0 = ("request", "per_try", "percentile")
EVERY_BOUND = pytest.mark.parametrize(("make", "field", "low", "high", "whole"), BOUNDS, ids=[row[1] for row in BOUNDS])


@EVERY_BOUND
def test_both_ends_are_in(make: Any, field: str, low: float, high: float, whole: bool):
    assert getattr(make(**{field: low}), field) == low
    assert getattr(make(**{field: high}), field) == high


@EVERY_BOUND
def test_beyond_is_out_and_the_message_says_how(make: Any, field: str, low: float, high: float, whole: bool):
    beyond = [low - 1, high + 1] if whole else [math.nextafter(low, -1), math.nextafter(high, math.inf), -1.0]
    for value in beyond:
        if field in OFF_AT_0 and value == 0:
            continue
        with pytest.raises(InvalidResource) as caught:
            make(**{field: value})
        assert caught.value.field == field
        assert str(caught.value) == f"{field}: {value!r} is outside {low:,}..{high:,}"


@EVERY_BOUND
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, None, "1", 10**400])
def test_what_is_no_number_is_out(make: Any, field: str, low: float, high: float, whole: bool, value: Any):
    with pytest.raises(InvalidResource) as caught:
        make(**{field: value})
    assert caught.value.field == field


@EVERY_BOUND
def test_whole_numbers_only_where_the_proto_has_integers(make: Any, field: str, low: float, high: float, whole: bool):
    value = min(low + 0.5, high)
    if whole:
        with pytest.raises(InvalidResource, match="not a whole number"):
            make(**{field: value})
    else:
        make(**{field: value})


@given(st.sampled_from(BOUNDS), st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=3)))
def test_a_value_is_made_or_refused_never_anything_else(bound: tuple, value: Any):
    make, field, low, high, _ = bound
    with contextlib.suppress(InvalidResource):
        made = make(**{field: value})
        assert (field in OFF_AT_0 and value == 0) or low <= getattr(made, field) <= high


def test_defaults_are_those_of_the_proto():
    service = Service("cart")
    assert service.protocol is Protocol.GRPC
    assert service.balance.algorithm is Algorithm.POWER_OF_TWO
    assert dataclasses.astuple(service.retry) == (3, frozenset({"UNAVAILABLE"}), (), 0.2, 10.0, 10.0, 0.025, 0.25,
                                                  65_536, frozenset({502, 503, 504}), 5.0, (0.0, 0.01))
    assert dataclasses.astuple(service.timeout) == (1.0, 0.0, 3600.0, 60.0, 0.0)
    assert dataclasses.astuple(service.outlier) == (5, 30.0, 300.0, 0.1, 0.1, True, 10.0, (1.9, 0.05, 5, 100),
                                                    (0.0, 5, 50), (0.0, 0.05, 3, 50))
    assert service.health.check is None
    assert dataclasses.astuple(service.health)[7:] == (2.0, 1.0, 2, 3, 0.1, 0.0, 0, True)
    made = Endpoint("cart", "cart-0", "127.0.0.1", 80)
    assert (made.weight, made.health, made.locality, made.metadata) == (1, Health.HEALTHY, Locality("", ""), ())
    assert made.resource == "cart/cart-0"


def test_values_are_frozen_equal_and_hashable():
    assert hash(Service("cart")) == hash(Service("cart"))
    assert endpoint() == endpoint()
    with pytest.raises(dataclasses.FrozenInstanceError):
        endpoint().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", ["a", "7", "cart", "shop-cart-2", "a" * 63, "0-0"])
def test_names(name: str):
    check_name(name)
    assert Service(name).name == name
    assert endpoint(name=name, service=name).resource == f"{name}/{name}"


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a.b", "a_b", "a b", "a\n", "ä", "a" * 64, "a/b", None, 7])
def test_no_names(name: Any):
    with pytest.raises(InvalidResource, match=r"^name: "):
        Service(name)
    with pytest.raises(InvalidResource, match=r"^service: "):
        endpoint(service=name)
    with pytest.raises(InvalidResource, match=r"^where: "):
        check_name(name, "where")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "255.255.255.255", "::1", "2001:db8::1", "fe80::1%eth0",
                                  "::ffff:10.0.0.1", "localhost", "cart.shop.svc.cluster.local", "host_1", "a"])
def test_hosts(host: str):
    assert endpoint(host=host).host == host


@pytest.mark.parametrize("host", ["", " ", "1.2.3", "1.2.3.256", "01.2.3.4", "1.2.3.4.5", "....", "1", "::1::", ":",
                                  "[::1]", "cart:80", "a b", "-a", "a-", ".a", "a\n", "ä", "a" * 254,
                                  "http://a", None, 7])
def test_no_hosts(host: Any):
    with pytest.raises(InvalidResource, match=r"^host: "):
        endpoint(host=host)


def test_a_maximum_is_not_less_than_its_base():
    with pytest.raises(InvalidResource, match=r"^max_ejection_time: 300\.0 is less than base_ejection_time 400\.0"):
        OutlierPolicy(base_ejection_time=400.0)


def test_metadata():
    most = tuple((f"{i:02}", "x" * 256) for i in range(64))
    assert endpoint(metadata=most).metadata == most
    assert endpoint(metadata=(("b", "2"), ("a", "1"))) == endpoint(metadata=(("a", "1"), ("b", "2")))
    assert endpoint(metadata=(("ä" * 31, ""),))
    for bad in [(*most, ("more", ""),), (("", "x"),), (("ä" * 32, ""),), (("a", "x" * 257),), (("a", "1"), ("a", "2")),
                (("a", 1),), ((1, "a"),), (("a", "\ud800"),)]:
        with pytest.raises(InvalidResource, match=r"^metadata"):
            endpoint(metadata=bad)


@pytest.mark.parametrize("field", ["region", "zone"])
def test_locality(field: str):
    assert getattr(Locality(**{field: "eu-1"}), field) == "eu-1"
    for bad in (1, None, "\ud800", "x" * 257):
        with pytest.raises(InvalidResource, match=field):
            Locality(**{field: bad})
