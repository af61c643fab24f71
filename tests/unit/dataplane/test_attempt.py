"""One attempt at an endpoint: what it carries of time and of attempts left, and how its stream ends."""

from __future__ import annotations

from typing import Any

import pytest
from h2_world import GRPC, OK, PLAIN, answered, run, until, world
from test_exchange import cart, echo, trailers_only

from mesh.dataplane.record import SERVER
from mesh.model import RetryPolicy, TimeoutPolicy

KEY = ("idempotency-key", "k1")
PARENT = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def seconds(value: str) -> float:
    return int(value[:-1]) * {"n": 1e-9, "u": 1e-6, "m": 1e-3, "S": 1.0}[value[-1]]


@pytest.mark.parametrize(("code", "status"), [
    (0, "13"), (1, "13"), (2, "13"), (3, "13"), (4, "13"), (6, "13"), (8, "1"), (9, "13"), (10, "13"), (11, "8"),
    (12, "7"), (13, "13"), (77, "13")])
def test_a_reset_is_told_as_grpc_has_it(code: int, status: str) -> None:
    async def main() -> None:
        async with world(lambda call: call.cancel(code), service=cart(retry=RetryPolicy(max_attempts=1))) as w:
            call = await answered((await w.client()).request(GRPC))
            assert (call.headers["grpc-status"], call.headers["mesh-reason"]) == (status, "upstream_reset")
            call = await answered((await w.client()).request(PLAIN))
            assert (call.headers[":status"], call.headers["mesh-reason"]) == ("502", "upstream_reset")

    run(main)


@pytest.mark.parametrize("headers", [GRPC, PLAIN])
def test_the_services_time_limit_is_passed_on(headers: Any) -> None:
    """Also to what is no gRPC: the callee's sidecar and app get to know how long somebody waits."""
    async def main() -> None:
        async with world(echo, service=cart(timeout=TimeoutPolicy(request=20))) as w:
            call = (await w.client()).request(headers)
            await until(lambda: w.upstreams[0].calls)
            assert 0.1 < seconds(w.upstreams[0].calls[0].headers["grpc-timeout"]) <= 20
            await answered(call)

    run(main)


def test_the_second_attempt_has_what_is_left() -> None:
    async def main() -> None:
        retry = RetryPolicy(backoff_base=0.05, backoff_max=0.05)
        async with world(trailers_only(14), echo, service=cart(retry=retry)) as w:
            await answered((await w.client()).request([*GRPC, KEY, ("grpc-timeout", "20S")]))
            first, second = (seconds(each.calls[0].headers["grpc-timeout"]) for each in w.upstreams)
            assert 0 < second < first <= 20

    run(main)


# -- attempts along the chain


def said(call: Any) -> tuple[str | None, str | None]:
    return call.headers.get("mesh-attempts"), call.headers.get("tracestate")


@pytest.mark.parametrize(("headers", "first", "second"), [
    ([*GRPC, KEY], ("3", "mesh=a:3"), ("2", "mesh=a:2")),
    (PLAIN, ("3", "mesh=a:3"), ("2", "mesh=a:2")),
    ([*PLAIN, PARENT, ("tracestate", "x=1")], ("3", "mesh=a:3,x=1"), ("2", "mesh=a:2,x=1")),
    # what comes in is what counts, the smaller of both, and only the rest goes on
    ([*GRPC, KEY, ("mesh-attempts", "9")], ("9", "mesh=a:9"), ("8", "mesh=a:8")),
    ([*GRPC, ("mesh-attempts", "2")], ("2", "mesh=a:2"), ("1", "mesh=a:1")),
    ([*PLAIN, PARENT, ("tracestate", "x=1,mesh=a:4")], ("4", "mesh=a:4,x=1"), ("3", "mesh=a:3,x=1")),
    ([*PLAIN, PARENT, ("tracestate", "mesh=a:4"), ("mesh-attempts", "5")], ("4", "mesh=a:4"), ("3", "mesh=a:3")),
    # what can't be run twice has no owner here: the next hop may be one
    (GRPC, (None, None), (None, None)),
    ([*GRPC, PARENT, ("tracestate", "x=1")], (None, "x=1"), (None, "x=1"))])
def test_each_attempt_says_how_many_are_left(headers: Any, first: Any, second: Any) -> None:
    async def main() -> None:
        async with world(lambda call: call.cancel(7), echo, service=cart()) as w:
            await answered((await w.client()).request(headers))
            assert [said(each.calls[0]) for each in w.upstreams] == [first, second]

    run(main)


@pytest.mark.parametrize("count", ["0", "11", "-1", "x", "", "3x"])
def test_a_count_that_is_none_says_nothing(count: str) -> None:
    async def main() -> None:
        async with world(trailers_only(14), echo, service=cart()) as w:
            headers = [*GRPC, KEY, PARENT, ("mesh-attempts", count), ("tracestate", f"mesh=a:{count}")]
            call = await answered((await w.client()).request(headers))
            assert call.trailers == {"grpc-status": "0"}
            assert w.upstreams[1].calls[0].headers["tracestate"] == "mesh=a:2"

    run(main)


@pytest.mark.parametrize(("inherited", "script", "calls"), [
    # for those further up to repeat
    ("3", trailers_only(14), 1), ("3", lambda call: call.cancel(2), 1),
    ("3", lambda call: call.peer.transport.abort(), 1),
    # provably not delivered: here, as often as is left
    ("3", lambda call: call.cancel(7), 3), ("2", lambda call: call.cancel(7), 2), ("1", lambda call: call.cancel(7), 1),
    ("9", lambda call: call.cancel(7), 3), ("3", trailers_only(14, ("mesh-not-delivered", "1")), 3)])
def test_an_inner_hop_repeats_only_what_was_not_delivered(inherited: str, script: Any, calls: int) -> None:
    async def main() -> None:
        async with world(script, script, service=cart()) as w:
            call = await answered((await w.client()).request([*GRPC, KEY, ("mesh-attempts", inherited)]))
            assert call.headers["grpc-status"] != "0"
            assert sum(len(each.calls) for each in w.upstreams) == calls

    run(main)


def test_the_callees_sidecar_hands_the_count_on_as_it_came() -> None:
    async def main() -> None:
        async with world(echo, service=cart(retry=RetryPolicy(max_attempts=1)), kind=SERVER) as w:
            headers = [*PLAIN, PARENT, ("mesh-attempts", "2"), ("tracestate", "mesh=a:2")]
            await answered((await w.client()).request(headers))
            assert said(w.upstreams[0].calls[0]) == ("2", "mesh=a:2")

    run(main)


def test_retries_switched_off_own_nothing() -> None:
    async def main() -> None:
        async with world(echo, service=cart(retry=RetryPolicy(max_attempts=1))) as w:
            await answered((await w.client()).request(PLAIN))
            assert said(w.upstreams[0].calls[0]) == (None, None)
            await answered((await w.client()).request([*PLAIN, ("mesh-attempts", "2")]))
            assert said(w.upstreams[0].calls[1]) == ("2", "mesh=a:2")

    run(main)


def test_the_exported_span_has_the_tracestate_of_others_only() -> None:
    async def main() -> None:
        async with world(lambda call: call.send_headers(OK, end=True), service=cart()) as w:
            await answered((await w.client()).request([*PLAIN, PARENT, ("tracestate", "mesh=a:3,x=1")]))
            await until(w.idle)
            assert w.records()[0].tracestate == b"x=1"

    run(main)
