"""One health check of one endpoint: connect, ask, read, and say what is wrong.

What lives here: the shells around the octets of mesh.wire.liveness, and the program of a `command` check. What this
must not know: when checks are due, what follows from them (checker, mesh.balance.course). All of a check, name
resolution included, is within its timeout, and no more of an answer is read than is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from mesh.dataplane.hub import Hub
from mesh.dataplane.rpc import Channel
from mesh.errors import UpstreamError
from mesh.model.health import (
    Check,
    CommandCheck,
    GrpcCheck,
    HttpCheck,
    MysqlCheck,
    PostgresCheck,
    RedisCheck,
    TcpCheck,
)
from mesh.wire import liveness

# How long a connection has to stand; a callee's sidecar tries its app three times within some 100 ms before it gives
# up.
TCP_GRACE = 0.25
# An HTTP answer's body is let in, so that the server does not see a reset; it has this long. Seconds.
_BODY = 0.1
_OUTPUT = 4096
_GRPC_NAMES = ("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
               "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
               "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED")


class CheckFailed(Exception):
    """The endpoint is not well; the message says why in one line."""


class Subject(NamedTuple):
    """What is checked: an address, the endpoint's `<service>/<name>`, and an unsampled `traceparent` for the
    request."""

    host: str
    port: int
    endpoint: str
    traceparent: str

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def run_check(hub: Hub, check: Check, subject: Subject, timeout: float) -> None:
    """Return if the endpoint is alive, raise CheckFailed if it isn't, within `timeout` seconds."""
    try:
        if isinstance(check, GrpcCheck):
            await _grpc(hub, check, subject, timeout)
            return
        async with asyncio.timeout(timeout):
            await _RUN[type(check)](check, subject, timeout)
    except TimeoutError:
        raise CheckFailed(f"no answer within {timeout:g} s") from None
    except (ConnectionError, OSError, UnicodeError) as error:
        raise CheckFailed(_words(error)) from None
    except asyncio.IncompleteReadError as error:
        raise CheckFailed("closed without an answer" if not error.partial else "closed amid its answer") from None
    except (asyncio.LimitOverrunError, ValueError):
        raise CheckFailed("the answer is longer than any that was asked for") from None


def _words(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionError):
        return "connection reset"
    return liveness.printable((getattr(error, "strerror", None) or str(error)).encode())


@asynccontextmanager
async def _connected(subject: Subject) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(subject.host, subject.port, limit=liveness.MAX_ANSWER)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _tcp(check: Any, subject: Subject, timeout: float) -> None:
    async with _connected(subject) as (reader, _):
        try:
            async with asyncio.timeout(min(TCP_GRACE, timeout / 2)):
                heard = await reader.read(1)
        except TimeoutError:
            return
    if not heard:
        raise CheckFailed("connected, then closed without a byte")


async def _http(check: HttpCheck, subject: Subject, timeout: float) -> None:
    async with _connected(subject) as (reader, writer):
        writer.write(liveness.http_request(check.method, check.path, check.host or subject.authority,
                                           subject.traceparent))
        status = 100
        while 100 <= status < 200:
            status = liveness.http_status(await reader.readuntil(b"\r\n"))
            if 100 <= status < 200:
                await reader.readuntil(b"\r\n\r\n")
        why = liveness.judge_http(status, check.statuses)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BODY):
                await reader.read(liveness.MAX_ANSWER)
    if why is not None:
        raise CheckFailed(why)


async def _redis(check: Any, subject: Subject, timeout: float) -> None:
    async with _connected(subject) as (reader, writer):
        writer.write(liveness.REDIS_PING)
        why = liveness.judge_redis(await reader.readuntil(b"\n"))
    if why is not None:
        raise CheckFailed(why)


async def _mysql(check: MysqlCheck, subject: Subject, timeout: float) -> None:
    async with _connected(subject) as (reader, writer):
        payload, sequence = await _packet(reader)
        why = liveness.judge_mysql_greeting(payload)
        if why is None and check.user:
            writer.write(liveness.mysql_packet(liveness.mysql_login(check.user), sequence + 1))
            payload, sequence = await _packet(reader)
            if liveness.mysql_switches(payload):
                writer.write(liveness.mysql_packet(b"", sequence + 1))
                payload, _ = await _packet(reader)
            why = liveness.judge_mysql_login(payload)
            writer.write(liveness.MYSQL_QUIT)
    if why is not None:
        raise CheckFailed(why)


async def _packet(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    header = await reader.readexactly(liveness.MYSQL_HEADER)
    size = liveness.mysql_length(header)
    if size < 0:
        raise CheckFailed("the answer is not MySQL's")
    return await reader.readexactly(size), header[3]


async def _postgres(check: PostgresCheck, subject: Subject, timeout: float) -> None:
    async with _connected(subject) as (reader, writer):
        if not check.user:
            writer.write(liveness.POSTGRES_SSL_REQUEST)
            why = liveness.judge_postgres_ssl(await reader.readexactly(1))
        else:
            writer.write(liveness.postgres_startup(check.user))
            head = await reader.readexactly(5)
            size = int.from_bytes(head[1:], "big") - 4
            if not 0 <= size <= liveness.MAX_ANSWER:
                raise CheckFailed("the answer to a StartupMessage is not PostgreSQL's")
            why = liveness.judge_postgres_startup(head + await reader.readexactly(size))
    if why is not None:
        raise CheckFailed(why)


async def _grpc(hub: Hub, check: GrpcCheck, subject: Subject, timeout: float) -> None:
    channel = Channel(hub, [(subject.host, subject.port)], timeout)
    try:
        answer = await channel.unary(liveness.GRPC_METHOD, liveness.grpc_request(check.service), timeout,
                                     (("traceparent", subject.traceparent),))
    except UpstreamError as error:
        name = _GRPC_NAMES[error.status] if error.status < len(_GRPC_NAMES) else str(error.status)
        raise CheckFailed(f"{name}: {liveness.printable(error.message.encode())}") from None
    finally:
        await channel.close()
    why = liveness.judge_grpc(answer)
    if why is not None:
        raise CheckFailed(why)


async def _command(check: CommandCheck, subject: Subject, timeout: float) -> None:
    service, _, name = subject.endpoint.partition("/")
    environment = {"PATH": os.environ.get("PATH", os.defpath), "MESH_HOST": subject.host,
                   "MESH_PORT": str(subject.port), "MESH_SERVICE": service, "MESH_ENDPOINT": name}
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(
        *check.argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT, env=environment, start_new_session=True))
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:  # it starts all the same, and nobody else would end it
        await _end(await starting)
        raise
    assert process.stdout is not None
    said = b""
    try:
        while chunk := await process.stdout.read(_OUTPUT):
            said = (said + chunk)[:_OUTPUT]
        status = await process.wait()
    finally:
        await _end(process)
    if status != 0:
        words = liveness.printable(said.strip().partition(b"\n")[0])
        raise CheckFailed(f"exit status {status}" + (f": {words}" if words else ""))


async def _end(process: asyncio.subprocess.Process) -> None:
    """End it, and what it has started and left behind: it is a group of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        await asyncio.shield(process.wait())


_RUN: dict[type, Callable[[Any, Subject, float], Awaitable[None]]] = {
    TcpCheck: _tcp, HttpCheck: _http, MysqlCheck: _mysql, PostgresCheck: _postgres, RedisCheck: _redis,
    CommandCheck: _command}
