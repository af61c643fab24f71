# cython: language_level=3, wraparound=False, initializedcheck=False
"""The PROXY protocol, version 1 and 2, read and written (https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt).

What lives here: the header as octets and as a value. What this must not know: sockets, and who may be believed: a
header is worth as much as whoever sent it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import cython

from mesh.wire.errors import ProxyProtocolError

if not cython.compiled:
    from mesh.wire.ip_address import format_ip, parse_ipv4, parse_ipv6
    from mesh.wire.octets import equal_at, octets_of

# Octets of a whole header. Version 1: section 2.1. Version 2 allows 65,551; like nginx we take a page.
MAX_V1 = 107
MAX_V2 = 4096
MAX_UNIQUE_ID = 128  # octets, section 2.2.5

STREAM, DATAGRAM = 1, 2  # ProxyHeader.kind, as the protocol has them
TYPE_ALPN, TYPE_AUTHORITY, TYPE_CRC32C, TYPE_NOOP, TYPE_UNIQUE_ID, TYPE_SSL, TYPE_NETNS = 1, 2, 3, 4, 5, 0x20, 0x30

SIGNATURE_1: bytes = b"PROXY "
SIGNATURE_2: bytes = b"\r\n\r\n\0\r\nQUIT\n"
_UNIX = ("", "/", "\0")  # how the path of a Unix socket begins; a socket need not have one
_FIXED = cython.declare(cython.Py_ssize_t, 16)  # octets of version 2 before the addresses


class ProxyAddress(NamedTuple):
    """One end of the proxied connection. A Unix socket has its path as the host (surrogateescape) and port 0."""

    host: str
    port: int


class ProxyHeader(NamedTuple):
    """A whole header: `size` octets, after which the connection's own begin.

    `source` and `destination` are None where the header says nothing of them (`UNKNOWN`, `LOCAL`, unspecified): then
    the connection's own addresses count. `kind` is STREAM or DATAGRAM, 0 if there are no addresses. `tlvs` are all
    (type, value) pairs in order, the checksum included.
    """

    size: int
    version: int
    source: ProxyAddress | None = None
    destination: ProxyAddress | None = None
    kind: int = 0
    tlvs: tuple[tuple[int, bytes], ...] = ()
    authority: str | None = None
    unique_id: bytes | None = None


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE: list[int] = _crc_table()


def parse_proxy(buf: bytearray, n: cython.Py_ssize_t) -> ProxyHeader | None:
    """The `ProxyHeader` that `buf[:n]` begins with, or None while it may still become one.

    ProxyProtocolError: it can't become one. IndexError: `n` is more than there is.
    """
    if n > len(buf):
        raise IndexError("octets outside the buffer")
    if n <= 0:
        return None
    known: cython.Py_ssize_t
    if buf[0] == 0x50:
        known = min(n, len(SIGNATURE_1))
        if not equal_at(buf, 0, SIGNATURE_1[:known]):
            raise ProxyProtocolError("no PROXY protocol header")
        return parse_v1(buf, n) if n > known else None
    known = min(n, len(SIGNATURE_2))
    if not equal_at(buf, 0, SIGNATURE_2[:known]):
        raise ProxyProtocolError("no PROXY protocol header")
    return parse_v2(buf, n) if n > known else None


def parse_v1(buf: bytearray, n: cython.Py_ssize_t) -> ProxyHeader | None:
    end: cython.Py_ssize_t = 0
    limit: cython.Py_ssize_t = min(n, MAX_V1)
    while end < limit and buf[end] != 0x0D and buf[end] != 0x0A:
        end += 1
    if (end < limit and buf[end] == 0x0A) or (end + 1 < limit and buf[end + 1] != 0x0A):
        raise ProxyProtocolError("version 1: CR or LF alone")
    if end + 1 >= limit:
        if limit == MAX_V1:
            raise ProxyProtocolError(f"version 1: no end of line in {MAX_V1} octets")
        return None
    line: bytes = octets_of(buf, 0, end)
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(end + 2, 1)
    words: list[bytes] = line.split(b" ")
    if len(words) != 6:
        raise ProxyProtocolError("version 1: not six words")
    family: bytes = words[1]
    if family == b"TCP4":
        source, destination = parse_ipv4(words[2]), parse_ipv4(words[3])
    elif family == b"TCP6":
        source, destination = parse_ipv6(words[2]), parse_ipv6(words[3])
    else:
        raise ProxyProtocolError("version 1: neither TCP4, TCP6 nor UNKNOWN")
    if source is None or destination is None:
        raise ProxyProtocolError("version 1: an address is malformed")
    return ProxyHeader(end + 2, 1, ProxyAddress(format_ip(source), port_of(words[4])),
                       ProxyAddress(format_ip(destination), port_of(words[5])), STREAM)


def port_of(text: bytes) -> cython.int:
    """The port that `text` writes, without leading zeros."""
    value: cython.int = 0
    octet: cython.uchar
    if 1 <= len(text) <= 5 and (text[0] != 0x30 or len(text) == 1):
        for octet in text:
            if not 0x30 <= octet <= 0x39:
                raise ProxyProtocolError("version 1: a port is malformed")
            value = value * 10 + octet - 0x30
        if value <= 65_535:
            return value
    raise ProxyProtocolError("version 1: a port is malformed")


def parse_v2(buf: bytearray, n: cython.Py_ssize_t) -> ProxyHeader | None:
    """The fixed part is judged as far as it is there, so that what can't be right is refused at once."""
    command: cython.int = buf[12]
    if command != 0x20 and command != 0x21:
        raise ProxyProtocolError(f"version 2: version and command {command:#04x} are unknown")
    if n < _FIXED:
        return None
    size: cython.Py_ssize_t = _FIXED + ((buf[14] << 8) | buf[15])
    family: cython.int = buf[13] >> 4
    kind: cython.int = buf[13] & 15
    if size > MAX_V2:
        raise ProxyProtocolError(f"version 2: {size} octets, at most {MAX_V2}")
    if command == 0x20:  # LOCAL: skipped, whatever it holds
        return ProxyHeader(size, 2) if n >= size else None
    if family > 3 or kind > 2:
        raise ProxyProtocolError(f"version 2: address family {family} or transport {kind} is unknown")
    if family == 0 or kind == 0:  # unspecified: nobody says how long the addresses are, so there is nothing to find
        return ProxyHeader(size, 2) if n >= size else None
    length: cython.Py_ssize_t = 4 if family == 1 else 16 if family == 2 else 108
    at: cython.Py_ssize_t = _FIXED + 2 * length + (0 if family == 3 else 4)
    if size < at:
        raise ProxyProtocolError(f"version 2: {size} octets, the addresses alone end at {at}")
    if n < size:
        return None
    header: bytes = octets_of(buf, 0, size)
    if family == 3:
        source = unix_address(header, _FIXED)
        destination = unix_address(header, _FIXED + length)
    else:
        source = ProxyAddress(format_ip(header[_FIXED : _FIXED + length]), (header[at - 4] << 8) | header[at - 3])
        destination = ProxyAddress(format_ip(header[_FIXED + length : at - 4]), (header[at - 2] << 8) | header[at - 1])
    tlvs, authority, unique_id = parse_tlvs(header, at)
    return ProxyHeader(size, 2, source, destination, kind, tlvs, authority, unique_id)


