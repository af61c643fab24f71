"""Sampling and the ids of records, as the listener decides them."""

from __future__ import annotations

import pytest
from h2_world import GRPC, answered, run, until, world
from test_exchange import PARENT, cart, echo, refuse, trailers_only

from mesh.balance.rng import Rng
from mesh.dataplane.entry import Entry
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import CLIENT, Record, Recorder
from mesh.dataplane.tally import Tallies
from mesh.model import RetryPolicy


def connection(**sampler: object) -> tuple[Recorder, Record]:
    recorder = Recorder()
    entry = Entry(Hub(None, Rng(3), recorder, lambda: 1.0, lambda: 0), CLIENT, None, None,
                  sampler.get("tracing", True), True, sampler.get("always", True), sampler.get("bound", 0))
    record = Record()
    entry.add_connection(record)
    return recorder, record


def test_a_tcp_connection_is_a_trace_of_its_own() -> None:
    recorder, record = connection()
    assert recorder.drain(10) == [record]
    assert record.trace_hi
    assert record.span_id
    assert record.parent_id == 0
    assert record.trace_flags == 1


@pytest.mark.parametrize(("sampler", "kept"), [
    ({"always": False, "bound": 0}, 0), ({"always": False, "bound": 2**64 - 1}, 1), ({"tracing": False}, 0)])
def test_the_ratio_decides_about_roots(sampler: dict[str, object], kept: int) -> None:
    recorder, _ = connection(**sampler)
    assert len(recorder.drain(10)) == kept


@pytest.mark.parametrize(("parent_based", "root_always", "flag", "sampled"), [
    (True, False, "01", True), (True, True, "00", False), (False, True, "00", True), (False, False, "01", False)])
def test_who_decides_where_there_is_a_caller(parent_based: bool, root_always: bool, flag: str, sampled: bool) -> None:
    async def main() -> None:
        async with world(echo, service=cart(), parent_based=parent_based, root_always=root_always) as w:
            await answered((await w.client()).request([*GRPC, ("traceparent", PARENT[:-2] + flag)]))
            assert w.upstreams[0].calls[0].headers["traceparent"].endswith("01" if sampled else "00")
            await until(w.idle)
            assert len(w.records()) == sampled

    run(main)


def test_counts() -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            client = await w.client()
            for _ in range(3):
                await answered(client.request(GRPC))
            await until(w.idle)
            assert w.entry.statistics() == {"requests": 3, "active": 0, "failures": 0, "retries": 0, "hedges": 0}

    run(main)


@pytest.mark.parametrize("tracing", [True, False])
def test_relays_make_records_only_where_somebody_keeps_them(tracing: bool) -> None:
    entry = Entry(Hub(None, Rng(3), Recorder(), lambda: 1.0, lambda: 0), CLIENT, None, None, tracing, True, True, 0)
    recorder = entry.connection_recorder()
    assert (recorder is not None) == tracing


def test_who_watches_sees_every_request_once_whether_it_is_sampled_or_not() -> None:
    """Two endpoints, of which the first refuses: its attempts are no requests; the log says where the last one went."""
    async def main() -> None:
        async with world(refuse, echo, service=cart(), root_always=False) as w:
            tallies, log = Tallies(), Recorder()
            w.entry.watch(tallies, log)
            client = await w.client()
            for _ in range(4):
                await answered(client.request(GRPC))
            await until(w.idle)
            assert w.records() == []
            records = log.drain(10)
            assert [record.reason for record in records] == [""] * 4
            assert [record.attempts for record in records] == [2] * 4
            assert {(record.endpoint, record.last_endpoint) for record in records} == {("cart/a", "cart/b")}
            assert all(record.end_ns >= record.start_ns > 0 for record in records)
            counted = tallies.statistics()["outbound"]["cart"]
            assert (counted["reasons"], counted["retries"], counted["attempts"]) == ({"ok": 4}, {"not sent": 4}, 8)

    run(main)


@pytest.mark.parametrize(("tallies", "log"), [(Tallies(), None), (None, Recorder())])
def test_relays_make_records_for_whoever_watches(tallies: Tallies | None, log: Recorder | None) -> None:
    entry = Entry(Hub(None, Rng(3), Recorder(), lambda: 1.0, lambda: 0), CLIENT, None, None, False, True, True, 0)
    assert entry.connection_recorder() is None
    entry.watch(tallies, log)
    keep = entry.connection_recorder()
    assert keep is not None
    record = Record()
    record.service = "stock"
    keep(record)
    assert entry.hub.recorder.pending == 0
    assert tallies is None or tallies.statistics()["outbound"]["stock"]["reasons"] == {"ok": 1}
    assert log is None or log.drain(5) == [record]


@pytest.mark.parametrize("ratio", [1.0, 0.0000001])
def test_attempts_are_written_down_with_their_outcome(ratio: float) -> None:
    """The first endpoint refuses, the second answers; all attempts of a request are of the sample, or none."""
    async def main() -> None:
        async with world(refuse, echo, service=cart()) as w:
            decisions = Recorder()
            w.entry.write_down(decisions, ratio)
            client = await w.client()
            for _ in range(2):
                await answered(client.request(GRPC))
            await until(w.idle)
            made = [(each.service, each.endpoint, each.why, each.attempt, each.reason) for each in decisions.drain(10)]
            assert made == ([("cart", "cart/a", "round_robin", 1, "upstream_refused_stream"),
                             ("cart", "cart/b", "round_robin", 2, "")] * 2 if ratio == 1 else [])

    run(main)


def test_an_answer_that_says_it_failed_is_written_down_as_such() -> None:
    async def main() -> None:
        async with world(trailers_only(14), service=cart(retry=RetryPolicy(max_attempts=1))) as w:
            decisions = Recorder()
            w.entry.write_down(decisions, 1.0)
            await answered((await w.client()).request(GRPC))
            await until(w.idle)
            (made,) = decisions.drain(10)
            assert (made.reason, made.grpc_status, made.attempt) == ("upstream_status", 14, 1)
            assert made.end_ns >= made.start_ns > 0

    run(main)
