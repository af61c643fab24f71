"""A request over all its attempts, on a clock that stands still: time per try, what servers ask for, hedging."""

from __future__ import annotations

from typing import Any

import pytest
from h2_world import GRPC, OK, PLAIN, Call, Clock, World, answered, run, until, world
from retry_world import SilentUpstream, asks, counting, events, fail, failures, well
from test_exchange import cart, echo, refuse, trailers_only
from uncollected import uncollected

from mesh.dataplane.record import RETRY
from mesh.model import HedgePolicy, RetryPolicy, TimeoutPolicy

KEY = ("idempotency-key", "k1")
KEYED = [*GRPC, KEY]
QUICK = {"backoff_base": 0.001, "backoff_max": 0.001}


# -- time per try


def test_an_endpoint_that_does_not_answer_in_time_has_failed() -> None:
    async def main() -> None:
        service = cart(retry=RetryPolicy(**QUICK), timeout=TimeoutPolicy(per_try=2))
        async with world(None, echo, service=service, clock=(clock := Clock())) as w:
            call = (await w.client()).request(KEYED)
            await until(lambda: w.upstreams[0].calls)
            clock.now += 1.9
            await until(lambda: w.hub.now == clock.now)
            assert w.upstreams[1].calls == []
            clock.now += 0.2
            await until(lambda: w.entry.retries == 1)
            clock.now += 0.2
            await answered(call)
            assert call.trailers == {"grpc-status": "0"}
            await until(lambda: w.upstreams[0].calls[0].reset == 8)
            assert failures(w) == {"a": 1, "b": 0}
            await until(w.idle)
            assert events(w) == [("attempt failed", "idempotency-key")]

    run(main)


@pytest.mark.parametrize(("headers", "status"), [(GRPC, "4"), ([(":method", "POST"), *PLAIN[1:]], "504")])
def test_what_may_have_run_is_told_to_the_caller(headers: Any, status: str) -> None:
    async def main() -> None:
        service = cart(timeout=TimeoutPolicy(per_try=2))
        async with world(None, echo, service=service, clock=(clock := Clock())) as w:
            call = (await w.client()).request(headers)
            await until(lambda: w.upstreams[0].calls)
            clock.now += 2.1
            await answered(call)
            assert call.headers["mesh-reason"] == "per_try_timeout"
            assert call.headers.get("grpc-status", call.headers[":status"]) == status
            assert w.upstreams[1].calls == []

    run(main)


def test_time_is_counted_from_the_end_of_the_request_to_the_headers() -> None:
    async def main() -> None:
        service = cart(timeout=TimeoutPolicy(per_try=2))
        async with world(None, echo, service=service, clock=(clock := Clock())) as w:
            call = (await w.client()).request(KEYED, end=False)
            await until(lambda: w.upstreams[0].calls)
            seen = w.upstreams[0].calls[0]
            clock.now += 100
            call.send(b"late", end=True)
            await until(lambda: seen.ended)
            clock.now += 1.9
            await until(lambda: w.hub.now == clock.now)
            seen.send_headers(OK)
            await until(lambda: call.headers)
            clock.now += 100
            await until(lambda: w.hub.now == clock.now)
            seen.send(b"slow")
            seen.send_headers([("grpc-status", "0")], end=True)
            await answered(call)
            assert (call.body, call.trailers) == (b"slow", {"grpc-status": "0"})

    run(main)


def test_every_attempt_has_its_own_time() -> None:
    async def main() -> None:
        service = cart(retry=RetryPolicy(**QUICK), timeout=TimeoutPolicy(per_try=2))
        async with world(None, None, service=service, clock=(clock := Clock())) as w:
            call = (await w.client()).request(KEYED)
            for attempts in (1, 2, 3):
                await until(lambda n=attempts: sum(len(each.calls) for each in w.upstreams) == n)
                clock.now += 2.1
                if attempts < 3:
                    await until(lambda n=attempts: w.entry.retries == n)
                    clock.now += 0.1
            await answered(call)
            assert call.headers["mesh-reason"] == "per_try_timeout"
            assert failures(w) in ({"a": 2, "b": 1}, {"a": 1, "b": 2})

    run(main)


