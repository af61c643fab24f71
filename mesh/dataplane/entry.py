# cython: language_level=3, wraparound=False, initializedcheck=False
"""The listener that requests come in by: which direction, which service, which traces are sampled.

What lives here: what all requests of one listener share, the records they leave, and who is given them (traces, counts,
access log). What this must not know: connections, streams, the life of a request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cython

from mesh.balance.ejection import to_blame
from mesh.dataplane.cluster import Cluster
from mesh.dataplane.hub import Hub
from mesh.dataplane.record import GRPC, HTTP1, HTTP2, RETRY, SERVER, Record, Recorder
from mesh.dataplane.tally import Tallies
from mesh.dataplane.timers import Timer
from mesh.errors import UPSTREAM_STATUS
from mesh.wire.chain import LINES, LITERALS, MEMBERS, put_member
from mesh.wire.grpc import format_timeout
from mesh.wire.hpack import Block, Head, literal
from mesh.wire.tracecontext import TraceParent, format_traceparent, parse_traceparent

_TRACEPARENT = cython.declare(bytes, b"\x00\x0btraceparent\x37")  # a literal of 55 bytes, not indexed (RFC 7541, 6.2.2)
# The same for grpc-timeout, by the length of the value: at most 8 digits and a unit.
_GRPC_TIMEOUT = cython.declare(list, [b"\x00\x0cgrpc-timeout" + bytes((n,)) for n in range(16)])
# The attempts left to those further down, by their number: the header, and a tracestate that says nothing else.
_ATTEMPTS = cython.declare(list, LITERALS)
_ATTEMPTS_LINES = cython.declare(list, LINES)
_ATTEMPTS_ALONE = cython.declare(list, [LINES[n] + b"tracestate: " + MEMBERS[n] + b"\r\n" for n in range(len(LINES))])
_ATTEMPTS_STATE = cython.declare(list, [literal(b"tracestate", member) for member in MEMBERS])


class Ticket(Timer):
    """What a request was let in by where few are; somebody waits until it is done."""

    def done(self, answered: cython.bint, cancelled: cython.bint) -> cython.int:
        """The answer has begun, or the request has ended without one, by its caller (`cancelled`) or otherwise. Called
        once."""
        return 0


class Entry:
    """One listener. `kind` is `record.CLIENT` (outbound) or `record.SERVER` (inbound).

    Either `cluster` is fixed, or `router.cluster_for(authority)` finds it. `root_bound`: a trace that starts here is
    sampled when `root_always` or when its low 64 bits are below the bound (the OpenTelemetry SDK's ratio sampler).
    `parent_based`: the caller's sampled flag decides where there is a caller.
    """

    def __init__(self, hub: Hub, kind: cython.int, cluster: Cluster | None, router: Any, tracing: cython.bint,
                 parent_based: cython.bint, root_always: cython.bint, root_bound: cython.ulonglong) -> None:
        self.hub = hub
        self.kind = kind
        self.listener = _listener(kind, cluster)
        self.cluster = cluster
        self.router = router
        self.tracing = tracing
        self.parent_based = parent_based
        self.root_always = root_always
        self.root_bound = root_bound
        self.requests = 0
        self.failures = 0
        self.retries = 0
        self.hedges = 0
        self.active = 0
        self.watched = False
        self.tallies: Any = None
        self.log: Any = None
        self.decisions: Any = None
        self.sample = 0

    def write_down(self, decisions: Recorder, ratio: cython.double) -> None:
        """Give the attempts of `ratio` (0..1) of all requests to `decisions`, each as a record of its own."""
        self.decisions = decisions
        self.sample = int(ratio * (1 << 63))

    def watch(self, tallies: Tallies | None, log: Recorder | None) -> None:
        """Count every request in `tallies` and give its record to `log`, whether its trace is sampled or not."""
        self.tallies = tallies
        self.log = log
        self.watched = tallies is not None or log is not None

    def cluster_for(self, head: Head) -> Cluster | None:
        """The service that `head` is for, or None when its authority names none."""
        if self.cluster is not None:
            return self.cluster
        found: Cluster | None = self.router.cluster_for(head.authority)
        return found

    def begin_record(self, block: Block, source: str, textual: cython.bint) -> Record:
        """Open the record of a request: join the caller's trace or start one, and decide whether it is sampled.

        `textual`: the caller speaks HTTP/1.1.
        """
        hub: Hub = self.hub
        head: Head = block.head
        record: Record = Record()
        record.kind = self.kind
        record.protocol = GRPC if head.is_grpc else (HTTP1 if textual else HTTP2)
        record.start_ns = hub.wall_ns()
        record.path = head.path or b""
        record.method = head.method or b""
        record.authority = head.authority or b""
        record.source = source
        record.span_id = hub.rng.next64() | 1  # never the invalid all-zero id
        parent: TraceParent | None = None
        if block.traceparent is not None:
            parent = parse_traceparent(block.traceparent)
        if parent is not None:
            record.trace_hi = parent.trace_hi
            record.trace_lo = parent.trace_lo
            record.parent_id = parent.span_id
            record.trace_flags = parent.flags
            record.tracestate = block.tracestate or b""
            if self.parent_based:
                return record
        else:
            record.trace_hi = hub.rng.next64() | 1
            record.trace_lo = hub.rng.next64()
        if self.tracing and (self.root_always or record.trace_lo < self.root_bound):
            record.trace_flags |= 1
        else:
            record.trace_flags &= 0xFE
        return record

    def begin_attempt_record(self, whole: Record, why: str) -> Record:
        """Open the record of one more attempt of the request that `whole` records."""
        record: Record = Record()
        record.kind = RETRY
        record.protocol = whole.protocol
        record.start_ns = self.hub.wall_ns()
        record.path = whole.path
        record.method = whole.method
        record.authority = whole.authority
        record.source = whole.source
        record.service = whole.service
        record.trace_hi = whole.trace_hi
        record.trace_lo = whole.trace_lo
        record.trace_flags = whole.trace_flags
        record.tracestate = whole.tracestate
        record.parent_id = whole.span_id
        record.span_id = self.hub.rng.next64() | 1
        record.why = why
        record.whole = whole
        return record

    def call_fields(self, record: Record, left: cython.double, attempts: cython.int, textual: cython.bint) -> bytes:
        """The encoded header fields that are new with every call: our span as the parent, and the time left in seconds.

        `left` 0: no deadline to pass on. `attempts` 0: nothing to say of them (`mesh.wire.chain`). As HPACK they are
        literals that change no table, at the end of the block, so that what stands before them stays the same from call
        to call; `textual`, lines of HTTP/1.1.
        """
        if textual:
            return self.call_lines(record, left, attempts)
        parts: list[bytes] = [_TRACEPARENT, format_traceparent(record.trace_hi, record.trace_lo, record.span_id,
                                                        record.trace_flags)]
        if attempts > 0:
            parts = [_ATTEMPTS[attempts], parts[0], parts[1],
                     literal(b"tracestate", put_member(record.tracestate, attempts)) if record.tracestate
                     else _ATTEMPTS_STATE[attempts]]
        elif record.tracestate:
            parts.append(literal(b"tracestate", record.tracestate))
        if left > 0:
            value: bytes = format_timeout(left)
            parts.append(_GRPC_TIMEOUT[len(value)])
            parts.append(value)
        return b"".join(parts)

    def call_lines(self, record: Record, left: cython.double, attempts: cython.int) -> bytes:
        """`call_fields` as lines of HTTP/1.1."""
        lines: bytes = b"traceparent: " + format_traceparent(record.trace_hi, record.trace_lo, record.span_id,
                                                              record.trace_flags) + b"\r\n"
        if attempts > 0 and not record.tracestate:
            lines = _ATTEMPTS_ALONE[attempts] + lines
        elif attempts > 0:
            lines = (_ATTEMPTS_LINES[attempts] + lines + b"tracestate: " + put_member(record.tracestate, attempts)
                     + b"\r\n")
        elif record.tracestate:
            lines = lines + b"tracestate: " + record.tracestate + b"\r\n"
        if left > 0:
            lines = lines + b"grpc-timeout: " + format_timeout(left) + b"\r\n"
        return lines

    def add_record(self, record: Record, reason: Any) -> cython.int:
        """Close `record` and give it to whoever wants it: only traces that are sampled are exported.

        `reason` is a `mesh.errors.Reason`, or None for success.
        """
        sampled: cython.bint = record.trace_flags & 1 and self.tracing
        if sampled or self.watched:
            record.end_ns = self.hub.wall_ns()
            if reason is not None:
                record.reason = reason.code
            if sampled:
                record.listener = self.listener
                self.hub.recorder.add(record)
            if self.watched:
                self.see(record)
        return 0

    def see(self, record: Record) -> cython.int:
        """Count a closed record and have it logged; an attempt is a part of its request."""
        whole: Record | None = record.whole
        if whole is not None:
            whole.last_endpoint = record.endpoint
            record.whole = None
        if self.tallies is not None:
            self.tallies.add(record)
        if self.log is not None and record.kind != RETRY:
            self.log.add(record)
        return 0

    def decided(self, attempt: Record, whole: Record, why: str, reason: Any) -> cython.int:
        """An attempt has its outcome: write it down, if its request is of the sample.

        All attempts of a request are, or none. `attempt` may be `whole`, the record of the request, which goes on.
        `reason` None: there was an answer.
        """
        if whole.span_id >> 1 >= self.sample:  # random, but for its last bit
            return 0
        record: Record = Record()
        record.kind = RETRY
        record.service = whole.service
        record.endpoint = attempt.endpoint
        record.attempt = attempt.attempt
        record.why = why
        record.start_ns = attempt.start_ns
        record.end_ns = self.hub.wall_ns()
        record.http_status = whole.http_status
        record.grpc_status = whole.grpc_status
        if reason is not None:
            record.reason = reason.code
        elif to_blame(whole.http_status, whole.grpc_status):
            record.reason = UPSTREAM_STATUS.code
        self.decisions.add(record)
        return 0

    def connection_recorder(self) -> Callable[[Record], None] | None:
        """Whom the relays give the record of a connection; None where nobody would keep it."""
        return self.add_connection if self.tracing or self.watched else None

    def add_connection(self, record: Record) -> None:
        """Take the record of a TCP connection, which carries no context of its own: a trace of one span."""
        hub: Hub = self.hub
        record.listener = self.listener
        record.span_id = hub.rng.next64() | 1
        record.trace_hi = hub.rng.next64() | 1
        record.trace_lo = hub.rng.next64()
        if self.tracing and (self.root_always or record.trace_lo < self.root_bound):
            record.trace_flags = 1
            hub.recorder.add(record)
        if self.watched:
            self.see(record)

    def statistics(self) -> dict[str, int]:
        return {"requests": self.requests, "active": self.active, "failures": self.failures, "retries": self.retries,
                "hedges": self.hedges}


def _listener(kind: int, cluster: Cluster | None) -> str:
    """The name of the listener, as that of its option."""
    if kind == SERVER:
        return "inbound"
    return "outbound-shared" if cluster is None else f"outbound {cluster.name}"
