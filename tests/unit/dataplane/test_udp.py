from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from mesh import errors
from mesh.dataplane.reactor import Reactor
from mesh.dataplane.record import CLIENT, SERVER
from mesh.dataplane.udp import UdpProxy, UdpStatistics

sys.path.insert(0, str(Path(__file__).parent))

from tcp_world import run
from udp_world import LOCAL, Fixed, Place, datagrams, dead_port, udp, until, world


def test_statistics() -> None:
    async def main() -> None:
        async with world(kind=SERVER) as here:
            assert await here.ask(here.client(), b"abc") == b"abc"
            client = here.client()
            assert await here.ask(client, b"") == b""
            here.apps[0].answer = lambda datagram: None
            client.send(b"de")
            await until(lambda: len(here.apps[0].heard) == 3)
            assert here.proxy.statistics() == UdpStatistics(
                sessions=2, opened=2, refused=0, evicted=0, unreachable=0, dropped=0, request_datagrams=3,
                response_datagrams=2, request_bytes=5, response_bytes=3)
        assert {record.kind for record in here.records} == {SERVER}
    run(main())


def test_without_records_nothing_is_recorded() -> None:
    async def main() -> None:
        async with world(record=False) as here:
            assert await here.ask(here.client(), b"abc") == b"abc"
        assert here.records == []
    run(main())


def test_what_fails_in_a_record_or_a_verdict_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        class Broken(Fixed):
            def released(self, target: Any, ok: bool, reason: errors.Reason | None) -> None:
                raise RuntimeError("no verdict")

        def no_record(record: Any) -> None:
            raise RuntimeError("no record")

        reactor = Reactor(asyncio.get_running_loop())
        proxy = UdpProxy(reactor, Broken([Place(LOCAL, 9)]), CLIENT, "dns", no_record)
        front = udp()
        address = front.getsockname()
        proxy.listen(front)
        with udp() as client:
            client.sendto(b"x", address)
            await until(lambda: proxy.sessions == 1)
        assert proxy.abort() == 1
        assert proxy.sessions == 0
        await asyncio.sleep(0)
        assert reactor.watched == 0
    run(main())
    assert "a session with dns left no record" in caplog.text
    assert "dns/dns-0 could not be given back" in caplog.text


# ---- idle


def test_idle_sessions_end() -> None:
    async def main() -> None:
        async with world(udp_idle=0.1) as here:
            busy, idle = here.client(), here.client()
            assert await here.ask(idle, b"x") == b"x"
            for _ in range(10):
                assert await here.ask(busy, b"y") == b"y"
                await asyncio.sleep(0.02)
            assert here.proxy.sessions == 1
            await until(lambda: here.proxy.sessions == 0)
            assert [(record.reason, datagrams(record)) for record in here.records] == [("", (1, 1, 0)),
                                                                                       ("", (10, 10, 0))]
            assert here.upstream.given_back == [("dns/dns-0", True, errors.IDLE_TIMEOUT)] * 2
            assert await here.ask(idle, b"again") == b"again"
            assert here.proxy.sessions == 1
    run(main())


def test_replies_keep_a_session() -> None:
    async def main() -> None:
        async with world(udp_idle=0.1) as here:
            client = here.client()
            assert await here.ask(client, b"x") == b"x"
            for _ in range(10):
                here.apps[0].sock.sendto(b"news", here.apps[0].heard[0][1])
                assert await here.loop.sock_recv(client, 10) == b"news"
                await asyncio.sleep(0.02)
            assert here.proxy.sessions == 1
            await until(lambda: here.proxy.sessions == 0)
    run(main())


def test_a_shorter_idle_time_counts_for_sessions_that_are_open() -> None:
    async def main() -> None:
        async with world(udp_idle=0.2) as here:
            assert await here.ask(here.client(), b"x") == b"x"
            here.upstream.udp_idle = 0.0
            assert await here.ask(here.client(), b"x") == b"x"
            await until(lambda: here.proxy.sessions == 0)
    run(main())


# ---- as many as there may be


def test_with_all_places_taken_a_new_source_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with world(max_sessions=3) as here:
            here.clock.stop()
            clients = [here.client() for _ in range(3)]
            for client in clients:
                assert await here.ask(client, b"x") == b"x"
            for _ in range(5):
                here.client().send(b"no")
            await until(lambda: here.proxy.statistics().refused == 5)
            assert here.proxy.statistics().dropped == 5
            for client in clients:
                assert await here.ask(client, b"y") == b"y"
            assert here.proxy.sessions == 3
    run(main())
    assert [record.getMessage() for record in caplog.records] == [
        "datagrams to dns are dropped (too_many_sessions): 3 sessions are in use"]  # once, not five times


