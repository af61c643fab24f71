"""The port for operators' tools."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mesh.dataplane import loop
from mesh.sidecar import admin as module
from mesh.sidecar.admin import Admin


class Stage:
    """An Admin and the statistics that it gathers."""

    def __init__(self) -> None:
        self.gathered: list[dict[str, Any]] = [{"transports": 3, "id": "web/0"}]
        self.health = "ok"
        self.admin = Admin(self.gather, lambda: self.health)

    async def gather(self) -> list[dict[str, Any]]:
        if not self.gathered:
            raise RuntimeError("no statistics")
        return self.gathered

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.admin.accept(theirs.detach(), "127.0.0.1", 1)
        ours.setblocking(False)
        return ours

    async def idle(self) -> None:
        while self.admin.connections:  # noqa: ASYNC110  nobody sets an event for tests
            await asyncio.sleep(0)

    async def ask(self, request: str) -> tuple[int, dict[str, str], str]:
        sock = self.connect()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            for byte in request.encode():  # one at a time
                await loop.sock_sendall(sock, bytes([byte]))
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while data := await loop.sock_recv(sock, 4096):
                answer += data
            await self.idle()
        sock.close()
        head, _, body = answer.decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body

    async def get(self, target: str, *fields: str) -> tuple[int, dict[str, str], str]:
        return await self.ask("\r\n".join([f"GET {target} HTTP/1.1", "host: x", *fields, "", ""]))


def run(test: Callable[[Stage], Awaitable[None]]) -> None:
    async def main() -> None:
        await test(Stage())

    loop.run(main())


def test_metrics_in_the_form_that_is_asked_for() -> None:
    async def test(stage: Stage) -> None:
        status, fields, body = await stage.get("/metrics")
        assert (status, fields["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert "\nmesh_transports 3\n" in body
        assert int(fields["content-length"]) == len(body)
        accept = "Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1"
        status, fields, body = await stage.get("/metrics", accept)
        assert fields["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert body.endswith("# EOF\n")
        stage.gathered = [{"transports": 3}, {"transports": 4}]
        assert "\nmesh_transports 7\n" in (await stage.get("/metrics?x=1"))[2]

    run(test)


def test_health_says_what_is_the_matter() -> None:
    async def test(stage: Stage) -> None:
        assert (await stage.get("/healthz"))[::2] == (200, "ok\n")
        stage.health = "draining"
        assert (await stage.get("/healthz"))[::2] == (503, "draining\n")

    run(test)


def test_statistics_are_those_of_sigusr2() -> None:
    async def test(stage: Stage) -> None:
        assert json.loads((await stage.get("/statistics"))[2]) == stage.gathered[0]
        stage.gathered = [{"transports": 3}, {"transports": 4}]
        assert json.loads((await stage.get("/statistics"))[2]) == {"transports": 7, "workers": stage.gathered}

    run(test)


@pytest.mark.parametrize(("request_line", "status"), [
    ("GET / HTTP/1.1", 404), ("GET /metricsx HTTP/1.1", 404), ("POST /metrics HTTP/1.1", 405), ("GET /metrics", 400),
    ("GET /metrics SPDY/1", 400), ("PRI * HTTP/2.0", 400)])
def test_what_is_not_served(request_line: str, status: int) -> None:
    async def test(stage: Stage) -> None:
        assert (await stage.ask(f"{request_line}\r\n\r\n"))[0] == status

    run(test)


def test_head_has_no_body() -> None:
    async def test(stage: Stage) -> None:
        status, fields, body = await stage.ask("HEAD /healthz HTTP/1.1\r\n\r\n")
        assert (status, fields["content-length"], body) == (200, "3", "")

    run(test)


def test_a_head_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST", 20)

    async def test(stage: Stage) -> None:
        assert (await stage.ask("GET /metrics HTTP/1.1\r\nx: " + "y" * 100))[0] == 400

    run(test)


def test_a_fault_of_ours_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def test(stage: Stage) -> None:
        stage.gathered = []
        assert (await stage.get("/metrics"))[0] == 500

    run(test)
    assert "no statistics" in caplog.text


def test_who_is_slow_or_goes_is_let_go_and_more_than_enough_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)

    async def test(stage: Stage) -> None:
        socks = [stage.connect() for _ in range(module.MOST + 1)]
        loop = asyncio.get_running_loop()
        assert stage.admin.connections == module.MOST
        async with asyncio.timeout(10):
            for sock in reversed(socks):
                assert await loop.sock_recv(sock, 10) == b""
            await stage.idle()
        for sock in socks:
            sock.close()
        gone = stage.connect()
        gone.close()
        async with asyncio.timeout(10):
            await stage.idle()

    run(test)
