"""grpc.aio method handlers that take and give bytes: parsing and refusals are done here, in one place.

What lives here: how a request becomes a message and an error of ours becomes a gRPC status. What this must not know:
any service. (With a deserializer of its own grpc answers a message it can't parse with INTERNAL and a traceback in the
log.)
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Never, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from controlplane.errors import InvalidRequest, RequestError, StoreError, one_line
from mesh.errors import InvalidResource

_log = logging.getLogger(__name__)
_CODES = {code.value[0]: code for code in grpc.StatusCode}
M = TypeVar("M", bound=Message)
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"


def parse(type_: type[M], raw: bytes) -> M:
    """Return the message. Raises InvalidRequest when `raw` isn't one."""
    try:
        return type_.FromString(raw)
    except DecodeError:
        raise InvalidRequest(f"the request is not a {type_.DESCRIPTOR.full_name}") from None


async def read(context: Context) -> bytes | None:
    """Return the caller's next message, or None when it has ended its side."""
    raw: object = await context.read()
    return raw if isinstance(raw, bytes) else None


async def refuse(context: Context, error: Exception) -> Never:
    """End the call with the status that belongs to one of our errors; others go on as they are."""
    if isinstance(error, InvalidResource):
        status = grpc.StatusCode.INVALID_ARGUMENT
    elif isinstance(error, (RequestError, StoreError)):
        status = _CODES[error.status]
    else:
        raise error
    await context.abort(status, one_line(str(error)))


def unary(type_: type[M], function: Callable[[M], Awaitable[Message]]) -> Handler:
    """Handle a unary call by a function from request to response."""

    async def call(raw: bytes, context: Context) -> bytes:
        try:
            return (await function(parse(type_, raw))).SerializeToString()
        except (RequestError, StoreError, InvalidResource) as error:
            await refuse(context, error)

    return grpc.unary_unary_rpc_method_handler(call)


def server_stream(type_: type[M], function: Callable[[M, Context], Awaitable[None]]) -> Handler:
    """Handle a call with a stream of responses, which the function writes to the context."""

    async def call(raw: bytes, context: Context) -> None:
        try:
            await function(parse(type_, raw), context)
        except (RequestError, StoreError, InvalidResource) as error:
            await refuse(context, error)

    return grpc.unary_stream_rpc_method_handler(call)


def both_streams(function: Callable[[Context], Awaitable[None]]) -> Handler:
    """Handle a call with streams both ways, which the function reads from and writes to the context."""

    async def call(_requests: Any, context: Context) -> None:
        try:
            await function(context)
        except (RequestError, StoreError, InvalidResource) as error:
            await refuse(context, error)

    return grpc.stream_stream_rpc_method_handler(call)
