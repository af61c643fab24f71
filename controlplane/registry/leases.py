"""Who has been heard when, and whose time is up.

What lives here: the table of leases, and the two rules that keep a silence of our own making from emptying the
registry. What this must not know: records, stores, clocks (`now` is handed in: monotonic seconds).

A lease ends when its time-to-live has passed since its last heartbeat, except

- after a stall: `due` is called a few times a second; when it was not called for STALL seconds the control plane was
  stopped, suspended or starved, and heartbeats lie unread. Every lease then gets a fresh time-to-live.
- during a whole-fleet silence: when FLEET or more leases are held and not one of them has been heard for half its
  time-to-live, it is the control plane that is cut off. Nothing ends until somebody is heard again; from then on
  everybody has a fresh time-to-live. (Netflix Eureka's self-preservation, with "all" in place of its 85 %. A smaller
  fleet may well die as one.)
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from controlplane.registry.records import Key, Lease

STALL = 0.75
FLEET = 3
ENDED = 10_000  # ended leases remembered, so that their holders can be told who keeps the endpoint now
_RECHECK = 1.0  # seconds until a lease that was kept through a silence is looked at again


@dataclass(slots=True)
class _Held:
    lease: Lease
    key: Key
    heard: float
    deadline: float


class Leases:
    """The leases in force. `heard` of a restored lease is the time of the restore."""

    def __init__(self, now: float) -> None:
        self._held: dict[str, _Held] = {}
        self._ended: dict[str, Key] = {}  # oldest end first
        self._queue: list[tuple[float, str]] = []  # may hold ended leases and early deadlines; `due` sorts that out
        self._asked = now
        self._silence = False

    def __len__(self) -> int:
        return len(self._held)

    def grant(self, lease: Lease, key: Key, now: float) -> None:
        """Start a lease; it counts as heard now."""
        self._end_silence(now)
        self._ended.pop(lease.id, None)  # a restore brings back what was ended but not committed
        self._held[lease.id] = _Held(lease, key, now, now + lease.time_to_live)
        if len(self._queue) > 2 * len(self._held) + 64:
            self._queue = [(held.deadline, id_) for id_, held in self._held.items()]
            heapq.heapify(self._queue)
        else:
            heapq.heappush(self._queue, (now + lease.time_to_live, lease.id))

    def end(self, lease_id: str) -> None:
        """End a lease; unknown ones are fine."""
        held = self._held.pop(lease_id, None)
        if held is None:
            return
        self._ended[lease_id] = held.key
        if len(self._ended) > ENDED:
            del self._ended[next(iter(self._ended))]

    def ended(self, lease_id: str) -> Key | None:
        """Return the endpoint that a lease kept which has ended; None when it hasn't, or that is long forgotten."""
        return self._ended.get(lease_id)

    def key(self, lease_id: str) -> Key | None:
        """Return the endpoint that the lease keeps, or None when there is no such lease."""
        held = self._held.get(lease_id)
        return None if held is None else held.key

    def heard(self, lease_id: str) -> float | None:
        """Return when the lease was heard last, or None when there is no such lease."""
        held = self._held.get(lease_id)
        return None if held is None else held.heard

    def heartbeat(self, lease_id: str, now: float) -> bool:
        """Renew a lease; False when it is not known (any more)."""
        held = self._held.get(lease_id)
        if held is None:
            return False
        held.heard = now
        held.deadline = now + held.lease.time_to_live
        self._end_silence(now)
        return True

    def due(self, now: float) -> list[Key]:
        """Return the endpoints whose lease has run out. The caller removes them and ends their leases."""
        asked, self._asked = self._asked, now
        if now - asked > STALL:
            self._renew(now)
            return []
        overdue: list[_Held] = []
        while self._queue and self._queue[0][0] <= now:
            _, lease_id = heapq.heappop(self._queue)
            held = self._held.get(lease_id)
            if held is None:
                continue
            if held.deadline > now:
                heapq.heappush(self._queue, (held.deadline, lease_id))
            else:
                overdue.append(held)
        if overdue and self._nobody_heard(now):
            self._silence = True
            for held in overdue:
                heapq.heappush(self._queue, (now + _RECHECK, held.lease.id))
            return []
        return [held.key for held in overdue]

    def _nobody_heard(self, now: float) -> bool:
        return len(self._held) >= FLEET and all(
            now - held.heard > held.lease.time_to_live / 2 for held in self._held.values())

    def _end_silence(self, now: float) -> None:
        if self._silence:
            self._silence = False
            self._renew(now)

    def _renew(self, now: float) -> None:
        for held in self._held.values():
            held.deadline = max(held.deadline, now + held.lease.time_to_live)
