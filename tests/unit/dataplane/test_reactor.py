"""Descriptors and turns: who is told what, what is closed when, and that nobody hears of another one's events."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from typing import Any

import pytest
from tcp_world import run, until

from mesh.dataplane.reactor import EDGES, INCOMING, MAX_READ, Probe, Reactor, Watch


def pair(sock: socket.socket, other: socket.socket) -> tuple[int, socket.socket]:
    """A descriptor to watch, and who is at the other end."""
    sock.setblocking(False)
    other.setblocking(False)
    return sock.detach(), other


def test_the_read_buffer_costs_nothing_before_it_is_used() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    async def main() -> None:
        before = resident()
        reactors = [Reactor(asyncio.get_running_loop()) for _ in range(8)]
        watches = []
        others = []
        for reactor in reactors:
            fd, other = pair(*socket.socketpair())
            watches.append(Probe(lambda mask: None))
            others.append(other)
            reactor.add(watches[-1], fd, EDGES)
        assert len(reactors[0].inbox) == MAX_READ
        assert resident() - before < 2 * MAX_READ
        for reactor, watch, other in zip(reactors, watches, others, strict=True):
            reactor.remove(watch)
            other.close()
        await asyncio.sleep(0)
    run(main())


def test_it_is_in_the_loop_only_while_something_is_watched() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        added: list[int] = []

        class Loop:
            adopt = None  # as of any other loop

            def add_reader(self, fd: int, callback: Any) -> None:
                added.append(fd)
                loop.add_reader(fd, callback)

            def remove_reader(self, fd: int) -> None:
                added.remove(fd)
                loop.remove_reader(fd)

            def __getattr__(self, name: str) -> Any:
                return getattr(loop, name)

        reactor = Reactor(Loop())
        for _ in range(2):
            assert added == []
            fd, other = pair(*socket.socketpair())
            watch = Probe(lambda mask: None)
            reactor.add(watch, fd, EDGES)
            assert len(added) == reactor.watched == 1
            reactor.remove(watch)
            reactor.remove(watch)
            assert reactor.watched == 0
            other.close()
            await asyncio.sleep(0)
        assert added == []
    run(main())


def test_timers_know_the_time() -> None:
    async def main() -> None:
        reactor = Reactor(asyncio.get_running_loop())
        before = reactor.now
        seen: list[float] = []
        reactor.call_at(before + 0.01, lambda: seen.append(reactor.now))
        await until(lambda: bool(seen))
        assert seen[0] >= before + 0.009
    run(main())


def test_the_clock_can_be_another() -> None:
    times = iter([5.0, 7.0])
    reactor = Reactor(None, lambda: next(times))
    assert reactor.now == 5.0
    assert reactor.touch() == reactor.now == 7.0


def test_edges_are_reported_once_registered_for_both_ways() -> None:
    assert EDGES & select.EPOLLIN
    assert EDGES & select.EPOLLOUT
    assert EDGES & select.EPOLLRDHUP
    assert EDGES & select.EPOLLET


def test_a_watch_knows_its_descriptor() -> None:
    async def main() -> None:
        reactor = Reactor(asyncio.get_running_loop())
        watch = Watch()
        assert watch.fd == -1
        assert reactor.release(watch) == -1
        fd, other = pair(*socket.socketpair())
        reactor.add(watch, fd, EDGES)
        assert watch.fd == fd
        assert reactor.watches(fd)
        assert not reactor.watches(fd + 1)
        assert not reactor.watches(-1)
        assert reactor.release(watch) == fd
        assert watch.fd == -1
        assert not reactor.watches(fd)
        os.close(fd)
        other.close()
        await asyncio.sleep(0)
    run(main())


def test_a_released_descriptor_is_open_and_silent_until_it_is_watched_again() -> None:
    async def main() -> None:
        reactor = Reactor(asyncio.get_running_loop())
        seen: list[tuple[str, int]] = []
        first, second = Probe(lambda mask: seen.append(("first", mask))), Probe(lambda m: seen.append(("second", m)))
        fd, other = pair(*socket.socketpair())
        reactor.add(first, fd, EDGES)
        await until(lambda: bool(seen))
        assert reactor.release(first) == fd
        other.send(b"x")
        seen.clear()
        await asyncio.sleep(0.005)
        assert seen == []
        reactor.add(second, fd, EDGES)
        await until(lambda: bool(seen))
        assert seen[0][0] == "second"
        assert seen[0][1] & select.EPOLLIN
        reactor.remove(second)
        other.close()
        await asyncio.sleep(0)
    run(main())


def test_what_a_batch_still_holds_does_not_reach_the_next_owner_of_a_number() -> None:
    async def main() -> None:
        reactor = Reactor(asyncio.get_running_loop())
        ends = [pair(*socket.socketpair()) for _ in range(2)]
        numbers = [fd for fd, _ in ends]
        heirs: list[tuple[Probe, socket.socket]] = []
        heard: list[int] = []
        watches: list[Probe] = []

        def whoever_is_first_ends_both(mask: int) -> None:
            """The other one's event is in the batch already, and its number belongs to somebody else by then."""
            for watch in watches:
                reactor.remove(watch)
            for _ in ends:
                fd, other = pair(*socket.socketpair())
                heirs.append((Probe(heard.append), other))
                reactor.add(heirs[-1][0], fd, select.EPOLLIN | select.EPOLLET)

        for fd, other in ends:
            other.send(b"x")
            watches.append(Probe(whoever_is_first_ends_both))
            reactor.add(watches[-1], fd, EDGES)
        await until(lambda: bool(heirs))
        await asyncio.sleep(0.005)
        assert {probe.fd for probe, _ in heirs} & set(numbers), "no number was given out again: nothing was tested"
        assert len(heirs) == 2
        assert heard == []
        for probe, other in heirs:
            reactor.remove(probe)
            other.close()
        for _, other in ends:
            other.close()
        await asyncio.sleep(0)
    run(main())


