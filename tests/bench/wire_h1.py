"""Nanoseconds per request in the HTTP/1.1 codec alone: requests taken and answered, and sent on.

What lives here: the HTTP/1.1 rows of `wire.py`. A proxy does both halves for each request. What this must not
know: sockets, processes. Beside them llhttp, by httptools with callbacks that do nothing, which has no more than
parsed the request and its answer when it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httptools

from mesh.wire.codec import Handler
from mesh.wire.h1 import Connection
from mesh.wire.h1_parse import message_at
from mesh.wire.hpack import Block

LINES = (b"Host: cart.local:8080\r\nUser-Agent: wrk/4.2.0\r\nAccept: application/json\r\n"
         b"Accept-Encoding: gzip, deflate\r\nX-User: 42\r\n")
ANSWER = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 23 Nov 2026 02:00:00 GMT\r\n"
          b"Content-Length: 11\r\n\r\nhello world")
CHUNKED = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
           b"b\r\nhello world\r\n0\r\n\r\n")
PER_CALL = b"traceparent: 00-00000000000000000000000000000001-0000000000000001-01\r\n"
Exchange = tuple[bytes, bytes]


def get(path: bytes, more: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + LINES + more + b"\r\n"


def same(i: int) -> Exchange:
    return get(b"/items/42?full=1"), ANSWER


def calls(i: int) -> Exchange:
    return get(b"/items/42?full=1", b"traceparent: 00-%032x-%016x-01\r\n" % (i + 1, i + 1)), ANSWER


def paths(i: int) -> Exchange:
    return get(b"/items/%d?full=1" % i), ANSWER


def ids(i: int) -> Exchange:
    answer = ANSWER.replace(b"11\r\n", b"11\r\nETag: %d\r\n" % i)
    return get(b"/items/42?full=1", b"x-request-id: %032x\r\n" % i), answer


def posts(i: int) -> Exchange:
    head = get(b"/items", b"Content-Length: 200\r\n").replace(b"GET", b"POST")
    return head + b"x" * 200, CHUNKED


CASES: dict[str, Callable[[int], Exchange]] = {
    "HTTP/1.1, the same request": same,
    "HTTP/1.1, traceparent varies": calls,
    "HTTP/1.1, every path differs": paths,
    "HTTP/1.1, an id in every request and answer": ids,
    "HTTP/1.1, 200 octets up, chunked down": posts,
}


def section(role: int, octets: bytes) -> Any:
    """The section of a message: what the other side of a proxy is given."""
    end = octets.index(b"\r\n\r\n") + 2
    block = Block.__new__(Block)
    first = octets.find(b"\r\ntraceparent", 0, end)
    message_at(role, bytearray(octets), 0, first + 2 if first > 0 else -1, end, block)
    return block.head


def content(octets: bytes) -> bytes:
    body = octets[octets.index(b"\r\n\r\n") + 4 :]
    return b"hello world" if body.startswith(b"b\r\n") else body


def serve(exchanges: list[Exchange]) -> Callable[[], None]:
    """Requests taken and answered with what an upstream has answered."""
    requests = [bytearray(request) for request, _ in exchanges]
    answers = [(section(1, response), content(response)) for _, response in exchanges]

    taken = len(content(exchanges[0][0]))

    def run() -> None:
        conn = Connection(False, Handler())
        receive, release, streams = conn.receive, conn.release, conn.all_streams
        send_head, send_data = conn.send_head, conn.send_data
        for buf, (head, body) in zip(requests, answers, strict=True):
            receive(buf, len(buf))
            stream = streams()[0]
            send_head(stream, head, b"", False)
            send_data(stream, body, 0, len(body), True)
            release(stream, taken)
            conn.out_len = 0

    return run


def call(exchanges: list[Exchange]) -> Callable[[], None]:
    """Requests of a caller sent on, and the answers taken."""
    requests = [(section(0, request), content(request)) for request, _ in exchanges]
    answers = [bytearray(response) for _, response in exchanges]

    def run() -> None:
        conn = Connection(True, Handler())
        receive, release, request, send_data = conn.receive, conn.release, conn.request, conn.send_data
        for buf, (head, body) in zip(answers, requests, strict=True):
            stream = request(None, head, PER_CALL, not body)
            if body:
                send_data(stream, body, 0, len(body), True)
            receive(buf, len(buf))
            release(stream, 11)
            conn.out_len = 0

    return run


def llhttp(exchanges: list[Exchange]) -> Callable[[], None]:
    """Parsing requests and responses, and nothing else."""

    class Callbacks:
        def on_url(self, url: bytes) -> None:
            pass

        def on_header(self, name: bytes, value: bytes) -> None:
            pass

        def on_message_complete(self) -> None:
            pass

    def run() -> None:
        callbacks = Callbacks()
        requests, responses = httptools.HttpRequestParser(callbacks), httptools.HttpResponseParser(callbacks)
        for request, response in exchanges:
            requests.feed_data(request)
            responses.feed_data(response)

    return run

