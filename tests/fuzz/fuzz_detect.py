"""Detection: a verdict never depends on how the octets arrived, and is the one that the signatures give.

It is held against the signatures as regular expressions, and against the parsers that it sends a connection to: none of
them finds another protocol there. The first octet says how long a target is made, so that short inputs reach the limit.
"""

from __future__ import annotations

import re

from first_octets import settled

from mesh.wire.client_hello import parse_client_hello
from mesh.wire.detect import HTTP1, HTTP2, MAX_DETECT, NEED_MORE, PROXY_V1, PROXY_V2, TCP, TLS, detect
from mesh.wire.errors import ClientHelloError, ProxyProtocolError
from mesh.wire.proxy_protocol import parse_proxy

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
MAX_LEN = 100
TOKENS = (PREFACE, SIGNATURE, b"PROXY ", b"\x16\3\1", b"GET / HTTP/1.1\r\n", b" HTTP/", b"OPTIONS * ", b"CONNECT a:1 ")
FORMS = (
    (HTTP2, re.compile(re.escape(PREFACE))),
    (PROXY_V1, re.compile(rb"PROXY ")),
    (PROXY_V2, re.compile(re.escape(SIGNATURE))),
    (TLS, re.compile(rb"\x16\x03[\x00-\x04]")),
    (HTTP1, re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} [\x21-\x7e\x80-\xff]+ HTTP/")),
)
LONG_TARGET = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} /[\x21-\x7e\x80-\xff]+( (H(T(T(P/?)?)?)?)?)?")


def seeds() -> list[bytes]:
    starts = (PREFACE, SIGNATURE + b"\x21\x11", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", b"\x16\3\1\2\0\1",
              b"PRI * HTTP/1.1", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"CONNECT a:443 HTTP/1.1", b"SET key value\r\n",
              b"EHLO a\r\n", b"*1\r\n$4\r\nPING\r\n", b"OPTIONS * RTSP/1.0", b"GET  / HTTP/1.1",
              b"x" * 33 + b" / HTTP/1.1")  # fmt: skip
    found = [bytes((how,)) + start for start in starts for how in (0, 255)]
    return [*found, *(bytes((how,)) + b"GET /a HTTP/1.1" for how in range(240, 256, 3)), b"\xf4A * HTTP/1.1"]


def stretch(data: bytes) -> bytes:
    """With an octet from 240 on in front, the target is as long as brings the rest around MAX_DETECT."""
    if not data:
        return b""
    start, space, rest = data[1:].partition(b" ")
    if data[0] < 240 or not space:
        return data[1:]
    first = rest[:1]
    return start + space + first + b"x" * (MAX_DETECT - 30 + 2 * (data[0] - 240) - len(start)) + rest[1:]


def expected(octets: bytes) -> int:
    """What the signatures say of all that came."""
    looked_at = octets[:MAX_DETECT]
    for verdict, form in FORMS:
        if form.match(looked_at):
            return verdict
    if len(octets) >= MAX_DETECT and LONG_TARGET.fullmatch(looked_at):
        return HTTP1
    return TCP


def run(data: bytes) -> object:
    octets = stretch(data)

    def judge(part: bytes) -> int:
        return detect(bytearray(b"".join((part, b"????"))), len(part))

    verdict, after = settled(judge, octets, NEED_MORE)
    assert after <= MAX_DETECT
    if verdict != NEED_MORE:
        assert verdict == expected(octets)
    else:
        assert len(octets) < MAX_DETECT
    buf, found = bytearray(octets), ""
    try:
        header = parse_proxy(buf, len(buf))
        assert verdict in (PROXY_V1, PROXY_V2) or header is None
    except ProxyProtocolError as error:
        found = str(error)
        if verdict != NEED_MORE:
            assert (found == "no PROXY protocol header") == (verdict not in (PROXY_V1, PROXY_V2))
    try:
        hello = parse_client_hello(buf, len(buf))
        assert verdict == TLS or hello is None
    except ClientHelloError as error:
        found += str(error)
    return verdict, after, found
