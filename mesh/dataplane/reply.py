"""What the sidecar answers when it fails a request itself: gRPC callers get a status, others an HTTP status; both the reason code.

What lives here: the header sections of our own answers. What this must not know: connections, policies.
"""

from __future__ import annotations

from functools import cache
from urllib.parse import quote

from mesh.errors import Reason
from mesh.wire.hpack import Head, literal, make_head

# Characters that gRPC lets stand in grpc-message (PROTOCOL-HTTP2.md, Percent-Encoded): printable ASCII but '%'.
_SAFE = "".join(chr(c) for c in range(0x20, 0x7F) if c != 0x25)
_MAX_MESSAGE = 512


# What an HTTP status means to gRPC: http-grpc-status-mapping.md of the gRPC project.
_GRPC_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


def grpc_status_of(http_status: int) -> int:
    """The gRPC status that an answer without one counts as."""
    return _GRPC_STATUS.get(http_status, 2)


@cache
def failure_head(reason: Reason, grpc: bool, inbound: bool) -> Head:
    """A whole answer without a body. Inbound, `mesh-not-delivered` tells the caller's sidecar that the app saw nothing."""
    fields = [(b":status", b"200" if grpc else b"%d" % reason.http_status)]
    if grpc:
        fields += [(b"content-type", b"application/grpc"), (b"grpc-status", b"%d" % reason.grpc_status)]
    else:
        fields.append((b"content-length", b"0"))
    fields.append((b"mesh-reason", reason.code.encode()))
    if inbound and not reason.sent_anything:
        fields.append((b"mesh-not-delivered", b"1"))
    return make_head(fields)


@cache
def failure_trailers(reason: Reason) -> Head:
    """The end of a gRPC answer whose beginning has been passed on already."""
    return make_head([(b"grpc-status", b"%d" % reason.grpc_status), (b"mesh-reason", reason.code.encode())])


def failure_message(reason: Reason, detail: str) -> bytes:
    """The encoded `grpc-message` field: the reason in words, and where it happened."""
    text = f"{reason.message} [{reason.code}]" + (f": {detail}" if detail else "")
    return literal(b"grpc-message", quote(text[:_MAX_MESSAGE], safe=_SAFE).encode())
