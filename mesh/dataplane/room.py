# cython: language_level=3, wraparound=False, initializedcheck=False
"""What the connections of one service share: how many there may be, and how many requests may wait for one.

What lives here: the bounds, and the counts that are held against them. What this must not know: requests in flight
(gate), endpoints, how a connection is made.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh import errors
from mesh.balance.node import Node
from mesh.model.limits import LimitsPolicy

# Envoy's max_connections default (circuit breakers), per endpoint.
ENDPOINT_CONNECTIONS = cython.declare(cython.longlong, 1024)
# Requests that wait for a connection that is being made, where none may wait for room.
CONNECTING_CALLS = cython.declare(cython.longlong, 1024)


class Room:
    """One service's, in one process. `pending`: requests that wait, for a connection or for an endpoint with room.

    `retries`: requests that are being repeated. `refused`: how often, by reason code. Bounds of 0 are none.
    """

    def __init__(self) -> None:
        self.endpoint_connections = ENDPOINT_CONNECTIONS
        self.relayed_per_endpoint = 0
        self.max_connections = 0
        self.max_retries = 0
        self.max_pending = 1024
        self.queue_timeout = 3.0
        self.pending = 0
        self.retries = 0
        self.pools: list[Any] = []
        self.refused: dict[str, int] = {}
        self.relayed: dict[Node, int] = {}
        self.relayed_total = 0
        self.sparing = False

    def configure(self, limits: LimitsPolicy, workers: int) -> None:
        """Put `limits` in force, of which this process has its part."""
        self.relayed_per_endpoint = part(limits.endpoint_connections, workers)
        self.endpoint_connections = self.relayed_per_endpoint or ENDPOINT_CONNECTIONS
        self.max_connections = part(limits.max_connections, workers)
        self.max_retries = part(limits.max_retries, workers)
        self.max_pending = part(limits.max_pending, workers)
        self.queue_timeout = limits.queue_timeout

    def refuse(self, reason: Any) -> cython.int:
        """Count a request, a connection or a retry that was not let in."""
        code: str = reason.code
        self.refused[code] = self.refused.get(code, 0) + 1
        return 0

    def may_retry(self) -> cython.bint:
        """Whether one more request may be repeated."""
        if self.max_retries == 0 or self.retries < self.max_retries:
            return True
        self.refuse(errors.LIMIT_RETRIES)
        return False

    def places(self, waiting: cython.longlong, connecting: cython.bint) -> cython.longlong:
        """How many may be in the queue of a pool where `waiting` are now; `connecting`: for a connection that is being
        made."""
        if self.max_pending == 0:
            return CONNECTING_CALLS if connecting else 0
        return self.max_pending - self.pending + waiting

    # -- connections of pools

    def connections(self) -> int:
        """Open or being opened, to all endpoints."""
        found: int = self.relayed_total
        for pool in self.pools:
            found += pool.size()
        return found

    def may_connect(self, asking: Any) -> cython.bint:
        """Whether there may be one connection more; if not, one that another pool than `asking` can spare is closed."""
        if self.max_connections == 0 or self.connections() < self.max_connections:
            return True
        if not self.sparing:
            for pool in self.pools:
                if pool is not asking and pool.spare_one():
                    self.sparing = True
                    break
        return False

    def starved(self, asking: Any) -> cython.bint:
        """Whether another pool than `asking` needs a connection and there may be none more."""
        for pool in self.pools:
            if pool is not asking and pool.hungry():
                return self.connections() >= self.max_connections
        return False

    def freed(self) -> cython.int:
        """A connection is gone: whoever waits may make one."""
        if self.max_connections > 0:
            self.sparing = False
            for pool in self.pools:
                if pool.hungry():
                    pool.serve()
        return 0

    # -- connections that are relayed

    def begin_relay(self, node: Node) -> cython.int:
        self.relayed_total += 1
        self.relayed[node] = self.relayed.get(node, 0) + 1
        return 0

    def end_relay(self, node: Node) -> cython.int:
        left: cython.longlong = self.relayed[node] - 1
        self.relayed_total -= 1
        if left:
            self.relayed[node] = left
        else:
            del self.relayed[node]
        return 0

    def full_of_relays(self, node: Node) -> cython.bint:
        """Whether `node` has as many relayed connections as it may."""
        return self.relayed_per_endpoint > 0 and self.relayed.get(node, 0) >= self.relayed_per_endpoint

    def full_nodes(self) -> list[Node]:
        """The endpoints with as many relayed connections as they may have."""
        return [node for node in self.relayed if self.full_of_relays(node)]

    def statistics(self) -> dict[str, Any]:
        return {"connections": self.connections(), "pending": self.pending, "retries": self.retries,
                "refused": dict(self.refused)}


def part(limit: int, workers: int) -> int:
    """One worker's part of a limit, rounded up: all of them together may exceed it by less than one each."""
    return -(-limit // workers)