def test_the_quietest_makes_place() -> None:
    async def main() -> None:
        async with world(max_sessions=3) as here:
            here.clock.stop()
            clients = [here.client() for _ in range(3)]
            for client in clients:
                assert await here.ask(client, b"x") == b"x"
            here.clock.advance(0.6)
            assert await here.ask(clients[0], b"y") == b"y"  # now the newest
            here.clock.advance(0.5)
            assert await here.ask(here.client(), b"new") == b"new"
            assert here.proxy.statistics().evicted == 1
            assert [(record.reason, datagrams(record)) for record in here.records] == [("too_many_sessions", (1, 1, 0))]
            assert await here.ask(here.client(), b"new") == b"new"
            here.client().send(b"no")  # the others spoke within the last second
            await until(lambda: here.proxy.statistics().refused == 1)
            heard = len(here.apps[0].heard)
            assert await here.ask(clients[0], b"z") == b"z"
            assert here.apps[0].heard[heard][1] == here.apps[0].heard[0][1]  # it still has its socket
        assert [record.reason for record in here.records[:2]] == ["too_many_sessions"] * 2
    run(main())


def test_a_flood_of_sources_is_bounded() -> None:
    async def main() -> None:
        async with world(max_sessions=16) as here:
            here.clock.stop()
            assert await here.ask(good := here.client(), b"x") == b"x"
            before = len(os.listdir("/proc/self/fd"))
            with contextlib.ExitStack() as flooders:  # to the end: a port given back may be the next one's
                for round_ in range(60):
                    flooders.enter_context(udp()).sendto(b"flood", here.address)
                    if round_ % 20 == 19:
                        await asyncio.sleep(0.005)
                await until(lambda: here.proxy.statistics().refused == 45)
            assert here.proxy.sessions == 16
            assert len(os.listdir("/proc/self/fd")) == before + 15
            assert await here.ask(good, b"y") == b"y"
    run(main())


@pytest.mark.slow
def test_a_flood_from_one_source_is_the_kernels_to_drop() -> None:
    """20,000 datagrams at once: what the kernel had no room for is lost, the rest arrives, and others are served."""
    async def main() -> None:
        async with world() as here:
            app, other = here.apps[0], here.client()
            app.answer = lambda datagram: datagram if datagram[:1] == b"o" else None
            flooder = here.client()
            for number in range(20_000):
                flooder.send(b"%d" % number)
                if number % 500 == 0:
                    assert await here.ask(other, b"o") == b"o"
            numbers = [int(datagram) for datagram, _ in app.heard if datagram != b"o"]
            assert numbers == sorted(numbers)
            assert len(numbers) > 100
            assert here.proxy.sessions == 2
    run(main())


def test_a_forged_source_can_not_make_a_loop() -> None:
    """A datagram that says to come from our own port would have its answer sent to ourselves, and so on."""
    async def main() -> None:
        reactor = Reactor(asyncio.get_running_loop())
        front = udp()
        address, forger = front.getsockname(), front.dup()
        proxy = UdpProxy(reactor, Fixed([Place(LOCAL, address[1])]), CLIENT, "dns")
        proxy.listen(front)
        forger.sendto(b"x", address)
        await until(lambda: proxy.statistics().dropped == 1)
        assert proxy.statistics().opened == 0
        forger.close()
        assert proxy.abort() == 0
        await asyncio.sleep(0)
    run(main())


# ---- drain


@pytest.mark.slow
def test_drain_reads_no_more_and_waits_for_the_endpoints() -> None:
    async def main() -> None:
        async with world(udp_idle=0.2) as here:
            client = here.client()
            assert await here.ask(client, b"x") == b"x"
            draining = here.loop.create_task(here.proxy.drain(5))
            await asyncio.sleep(0.01)
            client.send(b"y")
            for _ in range(3):
                here.apps[0].sock.sendto(b"late", here.apps[0].heard[0][1])
                assert await here.loop.sock_recv(client, 10) == b"late"
                await asyncio.sleep(0.01)
            assert await draining == 0
            assert len(here.apps[0].heard) == 1
        assert here.records[0].reason == ""
    run(main())


@pytest.mark.slow
def test_another_process_may_read_what_a_draining_one_does_not() -> None:
    async def main() -> None:
        async with world(udp_idle=0.2) as here:
            client = here.client()
            assert await here.ask(client, b"x") == b"x"
            shared = here.front.dup()
            draining = here.loop.create_task(here.proxy.drain(5))
            await asyncio.sleep(0.01)
            client.send(b"y")
            assert shared.recvfrom(10) == (b"y", client.getsockname())
            here.apps[0].sock.sendto(b"late", here.apps[0].heard[0][1])
            assert await here.loop.sock_recv(client, 10) == b"late"
            assert await draining == 0
            shared.close()
    run(main())


def test_drain_ends_what_goes_on_at_the_deadline() -> None:
    async def main() -> None:
        async with world() as here:
            assert await here.ask(here.client(), b"x") == b"x"
            assert await here.proxy.drain(0.05) == 1
            assert await here.proxy.drain(5) == 0
        assert here.records[0].reason == "drain_deadline"
    run(main())


