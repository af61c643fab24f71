"""One check against servers that answer well, ill, something else, or not at all."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from grpc_health.v1 import health_pb2
from h2_world import Call, Upstream

from mesh.balance.rng import Rng
from mesh.dataplane import loop
from mesh.dataplane.checks import CheckFailed, Subject, run_check
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import Recorder
from mesh.model import (
    CommandCheck,
    GrpcCheck,
    HttpCheck,
    MysqlCheck,
    PostgresCheck,
    RedisCheck,
    TcpCheck,
)
from mesh.wire import liveness

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-00"
PATIENT = 20.0  # what never decides a test


async def judged(check: Any, port: int, timeout: float = PATIENT) -> str | None:
    """What is wrong, None for nothing."""
    hub = Hub(asyncio.get_running_loop(), Rng(1), Recorder())
    try:
        await run_check(hub, check, Subject("127.0.0.1", port, "cart/cart-0", TRACE), timeout)
    except CheckFailed as failure:
        return str(failure)
    return None


def against(serve: Serve, check: Any, timeout: float = PATIENT) -> str | None:
    async def main() -> str | None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        async with server:
            return await judged(check, server.sockets[0].getsockname()[1], timeout)

    return loop.run(main())


def says(answer: bytes, until: bytes = b"") -> Serve:
    """Answers `answer` to what ends with `until`, then waits for the peer's end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if until:
            await reader.readuntil(until)
        writer.write(answer)
        await reader.read()

    return serve


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def test_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.dataplane.checks.TCP_GRACE", 0.05)
    assert against(silent, TcpCheck()) is None
    monkeypatch.setattr("mesh.dataplane.checks.TCP_GRACE", PATIENT)
    assert against(says(b"220 smtp\r\n"), TcpCheck()) is None
    assert against(hangs_up, TcpCheck()) == "connected, then closed without a byte"
    assert against(resets, TcpCheck()) in ("connection reset", "connected, then closed without a byte")


EVERY = [TcpCheck(), HttpCheck(), MysqlCheck(), PostgresCheck(), PostgresCheck("u"), RedisCheck(), GrpcCheck()]


