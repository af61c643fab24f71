"""HTTP connections with TLS on the caller's side."""

from __future__ import annotations

import asyncio

import pytest
from http1_world import GET, World, ok, run, world
from tls_world import Caller, connected, heard

BODY = bytes(range(250)) * 8000


def adopted(w: World, buffer: int = 0, early: bytes = b"") -> Caller:
    fd, session, caller = connected(buffer=buffer, early=early)
    w.acceptor.accept(fd, "10.0.0.1", 5000, 1, session)
    return caller


def test_requests_one_after_the_other_and_pipelined() -> None:
    async def main() -> None:
        async with world(ok) as w:
            caller = adopted(w, early=GET)
            answer = await heard(caller, 1)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            caller.send(GET)
            assert await heard(caller, len(answer)) == answer
            caller.send(GET * 3)
            assert await heard(caller, 3 * len(answer)) == answer * 3
            caller.sock.close()

    run(main)


def test_one_octet_at_a_time() -> None:
    async def main() -> None:
        async with world(ok) as w:
            caller = adopted(w)
            for octet in GET:
                caller.send(bytes([octet]))
                await asyncio.sleep(0)
            assert (await heard(caller, 1)).startswith(b"HTTP/1.1 200 OK\r\n")
            caller.sock.close()

    run(main)


@pytest.mark.parametrize("buffer", [0, 1, 4096, 10_000, 33_000])
def test_a_large_answer_to_a_slow_reader_and_the_end(buffer: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)

    async def main() -> None:
        async with world(serve) as w:
            caller = adopted(w, buffer)
            caller.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            head, _, body = (await heard(caller, 1 << 30)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert body == BODY
            assert caller.ended  # close_notify, before the connection goes
            caller.sock.close()

    run(main)


def test_an_end_for_which_there_is_no_room_comes_when_there_is() -> None:
    async def main() -> None:
        for size in range(2000, 2300, 15):  # around what the kernel takes here
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int = size) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + BODY[:size])

            async with world(serve) as w:
                caller = adopted(w, 1)
                caller.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                for _ in range(20):
                    await asyncio.sleep(0)
                assert (await heard(caller, 1 << 30)).endswith(b"\r\n\r\n" + BODY[:size])
                assert caller.ended
                caller.sock.close()

    run(main)


def test_a_request_that_was_cut_off_is_no_request() -> None:
    async def main() -> None:
        async with world(ok) as w:
            caller = adopted(w)
            caller.send(GET[:-2])
            caller.say_end()
            assert b" 200 " not in await heard(caller, 1)
            caller.sock.close()
            caller = adopted(w)
            caller.send(GET[:-2])
            caller.sock.close()

    run(main)


def test_nonsense_in_a_record_ends_the_connection() -> None:
    async def main() -> None:
        async with world(ok) as w:
            caller = adopted(w)
            caller.sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            async with asyncio.timeout(5):
                while not caller.eof:
                    caller.take()
                    await asyncio.sleep(0)
            caller.sock.close()

    run(main)
