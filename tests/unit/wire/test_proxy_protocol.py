from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.wire.errors import ProxyProtocolError
from mesh.wire.proxy_protocol import (
    DATAGRAM,
    MAX_V1,
    MAX_V2,
    STREAM,
    TYPE_ALPN,
    TYPE_AUTHORITY,
    TYPE_CRC32C,
    TYPE_NOOP,
    TYPE_SSL,
    TYPE_UNIQUE_ID,
    ProxyAddress,
    ProxyHeader,
    crc32c,
    encode_v1,
    encode_v2,
    parse_proxy,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
A, B = ProxyAddress("192.168.0.1", 56324), ProxyAddress("192.168.0.11", 443)
A6, B6 = ProxyAddress("2001:db8::1", 1), ProxyAddress("::ffff:10.0.0.1", 65535)
V4 = bytes((192, 168, 0, 1, 192, 168, 0, 11)) + b"\xdc\x04\x01\xbb"
REST = b"GET / HTTP/1.1\r\n"


def parse(octets: bytes) -> ProxyHeader | None:
    return parse_proxy(bytearray(octets), len(octets))


def v2(command: int = 0x21, family: int = 0x11, body: bytes = V4, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return SIGNATURE + bytes((command, family)) + size.to_bytes(2, "big") + body


def tlv(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


def summed(vectors: bytes) -> bytes:
    """A header whose last vector is the right checksum."""
    header = v2(body=V4 + vectors + tlv(TYPE_CRC32C, bytes(4)))
    return header[:-4] + crc32c(header).to_bytes(4, "big")


def outcome(octets: bytes) -> ProxyHeader | str | None:
    try:
        return parse(octets)
    except ProxyProtocolError as error:
        return str(error)


def check_splits(octets: bytes) -> None:
    """None up to some length, and from there on what the whole comes to."""
    final = outcome(octets)
    found = [outcome(octets[:n]) for n in range(len(octets) + 1)]
    first = next((n for n, each in enumerate(found) if each is not None), len(found))
    assert found == [None] * first + [final] * (len(found) - first)
    if isinstance(final, ProxyHeader):
        assert first == final.size


GOOD = [
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", ProxyHeader(47, 1, A, B, STREAM)),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
     ProxyHeader(56, 1, ProxyAddress("255.255.255.255", 65535), ProxyAddress("255.255.255.255", 65535), STREAM)),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n",
     ProxyHeader(32, 1, ProxyAddress("0.0.0.0", 0), ProxyAddress("0.0.0.0", 0), STREAM)),
    (b"PROXY TCP6 2001:DB8::1 ::ffff:10.0.0.1 1 65535\r\n", ProxyHeader(48, 1, A6, B6, STREAM)),
    (b"PROXY TCP6 " + b" ".join([b":".join([b"ffff"] * 8)] * 2) + b" 65535 65535\r\n",
     ProxyHeader(104, 1, ProxyAddress(":".join(["ffff"] * 8), 65535), ProxyAddress(":".join(["ffff"] * 8), 65535),
                 STREAM)),
    (b"PROXY UNKNOWN\r\n", ProxyHeader(15, 1)),
    (b"PROXY UNKNOWN \r\n", ProxyHeader(16, 1)),
    (b"PROXY UNKNOWN what \0ever \xff\r\n", ProxyHeader(28, 1)),
    (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", ProxyHeader(107, 1)),
    (v2(), ProxyHeader(28, 2, A, B, STREAM)),
    (v2(family=0x12), ProxyHeader(28, 2, A, B, DATAGRAM)),
    (v2(family=0x21, body=bytes.fromhex("20010db8000000000000000000000001" "00000000000000000000ffff0a000001"
                                        "0001ffff")), ProxyHeader(52, 2, A6, B6, STREAM)),
    (v2(family=0x31, body=b"/run/a".ljust(108, b"\0") + b"\0abs\0x".ljust(108, b"\0")),
     ProxyHeader(232, 2, ProxyAddress("/run/a", 0), ProxyAddress("\0abs\0x", 0), STREAM)),
    (v2(family=0x32, body=b"\xff" * 108 + bytes(108)),
     ProxyHeader(232, 2, ProxyAddress("\udcff" * 108, 0), ProxyAddress("", 0), DATAGRAM)),
    (v2(0x20, 0, b""), ProxyHeader(16, 2)),
    (v2(0x20, 0x11), ProxyHeader(28, 2)),  # LOCAL: "must discard the protocol block including the family"
    (v2(0x20, 0xFF, b"\1\2\3"), ProxyHeader(19, 2)),
    (v2(0x21, 0, b""), ProxyHeader(16, 2)),
    (v2(0x21, 0, b"\1\2\3"), ProxyHeader(19, 2)),
    (v2(0x21, 0x10), ProxyHeader(28, 2)),
    (v2(0x21, 0x01), ProxyHeader(28, 2)),
    (v2(0x21, 0, bytes(MAX_V2 - 16)), ProxyHeader(MAX_V2, 2)),
    (v2(body=V4 + tlv(0xE0, b"ours") + tlv(TYPE_NOOP, b"") + tlv(0xE0, b"again") + tlv(TYPE_ALPN, b"h2")),
     ProxyHeader(51, 2, A, B, STREAM, ((0xE0, b"ours"), (TYPE_NOOP, b""), (0xE0, b"again"), (TYPE_ALPN, b"h2")))),
    (v2(body=V4 + tlv(TYPE_AUTHORITY, b"a.example") + tlv(TYPE_UNIQUE_ID, bytes(128))),
     ProxyHeader(171, 2, A, B, STREAM, ((TYPE_AUTHORITY, b"a.example"), (TYPE_UNIQUE_ID, bytes(128))),
                 "a.example", bytes(128))),
    (v2(body=V4 + tlv(TYPE_AUTHORITY, "bücher.example".encode())),
     ProxyHeader(46, 2, A, B, STREAM, ((TYPE_AUTHORITY, "bücher.example".encode()),), "bücher.example")),
    (v2(body=V4 + tlv(TYPE_SSL, b"\1\0\0\0\0")), ProxyHeader(36, 2, A, B, STREAM, ((TYPE_SSL, b"\1\0\0\0\0"),))),
    (v2(body=V4 + tlv(TYPE_SSL, b"\1\0\0\0\0" + tlv(0x21, b"TLSv1.3"))),
     ProxyHeader(46, 2, A, B, STREAM, ((TYPE_SSL, b"\1\0\0\0\0\x21\0\7TLSv1.3"),))),
]  # fmt: skip


@pytest.mark.parametrize(("octets", "expected"), GOOD, ids=[repr(octets[:50]) for octets, _ in GOOD])
def test_good(octets: bytes, expected: ProxyHeader) -> None:
    assert parse(octets) == expected
    assert parse(octets + REST) == expected
    check_splits(octets + REST)


def line(text: bytes) -> bytes:
    return b"PROXY " + text + b"\r\n"


BAD = [
    b"GET / HTTP/1.1\r\n",
    b"P ",
    b"PROXY\r\n",
    b"PROXYTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY\tTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r",
    b"PROXY UNKNOWN\n",
    b"PROXY UNKNOWN \r \r\n",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"PROXY TCP4 " + b" " * 100,
    line(b""),
    line(b" TCP4 1.2.3.4 5.6.7.8 1 2"),
    line(b"TCP4"),
    line(b"TCP4 1.2.3.4 5.6.7.8 1"),
    line(b"TCP4 1.2.3.4 5.6.7.8 1 2 3"),
    line(b"TCP4 1.2.3.4 5.6.7.8 1 2 "),
    line(b"TCP4  1.2.3.4 5.6.7.8 1 2"),
    line(b"TCP4 1.2.3.4 5.6.7.8 1  2"),
    line(b"TCP4 1.2.3.4\t5.6.7.8 1 2"),
    line(b"TCP4 1.2.3.4 5.6.7.8 1 2\0"),
    line(b"tcp4 1.2.3.4 5.6.7.8 1 2"),
    line(b"TCP5 1.2.3.4 5.6.7.8 1 2"),
    line(b"UDP4 1.2.3.4 5.6.7.8 1 2"),
    line(b"UNKNOWNS"),
    line(b"UNKNOWN\t"),
    line(b"TCP4 ::1 ::1 1 2"),
    line(b"TCP6 1.2.3.4 5.6.7.8 1 2"),
    line(b"TCP6 ::1 1.2.3.4 1 2"),
    line(b"TCP4 01.2.3.4 5.6.7.8 1 2"),
    line(b"TCP4 1.2.3.256 5.6.7.8 1 2"),
    line(b"TCP4 1.2.3 5.6.7.8 1 2"),
    line(b"TCP6 1::2::3 ::1 1 2"),
    line(b"TCP6 1:2:3:4:5:6:7 ::1 1 2"),
    line(b"TCP6 ::12345 ::1 1 2"),
    line(b"TCP6 [::1] ::1 1 2"),
    line(b"TCP6 ::1%lo ::1 1 2"),
    line(b"TCP4 1.2.3.4 5.6.7.8 65536 2"),
    line(b"TCP4 1.2.3.4 5.6.7.8 99999 2"),
    line(b"TCP4 1.2.3.4 5.6.7.8 01 2"),
    line(b"TCP4 1.2.3.4 5.6.7.8 1 00"),
    line(b"TCP4 1.2.3.4 5.6.7.8 -1 2"),
    line(b"TCP4 1.2.3.4 5.6.7.8 +1 2"),
    line(b"TCP4 1.2.3.4 5.6.7.8 1 0x2"),
    line(b"TCP4 1.2.3.4 5.6.7.8 1 4294967297"),
    SIGNATURE[:11] + b"\x0b",
    b"\r\n\r\nGET / HTTP/1.1",
    v2(command=0x01),
    v2(command=0x11),
    v2(command=0x22),
    v2(command=0x2F),
    v2(command=0x31),
    v2(family=0x41),
    v2(family=0xF1),
    v2(family=0x13),
    v2(family=0x03),
    v2(family=0x40),
    v2(body=V4[:-1]),
    v2(body=b""),
    v2(family=0x21, body=bytes(35)),
    v2(family=0x31, body=bytes(215)),
    v2(0x20, 0, length=MAX_V2 - 15),
    v2(0x21, 0, length=0xFFFF),
    v2(body=V4 + b"\4"),
    v2(body=V4 + b"\4\0"),
    v2(body=V4 + b"\4\0\1"),
    v2(body=V4 + b"\4\xff\xff" + bytes(100)),
    v2(body=V4 + tlv(TYPE_NOOP, b"a") + b"\4\0"),
    v2(body=V4 + tlv(TYPE_AUTHORITY, b"")),
    v2(body=V4 + tlv(TYPE_AUTHORITY, b"a\0.example")),
    v2(body=V4 + tlv(TYPE_AUTHORITY, b"a example")),
    v2(body=V4 + tlv(TYPE_AUTHORITY, b"a\xff")),
    v2(body=V4 + tlv(TYPE_AUTHORITY, b"a") * 2),
    v2(body=V4 + tlv(TYPE_UNIQUE_ID, b"a") * 2),
    v2(body=V4 + tlv(TYPE_UNIQUE_ID, bytes(129))),
    v2(body=V4 + tlv(TYPE_CRC32C, bytes(4))),
    v2(body=V4 + tlv(TYPE_CRC32C, bytes(3))),
    v2(body=V4 + tlv(TYPE_CRC32C, bytes(5))),
    v2(body=V4 + tlv(TYPE_SSL, bytes(4))),
    v2(body=V4 + tlv(TYPE_SSL, bytes(5) + b"\x21\0")),
    v2(body=V4 + tlv(TYPE_SSL, bytes(5) + b"\x21\0\2a")),
]  # fmt: skip


@pytest.mark.parametrize("octets", BAD, ids=[repr(octets[:60]) for octets in BAD])
def test_malformed(octets: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        parse(octets)
    check_splits(octets + REST)


def test_a_longer_line_is_refused_as_soon_as_that_is_certain() -> None:
    octets = b"PROXY UNKNOWN " + b"x" * 200
    assert parse(octets[: MAX_V1 - 1]) is None
    with pytest.raises(ProxyProtocolError, match="107"):
        parse(octets[:MAX_V1])


def test_a_length_is_refused_before_its_octets_are_waited_for() -> None:
    with pytest.raises(ProxyProtocolError, match="at most 4096"):
        parse(v2(length=5000)[:16])


def test_only_n_octets_count() -> None:
    buf = bytearray(b"PROXY UNKNOWN\r\n")
    assert parse_proxy(buf, 14) is None
    assert parse_proxy(buf, 0) is None
    with pytest.raises(IndexError):
        parse_proxy(buf, 16)


def test_headers_are_values() -> None:
    header = parse(v2())
    assert header is not None
    assert hash(header) == hash(ProxyHeader(28, 2, A, B, STREAM))
    with pytest.raises(AttributeError):
        header.source = None  # type: ignore[misc]


# ---- the checksum


def test_the_check_value_of_the_catalogue() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # https://reveng.sourceforge.io/crc-catalogue/, CRC-32/ISCSI
    assert crc32c(b"") == 0
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4, which lists the lowest octet first


def test_every_changed_octet_is_noticed() -> None:
    header = summed(tlv(TYPE_NOOP, b"pad") + tlv(TYPE_AUTHORITY, b"a.example"))
    assert parse(header) is not None
    check_splits(header + REST)
    for at in range(16, len(header)):
        changed = bytearray(header)
        changed[at] ^= 1
        with pytest.raises(ProxyProtocolError):
            parse(bytes(changed))


def test_a_checksum_need_not_be_the_last() -> None:
    header = v2(body=V4 + tlv(TYPE_CRC32C, bytes(4)) + tlv(TYPE_NOOP, b"after"))
    value = crc32c(header).to_bytes(4, "big")
    whole = v2(body=V4 + tlv(TYPE_CRC32C, value) + tlv(TYPE_NOOP, b"after"))
    assert parse(whole) == ProxyHeader(43, 2, A, B, STREAM, ((TYPE_CRC32C, value), (TYPE_NOOP, b"after")))
    value = crc32c(v2(body=V4 + tlv(TYPE_CRC32C, bytes(4)) * 2)).to_bytes(4, "big")
    with pytest.raises(ProxyProtocolError, match="twice"):
        parse(v2(body=V4 + tlv(TYPE_CRC32C, value) + tlv(TYPE_CRC32C, bytes(4))))


# ---- writing


def test_written_as_the_specification_has_it() -> None:
    assert encode_v1(A, B) == b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
    assert encode_v1(A6, B6) == b"PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 1 65535\r\n"
    assert encode_v1(None, None) == encode_v1(A, None) == b"PROXY UNKNOWN\r\n"
    assert encode_v2(A, B) == v2()
    assert encode_v2(A, B, DATAGRAM) == v2(family=0x12)
    assert encode_v2(None, None) == encode_v2(A, None, 1, [(4, b"x")]) == v2(0x20, 0, b"")
    assert encode_v2(A, B, STREAM, [(TYPE_NOOP, b"pad"), (TYPE_AUTHORITY, b"a.example")], True) == summed(
        tlv(TYPE_NOOP, b"pad") + tlv(TYPE_AUTHORITY, b"a.example"))
    assert len(encode_v1(*[ProxyAddress("ffff:" * 7 + "ffff", 65535)] * 2)) == 104


IPV4 = st.builds(ProxyAddress, st.ip_addresses(v=4).map(str), st.integers(0, 65535))
IPV6 = st.builds(ProxyAddress, st.binary(min_size=16, max_size=16).map(
    lambda octets: ":".join(f"{octets[2 * i]:02x}{octets[2 * i + 1]:02x}" for i in range(8))), st.integers(0, 65535))
PATHS = st.text(max_size=20).map(lambda text: ProxyAddress("/" + text.replace("\0", "."), 0))
VECTORS = st.lists(st.tuples(st.integers(0xE0, 0xEF), st.binary(max_size=40)), max_size=5)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.one_of(st.tuples(IPV4, IPV4), st.tuples(IPV6, IPV6), st.tuples(PATHS, PATHS)), st.sampled_from([1, 2]),
       VECTORS, st.booleans())
def test_there_and_back(ends: tuple[ProxyAddress, ProxyAddress], kind: int, vectors: list[tuple[int, bytes]],
                        checksum: bool) -> None:
    octets = encode_v2(*ends, kind, vectors, checksum)
    header = parse(octets + REST)
    assert header is not None
    assert (header.size, header.kind) == (len(octets), kind)
    assert header.tlvs[: len(vectors)] == tuple(vectors)
    assert encode_v2(header.source, header.destination, kind, vectors, checksum) == octets
    if ends[0].host[0] == "/":
        assert (header.source, header.destination) == ends
    else:
        line = parse(encode_v1(*ends) + REST)
        assert line is not None
        assert (line.source, line.destination) == (header.source, header.destination)


@pytest.mark.parametrize("ends", [
    (A, B6), (A6, B), (A, ProxyAddress("a.example", 1)), (ProxyAddress("", 1), B), (ProxyAddress("1.2.3.4\r\n", 1), B),
    (ProxyAddress("/run/a", 0), B), (A, ProxyAddress("1.2.3.4", 65536)), (ProxyAddress("1.2.3.4", -1), B),
    (ProxyAddress("1.2.3.4", 1), ProxyAddress("١.2.3.4", 1)),
])  # fmt: skip
def test_what_can_not_be_written(ends: tuple[ProxyAddress, ProxyAddress]) -> None:
    with pytest.raises(ValueError, match=r"is no|outside|two families"):
        encode_v1(*ends)
    with pytest.raises(ValueError, match=r"is no|outside|two families"):
        encode_v2(*ends)


def test_more_that_can_not_be_written() -> None:
    with pytest.raises(ValueError, match="at most 4096"):
        encode_v2(A, B, STREAM, [(0xE0, bytes(5000))])
    with pytest.raises(ValueError, match="neither STREAM"):
        encode_v2(A, B, 3)
    with pytest.raises(ValueError, match="made here"):
        encode_v2(A, B, STREAM, [(TYPE_CRC32C, bytes(4))])
    with pytest.raises(ValueError, match="Unix socket"):
        encode_v2(ProxyAddress("/" + "x" * 108, 0), ProxyAddress("/", 0))
    with pytest.raises(ValueError, match="Unix socket"):
        encode_v2(ProxyAddress("/a\0b", 0), ProxyAddress("/", 0))


# ---- anything at all


def test_mutations_raise_nothing_else_and_do_not_depend_on_the_split() -> None:
    rng = random.Random(9)
    examples = [octets for octets, _ in GOOD if len(octets) < 300] + [octets for octets in BAD if len(octets) < 300]
    for _ in range(300):
        octets = bytearray(rng.choice(examples))
        for _ in range(rng.randint(1, 3)):
            what, at = rng.randrange(3), rng.randrange(len(octets) or 1)
            if what == 0 and octets:
                octets[at] = rng.choice(b"\0\1\x20\x21\x0d\x0a 019.:\xff")
            elif what == 1:
                del octets[at : at + rng.randint(1, 4)]
            else:
                octets[at:at] = rng.randbytes(rng.randint(1, 4))
        check_splits(bytes(octets) + REST)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ", SIGNATURE, SIGNATURE + b"\x21\x11\0\x20",
                        SIGNATURE + b"\x21\x21\0\x30"]), st.binary(max_size=80))
def test_anything(start: bytes, more: bytes) -> None:
    check_splits(start + more)
