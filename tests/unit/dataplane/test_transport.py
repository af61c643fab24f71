"""The socket side of a connection: any slicing of the bytes, garbage, a kernel that takes no more."""

from __future__ import annotations

import asyncio
import socket

import h2.config
import h2.connection
import pytest
from h2_world import DONE, GRPC, OK, Call, Upstream, answered, run, until, world
from test_exchange import cart, echo
from uncollected import uncollected

from mesh.model import Endpoint


def request_bytes() -> bytes:
    conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    conn.initiate_connection()
    conn.send_headers(1, GRPC)
    conn.send_data(1, b"payload", end_stream=True)
    return bytes(conn.data_to_send())


def test_a_request_one_byte_at_a_time() -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            reader, writer = await asyncio.open_connection(*w.port.address)
            for byte in request_bytes():
                writer.write(bytes((byte,)))
                await writer.drain()
            await until(lambda: w.upstreams[0].calls and w.upstreams[0].calls[0].body == b"payload")
            await until(w.idle)
            await asyncio.wait_for(reader.readuntil(b"payload"), 5)
            writer.close()

    run(main)


@pytest.mark.parametrize("garbage", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", bytes(100), b"\xff" * 40_000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100], ids=["http1", "tls", "zeros", "ones", "after-preface"])
def test_garbage_closes_that_connection_only(garbage: bytes) -> None:
    async def main() -> None:
        async with world(lambda call: call.send_headers(OK), service=cart()) as w:
            client = await w.client()
            call = client.request(GRPC)
            await until(lambda: call.headers)
            reader, writer = await asyncio.open_connection(*w.port.address)
            writer.write(garbage)
            assert len(await reader.read()) < 200  # SETTINGS and GOAWAY at most, then the end
            writer.close()
            w.upstreams[0].calls[0].send_headers(DONE, end=True)
            await answered(call)
            assert call.trailers == {"grpc-status": "0"}

    run(main)


def test_half_a_request_and_then_nothing() -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            for cut in (1, 23, 24, 30, 60, len(request_bytes()) - 3):
                _, writer = await asyncio.open_connection(*w.port.address)
                writer.write(request_bytes()[:cut])
                await writer.drain()
                writer.close()
            await until(lambda: w.acceptor.statistics()["connections"] == 0)
            await until(w.idle)

    run(main)


def test_a_full_kernel_buffer_holds_bytes_back_and_loses_none() -> None:
    async def main() -> None:
        sent = bytes(range(256)) * 49_152  # 12 MiB: more than the kernel's buffers take

        async def stream(call: Call) -> None:
            call.send_headers(OK)
            at = 0
            while at < len(sent):
                room = min(call.peer.conn.local_flow_control_window(call.id), 16_384, len(sent) - at)
                if room:
                    call.send(sent[at:at + room])
                    at += room
                await asyncio.sleep(0)
            call.send_headers(DONE, end=True)

        async with world(lambda call: asyncio.get_running_loop().create_task(stream(call)), service=cart()) as w:
            client = await w.client()
            client.conn.increment_flow_control_window(2**24)
            call = client.request(GRPC)
            client.conn.increment_flow_control_window(2**24, call.id)
            client.flush()
            client.transport.pause_reading()
            await until(lambda: w.upstreams[0].calls)
            for _ in range(200):
                await asyncio.sleep(0)
            client.transport.resume_reading()
            await answered(call)
            assert call.body == sent

    run(main)


def test_neither_requests_nor_connections_leave_garbage_to_the_collector() -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            client = await w.client()
            await answered(client.request(GRPC))
            with uncollected() as found:
                for _ in range(20):
                    await answered(client.request(GRPC))
            assert not found
            with uncollected() as found:
                for number in range(10):
                    sock = socket.create_connection(w.port.address)
                    # The preface and SETTINGS, or something that is neither.
                    sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0" if number % 2 else b"x" * 24)
                    await until(lambda: w.hub.transports == 3 or number % 2 == 0)  # noqa: B023
                    sock.close()
                    await until(lambda: w.hub.transports == 2)
                    await until(lambda: w.hub.lingering == 0)
                await asyncio.sleep(0.01)
            assert not found

    run(main)


def test_endpoints_that_die_and_are_replaced_leave_no_garbage() -> None:
    """Connections that break, connections that are refused, and the pool."""
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            client = await w.client()
            [first] = [node.endpoint for node in w.cluster.nodes.nodes]

            async def replace() -> None:
                other = await Upstream(echo).start()
                w.cluster.update_endpoints([first, Endpoint("cart", "b", "127.0.0.1", other.port)])
                for _ in range(4):
                    await answered(client.request(GRPC))
                other.close()
                for _ in range(4):
                    await answered(client.request(GRPC))
                w.cluster.update_endpoints([first])
                await until(lambda: w.hub.transports == 2)
                await until(lambda: len(w.cluster.room.pools) == 1)
                w.records()

            await replace()
            with uncollected() as found:
                for _ in range(3):
                    await replace()
                await answered(client.request(GRPC))
            assert not found

    run(main)


def test_upstream_connections_that_end_leave_no_garbage() -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            client = await w.client()
            await answered(client.request(GRPC))
            with uncollected() as found:
                for _ in range(5):
                    w.upstreams[0].peers[-1].transport.abort()
                    await until(lambda: w.hub.transports == 1)
                    await answered(client.request(GRPC))
                    await asyncio.sleep(0.01)
            assert not found

    run(main)
