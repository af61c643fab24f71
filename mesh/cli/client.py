"""Calls to the control plane: one request, one answer or a stream, and failures a person can act on.

What lives here: channels, failover over the replicas, and gRPC's errors put in words. What this must not know: which
command asks, what is printed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

# gRPC's own log would add lines to ours.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from mesh.cli.settings import Settings
from mesh.errors import MeshError
from mesh.v1 import health_pb2_grpc, introspection_pb2_grpc, registry_pb2_grpc, trace_pb2_grpc

# Listings of a large registry and long traces; sent by our own control plane.
MAX_MESSAGE = 64 << 20
_STUBS: dict[str, Any] = {"registry": registry_pb2_grpc.RegistryServiceStub,
                          "traces": trace_pb2_grpc.TraceQueryServiceStub,
                          "health": health_pb2_grpc.HealthServiceStub,
                          "introspection": introspection_pb2_grpc.IntrospectionServiceStub}
# What is wrong with the request, not with the control plane.
_WRONG_INPUT = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS,
                grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.OUT_OF_RANGE)


class CallFailed(MeshError):
    """The control plane can't be reached (exit code 1) or refused what it was asked for (2)."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def call(settings: Settings, service: str, method: str, request: Any) -> Any:
    """Return the answer of `method` of one of the services of `_STUBS`; raises CallFailed."""
    addresses = settings.addresses
    for address in addresses:
        with _channel(str(address)) as channel:
            try:
                return getattr(_STUBS[service](channel), method)(request, timeout=settings.timeout)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE and address is not addresses[-1]:
                    continue
                raise _failure(error, settings) from None
    raise AssertionError("a control plane has at least one address")


def stream(settings: Settings, service: str, method: str, request: Any) -> Iterator[Any]:
    """Yield the messages of a stream of the first replica that answers; without limit of time. Raises CallFailed."""
    addresses = settings.addresses
    for address in addresses:
        with _channel(str(address)) as channel:
            begun = False
            try:
                for message in getattr(_STUBS[service](channel), method)(request):
                    begun = True
                    yield message
                return
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE and address is not addresses[-1] and not begun:
                    continue
                raise _failure(error, settings) from None


def _channel(address: str) -> grpc.Channel:
    return grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", MAX_MESSAGE),
                                                   ("grpc.enable_http_proxy", 0)])


def _failure(error: Any, settings: Settings) -> CallFailed:
    code, where = error.code(), ",".join(map(str, settings.addresses))
    details = " ".join((error.details() or "").split())
    if code in _WRONG_INPUT:
        return CallFailed(details or code.name.lower(), 2)
    if code is grpc.StatusCode.UNAVAILABLE:
        cause = re.search(r"Connection refused|No route to host|Network is unreachable|DNS resolution failed", details)
        return CallFailed(f"no control plane at {where} ({cause[0] if cause else details}): start one with "
                          "`mesh controlplane`, or name another with --control-plane")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and details not in ("", "Deadline Exceeded"):
        return CallFailed(details)  # the control plane's own words: a sidecar has not answered it
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return CallFailed(f"the control plane at {where} did not answer within {settings.timeout:g}s")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return CallFailed(f"what listens at {where} is no control plane, or one of another version")
    return CallFailed(f"the control plane at {where} failed: {code.name}: {details}")
