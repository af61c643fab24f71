"""A cluster as the TCP and UDP relays ask it."""

from __future__ import annotations

from mesh import errors
from mesh.balance.rng import Rng
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Recorder
from mesh.dataplane.tcp_upstream import ClusterUpstream, PickedEndpoint
from mesh.model import Endpoint, LimitsPolicy, OutlierPolicy, Protocol, Service, TimeoutPolicy


def made() -> tuple[Cluster, ClusterUpstream]:
    cluster = Cluster(Hub(None, Rng(1), Recorder(), lambda: 1.0, lambda: 0), "stock")
    cluster.update_service(Service("stock", Protocol.TCP, timeout=TimeoutPolicy(connect=0.5, idle=7, udp_idle=3),
                                   outlier=OutlierPolicy(consecutive_failures=2)))
    cluster.update_endpoints([Endpoint("stock", name, "127.0.0.1", port) for name, port in (("a", 1), ("b", 2))])
    return cluster, ClusterUpstream(cluster)


def test_picks_count_until_released_and_avoid_what_was_tried() -> None:
    cluster, upstream = made()
    first = upstream.pick("10.0.0.1", [])
    assert first is not None
    assert (first.host, first.endpoint) == ("127.0.0.1", f"stock/{first.node.endpoint.name}")
    second = upstream.pick("10.0.0.1", [first])
    assert second is not None
    assert second.node is not first.node
    assert [node.in_flight for node in cluster.nodes.nodes] == [1, 1]
    upstream.released(first, True, None)
    upstream.released(second, True, None)
    assert [node.in_flight for node in cluster.nodes.nodes] == [0, 0]


def test_limits_are_the_services() -> None:
    cluster, upstream = made()
    assert (upstream.connect_timeout, upstream.idle_timeout, upstream.udp_idle) == (0.5, 7, 3)
    cluster.update_service(None)
    assert (upstream.idle_timeout, upstream.udp_idle) == (3600, 60)


def test_only_the_endpoints_own_failures_count_against_it() -> None:
    _, upstream = made()
    for reason, counted in ((errors.CALLER_GONE, 0), (errors.CONNECT_FAILED, 1)):
        target = upstream.pick("10.0.0.1", [])
        assert target is not None
        target.node.consecutive_failures = 0
        upstream.released(target, False, reason)
        assert target.node.consecutive_failures == counted


def test_a_probe_that_stands_for_a_second_ends_the_ejection_as_connections_may_live_for_days() -> None:
    now = [1.0]
    hub = Hub(None, Rng(1), Recorder(), lambda: now[0], lambda: 0)
    cluster = Cluster(hub, "stock")
    cluster.update_service(Service("stock", Protocol.TCP, outlier=OutlierPolicy(1, 10.0, jitter=0.0)))
    cluster.update_endpoints([Endpoint("stock", name, "127.0.0.1", 9) for name in ("a", "b", "c")])
    upstream = ClusterUpstream(cluster)
    bad = cluster.nodes.by_name["a"]

    def probe(at: float) -> PickedEndpoint:
        now[0] = at
        hub.touch()
        target = upstream.pick("10.0.0.1", [])
        assert target is not None
        assert target.node is bad
        return target

    cluster.failed(bad)
    target = probe(11.5)
    hub.timers.advance(12.0)
    upstream.released(target, False, errors.CONNECTION_LOST)
    now[0] = 13.0
    hub.touch()
    hub.timers.advance(13.0)
    assert bad.out(13.0)
    probe(33.0)
    now[0] = 34.1
    hub.touch()
    assert bad.out(34.1)
    hub.timers.advance(34.1)
    assert not bad.out(34.1)


def test_an_endpoint_that_left_is_gone() -> None:
    cluster, upstream = made()
    target = upstream.pick("10.0.0.1", [])
    assert target is not None
    assert not target.gone
    cluster.update_endpoints([endpoint for name, endpoint in cluster.endpoints.items()
                              if name != target.node.endpoint.name])
    assert target.gone
    upstream.released(target, True, None)


def test_no_service_no_pick() -> None:
    cluster, upstream = made()
    cluster.update_service(None)
    assert upstream.pick("10.0.0.1", []) is None


def test_only_so_many_connections() -> None:
    """At each endpoint and at all of them; a pick avoids the endpoint that is full."""
    cluster, upstream = made()
    limits = LimitsPolicy(endpoint_connections=2, max_connections=3)
    cluster.update_service(Service("stock", Protocol.TCP, limits=limits))
    targets = [upstream.pick("10.0.0.1", []) for _ in range(3)]
    assert all(target is not None for target in targets)
    assert sorted(node.in_flight for node in cluster.nodes.nodes) == [1, 2]
    assert upstream.refusal is None
    assert upstream.pick("10.0.0.1", []) is None
    assert upstream.refusal is errors.LIMIT_CONNECTIONS
    cluster.update_service(Service("stock", Protocol.TCP, limits=LimitsPolicy(endpoint_connections=2)))
    targets.append(upstream.pick("10.0.0.1", []))
    assert [node.in_flight for node in cluster.nodes.nodes] == [2, 2]
    assert upstream.pick("10.0.0.1", []) is None
    assert cluster.statistics()["limits"] == {"connections": 4, "pending": 0, "retries": 0,
                                              "refused": {"limit_connections": 2}}
    for target in targets:
        assert target is not None
        upstream.released(target, True, None)
    assert cluster.statistics()["limits"]["connections"] == 0
    assert upstream.pick("10.0.0.1", []) is not None
