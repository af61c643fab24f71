# cython: language_level=3, wraparound=False, initializedcheck=False
"""What ended how, counted: requests, connections and sessions by direction, service and reason.

What lives here: the counts, which cost some nanoseconds per request. What this must not know: how they are shown
(telemetry), clocks, the network.
"""

from __future__ import annotations

from typing import Any

import cython

from mesh.dataplane.record import GRPC, RETRY, SERVER, Record

if not cython.compiled:
    BOUNDS, CODES, CLASSES = 16, 17, 6

# Upper bounds of the classes of a latency histogram, in seconds: Prometheus' own, and some below and above.
LATENCY_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# A caller that makes names of services up must not fill the memory, nor whoever collects the counts.
MAX_SERVICES = 1000
NO_ROUTE = cython.declare(str, "no_route")
_GRPC = cython.declare(cython.int, GRPC)
_RETRY = cython.declare(cython.int, RETRY)
_SERVER = cython.declare(cython.int, SERVER)


class Tally:
    """The counts of one service in one direction.

    `ok`: ended without a failure of the mesh's, whatever the app answered; `reasons`: the others, by code. `retries`:
    further attempts, by why they were made. `attempts`: of what has ended; one that never got to an endpoint made none.
    `nanoseconds`: the sum of all durations.
    """

    def __init__(self) -> None:
        self.ok = 0
        self.reasons: dict[str, int] = {}
        self.retries: dict[str, int] = {}
        self.attempts = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.nanoseconds = 0
        if not cython.compiled:
            self.bounds = [0] * BOUNDS
            self.buckets = [0] * (BOUNDS + 1)
            self.grpc = [0] * CODES
            self.http = [0] * CLASSES
        i: cython.int
        for i in range(BOUNDS):
            self.bounds[i] = int(LATENCY_BOUNDS[i] * 1e9)
            self.buckets[i] = 0
        self.buckets[BOUNDS] = 0
        for i in range(CODES):
            self.grpc[i] = 0
        for i in range(CLASSES):
            self.http[i] = 0

    def add(self, record: Record) -> cython.int:
        """Count what has ended."""
        reason: str = record.reason
        if reason:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
        else:
            self.ok += 1
        taken: cython.longlong = record.end_ns - record.start_ns
        if taken < 0:  # the wall clock was set back
            taken = 0
        i: cython.int = 0
        while i < BOUNDS and taken > self.bounds[i]:
            i += 1
        self.buckets[i] += 1
        self.nanoseconds += taken
        self.request_bytes += record.request_bytes
        self.response_bytes += record.response_bytes
        if record.endpoint:
            self.attempts += record.attempts
        if record.protocol == _GRPC:
            if 0 <= record.grpc_status < CODES:
                self.grpc[record.grpc_status] += 1
        elif 100 <= record.http_status < 600:
            self.http[record.http_status // 100] += 1
        return 0

    def statistics(self) -> dict[str, Any]:
        """All counts as JSON; `seconds` and its classes are those of LATENCY_BOUNDS, the last one beyond them."""
        return {"reasons": {"ok": self.ok, **self.reasons}, "retries": dict(self.retries), "attempts": self.attempts,
                "request_bytes": self.request_bytes, "response_bytes": self.response_bytes,
                "seconds": self.nanoseconds / 1e9, "buckets": [self.buckets[i] for i in range(BOUNDS + 1)],
                "grpc": {str(i): self.grpc[i] for i in range(CODES) if self.grpc[i]},
                "http": {f"{i}xx": self.http[i] for i in range(CLASSES) if self.http[i]}}


class Tallies:
    """The counts of all services, at most `most` in each direction; what is beyond them, and what belongs to none, is
    counted for the service ""."""

    def __init__(self, most: cython.Py_ssize_t = MAX_SERVICES) -> None:
        self.outbound: dict[str, Tally] = {}
        self.inbound: dict[str, Tally] = {}
        self.most = most

    def add(self, record: Record) -> cython.int:
        """Count a closed record."""
        tally: Tally = self.of(record)
        if record.kind == _RETRY:
            tally.retries[record.why] = tally.retries.get(record.why, 0) + 1
            return 0
        return tally.add(record)

    def of(self, record: Record) -> Tally:
        services: dict[str, Tally] = self.inbound if record.kind == _SERVER else self.outbound
        found: object = services.get(record.service)
        if found is not None and record.reason != NO_ROUTE:
            known: Tally = cython.cast(Tally, found)
            return known
        # Whoever asks for what there is not could ask for anything.
        name: str = "" if record.reason == NO_ROUTE or len(services) >= self.most else record.service
        tally: Tally | None = services.get(name)
        if tally is None:
            tally = services[name] = Tally()
        return tally

    def statistics(self) -> dict[str, Any]:
        """By direction and service."""
        return {"outbound": {name: tally.statistics() for name, tally in self.outbound.items()},
                "inbound": {name: tally.statistics() for name, tally in self.inbound.items()}}
