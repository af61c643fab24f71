"""Requests wait for room: at a service, at its endpoints; in turn, bounded, not for ever."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from h2_world import GRPC, OK, PLAIN, Call, Clock, World, answered, run, until, world
from http1_world import GET, answer
from http1_world import world as http1_world
from retry_world import SilentUpstream

from mesh.model import (
    AdaptivePolicy,
    Algorithm,
    BalancePolicy,
    LimitsPolicy,
    OutlierPolicy,
    Protocol,
    RetryPolicy,
    Service,
)


def cart(**limits: Any) -> Service:
    return Service("cart", balance=BalancePolicy(Algorithm.ROUND_ROBIN), retry=RetryPolicy(max_attempts=1),
                   limits=LimitsPolicy(**limits))


def held() -> tuple[list[Call], Any]:
    """Calls that a script keeps, and the script."""
    calls: list[Call] = []
    return calls, calls.append


def unanswered() -> tuple[list[asyncio.StreamWriter], Any]:
    """Where requests of HTTP/1.1 wait to be answered by the test, and the server that has them wait."""
    waiting: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            waiting.append(writer)

    return waiting, serve


def reached(calls: list[Call], number: int) -> bool:
    return len(calls) >= number


def counts(w: World) -> dict[str, Any]:
    found: dict[str, Any] = w.cluster.statistics()["limits"]
    return found


class App:
    """Answers each call a few turns of the loop later. `most`: how many it ever had at a time."""

    def __init__(self) -> None:
        self.served = self.open = self.most = 0

    def __call__(self, call: Call) -> None:
        self.served += 1
        self.open += 1
        self.most = max(self.most, self.open)
        asyncio.get_running_loop().call_later(0.001, self.answer, call)

    def answer(self, call: Call) -> None:
        self.open -= 1
        call.answer()


def test_one_at_a_time_at_each_endpoint() -> None:
    async def main() -> None:
        a, b = App(), App()
        async with world(a, b, service=cart(endpoint_requests=1)) as w:
            clients = [await w.client() for _ in range(3)]
            calls = [client.request(GRPC) for client in clients for _ in range(20)]
            for call in calls:
                assert (await answered(call)).trailers == {"grpc-status": "0"}
            assert (a.most, b.most) == (1, 1)
            assert a.served + b.served == 60
            assert min(a.served, b.served) > 0
            assert (counts(w)["pending"], counts(w)["requests"], counts(w)["full_endpoints"]) == (0, 0, 0)

    run(main)


def test_a_pick_avoids_what_is_full() -> None:
    """Round robin would send every second call to `a`, which never answers."""
    async def main() -> None:
        a, keep = held()
        async with world(keep, Call.answer, service=cart(endpoint_requests=1)) as w:
            client = await w.client()
            stuck = client.request(GRPC)
            await until(lambda: a)
            for _ in range(5):
                assert (await answered(client.request(GRPC))).trailers == {"grpc-status": "0"}
            assert len(a) == 1
            a[0].answer()
            await answered(stuck)

    run(main)


def test_as_many_as_the_service_may_have() -> None:
    async def main() -> None:
        app = App()
        async with world(app, app, service=cart(max_requests=3)) as w:
            client = await w.client()
            for call in [client.request(GRPC) for _ in range(30)]:
                assert (await answered(call)).trailers == {"grpc-status": "0"}
            assert app.most == 3

    run(main)


def test_callers_take_turns() -> None:
    async def main() -> None:
        calls, keep = held()
        async with world(keep, service=cart(max_requests=1)) as w:
            greedy, modest = await w.client(), await w.client()
            for _ in range(50):
                greedy.request(GRPC)
            await until(lambda: counts(w)["pending"] == 49)
            one = modest.request([*GRPC, ("x-who", "modest")])
            await until(lambda: counts(w)["pending"] == 50)
            for n in range(3):
                await until(partial(reached, calls, n + 1))
                calls[n].answer()
            assert "modest" in [call.headers.get("x-who") for call in calls]
            assert (await answered(one)).trailers == {"grpc-status": "0"}
            greedy.transport.abort()

    run(main)


def test_more_than_may_wait_are_refused() -> None:
    async def main() -> None:
        calls, keep = held()
        async with world(keep, service=cart(max_requests=1, max_pending=2)) as w:
            client = await w.client()
            asked = [client.request(GRPC)]
            await until(lambda: calls)
            asked += [client.request(GRPC) for _ in range(4)]
            await until(lambda: sum(call.ended for call in asked) == 2)
            refused = [call for call in asked if call.ended]
            assert {call.headers["mesh-reason"] for call in refused} == {"queue_full"}
            assert {call.headers["grpc-status"] for call in refused} == {"14"}
            assert counts(w)["refused"] == {"queue_full": 2}
            for n in range(3):
                await until(partial(reached, calls, n + 1))
                calls[n].answer()
            for call in asked:
                await answered(call)

    run(main)


def test_none_waits_where_none_may() -> None:
    async def main() -> None:
        calls, keep = held()
        async with world(keep, service=cart(endpoint_requests=1, max_pending=0)) as w:
            client = await w.client()
            first = client.request(PLAIN)
            await until(lambda: calls)
            second = await answered(client.request(PLAIN))
            assert (second.headers[":status"], second.headers["mesh-reason"]) == ("503", "limit_requests")
            calls[0].answer()
            await answered(first)

    run(main)


def test_who_waits_too_long_is_told() -> None:
    gate = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await gate.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def main() -> None:
        async with http1_world(serve) as w:
            w.cluster.update_service(Service("shop", Protocol.HTTP1, limits=LimitsPolicy(max_requests=1)))
            first, writer = await w.caller()
            writer.write(GET)
            await until(lambda: w.connections == 1)
            second, other = await w.caller()
            other.write(GET)
            await until(lambda: w.cluster.statistics()["limits"]["pending"] == 1)
            w.pass_time(2.9)
            assert w.cluster.statistics()["limits"]["pending"] == 1
            w.pass_time(0.2)
            head = await answer(second)
            assert b" 503 " in head
            assert b"mesh-reason: queue_timeout" in head
            assert w.cluster.statistics()["limits"]["refused"] == {"queue_timeout": 1}
            gate.set()
            assert b" 200 " in await answer(first)
            other.write(GET)
            assert b" 200 " in await answer(second)

    run(main)


def test_who_waits_and_leaves_is_forgotten() -> None:
    async def main() -> None:
        calls, keep = held()
        async with world(keep, service=cart(max_requests=1)) as w:
            client, other = await w.client(), await w.client()
            first = client.request(GRPC)
            await until(lambda: calls)
            waiting = client.request(GRPC)
            other.request(GRPC)
            await until(lambda: counts(w)["pending"] == 2)
            waiting.cancel()
            other.transport.abort()
            await until(lambda: counts(w)["pending"] == 0)
            calls[0].answer()
            await answered(first)
            assert len(calls) == 1

    run(main)


def test_a_deadline_passes_while_waiting() -> None:
    async def main() -> None:
        calls, keep = held()
        async with world(keep, service=cart(max_requests=1)) as w:
            client = await w.client()
            first = client.request(GRPC)
            await until(lambda: calls)
            late = await answered(client.request([*GRPC, ("grpc-timeout", "20m")]))
            assert late.headers["mesh-reason"] == "deadline_exceeded"
            assert counts(w)["pending"] == 0
            calls[0].answer()
            await answered(first)

    run(main)


def test_news_makes_room() -> None:
    """A higher limit, or none, or one more endpoint."""
    async def main() -> None:
        calls, keep = held()
        async with world(keep, service=cart(endpoint_requests=1)) as w:
            client = await w.client()
            asked = [client.request(GRPC) for _ in range(4)]
            await until(lambda: counts(w)["pending"] == 3)
            w.cluster.update_service(cart(endpoint_requests=2))
            await until(lambda: len(calls) == 2)
            w.cluster.update_service(cart())
            await until(lambda: len(calls) == 4)
            for call in calls:
                call.answer()
            for call in asked:
                await answered(call)
            assert counts(w)["requests"] == 0

    run(main)


def test_calls_that_were_there_before_the_limit_count() -> None:
    async def main() -> None:
        calls, keep = held()
        async with world(keep, service=cart()) as w:
            client = await w.client()
            asked = [client.request(GRPC) for _ in range(3)]
            await until(lambda: len(calls) == 3)
            w.cluster.update_service(cart(endpoint_requests=2))
            assert (counts(w)["requests"], counts(w)["full_endpoints"]) == (3, 1)
            asked.append(client.request(GRPC))
            await until(lambda: counts(w)["pending"] == 1)
            calls[0].answer()
            await answered(asked[0])
            assert len(calls) == 3
            calls[1].answer()
            await until(lambda: len(calls) == 4)
            for call in calls[2:]:
                call.answer()
            for call in asked:
                await answered(call)

    run(main)


def test_calls_at_an_endpoint_that_leaves_count_until_they_end() -> None:
    async def main() -> None:
        a, keep_a = held()
        b, keep_b = held()
        async with world(keep_a, keep_b, service=cart(max_requests=2, endpoint_requests=1)) as w:
            client = await w.client()
            asked = [client.request(GRPC) for _ in range(2)]
            await until(lambda: a and b)
            w.cluster.update_endpoints([node.endpoint for node in w.cluster.nodes.nodes][1:])
            assert (counts(w)["requests"], counts(w)["full_endpoints"]) == (2, 1)
            b[0].answer()
            asked.append(client.request(GRPC))
            await until(lambda: len(b) == 2)
            asked.append(client.request(GRPC))
            await until(lambda: counts(w)["pending"] == 1)
            a[0].answer()  # the service has room now, its one endpoint has none
            await until(lambda: counts(w)["requests"] == 1)
            assert counts(w)["pending"] == 1
            b[1].answer()
            await until(lambda: len(b) == 3)
            b[2].answer()
            for call in asked:
                await answered(call)
            assert (counts(w)["requests"], counts(w)["full_endpoints"]) == (0, 0)

    run(main)


def endpoint(w: World, name: str) -> dict[str, Any]:
    found: dict[str, Any] = w.cluster.statistics()["endpoints"][name]
    return found


def test_a_pick_avoids_where_as_many_wait_for_a_connection_as_may() -> None:
    """`a` accepts connections and never greets: one request waits for it, the others go to `b`."""
    async def main() -> None:
        async with world(SilentUpstream(), Call.answer, service=cart(endpoint_pending=1)) as w:
            client = await w.client()
            stuck = client.request(GRPC)
            await until(lambda: endpoint(w, "a")["pending"] == 1)
            assert (counts(w)["pending"], counts(w)["full_endpoints"]) == (1, 1)
            for _ in range(5):
                assert (await answered(client.request(GRPC))).trailers == {"grpc-status": "0"}
            assert counts(w)["refused"] == {}
            stuck.cancel()
            await until(lambda: endpoint(w, "a")["pending"] == 0)
            assert (counts(w)["pending"], counts(w)["full_endpoints"]) == (0, 0)

    run(main)


def test_where_all_have_as_many_waiting_as_may_the_service_is_waited_for() -> None:
    """One connection, taken: one waits at the endpoint, one for room there, and for the next there is no place."""
    waiting, serve = unanswered()

    async def main() -> None:
        async with http1_world(serve) as w:
            def there(served: int, pending: int) -> bool:
                return (len(waiting), w.cluster.statistics()["limits"]["pending"]) == (served, pending)

            limits = LimitsPolicy(endpoint_connections=1, endpoint_pending=1, max_pending=2)
            w.cluster.update_service(Service("shop", Protocol.HTTP1, limits=limits))
            callers = [await w.caller() for _ in range(4)]
            for number, (_, writer) in enumerate(callers):
                writer.write(GET)
                await until(partial(there, 1, min(number, 2)))
                assert w.cluster.statistics()["endpoints"]["a"]["pending"] == min(number, 1)
            assert b"mesh-reason: queue_full" in await answer(callers[3][0])
            for reader, _ in callers[:3]:
                await until(lambda: waiting)
                waiting.pop().write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                assert b" 200 " in await answer(reader)
            assert w.cluster.statistics()["limits"]["pending"] == 0

    run(main)


def test_an_endpoint_that_comes_back_is_room() -> None:
    """`a` is full and stays so; `b` is ejected. No call ends when that is over, and yet the next goes there."""
    async def main() -> None:
        kept, keep = held()
        clock = Clock()
        service = Service("cart", balance=BalancePolicy(Algorithm.ROUND_ROBIN), retry=RetryPolicy(max_attempts=1),
                          limits=LimitsPolicy(endpoint_requests=1, queue_timeout=30.0),
                          outlier=OutlierPolicy(consecutive_failures=1, base_ejection_time=5.0, jitter=0.0,
                                                half_open=False))
        async with world(keep, Call.answer, service=service, clock=clock) as w:
            w.cluster.failed(w.cluster.nodes.by_name["b"], "status 503")
            assert w.cluster.ejected == 1
            client = await w.client()
            stuck = client.request(GRPC)
            await until(lambda: kept)
            waiting = client.request(GRPC)
            await until(lambda: counts(w)["pending"] == 1)
            clock.now += 4.5
            await until(lambda: w.hub.now == clock.now)
            assert counts(w)["pending"] == 1
            clock.now += 1.0
            assert (await answered(waiting)).trailers == {"grpc-status": "0"}
            assert len(kept) == 1
            kept[0].answer()
            await answered(stuck)

    run(main)


def repeating(**limits: Any) -> Service:
    return Service("cart", balance=BalancePolicy(Algorithm.ROUND_ROBIN), limits=LimitsPolicy(**limits),
                   retry=RetryPolicy(max_attempts=2, backoff_base=0.001, backoff_max=0.001))


KEYED = [*GRPC, ("idempotency-key", "k")]


def fail(call: Call) -> None:
    call.send_headers([*OK, ("grpc-status", "14")], end=True)


def refuse(call: Call) -> None:
    call.cancel(7)


def test_a_retry_avoids_where_as_many_are_repeated_as_may() -> None:
    """All that `a` gets fails. One repetition may be at `b`: the next is made at `a` again, tried as it is."""
    async def main() -> None:
        kept, keep = held()
        async with world(fail, keep, service=repeating(endpoint_retries=1)) as w:
            client = await w.client()
            first = client.request(KEYED)
            await until(lambda: kept)
            assert endpoint(w, "b")["retries"] == 1
            second = client.request(KEYED)
            assert (await answered(second)).headers["grpc-status"] == "14"
            assert len(w.upstreams[0].calls) == 3
            third = client.request(KEYED)  # no repetition: there is room for it at `b`
            await until(lambda: len(kept) == 2)
            assert endpoint(w, "b")["retries"] == 1
            for call in kept:
                call.answer()
            for call in (first, third):
                assert (await answered(call)).trailers == {"grpc-status": "0"}
            assert counts(w)["refused"] == {}

    run(main)


def test_nothing_is_repeated_where_all_have_as_many_retries_as_may() -> None:
    async def main() -> None:
        kept: list[Call] = []

        def second_stays(call: Call) -> None:
            if call.headers.get("x-attempt") == "stay" and call.headers["mesh-attempts"] == "1":
                kept.append(call)
            else:
                fail(call)

        async with world(second_stays, service=repeating(endpoint_retries=1)) as w:
            client = await w.client()
            first = client.request([*KEYED, ("x-attempt", "stay")])
            await until(lambda: kept)
            for _ in range(3):
                refused = await answered(client.request(KEYED))
                assert refused.headers["grpc-status"] == "14"
                assert "mesh-reason" not in refused.headers  # it is the endpoint's own answer
            assert counts(w)["refused"] == {"limit_retries": 3}
            kept[0].answer()
            assert (await answered(first)).trailers == {"grpc-status": "0"}

    run(main)


def test_an_adaptive_limit() -> None:
    """It starts with the lowest, and goes up while the latency stays what it was."""
    waiting, serve = unanswered()

    async def main() -> None:
        async with http1_world(serve) as w:
            adaptive = AdaptivePolicy(enabled=True, min_limit=1, rtt_samples=1)
            w.cluster.update_service(Service("shop", Protocol.HTTP1, limits=LimitsPolicy(adaptive=adaptive)))
            limits = []
            reader, writer = await w.caller()
            for _ in range(5):
                writer.write(GET)
                await until(lambda: waiting)
                w.pass_time(0.2)
                waiting.pop().write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                assert b" 200 " in await answer(reader)
                limits.append(w.cluster.statistics()["limits"]["adaptive_limit"])
            assert limits == [1, 2, 4, 7, 11]
            assert abs(w.cluster.statistics()["limits"]["least_latency"] - 0.2) < 1e-6

    run(main)


def test_an_adaptive_limit_holds() -> None:
    async def main() -> None:
        app = App()
        adaptive = AdaptivePolicy(enabled=True, min_limit=2, max_limit=2)
        async with world(app, service=cart(adaptive=adaptive)) as w:
            client = await w.client()
            for call in [client.request(GRPC) for _ in range(10)]:
                assert (await answered(call)).trailers == {"grpc-status": "0"}
            assert app.most == 2

    run(main)


def test_a_place_for_a_retry_that_was_taken_during_its_pause() -> None:
    """Both were to be repeated when there was a place for one; who comes second is told why it is not."""
    async def main() -> None:
        kept: list[Call] = []

        def second_stays(call: Call) -> None:
            (kept.append if call.headers["mesh-attempts"] == "1" else fail)(call)

        async with world(second_stays, service=repeating(endpoint_retries=1), clock=(clock := Clock())) as w:
            client = await w.client()
            asked = [client.request(KEYED) for _ in range(2)]
            await until(lambda: w.entry.retries == 2)
            clock.now += 1.0
            await until(lambda: kept and any(call.ended for call in asked))
            [refused] = [call for call in asked if call.ended]
            assert refused.headers["mesh-reason"] == "limit_retries"
            assert refused.headers["grpc-status"] == "14"
            assert counts(w)["refused"] == {"limit_retries": 1}
            kept[0].answer()
            asked.remove(refused)
            assert (await answered(asked[0])).trailers == {"grpc-status": "0"}
            assert len(kept) == 1

    run(main)


def test_a_body_that_goes_on_while_a_retry_waits_for_room_is_sent_once() -> None:
    async def main() -> None:
        kept, keep = held()
        retry = RetryPolicy(max_attempts=2, backoff_base=0.05, backoff_max=0.05)
        service = Service("cart", balance=BalancePolicy(Algorithm.ROUND_ROBIN), retry=retry,
                          limits=LimitsPolicy(max_requests=1))
        async with world(refuse, keep, service=service) as w:
            first, second = await w.client(), await w.client()
            upload = first.request(KEYED, end=False)
            upload.send(b"one ")
            await until(lambda: w.entry.retries == 1)
            other = second.request(GRPC)  # takes the place while the retry is put off
            await until(lambda: kept)
            await until(lambda: counts(w)["pending"] == 1)
            upload.send(b"two ")
            upload.send(b"three", end=True)
            behind = first.request(GRPC)  # on the same connection: what was sent before it is here
            await until(lambda: counts(w)["pending"] == 2)
            kept[0].answer()
            await answered(other)
            await until(lambda: len(kept) == 2 and kept[1].ended)
            assert kept[1].body == b"one two three"
            kept[1].answer()
            await answered(upload)
            await until(lambda: len(kept) == 3)
            kept[2].answer()
            await answered(behind)

    run(main)
