"""Messages <-> values: defaults where fields are absent, errors with their path, and round trips of anything."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidResource
from mesh.model import (
    RETRYABLE_CODES,
    AdaptivePolicy,
    Algorithm,
    BalancePolicy,
    CommandCheck,
    Endpoint,
    FailureRatioOutlier,
    GrpcCheck,
    HashKey,
    HashPolicy,
    Health,
    HealthPolicy,
    HedgePolicy,
    HttpCheck,
    LatencyOutlier,
    LatencyPolicy,
    LimitsPolicy,
    Locality,
    LocalityPolicy,
    MysqlCheck,
    OutlierPolicy,
    PostgresCheck,
    Prefer,
    Protocol,
    RateLimit,
    RedisCheck,
    RetryPolicy,
    Service,
    SlowStartPolicy,
    StickyPolicy,
    SubsetPolicy,
    SuccessRateOutlier,
    TcpCheck,
    TimeoutPolicy,
)
from mesh.model.balance import HASHING, RAMPING, WITH_CHOICES, WITH_LATENCY
from mesh.model.custom import CustomMode, CustomPolicy
from mesh.resource import convert
from mesh.v1 import endpoint_pb2, service_pb2

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
METHODS = st.from_regex(r"/[a-zA-Z./]{0,10}\*?", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def seconds(low: float, high: float) -> st.SearchStrategy[float]:
    return st.integers(round(low * 10**9), round(high * 10**9)).map(lambda nanos: nanos / 10**9)


@st.composite
def balances(draw: Any, protocol: Protocol) -> BalancePolicy:
    algorithm = draw(st.sampled_from(Algorithm))
    hashing = HashPolicy()
    if algorithm in HASHING:
        free = algorithm is not Algorithm.SOURCE_IP_HASH and protocol is not Protocol.TCP
        key = draw(st.sampled_from(HashKey)) if free else HashKey.SOURCE_IP
        smallest, largest = sorted(draw(st.tuples(st.integers(1, 8_388_608), st.integers(1, 8_388_608))))
        ring = {"min_ring_size": smallest, "max_ring_size": largest} if algorithm is Algorithm.RING_HASH else {}
        table = {"table_size": draw(st.sampled_from([101, 1009, 65_537]))} if algorithm is Algorithm.MAGLEV else {}
        hashing = HashPolicy(key, "" if key in (HashKey.SOURCE_IP, HashKey.PATH) else "user",
                             bounded_load=draw(st.one_of(st.just(0.0), st.floats(1.01, 10))), **ring, **table)
    latency = LatencyPolicy(draw(seconds(0.1, 3600)), draw(seconds(0.000_001, 60)))
    match = draw(st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1, max_size=20), TEXTS, max_size=3))
    prefer = draw(st.sampled_from(Prefer))
    sticky = StickyPolicy("sid", draw(st.one_of(st.just(0.0), seconds(1, 86_400))), draw(st.sampled_from(["/", "/a"])))
    return BalancePolicy(
        algorithm,
        choices=draw(st.integers(2, 100)) if algorithm in WITH_CHOICES else 2,
        capacity=draw(st.integers(1, 1_000_000)) if algorithm is Algorithm.FIRST_AVAILABLE else 0,
        latency=latency if algorithm in WITH_LATENCY else LatencyPolicy(),
        hash=hashing,
        subset=SubsetPolicy(tuple(sorted(match.items())), bool(match) and draw(st.booleans()),
                            0 if algorithm in HASHING else draw(st.sampled_from([0, 2, 10_000]))),
        locality=LocalityPolicy(prefer, tuple(draw(st.lists(TEXTS.filter(bool), max_size=3, unique=True)))
                                if prefer is not Prefer.ANY else ()),
        slow_start=SlowStartPolicy(draw(seconds(1, 3600)), draw(st.floats(0.1, 10)), draw(st.floats(0.01, 1)))
        if algorithm in RAMPING and draw(st.booleans()) else SlowStartPolicy(),
        overprovisioning=draw(st.floats(1, 10)), panic_threshold=draw(st.floats(0, 1)),
        merge_window=draw(seconds(0, 60)),
        sticky=sticky if protocol is not Protocol.TCP and draw(st.booleans()) else StickyPolicy(),
        custom=CustomPolicy("Mine", "class Mine:\n    def pick(self, *given): pass\n",
                            draw(st.sampled_from([CustomMode.OFF, CustomMode.SHADOW])), draw(seconds(0.000_01, 0.1)))
        if draw(st.booleans()) else CustomPolicy())


ZERO, COUNTS = st.just(0.0), st.integers(1, 1_000_000)
CHECKS: list[dict[str, Any]] = [
    {}, {"tcp": TcpCheck()}, {"http": HttpCheck()}, {"redis": RedisCheck()}, {"grpc": GrpcCheck("shop.Cart")},
    {"http": HttpCheck("HEAD", "/health?deep=1", "cart.local", ((200, 200), (300, 399)))},
    {"mysql": MysqlCheck("check")}, {"postgres": PostgresCheck("check")}, {"postgres": PostgresCheck()},
    {"command": CommandCheck(("/bin/true", "", "a b"))},
]


@st.composite
def limits(draw: Any, protocol: Protocol) -> LimitsPolicy:
    if protocol is Protocol.UDP:
        return LimitsPolicy()
    counts = st.integers(0, 1_000_000)
    fixed = {"endpoint_connections": draw(counts), "max_connections": draw(counts), "max_pending": draw(counts),
             "queue_timeout": draw(seconds(0.001, 60))}
    if protocol is Protocol.TCP:
        return LimitsPolicy(**fixed)
    least, most = sorted(draw(st.tuples(st.integers(1, 1_000_000), st.integers(1, 1_000_000))))
    adaptive = AdaptivePolicy(True, least, most, draw(st.floats(0, 1)), draw(seconds(0.001, 60)),
                              draw(seconds(1, 86_400)), draw(st.integers(1, 10_000)), draw(st.floats(0, 1)),
                              draw(st.floats(0, 10)))
    rates = st.builds(RateLimit, st.floats(0.001, 1_000_000), st.integers(0, 1_000_000),
                      st.sampled_from(["all", "source_ip", "header:x-user"]), st.integers(1, 1_000_000))
    return LimitsPolicy(**fixed, endpoint_requests=draw(counts), endpoint_pending=draw(counts),
                        endpoint_retries=draw(counts), max_requests=draw(counts), max_retries=draw(counts),
                        adaptive=adaptive if draw(st.booleans()) else AdaptivePolicy(),
                        rate_limits=tuple(draw(st.lists(rates, max_size=2))))


@st.composite
def services(draw: Any) -> Service:
    protocol = draw(st.sampled_from(Protocol))
    base, longest = sorted((draw(seconds(0.001, 60)), draw(seconds(0.001, 60))))
    attempts, ratio, floor = draw(st.integers(1, 10)), draw(st.floats(0, 1)), draw(st.floats(0, 10_000))
    requests = protocol not in (Protocol.TCP, Protocol.UDP)
    balance = draw(balances(protocol))
    hedges = requests and attempts > 1 and ratio + floor > 0 and not balance.sticky.cookie
    hedge = HedgePolicy(draw(st.floats(0.5, 0.999)) if hedges else 0.0, draw(seconds(0.001, 60)))
    per_try = draw(seconds(0.001, 86_400)) if requests and draw(st.booleans()) else 0.0
    eject, most = sorted((draw(seconds(0.001, 3600)), draw(seconds(0.001, 3600))))
    return Service(
        name=draw(NAMES), protocol=protocol, balance=balance,
        retry=RetryPolicy(
            max_attempts=attempts,
            codes=frozenset(draw(st.sets(st.sampled_from(RETRYABLE_CODES), min_size=1))),
            idempotent_methods=tuple(draw(st.lists(METHODS, max_size=3))),
            budget_ratio=ratio, budget_min_per_second=floor,
            budget_window=draw(seconds(1, 60)), backoff_base=base, backoff_max=longest,
            replay_bytes=draw(st.integers(0, 1_048_576)),
            statuses=frozenset(draw(st.sets(st.integers(400, 599), min_size=1, max_size=5))),
            max_pushback=draw(seconds(0, 3600)), hedge=hedge),
        timeout=TimeoutPolicy(connect=draw(seconds(0.001, 60)),
                              request=draw(st.one_of(st.just(0.0), seconds(max(per_try, 0.001), 86_400))),
                              idle=draw(seconds(1, 86_400)), udp_idle=draw(seconds(1, 86_400)), per_try=per_try),
        outlier=OutlierPolicy(consecutive_failures=draw(st.integers(0, 1000)), base_ejection_time=eject,
                              max_ejection_time=most, max_ejection_ratio=draw(st.floats(0, 1)),
                              jitter=draw(st.floats(0, 1)), half_open=draw(st.booleans()),
                              interval=draw(seconds(0.1, 3600)),
                              success_rate=SuccessRateOutlier(draw(ZERO | st.floats(0.1, 10)), draw(st.floats(0, 1)),
                                                              draw(st.integers(2, 10_000)), draw(COUNTS)),
                              failure_ratio=FailureRatioOutlier(draw(ZERO | st.floats(0.01, 1)),
                                                                draw(st.integers(1, 10_000)), draw(COUNTS)),
                              latency=LatencyOutlier(draw(ZERO | st.floats(1.1, 1000)), draw(seconds(0, 3600)),
                                                     draw(st.integers(2, 10_000)), draw(COUNTS))),
        health=HealthPolicy(**draw(st.sampled_from(CHECKS)), interval=draw(seconds(1, 3600)),
                            timeout=draw(seconds(0.01, 60)), rise=draw(st.integers(1, 100)),
                            fall=draw(st.integers(1, 100)), jitter=draw(st.floats(0, 1)),
                            fast_interval=draw(ZERO | seconds(0.05, 1)), port=draw(st.integers(1, 65_535)),
                            uneject=draw(st.booleans())),
        limits=draw(limits(protocol)))


@st.composite
def endpoints(draw: Any) -> Endpoint:
    metadata = draw(st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1, max_size=20), TEXTS, max_size=4))
    return Endpoint(draw(NAMES), draw(NAMES), draw(st.ip_addresses().map(str)), draw(st.integers(1, 65_535)),
                    weight=draw(st.integers(0, 1_000_000)), locality=Locality(draw(TEXTS), draw(TEXTS)),
                    health=draw(st.sampled_from(Health)), metadata=tuple(metadata.items()),
                    priority=draw(st.integers(0, 127)))


@pytest.mark.slow
@given(services())
def test_services_go_there_and_back(service: Service):
    message = service_pb2.Service.FromString(convert.service_to_proto(service).SerializeToString())
    assert convert.service_from_proto(message) == service


@pytest.mark.slow
@given(endpoints())
def test_endpoints_go_there_and_back(endpoint: Endpoint):
    message = endpoint_pb2.Endpoint.FromString(convert.endpoint_to_proto(endpoint).SerializeToString())
    assert convert.endpoint_from_proto(message) == endpoint


def test_absent_means_the_default_and_so_does_empty():
    assert convert.service_from_proto(service_pb2.Service(name="cart")) == Service("cart")
    empty = service_pb2.Service(name="cart", balance=service_pb2.BalancePolicy(), retry=service_pb2.RetryPolicy(),
                                timeout=service_pb2.TimeoutPolicy(), outlier=service_pb2.OutlierPolicy())
    assert convert.service_from_proto(empty) == Service("cart")
    bare = endpoint_pb2.Endpoint(service="cart", name="a", host="::1", port=80)
    assert convert.endpoint_from_proto(bare) == Endpoint("cart", "a", "::1", 80)


def test_a_zero_that_is_present_is_a_zero():
    message = service_pb2.Service(
        name="cart", retry=service_pb2.RetryPolicy(budget_ratio=0, budget_min_per_second=0, replay_bytes=0),
        outlier=service_pb2.OutlierPolicy(consecutive_failures=0, max_ejection_ratio=0))
    service = convert.service_from_proto(message)
    assert (service.retry.budget_ratio, service.retry.budget_min_per_second, service.retry.replay_bytes) == (0, 0, 0)
    assert (service.outlier.consecutive_failures, service.outlier.max_ejection_ratio) == (0, 0)
    endpoint = endpoint_pb2.Endpoint(service="cart", name="a", host="::1", port=80, weight=0)
    assert convert.endpoint_from_proto(endpoint).weight == 0


def test_the_message_states_every_field():
    def absent(message: Any, path: str = "") -> list[str]:
        found = []
        for field in message.DESCRIPTOR.fields:
            here = f"{path}{field.name}"
            if field.is_repeated or field.containing_type.full_name.startswith("google."):
                continue
            if field.containing_oneof is not None and field.containing_oneof.name == "check":
                continue  # at most one of them is there
            if field.has_presence and not message.HasField(field.name):
                found.append(here)
            elif field.message_type is not None:
                found += absent(getattr(message, field.name), f"{here}.")
            elif field.enum_type is not None and getattr(message, field.name) == 0:
                found.append(here)
        return found

    assert absent(convert.service_to_proto(Service("cart"))) == []
    assert absent(convert.endpoint_to_proto(Endpoint("cart", "a", "::1", 80))) == []


DURATION = Duration(seconds=100_000)
BAD_SERVICES = [
    ({"name": "Cart"}, "name: 'Cart' is not a name"),
    ({}, "name: '' is not a name"),
    ({"protocol": 9}, "protocol: 9 is none of 0..6"),
    ({"balance": {"algorithm": 15}}, "balance.algorithm: 15 is none of 0..14"),
    ({"balance": {"choices": 1}}, "balance.choices: 1 is outside 2..100"),
    ({"balance": {"choices": 3}}, "balance.choices: 3 has no meaning with algorithm power_of_two"),
    ({"balance": {"algorithm": 14}}, "balance.capacity: is missing"),
    ({"balance": {"latency": {"decay": Duration()}}}, "balance.latency.decay: 0.0 is outside 0.1..3,600"),
    ({"balance": {"hash": {"key": 6}}}, "balance.hash.key: 6 is none of 0..5"),
    ({"balance": {"algorithm": 13, "hash": {"table_size": 65_536}}}, "balance.hash.table_size: 65,536 is not a prime"),
    ({"balance": {"subset": {"size": 1}}}, "balance.subset.size: 1 is outside 2..10,000"),
    ({"balance": {"subset": {"or_any": True}}}, "balance.subset.or_any: has no meaning without match"),
    ({"balance": {"locality": {"prefer": 4}}}, "balance.locality.prefer: 4 is none of 0..3"),
    ({"balance": {"locality": {"failover": ["us"]}}}, "balance.locality.failover: has no meaning with prefer any"),
    ({"balance": {"slow_start": {"window": Duration(nanos=1)}}}, "balance.slow_start.window: 1e-09 is outside 1..3,6"),
    ({"balance": {"overprovisioning": 0.5}}, "balance.overprovisioning: 0.5 is outside 1..10"),
    ({"balance": {"panic_threshold": 50}}, "balance.panic_threshold: 50.0 is outside 0..1"),
    ({"balance": {"merge_window": DURATION}}, "balance.merge_window: 100000.0 is outside 0..60"),
    ({"balance": {"sticky": {"path": "/x"}}}, "balance.sticky.cookie: is missing"),
    ({"protocol": 1, "balance": {"sticky": {"cookie": "a"}}}, "balance.sticky.cookie: a service of protocol tcp"),
    ({"retry": {"max_attempts": 99}}, "retry.max_attempts: 99 is outside 1..10"),
    ({"retry": {"codes": ["OK"]}}, "retry.codes: 'OK' is not a gRPC status"),
    ({"retry": {"idempotent_methods": ["x"]}}, "retry.idempotent_methods: 'x' is neither"),
    ({"retry": {"budget_ratio": 1.5}}, "retry.budget_ratio: 1.5 is outside 0..1"),
    ({"retry": {"budget_ratio": float("nan")}}, "retry.budget_ratio: nan is outside 0..1"),
    ({"retry": {"budget_min_per_second": -1}}, "retry.budget_min_per_second: -1.0 is outside"),
    ({"retry": {"budget_window": Duration()}}, "retry.budget_window: 0.0 is outside 1..60"),
    ({"retry": {"backoff_base": Duration(seconds=1, nanos=-1)}}, "retry.backoff_base: 1 s and -1 ns are no"),
    ({"retry": {"backoff_base": Duration(nanos=10**9)}}, "retry.backoff_base: 0 s and 1000000000 ns are no"),
    ({"retry": {"backoff_base": Duration(seconds=2**62)}}, "are no google.protobuf.Duration"),
    ({"retry": {"backoff_max": DURATION}}, "retry.backoff_max: 100000.0 is outside 0.001..60"),
    ({"retry": {"statuses": [503, 200]}}, "retry.statuses: 200 is outside 400..599"),
    ({"retry": {"max_pushback": DURATION}}, "retry.max_pushback: 100000.0 is outside 0..3,600"),
    ({"retry": {"hedge": {"percentile": 95}}}, "retry.hedge.percentile: 95.0 is outside 0.5..0.999"),
    ({"retry": {"hedge": {"min_delay": Duration()}}}, "retry.hedge.min_delay: 0.0 is outside 0.001..60"),
    ({"retry": {"hedge": {"percentile": 0.9}, "max_attempts": 1}}, "retry.hedge.percentile: 0.9 needs a second"),
    ({"timeout": {"request": Duration(seconds=1), "per_try": Duration(seconds=2)}},
     "timeout.per_try: 2.0 is more than request 1.0"),
    ({"protocol": 1, "timeout": {"per_try": Duration(seconds=2)}}, "timeout.per_try: 2.0: a service of protocol tcp"),
    ({"retry": {"replay_bytes": 2**32 - 1}}, "retry.replay_bytes: 4294967295 is outside 0..1,048,576"),
    ({"outlier": {"jitter": 2}}, "outlier.jitter: 2.0 is outside 0..1"),
    ({"outlier": {"interval": Duration()}}, "outlier.interval: 0.0 is outside 0.1..3,600"),
    ({"outlier": {"success_rate": {"deviations": 11}}}, "outlier.success_rate.deviations: 11.0 is outside 0.1..10"),
    ({"outlier": {"failure_ratio": {"min_endpoints": 0}}}, "outlier.failure_ratio.min_endpoints: 0 is outside 1..1"),
    ({"outlier": {"latency": {"factor": 1}}}, "outlier.latency.factor: 1.0 is outside 1.1..1,000"),
    ({"health": {"interval": Duration()}}, "health.interval: 0.0 is outside 0.1..3,600"),
    ({"health": {"rise": 101}}, "health.rise: 101 is outside 1..100"),
    ({"health": {"fast_interval": Duration(seconds=3)}}, "health.fast_interval: 3.0 is more than interval 2.0"),
    ({"health": {"http": {"path": "x"}}}, "health.http.path: 'x' is no path"),
    ({"health": {"http": {"statuses": [{"first": 300, "last": 200}]}}}, "health.http.statuses[0]: 300-200 ends"),
    ({"health": {"command": {}}}, "health.command.argv: 0 arguments, outside 1..32"),
    ({"protocol": 6, "health": {"tcp": {}}}, "health.tcp: a service of protocol udp has no such port"),
    ({"timeout": {"connect": Duration(nanos=-1)}}, "timeout.connect: -1e-09 is outside 0.001..60"),
    ({"timeout": {"request": DURATION}}, "timeout.request: 100000.0 is outside 0.001..86,400"),
    ({"timeout": {"idle": DURATION}}, "timeout.idle: 100000.0 is outside 1..86,400"),
    ({"timeout": {"udp_idle": DURATION}}, "timeout.udp_idle: 100000.0 is outside 1..86,400"),
    ({"outlier": {"consecutive_failures": 1001}}, "outlier.consecutive_failures: 1001 is outside 0..1,000"),
    ({"outlier": {"base_ejection_time": DURATION}}, "outlier.base_ejection_time: 100000.0 is outside 0.001..3,600"),
    ({"outlier": {"max_ejection_time": Duration(seconds=1)}}, "outlier.max_ejection_time: 1.0 is less than"),
    ({"outlier": {"max_ejection_ratio": 2}}, "outlier.max_ejection_ratio: 2.0 is outside 0..1"),
    ({"limits": {"endpoint_requests": 2**31}}, "limits.endpoint_requests: 2147483648 is outside 0..1,000,000"),
    ({"limits": {"queue_timeout": DURATION}}, "limits.queue_timeout: 100000.0 is outside 0.001..60"),
    ({"limits": {"adaptive": {"max_limit": 9}}}, "limits.adaptive.enabled: is missing, and without it the rest"),
    ({"limits": {"adaptive": {"enabled": True, "rtt_samples": 0}}}, "limits.adaptive.rtt_samples: 0 is outside 1..10"),
    ({"limits": {"rate_limits": [{}]}}, "limits.rate_limits[0].rate: 0.0 is outside 0.001..1,000,000"),
    ({"limits": {"rate_limits": [{"rate": 1}, {"rate": 1, "key": "x"}]}}, "limits.rate_limits[1].key: 'x' is none of"),
    ({"limits": {"max_requests": 1}, "protocol": 1}, "limits.max_requests: a service of protocol tcp has connections"),
    ({"limits": {"max_pending": 0}, "protocol": 6}, "limits: have no meaning with protocol udp"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_SERVICES, ids=[row[1].split(":")[0] for row in BAD_SERVICES])
def test_a_service_that_breaks_a_rule_is_refused_with_the_path(fields: dict[str, Any], message: str):
    if "name" not in fields and fields:
        fields = {"name": "cart", **fields}
    with pytest.raises(InvalidResource) as caught:
        convert.service_from_proto(service_pb2.Service(**fields))
    assert message in str(caught.value)


BAD_ENDPOINTS = [
    ({"service": ""}, "service: '' is not a name"),
    ({"name": "a.b"}, "name: 'a.b' is not a name"),
    ({"host": "1.2.3.4.5"}, "host: '1.2.3.4.5' is neither"),
    ({"port": 0}, "port: 0 is outside 1..65,535"),
    ({"port": 70_000}, "port: 70000 is outside 1..65,535"),
    ({"weight": 1_000_001}, "weight: 1000001 is outside 0..1,000,000"),
    ({"priority": 128}, "priority: 128 is outside 0..127"),
    ({"health": 4}, "health: 4 is none of 0..3"),
    ({"metadata": {"a": "x" * 257}}, "metadata['a']: 257 bytes, at most 256"),
    ({"locality": {"zone": "x" * 257}}, "locality.zone: 257 bytes, at most 256"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_ENDPOINTS, ids=[row[1].split(":")[0] for row in BAD_ENDPOINTS])
def test_an_endpoint_that_breaks_a_rule_is_refused_with_the_path(fields: dict[str, Any], message: str):
    with pytest.raises(InvalidResource) as caught:
        convert.endpoint_from_proto(endpoint_pb2.Endpoint(**{"service": "cart", "name": "a", "host": "::1", "port": 80,
                                                             **fields}))
    assert str(caught.value).startswith(message)


@given(st.binary(max_size=200))
def test_any_message_is_converted_or_refused(data: bytes):
    for kind, read in ((service_pb2.Service, convert.service_from_proto),
                       (endpoint_pb2.Endpoint, convert.endpoint_from_proto)):
        try:
            message = kind.FromString(data)
        except Exception:  # protobuf's DecodeError: not a message at all
            continue
        with contextlib.suppress(InvalidResource):
            assert read(message).name == message.name


@given(seconds(0, 86_400))
def test_durations_go_there_and_back(value: float):
    assert convert.duration_from_proto("x", convert.duration_to_proto(value)) == value


@pytest.mark.parametrize(("value", "parts"), [(0.0, (0, 0)), (0.025, (0, 25_000_000)), (-1.5, (-1, -500_000_000)),
                                              (3600.0, (3600, 0)), (0.9999999999, (1, 0))])
def test_durations_in_parts(value: float, parts: tuple[int, int]):
    duration = convert.duration_to_proto(value)
    assert (duration.seconds, duration.nanos) == parts
    assert convert.duration_from_proto("x", duration) == pytest.approx(value, abs=1e-9)


def test_protocols():
    for protocol in Protocol:
        assert convert.protocol_from_proto(convert.protocol_to_proto(protocol)) is protocol
    assert convert.protocol_from_proto(0) is Protocol.GRPC
    with pytest.raises(InvalidResource, match=r"^inbound: 9"):
        convert.protocol_from_proto(9, "inbound")


def test_grpc_is_not_needed():
    assert "mesh.v1.registry_pb2_grpc" not in vars(convert)
    assert "grpc" not in {name.split(".")[0] for name in vars(convert)}
    assert sys.modules["mesh.resource.convert"] is convert
