"""Every failure the mesh makes itself, as one tree and one table of reason codes.

What lives here: the reason codes (the one list; `docs/reason-codes.md` explains each), what each of them means to a
gRPC or HTTP caller, and whether the request can have reached the app. What this must not know: sockets, clocks,
protobuf.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Fault(Enum):
    """Whose fault a failure is."""

    CALLER = "caller"  # the app or the operator asked for something that can't be
    UPSTREAM = "upstream"  # the endpoint, or the way to it
    MESH = "mesh"  # this sidecar or its configuration


# gRPC status codes, https://grpc.github.io/grpc/core/md_doc_statuscodes.html
CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 1, 2, 3, 4, 5
PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 7, 8, 9, 12, 13, 14


@dataclass(frozen=True, slots=True)
class Reason:
    """One way in which a request fails.

    `code` is what stands in the response (`mesh-reason`), the span (`mesh.reason`) and the logs. `sent_anything` says
    whether bytes of the request may have reached the app: where it is False, repeating is always safe.
    """

    code: str
    fault: Fault
    grpc_status: int
    http_status: int
    sent_anything: bool
    message: str


REASONS: dict[str, Reason] = {}


def _reason(code: str, fault: Fault, grpc: int, http: int, sent: bool, message: str) -> Reason:
    reason = Reason(code, fault, grpc, http, sent, message)
    REASONS[code] = reason
    return reason


NO_ROUTE = _reason("no_route", Fault.CALLER, UNIMPLEMENTED, 404, False, "no service of this name is known")
NO_SERVICE = _reason("no_service", Fault.UPSTREAM, UNAVAILABLE, 503, False,
                     "a port is declared for the service, but nobody has registered or applied it")
NOT_DISCOVERED = _reason("not_discovered", Fault.MESH, UNAVAILABLE, 503, False,
                         "the control plane has not told yet what the service is")
NO_ENDPOINTS = _reason("no_endpoints", Fault.UPSTREAM, UNAVAILABLE, 503, False, "the service has no endpoints")
NO_HEALTHY_UPSTREAM = _reason("no_healthy_upstream", Fault.UPSTREAM, UNAVAILABLE, 503, False,
                              "no endpoint of the service is eligible")
CONNECT_FAILED = _reason("upstream_connect_failed", Fault.UPSTREAM, UNAVAILABLE, 503, False,
                         "the connection to the endpoint was refused or failed")
CONNECT_TIMEOUT = _reason("upstream_connect_timeout", Fault.UPSTREAM, UNAVAILABLE, 503, False,
                          "the connection to the endpoint took longer than the connect timeout")
REFUSED_STREAM = _reason("upstream_refused_stream", Fault.UPSTREAM, UNAVAILABLE, 503, False,
                         "the endpoint refused the stream unprocessed")
NOT_DELIVERED = _reason("not_delivered", Fault.UPSTREAM, UNAVAILABLE, 503, False,
                        "the callee's sidecar could not hand the request to its app")
CONNECTION_LOST = _reason("upstream_connection_lost", Fault.UPSTREAM, UNAVAILABLE, 502, True,
                          "the connection to the endpoint broke while the request was in flight")
RESET = _reason("upstream_reset", Fault.UPSTREAM, INTERNAL, 502, True, "the endpoint reset the stream")
PER_TRY_TIMEOUT = _reason("per_try_timeout", Fault.UPSTREAM, DEADLINE_EXCEEDED, 504, True,
                          "the endpoint did not begin its answer within timeout.per_try")
UPSTREAM_PROTOCOL_ERROR = _reason("upstream_protocol_error", Fault.UPSTREAM, INTERNAL, 502, True,
                                  "the endpoint broke the HTTP/2 protocol")
UPSTREAM_STATUS = _reason("upstream_status", Fault.UPSTREAM, UNAVAILABLE, 502, True,
                          "the endpoint answered with a failure status")
NO_UPGRADE = _reason("upgrade_not_supported", Fault.CALLER, UNIMPLEMENTED, 501, False,
                     "the endpoint's HTTP/2 takes no upgrades (RFC 8441)")
DEADLINE = _reason("deadline_exceeded", Fault.UPSTREAM, DEADLINE_EXCEEDED, 504, True, "the deadline passed")
CALLER_RESET = _reason("caller_reset", Fault.CALLER, CANCELLED, 499, True, "the caller cancelled the request")
CALLER_GONE = _reason("caller_gone", Fault.CALLER, CANCELLED, 499, True, "the caller's connection broke")
CALLER_PROTOCOL_ERROR = _reason("caller_protocol_error", Fault.CALLER, INTERNAL, 400, False,
                                "the caller sent a malformed request")
DRAINING = _reason("draining", Fault.MESH, UNAVAILABLE, 503, False, "the sidecar is shutting down")
DRAIN_DEADLINE = _reason("drain_deadline", Fault.MESH, UNAVAILABLE, 503, True,
                         "the sidecar shut down before the request was finished")
OVERLOADED = _reason("overloaded", Fault.MESH, RESOURCE_EXHAUSTED, 503, False,
                     "too many requests wait for a connection")
UNREACHABLE = _reason("upstream_unreachable", Fault.UPSTREAM, UNAVAILABLE, 503, True,
                      "nobody listens at the endpoint's UDP port, or there is no way to it")
TOO_MANY_SESSIONS = _reason("too_many_sessions", Fault.MESH, RESOURCE_EXHAUSTED, 503, True,
                            "the port has as many UDP sessions as it may have")
IDLE_TIMEOUT = _reason("idle_timeout", Fault.CALLER, CANCELLED, 408, True, "no byte moved for the idle timeout")

SLOW_BODY = _reason("slow_body", Fault.CALLER, DEADLINE_EXCEEDED, 408, True,
                    "the caller sent its body too slowly")
STALLED_READER = _reason("stalled_reader", Fault.CALLER, CANCELLED, 408, True,
                         "the caller did not take the answer")

QUEUE_FULL = _reason("queue_full", Fault.MESH, UNAVAILABLE, 503, False,
                     "as many requests wait for the service as may")
QUEUE_TIMEOUT = _reason("queue_timeout", Fault.MESH, UNAVAILABLE, 503, False,
                        "the service had no room for the request within the queue timeout")
LIMIT_REQUESTS = _reason("limit_requests", Fault.MESH, UNAVAILABLE, 503, False,
                         "the service has as many requests in flight as it may, and none may wait")
LIMIT_CONNECTIONS = _reason("limit_connections", Fault.MESH, UNAVAILABLE, 503, False,
                            "the service has as many connections as it may")
LIMIT_RETRIES = _reason("limit_retries", Fault.MESH, UNAVAILABLE, 503, True,
                        "the service has as many retries in flight as it may, so this was the last attempt")
RATE_LIMITED = _reason("rate_limited", Fault.CALLER, RESOURCE_EXHAUSTED, 429, False,
                       "the caller is beyond the service's rate limit")
HELD_BACK = _reason("held_back", Fault.CALLER, RESOURCE_EXHAUSTED, 429, False,
                    "the caller's address flooded this port, and too many of its requests wait")

# A stream that was reset by code (RFC 9113, section 7), where gRPC means more by it than INTERNAL:
# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Errors".
_RESETS = {7: replace(RESET, grpc_status=UNAVAILABLE), 8: replace(RESET, grpc_status=CANCELLED),
           11: replace(RESET, grpc_status=RESOURCE_EXHAUSTED), 12: replace(RESET, grpc_status=PERMISSION_DENIED)}


def reset_by(code: int) -> Reason:
    """Return RESET with the gRPC status that a stream reset with `code` has for its caller."""
    return _RESETS.get(code, RESET)


class MeshError(Exception):
    """Base of every error this project raises on purpose; never raised itself."""

    exit_code = 1


class InvalidResource(MeshError, ValueError):
    """A resource or a policy breaks a rule.

    `field` is the path of the offending field (`retry.max_attempts`), so that the message can point at it.
    """

    exit_code = 2

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem

    def under(self, prefix: str) -> InvalidResource:
        """Return the same error seen from a parent: `max_attempts` becomes `retry.max_attempts`."""
        return InvalidResource(f"{prefix}.{self.field}" if self.field else prefix, self.problem)


class InvalidConfig(MeshError, ValueError):
    """A flag, an environment variable or a configuration file is wrong; the message names which."""

    exit_code = 2


class UpstreamError(MeshError):
    """A call that the mesh itself makes (control plane, collector) failed; carries the gRPC status code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