def unix_address(header: bytes, at: cython.Py_ssize_t) -> ProxyAddress:
    """A path up to the NUL; one that begins with NUL is an abstract name, whose trailing NULs are padding."""
    raw: bytes = header[at : at + 108]
    name: bytes = raw.rstrip(b"\0") if raw[0] == 0 else raw.partition(b"\0")[0]
    return ProxyAddress(name.decode("utf-8", "surrogateescape"), 0)


def parse_tlvs(header: bytes, at: cython.Py_ssize_t) -> tuple[tuple[tuple[int, bytes], ...], str | None, bytes | None]:
    """All type-length-value vectors from `at` to the end; those that mean something to us are judged."""
    end: cython.Py_ssize_t = len(header)
    size: cython.Py_ssize_t
    kind: cython.int
    found: list[tuple[int, bytes]] = []
    once: set[int] = set()
    authority: str | None = None
    unique_id: bytes | None = None
    check_vectors(header, at, end)
    while at < end:
        kind = header[at]
        size = (header[at + 1] << 8) | header[at + 2]
        at += 3
        value: bytes = header[at : at + size]
        found.append((kind, value))
        if kind in (TYPE_AUTHORITY, TYPE_CRC32C, TYPE_UNIQUE_ID):
            if kind in once:
                raise ProxyProtocolError(f"version 2: type {kind:#04x} twice")
            once.add(kind)
        if kind == TYPE_AUTHORITY:
            authority = _authority(value)
        elif kind == TYPE_UNIQUE_ID:
            if size > MAX_UNIQUE_ID:
                raise ProxyProtocolError(f"version 2: a unique id of {size} octets, at most {MAX_UNIQUE_ID}")
            unique_id = value
        elif kind == TYPE_CRC32C:
            if size != 4:
                raise ProxyProtocolError(f"version 2: a checksum of {size} octets")
            if crc32c(header[:at] + bytes(4) + header[at + 4 :]) != int.from_bytes(value, "big"):
                raise ProxyProtocolError("version 2: the checksum is wrong")
        elif kind == TYPE_SSL:
            if size < 5:
                raise ProxyProtocolError(f"version 2: the SSL vector has {size} octets, at least 5")
            check_vectors(value, 5, size)
        at += size
    return tuple(found), authority, unique_id


