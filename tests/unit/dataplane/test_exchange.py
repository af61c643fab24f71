"""One proxied request, against scripted HTTP/2 peers.

What reaches the endpoint, what comes back, and what is tried again.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2_world import DONE, GRPC, OK, PLAIN, Call, Upstream, answered, run, until, world

from mesh.dataplane.record import CLIENT, RETRY, SERVER
from mesh.model import Algorithm, BalancePolicy, Endpoint, OutlierPolicy, RetryPolicy, Service, TimeoutPolicy

KEY = ("idempotency-key", "k1")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def cart(**policies: Any) -> Service:
    policies.setdefault("retry", RetryPolicy(backoff_base=0.001, backoff_max=0.002))
    policies.setdefault("outlier", OutlierPolicy(consecutive_failures=0))
    return Service("cart", balance=BalancePolicy(Algorithm.ROUND_ROBIN), **policies)


def echo(call: Call) -> None:
    """Answers when the request has ended."""
    asyncio.get_running_loop().create_task(_echo(call))


async def _echo(call: Call) -> None:
    await until(lambda: call.ended)
    call.answer(call.body)


def refuse(call: Call) -> None:
    call.cancel(7)


def trailers_only(status: int, *more: tuple[str, str]) -> Any:
    return lambda call: call.send_headers([*OK, ("grpc-status", str(status)), *more], end=True)


def test_a_request_and_its_answer_pass() -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            call = (await w.client()).request([*GRPC, ("x-user", "7"), ("data-bin", "AAE=")], end=False)
            call.send(b"hello ")
            call.send(b"world", end=True)
            await answered(call)
            assert call.headers[":status"] == "200"
            assert call.body == b"hello world"
            assert call.trailers == {"grpc-status": "0"}
            seen = w.upstreams[0].calls[0]
            assert seen.headers[":path"] == "/shop.Cart/Add"
            assert seen.headers["x-user"] == "7"
            assert seen.headers["data-bin"] == "AAE="
            assert "grpc-timeout" not in seen.headers
            await until(w.idle)
            [record] = w.records()
            assert (record.kind, record.path, record.grpc_status, record.reason) == (CLIENT, b"/shop.Cart/Add", 0, "")
            assert (record.endpoint, record.attempts, record.why) == ("cart/a", 1, "round_robin")
            assert (record.request_bytes, record.response_bytes) == (11, 11)
            assert seen.headers["traceparent"] == \
                f"00-{record.trace_hi:016x}{record.trace_lo:016x}-{record.span_id:016x}-01"

    run(main)


@pytest.mark.parametrize("flag", ["00", "01"])
def test_the_callers_trace_is_joined(flag: str) -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            context = [("traceparent", f"{PARENT[:-2]}{flag}"), ("tracestate", "a=1,b=2")]
            await answered((await w.client()).request(GRPC + context))
            seen = w.upstreams[0].calls[0].headers
            assert seen["traceparent"].startswith(PARENT[:36])
            assert seen["traceparent"][36:52] != PARENT[36:52]
            assert seen["traceparent"].endswith(flag)
            assert seen["tracestate"] == "a=1,b=2"
            await until(w.idle)
            assert len(w.records()) == int(flag)

    run(main)


def test_a_malformed_traceparent_starts_a_trace() -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            await answered((await w.client()).request([*GRPC, ("traceparent", "00-zz-1-01")]))
            assert w.upstreams[0].calls[0].headers["traceparent"].startswith("00-")
            await until(w.idle)
            assert w.records()[0].parent_id == 0

    run(main)


def test_what_was_refused_goes_to_another_endpoint() -> None:
    async def main() -> None:
        async with world(refuse, echo, service=cart()) as w:
            call = (await w.client()).request(GRPC, end=False)
            call.send(b"body", end=True)
            await answered(call)
            assert call.trailers == {"grpc-status": "0"}
            assert call.body == b"body"
            await until(w.idle)
            retry, whole = w.records()
            assert (retry.kind, retry.parent_id, retry.endpoint, retry.why) == \
                (RETRY, whole.span_id, "cart/b", "not sent")
            assert (whole.kind, whole.attempts, whole.endpoint) == (CLIENT, 2, "cart/a")
            [(_, name, attributes)] = whole.events
            assert name == "attempt failed"
            assert attributes["mesh.reason"] == "upstream_refused_stream"
            assert w.upstreams[1].calls[0].headers["traceparent"][36:52] == f"{retry.span_id:016x}"

    run(main)


def test_an_endpoint_that_refuses_connections_is_not_the_end() -> None:
    async def main() -> None:
        async with world(echo, service=cart(), dead=2) as w:
            client = await w.client()
            for _ in range(6):
                call = await answered(client.request(GRPC))
                assert call.trailers == {"grpc-status": "0"}

    run(main)


@pytest.mark.parametrize(("headers", "declared", "repeated"), [
    (GRPC, (), False), ([*GRPC, KEY], (), True), (GRPC, ("/shop.Cart/*",), True), (GRPC, ("/shop.Cart/Get",), False)])
def test_what_may_have_run_is_repeated_only_when_that_is_safe(headers: Any, declared: Any, repeated: bool) -> None:
    async def main() -> None:
        retry = RetryPolicy(backoff_base=0.001, backoff_max=0.002, idempotent_methods=declared)
        async with world(lambda call: call.cancel(2), echo, service=cart(retry=retry)) as w:
            call = await answered((await w.client()).request(headers))
            assert len(w.upstreams[1].calls) == int(repeated)
            if not repeated:
                assert call.headers["grpc-status"] == "13"
                assert call.headers["mesh-reason"] == "upstream_reset"

    run(main)


def test_a_lost_connection_is_told_with_its_reason() -> None:
    async def main() -> None:
        async with world(lambda call: call.peer.transport.abort(), service=cart()) as w:
            call = await answered((await w.client()).request(GRPC))
            assert call.headers["grpc-status"] == "14"
            assert call.headers["mesh-reason"] == "upstream_connection_lost"
            assert "cart/a, attempt 1" in call.headers["grpc-message"]

    run(main)


def test_not_delivered_is_repeated_without_a_key() -> None:
    async def main() -> None:
        async with world(trailers_only(14, ("mesh-not-delivered", "1")), echo, service=cart()) as w:
            call = await answered((await w.client()).request(GRPC))
            assert call.trailers == {"grpc-status": "0"}

    run(main)


@pytest.mark.parametrize(("status", "repeated"), [(14, True), (5, False), (13, False)])
def test_a_failure_status_is_repeated_if_listed(status: int, repeated: bool) -> None:
    async def main() -> None:
        async with world(trailers_only(status, ("x-detail", "kept")), echo, service=cart()) as w:
            call = await answered((await w.client()).request([*GRPC, KEY]))
            assert len(w.upstreams[1].calls) == int(repeated)
            if not repeated:
                assert call.headers["grpc-status"] == str(status)
                assert call.headers["x-detail"] == "kept"

    run(main)


def test_attempts_end_at_the_policys_bound() -> None:
    async def main() -> None:
        retry = RetryPolicy(max_attempts=4, backoff_base=0.001, backoff_max=0.001)
        async with world(refuse, refuse, service=cart(retry=retry)) as w:
            call = await answered((await w.client()).request(GRPC))
            assert call.headers["mesh-reason"] == "upstream_refused_stream"
            assert sum(len(each.calls) for each in w.upstreams) == 4
            assert w.entry.retries == 3

    run(main)


def test_the_budget_bounds_retries() -> None:
    async def main() -> None:
        retry = RetryPolicy(budget_ratio=0.0, budget_min_per_second=0.5, budget_window=10, backoff_base=0.001,
                            backoff_max=0.001)
        async with world(refuse, service=cart(retry=retry)) as w:
            client = await w.client()
            for _ in range(20):
                await answered(client.request(GRPC))
            assert len(w.upstreams[0].calls) == 25

    run(main)


def test_the_body_is_sent_again_also_what_came_during_the_pause() -> None:
    async def main() -> None:
        retry = RetryPolicy(backoff_base=0.05, backoff_max=0.05)
        async with world(refuse, echo, service=cart(retry=retry)) as w:
            call = (await w.client()).request(GRPC, end=False)
            call.send(b"one ")
            await until(lambda: w.entry.retries == 1)
            call.send(b"two ")
            call.send(b"three", end=True)
            await answered(call)
            assert call.body == b"one two three"

    run(main)


def test_a_body_beyond_the_replay_buffer_is_not_repeated() -> None:
    async def main() -> None:
        def late(call: Call) -> None:
            asyncio.get_running_loop().create_task(refuse_late(call))

        async def refuse_late(call: Call) -> None:
            await until(lambda: len(call.body) == 20_000)
            call.cancel(7)

        retry = RetryPolicy(replay_bytes=16_000)
        async with world(late, echo, service=cart(retry=retry)) as w:
            call = (await w.client()).request(GRPC, end=False)
            call.send(bytes(10_000))
            call.send(bytes(10_000))
            await answered(call)
            assert call.headers["mesh-reason"] == "upstream_refused_stream"
            assert w.upstreams[1].calls == []

    run(main)


def test_a_body_of_which_nothing_was_sent_is_never_too_large() -> None:
    """An endpoint that is gone: what came while a connection to it was tried goes to another one."""
    async def main() -> None:
        service = cart(retry=RetryPolicy(max_attempts=2, replay_bytes=1000))
        async with world(echo, service=service, dead=1) as w:
            client = await w.client()
            await answered(client.request(GRPC))  # by `a`, and the next goes to `dead-0`
            call = client.request(GRPC, end=False)
            call.send(b"1" * 6_000)
            call.send(b"2" * 6_000, end=True)
            await answered(call)
            assert call.trailers == {"grpc-status": "0"}
            assert call.body == b"1" * 6_000 + b"2" * 6_000
            assert w.entry.retries == 1

    run(main)


def test_the_deadline_is_passed_on_and_kept() -> None:
    async def main() -> None:
        async with world(None, service=cart()) as w:
            call = await answered((await w.client()).request([*GRPC, ("grpc-timeout", "50m")]))
            assert call.headers["grpc-status"] == "4"
            assert call.headers["mesh-reason"] == "deadline_exceeded"
            seen = w.upstreams[0].calls[0]
            unit = {"n": 1e-9, "u": 1e-6, "m": 1e-3}[seen.headers["grpc-timeout"][-1]]
            assert 0.02 < int(seen.headers["grpc-timeout"][:-1]) * unit <= 0.05
            await until(lambda: seen.reset == 8)

    run(main)


@pytest.mark.parametrize("headers", [GRPC, PLAIN])
def test_the_services_own_timeout(headers: Any) -> None:
    async def main() -> None:
        async with world(None, service=cart(timeout=TimeoutPolicy(request=0.02))) as w:
            call = await answered((await w.client()).request(headers))
            assert (call.headers.get("grpc-status") or call.headers[":status"]) in ("4", "504")

    run(main)


@pytest.mark.parametrize("timeout", ["1", "123456789S", "5x", "-1S", ""])
def test_a_malformed_deadline_is_the_callers_fault(timeout: str) -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            call = await answered((await w.client()).request([*GRPC, ("grpc-timeout", timeout)]))
            assert call.headers["mesh-reason"] == "caller_protocol_error"
            assert w.upstreams[0].calls == []

    run(main)


def test_a_cancelled_call_is_cancelled_upstream() -> None:
    async def main() -> None:
        async with world(None, service=cart()) as w:
            call = (await w.client()).request(GRPC)
            await until(lambda: w.upstreams[0].calls)
            call.cancel()
            await until(lambda: w.upstreams[0].calls[0].reset == 8)
            await until(w.idle)
            assert [record.reason for record in w.records()] == ["caller_reset"]

    run(main)


def test_a_caller_that_vanishes_cancels_everything_of_its() -> None:
    async def main() -> None:
        async with world(None, service=cart()) as w:
            client = await w.client()
            for _ in range(5):
                client.request(GRPC)
            await until(lambda: len(w.upstreams[0].calls) == 5)
            client.transport.abort()
            await until(lambda: all(call.reset == 8 for call in w.upstreams[0].calls))
            await until(w.idle)
            assert {record.reason for record in w.records()} == {"caller_gone"}

    run(main)


def test_streams_go_both_ways_at_once() -> None:
    async def main() -> None:
        async with world(lambda call: call.send_headers(OK), service=cart()) as w:
            call = (await w.client()).request(GRPC, end=False)
            await until(lambda: w.upstreams[0].calls)
            server = w.upstreams[0].calls[0]
            for n in range(20):
                call.send(b"%d," % n)
                await until(lambda n=n: server.body.endswith(b"%d," % n))
                server.send(b"%d;" % n)
                await until(lambda n=n: call.body.endswith(b"%d;" % n))
            call.end()
            await until(lambda: server.ended)
            server.send_headers(DONE, end=True)
            await answered(call)
            assert call.trailers == {"grpc-status": "0"}

    run(main)


def test_a_slow_caller_holds_only_its_own_bytes() -> None:
    """The caller acknowledges nothing: what is held for it stays within one stream's window, others go on."""
    async def main() -> None:
        async with world(lambda call: call.send_headers(OK), service=cart()) as w:
            slow = await w.client(acknowledge=False)
            call = slow.request(GRPC)
            await until(lambda: w.upstreams[0].calls)
            server = w.upstreams[0].calls[0]
            sent = 0
            while (window := server.peer.conn.local_flow_control_window(server.id)) > 0:
                size = min(window, 16_384)
                server.send(bytes(size))
                sent += size
                await asyncio.sleep(0)
            await until(lambda: len(call.body) == 65_535)
            assert sent <= 65_535 + 256 * 1024 + 65_536
            other = (await w.client()).request(GRPC)
            await until(lambda: len(w.upstreams[0].calls) == 2)
            w.upstreams[0].calls[1].send(b"quick")
            w.upstreams[0].calls[1].send_headers(DONE, end=True)
            await answered(other)
            while len(call.body) < sent:
                seen = len(call.body)
                slow.conn.increment_flow_control_window(60_000)
                slow.conn.increment_flow_control_window(60_000, call.id)
                slow.flush()
                await until(lambda seen=seen: len(call.body) > seen)
            server.send_headers(DONE, end=True)
            await answered(call)

    run(main)


