"""The octets of health checks: what is sent, and what answers mean."""

from __future__ import annotations

import pytest
from grpc_health.v1 import health_pb2
from hypothesis import given
from hypothesis import strategies as st

from mesh.wire import liveness


def test_http_request():
    assert liveness.http_request("HEAD", "/health?deep=1", "cart.local", "00-1-2-00") == (
        b"HEAD /health?deep=1 HTTP/1.1\r\nHost: cart.local\r\nUser-Agent: mesh-check\r\nAccept: */*\r\n"
        b"traceparent: 00-1-2-00\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(("line", "status"), [
    (b"HTTP/1.1 200 OK\r\n", 200), (b"HTTP/1.0 503 \r\n", 503), (b"HTTP/1.1 204\r\n", 204), (b"HTTP/1.1 200", 200),
    (b"HTTP/2 200\r\n", 0), (b"HTTP/1.1 2000\r\n", 0), (b"HTTP/1.1 99\r\n", 0), (b"HTTP/1.1 600 \r\n", 0),
    (b"SSH-2.0-x\r\n", 0), (b"", 0),
])
def test_http_status(line: bytes, status: int):
    assert liveness.http_status(line) == status


def test_judge_http():
    ranges = ((200, 299), (401, 401))
    assert [liveness.judge_http(status, ranges) for status in (200, 299, 401)] == [None] * 3
    assert liveness.judge_http(300, ranges) == "HTTP status 300"
    assert liveness.judge_http(0, ranges) == "the answer is not HTTP/1.1"


@pytest.mark.parametrize("service", ["", "shop.Cart", "x" * 127, "x" * 128, "x" * 255])
def test_grpc_request_is_what_protobuf_writes(service: str):
    assert liveness.grpc_request(service) == health_pb2.HealthCheckRequest(service=service).SerializeToString()


@pytest.mark.parametrize(("status", "said"), [(0, "UNKNOWN"), (1, None), (2, "NOT_SERVING"), (3, "SERVICE_UNKNOWN"),
                                              (77, "serving status 77")])
def test_judge_grpc(status: int, said: str | None):
    message = health_pb2.HealthCheckResponse(status=status).SerializeToString()
    assert liveness.judge_grpc(message) == said
    # Fields that a later version may have are passed over.
    assert liveness.judge_grpc(b"\x12\x03abc" + message + b"\x18\x96\x01" + b"\x21" + bytes(8) + b"\x2d" + bytes(4)) \
        == said


@pytest.mark.parametrize("message", [b"\x08", b"\x08\x80", b"\x12\x05ab", b"\x0b", b"\x21abc", b"\xff" * 20])
def test_judge_grpc_of_what_is_none(message: bytes):
    assert liveness.judge_grpc(message) == "the answer is no HealthCheckResponse"


@pytest.mark.parametrize(("line", "said"), [
    (b"+PONG\r\n", None), (b"-NOAUTH Authentication required.\r\n", None), (b"-NOPERM this user\r\n", None),
    (b"-LOADING Redis is loading\r\n", "PING is answered with -LOADING Redis is loading"),
    (b"-DENIED \x1b[31m\r\n", "PING is answered with -DENIED ?[31m"),
    (b"HTTP/1.1 400 Bad Request\r\n", "the answer is not Redis"), (b"+OK\r\n", "the answer is not Redis"),
    (b"\r\n", "the answer is not Redis"),
])
def test_judge_redis(line: bytes, said: str | None):
    assert liveness.judge_redis(line) == said


GREETING = b"\x0a5.5.5-10.11.6-MariaDB\x00" + bytes(60)


def test_mysql():
    assert liveness.judge_mysql_greeting(GREETING) is None
    assert liveness.judge_mysql_greeting(b"\xff\x10\x04Too many") == "MySQL error 1040: Too many"
    assert liveness.judge_mysql_greeting(b"HTTP/1.1") == "the greeting is not MySQL's"
    assert liveness.judge_mysql_login(b"\x00\x00\x00\x02") is None
    assert liveness.judge_mysql_login(b"\xff\x15\x04#28000Access denied") == "MySQL error 1045: Access denied"
    assert liveness.judge_mysql_login(b"\x01") == "the answer to the login is not MySQL's"
    assert liveness.mysql_switches(b"\xfemysql_native_password\x00")
    assert not liveness.mysql_switches(b"\x00")
    assert liveness.mysql_packet(b"abc", 1) == b"\x03\x00\x00\x01abc"
    assert liveness.mysql_packet(b"", 256) == b"\x00\x00\x00\x00"
    login = liveness.mysql_login("check")
    assert login[4 + 4 + 1 + 23:] == b"check\x00\x00mysql_native_password\x00"
    assert int.from_bytes(login[:4], "little") & 0x200  # protocol 4.1


@pytest.mark.parametrize(("header", "size"), [
    (b"\x4a\x00\x00\x00", 0x4A), (b"\x00\x40\x00\x00", 16_384), (b"\x01\x40\x00\x00", -1), (b"\x00\x00\x00\x00", -1),
    (b"HTTP", -1),
])
def test_mysql_length(header: bytes, size: int):
    assert liveness.mysql_length(header) == size


def test_postgres():
    assert liveness.POSTGRES_SSL_REQUEST.hex() == "0000000804d2162f"
    assert [liveness.judge_postgres_ssl(octet) for octet in (b"S", b"N")] == [None, None]
    assert liveness.judge_postgres_ssl(b"E") == "the answer to an SSLRequest is not PostgreSQL's"
    assert liveness.postgres_startup("me") == (
        b"\x00\x00\x00\x23\x00\x03\x00\x00user\x00me\x00database\x00postgres\x00\x00")
    assert liveness.judge_postgres_startup(b"R\x00\x00\x00\x08\x00\x00\x00\x00") is None

    def error(state: str, text: str) -> bytes:
        return b"E\x00\x00\x00\x20SFATAL\x00C" + state.encode() + b"\x00M" + text.encode() + b"\x00\x00"

    assert liveness.judge_postgres_startup(error("28000", "no such role")) is None
    assert liveness.judge_postgres_startup(error("57P03", "the system is starting up")) == (
        "PostgreSQL error 57P03: the system is starting up")
    assert liveness.judge_postgres_startup(error("53300", "too many")) == "PostgreSQL error 53300: too many"
    assert liveness.judge_postgres_startup(b"H\x00\x00\x00\x08") == (
        "the answer to a StartupMessage is not PostgreSQL's")


@given(st.binary(max_size=200))
def test_no_answer_breaks_a_judge(answer: bytes):
    for judge in (liveness.judge_grpc, liveness.judge_redis, liveness.judge_mysql_greeting, liveness.judge_mysql_login,
                  liveness.judge_postgres_ssl, liveness.judge_postgres_startup,
                  lambda octets: liveness.judge_http(liveness.http_status(octets), ((200, 299),))):
        said = judge(answer)
        assert said is None or (said.isprintable() and len(said) <= 300)


@given(st.binary(max_size=300))
def test_printable(text: bytes):
    assert liveness.printable(text).isprintable()
