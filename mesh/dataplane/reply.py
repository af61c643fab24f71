"""What the sidecar answers when it fails a request itself.

gRPC callers get a status, others an HTTP status; both the reason code.

What lives here: the header sections of our own answers. What this must not know: connections, policies.
"""

from __future__ import annotations

from functools import cache
from math import ceil

from mesh.errors import Reason
from mesh.wire.codec import Codec
from mesh.wire.grpc import encode_message
from mesh.wire.hpack import Head, make_head

_MAX_MESSAGE = 512


# What sidecars say to each other in an answer; `mesh-reason` is for the app's people too, the other for sidecars alone.
_NOT_DELIVERED = frozenset((b"mesh-not-delivered",))
_OURS = frozenset((b"mesh-not-delivered", b"mesh-reason"))


def passed_on(head: Head, inbound: bool) -> Head:
    """An answer as it goes on, less what is not for the next one.

    An app has no say in whether it was reached: one that copies the trailers of a call of its own that failed would
    have its caller's sidecar repeat a request that ran. So nothing of ours is taken from an app (`inbound`), and no app
    is given `mesh-not-delivered` to copy.
    """
    return head.without(_OURS if inbound else _NOT_DELIVERED)


@cache
def failure_head(reason: Reason, grpc: bool, inbound: bool) -> Head:
    """A whole answer without a body.

    Inbound, `mesh-not-delivered` tells the caller's sidecar that the app saw nothing.
    """
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
    """The value of `grpc-message`: the reason in words, and where it happened."""
    text = f"{reason.message} [{reason.code}]" + (f": {detail}" if detail else "")
    return encode_message(text[:_MAX_MESSAGE])


def retry_fields(conn: Codec, seconds: float, grpc: bool) -> bytes:
    """When the caller may come again, as fields of `conn`: in whole seconds (RFC 9110, section 10.2.3), and for gRPC in
    milliseconds (gRFC A6, "pushback")."""
    fields = conn.field(b"retry-after", b"%d" % ceil(seconds))
    return fields + conn.field(b"grpc-retry-pushback-ms", b"%d" % ceil(1000 * seconds)) if grpc else fields
