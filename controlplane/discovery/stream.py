"""One discovery stream: whose it is, its two subscriptions, and the order in which it is told.

What lives here: the pure state machine of `DeltaAggregatedResources`. What this must not know: grpc, events, clocks.
Services go before endpoints (make before break); everything else is `subscription`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

from controlplane.discovery.encoding import ENDPOINT, SERVICE
from controlplane.discovery.subscription import Followed, Subscription
from controlplane.errors import InvalidRequest, one_line
from controlplane.registry import EndpointRecord, ServiceRecord, Table, View
from controlplane.status import SidecarReport
from mesh.xds.v3.discovery_pb2 import DeltaDiscoveryRequest

R = TypeVar("R", ServiceRecord, EndpointRecord)
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NODE = re.compile(rf"{_LABEL}/{_LABEL}(?:/[1-9][0-9]{{0,3}})?")  # a sidecar's further workers are numbered


class StreamState:
    """One stream. `connected_at` in seconds since the epoch."""

    __slots__ = ("_answered", "_connected_at", "_endpoints", "_last_ack", "_nonces", "_services", "_view", "build",
                 "node")

    def __init__(self, view: View, connected_at: float) -> None:
        self.node = ""
        self.build = ""
        self._view = view
        self._connected_at = connected_at
        self._last_ack: float | None = None
        self._services: Subscription[ServiceRecord] = Subscription(SERVICE)
        self._endpoints: Subscription[EndpointRecord] = Subscription(ENDPOINT)
        self._nonces = 0
        self._answered = 0  # the revision that the stream had been told of in full when it last fell behind

    @property
    def behind(self) -> bool:
        """Whether there may be something to send."""
        return self._services.follower.behind or self._endpoints.follower.behind

    def receive(self, request: DeltaDiscoveryRequest, told_revision: int, at: float) -> Followed:
        """Take one request. Raises InvalidRequest, which ends the stream."""
        if not self.node:
            self._introduce(request)
        if request.type_url == SERVICE.url:
            return self._request(self._services, self._view.services, request, told_revision, at)
        if request.type_url == ENDPOINT.url:
            return self._request(self._endpoints, self._view.endpoints, request, told_revision, at)
        raise InvalidRequest(f"type_url {one_line(request.type_url)[:200]!r} is not served; "
                             f"{SERVICE.url} and {ENDPOINT.url} are")

    def wake(self, serial: int, revision: int) -> None:
        """Something followed was published after `serial`; until then all was as at `revision`."""
        if not self.behind:
            self._answered = revision
        self._services.follower.moved(serial)
        self._endpoints.follower.moved(serial)

    def next_response(self, told_revision: int) -> bytes | None:
        """Return the next response to send, or None when there is nothing to say (for now).

        It carries `told_revision` when nothing is left to be told after it.
        """
        self._services.follower.collect(self._view.services)
        self._endpoints.follower.collect(self._view.endpoints)
        response = self._next(self._services, self._view.services, told_revision)
        if response is None and not self._services.follower.behind:
            response = self._next(self._endpoints, self._view.endpoints, told_revision)
        return response

    def report(self, told_revision: int) -> SidecarReport:
        """Describe how far the sidecar is."""
        sent = self._answered if self.behind else told_revision
        acked = min((*self._services.floors(), *self._endpoints.floors(), sent))
        followed = [f"{SERVICE.kind}/{item}" for item in sorted(self._services.follower.items)]
        followed += (f"{ENDPOINT.kind}/{item}" for item in sorted(self._endpoints.follower.items))
        refusals = (*self._services.refusals.values(), *self._endpoints.refusals.values())
        return SidecarReport(self.node, self.build, True, self._connected_at, self._last_ack, sent, acked,
                             tuple(followed), refusals)

    def items(self) -> Iterator[tuple[str, set[str]]]:
        """Return what is followed, by kind."""
        yield SERVICE.kind, self._services.follower.items
        yield ENDPOINT.kind, self._endpoints.follower.items

    def _introduce(self, request: DeltaDiscoveryRequest) -> None:
        node = request.node.id
        if not _NODE.fullmatch(node):
            raise InvalidRequest(f"node.id {one_line(node)[:200]!r} is not <service>/<instance>[/<worker>]")
        self.node = node
        self.build = one_line(request.node.user_agent_version)[:100]

    def _request(self, subscription: Subscription[R], table: Table[R], request: DeltaDiscoveryRequest,
                 told_revision: int, at: float) -> Followed:
        if request.response_nonce:
            self._last_ack = at
        if not self.behind and self._nonces:
            self._answered = told_revision
        return subscription.request(request, table, self._view.revision, at)

    def _next(self, subscription: Subscription[R], table: Table[R], told_revision: int) -> bytes | None:
        if not subscription.follower.behind or subscription.blocked:
            return None
        nonce = str(self._nonces + 1)
        page = subscription.page(table, nonce, self._answered)
        if page is None:
            return None
        self._nonces += 1
        return page.response(self._answered if self.behind else told_revision, nonce)
