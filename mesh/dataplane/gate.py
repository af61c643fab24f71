# cython: language_level=3, wraparound=False, initializedcheck=False
"""Where requests wait for room: as many in flight at a service, and at each of its endpoints, as there may be.

What lives here: the counts, the queue in front of them, and who is let in when a call ends. What this must not know:
how an endpoint is picked, how a request is carried, connections.

The counts are the nodes' own: the gate is told of every call that begins and ends, whoever makes it, so that they are
exact. Waiting requests are let in once a turn of the loop is over, when the connection of the call that ended is free.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cython

from mesh import errors
from mesh.balance.node import LoadWatcher, Node, NodeSet
from mesh.dataplane.reactor import Reactor, Watch
from mesh.dataplane.room import Room
from mesh.dataplane.timers import Timer
from mesh.dataplane.upstream import UpstreamCall
from mesh.resilience.fair_queue import FairQueue
from mesh.resilience.gradient import GradientLimit


class Turn(Watch):
    """The gate's turn in the loop."""

    def __init__(self, gate: Gate) -> None:
        Watch.__init__(self)
        self.gate = gate

    def on_again(self) -> cython.int:
        return self.gate.serve()


# Seconds after which those that wait are looked at again: an endpoint whose ejection ends, or whose weight grows, has
# room, and no call at it ends to say so.
LOOK = cython.declare(cython.double, 0.25)


class Hurry(Timer):
    """Fires when the one that came first has waited long enough, and now and then."""

    def __init__(self, gate: Gate) -> None:
        Timer.__init__(self)
        self.gate = gate

    def fire(self) -> cython.int:
        return self.gate.expire()


