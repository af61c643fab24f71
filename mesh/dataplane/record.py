# cython: language_level=3, wraparound=False, initializedcheck=False
"""What a finished request leaves behind: one compact record, and the bounded buffer that holds it until it is exported.

What lives here: Record (plain fields, filled by the proxies on the hot path) and Recorder. What this must not know:
OpenTelemetry, attribute names, clocks, the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cython

CLIENT = 0  # Record.kind: the caller's sidecar, the request as a whole
SERVER = 1  # the callee's sidecar
RETRY = 2  # the caller's sidecar, one attempt of several

TCP = 0  # Record.protocol
HTTP2 = 1
GRPC = 2
HTTP1 = 3
UDP = 4


@cython.no_gc  # it refers to plain values only, so it can be in no cycle
@cython.freelist(256)
@cython.cclass
class Record:
    """One finished request, connection (TCP), session (UDP) or attempt.

    Every field may be set freely until it is given to a Recorder.

    Ids are unsigned: `trace_hi`/`trace_lo` the two halves of the trace id, `parent_id` 0 for a root. Times are unix
    nanoseconds. `endpoint` is the resource name picked (`cart/cart-0`), `source` the downstream peer's address,
    `reason` a code of mesh.errors or "" for none, `why` the algorithm that picked (RETRY: why it was tried again, and
    `pick` the algorithm), `candidates` of how many (0: not known), `version` the Service's, `listener` that took it.
    `http_status` 0 and `grpc_status` -1 mean none was seen. `events` is None or a list of
    (unix_ns, name, {attribute: value}). `whole`: of a RETRY, the request's record, until the attempt is over.
    `last_endpoint`: where a request's last attempt went, if it made more than the one that `endpoint` had.
    """

    def __init__(self) -> None:
        self.kind: int = 0
        self.protocol: int = 0
        self.trace_hi: int = 0
        self.trace_lo: int = 0
        self.span_id: int = 0
        self.parent_id: int = 0
        self.trace_flags: int = 0
        self.start_ns: int = 0
        self.end_ns: int = 0
        self.service: str = ""
        self.path: bytes = b""
        self.method: bytes = b""
        self.authority: bytes = b""
        self.endpoint: str = ""
        self.peer_host: str = ""
        self.peer_port: int = 0
        self.source: str = ""
        self.attempt: int = 1
        self.attempts: int = 1
        self.http_status: int = 0
        self.grpc_status: int = -1
        self.reason: str = ""
        self.why: str = ""
        self.pick: str = ""
        self.candidates: int = 0
        self.version: str = ""
        self.listener: str = ""
        self.request_bytes: int = 0
        self.response_bytes: int = 0
        self.tracestate: bytes = b""
        self.events: list[tuple[int, str, dict[str, Any]]] | None = None
        self.whole: Any = None
        self.last_endpoint: str = ""


@cython.cclass
class Recorder:
    """Bounded first-in first-out buffer of records; when it is full the newest is dropped and counted.

    `capacity` 1..2^31-1 records. `wake`, when set, is called without arguments each time the buffer becomes half full.
    """

    def __init__(self, capacity: int = 4096) -> None:
        if capacity < 1:
            raise ValueError(f"capacity {capacity} is below 1")
        self.capacity: int = capacity
        self.dropped: int = 0
        self.wake: Callable[[], None] | None = None
        self._half: int = (capacity + 1) // 2
        self._records: list[Record] = []

    def add(self, record: Record) -> bool:
        """Take `record` over; False when it was dropped."""
        records: list[Record] = self._records
        count: int = len(records)
        if count >= self.capacity:
            self.dropped += 1
            return False
        records.append(record)
        if count + 1 == self._half and self.wake is not None:
            self.wake()
        return True

    def drain(self, limit: int) -> list[Record]:
        """Remove and return the oldest records, at most `limit`."""
        taken: list[Record] = self._records[:limit]
        del self._records[:limit]
        return taken

    @property
    def pending(self) -> int:
        """Records that wait."""
        return len(self._records)
