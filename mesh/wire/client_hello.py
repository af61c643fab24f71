# cython: language_level=3, wraparound=False, initializedcheck=False
"""The TLS ClientHello at the start of a connection (RFC 8446, sections 4.1.2 and 5.1; RFC 5246, 7.4.1.2).

What lives here: who is called (SNI), what is to be spoken (ALPN) and which versions are offered, read from the records
as they come. What this must not know: keys, certificates, routes; nothing here ends TLS.

Every structure is checked to its last octet, so that what is read here is what any TLS server would read.
"""

from __future__ import annotations

from typing import NamedTuple

import cython

from mesh.wire.errors import ClientHelloError

if not cython.compiled:
    from mesh.wire.octets import copy_octets

# Octets of records within which the message must end. Those of browsers have 0.5 to 2 thousand; OpenSSL's own limit for
# the message is 131,396, from the time of long session tickets.
MAX_CLIENT_HELLO = 16_384
_MAX = cython.declare(cython.Py_ssize_t, MAX_CLIENT_HELLO)
RECORD: int = 5  # octets of a record's header: type, version, length
MESSAGE: int = 4  # octets of a message's header: type, length
_MAX_RECORD = cython.declare(cython.Py_ssize_t, 16_384)  # RFC 8446, section 5.1

_SERVER_NAME = cython.declare(cython.int, 0)  # RFC 6066, section 3
_ALPN = cython.declare(cython.int, 16)  # RFC 7301, section 3.1
_SUPPORTED_VERSIONS = cython.declare(cython.int, 43)  # RFC 8446, section 4.2.1
# What a label of a host name holds, in lower case. RFC 1123 has no underscore, the world has.
HOST: bytearray = bytearray(c in b"abcdefghijklmnopqrstuvwxyz0123456789-_" for c in range(256))


class ClientHello(NamedTuple):
    """What the client asks for. `server_name` is a lower-case DNS name, None without SNI.

    `alpn` in the order of preference; `versions` as offered (0x0303: TLS 1.2, 0x0304: TLS 1.3). GREASE (RFC 8701) is in
    both.
    """

    server_name: str | None
    alpn: tuple[bytes, ...]
    versions: tuple[int, ...]


def parse_client_hello(buf: bytearray, n: cython.Py_ssize_t) -> ClientHello | None:
    """The ClientHello that `buf[:n]` begins with, None while it is not complete. What follows it is not looked at.

    ClientHelloError: what is there is malformed, or does not end within MAX_CLIENT_HELLO octets. IndexError: `n` is
    more than there is.
    """
    if n > len(buf):
        raise IndexError("octets outside the buffer")
    limit: cython.Py_ssize_t = min(n, _MAX)
    need: cython.Py_ssize_t = MESSAGE  # octets of the message, as far as is known
    seen: cython.Py_ssize_t = 0
    at: cython.Py_ssize_t = 0
    size: cython.Py_ssize_t
    take: cython.Py_ssize_t
    k: cython.Py_ssize_t
    length: cython.Py_ssize_t = 0
    # First only the lengths: most ClientHellos are here at once, and of the others nothing is copied in vain.
    while seen < need:
        size = _record(buf, at, limit)
        if size < 0:
            break
        at += RECORD
        k = seen
        while k < MESSAGE and k - seen < size and at + k - seen < limit:
            if k == 0 and buf[at] != 1:
                raise ClientHelloError(f"handshake message {buf[at]} is no ClientHello")
            if k > 0:
                length = (length << 8) | buf[at + k - seen]
            k += 1
            if k == MESSAGE:
                need = MESSAGE + length
                if RECORD + need > _MAX:
                    raise ClientHelloError(f"{need} octets, at most {_MAX - RECORD}")
        take = min(size, need - seen)
        if at + take > limit:
            break
        seen += take
        at += size
    else:
        return parse_message(_reassembled(buf, need))
    if limit == _MAX:
        raise ClientHelloError(f"no end within {_MAX} octets")
    return None


def _reassembled(buf: bytearray, need: cython.Py_ssize_t) -> bytearray:
    """The `need` octets that the records from the start of `buf` carry; they are known to be there."""
    seen: cython.Py_ssize_t = 0
    at: cython.Py_ssize_t = 0
    size: cython.Py_ssize_t
    take: cython.Py_ssize_t
    body: bytearray = bytearray(need)
    while seen < need:
        size = (buf[at + 3] << 8) | buf[at + 4]
        at += RECORD
        take = min(size, need - seen)
        copy_octets(body, seen, buf, at, take)
        seen += take
        at += size
    return body