def test_no_connection_in_time_means_that_nothing_was_sent() -> None:
    """The first connection never greets: the request without a key goes elsewhere."""
    async def main() -> None:
        service = cart(retry=RetryPolicy(**QUICK), timeout=TimeoutPolicy(per_try=2, connect=60))
        async with world(SilentUpstream(), echo, service=service, clock=(clock := Clock())) as w:
            call = (await w.client()).request(GRPC)
            await until(lambda: w.cluster.nodes.nodes[0].in_flight == 1)
            clock.now += 2.1
            await until(lambda: w.entry.retries == 1)
            clock.now += 0.1
            await answered(call)
            assert call.trailers == {"grpc-status": "0"}

    run(main)


# -- statuses and what servers ask for


@pytest.mark.parametrize(("policy", "status", "repeated"), [
    ({}, 503, True), ({}, 502, True), ({}, 504, True), ({}, 500, False), ({}, 429, False), ({}, 404, False),
    ({"statuses": frozenset((429, 404))}, 429, True), ({"statuses": frozenset((429, 404))}, 404, True),
    ({"statuses": frozenset((429, 404))}, 503, False)])
@pytest.mark.parametrize("headers", [PLAIN, [(":method", "POST"), *PLAIN[1:]]])
def test_http_statuses_that_are_worth_it(policy: Any, status: int, repeated: bool, headers: Any) -> None:
    async def main() -> None:
        async with world(fail(status), well, service=cart(retry=RetryPolicy(**QUICK, **policy))) as w:
            call = await answered((await w.client()).request(headers))
            repeats = repeated and headers is PLAIN
            assert call.headers[":status"] == ("200" if repeats else str(status))
            assert len(w.upstreams[1].calls) == int(repeats)

    run(main)


@pytest.mark.parametrize(("headers", "answer", "wait"), [
    (PLAIN, asks(503, ("retry-after", "3")), 3),
    (KEYED, trailers_only(14, ("grpc-retry-pushback-ms", "2500")), 2.5),
    (KEYED, trailers_only(14, ("retry-after", "2")), 2),
    (PLAIN, asks(502, ("retry-after", "3")), 0),
    (KEYED, trailers_only(14), 0)])
def test_a_server_is_given_the_time_that_it_asks_for(headers: Any, answer: Any, wait: float) -> None:
    async def main() -> None:
        service = cart(retry=RetryPolicy(**QUICK))
        async with world(answer, well, service=service, clock=(clock := Clock())) as w:
            call = (await w.client()).request(headers)
            await until(lambda: w.entry.retries == 1)
            if wait:
                clock.now += wait - 0.1
                await until(lambda: w.hub.now == clock.now)
                assert w.upstreams[1].calls == []
            clock.now += 0.2
            await answered(call)
            assert len(w.upstreams[1].calls) == 1

    run(main)


@pytest.mark.parametrize(("headers", "answer", "policy", "why"), [
    (PLAIN, asks(503, ("retry-after", "6")), {}, "the server asked for more time than retry.max_pushback"),
    (PLAIN, asks(503, ("retry-after", "1")), {"max_pushback": 0.0}, "the server asked for more time than"),
    (KEYED, trailers_only(14, ("grpc-retry-pushback-ms", "-1")), {}, "the server does not want it again"),
    (KEYED, trailers_only(14, ("grpc-retry-pushback-ms", "soon")), {}, "the server does not want it again"),
    ([*KEYED, ("grpc-timeout", "2S")], trailers_only(14, ("grpc-retry-pushback-ms", "3000")), {},
     "no time is left before the deadline")])
