"""The TCP relay with TLS on the caller's side."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest
from tcp_world import LOCAL, echo, reset, run, until, world
from tls_world import connected, heard
from uncollected import uncollected

DOWN = random.Random(3).randbytes(3_000_000)


def test_what_came_with_the_handshake_is_passed_on() -> None:
    async def main() -> None:
        async with world(echo) as here:
            fd, session, caller = connected(early=b"early")
            with caller.sock:
                here.proxy.adopt(fd, LOCAL, session)
                assert await heard(caller, 5) == b"early"
                caller.send(b"later")
                assert await heard(caller, 5) == b"later"
                caller.say_end()
                assert await heard(caller, 1) == b""
                assert caller.ended
            record = await here.until_closed()
            assert (record.reason, record.request_bytes, record.response_bytes) == ("", 10, 10)
    run(main())


@pytest.mark.parametrize("buffer", [0, 1, 4096, 10_000, 33_000])
def test_a_caller_that_reads_slowly_gets_everything_and_the_end(buffer: int) -> None:
    async def serve(sock: socket.socket) -> None:
        await asyncio.get_running_loop().sock_sendall(sock, DOWN)

    async def main() -> None:
        async with world(serve) as here:
            fd, session, caller = connected(buffer=buffer)
            with caller.sock:
                here.proxy.adopt(fd, LOCAL, session)
                assert await heard(caller, len(DOWN) + 1) == DOWN
                assert caller.ended  # by close_notify: what came is the whole
                caller.say_end()
            record = await here.until_closed()
            assert (record.reason, record.response_bytes) == ("", len(DOWN))
    run(main())


def test_an_end_for_which_there_is_no_room_comes_when_there_is() -> None:
    async def main() -> None:
        for size in range(3000, 3300, 20):  # around what the kernel takes of one connection here
            async def serve(sock: socket.socket, size: int = size) -> None:
                for _ in range(20):
                    await asyncio.get_running_loop().sock_sendall(sock, DOWN[:size])

            async with world(serve) as here:
                fd, session, caller = connected(buffer=1)
                with caller.sock:
                    here.proxy.adopt(fd, LOCAL, session)
                    for _ in range(30):
                        await asyncio.sleep(0)
                    assert await heard(caller, 20 * size + 1) == DOWN[:size] * 20
                    assert caller.ended
                    caller.say_end()
                assert (await here.until_closed()).reason == ""
    run(main())


def test_a_connection_that_ends_without_a_word_is_reset_at_both_ends() -> None:
    seen: list[str] = []

    async def serve(sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while await loop.sock_recv(sock, 100):
                pass
            seen.append("end")
        except ConnectionResetError:
            seen.append("reset")

    async def main() -> None:
        async with world(serve) as here:
            fd, session, caller = connected()
            here.proxy.adopt(fd, LOCAL, session)
            caller.send(b"a part")
            caller.sock.shutdown(socket.SHUT_WR)
            record = await here.until_closed()
            assert record.reason == "caller_gone"
            caller.sock.close()
            await until(lambda: seen == ["reset"])
    run(main())


def test_a_server_that_resets_ends_without_a_word() -> None:
    async def serve(sock: socket.socket) -> None:
        await asyncio.get_running_loop().sock_sendall(sock, b"a part")
        await asyncio.get_running_loop().sock_recv(sock, 100)
        reset(sock)

    async def main() -> None:
        async with world(serve) as here:
            fd, session, caller = connected()
            with caller.sock:
                here.proxy.adopt(fd, LOCAL, session)
                assert await heard(caller, 6) == b"a part"
                caller.send(b"more")
                await here.until_closed()
                assert await heard(caller, 1) == b""
                assert caller.broken
            assert here.records[0].reason == "upstream_connection_lost"
    run(main())


def test_no_session_waits_for_the_collector() -> None:
    async def main() -> None:
        async with world(echo) as here:
            async def once(orderly: bool) -> None:
                before = len(here.records)
                fd, session, caller = connected(early=b"early")
                here.proxy.adopt(fd, LOCAL, session)
                assert await heard(caller, 5) == b"early"
                if orderly:
                    caller.say_end()
                    assert await heard(caller, 1) == b""
                caller.sock.close()
                await until(lambda: len(here.records) > before)

            await once(True)
            with uncollected() as found:
                for _ in range(5):
                    await once(True)
                    await once(False)
                await asyncio.sleep(0)
            assert not found
    run(main())