class Gate(LoadWatcher):
    """One service's. `under_way`: calls at all its endpoints; `full`: the endpoints that have as many as they may.

    `max_requests`, `endpoint_requests`, `endpoint_pending`, `endpoint_retries`: 0 for no limit. `adaptive`, where there
    is one, is a further limit on all.
    """

    def __init__(self, reactor: Reactor, room: Room, nodes: NodeSet) -> None:
        self.reactor = reactor
        self.room = room
        self.nodes = nodes
        self.max_requests = 0
        self.endpoint_requests = 0
        self.endpoint_pending = 0
        self.endpoint_retries = 0
        self.adaptive: Any = None
        self.under_way = 0
        self.full: list[Node] = []
        self.queue = FairQueue(0)
        self.turn = Turn(self)
        self.hurry = Hurry(self)
        self.awake = False
        node: Node
        for node in nodes.nodes:
            self.under_way += node.in_flight
            node.watch(self)

    def configure(self, max_requests: int, endpoint_requests: int, endpoint_pending: int, endpoint_retries: int,
                  adaptive: GradientLimit | None) -> None:
        """Put other limits in force."""
        node: Node
        self.max_requests = max_requests
        self.endpoint_requests = endpoint_requests
        self.endpoint_pending = endpoint_pending
        self.endpoint_retries = endpoint_retries
        self.adaptive = adaptive
        self.full = []
        for node in self.nodes.nodes:
            if self.is_full(node):
                self.full.append(node)
        self.wake()

    def change(self, added: Iterable[Node], removed: Iterable[Node]) -> None:
        """The set of endpoints has changed. Calls of those that have gone count until they end."""
        node: Node
        for node in added:
            node.watch(self)
        for node in removed:
            node.watch(self)
            if node.among(self.full):
                self.full = [other for other in self.full if other is not node]
        self.wake()

    # -- calls at endpoints

    def on_begin(self, node: Node) -> None:
        self.under_way += 1
        if self.endpoint_requests and node.in_flight == self.endpoint_requests:
            self.review(node)

    def on_end(self, node: Node) -> None:
        self.under_way -= 1
        if self.endpoint_requests and node.in_flight == self.endpoint_requests - 1:
            self.review(node)
        if self.queue.count:
            self.wake()

    def on_pending(self, node: Node) -> None:
        if self.endpoint_pending:
            self.review(node)
            if self.queue.count:
                self.wake()

    def review(self, node: Node) -> cython.int:
        """Keep `full` true for `node`."""
        full: cython.bint = self.is_full(node) and not node.removed
        if full != node.among(self.full):
            if full:
                self.full.append(node)
            else:
                self.full.remove(node)
        return 0

    def sample(self, latency: cython.double, now: cython.double) -> cython.int:
        """A request was answered, or given up, `latency` seconds after it was sent."""
        if self.adaptive is not None:
            adaptive: GradientLimit = self.adaptive
            before: cython.longlong = adaptive.limit
            adaptive.sample(latency, now)
            if adaptive.limit > before and self.queue.count:
                self.wake()
        return 0

    def has_room(self) -> cython.bint:
        """Whether one more may be in flight, as far as all endpoints together go."""
        if self.max_requests and self.under_way >= self.max_requests:
            return False
        if self.adaptive is not None:
            adaptive: GradientLimit = self.adaptive
            if self.under_way >= adaptive.limit:
                return False
        return not self.full or len(self.full) < len(self.nodes.nodes)

    def is_full(self, node: Node) -> cython.bint:
        """Whether `node` has as many in flight as it may, or as many that wait for a connection."""
        return ((self.endpoint_requests > 0 and node.in_flight >= self.endpoint_requests)
                or (self.endpoint_pending > 0 and node.pending >= self.endpoint_pending))

    # -- retries

    def may_repeat_at(self, node: Node) -> cython.bint:
        """Whether `node` may have one more retry."""
        return self.endpoint_retries == 0 or node.retries < self.endpoint_retries

    def may_repeat(self) -> cython.bint:
        """Whether there is an endpoint that may have one more retry."""
        node: Node
        if self.endpoint_retries == 0:
            return True
        for node in self.nodes.nodes:  # noqa: SIM110  any() would make a generator, and `node` untyped
            if self.may_repeat_at(node):
                return True
        return False

    def closed_to(self, node: Node, repeats: cython.bint) -> cython.bint:
        """Whether `node` has no room for a request; `repeats`: for one that repeats another."""
        return self.is_full(node) or (repeats and not self.may_repeat_at(node))

    def closed(self, repeats: cython.bint) -> list[Node]:
        """The nodes that are `closed_to` such a request."""
        node: Node
        if not repeats or self.endpoint_retries == 0:
            return self.full
        found: list[Node] = []
        for node in self.nodes.nodes:
            if self.closed_to(node, True):
                found.append(node)
        return found

    # -- those that wait

    def enter(self, call: UpstreamCall) -> cython.int:
        """Let `call` in now (`on_room`), when there is room, or not at all (`on_no_room`)."""
        if self.queue.count == 0 and self.has_room() and call.on_room():
            return 0
        room: Room = self.room
        if room.max_pending == 0:
            room.refuse(errors.LIMIT_REQUESTS)
            return call.on_no_room(errors.LIMIT_REQUESTS)
        self.queue.most = room.places(self.queue.count, False)
        displaced = self.queue.push(call.flow(), call, self.reactor.now)
        if displaced is None:
            room.pending += 1
        if self.queue.count and not self.hurry.armed:
            self.arm()
        if displaced is not None:
            room.refuse(errors.QUEUE_FULL)
            return cython.cast(UpstreamCall, displaced).on_no_room(errors.QUEUE_FULL)
        return 0

    def leave(self, call: UpstreamCall) -> cython.int:
        """`call` waits no longer."""
        if self.queue.remove(call):
            self.room.pending -= 1
            self.rest()
        return 0

    def arm(self) -> cython.int:
        room: Room = self.room
        at: cython.double = min(self.queue.oldest() + room.queue_timeout, self.reactor.now + LOOK)
        self.reactor.timers.add(self.hurry, at, self.reactor.now)
        return 0

    def rest(self) -> cython.int:
        if self.queue.count == 0:
            self.reactor.timers.cancel(self.hurry)
        return 0

    def wake(self) -> cython.int:
        """There may be room for those that wait: look in the next turn."""
        if self.queue.count and not self.awake:
            self.awake = True
            self.reactor.defer(self.turn)
        return 0

    def serve(self) -> cython.int:
        """Let in as many as there is room for."""
        self.awake = False
        call: UpstreamCall
        while self.queue.count and self.has_room():
            call = self.queue.head()
            if not call.on_room():
                break  # the endpoints that have room are not to be picked
            if self.queue.serve(call):
                self.room.pending -= 1
        return self.rest()

    def expire(self) -> cython.int:
        """Give up those that have waited for too long, for whom there is no room even now."""
        call: UpstreamCall
        self.serve()
        room: Room = self.room
        now: cython.double = self.reactor.now
        while self.queue.count and self.queue.oldest() + room.queue_timeout <= now:
            call = self.queue.pop_oldest()
            room.pending -= 1
            room.refuse(errors.QUEUE_TIMEOUT)
            call.on_no_room(errors.QUEUE_TIMEOUT)
        if self.queue.count:
            self.arm()
        return 0

    def statistics(self) -> dict[str, Any]:
        """Beside `Room.statistics`."""
        found: dict[str, Any] = {"requests": self.under_way, "full_endpoints": len(self.full)}
        if self.adaptive is not None:
            adaptive: GradientLimit = self.adaptive
            found["adaptive_limit"] = adaptive.limit
            found["least_latency"] = adaptive.least
        return found