def _record(buf: bytearray, at: cython.Py_ssize_t, limit: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The length of the handshake record at `at`; -1 if its header is not complete. It is judged as far as it is."""
    if at < limit and buf[at] != 22:
        raise ClientHelloError(f"record type {buf[at]} is no handshake")
    if (at + 1 < limit and buf[at + 1] != 3) or (at + 2 < limit and buf[at + 2] > 4):
        raise ClientHelloError("no version of TLS")
    if at + RECORD > limit:
        return -1
    size: cython.Py_ssize_t = (buf[at + 3] << 8) | buf[at + 4]
    if size < 1 or size > _MAX_RECORD:
        raise ClientHelloError(f"a record of {size} octets")
    return size


def parse_message(body: bytearray) -> ClientHello:
    """`body`: the whole message, its header included."""
    end: cython.Py_ssize_t = len(body)
    at: cython.Py_ssize_t = MESSAGE
    version: cython.Py_ssize_t = number(body, at, end, 2)
    if version >> 8 != 3:
        raise ClientHelloError(f"version {version:#06x} is none of TLS")
    at += 34  # version, random
    start: cython.Py_ssize_t = at
    at = vector(body, start, end, 1, 0)  # session id
    if at - start > 33:
        raise ClientHelloError("a session id of more than 32 octets")
    start = at
    at = vector(body, start, end, 2, 2)  # cipher suites
    if (at - start) & 1:
        raise ClientHelloError("half a cipher suite")
    at = vector(body, at, end, 1, 1)  # compression methods
    if at == end:  # before TLS 1.2 there were none
        return ClientHello(None, (), (version,))
    if vector(body, at, end, 2, 0) != end:
        raise ClientHelloError("something follows the extensions")
    return parse_extensions(body, at + 2, version)


def parse_extensions(body: bytearray, at: cython.Py_ssize_t, version: cython.Py_ssize_t) -> ClientHello:
    end: cython.Py_ssize_t = len(body)
    kind: cython.Py_ssize_t
    after: cython.Py_ssize_t
    seen: set[int] = set()
    server_name: str | None = None
    alpn: tuple[bytes, ...] = ()
    versions: tuple[int, ...] = (version,)
    while at < end:
        kind = number(body, at, end, 2)
        if kind in seen:
            raise ClientHelloError(f"extension {kind} twice")
        seen.add(kind)
        at += 2
        after = vector(body, at, end, 2, 0)
        at += 2
        if kind == _SERVER_NAME:
            server_name = parse_server_name(body, at, after)
        elif kind == _ALPN:
            alpn = parse_alpn(body, at, after)
        elif kind == _SUPPORTED_VERSIONS:
            versions = parse_versions(body, at, after)
        at = after
    return ClientHello(server_name, alpn, versions)


def number(body: bytearray, at: cython.Py_ssize_t, end: cython.Py_ssize_t, width: cython.int) -> cython.Py_ssize_t:
    """The number in the `width` octets at `at`, which must stand before `end`."""
    if width > end - at:
        raise ClientHelloError("it ends in the middle of a field")
    return body[at] if width == 1 else (body[at] << 8) | body[at + 1]


def vector(body: bytearray, at: cython.Py_ssize_t, end: cython.Py_ssize_t, width: cython.int,
           low: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Where the vector ends that begins with its length (`width` octets) at `at`; it has at least `low` octets."""
    size: cython.Py_ssize_t = number(body, at, end, width)
    if size < low:
        raise ClientHelloError(f"a vector of {size} octets, at least {low}")
    if size > end - at - width:
        raise ClientHelloError("a vector is longer than what is left")
    return at + width + size


def parse_server_name(body: bytearray, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> str:
    """The one host name of the list. Names of other types would come with a length as well (RFC 6066, section 3)."""
    found: str | None = None
    kind: cython.int
    after: cython.Py_ssize_t
    if vector(body, at, end, 2, 1) != end:
        raise ClientHelloError("something follows the list of server names")
    at += 2
    while at < end:
        kind = body[at]
        at += 1
        after = vector(body, at, end, 2, 1)
        if kind == 0:
            if found is not None:
                raise ClientHelloError("two host names")
            found = host_name(bytes(body[at + 2 : after]))
        at = after
    if found is None:
        raise ClientHelloError("server names without a host name")
    return found


def host_name(octets: bytes) -> str:
    """`octets` as a DNS name in lower case; ClientHelloError if they are none, or an IP address."""
    name: bytes = octets.lower()
    labels: list[bytes] = name.split(b".")
    label: bytes
    octet: cython.uchar
    if len(name) > 253:
        raise ClientHelloError(f"a host name of {len(name)} octets, at most 253")
    for label in labels:
        if not 1 <= len(label) <= 63 or label[0] == 0x2D or label[len(label) - 1] == 0x2D:
            raise ClientHelloError(f"{octets!r} is no host name")
        for octet in label:
            if not HOST[octet]:
                raise ClientHelloError(f"{octets!r} is no host name")
    # No top-level domain is a number (RFC 3696, section 2), and "127.1" and "0x7f000001" are addresses to many readers.
    last: bytes = labels[len(labels) - 1]
    if last.isdigit() or (last.startswith(b"0x") and not last[2:].strip(b"0123456789abcdef")):
        raise ClientHelloError(f"{octets!r} is an address, not a host name")
    return name.decode("ascii")


def parse_alpn(body: bytearray, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> tuple[bytes, ...]:
    found: list[bytes] = []
    after: cython.Py_ssize_t
    if vector(body, at, end, 2, 2) != end:
        raise ClientHelloError("something follows the list of protocols")
    at += 2
    while at < end:
        after = vector(body, at, end, 1, 1)
        found.append(bytes(body[at + 1 : after]))
        at = after
    return tuple(found)


def parse_versions(body: bytearray, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> tuple[int, ...]:
    found: list[int] = []
    if vector(body, at, end, 1, 2) != end or (end - at) & 1 == 0:
        raise ClientHelloError("the list of versions is malformed")
    at += 1
    while at < end:
        found.append(number(body, at, end, 2))
        at += 2
    return tuple(found)
