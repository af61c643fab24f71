"""Balance policies: bounds, and that a policy which contradicts itself is refused with field, value and what would
do."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidResource
from mesh.model import (
    Algorithm,
    BalancePolicy,
    HashKey,
    HashPolicy,
    LatencyPolicy,
    LocalityPolicy,
    Prefer,
    Protocol,
    Service,
    SlowStartPolicy,
    StickyPolicy,
    SubsetPolicy,
)
from mesh.model.balance import HASHING, MAX_RING, MAX_TABLE


def of(algorithm: Algorithm, **fields: Any) -> BalancePolicy:
    return BalancePolicy(algorithm, **fields)


# (constructor, field, low, high, whole numbers only)
BOUNDS = [
    (lambda **field: of(Algorithm.LEAST_REQUEST, **field), "choices", 2, 100, True),
    (lambda **field: of(Algorithm.FIRST_AVAILABLE, **field), "capacity", 1, 1_000_000, True),
    (LatencyPolicy, "decay", 0.1, 3600, False),
    (LatencyPolicy, "initial", 0.000_001, 60, False),
    (HashPolicy, "bounded_load", 1.01, 10, False),
    (HashPolicy, "min_ring_size", 1, MAX_RING, True),
    (lambda **field: HashPolicy(min_ring_size=1, **field), "max_ring_size", 1, MAX_RING, True),
    (HashPolicy, "table_size", 101, MAX_TABLE, True),
    (lambda **field: StickyPolicy("a", **field), "ttl", 1, 31_536_000, False),
    (SubsetPolicy, "size", 2, 10_000, True),
    (SlowStartPolicy, "window", 1, 3600, False),
    (lambda **field: SlowStartPolicy(60.0, **field), "aggression", 0.1, 10, False),
    (lambda **field: SlowStartPolicy(60.0, **field), "min_ratio", 0.01, 1, False),
    (BalancePolicy, "overprovisioning", 1, 10, False),
    (BalancePolicy, "panic_threshold", 0, 1, False),
    (BalancePolicy, "merge_window", 0, 60, False),
]
EVERY_BOUND = pytest.mark.parametrize(("make", "field", "low", "high", "whole"), BOUNDS, ids=[row[1] for row in BOUNDS])
MAY_BE_0 = ("bounded_load", "ttl", "size", "window")


@EVERY_BOUND
def test_both_ends_are_in_and_beyond_is_out(make: Any, field: str, low: float, high: float, whole: bool):
    assert getattr(make(**{field: low}), field) == low
    assert getattr(make(**{field: high}), field) == high
    for value in [low - 1, high + 1] if whole else [math.nextafter(low, -1), math.nextafter(high, math.inf), -1.0]:
        with pytest.raises(InvalidResource) as caught:
            make(**{field: value})
        assert caught.value.field == field


@EVERY_BOUND
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, None, "1", 10**400])
def test_what_is_no_number_is_out(make: Any, field: str, low: float, high: float, whole: bool, value: Any):
    with pytest.raises(InvalidResource) as caught:
        make(**{field: value})
    assert caught.value.field == field


@given(st.sampled_from(BOUNDS), st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=3)))
def test_a_value_is_made_or_refused_never_anything_else(bound: tuple, value: Any):
    make, field, low, high, _ = bound
    with contextlib.suppress(InvalidResource):
        made = make(**{field: value})
        assert (field in MAY_BE_0 and value == 0) or low <= getattr(made, field) <= high


def test_defaults_are_those_of_the_proto():
    policy = BalancePolicy()
    assert (policy.algorithm, policy.choices, policy.capacity) == (Algorithm.POWER_OF_TWO, 2, 0)
    assert (policy.latency.decay, policy.latency.initial) == (10.0, 0.03)
    assert (policy.hash.key, policy.hash.bounded_load, policy.hash.min_ring_size, policy.hash.max_ring_size,
            policy.hash.table_size) == (HashKey.SOURCE_IP, 0, 1024, 8_388_608, 65_537)
    assert (policy.subset.match, policy.subset.or_any, policy.subset.size) == ((), False, 0)
    assert (policy.locality.prefer, policy.locality.failover) == (Prefer.ANY, ())
    assert (policy.slow_start.window, policy.slow_start.aggression, policy.slow_start.min_ratio) == (0, 1, 0.1)
    assert (policy.overprovisioning, policy.panic_threshold, policy.merge_window) == (1.4, 0.5, 0.1)
    assert (policy.sticky.cookie, policy.sticky.ttl, policy.sticky.path) == ("", 0, "/")


USERS = HashPolicy(HashKey.HEADER, "x-user")
CONTRADICTIONS = [
    (Algorithm.FIRST_AVAILABLE, {}, "capacity: is missing"),
    (Algorithm.ROUND_ROBIN, {"choices": 3}, "choices: 3 has no meaning with algorithm round_robin, only with "
                                            "least_request and peak_ewma"),
    (Algorithm.POWER_OF_TWO, {"choices": 3}, "choices: 3 has no meaning"),
    (Algorithm.POWER_OF_TWO, {"capacity": 1}, "capacity: 1 has no meaning"),
    (Algorithm.LEAST_CONNECTIONS, {"latency": LatencyPolicy(decay=1)}, "latency.decay: 1 has no meaning"),
    (Algorithm.MAGLEV, {"latency": LatencyPolicy(initial=1)}, "latency.initial: 1 has no meaning"),
    (Algorithm.RANDOM, {"hash": USERS}, "hash.key: 'header' has no meaning"),
    (Algorithm.RANDOM, {"hash": HashPolicy(bounded_load=1.25)}, "hash.bounded_load: 1.25 has no meaning"),
    (Algorithm.MAGLEV, {"hash": HashPolicy(min_ring_size=2000)}, "hash.min_ring_size: 2000 has no meaning"),
    (Algorithm.MAGLEV, {"hash": HashPolicy(max_ring_size=2000)}, "hash.max_ring_size: 2000 has no meaning"),
    (Algorithm.RING_HASH, {"hash": HashPolicy(table_size=101)}, "hash.table_size: 101 has no meaning"),
    (Algorithm.ROUND_ROBIN, {"slow_start": SlowStartPolicy(30.0)}, "slow_start.window: 30.0 has no meaning"),
    (Algorithm.MAGLEV, {"slow_start": SlowStartPolicy(30.0)}, "slow_start.window: 30.0 has no meaning"),
    (Algorithm.MAGLEV, {"subset": SubsetPolicy(size=20)}, "subset.size: 20 contradicts algorithm maglev"),
    (Algorithm.SOURCE_IP_HASH, {"hash": USERS}, "hash.key: header contradicts algorithm source_ip_hash; rendezvous is"),
]


@pytest.mark.parametrize(("algorithm", "fields", "message"), CONTRADICTIONS)
def test_what_the_algorithm_has_no_use_for_is_refused(algorithm: Algorithm, fields: dict[str, Any], message: str):
    with pytest.raises(InvalidResource) as caught:
        BalancePolicy(algorithm, **fields)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("algorithm", [algorithm for algorithm in HASHING if algorithm is not Algorithm.SOURCE_IP_HASH])
@pytest.mark.parametrize("key", HashKey)
def test_every_hash_takes_every_key_and_a_bound(algorithm: Algorithm, key: HashKey):
    name = "" if key in (HashKey.SOURCE_IP, HashKey.PATH) else "user"
    policy = BalancePolicy(algorithm, hash=HashPolicy(key, name, bounded_load=1.25))
    assert policy.needs_http() == ("" if key is HashKey.SOURCE_IP else "hash.key")


@pytest.mark.parametrize(("key", "name"), [
    (HashKey.HEADER, ""), (HashKey.HEADER, "X-User"), (HashKey.HEADER, "x user"), (HashKey.HEADER, ":path"),
    (HashKey.COOKIE, ""), (HashKey.COOKIE, "a=b"), (HashKey.QUERY, ""), (HashKey.QUERY, "a&b"), (HashKey.QUERY, "a=b"),
    (HashKey.QUERY, "x" * 129), (HashKey.PATH, "x"), (HashKey.SOURCE_IP, "x"), (HashKey.HEADER, None),
    (HashKey.PATH, 7)])
def test_no_names(key: HashKey, name: Any):
    with pytest.raises(InvalidResource, match=r"^name: "):
        HashPolicy(key, name)


def test_a_ring_is_not_smaller_than_its_least():
    with pytest.raises(InvalidResource, match=r"^max_ring_size: 1,000 is less than min_ring_size 1,024"):
        HashPolicy(max_ring_size=1000)


@pytest.mark.parametrize("size", [102, 65_536, 65_535, 121, 5_000_009])
def test_a_table_has_a_prime_number_of_entries(size: int):
    with pytest.raises(InvalidResource, match=rf"^table_size: {size:,} is not a prime number"):
        HashPolicy(table_size=size)


def test_cookies():
    assert StickyPolicy("a", 1.0, "/x").path == "/x"
    for bad in ("a b", "a;", "a=", "x" * 129, None):
        with pytest.raises(InvalidResource, match=r"^cookie: "):
            StickyPolicy(bad)
    for bad in ("", "x", "/;", "/a b", "/" + "x" * 256, None):
        with pytest.raises(InvalidResource, match=r"^path: "):
            StickyPolicy("a", 0.0, bad)
    for fields in ({"ttl": 60.0}, {"path": "/x"}):
        with pytest.raises(InvalidResource, match=r"^cookie: is missing"):
            StickyPolicy(**fields)


def test_subsets():
    assert SubsetPolicy((("b", "2"), ("a", "1"))) == SubsetPolicy((("a", "1"), ("b", "2")))
    for match in ((("", "x"),), (("a", "x" * 257),), (("a" * 64, "x"),), (("a", "1"), ("a", "2")), (("a", 1),),
                  tuple((str(i), "") for i in range(65))):
        with pytest.raises(InvalidResource, match=r"^match"):
            SubsetPolicy(match)
    with pytest.raises(InvalidResource, match=r"^or_any: has no meaning without match"):
        SubsetPolicy(or_any=True)
    with pytest.raises(InvalidResource, match=r"^or_any: 1 is neither true nor false"):
        SubsetPolicy((("a", "1"),), or_any=1)


def test_places():
    assert LocalityPolicy(Prefer.REGION, ("us", "ap")).failover == ("us", "ap")
    for failover, message in ((("us", "us"), r"failover: the same region twice"),
                              (("",), r"failover\[0\]: a region has"), ((7,), r"failover\[0\]: 7 is not text"),
                              (tuple(map(str, range(65))), r"failover: 65 regions")):
        with pytest.raises(InvalidResource, match=f"^{message}"):
            LocalityPolicy(Prefer.ZONE, failover)
    with pytest.raises(InvalidResource, match=r"^failover: has no meaning with prefer any"):
        LocalityPolicy(failover=("us",))


def test_a_slow_start_without_a_window_is_none():
    with pytest.raises(InvalidResource, match=r"^window: is missing"):
        SlowStartPolicy(aggression=2.0)


@pytest.mark.parametrize(("policy", "field"), [
    (BalancePolicy(Algorithm.MAGLEV, hash=USERS), "balance.hash.key"),
    (BalancePolicy(sticky=StickyPolicy("a")), "balance.sticky.cookie")])
def test_tcp_has_no_requests(policy: BalancePolicy, field: str):
    assert Service("cart", Protocol.HTTP2, policy).balance is policy
    with pytest.raises(InvalidResource, match="a service of protocol tcp has no requests") as caught:
        Service("cart", Protocol.TCP, policy)
    assert caught.value.field == field
