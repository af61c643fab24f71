from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from mesh.cli.client import CallFailed, call, stream
from mesh.cli.settings import Settings
from mesh.v1 import registry_pb2

Mesh = Callable[..., Any]


@pytest.fixture
def dead() -> Any:
    """A port where nobody listens, and nobody will."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{sock.getsockname()[1]}"


def test_no_control_plane(mesh: Mesh, dead: str) -> None:
    done = mesh("status", "--control-plane", dead)
    assert done.code == 1
    assert done.out == ""
    assert done.err == (f"mesh status: no control plane at {dead} (Connection refused): start one with "
                        "`mesh controlplane`, or name another with --control-plane\n")
    done = mesh("traces", "--control-plane", dead, "-o", "json")
    assert done.code == 1
    assert f"no control plane at {dead}" in json.loads(done.err)["error"]


def test_the_next_replica_is_asked(plane: Any, dead: str) -> None:
    request = registry_pb2.ListSidecarsRequest()
    assert call(Settings(f"{dead},{plane.address}"), "registry", "ListSidecars", request).revision == 1
    plane.answers["Watch"] = [registry_pb2.WatchResponse(revision=3)]
    watched = stream(Settings(f"{dead},{plane.address}"), "registry", "Watch", registry_pb2.WatchRequest())
    assert [message.revision for message in watched] == [3]


def test_one_that_does_not_answer(mesh: Mesh, plane: Any) -> None:
    def slow(_: Any) -> Any:
        time.sleep(0.2)
        return registry_pb2.ListSidecarsResponse()

    plane.answers["ListSidecars"] = slow
    done = mesh("get", "sidecars", "--timeout", "20ms")
    assert (done.code, done.err) == (1, f"mesh get: the control plane at {plane.address} did not answer within 0.02s\n")


@pytest.mark.parametrize(("status", "code", "said"), [
    (grpc.StatusCode.INVALID_ARGUMENT, 2, "weight: 7 is too\nmuch"),
    (grpc.StatusCode.NOT_FOUND, 2, "service/cart is not registered"),
    (grpc.StatusCode.FAILED_PRECONDITION, 2, "the lease has ended"),
    (grpc.StatusCode.INTERNAL, 1, "the control plane at {} failed: INTERNAL: oops"),
    (grpc.StatusCode.UNIMPLEMENTED, 1, "what listens at {} is no control plane, or one of another version"),
])
def test_refusals(mesh: Mesh, plane: Any, refuse: Any, status: grpc.StatusCode, code: int, said: str) -> None:
    plane.answers["Delete"] = refuse(status, said if code == 2 else "oops")
    done = mesh("delete", "cart")
    assert done.code == code
    assert done.err == f"mesh delete: {' '.join(said.format(plane.address).split())}\n"


def test_a_stream_that_fails(plane: Any, refuse: Any) -> None:
    plane.answers["Watch"] = refuse(grpc.StatusCode.UNAVAILABLE, "going away")
    with pytest.raises(CallFailed, match="going away"):
        list(stream(Settings(plane.address), "registry", "Watch", registry_pb2.WatchRequest()))
