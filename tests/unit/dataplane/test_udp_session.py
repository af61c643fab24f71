from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
from pathlib import Path

import pytest

from mesh import errors
from mesh.dataplane.record import UDP

sys.path.insert(0, str(Path(__file__).parent))

from tcp_world import run
from udp_world import LOCAL, Place, datagrams, dead_port, until, world


def test_there_and_back() -> None:
    async def main() -> None:
        async with world() as here:
            client, other = here.client(), here.client()
            for number in range(5):
                assert await here.ask(client, b"%d" % number) == b"%d" % number
            assert await here.ask(other, b"other") == b"other"
            assert here.proxy.sessions == 2
            sources = [source for _, source in here.apps[0].heard]
            assert len(set(sources[:5])) == 1  # one socket for all of a session,
            assert sources[5] != sources[0]  # and another one for another session
            assert here.upstream.picks == [(LOCAL, 0), (LOCAL, 0)]
        first, second = here.records
        assert (first.protocol, first.service, first.endpoint, first.source) == (UDP, "dns", "dns/dns-0", LOCAL)
        assert (first.peer_host, first.peer_port) == (LOCAL, here.upstream.places[0].port)
        assert (first.request_bytes, first.response_bytes, first.attempts, first.why) == (5, 5, 1, "test")
        assert datagrams(first) == (5, 5, 0)
        assert datagrams(second) == (1, 1, 0)
        assert 0 < first.start_ns <= first.end_ns
    run(main())


@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 9000, 65_507])
def test_sizes_and_boundaries_are_kept(size: int) -> None:
    async def main() -> None:
        async with world() as here:
            client = here.client()
            payload = os.urandom(size)
            assert await here.ask(client, payload) == payload
            assert await here.ask(client, b"") == b""
            assert [len(datagram) for datagram, _ in here.apps[0].heard] == [size, 0]
        assert datagrams(here.records[0]) == (2, 2, 0)
        assert here.records[0].request_bytes == size
    run(main())


def test_over_ipv6() -> None:
    async def main() -> None:
        async with world(host="::1") as here:
            assert await here.ask(here.client(), b"six") == b"six"
            payload = os.urandom(65_527)
            assert await here.ask(here.client(), payload) == payload
        assert {record.source for record in here.records} == {"::1"}
    run(main())


def test_one_question_may_have_many_answers_or_none() -> None:
    async def main() -> None:
        async with world() as here:
            app, client = here.apps[0], here.client()
            assert await here.ask(client, b"a") == b"a"
            for number in range(3):
                app.sock.sendto(b"%d" % number, app.heard[0][1])
            assert [await here.loop.sock_recv(client, 10) for _ in range(3)] == [b"0", b"1", b"2"]
            app.answer = lambda datagram: None
            client.send(b"b")
            await until(lambda: len(app.heard) == 2)
        assert datagrams(here.records[0]) == (2, 4, 0)
        assert here.upstream.given_back == [("dns/dns-0", True, errors.DRAIN_DEADLINE)]
    run(main())


def test_only_the_endpoint_may_answer() -> None:
    async def main() -> None:
        async with world() as here:
            client = here.client()
            assert await here.ask(client, b"a") == b"a"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"forged", here.apps[0].heard[0][1])
            assert await here.ask(client, b"b") == b"b"
        assert datagrams(here.records[0]) == (2, 2, 0)
    run(main())


# ---- endpoints that fail


def test_a_refused_session_goes_elsewhere_with_the_next_datagram() -> None:
    async def main() -> None:
        async with world(before=(Place(LOCAL, dead_port(), "dns/dead"),)) as here:
            client = here.client()
            client.send(b"lost")
            await until(lambda: bool(here.upstream.given_back))
            assert here.upstream.given_back == [("dns/dead", False, errors.UNREACHABLE)]
            assert here.proxy.sessions == 1
            assert await here.ask(client, b"found") == b"found"
            assert here.upstream.picks == [(LOCAL, 0), (LOCAL, 1)]
            assert here.proxy.statistics().unreachable == 1
        record = here.records[0]
        assert (record.endpoint, record.attempts) == ("dns/dns-0", 2)
        assert record.reason == "drain_deadline"
        assert record.events is not None
        assert [(name, attributes.get("mesh.endpoint")) for _, name, attributes in record.events] == [
            ("endpoint_failed", "dns/dead"), ("datagrams", None)]
        assert datagrams(record) == (2, 1, 0)
        assert here.upstream.given_back[1] == ("dns/dns-0", True, errors.DRAIN_DEADLINE)
    run(main())


def test_an_error_that_sending_meets_takes_the_same_datagram_elsewhere() -> None:
    """The ICMP answer may be there before we hear of it: then send says so, and has sent nothing."""
    async def main() -> None:
        async with world(before=(Place(LOCAL, dead_port(), "dns/dead"),)) as here:
            client = here.client()
            client.send(b"lost")
            client.send(b"found")  # both are read in one turn
            assert await asyncio.wait_for(here.loop.sock_recv(client, 10), 5) == b"found"
        assert here.upstream.given_back[0] == ("dns/dead", False, errors.UNREACHABLE)
        assert datagrams(here.records[0]) == (2, 1, 0)
    run(main())


