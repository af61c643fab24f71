# cython: language_level=3, wraparound=False, initializedcheck=False
"""The words of HTTP/1.1 (RFC 9112, RFC 9110, section 5.6): tokens, lists, targets, authorities, and how much of each.

What lives here: rules of single words, and the limits. What this must not know: messages, connections.
"""

from __future__ import annotations

from typing import Any

import cython

if not cython.compiled:
    from mesh.wire.ip_address import parse_ipv6
    from mesh.wire.octets import octets_of

MAX_LINE: int = 8192  # octets of a request line; what RFC 9112, section 3, recommends to support
MAX_SECTION: int = 65536  # octets of a field section, as it came and as HTTP/2 counts it
MAX_FIELDS: int = 100  # Envoy's default
MAX_TRAILERS: int = 16384  # octets of a trailer section
# By octet: its lower-case form if it may stand in a token (RFC 9110, section 5.6.2), else 0.
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LOWER: bytearray = bytearray((octet | 0x20 if 0x41 <= octet <= 0x5A else octet) if octet in _TOKEN else 0
                             for octet in range(256))
# By octet, bits: HOST, it may stand in a registered name (RFC 3986, section 3.2.2) - but for commas, which two Host
# fields make when somebody has joined them; HEX, it is a hexadecimal digit.
HOST: int = 1
HEX: int = 2
HOST_OCTETS: bytearray = bytearray(
    (HOST if octet in b"!$&'()*+;=.-_~" or bytes((octet,)).isalnum() else 0)
    | (HEX if octet in b"0123456789ABCDEFabcdef" else 0)
    for octet in range(256)
)
# The last authority that was found to be one.
JUDGED: bytes = b""
# A method that differs from one of these in case only means one thing to us and maybe another to whoever is behind us.
METHODS: frozenset[bytes] = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PRI")
)


def is_token(buf: bytearray, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.bint:
    """True if `buf[start:end]` is a token, which is not empty."""
    at: cython.Py_ssize_t
    for at in range(start, end):
        if LOWER[buf[at]] == 0:
            return False
    return start < end


def is_target(buf: bytearray, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.bint:
    """True if `buf[start:end]` can be a request target: visible ASCII without a fragment, not empty."""
    at: cython.Py_ssize_t
    octet: cython.int
    for at in range(start, end):
        octet = buf[at]
        if octet <= 0x20 or octet >= 0x7F or octet == 0x23:
            return False
    return start < end


def is_path(text: bytes) -> cython.bint:
    """The same of a string."""
    octet: cython.uchar
    for octet in text:
        if octet <= 0x20 or octet >= 0x7F or octet == 0x23:
            return False
    return len(text) > 0


def same_word(buf: bytearray, start: cython.Py_ssize_t, end: cython.Py_ssize_t, word: bytes) -> cython.bint:
    """True if `word`, token octets in lower case, stands at `start` in any case, and not past `end`."""
    n: cython.Py_ssize_t = len(word)
    at: cython.Py_ssize_t
    if n > end - start:
        return False
    for at in range(n):  # noqa: SIM110 (a generator would be an object)
        if LOWER[buf[start + at]] != word[at]:
            return False
    return True


def method_problem(method: bytes) -> str | None:
    """Why a token is not taken as a method, or None."""
    if method == b"GET" or method == b"POST":
        return None
    if method not in METHODS and method.upper() in METHODS:
        return "a known method in another case"
    return None


def authority_problem(authority: bytes, port_due: cython.bint = False) -> str | None:
    """Why `authority` is no `host` or `host:port` (RFC 9110, section 7.2), or None. `port_due`: it must have a port."""
    global JUDGED
    if authority is JUDGED and not port_due:  # what is met often is one object
        return None
    at: cython.Py_ssize_t = host_end(authority)
    n: cython.Py_ssize_t = len(authority)
    if at == 0 or (at < n and authority[at] != 0x3A):
        return "malformed authority"
    begin: cython.Py_ssize_t = at + 1
    port: cython.int = 0
    for at in range(begin, n):
        if authority[at] < 0x30 or authority[at] > 0x39:
            return "malformed authority"
        port = port * 10 + (authority[at] - 0x30)
        if port > 65535:
            return "port above 65535"
    if port_due and begin >= n:
        return "authority without a port"
    JUDGED = authority
    return None


def host_end(authority: bytes) -> cython.Py_ssize_t:
    """Where the host at the beginning ends; 0 if there is none."""
    n: cython.Py_ssize_t = len(authority)
    at: cython.Py_ssize_t = 0
    if n > 0 and authority[0] == 0x5B:  # [
        at = authority.find(b"]")
        return at + 1 if at > 0 and parse_ipv6(authority[1:at]) is not None else 0
    while at < n:
        if HOST_OCTETS[authority[at]] & HOST:
            at += 1
        elif authority[at] == 0x25 and at + 2 < n and (
                HOST_OCTETS[authority[at + 1]] & HOST_OCTETS[authority[at + 2]] & HEX):
            at += 3
        else:
            break
    return at


def members(value: bytes) -> list[Any]:
    """The members of a list (RFC 9110, section 5.6.1) in lower case; empty ones don't count."""
    found: list[Any] = []
    part: bytes
    for part in value.lower().split(b","):
        part = part.strip(b" \t")
        if part:
            found.append(part)
    return found


def lower_token(buf: bytearray, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> bytes:
    """The token `buf[start:end]` in lower case."""
    return octets_of(buf, start, end - start).lower()
