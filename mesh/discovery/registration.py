"""This instance's place in the registry: registered under a lease, kept alive, given back at the end.

What lives here: the loop of Register and Heartbeat, `proto/mesh/v1/registry.proto`. What this must not know: whether the app
is well (the caller starts the registration when it is), how bytes travel.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from google.protobuf.message import DecodeError

from mesh.balance.rng import Rng
from mesh.dataplane.rpc import Channel
from mesh.dataplane.tasks import spawn
from mesh.errors import DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, UpstreamError
from mesh.model import Endpoint, Protocol
from mesh.resilience.backoff import Backoff
from mesh.resource.convert import duration_to_proto, endpoint_to_proto, protocol_to_proto
from mesh.v1.registry_pb2 import (
    DeregisterRequest,
    HeartbeatRequest,
    HeartbeatResponse,
    RegisterRequest,
    RegisterResponse,
)

SERVICE = "/mesh.v1.RegistryService"
BACKOFF = Backoff(0.1, 5.0)
TIMEOUT = 5.0  # seconds for one unary call
TIME_TO_LIVE = 10.0

_log = logging.getLogger(__name__)


class Registration:
    """Registers `endpoint` and keeps it so for ever; while the control plane is away it goes on trying.

    `sidecar` is `<service>/<instance>`; `time_to_live` 1..3600 seconds. `registered`: the registry knows the endpoint
    as far as this side can tell.
    """

    def __init__(self, channel: Channel, endpoint: Endpoint, protocol: Protocol, sidecar: str, rng: Rng, *,
                 time_to_live: float = TIME_TO_LIVE,
                 sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.registered = asyncio.Event()
        self._channel = channel
        self._request = RegisterRequest(endpoint=endpoint_to_proto(endpoint), protocol=protocol_to_proto(protocol),
                                        time_to_live=duration_to_proto(time_to_live), sidecar=sidecar)
        self._name = endpoint.resource
        self._rng = rng
        self._sleep = sleep
        self._time_to_live = time_to_live
        self._lease = ""
        self._calling: asyncio.Task[bytes | UpstreamError] | None = None
        self._task: asyncio.Task[None] | None = None
