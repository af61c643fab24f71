"""The octets of health checks: what is sent to a server to see whether it is there, and what its answer says.

What lives here: requests as bytes, and judges of answers, for HTTP/1.1, grpc.health.v1, MySQL, PostgreSQL and Redis. A
judge returns None for alive, else why not in a few words. What this must not know: sockets, time limits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# No answer that is looked at is longer.
MAX_ANSWER = 16_384
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |\r|$)")

# HTTP


def http_request(method: str, path: str, host: str, traceparent: str) -> bytes:
    """Return a request without a body, after which the server closes."""
    return (f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: mesh-check\r\nAccept: */*\r\n"
            f"traceparent: {traceparent}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").encode("latin-1")


def http_status(line: bytes) -> int:
    """Return the status of a status line; 0 where it is none."""
    match = _STATUS_LINE.match(line)
    return int(match[1]) if match else 0


def judge_http(status: int, statuses: Sequence[tuple[int, int]]) -> str | None:
    if status == 0:
        return "the answer is not HTTP/1.1"
    return None if any(first <= status <= last for first, last in statuses) else f"HTTP status {status}"


# grpc.health.v1 (https://github.com/grpc/grpc/blob/master/doc/health-checking.md)

GRPC_METHOD = "/grpc.health.v1.Health/Check"
_SERVING_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


def grpc_request(service: str) -> bytes:
    """Return a HealthCheckRequest; `service` has at most 255 bytes."""
    name = service.encode()
    if not name:
        return b""
    size = bytes((len(name),)) if len(name) < 128 else bytes((len(name) & 0x7F | 0x80, len(name) >> 7))
    return b"\x0a" + size + name


def judge_grpc(message: bytes) -> str | None:
    """Judge a HealthCheckResponse: one field, number 1, an enum; other fields would be of a later version."""
    status = 0
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == 0:
            value, at = _varint(message, at)
            if tag >> 3 == 1:
                status = value
        elif tag & 7 == 2:
            size, at = _varint(message, at)
            at += size
        elif tag & 7 in (1, 5):
            at += 8 if tag & 7 == 1 else 4
        else:
            at = len(message) + 1
        if at > len(message):
            return "the answer is no HealthCheckResponse"
    if status == 1:
        return None
    return _SERVING_STATUSES[status] if status < len(_SERVING_STATUSES) else f"serving status {status}"


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Value and the place behind it; a place beyond the end where it is cut off or too long."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        octet = message[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
    return 0, len(message) + 1


# Redis (RESP)

REDIS_PING = b"*1\r\n$4\r\nPING\r\n"


def judge_redis(line: bytes) -> str | None:
    """Judge the first line. That it asks for a login, or has no right to PING, says that it is there."""
    line = line.rstrip(b"\r\n")
    if line == b"+PONG" or line.startswith((b"-NOAUTH", b"-NOPERM")):
        return None
    if line.startswith(b"-"):
        return f"PING is answered with {printable(line)}"
    return "the answer is not Redis"


# MySQL and MariaDB: packets of 3 octets of length (little endian), 1 of sequence, payload.

MYSQL_HEADER = 4
MYSQL_QUIT = b"\x01\x00\x00\x00\x01"
_ERR, _OK, _EOF = 0xFF, 0x00, 0xFE
_PROTOCOL = 10
# CLIENT_LONG_PASSWORD | CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH
_CAPABILITIES = 0x1 | 0x200 | 0x8000 | 0x80000
_UTF8 = 33


def mysql_length(header: bytes) -> int:
    """Return the length of the payload behind a header; -1 where no check's answer is that long."""
    size = int.from_bytes(header[:3], "little")
    return size if 1 <= size <= MAX_ANSWER else -1


def mysql_packet(payload: bytes, sequence: int) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes((sequence & 0xFF,)) + payload


def judge_mysql_greeting(payload: bytes) -> str | None:
    """Judge what the server says first: Initial Handshake Packet, protocol 10, or an error."""
    if payload[:1] == bytes((_PROTOCOL,)):
        return None
    return _mysql_error(payload) if payload[:1] == bytes((_ERR,)) else "the greeting is not MySQL's"


def mysql_login(user: str) -> bytes:
    """Return the payload of a HandshakeResponse41 of `user` without a password."""
    return (_CAPABILITIES.to_bytes(4, "little") + MAX_ANSWER.to_bytes(4, "little") + bytes((_UTF8,)) + bytes(23)
            + user.encode() + b"\x00" + b"\x00" + b"mysql_native_password\x00")


def judge_mysql_login(payload: bytes) -> str | None:
    """Judge the answer to a login that is not a request for another way to log in (see `mysql_switches`)."""
    if payload[:1] == bytes((_OK,)):
        return None
    return _mysql_error(payload) if payload[:1] == bytes((_ERR,)) else "the answer to the login is not MySQL's"


def mysql_switches(payload: bytes) -> bool:
    """Whether the server asks for another way to log in (AuthSwitchRequest); an empty payload says "no password"."""
    return payload[:1] == bytes((_EOF,))


def _mysql_error(payload: bytes) -> str:
    code = int.from_bytes(payload[1:3], "little")
    text = payload[9:] if payload[3:4] == b"#" else payload[3:]
    return f"MySQL error {code}: {printable(text)}"


# PostgreSQL

POSTGRES_SSL_REQUEST = (8).to_bytes(4, "big") + (80_877_103).to_bytes(4, "big")
# cannot_connect_now and too_many_connections: nobody gets in. Other errors are answers of a server that is up.
_POSTGRES_CLOSED = ("57P03", "53300")


def postgres_startup(user: str) -> bytes:
    """Return a StartupMessage of protocol 3.0 for the database `postgres`."""
    body = (196_608).to_bytes(4, "big") + b"user\x00" + user.encode() + b"\x00database\x00postgres\x00\x00"
    return (len(body) + 4).to_bytes(4, "big") + body


def judge_postgres_ssl(octet: bytes) -> str | None:
    """Judge the one octet that answers an SSLRequest: S or N; E is an error of a server too old or too ill for it."""
    return None if octet in (b"S", b"N") else "the answer to an SSLRequest is not PostgreSQL's"


def judge_postgres_startup(message: bytes) -> str | None:
    """Judge the first message: type, 4 octets of length that count themselves, fields."""
    if message[:1] in (b"R", b"v"):
        return None
    if message[:1] != b"E":
        return "the answer to a StartupMessage is not PostgreSQL's"
    fields = {field[:1]: field[1:].decode("utf-8", "replace") for field in message[5:].split(b"\x00") if field}
    state = fields.get(b"C", "")
    if state in _POSTGRES_CLOSED:
        return f"PostgreSQL error {state}: {printable(fields.get(b'M', '').encode())}"
    return None


def printable(text: bytes, most: int = 120) -> str:
    """What a log and a terminal may show of a server's words."""
    shown = text[:most].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in shown)
