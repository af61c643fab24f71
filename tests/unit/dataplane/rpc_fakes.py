"""A channel and calls that the test plays the other side of, and sleeps that only the test ends."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from mesh.errors import UpstreamError


class FakeCall:
    """What the client sent is in `sent`; `deliver` and `fail` are the server's doing."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.sent: list[bytes] = []
        self.cancelled = False
        self._inbox: asyncio.Queue[bytes | UpstreamError | None] = asyncio.Queue()

    def deliver(self, *messages: Any) -> None:
        for message in messages:
            self._inbox.put_nowait(message.SerializeToString() if hasattr(message, "SerializeToString") else message)

    def fail(self, status: int = 14, message: str = "gone") -> None:
        self._inbox.put_nowait(UpstreamError(status, message))

    def end(self) -> None:
        self._inbox.put_nowait(None)

    def send_nowait(self, message: bytes, *, end: bool = False) -> None:
        if self.cancelled:
            raise UpstreamError(1, "cancelled")
        self.sent.append(message)

    def __aiter__(self) -> FakeCall:
        return self

    async def __anext__(self) -> bytes:
        item = await self._inbox.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, UpstreamError):
            raise item
        return item

    def cancel(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self._inbox.put_nowait(UpstreamError(1, "cancelled"))


class FakeChannel:
    """`answers` go to unary calls in order (an exception is raised, a future awaited); `down` fails everything."""

    def __init__(self) -> None:
        self.calls: list[FakeCall] = []
        self.unary_calls: list[tuple[str, bytes]] = []
        self.answers: deque[Any] = deque()
        self.down = False

    def _check(self) -> None:
        if self.down:
            raise UpstreamError(14, "127.0.0.1:15010: Connection refused")

    async def stream(self, path: str, metadata: Any = ()) -> FakeCall:
        self._check()
        self.calls.append(FakeCall(path))
        return self.calls[-1]

    async def unary(self, path: str, request: bytes, timeout: float, metadata: Any = ()) -> bytes:
        self._check()
        self.unary_calls.append((path, request))
        answer = self.answers.popleft()
        if isinstance(answer, asyncio.Future):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else answer.SerializeToString()


class Sleeps:
    """An injectable sleep: `wake()` ends all sleeps; `asked` lists how long each was to be."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._sleeping: list[asyncio.Future[None]] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        future = asyncio.get_running_loop().create_future()
        self._sleeping.append(future)
        await future

    @property
    def sleeping(self) -> int:
        return sum(not future.done() for future in self._sleeping)

    async def wake(self) -> None:
        for future in self._sleeping:
            if not future.done():
                future.set_result(None)
        self._sleeping.clear()
        await settle()


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)