def test_failure_after_the_answer_has_begun_ends_it_with_a_status() -> None:
    async def main() -> None:
        def half(call: Call) -> None:
            call.send_headers(OK)
            call.send(b"some")
            call.cancel(2)

        async with world(half, echo, service=cart()) as w:
            call = await answered((await w.client()).request([*GRPC, KEY]))
            assert call.trailers["grpc-status"] == "13"
            assert call.trailers["mesh-reason"] == "upstream_reset"
            assert w.upstreams[1].calls == []

    run(main)


def test_plain_http2_gets_an_http_status() -> None:
    async def main() -> None:
        async with world(refuse, service=cart(retry=RetryPolicy(max_attempts=1))) as w:
            call = await answered((await w.client()).request(PLAIN))
            assert call.headers[":status"] == "503"
            assert call.headers["mesh-reason"] == "upstream_refused_stream"
            assert "grpc-status" not in call.headers

    run(main)


def test_inbound_says_what_was_not_delivered() -> None:
    async def main() -> None:
        async with world(service=cart(retry=RetryPolicy(max_attempts=1)), dead=1, kind=SERVER) as w:
            call = await answered((await w.client()).request(GRPC))
            assert call.headers["mesh-reason"] == "upstream_connect_failed"
            assert call.headers["mesh-not-delivered"] == "1"
            await until(w.idle)
            assert w.records()[0].kind == SERVER

    run(main)


