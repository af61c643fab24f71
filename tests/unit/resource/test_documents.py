"""Documents: both forms, every field, durations, what is refused and where; and the way back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidResource
from mesh.model import (
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
from mesh.model.custom import CustomMode, CustomPolicy
from mesh.resource.documents import (
    endpoint_from_document,
    endpoint_to_document,
    format_duration,
    from_document,
    parse_duration,
    service_from_document,
    service_to_document,
)

SERVICE = {
    "name": "cart", "protocol": "http2", "balance": {"algorithm": "weighted_round_robin"},
    "retry": {"max_attempts": 2, "codes": ["ABORTED", "UNAVAILABLE"], "idempotent_methods": ["/shop.Cart/Get", "/x/*"],
              "budget_ratio": 0.5, "budget_min_per_second": 3, "budget_window": "5s", "backoff_base": "10ms",
              "backoff_max": 0.5, "replay_bytes": 1024, "statuses": [429, 503], "max_pushback": "2s",
              "hedge": {"percentile": 0.99, "min_delay": "5ms"}},
    "timeout": {"connect": "250ms", "request": "1.5s", "idle": "1h", "udp_idle": "1m", "per_try": "400ms"},
    "outlier": {"consecutive_failures": 7, "base_ejection_time": "1m", "max_ejection_time": "2m",
                "max_ejection_ratio": 0.3},
    "limits": {"endpoint_connections": 50, "endpoint_requests": 4, "endpoint_pending": 8,
               "endpoint_retries": 3, "max_requests": 100, "max_connections": 200,
               "max_retries": 10, "max_pending": 0, "queue_timeout": "250ms",
               "adaptive": {"enabled": True, "min_limit": 5, "max_limit": 50, "percentile_ratio": 0.9,
                            "update_interval": "1s", "rtt_interval": "2m", "rtt_samples": 9, "jitter_ratio": 0.2,
                            "buffer_ratio": 0.5},
               "rate_limits": [{"rate": 100}, {"rate": 2.5, "burst": 9, "key": "header:x-user", "max_keys": 77}]},
}
LIMITS_VALUE = LimitsPolicy(50, 4, 8, 3, 100, 200, 10, 0, 0.25,
                            AdaptivePolicy(True, 5, 50, 0.9, 1.0, 120.0, 9, 0.2, 0.5),
                            (RateLimit(100, 100), RateLimit(2.5, 9, "header:x-user", 77)))
SERVICE_VALUE = Service(
    "cart", Protocol.HTTP2, BalancePolicy(Algorithm.WEIGHTED_ROUND_ROBIN),
    RetryPolicy(2, frozenset({"ABORTED", "UNAVAILABLE"}), ("/shop.Cart/Get", "/x/*"), 0.5, 3.0, 5.0, 0.01, 0.5, 1024,
                frozenset({429, 503}), 2.0, HedgePolicy(0.99, 0.005)),
    TimeoutPolicy(0.25, 1.5, 3600.0, 60.0, 0.4), OutlierPolicy(7, 60.0, 120.0, 0.3),
    limits=LIMITS_VALUE)
ENDPOINT = {"service": "cart", "name": "cart-0", "host": "::1", "port": 80, "weight": 3,
            "locality": {"region": "eu", "zone": "eu-1"}, "health": "draining", "metadata": {"version": "1.2"},
            "priority": 2}
ENDPOINT_VALUE = Endpoint("cart", "cart-0", "::1", 80, 3, Locality("eu", "eu-1"), Health.DRAINING,
                          (("version", "1.2"),), 2)


def test_every_field_of_a_service():
    assert service_from_document(SERVICE) == SERVICE_VALUE


def test_every_field_of_an_endpoint():
    assert endpoint_from_document(ENDPOINT) == ENDPOINT_VALUE


BALANCES = [
    ({"algorithm": "first_available", "capacity": 4}, BalancePolicy(Algorithm.FIRST_AVAILABLE, capacity=4)),
    ({"algorithm": "peak_ewma", "choices": 3, "latency": {"decay": "5s", "initial": "100ms"}},
     BalancePolicy(Algorithm.PEAK_EWMA, choices=3, latency=LatencyPolicy(5.0, 0.1))),
    ({"algorithm": "ring_hash", "hash": {"key": "header", "name": "x-user", "bounded_load": 1.25,
                                         "min_ring_size": 2048, "max_ring_size": 4096}},
     BalancePolicy(Algorithm.RING_HASH, hash=HashPolicy(HashKey.HEADER, "x-user", 1.25, 2048, 4096))),
    ({"algorithm": "maglev", "hash": {"key": "HASH_KEY_PATH", "table_size": 1009}},
     BalancePolicy(Algorithm.MAGLEV, hash=HashPolicy(HashKey.PATH, table_size=1009))),
    ({"subset": {"match": {"version": "2"}, "or_any": True, "size": 20},
      "locality": {"prefer": "zone", "failover": ["us", "ap"]},
      "slow_start": {"window": "30s", "aggression": 2, "min_ratio": 0.2},
      "overprovisioning": 1.2, "panic_threshold": 0.3, "merge_window": "1s"},
     BalancePolicy(subset=SubsetPolicy((("version", "2"),), True, 20),
                   locality=LocalityPolicy(Prefer.ZONE, ("us", "ap")), slow_start=SlowStartPolicy(30.0, 2.0, 0.2),
                   overprovisioning=1.2, panic_threshold=0.3, merge_window=1.0)),
    ({"sticky": {"cookie": "sid", "ttl": "1h", "path": "/shop"}},
     BalancePolicy(sticky=StickyPolicy("sid", 3600.0, "/shop"))),
    ({"custom": {"class": "Mine", "source": "class Mine:\n    def pick(self, *given): pass\n", "mode": "live",
                 "time_limit": "2ms"}},
     BalancePolicy(custom=CustomPolicy("Mine", "class Mine:\n    def pick(self, *given): pass\n", CustomMode.LIVE,
                                       0.002))),
]


@pytest.mark.parametrize(("document", "policy"), BALANCES)
def test_every_field_of_a_balance_policy_there_and_back(document: dict[str, Any], policy: BalancePolicy):
    service = Service("cart", balance=policy)
    assert service_from_document({"name": "cart", "balance": document}) == service
    assert service_from_document(json.loads(json.dumps(service_to_document(service)))) == service


HEALTH = [
    ({"outlier": {"jitter": 0.5, "half_open": False, "interval": "5s", "success_rate": {"deviations": 0},
                  "failure_ratio": {"threshold": 0.85, "min_endpoints": 2, "min_requests": 5},
                  "latency": {"factor": 3, "floor": "20ms", "min_endpoints": 4, "min_requests": 6}}},
     {"outlier": OutlierPolicy(jitter=0.5, half_open=False, interval=5.0, success_rate=SuccessRateOutlier(0.0),
                               failure_ratio=FailureRatioOutlier(0.85, 2, 5),
                               latency=LatencyOutlier(3.0, 0.02, 4, 6))}),
    ({"health": {"http": {"method": "HEAD", "path": "/healthz", "host": "cart", "statuses": ["200-299", 401]},
                 "interval": "1s", "timeout": "200ms", "rise": 1, "fall": 5, "jitter": 0, "fast_interval": "100ms",
                 "port": 8081, "uneject": False}},
     {"health": HealthPolicy(http=HttpCheck("HEAD", "/healthz", "cart", ((200, 299), (401, 401))), interval=1.0,
                             timeout=0.2, rise=1, fall=5, jitter=0.0, fast_interval=0.1, port=8081, uneject=False)}),
    ({"health": {"redis": None}}, {"health": HealthPolicy(redis=RedisCheck())}),
    ({"health": {"tcp": {}}}, {"health": HealthPolicy(tcp=TcpCheck())}),
    ({"health": {"grpc": {"service": "shop.Cart"}}}, {"health": HealthPolicy(grpc=GrpcCheck("shop.Cart"))}),
    ({"health": {"mysql": {"user": "check"}}}, {"health": HealthPolicy(mysql=MysqlCheck("check"))}),
    ({"health": {"postgres": None, "tcp": None}}, "health.postgres: an endpoint is checked in one way, and tcp is"),
    ({"health": {"command": {"argv": ["check", "-v"]}}},
     {"health": HealthPolicy(command=CommandCheck(("check", "-v")))}),
    ({"health": {"interval": "3s"}}, {"health": HealthPolicy(interval=3.0)}),
    ({"health": {"http": {"statuses": ["2xx"]}}}, "health.http.statuses[0]: '2xx' is neither a status (204) nor"),
    ({"health": {"http": {"statuses": [True]}}}, "health.http.statuses[0]: True is neither"),
    ({"health": {"http": {"statuses": []}}}, "health.http.statuses: 0 ranges, outside 1..20"),
    ({"health": {"https": {}}}, "health.https: unknown field; did you mean http?"),
    ({"health": {"interval": "200ms", "fast_interval": "1s"}}, "health.fast_interval: 1.0 is more than interval 0.2"),
]


@pytest.mark.parametrize(("document", "policies"), HEALTH)
def test_every_field_of_the_health_policies_there_and_back(document: dict[str, Any], policies: Any):
    if isinstance(policies, str):
        with pytest.raises(InvalidResource) as caught:
            service_from_document({"name": "cart", **document})
        assert str(caught.value).startswith(policies)
        return
    service = Service("cart", **policies)
    assert service_from_document({"name": "cart", **document}) == service
    assert service_from_document(json.loads(json.dumps(service_to_document(service)))) == service


def test_what_a_policy_does_not_say_is_not_written():
    assert service_to_document(Service("cart"))["balance"] == {"algorithm": "power_of_two"}


def test_what_is_left_out_or_null_is_the_default():
    assert service_from_document({"name": "cart"}) == Service("cart")
    assert service_from_document({"name": "cart", "retry": None, "timeout": {}, "outlier": {"max_ejection_ratio": None},
                                  "balance": {"algorithm": None}, "protocol": None}) == Service("cart")


@pytest.mark.parametrize("value", [
    Service("cart"), SERVICE_VALUE,
    Service("a", Protocol.TCP, retry=RetryPolicy(budget_ratio=1 / 3, backoff_base=0.001))])
def test_services_go_there_and_back(value: Service):
    assert service_from_document(service_to_document(value)) == value
    assert service_from_document(json.loads(json.dumps(service_to_document(value)))) == value


@pytest.mark.parametrize("value", [Endpoint("cart", "a", "localhost", 1), ENDPOINT_VALUE])
def test_endpoints_go_there_and_back(value: Endpoint):
    assert endpoint_from_document(json.loads(json.dumps(endpoint_to_document(value)))) == value


@pytest.mark.parametrize("algorithm", Algorithm)
def test_enums_short_and_long_in_either_case(algorithm: Algorithm):
    needed = {"capacity": 1} if algorithm is Algorithm.FIRST_AVAILABLE else {}
    for text in (algorithm.value, algorithm.value.upper(), f"ALGORITHM_{algorithm.value.upper()}"):
        read = service_from_document({"name": "a", "balance": {"algorithm": text, **needed}})
        assert read.balance.algorithm is algorithm
    assert service_from_document({"name": "a", "protocol": "PROTOCOL_TCP"}).protocol is Protocol.TCP
    assert endpoint_from_document({**ENDPOINT, "health": "HEALTH_UNHEALTHY"}).health is Health.UNHEALTHY


def test_a_document_that_is_one_resource():
    assert from_document({"kind": "Service", **SERVICE}) == [("", SERVICE_VALUE)]
    assert from_document({**ENDPOINT, "kind": "Endpoint"}) == [("", ENDPOINT_VALUE)]


def test_a_document_of_several():
    assert from_document({"endpoints": [ENDPOINT], "services": [SERVICE, {"name": "b"}]}) == [
        ("services[0]", SERVICE_VALUE), ("services[1]", Service("b")), ("endpoints[0]", ENDPOINT_VALUE)]
    assert from_document({"services": None}) == []
    assert from_document({}) == []


BARE = {"kind": "Service", "name": "a"}
FULL = {"kind": "Endpoint", **ENDPOINT}
BAD = [
    (7, "expected a mapping with `kind`, or with `services` and `endpoints`, not 7"),
    ([SERVICE], "expected a mapping with `kind`, or with `services` and `endpoints`, not a list"),
    ({"kind": "service"}, "kind: 'service' is neither Service nor Endpoint"),
    ({"kind": None}, "kind: nothing is neither Service nor Endpoint"),
    ({"service": []}, "service: unknown field; did you mean services?"),
    ({"nonsense": []}, "nonsense: unknown field; known here: services, endpoints, kind"),
    ({"services": {}}, "services: expected a list, not a mapping"),
    ({"services": ["x"]}, "services[0]: expected a mapping, not 'x'"),
    ({"services": [SERVICE, {}]}, "services[1].name: is missing"),
    ({"services": [{"name": None}]}, "services[0].name: is missing"),
    ({"endpoints": [{"service": "a", "name": "b", "host": "c"}]}, "endpoints[0].port: is missing"),
    ({"kind": "Service"}, "name: is missing"),
    ({"kind": "Service", "name": 7}, "name: expected text, not 7; put it in quotes"),
    ({"kind": "Service", "name": True}, "name: expected text, not True; put it in quotes"),
    ({**BARE, "retry": {"maxAttempts": 2}},
     "retry.maxAttempts: unknown field; did you mean max_attempts?"),
    ({**BARE, "retry": {"max-attempts": 2}},
     "retry.max-attempts: unknown field; did you mean max_attempts?"),
    ({**BARE, "timeouts": {}}, "timeouts: unknown field; did you mean timeout?"),
    ({**BARE, 7: {}}, "7: unknown field; known here: name, protocol"),
    ({**BARE, "retry": {"a\nb\x1b[2J": 1}}, "retry['a\\nb\\x1b[2J']: unknown field; known here: max_attempts"),
    ({**BARE, "\n": 1}, "['\\n']: unknown field; known here: name, protocol"),
    ({**BARE, "retry": {"max_attempts": 99}}, "retry.max_attempts: 99 is outside 1..10"),
    ({**BARE, "retry": {"max_attempts": 2.0}}, "retry.max_attempts: expected a whole number, not"),
    ({**BARE, "retry": {"max_attempts": True}}, "retry.max_attempts: expected a whole number, not"),
    ({**BARE, "retry": {"codes": []}}, "retry.codes: no status at all"),
    ({**BARE, "retry": {"codes": "UNAVAILABLE"}}, "retry.codes: expected a list, not 'UNAVAILABLE'"),
    ({**BARE, "retry": {"codes": ["ABORTED", 14]}}, "retry.codes[1]: expected text, not 14"),
    ({**BARE, "retry": {"budget_ratio": "20%"}}, "retry.budget_ratio: expected a number, not '20%'"),
    ({**BARE, "retry": {"budget_ratio": 10**5000}}, "not a number of too many digits"),
    ({**BARE, "retry": {"backoff_base": "1 s"}}, "retry.backoff_base: '1 s' is no duration: 250ms"),
    ({**BARE, "retry": {"backoff_base": 10**5000}}, "not a number of too many digits"),
    ({**BARE, "timeout": {"connect": "2m"}}, "timeout.connect: 120.0 is outside 0.001..60"),
    ({**BARE, "protocol": "http"}, "protocol: 'http' is none of auto, tcp, udp, http1, http2, grpc"),
    ({**BARE, "protocol": 3}, "protocol: expected text, not 3"),
    ({**BARE, "balance": "random"}, "balance: expected a mapping, not 'random'"),
    ({**FULL, "kidn": 1}, "kidn: unknown field"),
    ({**FULL, "metadata": {"version": 1.2}},
     "metadata['version']: expected text, not 1.2; put it in quotes"),
    ({**FULL, "metadata": {1: "x"}}, "metadata[1]: expected text, not 1; put it in quotes"),
    ({**FULL, "metadata": ["x"]}, "metadata: expected a mapping, not a list"),
    ({**FULL, "locality": {"rack": "1"}}, "locality.rack: unknown field; known here: region, zone"),
    ({**FULL, "weight": -1}, "weight: -1 is outside 0..1,000,000"),
    ({**FULL, "host": "x" * 500}, "is neither an IP address nor a host name"),
]


@pytest.mark.parametrize(("document", "message"), BAD)
def test_anything_else_is_refused_with_its_place(document: Any, message: str):
    with pytest.raises(InvalidResource) as caught:
        from_document(document)
    assert message in str(caught.value)


@pytest.mark.parametrize(("value", "seconds"), [("250ms", 0.25), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0),
                                                ("0s", 0.0), (".5s", 0.5), ("5.s", 5.0), ("0.3ms", 0.0003), (3, 3.0),
                                                (0.25, 0.25)])
def test_durations(value: Any, seconds: float):
    assert parse_duration(value, "x") == seconds


@pytest.mark.parametrize("value", ["", "5", "s", "-1s", "1S", "1 s", "1d", "1e3s", "1s ", "1s1ms", None, True, [],
                                   "٣s"])
def test_no_durations(value: Any):
    with pytest.raises(InvalidResource, match=r"^x: "):
        parse_duration(value, "x")


@given(st.integers(0, 86_400 * 10**9))
def test_durations_go_there_and_back(nanos: int):
    seconds = nanos / 10**9
    assert parse_duration(format_duration(seconds), "x") == seconds


def test_durations_are_written_as_proto3_json_does():
    assert [format_duration(seconds) for seconds in (0.0, 10.0, 0.25, 3600.0, 1e-9)] == [
        "0s", "10s", "0.25s", "3600s", "0.000000001s"]


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.one_of(
                        st.text(max_size=5), st.sampled_from(["kind", "services", "endpoints", *SERVICE, *ENDPOINT])),
                        inner, max_size=4), max_leaves=12)


@pytest.mark.slow
@given(JSON)
def test_any_document_is_read_or_refused(document: Any):
    try:
        found = from_document(document)
    except InvalidResource:
        return
    for _, resource in found:
        assert isinstance(resource, (Service, Endpoint))