@pytest.mark.parametrize("check", EVERY)
def test_nobody_there(check: Any) -> None:
    async def main() -> str | None:
        server = await asyncio.start_server(hangs_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return await judged(check, port)

    said = loop.run(main())
    assert said is not None
    assert "refused" in said


@pytest.mark.parametrize("check", EVERY[1:])
def test_who_says_nothing_is_waited_for_until_the_timeout(check: Any) -> None:
    said = against(silent, check, 0.05)
    assert said is not None
    assert "no answer within 0.05 s" in said


@pytest.mark.parametrize("check", EVERY[1:-1])
def test_who_hangs_up_has_not_answered(check: Any) -> None:
    assert against(hangs_up, check) in ("closed without an answer", "connection reset")


@pytest.mark.parametrize("check", [HttpCheck(), RedisCheck()])
def test_no_more_is_read_than_any_answer_has(check: Any) -> None:
    said = against(says(b"x" * 3 * liveness.MAX_ANSWER), check)
    assert said == "the answer is longer than any that was asked for"


def test_a_name_that_nobody_has() -> None:
    async def main() -> str | None:
        hub = Hub(asyncio.get_running_loop(), Rng(1), Recorder())
        try:
            await run_check(hub, RedisCheck(), Subject("nobody.invalid", 1, "cart/a", TRACE), PATIENT)
        except CheckFailed as failure:
            return str(failure)
        return None

    assert loop.run(main())


def test_http() -> None:
    heard = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")

    assert against(serve, HttpCheck("HEAD", "/health", statuses=((204, 204),))) is None
    assert heard[0].startswith(b"HEAD /health HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"traceparent: " + TRACE.encode() in heard[0]
    ill = says(b"HTTP/1.1 503 X\r\nContent-Length: 3\r\n\r\nill", b"\r\n\r\n")
    assert against(ill, HttpCheck()) == "HTTP status 503"
    assert against(says(b"SSH-2.0-OpenSSH\r\n"), HttpCheck()) == "the answer is not HTTP/1.1"
    assert against(serve, HttpCheck(host="cart.local")) is None
    assert b"\r\nHost: cart.local\r\n" in heard[-1]


def test_redis() -> None:
    assert against(says(b"+PONG\r\n", liveness.REDIS_PING), RedisCheck()) is None
    assert against(says(b"-NOAUTH Authentication required.\r\n"), RedisCheck()) is None
    assert against(says(b"-LOADING Redis is loading\r\n"), RedisCheck()) == (
        "PING is answered with -LOADING Redis is loading")


GREETING = liveness.mysql_packet(b"\x0a10.11-MariaDB\x00" + bytes(50), 0)


def test_mysql() -> None:
    assert against(says(GREETING), MysqlCheck()) is None
    refusal = liveness.mysql_packet(b"\xff\x69\x04Host is blocked", 0)
    assert against(says(refusal), MysqlCheck()) == "MySQL error 1129: Host is blocked"
    assert against(says(b"HTTP/1.1 400 Bad Request"), MysqlCheck()) == "the answer is not MySQL's"
    heard: list[bytes] = []

    def server(*answers: bytes) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(GREETING)
            for place, answer in enumerate(answers):
                head = await reader.readexactly(4)
                assert head[3] == 2 * place + 1
                heard.append(await reader.readexactly(int.from_bytes(head[:3], "little")))
                writer.write(liveness.mysql_packet(answer, 2 * place + 2))
            heard.append(await reader.read())

        return serve

    ok, switch = b"\x00\x00\x00\x02\x00\x00\x00", b"\xfecaching_sha2_password\x00" + bytes(20)
    assert against(server(ok), MysqlCheck("check")) is None
    assert b"check\0" in heard[0]
    heard.clear()
    assert against(server(switch, ok), MysqlCheck("check")) is None
    assert heard[1] == b""
    assert against(server(b"\xff\x15\x04#28000Access denied"), MysqlCheck("x")) == "MySQL error 1045: Access denied"


def test_postgres() -> None:
    assert against(says(b"N", liveness.POSTGRES_SSL_REQUEST), PostgresCheck()) is None
    assert against(says(b"H"), PostgresCheck()) == "the answer to an SSLRequest is not PostgreSQL's"
    startup = liveness.postgres_startup("check")
    assert against(says(b"R\x00\x00\x00\x08\x00\x00\x00\x00", startup), PostgresCheck("check")) is None
    body = b"SFATAL\x00C57P03\x00Mthe database system is starting up\x00\x00"
    starting = b"E" + (len(body) + 4).to_bytes(4, "big") + body
    assert against(says(starting, startup), PostgresCheck("check")) == (
        "PostgreSQL error 57P03: the database system is starting up")
    assert against(says(b"HTTP/1.1 400 "), PostgresCheck("check")) == (
        "the answer to a StartupMessage is not PostgreSQL's")


@pytest.mark.parametrize(("status", "said"), [(1, None), (2, "NOT_SERVING"), (3, "SERVICE_UNKNOWN")])
def test_grpc(status: int, said: str | None) -> None:
    calls: list[Call] = []

    def answer(call: Call) -> None:
        calls.append(call)
        message = health_pb2.HealthCheckResponse(status=status).SerializeToString()
        call.answer(b"\x00" + len(message).to_bytes(4, "big") + message)

    async def main() -> str | None:
        upstream = await Upstream(answer).start()
        try:
            return await judged(GrpcCheck("shop.Cart"), upstream.port)
        finally:
            upstream.close()

    assert loop.run(main()) == said
    headers = dict(calls[0].headers)
    assert headers[":path"] == "/grpc.health.v1.Health/Check"
    assert headers["traceparent"] == TRACE


def test_grpc_of_a_server_without_the_health_service() -> None:
    async def main() -> str | None:
        upstream = await Upstream(lambda call: call.answer(b"", "12")).start()
        try:
            return await judged(GrpcCheck(), upstream.port)
        finally:
            upstream.close()

    said = loop.run(main())
    assert said is not None
    assert said.startswith("UNIMPLEMENTED: ")


def script(text: str) -> CommandCheck:
    return CommandCheck((sys.executable, "-c", text))


def test_command() -> None:
    async def main() -> None:
        say = "import os; print(*(os.environ[n] for n in ('MESH_HOST', 'MESH_PORT', 'MESH_SERVICE', 'MESH_ENDPOINT')))"
        assert await judged(script(say), 99) is None
        assert await judged(script(say + "; print('more'); raise SystemExit(3)"), 99) == (
            "exit status 3: 127.0.0.1 99 cart cart-0")
        assert await judged(script("raise SystemExit(1)"), 99) == "exit status 1"
        assert await judged(script("print('x' * 1_000_000)"), 99) is None  # nobody waits for a full pipe
        said = await judged(CommandCheck(("/nowhere/check",)), 99)
        assert said is not None
        assert "No such file" in said
        assert await judged(script("import time; time.sleep(1000)"), 99, 0.2) == "no answer within 0.2 s"

    loop.run(main())