def test_interim_answers_and_request_trailers_pass() -> None:
    async def main() -> None:
        async with world(lambda call: call.send_headers([(":status", "103"), ("link", "<x>")]), service=cart()) as w:
            call = (await w.client()).request([(":method", "POST"), *PLAIN[1:]], end=False)
            await until(lambda: call.informational)
            call.send(b"x")
            call.send_headers([("checksum", "1")], end=True)
            server = w.upstreams[0].calls[0]
            await until(lambda: server.ended)
            assert server.trailers == {"checksum": "1"}
            server.send_headers([(":status", "204")], end=True)
            await answered(call)
            assert call.headers[":status"] == "204"

    run(main)


def test_an_early_answer_stops_the_upload() -> None:
    async def main() -> None:
        async with world(trailers_only(8), service=cart(retry=RetryPolicy(max_attempts=1))) as w:
            call = (await w.client()).request(GRPC, end=False)
            await until(lambda: call.ended)
            await until(lambda: call.reset == 0)
            assert call.headers["grpc-status"] == "8"
            await until(lambda: w.upstreams[0].calls[0].reset == 8)

    run(main)


@pytest.mark.parametrize("ending", ["trailers-only", "trailers"])
def test_an_app_has_no_say_in_whether_it_was_reached(ending: str) -> None:
    async def main() -> None:
        def copies(call: Call) -> None:
            if ending == "trailers":
                call.send_headers(OK)
            said = [("grpc-status", "14"), ("mesh-not-delivered", "1"), ("mesh-reason", "upstream_reset"),
                    ("x-own", "1")]
            call.send_headers(said if ending == "trailers" else [*OK, *said], end=True)

        async with world(copies, service=cart(), kind=SERVER) as w:
            call = await answered((await w.client()).request(GRPC))
            told = call.trailers or call.headers
            assert told["grpc-status"] == "14"
            assert told["x-own"] == "1"
            assert "mesh-not-delivered" not in told
            assert "mesh-reason" not in told
            assert len(w.upstreams[0].calls) == 1

    run(main)