def test_a_server_that_asks_for_too_much_is_not_asked_again(headers: Any, answer: Any, policy: Any, why: str) -> None:
    async def main() -> None:
        async with world(answer, well, service=cart(retry=RetryPolicy(**QUICK, **policy))) as w:
            call = await answered((await w.client()).request(headers))
            assert call.headers.get("grpc-status", call.headers[":status"]) in ("14", "503")
            assert w.upstreams[1].calls == []
            await until(w.idle)
            [(name, told)] = events(w)
            assert name == "not tried again"
            assert told.startswith(why)

    run(main)


@pytest.mark.parametrize(("headers", "answer"), [
    (PLAIN, asks(429, ("retry-after", "20"))),
    (GRPC, trailers_only(8, ("grpc-retry-pushback-ms", "20000"))),
    (GRPC, trailers_only(8, ("retry-after", "20")))])
def test_an_endpoint_with_a_rate_limit_is_left_alone_and_has_not_failed(headers: Any, answer: Any) -> None:
    async def main() -> None:
        async with world(answer, well, service=cart(), clock=(clock := Clock())) as w:
            client = await w.client()
            limited = await answered(client.request(headers))
            assert limited.headers.get("grpc-status", limited.headers[":status"]) in ("8", "429")
            for _ in range(5):
                await answered(client.request(headers))
            assert [len(each.calls) for each in w.upstreams] == [1, 5]
            assert failures(w) == {"a": 0, "b": 0}
            clock.now += 20.1
            for _ in range(2):
                await answered(client.request(headers))
            assert [len(each.calls) for each in w.upstreams] == [2, 6]

    run(main)


def test_a_limit_that_the_callees_sidecar_keeps_is_about_the_caller() -> None:
    async def main() -> None:
        answer = asks(429, ("retry-after", "20"), ("mesh-reason", "rate_limited"))
        async with world(answer, well, service=cart()) as w:
            client = await w.client()
            for _ in range(4):
                await answered(client.request(PLAIN))
            assert [len(each.calls) for each in w.upstreams] == [2, 2]

    run(main)


@pytest.mark.parametrize(("answer", "headers", "told"), [
    (fail(404), PLAIN, []), (fail(500), PLAIN, ["the status is not in retry.statuses"]),
    (trailers_only(14), GRPC, ["the app may have run it, and it is not declared idempotent"]),
    (lambda call: call.cancel(2), GRPC, ["the app may have run it, and it is not declared idempotent"])])
def test_the_span_says_why_a_failure_was_not_tried_again(answer: Any, headers: Any, told: Any) -> None:
    async def main() -> None:
        async with world(answer, well, service=cart()) as w:
            await answered((await w.client()).request(headers))
            await until(w.idle)
            assert events(w) == [("not tried again", why) for why in told]

    run(main)


def test_a_rate_limit_that_is_worth_repeating_is_repeated_and_no_failure() -> None:
    async def main() -> None:
        retry = RetryPolicy(**QUICK, statuses=frozenset((429,)))
        async with world(asks(429), well, service=cart(retry=retry)) as w:
            assert (await answered((await w.client()).request(PLAIN))).headers[":status"] == "200"
            assert failures(w) == {"a": 0, "b": 0}

    run(main)


def test_where_all_have_enough_one_is_asked_all_the_same() -> None:
    async def main() -> None:
        both = asks(429, ("retry-after", "20"))
        async with world(both, both, service=cart(), clock=Clock()) as w:
            client = await w.client()
            for _ in range(6):
                assert (await answered(client.request(PLAIN))).headers[":status"] == "429"

    run(main)


# -- hedging


def hedged(clock: Clock, *, percentile: float = 0.9, timeout: TimeoutPolicy | None = None, **retry: Any) -> Any:
    return cart(retry=RetryPolicy(**QUICK, hedge=HedgePolicy(percentile, 0.001), **retry),
                timeout=timeout or TimeoutPolicy())


def measured(w: World, clock: Clock, latency: float = 1.0) -> None:
    """The service is known to answer in `latency` seconds."""
    for _ in range(200):
        w.cluster.hedging.observe(latency, clock.now)


