"""Stock over plain TCP: what the storefront says to it, and a small server for machines without redis-server.

What lives here: RESP2, Redis's protocol (the "Redis serialization protocol specification"), as far as PING, GET, SETNX
and DECR need it. `python -m mesh.demo.stock --port 6379` serves it from memory; `redis-server` serves the same.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal

MAX_WORDS = 16  # words of a command
MAX_BULK = 4096  # bytes of a word
Reply = int | bytes | None


class StockError(Exception):
    """Stock answered with an error, or with what is not RESP."""


def command(*words: str) -> bytes:
    """Encode a command as RESP's array of bulk strings."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """Read one reply: a number, bytes, or None for RESP's nil.

    Raises StockError for an error reply or garbage, ConnectionError when the connection ends inside one.
    """
    line = await _line(reader)
    kind, rest = line[:1], line[1:]
    if kind == b"-":
        raise StockError(rest.decode("utf-8", "replace"))
    if kind == b"+":
        return rest
    if kind == b":":
        return _number(rest)
    if kind == b"$":
        length = _number(rest)
        return None if length == -1 else await _bulk(reader, length)
    raise StockError(f"{line[:40]!r} is not a RESP reply")


async def read_command(reader: asyncio.StreamReader) -> list[bytes] | None:
    """Read one command; None at the end of the connection. Raises StockError for garbage."""
    try:
        line = await _line(reader)
    except ConnectionError:
        return None
    if line[:1] != b"*" or not 1 <= _number(line[1:]) <= MAX_WORDS:
        raise StockError("expected an array of 1..16 bulk strings")
    words = []
    for _ in range(_number(line[1:])):
        head = await _line(reader)
        if head[:1] != b"$":
            raise StockError("expected a bulk string")
        words.append(await _bulk(reader, _number(head[1:])))
    return words


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        line = await reader.readuntil(b"\r\n")
    except (asyncio.IncompleteReadError, ConnectionResetError) as error:
        raise ConnectionError("the connection to stock ended") from error
    except asyncio.LimitOverrunError as error:
        raise StockError("a line without end") from error
    return line[:-2]


async def _bulk(reader: asyncio.StreamReader, length: int) -> bytes:
    if not 0 <= length <= MAX_BULK:
        raise StockError(f"a bulk string has 0..{MAX_BULK} bytes, not {length}")
    try:
        data = await reader.readexactly(length + 2)
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("the connection to stock ended") from error
    return data[:-2]


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise StockError(f"{text[:20]!r} is not a number") from error


class StockClient:
    """A few connections to stock, opened as needed and kept."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self, *words: str) -> Reply:
        """Send one command and return its reply; ConnectionError or StockError when there is none (never repeated)."""
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(*self._address)
        try:
            writer.write(command(*words))
            reply = await read_reply(reader)
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        return reply

    def close(self) -> None:
        """Close the kept connections."""
        while self._idle:
            self._idle.pop()[1].close()


class Store:
    """The server's numbers and words, and what each command does to them."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}

    def run(self, words: list[bytes]) -> bytes:
        """Carry out one command and return the encoded reply."""
        match words[0].upper(), *words[1:]:
            case [b"PING"]:
                return b"+PONG\r\n"
            case [b"GET", key]:
                value = self._values.get(key)
                return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)
            case [b"SETNX", key, value]:
                fresh = key not in self._values
                self._values.setdefault(key, value)
                return b":%d\r\n" % fresh
            case [b"DECR", key]:
                try:
                    number = int(self._values.get(key, b"0")) - 1
                except ValueError:
                    return b"-ERR value is not an integer or out of range\r\n"
                self._values[key] = b"%d" % number
                return b":%d\r\n" % number
            case _:
                return b"-ERR unknown command or wrong number of arguments\r\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the commands of one connection until it ends or sends garbage, or the server does."""
        # Python 3.11's streams print a traceback for a connection that is cancelled when the server ends.
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.CancelledError):
            try:
                while (words := await read_command(reader)) is not None:
                    writer.write(self.run(words))
                    await writer.drain()
            except StockError as error:
                writer.write(b"-ERR Protocol error: %s\r\n" % str(error).encode())


async def _serve(port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with await asyncio.start_server(Store().serve, "127.0.0.1", port):
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="mesh.demo.stock")
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(_serve(parser.parse_args().port))
