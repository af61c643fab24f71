"""RESP as the shop speaks it, whole, byte by byte and broken; the small server over a real connection."""

from __future__ import annotations

import asyncio

import pytest

from mesh.demo.stock import MAX_BULK, StockClient, StockError, Store, command, read_command, read_reply


def fed(*pieces: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    return reader


def bytewise(data: bytes) -> list[bytes]:
    return [data[i:i + 1] for i in range(len(data))]


REPLIES = [(b"+PONG\r\n", b"PONG"), (b":41\r\n", 41), (b":-1\r\n", -1), (b"$-1\r\n", None),
           (b"$4\r\na\r\nb\r\n", b"a\r\nb"), (b"$0\r\n\r\n", b"")]


@pytest.mark.parametrize(("data", "value"), REPLIES)
def test_replies_whole_bytewise_and_with_trailing_data(data: bytes, value: object) -> None:
    async def check() -> None:
        assert await read_reply(fed(data)) == value
        assert await read_reply(fed(*bytewise(data))) == value
        reader = fed(data + b":7\r\n")
        assert (await read_reply(reader), await read_reply(reader)) == (value, 7)

    asyncio.run(check())


@pytest.mark.parametrize("data", [b"-ERR no\r\n", b"hello\r\n", b":x\r\n", b"$-2\r\n", b"$99999\r\n", b"\r\n"])
def test_errors_and_garbage_raise(data: bytes) -> None:
    async def check() -> None:
        with pytest.raises(StockError):
            await read_reply(fed(data))

    asyncio.run(check())


@pytest.mark.parametrize("data", [b"", b":4", b"$4\r\nab"])
def test_an_end_inside_a_reply_is_a_connection_error(data: bytes) -> None:
    async def check() -> None:
        with pytest.raises(ConnectionError):
            await read_reply(fed(data))

    asyncio.run(check())


def test_commands_survive_the_way() -> None:
    async def check() -> None:
        data = command("DECR", "stock:kite") + command("PING")
        reader = fed(*bytewise(data))
        assert await read_command(reader) == [b"DECR", b"stock:kite"]
        assert await read_command(reader) == [b"PING"]
        assert await read_command(reader) is None

    asyncio.run(check())


@pytest.mark.parametrize("data", [b"GET x\r\n", b"*0\r\n", b"*17\r\n", b"*-1\r\n", b"*x\r\n", b"*1\r\n:1\r\n",
                                  b"*1\r\n$%d\r\n" % (MAX_BULK + 1), b"x" * 70_000])
def test_what_is_no_command_is_refused(data: bytes) -> None:
    async def check() -> None:
        with pytest.raises(StockError):
            await read_command(fed(data))

    asyncio.run(check())


def test_the_store_does_what_redis_does() -> None:
    store = Store()
    steps = [([b"PING"], b"+PONG\r\n"), ([b"get", b"k"], b"$-1\r\n"), ([b"SETNX", b"k", b"10"], b":1\r\n"),
             ([b"SETNX", b"k", b"99"], b":0\r\n"), ([b"DECR", b"k"], b":9\r\n"), ([b"GET", b"k"], b"$1\r\n9\r\n"),
             ([b"DECR", b"new"], b":-1\r\n"), ([b"SETNX", b"word", b"x"], b":1\r\n")]
    for words, reply in steps:
        assert store.run(words) == reply
    assert store.run([b"DECR", b"word"]).startswith(b"-ERR value is not an integer")
    assert store.run([b"FLUSHALL"]).startswith(b"-ERR unknown command")
    assert store.run([b"GET"]).startswith(b"-ERR unknown command or wrong number")


def test_client_and_server_over_a_connection() -> None:
    async def check() -> None:
        async with await asyncio.start_server(Store().serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = StockClient("127.0.0.1", port)
            assert await client.call("SETNX", "k", "5") == 1
            assert sorted(await asyncio.gather(*(client.call("DECR", "k") for _ in range(5)))) == [0, 1, 2, 3, 4]
            with pytest.raises(StockError):
                await client.call("NONSENSE")
            assert await client.call("GET", "k") == b"0"
            client.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert (await reader.read()).startswith(b"-ERR Protocol error")
            writer.close()
            await writer.wait_closed()

    asyncio.run(check())