def test_the_calling_app_is_not_told_what_is_for_its_sidecar() -> None:
    async def main() -> None:
        undelivered = trailers_only(14, ("mesh-not-delivered", "1"), ("mesh-reason", "upstream_connect_failed"))
        async with world(undelivered, undelivered, service=cart()) as w:
            call = await answered((await w.client()).request(GRPC))
            assert sum(len(each.calls) for each in w.upstreams) == 3
            assert call.headers["mesh-reason"] == "upstream_connect_failed"
            assert "mesh-not-delivered" not in call.headers

    run(main)


def test_requests_wait_for_the_first_word_of_discovery() -> None:
    async def main() -> None:
        async with world(Upstream(echo)) as w:
            call = (await w.client()).request(GRPC, end=False)
            call.send(b"early", end=True)
            await until(lambda: w.entry.active == 1)
            w.cluster.update_service(cart())
            w.cluster.update_endpoints([Endpoint("cart", "a", "127.0.0.1", w.upstreams[0].port)])
            await answered(call)
            assert call.body == b"early"

    run(main)


@pytest.mark.parametrize(("exists", "reason"), [(False, "no_service"), (True, "no_endpoints")])
def test_nowhere_to_go(exists: bool, reason: str) -> None:
    """UNAVAILABLE both: callers may start before callees."""
    async def main() -> None:
        async with world(service=cart() if exists else None) as w:
            if not exists:
                w.cluster.update_service(None)
            call = await answered((await w.client()).request(GRPC))
            assert (call.headers["mesh-reason"], call.headers["grpc-status"]) == (reason, "14")

    run(main)


