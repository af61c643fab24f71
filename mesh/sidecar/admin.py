"""The port that operators' tools ask (`--admin`): metrics, health, statistics. Nothing can be changed here.

What lives here: as much of HTTP/1.1 as a scraper needs, one request per connection, bounded. What this must not know:
what the figures mean (telemetry), where those of the other workers come from.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from mesh.dataplane.tasks import spawn
from mesh.sidecar.statistics import total
from mesh.telemetry.metrics import OPENMETRICS, PLAIN, render

# More are refused: whoever opens these is a scraper or a probe.
MOST = 32
_LONGEST = 8192
_PATIENCE = 10.0
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 500: "Internal Server Error",
            503: "Service Unavailable"}

_log = logging.getLogger("mesh.sidecar")


class Answer(NamedTuple):
    """One response; `body` is text."""

    status: int
    body: str
    kind: str = "text/plain; charset=utf-8"


class Admin:
    """Answers on the connections it is given.

    `gather` gives the statistics of every worker; `health` says "ok", or what is the matter.
    """

    def __init__(self, gather: Callable[[], Awaitable[list[dict[str, Any]]]], health: Callable[[], str]) -> None:
        self._gather = gather
        self._health = health
        self.connections = 0

    def accept(self, fd: int, _host: str, _port: int) -> None:
        """Serve a connection; the descriptor is ours from now on."""
        sock = socket.socket(fileno=fd)
        if self.connections >= MOST:
            sock.close()
            return
        self.connections += 1
        sock.setblocking(False)
        spawn("admin", self._serve(sock))

    async def _serve(self, sock: socket.socket) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._answer_one(sock)
        except (OSError, TimeoutError):
            pass  # it has gone, or is too slow
        finally:
            self.connections -= 1
            sock.close()

    async def _answer_one(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        head = b""
        while b"\r\n\r\n" not in head and len(head) <= _LONGEST:
            data = await loop.sock_recv(sock, 4096)
            if not data:
                return
            head += data
        try:
            answer, method = await self._handle(head)
        except Exception:
            _log.exception("an answer of the admin port failed")
            answer, method = Answer(500, "failed\n"), "GET"
        body = answer.body.encode()
        lines = [f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}", f"content-type: {answer.kind}",
                 f"content-length: {len(body)}", "connection: close", "cache-control: no-store",
                 *(["allow: GET, HEAD"] if answer.status == 405 else []), "", ""]
        await loop.sock_sendall(sock, "\r\n".join(lines).encode() + (b"" if method == "HEAD" else body))
        sock.shutdown(socket.SHUT_WR)
        while await loop.sock_recv(sock, 4096):  # what is unread when we close would reset the answer
            pass

    async def _handle(self, head: bytes) -> tuple[Answer, str]:
        first, _, rest = head.partition(b"\r\n")
        words = first.decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or b"\r\n\r\n" not in head:
            return Answer(400, "not an HTTP/1.1 request\n"), "GET"
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return Answer(405, "only GET\n"), method
        match target.partition("?")[0]:
            case "/metrics":
                openmetrics = b"application/openmetrics-text" in rest.lower()
                text = render(total(await self._gather()) or {}, openmetrics)
                return Answer(200, text, OPENMETRICS if openmetrics else PLAIN), method
            case "/healthz":
                health = self._health()
                return Answer(200 if health == "ok" else 503, health + "\n"), method
            case "/statistics":
                each = await self._gather()
                found = each[0] if len(each) == 1 else {**(total(each) or {}), "workers": each}
                return Answer(200, json.dumps(found) + "\n", "application/json"), method
        return Answer(404, "there are /metrics, /healthz and /statistics\n"), method
