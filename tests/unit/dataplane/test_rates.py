"""Rate limits: which bucket a request draws from, what a refusal says."""

from __future__ import annotations

from h2_world import GRPC, PLAIN, Call, answered, run, world
from http1_world import answer, ok
from http1_world import world as http1_world

from mesh.dataplane.rates import Rates
from mesh.model import Endpoint, LimitsPolicy, Protocol, RateLimit, Service
from mesh.model.values import SIDECAR_METADATA
from mesh.wire.hpack import Head, make_head


def head(*fields: tuple[bytes, bytes]) -> Head:
    return make_head([(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a"), *fields])


def test_one_bucket_for_all_one_per_source_one_per_value() -> None:
    everyone = Rates((RateLimit(1, 2),), 1)
    assert [everyone.take(head(), source, 10.0) for source in ("a", "b", "c")] == [0, 0, 1]
    sources = Rates((RateLimit(1, 1, "source_ip"),), 1)
    assert [sources.take(head(), source, 10.0) for source in ("a", "b", "a")] == [0, 0, 1]
    users = Rates((RateLimit(1, 1, "header:x-user"),), 1)
    asks = [head((b"x-user", b"1")), head((b"x-user", b"2")), head(), head((b"x-user", b"1")), head()]
    assert [users.take(ask, "a", 10.0) for ask in asks] == [0, 0, 0, 1, 1]


def test_a_request_draws_from_all_or_from_none() -> None:
    rates = Rates((RateLimit(1, 1, "source_ip"), RateLimit(0.5, 3)), 1)
    assert [rates.take(head(), "a", 0.0) for _ in range(10)] == [0] + [1] * 9
    assert rates.take(head(), "b", 0.0) == 0
    assert rates.take(head(), "c", 0.0) == 0
    assert rates.take(head(), "d", 0.0) == 2  # the second is empty: what was refused before has taken nothing


def test_a_workers_part() -> None:
    rates = Rates((RateLimit(100, 10),), 4)
    assert sum(rates.take(head(), "a", 0.0) == 0 for _ in range(10)) in (2, 3)
    assert sum(rates.take(head(), "a", 10.0 + n / 1000) == 0 for n in range(1000)) in range(25, 29)


def limited(protocol: Protocol = Protocol.GRPC) -> Service:
    return Service("cart", protocol, limits=LimitsPolicy(rate_limits=(RateLimit(0.25, 1),)))


def test_a_refusal_says_when_to_come_again() -> None:
    async def main() -> None:
        async with world(Call.answer, service=limited()) as w:
            client = await w.client()
            assert (await answered(client.request(GRPC))).trailers == {"grpc-status": "0"}
            refused = await answered(client.request(GRPC))
            assert (refused.headers["grpc-status"], refused.headers["mesh-reason"]) == ("8", "rate_limited")
            assert refused.headers["retry-after"] == "4"
            assert 3000 < int(refused.headers["grpc-retry-pushback-ms"]) <= 4000
            plain = await answered(client.request(PLAIN))
            assert (plain.headers[":status"], plain.headers["retry-after"]) == ("429", "4")
            assert "grpc-retry-pushback-ms" not in plain.headers
            assert w.cluster.statistics()["limits"]["refused"] == {"rate_limited": 2}

    run(main)


def test_http1_is_told_in_the_same_way() -> None:
    async def main() -> None:
        async with http1_world(ok) as w:
            w.cluster.update_service(limited(Protocol.HTTP1))
            reader, writer = await w.caller()
            ask = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"
            writer.write(ask)
            assert b" 200 " in await answer(reader)
            writer.write(ask)
            refused = await answer(reader)
            assert b" 429 " in refused
            assert b"retry-after: 4" in refused.lower()
            w.pass_time(4)
            writer.write(ask)
            assert b" 200 " in await answer(reader)

    run(main)


def test_where_an_endpoint_has_a_sidecar_that_one_counts() -> None:
    """... for it sees all callers; what it counted does not begin anew for other news."""
    async def main() -> None:
        async with world(Call.answer, service=limited()) as w:
            rates = w.cluster.rates
            assert rates is not None
            [endpoint] = [node.endpoint for node in w.cluster.nodes.nodes]
            limits = LimitsPolicy(max_pending=5, rate_limits=(RateLimit(0.25, 1),))
            w.cluster.update_service(Service("cart", limits=limits))
            assert w.cluster.rates is rates
            w.cluster.update_endpoints([
                Endpoint("cart", "a", endpoint.host, endpoint.port, metadata=(SIDECAR_METADATA,))])
            assert w.cluster.rates is None
            w.cluster.update_endpoints([endpoint])
            assert w.cluster.rates is not None

    run(main)