def test_more_streams_than_the_endpoint_takes_wait_or_open_another_connection() -> None:
    async def main() -> None:
        async with world(Upstream(None, settings={3: 2}), service=cart()) as w:
            client = await w.client()
            first = client.request(GRPC)
            await until(lambda: w.upstreams[0].calls)
            calls = [first] + [client.request(GRPC) for _ in range(30)]
            served = 0
            while served < len(calls):
                await until(lambda served=served: len(w.upstreams[0].calls) > served)
                w.upstreams[0].calls[served].answer()
                served += 1
            for call in calls:
                await answered(call)
                assert call.trailers == {"grpc-status": "0"}
            assert 1 < len(w.upstreams[0].peers) <= 8

    run(main)


def test_no_new_request_while_memory_is_short() -> None:
    """Those that are under way go on."""
    async def main() -> None:
        calls: list[Call] = []
        async with world(calls.append, service=cart()) as w:
            client = await w.client()
            before = client.request(GRPC)
            await until(lambda: calls)
            w.hub.shed_above = -1
            refused = await answered(client.request(GRPC))
            assert (refused.headers["grpc-status"], refused.headers["mesh-reason"]) == ("8", "overloaded")
            assert w.hub.shed == 1
            calls[0].answer()
            assert (await answered(before)).trailers == {"grpc-status": "0"}
            w.hub.shed_above = 1
            again = client.request(GRPC)
            await until(lambda: len(calls) == 2)
            calls[1].answer()
            assert (await answered(again)).trailers == {"grpc-status": "0"}

    run(main)


@pytest.mark.parametrize(("reason", "eligible"), [("queue_full", True), ("queue_timeout", True), ("overloaded", True),
                                                  ("upstream_connect_failed", False)])
def test_an_endpoint_that_is_full_has_not_failed(reason: str, eligible: bool) -> None:
    """Its sidecar says so; the request goes elsewhere all the same."""
    refusal = trailers_only(14, ("mesh-reason", reason), ("mesh-not-delivered", "1"))

    async def main() -> None:
        service = cart(outlier=OutlierPolicy(consecutive_failures=1))
        async with world(refusal, Call.answer, service=service) as w:
            client = await w.client()
            for _ in range(4):
                assert (await answered(client.request(GRPC))).trailers == {"grpc-status": "0"}
            full = w.cluster.nodes.by_name["a"]
            assert bool(full.eligible(w.hub.now)) is eligible
            assert w.upstreams[0].calls

    run(main)
