"""The pool of one endpoint: how many connections, who waits, what GOAWAY does."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h2.errors
from h2_world import DONE, GRPC, OK, Call, Peer, Upstream, answered, run, until, world
from test_exchange import cart, echo

from mesh.model import Endpoint, RetryPolicy, TimeoutPolicy


def test_all_callers_share_one_connection() -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            clients = [await w.client() for _ in range(5)]
            calls = [client.request(GRPC) for client in clients for _ in range(10)]
            for call in calls:
                await answered(call)
            assert len(w.upstreams[0].peers) == 1

    run(main)


def test_a_connection_that_is_never_accepted_times_out_and_the_next_endpoint_answers() -> None:
    async def main() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:  # the backlog is full: the kernel drops what comes
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            service = cart(timeout=TimeoutPolicy(connect=0.05))
            async with world(echo, service=service) as w:
                w.cluster.update_endpoints([
                    Endpoint("cart", "a", "127.0.0.1", w.upstreams[0].port),
                    Endpoint("cart", "silent", "127.0.0.1", full.getsockname()[1])])
                client = await w.client()
                for _ in range(2):
                    call = await answered(client.request(GRPC))
                    assert call.trailers == {"grpc-status": "0"}
                assert 1 <= w.entry.retries <= 2
            for filler in fillers:
                filler.close()

    run(main)


def goaway(peer: Peer, last_id: int) -> None:
    peer.transport.write(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + last_id.to_bytes(4, "big") + bytes(4))


def test_goaway_moves_new_streams_and_finishes_the_old() -> None:
    async def main() -> None:
        async with world(lambda call: call.send_headers(OK), service=cart()) as w:
            client = await w.client()
            first = client.request(GRPC)
            await until(lambda: first.headers)
            server = w.upstreams[0]
            goaway(server.peers[0], 2**31 - 1)
            goaway(server.peers[0], 1)
            second = client.request(GRPC)
            await until(lambda: len(server.peers) == 2)
            await until(lambda: second.headers)
            server.calls[0].send_headers(DONE, end=True)
            await answered(first)
            assert first.trailers == {"grpc-status": "0"}
            await until(lambda: server.peers[0].lost)
            server.calls[1].send_headers(DONE, end=True)
            await answered(second)

    run(main)


def test_streams_above_goaways_last_id_are_sent_again() -> None:
    async def main() -> None:
        def script(call: Call) -> None:
            if call.peer is server.peers[0]:
                if len(server.calls) == 3:
                    goaway(call.peer, 1)
                    server.calls[0].answer(b"first")
            else:
                call.answer(b"again")

        server = Upstream(script)
        async with world(server, service=cart()) as w:
            client = await w.client()
            calls = [client.request(GRPC) for _ in range(3)]
            for call in calls:
                await answered(call)
                assert call.trailers == {"grpc-status": "0"}
            assert [call.body for call in calls] == [b"first", b"again", b"again"]
            assert w.entry.retries == 2

    run(main)


def test_a_server_that_breaks_the_protocol_is_told_and_left() -> None:
    async def main() -> None:
        def script(call: Call) -> None:
            call.peer.transport.write(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00" + bytes(4))  # WINDOW_UPDATE of 0

        async with world(script, service=cart(retry=RetryPolicy(max_attempts=1))) as w:
            call = await answered((await w.client()).request(GRPC))
            assert call.headers["mesh-reason"] == "upstream_protocol_error"
            await until(lambda: w.upstreams[0].peers[0].goaway == [(0, h2.errors.ErrorCodes.PROTOCOL_ERROR)])

    run(main)


def test_too_many_waiting_requests_are_refused_and_the_others_served_in_turn() -> None:
    async def main() -> None:
        held: list[Call] = []
        serving = False

        def script(call: Call) -> None:
            if serving:
                call.answer()
            else:
                held.append(call)

        async with world(Upstream(script, settings={3: 1}), service=cart(retry=RetryPolicy(max_attempts=1))) as w:
            clients = [await w.client() for _ in range(3)]
            calls = [client.request(GRPC) for client in clients for _ in range(400)]
            await until(lambda: any(call.headers for call in calls))
            refused = [call for call in calls if call.headers]
            assert {call.headers["mesh-reason"] for call in refused} == {"queue_full"}
            assert {call.headers["grpc-status"] for call in refused} == {"14"}
            serving = True
            for call in held:
                call.answer()
            for call in calls:
                await answered(call)
            assert sum(call.trailers == {"grpc-status": "0"} for call in calls) >= 1024

    run(main)


def test_an_endpoint_that_accepts_and_says_nothing_has_been_sent_nothing() -> None:
    """A frozen process: the kernel accepts for it. The request goes elsewhere although it may not be repeated."""
    async def main() -> None:
        async with world(echo, service=cart(timeout=TimeoutPolicy(connect=0.05))) as w:
            silent = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
            w.cluster.update_endpoints([
                Endpoint("cart", "a", "127.0.0.1", w.upstreams[0].port),
                Endpoint("cart", "silent", "127.0.0.1", silent.sockets[0].getsockname()[1])])
            client = await w.client()
            for _ in range(3):
                call = await answered(client.request(GRPC))
                assert call.trailers == {"grpc-status": "0"}
            assert w.entry.retries >= 1
            silent.close()

    run(main)


def test_an_endpoint_that_speaks_something_else_is_told_apart() -> None:
    class Banner(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(b"220 mail.example ESMTP ready and at your service\r\n")

    async def main() -> None:
        async with world(service=cart(retry=RetryPolicy(max_attempts=1))) as w:
            mail = await asyncio.get_running_loop().create_server(Banner, "127.0.0.1", 0)
            w.cluster.update_endpoints([Endpoint("cart", "mail", "127.0.0.1", mail.sockets[0].getsockname()[1])])
            call = await answered((await w.client()).request(GRPC))
            assert call.headers["mesh-reason"] == "upstream_connect_failed"
            assert "does not speak HTTP/2" in call.headers["grpc-message"]
            mail.close()

    run(main)


def test_no_stream_is_opened_before_the_endpoint_has_said_how_many_it_takes() -> None:
    async def main() -> None:
        async with world(Upstream(echo, settings={3: 2}), service=cart()) as w:
            client = await w.client()
            calls = [client.request(GRPC) for _ in range(50)]
            for call in calls:
                await answered(call)
                assert call.trailers == {"grpc-status": "0"}
            assert w.entry.retries == 0

    run(main)


def test_an_endpoint_that_comes_back_is_connected_to_again() -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            client = await w.client()
            await answered(client.request(GRPC))
            w.upstreams[0].peers[0].transport.abort()
            await until(lambda: not w.cluster.nodes.by_name["a"].pool.ready)
            call = await answered(client.request(GRPC))
            assert call.trailers == {"grpc-status": "0"}
            assert len(w.upstreams[0].peers) == 2

    run(main)
