"""This instance's place in the registry: registered under a lease, kept alive, given back at the end.

What lives here: the loop of Register and Heartbeat, `proto/mesh/v1/registry.proto`. What this must not know: whether
the app is well (the caller starts the registration when it is), how bytes travel.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from mesh.balance.rng import Rng
from mesh.dataplane.rpc import Channel
from mesh.dataplane.rpc_call import Call
from mesh.dataplane.tasks import spawn
from mesh.errors import DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, UpstreamError
from mesh.model import Endpoint, Protocol
from mesh.resilience.backoff import Backoff
from mesh.resource.convert import duration_to_proto, endpoint_to_proto, protocol_to_proto
from mesh.v1 import registry_pb2

REGISTER = "/mesh.v1.RegistryService/Register"
HEARTBEAT = "/mesh.v1.RegistryService/Heartbeat"
DEREGISTER = "/mesh.v1.RegistryService/Deregister"
BACKOFF = Backoff(0.1, 5.0)
TIMEOUT = 5.0  # seconds for one Register
TIME_TO_LIVE = 10.0  # seconds; the registry's own default

M = TypeVar("M", bound=Message)

_log = logging.getLogger(__name__)


class Registration:
    """Registers `endpoint` and keeps it registered for ever; while the control plane is away it goes on trying.

    Only another instance that registers under the same name ends that: the newer one wins, this one stays out.
    `sidecar` is `<service>/<instance>`; `time_to_live` 1..3600 seconds. `registered` is set while the registry knows
    the endpoint, as far as this side can tell.
    """

    def __init__(self, channel: Channel, endpoint: Endpoint, protocol: Protocol, sidecar: str, rng: Rng, *,
                 time_to_live: float = TIME_TO_LIVE,
                 sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.registered = asyncio.Event()
        self._channel = channel
        self._name = endpoint.resource
        self._request = registry_pb2.RegisterRequest(
            endpoint=endpoint_to_proto(endpoint), protocol=protocol_to_proto(protocol),
            time_to_live=duration_to_proto(time_to_live), sidecar=sidecar)
        self._rng = rng
        self._sleep = sleep
        self._time_to_live = time_to_live
        self._lease = ""
        self._leaving = False
        self._unanswered = False  # a Register of ours timed out; it may take effect late, even after the next one
        self._settled = asyncio.Event()  # no other process of this instance is about to register or to leave
        self._settled.set()
        self._may_register = True
        self._idle = asyncio.Event()  # no Register is in flight
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Register, now and whenever the registry has lost the endpoint."""
        self._task = spawn(f"registration of {self._name}", self._run())

    def contest(self, register: bool) -> None:
        """Another process of this instance may be registered from now on, until `settle`: that is no error.

        Without `register` it is the other one's turn: this one keeps its lease if it can and asks for no new one.
        """
        self._may_register = register
        self._settled.clear()

    def settle(self) -> None:
        """The instance is this process's alone again: register if the other one was the last that did."""
        self._may_register = True
        self._unanswered = True  # the other one's Register may be under way still
        self._settled.set()

    async def abandon(self) -> None:
        """Care no more for the lease, which another process of this instance has by now, or will have."""
        self._leaving = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._lease = ""
        self.registered.clear()

    async def deregister(self, timeout: float) -> None:
        """Leave the registry, within `timeout` seconds; where that fails, the lease runs out by itself."""
        self._leaving = True
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()  # else the answer would bring a lease that nobody gives back
                if self._task is not None:
                    self._task.cancel()
                if self._lease:
                    request = registry_pb2.DeregisterRequest(lease_id=self._lease)
                    await self._channel.unary(DEREGISTER, request.SerializeToString(), timeout)
        except TimeoutError:
            _log.warning("%s not deregistered within %g s", self._name, timeout)
        except UpstreamError as exc:
            _log.warning("%s not deregistered: %s", self._name, exc)
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait((self._task,))
            self._lease = ""
            self.registered.clear()

    async def _run(self) -> None:
        failures = 0
        while not self._leaving:
            beats = 0
            try:
                if not self._lease:
                    if not self._may_register:
                        await self._settled.wait()
                    await self._register()
                call = await self._channel.stream(HEARTBEAT)
                try:
                    while (answer := await self._beat(call)).alive:
                        beats += 1
                        if beats == 3:  # before that it says little: something may be ending our leases one by one
                            failures = 0
                            self._unanswered = False
                        await self._sleep(self._time_to_live / 3)
                finally:
                    call.cancel()
                self._lease = ""
                self.registered.clear()
                if answer.replaced:
                    if not self._settled.is_set():
                        await self._settled.wait()
                        continue
                    if not self._unanswered:
                        _log.error("another instance registered as %s (newer); this one stays out of the registry: "
                                   "give each instance its own --instance", self._name)
                        return
                    self._unanswered = False  # once only: what replaced us may have been our own, the next won't be
                reason = "the registry has ended the lease"
            except UpstreamError as exc:
                reason = str(exc)
            except Exception as exc:  # a fault of ours must not end the registration for ever
                _log.exception("registration of %s failed", self._name)
                reason = repr(exc)
            if failures == 0:
                _log.warning("registration of %s: %s; trying again", self._name, reason)
            failures += 1
            await self._sleep(BACKOFF.delay(failures, self._rng))

    async def _register(self) -> None:
        self._idle.clear()
        try:
            data = await self._channel.unary(REGISTER, self._request.SerializeToString(), TIMEOUT)
        except UpstreamError as exc:
            self._unanswered = self._unanswered or exc.status == DEADLINE_EXCEEDED
            raise
        finally:
            self._idle.set()
        answer = _parse(registry_pb2.RegisterResponse.FromString, data)
        self._lease = answer.lease_id
        granted = answer.time_to_live.seconds + answer.time_to_live.nanos / 1e9
        if granted >= 1:
            self._time_to_live = granted
        self.registered.set()
        _log.info("registered %s", self._name)

    async def _beat(self, call: Call) -> registry_pb2.HeartbeatResponse:
        """One heartbeat and its answer."""
        call.send_nowait(registry_pb2.HeartbeatRequest(lease_id=self._lease).SerializeToString())
        patience = self._time_to_live / 3
        try:
            async with asyncio.timeout(patience):
                data = await anext(call)
        except TimeoutError:
            raise UpstreamError(DEADLINE_EXCEEDED, f"no answer to a heartbeat within {patience:g} s") from None
        except StopAsyncIteration:
            raise UpstreamError(UNAVAILABLE, "the control plane ended the heartbeat stream") from None
        return _parse(registry_pb2.HeartbeatResponse.FromString, data)


def _parse(parse: Callable[[bytes], M], data: bytes) -> M:
    try:
        return parse(data)
    except DecodeError as exc:
        raise UpstreamError(INTERNAL, f"undecodable answer of the registry: {exc}") from None
