"""What a record means in OpenTelemetry's words: span name, attributes, whether it counts as an error.

What lives here: pure functions of one Record. What this must not know: the OpenTelemetry SDK, protobuf, clocks.
Names and rules: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/ and
https://opentelemetry.io/docs/specs/semconv/http/http-spans/. The RPC names are those that instrumentations and backends
share today (`rpc.system`, `rpc.grpc.status_code`), not their newer replacements (`rpc.system.name`,
`rpc.response.status_code`): `rpc.method` means something else in each, so it is one or the other.
"""

from __future__ import annotations

from typing import NamedTuple

from mesh.dataplane.record import CLIENT, GRPC, HTTP1, HTTP2, RETRY, SERVER, TCP, UDP, Record
from mesh.errors import REASONS, Fault

Attributes = dict[str, str | int]

# https://grpc.github.io/grpc/core/md_doc_statuscodes.html
_STATUS_NAMES = ("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
                 "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
                 "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED")
# gRPC codes that are the server's fault: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
_SERVER_ERRORS = frozenset((2, 4, 12, 13, 14, 15))
# Methods that the convention knows (RFC 9110, PATCH); others would make span names of unbounded number.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))
_VERSIONS = {HTTP1: "1.1", HTTP2: "2"}
REQUEST_BYTES, RESPONSE_BYTES, URL_PATH = "mesh.request.bytes", "mesh.response.bytes", "url.path"
# A :path may have 64 KiB; thousands of records wait at a time.
MAX_TEXT = 1024


class Outcome(NamedTuple):
    """`error_type` is "" when the span isn't an error; `message` may be "" (the code says it all)."""

    error_type: str
    message: str


def span_name(record: Record) -> str:
    """`shop.Cart/Add` for gRPC, `GET` for HTTP (there is no route to name), `tcp stock` for TCP, `udp dns` for UDP."""
    if record.protocol == TCP:
        return f"tcp {record.service}"
    if record.protocol == UDP:
        return f"udp {record.service}"
    if record.protocol == GRPC:
        return text(record.path).removeprefix("/") or "grpc"
    method = text(record.method)
    return method if method in _METHODS else "HTTP"


def stable_attributes(record: Record) -> Attributes:
    """What many records have in common: everything that `stable_key` distinguishes."""
    attributes: Attributes = {"mesh.service": record.service}
    if record.protocol == GRPC:
        attributes["rpc.system"] = "grpc"
        if record.grpc_status >= 0:
            attributes["rpc.grpc.status_code"] = record.grpc_status
    elif record.protocol in _VERSIONS:
        attributes["network.protocol.version"] = _VERSIONS[record.protocol]
        method = text(record.method)
        attributes["http.request.method"] = method if method in _METHODS else "_OTHER"
        if method not in _METHODS:
            attributes["http.request.method_original"] = method
    elif record.protocol == UDP:
        attributes["network.transport"] = "udp"
    if record.http_status > 0 and (record.protocol in _VERSIONS or record.http_status != 200):
        attributes["http.response.status_code"] = record.http_status
    _add_addresses(record, attributes)
    if record.endpoint:
        attributes["mesh.endpoint"] = record.endpoint
    if record.kind == CLIENT:
        attributes["mesh.attempts"] = record.attempts
        if record.why:
            attributes["mesh.pick"] = record.why
    elif record.kind == RETRY:
        attributes["http.request.resend_count"] = record.attempt - 1
        if record.why:
            attributes["mesh.retry_reason"] = record.why
        if record.pick:
            attributes["mesh.pick"] = record.pick
    if record.candidates and record.kind != SERVER:
        attributes["mesh.candidates"] = record.candidates
    if record.version and record.kind != SERVER:
        attributes["mesh.version"] = record.version
    if record.listener and record.kind != RETRY:
        attributes["mesh.listener"] = record.listener
    if record.reason:
        attributes["mesh.reason"] = record.reason
    error_type = outcome(record).error_type
    if error_type:
        attributes["error.type"] = error_type
    return attributes


def own_attributes(record: Record) -> Attributes:
    """What differs between records that have `stable_attributes` in common; `encode` writes the same by itself."""
    return {REQUEST_BYTES: record.request_bytes, RESPONSE_BYTES: record.response_bytes, **path_attributes(record)}


def path_attributes(record: Record) -> dict[str, str]:
    """What the request's path says: a caller may make up as many of them as it likes."""
    if record.protocol in _VERSIONS:
        return {URL_PATH: url_path(record)}
    if record.protocol in (TCP, UDP):
        return {}
    service, _, method = text(record.path).removeprefix("/").rpartition("/")
    return {"rpc.method": method, "rpc.service": service} if service else {"rpc.method": method}


def url_path(record: Record) -> str:
    """The path without its query, which may hold secrets."""
    return text(record.path).partition("?")[0]


def outcome(record: Record) -> Outcome:
    """Status rules of the conventions: a gRPC client's error is any code but OK, a server's only its own; HTTP 4xx are
    errors of the client span only. A failure that the mesh made or saw is an error, unless it is the server's span and
    the caller's doing.
    """
    status = record.grpc_status
    failed = False
    kind = ""
    if record.protocol == GRPC and status > 0:
        failed = status in _SERVER_ERRORS if record.kind == SERVER else True
        kind = _STATUS_NAMES[status] if status < len(_STATUS_NAMES) else str(status)
    elif record.http_status >= 400:
        failed = record.http_status >= 500 or record.kind != SERVER
        kind = str(record.http_status)
    if record.reason:
        reason = REASONS.get(record.reason)
        if reason is None:
            return Outcome(record.reason, "")
        if failed or record.kind != SERVER or reason.fault is not Fault.CALLER:
            return Outcome(record.reason, reason.message)
    return Outcome(kind, "") if failed else Outcome("", "")


def text(raw: bytes) -> str:
    """Header bytes as text that protobuf accepts, at most MAX_TEXT characters."""
    return raw[:4 * MAX_TEXT].decode("utf-8", "replace")[:MAX_TEXT]


def _add_addresses(record: Record, attributes: Attributes) -> None:
    host, port = _authority(text(record.authority))
    attributes["server.address"] = host or record.service
    if record.kind == SERVER:
        if record.source:
            attributes["client.address"] = attributes["network.peer.address"] = record.source
        port = port or record.peer_port  # of the app
    elif record.peer_host:
        attributes["network.peer.address"] = record.peer_host
        if record.peer_port > 0:
            attributes["network.peer.port"] = record.peer_port
    if port > 0:
        attributes["server.port"] = port


def _authority(authority: str) -> tuple[str, int]:
    """Host and port (0: none) where the caller named a host; an address or localhost is just its own sidecar's."""
    host, colon, port = authority.rpartition(":")
    if not colon:
        host, port = authority, ""
    if not host or host == "localhost" or host.startswith("[") or host.replace(".", "").isdigit():
        return "", 0
    return host, int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
