from __future__ import annotations

import asyncio
import select
import socket
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tcp_world import listening, run, until

from mesh.dataplane.record import CLIENT
from mesh.dataplane.tcp import TcpProxy
from mesh.dataplane.tcp_reactor import EDGES, MAX_READ, Reactor, Watch


def test_the_read_buffer_costs_nothing_before_it_is_used() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    async def main() -> None:
        before = resident()
        reactors = [Reactor(asyncio.get_running_loop()) for _ in range(8)]
        assert resident() - before < 2 * MAX_READ
        assert len(reactors[0].view) == MAX_READ
        for reactor in reactors:
            reactor.close()
    run(main())


def test_a_closed_reactor_has_left_the_loop() -> None:
    async def main() -> None:
        reactor = Reactor(asyncio.get_running_loop())
        reactor.close()
        reactor.close()
        assert reactor.watched == 0
    run(main())


def test_timers_know_the_time() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reactor = Reactor(loop)
        before = reactor.now
        seen: list[float] = []
        reactor.call_at(before + 0.01, lambda: seen.append(reactor.now))
        await until(lambda: bool(seen))
        assert seen[0] >= before + 0.009
        reactor.close()
    run(main())


def test_edges_are_reported_once_registered_for_both_ways() -> None:
    assert EDGES & select.EPOLLIN
    assert EDGES & select.EPOLLOUT
    assert EDGES & select.EPOLLRDHUP
    assert EDGES & select.EPOLLET


def test_a_watch_knows_its_descriptor() -> None:
    with socket.socket() as sock:
        watch = Watch(sock)
        assert (watch.sock, watch.fd) == (sock, sock.fileno())


@pytest.mark.parametrize("times", [1, 2])
def test_a_removed_socket_is_closed_after_the_batch(times: int) -> None:
    class Nothing:
        connect_timeout = idle_timeout = 1.0

        def pick(self, source: str, tried: object) -> None:
            return None

        def released(self, target: object, ok: bool, reason: object) -> None:
            raise AssertionError("nothing was picked")

    async def main() -> None:
        reactor = Reactor(asyncio.get_running_loop())
        proxy = TcpProxy(reactor, Nothing(), CLIENT, "stock")
        front = listening()
        proxy.listen(front)
        assert reactor.watched == 1
        for _ in range(times):
            proxy.close_listener()
        assert reactor.watched == 0
        assert front.fileno() >= 0
        await asyncio.sleep(0)
        assert front.fileno() < 0
        reactor.close()
    run(main())
