# cython: language_level=3, wraparound=False, initializedcheck=False
"""Which protocol a connection speaks, judged by its first octets.

What lives here: the signatures. What this must not know: sockets, time limits, what follows from a verdict, and the
rest of each protocol: a verdict says which parser to ask, not that the parser will be content.

The verdict is a function of the octets alone: what was decided on a prefix holds for whatever follows, however the
octets arrived, and at most MAX_DETECT of them are looked at.
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from mesh.wire.octets import equal_at

# Verdicts.
NEED_MORE, TCP, HTTP1, HTTP2, TLS, PROXY_V1, PROXY_V2 = 0, 1, 2, 3, 4, 5, 6
_NEED_MORE = cython.declare(cython.int, NEED_MORE)
_TCP = cython.declare(cython.int, TCP)
_HTTP1 = cython.declare(cython.int, HTTP1)
_HTTP2 = cython.declare(cython.int, HTTP2)
_TLS = cython.declare(cython.int, TLS)
_PROXY_V1 = cython.declare(cython.int, PROXY_V1)
_PROXY_V2 = cython.declare(cython.int, PROXY_V2)

# RFC 9112, section 3, recommends request lines of at least 8,000 octets to be supported.
MAX_DETECT = 8192
_MAX_DETECT = cython.declare(cython.Py_ssize_t, MAX_DETECT)
# The longest registered method is UPDATEREDIRECTREF with 17 octets (IANA, HTTP Method Registry).
MAX_METHOD = 32
_MAX_METHOD = cython.declare(cython.Py_ssize_t, MAX_METHOD)

_PREFACE = cython.declare(bytes, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")  # RFC 9113, section 3.4
_PROXY_1 = cython.declare(bytes, b"PROXY ")  # proxy-protocol.txt (HAProxy), section 2.1
_PROXY_2 = cython.declare(bytes, b"\r\n\r\n\0\r\nQUIT\n")  # and 2.2
_VERSION = cython.declare(bytes, b" HTTP/")

# Classes of octets, as bits.
METHOD, TARGET = 1, 2
_METHOD = cython.declare(cython.int, METHOD)
_TARGET = cython.declare(cython.int, TARGET)
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")  # RFC 9110, 5.6.2
# Octets above 0x7F have no place in a request target, but that is for the HTTP parser to refuse.
CLASSES: bytearray = bytearray((METHOD if c in _TOKEN else 0) | (TARGET if c > 0x20 and c != 0x7F else 0)
                               for c in range(256))


def detect(buf: bytearray, n: cython.Py_ssize_t) -> cython.int:
    """The verdict on a connection that begins with `buf[:n]`; NEED_MORE while it depends on what comes next.

    TLS is the header of a handshake record. HTTP1 is a request line up to the version (whichever it says), or, if there
    is no end of it within MAX_DETECT octets, a target that begins with a slash: many line protocols begin with a word
    and a space (`GET key`, `OPTIONS * RTSP/1.0`), so less would not do. IndexError: `n` is more than there is.
    """
    if n > len(buf):
        raise IndexError("octets outside the buffer")
    if n <= 0:
        return _NEED_MORE
    found: cython.int
    first: cython.uchar = buf[0]
    if first == 0x16:  # the record type "handshake", then a version: 3.0 (SSL 3) to 3.4
        if (n > 1 and buf[1] != 3) or (n > 2 and buf[2] > 4):
            return _TCP
        return _TLS if n > 2 else _NEED_MORE
    if first == 0x50:  # P
        found = matches(buf, n, _PREFACE)
        if found >= 0:
            return _HTTP2 if found else _NEED_MORE
        found = matches(buf, n, _PROXY_1)
        if found >= 0:
            return _PROXY_V1 if found else _NEED_MORE
    elif first == 0x0D:
        found = matches(buf, n, _PROXY_2)
        if found >= 0:
            return _PROXY_V2 if found else _NEED_MORE
        return _TCP
    return request_line(buf, n)


def matches(buf: bytearray, n: cython.Py_ssize_t, signature: bytes) -> cython.int:
    """1 if `buf[:n]` begins with the signature, 0 if it may still come to, -1 if not."""
    i: cython.Py_ssize_t
    if n >= len(signature):
        return 1 if equal_at(buf, 0, signature) else -1
    for i in range(n):
        if buf[i] != signature[i]:
            return -1
    return 0


def request_line(buf: bytearray, n: cython.Py_ssize_t) -> cython.int:
    """HTTP1 if `buf[:n]` begins with a method, one space, a target, one space and `HTTP/`."""
    classes: bytearray = CLASSES
    end: cython.Py_ssize_t = min(n, _MAX_DETECT)
    i: cython.Py_ssize_t = 0
    k: cython.Py_ssize_t
    start: cython.Py_ssize_t
    while i < end and i <= _MAX_METHOD and classes[buf[i]] & _METHOD:
        i += 1
    if i == 0 or i > _MAX_METHOD:
        return _TCP
    if i == end:
        return _NEED_MORE
    if buf[i] != 0x20:
        return _TCP
    i += 1
    start = i
    while i < end and classes[buf[i]] & _TARGET:
        i += 1
    if i < end and i == start:
        return _TCP
    for k in range(len(_VERSION)):
        if i + k >= end:
            if end < _MAX_DETECT:
                return _NEED_MORE
            return _HTTP1 if buf[start] == 0x2F else _TCP
        if buf[i + k] != _VERSION[k]:
            return _TCP
    return _HTTP1
