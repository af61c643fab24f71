"""`AggregatedDiscoveryService/DeltaAggregatedResources`: the grpc.aio shell around `stream`.

What lives here: reading, writing and waking. What this must not know: what is sent and why. Each stream has one task
that reads and one that writes; the writer asks for the next response whenever it is woken and awaits the peer's flow
control, so that a slow sidecar holds up nobody and nothing is queued for it.
"""

from __future__ import annotations

import asyncio
import logging
from time import time

import grpc

from controlplane.discovery.stream import StreamState
from controlplane.errors import RequestError, ShuttingDown
from controlplane.publisher import Publisher
from controlplane.rpc import Context, both_streams, parse, read
from controlplane.status import Sidecars
from controlplane.tasks import spawn
from mesh.xds.v3.discovery_pb2 import DeltaDiscoveryRequest

SERVICE_NAME = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_log = logging.getLogger(__name__)


class _Stream:
    """One call: its state, and the event that wakes its writer."""

    __slots__ = ("ended", "problem", "state", "woken")

    def __init__(self, state: StreamState) -> None:
        self.state = state
        self.woken = asyncio.Event()
        self.ended = False
        self.problem: RequestError | None = None

    def wake(self, serial: int, revision: int) -> None:
        self.state.wake(serial, revision)
        self.woken.set()

    def end(self, problem: RequestError | None) -> None:
        self.ended = True
        self.problem = problem
        self.woken.set()


class DiscoveryService:
    """Serves discovery streams until `close`."""

    def __init__(self, publisher: Publisher, sidecars: Sidecars) -> None:
        self._publisher = publisher
        self._sidecars = sidecars
        self._open: set[_Stream] = set()
        self._interests = {"service": publisher.services, "endpoint": publisher.endpoints}

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handler of the one method."""
        return grpc.method_handlers_generic_handler(
            SERVICE_NAME, {"DeltaAggregatedResources": both_streams(self.stream)})

    async def stream(self, context: Context) -> None:
        """Serve one call."""
        stream = _Stream(StreamState(self._publisher.view, time()))
        self._open.add(stream)
        reader = spawn("discovery-read", self._read(stream, context))
        try:
            while not stream.ended:
                stream.woken.clear()
                while not stream.ended:
                    response = stream.state.next_response(self._publisher.told_revision)
                    if response is None:
                        break
                    await context.write(response)
                await stream.woken.wait()
        finally:
            reader.cancel()
            self._left(stream)
        if stream.problem is not None:
            raise stream.problem

    def close(self) -> None:
        """End every call, as the control plane shuts down."""
        for stream in self._open:
            stream.end(ShuttingDown())

    async def _read(self, stream: _Stream, context: Context) -> None:
        state = stream.state
        try:
            while (raw := await read(context)) is not None:
                request = parse(DeltaDiscoveryRequest, raw)
                introduced = not state.node
                followed = state.receive(request, self._publisher.told_revision, time())
                interest = self._interests[followed.kind]
                for item in followed.joined:
                    interest.add(item, stream)
                for item in followed.left:
                    interest.drop(item, stream)
                if introduced:
                    self._sidecars.connected(state.node, state)
                if state.behind:
                    stream.woken.set()
            stream.end(None)
        except RequestError as problem:
            _log.warning("discovery stream of %s (%s) refused: %s", state.node or "?", context.peer(), problem)
            stream.end(problem)
        except (grpc.RpcError, grpc.aio.BaseError, grpc.aio.UsageError):
            stream.end(None)

    def _left(self, stream: _Stream) -> None:
        self._open.discard(stream)
        stream.ended = True
        for kind, items in stream.state.items():
            for item in items:
                self._interests[kind].drop(item, stream)
        if stream.state.node:
            self._sidecars.disconnected(stream.state.node, stream.state, self._publisher.told_revision, time())