def test_an_endpoint_that_dies_is_left() -> None:
    async def main() -> None:
        async with world(2) as here:
            client = here.client()
            assert await here.ask(client, b"1") == b"1"
            here.apps[0].close()
            client.send(b"2")
            await until(lambda: bool(here.upstream.given_back))
            assert await here.ask(client, b"3") == b"3"
            assert [datagram for datagram, _ in here.apps[1].heard] == [b"3"]
        assert here.upstream.given_back[0] == ("dns/dns-0", False, errors.UNREACHABLE)
    run(main())


def test_an_answer_forgives() -> None:
    """What failed before an answer may be picked again after it."""
    async def main() -> None:
        dead = Place(LOCAL, dead_port(), "dns/dead")
        async with world(before=(dead,)) as here:
            client = here.client()
            client.send(b"1")
            await until(lambda: len(here.upstream.given_back) == 1)
            assert await here.ask(client, b"2") == b"2"
            here.apps[0].close()
            client.send(b"3")
            await until(lambda: len(here.upstream.given_back) == 2)
            client.send(b"4")
            await until(lambda: len(here.upstream.given_back) == 3)
            assert here.upstream.picks[2:] == [(LOCAL, 1)]
        assert [name for name, _, _ in here.upstream.given_back] == ["dns/dead", "dns/dns-0", "dns/dead"]
    run(main())


def test_with_one_endpoint_it_is_tried_again() -> None:
    async def main() -> None:
        port = dead_port()
        async with world(0, before=(Place(LOCAL, port),), again=True) as here:
            client = here.client()
            for number in range(1, 8):
                client.send(b"x")
                await until(lambda number=number: len(here.upstream.given_back) == number)  # type: ignore[misc]
            assert max(tried for _, tried in here.upstream.picks) == 4  # no longer list than that
            assert here.proxy.sessions == 1
        assert datagrams(here.records[0]) == (7, 0, 0)
        assert here.records[0].reason == "drain_deadline"
    run(main())


def test_without_an_endpoint_it_is_dropped_and_one_may_come() -> None:
    async def main() -> None:
        async with world(0) as here:
            client = here.client()
            client.send(b"lost")
            await until(lambda: here.proxy.statistics().dropped == 1)
            here.app()
            assert await here.ask(client, b"found") == b"found"
        assert (here.records[0].reason, datagrams(here.records[0])) == ("drain_deadline", (1, 1, 1))
    run(main())


def test_a_session_without_an_endpoint_says_so_at_its_end() -> None:
    async def main() -> None:
        async with world(0, udp_idle=0.05) as here:
            here.client().send(b"lost")
            await until(lambda: bool(here.records))
        record = here.records[0]
        assert (record.reason, record.endpoint, record.attempts) == ("no_healthy_upstream", "", 1)
        assert datagrams(record) == (0, 0, 1)
    run(main())


def test_a_refused_session_says_so_at_its_end() -> None:
    async def main() -> None:
        async with world(0, before=(Place(LOCAL, dead_port(), "dns/dead"),), udp_idle=0.05) as here:
            here.client().send(b"lost")
            await until(lambda: bool(here.records))
        assert (here.records[0].reason, here.records[0].endpoint) == ("upstream_unreachable", "dns/dead")
    run(main())


def test_an_endpoint_without_a_route_is_passed_over_at_once() -> None:
    """A connect that fails is tried elsewhere with the same datagram. There is no way from loopback to this address."""
    async def main() -> None:
        nowhere = Place("255.255.255.255", 9, "dns/broadcast")  # connect(2): EACCES without SO_BROADCAST
        async with world(before=(nowhere,)) as here:
            assert await here.ask(here.client(), b"x") == b"x"
        assert here.upstream.given_back[0] == ("dns/broadcast", False, errors.UNREACHABLE)
        assert here.records[0].attempts == 2
    run(main())


def test_three_endpoints_are_tried_for_a_datagram() -> None:
    async def main() -> None:
        places = tuple(Place("255.255.255.255", 9, f"dns/{n}") for n in range(4))
        async with world(0, before=places) as here:
            here.client().send(b"x")
            await until(lambda: here.proxy.statistics().dropped == 1)
            assert len(here.upstream.picks) == 3
    run(main())


def test_an_endpoint_that_is_gone_is_left_with_the_next_datagram() -> None:
    async def main() -> None:
        async with world(2) as here:
            client = here.client()
            assert await here.ask(client, b"1") == b"1"
            here.upstream.places[0].gone = True
            assert await here.ask(client, b"2") == b"2"
            assert [datagram for datagram, _ in here.apps[1].heard] == [b"2"]
        assert here.upstream.given_back[0] == ("dns/dns-0", True, errors.IDLE_TIMEOUT)
    run(main())


def test_silence_is_no_success() -> None:
    async def main() -> None:
        async with world(0, udp_idle=0.05) as here:
            app = here.app(answer=lambda datagram: None)
            here.client().send(b"x")
            await until(lambda: bool(here.records))
            assert [datagram for datagram, _ in app.heard] == [b"x"]
        assert here.upstream.given_back == [("dns/dns-0", False, errors.IDLE_TIMEOUT)]
        assert here.records[0].reason == ""
    run(main())