async def both(w: World, clock: Clock) -> tuple[Call, Call]:
    """The two copies, as the endpoints see them; the second is on its way once the first has taken too long."""
    await until(lambda: w.upstreams[0].calls)
    clock.now += 0.9
    await until(lambda: w.hub.now == clock.now)
    assert w.entry.hedges == 0
    clock.now += 0.2
    await until(lambda: w.upstreams[1].calls)
    return w.upstreams[0].calls[0], w.upstreams[1].calls[0]


@pytest.mark.parametrize("size", [0, 10, 200_000])
def test_a_copy_that_is_first_is_the_answer(size: int) -> None:
    async def main() -> None:
        clock = Clock()
        async with world(None, counting, service=hedged(clock, replay_bytes=1_048_576), clock=clock) as w:
            measured(w, clock)
            call = (await w.client()).request(KEYED, end=False)
            left = size
            while left:
                await until(lambda: call.peer.conn.local_flow_control_window(call.id) > 0)
                part = min(left, call.peer.conn.local_flow_control_window(call.id), 16_384)
                call.send(bytes(part))
                left -= part
            call.end()
            await until(lambda: w.upstreams[0].calls and w.upstreams[0].calls[0].ended)
            first, _ = await both(w, clock)
            await answered(call)
            assert (int(call.body), call.trailers) == (size, {"grpc-status": "0"})
            await until(lambda: first.reset == 8)
            assert failures(w) == {"a": 0, "b": 0}
            assert w.entry.statistics()["hedges"] == 1
            clock.run()
            await until(w.idle)
            retry, whole = w.records()
            assert (retry.kind, retry.endpoint, retry.why, retry.grpc_status) == (RETRY, "cart/b", "hedge", 0)
            assert (whole.attempts, whole.grpc_status, whole.reason) == (2, 0, "")
            assert [(name, told["mesh.hedge"], told["mesh.endpoint"]) for _, name, told in whole.events] == \
                [("hedge", "sent", "cart/b"), ("hedge", "won", "cart/b")]

    run(main)


def test_the_first_one_may_still_be_first() -> None:
    async def main() -> None:
        clock = Clock()
        async with world(None, None, service=hedged(clock), clock=clock) as w:
            measured(w, clock)
            call = (await w.client()).request(KEYED)
            first, second = await both(w, clock)
            first.answer(b"slow")
            await answered(call)
            assert call.body == b"slow"
            clock.run()  # the loser is young: it is reset when it is old enough
            await until(lambda: second.reset == 8)
            assert failures(w) == {"a": 0, "b": 0}
            await until(w.idle)
            assert events(w) == [("hedge", "sent"), ("hedge", "lost")]

    run(main)


@pytest.mark.parametrize("failing", [refuse, trailers_only(14), lambda call: call.peer.transport.abort()])
def test_a_copy_that_fails_changes_nothing(failing: Any) -> None:
    async def main() -> None:
        clock = Clock()
        async with world(None, failing, service=hedged(clock), clock=clock) as w:
            measured(w, clock)
            call = (await w.client()).request(KEYED)
            first, _ = await both(w, clock)
            await until(lambda: failures(w) == {"a": 0, "b": 1})
            first.answer(b"slow")
            await answered(call)
            assert call.body == b"slow"
            assert len(w.upstreams[1].calls) == 1

    run(main)


@pytest.mark.parametrize("failing", [refuse, trailers_only(14), lambda call: call.peer.transport.abort()])
def test_when_the_first_fails_the_copy_goes_on(failing: Any) -> None:
    async def main() -> None:
        clock = Clock()
        async with world(None, None, service=hedged(clock, max_attempts=2), clock=clock) as w:
            measured(w, clock)
            call = (await w.client()).request(KEYED)
            first, second = await both(w, clock)
            failing(first)
            await until(lambda: failures(w) == {"a": 1, "b": 0})
            second.send_headers(OK)
            second.send(b"copy")
            second.send_headers([("grpc-status", "0")], end=True)
            await answered(call)
            assert (call.body, call.trailers) == (b"copy", {"grpc-status": "0"})
            assert w.entry.retries == 1, "the copy was the second attempt"

    run(main)


