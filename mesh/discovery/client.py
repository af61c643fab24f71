"""Discovery's shell: the stream to the control plane, opened again for ever, and the saving of what is in force.

What lives here: connecting with backoff, sending what `Subscription` says, waiters, the debounced save. What this must
not know: what a response means (`subscription`), how bytes travel (`rpc`), what a service is used for (the sink).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from google.protobuf.message import DecodeError

import mesh
from mesh.balance.rng import Rng
from mesh.dataplane.rpc import Channel
from mesh.dataplane.rpc_call import Call
from mesh.dataplane.tasks import spawn
from mesh.discovery.state import StateFile
from mesh.discovery.subscription import Refusal, Sink, Subscription
from mesh.errors import INTERNAL, UpstreamError
from mesh.resilience.backoff import Backoff
from mesh.xds.v3.discovery_pb2 import DeltaDiscoveryResponse

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
BACKOFF = Backoff(0.1, 5.0)
SAVE_DELAY = 0.5  # seconds from a change to its save, so that a burst of changes is one write
_SLICE = 256  # resources serialised before traffic gets its turn

_log = logging.getLogger(__name__)


class DiscoveryClient:
    """Keeps a sidecar's subscriptions. `node` is `<service>/<instance>`; `sink` takes what arrives.

    State saved by an earlier run is used from the start. `connected` says whether a stream is open now.
    """

    def __init__(self, channel: Channel, node: str, sink: Sink, rng: Rng, state: StateFile | None = None, *,
                 sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.connected = False
        self._channel = channel
        self._rng = rng
        self._state = state
        self._sleep = sleep
        self._clock = clock
        self._subscription = Subscription(node, mesh.__version__, sink)
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._wanted = asyncio.Event()
        self._call: Call | None = None
        self._restart = False  # we ended the stream only to open another
        self._task: asyncio.Task[None] | None = None
        self._saver: asyncio.Task[None] | None = None
        self._writing = False
        if state is not None:
            self._subscription.restore(state.load())
        self._saved = self._subscription.generation

    @property
    def refusals(self) -> dict[str, Refusal]:
        """What is refused at present, by resource name."""
        return self._subscription.refusals

    def versions(self, service: str) -> tuple[str, str]:
        """Return the version in force of a service, and the newest of its endpoints; "" where there is none."""
        return self._subscription.versions(service)

    def start(self) -> None:
        """Connect, now and whenever the stream breaks."""
        self._task = spawn("discovery", self._run())

    def subscribe(self, service: str) -> None:
        """Ask for a service and its endpoints; once is enough. May call the sink before it returns."""
        if not self._subscription.subscribe(service):
            return
        self._wanted.set()
        if self._call is not None:
            if self._subscription.needs_new_stream:
                self._restart = True
                self._call.cancel()
            else:
                self._send(self._call)
        self._changed()

    def unsubscribe(self, service: str) -> None:
        """Forget a service; a later `subscribe` asks for it as if for the first time. The sink hears nothing of it."""
        if self._subscription.unsubscribe(service):
            if self._call is not None:
                self._send(self._call)
            self._changed()

    def known(self, service: str) -> bool:
        """Whether it is known what there is of this service; also when there is nothing."""
        return self._subscription.known(service)

    async def wait_known(self, service: str, timeout: float) -> bool:
        """Subscribe, and wait at most `timeout` seconds until the service is known; False when it isn't then."""
        self.subscribe(service)
        if self.known(service):
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(service, []).append(waiter)
        await asyncio.wait((waiter,), timeout=timeout)
        if not waiter.done():
            self._waiters[service].remove(waiter)
        return self.known(service)

    async def close(self) -> None:
        """End the stream and save what has not been saved yet."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        if self._saver is not None:
            if not self._writing:
                self._saver.cancel()
            await asyncio.wait((self._saver,))
        await self._save()

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._wanted.wait()
            opened_at = self._clock()
            try:
                await self._session()
                reason = "the control plane ended the stream"
            except UpstreamError as exc:
                reason = str(exc)
            except Exception as exc:  # a fault of ours must not end discovery for ever
                _log.exception("discovery: the stream failed")
                reason = repr(exc)
            if self._restart:
                self._restart = False
                continue
            if self.connected or failures == 0:
                _log.warning("discovery: no stream: %s", reason)
            self.connected = False
            # A stream that lived for a while was a good one: its successor is tried at once, or nearly.
            failures = 1 if self._clock() - opened_at > BACKOFF.maximum else failures + 1
            await self._sleep(BACKOFF.delay(failures, self._rng))

    async def _session(self) -> None:
        call = await self._channel.stream(METHOD)
        if not self.connected:
            _log.info("discovery: stream open")
        self.connected = True
        self._subscription.opened()
        self._call = call
        try:
            self._send(call)
            async for data in call:
                self._receive(call, data)
        finally:
            self._call = None
            call.cancel()

    def _receive(self, call: Call, data: bytes) -> None:
        try:
            response = DeltaDiscoveryResponse.FromString(data)
        except DecodeError as exc:
            raise UpstreamError(INTERNAL, f"{METHOD}: undecodable response: {exc}") from None
        answer = self._subscription.receive(response)
        if answer is not None:
            call.send_nowait(answer.SerializeToString())
        self._changed()

    def _send(self, call: Call) -> None:
        try:
            for request in self._subscription.requests():
                call.send_nowait(request.SerializeToString())
        except UpstreamError:
            pass  # the reader of the call hears of it too, and opens another

    def _changed(self) -> None:
        for service in [service for service in self._waiters if self.known(service)]:
            for waiter in self._waiters.pop(service):
                if not waiter.done():
                    waiter.set_result(None)
        if self._state is not None and self._saved != self._subscription.generation and (
                self._saver is None or self._saver.done()):
            self._saver = spawn("save discovered state", self._save_later())

    async def _save_later(self) -> None:
        await self._sleep(SAVE_DELAY)
        await self._save()
        self._saver = None
        self._changed()

    async def _save(self) -> None:
        state, generation = self._state, self._subscription.generation
        if state is None or self._saved == generation:
            return
        self._writing = True
        resources: list[bytes] = []
        for resource in list(self._subscription.saved()):
            resources.append(resource.SerializeToString())
            if len(resources) % _SLICE == 0:
                await asyncio.sleep(0)
        try:
            await asyncio.to_thread(state.save, resources)  # fsync may take long; it needs no interpreter
        except OSError as exc:
            _log.warning("discovered state not saved: %s", exc)
        self._saved = generation
        self._writing = False
