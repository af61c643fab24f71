# cython: language_level=3, wraparound=False, initializedcheck=False
"""What makes a header section malformed though each of its fields is well-formed (RFC 9113, sections 8.3 and 8.5; RFC
8441).

What lives here: the rules of a request's and of a response's control data. What this must not know: HPACK, the rules of
one field (`fieldrules`), what a section is kept as.
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from mesh.wire.fieldrules import STATUS

# RFC 9110, sections 4.2.1 and 4.2.2.
DEFAULT_PORTS: dict[bytes, bytes] = {b"http": b":80", b"https": b":443"}


def request_problem(seen: cython.int, method: bytes | None, scheme: bytes | None, authority: bytes | None,
                    path: bytes | None, protocol: bytes | None, host: bytes | None,
                    content_length: cython.longlong) -> str | None:
    """Why the section can't be a request's, or None. `seen`: a bit per kind of pseudo-header field."""
    if seen & (1 << STATUS):
        return ":status in a request"
    if method is None:
        return "no :method"
    if method == b"CONNECT":
        if content_length > 0:  # it has no content; what follows belongs to the tunnel (RFC 9110, section 9.3.6)
            return "CONNECT with content"
        if protocol is None:  # RFC 9113, section 8.5
            if scheme is not None or path is not None:
                return "CONNECT with :scheme or :path"
            return None if authority else "CONNECT without :authority"
    elif protocol is not None:  # RFC 8441, section 4
        return ":protocol without CONNECT"
    if scheme is None:
        return "no :scheme"
    if path is None:
        return "no :path"
    if path == b"*" and method != b"OPTIONS":
        return ":path * without OPTIONS"
    if authority is not None and host is not None and not same_host(authority, host, scheme):
        return "host differs from :authority"
    if not authority and not host and (authority is not None or host is not None) and scheme in DEFAULT_PORTS:
        return "empty :authority"  # RFC 9110, section 4.2.1: an empty host is invalid
    return None


def response_problem(seen: cython.int, status: cython.int, content_length: cython.longlong) -> str | None:
    """Why the section can't be a response's, an interim one's too, or None."""
    if seen != 1 << STATUS:
        return "not exactly :status" if seen else "no :status"
    if status == 101:
        return ":status 101 has no place in HTTP/2"  # RFC 9113, section 8.6
    if content_length >= 0 and (status < 200 or (status == 204 and content_length > 0)):
        return "content-length in a response that has no content"  # RFC 9110, section 8.6
    return None


def same_host(authority: bytes, host: bytes, scheme: bytes | None) -> cython.bint:
    """True if both name the same host and port: case, and a port that is the scheme's own, make no difference."""
    one: bytes = authority.lower()
    other: bytes = host.lower()
    if one == other:
        return True
    port: bytes | None = DEFAULT_PORTS.get(scheme.lower()) if scheme is not None else None
    return port is not None and (one == other + port or other == one + port)
