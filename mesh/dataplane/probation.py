# cython: language_level=3, wraparound=False, initializedcheck=False
"""Callers whose address has flooded a port, and how few of their requests are under way at a time for a while.

What lives here: who is held back, the places that the requests of such a source share, who is next. What this must not
know: how a flood is recognised (the codec does that), how a request is carried.

Without it whoever is cut off comes again, and each new connection costs the endpoints what one may do before it is cut
off. An address may stand for many callers (a host, a NAT), so nobody is refused for what another did: connections that
made a request before are let alone, and new ones take turns at the places, each connection as much as any other, until
answers that they wait for have earned them more. So their first request waits for a moment, those of the attacker for
one another.
"""

from __future__ import annotations

import logging
from typing import Any

import cython

from mesh import errors
from mesh.dataplane.entry import Ticket
from mesh.dataplane.exchange import Exchange
from mesh.dataplane.hub import Hub
from mesh.dataplane.timers import Timer
from mesh.resilience.fair_queue import FairQueue
from mesh.resilience.offenders import Offenders
from mesh.resilience.token_bucket import TokenBuckets

if not cython.compiled:
    from mesh.dataplane.relay import NEW

_log = logging.getLogger(__name__)

# Requests of one source, held back, on their way to an answer at a time.
PLACES = cython.declare(cython.int, 8)
# ... and for how long at most, in seconds: an answer that takes longer keeps no place.
LONGEST = cython.declare(cython.double, 1.0)
# A request that its caller has cancelled keeps its place for this long, in seconds: the endpoint is busy with it still.
AFTERMATH = cython.declare(cython.double, 0.25)
# How many may wait, and for how long, in seconds.
WAITING = cython.declare(cython.int, 1024)
PATIENCE = cython.declare(cython.double, 3.0)
# Requests cancelled within EARLY seconds, per source: who stays below what costs one connection, and takes another, is
# found by these. A second, and at once.
EARLY = cython.declare(cython.double, 0.05)
CANCELLED_RATE = 50.0
CANCELLED_BURST = 200.0
SOURCES = 4096


# Requests that a connection may have on their way beside the places, at most.
MOST_CREDIT = cython.declare(cython.int, 100)


class Place(Ticket):
    """One that is taken. It fires when it is free again, whatever became of the request."""

    def __init__(self, caller: HeldCaller) -> None:
        Ticket.__init__(self)
        self.caller = caller
        self.source = caller.source

    def fire(self) -> cython.int:
        return self.source.release()

    def done(self, answered: cython.bint, cancelled: cython.bint) -> cython.int:
        if answered:
            self.caller.earn(1)
        if not self.armed:  # its time was over
            return 0
        hub: Hub = self.source.hub
        if cancelled:
            hub.timers.add(self, hub.now + AFTERMATH, hub.now)
            return 0
        hub.timers.cancel(self)
        return self.source.release()


class Credit(Ticket):
    """What a request went by beside the places; lost unless it is answered."""

    def __init__(self, caller: HeldCaller) -> None:
        Ticket.__init__(self)
        self.caller = caller

    def done(self, answered: cython.bint, cancelled: cython.bint) -> cython.int:
        return self.caller.earn(2) if answered else 0


class HeldCaller:
    """A connection from a source that is held back. `credit`: requests that may go at once."""

    def __init__(self, source: HeldBack) -> None:
        self.source = source
        self.credit = 0

    def earn(self, credit: cython.int) -> cython.int:
        self.credit = min(self.credit + credit, MOST_CREDIT)
        return 0

    def enter(self, exchange: Exchange) -> cython.int:
        """Let a new request go on its way now, or when it is its turn."""
        if exchange.state != NEW:
            return 0
        if self.credit > 0:
            self.credit -= 1
            exchange.ticket = Credit(self)
            return exchange.proceed()
        return self.source.wait(exchange, self)

    def leave(self, exchange: Exchange) -> cython.int:
        """Its caller waits no longer."""
        return self.source.leave(exchange)


class Hurry(Timer):
    """Fires when the request that came first has waited long enough."""

    def __init__(self, source: HeldBack) -> None:
        Timer.__init__(self)
        self.source = source

    def fire(self) -> cython.int:
        return self.source.expire()