def test_a_watch_that_raises_is_logged_and_the_others_are_served(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        reactor = Reactor(asyncio.get_running_loop())
        seen: list[int] = []
        fine, broken = Probe(seen.append), Probe(lambda mask: 1 / 0)
        ends = [pair(*socket.socketpair()) for _ in range(2)]
        reactor.add(broken, ends[0][0], EDGES)
        reactor.add(fine, ends[1][0], EDGES)
        await until(lambda: bool(seen))
        for watch in (fine, broken):
            reactor.remove(watch)
        for _, other in ends:
            other.close()
        await asyncio.sleep(0)
    run(main())
    assert [record.message for record in caplog.records] == ["a connection failed"]


def test_what_cannot_be_watched_is_refused_and_closed() -> None:
    async def main() -> None:
        reactor = Reactor(asyncio.get_running_loop())
        fd = os.open("/proc/self/stat", os.O_RDONLY)  # a plain file: epoll_ctl(2) says EPERM
        with pytest.raises(PermissionError):
            reactor.add(Watch(), fd, EDGES)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)
        assert reactor.watched == 0
    run(main())


def test_when_the_last_event_was() -> None:
    """Timers and callbacks of the loop's are none: a sidecar that only does those is quiet."""
    async def main() -> None:
        reactor = Reactor(asyncio.get_running_loop())
        fd, other = pair(*socket.socketpair())
        watch = Watch()
        reactor.add(watch, fd, INCOMING)
        before = reactor.active_at
        await asyncio.sleep(0.003)
        assert reactor.now > before
        assert reactor.active_at == before
        other.send(b"x")
        await until(lambda: reactor.active_at > before)
        reactor.remove(watch)
        other.close()
    run(main())


@pytest.mark.parametrize(("window", "order"), [(0.0, ["first", "turn", "second"]), (0.5, ["first", "second", "turn"])])
def test_what_comes_at_once_is_waited_for_awake(window: float, order: list[str]) -> None:
    """The first event makes the second one happen: with a window it is seen before the loop has another turn."""
    async def main() -> None:
        loop = asyncio.get_running_loop()
        Reactor(loop)  # which drives the loop; the other is watched by it, so that a turn of the loop can be told
        reactor = Reactor(loop)
        reactor.spin.window = window
        seen: list[str] = []
        first, first_end = pair(*socket.socketpair())
        second, second_end = pair(*socket.socketpair())

        def on_first(mask: int) -> None:
            if mask & select.EPOLLIN:
                seen.append("first")
                loop.call_soon(seen.append, "turn")
                second_end.send(b"x")

        def on_second(mask: int) -> None:
            if mask & select.EPOLLIN:
                seen.append("second")
                loop.call_soon(seen.append, "end")

        watches = [Probe(on_first), Probe(on_second)]
        reactor.add(watches[0], first, INCOMING)
        reactor.add(watches[1], second, INCOMING)
        first_end.send(b"x")
        await until(lambda: "end" in seen)
        assert seen[:3] == order
        for watch in watches:
            reactor.remove(watch)
        first_end.close()
        second_end.close()
        await asyncio.sleep(0)
    run(main())
