"""What the control plane refuses or fails at, each with the gRPC status that the caller is shown.

What lives here: the control plane's branch of the error tree. What this must not know: grpc, stores, sockets.
"""

from __future__ import annotations

from mesh.errors import FAILED_PRECONDITION, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, UNAVAILABLE, MeshError

ABORTED = 10  # gRPC status: a compare-and-swap was lost
MAX_MESSAGE = 1024  # characters of a status message or a reason that are kept


class RequestError(MeshError):
    """A request that is refused; nothing was changed. `status` is the gRPC status code."""

    status = INVALID_ARGUMENT


class InvalidRequest(RequestError):
    """The request can't be understood or breaks the protocol's order."""


class NotFound(RequestError):
    """The resource named doesn't exist."""

    status = NOT_FOUND


class Held(RequestError):
    """The endpoint is kept by a sidecar's lease and can't be replaced by hand."""

    status = FAILED_PRECONDITION


class Overloaded(RequestError):
    """A bounded queue is full; worth trying again later."""

    status = RESOURCE_EXHAUSTED


class ShuttingDown(RequestError):
    """The control plane is about to end; its callers come back when it does."""

    status = UNAVAILABLE

    def __init__(self) -> None:
        super().__init__("the control plane is shutting down")


class StoreError(MeshError):
    """The store can't be opened, read or written; the message names the file and the cause."""

    status = UNAVAILABLE


class Conflict(StoreError):
    """The store holds another revision than the one that the change was made from."""

    status = ABORTED


def one_line(text: str) -> str:
    """Return `text` as one line of at most MAX_MESSAGE characters without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 2 * MAX_MESSAGE]).split())
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…"