def test_out_of_descriptors(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with world() as here:
            client = here.client()
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            lowest = os.dup(0)  # all below are taken, and now this one is too
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, limits[1]))
            try:
                for number in range(1, 4):
                    client.send(b"x")
                    await until(lambda number=number: here.proxy.statistics().dropped == number)  # type: ignore[misc]
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                os.close(lowest)
            assert here.upstream.given_back == [("dns/dns-0", False, errors.OVERLOADED)] * 3  # none of its doing
            assert await here.ask(client, b"y") == b"y"
        assert [record.getMessage() for record in caplog.records] == [
            "datagrams to dns are dropped (overloaded): no socket to reach dns/dns-0 with: Too many open files"]
    run(main())


# ---- names


def test_what_comes_while_the_name_is_looked_up_waits() -> None:
    async def main() -> None:
        known = asyncio.Event()
        async with world(known=known) as here:
            here.upstream.places[0].host = "localhost"
            client = here.client()
            for number in range(20):
                client.send(b"%d" % number)
            await until(lambda: here.proxy.statistics().dropped == 4)
            known.set()
            answers = [await here.loop.sock_recv(client, 10) for _ in range(16)]
            assert answers == [b"%d" % number for number in range(16)]
            assert here.upstream.picks == [(LOCAL, 0)]
        assert datagrams(here.records[0]) == (16, 16, 4)
        assert (here.records[0].peer_host, here.records[0].attempts) == ("localhost", 1)
    run(main())


def test_what_waits_is_bounded_over_all_sessions() -> None:
    async def main() -> None:
        known = asyncio.Event()
        async with world(known=known) as here:
            here.upstream.places[0].host = "localhost"
            clients = [here.client() for _ in range(20)]
            for number, client in enumerate(clients):
                client.send(bytes(60_000))
                # 17 of them in 1 MiB
                await until(lambda sent=number + 1: here.proxy.sessions == sent  # type: ignore[misc]
                            and here.proxy.statistics().dropped == max(0, sent - 17))
            known.set()
            await until(lambda: here.proxy.statistics().request_datagrams == 17)
            assert here.proxy.statistics().dropped == 3
            assert await here.ask(clients[-1], b"x") == b"x"
    run(main())


def test_a_name_that_means_nothing_has_failed() -> None:
    async def main() -> None:
        async with world(before=(Place("x" * 64 + ".invalid", 1, "dns/nowhere"),)) as here:
            assert await here.ask(here.client(), b"x") == b"x"  # what waited goes to the next one
        assert here.upstream.given_back[0] == ("dns/nowhere", False, errors.CONNECT_FAILED)
    run(main())


def test_ended_while_the_name_is_looked_up() -> None:
    async def main() -> None:
        known = asyncio.Event()
        async with world(0, before=(Place("localhost", 9),), known=known) as here:
            here.client().send(b"x")
            await until(lambda: here.proxy.sessions == 1)
            assert here.proxy.abort() == 1
            assert here.proxy.statistics().dropped == 1
            known.set()
            await until(lambda: len(asyncio.all_tasks()) == 1)
        assert here.upstream.given_back == [("dns/dns-0", False, errors.DRAIN_DEADLINE)]
    run(main())


# ---- what the kernel takes not


def test_what_the_caller_can_not_take_is_dropped() -> None:
    """A reply to an address that no datagram can be sent to."""
    async def main() -> None:
        async with world(0) as here:
            app = here.app(answer=lambda datagram: bytes(65_507))
            client = here.client()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.send(b"x")
            await until(lambda: len(app.heard) == 1)
            await until(lambda: here.proxy.statistics().response_datagrams == 1)  # the kernel took it, and lost it
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            assert len(await here.ask(client, b"y")) == 65_507
    run(main())


def test_a_datagram_too_large_for_the_way_is_dropped() -> None:
    """65,527 bytes come over IPv6 and can't go on over IPv4: EMSGSIZE, and the endpoint is none the worse."""
    async def main() -> None:
        async with world(0, host="::1") as here:
            here.app(host=LOCAL)
            client = here.client()
            client.send(bytes(65_527))
            await until(lambda: here.proxy.statistics().dropped == 1)
            assert await here.ask(client, b"x") == b"x"
        assert datagrams(here.records[0]) == (1, 1, 1)
        assert here.upstream.given_back == [("dns/dns-0", True, errors.DRAIN_DEADLINE)]
    run(main())


def test_a_name_that_takes_too_long_has_failed() -> None:
    async def main() -> None:
        async with world(0, before=(Place("localhost", 9),), known=asyncio.Event(), connect_timeout=0.02) as here:
            here.client().send(b"x")
            await until(lambda: bool(here.upstream.given_back))
            assert here.upstream.given_back == [("dns/dns-0", False, errors.CONNECT_FAILED)]
            assert here.proxy.statistics().dropped == 1  # there was nobody else
    run(main())
