"""Requests that say where they belong, through a proxy: hashed headers, cookies, and what answers teach of latency."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2_world import PLAIN, Call, answered, run, until, world

from mesh.balance import Balancer, NodeSet, Rng
from mesh.dataplane.affinity import Affinity, value_of
from mesh.model import (
    Algorithm,
    BalancePolicy,
    Endpoint,
    HashKey,
    HashPolicy,
    OutlierPolicy,
    Protocol,
    Service,
    StickyPolicy,
)
from mesh.wire.hpack import make_head


def cart(policy: BalancePolicy) -> Service:
    return Service("cart", Protocol.HTTP2, policy, outlier=OutlierPolicy(consecutive_failures=0))


def ok(call: Call) -> None:
    call.send_headers([(":status", "200")], end=True)


def endpoints_of(w: Any) -> list[str]:
    return [record.endpoint for record in w.records()]


def test_fields_of_a_head():
    head = make_head([(b":path", b"/a?b"), (b"cookie", b"a=1"), (b"x", b"1"), (b"x", b"2"), (b"cookie", b"b=2")])
    assert value_of(head, b":path") == b"/a?b"
    assert value_of(head, b"x") == b"1"
    assert value_of(head, b"cookie") == b"a=1; b=2"
    assert value_of(head, b"y") is None


@pytest.mark.parametrize(("policy", "needed"), [
    (BalancePolicy(), False), (BalancePolicy(Algorithm.SOURCE_IP_HASH), False),
    (BalancePolicy(Algorithm.MAGLEV, hash=HashPolicy(HashKey.PATH)), True),
    (BalancePolicy(sticky=StickyPolicy("a")), True)])
def test_only_what_looks_at_requests_needs_it(policy: BalancePolicy, needed: bool):
    assert Affinity.needed(Balancer(policy, NodeSet(), Rng(1))) == needed


def test_requests_of_one_user_go_to_one_endpoint():
    async def main() -> None:
        policy = BalancePolicy(Algorithm.RENDEZVOUS, hash=HashPolicy(HashKey.HEADER, "x-user"))
        async with world(ok, ok, ok) as w:
            w.cluster.update_service(cart(policy))
            w.cluster.update_endpoints([Endpoint("cart", name, "127.0.0.1", upstream.port)
                                        for name, upstream in zip("abc", w.upstreams, strict=True)])
            client = await w.client()
            homes: dict[str, set[str]] = {}
            for i in range(60):
                await answered(client.request([*PLAIN, ("x-user", str(i % 20))]))
                await until(w.idle)
                homes.setdefault(str(i % 20), set()).update(endpoints_of(w))
            assert all(len(seen) == 1 for seen in homes.values())
            assert set().union(*homes.values()) == {"cart/a", "cart/b", "cart/c"}
            for _ in range(40):  # nothing to go by: anywhere
                await answered(client.request(PLAIN))
            assert set(endpoints_of(w)) == {"cart/a", "cart/b", "cart/c"}

    run(main)


def test_a_client_is_given_a_cookie_once_and_stays():
    async def main() -> None:
        policy = BalancePolicy(Algorithm.ROUND_ROBIN, sticky=StickyPolicy("sid", 60.0))
        async with world(ok, ok, ok, service=cart(policy)) as w:
            client = await w.client()
            first = await answered(client.request(PLAIN))
            cookie, _, attributes = first.headers["set-cookie"].partition(";")
            assert cookie.startswith("sid=")
            assert attributes == " Max-Age=60; Path=/; HttpOnly; SameSite=Lax"
            await until(w.idle)
            [home] = endpoints_of(w)
            for _ in range(5):
                call = await answered(client.request([*PLAIN, ("cookie", "x=1"), ("cookie", cookie)]))
                assert "set-cookie" not in call.headers
            assert {(record.endpoint, record.why) for record in w.records()} == {(home, "sticky")}
            w.cluster.update_endpoints([endpoint for endpoint in w.cluster.endpoints.values()
                                        if endpoint.resource != home])
            call = await answered(client.request([*PLAIN, ("cookie", cookie)]))
            assert call.headers["set-cookie"].partition(";")[0] != cookie

    run(main)


def test_answers_teach_how_long_an_endpoint_takes():
    """To the head of the answer, not to the end of a stream; a call that is given up counts with what it has waited."""
    async def main() -> None:
        def slow(call: Call) -> None:
            asyncio.get_running_loop().call_later(0.05, lambda: call.send_headers([(":status", "200")], end=False))

        async with world(slow, service=cart(BalancePolicy(Algorithm.PEAK_EWMA))) as w:
            [node] = w.cluster.nodes.nodes
            client = await w.client()
            call = client.request(PLAIN)
            await until(lambda: call.headers)
            assert node.samples == 1
            latency = node.latency
            assert 0.03 < latency < 5
            await asyncio.sleep(0)
            call.cancel(8)
            await until(w.idle)
            assert node.latency == latency
            given_up = client.request(PLAIN)
            await until(lambda: node.in_flight == 1 and len(w.upstreams[0].calls) == 2)
            given_up.cancel(8)
            await until(w.idle)
            assert node.latency >= latency * 0.9

    run(main)
