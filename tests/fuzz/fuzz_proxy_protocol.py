"""PROXY protocol: what a header says doesn't depend on how it arrived, and written anew it says the same.

Addresses are those that `inet_pton` and `inet_ntop` see, a checksum that was taken is right by another computation, and
what follows the header is not looked at.
"""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import Callable

from first_octets import settled

from mesh.wire.errors import ProxyProtocolError
from mesh.wire.ip_address import format_ip, parse_ipv4, parse_ipv6
from mesh.wire.proxy_protocol import (
    MAX_V1,
    MAX_V2,
    ProxyAddress,
    ProxyHeader,
    crc32c,
    encode_v1,
    encode_v2,
    parse_proxy,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = bytes((192, 168, 0, 1, 192, 168, 0, 11)) + b"\xdc\x04\x01\xbb"
MAX_LEN = 600
TOKENS = (SIGNATURE, b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", b"\r\n", b"::", b"::ffff:1.2.3.4", b" 65535",
          b" 65536", b"\x21\x11", b"\x21\x21", b"\x21\x31", b"\x20\0", b"\3\0\4", b"\2\0\5", b"\x20\0\5\1\0\0\0\0",
)  # fmt: skip


def header(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes((command, family)) + len(body).to_bytes(2, "big") + body


def summed(whole: bytes) -> bytes:
    """With the right checksum as its last vector."""
    body = whole[16:] + b"\3\0\4\0\0\0\0"
    whole = whole[:14] + len(body).to_bytes(2, "big") + body
    return whole[:-4] + castagnoli(whole).to_bytes(4, "big")


def seeds() -> list[bytes]:
    lines = (
        b"TCP4 192.168.0.1 192.168.0.11 56324 443",
        b"TCP6 2001:db8::1 ::ffff:10.0.0.1 1 65535",
        b"UNKNOWN",
        b"UNKNOWN x",
        b"TCP4 1.2.3.4 5.6.7.8 0 01",
        b"TCP4 256.1.1.1 1.1.1.1 1 1",
        b"TCP6 1.2.3.4 ::1 1 1",
    )
    found = [b"PROXY " + line + b"\r\nGET /" for line in lines]
    found += [
        header(0x21, 0x11, V4),
        header(0x21, 0x12, V4),
        header(0x21, 0x21, bytes(range(36))),
        header(0x20, 0, b""),
        header(0x21, 0x31, b"/run/a".ljust(108, b"\0") * 2),
        header(0x21, 0, b"xyz"),
        header(0x22, 0x11, V4),
    ]
    vectors = [b"\2\0\3a.b", b"\5\0\2id", b"\x20\0\x0f\1\0\0\0\0\x21\0\7TLSv1.3", b"\xe0\0\0", b"\4\0\3\0\0\0"]
    found += [header(0x21, 0x11, V4 + vector * n) for vector in vectors for n in (1, 2)]
    return [*found, summed(header(0x21, 0x11, V4 + b"".join(vectors))), header(0x21, 0x11, V4 + b"\3\0\4abcd")]


def mutate(data: bytes, rng: random.Random, native: Callable[[bytes], bytes]) -> bytes:
    """Version 2 with its length put right, often, and with the right checksum, sometimes."""
    if not data.startswith(SIGNATURE) or len(data) < 16 or rng.random() < 0.3:
        return native(data)
    body = data[16:]
    what = rng.randrange(5)
    if what == 0:
        value = rng.choice((b"", b"a.b", b"\0", b"a b", bytes(128), bytes(129), b"\1\0\0\0\0\x21\0\1x"))
        body += bytes((rng.choice((1, 2, 2, 3, 4, 5, 5, 0x20, 0x30, 0xE0)),)) + len(value).to_bytes(2, "big") + value
    elif what == 1:
        return summed(data)
    elif what == 2:
        return header(rng.choice((0x20, 0x21, 0x21, rng.randrange(256))), rng.choice((0x11, 0x12, 0x21, 0x31, 0)), body)
    else:
        body = native(body)
    return header(data[12], data[13], body[:5000])


def castagnoli(octets: bytes) -> int:
    """CRC-32C bit by bit, from the most significant end (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for octet in octets:
        crc ^= int(f"{octet:08b}"[::-1], 2) << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x1EDC6F41 if crc >> 31 else 0)) & 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2) ^ 0xFFFFFFFF


def pton(family: int, text: bytes) -> bytes | None:
    try:
        return socket.inet_pton(family, text.decode("ascii"))
    except (OSError, UnicodeDecodeError, ValueError):
        return None


def check_addresses(data: bytes) -> None:
    """Every word of the input as an address, and its first octets as one."""
    for word in data.split(b" ")[:8]:
        if b"\0" not in word:
            for parse, family in ((parse_ipv4, socket.AF_INET), (parse_ipv6, socket.AF_INET6)):
                octets = parse(word)
                assert octets == pton(family, word), f"{word!r}"
    for family, n in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        if len(data) >= n:
            text = format_ip(data[:n])
            assert text == socket.inet_ntop(family, data[:n])
            assert ipaddress.ip_address(text).packed == data[:n]


def outcome(octets: bytes) -> ProxyHeader | str | None:
    try:
        return parse_proxy(bytearray(octets + b"?"), len(octets))
    except ProxyProtocolError as error:
        return str(error)


def check_writing(found: ProxyHeader, octets: bytes) -> bytes:
    """Written anew from what was read, it says the same."""
    vectors = [(kind, value) for kind, value in found.tlvs if kind != 3]
    summed = len(vectors) < len(found.tlvs)
    ends = found.source, found.destination
    if found.version == 1:
        written = encode_v1(*ends)
    else:
        try:
            written = encode_v2(*ends, found.kind or 1, vectors, summed)
        except ValueError:  # the header is full to the last octet, or one end is a socket without a name
            assert len(octets) > MAX_V2 - 8 or ends[0] is not None
            return b""
    again = outcome(written)
    assert isinstance(again, ProxyHeader)
    assert again.size == len(written)
    if ends[0] is not None:
        assert again[1:5] == found[1:5]
        assert [vector for vector in again.tlvs if vector[0] != 3] == vectors
        assert again[6:] == found[6:]
    return written


def run(data: bytes) -> object:
    check_addresses(data)
    found, after = settled(outcome, data, None)
    if not isinstance(found, ProxyHeader):
        return found, after
    assert after == found.size <= (MAX_V1 if found.version == 1 else MAX_V2)
    assert outcome(data[: found.size] + b"anything") == found
    for end in (found.source, found.destination):
        assert end is None or isinstance(end, ProxyAddress)
        assert end is None or 0 <= end.port <= 65535
    sums = [value for kind, value in found.tlvs if kind == 3]
    assert len(sums) <= 1
    if sums:
        header = data[: found.size]
        at = header.index(b"\3\0\4" + sums[0], 16)
        assert crc32c(header) == castagnoli(header)
        if header.count(b"\3\0\4" + sums[0]) == 1:
            assert castagnoli(header[: at + 3] + bytes(4) + header[at + 7 :]) == int.from_bytes(sums[0], "big")
    return found, check_writing(found, data[: found.size])
