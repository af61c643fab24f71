"""The loop that waits in the reactor: whatever a loop has of its own goes on, and the reactor is its guest no more."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import time

import pytest
from h2_world import until
from test_reactor import pair

from mesh.dataplane.loop import run
from mesh.dataplane.reactor import EDGES, INCOMING, Probe, Reactor
from mesh.dataplane.timers import Probe as TimerProbe


def test_the_first_reactor_does_the_waiting() -> None:
    """Callbacks, timers that are set while it waits, tasks and descriptors of the loop's own get their turn."""
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reactor = Reactor(loop)
        seen: list[str] = []
        fd, other = pair(*socket.socketpair())

        def on_event(mask: int) -> None:
            if mask & select.EPOLLIN:
                seen.append("event")
                loop.call_later(0.001, seen.append, "timer")
                loop.call_soon(seen.append, "callback")

        watch = Probe(on_event)
        reactor.add(watch, fd, INCOMING)
        theirs, theirs_other = socket.socketpair()
        theirs.setblocking(False)
        reading = asyncio.ensure_future(loop.sock_recv(theirs, 10))
        await asyncio.sleep(0)
        await asyncio.to_thread(other.send, b"x")
        await until(lambda: "timer" in seen)
        assert seen == ["event", "callback", "timer"]
        await asyncio.to_thread(theirs_other.send, b"y")
        assert await reading == b"y"
        reactor.remove(watch)
        for sock in (other, theirs, theirs_other):
            sock.close()
    run(main())


def test_a_busy_reactor_does_not_keep_the_loop_from_its_timers() -> None:
    """Two descriptors that wake each other without end; the loop's timer fires, and callbacks have their turns."""
    async def main() -> None:
        reactor = Reactor(asyncio.get_running_loop())
        one, other = socket.socketpair()
        watches = []
        for fd in (one.fileno(), other.fileno()):
            os.set_blocking(fd, False)

            def on_event(mask: int, fd: int = fd) -> None:
                if mask & select.EPOLLIN:
                    os.write(fd, os.read(fd, 10))

            watches.append(Probe(on_event))
            reactor.add(watches[-1], os.dup(fd), INCOMING)
        one.send(b"x")
        await asyncio.sleep(0.01)
        for watch in watches:
            reactor.remove(watch)
        one.close()
        other.close()
    run(main())


@pytest.mark.parametrize("busy", ["callbacks", "due timers"])
def test_a_loop_that_is_never_idle_does_not_keep_the_wheel_from_turning(busy: str) -> None:
    """Deadlines come also while there is always something to do at once, as on a machine that is too slow."""
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reactor = Reactor(loop)
        fired: list[float] = []
        began = time.monotonic()

        def again() -> None:
            if not fired and time.monotonic() < began + 5:
                if busy == "callbacks":
                    loop.call_soon(again)
                else:
                    loop.call_at(loop.time() - 1, again)

        reactor.timers.arm(TimerProbe(lambda: fired.append(time.monotonic())), reactor.touch() + 0.02, reactor.now)
        again()
        while not fired and time.monotonic() < began + 5:  # noqa: ASYNC110  the loop is to have no rest
            await asyncio.sleep(0)
        assert fired
    run(main())


def test_a_loop_without_a_reactor_is_any_loop() -> None:
    async def main() -> str:
        return await asyncio.to_thread(lambda: "from a thread")
    assert run(main()) == "from a thread"


def test_timers_are_kept_while_nothing_else_happens() -> None:
    """... nor is anything watched; and none fires early."""
    async def main() -> None:
        Reactor(asyncio.get_running_loop())
        for seconds in (0.0, 0.0004, 0.003, 0.02):
            begun = time.monotonic()
            await asyncio.sleep(seconds)
            assert time.monotonic() - begun >= seconds * 0.99
    run(main())


def test_a_signal_is_handled_while_it_waits() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        Reactor(loop)
        told = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, told.set)
        loop.call_later(0.001, os.kill, os.getpid(), signal.SIGUSR1)
        async with asyncio.timeout(5):
            await told.wait()
    run(main())


def test_subprocesses_end() -> None:
    async def main() -> None:
        Reactor(asyncio.get_running_loop())
        process = await asyncio.create_subprocess_exec("sh", "-c", "echo out; exit 3", stdout=asyncio.subprocess.PIPE)
        assert await process.communicate() == (b"out\n", None)
        assert process.returncode == 3
    run(main())


def test_a_second_reactor_is_watched() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        watches, others = [], []
        for number in range(2):
            reactor = Reactor(loop)
            fd, other = pair(*socket.socketpair())
            watches.append((reactor, Probe(lambda mask, number=number: seen.append(number))))  # type: ignore[misc]
            reactor.add(watches[-1][1], fd, INCOMING)
            others.append(other)
        for other in others:
            other.send(b"x")
        await until(lambda: {0, 1} <= set(seen))
        for reactor, watch in watches:
            reactor.remove(watch)
        for other in others:
            other.close()
        await asyncio.sleep(0)
    run(main())


def test_a_closed_loop_leaves_no_descriptor() -> None:
    async def main() -> None:
        reactor = Reactor(asyncio.get_running_loop())
        fd, other = pair(*socket.socketpair())
        watch = Probe(lambda mask: None)
        reactor.add(watch, fd, EDGES)
        reactor.remove(watch)
        other.close()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        run(main())
    assert len(os.listdir("/proc/self/fd")) == before
