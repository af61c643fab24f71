"""Requests that come at a steady rate whatever becomes of those before: an open loop, over HTTP/1.1, in this process.

What lives here: the caller and what it saw of each request. What this must not know: the mesh, faults.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import ceil
from typing import NamedTuple

PATIENCE = 10.0


class Ended(NamedTuple):
    """One request: when it was due (seconds since the load began), how long it took from then, its status, 0 where
    there was no answer, and the answer."""

    due: float
    latency: float
    status: int
    body: bytes


class _Caller(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.came = b""
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self.answer is not None and not self.answer.done():
            self.answer.set_result((0, b""))

    def data_received(self, data: bytes) -> None:
        self.came += data
        head, separator, body = self.came.partition(b"\r\n\r\n")
        if not separator:
            return
        length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                       if line.startswith(b"content-length:")), 0)
        if len(body) >= length and self.answer is not None and not self.answer.done():
            self.came = b""
            self.answer.set_result((int(head.split(b" ", 2)[1]), body))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await asyncio.wait_for(self.answer, PATIENCE)


class OpenLoad:
    """`rate` requests a second to `address`; `run` returns when all have ended."""

    def __init__(self, address: str, rate: float) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)
        self._rate = rate
        self._request = b"GET /thing HTTP/1.1\r\nhost: fleet\r\n\r\n"
        self._idle: list[_Caller] = []
        self._all: list[_Caller] = []
        self.ended: list[Ended] = []

    async def run(self, seconds: float, events: dict[float, Callable[[], Awaitable[None]]]) -> list[Ended]:
        """Requests come for `seconds`; each of `events` happens at its time."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        tasks: set[asyncio.Task[None]] = set()
        happening = [asyncio.ensure_future(self._happen(begin + at, event)) for at, event in events.items()]
        for number in range(int(seconds * self._rate)):
            due = begin + number / self._rate
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            task = asyncio.ensure_future(self._one(due, begin))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*happening, *tasks)
        for caller in self._all:
            caller.transport.close()
        return self.ended

    async def _happen(self, at: float, event: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, at - loop.time()))
        await event()

    async def _one(self, due: float, begin: float) -> None:
        loop = asyncio.get_running_loop()
        status, body = 0, b""
        try:
            caller = await self._connection()
            status, body = await caller.ask(self._request)
            if not caller.lost:
                self._idle.append(caller)
        except (OSError, TimeoutError):
            pass
        self.ended.append(Ended(due - begin, loop.time() - due, status, body))

    async def _connection(self) -> _Caller:
        while self._idle:
            caller = self._idle.pop()
            if not caller.lost:
                return caller
        _, caller = await asyncio.get_running_loop().create_connection(_Caller, self._host, self._port)
        self._all.append(caller)
        return caller


def p99(ended: list[Ended], start: float, end: float) -> float:
    """Of the requests that were due in this time; 0 where there were none."""
    latencies = sorted(one.latency for one in ended if start <= one.due < end)
    return latencies[max(0, ceil(0.99 * len(latencies)) - 1)] if latencies else 0.0
