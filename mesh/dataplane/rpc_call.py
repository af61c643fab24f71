"""One gRPC call of the sidecar itself: messages out under flow control, messages in, and how it ended.

What lives here: the life of a call on one HTTP/2 stream, after
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. What this must not know: connecting, targets, retries.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from mesh.dataplane.rpc_handler import RpcHandler
from mesh.errors import CANCELLED, INTERNAL, RESOURCE_EXHAUSTED, UNAVAILABLE, UNIMPLEMENTED, UNKNOWN, UpstreamError
from mesh.wire import errors as h2
from mesh.wire.errors import MessageError
from mesh.wire.grpc import MessageDecoder, decode_message, frame, grpc_status_of
from mesh.wire.hpack import Head

# Bytes of messages that nobody has taken yet; beyond that the peer is given no more window.
QUEUE_BYTES = 262_144

_PERMISSION_DENIED = 7
# PROTOCOL-HTTP2.md, "Errors"; what is not listed is INTERNAL.
_RESET_STATUS = {h2.REFUSED_STREAM: UNAVAILABLE, h2.CANCEL: CANCELLED, h2.ENHANCE_YOUR_CALM: RESOURCE_EXHAUSTED,
                 h2.INADEQUATE_SECURITY: _PERMISSION_DENIED}


class Call:
    """A call in progress: iterate over it for the messages that arrive; one task at a time may do so.

    Iteration ends when the peer ends the call with OK and raises UpstreamError when it ended otherwise. A call that is
    not iterated to its end must be cancelled. Made by `Channel.stream`.
    """

    def __init__(self, handler: RpcHandler, name: str, limit: int, flush: Callable[[], object],
                 on_end: Callable[[], None]) -> None:
        self._handler = handler
        self._name = name
        self._flush = flush
        self._on_end = on_end
        self._stream: Any = None
        self._decoder = MessageDecoder(limit)
        self._messages: deque[bytes] = deque()
        self._queued = 0
        self._debt = 0  # flow-control credit of the peer's that we hold back
        self._headers_seen = False
        self._error: UpstreamError | None = None
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._out: deque[bytes] = deque()
        self._out_start = 0
        self._half_closing = False
        self._writers: list[asyncio.Future[None]] = []

    def begin(self, head: Head, timeout: bytes | None) -> None:
        """Open the stream."""
        self._stream = self._handler.open(self, head, timeout)

    # -- sending

    async def send(self, message: bytes) -> None:
        """Send a message; returns when the connection has it all. Raises UpstreamError when the call is over."""
        self.send_nowait(message)
        while self._out and not self._ended:
            writer = asyncio.get_running_loop().create_future()
            self._writers.append(writer)
            await writer
        if self._error is not None:
            raise self._error

    def send_nowait(self, message: bytes, *, end: bool = False) -> None:
        """Queue a message; `end` says that it is the last."""
        if self._ended:
            raise self._error or UpstreamError(UNAVAILABLE, f"{self._name}: the call is over")
        self._out.append(frame(message))
        self._half_closing = end
        self._pump()
        self._flush()

    def end_sending(self) -> None:
        """Say that no more messages come."""
        if not self._ended and not self._half_closing:
            self._half_closing = True
            self._out.append(b"")
            self._pump()
            self._flush()

    def _pump(self) -> None:
        while self._out and not self._ended:
            chunk = self._out[0]
            last = self._half_closing and len(self._out) == 1
            sent = self._handler.send(self._stream, chunk, self._out_start, last)
            if sent < 0:
                return
            self._out_start += sent
            if self._out_start < len(chunk):
                return
            self._out.popleft()
            self._out_start = 0
        self._wake_writers()

    # -- receiving

    def __aiter__(self) -> Call:
        return self

    async def __anext__(self) -> bytes:
        while True:
            if self._messages:
                return self._take()
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    async def single(self) -> bytes:
        """The one message of a unary call, once its status is known to be OK."""
        answer: bytes | None = None
        async for message in self:
            if answer is not None:
                raise UpstreamError(UNIMPLEMENTED, f"{self._name}: more than one message came back")
            answer = message
        if answer is None:
            raise UpstreamError(UNIMPLEMENTED, f"{self._name}: no message came back")
        return answer

    def _take(self) -> bytes:
        message = self._messages.popleft()
        self._queued -= len(message)
        if self._debt and self._queued <= QUEUE_BYTES:
            debt, self._debt = self._debt, 0
            if not self._ended:
                self._handler.release(self._stream, debt)
                self._flush()
        return message

    def cancel(self) -> None:
        """End the call now, if it isn't over; may be called any number of times."""
        if not self._ended:
            self._abandon(UpstreamError(CANCELLED, f"{self._name}: cancelled by this side"))
            self._flush()

    # -- from the codec, see rpc_handler

    def on_headers(self, head: Head, end: bool) -> None:
        if self._ended:
            return
        if not self._headers_seen:
            if 100 <= head.status < 200:
                return
            self._headers_seen = True
            if head.status != 200 and head.grpc_status < 0:
                self._abandon(UpstreamError(grpc_status_of(head.status),
                                            f"{self._name}: HTTP status {head.status}"))
                return
            if head.status == 200 and not head.is_grpc:
                self._abandon(UpstreamError(UNKNOWN, f"{self._name}: the answer is not application/grpc"))
                return
        if end:
            status = head.grpc_status
            if status < 0:
                self._finish(UpstreamError(UNKNOWN, f"{self._name}: the answer has no grpc-status"))
            elif status > 0:
                text = decode_message(head.grpc_message) if head.grpc_message else "no message"
                self._finish(UpstreamError(status, f"{self._name}: {text}"))
            elif self._decoder.pending:
                self._finish(UpstreamError(INTERNAL, f"{self._name}: the last message is cut off"))
            else:
                self._finish(None)

    def on_data(self, data: bytes, credit: int, end: bool) -> None:
        if self._ended:
            self._handler.release(self._stream, credit)
            return
        try:
            for message in self._decoder.feed(data):
                self._messages.append(message)
                self._queued += len(message)
        except MessageError as exc:
            self._handler.release(self._stream, credit)
            self._abandon(UpstreamError(INTERNAL, f"{self._name}: {exc}"))
            return
        if self._queued <= QUEUE_BYTES:
            self._handler.release(self._stream, credit)
        else:
            self._debt += credit
        if end:
            self._finish(UpstreamError(INTERNAL, f"{self._name}: the answer ended without trailers"))
        self._wake_reader()

    def on_reset(self, code: int) -> None:
        status = _RESET_STATUS.get(code, INTERNAL)
        self._finish(UpstreamError(status, f"{self._name}: the stream was reset ({h2.CODE_NAMES.get(code, code)})"))

    def on_connection_lost(self) -> None:
        self._finish(UpstreamError(UNAVAILABLE, f"{self._name}: the connection broke"))

    def on_writable(self) -> None:
        self._pump()

    # -- ending

    def _abandon(self, error: UpstreamError) -> None:
        self._handler.reset(self._stream, h2.CANCEL)
        self._finish(error)

    def _finish(self, error: UpstreamError | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._error = error
        if self._out or not self._half_closing:
            self._handler.reset(self._stream, h2.CANCEL)  # nobody listens any more
        self._out.clear()
        self._wake_reader()
        self._wake_writers()
        self._on_end()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _wake_writers(self) -> None:
        for writer in self._writers:
            if not writer.done():
                writer.set_result(None)
        self._writers.clear()