def test_drain_without_sessions_is_at_once() -> None:
    async def main() -> None:
        async with world() as here:
            began = here.loop.time()
            assert await here.proxy.drain(5) == 0
            assert here.loop.time() - began < 1
            await asyncio.sleep(0)
            client = here.client()
            client.send(b"x")
            with pytest.raises(ConnectionRefusedError):
                await here.loop.sock_recv(client, 10)
    run(main())


def test_never_listened() -> None:
    async def main() -> None:
        reactor = Reactor(asyncio.get_running_loop())
        proxy = UdpProxy(reactor, Fixed([]), CLIENT, "dns")
        assert await proxy.drain(5) == 0
    run(main())


# ---- what the kernel says


def test_an_error_of_the_listening_socket_is_counted() -> None:
    """Sending to a dead port from an unconnected socket says nothing; an error queue may."""
    async def main() -> None:
        async with world() as here:
            here.front.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: ICMP is reported to the socket itself
            gone = here.client()
            assert await here.ask(gone, b"x") == b"x"
            gone.close()
            here.apps[0].sock.sendto(b"late", here.apps[0].heard[0][1])
            await until(lambda: here.proxy.statistics().dropped >= 1)
            here.front.setsockopt(socket.IPPROTO_IP, 11, 0)
            assert await here.ask(here.client(), b"y") == b"y"
    run(main())


# ---- passing a refusal on


def refused(client: socket.socket) -> bool:
    """Whether a datagram from here is answered by "port unreachable": on loopback that is at once."""
    client.send(b"?")
    try:
        client.recv(10)
    except ConnectionRefusedError:
        return True
    except BlockingIOError:
        return False
    raise AssertionError("answered")


@pytest.mark.slow
@pytest.mark.parametrize("host", [LOCAL, "::1", "0.0.0.0"])
def test_inbound_passes_a_refusal_on_and_tries_again(host: str) -> None:
    async def main() -> None:
        place = Place(LOCAL, 0)
        async with world(0, kind=SERVER, host=host, again=True, before=(place,)) as here:
            with udp() as app:
                place.port = app.getsockname()[1]
            first, second = here.client(), here.client()
            first.send(b"lost")
            await until(lambda: here.proxy.statistics().unreachable == 1)
            with pytest.raises(BlockingIOError):
                first.recv(10)  # the first datagram was taken, and lost
            assert refused(first)
            assert refused(second)
            assert here.proxy.sessions == 1  # the second never got in
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as app:
                app.bind((LOCAL, place.port))
                app.setblocking(False)
                await until(lambda: not refused(first))
                assert await asyncio.wait_for(here.loop.sock_recv(app, 10), 5) == b"?"
                second.send(b"!")
                assert await asyncio.wait_for(here.loop.sock_recv(app, 10), 5) == b"!"
            assert here.front.getsockname() == here.address
    run(main())


def test_outbound_does_not() -> None:
    async def main() -> None:
        async with world(0, again=True, before=(Place(LOCAL, dead_port()),)) as here:
            client = here.client()
            for number in range(1, 4):
                client.send(b"x")
                await until(lambda number=number: here.proxy.statistics().unreachable == number)  # type: ignore[misc]
            with pytest.raises(BlockingIOError):
                client.recv(10)
    run(main())


def test_replies_leave_while_a_refusal_is_passed_on() -> None:
    async def main() -> None:
        async with world(kind=SERVER) as here:
            good = here.client()
            assert await here.ask(good, b"x") == b"x"
            here.upstream.places.insert(0, Place(LOCAL, dead_port(), "dns/dead"))
            here.client().send(b"lost")
            await until(lambda: here.proxy.statistics().unreachable == 1)
            here.apps[0].sock.sendto(b"late", here.apps[0].heard[0][1])
            assert await here.loop.sock_recv(good, 10) == b"late"
            assert refused(good)
    run(main())


def test_drain_ends_a_refusal() -> None:
    """Whoever has the same socket would be deaf."""
    async def main() -> None:
        async with world(0, kind=SERVER, before=(Place(LOCAL, dead_port()),)) as here:
            client = here.client()
            client.send(b"lost")
            await until(lambda: here.proxy.statistics().unreachable == 1)
            shared = here.front.dup()
            here.proxy.stop_reading()
            client.send(b"for the other")
            assert shared.recv(20) == b"for the other"
            shared.close()
    run(main())


def test_a_socket_that_another_process_left_refusing() -> None:
    async def main() -> None:
        reactor = Reactor(asyncio.get_running_loop())
        upstream = Fixed([])
        proxy = UdpProxy(reactor, upstream, SERVER, "dns")
        front = udp()
        address = front.getsockname()
        front.connect(address)
        proxy.listen(front)
        with udp() as client:
            client.sendto(b"x", address)
            await until(lambda: proxy.sessions == 1)
        proxy.abort()
        await asyncio.sleep(0)
    run(main())


def test_several_sockets_of_one_address() -> None:
    async def main() -> None:
        async with world() as here:
            here.front.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(here.address)
            here.proxy.listen(other)
            for number in range(20):  # the kernel spreads them over both
                assert await here.ask(here.client(), b"%d" % number) == b"%d" % number
    run(main())