def test_when_both_fail_there_is_a_third_attempt() -> None:
    async def main() -> None:
        clock = Clock()
        async with world(None, None, echo, service=hedged(clock), clock=clock) as w:
            measured(w, clock)
            call = (await w.client()).request(KEYED)
            first, second = await both(w, clock)
            refuse(second)
            await until(lambda: failures(w)["b"] == 1)
            refuse(first)
            await until(lambda: w.entry.retries == 2)
            clock.now += 0.1
            await answered(call)
            assert call.trailers == {"grpc-status": "0"}
            assert [len(each.calls) for each in w.upstreams] == [1, 1, 1]
            assert w.upstreams[2].calls[0].headers["mesh-attempts"] == "1"

    run(main)


def test_a_copy_that_waits_for_a_connection_is_taken_over_too() -> None:
    async def main() -> None:
        clock = Clock()
        service = hedged(clock, timeout=TimeoutPolicy(connect=0.3))
        async with world(None, SilentUpstream(), echo, service=service, clock=clock) as w:
            measured(w, clock)
            call = (await w.client()).request(KEYED)
            await until(lambda: w.upstreams[0].calls)
            clock.now += 1.1
            await until(lambda: w.entry.hedges == 1)
            refuse(w.upstreams[0].calls[0])
            await until(lambda: w.entry.retries == 2)  # its connect timeout
            clock.now += 0.1
            await answered(call)
            assert call.trailers == {"grpc-status": "0"}
            assert len(w.upstreams[2].calls) == 1

    run(main)


@pytest.mark.parametrize(("status", "headers"), [("5", KEYED), ("404", PLAIN)])
def test_an_answer_that_would_not_be_repeated_is_an_answer(status: str, headers: Any) -> None:
    async def main() -> None:
        clock = Clock()
        answer = trailers_only(5) if headers is KEYED else fail(404)
        async with world(None, answer, service=hedged(clock), clock=clock) as w:
            measured(w, clock)
            call = (await w.client()).request(headers)
            await both(w, clock)
            await answered(call)
            assert call.headers.get("grpc-status", call.headers[":status"]) == status

    run(main)


async def _no_copy(w: World, clock: Clock, headers: Any, end: bool = True) -> None:
    """However long it takes, this request is sent once."""
    call = (await w.client()).request(headers, end=end)
    await until(lambda: w.upstreams[0].calls)
    for _ in range(3):
        clock.now += 5
        await until(lambda: w.hub.now == clock.now)
    assert w.entry.hedges == 0
    assert [len(each.calls) for each in w.upstreams[1:]] == [0] * (len(w.upstreams) - 1)
    if not end:
        call.end()
    w.upstreams[0].calls[0].answer()
    await answered(call)


@pytest.mark.parametrize(("headers", "end"), [(GRPC, True), (KEYED, False), ([*KEYED, ("mesh-attempts", "3")], True)],
                         ids=["not idempotent", "not complete", "for those further up"])
def test_requests_that_have_no_copy(headers: Any, end: bool) -> None:
    async def main() -> None:
        clock = Clock()
        async with world(None, None, service=hedged(clock), clock=clock) as w:
            measured(w, clock)
            await _no_copy(w, clock, headers, end)

    run(main)


def test_no_copy_before_enough_is_known() -> None:
    async def main() -> None:
        clock = Clock()
        async with world(None, None, service=hedged(clock), clock=clock) as w:
            await _no_copy(w, clock, KEYED)

    run(main)


def test_no_copy_to_the_same_endpoint() -> None:
    async def main() -> None:
        clock = Clock()
        async with world(None, service=hedged(clock), clock=clock) as w:
            measured(w, clock)
            await _no_copy(w, clock, KEYED)
            await until(w.idle)
            assert events(w) == [("not tried again", "no other endpoint for a hedge")]

    run(main)


