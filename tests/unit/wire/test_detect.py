from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.wire.detect import (
    HTTP1,
    HTTP2,
    MAX_DETECT,
    MAX_METHOD,
    NEED_MORE,
    PROXY_V1,
    PROXY_V2,
    TCP,
    TLS,
    detect,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

# What a connection begins with, the verdict, and after how many octets it must stand.
KNOWN = [
    (PREFACE + b"\0\0\0\4\0", HTTP2, 24),
    (b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n", HTTP1, 20),  # no preface after all: a request of a strange version
    (b"PRI * HTTP/1.1\r\n", HTTP1, 12),
    (b"PRI\r\n", TCP, 4),
    (b"\x16\x03\x01\x02\x00\x01", TLS, 3),
    (b"\x16\x03\x00", TLS, 3),
    (b"\x16\x03\x04", TLS, 3),
    (b"\x16\x03\x05", TCP, 3),
    (b"\x16\x02\x01", TCP, 2),
    (b"\x15\x03\x01", TCP, 1),
    (b"\x80\x2e\x01\x03\x01", TCP, 1),  # the ClientHello of SSL 2
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", PROXY_V1, 6),
    (b"PROXY / HTTP/1.1\r\n", PROXY_V1, 6),  # nobody has a method of this name
    (b"PROXYTCP4 1.2.3.4\r\n", TCP, 18),
    (b"PROXY-IT / HTTP/1.1\r\n", HTTP1, 16),
    (SIGNATURE + b"\x21\x11", PROXY_V2, 12),
    (b"\r\n\r\n\0\r\nQUIT\r", TCP, 12),
    (b"\r\nGET / HTTP/1.1\r\n", TCP, 3),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP1, 11),
    (b"GET / HTTP/1.0\r\n", HTTP1, 11),
    (b"GET / HTTP/3.0\r\n", HTTP1, 11),  # for the parser to refuse
    (b"POST /a/b?c=d&e HTTP/1.1\r\n", HTTP1, 21),
    (b"PUT /p HTTP/1.1\r\n", HTTP1, 12),
    (b"OPTIONS * HTTP/1.1\r\n", HTTP1, 15),
    (b"CONNECT a.example:443 HTTP/1.1\r\n", HTTP1, 27),
    (b"GET http://a.example/ HTTP/1.1\r\n", HTTP1, 27),
    (b"M-SEARCH * HTTP/1.1\r\n", HTTP1, 16),
    (b"get / HTTP/1.1\r\n", HTTP1, 11),  # a token like any other
    (b"GET /caf\xc3\xa9 HTTP/1.1\r\n", HTTP1, 16),
    (b"GET /\r\n", TCP, 6),  # HTTP/0.9
    (b"GET  / HTTP/1.1\r\n", TCP, 5),
    (b"GET\t/ HTTP/1.1\r\n", TCP, 4),
    (b" GET / HTTP/1.1\r\n", TCP, 1),
    (b"GET /a b HTTP/1.1\r\n", TCP, 8),
    (b"GET / http/1.1\r\n", TCP, 7),
    (b"GET /\0 HTTP/1.1\r\n", TCP, 6),
    (b"G\0T / HTTP/1.1\r\n", TCP, 2),
    (b"OPTIONS * RTSP/1.0\r\n", TCP, 11),
    (b"REGISTER sip:a.example SIP/2.0\r\n", TCP, 24),
    (b"EHLO a.example\r\n", TCP, 15),
    (b"USER anonymous\r\n", TCP, 15),
    (b"get key\r\n", TCP, 8),  # memcached
    (b"SET key value\r\n", TCP, 9),  # Redis, inline
    (b"PING\r\n", TCP, 5),
    (b"*1\r\n$4\r\nPING\r\n", TCP, 3),  # Redis: an asterisk may begin a method
    (b'CONNECT {"verbose":false,"name":"a b"}\r\n', TCP, 36),  # NATS
    (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", TCP, 31),
    (b"\0\0\0\x08\x04\xd2\x16\x2f", TCP, 1),  # PostgreSQL, SSLRequest
    (b"\x10\x20MQTT", TCP, 1),
    (b"\x4a\0\0\0\x0a8.0.32", TCP, 2),  # a server's greeting, MySQL
    (b"{}\n", TCP, 1),
    (b"x" * 40, TCP, MAX_METHOD + 1),
    (b"x" * MAX_METHOD + b" / HTTP/1.1", HTTP1, MAX_METHOD + 8),
    (b"x" * (MAX_METHOD + 1) + b" / HTTP/1.1", TCP, MAX_METHOD + 1),
    (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n", HTTP1, MAX_DETECT),
    (b"GET /" + b"x" * 9000 + b"\r\n", HTTP1, MAX_DETECT),
    (b"AUTH " + b"x" * 9000 + b" HTTP/1.1\r\n", TCP, MAX_DETECT),
    (b"GET /" + b"x" * (MAX_DETECT - 11) + b" HTTP/1.1\r\n", HTTP1, MAX_DETECT),
    (b"AUTH " + b"x" * (MAX_DETECT - 11) + b" HTTP/1.1\r\n", HTTP1, MAX_DETECT),
    (b"AUTH " + b"x" * (MAX_DETECT - 10) + b" HTTP/1.1\r\n", TCP, MAX_DETECT),
    (b"AUTH " + b"x" * (MAX_DETECT - 10) + b" HTXP/1.1\r\n", TCP, MAX_DETECT - 1),
]  # fmt: skip


def verdict(octets: bytes) -> int:
    return detect(bytearray(octets), len(octets))


@pytest.mark.parametrize(("octets", "expected", "after"), KNOWN, ids=[repr(octets[:30]) for octets, _, _ in KNOWN])
def test_verdict_and_when(octets: bytes, expected: int, after: int) -> None:
    """As early as it can stand, and the same however much more has come."""
    assert verdict(octets) == expected
    lengths = range(len(octets) + 1) if len(octets) < 200 else {0, 1, 50, after - 1, after, len(octets) - 1}
    for n in lengths:
        assert verdict(octets[:n]) == (expected if n >= after else NEED_MORE), n


def test_only_n_octets_count() -> None:
    buf = bytearray(b"GET / HTTP/1.1\r\n")
    assert detect(buf, 10) == NEED_MORE
    assert detect(buf, 11) == HTTP1
    assert detect(buf, 0) == NEED_MORE
    with pytest.raises(IndexError):
        detect(buf, 17)


def test_every_first_octet() -> None:
    verdicts = {octet: verdict(bytes((octet,))) for octet in range(256)}
    assert {octet for octet, found in verdicts.items() if found == NEED_MORE} == {0x0D, 0x16} | set(
        b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
    assert set(verdicts.values()) == {NEED_MORE, TCP}


STARTS = st.sampled_from([octets[:60] for octets, _, _ in KNOWN])


@settings(derandomize=True, max_examples=300, deadline=None)
@given(STARTS, st.integers(0, 59), st.integers(0, 255), st.binary(max_size=20))
def test_mutations_do_not_depend_on_the_split(start: bytes, at: int, octet: int, more: bytes) -> None:
    changed = bytearray(start)
    if at < len(changed):
        changed[at] = octet
    octets = bytes(changed) + more
    final = verdict(octets)
    found = [verdict(octets[:n]) for n in range(len(octets) + 1)]
    first = next((n for n, each in enumerate(found) if each != NEED_MORE), len(found))
    assert found == [NEED_MORE] * first + [final] * (len(found) - first)


def test_a_verdict_comes_at_the_latest_after_max_detect() -> None:
    rng = random.Random(4)
    for _ in range(50):
        octets = b"%s %s" % (b"x" * rng.randint(1, 32), b"y" * MAX_DETECT)
        assert verdict(octets[: MAX_DETECT - 1]) == NEED_MORE
        assert verdict(octets[:MAX_DETECT]) == TCP
