from __future__ import annotations

import asyncio

import grpc
import pytest

from controlplane import rpc
from controlplane.errors import Conflict, Held, InvalidRequest, NotFound, Overloaded, ShuttingDown, StoreError
from mesh.errors import InvalidResource
from mesh.v1 import registry_pb2


class Aborted(Exception):
    pass


class Context:
    """Records what the call was ended with."""

    async def abort(self, code, details):
        raise Aborted(code, details)


def call(function, raw: bytes = b""):
    handler = rpc.unary(registry_pb2.DeleteRequest, function)
    return asyncio.run(handler.unary_unary(raw, Context()))


@pytest.mark.parametrize(("error", "code"), [
    (InvalidResource("weight", "too\nlarge"), grpc.StatusCode.INVALID_ARGUMENT),
    (InvalidRequest("no\nway"), grpc.StatusCode.INVALID_ARGUMENT),
    (NotFound("x"), grpc.StatusCode.NOT_FOUND),
    (Held("x"), grpc.StatusCode.FAILED_PRECONDITION),
    (Overloaded("x"), grpc.StatusCode.RESOURCE_EXHAUSTED),
    (StoreError("x"), grpc.StatusCode.UNAVAILABLE),
    (Conflict("x"), grpc.StatusCode.ABORTED),
    (ShuttingDown(), grpc.StatusCode.UNAVAILABLE),
])
def test_each_error_has_its_status_and_one_line(error, code):
    async def refused(_request):
        raise error

    with pytest.raises(Aborted) as caught:
        call(refused)
    assert caught.value.args[0] is code
    assert caught.value.args[1] == rpc.one_line(str(error))


def test_other_errors_are_bugs_and_pass():
    async def broken(_request):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(broken)


def test_what_is_no_message_is_refused_by_name():
    async def unreached(_request):
        raise AssertionError

    with pytest.raises(Aborted) as caught:
        call(unreached, b"\xff\xff")
    assert caught.value.args == (grpc.StatusCode.INVALID_ARGUMENT, "the request is not a mesh.v1.DeleteRequest")


def test_the_response_is_encoded():
    async def answer(request):
        assert request.service == "cart"
        return registry_pb2.DeleteResponse(revision=7)

    raw = registry_pb2.DeleteRequest(service="cart").SerializeToString()
    assert registry_pb2.DeleteResponse.FromString(call(answer, raw)).revision == 7