def test_copies_are_paid_for_from_the_retry_budget() -> None:
    async def main() -> None:
        clock = Clock()
        service = hedged(clock, budget_ratio=0.0, budget_min_per_second=0.1, budget_window=10)
        async with world(None, None, service=service, clock=clock) as w:
            measured(w, clock)
            client = await w.client()
            calls = [client.request(KEYED) for _ in range(10)]
            await until(lambda: sum(len(each.calls) for each in w.upstreams) == 10)
            clock.now += 1.1
            await until(lambda: w.entry.hedges == 1)
            await until(lambda: sum(len(each.calls) for each in w.upstreams) == 11)
            for each in w.upstreams:
                for call in each.calls:
                    if call.reset is None:
                        call.answer()
            for call in calls:
                await answered(call)
                assert call.trailers == {"grpc-status": "0"}

    run(main)


@pytest.mark.parametrize("ending", ["deadline", "cancelled", "gone"])
def test_both_are_let_go_of_when_nobody_waits_any_more(ending: str) -> None:
    async def main() -> None:
        clock = Clock()
        async with world(None, None, service=hedged(clock, timeout=TimeoutPolicy(request=9)), clock=clock) as w:
            measured(w, clock)
            client = await w.client()
            call = client.request(KEYED)
            copies = await both(w, clock)
            if ending == "deadline":
                clock.now += 10
                await answered(call)
                assert call.headers["mesh-reason"] == "deadline_exceeded"
            elif ending == "cancelled":
                call.cancel()
            else:
                client.transport.abort()
            await until(lambda: w.entry.active == 0)
            clock.run()
            await until(lambda: all(copy.reset == 8 for copy in copies))
            await until(w.idle)
            assert events(w)[-1] == ("hedge", "dropped")

    run(main)


def test_what_is_overtaken_counts_as_slow() -> None:
    async def main() -> None:
        clock = Clock()
        async with world(None, echo, service=hedged(clock), clock=clock) as w:
            measured(w, clock)
            await both_done(w, clock)
            assert w.cluster.hedging.latencies.total == 202
            assert w.cluster.hedging.latencies.percentile(1.0, clock.now) > 1.05

    run(main)


async def both_done(w: World, clock: Clock) -> None:
    call = (await w.client()).request(KEYED)
    await both(w, clock)
    await answered(call)


@pytest.mark.parametrize("ending", ["won", "lost", "failed", "dropped"])
def test_copies_leave_nothing_to_the_garbage_collector(ending: str) -> None:
    async def main() -> None:
        clock = Clock()
        async with world(None, None, service=hedged(clock), clock=clock) as w:
            measured(w, clock)
            client = await w.client()
            with uncollected() as found:
                call = client.request(KEYED)
                first, second = await both(w, clock)
                if ending == "dropped":
                    call.cancel()
                else:
                    if ending == "failed":
                        refuse(second)
                        await until(lambda: failures(w)["b"] == 1)
                    (second if ending == "won" else first).answer(b"x")
                    await answered(call)
                clock.run()
                await until(w.idle)
                w.records()
                del call, first, second
            assert not found

    run(main)


def test_the_copy_has_time_per_try_of_its_own() -> None:
    """The first runs into it, the copy is still in time; then it is the copy's turn."""
    async def main() -> None:
        clock = Clock()
        service = hedged(clock, max_attempts=2, timeout=TimeoutPolicy(per_try=3))
        async with world(None, None, service=service, clock=clock) as w:
            measured(w, clock)
            call = (await w.client()).request(KEYED)
            await both(w, clock)
            clock.now += 2
            await until(lambda: failures(w) == {"a": 1, "b": 0})
            assert call.headers == {}
            clock.now += 1.2
            await answered(call)
            assert call.headers["mesh-reason"] == "per_try_timeout"
            assert failures(w) == {"a": 1, "b": 1}

    run(main)
