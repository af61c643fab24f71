"""A control plane in the test's process: answers what the test puts in, and keeps what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import pytest

from mesh.cli.group import invoke
from mesh.v1 import (
    health_pb2_grpc,
    introspection_pb2,
    introspection_pb2_grpc,
    registry_pb2,
    registry_pb2_grpc,
    trace_pb2,
    trace_pb2_grpc,
)


class Refuse(Exception):
    """An answer that is a gRPC failure."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class Plane:
    """`answers[method]` is a message, a list of messages for a stream, a Refuse, or a function of the request."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answers: dict[str, Any] = {}
        self.address = ""

    def answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append(request)
        found = self.answers.get(method)
        if callable(found):
            found = found(request)
        if isinstance(found, Refuse):
            context.abort(found.code, found.details)
        return iter(found) if isinstance(found, list) else found


def _servicer(base: type, plane: Plane) -> Any:
    def method(name: str) -> Callable[..., Any]:
        def unary(_self: Any, request: Any, context: Any) -> Any:
            return plane.answer(name, request, context)

        return unary

    names = [name for name in vars(base) if not name.startswith("_")]
    return type("Fake" + base.__name__, (base,), {name: method(name) for name in names})()


@pytest.fixture(scope="module")
def _server() -> Iterator[Plane]:
    plane = Plane()
    server = grpc.server(ThreadPoolExecutor(2))
    registry_pb2_grpc.add_RegistryServiceServicer_to_server(_servicer(registry_pb2_grpc.RegistryServiceServicer, plane),
                                                            server)
    trace_pb2_grpc.add_TraceQueryServiceServicer_to_server(_servicer(trace_pb2_grpc.TraceQueryServiceServicer, plane),
                                                           server)
    health_pb2_grpc.add_HealthServiceServicer_to_server(_servicer(health_pb2_grpc.HealthServiceServicer, plane), server)
    introspection_pb2_grpc.add_IntrospectionServiceServicer_to_server(
        _servicer(introspection_pb2_grpc.IntrospectionServiceServicer, plane), server)
    plane.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield plane
    server.stop(None).wait()


@pytest.fixture
def plane(_server: Plane, monkeypatch: pytest.MonkeyPatch) -> Plane:
    _server.asked.clear()
    _server.answers.clear()
    _server.answers["ListSidecars"] = registry_pb2.ListSidecarsResponse(revision=1)
    _server.answers["ListTraces"] = trace_pb2.ListTracesResponse()
    _server.answers["ListPolicies"] = introspection_pb2.ListPoliciesResponse()
    monkeypatch.setenv("MESH_CONTROL_PLANE", _server.address)
    return _server


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def mesh(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Call an operator's command in this process."""
    def call(*arguments: str) -> Done:
        code = invoke(arguments)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return call


@pytest.fixture
def refuse() -> type[Refuse]:
    return Refuse