def _authority(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise ProxyProtocolError("version 2: the authority is no UTF-8") from None
    if not text or not text.isprintable() or " " in text:
        raise ProxyProtocolError("version 2: the authority is no host name")
    return text


def check_vectors(octets: bytes, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.int:
    """Vectors must fill `octets[at:end]` to the last octet."""
    while at < end:
        if end - at < 3:
            raise ProxyProtocolError("version 2: half a vector at the end")
        at += 3 + ((octets[at + 1] << 8) | octets[at + 2])
    if at > end:
        raise ProxyProtocolError("version 2: a vector is longer than what is left")
    return 0


# ---- writing


def encode_v1(source: ProxyAddress | None, destination: ProxyAddress | None) -> bytes:
    """A header of version 1 for two addresses of one family, `UNKNOWN` for None; ValueError for anything else."""
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n"
    ours: bytes = host_octets(source.host)
    theirs: bytes = host_octets(destination.host)
    if len(ours) != len(theirs):
        raise ValueError("addresses of two families")
    _check_port(source)
    _check_port(destination)
    return (f"PROXY {'TCP4' if len(ours) == 4 else 'TCP6'} {format_ip(ours)} {format_ip(theirs)} "
            f"{source.port} {destination.port}\r\n").encode()


def encode_v2(source: ProxyAddress | None, destination: ProxyAddress | None, kind: cython.int = 1,
              tlvs: Iterable[tuple[int, bytes]] = (), checksum: cython.bint = False) -> bytes:
    """A header of version 2 (command PROXY), with a CRC32C at its end if `checksum`; LOCAL for None, without vectors.

    `kind` is STREAM or DATAGRAM. Hosts that begin with a slash or NUL, or are empty, are Unix sockets. ValueError:
    what the header can't hold, or `parse_proxy` would refuse.
    """
    if source is None or destination is None:
        return SIGNATURE_2 + b"\x20\0\0\0"
    if kind not in (STREAM, DATAGRAM):
        raise ValueError(f"{kind} is neither STREAM nor DATAGRAM")
    if source.host[:1] in _UNIX and destination.host[:1] in _UNIX:
        family, body = 3, _unix_octets(source.host) + _unix_octets(destination.host)
    else:
        ours: bytes = host_octets(source.host)
        theirs: bytes = host_octets(destination.host)
        if len(ours) != len(theirs):
            raise ValueError("addresses of two families")
        family = 1 if len(ours) == 4 else 2
        body = ours + theirs + _check_port(source).to_bytes(2, "big") + _check_port(destination).to_bytes(2, "big")
    for vector, value in tlvs:
        if vector == TYPE_CRC32C:
            raise ValueError("the checksum is made here")
        body += bytes((vector,)) + len(value).to_bytes(2, "big") + value
    if checksum:
        body += b"\x03\0\x04\0\0\0\0"
    if _FIXED + len(body) > MAX_V2:
        raise ValueError(f"{_FIXED + len(body)} octets, at most {MAX_V2}")
    header: bytes = SIGNATURE_2 + bytes((0x21, family << 4 | kind)) + len(body).to_bytes(2, "big") + body
    if checksum:
        header = header[: len(header) - 4] + int(crc32c(header)).to_bytes(4, "big")
    return header


def host_octets(host: str) -> bytes:
    """The octets of an IP address; ValueError for anything else."""
    text: bytes = host.encode("ascii", "replace")
    octets: bytes | None = parse_ipv6(text) if b":" in text else parse_ipv4(text)
    if octets is None:
        raise ValueError(f"{host!r} is no IP address")
    return octets


def _check_port(address: ProxyAddress) -> int:
    if not 0 <= address.port <= 65_535:
        raise ValueError(f"port {address.port} is outside 0..65535")
    return address.port


def _unix_octets(path: str) -> bytes:
    octets = path.encode("utf-8", "surrogateescape")
    if len(octets) > 108 or (octets[:1] != b"\0" and b"\0" in octets):
        raise ValueError(f"{path!r} is no path of a Unix socket")
    return octets.ljust(108, b"\0")


def crc32c(octets: bytes) -> cython.uint:
    """CRC-32C (Castagnoli; RFC 4960, appendix B), as the number whose octets in network order the header carries."""
    table: list[int] = CRC_TABLE
    crc: cython.uint = 0xFFFFFFFF
    octet: cython.uchar
    for octet in octets:
        crc = (crc >> 8) ^ cython.cast(cython.uint, table[(crc ^ octet) & 0xFF])
    return crc ^ 0xFFFFFFFF
