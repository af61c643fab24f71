"""Who floods: cut off, and then few of its requests at a time; what is cancelled at once costs nobody anything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from h2_world import PLAIN, Call, Peer, run, until
from http1_world import OK, World, world

PLACES = 8


class App:
    """Speaks HTTP/1.1 and answers when it is told to, in the order of the requests."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.StreamWriter] = []
        self.asked = 0
        self.prompt = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            if self.prompt:
                writer.write(OK)
            else:
                self.waiting.append(writer)

    def answer(self, number: int = 1) -> None:
        for _ in range(number):
            self.waiting.pop(0).write(OK)


@contextlib.asynccontextmanager
async def shop() -> AsyncIterator[tuple[World, App]]:
    app = App()
    async with world(app.serve) as w:
        w.version = 2
        yield w, app


async def caller(w: World) -> Peer:
    _, peer = await asyncio.get_running_loop().create_connection(lambda: Peer(True), *w.port.address)
    return peer


def requests(peer: Peer, number: int) -> list[Call]:
    """In one write."""
    calls = []
    for _ in range(number):
        call = Call(peer, peer.conn.get_next_available_stream_id())
        peer.calls[call.id] = call
        peer.conn.send_headers(call.id, PLAIN, end_stream=True)
        calls.append(call)
    peer.flush()
    return calls


def cancelled(peer: Peer, number: int) -> None:
    """Requests, each with its reset, in one write."""
    for _ in range(number):
        stream = peer.conn.get_next_available_stream_id()
        peer.conn.send_headers(stream, PLAIN, end_stream=True)
        peer.conn.reset_stream(stream, 8)
    peer.flush()


async def flood(w: World) -> None:
    """One connection that is cut off."""
    before = w.acceptor.probation.statistics()["offences"]
    peer = await caller(w)
    cancelled(peer, 60)
    await until(lambda: peer.goaway)
    await until(lambda: w.acceptor.probation.statistics()["offences"] == before + 1)
    peer.transport.abort()


def test_what_is_cancelled_in_the_same_read_never_reaches_the_app() -> None:
    async def main() -> None:
        async with shop() as (w, app):
            peer = await caller(w)
            cancelled(peer, 20)
            await until(lambda: w.entry.requests == 20 and w.entry.active == 0)
            app.prompt = True
            [call] = requests(peer, 1)
            await until(lambda: call.ended)
            assert (app.asked, w.connections) == (1, 1)
            assert w.acceptor.probation.statistics() == {"offences": 0, "held_back": 0, "refused": 0}
            peer.transport.abort()

    run(main)


def test_new_connections_take_turns_after_a_flood() -> None:
    async def main() -> None:
        async with shop() as (w, app):
            await flood(w)
            assert w.acceptor.probation.statistics()["held_back"] == 1
            greedy, modest = await caller(w), await caller(w)
            requests(greedy, 30)
            await until(lambda: len(app.waiting) == PLACES)
            await until(lambda: w.entry.active == 30)
            [call] = requests(modest, 1)
            await until(lambda: w.entry.active == 31)
            assert app.asked == PLACES
            app.answer(2)  # two places: one for each
            await until(lambda: app.asked == PLACES + 2)
            app.answer(PLACES)
            await until(lambda: call.ended)
            greedy.transport.abort()
            modest.transport.abort()

    run(main)


def test_who_was_there_before_is_let_alone() -> None:
    async def main() -> None:
        async with shop() as (w, app):
            before = await caller(w)
            requests(before, 1)
            await until(lambda: app.asked == 1)
            await flood(w)
            requests(before, 3 * PLACES)
            await until(lambda: app.asked == 1 + 3 * PLACES)
            before.transport.abort()

    run(main)


def test_answers_that_are_waited_for_earn_more() -> None:
    async def main() -> None:
        async with shop() as (w, app):
            await flood(w)
            app.prompt = True
            honest, other = await caller(w), await caller(w)
            for _ in range(PLACES):
                [call] = requests(honest, 1)
                await until(lambda call=call: call.ended)  # type: ignore[misc]
            app.prompt = False
            requests(other, PLACES)
            await until(lambda: len(app.waiting) == PLACES)  # all places are taken
            requests(honest, 5)
            await until(lambda: len(app.waiting) == PLACES + 5)
            honest.transport.abort()
            other.transport.abort()

    run(main)


def test_a_cancelled_request_keeps_its_place_for_a_moment_and_a_slow_one_not_for_long() -> None:
    async def main() -> None:
        async with shop() as (w, app):
            await flood(w)
            peer = await caller(w)
            calls = requests(peer, 3 * PLACES)
            await until(lambda: app.asked == PLACES)
            for call in calls[:PLACES]:
                peer.conn.reset_stream(call.id, 8)
            peer.flush()
            await until(lambda: w.entry.active == 2 * PLACES)
            assert app.asked == PLACES
            w.pass_time(0.3)
            await until(lambda: app.asked == 2 * PLACES)
            w.pass_time(1.1)  # nothing was answered
            await until(lambda: app.asked == 3 * PLACES)
            peer.transport.abort()

    run(main)


def test_who_waits_in_vain_is_told() -> None:
    async def main() -> None:
        async with shop() as (w, app):
            await flood(w)
            peer = await caller(w)
            calls = requests(peer, 5 * PLACES)
            await until(lambda: app.asked == PLACES and w.entry.active == 5 * PLACES)
            w.pass_time(3.1)
            await until(lambda: any(call.headers for call in calls))
            refused = [call.headers for call in calls if call.headers]
            assert {(head[":status"], head["mesh-reason"]) for head in refused} == {("429", "held_back")}
            assert w.acceptor.probation.statistics()["refused"] >= len(refused)
            peer.transport.abort()

    run(main)


def test_it_is_over_in_time() -> None:
    async def main() -> None:
        async with shop() as (w, app):
            await flood(w)
            w.pass_time(10.1)
            assert w.acceptor.probation.statistics()["held_back"] == 0
            peer = await caller(w)
            requests(peer, 3 * PLACES)
            await until(lambda: app.asked == 3 * PLACES)
            peer.transport.abort()

    run(main)


def test_who_stays_below_what_costs_a_connection_and_takes_another() -> None:
    """40 requests cancelled in each, in a read of their own; a flood by its number."""
    async def main() -> None:
        async with shop() as (w, app):
            done = 0
            while w.acceptor.probation.statistics()["offences"] == 0:
                peer = await caller(w)
                calls = requests(peer, 40)
                done += 40
                await until(lambda: app.asked >= done)  # noqa: B023
                for call in calls:
                    peer.conn.reset_stream(call.id, 8)
                peer.flush()
                await until(lambda: w.entry.active == 0)
                peer.transport.abort()
                assert done <= 400
            assert done > 200

    run(main)


def test_what_is_not_answered_earns_nothing() -> None:
    """... such as requests that the sidecar refuses itself."""
    async def main() -> None:
        async with shop() as (w, app):
            await flood(w)
            w.cluster.update_endpoints([])
            peer = await caller(w)
            calls = requests(peer, 3 * PLACES)
            await until(lambda: all(call.ended for call in calls))
            assert {call.headers["mesh-reason"] for call in calls} == {"no_endpoints"}
            assert app.asked == 0
            [handler] = [each for each in w.acceptor.connections if each.held is not None]
            assert handler.held.credit == 0
            peer.transport.abort()

    run(main)