class HeldBack:
    """One source that is held back, until the instant `until`."""

    def __init__(self, hub: Hub, until: cython.double) -> None:
        self.hub = hub
        self.until = until
        self.taken = 0
        self.refused = 0
        self.serving = False
        self.callers: dict[Exchange, HeldCaller] = {}
        self.queue = FairQueue(WAITING)
        self.hurry = Hurry(self)

    def wait(self, exchange: Exchange, caller: HeldCaller) -> cython.int:
        if self.hub.now >= self.until and self.queue.count == 0:
            return exchange.proceed()
        self.callers[exchange] = caller
        displaced = self.queue.push(caller, exchange, self.hub.now)
        if self.queue.count and not self.hurry.armed:
            self.hub.timers.add(self.hurry, self.hub.now + PATIENCE, self.hub.now)
        if displaced is not None:
            self.refuse(displaced)
        return self.serve()

    def leave(self, exchange: Exchange) -> cython.int:
        if self.queue.remove(exchange):
            del self.callers[exchange]
            if self.queue.count == 0:
                self.hub.timers.cancel(self.hurry)
        return 0

    def refuse(self, exchange: Exchange) -> cython.int:
        self.refused += 1
        del self.callers[exchange]
        return exchange.fail(errors.HELD_BACK, "")

    def serve(self) -> cython.int:
        """Fill the places."""
        exchange: Exchange
        place: Place
        if self.serving:  # one that fails at once frees its place in here
            return 0
        self.serving = True
        try:
            while self.queue.count and self.taken < PLACES:
                exchange = self.queue.pop()
                self.taken += 1
                place = Place(self.callers.pop(exchange))
                exchange.ticket = place
                self.hub.timers.add(place, self.hub.now + LONGEST, self.hub.now)
                exchange.proceed()
        finally:
            self.serving = False
        if self.queue.count == 0:
            self.hub.timers.cancel(self.hurry)
        return 0

    def release(self) -> cython.int:
        self.taken -= 1
        return self.serve()

    def expire(self) -> cython.int:
        while self.queue.count and self.queue.oldest() + PATIENCE <= self.hub.now:
            self.refuse(self.queue.pop_oldest())
        if self.queue.count:
            self.hub.timers.add(self.hurry, self.queue.oldest() + PATIENCE, self.hub.now)
        return 0

    def idle(self) -> cython.bint:
        return self.taken == 0 and self.queue.count == 0


class Probation:
    """The sources of one port. `offences`: how many have been noted; `refused`: requests that waited in vain."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.offences = 0
        self.refused = 0
        self.offenders: Any = Offenders()
        self.cancelled = TokenBuckets(CANCELLED_RATE, CANCELLED_BURST, SOURCES)
        self.held: dict[str, HeldBack] = {}

    def of(self, source: str) -> HeldCaller | None:
        """What the requests of a new connection from `source` go by; None for most."""
        if not self.held:
            return None
        found: HeldBack | None = self.held.get(source)
        return HeldCaller(found) if found is not None and self.hub.now < found.until else None

    def offend(self, source: str, cause: str) -> cython.int:
        """A connection from `source` was cut off for `cause`, or it has done what would be one."""
        held: HeldBack | None = self.held.get(source)
        until: cython.double = self.offenders.note(source, self.hub.now)
        self.offences += 1
        if held is None:
            if len(self.held) >= SOURCES:
                self.sweep()
            if len(self.held) >= SOURCES:  # what waits there still has its turn
                del self.held[next(iter(self.held))]
            held = HeldBack(self.hub, until)
            self.held[source] = held
            _log.warning("%s: requests of new connections from %s wait for one another for %.0f s or longer", cause,
                         source, until - self.hub.now)
        held.until = until
        return 0

    def cancel(self, source: str, age: cython.double) -> cython.int:
        """A caller has cancelled a request that was `age` seconds old and not answered."""
        if age < EARLY and self.cancelled.take(source, self.hub.now) > 0:
            self.offend(source, errors.CALLER_RESET.code)
        return 0

    def sweep(self) -> cython.int:
        """Forget those whose time is over."""
        held: HeldBack
        for source, held in list(self.held.items()):
            if self.hub.now >= held.until and held.idle():
                self.refused += held.refused
                del self.held[source]
        return 0

    def statistics(self) -> dict[str, int]:
        refused: int = self.refused
        held: HeldBack
        for held in self.held.values():
            refused += held.refused
        return {"offences": self.offences, "held_back": len(self.held), "refused": refused}
